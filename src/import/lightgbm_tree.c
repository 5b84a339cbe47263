/*
 * One tree of a LightGBM text file. First its lines are gathered as borrowed slices, each field known and at most once;
 * then num_leaves is known and every array is counted before memory is taken for it, so that memory is bounded by the
 * bytes that are really there; last the shape is walked from the root.
 */
#include <math.h>
#include <string.h>

#include "import/lightgbm.h"

/* decision_type of a node */
enum { DECISION_CATEGORY = 1, DECISION_DEFAULT_LEFT = 2, DECISION_MISSING_SHIFT = 2, DECISION_MAX = 11 };

typedef enum tree_field {
    FIELD_NUM_LEAVES,
    FIELD_NUM_CAT,
    FIELD_SPLIT_FEATURE,
    FIELD_THRESHOLD,
    FIELD_DECISION_TYPE,
    FIELD_LEFT_CHILD,
    FIELD_RIGHT_CHILD,
    FIELD_LEAF_VALUE,
    FIELD_CAT_BOUNDARIES,
    FIELD_CAT_THRESHOLD,
    FIELD_IS_LINEAR,
    FIELD_LEAF_CONST, /* linear trees */
    FIELD_NUM_FEATURES,
    FIELD_LEAF_FEATURES,
    FIELD_LEAF_COEFF,
    FIELD_SPLIT_GAIN, /* statistics of the training; of these, counts alone are read */
    FIELD_LEAF_WEIGHT,
    FIELD_LEAF_COUNT,
    FIELD_INTERNAL_VALUE,
    FIELD_INTERNAL_WEIGHT,
    FIELD_INTERNAL_COUNT,
    FIELD_SHRINKAGE, /* already in the leaf values */
    FIELD_COUNT
} tree_field;

static const char *const tree_field_names[FIELD_COUNT] = {
    "num_leaves",     "num_cat",         "split_feature",  "threshold",     "decision_type", "left_child",
    "right_child",    "leaf_value",      "cat_boundaries", "cat_threshold", "is_linear",     "leaf_const",
    "num_features",   "leaf_features",   "leaf_coeff",     "split_gain",    "leaf_weight",   "leaf_count",
    "internal_value", "internal_weight", "internal_count", "shrinkage"};

typedef struct tree_ctx {
    myr_lightgbm_reader *reader;
    const char *file;
    uint32_t tree_idx;
    bool seen[FIELD_COUNT];
    myr_str fields[FIELD_COUNT];
    uint32_t num_cat;
    myr_tree tree;
    myr_err *err;
} tree_ctx;

#define TREE_FAIL(c, code, fmt, ...)                                                                                   \
    MYR_FAIL((c)->err, code, "%s: tree %u: " fmt, (c)->file, (c)->tree_idx, __VA_ARGS__)

/* ---- lines into fields ---- */

static myr_rc tree_put_field(tree_ctx *c, myr_str line)
{
    myr_str key;
    myr_str value;
    if (!myr_lightgbm_pair(line, &key, &value)) {
        TREE_FAIL(c, BAD_FORMAT, "line %u is not field=value: %.*s", c->reader->line, MYR_STR_ARG(line));
    }
    int field = 0;
    while (field < FIELD_COUNT && !myr_str_is(key, tree_field_names[field])) {
        field++;
    }
    if (field == FIELD_COUNT)
        TREE_FAIL(c, BAD_FORMAT, "line %u: field %.*s is not known", c->reader->line, MYR_STR_ARG(key));
    if (c->seen[field])
        TREE_FAIL(c, BAD_FORMAT, "line %u: field %s comes twice", c->reader->line, tree_field_names[field]);
    c->seen[field] = true;
    c->fields[field] = value;
    return MYR_OK;
}

static myr_rc tree_gather(tree_ctx *c)
{
    static const tree_field needed[] = {FIELD_NUM_LEAVES, FIELD_NUM_CAT, FIELD_LEAF_VALUE};
    myr_str line;
    while (myr_lightgbm_line(c->reader, &line) && line.size > 0) {
        MYR_TRY(tree_put_field(c, line));
    }
    for (size_t k = 0; k < MYR_COUNT_OF(needed); k++) {
        if (!c->seen[needed[k]]) TREE_FAIL(c, BAD_FORMAT, "field %s is missing", tree_field_names[needed[k]]);
    }
    return MYR_OK;
}

/* ---- numbers ---- */

static myr_rc tree_number(tree_ctx *c, tree_field field, int64_t min, int64_t max, int64_t *out)
{
    int64_t value;
    if (!myr_parse_int64(myr_str_trim(c->fields[field]), &value) || value < min || value > max) {
        TREE_FAIL(c, BAD_FORMAT, "%s is %.*s, not %lld to %lld", tree_field_names[field], MYR_STR_ARG(c->fields[field]),
                  (long long)min, (long long)max);
    }
    *out = value;
    return MYR_OK;
}

/* Exactly `count` tokens? Asked before memory is taken for them. */
static myr_rc tree_count_tokens(tree_ctx *c, tree_field field, uint64_t count)
{
    uint64_t found = 0;
    myr_str rest = c->fields[field];
    myr_str token;
    if (!c->seen[field]) TREE_FAIL(c, BAD_FORMAT, "field %s is missing", tree_field_names[field]);
    while (myr_lightgbm_token(&rest, &token)) {
        found++;
    }
    if (found != count) {
        TREE_FAIL(c, BAD_FORMAT, "%s has %llu values, not %llu", tree_field_names[field], (unsigned long long)found,
                  (unsigned long long)count);
    }
    return MYR_OK;
}

/* The idx-th value of a field whose tokens were counted. */
static myr_rc tree_next_int(tree_ctx *c, tree_field field, uint32_t idx, myr_str *rest, int64_t min, int64_t max,
                            int64_t *out)
{
    myr_str token = {0};
    int64_t value;
    bool there = myr_lightgbm_token(rest, &token);
    MYR_ASSERT(there);
    if (!myr_parse_int64(token, &value) || value < min || value > max) {
        TREE_FAIL(c, BAD_FORMAT, "%s of node %u is %.*s, not %lld to %lld", tree_field_names[field], idx,
                  MYR_STR_ARG(token), (long long)min, (long long)max);
    }
    *out = value;
    return MYR_OK;
}

static myr_rc tree_next_double(tree_ctx *c, tree_field field, uint32_t idx, myr_str *rest, double *out)
{
    myr_str token = {0};
    double value;
    bool there = myr_lightgbm_token(rest, &token);
    MYR_ASSERT(there);
    if (!myr_parse_double(token, &value) || isnan(value)) {
        TREE_FAIL(c, BAD_FORMAT, "%s of %s %u is %.*s, not a number", tree_field_names[field],
                  field == FIELD_LEAF_VALUE || field == FIELD_LEAF_CONST ? "leaf" : "node", idx, MYR_STR_ARG(token));
    }
    *out = value;
    return MYR_OK;
}

static myr_rc tree_no_memory(const tree_ctx *c)
{
    TREE_FAIL(c, NO_MEMORY, "no memory for %u splits", c->tree.split_count);
}

/* ---- arrays ---- */

static myr_rc tree_leaves(tree_ctx *c)
{
    myr_tree *tree = &c->tree;
    myr_str rest = c->fields[FIELD_LEAF_VALUE];
    MYR_TRY(tree_count_tokens(c, FIELD_LEAF_VALUE, tree->leaf_count));
    tree->leaves = myr_arena_calloc(c->reader->arena, tree->leaf_count, sizeof *tree->leaves);
    if (tree->leaves == NULL) return tree_no_memory(c);
    for (uint32_t k = 0; k < tree->leaf_count; k++) {
        MYR_TRY(tree_next_double(c, FIELD_LEAF_VALUE, k, &rest, &tree->leaves[k]));
    }
    return MYR_OK;
}

/*
 * Booster.predict drops the values of a dense row with |x| <= 1e-35f before the trees see them: they are 0. The same
 * answer comes from moving a threshold inside that band to its edge, and costs nothing when predicting.
 */
static double tree_threshold_outside_zero(double threshold)
{
    const double zero = (double)1e-35f;
    if (threshold >= 0 && threshold < zero) return zero;
    if (threshold < 0 && threshold >= -zero) return nextafter(-zero, -INFINITY);
    return threshold;
}

/* For a categorical node the threshold is the number of its set. */
static myr_rc tree_set_of(tree_ctx *c, uint32_t node, double threshold, const uint32_t *boundaries, myr_split *out)
{
    if (!(threshold >= 0 && threshold < (double)c->num_cat) || threshold != trunc(threshold)) {
        TREE_FAIL(c, BAD_FORMAT, "threshold of categorical node %u is %g, not one of its %u sets", node, threshold,
                  c->num_cat);
    }
    uint32_t set = (uint32_t)threshold;
    out->is_category = 1;
    out->category_first = boundaries[set];
    out->category_count = boundaries[set + 1] - boundaries[set];
    out->threshold = 0.0;
    out->missing = MYR_MISSING_NAN; /* whatever the node says: a NaN is in no set, and goes right */
    out->default_left = 0;
    if (out->category_count > MYR_CATEGORY_MAX / 32) {
        TREE_FAIL(c, TOO_LARGE, "node %u has categories up to %llu, at most %d", node,
                  (unsigned long long)out->category_count * 32, MYR_CATEGORY_MAX);
    }
    return MYR_OK;
}

static myr_rc tree_split(tree_ctx *c, uint32_t node, myr_str rests[FIELD_COUNT], const uint32_t *boundaries)
{
    myr_split *split = &c->tree.splits[node];
    int64_t feature;
    int64_t decision;
    int64_t left;
    int64_t right;
    MYR_TRY(tree_next_int(c, FIELD_SPLIT_FEATURE, node, &rests[FIELD_SPLIT_FEATURE], 0,
                          (int64_t)c->reader->feature_count - 1, &feature));
    MYR_TRY(tree_next_int(c, FIELD_DECISION_TYPE, node, &rests[FIELD_DECISION_TYPE], 0, DECISION_MAX, &decision));
    int64_t leaf_min = ~(int64_t)(c->tree.leaf_count - 1);
    int64_t split_max = (int64_t)c->tree.split_count - 1;
    MYR_TRY(tree_next_int(c, FIELD_LEFT_CHILD, node, &rests[FIELD_LEFT_CHILD], leaf_min, split_max, &left));
    MYR_TRY(tree_next_int(c, FIELD_RIGHT_CHILD, node, &rests[FIELD_RIGHT_CHILD], leaf_min, split_max, &right));
    double threshold;
    MYR_TRY(tree_next_double(c, FIELD_THRESHOLD, node, &rests[FIELD_THRESHOLD], &threshold));
    *split = (myr_split){.feature = (uint32_t)feature,
                         .left = (int32_t)left,
                         .right = (int32_t)right,
                         .threshold = tree_threshold_outside_zero(threshold),
                         .missing = (uint8_t)(decision >> DECISION_MISSING_SHIFT),
                         .default_left = (decision & DECISION_DEFAULT_LEFT) != 0};
    MYR_ASSERT(split->missing <= MYR_MISSING_NAN); /* none, zero, NaN: the same numbers as ours */
    if ((decision & DECISION_CATEGORY) != 0) return tree_set_of(c, node, threshold, boundaries, split);
    return MYR_OK;
}

/* num_cat + 1 numbers that begin at 0 and never fall; the last is the number of words. */
static myr_rc tree_boundaries(tree_ctx *c, uint32_t **out)
{
    MYR_TRY(tree_count_tokens(c, FIELD_CAT_BOUNDARIES, (uint64_t)c->num_cat + 1));
    uint32_t *boundaries = myr_arena_calloc(c->reader->arena, (size_t)c->num_cat + 1, sizeof *boundaries);
    if (boundaries == NULL) return tree_no_memory(c);
    myr_str rest = c->fields[FIELD_CAT_BOUNDARIES];
    int64_t before = 0;
    for (uint32_t k = 0; k <= c->num_cat; k++) {
        int64_t value;
        myr_str token = {0};
        bool there = myr_lightgbm_token(&rest, &token);
        MYR_ASSERT(there);
        if (!myr_parse_int64(token, &value) || value < before || value > INT32_MAX || (k == 0 && value != 0)) {
            TREE_FAIL(c, BAD_FORMAT, "cat_boundaries[%u] is %.*s after %lld", k, MYR_STR_ARG(token), (long long)before);
        }
        boundaries[k] = (uint32_t)value;
        before = value;
    }
    *out = boundaries;
    return MYR_OK;
}

static myr_rc tree_categories(tree_ctx *c, uint32_t **out_boundaries)
{
    myr_tree *tree = &c->tree;
    MYR_TRY(tree_boundaries(c, out_boundaries));
    uint32_t count = (*out_boundaries)[c->num_cat];
    MYR_TRY(tree_count_tokens(c, FIELD_CAT_THRESHOLD, count));
    tree->category_words = myr_arena_calloc(c->reader->arena, (size_t)count + 1, sizeof *tree->category_words);
    if (tree->category_words == NULL) return tree_no_memory(c);
    tree->category_word_count = count;
    myr_str rest = c->fields[FIELD_CAT_THRESHOLD];
    for (uint32_t k = 0; k < count; k++) {
        uint64_t word;
        myr_str token = {0};
        bool there = myr_lightgbm_token(&rest, &token);
        MYR_ASSERT(there);
        if (!myr_parse_uint64(token, &word) || word > UINT32_MAX) {
            TREE_FAIL(c, BAD_FORMAT, "cat_threshold[%u] is %.*s, not 0 to %u", k, MYR_STR_ARG(token), UINT32_MAX);
        }
        tree->category_words[k] = (uint32_t)word;
    }
    return MYR_OK;
}

static myr_rc tree_splits(tree_ctx *c)
{
    static const tree_field per_node[] = {FIELD_SPLIT_FEATURE, FIELD_THRESHOLD, FIELD_DECISION_TYPE, FIELD_LEFT_CHILD,
                                          FIELD_RIGHT_CHILD};
    myr_tree *tree = &c->tree;
    uint32_t *boundaries = NULL;
    myr_str rests[FIELD_COUNT];
    for (size_t k = 0; k < MYR_COUNT_OF(per_node); k++) {
        MYR_TRY(tree_count_tokens(c, per_node[k], tree->split_count));
    }
    if (c->num_cat > 0) MYR_TRY(tree_categories(c, &boundaries));
    tree->splits = myr_arena_calloc(c->reader->arena, tree->split_count, sizeof *tree->splits);
    if (tree->splits == NULL) return tree_no_memory(c);
    memcpy(rests, c->fields, sizeof rests);
    uint32_t categorical = 0;
    uint64_t words = 0;
    for (uint32_t node = 0; node < tree->split_count; node++) {
        MYR_TRY(tree_split(c, node, rests, boundaries));
        categorical += tree->splits[node].is_category;
        words += tree->splits[node].category_count;
    }
    if (categorical != c->num_cat) {
        TREE_FAIL(c, BAD_FORMAT, "num_cat is %u, but %u nodes are categorical by their decision_type", c->num_cat,
                  categorical);
    }
    if (words > tree->category_word_count) {
        TREE_FAIL(c, BAD_FORMAT, "threshold: nodes share a set of cat_threshold (%llu words used of %u)",
                  (unsigned long long)words, tree->category_word_count);
    }
    return MYR_OK;
}

/* How many rows of the training passed each node, which explanations weigh by. Some files do not say. */
static myr_rc tree_covers(tree_ctx *c, tree_field field, uint32_t count, const double **out)
{
    myr_str rest = c->fields[field];
    MYR_TRY(tree_count_tokens(c, field, count));
    double *covers = myr_arena_calloc(c->reader->arena, (size_t)count + 1, sizeof *covers);
    if (covers == NULL) return tree_no_memory(c);
    for (uint32_t k = 0; k < count; k++) {
        int64_t value;
        MYR_TRY(tree_next_int(c, field, k, &rest, 0, INT32_MAX, &value));
        covers[k] = (double)value;
    }
    *out = covers;
    return MYR_OK;
}

static myr_rc tree_all_covers(tree_ctx *c)
{
    if (c->tree.split_count == 0 || !c->seen[FIELD_LEAF_COUNT] || !c->seen[FIELD_INTERNAL_COUNT]) return MYR_OK;
    MYR_TRY(tree_covers(c, FIELD_LEAF_COUNT, c->tree.leaf_count, &c->tree.leaf_covers));
    return tree_covers(c, FIELD_INTERNAL_COUNT, c->tree.split_count, &c->tree.split_covers);
}

/* ---- linear trees ---- */

/* num_features: how many terms each leaf has. Their sum is at most the number of tokens, so memory is bounded. */
static myr_rc tree_line_counts(tree_ctx *c, myr_leaf_line *lines, uint64_t *out_total)
{
    myr_str rest = c->fields[FIELD_NUM_FEATURES];
    uint64_t total = 0;
    MYR_TRY(tree_count_tokens(c, FIELD_NUM_FEATURES, c->tree.leaf_count));
    for (uint32_t k = 0; k < c->tree.leaf_count; k++) {
        int64_t count;
        MYR_TRY(tree_next_int(c, FIELD_NUM_FEATURES, k, &rest, 0, c->reader->feature_count, &count));
        lines[k].count = (uint32_t)count;
        total += (uint64_t)count;
    }
    *out_total = total;
    return MYR_OK;
}

static myr_rc tree_line_terms(tree_ctx *c, myr_leaf_line *lines, double *coefficients, uint32_t *features)
{
    myr_str constants = c->fields[FIELD_LEAF_CONST];
    myr_str columns = c->fields[FIELD_LEAF_FEATURES];
    myr_str factors = c->fields[FIELD_LEAF_COEFF];
    for (uint32_t k = 0; k < c->tree.leaf_count; k++) {
        MYR_TRY(tree_next_double(c, FIELD_LEAF_CONST, k, &constants, &lines[k].constant));
        lines[k].coefficients = coefficients;
        lines[k].features = features;
        for (uint32_t i = 0; i < lines[k].count; i++) {
            int64_t feature;
            MYR_TRY(
                tree_next_int(c, FIELD_LEAF_FEATURES, k, &columns, 0, (int64_t)c->reader->feature_count - 1, &feature));
            MYR_TRY(tree_next_double(c, FIELD_LEAF_COEFF, k, &factors, coefficients++));
            *features++ = (uint32_t)feature;
        }
    }
    return MYR_OK;
}

static myr_rc tree_lines(tree_ctx *c)
{
    uint64_t total = 0;
    myr_arena *arena = c->reader->arena;
    myr_leaf_line *lines = myr_arena_calloc(arena, c->tree.leaf_count, sizeof *lines);
    if (lines == NULL) return tree_no_memory(c);
    MYR_TRY(tree_count_tokens(c, FIELD_LEAF_CONST, c->tree.leaf_count));
    MYR_TRY(tree_line_counts(c, lines, &total));
    MYR_TRY(tree_count_tokens(c, FIELD_LEAF_FEATURES, total));
    MYR_TRY(tree_count_tokens(c, FIELD_LEAF_COEFF, total));
    double *coefficients = myr_arena_calloc(arena, (size_t)total + 1, sizeof *coefficients);
    uint32_t *features = myr_arena_calloc(arena, (size_t)total + 1, sizeof *features);
    if (coefficients == NULL || features == NULL) return tree_no_memory(c);
    MYR_TRY(tree_line_terms(c, lines, coefficients, features));
    c->tree.lines = lines;
    return MYR_OK;
}

/* ---- shape ---- */

static myr_rc tree_scratch(tree_ctx *c)
{
    myr_lightgbm_reader *r = c->reader;
    uint32_t need = c->tree.leaf_count;
    if (need > r->room) {
        uint32_t room = need > r->room * 2 ? need : r->room * 2; /* at most 2^25 */
        r->seen = myr_arena_alloc(r->arena, 2 * (size_t)room);
        r->stack = myr_arena_alloc(r->arena, (size_t)room * sizeof *r->stack);
        if (r->seen == NULL || r->stack == NULL) return tree_no_memory(c);
        r->room = room;
    }
    memset(r->seen, 0, 2 * (size_t)need);
    return MYR_OK;
}

static myr_rc tree_claim(tree_ctx *c, uint32_t node, tree_field field, int32_t child, uint32_t *depth)
{
    myr_lightgbm_reader *r = c->reader;
    uint32_t mark = child >= 0 ? (uint32_t)child : c->tree.split_count + (uint32_t)~child;
    if (r->seen[mark]) {
        TREE_FAIL(c, BAD_FORMAT, "%s of node %u is %d: that %s has a parent already (or is an ancestor)",
                  tree_field_names[field], node, child, child >= 0 ? "node" : "leaf");
    }
    r->seen[mark] = 1;
    if (child >= 0) r->stack[(*depth)++] = child;
    return MYR_OK;
}

/* Each node and leaf hangs below exactly one parent, and all below the root. */
static myr_rc tree_check_shape(tree_ctx *c)
{
    MYR_TRY(tree_scratch(c));
    myr_lightgbm_reader *r = c->reader;
    uint32_t depth = 1;
    r->stack[0] = 0;
    r->seen[0] = 1;
    while (depth > 0) {
        uint32_t node = (uint32_t)r->stack[--depth];
        MYR_ASSERT(node < c->tree.split_count);
        MYR_TRY(tree_claim(c, node, FIELD_LEFT_CHILD, c->tree.splits[node].left, &depth));
        MYR_TRY(tree_claim(c, node, FIELD_RIGHT_CHILD, c->tree.splits[node].right, &depth));
        MYR_ASSERT(depth <= r->room);
    }
    uint32_t total = c->tree.split_count + c->tree.leaf_count;
    for (uint32_t k = 0; k < total; k++) {
        bool is_node = k < c->tree.split_count;
        if (!r->seen[k]) {
            TREE_FAIL(c, BAD_FORMAT, "%s %u hangs below no node", is_node ? "node" : "leaf",
                      is_node ? k : k - c->tree.split_count);
        }
    }
    return MYR_OK;
}

/* ---- all together ---- */

static myr_rc tree_check_linear(tree_ctx *c, bool *out_linear)
{
    int64_t is_linear = 0;
    if (c->seen[FIELD_IS_LINEAR]) MYR_TRY(tree_number(c, FIELD_IS_LINEAR, 0, 1, &is_linear));
    for (tree_field field = FIELD_LEAF_CONST; field <= FIELD_LEAF_COEFF; field++) {
        if (is_linear == 0 && c->seen[field])
            TREE_FAIL(c, BAD_FORMAT, "field %s without is_linear=1", tree_field_names[field]);
        if (is_linear != 0 && !c->seen[field])
            TREE_FAIL(c, BAD_FORMAT, "is_linear=1 without field %s", tree_field_names[field]);
    }
    *out_linear = is_linear != 0;
    return MYR_OK;
}

static myr_rc tree_single_leaf(tree_ctx *c)
{
    for (tree_field field = FIELD_SPLIT_FEATURE; field <= FIELD_CAT_THRESHOLD; field++) {
        if (field != FIELD_LEAF_VALUE && c->seen[field]) MYR_TRY(tree_count_tokens(c, field, 0));
    }
    if (c->num_cat != 0) TREE_FAIL(c, BAD_FORMAT, "num_cat is %u, but the tree has one leaf", c->num_cat);
    return MYR_OK;
}

myr_rc myr_lightgbm_tree(myr_lightgbm_reader *reader, uint32_t tree_idx, myr_tree *out)
{
    tree_ctx c = {.reader = reader, .file = reader->src->name, .tree_idx = tree_idx, .err = reader->err};
    int64_t leaves;
    int64_t categories;
    bool is_linear;
    MYR_TRY(tree_gather(&c));
    MYR_TRY(tree_check_linear(&c, &is_linear));
    MYR_TRY(tree_number(&c, FIELD_NUM_LEAVES, 1, MYR_TREE_LEAVES_MAX, &leaves));
    MYR_TRY(tree_number(&c, FIELD_NUM_CAT, 0, leaves - 1, &categories));
    c.num_cat = (uint32_t)categories;
    c.tree.leaf_count = (uint32_t)leaves;
    c.tree.split_count = (uint32_t)leaves - 1;
    MYR_TRY(tree_leaves(&c));
    if (c.tree.split_count == 0) {
        MYR_TRY(tree_single_leaf(&c));
    } else {
        MYR_TRY(tree_splits(&c));
        MYR_TRY(tree_check_shape(&c));
    }
    if (is_linear) MYR_TRY(tree_lines(&c));
    MYR_TRY(tree_all_covers(&c));
    *out = c.tree;
    return MYR_OK;
}
