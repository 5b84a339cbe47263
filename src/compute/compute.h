/*
 * The face of compute: other programs that work for this one, and end with it. A worker is a child process that is
 * asked over a socket and may be ended at any time; limits of the system hold it; what it writes is kept, so that its
 * end can be told. An environment is what a Python program needs, made from a list of requirements.
 *
 * No worker outlives its parent: the kernel kills it then (PR_SET_PDEATHSIG), and whoever stops it kills its process
 * group. It is no sandbox: a worker has the rights of whoever started myriad, but for the network, if it is offline.
 */
#ifndef MYR_COMPUTE_COMPUTE_H
#define MYR_COMPUTE_COMPUTE_H

#include "base/base.h"

#define MYR_WORKER_FD              3    /* where a worker finds its socket */
#define MYR_WORKER_TAIL_BYTES      2048 /* of what it wrote, the last */
#define MYR_WORKER_FRAME_BYTES_MAX (256 << 20)

/* ---- what holds a worker within its limits ---- */
typedef enum myr_hold {
    MYR_HOLD_NONE,
    MYR_HOLD_RLIMIT,
    MYR_HOLD_AFFINITY,
    MYR_HOLD_CGROUP1,
    MYR_HOLD_CGROUP2
} myr_hold;
const char *myr_hold_name(myr_hold hold); /* "none", "rlimit", "affinity", "cgroup v1", "cgroup v2" */

/* Directories below which control groups may be made; "": not for this limit. */
typedef struct myr_cgroup {
    int version; /* 0: none */
    char memory[MYR_PATH_BYTES_MAX], cpu[MYR_PATH_BYTES_MAX];
} myr_cgroup;
#define MYR_CGROUP_ROOT "/sys/fs/cgroup"
#define MYR_CGROUP_SELF "/proc/self/cgroup"
/*
 * Look for them. group "": our own group or the one above, if the system has delegated it (Delegate= of systemd); a
 * path from the root of the hierarchy, "/batch": that one, which is there; "off": none. Tried out: a group is made and
 * goes again.
 */
void myr_cgroup_find(const char *root, const char *self, const char *group, myr_cgroup *out);

/* The groups of one worker, made with its limits. Zero-initialise. */
typedef struct myr_cgroup_worker {
    char memory[MYR_PATH_BYTES_MAX], cpu[MYR_PATH_BYTES_MAX]; /* "": none */
} myr_cgroup_worker;
/* number: unlike those of other workers of this process, from 1. A limit of 0 is none. IO; close it all the same. */
myr_rc myr_cgroup_open(const myr_cgroup *place, int64_t number, int64_t memory_bytes, int64_t cpu_milli,
                       myr_cgroup_worker *out, myr_err *err);
bool myr_cgroup_enter(const myr_cgroup_worker *groups); /* this process; safe between fork and exec */
/* Whether the kernel has ended a process in it for want of memory. */
bool myr_cgroup_ran_out(const myr_cgroup_worker *groups);
void myr_cgroup_close(myr_cgroup_worker *groups); /* its processes are gone */

/* ---- what keeps a worker from the network ---- */
typedef enum myr_offline { MYR_OFFLINE_NO, MYR_OFFLINE_NETWORK, MYR_OFFLINE_USER } myr_offline;
const char *myr_offline_name(myr_offline how); /* "no", "network name space", "user and network name space" */
/* What this kernel lets this user do; tried out once by a process of its own. Thread: any. */
myr_offline myr_offline_find(void);

typedef struct myr_worker_opts {
    const char *const *argv;  /* NULL-terminated; argv[0] is the program's path */
    const char *const *env;   /* NULL-terminated NAME=value: all that it gets */
    const char *dir;          /* its working directory */
    const char *input_path;   /* what its standard input reads; NULL: nothing */
    int64_t memory_bytes_max; /* of its group, or of address space; 0: no limit */
    int64_t cpu_milli_max;    /* thousandths of a processor, of its group, or whole ones it may run on; 0: no limit */
    const myr_cgroup *cgroup; /* where its group may be made; NULL: rlimit and affinity hold it */
    int64_t file_bytes_max;   /* of a file that it writes; 0: no limit */
    bool is_offline;          /* no network but a loopback of its own; it does not start where that can't be */
    const _Atomic bool *stop; /* once it is set nobody waits for it any more (UNAVAILABLE); NULL: there is none */
} myr_worker_opts;

/* A worker process. Thread: one at a time. */
typedef struct myr_worker myr_worker;

/* Errors: NOT_FOUND: no such program; NO_MEMORY, IO. */
myr_rc myr_worker_start(const myr_worker_opts *opts, myr_worker **out, myr_err *err);
/* End it and its process group now, and wait until it is gone. NULL accepted. */
void myr_worker_stop(myr_worker *worker);
/* Close its socket, which tells it that it is not needed any more, and stop it after wait_ms. NULL accepted. */
void myr_worker_end(myr_worker *worker, int64_t wait_ms);
/* Has it neither ended nor closed its socket? */
bool myr_worker_is_alive(myr_worker *worker);

/*
 * Send a frame (NULL: none) and wait for one: 4 bytes of length, little-endian, then so many bytes. Ownership: *answer
 * is the caller's buffer, cleared first. Errors: TIMEOUT: not by deadline_ns (monotonic); UNAVAILABLE: it has ended,
 * with how and what it wrote last; TOO_LARGE: its frame. After an error it can only be stopped.
 */
myr_rc myr_worker_ask(myr_worker *worker, const myr_buf *request, int64_t deadline_ns, myr_buf *answer, myr_err *err);

int64_t myr_worker_pid(const myr_worker *worker); /* for people; 0 when it is gone */
/* What would hold a worker with these options: memory, processor. */
void myr_worker_holds(const myr_worker_opts *opts, myr_hold *out_memory, myr_hold *out_cpu);

/*
 * Inside a worker that is this program: the next request (CANCELLED: there is none any more), and an answer to it.
 * Ownership: the buffer is the caller's, cleared first. Thread: one at a time for each of the two. Errors: IO,
 * TOO_LARGE, NO_MEMORY.
 */
myr_rc myr_worker_hear(myr_buf *request, myr_err *err);
myr_rc myr_worker_tell(const myr_buf *answer, myr_err *err);

/* Run a program to its end. tail, NULL accepted: the last of what it wrote is appended, whatever became of it. Errors:
 * UNAVAILABLE: it failed, with its last line; TIMEOUT; those of start. */
myr_rc myr_process_run(const myr_worker_opts *opts, int64_t timeout_ms, myr_buf *tail, myr_err *err);

/*
 * A process that goes on when its starter ends, in a session of its own. It is there at once but waits at a gate, so
 * that its starter can write down that it is, before anything happens: a starter that dies with the gate shut has
 * started nothing. Once let in, it makes its output file, which therefore says whether it ever was, and runs.
 */
typedef struct myr_detached {
    int64_t pid;       /* also of its process group */
    int64_t pid_start; /* when it was started, as the kernel counts: with pid, the one process that this is */
    int gate;          /* our end; -1: it was let in, or sent away */
} myr_detached;
typedef struct myr_detached_opts {
    const char *const *argv; /* NULL-terminated; argv[0] is the program's path */
    const char *const *env;  /* NULL-terminated NAME=value: all that it gets */
    const char *dir;         /* its working directory */
    const char *output_path; /* where its standard output goes; must not exist */
    const char *error_path;  /* standard error; appended */
} myr_detached_opts;
/* Errors: NOT_FOUND: no such program; NO_MEMORY, IO. It is the caller's child, to be waited for. */
myr_rc myr_detached_start(const myr_detached_opts *opts, myr_detached *out, myr_err *err);
void myr_detached_let_in(myr_detached *process);
void myr_detached_send_away(myr_detached *process); /* it ends without having run, and is waited for */
/* Is it still running? Also another's child; one that has ended and was not waited for yet is not. */
bool myr_process_runs(int64_t pid, int64_t pid_start);
/* A child of ours: has it ended? *out_exit: its exit code, 128 + the signal that ended it; -1: nobody knows. */
bool myr_process_ended(int64_t pid, int64_t *out_exit);
/* Send a signal to its process group, if it is still this process. */
void myr_process_signal(int64_t pid, int64_t pid_start, int number);
/*
 * Where a process number means something: this machine, since it was started, in this name space of processes. `place`
 * tells those apart that share it but not their files. "name:place/1a2b3c4d-4026531836": before the slash is what stays
 * over a restart.
 */
#define MYR_HOST_BYTES 128
void myr_host(const char *place, char out[MYR_HOST_BYTES]);

/*
 * An environment for Python programs, found by the hash of its requirements and of the Python that makes it; made by
 * the first who asks, while others wait; kept while anybody, of any process, has it. dir: where they lie. requirements:
 * the path of a file for pip, whose directory is where relative names in it lead. Errors: UNAVAILABLE with pip's words;
 * BAD_INPUT: a package without a hash, though one is asked for or others have one; TIMEOUT; BUSY: another still makes
 * it, or removes it, or it is not there and only to be found; NOT_FOUND: no Python. Thread: any.
 */
#define MYR_ENVIRONMENT_HASH_CHARS 24
typedef struct myr_environment myr_environment;
typedef struct myr_environment_opts {
    const char *dir;
    const char *python;       /* path of the program */
    const char *requirements; /* NULL: none: that Python as it is */
    bool only_found;          /* not made: BUSY while it is not there */
    bool require_hashes;      /* a list that has no hashes is refused, also where it was made before */
    int64_t timeout_ms;       /* to make it, and for another to have made it */
    int64_t bytes_max;        /* when one was made, those had least lately go that are more than so much; 0: none do */
    const _Atomic bool *stop; /* as of a worker */
} myr_environment_opts;
myr_rc myr_environment_acquire(const myr_environment_opts *opts, myr_environment **out, myr_err *err);
const char *myr_environment_python(const myr_environment *environment);
void myr_environment_release(myr_environment *environment); /* NULL accepted */
/* What the environment of these requirements and this Python is called in every directory. */
void myr_environment_hash(const char *python, const void *requirements, size_t size, bool require_hashes,
                          char out[MYR_ENVIRONMENT_HASH_CHARS + 1]);

/* What is in a directory of environments. Nobody is kept waiting by a list. */
typedef enum myr_environment_state {
    MYR_ENVIRONMENT_IDLE,
    MYR_ENVIRONMENT_IN_USE,
    MYR_ENVIRONMENT_BEING_MADE, /* or being removed */
    MYR_ENVIRONMENT_LEFT_OVER   /* by one who was killed while it made or removed it: counts as not there */
} myr_environment_state;
const char *myr_environment_state_name(myr_environment_state state); /* "in use" */
typedef struct myr_environment_row {
    char hash[MYR_ENVIRONMENT_HASH_CHARS + 1];
    myr_environment_state state;
    int64_t bytes;            /* on the disk, since it was made; 0 while it is being made */
    int64_t made_ms, used_ms; /* Unix; used: taken or given back last; 0: not known */
} myr_environment_row;
/* By hash; in the arena. A directory that is not there has none. Errors: IO, NO_MEMORY. */
myr_rc myr_environment_list(const char *dir, myr_arena *arena, myr_environment_row **out, size_t *out_count,
                            myr_err *err);
/* The requirements that one was made from: the caller's text. NOT_FOUND. */
myr_rc myr_environment_requirements(const char *dir, const char *hash, char **out, size_t *out_size, myr_err *err);

/*
 * Remove those that nobody has: left-over ones, by age those not had for keep_ms, by size those had least lately, until
 * all together have at most bytes_max. One that is taken meanwhile stays. kept: hashes that stay whatever their age;
 * NULL-terminated, or NULL. out, NULL accepted: the removed ones, in the arena, in the order of their use. Errors: what
 * could not be removed, first of all; the others are removed all the same, and told. BUSY: another removes some.
 */
typedef struct myr_environment_prune {
    bool by_age, by_size;
    int64_t keep_ms, bytes_max;
    const char *const *kept;
} myr_environment_prune;
typedef struct myr_environment_pruned {
    const myr_environment_row *removed;
    size_t removed_count;
    int64_t removed_bytes;
    size_t left_count, left_in_use; /* with those being made */
    int64_t left_bytes;
} myr_environment_pruned;
myr_rc myr_environment_remove(const char *dir, const myr_environment_prune *prune, myr_arena *arena,
                              myr_environment_pruned *out, myr_err *err);
/* Remove those that nobody has had for keep_ms, then by size; 0: any size. What goes wrong, the next sweep does. */
void myr_environment_sweep(const char *dir, int64_t keep_ms, int64_t bytes_max);
/* The path of a program: itself if it has a slash, else found in PATH. NOT_FOUND. */
myr_rc myr_program_find(const char *name, char *out, size_t out_bytes, myr_err *err);

#endif
