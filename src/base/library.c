/* Shared libraries and their functions, found by name at run time. */
#include "base/library.h"

#include <dlfcn.h>
#include <string.h>

void *myr_library_open(const char *const *names)
{
    for (; *names != NULL; names++) {
        void *library = (*names)[0] != '\0' ? dlopen(*names, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) : NULL;
        if (library != NULL) return library;
    }
    return NULL;
}

/* ISO C has no way from an object pointer to a function's; POSIX says that the bytes are the same. */
bool myr_library_symbol(void *library, const char *name, void *out_function)
{
    void *symbol = dlsym(library, name);
    memcpy(out_function, &symbol, sizeof symbol);
    return symbol != NULL;
}
