/* What tests of train share: small tables with a known truth, specs, workspaces, and the bytes of packs. */
#ifndef MYR_TRAIN_FIXTURE_H
#define MYR_TRAIN_FIXTURE_H

#include <math.h>

#include "testing.h"
#include "train/internal.h"
#include "train/lapack.h"

#define FIXTURE_ROWS_MAX 8192

/* Rows of a table that a test fills and changes before it is written. */
typedef struct fixture_table {
    int64_t count;
    int64_t store[FIXTURE_ROWS_MAX];
    myr_str brand[FIXTURE_ROWS_MAX];
    double week[FIXTURE_ROWS_MAX], x1[FIXTURE_ROWS_MAX], x2[FIXTURE_ROWS_MAX], fixed[FIXTURE_ROWS_MAX],
        y[FIXTURE_ROWS_MAX];
    uint8_t store_valid[FIXTURE_ROWS_MAX];
} fixture_table;

static fixture_table fixture; /* large: not on the stack */

static inline const myr_train_lapack *fixture_lapack(void)
{
    static myr_train_lapack lapack;
    myr_err err = {0};
    EXPECT_RC(myr_train_lapack_open(&lapack, &err), OK, &err);
    return &lapack;
}

static inline double fixture_noise(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 11) / 9007199254740992.0 - 0.5;
}

/* stores 1.. x brands a.., weeks 1..weeks: y = store + 2 x1 - x2 + noise. */
static inline void fixture_fill(int stores, int brands, int weeks, double noise)
{
    static const char names[] = "abcdefgh";
    uint64_t state = 42;
    fixture.count = 0;
    for (int s = 1; s <= stores; s++) {
        for (int b = 0; b < brands; b++) {
            for (int w = 1; w <= weeks; w++) {
                int64_t i = fixture.count++;
                MYR_ASSERT(i < FIXTURE_ROWS_MAX);
                fixture.store[i] = s;
                fixture.store_valid[i] = 1;
                fixture.brand[i] = myr_str_make(&names[b], 1);
                fixture.week[i] = w;
                fixture.x1[i] = fixture_noise(&state);
                fixture.x2[i] = fixture_noise(&state);
                fixture.fixed[i] = 7;
                fixture.y[i] = s + 2 * fixture.x1[i] - fixture.x2[i] + noise * fixture_noise(&state);
            }
        }
    }
}

static inline void fixture_write(const char *path)
{
    myr_err err = {0};
    myr_table_engine *engine = NULL;
    const myr_col cols[] = {
        {.name = "store", .type = MYR_COL_INT64, .valid = fixture.store_valid, .data.i64 = fixture.store},
        {.name = "brand", .type = MYR_COL_TEXT, .data.text = fixture.brand},
        {.name = "week", .type = MYR_COL_DOUBLE, .data.f64 = fixture.week},
        {.name = "x1", .type = MYR_COL_DOUBLE, .data.f64 = fixture.x1},
        {.name = "x2", .type = MYR_COL_DOUBLE, .data.f64 = fixture.x2},
        {.name = "fixed", .type = MYR_COL_DOUBLE, .data.f64 = fixture.fixed},
        {.name = "y", .type = MYR_COL_DOUBLE, .data.f64 = fixture.y},
    };
    EXPECT_RC(myr_table_engine_open(1, 256 << 20, &engine, &err), OK, &err);
    EXPECT_RC(myr_table_write(engine, path, cols, MYR_COUNT_OF(cols), fixture.count, &err), OK, &err);
    myr_table_engine_close(engine);
}

static inline const char *fixture_path(const char *name, char out[MYR_PATH_BYTES_MAX])
{
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    EXPECT_RC(myr_path_join(out, MYR_PATH_BYTES_MAX, dir, name, NULL), OK, NULL);
    return out;
}

#define FIXTURE_SPEC_HEAD                                                                                              \
    "fleet: f\ndata: t.parquet\npartition: [store, brand]\ntarget: {column: y}\ntime: week\n"                          \
    "features: [week, x1, x2, fixed]\ntest: {last: 8, write: out/test.parquet}\n"
#define FIXTURE_SPEC FIXTURE_SPEC_HEAD "trials:\n  - mean\n  - ridge: {lambda: [0.01, 1, 100]}\n"

static inline void fixture_spec(const char *text)
{
    char path[MYR_PATH_BYTES_MAX];
    EXPECT_RC(myr_file_write(fixture_path("t.yaml", path), text, strlen(text), NULL), OK, NULL);
}

/* Train the table and spec of the test's directory in the workspace `name` (made if absent). */
static inline myr_rc fixture_train(const char *name, int threads, myr_train_report *out, myr_err *err)
{
    char root[MYR_PATH_BYTES_MAX], spec[MYR_PATH_BYTES_MAX];
    bool made = false;
    myr_workspace *workspace = NULL;
    EXPECT_RC(myr_workspace_init(fixture_path(name, root), "# test\n", &made, err), OK, err);
    EXPECT_RC(myr_workspace_open(root, &workspace, err), OK, err);
    myr_rc rc = myr_train(workspace, fixture_path("t.yaml", spec), threads, NULL, NULL, out, err);
    myr_workspace_close(workspace);
    return rc;
}

static inline void fixture_trained(const char *name, int threads, myr_train_report *out)
{
    char path[MYR_PATH_BYTES_MAX];
    myr_err err = {0};
    fixture_write(fixture_path("t.parquet", path));
    EXPECT_RC(fixture_train(name, threads, out, &err), OK, &err);
}

/* SHA-256 over the files of the first release's pack. */
static inline const char *fixture_pack_hex(const char *name, char out[MYR_SHA256_HEX_BYTES])
{
    static const char *const files[] = {"packs/f/r1.index", "packs/f/r1.blobs"};
    char root[MYR_PATH_BYTES_MAX], path[MYR_PATH_BYTES_MAX];
    myr_sha256 sha;
    myr_sha256_init(&sha);
    for (size_t i = 0; i < MYR_COUNT_OF(files); i++) {
        char *data = NULL;
        size_t size = 0;
        EXPECT_RC(myr_path_join(path, sizeof path, fixture_path(name, root), files[i], NULL), OK, NULL);
        EXPECT_RC(myr_file_read(path, 1 << 26, &data, &size, NULL), OK, NULL);
        myr_sha256_add(&sha, data, size);
        myr_free(data);
    }
    myr_sha256_hex(&sha, out);
    return out;
}

/* The newest model of a segment, as the registry tells it; texts live in `arena`. */
static inline myr_model_row fixture_model(const char *name, const char *segment, myr_arena *arena)
{
    char root[MYR_PATH_BYTES_MAX];
    myr_err err = {0};
    myr_workspace *workspace = NULL;
    myr_fleet_row fleet;
    myr_model_row row;
    EXPECT_RC(myr_workspace_open(fixture_path(name, root), &workspace, &err), OK, &err);
    EXPECT_RC(myr_registry_fleet_get(workspace->registry, arena, "f", &fleet, &err), OK, &err);
    EXPECT_RC(myr_registry_model_get(workspace->registry, arena, fleet.id, segment, 0, &row, &err), OK, &err);
    myr_workspace_close(workspace);
    return row;
}

static inline char *fixture_read(const char *path)
{
    char *data = NULL;
    size_t size = 0;
    EXPECT_RC(myr_file_read(path, 1 << 26, &data, &size, NULL), OK, NULL);
    return data;
}

#endif
