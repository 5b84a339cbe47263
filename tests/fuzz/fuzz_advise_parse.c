/*
 * Tree files: whatever is accepted can be walked with any answers and drawn. The input's first byte chooses the
 * answers.
 */
#include <stdio.h>
#include <stdlib.h>

#include "advise/advise.h"

#define INPUT_BYTES_MAX (1 << 16)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

static void fuzz_use(const myr_advise_trees *trees, uint8_t choice)
{
    myr_advise_answers answers = {0};
    myr_advice advice = {0};
    MYR_AUTO(myr_buf) out = {0};
    for (uint32_t i = 0; i < trees->question_count; i++) {
        answers.of[i].is_given = true;
        answers.of[i].option = (choice + i) % trees->questions[i].option_count;
    }
    if (myr_advise_walk(trees, &answers, &advice, NULL) != MYR_OK ||
        myr_advise_svg(trees, &advice, &out, NULL) != MYR_OK) {
        fputs("a tree that was accepted cannot be walked or drawn\n", stderr);
        abort();
    }
    myr_advise_tree_text(trees, &advice, &out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    myr_advise_trees *trees = NULL;
    if (size_bytes < 1 || size_bytes > INPUT_BYTES_MAX) return 0;
    if (myr_advise_parse("fuzz", (const char *)data + 1, size_bytes - 1, &trees, NULL) == MYR_OK)
        fuzz_use(trees, data[0]);
    myr_advise_free(trees);
    return 0;
}
