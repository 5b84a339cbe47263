/* The face of base: everything that knows no domain word. The other headers here are its chapters. */
#ifndef MYR_BASE_BASE_H
#define MYR_BASE_BASE_H

#include "base/err.h"
#include "base/bounds.h"
#include "base/mem.h"
#include "base/arena.h"
#include "base/str.h"
#include "base/column.h"
#include "base/protobuf.h"
#include "base/map.h"
#include "base/hash.h"
#include "base/io.h"
#include "base/clock.h"
#include "base/thread.h"
#include "base/queue.h"
#include "base/pool.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/opt.h"

#endif
