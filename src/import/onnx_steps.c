/*
 * What stands between a cell and a model: roundings, scalers, fills. Each step is a float or double operation that is
 * monotone in its input (rounding is monotone), so `value <= t` holds for all x up to some x, or from some x on. That x
 * is found by bisection over the numbers in their order: 32 or 64 evaluations of the very same operations, and no
 * algebra that would round differently.
 */
#include <math.h>
#include <string.h>

#include "import/onnx_graph.h"

static double steps_apply(const myr_onnx_step *step, double x)
{
    switch (step->op) {
    case MYR_ONNX_STEP_ROUND:
        return (double)(float)x;
    case MYR_ONNX_STEP_ADD:
        return step->single ? (double)((float)x + (float)step->c) : x + step->c;
    case MYR_ONNX_STEP_SUB:
        return step->single ? (double)((float)x - (float)step->c) : x - step->c;
    case MYR_ONNX_STEP_MUL:
        return step->single ? (double)((float)x * (float)step->c) : x * step->c;
    case MYR_ONNX_STEP_DIV:
        return step->single ? (double)((float)x / (float)step->c) : x / step->c;
    case MYR_ONNX_STEP_FILL:
        return isnan(x) ? step->c : x;
    }
    return x;
}

double myr_onnx_steps_run(const myr_onnx_column *column, double x)
{
    for (uint32_t k = 0; k < column->step_count; k++) {
        x = steps_apply(&column->steps[k], x);
    }
    return x;
}

bool myr_onnx_steps_line(const myr_onnx_column *column, double *scale, double *offset, double *fill)
{
    double a = 1.0;
    double b = 0.0;
    *fill = (double)NAN;
    for (uint32_t k = 0; k < column->step_count; k++) {
        const myr_onnx_step *step = &column->steps[k];
        double c = step->c;
        if (step->op == MYR_ONNX_STEP_ADD) b += c;
        if (step->op == MYR_ONNX_STEP_SUB) b -= c;
        if (step->op == MYR_ONNX_STEP_MUL) {
            a *= c;
            b *= c;
        } else if (step->op == MYR_ONNX_STEP_DIV) {
            a /= c;
            b /= c;
        } else if (step->op == MYR_ONNX_STEP_FILL && isnan(*fill)) {
            *fill = (c - b) / a; /* the x that would have come to c here */
        }
    }
    *scale = a;
    *offset = b;
    return isfinite(a) && isfinite(b) && a != 0.0 && !isinf(*fill);
}

/* ---- cuts ---- */

/* Numbers counted in their order from -infinity (0) over zero (limit; both zeros are one) to infinity (2 * limit). */
static uint64_t steps_limit(bool single)
{
    return single ? UINT64_C(0x7f800000) : UINT64_C(0x7ff0000000000000);
}

static double steps_number(uint64_t place, bool single)
{
    uint64_t limit = steps_limit(single);
    uint64_t magnitude = place < limit ? limit - place : place - limit;
    double value;
    if (single) {
        uint32_t bits = (uint32_t)magnitude;
        float narrow;
        memcpy(&narrow, &bits, sizeof narrow);
        value = (double)narrow;
    } else {
        memcpy(&value, &magnitude, sizeof value);
    }
    return place < limit ? -value : value;
}

static bool steps_falls(const myr_onnx_column *column)
{
    bool falls = false;
    for (uint32_t k = 0; k < column->step_count; k++) {
        bool factor = column->steps[k].op == MYR_ONNX_STEP_MUL || column->steps[k].op == MYR_ONNX_STEP_DIV;
        if (factor && column->steps[k].c < 0) falls = !falls;
    }
    return falls;
}

/* Without a step that changes anything the answer is plain. */
static bool steps_plain(const myr_onnx_column *column, bool single)
{
    for (uint32_t k = 0; k < column->step_count; k++) {
        bool rounds = column->steps[k].op == MYR_ONNX_STEP_ROUND && single;
        if (!rounds && column->steps[k].op != MYR_ONNX_STEP_FILL) return false;
    }
    return true;
}

static myr_onnx_cut steps_plain_cut(double t, bool strict, bool single)
{
    if (strict && t == -(double)INFINITY) return (myr_onnx_cut){.kind = MYR_ONNX_NEVER};
    if (!strict && t == (double)INFINITY) return (myr_onnx_cut){.kind = MYR_ONNX_ALWAYS};
    double below = single ? (double)nextafterf((float)t, -INFINITY) : nextafter(t, -(double)INFINITY);
    return (myr_onnx_cut){.kind = MYR_ONNX_UP_TO, .at = strict ? below : t};
}

typedef struct steps_test {
    const myr_onnx_column *column;
    double t;
    bool strict, single;
} steps_test;

static bool steps_holds(const steps_test *test, uint64_t place)
{
    double z = myr_onnx_steps_run(test->column, steps_number(place, test->single));
    return test->strict ? z < test->t : z <= test->t;
}

myr_onnx_cut myr_onnx_cut_find(const myr_onnx_column *column, double t, bool strict, bool single)
{
    const steps_test test = {.column = column, .t = t, .strict = strict, .single = single};
    uint64_t low = 0;
    uint64_t high = 2 * steps_limit(single);
    MYR_ASSERT(!isnan(t) && (!single || (double)(float)t == t));
    if (steps_plain(column, single)) return steps_plain_cut(t, strict, single);
    bool at_low = steps_holds(&test, low);
    bool at_high = steps_holds(&test, high);
    if (at_low == at_high) {
        return (myr_onnx_cut){.kind = at_low ? MYR_ONNX_ALWAYS : MYR_ONNX_NEVER};
    }
    MYR_ASSERT(at_low == !steps_falls(column)); /* monotone: it holds on one side */
    while (high - low > 1) {                    /* it holds at `low` as it does at -infinity, at `high` not so */
        uint64_t middle = low + (high - low) / 2;
        if (steps_holds(&test, middle) == at_low) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return (myr_onnx_cut){.kind = at_low ? MYR_ONNX_UP_TO : MYR_ONNX_ABOVE, .at = steps_number(low, single)};
}
