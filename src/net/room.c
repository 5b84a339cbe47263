/*
 * The waiting room: where requests wait whose connection was told a moment ago to come back later, and came at once.
 * Reading, checking and refusing them would take the time that the others' answers need: a client that does not wait
 * asks as fast as it is refused. So its next request of that kind sleeps after its headers, in the kernel's buffers for
 * the rest, until there is room (newest first, since that one has the most time left, and classes in turn), or until
 * its time is over: then it is refused, not looked into. Each refusal in a row doubles that time, up to what
 * Retry-After says.
 *
 * What is smaller than what was refused, or about something else (health, discovery, another fleet), does not wait
 * here. Requests in the room are bounded, and so are those that are refused in one look of the reaper.
 */
#include "net/internal.h"

#define ROOM_RELEASE_MAX 32 /* refused at one look: the rest at the next one */
#define ROOM_DOUBLE_MAX  4

struct net_room {
    myr_mutex lock;
    struct {
        myr_req *newest, *oldest;
    } classes[NET_FAIR_CLASSES];
    uint32_t turn;         /* the class that was let in last */
    _Atomic int64_t count; /* written under the lock */
    bool is_closed;
};

myr_rc myr_net_room_new(net_room **out, myr_err *err)
{
    net_room *room = myr_calloc(1, sizeof *room);
    if (room == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for requests that wait");
    myr_mutex_init(&room->lock);
    *out = room;
    return MYR_OK;
}

void myr_net_room_free(net_room *room)
{
    if (room == NULL) return;
    MYR_ASSERT(room->count == 0);
    myr_mutex_fini(&room->lock);
    myr_free(room);
}

/* ---- under the lock ---- */

static void room_put(net_room *room, myr_req *req)
{
    req->phase = NET_PHASE_HELD;
    myr_net_conn_work(req->conn); /* it waits for us */
    MHD_suspend_connection(req->mhd);
    myr_req **newest = &room->classes[req->flow_class % NET_FAIR_CLASSES].newest;
    req->older = *newest;
    req->newer = NULL;
    if (*newest != NULL) {
        (*newest)->newer = req;
    } else {
        room->classes[req->flow_class % NET_FAIR_CLASSES].oldest = req;
    }
    *newest = req;
    room->count++;
}

static void room_take(net_room *room, myr_req *req)
{
    size_t class = req->flow_class % NET_FAIR_CLASSES;
    if (req->newer != NULL) req->newer->older = req->older;
    if (req->older != NULL) req->older->newer = req->newer;
    if (room->classes[class].newest == req) room->classes[class].newest = req->older;
    if (room->classes[class].oldest == req) room->classes[class].oldest = req->newer;
    room->count--;
    MHD_resume_connection(req->mhd); /* its loop owns it again */
}

/* ---- in and out ---- */

void myr_req_turn_away(myr_req *req, uint64_t class_hash)
{
    net_conn *conn = req->conn;
    if (conn == NULL) return;
    MYR_ASSERT(myr_net_thread_is_current(req->loop));
    int64_t now_ns = myr_clock_mono_ns();
    bool is_again = req->is_away || (conn->away_until_ns > now_ns && conn->away_class == class_hash);
    conn->away_count = !is_again ? 0 : conn->away_count < ROOM_DOUBLE_MAX ? conn->away_count + 1 : ROOM_DOUBLE_MAX;
    conn->away_until_ns = now_ns + MYR_HTTP_RETRY_AFTER_MS * 1000000LL;
    conn->away_class = class_hash;
    if (!req->is_away) conn->away_bytes = (int64_t)req->body_bytes; /* else nothing of it was read */
}

bool myr_req_hold(myr_req *req, uint64_t class_hash, int64_t wait_ms)
{
    const net_conn *conn = req->conn;
    MYR_ASSERT(req->phase == NET_PHASE_BODY && req->status == 0 && myr_net_thread_is_current(req->loop));
    if (conn == NULL || conn->away_class != class_hash || conn->away_until_ns <= req->start_ns) return false;
    const char *length = myr_req_header(req, MHD_HTTP_HEADER_CONTENT_LENGTH);
    uint64_t bytes = 0;
    if (length == NULL || !myr_parse_uint64(myr_str_of(length), &bytes)) return false;
    if (bytes < (uint64_t)conn->away_bytes / 2) return false; /* it may be one that needs no room */
    wait_ms = wait_ms < MYR_HTTP_RETRY_AFTER_MS ? wait_ms << conn->away_count : wait_ms;
    if (wait_ms > MYR_HTTP_RETRY_AFTER_MS) wait_ms = MYR_HTTP_RETRY_AFTER_MS;
    req->flow_class = class_hash;
    req->held_until_ns = req->start_ns + wait_ms * 1000000;
    myr_http_server *server = req->server;
    net_room *room = server->room;
    myr_mutex_lock(&room->lock);
    bool is_open = !room->is_closed, is_first = room->count == 0, is_held = is_open && room->count < NET_ROOM_MAX;
    if (is_held) room_put(room, req);
    myr_mutex_unlock(&room->lock);
    if (is_held && is_first) myr_net_reaper_hurry(server); /* it may sleep for long */
    if (is_open && !is_held) myr_net_room_refuse(req);
    return is_open;
}

void myr_net_room_refuse(myr_req *req)
{
    req->is_away = true;
    myr_req_turn_away(req, req->flow_class);
    myr_net_reply_busy(req, "too many requests wait, and this one came before its second was over: see Retry-After");
}

bool myr_req_was_held(const myr_req *req)
{
    return req->held_until_ns != 0;
}

bool myr_req_is_away(const myr_req *req)
{
    return req->is_away;
}

void myr_req_let_in(const myr_req *req, int64_t count)
{
    myr_http_let_in(req->server, count);
}

void myr_http_let_in(myr_http_server *server, int64_t count)
{
    net_room *room = server->room;
    if (count == 0 || atomic_load(&room->count) == 0) return;
    myr_mutex_lock(&room->lock);
    for (int empty = 0; count > 0 && room->count > 0 && empty < NET_FAIR_CLASSES;) {
        room->turn = (room->turn + 1) % NET_FAIR_CLASSES;
        myr_req *req = room->classes[room->turn].newest;
        empty = req == NULL ? empty + 1 : 0;
        if (req == NULL) continue;
        room_take(room, req);
        count--;
    }
    myr_mutex_unlock(&room->lock);
}

bool myr_net_room_look(net_room *room, int64_t now_ns)
{
    int refused = 0;
    myr_mutex_lock(&room->lock);
    for (size_t i = 0; i < NET_FAIR_CLASSES && refused < ROOM_RELEASE_MAX; i++) {
        myr_req *next;
        for (myr_req *req = room->classes[i].oldest; req != NULL && refused < ROOM_RELEASE_MAX; req = next) {
            next = req->newer;
            if (req->held_until_ns > now_ns) continue;
            req->is_away = true;
            room_take(room, req);
            refused++;
        }
    }
    bool any_left = room->count > 0;
    myr_mutex_unlock(&room->lock);
    return any_left;
}

void myr_net_room_close(net_room *room)
{
    myr_mutex_lock(&room->lock);
    room->is_closed = true;
    for (size_t i = 0; i < NET_FAIR_CLASSES; i++) {
        while (room->classes[i].newest != NULL)
            room_take(room, room->classes[i].newest);
    }
    myr_mutex_unlock(&room->lock);
}
