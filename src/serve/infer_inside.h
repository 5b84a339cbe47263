/* What the files that decode V2 infer requests share: infer_decode.c and infer_scan.c (JSON), infer_build.c (which
 * column is meant), infer_binary.c. */
#ifndef MYR_SERVE_INFER_INSIDE_H
#define MYR_SERVE_INFER_INSIDE_H

#include "serve/internal.h"

#define INFER_DIMS_MAX       2
#define INFER_MATRIX_NAME    "features"
#define INFER_SCAN_BYTES_MAX (64u << 10) /* of JSON; a longer one is read as a document */

typedef enum infer_class { INFER_BOOL, INFER_INT, INFER_UINT, INFER_FLOAT, INFER_DOUBLE, INFER_TEXT } infer_class;

typedef struct infer_datatype {
    const char *name;
    infer_class kind;
    uint32_t width; /* bytes of a binary value; 0: each has its own */
    int64_t min;    /* integers */
    uint64_t max;
} infer_datatype;

/* One input as it was sent. */
typedef struct infer_tensor {
    struct infer_tensor *next; /* of an infer_scan */
    const char *name;          /* NUL-terminated, the reader's */
    const infer_datatype *type;
    uint64_t dims[INFER_DIMS_MAX];
    uint32_t dim_count;
    yyjson_val *data;  /* an array of JSON; or … */
    yyjson_val *cells; /* … as many values as the shape says, row by row; both NULL: binary */
    myr_str raw;       /* the bytes of a binary one, in the body */
    yyjson_val size;   /* of an infer_scan: how many they are … */
    bool has_size;     /* … if it says so */
} infer_tensor;

static inline bool infer_is_binary(const infer_tensor *tensor)
{
    return tensor->data == NULL && tensor->cells == NULL;
}

typedef enum infer_flag { INFER_UNSET, INFER_OFF, INFER_ON } infer_flag;

/* An output that is asked for. */
typedef struct infer_asked {
    myr_str name;
    infer_flag is_binary;
} infer_asked;

/* A request as infer_scan.c found it. */
struct infer_scan {
    myr_str id; /* data NULL: absent */
    infer_flag is_binary;
    infer_tensor *inputs; /* at least one */
    infer_asked outputs[MYR_OUTPUT_COUNT];
    uint32_t output_count;
};

/* The columns as they fill. */
typedef struct infer_build {
    serve_work *work; /* its arena and target */
    const myr_pack_info *info;
    int64_t row_count;      /* -1: no input yet */
    const char *first_name; /* of the input that set it */
    myr_col *keys;
    myr_col *features;
    int64_t feature_stride; /* a binary matrix is used where it lies: see myr_score_rows */
    bool has_binary;        /* binary tensors may be there: … */
    myr_str binary;         /* … what no input has taken yet */
} infer_build;

/* ---- infer_build.c ---- */

/* NULL when the protocol has no such datatype, or we don't read it (FP16, BF16). */
const infer_datatype *myr_serve_datatype_find(myr_str name);
/* Begin; then give each input to the columns that it names; then put them into work->rows, once none is missing. */
myr_rc myr_serve_build_begin(infer_build *build, serve_work *work, myr_err *err);
myr_rc myr_serve_build_add(infer_build *build, const infer_tensor *tensor, myr_err *err);
myr_rc myr_serve_build_end(infer_build *build, myr_err *err);
/* Zeroed memory in the arena, never of no bytes. */
myr_rc myr_serve_infer_memory(infer_build *build, size_t count, size_t width, void **out, myr_err *err);

/* ---- infer_decode.c ---- */

/* One more output that is asked for. BAD_INPUT: there is none of that name, or it is asked for twice. */
myr_rc myr_serve_output_add(serve_work *work, myr_str name, myr_err *err);

/* ---- infer_binary.c; all name the input in their errors ---- */

/* Give the next bytes of the binary part to an input; size: its binary_data_size. */
myr_rc myr_serve_binary_take(infer_build *build, infer_tensor *tensor, yyjson_val *size, myr_err *err);
/* Numbers in row-major order, in place if they can be. Not for BYTES. */
myr_rc myr_serve_binary_doubles(infer_build *build, const infer_tensor *tensor, size_t count, const double **out,
                                myr_err *err);
/* A column of texts: BYTES as they are, whole numbers and truth values as JSON would write them. */
myr_rc myr_serve_binary_cells(infer_build *build, const infer_tensor *tensor, myr_col *col, myr_err *err);
/* A column of INT64 of any integer type. */
myr_rc myr_serve_binary_ints(infer_build *build, const infer_tensor *tensor, myr_col *col, myr_err *err);

#endif
