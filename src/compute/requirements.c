/*
 * Lists of requirements, as far as hashes go: pip takes hashes as soon as one package has some, and its words about one
 * that has none, or another, are many lines. Here they are one, which says where.
 */
#include "compute/requirements.h"

#include <string.h>

#define REQUIREMENT_NAME_MAX 60 /* of a package, in messages */
#define HASH_SHOWN           12 /* characters of a hash, in messages */

/* ---- the list ---- */

typedef struct requirements_reader {
    myr_str rest;
    int line;     /* the number of the next one, from 1 */
    myr_buf text; /* of a line, with those that it goes on on */
    bool has_failed;
} requirements_reader;

static void requirements_reader_drop(requirements_reader *reader)
{
    myr_buf_fini(&reader->text);
}

/* Without what follows a # at its beginning or behind a blank. */
static myr_str line_without_comment(myr_str line)
{
    for (size_t i = 0; i < line.size; i++) {
        bool is_blank = i == 0 || line.data[i - 1] == ' ' || line.data[i - 1] == '\t';
        if (line.data[i] == '#' && is_blank) return myr_str_make(line.data, i);
    }
    return line;
}

/* The next line that says something, with those that it goes on on; as pip, which joins before it cuts comments off. */
static bool reader_next(requirements_reader *reader, myr_str *out, int *out_line)
{
    myr_str part;
    for (;;) {
        bool goes_on = true;
        myr_buf_clear(&reader->text);
        *out_line = reader->line;
        while (goes_on && myr_str_split(&reader->rest, '\n', &part)) {
            reader->line++;
            if (part.size > 0 && part.data[part.size - 1] == '\r') part.size--;
            bool is_comment = myr_str_starts_with(myr_str_trim(part), "#");
            goes_on = !is_comment && part.size > 0 && part.data[part.size - 1] == '\\';
            myr_buf_append(&reader->text, part.data, goes_on ? part.size - 1 : part.size);
            myr_buf_putc(&reader->text, ' ');
        }
        reader->has_failed = myr_buf_check(&reader->text, NULL) != MYR_OK;
        if (reader->line == *out_line || reader->has_failed) return false;
        *out = myr_str_trim(line_without_comment(myr_str_make(reader->text.data, reader->text.size)));
        if (out->size > 0) return true;
    }
}

static bool line_is_option(myr_str line, const char *brief, const char *full)
{
    return myr_str_starts_with(line, brief) || myr_str_starts_with(line, full);
}

static bool line_has_hash(myr_str line)
{
    static const char option[] = "--hash";
    for (size_t i = 1; i + sizeof option <= line.size; i++) {
        bool is_begin = line.data[i - 1] == ' ' || line.data[i - 1] == '\t';
        char behind = line.data[i + sizeof option - 1];
        if (is_begin && memcmp(line.data + i, option, sizeof option - 1) == 0 && (behind == '=' || behind == ' '))
            return true;
    }
    return false;
}

/* The package as the list has it, without markers and options. */
static myr_str line_package(myr_str line)
{
    size_t size = 0;
    while (size < line.size && size < REQUIREMENT_NAME_MAX && line.data[size] != ' ' && line.data[size] != '\t' &&
           line.data[size] != ';')
        size++;
    return myr_str_make(line.data, size);
}

/* What a list has: the first package without a hash, whether any has one, whether hashes may stand elsewhere. */
typedef struct requirements_look {
    bool has_hashes, has_constraints;
    int bare_line; /* 0: each package has one */
    char bare[REQUIREMENT_NAME_MAX + 1];
} requirements_look;

static myr_rc requirements_read(myr_str text, requirements_look *look, myr_err *err)
{
    MYR_AUTO(requirements_reader) reader = {.rest = text, .line = 1};
    myr_str line;
    int number;
    if (myr_str_starts_with(text, "\xef\xbb\xbf")) reader.rest = myr_str_make(text.data + 3, text.size - 3);
    while (reader_next(&reader, &line, &number)) {
        bool is_editable = line_is_option(line, "-e", "--editable");
        look->has_constraints |= line_is_option(line, "-c", "--constraint");
        if (line.data[0] == '-' && !is_editable) continue;
        bool has_hash = line_has_hash(line);
        look->has_hashes |= has_hash;
        if (has_hash || look->bare_line != 0) continue;
        myr_str package = line_package(line);
        look->bare_line = number;
        memcpy(look->bare, package.data, package.size);
        look->bare[package.size] = '\0';
    }
    if (reader.has_failed) MYR_FAIL(err, NO_MEMORY, "no memory for a list of requirements");
    return MYR_OK;
}

bool myr_requirements_have_hashes(myr_str text)
{
    requirements_look look = {0};
    return requirements_read(text, &look, NULL) == MYR_OK && look.has_hashes;
}

myr_rc myr_requirements_check(const char *name, myr_str text, bool must_have, bool *out_hashed, myr_err *err)
{
    requirements_look look = {0};
    MYR_TRY(requirements_read(text, &look, err));
    bool is_hashed = must_have || look.has_hashes;
    if (is_hashed && look.bare_line != 0 && !look.has_constraints) {
        MYR_FAIL(err, BAD_INPUT, "%s, line %d: %s has no --hash, %s: pip-compile --generate-hashes writes them", name,
                 look.bare_line, look.bare, look.has_hashes ? "as others have" : "which is asked for");
    }
    *out_hashed = is_hashed;
    return MYR_OK;
}

/* ---- what pip says ---- */

/* What stands behind `before` in the text, up to one of `ends`; no data: it is not there. */
static myr_str text_behind(myr_str text, const char *before, const char *ends)
{
    const char *at = text.size > 0 ? memmem(text.data, text.size, before, strlen(before)) : NULL;
    if (at == NULL) return (myr_str){0};
    at += strlen(before);
    size_t size = 0, room = text.size - (size_t)(at - text.data);
    while (size < room && strchr(ends, at[size]) == NULL)
        size++;
    return myr_str_make(at, size);
}

static myr_str text_cut(myr_str text, size_t most)
{
    return myr_str_make(text.data, text.size < most ? text.size : most);
}

/* The last part of a path. */
static myr_str text_name(myr_str path)
{
    for (size_t i = path.size; i > 0; i--) {
        if (path.data[i - 1] == '/') return myr_str_make(path.data + i, path.size - i);
    }
    return path;
}

/*
 *     ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. …
 *         tiny==1 from file:///…/tiny-1-py3-none-any.whl (from -r /…/requirements.txt (line 3)):
 *             Expected sha256 0000…
 *                  Got        1b0c…
 */
myr_rc myr_requirements_explain(myr_str output, myr_err *err)
{
    myr_str said = text_behind(output, "DO NOT MATCH THE HASHES", ""), rest = said, line;
    if (said.data == NULL || !myr_str_split(&rest, '\n', &line)) return MYR_OK;
    myr_str package = myr_str_trim(rest);
    package = text_cut(line_package(package), REQUIREMENT_NAME_MAX);
    myr_str list = text_name(text_behind(rest, "(from -r ", " \n")), number = text_behind(rest, "(line ", ")\n");
    myr_str wanted = text_cut(text_behind(rest, "Expected sha256 ", " \n"), HASH_SHOWN);
    myr_str got = text_cut(myr_str_trim(text_behind(rest, "Got ", "\n")), HASH_SHOWN);
    if (package.size == 0) MYR_FAIL(err, UNAVAILABLE, "a package has not the hash that the list has for it");
    if (list.data == NULL || number.data == NULL)
        MYR_FAIL(err, UNAVAILABLE, MYR_STR_FMT " has not the hash that the list has for it", MYR_STR_ARG(package));
    MYR_FAIL(err, UNAVAILABLE,
             MYR_STR_FMT ", line " MYR_STR_FMT ": " MYR_STR_FMT " has not the hash of the list (" MYR_STR_FMT
                         "…), but " MYR_STR_FMT "…: is it another build, or was it tampered with?",
             MYR_STR_ARG(text_cut(list, REQUIREMENT_NAME_MAX)), MYR_STR_ARG(text_cut(number, 10)), MYR_STR_ARG(package),
             MYR_STR_ARG(wanted), MYR_STR_ARG(got));
}
