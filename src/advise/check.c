/*
 * The form of the trees, so that a walk needs no checks: it always ends, in one leaf, whatever the answers.
 *
 * A leaf is the product of the option sets on its way. That gives every count without trying combinations: the leaves
 * of a tree divide all combinations among them, and a way through both trees is possible exactly if the two products
 * meet. So the work grows with the leaves, never with the product of the questions.
 */
#include <string.h>

#include "advise/internal.h"

#define CHECK_LEAVES_MAX (MYR_ADVISE_NODES_MAX * MYR_ADVISE_OPTIONS_MAX)

/* One way from the root to an end. */
typedef struct check_leaf {
    uint32_t masks[MYR_ADVISE_QUESTIONS_MAX + 1]; /* per question, the options that come here */
    uint32_t end;
    const myr_advise_branch *branch;
} check_leaf;

typedef struct check_state {
    myr_advise_trees *trees;
    check_leaf *leaves[2];
    uint32_t leaf_counts[2];
} check_state;

static uint32_t check_all(const myr_advise_question *question)
{
    MYR_ASSERT(question->option_count > 0 && question->option_count <= MYR_ADVISE_OPTIONS_MAX);
    return (1u << question->option_count) - 1;
}

/* Every option of the question has a branch. That none has two was seen when it was read. */
static myr_rc check_coverage(const myr_advise_trees *trees, const myr_advise_tree *tree, myr_err *err)
{
    for (uint32_t i = 0; i < tree->node_count; i++) {
        const myr_advise_node *node = &tree->nodes[i];
        const myr_advise_question *question = &trees->questions[node->question];
        uint32_t left = check_all(question);
        for (uint32_t j = 0; j < node->branch_count; j++) {
            left &= ~node->branches[j].mask;
        }
        if (left == 0) continue;
        MYR_AUTO(myr_buf) names = {0};
        myr_advise_mask_names(question, left, &names);
        return myr_spec_fail(trees->spec, node->at, err, "node '%s' has no branch for %s of '%s'", node->name,
                             names.data != NULL ? names.data : "?", question->name);
    }
    return MYR_OK;
}

/* From any node upwards: a way that comes back to itself is a cycle, one that does not begin at the start is apart. */
static myr_rc check_way_up(const myr_advise_trees *trees, const myr_advise_tree *tree, const uint32_t *parents,
                           uint32_t from, myr_err *err)
{
    uint32_t node = from;
    for (uint32_t steps = 0; steps <= tree->node_count; steps++) {
        if (parents[node] == MYR_ADVISE_NONE) break;
        node = parents[node];
    }
    const myr_advise_node *at = &tree->nodes[from];
    if (parents[node] != MYR_ADVISE_NONE) {
        return myr_spec_fail(trees->spec, tree->nodes[node].at, err, "node '%s' leads back to itself: a cycle",
                             tree->nodes[node].name);
    }
    if (node == tree->root) return MYR_OK;
    return myr_spec_fail(trees->spec, at->at, err, "node '%s' cannot be reached from the start '%s'", at->name,
                         tree->nodes[tree->root].name);
}

/* A second way into a node: one that comes from below it closes a cycle. */
static myr_rc check_second_way(const myr_advise_trees *trees, const myr_advise_tree *tree, const uint32_t *parents,
                               uint32_t from, const myr_advise_branch *branch, myr_err *err)
{
    const char *name = tree->nodes[branch->node].name;
    uint32_t node = from;
    for (uint32_t steps = 0; steps < tree->node_count && node != MYR_ADVISE_NONE; steps++) {
        if (node == branch->node) {
            return myr_spec_fail(trees->spec, branch->at, err, "node '%s' leads back to itself: a cycle", name);
        }
        node = parents[node];
    }
    return myr_spec_fail(trees->spec, branch->at, err,
                         "node '%s' is entered a second time (first from '%s'): a tree has one way to each node", name,
                         tree->nodes[parents[branch->node]].name);
}

/* One way to each node: this makes it a tree, which can be drawn and whose leaves can be counted. */
static myr_rc check_parents(const myr_advise_trees *trees, const myr_advise_tree *tree, myr_err *err)
{
    uint32_t parents[MYR_ADVISE_NODES_MAX], second_from = MYR_ADVISE_NONE;
    const myr_advise_branch *second = NULL;
    for (uint32_t i = 0; i < tree->node_count; i++) {
        parents[i] = MYR_ADVISE_NONE;
    }
    for (uint32_t i = 0; i < tree->node_count; i++) {
        for (uint32_t j = 0; j < tree->nodes[i].branch_count; j++) {
            const myr_advise_branch *branch = &tree->nodes[i].branches[j];
            if (branch->node == MYR_ADVISE_NONE) continue;
            if (parents[branch->node] == MYR_ADVISE_NONE) {
                parents[branch->node] = i;
            } else if (second == NULL) {
                second = branch;
                second_from = i;
            }
        }
    }
    if (second != NULL) return check_second_way(trees, tree, parents, second_from, second, err);
    for (uint32_t i = 0; i < tree->node_count; i++) {
        MYR_TRY(check_way_up(trees, tree, parents, i, err));
    }
    return MYR_OK;
}

/* Walk every way once, narrowing the option sets. Depth is bounded: a question asked twice ends it. */
static myr_rc check_leaves(check_state *s, uint32_t tree_idx, uint32_t node_idx, const check_leaf *so_far,
                           uint32_t asked, myr_err *err)
{
    const myr_advise_tree *tree = &s->trees->trees[tree_idx];
    const myr_advise_node *node = &tree->nodes[node_idx];
    if ((asked & (1u << node->question)) != 0) {
        return myr_spec_fail(s->trees->spec, node->at, err, "node '%s' asks '%s' a second time on one way", node->name,
                             s->trees->questions[node->question].name);
    }
    for (uint32_t i = 0; i < node->branch_count; i++) {
        const myr_advise_branch *branch = &node->branches[i];
        check_leaf leaf = *so_far;
        leaf.masks[node->question] = branch->mask;
        if (branch->node != MYR_ADVISE_NONE) {
            MYR_TRY(check_leaves(s, tree_idx, branch->node, &leaf, asked | (1u << node->question), err));
            continue;
        }
        MYR_ASSERT(s->leaf_counts[tree_idx] < CHECK_LEAVES_MAX);
        leaf.end = branch->end;
        leaf.branch = branch;
        s->leaves[tree_idx][s->leaf_counts[tree_idx]++] = leaf;
    }
    return MYR_OK;
}

/* How many combinations of answers come to both leaves. */
static uint64_t check_meet(const myr_advise_trees *trees, const check_leaf *first, const check_leaf *second)
{
    if ((second->masks[trees->question_count] & (1u << first->end)) == 0) return 0;
    uint64_t count = 1;
    for (uint32_t i = 0; i < trees->question_count; i++) {
        count *= (uint64_t)__builtin_popcount(first->masks[i] & second->masks[i]);
    }
    return count;
}

static myr_rc check_combinations(check_state *s, myr_err *err)
{
    myr_advise_trees *trees = s->trees;
    uint64_t total = 1, met = 0;
    for (uint32_t i = 0; i < trees->question_count; i++) {
        total *= trees->questions[i].option_count; /* at most 12^12 */
    }
    for (uint32_t j = 0; j < s->leaf_counts[1]; j++) {
        const check_leaf *second = &s->leaves[1][j];
        uint64_t here = 0;
        for (uint32_t i = 0; i < s->leaf_counts[0]; i++) {
            here += check_meet(trees, &s->leaves[0][i], second);
        }
        if (here == 0) {
            return myr_spec_fail(trees->spec, second->branch->at, err,
                                 "this leaf ('%s') can never be reached: no answers that lead to its verdict lead here",
                                 trees->places[second->end].name);
        }
        met += here;
    }
    MYR_ASSERT(met == total); /* coverage and one way to each node make it so */
    trees->combination_count = total;
    return MYR_OK;
}

static myr_rc check_used(const check_state *s, uint32_t tree_idx, const myr_advise_end *ends, uint32_t end_count,
                         myr_err *err)
{
    for (uint32_t i = 0; i < end_count; i++) {
        bool used = false;
        for (uint32_t j = 0; j < s->leaf_counts[tree_idx]; j++) {
            used |= s->leaves[tree_idx][j].end == i;
        }
        if (used) continue;
        return myr_spec_fail(s->trees->spec, myr_spec_root(s->trees->spec), err, "no leaf of the %s tree says '%s'",
                             tree_idx == 0 ? "first" : "second", ends[i].name);
    }
    return MYR_OK;
}

static myr_rc check_asked(const check_state *s, myr_err *err)
{
    for (uint32_t i = 0; i < s->trees->question_count; i++) {
        bool used = false;
        for (uint32_t t = 0; t < 2; t++) {
            for (uint32_t j = 0; j < s->trees->trees[t].node_count; j++) {
                used |= s->trees->trees[t].nodes[j].question == i;
            }
        }
        if (used) continue;
        return myr_spec_fail(s->trees->spec, myr_spec_root(s->trees->spec), err, "question '%s' is asked by no node",
                             s->trees->questions[i].name);
    }
    return MYR_OK;
}

static myr_rc check_run(check_state *s, myr_err *err)
{
    myr_advise_trees *trees = s->trees;
    check_leaf all = {0};
    for (uint32_t i = 0; i <= trees->question_count; i++) {
        all.masks[i] = check_all(&trees->questions[i]);
    }
    for (uint32_t t = 0; t < 2; t++) {
        MYR_TRY(check_coverage(trees, &trees->trees[t], err));
        MYR_TRY(check_parents(trees, &trees->trees[t], err));
        MYR_TRY(check_leaves(s, t, trees->trees[t].root, &all, 0, err));
        trees->leaf_counts[t] = s->leaf_counts[t];
    }
    MYR_TRY(check_asked(s, err));
    MYR_TRY(check_used(s, 0, trees->verdicts, trees->verdict_count, err));
    MYR_TRY(check_used(s, 1, trees->places, trees->place_count, err));
    return check_combinations(s, err);
}

myr_rc myr_advise_check(myr_advise_trees *trees, myr_err *err)
{
    check_state s = {.trees = trees};
    MYR_AUTO(myr_mem) first = myr_calloc(CHECK_LEAVES_MAX, sizeof(check_leaf));
    MYR_AUTO(myr_mem) second = myr_calloc(CHECK_LEAVES_MAX, sizeof(check_leaf));
    if (first == NULL || second == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    s.leaves[0] = first;
    s.leaves[1] = second;
    return check_run(&s, err);
}
