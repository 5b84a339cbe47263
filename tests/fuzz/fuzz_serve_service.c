/* Service files: whatever is accepted has what its readers rely on. */
#include <math.h>
#include <string.h>

#include "serve/service.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

static void fuzz_use(const serve_service *service)
{
    MYR_ASSERT(myr_name_is_valid(myr_str_of(service->name)));
    MYR_AUTO(myr_buf) diff = {0};
    myr_service_diff(service, service, &diff);
    MYR_ASSERT(diff.size == 0 && myr_service_equal(service, service) && !myr_service_equal(service, NULL));
    myr_service_diff(NULL, service, &diff);
    myr_service_diff(service, NULL, &diff);
    for (uint32_t i = 0; i < service->plan_count; i++) {
        const serve_plan *plan = &service->plans[i];
        MYR_ASSERT(myr_name_is_valid(myr_str_of(plan->fleet)) && myr_service_plan(service, plan->fleet) == plan);
        MYR_ASSERT(plan->group_count <= SERVE_GROUPS_MAX && plan->deadline_ms >= 0);
        for (uint32_t k = 0; k < plan->validate.check_count; k++) {
            const serve_check *check = &plan->validate.checks[k];
            MYR_ASSERT(check->name != NULL && check->min <= check->max && check->set_count <= SERVE_SET_MAX);
        }
        for (uint32_t k = 0; k < plan->validate.order_count; k++)
            MYR_ASSERT(plan->validate.orders[k].count >= 2);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    serve_service *service = NULL;
    myr_err err = {0};
    if (myr_service_parse("fuzz.yaml", (const char *)data, size_bytes, &service, &err) == MYR_OK) {
        fuzz_use(service);
    } else {
        MYR_ASSERT(err.rc != MYR_OK && err.message[0] != '\0');
    }
    myr_service_release(service);
    return 0;
}
