/* The nodes of a tree: names first, since a branch may name a node that stands below it; then questions and branches.
 */
#include <string.h>

#include "advise/internal.h"

#define NODES_LIST_BYTES 100 /* of known names in a message */

/* What reading one tree needs at hand. */
typedef struct nodes_state {
    myr_advise_trees *trees;
    const myr_spec *spec;
    myr_advise_tree *tree;
    uint32_t tree_idx;
} nodes_state;

static const char *nodes_end_key(const nodes_state *s)
{
    return s->tree_idx == 0 ? "verdict" : "place";
}

static uint32_t nodes_find(const myr_advise_tree *tree, const char *name)
{
    for (uint32_t i = 0; i < tree->node_count; i++) {
        if (strcmp(tree->nodes[i].name, name) == 0) return i;
    }
    return MYR_ADVISE_NONE;
}

/* "unknown X 'y': did you mean 'z'?" */
static myr_rc nodes_unknown(const nodes_state *s, const myr_spec_node *at, const char *what, const char *name,
                            const char *const *known, myr_err *err)
{
    const char *nearest = myr_nearest(name, known);
    if (nearest != NULL) {
        return myr_spec_fail(s->spec, at, err, "unknown %s '%.40s': did you mean '%s'?", what, name, nearest);
    }
    MYR_AUTO(myr_buf) list = {0};
    for (uint32_t i = 0; known[i] != NULL && list.size < NODES_LIST_BYTES; i++) {
        myr_buf_printf(&list, "%s%s", i > 0 ? ", " : "", known[i]);
    }
    return myr_spec_fail(s->spec, at, err, "unknown %s '%.40s': known are %s", what, name,
                         list.data != NULL ? list.data : "?");
}

static myr_rc branch_go(const nodes_state *s, const myr_spec_node *map, const char *name, uint32_t *out, myr_err *err)
{
    *out = nodes_find(s->tree, name);
    if (*out != MYR_ADVISE_NONE) return MYR_OK;
    const char *known[MYR_ADVISE_NODES_MAX + 1] = {0};
    for (uint32_t i = 0; i < s->tree->node_count; i++) {
        known[i] = s->tree->nodes[i].name;
    }
    return nodes_unknown(s, map, "node", name, known, err);
}

static myr_rc branch_end(const nodes_state *s, const myr_spec_node *map, const char *name, uint32_t *out, myr_err *err)
{
    const myr_advise_end *ends = s->tree_idx == 0 ? s->trees->verdicts : s->trees->places;
    uint32_t count = s->tree_idx == 0 ? s->trees->verdict_count : s->trees->place_count;
    const char *known[MYR_ADVISE_OPTIONS_MAX + 1] = {0};
    for (uint32_t i = 0; i < count; i++) {
        known[i] = ends[i].name;
        if (strcmp(known[i], name) != 0) continue;
        *out = i;
        return MYR_OK;
    }
    return nodes_unknown(s, map, nodes_end_key(s), name, known, err);
}

/* The options of `when`; an option that another branch has already is refused. */
static myr_rc branch_when(const nodes_state *s, const myr_advise_node *node, const myr_spec_node *map,
                          uint32_t *out_mask, myr_err *err)
{
    const myr_advise_question *question = &s->trees->questions[node->question];
    const char *const *names = NULL;
    uint32_t name_count = 0, taken = 0;
    MYR_TRY(myr_spec_texts(s->spec, map, "when", true, &names, &name_count, err));
    for (uint32_t i = 0; i < node->branch_count; i++) {
        taken |= node->branches[i].mask;
    }
    const myr_spec_node *when = myr_spec_find(map, "when");
    for (uint32_t i = 0; i < name_count; i++) {
        const myr_spec_node *at = when->kind == MYR_SPEC_LIST ? when->items[i] : when;
        const char *known[MYR_ADVISE_OPTIONS_MAX + 1] = {0};
        uint32_t bit = 0;
        for (uint32_t j = 0; j < question->option_count; j++) {
            known[j] = question->options[j].name;
            if (strcmp(known[j], names[i]) == 0) bit = 1u << j;
        }
        if (bit == 0) return nodes_unknown(s, at, "option", names[i], known, err);
        if ((taken & bit) != 0) {
            return myr_spec_fail(s->spec, at, err, "'%s' stands twice at node '%s': one answer, one way", names[i],
                                 node->name);
        }
        taken |= bit;
        *out_mask |= bit;
    }
    return MYR_OK;
}

static myr_rc node_branch(const nodes_state *s, myr_advise_node *node, const myr_spec_node *map, myr_err *err)
{
    const char *known[] = {"when", "because", "go", nodes_end_key(s), NULL};
    const char *go = NULL, *end = NULL;
    myr_advise_branch branch = {.node = MYR_ADVISE_NONE, .end = MYR_ADVISE_NONE, .at = map};
    MYR_TRY(myr_spec_check_keys(s->spec, map, known, err));
    MYR_TRY(branch_when(s, node, map, &branch.mask, err));
    MYR_TRY(myr_advise_read_text(s->spec, map, "because", true, MYR_ADVISE_TEXT_BYTES_MAX, &branch.because, err));
    MYR_TRY(myr_spec_text(s->spec, map, "go", false, &go, err));
    MYR_TRY(myr_spec_text(s->spec, map, nodes_end_key(s), false, &end, err));
    if ((go == NULL) == (end == NULL)) {
        return myr_spec_fail(s->spec, map, err, "a branch has either 'go: NODE' or '%s: NAME'", nodes_end_key(s));
    }
    if (go != NULL) MYR_TRY(branch_go(s, myr_spec_find(map, "go"), go, &branch.node, err));
    if (end != NULL) MYR_TRY(branch_end(s, myr_spec_find(map, nodes_end_key(s)), end, &branch.end, err));
    node->branches[node->branch_count++] = branch;
    return MYR_OK;
}

static myr_rc node_question(const nodes_state *s, const myr_spec_node *map, uint32_t *out, myr_err *err)
{
    const char *known[MYR_ADVISE_QUESTIONS_MAX + 2] = {0}, *ask = NULL;
    uint32_t count = s->trees->question_count + s->tree_idx; /* `verdict` is a question of the second tree only */
    MYR_TRY(myr_spec_text(s->spec, map, "ask", true, &ask, err));
    for (uint32_t i = 0; i < count; i++) {
        known[i] = s->trees->questions[i].name;
        if (strcmp(known[i], ask) != 0) continue;
        *out = i;
        return MYR_OK;
    }
    return nodes_unknown(s, myr_spec_find(map, "ask"), "question", ask, known, err);
}

static myr_rc nodes_one(const nodes_state *s, myr_advise_node *node, const myr_spec_node *map, myr_err *err)
{
    static const char *const known[] = {"ask", "branches", NULL};
    MYR_TRY(myr_spec_check_keys(s->spec, map, known, err));
    MYR_TRY(node_question(s, map, &node->question, err));
    const myr_spec_node *list = myr_spec_find(map, "branches");
    if (list == NULL || list->kind != MYR_SPEC_LIST || list->count == 0) {
        return myr_spec_fail(s->spec, list != NULL ? list : map, err, "node '%s' needs 'branches', a list", node->name);
    }
    if (list->count > MYR_ADVISE_OPTIONS_MAX) {
        return myr_spec_fail(s->spec, list, err, "node '%s' has %u branches: at most %d", node->name, list->count,
                             MYR_ADVISE_OPTIONS_MAX);
    }
    for (uint32_t i = 0; i < list->count; i++) {
        MYR_TRY(node_branch(s, node, list->items[i], err));
    }
    return MYR_OK;
}

static myr_rc nodes_names(const nodes_state *s, const myr_spec_node *nodes, myr_err *err)
{
    if (nodes->count > MYR_ADVISE_NODES_MAX) {
        return myr_spec_fail(s->spec, nodes->keys[MYR_ADVISE_NODES_MAX], err, "a tree of %u nodes: at most %d",
                             nodes->count, MYR_ADVISE_NODES_MAX);
    }
    s->tree->nodes = myr_arena_calloc(s->trees->arena, nodes->count, sizeof *s->tree->nodes);
    if (s->tree->nodes == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    for (uint32_t i = 0; i < nodes->count; i++) {
        const char *name = nodes->keys[i]->text;
        if (name[0] == '\0' || strlen(name) > MYR_ADVISE_NAME_BYTES_MAX) {
            return myr_spec_fail(s->spec, nodes->keys[i], err, "a node's name has 1 to %d bytes",
                                 MYR_ADVISE_NAME_BYTES_MAX);
        }
        s->tree->nodes[i].name = name;
        s->tree->nodes[i].at = nodes->keys[i];
    }
    s->tree->node_count = nodes->count;
    return MYR_OK;
}

myr_rc myr_advise_read_nodes(myr_advise_trees *trees, uint32_t tree_idx, const myr_spec_node *map, myr_err *err)
{
    static const char *const known[] = {"title", "start", "nodes", NULL};
    nodes_state s = {.trees = trees, .spec = trees->spec, .tree = &trees->trees[tree_idx], .tree_idx = tree_idx};
    const char *start = NULL;
    MYR_TRY(myr_spec_check_keys(s.spec, map, known, err));
    MYR_TRY(myr_advise_read_text(s.spec, map, "title", true, MYR_ADVISE_TITLE_BYTES_MAX, &s.tree->title, err));
    MYR_TRY(myr_spec_text(s.spec, map, "start", true, &start, err));
    const myr_spec_node *nodes = myr_spec_find(map, "nodes");
    if (nodes == NULL || nodes->kind != MYR_SPEC_MAP || nodes->count == 0) {
        return myr_spec_fail(s.spec, nodes != NULL ? nodes : map, err, "'nodes' must be a map of nodes");
    }
    MYR_TRY(nodes_names(&s, nodes, err));
    for (uint32_t i = 0; i < nodes->count; i++) {
        MYR_TRY(nodes_one(&s, &s.tree->nodes[i], nodes->items[i], err));
    }
    return branch_go(&s, myr_spec_find(map, "start"), start, &s.tree->root, err);
}
