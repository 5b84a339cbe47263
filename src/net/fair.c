/*
 * Who runs next of those that wait for a compute thread: in turn by class (a fleet), and within a class in turn by flow
 * (a client), so that one that floods waits behind itself. Classes and flows are hashed into fixed slots: stochastic
 * fairness queueing (McKenney, 1990), twice. What waits in a slot is bounded, so the flood doesn't fill the queue
 * either.
 *
 * The pool's jobs are tickets: a job takes the next request, whoever submitted it.
 */
#include "net/internal.h"

struct net_fair {
    myr_mutex lock;
    int64_t class_max, flow_max;
    struct net_class {
        int64_t waiting;
        uint32_t turn; /* the flow that was served last */
        struct {
            myr_req *first, *last;
            int64_t waiting;
        } flows[NET_FAIR_FLOWS];
    } classes[NET_FAIR_CLASSES];
    uint32_t turn; /* the class that was served last */
};

myr_rc myr_net_fair_new(int64_t queue_max, net_fair **out, myr_err *err)
{
    net_fair *fair = myr_calloc(1, sizeof *fair);
    if (fair == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the queue of requests");
    myr_mutex_init(&fair->lock);
    fair->class_max = queue_max / 2 > 0 ? queue_max / 2 : 1;
    fair->flow_max = queue_max / 4 > 0 ? queue_max / 4 : 1;
    *out = fair;
    return MYR_OK;
}

void myr_net_fair_free(net_fair *fair)
{
    if (fair == NULL) return;
    myr_mutex_fini(&fair->lock);
    myr_free(fair);
}

bool myr_net_fair_put(net_fair *fair, myr_req *req)
{
    struct net_class *class = &fair->classes[req->flow_class % NET_FAIR_CLASSES];
    size_t flow = req->flow % NET_FAIR_FLOWS;
    bool is_bounded = req->flow_class != 0; /* nobody said whose it is: only the whole queue bounds it */
    myr_mutex_lock(&fair->lock);
    bool fits = !is_bounded || (class->waiting < fair->class_max && class->flows[flow].waiting < fair->flow_max);
    if (fits) {
        req->next_waiting = NULL;
        if (class->flows[flow].last != NULL) {
            class->flows[flow].last->next_waiting = req;
        } else {
            class->flows[flow].first = req;
        }
        class->flows[flow].last = req;
        class->flows[flow].waiting++;
        class->waiting++;
    }
    myr_mutex_unlock(&fair->lock);
    return fits;
}

/* The next of a class that has some. */
static myr_req *fair_take_of(struct net_class *class)
{
    MYR_ASSERT(class->waiting > 0);
    do {
        class->turn = (class->turn + 1) % NET_FAIR_FLOWS;
    } while (class->flows[class->turn].waiting == 0);
    myr_req *req = class->flows[class->turn].first;
    class->flows[class->turn].first = req->next_waiting;
    if (req->next_waiting == NULL) class->flows[class->turn].last = NULL;
    class->flows[class->turn].waiting--;
    class->waiting--;
    return req;
}

myr_req *myr_net_fair_take(net_fair *fair)
{
    myr_req *req = NULL;
    myr_mutex_lock(&fair->lock);
    for (int i = 0; i < NET_FAIR_CLASSES && req == NULL; i++) {
        fair->turn = (fair->turn + 1) % NET_FAIR_CLASSES;
        if (fair->classes[fair->turn].waiting > 0) req = fair_take_of(&fair->classes[fair->turn]);
    }
    myr_mutex_unlock(&fair->lock);
    MYR_ASSERT(req != NULL); /* as many tickets as requests */
    return req;
}
