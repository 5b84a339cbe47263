/*
 * Libraries that are opened when somebody needs them, so that nobody else waits for them at the start of a process, and
 * a program without them does everything else. Thread: any.
 */
#ifndef MYR_BASE_LIBRARY_H
#define MYR_BASE_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>

/* The first of the names (the last is NULL, "" is skipped) that opens; NULL: none, dlerror() says why. It stays loaded:
 * libraries keep threads, or state of their process. */
void *myr_library_open(const char *const *names);
/* *out_function, a pointer to a function, becomes the library's of that name; false: it has none. */
bool myr_library_symbol(void *library, const char *name, void *out_function);

#endif
