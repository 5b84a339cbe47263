/*
 * YAML text to a tree of nodes that know where they stand, over libyaml's event parser.
 *
 * The tree is built with an explicit stack, so that depth is a limit and not a risk. Anchors, aliases and tags are
 * refused: a job file needs none, and aliases are how small files become large trees.
 */
#include <string.h>

#include <yaml.h>

#include "spec/internal.h"

#define SPEC_NODES_MAX 20000

/* One open list or map while its children arrive. */
typedef struct spec_frame {
    myr_spec_node *node;
    const myr_spec_node *key; /* of a map: the key whose value comes next */
    const myr_spec_node **items, **keys;
    uint32_t room;
} spec_frame;

typedef struct spec_parser {
    yaml_parser_t yaml;
    myr_spec *spec;
    spec_frame frames[MYR_SPEC_DEPTH_MAX];
    uint32_t depth;
    uint32_t node_count;
    bool done; /* the root is complete */
} spec_parser;

static myr_spec_node *spec_node_new(spec_parser *p, myr_spec_kind kind, const yaml_event_t *event, myr_err *err)
{
    if (++p->node_count > SPEC_NODES_MAX) {
        MYR_IGNORE(MYR_ERROR(err, TOO_LARGE, "%s: more than %d values", p->spec->name, SPEC_NODES_MAX));
        return NULL;
    }
    myr_spec_node *node = myr_arena_calloc(p->spec->arena, 1, sizeof *node);
    if (node == NULL) {
        MYR_IGNORE(MYR_ERROR(err, NO_MEMORY, "%s: out of memory", p->spec->name));
        return NULL;
    }
    node->kind = kind;
    node->line = (int)event->start_mark.line + 1;
    node->column = (int)event->start_mark.column + 1;
    return node;
}

static bool spec_is_null_word(const char *text)
{
    return text[0] == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0 || strcmp(text, "Null") == 0 ||
           strcmp(text, "NULL") == 0;
}

static myr_rc spec_scalar(spec_parser *p, const yaml_event_t *event, myr_spec_node **out, myr_err *err)
{
    myr_spec_node *node = spec_node_new(p, MYR_SPEC_SCALAR, event, err);
    if (node == NULL) return p->node_count > SPEC_NODES_MAX ? MYR_TOO_LARGE : MYR_NO_MEMORY;
    const char *value = (const char *)event->data.scalar.value;
    size_t size = event->data.scalar.length;
    if (memchr(value, '\0', size) != NULL) return myr_spec_fail(p->spec, node, err, "a text must not hold a NUL");
    node->text = myr_arena_strndup(p->spec->arena, value, size);
    if (node->text == NULL) MYR_FAIL(err, NO_MEMORY, "%s: out of memory", p->spec->name);
    node->is_quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    node->is_null = !node->is_quoted && spec_is_null_word(node->text);
    *out = node;
    return MYR_OK;
}

static myr_rc frame_grow(spec_parser *p, spec_frame *frame, myr_err *err)
{
    if (frame->node->count < frame->room) return MYR_OK;
    uint32_t room = frame->room == 0 ? 8 : frame->room * 2;
    size_t old_bytes = frame->room * sizeof(void *);
    size_t new_bytes = room * sizeof(void *);
    const myr_spec_node **items = myr_arena_realloc(p->spec->arena, frame->items, old_bytes, new_bytes);
    const myr_spec_node **keys = myr_arena_realloc(p->spec->arena, frame->keys, old_bytes, new_bytes);
    if (items == NULL || keys == NULL) MYR_FAIL(err, NO_MEMORY, "%s: out of memory", p->spec->name);
    frame->items = items;
    frame->keys = keys;
    frame->room = room;
    return MYR_OK;
}

static myr_rc frame_take_key(spec_parser *p, spec_frame *frame, const myr_spec_node *node, myr_err *err)
{
    if (node->kind != MYR_SPEC_SCALAR) return myr_spec_fail(p->spec, node, err, "a key must be a plain word");
    for (uint32_t i = 0; i < frame->node->count; i++) {
        if (strcmp(frame->keys[i]->text, node->text) == 0) {
            return myr_spec_fail(p->spec, node, err,
                                 "key '%s' stands here a second time (first in line %d): remove one", node->text,
                                 frame->keys[i]->line);
        }
    }
    frame->key = node;
    return MYR_OK;
}

/* Put a finished node where it belongs: the root, a list's next item, a map's key or its value. */
static myr_rc spec_place(spec_parser *p, const myr_spec_node *node, myr_err *err)
{
    if (p->depth == 0) {
        p->spec->root = node;
        p->done = true;
        return MYR_OK;
    }
    spec_frame *frame = &p->frames[p->depth - 1];
    bool is_map = frame->node->kind == MYR_SPEC_MAP;
    if (is_map && frame->key == NULL) return frame_take_key(p, frame, node, err);
    MYR_TRY(frame_grow(p, frame, err));
    frame->items[frame->node->count] = node;
    frame->keys[frame->node->count] = frame->key;
    frame->node->count++;
    frame->key = NULL;
    return MYR_OK;
}

static myr_rc spec_open(spec_parser *p, myr_spec_kind kind, const yaml_event_t *event, myr_err *err)
{
    myr_spec_node *node = spec_node_new(p, kind, event, err);
    if (node == NULL) return p->node_count > SPEC_NODES_MAX ? MYR_TOO_LARGE : MYR_NO_MEMORY;
    if (p->depth > 0 && p->frames[p->depth - 1].node->kind == MYR_SPEC_MAP && p->frames[p->depth - 1].key == NULL) {
        return myr_spec_fail(p->spec, node, err, "a key must be a plain word");
    }
    if (p->depth == MYR_SPEC_DEPTH_MAX) {
        return myr_spec_fail(p->spec, node, err, "nested deeper than %d levels", MYR_SPEC_DEPTH_MAX);
    }
    p->frames[p->depth++] = (spec_frame){.node = node};
    return MYR_OK;
}

static myr_rc spec_close(spec_parser *p, myr_err *err)
{
    MYR_ASSERT(p->depth > 0);
    spec_frame *frame = &p->frames[--p->depth];
    frame->node->items = frame->items;
    frame->node->keys = frame->node->kind == MYR_SPEC_MAP ? frame->keys : NULL;
    return spec_place(p, frame->node, err);
}

static bool event_has_anchor(const yaml_event_t *event)
{
    if (event->type == YAML_ALIAS_EVENT) return true;
    if (event->type == YAML_SCALAR_EVENT) return event->data.scalar.anchor != NULL;
    if (event->type == YAML_SEQUENCE_START_EVENT) return event->data.sequence_start.anchor != NULL;
    if (event->type == YAML_MAPPING_START_EVENT) return event->data.mapping_start.anchor != NULL;
    return false;
}

static myr_rc spec_event(spec_parser *p, const yaml_event_t *event, myr_err *err)
{
    myr_spec_node here = {.line = (int)event->start_mark.line + 1, .column = (int)event->start_mark.column + 1};
    if (event_has_anchor(event))
        return myr_spec_fail(p->spec, &here, err, "anchors and aliases are not supported: write it out");
    switch (event->type) {
    case YAML_SCALAR_EVENT: {
        myr_spec_node *node = NULL;
        MYR_TRY(spec_scalar(p, event, &node, err));
        return spec_place(p, node, err);
    }
    case YAML_SEQUENCE_START_EVENT:
        return spec_open(p, MYR_SPEC_LIST, event, err);
    case YAML_MAPPING_START_EVENT:
        return spec_open(p, MYR_SPEC_MAP, event, err);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return spec_close(p, err);
    case YAML_DOCUMENT_START_EVENT:
        if (p->done) return myr_spec_fail(p->spec, &here, err, "a second document starts here: one file holds one");
        return MYR_OK;
    default:
        return MYR_OK;
    }
}

static myr_rc spec_yaml_error(const spec_parser *p, myr_err *err)
{
    if (p->yaml.error == YAML_MEMORY_ERROR) MYR_FAIL(err, NO_MEMORY, "%s: out of memory", p->spec->name);
    bool in_bytes = p->yaml.error == YAML_READER_ERROR; /* it knows an offset, not a line */
    if (in_bytes) MYR_FAIL(err, BAD_INPUT, "%s: byte %zu: %s", p->spec->name, p->yaml.problem_offset, p->yaml.problem);
    MYR_FAIL(err, BAD_INPUT, "%s:%zu:%zu: not YAML: %s", p->spec->name, p->yaml.problem_mark.line + 1,
             p->yaml.problem_mark.column + 1, p->yaml.problem != NULL ? p->yaml.problem : "unreadable");
}

static myr_rc spec_events(spec_parser *p, myr_err *err)
{
    for (;;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&p->yaml, &event)) return spec_yaml_error(p, err);
        bool is_end = event.type == YAML_STREAM_END_EVENT;
        myr_rc rc = spec_event(p, &event, err);
        yaml_event_delete(&event);
        if (rc != MYR_OK || is_end) return rc;
    }
}

/* No document (an empty file, only comments) is what `null` is. */
static myr_rc spec_null_root(myr_spec *spec, myr_err *err)
{
    myr_spec_node *node = myr_arena_calloc(spec->arena, 1, sizeof *node);
    if (node == NULL) MYR_FAIL(err, NO_MEMORY, "%s: out of memory", spec->name);
    *node = (myr_spec_node){.kind = MYR_SPEC_SCALAR, .line = 1, .column = 1, .text = "", .is_null = true};
    spec->root = node;
    return MYR_OK;
}

myr_rc myr_spec_read(myr_spec *spec, const char *text, size_t size_bytes, myr_err *err)
{
    spec_parser p = {.spec = spec};
    if (!yaml_parser_initialize(&p.yaml)) MYR_FAIL(err, NO_MEMORY, "%s: out of memory", spec->name);
    yaml_parser_set_input_string(&p.yaml, (const unsigned char *)text, size_bytes);
    yaml_parser_set_encoding(&p.yaml, YAML_UTF8_ENCODING);
    myr_rc rc = spec_events(&p, err);
    yaml_parser_delete(&p.yaml);
    MYR_TRY(rc);
    return spec->root != NULL ? MYR_OK : spec_null_root(spec, err);
}
