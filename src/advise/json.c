/* The advice said to machines. */
#include "advise/internal.h"

static void json_text(myr_buf *out, const char *before, const char *value)
{
    myr_buf_puts(out, before);
    if (value == NULL) {
        myr_buf_puts(out, "null");
    } else {
        myr_buf_json_string(out, myr_str_of(value));
    }
}

static void json_answers(const myr_advise_report *r, myr_buf *out)
{
    myr_buf_puts(out, "\"answers\":{");
    const char *comma = "";
    for (uint32_t i = 0; i < r->trees->question_count; i++) {
        const myr_advise_answer *answer = &r->answers->of[i];
        if (!answer->is_given) continue;
        json_text(out, comma, r->trees->questions[i].name);
        json_text(out, ":{\"answer\":", r->trees->questions[i].options[answer->option].name);
        json_text(out, ",\"given\":", answer->given);
        json_text(out, ",\"from\":", answer->from);
        myr_buf_putc(out, '}');
        comma = ",";
    }
    myr_buf_putc(out, '}');
}

static void json_path(const myr_advise_report *r, uint32_t tree_idx, myr_buf *out)
{
    json_text(out,
              tree_idx == 0 ? ",\"first\":{\"title\":" : ",\"second\":{\"title\":", r->trees->trees[tree_idx].title);
    myr_buf_puts(out, ",\"path\":[");
    for (uint32_t i = 0; i < r->advice->step_counts[tree_idx]; i++) {
        const myr_advise_step *step = &r->advice->steps[tree_idx][i];
        const myr_advise_node *node = &r->trees->trees[tree_idx].nodes[step->node];
        const myr_advise_question *question = &r->trees->questions[node->question];
        json_text(out, i > 0 ? ",{\"node\":" : "{\"node\":", node->name);
        json_text(out, ",\"question\":", question->name);
        json_text(out, ",\"answer\":", question->options[step->option].name);
        json_text(out, ",\"because\":", node->branches[step->branch].because);
        myr_buf_putc(out, '}');
    }
    myr_buf_puts(out, "]}");
}

static void json_next(const myr_advise_report *r, const myr_advise_end *end, const char **comma, myr_buf *out)
{
    for (uint32_t i = 0; i < end->next_count; i++) {
        MYR_AUTO(myr_buf) command = {0};
        myr_advise_command(end->next[i].run, r->facts, &command);
        json_text(out, *comma, end->next[i].note);
        json_text(out, ",\"run\":", command.data != NULL ? command.data : "");
        myr_buf_putc(out, '}');
        *comma = ",{\"note\":";
    }
}

static void json_number(myr_buf *out, const char *before, double value)
{
    myr_buf_puts(out, before);
    myr_buf_double(out, value);
}

static void json_facts(const myr_advise_facts *f, myr_buf *out)
{
    json_text(out, ",\"measured\":{\"fleet\":", f->fleet);
    myr_buf_printf(out, ",\"release\":%lld,\"models\":%u,\"features\":%u,\"outputs\":%u", (long long)f->release,
                   f->model_count, f->feature_count, f->output_count);
    myr_buf_printf(
        out, ",\"model_bytes\":{\"total\":%lld,\"median\":%lld,\"max\":%lld,\"how\":\"bytes in the mapped pack\"}",
        (long long)f->model_bytes, (long long)f->model_bytes_median, (long long)f->model_bytes_max);
    json_number(out, ",\"row_ns\":{\"median\":", f->row_ns);
    myr_buf_printf(
        out, ",\"rows\":%lld,\"rounds\":%lld,\"models\":%lld,\"how\":\"own keys, made-up feature values, one core\"}",
        (long long)f->timed_rows, (long long)f->timed_rounds, (long long)f->timed_models);
    json_number(out, ",\"one_row_ns\":{\"p50\":", f->one_row_p50_ns);
    json_number(out, ",\"p99\":", f->one_row_p99_ns);
    myr_buf_printf(out, ",\"calls\":%lld,\"how\":\"one row a call, without network and JSON\"}",
                   (long long)f->one_row_calls);
    if (f->run_count == 0) {
        myr_buf_puts(out, ",\"runs\":null");
    } else {
        myr_buf_printf(out,
                       ",\"runs\":{\"count\":%u,\"last_rows\":%lld,\"last_ms\":%lld,\"median_rows\":%lld,\"median_ms\":"
                       "%lld,\"how\":\"registry\"}",
                       f->run_count, (long long)f->run_rows, (long long)f->run_ms, (long long)f->run_rows_median,
                       (long long)f->run_ms_median);
    }
    myr_buf_puts(out, ",\"requests\":null}"); /* no history is stored yet */
}

void myr_advise_json(const myr_advise_report *report, myr_buf *out)
{
    const myr_advise_end *verdict = &report->trees->verdicts[report->advice->verdict];
    const myr_advise_end *place = &report->trees->places[report->advice->place];
    const char *comma = "{\"note\":";
    json_text(out, "{\"verdict\":", verdict->name);
    json_text(out, ",\"place\":", place->name);
    json_text(out, ",\"verdict_text\":", verdict->text);
    json_text(out, ",\"place_text\":", place->text);
    myr_buf_putc(out, ',');
    json_answers(report, out);
    json_path(report, 0, out);
    json_path(report, 1, out);
    myr_buf_puts(out, ",\"products\":{");
    for (uint32_t i = 0; i < myr_advise_cloud_count(report->products); i++) {
        json_text(out, i > 0 ? "," : "", myr_advise_cloud(report->products, i));
        json_text(out, ":", myr_advise_product(report->products, place->name, verdict->name, i));
    }
    myr_buf_puts(out, "},\"next\":[");
    json_next(report, verdict, &comma, out);
    json_next(report, place, &comma, out);
    myr_buf_putc(out, ']');
    if (report->facts != NULL) json_facts(report->facts, out);
    json_text(out, ",\"source\":", report->trees->source);
    myr_buf_puts(out, "}\n");
}
