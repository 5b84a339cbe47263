/* The named maxima that more than one directory needs. Each is tested at the limit and one past it. */
#ifndef MYR_BASE_BOUNDS_H
#define MYR_BASE_BOUNDS_H

#define MYR_NAME_BYTES_MAX        128         /* a fleet, alias, tag key, feature or column name */
#define MYR_PARTITION_COLUMNS_MAX 8           /* partition columns of a fleet */
#define MYR_KEY_VALUE_BYTES_MAX   256         /* one partition value, decoded */
#define MYR_KEY_TEXT_BYTES_MAX    4096        /* `store=2,brand=1`, percent-encoded */
#define MYR_FEATURES_MAX          65535       /* features of a model */
#define MYR_OUTPUTS_MAX           1024        /* outputs (classes) of a model */
#define MYR_FILE_BYTES_MAX        (1LL << 30) /* a model file that is read whole */
#define MYR_PATH_BYTES_MAX        4096

#endif
