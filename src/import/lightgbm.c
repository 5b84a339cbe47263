/*
 * LightGBM's text format, as save_model writes it (versions v2 to v4). The file is hostile: the reader walks its lines
 * once, knows every field that may stand there and refuses the others, so that a damaged line is an error and not a
 * different answer. The meaning is that of LightGBM 4 reading the same file.
 */
#include "import/lightgbm.h"

#include <math.h>
#include <string.h>

#define LIGHTGBM_TREES_FIRST_ROOM 16

typedef enum head_field {
    HEAD_VERSION,
    HEAD_NUM_CLASS,
    HEAD_TREES_PER_ITERATION,
    HEAD_MAX_FEATURE_IDX,
    HEAD_OBJECTIVE,
    HEAD_AVERAGE_OUTPUT, /* stands alone, without a value */
    HEAD_FEATURE_NAMES,
    HEAD_TREE_SIZES,
    HEAD_LABEL_INDEX, /* from here on not read */
    HEAD_MONOTONE,
    HEAD_FEATURE_INFOS,
    HEAD_COUNT
} head_field;

static const char *const head_names[HEAD_COUNT] = {"version",
                                                   "num_class",
                                                   "num_tree_per_iteration",
                                                   "max_feature_idx",
                                                   "objective",
                                                   "average_output",
                                                   "feature_names",
                                                   "tree_sizes",
                                                   "label_index",
                                                   "monotone_constraints",
                                                   "feature_infos"};

typedef struct lightgbm_ctx {
    myr_lightgbm_reader reader;
    const char *file;
    myr_imported *out;
    bool seen[HEAD_COUNT];
    myr_str head[HEAD_COUNT];
    uint32_t num_class;
    myr_tree *trees;
    uint32_t tree_count, tree_room;
    myr_err *err;
} lightgbm_ctx;

/* ---- lines and tokens ---- */

bool myr_lightgbm_line(myr_lightgbm_reader *reader, myr_str *out_line)
{
    const myr_import_src *src = reader->src;
    if (reader->at >= src->size) return false;
    const char *from = src->data + reader->at;
    size_t left = src->size - reader->at;
    const char *end = memchr(from, '\n', left);
    size_t size = end != NULL ? (size_t)(end - from) : left;
    reader->begin = reader->at;
    reader->at += end != NULL ? size + 1 : size;
    reader->line++;
    if (size > 0 && from[size - 1] == '\r') size--;
    *out_line = myr_str_make(from, size);
    return true;
}

void myr_lightgbm_unread(myr_lightgbm_reader *reader)
{
    MYR_ASSERT(reader->line > 0 && reader->at > reader->begin);
    reader->at = reader->begin;
    reader->line--;
}

bool myr_lightgbm_token(myr_str *rest, myr_str *out_token)
{
    size_t from = 0;
    while (from < rest->size && rest->data[from] == ' ') {
        from++;
    }
    size_t end = from;
    while (end < rest->size && rest->data[end] != ' ') {
        end++;
    }
    if (end == from) return false;
    *out_token = myr_str_make(rest->data + from, end - from);
    *rest = myr_str_make(rest->data + end, rest->size - end);
    return true;
}

bool myr_lightgbm_pair(myr_str line, myr_str *out_key, myr_str *out_value)
{
    const char *equals = line.size > 0 ? memchr(line.data, '=', line.size) : NULL;
    if (equals == NULL) return false;
    size_t key_size = (size_t)(equals - line.data);
    *out_key = myr_str_make(line.data, key_size);
    *out_value = myr_str_make(equals + 1, line.size - key_size - 1);
    return true;
}

/* ---- the head of the file ---- */

static myr_rc lightgbm_put_head(lightgbm_ctx *c, myr_str line)
{
    myr_str key = line;
    myr_str value = {0};
    bool pair = myr_lightgbm_pair(line, &key, &value);
    int field = 0;
    while (field < HEAD_COUNT && !myr_str_is(key, head_names[field])) {
        field++;
    }
    if (field == HEAD_COUNT || pair == (field == HEAD_AVERAGE_OUTPUT)) {
        MYR_FAIL(c->err, BAD_FORMAT, "%s:%u: not a line of the head: %.*s", c->file, c->reader.line, MYR_STR_ARG(line));
    }
    if (c->seen[field])
        MYR_FAIL(c->err, BAD_FORMAT, "%s:%u: %s comes twice", c->file, c->reader.line, head_names[field]);
    c->seen[field] = true;
    c->head[field] = value;
    return MYR_OK;
}

/* Lines up to the first tree or the end of the trees, which is left unread. */
static myr_rc lightgbm_gather_head(lightgbm_ctx *c)
{
    static const head_field needed[] = {HEAD_VERSION, HEAD_NUM_CLASS, HEAD_MAX_FEATURE_IDX, HEAD_FEATURE_NAMES};
    myr_str line;
    bool is_first = true;
    while (myr_lightgbm_line(&c->reader, &line)) {
        if (line.size == 0) continue;
        if (myr_str_starts_with(line, "Tree=") || myr_str_is(line, "end of trees")) {
            myr_lightgbm_unread(&c->reader);
            break;
        }
        if (is_first && myr_str_is(myr_str_trim(line), "tree")) {
            is_first = false;
            continue;
        }
        is_first = false;
        MYR_TRY(lightgbm_put_head(c, line));
    }
    for (size_t k = 0; k < MYR_COUNT_OF(needed); k++) {
        if (!c->seen[needed[k]]) MYR_FAIL(c->err, BAD_FORMAT, "%s: %s is missing", c->file, head_names[needed[k]]);
    }
    return MYR_OK;
}

static myr_rc lightgbm_head_number(lightgbm_ctx *c, head_field field, int64_t min, int64_t max, uint32_t *out)
{
    int64_t value;
    if (!myr_parse_int64(myr_str_trim(c->head[field]), &value) || value < min) {
        MYR_FAIL(c->err, BAD_FORMAT, "%s: %s is %.*s, not a number from %lld", c->file, head_names[field],
                 MYR_STR_ARG(c->head[field]), (long long)min);
    }
    if (value > max) {
        MYR_FAIL(c->err, TOO_LARGE, "%s: %s is %lld, at most %lld", c->file, head_names[field], (long long)value,
                 (long long)max);
    }
    *out = (uint32_t)value;
    return MYR_OK;
}

static myr_rc lightgbm_check_version(const lightgbm_ctx *c)
{
    myr_str version = myr_str_trim(c->head[HEAD_VERSION]);
    if (myr_str_is(version, "v2") || myr_str_is(version, "v3") || myr_str_is(version, "v4")) return MYR_OK;
    MYR_FAIL(c->err, UNSUPPORTED, "%s: LightGBM text version %.*s; v2, v3 and v4 (LightGBM 2.1 to 4) are read", c->file,
             MYR_STR_ARG(version));
}

static myr_rc lightgbm_names(lightgbm_ctx *c)
{
    myr_imported *out = c->out;
    myr_str rest = c->head[HEAD_FEATURE_NAMES];
    myr_str name;
    uint32_t count = 0;
    while (myr_lightgbm_token(&rest, &name)) {
        count++; /* a file has at most MYR_FILE_BYTES_MAX bytes */
    }
    if (count != out->feature_count) {
        MYR_FAIL(c->err, BAD_FORMAT, "%s: %u feature_names, but max_feature_idx is %u", c->file, count,
                 out->feature_count - 1);
    }
    out->feature_names = myr_arena_calloc(out->arena, (size_t)count + 1, sizeof *out->feature_names);
    if (out->feature_names == NULL) MYR_FAIL(c->err, NO_MEMORY, "%s: no memory for %u names", c->file, count);
    rest = c->head[HEAD_FEATURE_NAMES];
    for (uint32_t j = 0; myr_lightgbm_token(&rest, &name); j++) {
        if (memchr(name.data, '\0', name.size) != NULL) {
            MYR_FAIL(c->err, BAD_FORMAT, "%s: feature_names: name %u contains a NUL", c->file, j);
        }
        out->feature_names[j] = myr_arena_strndup(out->arena, name.data, name.size);
        if (out->feature_names[j] == NULL) MYR_FAIL(c->err, NO_MEMORY, "%s: no memory for %u names", c->file, count);
    }
    return MYR_OK;
}

/* ---- the objective ---- */

static double lightgbm_power(double base, unsigned exponent)
{
    if (exponent == 0) return 1.0;
    if (exponent % 2 == 0) return lightgbm_power(base * base, exponent / 2);
    if (exponent % 3 == 0) return lightgbm_power(base * base * base, exponent / 3);
    return base * lightgbm_power(base, exponent - 1);
}

static unsigned lightgbm_digits(myr_str text, size_t *at, double *out)
{
    unsigned count = 0;
    double value = 0.0;
    for (; *at < text.size && text.data[*at] >= '0' && text.data[*at] <= '9'; (*at)++) {
        value = value * 10.0 + (text.data[*at] - '0');
        count++;
    }
    *out = value;
    return count;
}

/*
 * A positive decimal as LightGBM reads the parameters of an objective: digit by digit, not correctly rounded. Bit-equal
 * sigmoids need the same rounding. False for anything but digits, a point and an exponent of at most two digits.
 */
static bool lightgbm_decimal(myr_str text, double *out)
{
    size_t at = 0;
    double value;
    double fraction;
    double exponent = 0.0;
    bool is_down = false;
    if (text.size > 32) return false; /* save_model writes six digits */
    unsigned digits = lightgbm_digits(text, &at, &value);
    if (at < text.size && text.data[at] == '.') {
        at++;
        unsigned count = lightgbm_digits(text, &at, &fraction);
        value += fraction / lightgbm_power(10.0, count);
        digits += count;
    }
    if (digits == 0) return false;
    if (at < text.size && (text.data[at] == 'e' || text.data[at] == 'E')) {
        at++;
        is_down = at < text.size && text.data[at] == '-';
        if (at < text.size && (text.data[at] == '-' || text.data[at] == '+')) at++;
        unsigned count = lightgbm_digits(text, &at, &exponent);
        if (count == 0 || count > 2) return false;
    }
    double scale = 1.0;
    unsigned left = (unsigned)exponent;
    for (; left >= 50; left -= 50)
        scale *= 1E50;
    for (; left >= 8; left -= 8)
        scale *= 1E8;
    for (; left > 0; left--)
        scale *= 10.0;
    *out = is_down ? value / scale : value * scale;
    return at == text.size;
}

/* What an objective does with margins; `classes`: it has num_class:N and one margin per class. */
typedef struct lightgbm_objective {
    const char *name;
    myr_transform transform;
    bool has_sigmoid, has_classes, may_be_sqrt;
} lightgbm_objective;

static const lightgbm_objective lightgbm_objectives[] = {
    {"regression", MYR_TRANSFORM_IDENTITY, false, false, true},
    {"regression_l1", MYR_TRANSFORM_IDENTITY, false, false, true},
    {"huber", MYR_TRANSFORM_IDENTITY, false, false, false},
    {"fair", MYR_TRANSFORM_IDENTITY, false, false, true},
    {"quantile", MYR_TRANSFORM_IDENTITY, false, false, true},
    {"mape", MYR_TRANSFORM_IDENTITY, false, false, true},
    {"poisson", MYR_TRANSFORM_EXP, false, false, false},
    {"gamma", MYR_TRANSFORM_EXP, false, false, false},
    {"tweedie", MYR_TRANSFORM_EXP, false, false, false},
    {"binary", MYR_TRANSFORM_SIGMOID, true, false, false},
    {"multiclass", MYR_TRANSFORM_SOFTMAX, false, true, false},
    {"multiclassova", MYR_TRANSFORM_SIGMOID_EACH, true, true, false},
    {"cross_entropy", MYR_TRANSFORM_SIGMOID, false, false, false},
    {"cross_entropy_lambda", MYR_TRANSFORM_LOG1P_EXP, false, false, false},
    {"lambdarank", MYR_TRANSFORM_IDENTITY, false, false, false},
    {"rank_xendcg", MYR_TRANSFORM_IDENTITY, false, false, false},
};

static const lightgbm_objective *lightgbm_find_objective(myr_str name)
{
    for (size_t k = 0; k < MYR_COUNT_OF(lightgbm_objectives); k++) {
        if (myr_str_is(name, lightgbm_objectives[k].name)) return &lightgbm_objectives[k];
    }
    return NULL;
}

/* The words behind the objective's name. Unknown ones say how it was trained (alpha, tweedie_variance_power). */
static myr_rc lightgbm_objective_words(lightgbm_ctx *c, const lightgbm_objective *objective, myr_str rest)
{
    myr_model_desc *d = &c->out->desc;
    bool has_sigmoid = false;
    int64_t classes = -1;
    myr_str word;
    while (myr_lightgbm_token(&rest, &word)) {
        myr_str key = {0};
        myr_str value = word;
        bool has_value = myr_str_split(&value, ':', &key) && value.data != NULL;
        if (objective->may_be_sqrt && myr_str_is(word, "sqrt")) d->transform = MYR_TRANSFORM_SIGNED_SQUARE;
        if (has_value && objective->has_sigmoid && myr_str_is(key, "sigmoid")) {
            has_sigmoid =
                lightgbm_decimal(value, &d->transform_param) && d->transform_param > 0 && isfinite(d->transform_param);
        }
        if (has_value && objective->has_classes && myr_str_is(key, "num_class") && !myr_parse_int64(value, &classes))
            classes = -1;
    }
    if (objective->has_sigmoid && !has_sigmoid) {
        MYR_FAIL(c->err, BAD_FORMAT, "%s: objective is %.*s, which needs sigmoid: and a number above 0", c->file,
                 MYR_STR_ARG(c->head[HEAD_OBJECTIVE]));
    }
    if (objective->has_classes && classes != c->num_class) {
        MYR_FAIL(c->err, BAD_FORMAT, "%s: objective is %.*s, but num_class is %u", c->file,
                 MYR_STR_ARG(c->head[HEAD_OBJECTIVE]), c->num_class);
    }
    return MYR_OK;
}

static myr_rc lightgbm_objective_of(lightgbm_ctx *c)
{
    myr_model_desc *d = &c->out->desc;
    myr_str rest = c->head[HEAD_OBJECTIVE];
    myr_str name;
    d->transform = MYR_TRANSFORM_IDENTITY;
    if (!c->seen[HEAD_OBJECTIVE]) return MYR_OK; /* trained with a function of the user's: margins are the answer */
    if (!myr_lightgbm_token(&rest, &name)) MYR_FAIL(c->err, BAD_FORMAT, "%s: objective is empty", c->file);
    if (myr_str_is(name, "custom") || myr_str_is(name, "none")) return MYR_OK;
    const lightgbm_objective *objective = lightgbm_find_objective(name);
    if (objective == NULL) MYR_FAIL(c->err, UNSUPPORTED, "%s: objective %.*s is not known", c->file, MYR_STR_ARG(name));
    if (!objective->has_classes && c->num_class != 1) {
        MYR_FAIL(c->err, BAD_FORMAT, "%s: objective is %s, but num_class is %u", c->file, objective->name,
                 c->num_class);
    }
    d->transform = objective->transform;
    d->transform_param = d->transform == MYR_TRANSFORM_SIGMOID ? 1.0 : 0.0; /* cross_entropy names none */
    return lightgbm_objective_words(c, objective, rest);
}

static myr_rc lightgbm_head(lightgbm_ctx *c)
{
    uint32_t per_iteration;
    uint32_t max_feature;
    MYR_TRY(lightgbm_gather_head(c));
    MYR_TRY(lightgbm_check_version(c));
    MYR_TRY(lightgbm_head_number(c, HEAD_NUM_CLASS, 1, MYR_OUTPUTS_MAX, &c->num_class));
    per_iteration = c->num_class;
    if (c->seen[HEAD_TREES_PER_ITERATION]) {
        MYR_TRY(lightgbm_head_number(c, HEAD_TREES_PER_ITERATION, 1, MYR_OUTPUTS_MAX, &per_iteration));
    }
    if (per_iteration != c->num_class) {
        MYR_FAIL(c->err, BAD_FORMAT, "%s: num_tree_per_iteration is %u, but num_class is %u", c->file, per_iteration,
                 c->num_class);
    }
    MYR_TRY(lightgbm_head_number(c, HEAD_MAX_FEATURE_IDX, 0, MYR_FEATURES_MAX - 1, &max_feature));
    c->out->feature_count = max_feature + 1;
    c->reader.feature_count = c->out->feature_count;
    MYR_TRY(lightgbm_names(c));
    return lightgbm_objective_of(c);
}

/* ---- the trees ---- */

static myr_rc lightgbm_more_trees(lightgbm_ctx *c)
{
    if (c->tree_count < c->tree_room) return MYR_OK;
    if (c->tree_count >= MYR_TREES_MAX) MYR_FAIL(c->err, TOO_LARGE, "%s: more than %d trees", c->file, MYR_TREES_MAX);
    uint32_t room = c->tree_room == 0 ? LIGHTGBM_TREES_FIRST_ROOM : c->tree_room * 2;
    if (room > MYR_TREES_MAX) room = MYR_TREES_MAX;
    void *trees =
        myr_arena_realloc(c->reader.arena, c->trees, c->tree_room * sizeof *c->trees, room * sizeof *c->trees);
    if (trees == NULL) MYR_FAIL(c->err, NO_MEMORY, "%s: no memory for %u trees", c->file, room);
    c->trees = trees;
    c->tree_room = room;
    return MYR_OK;
}

/* Where tree_sizes says that the next tree begins. `expected` walks along; no sizes: nothing to say. */
static myr_rc lightgbm_check_place(lightgbm_ctx *c, myr_str *sizes, size_t *expected)
{
    myr_str token;
    uint64_t size;
    if (!c->seen[HEAD_TREE_SIZES]) return MYR_OK;
    if (c->reader.begin != *expected) {
        MYR_FAIL(c->err, BAD_FORMAT, "%s: tree %u begins at byte %zu, by tree_sizes at %zu", c->file, c->tree_count,
                 c->reader.begin, *expected);
    }
    if (!myr_lightgbm_token(sizes, &token))
        MYR_FAIL(c->err, BAD_FORMAT, "%s: tree %u has no tree_sizes", c->file, c->tree_count);
    if (!myr_parse_uint64(token, &size) || size > c->reader.src->size - *expected) {
        MYR_FAIL(c->err, BAD_FORMAT, "%s: tree_sizes of tree %u is %.*s, but %zu bytes are left", c->file,
                 c->tree_count, MYR_STR_ARG(token), c->reader.src->size - *expected);
    }
    *expected += (size_t)size;
    return MYR_OK;
}

static myr_rc lightgbm_one_tree(lightgbm_ctx *c, myr_str line)
{
    uint64_t number;
    myr_str text = myr_str_make(line.data + 5, line.size - 5); /* behind "Tree=" */
    if (!myr_parse_uint64(text, &number) || number != c->tree_count) {
        MYR_FAIL(c->err, BAD_FORMAT, "%s:%u: tree %.*s, expected %u", c->file, c->reader.line, MYR_STR_ARG(text),
                 c->tree_count);
    }
    MYR_TRY(lightgbm_more_trees(c));
    MYR_TRY(myr_lightgbm_tree(&c->reader, c->tree_count, &c->trees[c->tree_count]));
    c->trees[c->tree_count].output = c->tree_count % c->num_class;
    c->tree_count++;
    return MYR_OK;
}

static myr_rc lightgbm_check_end(lightgbm_ctx *c, myr_str sizes, size_t expected)
{
    myr_str token;
    if (c->seen[HEAD_TREE_SIZES] && myr_lightgbm_token(&sizes, &token)) {
        MYR_FAIL(c->err, BAD_FORMAT, "%s: tree_sizes has more than the file's %u trees", c->file, c->tree_count);
    }
    if (c->seen[HEAD_TREE_SIZES] && c->tree_count > 0 && c->reader.begin != expected) {
        MYR_FAIL(c->err, BAD_FORMAT, "%s: the trees end at byte %zu, by tree_sizes at %zu", c->file, c->reader.begin,
                 expected);
    }
    if (c->tree_count % c->num_class != 0) {
        MYR_FAIL(c->err, BAD_FORMAT, "%s: %u trees are not a multiple of num_class, %u", c->file, c->tree_count,
                 c->num_class);
    }
    if (c->seen[HEAD_AVERAGE_OUTPUT] && c->tree_count == 0) {
        MYR_FAIL(c->err, BAD_FORMAT, "%s: average_output without a tree", c->file);
    }
    return MYR_OK;
}

/* Of what stands behind the trees, pandas categories alone are read: lightgbm_names.c */
static myr_rc lightgbm_trees(lightgbm_ctx *c)
{
    myr_str sizes = c->head[HEAD_TREE_SIZES];
    myr_str line;
    size_t expected = c->reader.at;
    bool is_v2 = myr_str_is(myr_str_trim(c->head[HEAD_VERSION]), "v2"); /* 2.1 ends its trees with the next heading */
    while (myr_lightgbm_line(&c->reader, &line)) {
        if (line.size == 0) continue;
        if (myr_str_is(line, "end of trees")) return lightgbm_check_end(c, sizes, expected);
        if (is_v2 && myr_str_is(line, "feature importances:")) {
            return lightgbm_check_end(c, sizes, expected + 1); /* an empty line stands before it */
        }
        if (!myr_str_starts_with(line, "Tree=")) {
            MYR_FAIL(c->err, BAD_FORMAT, "%s:%u: expected Tree=%u or \"end of trees\": %.*s", c->file, c->reader.line,
                     c->tree_count, MYR_STR_ARG(line));
        }
        MYR_TRY(lightgbm_check_place(c, &sizes, &expected));
        MYR_TRY(lightgbm_one_tree(c, line));
    }
    MYR_FAIL(c->err, BAD_FORMAT, "%s: the file ends after %u trees without \"end of trees\": is it cut off?", c->file,
             c->tree_count);
}

/* The trees of the rounds that the caller wants; all were read and checked. */
static myr_rc lightgbm_keep_rounds(lightgbm_ctx *c, const myr_import_opts *opts)
{
    uint32_t rounds = c->tree_count / c->num_class;
    uint32_t first = opts->first_iteration;
    uint32_t left = first < rounds ? rounds - first : 0;
    uint32_t kept = opts->iterations > 0 ? opts->iterations : left;
    if (first > rounds || kept > left || (first > 0 && kept == 0)) {
        MYR_FAIL(c->err, BAD_INPUT, "%s: iterations %u to %llu are wanted, the model has %u", c->file, first,
                 (unsigned long long)first + kept, rounds);
    }
    myr_model_desc *d = &c->out->desc;
    d->trees = c->trees != NULL ? c->trees + (size_t)first * c->num_class : NULL;
    d->tree_count = kept * c->num_class; /* at most tree_count */
    d->average = c->seen[HEAD_AVERAGE_OUTPUT];
    d->average_over = d->average ? kept : 0;
    return MYR_OK;
}

myr_rc myr_import_lightgbm(const myr_import_src *src, myr_imported *out, myr_err *err)
{
    lightgbm_ctx c = {
        .reader = {.src = src, .arena = out->arena, .err = err}, .file = src->name, .out = out, .err = err};
    MYR_TRY(lightgbm_head(&c));
    if (src->opts->feature_names != NULL) MYR_TRY(myr_import_check_name_count(src, out->feature_count, err));
    MYR_TRY(lightgbm_trees(&c));
    MYR_TRY(myr_lightgbm_names(&c.reader, c.head[HEAD_FEATURE_INFOS], out));
    myr_str objective = c.seen[HEAD_OBJECTIVE] ? c.head[HEAD_OBJECTIVE] : myr_str_of("");
    out->objective = myr_arena_strndup(out->arena, objective.size > 0 ? objective.data : "", objective.size);
    if (out->objective == NULL) MYR_FAIL(err, NO_MEMORY, "%s: no memory for the objective", src->name);
    out->algorithm = "lightgbm";
    out->desc.kind = MYR_MODEL_TREES;
    out->desc.calc = MYR_CALC_F64;
    out->desc.feature_count = out->feature_count;
    out->desc.margin_count = c.num_class;
    return lightgbm_keep_rounds(&c, src->opts);
}
