/*
 * Idempotency keys. A key in progress is claimed in this process; whether it was answered before is asked of the store.
 * Between processes the store decides when it is written: the second finds the first one's answer there and gives it.
 */
#include <string.h>

#include "online/predictions.h"

struct myr_claim {
    myr_claim *next; /* in its bucket */
    myr_predictions *store;
    prediction_job *job; /* the question whether it was answered */
    uint64_t name_hash;
    char hash[MYR_SHA256_HEX_BYTES];
    myr_str token, fleet, key; /* behind this struct */
    char text[];
};

static bool claim_is_same(const myr_claim *a, const myr_claim *b)
{
    return a->name_hash == b->name_hash && myr_str_equal(a->key, b->key) && myr_str_equal(a->token, b->token) &&
           myr_str_equal(a->fleet, b->fleet);
}

static myr_str claim_put(char **at, myr_str text)
{
    if (text.size > 0) memcpy(*at, text.data, text.size);
    myr_str copy = myr_str_make(*at, text.size);
    *at += text.size + 1; /* and a NUL, from calloc */
    return copy;
}

static myr_claim *claim_make(myr_predictions *store, const myr_claim_id *id)
{
    size_t size = id->token.size + id->fleet.size + id->key.size + 3;
    myr_claim *claim = myr_calloc(1, sizeof *claim + size);
    if (claim == NULL) return NULL;
    char *at = claim->text;
    claim->store = store;
    claim->token = claim_put(&at, id->token);
    claim->fleet = claim_put(&at, id->fleet);
    claim->key = claim_put(&at, id->key);
    claim->name_hash = myr_hash64(claim->text, size, 0);
    memcpy(claim->hash, id->hash, sizeof claim->hash);
    return claim;
}

static myr_claim **claim_bucket(const myr_claim *claim)
{
    return &claim->store->claims[claim->name_hash % PREDICTIONS_CLAIM_BUCKETS];
}

/* Into the table of those in progress, unless it is there. */
static myr_rc claim_enter(myr_claim *claim, myr_err *err)
{
    myr_claim **bucket = claim_bucket(claim);
    myr_mutex_lock(&claim->store->claims_lock);
    const myr_claim *found = *bucket;
    while (found != NULL && !claim_is_same(found, claim))
        found = found->next;
    bool is_other = found != NULL && memcmp(found->hash, claim->hash, sizeof claim->hash) != 0;
    if (found == NULL) {
        claim->next = *bucket;
        *bucket = claim;
    }
    myr_mutex_unlock(&claim->store->claims_lock);
    if (found == NULL) return MYR_OK;
    if (is_other) MYR_FAIL(err, MISMATCH, "another request with this idempotency key is in progress: choose a new key");
    MYR_FAIL(err, CONFLICT, "a request with this idempotency key is in progress: try again later");
}

static void claim_leave(myr_claim *claim)
{
    myr_claim **at = claim_bucket(claim);
    myr_mutex_lock(&claim->store->claims_lock);
    while (*at != claim)
        at = &(*at)->next;
    *at = claim->next;
    myr_mutex_unlock(&claim->store->claims_lock);
}

static myr_rc claim_check(const myr_claim_id *id, myr_err *err)
{
    if (id->key.size == 0 || id->key.size > MYR_IDEMPOTENCY_KEY_BYTES_MAX)
        MYR_FAIL(err, BAD_INPUT, "an idempotency key of %zu bytes, not 1 to %d", id->key.size,
                 MYR_IDEMPOTENCY_KEY_BYTES_MAX);
    for (size_t i = 0; i < id->key.size; i++) {
        if (id->key.data[i] < 0x20 || id->key.data[i] > 0x7e)
            MYR_FAIL(err, BAD_INPUT, "an idempotency key has a byte that is not printable ASCII");
    }
    return MYR_OK;
}

bool myr_prediction_keep_claim(prediction_job *job, const myr_claim *claim)
{
    memcpy(job->hash, claim->hash, sizeof job->hash);
    return myr_prediction_keep(job, claim->token, &job->token) &&
           myr_prediction_keep(job, claim->key, &job->idempotency_key);
}

static myr_rc claim_ask(myr_claim *claim, myr_err *err)
{
    myr_predictions *store = claim->store;
    prediction_job *job = NULL;
    MYR_TRY(myr_prediction_take(store, store->reader, PREDICTION_ANSWER, &job, err));
    if (myr_prediction_keep_claim(job, claim) && myr_prediction_keep(job, claim->fleet, &job->fleet)) {
        claim->job = job;
        return MYR_OK;
    }
    myr_lane_give(&job->job);
    MYR_FAIL(err, NO_MEMORY, "%s: no memory for a question", store->shown);
}

myr_rc myr_claim_start(myr_predictions *store, const myr_claim_id *id, int64_t deadline_ns, myr_online_done done,
                       void *ctx, myr_claim **out, myr_err *err)
{
    MYR_TRY(claim_check(id, err));
    myr_claim *claim = claim_make(store, id);
    if (claim == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for an idempotency key");
    myr_rc rc = claim_enter(claim, err);
    if (rc != MYR_OK) {
        myr_free(claim);
        return rc;
    }
    rc = claim_ask(claim, err);
    if (rc != MYR_OK) {
        myr_claim_free(claim);
        return rc;
    }
    *out = claim;
    myr_lane_submit(&claim->job->job, deadline_ns, done, ctx);
    return MYR_OK;
}

myr_rc myr_claim_result(const myr_claim *claim, myr_kept_answer *out, myr_err *err)
{
    const prediction_job *job = claim->job;
    MYR_TRY(myr_prediction_ended(job, err));
    *out = (myr_kept_answer){0};
    if (!job->is_kept) return MYR_OK;
    if (memcmp(job->kept_hash, claim->hash, MYR_SHA256_HEX_BYTES - 1) != 0)
        MYR_FAIL(err, MISMATCH, "the idempotency key belongs to another request: choose a new key");
    *out = job->kept;
    return MYR_OK;
}

void myr_claim_free(myr_claim *claim)
{
    if (claim == NULL) return;
    claim_leave(claim);
    if (claim->job != NULL) myr_lane_give(&claim->job->job);
    myr_free(claim);
}
