/* A registry in a fresh directory with one fleet, for the tests of registry. */
#ifndef MYR_TESTS_REGISTRY_FIXTURE_H
#define MYR_TESTS_REGISTRY_FIXTURE_H

#include "testing.h"

#include <math.h>

#include "registry/registry.h"

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static const char *const fixture_partition[] = {"store", "brand"};
static const char *const fixture_features[] = {"price", "deal", "feat"};

TESTING_UNUSED static void fixture_path(char path[TESTING_PATH_BYTES])
{
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    snprintf(path, TESTING_PATH_BYTES, "%.200s/registry.db", dir);
}

TESTING_UNUSED static myr_fleet_row fixture_fleet(const char *name)
{
    return (myr_fleet_row){.name = name,
                           .partition_columns = fixture_partition,
                           .partition_count = 2,
                           .features = fixture_features,
                           .feature_count = 3,
                           .output_count = 1,
                           .target = "logmove",
                           .target_transform = "log",
                           .created_ms = 1234};
}

TESTING_UNUSED static myr_registry *fixture_open(void)
{
    char path[TESTING_PATH_BYTES];
    fixture_path(path);
    myr_registry *registry = NULL;
    myr_err err = {0};
    EXPECT_RC(myr_registry_open(path, true, &registry, &err), OK, &err);
    return registry;
}

/* Opened, with the fleet `oj`. */
TESTING_UNUSED static myr_registry *fixture_registry(int64_t *out_fleet_id)
{
    myr_registry *registry = fixture_open();
    myr_err err = {0};
    myr_fleet_row fleet = fixture_fleet("oj");
    EXPECT_RC(myr_registry_fleet_add(registry, &fleet, out_fleet_id, &err), OK, &err);
    return registry;
}

TESTING_UNUSED static uint32_t fixture_parts(const char *segment)
{
    uint32_t count = segment[0] != '\0';
    for (const char *c = segment; *c != '\0'; c++)
        count += *c == ',';
    return count;
}

TESTING_UNUSED static myr_model_row fixture_model(const char *segment)
{
    return (myr_model_row){.segment = segment,
                           .key_columns = fixture_parts(segment),
                           .algorithm = "ridge",
                           .format = "linear",
                           .artifact = HEX_A,
                           .artifact_bytes = 100,
                           .objective = "",
                           .metrics = "{\"rmse\":0.5}",
                           .fingerprint = "f00d",
                           .source = "train",
                           .baseline = 9.25,
                           .created_ms = 77};
}

TESTING_UNUSED static int64_t fixture_add(myr_registry *registry, int64_t fleet_id, const char *segment)
{
    myr_model_row row = fixture_model(segment);
    int64_t version = 0;
    myr_err err = {0};
    EXPECT_RC(myr_registry_model_add(registry, fleet_id, &row, &version, &err), OK, &err);
    return version;
}

#endif
