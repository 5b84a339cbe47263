/*
 * A model that is not ours, as compiled bytes: who runs it, the SHA-256 of its artifact, and which columns of a row it
 * takes. It lies in packs and is found, checked and kept by them like any other; only the answer comes from elsewhere.
 *
 *   header     64 bytes: kind EXTERNAL, item_count features, margin_count values per row
 *   record     64 bytes: name of the runtime (NUL-padded), SHA-256
 *   columns    32 bits each: column of the row, bit 31 set if the model wants texts there; then zeros
 */
#include <string.h>

#include "model/external.h"

#define EXTERNAL_COLUMNS_AT (sizeof(model_header) + sizeof(external_record))

static uint64_t external_size(const model_header *h)
{
    return model_round_up(EXTERNAL_COLUMNS_AT + (uint64_t)h->item_count * sizeof(uint32_t));
}

/* ---- compile ---- */

static myr_rc external_check_desc(const myr_external_desc *desc, uint32_t column_count, myr_err *err)
{
    size_t name_size = strlen(desc->runtime);
    if (name_size == 0 || name_size >= MYR_EXTERNAL_RUNTIME_BYTES) {
        MYR_FAIL(err, BAD_INPUT, "external model: the runtime's name '%.60s' has 0 or more than %d bytes",
                 desc->runtime, MYR_EXTERNAL_RUNTIME_BYTES - 1);
    }
    if (column_count > MYR_FEATURES_MAX || desc->feature_count > MYR_FEATURES_MAX) {
        MYR_FAIL(err, TOO_LARGE, "external model: %u features of %u columns, at most %d", desc->feature_count,
                 column_count, MYR_FEATURES_MAX);
    }
    if (desc->output_count == 0 || desc->output_count > MYR_OUTPUTS_MAX) {
        MYR_FAIL(err, TOO_LARGE, "external model: %u values a row, not 1 to %d", desc->output_count, MYR_OUTPUTS_MAX);
    }
    for (uint32_t j = 0; j < desc->feature_count; j++) {
        if (desc->columns[j] < column_count) continue;
        MYR_FAIL(err, BAD_INPUT, "external model: feature %u is column %u of %u", j, desc->columns[j], column_count);
    }
    return MYR_OK;
}

myr_rc myr_model_compile_external(const myr_external_desc *desc, uint32_t column_count, unsigned char **out_bytes,
                                  size_t *out_size, myr_err *err)
{
    MYR_TRY(external_check_desc(desc, column_count, err));
    model_header h = {.magic = MODEL_MAGIC,
                      .version = MODEL_LAYOUT_VERSION,
                      .kind = MYR_MODEL_EXTERNAL,
                      .column_count = column_count,
                      .margin_count = desc->output_count,
                      .item_count = desc->feature_count};
    h.size_bytes = external_size(&h);
    unsigned char *bytes = myr_alloc_aligned(MYR_MODEL_ALIGN, h.size_bytes);
    if (bytes == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for an external model of %u features", desc->feature_count);
    memset(bytes, 0, h.size_bytes);
    external_record record = {0};
    memcpy(record.runtime, desc->runtime, strlen(desc->runtime));
    memcpy(record.sha256, desc->sha256, sizeof record.sha256);
    memcpy(bytes, &h, sizeof h);
    memcpy(bytes + sizeof h, &record, sizeof record);
    for (uint32_t j = 0; j < desc->feature_count; j++) {
        uint32_t column = desc->columns[j] | (desc->is_text != NULL && desc->is_text[j] != 0 ? MYR_EXTERNAL_TEXT : 0);
        memcpy(bytes + EXTERNAL_COLUMNS_AT + j * sizeof column, &column, sizeof column);
    }
    *out_bytes = bytes;
    *out_size = h.size_bytes;
    return MYR_OK;
}

/* ---- check ---- */

static myr_rc external_check_header(const model_header *h, size_t size_bytes, myr_err *err)
{
    model_header canonical = {.magic = h->magic,
                              .version = h->version,
                              .kind = h->kind,
                              .column_count = h->column_count,
                              .margin_count = h->margin_count,
                              .item_count = h->item_count,
                              .size_bytes = h->size_bytes};
    if (memcmp(&canonical, h, sizeof canonical) != 0)
        MYR_FAIL(err, BAD_FORMAT, "external model: its header has counts that only trees have");
    if (h->column_count > MYR_FEATURES_MAX || h->item_count > MYR_FEATURES_MAX) {
        MYR_FAIL(err, BAD_FORMAT, "external model: %u features of %u columns, at most %d", h->item_count,
                 h->column_count, MYR_FEATURES_MAX);
    }
    if (h->margin_count == 0 || h->margin_count > MYR_OUTPUTS_MAX) {
        MYR_FAIL(err, BAD_FORMAT, "external model: %u values a row, not 1 to %d", h->margin_count, MYR_OUTPUTS_MAX);
    }
    if (external_size(h) != size_bytes || h->size_bytes != size_bytes) {
        MYR_FAIL(err, BAD_FORMAT, "external model: %zu bytes, but its counts need %llu and its header says %llu",
                 size_bytes, (unsigned long long)external_size(h), (unsigned long long)h->size_bytes);
    }
    return MYR_OK;
}

static myr_rc external_check_record(const external_record *record, myr_err *err)
{
    size_t size = strnlen(record->runtime, sizeof record->runtime);
    bool is_plain = size > 0 && size < sizeof record->runtime;
    for (size_t i = 0; is_plain && i < sizeof record->runtime; i++) {
        bool is_letter = record->runtime[i] >= 'a' && record->runtime[i] <= 'z';
        is_plain = i < size ? is_letter : record->runtime[i] == '\0';
    }
    if (!is_plain)
        MYR_FAIL(err, BAD_FORMAT, "external model: its runtime's name is not 1 to %d letters a to z",
                 MYR_EXTERNAL_RUNTIME_BYTES - 1);
    return MYR_OK;
}

myr_rc myr_external_check(const unsigned char *bytes, size_t size_bytes, myr_err *err)
{
    model_header h;
    external_record record;
    MYR_ASSERT(size_bytes >= sizeof h);
    memcpy(&h, bytes, sizeof h);
    MYR_TRY(external_check_header(&h, size_bytes, err));
    memcpy(&record, bytes + sizeof h, sizeof record);
    MYR_TRY(external_check_record(&record, err));
    const uint32_t *columns = (const uint32_t *)(const void *)(bytes + EXTERNAL_COLUMNS_AT);
    for (uint32_t j = 0; j < h.item_count; j++) {
        if (MYR_EXTERNAL_COLUMN(columns[j]) < h.column_count) continue;
        MYR_FAIL(err, BAD_FORMAT, "external model: feature %u is column %u of %u", j, MYR_EXTERNAL_COLUMN(columns[j]),
                 h.column_count);
    }
    for (uint64_t at = EXTERNAL_COLUMNS_AT + (uint64_t)h.item_count * sizeof(uint32_t); at < size_bytes; at++) {
        if (bytes[at] != 0)
            MYR_FAIL(err, BAD_FORMAT, "external model: padding byte %llu is %u, not 0", (unsigned long long)at,
                     bytes[at]);
    }
    return MYR_OK;
}

/* ---- a checked one ---- */

bool myr_model_is_external(const myr_model *model)
{
    model_header h;
    memcpy(&h, model, sizeof h);
    return h.magic == MODEL_MAGIC && h.kind == MYR_MODEL_EXTERNAL;
}

bool myr_model_external(const myr_model *model, myr_external *out)
{
    const unsigned char *bytes = (const unsigned char *)model;
    model_header h;
    memcpy(&h, bytes, sizeof h);
    if (h.magic != MODEL_MAGIC || h.kind != MYR_MODEL_EXTERNAL) return false;
    *out = (myr_external){.runtime = (const char *)bytes + sizeof h,
                          .sha256 = bytes + sizeof h + MYR_EXTERNAL_RUNTIME_BYTES,
                          .columns = (const uint32_t *)(const void *)(bytes + EXTERNAL_COLUMNS_AT),
                          .feature_count = h.item_count,
                          .output_count = h.margin_count};
    return true;
}
