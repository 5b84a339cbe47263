/*
 * Score scripts: whatever text it is, it loads or is refused, and runs within its limits, twice on one state. What a
 * row was answered is checked for what callers rely on.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "script/script.h"

#define INPUT_BYTES_MAX 4096
#define FUZZ_GIVEN_NS   20000000
#define FUZZ_LATE_NS    3000000000 /* how late a stop may be, on a slow machine under sanitizers */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

static void fuzz_expect(bool holds, const char *what)
{
    if (holds) return;
    fprintf(stderr, "%s\n", what);
    abort();
}

static void fuzz_run(myr_script_state *state, myr_arena *arena)
{
    static const int64_t store = 2;
    static const double price = 1.5, feat = NAN;
    static const myr_str kind = {"red", 3};
    double cell = 10, *values[1] = {&cell};
    myr_col keys[] = {{"store", MYR_COL_INT64, NULL, {.i64 = &store}}};
    myr_col features[] = {{"price", MYR_COL_DOUBLE, NULL, {.f64 = &price}},
                          {"feat", MYR_COL_DOUBLE, NULL, {.f64 = &feat}},
                          {"kind", MYR_COL_TEXT, NULL, {.text = &kind}}};
    myr_script_row row = {.keys = keys,
                          .features = features,
                          .values = values,
                          .model_idx = MYR_PACK_NONE,
                          .level = MYR_LEVEL_SEGMENT,
                          .arena = arena};
    myr_script_answer answer = {0};
    int64_t start_ns = myr_clock_mono_ns();
    row.deadline_ns = start_ns + FUZZ_GIVEN_NS;
    myr_rc rc = myr_script_run(state, &row, &answer, NULL);
    fuzz_expect(myr_clock_mono_ns() - row.deadline_ns < FUZZ_LATE_NS, "it ran on after its deadline");
    fuzz_expect(isfinite(cell), "a value is not a number");
    fuzz_expect(rc == MYR_OK || cell == 10, "a failed row's value was changed");
    if (rc != MYR_OK) return;
    fuzz_expect(answer.field_count <= MYR_SCRIPT_FIELDS_MAX, "too many fields");
    for (uint32_t i = 0; i < answer.field_count; i++) {
        const myr_script_field *field = &answer.fields[i];
        fuzz_expect(field->type != MYR_SCRIPT_TEXT || myr_utf8_is_valid(field->text), "a field is not UTF-8");
        fuzz_expect(isfinite(field->number), "a field is not a number");
    }
    fuzz_expect(answer.verdict != MYR_SCRIPT_REFUSED || answer.status[0] != '\0', "refused without a status");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    static const char *const features[] = {"price", "feat", "kind"};
    myr_pack_info info = {.fleet = "oj", .release = 1, .features = features, .feature_count = 3, .output_count = 1};
    myr_script_opts opts = {.memory_bytes_max = 1 << 20, .init_ms = 20};
    myr_script *script = NULL;
    myr_script_state *state = NULL;
    if (size_bytes > INPUT_BYTES_MAX) return 0;
    info.keys.column_count = 1;
    snprintf(info.keys.columns[0].name, sizeof info.keys.columns[0].name, "store");
    myr_str text = myr_str_make((const char *)data, size_bytes);
    if (myr_script_parse("fuzz.lua", text, &info, &opts, &script, NULL) != MYR_OK) return 0;
    myr_arena *arena = myr_arena_new(1 << 16);
    if (arena != NULL && myr_script_acquire(script, &state, NULL) == MYR_OK) {
        fuzz_run(state, arena);
        fuzz_run(state, arena);
        myr_script_release(state);
    }
    myr_arena_free(arena);
    myr_script_free(script);
    return 0;
}
