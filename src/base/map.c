/*
 * A hash map: entries stand in an array in the order of insertion, a table of entry numbers finds them by linear
 * probing. Nothing is ever removed, so a probe ends at the first empty place. The hash is seeded once per process from
 * the kernel's randomness: keys come from outside and must not be able to choose their places.
 */
#include "base/map.h"

#include <stdatomic.h>
#include <string.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"

#define MAP_PLACES_MIN 16 /* a power of two */

typedef struct map_entry {
    const char *key; /* in keys, NUL-terminated */
    size_t key_bytes;
    uint64_t hash;
    uint64_t value;
} map_entry;

struct myr_map {
    myr_arena *keys;
    map_entry *entries;
    size_t count;
    size_t entry_room;
    size_t *places;     /* entry index + 1; 0 = empty */
    size_t place_count; /* a power of two, more than count; 0 before the first put */
};

static uint64_t map_seed(void)
{
    static _Atomic uint64_t seed; /* 0 = not chosen yet; two threads may choose, one wins */
    uint64_t value = atomic_load_explicit(&seed, memory_order_relaxed);
    if (value != 0) return value;
    uint64_t fresh = 0;
    MYR_IGNORE(
        myr_random(&fresh, sizeof fresh, NULL)); /* without randomness the map works, only its places can be guessed */
    fresh |= 1;
    if (atomic_compare_exchange_strong_explicit(&seed, &value, fresh, memory_order_relaxed, memory_order_relaxed)) {
        return fresh;
    }
    return value;
}

myr_map *myr_map_new(void)
{
    myr_map *map = myr_calloc(1, sizeof *map);
    if (map == NULL) return NULL;
    map->keys = myr_arena_new(0);
    if (map->keys == NULL) {
        myr_free(map);
        return NULL;
    }
    return map;
}

void myr_map_free(myr_map *map)
{
    if (map == NULL) return;
    myr_arena_free(map->keys);
    myr_free(map->entries);
    myr_free(map->places);
    myr_free(map);
}

/* The place of the key, or the empty place where it belongs. The table is never full. */
static size_t map_probe(const myr_map *map, myr_str key, uint64_t hash)
{
    MYR_ASSERT(map->count < map->place_count);
    size_t mask = map->place_count - 1;
    size_t place = (size_t)hash & mask;
    for (;; place = (place + 1) & mask) {
        size_t number = map->places[place];
        if (number == 0) return place;
        const map_entry *entry = &map->entries[number - 1];
        if (entry->hash == hash && myr_str_equal(key, myr_str_make(entry->key, entry->key_bytes))) return place;
    }
}

/* Twice the places; the entries stay where they are. */
static bool map_grow_places(myr_map *map)
{
    size_t place_count = map->place_count > 0 ? map->place_count * 2 : MAP_PLACES_MIN;
    size_t *places = myr_calloc(place_count, sizeof *places);
    if (places == NULL) return false;
    for (size_t i = 0; i < map->count; i++) {
        size_t place = (size_t)map->entries[i].hash & (place_count - 1);
        while (places[place] != 0)
            place = (place + 1) & (place_count - 1);
        places[place] = i + 1;
    }
    myr_free(map->places);
    map->places = places;
    map->place_count = place_count;
    return true;
}

/* Room for one more entry, at most two thirds of the places taken. */
static bool map_reserve(myr_map *map)
{
    if (map->count == map->entry_room) {
        size_t room = map->entry_room > 0 ? map->entry_room * 2 : MAP_PLACES_MIN / 2;
        map_entry *entries = myr_realloc_array(map->entries, room, sizeof *entries);
        if (entries == NULL) return false;
        map->entries = entries;
        map->entry_room = room;
    }
    if ((map->count + 1) > map->place_count / 3 * 2) return map_grow_places(map);
    return true;
}

myr_rc myr_map_put(myr_map *map, myr_str key, uint64_t value, myr_err *err)
{
    uint64_t hash = myr_hash64(key.data, key.size, map_seed());
    if (map->count > 0) {
        size_t number = map->places[map_probe(map, key, hash)];
        if (number != 0) {
            map->entries[number - 1].value = value;
            return MYR_OK;
        }
    }
    char *copy = map_reserve(map) ? myr_arena_strndup(map->keys, key.data, key.size) : NULL;
    if (copy == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory in a map of %zu entries", map->count);
    size_t place = map_probe(map, key, hash);
    MYR_ASSERT(map->places[place] == 0 && map->count < map->entry_room);
    map->entries[map->count] = (map_entry){.key = copy, .key_bytes = key.size, .hash = hash, .value = value};
    map->count++;
    map->places[place] = map->count;
    return MYR_OK;
}

bool myr_map_find(const myr_map *map, myr_str key, uint64_t *out_value)
{
    if (map->count == 0) return false;
    size_t number = map->places[map_probe(map, key, myr_hash64(key.data, key.size, map_seed()))];
    if (number == 0) return false;
    MYR_ASSERT(number <= map->count);
    if (out_value != NULL) *out_value = map->entries[number - 1].value;
    return true;
}

size_t myr_map_count(const myr_map *map)
{
    return map->count;
}

bool myr_map_next(const myr_map *map, size_t *cursor, myr_str *out_key, uint64_t *out_value)
{
    if (*cursor >= map->count) return false;
    const map_entry *entry = &map->entries[(*cursor)++];
    if (out_key != NULL) *out_key = myr_str_make(entry->key, entry->key_bytes);
    if (out_value != NULL) *out_value = entry->value;
    return true;
}
