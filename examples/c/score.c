/*
 * Score one row with the stable C interface of myriad.
 *
 *   cc -std=c99 -I include examples/c/score.c -L build -lmyriad -o score
 *   ./score demo/packs/oj/r1.index 2,1 7 0.05 0.04 ...      a pack: keys with commas, then the features
 *   ./score model.txt "" 7 0.05 0.04 ...                    one LightGBM, XGBoost or linear model file
 *
 * Without features it lists what the file holds. "?" is a missing feature, an empty key is a null key.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <myriad/myriad.h>

#define KEYS_MAX     8
#define NOT_A_NUMBER (strtod("nan", NULL))

static int fail(int32_t rc, const myr_err *err)
{
    fprintf(stderr, "score: %s: %s\n", myr_error_name(rc), err->message);
    return 1;
}

static void list(const myr_models *models, const myr_models_info *info)
{
    uint32_t i;
    printf("fleet '%s' release %lld: %lu models\n", info->fleet, (long long)info->release,
           (unsigned long)info->model_count);
    for (i = 0; i < info->key_count; i++) {
        printf("key     %s %s\n", myr_models_key_name(models, i),
               myr_models_key_is_int64(models, i) ? "INT64" : "BYTES");
    }
    for (i = 0; i < info->feature_count; i++)
        printf("feature %s\n", myr_models_feature_name(models, i));
}

/* Cut "2,1" into keys, in place. */
static uint32_t split(char *text, const char **keys)
{
    uint32_t count = 0;
    while (text != NULL && count < KEYS_MAX) {
        char *comma = strchr(text, ',');
        if (comma != NULL) *comma++ = '\0';
        keys[count++] = text[0] != '\0' ? text : NULL;
        text = comma;
    }
    return count;
}

static int score(const myr_models *models, const myr_models_info *info, const char *const *keys, char **texts)
{
    static const char *const levels[] = {"none", "segment", "parent", "global"};
    static const char *const statuses[] = {"ok", "no model", "bad key", "broken model"};
    double *features = calloc(info->feature_count + 1, sizeof *features);
    double *values = calloc(info->output_count, sizeof *values);
    uint8_t level = 0, status = 0;
    uint32_t i;
    myr_err err;
    int32_t rc;
    myr_models_rows rows;
    if (features == NULL || values == NULL) return 1;
    for (i = 0; i < info->feature_count; i++) {
        features[i] = strcmp(texts[i], "?") == 0 ? NOT_A_NUMBER : strtod(texts[i], NULL);
    }
    memset(&rows, 0, sizeof rows);
    rows.struct_size = sizeof rows;
    rows.row_count = 1;
    rows.model_idx = MYR_MODELS_BY_KEY;
    rows.key_texts = keys;
    rows.features = features;
    rc = myr_models_score(models, &rows, values, &level, &status, &err);
    if (rc == 0) {
        for (i = 0; i < info->output_count; i++)
            printf("%s%.17g", i > 0 ? " " : "", values[i]);
        printf(" level=%s status=%s\n", levels[level], statuses[status]);
    }
    free(features);
    free(values);
    return rc == 0 ? 0 : fail(rc, &err);
}

int main(int argc, char **argv)
{
    const char *keys[KEYS_MAX] = {NULL};
    uint32_t key_count = 0;
    myr_models *models = NULL;
    myr_models_info info;
    myr_err err;
    int32_t rc;
    int code = 0;
    if (argc < 2) {
        fprintf(stderr, "usage: score PACK.index|MODEL [KEY,KEY FEATURE...]   (myriad %s)\n", myr_version());
        return 64;
    }
    rc = myr_models_open(argv[1], &models, &err);
    if (rc != 0) return fail(rc, &err);
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    rc = myr_models_get_info(models, &info, &err);
    if (rc != 0) {
        code = fail(rc, &err);
    } else if (argc == 2) {
        list(models, &info);
    } else {
        if (info.key_count > 0) key_count = split(argv[2], keys);
        if (key_count != info.key_count || (uint32_t)(argc - 3) != info.feature_count) {
            fprintf(stderr, "score: %lu keys and %lu features are wanted\n", (unsigned long)info.key_count,
                    (unsigned long)info.feature_count);
            code = 64;
        } else {
            code = score(models, &info, keys, argv + 3);
        }
    }
    myr_models_close(models);
    return code;
}
