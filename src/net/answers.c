/*
 * Answers used again. What libmicrohttpd keeps of an answer (an object, a block per header, each header checked and
 * copied) costs more than most bodies, and most answers of a server differ in their bytes alone. So each loop keeps
 * what it has sent, by headers and length, and copies the next such body into it.
 *
 * Owner: the loop; an answer belongs to its request until that is completed. Limits: bodies of ANSWER_BYTES_MAX,
 * ANSWERS_MAX kept by a loop, about 350 KiB.
 */
#include "net/internal.h"

#include <string.h>

#define ANSWER_BYTES_MAX      1024 /* a larger body costs more to copy than it saves */
#define ANSWER_HEAD_BYTES_MAX 160  /* names and values of headers, each with its NUL */
#define ANSWER_VALUE_BYTES    8    /* of a header that a handler added: a longer one (an id) hardly comes again */
#define ANSWERS_MAX           256

struct net_answer {
    net_answer *next;
    struct MHD_Response *response; /* our reference; its body is … */
    char body[ANSWER_BYTES_MAX];   /* … here */
    size_t body_bytes, head_bytes;
    char head[ANSWER_HEAD_BYTES_MAX];
};

typedef struct answer_head {
    size_t bytes;
    bool is_long;
    char text[ANSWER_HEAD_BYTES_MAX];
} answer_head;

static void head_put(answer_head *head, const char *text)
{
    size_t bytes = strlen(text) + 1;
    head->is_long = head->is_long || bytes > sizeof head->text - head->bytes;
    if (head->is_long) return;
    memcpy(head->text + head->bytes, text, bytes);
    head->bytes += bytes;
}

static net_answer *answer_new(const myr_req *req, const answer_head *head)
{
    net_answer *answer = myr_alloc(sizeof *answer);
    if (answer == NULL) return NULL;
    answer->body_bytes = req->reply_bytes;
    answer->head_bytes = head->bytes;
    memcpy(answer->head, head->text, head->bytes);
    answer->response = myr_net_response_new(req, answer->body);
    if (answer->response != NULL) return answer;
    myr_free(answer);
    return NULL;
}

static void answer_free(net_answer *answer)
{
    MHD_destroy_response(answer->response);
    myr_free(answer);
}

struct MHD_Response *myr_net_answer_response(const net_answer *answer)
{
    return answer->response;
}

net_answer *myr_net_answer_take(myr_req *req)
{
    answer_head head;
    head.bytes = 0;
    head.is_long = req->reply_bytes > ANSWER_BYTES_MAX;
    head_put(&head, req->content_type != NULL ? req->content_type : "");
    for (uint32_t i = 0; i < req->header_count && !head.is_long; i++) {
        head.is_long = strnlen(req->headers[i].value, ANSWER_VALUE_BYTES + 1) > ANSWER_VALUE_BYTES;
        head_put(&head, req->headers[i].name);
        head_put(&head, req->headers[i].value);
    }
    if (head.is_long) return NULL;
    net_answer **link = &req->loop->answers[req->reply_bytes % NET_ANSWER_SLOTS], *answer = *link;
    while (answer != NULL && (answer->body_bytes != req->reply_bytes || answer->head_bytes != head.bytes ||
                              memcmp(answer->head, head.text, head.bytes) != 0)) {
        link = &answer->next;
        answer = *link;
    }
    if (answer != NULL) {
        *link = answer->next;
        req->loop->answer_count--;
    } else {
        answer = answer_new(req, &head);
    }
    if (answer != NULL && req->reply_bytes > 0) memcpy(answer->body, req->reply, req->reply_bytes);
    return answer;
}

/* Once as many are kept as may be, one of the same slot makes room: what is asked for now is what stays. */
void myr_net_answer_put(net_thread *loop, net_answer *answer)
{
    net_answer **link = &loop->answers[answer->body_bytes % NET_ANSWER_SLOTS];
    if (loop->answer_count == ANSWERS_MAX) {
        net_answer *other = *link;
        if (other != NULL) *link = other->next;
        answer_free(other != NULL ? other : answer);
        if (other == NULL) return;
        loop->answer_count--;
    }
    answer->next = *link;
    *link = answer;
    loop->answer_count++;
}

void myr_net_answers_fini(net_thread *loop)
{
    for (size_t i = 0; i < NET_ANSWER_SLOTS; i++) {
        while (loop->answers[i] != NULL) {
            net_answer *answer = loop->answers[i];
            loop->answers[i] = answer->next;
            answer_free(answer);
        }
    }
}
