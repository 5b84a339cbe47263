/* A progress bar on standard error: only when it is a terminal and the work takes over a second. */
#ifndef MYR_CLI_PROGRESS_H
#define MYR_CLI_PROGRESS_H

#include "base/base.h"

typedef struct myr_bar {
    bool is_on; /* standard error is a terminal */
    bool is_shown;
    int64_t started_ns, drawn_ns;
    char stage[32];
    const char *unit; /* "rows" */
} myr_bar;

void myr_bar_start(myr_bar *bar, const char *unit);
/* Redraw at most ten times a second. total 0 = not known. A new stage starts its own clock. */
void myr_bar_update(myr_bar *bar, const char *stage, int64_t done, int64_t total);
void myr_bar_end(myr_bar *bar); /* wipes the line */

#endif
