/* A tree file read into its structures: questions, verdicts, places. The nodes come from nodes.c, the form from
 * check.c. */
#include <string.h>

#include "advise/internal.h"

/* Questions become flags of `myriad advise`, so these names are taken. */
static const char *const FILE_TAKEN[] = {"trees", "products", "explain",  "fleet",     "json",    "help",
                                         "check", "print",    "defaults", "workspace", "verdict", NULL};

myr_rc myr_advise_read_text(const myr_spec *spec, const myr_spec_node *map, const char *key, bool required,
                            size_t max_bytes, const char **out, myr_err *err)
{
    const char *text = NULL;
    MYR_TRY(myr_spec_text(spec, map, key, required, &text, err));
    if (text == NULL) return MYR_OK;
    const myr_spec_node *node = myr_spec_find(map, key);
    size_t size = strlen(text);
    if (size > max_bytes) {
        return myr_spec_fail(spec, node, err, "'%s' has %zu bytes: at most %zu are shown whole", key, size, max_bytes);
    }
    for (size_t i = 0; i < size; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) {
            return myr_spec_fail(spec, node, err, "'%s' must be one line without control characters", key);
        }
    }
    *out = text;
    return MYR_OK;
}

static bool file_is_name(const char *text)
{
    if (text[0] < 'a' || text[0] > 'z' || strlen(text) > MYR_ADVISE_NAME_BYTES_MAX) return false;
    return strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(text);
}

myr_rc myr_advise_read_name(const myr_spec *spec, const myr_spec_node *map, const char *key, const char **out,
                            myr_err *err)
{
    const char *name = NULL;
    MYR_TRY(myr_spec_text(spec, map, key, true, &name, err));
    if (!file_is_name(name)) {
        return myr_spec_fail(spec, myr_spec_find(map, key), err,
                             "'%.40s' is not a name: up to %d of a-z, 0-9 and -, a letter first", name,
                             MYR_ADVISE_NAME_BYTES_MAX);
    }
    *out = name;
    return MYR_OK;
}

myr_rc myr_advise_read_form(const myr_spec *spec, const myr_spec_node *root, myr_err *err)
{
    int64_t form = 0;
    if (root->kind != MYR_SPEC_MAP) return myr_spec_fail(spec, root, err, "expected a map that begins with 'form: 1'");
    MYR_TRY(myr_spec_int(spec, root, "form", true, 1, INT64_MAX, &form, err));
    if (form == 1) return MYR_OK;
    return myr_spec_fail(spec, myr_spec_find(root, "form"), err,
                         "form %lld is newer than this program: it reads form 1", (long long)form);
}

/* A list of maps under `key`, of 1 to max items. */
static myr_rc file_list(const myr_spec *spec, const myr_spec_node *map, const char *key, uint32_t max,
                        const myr_spec_node **out, myr_err *err)
{
    const myr_spec_node *list = myr_spec_find(map, key);
    if (list == NULL) return myr_spec_fail(spec, map, err, "key '%s' is missing: give a list", key);
    if (list->kind != MYR_SPEC_LIST || list->count == 0)
        return myr_spec_fail(spec, list, err, "'%s' must be a list", key);
    if (list->count > max) {
        return myr_spec_fail(spec, list->items[max], err, "'%s' has %u items: at most %u", key, list->count, max);
    }
    *out = list;
    return MYR_OK;
}

static myr_rc file_word(const myr_spec *spec, const myr_spec_node *map, const char *key, const char *const *words,
                        uint32_t *out, myr_err *err)
{
    const char *word = NULL;
    MYR_TRY(myr_spec_text(spec, map, key, false, &word, err));
    if (word == NULL) return MYR_OK;
    MYR_AUTO(myr_buf) list = {0};
    for (uint32_t i = 0; words[i] != NULL; i++) {
        if (strcmp(words[i], word) == 0) {
            *out = i;
            return MYR_OK;
        }
        if (i > 0) myr_buf_printf(&list, "%s%s", i > 1 ? ", " : "", words[i]);
    }
    return myr_spec_fail(spec, myr_spec_find(map, key), err, "'%s' is '%.40s': known are %s", key, word,
                         list.data != NULL ? list.data : "");
}

static myr_rc option_band(const myr_spec *spec, const myr_spec_node *map, const myr_advise_question *question,
                          myr_advise_option *out, myr_err *err)
{
    const char *up_to = NULL;
    MYR_TRY(myr_spec_text(spec, map, "up_to", false, &up_to, err));
    if (up_to == NULL) return MYR_OK;
    const myr_spec_node *at = myr_spec_find(map, "up_to");
    if (question->unit == MYR_ADVISE_NAMED)
        return myr_spec_fail(spec, at, err, "'up_to' needs a 'unit' of its question");
    int64_t value = MYR_ADVISE_ANY;
    if (strcmp(up_to, "any") != 0 && !myr_advise_parse_measure(question->unit, up_to, &value)) {
        return myr_spec_fail(spec, at, err, "'up_to' is '%.40s': give %s or any", up_to,
                             question->unit == MYR_ADVISE_COUNT ? "a count like 1000" : "a time like 250ms or 4h");
    }
    for (uint32_t i = 0; i < question->option_count; i++) {
        if (question->options[i].is_band && question->options[i].up_to >= value) {
            return myr_spec_fail(spec, at, err, "bands must ascend: '%.40s' is not above that of '%s'", up_to,
                                 question->options[i].name);
        }
    }
    out->is_band = true;
    out->up_to = value;
    return MYR_OK;
}

static myr_rc question_option(const myr_spec *spec, const myr_spec_node *map, myr_advise_question *question,
                              myr_err *err)
{
    static const char *const known[] = {"name", "text", "up_to", NULL};
    myr_advise_option option = {0};
    MYR_TRY(myr_spec_check_keys(spec, map, known, err));
    MYR_TRY(myr_advise_read_name(spec, map, "name", &option.name, err));
    MYR_TRY(myr_advise_read_text(spec, map, "text", true, MYR_ADVISE_TEXT_BYTES_MAX, &option.text, err));
    for (uint32_t i = 0; i < question->option_count; i++) {
        if (strcmp(question->options[i].name, option.name) == 0) {
            return myr_spec_fail(spec, map, err, "option '%s' stands twice", option.name);
        }
    }
    MYR_TRY(option_band(spec, map, question, &option, err));
    MYR_ASSERT(question->option_count < MYR_ADVISE_OPTIONS_MAX);
    question->options[question->option_count++] = option;
    return MYR_OK;
}

static myr_rc question_options(const myr_spec *spec, const myr_spec_node *map, myr_advise_question *question,
                               myr_err *err)
{
    const myr_spec_node *list = NULL;
    MYR_TRY(file_list(spec, map, "options", MYR_ADVISE_OPTIONS_MAX, &list, err));
    MYR_ASSERT(list != NULL);
    bool has_band = false;
    for (uint32_t i = 0; i < list->count; i++) {
        MYR_TRY(question_option(spec, list->items[i], question, err));
        has_band |= question->options[i].is_band;
    }
    if (question->unit != MYR_ADVISE_NAMED && !has_band) {
        return myr_spec_fail(spec, list, err, "'%s' has a unit but no option has 'up_to'", question->name);
    }
    const char *first = question->options[0].name;
    MYR_TRY(myr_spec_text(spec, map, "default", false, &first, err));
    for (uint32_t i = 0; i < question->option_count; i++) {
        question->default_idx = i;
        if (strcmp(question->options[i].name, first) == 0) return MYR_OK;
    }
    return myr_spec_fail(spec, myr_spec_find(map, "default"), err, "the default '%.40s' is no option of '%s'", first,
                         question->name);
}

static myr_rc file_question(myr_advise_trees *trees, const myr_spec_node *map, myr_err *err)
{
    static const char *const known[] = {"name", "ask", "why", "unit", "measure", "default", "options", NULL};
    static const char *const units[] = {"", "duration", "count", NULL};
    static const char *const measures[] = {"", "row-time", "run-rows", "run-core-time", NULL};
    const myr_spec *spec = trees->spec;
    myr_advise_question *question = &trees->questions[trees->question_count];
    uint32_t unit = 0, measure = 0;
    MYR_TRY(myr_spec_check_keys(spec, map, known, err));
    MYR_TRY(myr_advise_read_name(spec, map, "name", &question->name, err));
    MYR_TRY(myr_advise_read_text(spec, map, "ask", true, MYR_ADVISE_TEXT_BYTES_MAX, &question->ask, err));
    MYR_TRY(myr_advise_read_text(spec, map, "why", true, MYR_ADVISE_TEXT_BYTES_MAX, &question->why, err));
    for (uint32_t i = 0; FILE_TAKEN[i] != NULL; i++) {
        if (strcmp(FILE_TAKEN[i], question->name) != 0) continue;
        return myr_spec_fail(spec, myr_spec_find(map, "name"), err, "the name '%s' is taken by the command itself",
                             question->name);
    }
    if (myr_advise_find_question(trees, question->name) != MYR_ADVISE_NONE) {
        return myr_spec_fail(spec, map, err, "question '%s' stands twice", question->name);
    }
    MYR_TRY(file_word(spec, map, "unit", units, &unit, err));
    MYR_TRY(file_word(spec, map, "measure", measures, &measure, err));
    question->unit = (myr_advise_unit)unit;
    question->measure = (myr_advise_measure)measure;
    bool fits = measure == 0 || unit == (measure == MYR_ADVISE_RUN_ROWS ? MYR_ADVISE_COUNT : MYR_ADVISE_DURATION);
    if (!fits) {
        return myr_spec_fail(spec, myr_spec_find(map, "measure"), err, "'%s' is a %s: 'unit' must say so",
                             measures[measure], measure == MYR_ADVISE_RUN_ROWS ? "count" : "duration");
    }
    MYR_TRY(question_options(spec, map, question, err));
    trees->question_count++;
    return MYR_OK;
}

static myr_rc end_next(const myr_spec *spec, const myr_spec_node *map, myr_advise_end *end, myr_err *err)
{
    static const char *const known[] = {"note", "run", NULL};
    const myr_spec_node *list = NULL;
    if (myr_spec_find(map, "next") == NULL) return MYR_OK;
    MYR_TRY(file_list(spec, map, "next", MYR_ADVISE_NEXT_MAX, &list, err));
    MYR_ASSERT(list != NULL);
    for (uint32_t i = 0; i < list->count; i++) {
        myr_advise_next *next = &end->next[i];
        MYR_TRY(myr_spec_check_keys(spec, list->items[i], known, err));
        MYR_TRY(myr_advise_read_text(spec, list->items[i], "note", false, MYR_ADVISE_TEXT_BYTES_MAX, &next->note, err));
        MYR_TRY(myr_advise_read_text(spec, list->items[i], "run", true, MYR_ADVISE_TEXT_BYTES_MAX, &next->run, err));
    }
    end->next_count = list->count;
    return MYR_OK;
}

/* `verdicts` or `places`. */
static myr_rc file_ends(const myr_spec *spec, const myr_spec_node *root, const char *key, myr_advise_end *ends,
                        uint32_t *out_count, myr_err *err)
{
    static const char *const known[] = {"name", "title", "text", "next", NULL};
    const myr_spec_node *list = NULL;
    MYR_TRY(file_list(spec, root, key, MYR_ADVISE_OPTIONS_MAX, &list, err));
    MYR_ASSERT(list != NULL);
    for (uint32_t i = 0; i < list->count; i++) {
        const myr_spec_node *map = list->items[i];
        MYR_TRY(myr_spec_check_keys(spec, map, known, err));
        MYR_TRY(myr_advise_read_name(spec, map, "name", &ends[i].name, err));
        MYR_TRY(myr_advise_read_text(spec, map, "title", true, MYR_ADVISE_TITLE_BYTES_MAX, &ends[i].title, err));
        MYR_TRY(myr_advise_read_text(spec, map, "text", true, MYR_ADVISE_TEXT_BYTES_MAX, &ends[i].text, err));
        MYR_TRY(end_next(spec, map, &ends[i], err));
        for (uint32_t j = 0; j < i; j++) {
            if (strcmp(ends[j].name, ends[i].name) == 0) {
                return myr_spec_fail(spec, map, err, "'%s' stands twice in '%s'", ends[i].name, key);
            }
        }
    }
    *out_count = list->count;
    return MYR_OK;
}

/* The verdict as a question of the second tree. */
static void file_verdict_question(myr_advise_trees *trees)
{
    myr_advise_question *question = &trees->questions[trees->question_count];
    *question = (myr_advise_question){.name = "verdict", .ask = "What did the first tree say?", .why = trees->title};
    for (uint32_t i = 0; i < trees->verdict_count; i++) {
        question->options[i] = (myr_advise_option){.name = trees->verdicts[i].name, .text = trees->verdicts[i].title};
    }
    question->option_count = trees->verdict_count;
}

static myr_rc file_read(myr_advise_trees *trees, myr_err *err)
{
    static const char *const known[] = {"form",   "title", "source", "questions", "verdicts",
                                        "places", "first", "second", NULL};
    const myr_spec *spec = trees->spec;
    const myr_spec_node *root = myr_spec_root(spec), *questions = NULL;
    MYR_TRY(myr_advise_read_form(spec, root, err));
    MYR_TRY(myr_spec_check_keys(spec, root, known, err));
    MYR_TRY(myr_advise_read_text(spec, root, "title", true, MYR_ADVISE_TITLE_BYTES_MAX, &trees->title, err));
    MYR_TRY(myr_advise_read_text(spec, root, "source", true, MYR_ADVISE_TEXT_BYTES_MAX, &trees->source, err));
    MYR_TRY(file_list(spec, root, "questions", MYR_ADVISE_QUESTIONS_MAX, &questions, err));
    MYR_ASSERT(questions != NULL);
    for (uint32_t i = 0; i < questions->count; i++) {
        MYR_TRY(file_question(trees, questions->items[i], err));
    }
    MYR_TRY(file_ends(spec, root, "verdicts", trees->verdicts, &trees->verdict_count, err));
    MYR_TRY(file_ends(spec, root, "places", trees->places, &trees->place_count, err));
    file_verdict_question(trees);
    for (uint32_t i = 0; i < 2; i++) {
        const char *key = i == 0 ? "first" : "second";
        const myr_spec_node *map = myr_spec_find(root, key);
        if (map == NULL) return myr_spec_fail(spec, root, err, "key '%s' is missing: give a tree", key);
        MYR_TRY(myr_advise_read_nodes(trees, i, map, err));
    }
    return myr_advise_check(trees, err);
}

/* Takes the spec, also on failure. */
static myr_rc file_take(myr_spec *spec, myr_advise_trees **out, myr_err *err)
{
    myr_advise_trees *trees = myr_calloc(1, sizeof *trees);
    if (trees == NULL) {
        myr_spec_free(spec);
        MYR_FAIL(err, NO_MEMORY, "out of memory");
    }
    trees->spec = spec;
    trees->arena = myr_arena_new(0);
    myr_rc rc = trees->arena != NULL ? file_read(trees, err) : MYR_ERROR(err, NO_MEMORY, "out of memory");
    if (rc != MYR_OK) {
        myr_advise_free(trees);
        return rc;
    }
    *out = trees;
    return MYR_OK;
}

myr_rc myr_advise_parse(const char *name, const char *text, size_t size_bytes, myr_advise_trees **out, myr_err *err)
{
    myr_spec *spec = NULL;
    MYR_TRY(myr_spec_parse(name, text, size_bytes, &spec, err));
    return file_take(spec, out, err);
}

myr_rc myr_advise_load(const char *path, myr_advise_trees **out, myr_err *err)
{
    myr_str text = myr_advise_trees_text();
    if (path == NULL) return myr_advise_parse("the built-in trees", text.data, text.size, out, err);
    myr_spec *spec = NULL;
    MYR_TRY(myr_spec_load(path, &spec, err));
    return file_take(spec, out, err);
}

void myr_advise_free(myr_advise_trees *trees)
{
    if (trees == NULL) return;
    myr_spec_free(trees->spec);
    myr_arena_free(trees->arena);
    myr_free(trees);
}

uint32_t myr_advise_find_question(const myr_advise_trees *trees, const char *name)
{
    for (uint32_t i = 0; i < trees->question_count; i++) {
        if (strcmp(trees->questions[i].name, name) == 0) return i;
    }
    return MYR_ADVISE_NONE;
}

myr_str myr_advise_trees_text(void)
{
    return myr_str_make((const char *)myr_embed_trees_yaml, myr_embed_trees_yaml_size);
}
myr_str myr_advise_products_text(void)
{
    return myr_str_make((const char *)myr_embed_products_yaml, myr_embed_products_yaml_size);
}
