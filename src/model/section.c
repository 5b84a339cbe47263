/*
 * Sections behind a model: written one after the other, checked in the same order, found by walking their heads.
 */
#include "model/names.h"
#include "model/explain.h"

#include <string.h>

typedef struct section_row {
    const char *name;
    uint32_t magic, version;
    uint8_t flag;
    myr_rc (*build)(const section_source *source, unsigned char **out, size_t *out_size, myr_err *err);
    myr_rc (*check)(const model_header *h, const unsigned char *bytes, uint64_t size_bytes, myr_err *err);
} section_row;

static const section_row section_rows[SECTION_COUNT] = {
    [SECTION_NAMES] = {"names", SECTION_NAMES_MAGIC, SECTION_NAMES_VERSION, MODEL_NAMES, myr_names_build,
                       myr_names_check},
    [SECTION_EXPLAIN] = {"explain", SECTION_EXPLAIN_MAGIC, SECTION_EXPLAIN_VERSION, MODEL_EXPLAIN, myr_explain_build,
                         myr_explain_check},
};

/* ---- writing ---- */

typedef struct section_parts {
    unsigned char *bytes[SECTION_COUNT]; /* owned */
    size_t sizes[SECTION_COUNT];
} section_parts;

static void section_parts_fini(section_parts *parts)
{
    for (int k = 0; k < SECTION_COUNT; k++) {
        myr_free(parts->bytes[k]);
    }
}

/* The model and its parts in one run of bytes. */
static myr_rc section_join(const section_parts *parts, unsigned char **bytes, size_t *size_bytes, myr_err *err)
{
    model_header h;
    size_t at = *size_bytes;
    size_t total = at;
    memcpy(&h, *bytes, sizeof h);
    MYR_ASSERT(h.size_bytes == at && (h.flags & MODEL_SECTIONS) == 0);
    for (int k = 0; k < SECTION_COUNT; k++) {
        MYR_ASSERT(parts->sizes[k] % MYR_MODEL_ALIGN == 0);
        total += parts->sizes[k];
    }
    if (total == at) return MYR_OK;
    unsigned char *joined = myr_alloc_aligned(MYR_MODEL_ALIGN, total);
    if (joined == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a model of %zu bytes", total);
    memcpy(joined, *bytes, at);
    for (int k = 0; k < SECTION_COUNT; k++) {
        if (parts->bytes[k] == NULL) continue;
        h.flags |= section_rows[k].flag;
        memcpy(joined + at, parts->bytes[k], parts->sizes[k]);
        at += parts->sizes[k];
    }
    MYR_ASSERT(at == total);
    memcpy(joined, &h, sizeof h);
    myr_free(*bytes);
    *bytes = joined;
    *size_bytes = total;
    return MYR_OK;
}

myr_rc myr_sections_append(const section_source *source, unsigned char **bytes, size_t *size_bytes, myr_err *err)
{
    section_parts parts = {0};
    myr_rc rc = MYR_OK;
    for (int k = 0; k < SECTION_COUNT && rc == MYR_OK; k++) {
        if (section_rows[k].build != NULL) rc = section_rows[k].build(source, &parts.bytes[k], &parts.sizes[k], err);
    }
    if (rc == MYR_OK) rc = section_join(&parts, bytes, size_bytes, err);
    section_parts_fini(&parts);
    return rc;
}

/* ---- checking ---- */

static myr_rc section_check_one(const section_row *row, const model_header *h, const unsigned char *bytes, size_t room,
                                uint64_t *out_size, myr_err *err)
{
    section_head head;
    if (room < MYR_MODEL_ALIGN) MYR_FAIL(err, BAD_FORMAT, "model: its section '%s' is cut off", row->name);
    memcpy(&head, bytes, sizeof head);
    if (head.magic != row->magic) {
        MYR_FAIL(err, BAD_FORMAT, "model: section '%s' has magic 0x%08x, not 0x%08x", row->name, head.magic,
                 row->magic);
    }
    if (head.version > row->version || row->check == NULL) {
        MYR_FAIL(err, UNSUPPORTED, "model: section '%s' of version %u, this program reads %u: use a newer one",
                 row->name, head.version, row->check == NULL ? 0 : row->version);
    }
    if (head.version == 0) MYR_FAIL(err, BAD_FORMAT, "model: section '%s' has version 0", row->name);
    if (head.size_bytes < MYR_MODEL_ALIGN || head.size_bytes % MYR_MODEL_ALIGN != 0 || head.size_bytes > room) {
        MYR_FAIL(err, BAD_FORMAT, "model: section '%s' claims %llu bytes of %zu", row->name,
                 (unsigned long long)head.size_bytes, room);
    }
    MYR_TRY(row->check(h, bytes, head.size_bytes, err));
    *out_size = head.size_bytes;
    return MYR_OK;
}

myr_rc myr_sections_check(const model_header *h, const unsigned char *bytes, size_t size_bytes, myr_err *err)
{
    MYR_ASSERT(h->size_bytes <= size_bytes);
    size_t at = (size_t)h->size_bytes;
    for (int k = 0; k < SECTION_COUNT; k++) {
        uint64_t section_bytes = 0;
        if ((h->flags & section_rows[k].flag) == 0) continue;
        MYR_TRY(section_check_one(&section_rows[k], h, bytes + at, size_bytes - at, &section_bytes, err));
        at += (size_t)section_bytes;
    }
    if (at != size_bytes) {
        MYR_FAIL(err, BAD_FORMAT, "model: %zu bytes, but it and its sections (flags 0x%x) are %zu", size_bytes,
                 h->flags, at);
    }
    return MYR_OK;
}

/* ---- finding ---- */

const unsigned char *myr_section_find(const myr_model *model, section_kind kind, section_head *out_head)
{
    model_header h;
    section_head head;
    MYR_ASSERT((unsigned)kind < SECTION_COUNT);
    memcpy(&h, model, sizeof h);
    if (h.magic != MODEL_MAGIC || (h.flags & section_rows[kind].flag) == 0) return NULL;
    const unsigned char *at = (const unsigned char *)model + h.size_bytes;
    for (int k = 0;; k++) {
        if ((h.flags & section_rows[k].flag) == 0) continue;
        memcpy(&head, at, sizeof head);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (head.magic != section_rows[k].magic || ((const section_head *)(const void *)at)->magic != head.magic) {
            return NULL; /* its page is gone: the head is one cache line, so it was whole or is not there */
        }
        if (k == (int)kind) break;
        at += head.size_bytes;
    }
    *out_head = head;
    return at;
}
