/*
 * ONNX Runtime's library: found and opened at run time, asked for the newest interface that both sides know. A program
 * without it does everything else; whoever needs it is told what was looked for and what to type.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "base/library.h"
#include "runtime/internal.h"

typedef const OrtApiBase *(*library_entry)(void);

/* The reason without the name of the file, which stands in the message anyway. */
static const char *library_why(void)
{
    const char *why = dlerror();
    if (why == NULL) return "not found";
    const char *colon = strstr(why, ": ");
    return colon != NULL ? colon + 2 : why;
}

static myr_rc library_dlopen(const char *asked, void **out, myr_err *err)
{
    const char *const names[] = {MYR_DEFAULT_ONNXRUNTIME_LIB, "libonnxruntime.so.1", "libonnxruntime.so", NULL};
    if (asked[0] != '\0') { /* who names one wants no other */
        const char *const wanted[] = {asked, NULL};
        *out = myr_library_open(wanted);
        if (*out != NULL) return MYR_OK;
        MYR_FAIL(err, UNAVAILABLE,
                 "ONNX Runtime: %.90s cannot be opened (%.60s): set runtime.onnx.library to libonnxruntime.so", asked,
                 library_why());
    }
    *out = myr_library_open(names);
    if (*out != NULL) return MYR_OK;
    const char *built = MYR_DEFAULT_ONNXRUNTIME_LIB;
    MYR_FAIL(err, UNAVAILABLE,
             "ONNX Runtime is not here: looked for %.70s%slibonnxruntime.so.1 in the system's library directories: run "
             "scripts/setup, or set runtime.onnx.library",
             built, built[0] != '\0' ? " and " : "");
}

/* "1.32.0" -> 32: from 1.0 on, the minor version is the newest interface. */
static uint32_t library_newest_api(const char *version)
{
    myr_str rest = myr_str_of(version), major, minor;
    uint64_t number = 0;
    if (!myr_str_split(&rest, '.', &major) || !myr_str_is(major, "1")) return 0;
    if (!myr_str_split(&rest, '.', &minor) || !myr_parse_uint64(minor, &number)) return 0;
    return number > UINT32_MAX ? UINT32_MAX : (uint32_t)number;
}

/* Asking for an interface that is not there makes the library write to standard error, so the version is asked first.
 */
static myr_rc library_negotiate(const OrtApiBase *base, runtime_library *library, myr_err *err)
{
    const char *version = base->GetVersionString();
    snprintf(library->version, sizeof library->version, "%s", version != NULL ? version : "");
    uint32_t newest = library_newest_api(library->version);
    uint32_t wanted = newest < RUNTIME_API_MAX ? newest : RUNTIME_API_MAX;
    while (wanted >= RUNTIME_API_MIN && library->api == NULL) {
        library->api = base->GetApi(wanted);
        library->api_version = wanted--;
    }
    if (library->api != NULL) return MYR_OK;
    MYR_FAIL(err, UNAVAILABLE,
             "ONNX Runtime %.20s in %.90s has interface %u, 1.%d or later is needed (it lacks "
             "AddExternalInitializersFromFilesInMemory): set runtime.onnx.library",
             library->version, library->path, newest, RUNTIME_API_MIN);
}

myr_rc myr_runtime_library_open(const char *asked, runtime_library *out, myr_err *err)
{
    void *handle = NULL;
    runtime_library library = {0};
    MYR_TRY(library_dlopen(asked, &handle, err));
    void *found = dlsym(handle, "OrtGetApiBase");
    if (found == NULL) {
        MYR_FAIL(err, UNAVAILABLE, "%.120s is not ONNX Runtime (no OrtGetApiBase): set runtime.onnx.library",
                 asked[0] != '\0' ? asked : "libonnxruntime.so");
    }
    Dl_info info;
    if (dladdr(found, &info) != 0 && info.dli_fname != NULL)
        snprintf(library.path, sizeof library.path, "%s", info.dli_fname);
    library_entry entry;
    memcpy(&entry, &found, sizeof entry);
    const OrtApiBase *base = entry();
    if (base == NULL) MYR_FAIL(err, UNAVAILABLE, "%.120s gives no interface", library.path);
    MYR_TRY(library_negotiate(base, &library, err));
    *out = library;
    return MYR_OK;
}

/* ONNX Runtime puts source files and functions before its sentences: the first line, from behind the last of those. */
static myr_str library_sentence(const char *text)
{
    size_t size = strcspn(text, "\n");
    size_t from = 0;
    for (size_t i = 0; i + 1 < size; i++) {
        bool is_place = text[i] == ')' && text[i + 1] == ' ' && i > 0 && size - i > 12;
        if (is_place && memmem(text, i, "onnxruntime", 11) != NULL && memmem(text, i, "::", 2) != NULL) from = i + 2;
    }
    return myr_str_make(text + from, size - from);
}

myr_rc myr_runtime_check(const OrtApi *api, OrtStatus *status, myr_rc rc, const char *what, myr_err *err)
{
    if (status == NULL) return MYR_OK;
    const char *said = api->GetErrorMessage(status);
    if (myr_runtime_env_refused() || strstr(said, "bad_alloc") != NULL) {
        api->ReleaseStatus(status);
        MYR_FAIL(err, NO_MEMORY,
                 "%.60s: ONNX Runtime needs more memory than runtime.onnx.bytes-max allows, or than there is", what);
    }
    myr_str text = library_sentence(said);
    if (text.size > 150) text.size = 150;
    (void)myr_err_set(err, rc, __FILE__, __LINE__, "%.60s: ONNX Runtime: " MYR_STR_FMT, what, MYR_STR_ARG(text));
    api->ReleaseStatus(status);
    return rc;
}
