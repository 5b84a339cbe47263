/*
 * Fleets with models for a runtime: imported whole or not at all, released without the runtime, run beside others; and
 * what a workspace whose artifacts are gone or changed says.
 */
#include "fleet_fixture.h"

#include <sys/stat.h>
#include <yyjson.h>

#include "runtime_fixture.h"

/* y = 2 price + 3 deal, from an ONNX graph that is not one of our models. */
static void onnx_two(myr_buf *out)
{
    onnx_dot(out, 2, 2);
}

static myr_fleet_item *external_add(fixture_items *list, const char *segment)
{
    static const char *const names[] = {"price", "deal"};
    myr_buf *text = &list->texts[list->count];
    onnx_two(text);
    myr_fleet_item *item = &list->items[list->count++];
    *item = (myr_fleet_item){.name = "net.onnx",
                             .data = text->data,
                             .size_bytes = text->size,
                             .segment = segment,
                             .features = names,
                             .feature_count = 2,
                             .baseline = (double)NAN};
    return item;
}

/* A global linear model and one for a runtime of store 2, released. */
static void external_make(myr_workspace *workspace)
{
    MYR_AUTO(fixture_items) list = {.count = 0};
    myr_err err = {0};
    fixture_add(&list, "", 10);
    external_add(&list, "store=2,brand=1");
    EXPECT_RC(fixture_import(workspace, "f", &list, NULL, &err), OK, &err);
    fixture_release(workspace, "f");
}

/* The answer of one row as JSON. */
static void external_answer(myr_workspace *workspace, const char *row, myr_buf *out, myr_err *out_trouble)
{
    myr_err err = {0};
    MYR_AUTO(myr_fleet_ptr) fleet = NULL;
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    EXPECT_RC(myr_fleet_open(workspace, "f", 0, &fleet, &err), OK, &err);
    yyjson_doc *doc = yyjson_read(row, strlen(row), 0);
    yyjson_val *root = yyjson_doc_get_root(doc);
    myr_score_rows rows = {0};
    myr_score_scratch *scratch = myr_score_scratch_new();
    EXPECT_RC(myr_fleet_decode_rows(fleet, &root, 1, false, arena, &rows, &err), OK, &err);
    myr_buf_clear(out);
    EXPECT_RC(myr_fleet_score_json(fleet, scratch, &rows, arena, out, &err), OK, &err);
    *out_trouble = *myr_score_trouble(scratch);
    myr_score_scratch_free(scratch);
    yyjson_doc_free(doc);
}

static const char external_row[] = "{\"store\":2,\"brand\":1,\"price\":5,\"deal\":7}";

TEST(both_kinds_in_one_fleet)
{
    if (!runtime_is_here()) skip();
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    MYR_AUTO(myr_buf) out = {0};
    myr_err trouble = {0};
    external_make(workspace);
    external_answer(workspace, external_row, &out, &trouble);
    EXPECT_HAS(out.data, "\"prediction\":31,");
    EXPECT_HAS(out.data, "\"level\":\"segment\",\"status\":\"ok\"");
    external_answer(workspace, "{\"store\":9,\"brand\":1,\"price\":5,\"deal\":7}", &out, &trouble);
    EXPECT_HAS(out.data, "\"prediction\":18.5");
}

TEST(the_same_again_is_reused)
{
    if (!runtime_is_here()) skip();
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    external_make(workspace);
    for (int i = 0; i < 2; i++) {
        MYR_AUTO(fixture_items) list = {.count = 0};
        myr_err err = {0};
        myr_fleet_item *item = external_add(&list, "store=2,brand=1");
        EXPECT_RC(fixture_import(workspace, "f", &list, NULL, &err), OK, &err);
        EXPECT(item->out_reused && item->out_version == 1);
    }
}

/* Every call of the file system fails once: nothing is registered then, and what is, is whole. */
TEST(an_import_is_all_or_none)
{
    if (!runtime_is_here()) skip();
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    MYR_AUTO(myr_buf) out = {0};
    myr_err trouble = {0};
    external_make(workspace);
    FAIL_EACH_IO(nth)
    {
        MYR_AUTO(fixture_items) list = {.count = 0};
        myr_err err = {0};
        external_add(&list, "store=3,brand=1");
        myr_rc rc = fixture_import(workspace, "f", &list, NULL, &err);
        TESTING_NO_FAULTS();
        if (rc == MYR_OK) break;
        MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
        myr_fleet_row row;
        myr_model_row model;
        EXPECT_RC(myr_registry_fleet_get(workspace->registry, arena, "f", &row, &err), OK, &err);
        EXPECT_RC(myr_registry_model_get(workspace->registry, arena, row.id, "store=3,brand=1", 0, &model, &err),
                  NOT_FOUND, &err);
        myr_workspace_close(workspace); /* a handle whose sync failed gives no promises any more */
        workspace = fixture_workspace();
    }
    fixture_release(workspace, "f");
    external_answer(workspace, "{\"store\":3,\"brand\":1,\"price\":5,\"deal\":7}", &out, &trouble);
    EXPECT_HAS(out.data, "\"prediction\":31,");
}

/* Change or remove each artifact in turn: the rows of that model are broken_model, the message names it, others answer.
 */
TEST(artifacts_that_are_gone_or_changed_break_their_rows_alone)
{
    if (!runtime_is_here()) skip();
    char root[TESTING_PATH_BYTES], dir[MYR_PATH_BYTES_MAX];
    MYR_AUTO(myr_buf) out = {0};
    myr_err trouble = {0};
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    external_make(workspace);
    fixture_root(root);
    snprintf(dir, sizeof dir, "%s/artifacts", root);
    char **subdirs = NULL;
    size_t count = 0, broken = 0;
    EXPECT_RC(myr_io_list(dir, &subdirs, &count, NULL), OK, NULL);
    EXPECT_INT(count, 3); /* linear, graph, description */
    for (size_t i = 0; i < count; i++) {
        char path[MYR_PATH_BYTES_MAX], file[MYR_PATH_BYTES_MAX + 80];
        char **names = NULL;
        size_t name_count = 0, size = 0;
        char *data = NULL;
        EXPECT_RC(myr_path_join(path, sizeof path, dir, subdirs[i], NULL), OK, NULL);
        EXPECT_RC(myr_io_list(path, &names, &name_count, NULL), OK, NULL);
        snprintf(file, sizeof file, "%s/%s", path, names[0]);
        EXPECT_RC(myr_file_read(file, 1 << 20, &data, &size, NULL), OK, NULL);
        for (int gone = 0; gone < 2; gone++) {
            /* A fresh workspace: a session that was loaded stays, whatever becomes of its files. */
            MYR_AUTO(myr_workspace_ptr) fresh = fixture_workspace();
            EXPECT_RC(myr_io_unlink(file, NULL), OK, NULL);
            data[size / 2] ^= 1;
            if (gone == 0) EXPECT_RC(myr_file_write(file, data, size, NULL), OK, NULL);
            data[size / 2] ^= 1;
            external_answer(fresh, external_row, &out, &trouble);
            if (strstr(out.data, "broken_model") != NULL) {
                EXPECT(trouble.rc == MYR_BAD_FORMAT && strstr(trouble.message, "artifact ") != NULL);
                broken++;
            } else {
                EXPECT_HAS(out.data, "\"prediction\":31,");
            }
            external_answer(fresh, "{\"store\":9,\"brand\":1,\"price\":5,\"deal\":7}", &out, &trouble);
            EXPECT_HAS(out.data, "\"prediction\":18.5");
            EXPECT_RC(myr_file_write(file, data, size, NULL), OK, NULL);
        }
        myr_free(data);
        myr_names_free(names, name_count);
    }
    EXPECT_INT(broken, 4); /* graph and description, each changed and gone */
    myr_names_free(subdirs, count);
}

TEST(bytes_without_a_directory_have_no_external_data)
{
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    MYR_AUTO(fixture_items) list = {.count = 0};
    MYR_AUTO(myr_buf) graph = {0};
    myr_err err = {0};
    int64_t dims[] = {2, 1};
    onnx_rows(&graph, 11, "x", ONNX_FLOAT, 2);
    onnx_rows(&graph, 12, "y", ONNX_FLOAT, 1);
    onnx_floats_outside(&graph, "w", "w.bin", dims, 2);
    onnx_node(&graph, "MatMul", "x,w", "m", NULL);
    onnx_node(&graph, "Tanh", "m", "y", NULL);
    onnx_model(&list.texts[0], &graph);
    list.items[0] = (myr_fleet_item){.name = "net.onnx",
                                     .data = list.texts[0].data,
                                     .size_bytes = list.texts[0].size,
                                     .segment = "",
                                     .baseline = (double)NAN};
    list.count = 1;
    EXPECT_RC(fixture_import(workspace, "f", &list, NULL, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "w.bin");
}

RUN()
