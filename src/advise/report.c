/* The advice said to people: verdict, the way with its reasons, place, product names, what was measured, next commands.
 */
#include <stdio.h>
#include <string.h>

#include "advise/internal.h"

#define REPORT_WIDTH 96 /* columns of a terminal that texts are wrapped to */

/* Wrap at blanks; every line begins with `indent` blanks. */
static void report_wrap(myr_buf *out, size_t indent, const char *text)
{
    size_t column = 0;
    myr_str rest = myr_str_of(text), word;
    while (myr_str_split(&rest, ' ', &word)) {
        if (word.size == 0) continue;
        if (column > 0 && indent + column + 1 + word.size > REPORT_WIDTH) {
            myr_buf_putc(out, '\n');
            column = 0;
        }
        if (column == 0) {
            myr_buf_printf(out, "%*s", (int)indent, "");
        } else {
            myr_buf_putc(out, ' ');
            column++;
        }
        myr_buf_append(out, word.data, word.size);
        column += word.size;
    }
    myr_buf_putc(out, '\n');
}

static void report_head(const myr_advise_report *r, myr_buf *out, const char *text)
{
    myr_buf_printf(out, "%s%s%s\n", r->colour ? "\033[1m" : "", text, r->colour ? "\033[0m" : "");
}

void myr_advise_command(const char *run, const myr_advise_facts *facts, myr_buf *out)
{
    static const char fleet_mark[] = "{fleet}", row_mark[] = "{row}";
    while (*run != '\0') {
        if (strncmp(run, fleet_mark, sizeof fleet_mark - 1) == 0) {
            myr_buf_puts(out, facts != NULL ? facts->fleet : "FLEET");
            run += sizeof fleet_mark - 1;
        } else if (strncmp(run, row_mark, sizeof row_mark - 1) == 0) {
            myr_buf_puts(out, facts != NULL ? facts->row : "{\"store\":2,\"brand\":1}");
            run += sizeof row_mark - 1;
        } else {
            myr_buf_putc(out, *run++);
        }
    }
}

static void report_steps(const myr_advise_report *r, uint32_t tree_idx, myr_buf *out)
{
    const myr_advise_tree *tree = &r->trees->trees[tree_idx];
    for (uint32_t i = 0; i < r->advice->step_counts[tree_idx]; i++) {
        const myr_advise_step *step = &r->advice->steps[tree_idx][i];
        const myr_advise_node *node = &tree->nodes[step->node];
        const myr_advise_question *question = &r->trees->questions[node->question];
        myr_buf_printf(out, "  %u. %s\n     %s", i + 1, question->ask, question->options[step->option].name);
        if (node->question < r->trees->question_count) {
            const myr_advise_answer *answer = &r->answers->of[node->question];
            bool is_same = strcmp(answer->given, question->options[step->option].name) == 0;
            myr_buf_printf(out, "%s%s  (%s)", is_same ? "" : ": ", is_same ? "" : answer->given, answer->from);
        }
        myr_buf_putc(out, '\n');
        report_wrap(out, 5, node->branches[step->branch].because);
    }
}

static void report_next(const myr_advise_report *r, const myr_advise_end *end, myr_buf *out)
{
    for (uint32_t i = 0; i < end->next_count; i++) {
        if (end->next[i].note != NULL) {
            myr_buf_puts(out, "  # ");
            myr_buf_puts(out, end->next[i].note);
            myr_buf_putc(out, '\n');
        }
        myr_buf_puts(out, "  ");
        myr_advise_command(end->next[i].run, r->facts, out);
        myr_buf_putc(out, '\n');
    }
}

static void report_products(const myr_advise_report *r, myr_buf *out)
{
    const char *place = r->trees->places[r->advice->place].name, *verdict = r->trees->verdicts[r->advice->verdict].name;
    report_head(r, out, "What the clouds call it");
    for (uint32_t i = 0; i < myr_advise_cloud_count(r->products); i++) {
        const char *name = myr_advise_product(r->products, place, verdict, i);
        myr_buf_printf(out, "  %-14s %s\n", myr_advise_cloud(r->products, i),
                       name != NULL ? name : "no name in the table");
    }
    myr_buf_putc(out, '\n');
}

static void facts_runs(const myr_advise_facts *f, myr_buf *out)
{
    char rows[32], median[32];
    if (f->run_count == 0) {
        myr_buf_puts(out, "  runs             none of this fleet is recorded yet: rows of a run cannot be measured\n");
        return;
    }
    myr_buf_printf(out, "  last run         %s rows in %.3g s", myr_format_count(f->run_rows, rows, sizeof rows),
                   (double)f->run_ms / 1e3);
    if (f->run_count > 1) {
        myr_buf_printf(out, "; median of the last %u completed runs: %s rows in %.3g s", f->run_count,
                       myr_format_count(f->run_rows_median, median, sizeof median), (double)f->run_ms_median / 1e3);
    }
    myr_buf_putc(out, '\n');
    myr_buf_puts(out, "                   (as recorded in the registry when each run ended)\n");
}

static void facts_text(const myr_advise_report *r, myr_buf *out)
{
    const myr_advise_facts *f = r->facts;
    char a[48], b[48], c[48], d[48];
    MYR_AUTO(myr_buf) head = {0};
    myr_buf_printf(&head, "Measured on %s, release %lld", f->fleet, (long long)f->release);
    report_head(r, out, head.data != NULL ? head.data : "Measured");
    myr_buf_printf(out, "  models           %s; %u features, %u %s (counted in the release's pack)\n",
                   myr_format_count(f->model_count, a, sizeof a), f->feature_count, f->output_count,
                   f->output_count == 1 ? "output" : "outputs");
    myr_buf_printf(
        out, "  memory           %s for all models, median %s, largest %s (their bytes in the pack, which is mapped:\n",
        myr_format_bytes(f->model_bytes, a, sizeof a), myr_format_bytes(f->model_bytes_median, b, sizeof b),
        myr_format_bytes(f->model_bytes_max, c, sizeof c));
    myr_buf_puts(out, "                   a model costs its bytes and nothing else, shared by all processes)\n");
    myr_buf_printf(out,
                   "  cost per row     %s of one core (median of %lld rounds of %s rows over %s models, keys of the "
                   "fleet's own,\n",
                   myr_advise_format_ns(f->row_ns, a, sizeof a), (long long)f->timed_rounds,
                   myr_format_count(f->timed_rows, b, sizeof b), myr_format_count(f->timed_models, c, sizeof c));
    myr_buf_puts(out, "                   made-up feature values, by the scoring path that batch and serve use)\n");
    myr_buf_printf(
        out, "  one row alone    median %s, 99th percentile %s (%s calls with one row, without network and JSON)\n",
        myr_advise_format_ns(f->one_row_p50_ns, a, sizeof a), myr_advise_format_ns(f->one_row_p99_ns, b, sizeof b),
        myr_format_count(f->one_row_calls, d, sizeof d));
    facts_runs(f, out);
    myr_buf_puts(
        out,
        "  requests         no history of requests is stored yet, so how often somebody asks cannot be measured\n\n");
}

void myr_advise_text(const myr_advise_report *report, myr_buf *out)
{
    const myr_advise_end *verdict = &report->trees->verdicts[report->advice->verdict];
    const myr_advise_end *place = &report->trees->places[report->advice->place];
    MYR_AUTO(myr_buf) head = {0};
    if (report->facts != NULL) facts_text(report, out);
    myr_buf_printf(&head, "Verdict: %s", verdict->title);
    report_head(report, out, head.data != NULL ? head.data : "");
    report_wrap(out, 2, verdict->text);
    report_steps(report, 0, out);
    myr_buf_clear(&head);
    myr_buf_printf(&head, "\nWhere: %s", place->title);
    report_head(report, out, head.data != NULL ? head.data : "");
    report_wrap(out, 2, place->text);
    report_steps(report, 1, out);
    myr_buf_putc(out, '\n');
    report_products(report, out);
    report_head(report, out, "Next");
    report_next(report, verdict, out);
    report_next(report, place, out);
    myr_buf_puts(out, "\n");
    report_wrap(out, 0, report->trees->source);
}

/* ---- the trees as text ---- */

/* Depth of a tree is bounded by the questions, so is the prefix. */
static void tree_node(const myr_advise_trees *trees, const myr_advice *advice, uint32_t tree_idx, uint32_t node_idx,
                      const char *prefix, bool on_way, myr_buf *out)
{
    const myr_advise_node *node = &trees->trees[tree_idx].nodes[node_idx];
    const myr_advise_question *question = &trees->questions[node->question];
    myr_buf_printf(out, "%s%s %s\n", prefix, on_way ? "[*]" : "[ ]", question->ask);
    for (uint32_t i = 0; i < node->branch_count; i++) {
        const myr_advise_branch *branch = &node->branches[i];
        bool took = myr_advise_took(advice, tree_idx, node_idx, i), is_last = i + 1 == node->branch_count;
        myr_buf_printf(out, "%s %s%s ", prefix, is_last ? "`" : "|", took ? "==" : "--");
        myr_advise_mask_names(question, branch->mask, out);
        if (branch->node == MYR_ADVISE_NONE) {
            const myr_advise_end *end = tree_idx == 0 ? &trees->verdicts[branch->end] : &trees->places[branch->end];
            myr_buf_printf(out, " %s %s%s\n", took ? "==>" : "-->", end->title, took ? "  [*]" : "");
            continue;
        }
        char below[8 * (MYR_ADVISE_QUESTIONS_MAX + 2)];
        (void)snprintf(below, sizeof below, "%s %s  ", prefix, is_last ? " " : "|");
        myr_buf_putc(out, '\n');
        tree_node(trees, advice, tree_idx, branch->node, below, took, out);
    }
}

void myr_advise_tree_text(const myr_advise_trees *trees, const myr_advice *advice, myr_buf *out)
{
    for (uint32_t t = 0; t < 2; t++) {
        myr_buf_printf(out, "%s%s%s\n", t == 0 ? "" : "\n", trees->trees[t].title,
                       advice != NULL && t == 0 ? "  ([*] and == mark your way)" : "");
        tree_node(trees, advice, t, trees->trees[t].root, "", advice != NULL, out);
    }
}
