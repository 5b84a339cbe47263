/* The walk through both trees, and which questions can still change where it ends. The form was checked: it ends. */
#include <string.h>

#include "advise/internal.h"

/* Visit what the answers leave possible: unanswered questions are marked, ends are gathered. */
typedef struct walk_open {
    const myr_advise_trees *trees;
    const myr_advise_answers *answers;
    bool *needed;
    uint32_t verdicts; /* the ends of the first tree that are possible */
} walk_open;

static uint32_t walk_mask(const walk_open *w, uint32_t question)
{
    if (question == w->trees->question_count) return w->verdicts;
    const myr_advise_answer *answer = &w->answers->of[question];
    if (answer->is_given) return 1u << answer->option;
    w->needed[question] = true;
    return UINT32_MAX;
}

/* Depth is bounded: no question comes twice on a way. */
static void walk_possible(walk_open *w, uint32_t tree_idx, uint32_t node_idx, uint32_t *out_ends)
{
    const myr_advise_node *node = &w->trees->trees[tree_idx].nodes[node_idx];
    uint32_t mask = walk_mask(w, node->question);
    for (uint32_t i = 0; i < node->branch_count; i++) {
        const myr_advise_branch *branch = &node->branches[i];
        if ((branch->mask & mask) == 0) continue;
        if (branch->node == MYR_ADVISE_NONE) {
            *out_ends |= 1u << branch->end;
        } else {
            walk_possible(w, tree_idx, branch->node, out_ends);
        }
    }
}

uint32_t myr_advise_needed(const myr_advise_trees *trees, const myr_advise_answers *answers,
                           bool out_needed[MYR_ADVISE_QUESTIONS_MAX])
{
    walk_open w = {.trees = trees, .answers = answers, .needed = out_needed};
    uint32_t verdicts = 0, places = 0, count = 0;
    memset(out_needed, 0, sizeof(bool) * MYR_ADVISE_QUESTIONS_MAX);
    walk_possible(&w, 0, trees->trees[0].root, &verdicts);
    MYR_ASSERT(verdicts != 0);
    w.verdicts = verdicts;
    walk_possible(&w, 1, trees->trees[1].root, &places);
    MYR_ASSERT(places != 0);
    for (uint32_t i = 0; i < trees->question_count; i++) {
        count += out_needed[i];
    }
    return count;
}

static myr_rc walk_missing(const myr_advise_trees *trees, const bool *needed, myr_err *err)
{
    MYR_AUTO(myr_buf) flags = {0};
    for (uint32_t i = 0; i < trees->question_count; i++) {
        if (needed[i]) myr_buf_printf(&flags, "%s--%s", flags.size > 0 ? ", " : "", trees->questions[i].name);
    }
    MYR_TRY(myr_buf_check(&flags, err));
    MYR_FAIL(err, BAD_USAGE, "not answered: %s: give them, or --defaults to take the defaults", flags.data);
}

/* One tree, from its root to an end. */
static uint32_t walk_tree(const myr_advise_trees *trees, uint32_t tree_idx, const myr_advise_answers *answers,
                          myr_advice *advice)
{
    const myr_advise_tree *tree = &trees->trees[tree_idx];
    uint32_t node_idx = tree->root;
    for (;;) {
        const myr_advise_node *node = &tree->nodes[node_idx];
        uint32_t option =
            node->question == trees->question_count ? advice->verdict : answers->of[node->question].option;
        uint32_t branch_idx = 0;
        while ((node->branches[branch_idx].mask & (1u << option)) == 0) {
            branch_idx++;
            MYR_ASSERT(branch_idx < node->branch_count);
        }
        MYR_ASSERT(advice->step_counts[tree_idx] <= trees->question_count);
        advice->steps[tree_idx][advice->step_counts[tree_idx]++] =
            (myr_advise_step){.node = node_idx, .branch = branch_idx, .option = option};
        const myr_advise_branch *branch = &node->branches[branch_idx];
        if (branch->node == MYR_ADVISE_NONE) return branch->end;
        node_idx = branch->node;
    }
}

myr_rc myr_advise_walk(const myr_advise_trees *trees, const myr_advise_answers *answers, myr_advice *out, myr_err *err)
{
    bool needed[MYR_ADVISE_QUESTIONS_MAX];
    myr_advice advice = {0};
    if (myr_advise_needed(trees, answers, needed) > 0) return walk_missing(trees, needed, err);
    advice.verdict = walk_tree(trees, 0, answers, &advice);
    advice.place = walk_tree(trees, 1, answers, &advice);
    *out = advice;
    return MYR_OK;
}

bool myr_advise_took(const myr_advice *advice, uint32_t tree_idx, uint32_t node, uint32_t branch)
{
    if (advice == NULL) return false;
    for (uint32_t i = 0; i < advice->step_counts[tree_idx]; i++) {
        const myr_advise_step *step = &advice->steps[tree_idx][i];
        if (step->node == node && step->branch == branch) return true;
    }
    return false;
}
