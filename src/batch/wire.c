/* What coordinator and worker say to each other: one JSON object a frame. */
#include <string.h>
#include <yyjson.h>

#include "batch/internal.h"

void myr_batch_wire_error(const myr_err *err, bool is_code, myr_buf *out)
{
    myr_buf_printf(out, "{\"error\":%d,\"code\":%s,\"message\":", (int)err->rc, is_code ? "true" : "false");
    myr_buf_json_string(out, myr_str_of(err->message));
    myr_buf_putc(out, '}');
}

bool myr_batch_wire_is_code(const myr_buf *frame)
{
    yyjson_doc *doc = frame->data != NULL ? yyjson_read(frame->data, frame->size, 0) : NULL;
    bool is_code = yyjson_get_bool(yyjson_obj_get(yyjson_doc_get_root(doc), "code"));
    yyjson_doc_free(doc);
    return is_code;
}

batch_said myr_batch_wire_read(const myr_buf *frame, int64_t *out_rows, myr_err *out_err)
{
    yyjson_doc *doc = frame->data != NULL ? yyjson_read(frame->data, frame->size, 0) : NULL;
    yyjson_val *root = yyjson_doc_get_root(doc);
    yyjson_val *code = yyjson_obj_get(root, "error"), *rows = yyjson_obj_get(root, "progress");
    const char *message = yyjson_get_str(yyjson_obj_get(root, "message"));
    batch_said said = BATCH_SAID_DONE;
    if (yyjson_is_int(rows)) {
        *out_rows = yyjson_get_sint(rows);
        said = BATCH_SAID_ROWS;
    } else if (yyjson_is_int(code)) {
        int64_t rc = yyjson_get_sint(code);
        if (rc <= MYR_OK || rc > 1000) rc = MYR_INTERNAL;
        MYR_IGNORE(
            myr_err_set(out_err, (myr_rc)rc, __FILE__, __LINE__, "%s",
                        message != NULL ? message : "a worker failed and did not say why")); /* it is the answer */
        said = BATCH_SAID_ERROR;
    } else if (!yyjson_is_obj(root)) {
        MYR_IGNORE(MYR_ERROR(out_err, BAD_FORMAT, "a worker's answer cannot be read")); /* it is the answer */
        said = BATCH_SAID_ERROR;
    }
    yyjson_doc_free(doc);
    return said;
}
