/*
 * A file in the making: written once from front to back under a temporary name, which is removed unless the file was
 * finished and renamed. Models go through a buffer, so that many small ones are few calls.
 */
#include "pack/pack_inside.h"

#include <fcntl.h>

#define PACK_FILE_MODE 0644

myr_rc myr_pack_out_open(pack_out *out, const char *dir, const char *name, const char *suffix, myr_err *err)
{
    MYR_ASSERT(!out->is_open && out->buffer == NULL);
    char file[MYR_NAME_BYTES_MAX + sizeof PACK_INDEX_SUFFIX PACK_TMP_SUFFIX];
    size_t name_bytes = strlen(name);
    size_t suffix_bytes = strlen(suffix);
    MYR_ASSERT(name_bytes + suffix_bytes + sizeof PACK_TMP_SUFFIX <= sizeof file);
    memcpy(file, name, name_bytes);
    memcpy(file + name_bytes, suffix, suffix_bytes);
    memcpy(file + name_bytes + suffix_bytes, PACK_TMP_SUFFIX, sizeof PACK_TMP_SUFFIX);
    char path[MYR_PATH_BYTES_MAX];
    MYR_TRY(myr_path_join(path, sizeof path, dir, file, err));
    unsigned char *buffer = myr_alloc(PACK_OUT_BUFFER_BYTES);
    if (buffer == NULL) {
        MYR_FAIL(err, NO_MEMORY, "%s: no memory to write it", path);
    }
    myr_fd fd = -1;
    myr_rc rc = myr_io_open(path, O_WRONLY | O_CREAT | O_TRUNC, PACK_FILE_MODE, &fd, err);
    if (rc != MYR_OK) {
        myr_free(buffer);
        return rc;
    }
    *out = (pack_out){.fd = fd, .is_open = true, .buffer = buffer};
    memcpy(out->path, path, sizeof path);
    return MYR_OK;
}

static myr_rc pack_out_flush(pack_out *out, myr_err *err)
{
    size_t used = out->used;
    out->used = 0; /* also when it fails: nothing is written twice */
    return used == 0 ? MYR_OK : myr_io_write(out->fd, out->path, out->buffer, used, err);
}

myr_rc myr_pack_out_put(pack_out *out, const void *data, size_t size_bytes, myr_err *err)
{
    MYR_ASSERT(out->is_open && out->used <= PACK_OUT_BUFFER_BYTES);
    if (size_bytes > PACK_OUT_BUFFER_BYTES - out->used) {
        MYR_TRY(pack_out_flush(out, err));
    }
    if (size_bytes > PACK_OUT_BUFFER_BYTES) {
        MYR_TRY(myr_io_write(out->fd, out->path, data, size_bytes, err));
    } else {
        memcpy(out->buffer + out->used, data, size_bytes);
        out->used += size_bytes;
    }
    out->file_bytes += size_bytes;
    return MYR_OK;
}

myr_rc myr_pack_out_finish(pack_out *out, myr_err *err)
{
    MYR_ASSERT(out->is_open);
    MYR_TRY(pack_out_flush(out, err));
    MYR_TRY(myr_io_sync(out->fd, out->path, err));
    MYR_TRY(myr_io_close(&out->fd, out->path, err));
    out->is_open = false;
    myr_free(out->buffer);
    out->buffer = NULL;
    return MYR_OK;
}

void myr_pack_out_drop(pack_out *out)
{
    if (out->is_open) {
        myr_fd_drop(&out->fd);
        out->is_open = false;
    }
    myr_free(out->buffer);
    out->buffer = NULL;
    if (out->path[0] != '\0') {
        MYR_IGNORE(myr_io_unlink(out->path, NULL)); /* a temporary file that stays is overwritten by the next writer */
        out->path[0] = '\0';
    }
}
