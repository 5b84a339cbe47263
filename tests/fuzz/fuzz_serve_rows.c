/*
 * Bodies of rows, without a socket: the first byte says CSV or NDJSON (1) and whether unknown names are ignored (2).
 * What is accepted is read to its last cell, so that ASan sees a column past its bytes.
 */
#include <string.h>

#include "fleet/internal.h"
#include "serve/internal.h"

#define FUZZ_ARENA_BYTES (16u << 20)
#define FUZZ_ROWS_MAX    200

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const fuzz_features[] = {"price", "colour", "store"};
static const uint8_t fuzz_texts[] = {0, 1, 0};
static volatile uint64_t fuzz_sum;

static void fuzz_read(const myr_col *col, int64_t row_count)
{
    MYR_ASSERT(row_count == 0 || col->name != NULL);
    for (int64_t row = 0; row < row_count; row++) {
        if (myr_col_is_null(col, row)) continue;
        if (col->type == MYR_COL_TEXT) {
            MYR_ASSERT(myr_utf8_is_valid(col->data.text[row]));
        } else {
            fuzz_sum += col->data.f64[row] > 0;
        }
    }
}

static void fuzz_field(myr_map *fields, const char *name, uint32_t key_idx, uint32_t feature_idx)
{
    fleet_field field = {.key_idx = key_idx, .feature_idx = feature_idx};
    MYR_ASSERT(myr_map_put(fields, myr_str_of(name), fleet_field_pack(field), NULL) == MYR_OK);
}

/* As a stream does: a line that is no row is undone. */
static void fuzz_lines(serve_thread *thread, myr_arena *arena, const myr_fleet *fleet, myr_str text, bool ignore)
{
    myr_rows_build *build;
    myr_score_rows rows;
    myr_str found, rest = text;
    size_t count = myr_serve_count_lines(text), line = 0, row = 0;
    if (count > FUZZ_ROWS_MAX || myr_rows_begin(fleet, count, ignore, arena, &build, NULL) != MYR_OK) return;
    while (myr_serve_next_line(&rest, &line, &found)) {
        myr_err err = {0};
        if (myr_serve_put_line(thread, arena, build, row, line, found, &err) == MYR_OK) {
            row++;
        } else {
            MYR_ASSERT(err.message[0] != '\0');
            myr_rows_undo(build, row);
        }
    }
    MYR_ASSERT(row <= count && line >= count);
    myr_rows_end(build, row, &rows);
    fuzz_read(&rows.keys[0], rows.row_count);
    for (uint32_t i = 0; i < MYR_COUNT_OF(fuzz_features); i++)
        fuzz_read(&rows.features[i], rows.row_count);
}

static void fuzz_csv(myr_arena *arena, const myr_fleet *fleet, myr_str text, bool ignore)
{
    myr_score_rows rows;
    myr_err err = {0};
    if (myr_fleet_decode_csv(fleet, text, FUZZ_ROWS_MAX, ignore, arena, &rows, &err) != MYR_OK) {
        MYR_ASSERT(err.message[0] != '\0');
        return;
    }
    MYR_ASSERT(rows.row_count >= 0 && rows.row_count <= FUZZ_ROWS_MAX);
    for (uint32_t i = 0; i < 2; i++)
        fuzz_read(&rows.keys[i], rows.row_count);
    for (uint32_t i = 0; i < MYR_COUNT_OF(fuzz_features); i++)
        fuzz_read(&rows.features[i], rows.row_count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) return 0;
    myr_str text = myr_str_make((const char *)data + 1, size - 1);
    myr_pack_info info = {.fleet = "f", .features = fuzz_features, .feature_count = 3, .text_features = fuzz_texts};
    info.keys.column_count = 2;
    info.keys.columns[0].type = MYR_KEY_INT64;
    info.keys.columns[1].type = MYR_KEY_BYTES;
    memcpy(info.keys.columns[0].name, "store", 6);
    memcpy(info.keys.columns[1].name, "name", 5);
    myr_fleet fleet = {.info = &info, .fields = myr_map_new(), .row.target = "sales"};
    memcpy(fleet.name, "f", 2);
    myr_arena *arena = myr_arena_new(FUZZ_ARENA_BYTES);
    MYR_ASSERT(arena != NULL && fleet.fields != NULL);
    fuzz_field(fleet.fields, "store", 0, 2);
    fuzz_field(fleet.fields, "name", 1, FLEET_FIELD_NONE);
    fuzz_field(fleet.fields, "price", FLEET_FIELD_NONE, 0);
    fuzz_field(fleet.fields, "colour", FLEET_FIELD_NONE, 1);
    serve_thread thread = {0};
    bool ignore = (data[0] & 2) != 0;
    if ((data[0] & 1) != 0) {
        fuzz_csv(arena, &fleet, text, ignore);
    } else {
        fuzz_lines(&thread, arena, &fleet, text, ignore);
    }
    myr_free(thread.slots);
    myr_arena_free(arena);
    myr_map_free(fleet.fields);
    return 0;
}
