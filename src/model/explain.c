/*
 * The section that explains, opened; and leaf numbers, which are the end of each tree's walk. A walk only goes on to a
 * slot behind the one it is at, so it ends whatever the bytes turn into.
 */
#include "model/explain.h"

#include <string.h>

bool myr_explain_open(const myr_model *model, const model_header *h, explain_view *out)
{
    section_head head;
    const unsigned char *bytes = myr_section_find(model, SECTION_EXPLAIN, &head);
    if (bytes == NULL) return false;
    memcpy(&out->h, bytes, sizeof out->h);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    uint32_t magic = __atomic_load_n((const uint32_t *)(const void *)bytes, __ATOMIC_RELAXED);
    if (magic != SECTION_EXPLAIN_MAGIC || out->h.head.magic != SECTION_EXPLAIN_MAGIC) return false;
    explain_map map = explain_map_of(&out->h);
    out->bases = (const double *)(bytes + map.bases_at);
    out->trees = (const explain_tree *)(bytes + map.trees_at);
    out->slots = (const explain_slot *)(bytes + map.slots_at);
    out->words = (const uint32_t *)(bytes + map.words_at);
    out->single = h->calc == MYR_CALC_F32;
    return true;
}

static uint32_t explain_leaf(const explain_view *v, const explain_slot *slots, uint32_t count, const double *row)
{
    uint32_t s = 0;
    while (s < count) {
        const explain_slot *slot = &slots[s];
        uint32_t link = slot->link;
        if ((slot->meta & EXPLAIN_SPLIT) == 0) return link;
        uint32_t next = explain_left(slot, v->words, row[slot->column], v->single) ? s + 1 : link;
        if (next <= s) break;
        s = next;
    }
    return 0; /* only of pages that are gone */
}

void myr_explain_leaves(const explain_view *v, const double *rows, size_t row_stride, size_t row_count, double *out)
{
    size_t width = v->h.tree_count;
    for (size_t from = 0; from < row_count; from += MODEL_TILE) {
        size_t to = row_count - from < MODEL_TILE ? row_count : from + MODEL_TILE;
        for (uint32_t t = 0; t < width; t++) {
            uint32_t first;
            uint32_t count = explain_tree_slots(v, t, &first);
            for (size_t i = from; i < to; i++) {
                out[i * width + t] = (double)explain_leaf(v, v->slots + first, count, rows + i * row_stride);
            }
        }
    }
}
