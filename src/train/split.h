/* How a read table is cut: private to the files that make one. */
#ifndef MYR_TRAIN_SPLIT_H
#define MYR_TRAIN_SPLIT_H

#include "train/internal.h"

/* Mark rows, order them at each level, name the segments. Fills all of the table but data and columns. */
myr_rc myr_train_split(myr_train_table *table, myr_err *err);

#endif
