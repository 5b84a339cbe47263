/*
 * `xgboost`: boosted trees through XGBoost's C interface. The library is opened at run time, so that a program without
 * it still trains everything else; each fit runs on the thread that asks (nthread=1), and what it says becomes our
 * error.
 */
#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <xgboost/c_api.h>

#include "base/library.h"
#include "train/internal.h"

/* The calls in use: name and place in one row, so that none is forgotten. */
#define BOOSTED_CALLS(X)                                                                                               \
    X(XGBGetLastError)                                                                                                 \
    X(XGBRegisterLogCallback)                                                                                          \
    X(XGBSetGlobalConfig)                                                                                              \
    X(XGDMatrixCreateFromMat_omp)                                                                                      \
    X(XGDMatrixSetFloatInfo)                                                                                           \
    X(XGDMatrixFree)                                                                                                   \
    X(XGBoosterCreate)                                                                                                 \
    X(XGBoosterSetParam)                                                                                               \
    X(XGBoosterSetStrFeatureInfo)                                                                                      \
    X(XGBoosterUpdateOneIter)                                                                                          \
    X(XGBoosterSaveModelToBuffer)                                                                                      \
    X(XGBoosterFree)

struct myr_train_xgboost {
    void *library;
#define BOOSTED_MEMBER(call) __typeof__(&call) call;
    BOOSTED_CALLS(BOOSTED_MEMBER)
#undef BOOSTED_MEMBER
};

/* ---- the library ---- */

static void *boosted_dlopen(const char **out_name)
{
    const char *asked = getenv("MYRIAD_XGBOOST_LIB");
    const char *const names[] = {MYR_DEFAULT_XGBOOST_LIB, "libxgboost.so", "libxgboost.so.0", NULL};
    const char *const wanted[] = {asked, NULL}; /* who names one wants no other */
    bool is_asked = asked != NULL && asked[0] != '\0';
    *out_name = is_asked ? asked : "libxgboost.so";
    return myr_library_open(is_asked ? wanted : names);
}

static void boosted_log(const char *text)
{
    myr_log(MYR_LOG_DEBUG, "train", "xgboost", "text", text, NULL);
}

static myr_rc boosted_find(myr_train_xgboost *xgboost, myr_err *err)
{
#define BOOSTED_FIND(call)                                                                                             \
    {                                                                                                                  \
        if (!myr_library_symbol(xgboost->library, #call, &xgboost->call))                                              \
            MYR_FAIL(err, UNAVAILABLE, "the XGBoost library has no %s: use version 1.7 or later", #call);              \
    }
    BOOSTED_CALLS(BOOSTED_FIND)
#undef BOOSTED_FIND
    return MYR_OK;
}

myr_rc myr_train_xgboost_open(myr_train_xgboost **out, myr_err *err)
{
    const char *name = "";
    void *library = boosted_dlopen(&name);
    if (library == NULL) {
        const char *why = dlerror();
        MYR_FAIL(err, UNAVAILABLE,
                 "the trials ask for xgboost, but %.100s cannot be opened (%.60s): run scripts/setup, or set "
                 "MYRIAD_XGBOOST_LIB to libxgboost.so, or take xgboost out of the trials",
                 name, why != NULL ? why : "not found");
    }
    myr_train_xgboost *xgboost = myr_calloc(1, sizeof *xgboost);
    if (xgboost == NULL) {
        dlclose(library);
        MYR_FAIL(err, NO_MEMORY, "no memory for XGBoost");
    }
    xgboost->library = library;
    myr_rc rc = boosted_find(xgboost, err);
    if (rc != MYR_OK) {
        myr_train_xgboost_close(xgboost);
        return rc;
    }
    *out = xgboost;
    return MYR_OK;
}

void myr_train_xgboost_close(myr_train_xgboost *xgboost)
{
    if (xgboost == NULL) return;
    dlclose(xgboost->library);
    myr_free(xgboost);
}

/* ---- a fit ---- */

enum {
    BOOSTED_ROUNDS,
    BOOSTED_MAX_DEPTH,
    BOOSTED_ETA,
    BOOSTED_MIN_CHILD_WEIGHT,
    BOOSTED_LAMBDA,
    BOOSTED_ALPHA,
    BOOSTED_GAMMA,
    BOOSTED_SUBSAMPLE,
    BOOSTED_COLSAMPLE,
    BOOSTED_MAX_BIN,
    BOOSTED_METHOD,
    BOOSTED_OBJECTIVE
};
static const char *const boosted_methods[] = {"auto", "exact", "hist", NULL};
static const char *const boosted_objectives[] = {"reg:squarederror", "reg:absoluteerror", NULL};
static const myr_train_setting boosted_settings[] = {
    [BOOSTED_ROUNDS] = {.name = "rounds", .preset = 60, .min = 1, .max = 10000, .is_whole = true},
    [BOOSTED_MAX_DEPTH] = {.name = "max_depth", .preset = 4, .min = 1, .max = 16, .is_whole = true},
    [BOOSTED_ETA] = {.name = "eta", .preset = 0.1, .min = 1e-6, .max = 1},
    [BOOSTED_MIN_CHILD_WEIGHT] = {.name = "min_child_weight", .preset = 1, .min = 0, .max = 1e9},
    [BOOSTED_LAMBDA] = {.name = "lambda", .preset = 1, .min = 0, .max = 1e9},
    [BOOSTED_ALPHA] = {.name = "alpha", .preset = 0, .min = 0, .max = 1e9},
    [BOOSTED_GAMMA] = {.name = "gamma", .preset = 0, .min = 0, .max = 1e9},
    [BOOSTED_SUBSAMPLE] = {.name = "subsample", .preset = 1, .min = 0.01, .max = 1},
    [BOOSTED_COLSAMPLE] = {.name = "colsample_bytree", .preset = 1, .min = 0.01, .max = 1},
    [BOOSTED_MAX_BIN] = {.name = "max_bin", .preset = 256, .min = 2, .max = 65536, .is_whole = true},
    [BOOSTED_METHOD] = {.name = "tree_method", .words = boosted_methods},
    [BOOSTED_OBJECTIVE] = {.name = "objective", .words = boosted_objectives},
};

typedef struct boosted_run {
    const myr_train_xgboost *xgboost;
    DMatrixHandle matrix;
    BoosterHandle booster;
    myr_err *err;
} boosted_run;

static void boosted_run_drop(boosted_run *run)
{
    if (run->booster != NULL) MYR_IGNORE(run->xgboost->XGBoosterFree(run->booster)); /* nothing is left to be done */
    if (run->matrix != NULL) MYR_IGNORE(run->xgboost->XGDMatrixFree(run->matrix));
}

/* XGBoost's messages have a time, a source line and a backtrace: the sentence after the last "] " of the first line. */
static myr_rc boosted_check(boosted_run *run, int result)
{
    if (result == 0) return MYR_OK;
    const char *text = run->xgboost->XGBGetLastError();
    size_t size = strcspn(text, "\n");
    for (size_t i = 0; i + 1 < size; i++) {
        if (text[i] != ']' || text[i + 1] != ' ') continue;
        text += i + 2;
        size -= i + 2;
        i = 0;
    }
    MYR_FAIL(run->err, BAD_INPUT, "xgboost: %.*s", (int)(size < 180 ? size : 180), text);
}

static myr_rc boosted_matrix(boosted_run *run, const myr_train_sample *sample, myr_train_scratch *scratch)
{
    size_t cells = (size_t)sample->row_count * sample->feature_count;
    float *x = myr_train_room_take(&scratch->work, cells + sample->row_count, sizeof *x);
    if (x == NULL) MYR_FAIL(run->err, NO_MEMORY, "no memory for %u rows", sample->row_count);
    float *y = x + cells;
    for (size_t i = 0; i < cells; i++)
        x[i] = (float)sample->x[i];
    for (uint32_t i = 0; i < sample->row_count; i++)
        y[i] = (float)sample->y[i];
    const myr_train_xgboost *xgb = run->xgboost;
    MYR_TRY(boosted_check(
        run, xgb->XGDMatrixCreateFromMat_omp(x, sample->row_count, sample->feature_count, NAN, &run->matrix, 1)));
    return boosted_check(run, xgb->XGDMatrixSetFloatInfo(run->matrix, "label", y, sample->row_count));
}

static myr_rc boosted_set(boosted_run *run, const char *name, const char *value)
{
    return boosted_check(run, run->xgboost->XGBoosterSetParam(run->booster, name, value));
}

static myr_rc boosted_set_number(boosted_run *run, const char *name, double value)
{
    char text[MYR_DOUBLE_TEXT_BYTES];
    myr_format_double(value, text);
    return boosted_set(run, name, text);
}

static myr_rc boosted_params(boosted_run *run, const myr_train_sample *sample, const double *values)
{
    /* `exact` is quicker than building histograms for a hundred rows, `hist` for many; both were measured. */
    int method = (int)values[BOOSTED_METHOD];
    MYR_ASSERT(method >= 0 && method < 3);
    if (method == 0) method = sample->is_leaf ? 1 : 2;
    MYR_TRY(boosted_set(run, "nthread", "1"));
    MYR_TRY(boosted_set(run, "verbosity", "0"));
    MYR_TRY(boosted_set(run, "disable_default_eval_metric", "1"));
    MYR_TRY(boosted_set(run, "tree_method", boosted_methods[method]));
    MYR_TRY(boosted_set(run, "objective", boosted_objectives[(int)values[BOOSTED_OBJECTIVE]]));
    MYR_TRY(boosted_set_number(run, "seed", (double)sample->seed));
    for (int i = BOOSTED_MAX_DEPTH; i < BOOSTED_METHOD; i++) {
        if (i == BOOSTED_MAX_BIN && method != 2) continue;
        MYR_TRY(boosted_set_number(run, boosted_settings[i].name, values[i]));
    }
    const char **names; /* the call reads them, but its type does not say so */
    memcpy(&names, &sample->features, sizeof names);
    return boosted_check(
        run, run->xgboost->XGBoosterSetStrFeatureInfo(run->booster, "feature_name", names, sample->feature_count));
}

static myr_rc boosted_fit(const myr_train_sample *sample, const double *values, myr_train_scratch *scratch,
                          myr_buf *out, myr_err *err)
{
    MYR_ASSERT(scratch->xgboost != NULL);
    MYR_AUTO(boosted_run) run = {.xgboost = scratch->xgboost, .err = err};
    const myr_train_xgboost *xgb = run.xgboost;
    MYR_TRY(boosted_check(&run, xgb->XGBRegisterLogCallback(boosted_log))); /* both are per thread, and cheap */
    MYR_TRY(boosted_check(&run, xgb->XGBSetGlobalConfig("{\"verbosity\":0}")));
    MYR_TRY(boosted_matrix(&run, sample, scratch));
    MYR_TRY(boosted_check(&run, xgb->XGBoosterCreate(&run.matrix, 1, &run.booster)));
    MYR_TRY(boosted_params(&run, sample, values));
    for (int round = 0; round < (int)values[BOOSTED_ROUNDS]; round++) {
        MYR_TRY(boosted_check(&run, xgb->XGBoosterUpdateOneIter(run.booster, round, run.matrix)));
    }
    bst_ulong size = 0;
    const char *data = NULL;
    MYR_TRY(boosted_check(&run, xgb->XGBoosterSaveModelToBuffer(run.booster, "{\"format\":\"ubj\"}", &size, &data)));
    myr_buf_append(out, data, size);
    return myr_buf_check(out, err);
}

const myr_train_algorithm myr_train_boosted = {.name = "xgboost",
                                               .settings = boosted_settings,
                                               .setting_count = MYR_COUNT_OF(boosted_settings),
                                               .needs_xgboost = true,
                                               .fit = boosted_fit};
