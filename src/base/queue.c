/* A bounded queue: a ring under one lock. A full ring refuses at once, so that whoever asks can say "busy" to the
 * outside. */
#include "base/queue.h"

#include "base/mem.h"
#include "base/thread.h"

struct myr_queue {
    myr_mutex lock; /* guards all below */
    myr_cond changed;
    size_t items_max;
    size_t first; /* the oldest item */
    size_t count;
    bool is_closed;
    void **items;
};

myr_queue *myr_queue_new(size_t items_max)
{
    MYR_ASSERT(items_max > 0);
    myr_queue *queue = myr_calloc(1, sizeof *queue);
    if (queue == NULL) return NULL;
    queue->items = myr_calloc(items_max, sizeof *queue->items);
    if (queue->items == NULL) {
        myr_free(queue);
        return NULL;
    }
    queue->items_max = items_max;
    myr_mutex_init(&queue->lock);
    myr_cond_init(&queue->changed);
    return queue;
}

void myr_queue_free(myr_queue *queue)
{
    if (queue == NULL) return;
    myr_cond_fini(&queue->changed);
    myr_mutex_fini(&queue->lock);
    myr_free(queue->items);
    myr_free(queue);
}

/* Under the lock. */
static myr_rc queue_put(myr_queue *queue, void *item, myr_err *err)
{
    if (queue->is_closed) MYR_FAIL(err, CANCELLED, "the queue is closed");
    MYR_ASSERT(queue->count <= queue->items_max);
    if (queue->count == queue->items_max) MYR_FAIL(err, BUSY, "the queue is full: %zu items wait", queue->count);
    queue->items[(queue->first + queue->count) % queue->items_max] = item;
    queue->count++;
    return MYR_OK;
}

myr_rc myr_queue_push(myr_queue *queue, void *item, myr_err *err)
{
    myr_mutex_lock(&queue->lock);
    myr_rc rc = queue_put(queue, item, err);
    if (rc == MYR_OK) myr_cond_signal(&queue->changed);
    myr_mutex_unlock(&queue->lock);
    return rc;
}

bool myr_queue_pop(myr_queue *queue, void **out_item)
{
    myr_mutex_lock(&queue->lock);
    while (queue->count == 0 && !queue->is_closed)
        myr_cond_wait(&queue->changed, &queue->lock);
    bool has_item = queue->count > 0;
    if (has_item) {
        *out_item = queue->items[queue->first];
        queue->first = (queue->first + 1) % queue->items_max;
        queue->count--;
    }
    myr_mutex_unlock(&queue->lock);
    return has_item;
}

void myr_queue_close(myr_queue *queue)
{
    myr_mutex_lock(&queue->lock);
    queue->is_closed = true;
    myr_cond_broadcast(&queue->changed);
    myr_mutex_unlock(&queue->lock);
}

size_t myr_queue_count(myr_queue *queue)
{
    myr_mutex_lock(&queue->lock);
    size_t count = queue->count;
    myr_mutex_unlock(&queue->lock);
    return count;
}
