/* The service file: what is read and what is refused, with its place; groups, rules and levels over a real server. */
#include "import/import.h"
#include "serve/service.h"
#include "serve_fixture.h"

#define SCORE                          "/v1/fleets/oj/score"
#define INFER                          "/v2/models/oj/infer"
#define ROW(store, brand, price, deal) "{\"store\":" store ",\"brand\":" brand ",\"price\":" price ",\"deal\":" deal "}"
#define ROWS(rows)                     "{\"rows\":[" rows "]}"
#define V2(store, brand, price)                                                                                        \
    "{\"inputs\":[{\"name\":\"store\",\"shape\":[1],\"datatype\":\"INT64\",\"data\":[" store "]},"                     \
    "{\"name\":\"brand\",\"shape\":[1],\"datatype\":\"INT64\",\"data\":[" brand "]},"                                  \
    "{\"name\":\"features\",\"shape\":[1,2],\"datatype\":\"FP64\",\"data\":[" price ",0]}]}"

/* ---- the file ---- */

static myr_rc parse(const char *text, serve_service **out, myr_err *err)
{
    return myr_service_parse("prices.yaml", text, strlen(text), out, err);
}

TEST(a_file_is_read)
{
    static const char text[] = "region: eu-west\ndefault: oj\nserver_timing: true\nfleets:\n"
                               "  oj:\n    groups: [brand=1, 'store=2,brand=3']\n    deadline: 250ms\n"
                               "    fallback: [segment, global, stored]\n    store: {to: 'sqlite:p.db', keep: 2h}\n    "
                               "degrade: {infer: next_level, rules: skip}\n"
                               "    rules: r/a.lua\n    validate:\n      on_violation: fallback\n"
                               "      inputs:\n        price: {min: 0, max: 10, required: true, on_violation: clamp}\n"
                               "        deal: {in: [0, 1], integer: true, finite: true}\n"
                               "      monotone: [price, deal]\n      output: {min: -1, max: 1e6, finite: true}\n"
                               "  city:\n";
    serve_service *service = NULL;
    myr_err err = {0};
    EXPECT_RC(parse(text, &service, &err), OK, &err);
    EXPECT_STR(service->name, "prices");
    EXPECT_STR(service->region, "eu-west");
    EXPECT(service->server_timing && service->has_fleets);
    const serve_plan *plan = myr_service_plan(service, "oj");
    EXPECT_INT(plan->group_count, 2);
    EXPECT_INT(plan->deadline_ms, 250);
    EXPECT_INT(plan->levels, 1u << MYR_LEVEL_SEGMENT | 1u << MYR_LEVEL_GLOBAL);
    EXPECT(plan->from_stored && plan->late_infer == SERVE_NEXT && plan->late_rules == SERVE_SKIP);
    EXPECT_STR(plan->rules, "./r/a.lua");
    EXPECT_INT(plan->validate.check_count, 2);
    EXPECT_INT(plan->validate.checks[0].then, SERVE_CLAMP);
    EXPECT_INT(plan->validate.checks[1].then, SERVE_FALLBACK);
    EXPECT_INT(plan->validate.checks[1].set_count, 2);
    EXPECT_INT(plan->validate.order_count, 1);
    EXPECT(plan->validate.output.is_there && plan->validate.output.max == 1e6);
    EXPECT(myr_service_plan(service, "city") != NULL && myr_service_plan(service, "x") == NULL);
    myr_service_release(service);
}

TEST(what_a_file_may_not_say)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"fleet: {}\n", "prices.yaml:1:1: unknown key 'fleet': did you mean 'fleets'?"},
        {"fleets: [oj]\n", "'fleets' is a map: a line `oj:` for each"},
        {"fleets: {}\n", "'fleets' is a map with a key per fleet"},
        {"fleets:\n  'a/b': {}\n", "prices.yaml:2:3: 'a/b' is no name of a fleet"},
        {"fleets:\n  oj:\n    group: [brand=1]\n", "prices.yaml:3:5: unknown key 'group': did you mean 'groups'?"},
        {"fleets: {oj: {groups: [brand]}}\n", "group 'brand'"},
        {"fleets: {oj: {groups: ['', brand=1]}}\n", "'groups' must be a list of texts"},
        {"fleets: {oj: {deadline: soon}}\n", "'deadline' is 'soon': give a time as in 100ms"},
        {"fleets: {oj: {deadline: 0ms}}\n", "from 1ms to 3600000ms"},
        {"fleets: {oj: {deadline: 3600001ms}}\n", "from 1ms to 3600000ms"},
        {"fleets: {oj: {fallback: [global, segment]}}\n", "segment can't follow global"},
        {"fleets: {oj: {fallback: [stored]}}\n", "needs a level with models before stored"},
        {"fleets: {oj: {fallback: [nearest]}}\n", "its levels are segment, parent, global and stored"},
        {"fleets: {oj: {degrade: {infer: skip}}}\n", "it must be fail, next_level or stored"},
        {"fleets: {oj: {degrade: {rules: stored}}}\n", "it must be fail or skip"},
        {"fleets: {oj: {rules: [a.lua]}}\n", "'rules'"},
        {"fleets: {oj: {validate: {on_violation: drop}}}\n", "it must be reject, clamp or fallback"},
        {"fleets: {oj: {validate: {inputs: {price: {min: 2, max: 1}}}}}\n", "'min' is 2, above 'max', which is 1"},
        {"fleets: {oj: {validate: {inputs: {price: {minimum: 2}}}}}\n", "unknown key 'minimum'"},
        {"fleets: {oj: {validate: {inputs: {price: {required: true, on_violation: clamp}}}}}\n",
         "'price' can't be clamped"},
        {"fleets: {oj: {validate: {monotone: [price]}}}\n", "'monotone' is a list of 2 to 64 features"},
        {"default: city\nfleets: {oj: {}}\n", "prices.yaml:1:10: the default fleet 'city' is not one of 'fleets'"},
        {"name: 'a b'\n", "'a b' can't be the service's name"},
    };
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        serve_service *service = NULL;
        myr_err err = {0};
        if (parse(cases[i].text, &service, &err) != MYR_BAD_INPUT) print_error("case %zu was not refused\n", i);
        EXPECT(err.rc == MYR_BAD_INPUT && service == NULL);
        EXPECT_HAS(err.message, cases[i].message);
        EXPECT_HAS(err.message, "prices.yaml:");
    }
}

/* Each limit, at it and one past it. */
static void expect_limit(const char *before, const char *item, const char *after, size_t limit, const char *message)
{
    for (size_t over = 0; over < 2; over++) {
        myr_buf text = {0};
        serve_service *service = NULL;
        myr_err err = {0};
        myr_buf_puts(&text, before);
        for (size_t i = 0; i < limit + over; i++)
            myr_buf_printf(&text, item, i > 0 ? "," : "", i);
        myr_buf_puts(&text, after);
        myr_rc rc = parse(text.data, &service, &err);
        if (over == 0) {
            EXPECT_RC(rc, OK, &err);
        } else {
            EXPECT_RC(rc, BAD_INPUT, &err);
            EXPECT_HAS(err.message, message);
        }
        myr_service_release(service);
        myr_buf_fini(&text);
    }
}

TEST(limits_of_a_file)
{
    expect_limit("fleets: {oj: {groups: [", "%sbrand=%zu", "]}}\n", SERVE_GROUPS_MAX, "at most 1024");
    expect_limit("fleets: {oj: {validate: {inputs: {", "%s'f%zu': {min: 1}", "}}}}\n", SERVE_CHECKS_MAX,
                 "at most 4096");
    expect_limit("fleets: {oj: {validate: {inputs: {f: {in: [", "%s%zu", "]}}}}}\n", SERVE_SET_MAX, "at most 4096");
    expect_limit("fleets: {oj: {validate: {monotone: [", "%s'f%zu'", "]}}}\n", SERVE_ORDER_MAX, "2 to 64");
    expect_limit("fleets: {oj: {fetch: [", "%s{from: 'sqlite:f.db', table: t%zu, keys: [k], features: [f]}", "]}}\n",
                 SERVE_SOURCES_MAX, "at most 16");
    expect_limit("fleets: {oj: {fetch: [{from: 'sqlite:f.db', table: t, features: [f], keys: [", "%sk%zu", "]}]}}\n",
                 MYR_PARTITION_COLUMNS_MAX, "at most 8");
}

TEST(a_file_survives_each_failed_allocation)
{
    static const char text[] = "fleets: {oj: {groups: [brand=1], validate: {inputs: {price: {in: [1, 2]}}, "
                               "monotone: [a, b], output: {min: 1}}}}\n";
    FAIL_EACH_ALLOC (nth) {
        serve_service *service = NULL;
        myr_rc rc = parse(text, &service, NULL);
        EXPECT(rc == MYR_OK || (rc == MYR_NO_MEMORY && service == NULL));
        myr_service_release(service);
        if (rc == MYR_OK) break;
    }
}

/* ---- served ---- */

static void world_file(world *w, const char *text)
{
    world_make(w);
    snprintf(w->opts.service, sizeof w->opts.service, "%s/prices.yaml", w->dir);
    FILE *file = fopen(w->opts.service, "w");
    EXPECT(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
}

static void expect_served(const char *text, const exchange *cases, size_t count)
{
    world w;
    world_file(&w, text);
    world_serve(&w);
    expect_exchanges(w.port, cases, count);
    world_stop(&w);
}

TEST(a_file_that_does_not_fit_its_fleet_ends_the_start)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"fleets: {oj: {validate: {inputs: {prise: {min: 1}}}}}\n",
         "fleet 'oj' has no feature 'prise': did you mean 'price'?"},
        {"fleets: {oj: {validate: {monotone: [price, x]}}}\n", "fleet 'oj' has no feature 'x'"},
        {"fleets: {oj: {groups: [town=1]}}\n", "group 'town=1' of fleet 'oj'"},
        {"fleets: {oj: {groups: [brand=x]}}\n", "group 'brand=x' of fleet 'oj'"},
        {"fleets: {oj: {validate: {output: {monotone: true}}}}\n", "fleet 'oj' has one output"},
    };
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        world w;
        myr_err err = {0};
        world_file(&w, cases[i].text);
        EXPECT_RC(myr_server_start(w.dir, &w.opts, &w.server, &err), BAD_INPUT, &err);
        EXPECT_HAS(err.message, cases[i].message);
        EXPECT_HAS(err.message, "prices.yaml:1:");
    }
}

TEST(only_fleets_and_groups_of_the_file)
{
    static const exchange cases[] = {
        {"GET", "/v2/models", NULL, 200, "{\"models\":[\"oj\"]}"},
        {"GET", "/v2/models/city", NULL, 404, "unknown model: 'city'"},
        {"POST", SCORE, ROWS(ROW("2", "1", "1", "0")), 200, "\"prediction\":11,"},
        {"POST", SCORE, ROWS(ROW("7", "1", "1", "0")), 200, "\"level\":\"parent\",\"status\":\"ok\"}"},
        {"POST", SCORE, ROWS(ROW("2", "5", "1", "0") "," ROW("2", "1", "1", "0")), 200,
         "{\"rows\":[{\"prediction\":null,\"model\":null,\"model_version\":null,\"level\":\"none\",\"status\":\"no_"
         "model\","
         "\"message\":\"the key is not in the groups of fleet 'oj' that are served here\"},{\"prediction\":11,"},
        /* a null is in no group, a key that is none is what it was */
        {"POST", SCORE, ROWS(ROW("2", "null", "1", "0")), 200, "\"status\":\"no_model\""},
        {"POST", SCORE, ROWS(ROW("2", "\"x\"", "1", "0")), 200, "\"status\":\"bad_key\""},
        {"POST", INFER, V2("2", "1", "1"), 200, "\"data\":[11]"},
        {"POST", INFER, V2("2", "5", "1"), 404, "row 0 (store=2,brand=5): the key is not in the groups of fleet 'oj'"},
        {"GET", "/v2/models/oj@store=2,brand=1", NULL, 200, "oj@store=2,brand=1"},
        {"GET", "/v2/models/oj@store=2,brand=9007199254740993", NULL, 200, "brand=9007199254740993"},
        {"GET", "/v2/models/oj@", NULL, 404, "unknown model: 'oj@'"},
    };
    expect_served("fleets:\n  oj: {groups: [brand=1, 'brand=9007199254740993,store=2']}\n", cases, MYR_COUNT_OF(cases));
}

TEST(inputs_are_validated)
{
    static const exchange cases[] = {
        {"POST", SCORE, ROWS(ROW("2", "1", "1", "1")), 200, "\"level\":\"segment\",\"status\":\"ok\"}"},
        {"POST", SCORE, ROWS(ROW("2", "1", "-1", "1")), 200,
         "\"status\":\"rejected\",\"message\":\"'price' is -1, below 0\"}"},
        {"POST", SCORE, ROWS(ROW("2", "1", "null", "1")), 200, "\"message\":\"'price' is missing\""},
        {"POST", SCORE, ROWS("{\"store\":2,\"brand\":1,\"deal\":1}"), 200, "\"message\":\"'price' is missing\""},
        {"POST", SCORE, ROWS(ROW("2", "1", "\"inf\"", "1")), 200, "'price' is inf, not finite"},
        /* clamped: the answer is that of the bound, and says so */
        {"POST", SCORE, ROWS(ROW("2", "1", "1", "7")), 200, "\"prediction\":12,"},
        {"POST", SCORE, ROWS(ROW("2", "1", "1", "7")), 200,
         "\"status\":\"ok\",\"message\":\"'deal' is 7, above 2, and was taken as that\""},
        {"POST", SCORE, ROWS(ROW("2", "1", "1", "0.5")), 200, "'deal' is 0.5, not a whole number"},
        /* one row's trouble is its own */
        {"POST", SCORE, ROWS(ROW("2", "1", "1", "0") "," ROW("2", "1", "-1", "0") "," ROW("2", "1", "2", "0")), 200,
         "\"prediction\":12,"},
        {"POST", INFER, V2("2", "1", "-1"), 400, "row 0: 'price' is -1, below 0"},
        {"POST", INFER, V2("2", "1", "1"), 200, "[11]"},
        {"POST", "/v2/models/oj@store=2,brand=1/infer",
         "{\"inputs\":[{\"name\":\"features\",\"shape\":[2,2],\"datatype\":\"FP64\",\"data\":[1,7,2,0]}]}", 200,
         "\"data\":[12,12]"},
        /* monotone: city's one feature is in the other test */
    };
    expect_served("fleets:\n  oj:\n    validate:\n      inputs:\n"
                  "        price: {min: 0, finite: true, required: true}\n"
                  "        deal: {max: 2, integer: true, on_violation: clamp}\n",
                  cases, MYR_COUNT_OF(cases));
}

TEST(sets_and_orders_are_validated)
{
    static const exchange cases[] = {
        {"POST", SCORE, ROWS(ROW("2", "1", "1", "2")), 200, "\"status\":\"ok\"}"},
        {"POST", SCORE, ROWS(ROW("2", "1", "1", "3")), 200, "'deal' is 3, not one of the values that are allowed"},
        {"POST", SCORE, ROWS(ROW("2", "1", "2.5", "2")), 200,
         "\"message\":\"'deal' is 2, below 'price', which is 2.5\""},
        {"POST", SCORE, ROWS(ROW("2", "1", "2", "2")), 200, "\"status\":\"ok\"}"},
        {"POST", SCORE, ROWS(ROW("2", "1", "null", "2")), 200, "\"status\":\"ok\"}"},
    };
    expect_served("fleets: {oj: {validate: {inputs: {deal: {in: [1, 2.0]}}, monotone: [[price, deal]]}}}\n", cases,
                  MYR_COUNT_OF(cases));
}

TEST(what_is_refused_falls_to_the_next_level)
{
    static const exchange cases[] = {
        /* own 10, brand=1 100, global 1000 */
        {"POST", SCORE, ROWS(ROW("2", "1", "1", "0")), 200, "\"prediction\":11,"},
        {"POST", SCORE, ROWS(ROW("2", "1", "6", "0")), 200, "\"prediction\":106,\"model\":\"oj@brand=1\""},
        {"POST", SCORE, ROWS(ROW("2", "1", "6", "0")), 200,
         "\"level\":\"parent\",\"status\":\"ok\",\"message\":\"'price' is 6, above 5\""},
        {"POST", SCORE, ROWS(ROW("7", "1", "6", "0")), 200, "\"prediction\":1006,"},
        /* the global one is refused too, by the bound of predictions */
        {"POST", SCORE, ROWS(ROW("7", "7", "6", "0")), 200, "\"prediction\":null,"},
        {"POST", SCORE, ROWS(ROW("7", "1", "600", "0")), 200,
         "\"status\":\"rejected\",\"message\":\"'price' is 600, above 5\""},
        /* a prediction past its bound: 10 - 20 -> 100 - 20 -> fine */
        {"POST", SCORE, ROWS(ROW("2", "1", "-20", "0")), 200, "\"prediction\":80,\"model\":\"oj@brand=1\""},
        {"POST", SCORE, ROWS(ROW("2", "1", "-20", "0")), 200, "\"message\":\"the prediction is -10, below 0\""},
        {"POST", SCORE, ROWS(ROW("2", "1", "-200", "0")), 200, "\"prediction\":800,\"model\":\"oj@\""},
        {"POST", SCORE, ROWS(ROW("2", "1", "-2000", "0")), 200, "\"prediction\":null,\"model\":\"oj@store=2,brand=1\""},
        {"POST", SCORE,
         ROWS(ROW("2", "1", "1", "0") "," ROW("2", "1", "-20", "0") "," ROW("2", "1", "-200", "0") "," ROW("7", "7",
                                                                                                           "1", "0")),
         200, "\"prediction\":800,"},
        /* a model that was named has no next level */
        {"POST", "/v2/models/oj@store=2,brand=1/infer",
         "{\"inputs\":[{\"name\":\"features\",\"shape\":[1,2],\"datatype\":\"FP64\",\"data\":[-20,0]}]}", 400,
         "row 0: the prediction is -10, below 0"},
        {"POST", INFER, V2("2", "1", "-20"), 200, "\"data\":[80]"},
        {"POST", SCORE "?output=contribution", ROWS(ROW("2", "1", "6", "0")), 200, "\"base\":100,"},
    };
    expect_served("fleets:\n  oj:\n    validate:\n      on_violation: fallback\n      inputs: {price: {max: 5}}\n"
                  "      output: {min: 0, max: 1100}\n",
                  cases, MYR_COUNT_OF(cases));
}

TEST(predictions_are_clamped)
{
    static const exchange cases[] = {
        {"POST", SCORE, ROWS(ROW("2", "1", "-20", "0")), 200, "\"prediction\":0,\"model\":\"oj@store=2,brand=1\""},
        {"POST", SCORE, ROWS(ROW("2", "1", "-20", "0")), 200, "the prediction was -10, below 0, and was set to that"},
        {"POST", SCORE, ROWS(ROW("7", "7", "200", "0")), 200, "\"prediction\":1100,"},
        {"POST", INFER, V2("7", "7", "200"), 200, "\"data\":[1100]"},
    };
    expect_served("fleets: {oj: {validate: {output: {min: 0, max: 1100, on_violation: clamp}}}}\n", cases,
                  MYR_COUNT_OF(cases));
}

TEST(levels_that_may_answer)
{
    static const exchange cases[] = {
        {"POST", SCORE, ROWS(ROW("2", "1", "1", "0")), 200, "\"level\":\"segment\",\"status\":\"ok\""},
        {"POST", SCORE, ROWS(ROW("7", "1", "1", "0")), 200, "\"level\":\"global\",\"status\":\"ok\""},
        {"POST", INFER, V2("7", "1", "1"), 200, "[1001]"},
    };
    static const exchange own[] = {
        {"POST", SCORE, ROWS(ROW("2", "1", "1", "0")), 200, "\"level\":\"segment\",\"status\":\"ok\""},
        {"POST", SCORE, ROWS(ROW("7", "1", "1", "0")), 200, "\"level\":\"none\",\"status\":\"no_model\""},
        {"POST", INFER, V2("7", "1", "1"), 404, "has no model for this key"},
    };
    expect_served("fleets: {oj: {fallback: [segment, global]}}\n", cases, MYR_COUNT_OF(cases));
    expect_served("fleets: {oj: {fallback: segment}}\n", own, MYR_COUNT_OF(own));
}

/* ---- deadlines and times ---- */

static answer ask_with(int port, const char *header, const char *path, const char *body)
{
    client c = client_open(port);
    myr_buf text = {0};
    myr_buf_printf(&text, "POST %s HTTP/1.1\r\nHost: x\r\n%s\r\nContent-Length: %zu\r\n\r\n%s", path, header,
                   strlen(body), body);
    client_write(&c, text.data, text.size);
    myr_buf_fini(&text);
    answer a = client_read_as(&c, true);
    client_close(&c);
    return a;
}

TEST(a_deadline_that_has_passed)
{
    static const struct {
        const char *header, *path, *body, *part;
        int status;
    } cases[] = {
        {"X-Deadline-Ms: 0", SCORE, ROWS(ROW("2", "1", "1", "0")), "'0', not a number of milliseconds from 1", 400},
        {"X-Deadline-Ms: -1", SCORE, ROWS(ROW("2", "1", "1", "0")), "not a number of milliseconds", 400},
        {"X-Deadline-Ms: 99999999999999999999", SCORE, ROWS(ROW("2", "1", "1", "0")), "not a number", 400},
        {"X-Deadline-Ms: 18446744073709551615", SCORE, ROWS(ROW("2", "1", "1", "0")), "\"prediction\":11,", 200},
        {"X-Deadline-Ms: 60000", INFER, V2("2", "1", "1"), "[11]", 200},
        {"X-Y: 1", INFER, "{\"parameters\":{\"timeout\":\"x\"},\"inputs\":[]}",
         "'timeout' is a string, not a whole number", 400},
        {"X-Y: 1", "/v2/models/oj@store=2,brand=1/infer",
         "{\"parameters\":{\"timeout\":0},\"inputs\":[{\"name\":\"features\",\"shape\":[1,2],\"datatype\":\"FP64\","
         "\"data\":[1,0]}]}",
         "[11]", 200},
        {"X-Y: 1", "/v2/models/oj@store=2,brand=1/infer",
         "{\"parameters\":{\"timeout\":1},\"inputs\":[{\"name\":\"features\",\"shape\":[1,2],\"datatype\":\"FP64\","
         "\"data\":[1,0]}]}",
         "the deadline of 0 ms passed before its model could run", 504},
    };
    world w;
    world_start(&w);
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        answer a = ask_with(w.port, cases[i].header, cases[i].path, cases[i].body);
        if (a.status != cases[i].status) print_error("case %zu: %d %s\n", i, a.status, a.body);
        EXPECT_INT(a.status, cases[i].status);
        EXPECT_HAS(a.body, cases[i].part);
        answer_fini(&a);
    }
    world_stop(&w);
}

TEST(an_answer_says_how_long_its_stages_took)
{
    world w;
    world_start(&w);
    answer a = ask_with(w.port, "X-Server-Timing: 1", SCORE, ROWS(ROW("2", "1", "1", "0")));
    EXPECT_HAS(a.head, "Server-Timing: queue;dur=");
    EXPECT_HAS(a.head, ", infer;dur=");
    answer_fini(&a);
    a = ask_with(w.port, "X-Y: 1", SCORE, ROWS(ROW("2", "1", "1", "0")));
    EXPECT(strstr(a.head, "Server-Timing") == NULL);
    answer_fini(&a);
    a = ask_once(w.port, "GET", "/metrics", NULL);
    EXPECT_HAS(a.body, "myriad_stage_duration_seconds_count{fleet=\"oj\",stage=\"infer\"} 2");
    answer_fini(&a);
    world_stop(&w);
    world_file(&w, "server_timing: true\n");
    world_serve(&w);
    a = ask_with(w.port, "X-Y: 1", SCORE, ROWS(ROW("2", "1", "1", "0")));
    EXPECT_HAS(a.head, "Server-Timing: ");
    answer_fini(&a);
    world_stop(&w);
}

RUN()
