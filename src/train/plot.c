/*
 * A picture for people: four segments, the end of their training rows and their test weeks, actual against predicted,
 * in units when the target is a logarithm. Plain SVG; the segments stand evenly spaced in the order of their keys, so
 * that nobody picked the pretty ones.
 */
#include <math.h>
#include <string.h>

#include "train/internal.h"

#define PLOT_PANELS       4
#define PLOT_TAIL         5 /* training rows shown, in lengths of the test set */
#define PLOT_WIDTH        1240
#define PLOT_HEIGHT       860
#define PLOT_PANEL_WIDTH  500
#define PLOT_PANEL_HEIGHT 270
#define PLOT_POINTS_MAX   4000 /* of a line: more rows than a screen has columns are not drawn */

#define PLOT_ACTUAL    "#1f2937"
#define PLOT_PREDICTED "#d9480f"
#define PLOT_BASELINE  "#94a3b8"

typedef struct plot_panel {
    const myr_train_table *t;
    const myr_train_segment *s;
    double left, top; /* of the plotting area, in pixels */
    double x_min, x_max, y_min, y_max;
    const uint32_t *rows; /* shown, by time */
    double *actual, *predicted;
    uint32_t count;
    myr_buf *out;
} plot_panel;

static double plot_x(const plot_panel *p, double x)
{
    return p->left + (x - p->x_min) / (p->x_max - p->x_min) * PLOT_PANEL_WIDTH;
}

static double plot_y(const plot_panel *p, double y)
{
    return p->top + PLOT_PANEL_HEIGHT - (y - p->y_min) / (p->y_max - p->y_min) * PLOT_PANEL_HEIGHT;
}

static void plot_escape(myr_buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '&')
            myr_buf_puts(out, "&amp;");
        else if (*text == '<')
            myr_buf_puts(out, "&lt;");
        else if (*text == '>')
            myr_buf_puts(out, "&gt;");
        else if ((unsigned char)*text >= 0x20)
            myr_buf_putc(out, *text);
    }
}

/* 1, 2 or 5 times a power of ten, so that about `wanted` steps cover the span. */
static double plot_step(double span, int wanted)
{
    double rough = span / wanted;
    double power = pow(10, floor(log10(rough)));
    double head = rough / power;
    return (head <= 1 ? 1 : head <= 2 ? 2 : head <= 5 ? 5 : 10) * power;
}

static void plot_number(myr_buf *out, double value, double step)
{
    if (fabs(value) < step / 1000) /* never -0, 1e-17 or 0k */
        myr_buf_putc(out, '0');
    else if (step >= 1e5)
        myr_buf_printf(out, "%.10gM", value / 1e6);
    else if (step >= 500)
        myr_buf_printf(out, "%.10gk", value / 1e3);
    else
        myr_buf_printf(out, "%.10g", value);
}

/* ---- data ---- */

static double plot_unit(const plot_panel *p, double value)
{
    return p->t->plan->transform[0] != '\0' ? exp(value) : value;
}

static bool plot_is_shown(const plot_panel *p, uint32_t row)
{
    const myr_train_plan *plan = p->t->plan;
    return fabs(p->t->target[row]) <= MYR_TRAIN_VALUE_MAX &&
           p->t->time[row] > p->s->origin - PLOT_TAIL * plan->test_last;
}

static myr_rc plot_load(plot_panel *p, myr_arena *arena, myr_train_scratch *scratch, myr_err *err)
{
    const uint32_t *order = p->t->orders[p->s->level] + p->s->first;
    uint32_t *rows = myr_arena_calloc(arena, p->s->count, sizeof *rows);
    p->actual = myr_arena_calloc(arena, p->s->count, sizeof *p->actual);
    p->predicted = myr_arena_calloc(arena, p->s->count, sizeof *p->predicted);
    if (rows == NULL || p->actual == NULL || p->predicted == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a picture");
    for (uint32_t i = 0; i < p->s->count && p->count < PLOT_POINTS_MAX; i++) {
        if (plot_is_shown(p, order[i])) rows[p->count++] = order[i];
    }
    const double *predicted = NULL;
    MYR_TRY(myr_train_predict(p->t, &p->s->artifact, rows, p->count, scratch, &predicted, err));
    for (uint32_t i = 0; i < p->count; i++) {
        p->actual[i] = plot_unit(p, p->t->target[rows[i]]);
        p->predicted[i] = plot_unit(p, predicted[i]);
    }
    p->rows = rows;
    return MYR_OK;
}

/* Room for steps that still move a number of this size: axes are walked by adding. */
static void plot_widen(double *low, double *high)
{
    double least = fmax(1e-6 * fmax(fabs(*low), fabs(*high)), 1e-30);
    if (*high > 1e300) *high = 1e300;
    if (*high - *low >= least) return;
    *low -= least / 2;
    *high += least / 2;
}

/* Axes that hold the actual values; a prediction far outside is cut off rather than flattening everything else. */
static void plot_range(plot_panel *p)
{
    MYR_ASSERT(p->count > 0);
    double low = INFINITY, high = -INFINITY;
    for (uint32_t i = 0; i < p->count; i++) {
        low = fmin(low, p->actual[i]);
        high = fmax(high, p->actual[i]);
    }
    double room = (high - low) / 2;
    double bottom = low, top = high;
    for (uint32_t i = 0; i < p->count; i++) {
        bottom = fmin(bottom, fmax(p->predicted[i], low - room)); /* fmin and fmax pass over a NaN */
        top = fmax(top, fmin(p->predicted[i], high + room));
    }
    if (p->t->plan->transform[0] != '\0' || (bottom >= 0 && bottom < top / 2)) bottom = 0;
    if (!isfinite(top) || !isfinite(bottom) || !(top > bottom)) {
        bottom = isfinite(low) ? low - 1 : 0;
        top = bottom + 2;
    }
    plot_widen(&bottom, &top);
    double step = plot_step(top - bottom, 5);
    p->y_min = floor(bottom / step) * step;
    p->y_max = ceil(top * (1 + 1e-9) / step) * step;
    plot_widen(&p->y_min, &p->y_max);
    p->x_min = p->t->time[p->rows[0]];
    p->x_max = p->t->time[p->rows[p->count - 1]];
    double side = p->x_max > p->x_min ? (p->x_max - p->x_min) / 50 : 1;
    p->x_min -= side;
    p->x_max += side;
    plot_widen(&p->x_min, &p->x_max);
}

/* ---- drawing ---- */

static void plot_text(const plot_panel *p, double x, double y, const char *class, const char *text)
{
    myr_buf_printf(p->out, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">", x, y, class);
    plot_escape(p->out, text);
    myr_buf_puts(p->out, "</text>\n");
}

static void plot_axes(const plot_panel *p)
{
    myr_buf *out = p->out;
    double bottom = p->top + PLOT_PANEL_HEIGHT;
    double right = p->left + PLOT_PANEL_WIDTH;
    double step = plot_step(p->y_max - p->y_min, 5);
    for (double y = p->y_min; y <= p->y_max + step / 2; y += step) {
        myr_buf_printf(out, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" class=\"grid\"/>\n", p->left, right,
                       plot_y(p, y), plot_y(p, y));
        myr_buf_printf(out, "<text x=\"%.1f\" y=\"%.1f\" class=\"tick end\">", p->left - 8, plot_y(p, y) + 4);
        plot_number(out, y, step);
        myr_buf_puts(out, "</text>\n");
    }
    step = plot_step(p->x_max - p->x_min, 8);
    for (double x = ceil(p->x_min / step) * step; x <= p->x_max; x += step) {
        myr_buf_printf(out, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" class=\"grid\"/>\n", plot_x(p, x),
                       plot_x(p, x), p->top, bottom);
        myr_buf_printf(out, "<text x=\"%.1f\" y=\"%.1f\" class=\"tick middle\">", plot_x(p, x), bottom + 18);
        plot_number(out, x, step);
        myr_buf_puts(out, "</text>\n");
    }
    myr_buf_printf(out, "<path d=\"M%.1f %.1fV%.1fH%.1f\" class=\"axis\"/>\n", p->left, p->top, bottom, right);
    plot_text(p, p->left + PLOT_PANEL_WIDTH / 2.0, bottom + 36, "label middle", p->t->plan->time);
    double middle = p->top + PLOT_PANEL_HEIGHT / 2.0;
    myr_buf_printf(out, "<text transform=\"translate(%.1f %.1f) rotate(-90)\" class=\"label middle\">", p->left - 50,
                   middle);
    myr_buf_puts(out, p->t->plan->transform[0] != '\0' ? "units: exp(" : "");
    plot_escape(out, p->t->plan->target);
    myr_buf_puts(out, p->t->plan->transform[0] != '\0' ? ")</text>\n" : "</text>\n");
}

static void plot_test_region(const plot_panel *p)
{
    double right = p->left + PLOT_PANEL_WIDTH;
    double start = p->x_max;
    for (uint32_t i = p->count; i-- > 0 && p->t->states[p->rows[i]] == MYR_TRAIN_ROW_TEST;)
        start = p->t->time[p->rows[i]];
    uint32_t before = 0;
    while (before < p->count && p->t->time[p->rows[before]] < start)
        before++;
    if (before == p->count) return;
    double edge = before > 0 ? plot_x(p, (start + p->t->time[p->rows[before - 1]]) / 2) : p->left;
    myr_buf_printf(p->out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" fill=\"#fef3e2\"/>\n", edge,
                   p->top, right - edge, PLOT_PANEL_HEIGHT);
    myr_buf_printf(p->out, "<text x=\"%.1f\" y=\"%.1f\" class=\"note middle\">test set</text>\n", (edge + right) / 2,
                   p->top + 15);
}

static void plot_line(const plot_panel *p, const double *values, const char *color, bool has_dots)
{
    bool is_down = false;
    myr_buf_puts(p->out, "<path d=\"");
    for (uint32_t i = 0; i < p->count; i++) {
        double y = values[i];
        if (isfinite(y)) {
            y = fmin(fmax(plot_y(p, y), -1e6), 1e6);
            myr_buf_printf(p->out, "%c%.1f %.1f", is_down ? 'L' : 'M', plot_x(p, p->t->time[p->rows[i]]), y);
        }
        is_down = isfinite(values[i]);
    }
    myr_buf_printf(p->out, "\" fill=\"none\" stroke=\"%s\" stroke-width=\"%s\" stroke-linejoin=\"round\"/>\n", color,
                   has_dots ? "1.4" : "2");
    for (uint32_t i = 0; has_dots && i < p->count; i++) {
        if (!isfinite(values[i])) continue;
        myr_buf_printf(p->out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.4\" fill=\"%s\"/>\n",
                       plot_x(p, p->t->time[p->rows[i]]), fmin(fmax(plot_y(p, values[i]), -1e6), 1e6), color);
    }
}

static void plot_title(const plot_panel *p)
{
    const myr_train_segment *s = p->s;
    const myr_train_plan *plan = p->t->plan;
    MYR_AUTO(myr_buf) title = {0};
    myr_buf_printf(&title, "%s@%.60s", plan->fleet, s->text);
    plot_text(p, p->left, p->top - 26, "title", title.data != NULL ? title.data : "");
    myr_buf_clear(&title);
    myr_buf_printf(&title, "winner %s", plan->candidates[s->winner].algorithm->name);
    if (s->test_rows > 0) {
        myr_buf_printf(&title, ", test RMSE %.3f, baseline %.3f%s", sqrt(s->test_sse / s->test_rows),
                       sqrt(s->baseline_sse / s->test_rows), plan->transform[0] != '\0' ? " (in log)" : "");
    }
    plot_text(p, p->left, p->top - 10, "note", title.data != NULL ? title.data : "");
}

static void plot_panel_draw(plot_panel *p, uint32_t idx)
{
    plot_range(p);
    MYR_ASSERT(p->x_max > p->x_min && p->y_max > p->y_min);
    plot_test_region(p);
    plot_axes(p);
    plot_title(p);
    myr_buf_printf(p->out,
                   "<clipPath id=\"area%u\"><rect x=\"%.1f\" y=\"%.1f\" width=\"%d\" height=\"%d\"/></clipPath>\n"
                   "<g clip-path=\"url(#area%u)\">\n",
                   idx, p->left, p->top, PLOT_PANEL_WIDTH, PLOT_PANEL_HEIGHT, idx);
    double y = plot_y(p, fmin(fmax(plot_unit(p, p->s->baseline), p->y_min), p->y_max));
    myr_buf_printf(p->out,
                   "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"" PLOT_BASELINE
                   "\" stroke-width=\"1.5\" "
                   "stroke-dasharray=\"6 4\"/>\n",
                   p->left, p->left + PLOT_PANEL_WIDTH, y, y);
    plot_line(p, p->actual, PLOT_ACTUAL, true);
    plot_line(p, p->predicted, PLOT_PREDICTED, false);
    myr_buf_puts(p->out, "</g>\n");
}

static void plot_head(const myr_train_plan *plan, myr_buf *out)
{
    myr_buf_printf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\">\n",
                   PLOT_WIDTH, PLOT_HEIGHT, PLOT_WIDTH, PLOT_HEIGHT);
    myr_buf_puts(
        out, "<style>text{font-family:'DejaVu Sans',Helvetica,Arial,sans-serif;fill:#334155;font-size:12px}"
             ".head{font-size:20px;font-weight:bold;fill:#0f172a}.title{font-size:15px;font-weight:bold;fill:#0f172a}"
             ".note{fill:#64748b}.label{font-size:13px}.middle{text-anchor:middle}.end{text-anchor:end}"
             ".grid{stroke:#e2e8f0;stroke-width:1}.axis{stroke:#64748b;stroke-width:1;fill:none}</style>\n");
    myr_buf_printf(out, "<rect width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>\n<text x=\"90\" y=\"38\" class=\"head\">",
                   PLOT_WIDTH, PLOT_HEIGHT);
    plot_escape(out, plan->fleet);
    myr_buf_puts(out, ": actual against predicted</text>\n");
    static const struct {
        const char *name, *color, *dash;
        int x;
    } keys[] = {{"actual", PLOT_ACTUAL, "none", 800},
                {"predicted by the winner", PLOT_PREDICTED, "none", 890},
                {"baseline (mean)", PLOT_BASELINE, "6 4", 1082}};
    for (size_t i = 0; i < MYR_COUNT_OF(keys); i++) {
        myr_buf_printf(out,
                       "<line x1=\"%d\" x2=\"%d\" y1=\"33\" y2=\"33\" stroke=\"%s\" stroke-width=\"2\" "
                       "stroke-dasharray=\"%s\"/>\n",
                       keys[i].x, keys[i].x + 24, keys[i].color, keys[i].dash);
        myr_buf_printf(out, "<text x=\"%d\" y=\"37\">%s</text>\n", keys[i].x + 30, keys[i].name);
    }
}

/* The i-th of four leaves, evenly spaced among those with a model; NULL when there are fewer. */
static const myr_train_segment *plot_choose(const myr_train_table *t, uint32_t i)
{
    const myr_train_segment *leaves = t->segments + t->level_first[0];
    uint32_t fitted = 0;
    for (uint32_t k = 0; k < t->level_segments[0]; k++)
        fitted += leaves[k].is_fitted;
    if (i >= fitted) return NULL;
    uint32_t wanted = fitted <= PLOT_PANELS ? i : (uint32_t)((uint64_t)(2 * i + 1) * fitted / (2 * PLOT_PANELS));
    for (uint32_t k = 0; k < t->level_segments[0]; k++) {
        if (leaves[k].is_fitted && wanted-- == 0) return &leaves[k];
    }
    MYR_ASSERT(false); /* wanted < fitted */
    return NULL;
}

myr_rc myr_train_plot_write(const myr_train_table *table, const char *path, myr_train_scratch *scratch, myr_err *err)
{
    MYR_AUTO(myr_buf) out = {0};
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a picture");
    plot_head(table->plan, &out);
    for (uint32_t i = 0; i < PLOT_PANELS; i++) {
        plot_panel panel = {.t = table, .s = plot_choose(table, i), .out = &out};
        if (panel.s == NULL) break;
        uint32_t across = i % 2, down = i / 2;
        panel.left = 90 + across * (PLOT_PANEL_WIDTH + 110);
        panel.top = 115 + down * (PLOT_PANEL_HEIGHT + 120);
        MYR_TRY(plot_load(&panel, arena, scratch, err));
        if (panel.count > 0) plot_panel_draw(&panel, i);
    }
    myr_buf_puts(&out, "</svg>\n");
    MYR_TRY(myr_buf_check(&out, err));
    return myr_file_write(path, out.data, out.size, err);
}
