/*
 * The two structs of the Arrow C Data Interface, declared as its specification lays them out, with its guard: a program
 * that has them from elsewhere keeps its own.
 */
#ifndef MYRIAD_ARROW_H
#define MYRIAD_ARROW_H

#include <stdint.h>

#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE

#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE           2
#define ARROW_FLAG_MAP_KEYS_SORTED    4

#ifdef __cplusplus
extern "C" {
#endif

struct ArrowSchema {
    const char *format; /* "g" double, "l" int64, "u" text, "+s" struct, … */
    const char *name;
    const char *metadata;
    int64_t flags;
    int64_t n_children;
    struct ArrowSchema **children;
    struct ArrowSchema *dictionary;
    void (*release)(struct ArrowSchema *);
    void *private_data;
};

struct ArrowArray {
    int64_t length;
    int64_t null_count; /* -1: not counted */
    int64_t offset;
    int64_t n_buffers;
    int64_t n_children;
    const void **buffers; /* [0] is the bitmap of valid cells, or NULL */
    struct ArrowArray **children;
    struct ArrowArray *dictionary;
    void (*release)(struct ArrowArray *); /* NULL: released, or moved elsewhere */
    void *private_data;
};

#ifdef __cplusplus
}
#endif

#endif /* ARROW_C_DATA_INTERFACE */
#endif
