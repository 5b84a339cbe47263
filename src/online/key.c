/* Key text of a row: through the same values and bytes as packs use, so that all of myriad means the same key. */
#include "online/online.h"

myr_rc myr_online_key(const myr_key_schema *schema, const myr_col *cols, int64_t row_idx, myr_buf *out,
                      bool *out_is_null, myr_err *err)
{
    myr_key_value values[MYR_PARTITION_COLUMNS_MAX];
    char scratch[MYR_PARTITION_COLUMNS_MAX][MYR_KEY_SCRATCH_BYTES];
    unsigned char key[MYR_KEY_BYTES_MAX];
    *out_is_null = true;
    for (uint32_t i = 0; i < schema->column_count; i++) {
        MYR_TRY(myr_key_value_from_col(schema->columns[i].type, &cols[i], row_idx, scratch[i], &values[i], err));
        if (values[i].is_null) return MYR_OK;
    }
    size_t size = myr_key_encode(schema, (1u << schema->column_count) - 1, values, key);
    if (size == 0) {
        MYR_FAIL(err, BAD_INPUT, "a key value has more than %d bytes", MYR_KEY_VALUE_BYTES_MAX);
    }
    MYR_TRY(myr_key_text(schema, key, size, out, err));
    *out_is_null = false;
    return MYR_OK;
}
