/*
 * The layout of a drawn tree: a column per question asked, the root at the left. Every subtree owns a horizontal strip,
 * no two strips meet, and a box stands in the middle of its children; so nothing can overlap, whatever the texts are.
 */
#include <string.h>

#include "advise/picture.h"

/* Widths of the printable ASCII characters in hundredths of the font size, rounded up, as in DejaVu Sans, which is
 * among the widest fonts that a sans-serif falls back to. */
static const unsigned char PICTURE_WIDTHS[95] = {
    32, 41, 46, 84, 64, 96, 78, 28, 40,  40, 50, 84, 32, 37, 32, 34, 64, 64, 64, 64, 64, 64, 64, 64,
    64, 64, 34, 34, 84, 84, 84, 54, 100, 69, 69, 70, 77, 64, 58, 78, 76, 30, 30, 66, 56, 87, 75, 79,
    61, 79, 70, 64, 62, 74, 69, 99, 69,  62, 69, 40, 34, 40, 84, 50, 50, 62, 64, 55, 64, 62, 36, 64,
    64, 28, 28, 58, 28, 98, 64, 62, 64,  64, 42, 53, 40, 64, 60, 82, 60, 60, 53, 64, 34, 64, 84};
#define PICTURE_WIDE 110 /* any other character, such as a Chinese one */
#define PICTURE_BOLD 1.16

static bool picture_is_inside(char byte)
{
    return ((unsigned char)byte & 0xc0) == 0x80;
} /* of a UTF-8 character */

static double picture_char_width(char byte, double font_size, bool bold)
{
    unsigned char c = (unsigned char)byte;
    if (picture_is_inside(byte)) return 0;
    unsigned hundredths = c >= 0x20 && c < 0x7f ? PICTURE_WIDTHS[c - 0x20] : PICTURE_WIDE;
    return (double)hundredths / 100 * font_size * (bold ? PICTURE_BOLD : 1);
}

double myr_picture_text_width(myr_str text, double font_size, bool bold)
{
    double width = 0;
    for (size_t i = 0; i < text.size; i++) {
        width += picture_char_width(text.data[i], font_size, bold);
    }
    return width;
}

/* How many bytes of `text` fit: up to a blank or after a dash if there is one, else any character; at least one. */
static size_t picture_fit(myr_str text, double width, double font_size, bool bold)
{
    double used = 0;
    size_t last_break = 0, end = 0;
    while (end < text.size) {
        used += picture_char_width(text.data[end], font_size, bold);
        if (used > width && end > 0 && !picture_is_inside(text.data[end])) break;
        if (text.data[end] == ' ') last_break = end;
        end++;
        if (text.data[end - 1] == '-') last_break = end;
    }
    if (end == text.size || text.data[end] == ' ') return end;
    return last_break > 0 ? last_break : end;
}

uint32_t myr_picture_wrap(const char *text, double width, double font_size, bool bold,
                          myr_str out_lines[PICTURE_LINES_MAX])
{
    myr_str rest = myr_str_trim(myr_str_of(text));
    uint32_t count = 0;
    while (rest.size > 0 && count < PICTURE_LINES_MAX) {
        size_t size = picture_fit(rest, width, font_size, bold);
        MYR_ASSERT(size > 0);
        out_lines[count++] = myr_str_trim(myr_str_make(rest.data, size));
        rest = myr_str_trim(myr_str_make(rest.data + size, rest.size - size));
    }
    return count;
}

/* What laying out needs at hand. */
typedef struct picture_state {
    const myr_advise_trees *trees;
    const myr_advice *advice;
    uint32_t tree_idx;
    myr_picture *picture;
    double right;
} picture_state;

static double picture_lines_height(const char *text, double width, double font_size, bool bold)
{
    myr_str lines[PICTURE_LINES_MAX];
    return myr_picture_wrap(text, width, font_size, bold, lines) * font_size * PICTURE_LEADING;
}

/* The height of the label on the line that comes in; taken ways are written bold. */
static double picture_label_height(const picture_state *s, const myr_picture_box *box)
{
    if (box->parent == MYR_ADVISE_NONE) return 0;
    const myr_advise_node *node = &s->trees->trees[s->tree_idx].nodes[box->node];
    MYR_AUTO(myr_buf) names = {0};
    myr_advise_mask_names(&s->trees->questions[node->question], box->mask, &names);
    double width = PICTURE_COLUMN_GAP - PICTURE_ELBOW - PICTURE_ARROW - 8;
    return picture_lines_height(names.data != NULL ? names.data : "", width, PICTURE_LABEL, true) + 6;
}

static double picture_max(double a, double b)
{
    return a > b ? a : b;
}

/* A new box in its column; its place in the strip comes later. */
static uint32_t picture_add(picture_state *s, const myr_picture_box *what, uint32_t depth)
{
    MYR_ASSERT(s->picture->box_count < PICTURE_BOXES_MAX);
    uint32_t idx = s->picture->box_count++;
    myr_picture_box *box = &s->picture->boxes[idx];
    *box = *what;
    box->x = PICTURE_MARGIN + depth * (PICTURE_BOX_WIDTH + PICTURE_COLUMN_GAP);
    box->height = picture_lines_height(box->text, PICTURE_BOX_WIDTH - 2 * PICTURE_BOX_PAD - PICTURE_TICK_WIDTH,
                                       PICTURE_TEXT, box->is_leaf) +
                  2 * PICTURE_BOX_PAD;
    s->right = picture_max(s->right, box->x + PICTURE_BOX_WIDTH);
    return idx;
}

static void picture_shift(picture_state *s, uint32_t first, double by)
{
    for (uint32_t i = first; i < s->picture->box_count; i++) {
        s->picture->boxes[i].y += by;
        s->picture->boxes[i].centre += by;
    }
}

static double picture_subtree(picture_state *s, const myr_picture_box *what, uint32_t node_idx, uint32_t depth,
                              double top);

/* The children below one another from `top`; returns the bottom, and the middle between the first and the last. */
static double picture_children(picture_state *s, uint32_t box_idx, uint32_t node_idx, uint32_t depth, double top,
                               double *out_middle)
{
    const myr_advise_tree *tree = &s->trees->trees[s->tree_idx];
    const myr_advise_node *node = &tree->nodes[node_idx];
    double bottom = top, first = 0, last = 0;
    for (uint32_t i = 0; i < node->branch_count; i++) {
        const myr_advise_branch *branch = &node->branches[i];
        bool is_leaf = branch->node == MYR_ADVISE_NONE;
        const myr_advise_end *ends = s->tree_idx == 0 ? s->trees->verdicts : s->trees->places;
        myr_picture_box child = {.parent = box_idx,
                                 .node = node_idx,
                                 .branch = i,
                                 .mask = branch->mask,
                                 .is_leaf = is_leaf,
                                 .took = myr_advise_took(s->advice, s->tree_idx, node_idx, i)};
        child.text = is_leaf ? ends[branch->end].title : s->trees->questions[tree->nodes[branch->node].question].ask;
        uint32_t child_idx = s->picture->box_count;
        bottom = picture_subtree(s, &child, branch->node, depth + 1, bottom + (i > 0 ? PICTURE_ROW_GAP : 0));
        last = s->picture->boxes[child_idx].centre;
        if (i == 0) first = last;
    }
    *out_middle = (first + last) / 2;
    return bottom;
}

/* Lay a box and all below it into the strip that begins at `top`; returns the strip's bottom. Depth is bounded. */
static double picture_subtree(picture_state *s, const myr_picture_box *what, uint32_t node_idx, uint32_t depth,
                              double top)
{
    uint32_t idx = picture_add(s, what, depth);
    double half = s->picture->boxes[idx].height / 2;
    double above = picture_max(half, picture_label_height(s, what));
    double bottom = top, centre = top + above;
    if (!what->is_leaf) {
        bottom = picture_children(s, idx, node_idx, depth, top, &centre);
        double missing = top + above - centre;
        if (missing > 0) {
            picture_shift(s, idx + 1, missing);
            bottom += missing;
            centre += missing;
        }
    }
    s->picture->boxes[idx].centre = centre;
    s->picture->boxes[idx].y = centre - half;
    return picture_max(bottom, centre + half);
}

myr_rc myr_picture_lay(const myr_advise_trees *trees, const myr_advice *advice, uint32_t tree_idx, double top,
                       myr_arena *arena, myr_picture *out, myr_err *err)
{
    const myr_advise_tree *tree = &trees->trees[tree_idx];
    size_t room = tree->node_count + trees->leaf_counts[tree_idx];
    MYR_ASSERT(room <= PICTURE_BOXES_MAX);
    myr_picture picture = {.boxes = myr_arena_calloc(arena, room, sizeof(myr_picture_box))};
    if (picture.boxes == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    picture_state s = {.trees = trees, .advice = advice, .tree_idx = tree_idx, .picture = &picture};
    myr_picture_box root = {.parent = MYR_ADVISE_NONE,
                            .node = tree->root,
                            .took = advice != NULL,
                            .text = trees->questions[tree->nodes[tree->root].question].ask};
    double bottom = picture_subtree(&s, &root, tree->root, 0, top);
    MYR_ASSERT(picture.box_count == room);
    picture.width = s.right + PICTURE_MARGIN;
    picture.height = bottom - top;
    *out = picture;
    return MYR_OK;
}
