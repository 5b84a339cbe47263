/*
 * Making a directory: rows of the registry, and the documents of those servers that changed since the one before. What
 * a document must hold is checked here, so that asking is only comparing.
 */
#include "serve/directory.h"

#include <stdlib.h>
#include <string.h>

#include <yyjson.h>

/* ---- a document ---- */

/* An array of texts as a list that ends with NULL. With `field`, the texts are that field of its objects. */
static myr_rc fleet_list(myr_arena *arena, yyjson_val *array, const char *field, const char ***out, myr_err *err)
{
    size_t idx, max, count = 0;
    yyjson_val *val;
    const char **list = myr_arena_calloc(arena, yyjson_arr_size(array) + 1, sizeof *list);
    if (list == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for what servers serve");
    yyjson_arr_foreach(array, idx, max, val)
    {
        yyjson_val *text = field != NULL ? yyjson_obj_get(val, field) : val;
        if (!yyjson_is_str(text)) continue;
        list[count] = myr_arena_strndup(arena, yyjson_get_str(text), yyjson_get_len(text));
        if (list[count++] == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for what servers serve");
    }
    *out = list;
    return MYR_OK;
}

static myr_rc fleet_fill(myr_arena *arena, yyjson_val *root, const char *doc, directory_fleet *out, myr_err *err)
{
    yyjson_val *name = yyjson_obj_get(root, "name"), *groups = yyjson_obj_get(root, "groups");
    if (!yyjson_is_str(name) || !myr_name_is_valid(myr_str_of(yyjson_get_str(name)))) {
        MYR_FAIL(err, BAD_FORMAT, "a server describes a fleet without a name: %.80s", doc);
    }
    out->name = myr_arena_strndup(arena, yyjson_get_str(name), yyjson_get_len(name));
    out->doc = myr_arena_strndup(arena, doc, strlen(doc));
    if (out->name == NULL || out->doc == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for what servers serve");
    out->release = yyjson_get_sint(yyjson_obj_get(root, "release"));
    out->model_count = yyjson_get_sint(yyjson_obj_get(root, "model_count"));
    if (yyjson_is_arr(groups)) MYR_TRY(fleet_list(arena, groups, NULL, &out->groups, err));
    MYR_TRY(fleet_list(arena, yyjson_obj_get(root, "partition_columns"), NULL, &out->columns, err));
    MYR_TRY(fleet_list(arena, yyjson_obj_get(root, "tags"), NULL, &out->tags, err));
    yyjson_val *inputs = yyjson_obj_get(yyjson_obj_get(root, "signature"), "inputs");
    return fleet_list(arena, inputs, "name", &out->features, err);
}

static myr_rc fleet_read(myr_arena *arena, const char *doc, directory_fleet *out, myr_err *err)
{
    yyjson_doc *json = yyjson_read(doc, strlen(doc), 0);
    directory_fleet fleet = {0};
    if (json == NULL) MYR_FAIL(err, BAD_FORMAT, "a server describes a fleet by what is no JSON: %.80s", doc);
    myr_rc rc = fleet_fill(arena, yyjson_doc_get_root(json), doc, &fleet, err);
    yyjson_doc_free(json);
    if (rc == MYR_OK) *out = fleet;
    return rc;
}

static int fleet_compare(const void *a, const void *b)
{
    return strcmp(((const directory_fleet *)a)->name, ((const directory_fleet *)b)->name);
}

myr_rc myr_serve_directory_fleets(const char *const *docs, size_t count, int64_t revision, directory_fleets **out,
                                  myr_err *err)
{
    directory_fleets *fleets = myr_calloc(1, sizeof *fleets);
    if (fleets != NULL) fleets->arena = myr_arena_new(0);
    if (fleets != NULL && fleets->arena != NULL)
        fleets->items = myr_arena_calloc(fleets->arena, count + 1, sizeof *fleets->items);
    if (fleets == NULL || fleets->items == NULL) {
        myr_serve_directory_fleets_release(fleets);
        MYR_FAIL(err, NO_MEMORY, "out of memory for what servers serve");
    }
    fleets->refs = 1;
    fleets->revision = revision;
    for (size_t i = 0; i < count; i++) {
        myr_err why = {0};
        myr_rc rc = fleet_read(fleets->arena, docs[i], &fleets->items[fleets->count], &why);
        if (rc == MYR_NO_MEMORY) {
            myr_serve_directory_fleets_release(fleets);
            if (err != NULL) *err = why;
            return rc;
        }
        if (rc == MYR_OK) {
            fleets->count++;
        } else {
            myr_log_err(MYR_LOG_WARN, "serve", "fleet of another server left out", &why);
        }
    }
    qsort(fleets->items, fleets->count, sizeof *fleets->items, fleet_compare);
    *out = fleets;
    return MYR_OK;
}

void myr_serve_directory_fleets_release(directory_fleets *fleets)
{
    if (fleets == NULL || --fleets->refs > 0) return;
    myr_arena_free(fleets->arena);
    myr_free(fleets);
}

/* ---- the directory ---- */

void myr_serve_directory_release(serve_directory *directory)
{
    if (directory == NULL || --directory->refs > 0) return;
    for (size_t i = 0; i < directory->count; i++)
        myr_serve_directory_fleets_release(directory->servers[i].fleets);
    myr_arena_free(directory->arena);
    myr_free(directory);
}

static const directory_server *directory_find(const serve_directory *directory, const char *id)
{
    for (size_t i = 0; directory != NULL && i < directory->count; i++) {
        if (strcmp(directory->servers[i].row.id, id) == 0) return &directory->servers[i];
    }
    return NULL;
}

/* The texts of a row into the directory's own memory. */
static myr_rc directory_copy_row(myr_arena *arena, const myr_instance_row *row, myr_instance_row *out, myr_err *err)
{
    *out = *row;
    const char **texts[] = {&out->id,    &out->service, &out->region,  &out->rest, &out->grpc,
                            &out->admin, &out->auth,    &out->program, &out->state};
    for (size_t i = 0; i < MYR_COUNT_OF(texts); i++) {
        const char *text = *texts[i] != NULL ? *texts[i] : "";
        *texts[i] = myr_arena_strndup(arena, text, strlen(text));
        if (*texts[i] == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the servers");
    }
    return MYR_OK;
}

static myr_rc directory_add(serve_directory *directory, myr_registry *registry, const serve_directory *before,
                            const myr_instance_row *row, myr_err *err)
{
    directory_server *server = &directory->servers[directory->count];
    const directory_server *known = directory_find(before, row->id);
    server->row = *row;
    if (known != NULL && known->fleets->revision == row->revision) {
        server->fleets = known->fleets;
        server->fleets->refs++;
    } else {
        const char **docs = NULL;
        size_t count = 0;
        MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
        if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the servers");
        MYR_TRY(myr_registry_instance_docs(registry, arena, row->id, &docs, &count, err));
        MYR_TRY(myr_serve_directory_fleets(docs, count, row->revision, &server->fleets, err));
    }
    directory->count++;
    return MYR_OK;
}

static int server_compare(const void *a, const void *b)
{
    const myr_instance_row *x = &((const directory_server *)a)->row, *y = &((const directory_server *)b)->row;
    int order = strcmp(x->service, y->service);
    if (order == 0) order = strcmp(x->region, y->region);
    return order != 0 ? order : strcmp(x->id, y->id);
}

static myr_rc directory_fill(serve_directory *directory, myr_registry *registry, const serve_directory *before,
                             const myr_instance_row *self, directory_fleets *self_fleets, myr_err *err)
{
    myr_instance_row *rows = NULL;
    size_t count = 0;
    MYR_TRY(myr_registry_instances(registry, directory->arena, myr_clock_unix_ms(), &rows, &count, err));
    directory->servers = myr_arena_calloc(directory->arena, count + 1, sizeof *directory->servers);
    if (directory->servers == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the servers");
    for (size_t i = 0; i < count; i++) {
        if (self != NULL && strcmp(rows[i].id, self->id) == 0) continue;
        MYR_TRY(directory_add(directory, registry, before, &rows[i], err));
    }
    if (self != NULL) { /* last, so that it is given over only when nothing can fail any more */
        directory_server *own = &directory->servers[directory->count];
        MYR_TRY(directory_copy_row(directory->arena, self, &own->row, err));
        own->fleets = self_fleets;
        self_fleets->refs++;
        directory->count++;
    }
    qsort(directory->servers, directory->count, sizeof *directory->servers, server_compare);
    return MYR_OK;
}

myr_rc myr_serve_directory_read(myr_registry *registry, const serve_directory *before, const myr_instance_row *self,
                                directory_fleets *self_fleets, serve_directory **out, myr_err *err)
{
    serve_directory *directory = myr_calloc(1, sizeof *directory);
    if (directory == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the servers");
    directory->refs = 1;
    directory->arena = myr_arena_new(0);
    myr_rc rc = directory->arena != NULL ? MYR_OK : MYR_ERROR(err, NO_MEMORY, "out of memory for the servers");
    if (rc == MYR_OK) rc = directory_fill(directory, registry, before, self, self_fleets, err);
    if (rc != MYR_OK) {
        myr_serve_directory_release(directory);
        return rc;
    }
    *out = directory;
    return MYR_OK;
}

static bool server_equal(const directory_server *a, const directory_server *b)
{
    const myr_instance_row *x = &a->row, *y = &b->row;
    return a->fleets == b->fleets && x->load == y->load && x->expires_ms == y->expires_ms &&
           strcmp(x->id, y->id) == 0 && strcmp(x->state, y->state) == 0 && strcmp(x->rest, y->rest) == 0 &&
           strcmp(x->grpc, y->grpc) == 0 && strcmp(x->admin, y->admin) == 0 && strcmp(x->auth, y->auth) == 0 &&
           strcmp(x->region, y->region) == 0 && strcmp(x->service, y->service) == 0;
}

bool myr_serve_directory_equal(const serve_directory *a, const serve_directory *b)
{
    if (a == NULL || b == NULL || a->count != b->count) return a == b;
    for (size_t i = 0; i < a->count; i++) {
        if (!server_equal(&a->servers[i], &b->servers[i])) return false;
    }
    return true;
}
