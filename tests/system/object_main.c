/*
 * src/object at work, for the system tests: one line of arguments a call, failures as the program tells them.
 *   object_tool list|find|head URI | get URI FILE | put URI FILE | put-new URI TEXT | put-same URI TEXT ETAG | delete
 * URI object_tool get-all|put-all URI DIR KEY…
 */
#include <stdio.h>
#include <string.h>

#include "object/object.h"

#define TOOL_KEYS_MAX 4096

typedef struct tool {
    myr_object_client *client;
    myr_arena *arena;
    const char *uri, *key;
    char **args;
    int arg_count;
} tool;

static void tool_show(const myr_object *object)
{
    printf("%s\t%lld\t%s\t%lld\n", object->key, (long long)object->bytes, object->etag, (long long)object->modified_ms);
}

static myr_rc tool_list(tool *t, bool find, myr_err *err)
{
    myr_object *items = NULL;
    size_t count = 0;
    MYR_TRY(find ? myr_object_find(t->client, t->key, t->arena, &items, &count, err)
                 : myr_object_list(t->client, t->key, t->arena, &items, &count, err));
    for (size_t i = 0; i < count; i++)
        tool_show(&items[i]);
    return MYR_OK;
}

static myr_rc tool_head(tool *t, myr_err *err)
{
    myr_object object;
    MYR_TRY(myr_object_head(t->client, t->key, t->arena, &object, err));
    tool_show(&object);
    return MYR_OK;
}

static myr_rc tool_get(tool *t, myr_err *err)
{
    myr_object object;
    MYR_TRY(myr_object_head(t->client, t->key, t->arena, &object, err));
    return myr_object_get_file(t->client, &object, t->args[0], err);
}

static myr_rc tool_many(tool *t, bool get, myr_err *err)
{
    static myr_object_move moves[TOOL_KEYS_MAX];
    size_t count = 0;
    for (int i = 1; i < t->arg_count && count < TOOL_KEYS_MAX; i++) {
        myr_object_move *move = &moves[count++];
        move->object.key = t->args[i];
        if (get) MYR_TRY(myr_object_head(t->client, t->args[i], t->arena, &move->object, err));
        move->path = myr_arena_printf(t->arena, "%s/%s", t->args[0], t->args[i]);
    }
    return get ? myr_object_get_all(t->uri, NULL, moves, count, err) : myr_object_put_all(t->uri, moves, count, err);
}

static myr_rc tool_run(tool *t, const char *verb, myr_err *err)
{
    const char *text = t->arg_count > 0 ? t->args[0] : "";
    MYR_TRY(myr_object_key(t->uri, &t->key, err));
    MYR_TRY(myr_object_open(t->uri, NULL, &t->client, err));
    if (strcmp(verb, "list") == 0) return tool_list(t, false, err);
    if (strcmp(verb, "find") == 0) return tool_list(t, true, err);
    if (strcmp(verb, "head") == 0) return tool_head(t, err);
    if (strcmp(verb, "get") == 0) return tool_get(t, err);
    if (strcmp(verb, "put") == 0) return myr_object_put_file(t->client, t->key, text, err);
    if (strcmp(verb, "put-new") == 0)
        return myr_object_put(t->client, t->key, text, strlen(text), MYR_OBJECT_IF_ABSENT, NULL, err);
    if (strcmp(verb, "put-same") == 0)
        return myr_object_put(t->client, t->key, text, strlen(text), MYR_OBJECT_IF_SAME, t->args[1], err);
    if (strcmp(verb, "delete") == 0) return myr_object_delete(t->client, t->key, err);
    if (strcmp(verb, "get-all") == 0) return tool_many(t, true, err);
    if (strcmp(verb, "put-all") == 0) return tool_many(t, false, err);
    MYR_FAIL(err, BAD_USAGE, "%s is no verb", verb);
}

int main(int argc, char **argv)
{
    myr_err err = {0};
    if (argc < 3) return 64;
    tool t = {.uri = argv[2], .args = argv + 3, .arg_count = argc - 3, .arena = myr_arena_new(0)};
    myr_rc rc = t.arena != NULL ? tool_run(&t, argv[1], &err) : MYR_NO_MEMORY;
    myr_object_close(t.client);
    myr_arena_free(t.arena);
    if (rc != MYR_OK) fprintf(stderr, "%s: %s\n", myr_rc_name(rc), err.message);
    return myr_rc_exit(rc);
}
