/*
 * A part of a text file, held in memory: the header line and the part's bytes in a file without a name, which DuckDB
 * opens by its descriptor. Nothing is written to a disk, and the reader sees a whole small file. One after the other
 * they are the same file of the engine's: to take its memory and give it back again costs as much as to fill it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "table/internal.h"

#define RANGE_KEPT_BYTES (64LL << 20) /* of a part that is over: more goes back at once */

static myr_rc range_write(const myr_table_part *part, const myr_mapping *map, size_t header, myr_fd fd, myr_err *err)
{
    bool has_line = header == 0 || map->data[header - 1] == '\n';
    int64_t bytes = (int64_t)header + !has_line + part->end - part->begin;
    if (lseek(fd, 0, SEEK_SET) != 0) MYR_FAIL(err, INTERNAL, "a file in memory has no beginning");
    MYR_TRY(myr_io_write(fd, part->file, map->data, header, err));
    if (!has_line) MYR_TRY(myr_io_write(fd, part->file, "\n", 1, err));
    MYR_TRY(myr_io_write(fd, part->file, map->data + part->begin, (size_t)(part->end - part->begin), err));
    if (ftruncate(fd, bytes) != 0) MYR_FAIL(err, NO_MEMORY, "no memory for a part of %s", part->file);
    return MYR_OK;
}

static myr_rc range_fill(const myr_table_part *part, table_kind kind, table_range *range, myr_err *err)
{
    myr_mapping map = {0};
    MYR_TRY(myr_io_map(part->file, &map, err));
    uint64_t losses = myr_io_map_losses();
    size_t header = kind == TABLE_CSV ? myr_table_header_bytes(map.data, map.size) : 0;
    bool fits = (uint64_t)part->end <= map.size && part->begin <= part->end && part->begin >= (int64_t)header;
    myr_rc rc = fits ? range_write(part, &map, header, range->fd, err)
                     : MYR_ERROR(err, BAD_INPUT, "%s has %zu bytes and is not the file any more that was cut",
                                 part->file, map.size);
    for (size_t i = 0; i < header; i++)
        range->line_shift -= map.data[i] == '\n'; /* the header's lines come first here too */
    range->line_shift += part->first_line - 1;
    myr_io_unmap(&map);
    if (rc == MYR_OK && myr_io_map_losses() != losses)
        MYR_FAIL(err, IO, "%s was cut short while it was read", part->file);
    return rc;
}

myr_rc myr_table_range_open(myr_table_engine *engine, const myr_table_part *part, table_kind kind, table_range *out,
                            myr_err *err)
{
    *out = (table_range){.fd = -1, .file = part->file};
    if (part->end < 0 || kind == TABLE_PARQUET) return MYR_OK;
    MYR_ASSERT(engine->range == NULL);
    if (engine->held_fd < 0) engine->held_fd = memfd_create("myriad-part", MFD_CLOEXEC);
    if (engine->held_fd < 0) MYR_FAIL(err, NO_MEMORY, "no memory for a part of %s", part->file);
    (void)snprintf(out->path, sizeof out->path, "/proc/self/fd/%d", engine->held_fd);
    out->fd = engine->held_fd;
    myr_rc rc = range_fill(part, kind, out, err);
    if (rc != MYR_OK) table_range_drop(out);
    return rc;
}

void myr_table_range_drop(table_range *range)
{
    struct stat found;
    if (range->fd < 0) return;
    if (fstat(range->fd, &found) == 0 && found.st_size > RANGE_KEPT_BYTES)
        MYR_IGNORE(ftruncate(range->fd, 0)); /* it is filled anew before it is read */
    range->fd = -1;
}
