/* XGBoost models in JSON: any bytes end in an error with a message or in a model that predicts. */
#include "xgboost_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_one(data, size, MYR_FORMAT_XGBOOST_JSON);
}
