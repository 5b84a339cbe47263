/* What tests of the C ABI share: a pack of the fleet oj, and a model file. */
#ifndef MYR_API_FIXTURE_H
#define MYR_API_FIXTURE_H

#include "testing.h"

#include <math.h>

#include "import/import.h"
#include "myriad/myriad.h"
#include "pack/pack.h"
#include "score/score.h"

static const char *const api_features[] = {"price", "deal"};

static void linear_text(double intercept, myr_buf *out)
{
    static const double weights[] = {1, 0.5};
    myr_linear_format(api_features, 2, intercept, weights, NULL, out);
}

/* A model file; prediction = intercept + price + deal / 2. */
__attribute__((unused)) static void write_model(double intercept, char path[TESTING_PATH_BYTES])
{
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    snprintf(path, TESTING_PATH_BYTES, "%.200s/m.json", dir);
    MYR_AUTO(myr_buf) text = {0};
    linear_text(intercept, &text);
    myr_err err = {0};
    EXPECT_RC(myr_file_write(path, text.data, text.size, &err), OK, &err);
}

static void add_model(myr_pack_writer *writer, const myr_pack_info *info, const char *segment, double intercept)
{
    MYR_AUTO(myr_buf) text = {0};
    MYR_AUTO(myr_imported_ptr) imported = NULL;
    MYR_AUTO(myr_mem) bytes = NULL;
    size_t size = 0, key_bytes = 0;
    unsigned char key[MYR_KEY_BYTES_MAX];
    myr_segment parsed;
    myr_err err = {0};
    linear_text(intercept, &text);
    EXPECT_RC(myr_import("m", text.data, text.size, NULL, 0, &imported, &err), OK, &err);
    EXPECT_RC(myr_imported_compile(imported, api_features, 2, NULL, (unsigned char **)&bytes, &size, &err), OK, &err);
    EXPECT_RC(myr_segment_parse(myr_str_of(segment), &parsed, &err), OK, &err);
    EXPECT_RC(myr_key_from_segment(&info->keys, &parsed, key, &key_bytes, &err), OK, &err);
    EXPECT_RC(myr_pack_writer_add(writer, key, key_bytes, 1, bytes, size, &err), OK, &err);
}

/* A pack of fleet oj with columns store (INT64) and brand (BYTES). */
static void write_pack(char path[TESTING_PATH_BYTES])
{
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    myr_pack_info info = {.fleet = "oj", .release = 7, .features = api_features, .feature_count = 2, .output_count = 1};
    info.keys.column_count = 2;
    snprintf(info.keys.columns[0].name, sizeof info.keys.columns[0].name, "store");
    info.keys.columns[0].type = MYR_KEY_INT64;
    snprintf(info.keys.columns[1].name, sizeof info.keys.columns[1].name, "brand");
    info.keys.columns[1].type = MYR_KEY_BYTES;
    MYR_AUTO(myr_pack_writer_ptr) writer = NULL;
    myr_err err = {0};
    EXPECT_RC(myr_pack_writer_open(dir, "r7", &info, &writer, &err), OK, &err);
    add_model(writer, &info, "store=2,brand=a", 10);
    add_model(writer, &info, "brand=a", 100);
    EXPECT_RC(myr_pack_writer_commit(writer, &err), OK, &err);
    snprintf(path, TESTING_PATH_BYTES, "%.200s/r7.index", dir);
}

static myr_models *api_open(const char *path)
{
    myr_models *models = NULL;
    myr_err err = {0};
    EXPECT_RC(myr_models_open(path, &models, &err), OK, &err);
    return models;
}

#endif
