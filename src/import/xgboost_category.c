/*
 * Categorical splits of an XGBoost tree. The file lists the nodes that have one, and for each a run of `categories`;
 * the description wants a bitmap per split. Runs must follow each other, as XGBoost writes them, so the work stays
 * linear.
 */
#include "import/xgboost.h"

#include <string.h>

enum { CATEGORY_TYPES, CATEGORY_NODES, CATEGORY_SEGMENTS, CATEGORY_SIZES, CATEGORY_ALL };

const myr_xgb_field myr_xgb_category_fields[MYR_XGB_CATEGORY_FIELDS] = {
    [CATEGORY_TYPES] = {"split_type", MYR_DOC_ARRAY, true},
    [CATEGORY_NODES] = {"categories_nodes", MYR_DOC_ARRAY, true},
    [CATEGORY_SEGMENTS] = {"categories_segments", MYR_DOC_ARRAY, true},
    [CATEGORY_SIZES] = {"categories_sizes", MYR_DOC_ARRAY, true},
    [CATEGORY_ALL] = {"categories", MYR_DOC_ARRAY, true},
};

/* Files before version 1.3 have none of the fields: all splits are numeric. */
static bool xgb_has_types(const myr_doc_value *values)
{
    return myr_doc_kind_of(values[CATEGORY_TYPES]) != MYR_DOC_ABSENT;
}

myr_rc myr_xgb_read_split_types(myr_xgb *xgb, const myr_doc_value values[MYR_XGB_CATEGORY_FIELDS])
{
    if (!xgb_has_types(values)) return MYR_OK;
    for (size_t i = 0; i < MYR_XGB_CATEGORY_FIELDS; i++) {
        if (myr_doc_kind_of(values[i]) == MYR_DOC_ABSENT) {
            MYR_XGB_FAIL(xgb, BAD_FORMAT, "split_type without %s", myr_xgb_category_fields[i].name);
        }
    }
    return myr_xgb_flags(xgb, "split_type", values[CATEGORY_TYPES], xgb->nodes.count, xgb->nodes.is_category);
}

typedef struct xgb_runs {
    myr_doc_iter nodes, segments, sizes, categories;
    uint64_t count;          /* nodes that have a run */
    uint64_t category_count; /* of all runs together */
} xgb_runs;

static myr_rc xgb_open_runs(myr_xgb *xgb, const myr_doc_value *values, xgb_runs *out)
{
    uint64_t expected = 0;
    for (uint32_t i = 0; i < xgb->nodes.count; i++) {
        expected += xgb->nodes.is_category[i];
    }
    for (size_t i = CATEGORY_NODES; i <= CATEGORY_SIZES; i++) {
        MYR_TRY(myr_xgb_expect_count(xgb, myr_xgb_category_fields[i].name, values[i], expected));
    }
    out->count = expected;
    out->category_count = myr_doc_count(&xgb->doc, values[CATEGORY_ALL]);
    myr_doc_iter_init(&xgb->doc, values[CATEGORY_NODES], &out->nodes);
    myr_doc_iter_init(&xgb->doc, values[CATEGORY_SEGMENTS], &out->segments);
    myr_doc_iter_init(&xgb->doc, values[CATEGORY_SIZES], &out->sizes);
    myr_doc_iter_init(&xgb->doc, values[CATEGORY_ALL], &out->categories);
    return MYR_OK;
}

static int64_t xgb_next_or(myr_doc_iter *iter, int64_t fallback)
{
    myr_doc_value value;
    int64_t number;
    return myr_doc_next(iter, NULL, &value) && myr_doc_int(value, &number) ? number : fallback;
}

/* Check a run and say how many words its set needs. `words`: zeroed memory for the set, or NULL to count only. */
static myr_rc xgb_read_run(myr_xgb *xgb, xgb_runs *runs, int64_t node, int64_t size, uint32_t *words,
                           uint32_t *out_words)
{
    int64_t largest = -1;
    for (int64_t i = 0; i < size; i++) {
        int64_t category = xgb_next_or(&runs->categories, INT64_MIN);
        if (category == INT64_MIN)
            MYR_XGB_FAIL(xgb, BAD_FORMAT, "node %lld: a category is not a whole number", (long long)node);
        if (category < 0 || category >= MYR_CATEGORY_MAX) {
            MYR_XGB_FAIL(xgb, BAD_FORMAT, "node %lld: category %lld is not within 0 to %d", (long long)node,
                         (long long)category, MYR_CATEGORY_MAX - 1);
        }
        if (words != NULL) words[category / 32] |= UINT32_C(1) << (category % 32);
        largest = category > largest ? category : largest;
    }
    *out_words = (uint32_t)(largest / 32 + 1);
    return MYR_OK;
}

/* One pass over all runs. Without `tree->category_words` it checks and counts words, with them it fills sets and
 * splits. */
static myr_rc xgb_pass_runs(myr_xgb *xgb, const myr_doc_value *values, myr_tree *tree, uint64_t *out_words)
{
    xgb_runs runs;
    int64_t last_node = -1;
    int64_t begin = 0;
    uint64_t words = 0;
    MYR_TRY(xgb_open_runs(xgb, values, &runs));
    for (uint64_t i = 0; i < runs.count; i++) {
        uint32_t set_words = 0;
        int64_t node = xgb_next_or(&runs.nodes, -1);
        if (node <= last_node || node >= (int64_t)xgb->nodes.count || xgb->nodes.is_category[node] == 0) {
            MYR_XGB_FAIL(xgb, BAD_FORMAT, "categories_nodes[%llu] is not the next node with split_type 1",
                         (unsigned long long)i);
        }
        int64_t size = xgb_next_or(&runs.sizes, -1);
        if (xgb_next_or(&runs.segments, -1) != begin || size < 1 || (uint64_t)(begin + size) > runs.category_count) {
            MYR_XGB_FAIL(xgb, BAD_FORMAT, "node %lld: its categories are not entries %lld to at most %llu",
                         (long long)node, (long long)begin, (unsigned long long)runs.category_count);
        }
        int32_t place = xgb->nodes.place[node];
        bool is_split = place >= 0; /* a pruned node keeps its run in the file, but is a leaf or deleted */
        uint32_t *set = is_split && tree->category_words != NULL ? tree->category_words + words : NULL;
        MYR_TRY(xgb_read_run(xgb, &runs, node, size, set, &set_words));
        last_node = node;
        begin += size;
        if (!is_split) continue;
        tree->splits[place].category_first = (uint32_t)words;
        tree->splits[place].category_count = set_words;
        words += set_words;
    }
    *out_words = words;
    return MYR_OK;
}

myr_rc myr_xgb_read_categories(myr_xgb *xgb, const myr_doc_value values[MYR_XGB_CATEGORY_FIELDS], myr_tree *out)
{
    uint64_t words = 0;
    uint64_t words_max = MYR_XGB_CATEGORY_WORDS_FREE + (uint64_t)xgb->src->size * MYR_XGB_CATEGORY_WORDS_PER_BYTE;
    if (!xgb_has_types(values)) return MYR_OK;
    MYR_ASSERT(out->category_words == NULL);
    MYR_TRY(xgb_pass_runs(xgb, values, out, &words));
    if (words == 0) return MYR_OK;
    uint64_t all = words * xgb->vector_size; /* each of the trees that share the sets gets its own when compiled */
    if (all > words_max - xgb->category_words || words > UINT32_MAX) {
        MYR_XGB_FAIL(xgb, TOO_LARGE, "the category sets take more than %llu words of 32 bits",
                     (unsigned long long)words_max);
    }
    xgb->category_words += all;
    out->category_words = myr_xgb_alloc(xgb, (size_t)words, sizeof *out->category_words);
    if (out->category_words == NULL)
        MYR_XGB_FAIL(xgb, NO_MEMORY, "%llu words of categories", (unsigned long long)words);
    out->category_word_count = (uint32_t)words;
    return xgb_pass_runs(xgb, values, out, &words);
}
