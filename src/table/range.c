/*
 * A part of a text file, held in memory: the header line and the part's bytes in a file without a name, which DuckDB
 * opens by its descriptor. Nothing is written to a disk, and the reader sees a whole small file.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "table/internal.h"

static myr_rc range_fill(const myr_table_part *part, table_kind kind, table_range *range, myr_err *err)
{
    myr_mapping map = {0};
    MYR_TRY(myr_io_map(part->file, &map, err));
    uint64_t losses = myr_io_map_losses();
    size_t header = kind == TABLE_CSV ? myr_table_header_bytes(map.data, map.size) : 0;
    myr_rc rc = MYR_OK;
    if ((uint64_t)part->end > map.size || part->begin > part->end || part->begin < (int64_t)header) {
        rc = MYR_ERROR(err, BAD_INPUT, "%s has %zu bytes and is not the file any more that was cut", part->file,
                       map.size);
    }
    if (rc == MYR_OK && header > 0) rc = myr_io_write(range->fd, part->file, map.data, header, err);
    if (rc == MYR_OK && header > 0 && map.data[header - 1] != '\n')
        rc = myr_io_write(range->fd, part->file, "\n", 1, err);
    if (rc == MYR_OK)
        rc = myr_io_write(range->fd, part->file, map.data + part->begin, (size_t)(part->end - part->begin), err);
    for (size_t i = 0; i < header; i++)
        range->line_shift -= map.data[i] == '\n'; /* the header's lines come first here too */
    range->line_shift += part->first_line - 1;
    myr_io_unmap(&map);
    if (rc == MYR_OK && myr_io_map_losses() != losses)
        MYR_FAIL(err, IO, "%s was cut short while it was read", part->file);
    return rc;
}

myr_rc myr_table_range_open(const myr_table_part *part, table_kind kind, table_range *out, myr_err *err)
{
    *out = (table_range){.fd = -1, .file = part->file};
    if (part->end < 0 || kind == TABLE_PARQUET) return MYR_OK;
    out->fd = memfd_create("myriad-part", MFD_CLOEXEC);
    if (out->fd < 0) MYR_FAIL(err, NO_MEMORY, "no memory for a part of %s", part->file);
    (void)snprintf(out->path, sizeof out->path, "/proc/self/fd/%d", out->fd);
    myr_rc rc = range_fill(part, kind, out, err);
    if (rc != MYR_OK) table_range_drop(out);
    return rc;
}
