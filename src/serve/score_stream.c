/*
 * NDJSON in, NDJSON or events out, on one connection: each row is answered when its line is there. A bad line is a
 * line of the answer with its number and an error, and the stream goes on. What one step has of input is scored as one
 * work, so that a client that pushes pays for batches and one that waits for its answer gets it.
 */
#include "serve/internal.h"

#include <string.h>

#define STREAM_ROWS_MAX 1024 /* of a step on a compute thread */

#define STREAM_CELL_BYTES 32 /* of the memory of a step, for a value of a row */
#define STREAM_LATE       "{\"error\":\"nothing came for serve.stream-idle-timeout: the stream ends\"}\n"
#define STREAM_STOPPING   "{\"error\":\"the server is stopping: send what was not answered to another one\"}\n"
#define STREAM_EVENT      "event: error\ndata: "

/* In the arena of the request. */
typedef struct serve_stream {
    myr_str fleet;
    serve_format answer;
    myr_output output;
    uint32_t output_count;
    bool ignore_unknown;
    int64_t limit_ns; /* of a step; 0: the default */
    bool is_skipping; /* the rest of a line that was too long */
    size_t line;      /* lines that were answered */
    size_t row_count, failed_count;
} serve_stream;

/* A line of a step: a row, or an error. */
typedef struct stream_line {
    size_t number;
    bool is_row;
    myr_err why;
} stream_line;

/* What a step works on; all in the stream's arena. */
typedef struct stream_step {
    serve_stream *stream;
    myr_req *req;
    myr_server *server;
    serve_thread *thread;
    const serve_principal *who;
    stream_line *lines;
    size_t line_count, row_count;
    size_t used_bytes; /* of the input */
    size_t last_line;
} stream_step;

/* ---- reading ---- */

/* The whole lines of the input; the last needs no end when nothing follows. */
static myr_str stream_whole_lines(myr_req *req)
{
    myr_str in = myr_http_stream_in(req);
    if (myr_http_stream_is_last(req)) return in;
    const char *end = in.size > 0 ? memrchr(in.data, '\n', in.size) : NULL;
    return myr_str_make(in.data, end != NULL ? (size_t)(end - in.data) + 1 : 0);
}

/* Drop what belongs to a line that was too long; its number was answered. */
static void stream_skip(serve_stream *stream, myr_req *req)
{
    myr_str in = myr_http_stream_in(req);
    const char *end = in.size > 0 ? memchr(in.data, '\n', in.size) : NULL;
    myr_http_stream_use(req, end != NULL ? (size_t)(end - in.data) + 1 : in.size);
    stream->is_skipping = end == NULL;
}

/* The buffer is full of one line. */
static void stream_refuse_line(serve_stream *stream, myr_req *req)
{
    myr_err why = {0};
    MYR_IGNORE(MYR_ERROR(&why, TOO_LARGE, "line %zu: longer than serve.stream-line-bytes-max (%zu bytes)",
                         stream->line + 1, myr_http_stream_in(req).size)); /* only the words are wanted */
    myr_serve_put_line_error(stream->answer, ++stream->line, &why, myr_http_stream_out(req));
    stream->failed_count++;
    stream_skip(stream, req);
}

/* How many lines this step takes: as many as one may here, and as the memory of a request has room for. */
static size_t stream_count(const serve_work *work, myr_str text)
{
    const myr_pack_info *info = work->target.fleet->fleet->info;
    size_t cell_count = (size_t)info->feature_count + info->keys.column_count + info->output_count;
    size_t fit = (size_t)work->server->opts.request_bytes_max / 8 / (cell_count * STREAM_CELL_BYTES);
    size_t most = work->may_block ? STREAM_ROWS_MAX : (size_t)myr_serve_now(&work->server->opts.inline_rows_max);
    size_t count = myr_serve_count_lines(text);
    if (count > most) count = most;
    if (count > fit) count = fit;
    return count > 0 ? count : 1;
}

static myr_rc stream_decode(stream_step *step, myr_str text, serve_work *work, myr_err *err)
{
    const serve_stream *stream = step->stream;
    size_t count = stream_count(work, text), row = 0;
    myr_rows_build *build;
    myr_str rest = text, found;
    step->last_line = stream->line;
    step->lines = myr_arena_calloc(work->arena, count, sizeof *step->lines);
    if (step->lines == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for %zu lines", count);
    MYR_TRY(myr_rows_begin(work->target.fleet->fleet, count, stream->ignore_unknown, work->arena, &build, err));
    while (step->line_count < count && myr_serve_next_line(&rest, &step->last_line, &found)) {
        stream_line *line = &step->lines[step->line_count++];
        line->number = step->last_line;
        line->is_row =
            myr_serve_put_line(work->thread, work->arena, build, row, line->number, found, &line->why) == MYR_OK;
        if (line->is_row) {
            row++;
        } else {
            myr_rows_undo(build, row);
        }
    }
    step->row_count = row;
    step->used_bytes = text.size - rest.size;
    if (step->line_count == 0) step->used_bytes = text.size; /* empty lines alone */
    myr_rows_end(build, row, &work->rows);
    return MYR_OK;
}

/* ---- answering ---- */

static myr_rc stream_encode(const stream_step *step, const serve_work *work, myr_err *err)
{
    serve_stream *stream = step->stream;
    myr_buf *out = myr_http_stream_out(step->req);
    size_t row = 0;
    for (size_t i = 0; i < step->line_count; i++) {
        const stream_line *line = &step->lines[i];
        bool is_ok = line->is_row && work->statuses[row] == MYR_ROW_OK;
        if (line->is_row) {
            MYR_TRY(myr_serve_put_row(work, row++, stream->answer, line->number, out, err));
        } else {
            myr_serve_put_line_error(stream->answer, line->number, &line->why, out);
        }
        stream->row_count++;
        stream->failed_count += !is_ok;
    }
    return MYR_OK;
}

/* None of the lines of this step could be answered, and it is not their fault. */
static void stream_fail(stream_step *step, myr_str text, const myr_err *why)
{
    serve_stream *stream = step->stream;
    myr_str found;
    while (myr_serve_next_line(&text, &stream->line, &found)) {
        myr_serve_put_line_error(stream->answer, stream->line, why, myr_http_stream_out(step->req));
        stream->row_count++;
        stream->failed_count++;
    }
}

/* Each step's lines before they are sent. On a compute thread: a fleet that stores sends its steps there. */
static myr_rc stream_store(serve_work *work, myr_err *err)
{
    const myr_kept_answer none = {0}; /* a stream has no idempotency key */
    MYR_TRY(myr_serve_store_start(work, &none, err));
    return myr_serve_store_take(work, err);
}

static myr_rc stream_score(stream_step *step, myr_str text, serve_work **out_work, myr_err *err)
{
    const serve_stream *stream = step->stream;
    serve_work *work;
    int64_t now_ns = myr_clock_mono_ns();
    MYR_TRY(myr_serve_work_new(step->server, step->thread, myr_http_stream_arena(step->req), step->who, now_ns, now_ns,
                               !myr_req_is_on_loop(step->req), &work, err));
    if (stream->limit_ns > 0) myr_serve_work_limit(work, stream->limit_ns);
    *out_work = work;
    myr_serve_work_headers(work, step->req);
    work->any_leaves = true;
    work->outputs[0] = stream->output;
    work->output_count = stream->output_count;
    MYR_TRY(myr_serve_fleet_find(work->thread, stream->fleet, &work->target.fleet, err));
    work->target.model_idx = MYR_PACK_NONE;
    work->target.name = myr_str_of(work->target.fleet->fleet->name);
    myr_rc rc = stream_decode(step, text, work, err);
    if (rc == MYR_OK) rc = myr_serve_work_run(work, err);
    if (rc == MYR_OK && !work->wants_compute) rc = stream_encode(step, work, err);
    if (rc == MYR_OK && !work->wants_compute && myr_serve_work_stores(work)) rc = stream_store(work, err);
    myr_serve_work_end(work, rc == MYR_OK);
    return rc;
}

/* Lines that are there. False: they went to a compute thread. */
static bool stream_lines(stream_step *step, myr_str text)
{
    myr_err why = {0};
    serve_work *work = NULL;
    myr_buf *out = myr_http_stream_out(step->req);
    size_t before = out->size;
    myr_rc rc = stream_score(step, text, &work, &why);
    if (rc == MYR_OK && work->wants_compute) {
        if (myr_http_stream_defer(step->req)) return false;
        rc = MYR_ERROR(&why, BUSY, "too many requests wait for a compute thread: try again in a second");
    }
    if (rc == MYR_OK) {
        step->stream->line = step->last_line;
        myr_http_stream_use(step->req, step->used_bytes);
        return true;
    }
    if (!out->failed) out->size = before; /* half an answer is none */
    stream_fail(step, text, &why);
    myr_http_stream_use(step->req, text.size);
    return true;
}

/* The client is no longer let in: the lines that wait are answered with that, and the stream ends. */
static void stream_dismiss(stream_step *step, myr_str text, const myr_err *why)
{
    serve_stream *stream = step->stream;
    stream_fail(step, text, why);
    myr_http_stream_use(step->req, text.size);
    myr_serve_put_end(stream->answer, stream->row_count, stream->failed_count, myr_http_stream_out(step->req));
    myr_http_stream_end(step->req);
}

static bool stream_run(void *ctx, myr_req *req)
{
    const serve_note *note = myr_req_note(req);
    serve_stream *stream = note->stream;
    const serve_listener *listener = ctx;
    stream_step step = {
        .stream = stream, .req = req, .server = listener->server, .thread = myr_req_loop_state(req), .who = &note->who};
    if (stream->is_skipping) stream_skip(stream, req);
    myr_str text = stream_whole_lines(req);
    if (text.size == 0 && myr_http_stream_is_full(req)) {
        stream_refuse_line(stream, req);
    } else if (text.size > 0) {
        myr_err why = {0};
        const serve_snapshot *snapshot = myr_serve_hold(step.server, step.thread);
        bool is_known = myr_serve_check_known(step.server, snapshot, step.who, &why) == MYR_OK;
        bool is_done = !is_known || stream_lines(&step, text);
        myr_serve_drop(step.thread);
        if (!is_known) stream_dismiss(&step, text, &why);
        if (!is_done || !is_known) return false;
    }
    if (stream_whole_lines(req).size > 0 && !stream->is_skipping) return true;
    if (myr_http_stream_is_last(req)) {
        myr_serve_put_end(stream->answer, stream->row_count, stream->failed_count, myr_http_stream_out(req));
    }
    return false;
}

/* ---- beginning ---- */

bool myr_serve_may_stream(myr_req *req, const serve_route *route)
{
    serve_format body;
    if (route->run != myr_serve_post_score || myr_req_is_encoded(req)) return false;
    return myr_serve_body_format(req, 1u << SERVE_AS_LINES, &body, NULL) == MYR_OK;
}

static myr_rc stream_check(myr_server *server, myr_req *req, serve_stream *stream, myr_err *err)
{
    serve_fleet *fleet;
    serve_thread *thread = myr_req_loop_state(req);
    MYR_TRY(myr_serve_score_output(req, &stream->output, &stream->output_count, err));
    MYR_TRY(myr_serve_query_flag(req, "ignore_unknown", &stream->ignore_unknown, err));
    MYR_TRY(myr_serve_read_limit(req, &stream->limit_ns, err));
    myr_serve_hold(server, thread);
    myr_rc rc = myr_serve_fleet_find(thread, stream->fleet, &fleet, err);
    myr_serve_drop(thread);
    return rc;
}

/* The answer of a stream that does not begin, in one piece. */
static void stream_refuse(myr_req *req, const myr_err *why)
{
    myr_buf *out = myr_http_stream_out(req);
    myr_buf_puts(out, "{\"error\":");
    myr_buf_json_string(out, myr_str_of(why->message));
    myr_buf_putc(out, '}');
    myr_http_stream_end(req);
}

myr_rc myr_serve_stream_begin(myr_server *server, myr_req *req, serve_note *note, myr_err *err)
{
    serve_format answer = myr_serve_answer_format(req, SERVE_AS_LINES);
    bool as_events = answer == SERVE_AS_EVENTS;
    if (!as_events && answer != SERVE_AS_LINES) return MYR_OK;
    serve_stream *stream = myr_arena_calloc(myr_req_arena(req), 1, sizeof *stream);
    if (stream == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for a stream");
    *stream = (serve_stream){.fleet = note->params[0], .answer = answer};
    myr_http_stream_opts opts = {.step = stream_run,
                                 .status = 200,
                                 .content_type = myr_serve_format_type(answer),
                                 .in_bytes_max = (size_t)myr_serve_now(&server->opts.stream_line_bytes_max),
                                 .idle_timeout_ms = myr_serve_now(&server->opts.stream_idle_ms),
                                 .late = as_events ? STREAM_EVENT STREAM_LATE "\n" : STREAM_LATE,
                                 .stopping = as_events ? STREAM_EVENT STREAM_STOPPING "\n" : STREAM_STOPPING};
    myr_err why = {0};
    if (stream_check(server, req, stream, &why) != MYR_OK) {
        opts.status = myr_rc_http((myr_rc)why.rc);
        opts.content_type = SERVE_JSON;
    }
    MYR_TRY(myr_req_stream(req, &opts, err));
    note->stream = stream;
    if (why.rc != MYR_OK) stream_refuse(req, &why);
    return MYR_OK;
}
