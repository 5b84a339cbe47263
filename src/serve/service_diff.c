/* What two service files say differently, for whoever had them read again: a line for each place. */
#include "serve/service.h"

#include <string.h>

#define DIFF_VALUE_BYTES_MAX 200 /* of a value that is shown */
#define DIFF_LINES_MAX       100

typedef struct service_diff {
    myr_buf path; /* "fleets.oj.deadline" */
    myr_buf *out;
    uint32_t line_count;
} service_diff;

static void diff_put_scalar(const myr_spec_node *node, myr_buf *out)
{
    if (node->is_null) return;
    if (strstr(node->text, "://") != NULL) {
        myr_db_uri_show(node->text, out); /* without its password */
    } else {
        myr_buf_puts(out, node->text);
    }
}

/* As it could stand on one line of the file. */
static void diff_put(const myr_spec_node *node, myr_buf *out)
{
    if (node->kind == MYR_SPEC_SCALAR) {
        diff_put_scalar(node, out);
        return;
    }
    bool is_map = node->kind == MYR_SPEC_MAP;
    myr_buf_putc(out, is_map ? '{' : '[');
    for (uint32_t i = 0; i < node->count; i++) {
        if (i > 0) myr_buf_puts(out, ", ");
        if (is_map) myr_buf_puts(out, node->keys[i]->text);
        if (is_map) myr_buf_puts(out, ": ");
        diff_put(node->items[i], out);
    }
    myr_buf_putc(out, is_map ? '}' : ']');
}

static void diff_put_value(service_diff *diff, const myr_spec_node *node)
{
    MYR_AUTO(myr_buf) text = {0};
    if (node == NULL) {
        myr_buf_puts(diff->out, "(not there)");
        return;
    }
    diff_put(node, &text);
    if (text.failed) return;
    size_t shown = text.size < DIFF_VALUE_BYTES_MAX ? text.size : DIFF_VALUE_BYTES_MAX;
    while (shown > 0 && shown < text.size && (text.data[shown] & 0xC0) == 0x80)
        shown--;                       /* whole characters */
    for (size_t i = 0; i < shown; i++) /* a line stays a line */
        myr_buf_putc(diff->out, text.data[i] >= 0 && text.data[i] < ' ' ? ' ' : text.data[i]);
    if (shown < text.size) myr_buf_puts(diff->out, "…");
}

static void diff_line(service_diff *diff, const myr_spec_node *before, const myr_spec_node *after)
{
    if (diff->line_count++ >= DIFF_LINES_MAX) return;
    myr_buf_printf(diff->out, "%s: ", diff->path.data != NULL ? diff->path.data : "");
    diff_put_value(diff, before);
    myr_buf_puts(diff->out, " -> ");
    diff_put_value(diff, after);
    myr_buf_putc(diff->out, '\n');
}

static const myr_spec_node *diff_find(const myr_spec_node *map, const char *key)
{
    for (uint32_t i = 0; i < map->count; i++) {
        if (strcmp(map->keys[i]->text, key) == 0) return map->items[i];
    }
    return NULL;
}

static void diff_nodes(service_diff *diff, const myr_spec_node *before, const myr_spec_node *after);

static void diff_below(service_diff *diff, const char *key, const myr_spec_node *before, const myr_spec_node *after)
{
    size_t size = diff->path.size;
    myr_buf_printf(&diff->path, "%s%s", size > 0 ? "." : "", key);
    diff_nodes(diff, before, after);
    if (diff->path.failed || diff->path.size < size) return;
    diff->path.size = size;
    diff->path.data[size] = '\0';
}

static void diff_nodes(service_diff *diff, const myr_spec_node *before, const myr_spec_node *after)
{
    if (before != NULL && after != NULL && myr_spec_equal(before, after)) return;
    bool are_maps = before != NULL && after != NULL && before->kind == MYR_SPEC_MAP && after->kind == MYR_SPEC_MAP;
    if (!are_maps) {
        diff_line(diff, before, after);
        return;
    }
    for (uint32_t i = 0; i < before->count; i++)
        diff_below(diff, before->keys[i]->text, before->items[i], diff_find(after, before->keys[i]->text));
    for (uint32_t i = 0; i < after->count; i++) {
        if (diff_find(before, after->keys[i]->text) == NULL)
            diff_below(diff, after->keys[i]->text, NULL, after->items[i]);
    }
}

void myr_service_diff(const serve_service *before, const serve_service *after, myr_buf *out)
{
    static const myr_spec_node empty = {.kind = MYR_SPEC_MAP};
    service_diff diff = {.out = out};
    const myr_spec_node *a = before != NULL ? myr_spec_root(before->spec) : &empty;
    const myr_spec_node *b = after != NULL ? myr_spec_root(after->spec) : &empty;
    if (a->kind != MYR_SPEC_MAP) a = &empty; /* an empty file */
    if (b->kind != MYR_SPEC_MAP) b = &empty;
    diff_nodes(&diff, a, b);
    if (diff.line_count > DIFF_LINES_MAX) {
        myr_buf_printf(out, "… and %u more differences in the service file\n", diff.line_count - DIFF_LINES_MAX);
    }
    myr_buf_fini(&diff.path);
}
