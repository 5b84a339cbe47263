/* What the clouds call a place: a table that anyone can edit, since names change faster than programs. */
#include <string.h>

#include "advise/internal.h"

typedef struct products_row {
    const char *place;
    const char *const *verdicts; /* NULL: every verdict */
    uint32_t verdict_count;
    const char *names[MYR_ADVISE_CLOUDS_MAX]; /* NULL: none known */
} products_row;

struct myr_advise_products {
    myr_spec *spec; /* owns the texts */
    uint32_t cloud_count, row_count;
    const char *const *clouds;
    products_row rows[MYR_ADVISE_ROWS_MAX];
};

/* A word of the table must be one of the trees' (NULL: not checked). */
static myr_rc products_known(const myr_spec *spec, const myr_spec_node *at, const char *what, const char *name,
                             const myr_advise_end *ends, uint32_t count, myr_err *err)
{
    const char *known[MYR_ADVISE_OPTIONS_MAX + 1] = {0};
    for (uint32_t i = 0; i < count; i++) {
        known[i] = ends[i].name;
        if (strcmp(known[i], name) == 0) return MYR_OK;
    }
    const char *nearest = myr_nearest(name, known);
    return myr_spec_fail(spec, at, err, "%s '%.40s' is not in the trees: did you mean '%s'?", what, name,
                         nearest != NULL ? nearest : known[0]);
}

static myr_rc products_names(myr_advise_products *p, const myr_spec_node *map, products_row *row, myr_err *err)
{
    const myr_spec_node *names = myr_spec_find(map, "names");
    if (names == NULL) return myr_spec_fail(p->spec, map, err, "key 'names' is missing: give a name per cloud");
    MYR_TRY(myr_spec_check_keys(p->spec, names, p->clouds, err));
    for (uint32_t i = 0; i < p->cloud_count; i++) {
        MYR_TRY(
            myr_advise_read_text(p->spec, names, p->clouds[i], false, MYR_ADVISE_TEXT_BYTES_MAX, &row->names[i], err));
    }
    return MYR_OK;
}

static myr_rc products_row_read(myr_advise_products *p, const myr_spec_node *map, const myr_advise_trees *check,
                                myr_err *err)
{
    static const char *const known[] = {"place", "verdict", "names", NULL};
    products_row row = {0};
    MYR_TRY(myr_spec_check_keys(p->spec, map, known, err));
    MYR_TRY(myr_spec_text(p->spec, map, "place", true, &row.place, err));
    MYR_TRY(myr_spec_texts(p->spec, map, "verdict", false, &row.verdicts, &row.verdict_count, err));
    MYR_TRY(products_names(p, map, &row, err));
    if (check != NULL) {
        const myr_spec_node *at = myr_spec_find(map, "place");
        MYR_TRY(products_known(p->spec, at, "place", row.place, check->places, check->place_count, err));
        at = myr_spec_find(map, "verdict");
        for (uint32_t i = 0; i < row.verdict_count; i++) {
            MYR_TRY(
                products_known(p->spec, at, "verdict", row.verdicts[i], check->verdicts, check->verdict_count, err));
        }
    }
    p->rows[p->row_count++] = row;
    return MYR_OK;
}

static myr_rc products_read(myr_advise_products *p, const myr_advise_trees *check, myr_err *err)
{
    static const char *const known[] = {"form", "clouds", "rows", NULL};
    const myr_spec_node *root = myr_spec_root(p->spec);
    MYR_TRY(myr_advise_read_form(p->spec, root, err));
    MYR_TRY(myr_spec_check_keys(p->spec, root, known, err));
    MYR_TRY(myr_spec_texts(p->spec, root, "clouds", true, &p->clouds, &p->cloud_count, err));
    if (p->cloud_count > MYR_ADVISE_CLOUDS_MAX) {
        return myr_spec_fail(p->spec, myr_spec_find(root, "clouds"), err, "%u clouds: at most %d", p->cloud_count,
                             MYR_ADVISE_CLOUDS_MAX);
    }
    for (uint32_t i = 0; i < p->cloud_count; i++) {
        if (strlen(p->clouds[i]) <= MYR_ADVISE_NAME_BYTES_MAX) continue;
        return myr_spec_fail(p->spec, myr_spec_find(root, "clouds"), err, "a cloud's name has at most %d bytes",
                             MYR_ADVISE_NAME_BYTES_MAX);
    }
    const myr_spec_node *rows = myr_spec_find(root, "rows");
    if (rows == NULL || rows->kind != MYR_SPEC_LIST) {
        return myr_spec_fail(p->spec, rows != NULL ? rows : root, err, "'rows' must be a list");
    }
    if (rows->count > MYR_ADVISE_ROWS_MAX) {
        return myr_spec_fail(p->spec, rows, err, "%u rows: at most %d", rows->count, MYR_ADVISE_ROWS_MAX);
    }
    for (uint32_t i = 0; i < rows->count; i++) {
        MYR_TRY(products_row_read(p, rows->items[i], check, err));
    }
    return MYR_OK;
}

/* Takes the spec, also on failure. */
static myr_rc products_take(myr_spec *spec, const myr_advise_trees *check, myr_advise_products **out, myr_err *err)
{
    myr_advise_products *p = myr_calloc(1, sizeof *p);
    if (p == NULL) {
        myr_spec_free(spec);
        MYR_FAIL(err, NO_MEMORY, "out of memory");
    }
    p->spec = spec;
    myr_rc rc = products_read(p, check, err);
    if (rc != MYR_OK) {
        myr_advise_products_free(p);
        return rc;
    }
    *out = p;
    return MYR_OK;
}

myr_rc myr_advise_products_parse(const char *name, const char *text, size_t size_bytes, const myr_advise_trees *check,
                                 myr_advise_products **out, myr_err *err)
{
    myr_spec *spec = NULL;
    MYR_TRY(myr_spec_parse(name, text, size_bytes, &spec, err));
    return products_take(spec, check, out, err);
}

myr_rc myr_advise_products_load(const char *path, const myr_advise_trees *trees, myr_advise_products **out,
                                myr_err *err)
{
    myr_str text = myr_advise_products_text();
    if (path == NULL) return myr_advise_products_parse("the built-in products", text.data, text.size, NULL, out, err);
    myr_spec *spec = NULL;
    MYR_TRY(myr_spec_load(path, &spec, err));
    return products_take(spec, trees, out, err);
}

void myr_advise_products_free(myr_advise_products *products)
{
    if (products == NULL) return;
    myr_spec_free(products->spec);
    myr_free(products);
}

uint32_t myr_advise_cloud_count(const myr_advise_products *products)
{
    return products->cloud_count;
}

const char *myr_advise_cloud(const myr_advise_products *products, uint32_t cloud_idx)
{
    MYR_ASSERT(cloud_idx < products->cloud_count);
    return products->clouds[cloud_idx];
}

static bool products_fits(const products_row *row, const char *place, const char *verdict)
{
    if (strcmp(row->place, place) != 0) return false;
    for (uint32_t i = 0; i < row->verdict_count; i++) {
        if (strcmp(row->verdicts[i], verdict) == 0) return true;
    }
    return row->verdict_count == 0;
}

const char *myr_advise_product(const myr_advise_products *products, const char *place, const char *verdict,
                               uint32_t cloud_idx)
{
    MYR_ASSERT(cloud_idx < products->cloud_count);
    for (uint32_t i = 0; i < products->row_count; i++) {
        if (products_fits(&products->rows[i], place, verdict)) return products->rows[i].names[cloud_idx];
    }
    return NULL;
}
