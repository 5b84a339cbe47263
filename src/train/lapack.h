/* LAPACKE and the BLAS below it, opened at run time. Not for other directories. */
#ifndef MYR_TRAIN_LAPACK_H
#define MYR_TRAIN_LAPACK_H

#include <cblas.h>
#include <lapacke.h>

/* Each call computes on the thread that calls. */
struct myr_train_lapack {
    __typeof__(cblas_dsyrk) *dsyrk;
    __typeof__(cblas_dgemv) *dgemv;
    __typeof__(LAPACKE_dposv) *dposv;
};

#endif
