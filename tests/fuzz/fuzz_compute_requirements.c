/* Lists of requirements and what pip writes: any bytes are hashed, not hashed or refused with a line that is there. */
#include "compute/requirements.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    myr_str text = myr_str_make((const char *)data, size);
    for (int must_have = 0; must_have < 2; must_have++) {
        bool is_hashed = false;
        myr_err err = {0};
        myr_rc rc = myr_requirements_check("list", text, must_have != 0, &is_hashed, &err);
        MYR_ASSERT(rc == MYR_OK || (rc == MYR_BAD_INPUT && !is_hashed && err.message[0] != '\0'));
        MYR_ASSERT(rc != MYR_OK || must_have == 0 || is_hashed);
    }
    myr_err err = {0};
    myr_rc rc = myr_requirements_explain(text, &err);
    MYR_ASSERT((rc == MYR_OK) == (err.message[0] == '\0'));
    return 0;
}
