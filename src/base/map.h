/*
 * A hash map from byte strings to 64-bit values. Keys are copied. Thread: one writer, or any number of readers.
 * Errors: put gives NO_MEMORY and leaves the map as it was.
 */
#ifndef MYR_BASE_MAP_H
#define MYR_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

typedef struct myr_map myr_map;

myr_map *myr_map_new(void);
void myr_map_free(myr_map *map); /* NULL accepted */
typedef myr_map *myr_map_ptr;
static inline void myr_map_ptr_drop(myr_map_ptr *map)
{
    myr_map_free(*map);
}
myr_rc myr_map_put(myr_map *map, myr_str key, uint64_t value, myr_err *err); /* replaces */
bool myr_map_find(const myr_map *map, myr_str key, uint64_t *out_value);     /* out_value may be NULL */
size_t myr_map_count(const myr_map *map);
/* Walk: start with *cursor = 0; false at the end. Order is that of insertion. */
bool myr_map_next(const myr_map *map, size_t *cursor, myr_str *out_key, uint64_t *out_value);

#endif
