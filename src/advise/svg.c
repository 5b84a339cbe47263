/*
 * The picture as SVG. The way is told by form and not by colour alone: a thick line, a tick, bold words; all other ways
 * are thin, dashed and grey.
 */
#include "advise/picture.h"

#define SVG_PANEL_PAD 12.0

typedef struct svg_state {
    const myr_advise_trees *trees;
    const myr_advice *advice;
    myr_buf *out;
    double width;
} svg_state;

static void svg_escape(myr_buf *out, myr_str text)
{
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        if (c == '&') {
            myr_buf_puts(out, "&amp;");
        } else if (c == '<') {
            myr_buf_puts(out, "&lt;");
        } else if (c == '>') {
            myr_buf_puts(out, "&gt;");
        } else {
            myr_buf_putc(out, c);
        }
    }
}

/* Lines of text below `top`; returns the bottom. */
static double svg_text(svg_state *s, const char *text, double x, double top, double width, double size, bool bold,
                       const char *fill)
{
    myr_str lines[PICTURE_LINES_MAX];
    uint32_t count = myr_picture_wrap(text, width, size, bold, lines);
    for (uint32_t i = 0; i < count; i++) {
        double baseline = top + (i + 1) * size * PICTURE_LEADING - size * 0.35;
        myr_buf_printf(s->out, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"%.0f\" fill=\"%s\"%s>", x, baseline, size, fill,
                       bold ? " font-weight=\"bold\"" : "");
        svg_escape(s->out, lines[i]);
        myr_buf_puts(s->out, "</text>\n");
    }
    return top + count * size * PICTURE_LEADING;
}

static void svg_rect(svg_state *s, double x, double y, double width, double height, double radius, bool took)
{
    myr_buf_printf(s->out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"%.0f\" ", x, y, width,
                   height, radius);
    myr_buf_puts(s->out, took ? "class=\"took\" fill=\"#fff3c4\" stroke=\"#000\" stroke-width=\"4\"/>\n"
                              : "fill=\"#fff\" stroke=\"#888\" stroke-width=\"1.2\" stroke-dasharray=\"5 3\"/>\n");
}

/* A tick, drawn and not written: no font is needed for it. */
static void svg_tick(svg_state *s, double right, double top)
{
    myr_buf_printf(
        s->out,
        "<path class=\"tick\" d=\"M%.1f %.1f l4.5 5 l8 -11\" fill=\"none\" stroke=\"#000\" stroke-width=\"3\"/>\n",
        right - 22, top + 16);
}

static void svg_edge(svg_state *s, const myr_picture_box *from, const myr_picture_box *to)
{
    double x = from->x + PICTURE_BOX_WIDTH, tip = to->x - (to->took ? 2 : 0);
    myr_buf_printf(s->out, "<path class=\"edge\" d=\"M%.1f %.1f H%.1f V%.1f H%.1f\" fill=\"none\" ", x, from->centre,
                   x + PICTURE_ELBOW, to->centre, tip - 4);
    myr_buf_puts(s->out, to->took ? "stroke=\"#000\" stroke-width=\"4\"/>\n"
                                  : "stroke=\"#888\" stroke-width=\"1.2\" stroke-dasharray=\"5 3\"/>\n");
    myr_buf_printf(s->out, "<path class=\"arrow\" d=\"M%.1f %.1f l-9 -5 v10 z\" fill=\"%s\"/>\n", tip, to->centre,
                   to->took ? "#000" : "#888");
}

static void svg_label(svg_state *s, uint32_t tree_idx, const myr_picture_box *from, const myr_picture_box *to)
{
    const myr_advise_node *node = &s->trees->trees[tree_idx].nodes[to->node];
    MYR_AUTO(myr_buf) names = {0};
    myr_str lines[PICTURE_LINES_MAX];
    myr_advise_mask_names(&s->trees->questions[node->question], to->mask, &names);
    double width = PICTURE_COLUMN_GAP - PICTURE_ELBOW - PICTURE_ARROW - 8;
    const char *text = names.data != NULL ? names.data : "";
    uint32_t count = myr_picture_wrap(text, width, PICTURE_LABEL, to->took, lines);
    double top = to->centre - 6 - count * PICTURE_LABEL * PICTURE_LEADING;
    (void)svg_text(s, text, from->x + PICTURE_BOX_WIDTH + PICTURE_ELBOW + 8, top, width, PICTURE_LABEL, to->took,
                   to->took ? "#000" : "#555");
}

static void svg_box(svg_state *s, const myr_picture_box *box)
{
    svg_rect(s, box->x, box->y, PICTURE_BOX_WIDTH, box->height, box->is_leaf ? 16 : 4, box->took);
    if (box->took) svg_tick(s, box->x + PICTURE_BOX_WIDTH, box->y);
    (void)svg_text(s, box->text, box->x + PICTURE_BOX_PAD, box->y + PICTURE_BOX_PAD,
                   PICTURE_BOX_WIDTH - 2 * PICTURE_BOX_PAD - PICTURE_TICK_WIDTH, PICTURE_TEXT, box->is_leaf,
                   box->took ? "#000" : "#444");
}

/* Ways that were not taken first, so that the way lies on top where they share a line. */
static void svg_tree(svg_state *s, uint32_t tree_idx, const myr_picture *picture)
{
    for (int took = 0; took < 2; took++) {
        for (uint32_t i = 1; i < picture->box_count; i++) {
            const myr_picture_box *box = &picture->boxes[i];
            MYR_ASSERT(box->parent < i);
            if (box->took == (took == 1)) svg_edge(s, &picture->boxes[box->parent], box);
        }
    }
    for (uint32_t i = 0; i < picture->box_count; i++) {
        const myr_picture_box *box = &picture->boxes[i];
        svg_box(s, box);
        if (box->parent != MYR_ADVISE_NONE) svg_label(s, tree_idx, &picture->boxes[box->parent], box);
    }
}

/* The way in words, in a frame below its tree; returns the bottom. */
static double svg_panel(svg_state *s, uint32_t tree_idx, double top, myr_err *err, myr_rc *out_rc)
{
    const myr_advise_tree *tree = &s->trees->trees[tree_idx];
    double x = PICTURE_MARGIN + SVG_PANEL_PAD, width = s->width - 2 * (PICTURE_MARGIN + SVG_PANEL_PAD),
           y = top + SVG_PANEL_PAD;
    for (uint32_t i = 0; i < s->advice->step_counts[tree_idx]; i++) {
        const myr_advise_step *step = &s->advice->steps[tree_idx][i];
        const myr_advise_node *node = &tree->nodes[step->node];
        const myr_advise_question *question = &s->trees->questions[node->question];
        MYR_AUTO(myr_buf) line = {0};
        myr_buf_printf(&line, "%u. %s = %s: %s", i + 1, question->name, question->options[step->option].name,
                       node->branches[step->branch].because);
        *out_rc = myr_buf_check(&line, err);
        if (*out_rc != MYR_OK) return y;
        y = svg_text(s, line.data, x, y, width, PICTURE_TEXT, false, "#000");
    }
    y += SVG_PANEL_PAD;
    myr_buf_printf(s->out,
                   "<rect class=\"panel\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"none\" "
                   "stroke=\"#000\" stroke-width=\"1\"/>\n",
                   PICTURE_MARGIN, top, s->width - 2 * PICTURE_MARGIN, y - top);
    return y;
}

/* Everything below the head; returns the bottom. */
static myr_rc svg_body(svg_state *s, myr_picture pictures[2], double y, double *out_bottom, myr_arena *arena,
                       myr_err *err)
{
    double width = s->width - 2 * PICTURE_MARGIN;
    y = svg_text(s, s->trees->title, PICTURE_MARGIN, y, width, 20, true, "#000");
    y = svg_text(s, s->trees->source, PICTURE_MARGIN, y + 4, width, PICTURE_LABEL, false, "#444");
    if (s->advice != NULL) {
        y = svg_text(s, "The way taken has thick lines and ticks; the other ways are dashed.", PICTURE_MARGIN, y + 4,
                     width, PICTURE_LABEL, false, "#444");
    }
    for (uint32_t t = 0; t < 2; t++) {
        myr_rc rc = MYR_OK;
        y = svg_text(s, s->trees->trees[t].title, PICTURE_MARGIN, y + 24, width, 17, true, "#000") + 14;
        MYR_TRY(myr_picture_lay(s->trees, s->advice, t, y, arena, &pictures[t], err));
        svg_tree(s, t, &pictures[t]);
        y += pictures[t].height;
        if (s->advice != NULL) y = svg_panel(s, t, y + 20, err, &rc);
        MYR_TRY(rc);
    }
    *out_bottom = y + PICTURE_MARGIN;
    return MYR_OK;
}

myr_rc myr_advise_svg(const myr_advise_trees *trees, const myr_advice *advice, myr_buf *out, myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    MYR_AUTO(myr_buf) body = {0};
    myr_picture pictures[2] = {0};
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    svg_state s = {.trees = trees, .advice = advice, .out = &body};
    for (uint32_t t = 0; t < 2; t++) { /* the width first: titles and panels are wrapped to it */
        MYR_TRY(myr_picture_lay(trees, advice, t, 0, arena, &pictures[t], err));
        if (pictures[t].width > s.width) s.width = pictures[t].width;
    }
    double height = 0;
    MYR_TRY(svg_body(&s, pictures, PICTURE_MARGIN, &height, arena, err));
    MYR_TRY(myr_buf_check(&body, err));
    myr_buf_printf(out,
                   "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" "
                   "width=\"%.0f\" height=\"%.0f\" "
                   "viewBox=\"0 0 %.0f %.0f\" font-family=\"DejaVu Sans, Verdana, Arial, sans-serif\">\n"
                   "<rect class=\"page\" width=\"%.0f\" height=\"%.0f\" fill=\"#fff\"/>\n",
                   s.width, height, s.width, height, s.width, height);
    myr_buf_append(out, body.data, body.size);
    myr_buf_puts(out, "</svg>\n");
    return myr_buf_check(out, err);
}
