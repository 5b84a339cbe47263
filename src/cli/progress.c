/* One line that is rewritten: stage, bar, counts, rate, time left. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/progress.h"

enum { BAR_CELLS = 24 };
static const int64_t BAR_QUIET_NS = 1000000000, BAR_EVERY_NS = 100000000;

void myr_bar_start(myr_bar *bar, const char *unit)
{
    *bar = (myr_bar){.is_on = isatty(STDERR_FILENO) == 1, .started_ns = myr_clock_mono_ns(), .unit = unit};
}

static void bar_draw(myr_bar *bar, int64_t done, int64_t total, int64_t now_ns)
{
    double seconds = (double)(now_ns - bar->started_ns) / 1e9;
    double rate = seconds > 0 ? (double)done / seconds : 0;
    char cells[BAR_CELLS + 1], done_text[32], rate_text[32], left[32] = "";
    int full = total > 0 ? (int)(done * BAR_CELLS / total) : 0;
    for (int i = 0; i < BAR_CELLS; i++) {
        cells[i] = i < full ? '#' : '.';
    }
    cells[BAR_CELLS] = '\0';
    if (total > 0 && rate > 0) (void)snprintf(left, sizeof left, ", %.0f s left", (double)(total - done) / rate);
    fprintf(stderr, "\r%-10s [%s] %s %s, %s/s%s\033[K", bar->stage, cells,
            myr_format_count(done, done_text, sizeof done_text), bar->unit,
            myr_format_count((int64_t)rate, rate_text, sizeof rate_text), left);
    bar->is_shown = true;
    bar->drawn_ns = now_ns;
}

void myr_bar_update(myr_bar *bar, const char *stage, int64_t done, int64_t total)
{
    if (!bar->is_on) return;
    int64_t now_ns = myr_clock_mono_ns();
    if (strncmp(bar->stage, stage, sizeof bar->stage - 1) != 0) {
        (void)snprintf(bar->stage, sizeof bar->stage, "%s", stage);
        bar->started_ns = now_ns;
    }
    if (now_ns - bar->drawn_ns < BAR_EVERY_NS) return;
    if (!bar->is_shown && now_ns - bar->started_ns < BAR_QUIET_NS) return;
    bar_draw(bar, done > total && total > 0 ? total : done, total, now_ns);
}

void myr_bar_end(myr_bar *bar)
{
    if (bar->is_shown) fputs("\r\033[K", stderr);
    bar->is_shown = false;
}
