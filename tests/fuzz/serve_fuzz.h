/*
 * What the fuzz targets of V2 requests share: a fleet with columns and features of both kinds, and the reading of every
 * decoded cell, so that ASan sees a column past its bytes.
 */
#ifndef MYR_SERVE_FUZZ_H
#define MYR_SERVE_FUZZ_H

#include <string.h>

#include "serve/internal.h"

#define FUZZ_ARENA_BYTES (16u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const fuzz_features[] = {"price", "colour"};
static const uint8_t fuzz_texts[] = {0, 1};
static const char *fuzz_known[] = {"store", "name", "price", "colour", NULL};
static volatile uint64_t fuzz_sum;

typedef struct fuzz_world {
    myr_pack_info info;
    myr_fleet fleet;
    serve_fleet served;
    serve_thread thread;
    serve_work work;
    myr_arena *arena;
} fuzz_world;

static void fuzz_begin(fuzz_world *world, bool is_model)
{
    *world = (fuzz_world){
        .info = {.fleet = "f", .features = fuzz_features, .feature_count = 2, .text_features = fuzz_texts}};
    world->info.keys.column_count = 2;
    world->info.keys.columns[0].type = MYR_KEY_INT64;
    world->info.keys.columns[1].type = MYR_KEY_BYTES;
    memcpy(world->info.keys.columns[0].name, "store", 6);
    memcpy(world->info.keys.columns[1].name, "name", 5);
    world->fleet.info = &world->info;
    memcpy(world->fleet.name, "f", 2);
    world->served.fleet = &world->fleet;
    world->served.inputs = myr_map_new();
    world->served.known = fuzz_known;
    world->arena = myr_arena_new(FUZZ_ARENA_BYTES);
    MYR_ASSERT(world->arena != NULL && world->served.inputs != NULL);
    for (uint64_t i = 0; i < 4; i++) {
        uint64_t value = i < 2 ? (i + 1) << 32 : i - 1;
        MYR_ASSERT(myr_map_put(world->served.inputs, myr_str_of(fuzz_known[i]), value, NULL) == MYR_OK);
    }
    world->work.arena = world->arena;
    world->work.thread = &world->thread;
    world->work.target =
        (serve_target){.fleet = &world->served, .model_idx = is_model ? 0 : MYR_PACK_NONE, .name = myr_str_of("f")};
}

static void fuzz_end(fuzz_world *world)
{
    myr_free(world->thread.slots);
    myr_arena_free(world->arena);
    myr_map_free(world->served.inputs);
}

static void fuzz_read(const myr_col *col, int64_t row_count, int64_t stride)
{
    MYR_ASSERT(row_count == 0 || col->name != NULL);
    for (int64_t row = 0; row < row_count; row++) {
        if (myr_col_is_null(col, row)) continue;
        if (col->type == MYR_COL_TEXT) {
            MYR_ASSERT(myr_utf8_is_valid(col->data.text[row]));
        } else if (col->type == MYR_COL_INT64) {
            fuzz_sum += (uint64_t)col->data.i64[row];
        } else {
            fuzz_sum += col->data.f64[row * stride] > 0;
        }
    }
}

/* A request that was decoded, or refused with words. */
static void fuzz_look(const fuzz_world *world, myr_rc rc, const myr_err *err)
{
    const serve_work *work = &world->work;
    if (rc != MYR_OK) {
        MYR_ASSERT(err->rc != MYR_OK && err->message[0] != '\0');
        return;
    }
    int64_t row_count = work->rows.row_count;
    MYR_ASSERT(row_count >= 0 && row_count <= SERVE_ROWS_MAX);
    int64_t stride = work->rows.feature_stride != 0 ? work->rows.feature_stride : 1;
    for (uint32_t i = 0; work->target.model_idx == MYR_PACK_NONE && i < world->info.keys.column_count; i++)
        fuzz_read(&work->rows.keys[i], row_count, 1);
    for (uint32_t i = 0; i < world->info.feature_count; i++)
        fuzz_read(&work->rows.features[i], row_count, stride);
}

#endif
