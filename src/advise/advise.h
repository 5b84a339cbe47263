/*
 * The face of advise: questions, two decision trees and what their leaves say, read from a YAML file whose form is
 * checked; answers, walked to a verdict and a place; said as text, JSON and a picture; asked in a dialogue; measured on
 * a fleet.
 *
 * Thread: trees and products are immutable after load, any thread; the rest belongs to its caller.
 * Errors: BAD_INPUT "trees.yaml:7:3: …" for files, BAD_USAGE for answers, TOO_LARGE, NO_MEMORY. Outputs untouched on
 * failure.
 */
#ifndef MYR_ADVISE_ADVISE_H
#define MYR_ADVISE_ADVISE_H

#include <stdio.h>

#include "base/base.h"
#include "fleet/fleet.h"
#include "spec/spec.h"

/* Limits of a tree file. Each is named in its message and tested at the limit and one past it. */
#define MYR_ADVISE_QUESTIONS_MAX   12
#define MYR_ADVISE_OPTIONS_MAX     12  /* options of a question, verdicts, places, branches of a node */
#define MYR_ADVISE_NODES_MAX       128 /* nodes of a tree */
#define MYR_ADVISE_NEXT_MAX        8   /* next steps of a verdict or place */
#define MYR_ADVISE_NAME_BYTES_MAX  32
#define MYR_ADVISE_TITLE_BYTES_MAX 80
#define MYR_ADVISE_TEXT_BYTES_MAX  240 /* every other text */
#define MYR_ADVISE_CLOUDS_MAX      8
#define MYR_ADVISE_ROWS_MAX        256 /* rows of a products file */

#define MYR_ADVISE_NONE UINT32_MAX
#define MYR_ADVISE_ANY  INT64_MAX /* a band without an upper end */

typedef enum myr_advise_unit {
    MYR_ADVISE_NAMED,
    MYR_ADVISE_DURATION /* nanoseconds */,
    MYR_ADVISE_COUNT
} myr_advise_unit;

/* What of a fleet can answer a question. */
typedef enum myr_advise_measure {
    MYR_ADVISE_ASKED,
    MYR_ADVISE_ROW_TIME,     /* one row through score: 99th percentile */
    MYR_ADVISE_RUN_ROWS,     /* rows of the last completed run */
    MYR_ADVISE_RUN_CORE_TIME /* those rows times the median cost of a row */
} myr_advise_measure;

/* ---- the trees: everything borrowed from the file, which they own ---- */

typedef struct myr_advise_option {
    const char *name, *text;
    bool is_band;
    int64_t up_to; /* of a band, inclusive; bands ascend */
} myr_advise_option;

typedef struct myr_advise_question {
    const char *name, *ask, *why;
    myr_advise_unit unit;
    myr_advise_measure measure;
    uint32_t option_count, default_idx;
    myr_advise_option options[MYR_ADVISE_OPTIONS_MAX];
} myr_advise_question;

typedef struct myr_advise_next {
    const char *note, *run; /* note may be NULL; {fleet} and {row} stand for a fleet and one of its rows */
} myr_advise_next;

/* A verdict (end of the first tree) or a place (end of the second). */
typedef struct myr_advise_end {
    const char *name, *title, *text;
    uint32_t next_count;
    myr_advise_next next[MYR_ADVISE_NEXT_MAX];
} myr_advise_end;

/* The options that lead this way; either a node comes next or it ends. */
typedef struct myr_advise_branch {
    uint32_t mask;      /* bit i: option i of the node's question */
    uint32_t node, end; /* one of them is MYR_ADVISE_NONE */
    const char *because;
    const myr_spec_node *at; /* for messages */
} myr_advise_branch;

typedef struct myr_advise_node {
    const char *name;
    uint32_t question;
    uint32_t branch_count;
    myr_advise_branch branches[MYR_ADVISE_OPTIONS_MAX];
    const myr_spec_node *at;
} myr_advise_node;

typedef struct myr_advise_tree {
    const char *title;
    uint32_t node_count, root;
    myr_advise_node *nodes;
} myr_advise_tree;

typedef struct myr_advise_trees {
    myr_spec *spec; /* owns every text */
    myr_arena *arena;
    const char *title, *source;
    uint32_t question_count; /* as asked; questions[question_count] is `verdict`, which the first tree answers */
    myr_advise_question questions[MYR_ADVISE_QUESTIONS_MAX + 1];
    uint32_t verdict_count, place_count;
    myr_advise_end verdicts[MYR_ADVISE_OPTIONS_MAX], places[MYR_ADVISE_OPTIONS_MAX];
    myr_advise_tree trees[2];
    uint64_t combination_count; /* of answers; each was shown to end in one verdict and one place */
    uint32_t leaf_counts[2];
} myr_advise_trees;

/*
 * Read and check a tree file; path NULL gives the built-in one. The form: every option of a node's question stands in
 * exactly one of its branches, every node is entered from exactly one branch (so there is no cycle and no node apart),
 * no question is asked twice on a way, every leaf can be reached through both trees, every verdict and place is used.
 * Ownership: *out is the caller's. Errors: as above, with file, line and column.
 */
myr_rc myr_advise_load(const char *path, myr_advise_trees **out, myr_err *err);
myr_rc myr_advise_parse(const char *name, const char *text, size_t size_bytes, myr_advise_trees **out, myr_err *err);
void myr_advise_free(myr_advise_trees *trees); /* NULL accepted */
typedef myr_advise_trees *myr_advise_trees_ptr;
static inline void myr_advise_trees_ptr_drop(myr_advise_trees_ptr *trees)
{
    myr_advise_free(*trees);
}
uint32_t myr_advise_find_question(const myr_advise_trees *trees, const char *name); /* MYR_ADVISE_NONE when absent */

/* The built-in files as text, to begin one's own with. */
myr_str myr_advise_trees_text(void);
myr_str myr_advise_products_text(void);

/* ---- what the clouds call a place ---- */
typedef struct myr_advise_products myr_advise_products;
/* path NULL: the built-in table. A row for a place or verdict that the trees lack is an error in a file of the user's
 * own. */
myr_rc myr_advise_products_load(const char *path, const myr_advise_trees *trees, myr_advise_products **out,
                                myr_err *err);
myr_rc myr_advise_products_parse(const char *name, const char *text, size_t size_bytes, const myr_advise_trees *check,
                                 myr_advise_products **out, myr_err *err);
void myr_advise_products_free(myr_advise_products *products); /* NULL accepted */
uint32_t myr_advise_cloud_count(const myr_advise_products *products);
const char *myr_advise_cloud(const myr_advise_products *products, uint32_t cloud_idx);
/* The name in one cloud, or NULL if the table has none. */
const char *myr_advise_product(const myr_advise_products *products, const char *place, const char *verdict,
                               uint32_t cloud_idx);

/* ---- answers ---- */
#define MYR_ADVISE_GIVEN_BYTES 64
typedef struct myr_advise_answer {
    bool is_given;
    uint32_t option;
    char given[MYR_ADVISE_GIVEN_BYTES]; /* as typed: "4h" */
    char from[160];                     /* "--how-soon", "answers.yaml:3", "asked", "default", "measured" */
} myr_advise_answer;
typedef struct myr_advise_answers {
    myr_advise_answer of[MYR_ADVISE_QUESTIONS_MAX];
} myr_advise_answers;

/* One answer: an option's name, or a measure that falls into a band. BAD_USAGE names what is allowed. Replaces. */
myr_rc myr_advise_answer_set(const myr_advise_trees *trees, uint32_t question, const char *value, const char *from,
                             myr_advise_answers *answers, myr_err *err);
/* `how-often: nightly` line by line. Given answers are replaced. */
myr_rc myr_advise_answers_load(const myr_advise_trees *trees, const char *path, myr_advise_answers *answers,
                               myr_err *err);
/* Which questions without an answer can still change the outcome; returns how many. */
uint32_t myr_advise_needed(const myr_advise_trees *trees, const myr_advise_answers *answers,
                           bool out_needed[MYR_ADVISE_QUESTIONS_MAX]);
/* "one (1), small (up to 1,000) or large": the options, for messages. Appends. */
void myr_advise_allowed(const myr_advise_question *question, myr_buf *out);

/* ---- the walk ---- */
typedef struct myr_advise_step {
    uint32_t node, branch, option;
} myr_advise_step;
typedef struct myr_advice {
    uint32_t step_counts[2];
    myr_advise_step steps[2][MYR_ADVISE_QUESTIONS_MAX + 1];
    uint32_t verdict, place;
} myr_advice;
/* BAD_USAGE names the questions that are not answered and what is allowed for them. */
myr_rc myr_advise_walk(const myr_advise_trees *trees, const myr_advise_answers *answers, myr_advice *out, myr_err *err);

/* ---- measured on a fleet ---- */
#define MYR_ADVISE_TIMED_ROWS_MAX 8192
#define MYR_ADVISE_RUNS_MAX       10 /* of the newest completed runs */
typedef struct myr_advise_facts {
    char fleet[MYR_NAME_BYTES_MAX + 1];
    int64_t release;
    uint32_t model_count, feature_count, output_count;
    int64_t model_bytes, model_bytes_median, model_bytes_max; /* mapped; a model costs its bytes and nothing else */
    int64_t timed_rows, timed_rounds, timed_models;
    double row_ns;                         /* median over rounds, whole table at once, one core */
    double one_row_p50_ns, one_row_p99_ns; /* a call with one row */
    int64_t one_row_calls;
    uint32_t run_count;       /* newest completed runs of this fleet, at most MYR_ADVISE_RUNS_MAX */
    int64_t run_rows, run_ms; /* of the newest */
    int64_t run_rows_median, run_ms_median;
    char row[512]; /* a JSON row of the fleet, for the next commands */
} myr_advise_facts;
/*
 * Measure `fleet` (its champion): rows with keys of its own models and made-up feature values go through score. Takes a
 * few seconds at most. Errors: NOT_FOUND says what to type.
 */
myr_rc myr_advise_measure_fleet(myr_workspace *workspace, const char *fleet, myr_advise_facts *out, myr_err *err);
/* Answer what the facts can answer and nobody has answered. */
myr_rc myr_advise_answer_measured(const myr_advise_trees *trees, const myr_advise_facts *facts,
                                  myr_advise_answers *answers, myr_err *err);

/* ---- said ---- */
typedef struct myr_advise_report {
    const myr_advise_trees *trees;
    const myr_advise_products *products;
    const myr_advise_answers *answers;
    const myr_advice *advice;
    const myr_advise_facts *facts; /* NULL: nothing was measured */
    bool colour;
} myr_advise_report;
void myr_advise_text(const myr_advise_report *report, myr_buf *out);
void myr_advise_json(const myr_advise_report *report, myr_buf *out);
/* Both trees as text, the way marked; advice NULL: no way. */
void myr_advise_tree_text(const myr_advise_trees *trees, const myr_advice *advice, myr_buf *out);
/* Both trees as SVG, the way marked by a thick line and a tick, not by colour alone. */
myr_rc myr_advise_svg(const myr_advise_trees *trees, const myr_advice *advice, myr_buf *out, myr_err *err);

/*
 * Ask what is needed and not answered: numbers or names, Enter for the default, `b` one back, `?` why. Wrong answers
 * are asked again. CANCELLED when the input ends. `in` must be a stream the caller reads nothing else from.
 */
myr_rc myr_advise_ask(const myr_advise_trees *trees, FILE *in, FILE *out, bool colour, myr_advise_answers *answers,
                      myr_err *err);

#endif
