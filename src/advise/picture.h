/* Where the boxes and lines of texts of a drawn tree stand. Private to advise: picture.c computes, svg.c writes. */
#ifndef MYR_ADVISE_PICTURE_H
#define MYR_ADVISE_PICTURE_H

#include "advise/internal.h"

#define PICTURE_LINES_MAX 96
#define PICTURE_BOXES_MAX (MYR_ADVISE_NODES_MAX * (MYR_ADVISE_OPTIONS_MAX + 1))

/* All in pixels of the picture. */
#define PICTURE_MARGIN     24.0
#define PICTURE_BOX_WIDTH  232.0
#define PICTURE_BOX_PAD    12.0
#define PICTURE_TICK_WIDTH 22.0 /* kept free at the right of each box */
#define PICTURE_COLUMN_GAP 204.0
#define PICTURE_ELBOW      18.0 /* from a box to where its ways part */
#define PICTURE_ARROW      14.0 /* kept free before the next box */
#define PICTURE_ROW_GAP    14.0
#define PICTURE_TEXT       13.0 /* font sizes */
#define PICTURE_LABEL      12.0
#define PICTURE_LEADING    1.35 /* from line to line, in font sizes */

typedef struct myr_picture_box {
    double x, y, height;   /* top left corner; the width is PICTURE_BOX_WIDTH */
    double centre;         /* y of the line that comes in */
    uint32_t parent;       /* box, or MYR_ADVISE_NONE */
    uint32_t node, branch; /* the branch that leads here, of the parent's node; the root: its own node */
    const char *text;
    uint32_t mask; /* options on the incoming line */
    bool is_leaf, took;
} myr_picture_box;

typedef struct myr_picture {
    myr_picture_box *boxes;
    uint32_t box_count;
    double width, height;
} myr_picture;

/* A bound on the width of a text: never less than what common sans-serif fonts need. */
double myr_picture_text_width(myr_str text, double font_size, bool bold);
/* Cut a text into lines no wider than `width`; a word that is wider is cut inside. Returns how many. */
uint32_t myr_picture_wrap(const char *text, double width, double font_size, bool bold,
                          myr_str out_lines[PICTURE_LINES_MAX]);
/* Lay one tree out below `top`; boxes in the arena. */
myr_rc myr_picture_lay(const myr_advise_trees *trees, const myr_advice *advice, uint32_t tree_idx, double top,
                       myr_arena *arena, myr_picture *out, myr_err *err);

#endif
