/* Cron expressions: whatever is read has times that come, in order, on days it asks for. */
#include "jobs/schedule.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static myr_zone *zone_of(uint8_t choice)
{
    static const char *const names[] = {"UTC", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia"};
    static myr_zone *zones[4];
    myr_zone **zone = &zones[choice % 4];
    if (*zone == NULL) MYR_ASSERT(myr_zone_open(names[choice % 4], zone, NULL) == MYR_OK);
    return *zone;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    myr_schedule schedule = {.cron_count = 1, .start_ms = INT64_MIN, .end_ms = INT64_MAX};
    myr_err err = {0};
    if (size < 1) return 0;
    if (myr_cron_parse(myr_str_make((const char *)data + 1, size - 1), &schedule.crons[0], &err) != MYR_OK) {
        MYR_ASSERT(err.message[0] != '\0');
        return 0;
    }
    schedule.zone = zone_of(data[0]);
    int64_t at = 1300000000000LL + (int64_t)(data[0] >> 2) * 86400000LL * 7;
    for (int i = 0; i < 8; i++) {
        int64_t next = 0;
        MYR_ASSERT(myr_schedule_next(&schedule, at, &next) && next > at);
        at = next;
    }
    return 0;
}
