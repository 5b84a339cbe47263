/*
 * `myriad advise`: batch or real time, and on what. Answers come from flags, a file, measurements and a dialogue, in
 * this order of precedence; the questions of the tree file are the flags.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "advise/advise.h"
#include "cli/args.h"
#include "cli/commands.h"

#define ADVISE_WORDS_MAX 128

typedef struct advise_args {
    const char *file, *trees, *products, *fleet, *explain, *print;
    bool defaults, check;
    const char *answers[MYR_ADVISE_QUESTIONS_MAX];
} advise_args;

/* Rows of the command itself; those of the questions follow. */
#define ADVISE_OWN_ROWS 8

typedef struct advise_rows {
    myr_cli_arg rows[ADVISE_OWN_ROWS + MYR_ADVISE_QUESTIONS_MAX];
    char names[MYR_ADVISE_QUESTIONS_MAX][MYR_ADVISE_NAME_BYTES_MAX + 3];
    myr_buf help[MYR_ADVISE_QUESTIONS_MAX];
    size_t count;
} advise_rows;

static void advise_rows_fini(advise_rows *rows)
{
    for (size_t i = 0; i < MYR_COUNT_OF(rows->help); i++) {
        myr_buf_fini(&rows->help[i]);
    }
}

static myr_rc advise_rows_fill(advise_rows *r, advise_args *a, const myr_advise_trees *trees, myr_err *err)
{
    const myr_cli_arg own[ADVISE_OWN_ROWS] = {
        {"ANSWERS", NULL, MYR_CLI_POSITIONAL_OPT, &a->file,
         "a YAML file of answers (how-often: nightly); flags go before it"},
        {"--fleet", "F", MYR_CLI_TEXT, &a->fleet, "measure this fleet, and answer by it what it can answer"},
        {"--defaults", NULL, MYR_CLI_FLAG, &a->defaults, "take the defaults for what is not answered, and say which"},
        {"--explain", "FILE.svg", MYR_CLI_TEXT, &a->explain,
         "draw both trees with the way marked (default: advise.svg)"},
        {"--trees", "FILE", MYR_CLI_TEXT, &a->trees, "trees of your own"},
        {"--products", "FILE", MYR_CLI_TEXT, &a->products, "a table of product names of your own"},
        {"--print", "WHAT", MYR_CLI_TEXT, &a->print, "print the built-in file: trees or products"},
        {"--check", NULL, MYR_CLI_FLAG, &a->check, "only check the files, and say what is in them"},
    };
    memcpy(r->rows, own, sizeof own);
    r->count = ADVISE_OWN_ROWS;
    for (uint32_t i = 0; i < trees->question_count; i++) {
        (void)snprintf(r->names[i], sizeof r->names[i], "--%s", trees->questions[i].name);
        myr_buf_printf(&r->help[i], "%s\n%29s", trees->questions[i].ask, "");
        myr_advise_allowed(&trees->questions[i], &r->help[i]);
        MYR_TRY(myr_buf_check(&r->help[i], err));
        r->rows[r->count++] = (myr_cli_arg){r->names[i], "ANSWER", MYR_CLI_TEXT, &a->answers[i], r->help[i].data};
    }
    return MYR_OK;
}

/* The value of --trees, needed before the rest can be parsed. */
static const char *advise_find_trees(int argc, char **argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strncmp(argv[i], "--trees=", 8) == 0) return argv[i] + 8;
        if (strcmp(argv[i], "--trees") == 0 && i + 1 < argc) return argv[i + 1];
    }
    return NULL;
}

/* `--explain` may stand without a name: then the next word is a flag or there is none. */
static myr_rc advise_words(int argc, char **argv, char *picture, char *out_words[ADVISE_WORDS_MAX], int *out_count,
                           myr_err *err)
{
    int count = 0;
    for (int i = 0; i < argc; i++) {
        if (count + 2 > ADVISE_WORDS_MAX)
            MYR_FAIL(err, TOO_LARGE, "myriad advise: more than %d words", ADVISE_WORDS_MAX - 2);
        out_words[count++] = argv[i];
        if (strcmp(argv[i], "--explain") != 0) continue;
        if (i + 1 == argc || strncmp(argv[i + 1], "--", 2) == 0) out_words[count++] = picture;
    }
    *out_count = count;
    return MYR_OK;
}

static myr_rc advise_print(const char *what, myr_err *err)
{
    bool is_trees = strcmp(what, "trees") == 0;
    if (!is_trees && strcmp(what, "products") != 0) {
        MYR_FAIL(err, BAD_USAGE, "myriad advise: --print '%s': give trees or products", what);
    }
    myr_str text = is_trees ? myr_advise_trees_text() : myr_advise_products_text();
    (void)fwrite(text.data, 1, text.size, stdout); /* main checks the stream */
    return MYR_OK;
}

static void advise_print_check(const myr_cli *cli, const myr_advise_trees *trees)
{
    if (cli->json) {
        printf("{\"questions\":%u,\"verdicts\":%u,\"places\":%u,\"leaves\":[%u,%u],\"combinations\":%llu}\n",
               trees->question_count, trees->verdict_count, trees->place_count, trees->leaf_counts[0],
               trees->leaf_counts[1], (unsigned long long)trees->combination_count);
        return;
    }
    printf("%u questions, %u verdicts, %u places; %u and %u leaves, each can be reached; each of %llu combinations of "
           "answers "
           "ends in one of them\n",
           trees->question_count, trees->verdict_count, trees->place_count, trees->leaf_counts[0],
           trees->leaf_counts[1], (unsigned long long)trees->combination_count);
}

static bool advise_colour(FILE *stream)
{
    const char *no_colour = getenv("NO_COLOR"), *terminal = getenv("TERM");
    if (no_colour != NULL && no_colour[0] != '\0') return false;
    return isatty(fileno(stream)) && terminal != NULL && strcmp(terminal, "dumb") != 0;
}

static myr_rc advise_defaults(const myr_advise_trees *trees, myr_advise_answers *answers, myr_err *err)
{
    bool needed[MYR_ADVISE_QUESTIONS_MAX];
    while (myr_advise_needed(trees, answers, needed) > 0) { /* one at a time: an answer can make others needless */
        uint32_t i = 0;
        while (!needed[i]) {
            i++;
        }
        const myr_advise_question *question = &trees->questions[i];
        MYR_TRY(
            myr_advise_answer_set(trees, i, question->options[question->default_idx].name, "default", answers, err));
        fprintf(stderr, "myriad: --%s: default taken: %s\n", question->name,
                question->options[question->default_idx].name);
    }
    return MYR_OK;
}

/* Flags before the file, the file before what is measured, and only then is somebody asked. */
static myr_rc advise_answers(const advise_args *a, const myr_advise_trees *trees, const myr_advise_facts *facts,
                             myr_advise_answers *answers, myr_err *err)
{
    char from[MYR_ADVISE_NAME_BYTES_MAX + 3];
    if (a->file != NULL) MYR_TRY(myr_advise_answers_load(trees, a->file, answers, err));
    for (uint32_t i = 0; i < trees->question_count; i++) {
        if (a->answers[i] == NULL) continue;
        (void)snprintf(from, sizeof from, "--%s", trees->questions[i].name);
        MYR_TRY(myr_advise_answer_set(trees, i, a->answers[i], from, answers, err));
    }
    if (facts != NULL) MYR_TRY(myr_advise_answer_measured(trees, facts, answers, err));
    if (a->defaults) return advise_defaults(trees, answers, err);
    if (isatty(STDIN_FILENO) && isatty(STDERR_FILENO)) {
        return myr_advise_ask(trees, stdin, stderr, advise_colour(stderr), answers, err);
    }
    return MYR_OK; /* the walk says what is missing */
}

static myr_rc advise_measure(const myr_cli *cli, const char *fleet, myr_advise_facts *out, myr_err *err)
{
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    MYR_TRY(myr_cli_workspace(cli, &workspace, err));
    return myr_advise_measure_fleet(workspace, fleet, out, err);
}

/* advice NULL: no way is marked. */
static myr_rc advise_explain(const advise_args *a, const myr_cli *cli, const myr_advise_trees *trees,
                             const myr_advice *advice, myr_buf *out, myr_err *err)
{
    MYR_AUTO(myr_buf) svg = {0};
    MYR_TRY(myr_advise_svg(trees, advice, &svg, err));
    MYR_TRY(myr_file_write(a->explain, svg.data, svg.size, err));
    if (cli->json) return MYR_OK;
    myr_buf_putc(out, '\n');
    myr_advise_tree_text(trees, advice, out);
    myr_buf_printf(out, "\ndrawn: %s\n", a->explain);
    return myr_buf_check(out, err);
}

/* `--check`: what is in the files; with --explain also drawn. */
static myr_rc advise_check(const advise_args *a, const myr_cli *cli, const myr_advise_trees *trees, myr_err *err)
{
    MYR_AUTO(myr_buf) out = {0};
    if (a->explain != NULL) MYR_TRY(advise_explain(a, cli, trees, NULL, &out, err));
    advise_print_check(cli, trees);
    fputs(out.data != NULL ? out.data : "", stdout);
    return MYR_OK;
}

static myr_rc advise_run(const advise_args *a, const myr_cli *cli, const myr_advise_trees *trees,
                         const myr_advise_products *products, myr_err *err)
{
    myr_advise_answers answers = {0};
    myr_advise_facts facts = {0};
    myr_advice advice = {0};
    MYR_AUTO(myr_buf) out = {0};
    if (a->fleet != NULL) MYR_TRY(advise_measure(cli, a->fleet, &facts, err));
    MYR_TRY(advise_answers(a, trees, a->fleet != NULL ? &facts : NULL, &answers, err));
    MYR_TRY(myr_advise_walk(trees, &answers, &advice, err));
    myr_advise_report report = {.trees = trees,
                                .products = products,
                                .answers = &answers,
                                .advice = &advice,
                                .facts = a->fleet != NULL ? &facts : NULL,
                                .colour = advise_colour(stdout)};
    if (cli->json) {
        myr_advise_json(&report, &out);
    } else {
        myr_advise_text(&report, &out);
    }
    if (a->explain != NULL) MYR_TRY(advise_explain(a, cli, trees, &advice, &out, err));
    MYR_TRY(myr_buf_check(&out, err));
    fputs(out.data, stdout);
    return MYR_OK;
}

static myr_rc advise_parsed(const advise_args *a, const myr_cli *cli, const myr_advise_trees *trees, myr_err *err)
{
    myr_advise_products *products = NULL;
    if (a->print != NULL) return advise_print(a->print, err);
    if (a->explain != NULL && !myr_str_ends_with(myr_str_of(a->explain), ".svg")) {
        MYR_FAIL(err, BAD_USAGE, "myriad advise: --explain '%s': the file that is written must end in .svg",
                 a->explain);
    }
    MYR_TRY(myr_advise_products_load(a->products, trees, &products, err));
    myr_rc rc = a->check ? advise_check(a, cli, trees, err) : advise_run(a, cli, trees, products, err);
    myr_advise_products_free(products);
    return rc;
}

myr_rc myr_cmd_advise(int argc, char **argv, myr_err *err)
{
    MYR_AUTO(myr_advise_trees_ptr) trees = NULL;
    advise_args a = {0};
    advise_rows rows = {0};
    myr_cli cli = {0};
    char *words[ADVISE_WORDS_MAX], picture[] = "advise.svg"; /* where --explain without a name draws */
    int word_count = 0;
    MYR_TRY(advise_words(argc, argv, picture, words, &word_count, err));
    MYR_TRY(myr_advise_load(advise_find_trees(argc, argv), &trees, err));
    myr_rc rc = advise_rows_fill(&rows, &a, trees, err);
    if (rc == MYR_OK) {
        rc = myr_cli_parse("advise", "batch or real time, and on what: questions, two trees, the way and why",
                           "myriad advise --how-often nightly --how-soon 4h --batch-size large --compute little "
                           "--operation one-machine",
                           rows.rows, rows.count, word_count, words, &cli, err);
    }
    if (rc == MYR_OK && !cli.done) rc = advise_parsed(&a, &cli, trees, err);
    advise_rows_fini(&rows);
    return rc;
}
