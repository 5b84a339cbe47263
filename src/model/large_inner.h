/* What the kernels of large models share. Known to large.c and lanes_*.c alone. */
#ifndef MYR_MODEL_LARGE_INNER_H
#define MYR_MODEL_LARGE_INNER_H

#include "model/lanes_inner.h"
#include "model/large.h"

#define LARGE_LATER 64 /* trees whose leaves are asked for before they are added */

/* A run read at once, so that its fields fit each other. */
static inline large_run large_run_read(const large_view *v, uint32_t run_idx)
{
    uint64_t whole = __atomic_load_n((const uint64_t *)(const void *)&v->runs[run_idx], __ATOMIC_RELAXED);
    large_run run;
    memcpy(&run, &whole, sizeof run);
    return run;
}

/* The codes of a tile of bytes stand behind all its columns: two bytes each, `tile` to a code column. */
static inline uint16_t *large_tile_codes(const large_view *v, int8_t *bins, size_t tile)
{
    return (uint16_t *)(void *)(bins + ((size_t)v->g.numeric_columns + v->g.own_columns) * tile);
}

static inline void large_add(const large_view *v, uint32_t tree_idx, uint32_t leaf_idx, double *margins)
{
    if (v->lanes.outputs != NULL) margins += v->lanes.outputs[tree_idx];
    lanes_add(&v->lanes, margins, leaf_idx, v->h.calc == MYR_CALC_F32);
}

/* A tree of one leaf walks on this node, which goes left. */
static const large_node large_no_node = {0, UINT16_MAX, {0, 0}};

#endif
