/* Working memory of one thread: blocks that grow and are kept from one segment to the next. */
#include "train/internal.h"

void *myr_train_room_take(myr_train_room *room, size_t count, size_t item_bytes)
{
    MYR_ASSERT(item_bytes > 0);
    if (count == 0) count = 1;
    if (room->data != NULL && count <= room->bytes / item_bytes) return room->data;
    void *data = myr_realloc_array(NULL, count, item_bytes);
    if (data == NULL) return NULL;
    myr_free(room->data);
    room->data = data;
    room->bytes = count * item_bytes;
    return data;
}

void myr_train_scratch_fini(myr_train_scratch *scratch)
{
    myr_train_room *const rooms[] = {&scratch->rows,     &scratch->judged,    &scratch->x,      &scratch->y,
                                     &scratch->judged_x, &scratch->predicted, &scratch->sorted, &scratch->work};
    for (size_t i = 0; i < MYR_COUNT_OF(rooms); i++) {
        myr_free(rooms[i]->data);
        *rooms[i] = (myr_train_room){0};
    }
}
