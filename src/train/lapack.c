/* LAPACKE, opened for a training that needs it: OpenBLAS starts threads when it is loaded, and they look for work a
 * while. */
#include "train/lapack.h"

#include "base/library.h"
#include "train/internal.h"

myr_rc myr_train_lapack_open(myr_train_lapack *out, myr_err *err)
{
    static const char *const names[] = {"liblapacke.so.3", NULL};
    void *library = myr_library_open(names);
    myr_train_lapack calls;
    bool is_whole = library != NULL &&
                    myr_library_symbol(library, "cblas_dsyrk", &calls.dsyrk) && /* of the BLAS that it is linked to */
                    myr_library_symbol(library, "cblas_dgemv", &calls.dgemv) &&
                    myr_library_symbol(library, "LAPACKE_dposv", &calls.dposv);
    if (!is_whole) {
        MYR_FAIL(err, UNAVAILABLE,
                 "the trials ask for ridge, which needs %s over OpenBLAS: apt-get install liblapacke libopenblas0, or "
                 "take ridge out of the trials",
                 names[0]);
    }
    void (*set_threads)(int count);
    if (myr_library_symbol(library, "openblas_set_num_threads", &set_threads)) set_threads(1); /* one fit per core */
    *out = calls;
    return MYR_OK;
}
