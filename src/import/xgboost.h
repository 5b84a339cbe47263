/*
 * What the files of the XGBoost reader share: its state, and how fields are fetched with names in every message.
 * Not for other directories.
 */
#ifndef MYR_IMPORT_XGBOOST_H
#define MYR_IMPORT_XGBOOST_H

#include "import/xgboost_doc.h"

#define MYR_XGB_WHERE_BYTES 32

/*
 * 32-bit words that all category sets of a model may take together: this many, and so many more per byte of the file.
 * A set is a bitmap from category 0, so one large number in a small file would otherwise take megabytes.
 */
#define MYR_XGB_CATEGORY_WORDS_FREE     (UINT64_C(1) << 20)
#define MYR_XGB_CATEGORY_WORDS_PER_BYTE 4

#define MYR_XGB_UNSEEN INT32_MIN /* the place of a node that hangs below none */

/* The arrays of one tree, one entry per node, reused from tree to tree. */
typedef struct myr_xgb_nodes {
    uint32_t count;
    int32_t *left, *right, *parent;
    int64_t *feature;
    float *condition; /* the threshold of a split, the value of a leaf */
    float *cover;     /* sum_hessian, if the file has it */
    bool has_cover;
    uint8_t *default_left, *is_category;
    int32_t *place; /* MYR_XGB_UNSEEN, or its number among the splits or, for a leaf, ~number among the leaves */
    int32_t *todo;  /* the walk's stack */
} myr_xgb_nodes;

/* One import, owned by myr_import_xgboost. */
typedef struct myr_xgb {
    const myr_import_src *src;
    myr_imported *out;
    myr_doc doc;
    myr_xgb_nodes nodes; /* capacity in nodes_room; heap, freed at the end */
    uint32_t nodes_room;
    int64_t version_major, version_minor; /* of the library that wrote the file */
    bool boost_from_average;              /* base_score was not given by a person */
    bool is_fitted;                       /* at least one round was boosted */
    uint32_t vector_size;                 /* values of a leaf: 1, or one per output (multi_output_tree) */
    uint64_t category_words;              /* of all trees so far */
    char where[MYR_XGB_WHERE_BYTES];      /* "tree 5", "learner": stands in messages */
    myr_err *err;
} myr_xgb;

/* A wanted field of an object. */
typedef struct myr_xgb_field {
    const char *name;
    myr_doc_kind kind;
    bool is_optional;
} myr_xgb_field;

/* Fail with the file's name and xgb->where in front of the message. */
#define MYR_XGB_FAIL(xgb, code, ...)                                                                                   \
    do {                                                                                                               \
        myr_rc xgb_rc_ = MYR_ERROR((xgb)->err, code, __VA_ARGS__);                                                     \
        return myr_err_prefix((xgb)->err, xgb_rc_, "%s: %s: ", (xgb)->src->name, (xgb)->where);                        \
    } while (0)

/* Find `count` fields in one walk over the object. A field that is missing, doubled or of another kind is BAD_FORMAT.
 */
myr_rc myr_xgb_fields(myr_xgb *xgb, myr_doc_value object, const myr_xgb_field *fields, size_t count,
                      myr_doc_value *out);
/* XGBoost's parameters are numbers written as text: "5". At most `max`, else BAD_FORMAT. */
myr_rc myr_xgb_parameter(myr_xgb *xgb, const char *name, myr_doc_value value, uint64_t max, uint64_t *out);
void *myr_xgb_alloc(myr_xgb *xgb, size_t count,
                    size_t size_bytes); /* zeroed, from the model's arena; NULL: no memory */

/* Trees to keep, by boosting round. `count` 0: all from `first` on. */
typedef struct myr_xgb_rounds {
    uint32_t first, count;
} myr_xgb_rounds;

/*
 * Read `trees` and `tree_info` into out->desc, whose feature_count and margin_count are set. weight_drop: dart's, or
 * absent. xgboost_trees.c
 */
myr_rc myr_xgb_read_trees(myr_xgb *xgb, myr_doc_value model, myr_doc_value weight_drop, myr_xgb_rounds rounds);
/* Read one tree into xgb->vector_size of them, which share their splits; `weight` is dart's, else NULL. xgboost_tree.c
 */
myr_rc myr_xgb_read_tree(myr_xgb *xgb, myr_doc_value value, uint32_t tree_idx, const float *weight, myr_tree *out);
/* size_leaf_vector of a tree. xgboost_tree.c */
myr_rc myr_xgb_read_vector_size(myr_xgb *xgb, myr_doc_value tree, uint64_t *out);
/* Leaves that are vectors: trees[0] is read but for its leaves, and becomes vector_size trees. xgboost_vector.c */
myr_rc myr_xgb_read_vectors(myr_xgb *xgb, myr_doc_value base, myr_doc_value leaf, myr_tree *trees);
/* gblinear: weights into out->desc; what is to be added to the base margin, by myr_xgb_add_biases. xgboost_linear.c */
myr_rc myr_xgb_read_linear(myr_xgb *xgb, myr_doc_value model, double **out_biases);
void myr_xgb_add_biases(const double *biases, uint32_t count, double *margins);
void myr_xgb_nodes_fini(myr_xgb_nodes *nodes);

/* Arrays with one entry per node, or of a length that is known; `what` stands in messages. xgboost_array.c */
myr_rc myr_xgb_ints32(myr_xgb *xgb, const char *what, myr_doc_value array, uint64_t count, int32_t *out);
myr_rc myr_xgb_ints64(myr_xgb *xgb, const char *what, myr_doc_value array, uint64_t count, int64_t *out);
myr_rc myr_xgb_flags(myr_xgb *xgb, const char *what, myr_doc_value array, uint64_t count, uint8_t *out);
myr_rc myr_xgb_floats(myr_xgb *xgb, const char *what, myr_doc_value array, uint64_t count, float *out);
myr_rc myr_xgb_expect_count(myr_xgb *xgb, const char *what, myr_doc_value array, uint64_t count);

/* Read a tree's category sets into out->category_words and its splits. xgboost_category.c */
#define MYR_XGB_CATEGORY_FIELDS 5
extern const myr_xgb_field myr_xgb_category_fields[MYR_XGB_CATEGORY_FIELDS];
myr_rc myr_xgb_read_split_types(myr_xgb *xgb, const myr_doc_value values[MYR_XGB_CATEGORY_FIELDS]);
/* Read `cats`, the names of categories, into out->desc.categories. xgboost_names.c */
myr_rc myr_xgb_read_names_of_categories(myr_xgb *xgb, myr_doc_value cats);
myr_rc myr_xgb_read_categories(myr_xgb *xgb, const myr_doc_value values[MYR_XGB_CATEGORY_FIELDS], myr_tree *out);

#endif
