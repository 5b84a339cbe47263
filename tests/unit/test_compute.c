/* Worker processes: asked, late, ended in every way, held by limits, gone with their parent. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compute/compute.h"
#include "testing.h"

#define SOON(ms) (myr_clock_mono_ns() + (int64_t)(ms)*1000000)

static char python[MYR_PATH_BYTES_MAX];

/* A worker that runs this Python, with `recv(n)` and `send(bytes)` of frames at hand. */
static myr_worker *compute_start_as(const char *code, int64_t memory_bytes_max, bool is_offline)
{
    static const char head[] = "import os, socket, struct, sys, time\n"
                               "s = socket.socket(fileno=3)\n"
                               "def recv():\n"
                               "    need = struct.unpack('<I', s.recv(4, socket.MSG_WAITALL))[0]\n"
                               "    return s.recv(need, socket.MSG_WAITALL)\n"
                               "def send(data): s.sendall(struct.pack('<I', len(data)) + data)\n";
    MYR_AUTO(myr_buf) text = {0};
    myr_worker *worker = NULL;
    myr_err err;
    EXPECT_RC(myr_program_find("python3", python, sizeof python, &err), OK, &err);
    myr_buf_puts(&text, head);
    myr_buf_puts(&text, code);
    const char *const argv[] = {python, "-c", text.data, NULL};
    const char *const env[] = {"LANG=C.UTF-8", "PYTHONUNBUFFERED=1", NULL};
    const myr_worker_opts opts = {
        .argv = argv, .env = env, .dir = "/", .memory_bytes_max = memory_bytes_max, .is_offline = is_offline};
    EXPECT_RC(myr_worker_start(&opts, &worker, &err), OK, &err);
    return worker;
}

static myr_worker *compute_start(const char *code, int64_t memory_bytes_max)
{
    return compute_start_as(code, memory_bytes_max, false);
}

/* Its end, in words. */
static void compute_ends(const char *code, myr_rc rc, const char *part)
{
    MYR_AUTO(myr_buf) answer = {0};
    myr_worker *worker = compute_start(code, 0);
    myr_err err = {0};
    myr_rc got = myr_worker_ask(worker, NULL, SOON(20000), &answer, &err);
    testing_expect_rc(got, rc, &err, code, __FILE__, __LINE__);
    EXPECT_HAS(err.message, part);
    myr_worker_stop(worker);
}

static bool compute_is_gone(int64_t pid)
{
    for (int i = 0; i < 500; i++) {
        char path[64];
        MYR_AUTO(myr_mem) stat = NULL;
        size_t size;
        snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
        if (myr_file_read(path, 4096, (char **)&stat, &size, NULL) != MYR_OK || strstr(stat, ") Z ") != NULL)
            return true;
        usleep(10000);
    }
    return false;
}

TEST(a_worker_answers)
{
    MYR_AUTO(myr_buf) request = {0};
    MYR_AUTO(myr_buf) answer = {0};
    myr_worker *worker = compute_start("while True: send(recv()[::-1])", 0);
    static const size_t sizes[] = {1, 3, 70000, 3000000};
    myr_err err;
    for (size_t i = 0; i < MYR_COUNT_OF(sizes); i++) {
        myr_buf_clear(&request);
        for (size_t k = 0; k < sizes[i]; k++)
            myr_buf_putc(&request, (char)('a' + k % 26));
        EXPECT_RC(myr_worker_ask(worker, &request, SOON(60000), &answer, &err), OK, &err);
        EXPECT_INT(answer.size, sizes[i]);
        EXPECT(answer.data[0] == request.data[sizes[i] - 1] && answer.data[sizes[i] - 1] == 'a');
        EXPECT(myr_worker_is_alive(worker));
    }
    myr_worker_stop(worker);
}

TEST(how_a_worker_ended_is_told)
{
    compute_ends("sys.exit(7)", MYR_UNAVAILABLE, "it ended with exit code 7");
    compute_ends("os.abort()", MYR_UNAVAILABLE, "it was ended by signal 6 (Aborted)");
    compute_ends("raise ValueError('why')", MYR_UNAVAILABLE, "exit code 1: ValueError: why");
    compute_ends("print('last words'); os._exit(3)", MYR_UNAVAILABLE, "exit code 3: last words");
    compute_ends("s.close(); time.sleep(100)", MYR_UNAVAILABLE, "it was ended by signal 9");
    compute_ends("s.sendall(b'\\xff\\xff\\xff\\x7f')", MYR_TOO_LARGE, "2147483647 bytes");
    compute_ends("s.sendall(b'\\x05\\x00\\x00\\x00ab')", MYR_UNAVAILABLE, "exit code 0");
}

TEST(a_worker_that_hangs_is_ended)
{
    MYR_AUTO(myr_buf) answer = {0};
    static const char *const hangs[] = {
        "time.sleep(100)", "while True: pass",
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: pass",
        "while True: print('x' * 10000)"};
    for (size_t i = 0; i < MYR_COUNT_OF(hangs); i++) {
        myr_worker *worker = compute_start(hangs[i], 0);
        int64_t start_ns = myr_clock_mono_ns();
        myr_err err;
        EXPECT_RC(myr_worker_ask(worker, NULL, SOON(200), &answer, &err), TIMEOUT, &err);
        myr_worker_stop(worker);
        EXPECT((myr_clock_mono_ns() - start_ns) / 1000000 < 5000);
    }
}

TEST(what_it_started_ends_with_it)
{
    MYR_AUTO(myr_buf) answer = {0};
    myr_worker *worker = compute_start("pid = os.fork()\n"
                                       "if pid == 0: time.sleep(100)\n"
                                       "send(str(pid).encode()); time.sleep(100)",
                                       0);
    myr_err err;
    int64_t pid = 0;
    EXPECT_RC(myr_worker_ask(worker, NULL, SOON(20000), &answer, &err), OK, &err);
    EXPECT(myr_parse_int64(myr_str_make(answer.data, answer.size), &pid) && kill((pid_t)pid, 0) == 0);
    myr_worker_stop(worker);
    EXPECT(compute_is_gone(pid));
}

/* Whether its child closes the socket that it has from it or not. */
TEST(what_it_started_ends_when_it_ends_by_itself)
{
    static const char *const codes[] = {"pid = os.fork()\n"
                                        "if pid == 0: s.close(); time.sleep(100)\n"
                                        "send(str(pid).encode()); recv(); os._exit(3)",
                                        "pid = os.fork()\n"
                                        "if pid == 0: time.sleep(100)\n"
                                        "send(str(pid).encode()); recv(); os._exit(3)"};
    for (size_t i = 0; i < MYR_COUNT_OF(codes); i++) {
        MYR_AUTO(myr_buf) answer = {0};
        MYR_AUTO(myr_buf) request = {0};
        myr_worker *worker = compute_start(codes[i], 0);
        myr_err err;
        int64_t pid = 0;
        EXPECT_RC(myr_worker_ask(worker, NULL, SOON(20000), &answer, &err), OK, &err);
        EXPECT(myr_parse_int64(myr_str_make(answer.data, answer.size), &pid) && kill((pid_t)pid, 0) == 0);
        myr_buf_puts(&request, "end");
        EXPECT_RC(myr_worker_ask(worker, &request, SOON(20000), &answer, &err), UNAVAILABLE, &err);
        EXPECT_HAS(err.message, "exit code 3");
        EXPECT(compute_is_gone(pid)); /* before anybody stops it */
        myr_worker_stop(worker);
    }
}

TEST(one_that_ended_is_not_alive_though_its_child_has_its_socket)
{
    MYR_AUTO(myr_buf) answer = {0};
    myr_worker *worker = compute_start("pid = os.fork()\n"
                                       "if pid == 0: time.sleep(100)\n"
                                       "send(str(pid).encode()); os._exit(0)",
                                       0);
    myr_err err;
    int64_t pid = 0;
    EXPECT_RC(myr_worker_ask(worker, NULL, SOON(20000), &answer, &err), OK, &err);
    EXPECT(myr_parse_int64(myr_str_make(answer.data, answer.size), &pid));
    for (int i = 0; i < 500 && myr_worker_is_alive(worker); i++)
        usleep(10000);
    EXPECT(!myr_worker_is_alive(worker));
    myr_worker_stop(worker);
    EXPECT(compute_is_gone(pid));
}

TEST(memory_has_a_limit)
{
    MYR_AUTO(myr_buf) answer = {0};
    myr_worker *worker = compute_start("try:\n"
                                       "    x = bytearray(1 << 30)\n"
                                       "    send(b'had it')\n"
                                       "except MemoryError: send(b'no memory')\n",
                                       400 << 20);
    myr_err err;
    EXPECT_RC(myr_worker_ask(worker, NULL, SOON(20000), &answer, &err), OK, &err);
    EXPECT_STR(answer.data, "no memory");
    myr_worker_stop(worker);
}

TEST(a_worker_gets_what_it_is_given_and_no_more)
{
    MYR_AUTO(myr_buf) answer = {0};
    int leak = dup(1); /* without close-on-exec */
    setenv("MYR_TEST_SECRET", "x", 1);
    myr_worker *worker =
        compute_start("left = []\n"
                      "for f in (int(f) for f in os.listdir('/proc/self/fd') if int(f) > 3):\n"
                      "    try: os.fstat(f); left.append(f)\n"
                      "    except OSError: pass\n"
                      "send(repr((left, 'MYR_TEST_SECRET' in os.environ, os.environ['LANG'], os.getcwd(),\n"
                      "           os.getpgid(0) == os.getpid())).encode())",
                      0);
    myr_err err;
    EXPECT_RC(myr_worker_ask(worker, NULL, SOON(20000), &answer, &err), OK, &err);
    EXPECT_STR(answer.data, "([], False, 'C.UTF-8', '/', True)");
    myr_worker_stop(worker);
    unsetenv("MYR_TEST_SECRET");
    close(leak);
}

/* A process that has a worker is killed: the worker must be gone soon. */
static void outlives(bool is_offline)
{
    int pipes[2];
    EXPECT(pipe(pipes) == 0);
    pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0) {
        MYR_AUTO(myr_buf) answer = {0};
        myr_worker *worker =
            compute_start_as("send(str(os.getpid()).encode())\nwhile True: time.sleep(1)", 0, is_offline);
        if (myr_worker_ask(worker, NULL, SOON(20000), &answer, NULL) == MYR_OK) {
            MYR_IGNORE(write(pipes[1], answer.data, answer.size) < 0); /* the parent finds nothing then */
        }
        for (;;)
            pause();
    }
    char text[32] = {0};
    int64_t pid = 0;
    EXPECT(read(pipes[0], text, sizeof text - 1) > 0 && myr_parse_int64(myr_str_of(text), &pid) && pid > 1);
    EXPECT(kill((pid_t)pid, 0) == 0);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    EXPECT(compute_is_gone(pid));
    close(pipes[0]);
    close(pipes[1]);
}

TEST(no_worker_outlives_its_parent)
{
    outlives(false);
    if (myr_offline_find() != MYR_OFFLINE_NO) outlives(true);
}

TEST(programs_that_are_not_there)
{
    char path[MYR_PATH_BYTES_MAX];
    const char *const argv[] = {"/no/such/program", NULL};
    const char *const env[] = {NULL};
    const myr_worker_opts opts = {.argv = argv, .env = env, .dir = "/"};
    myr_worker *worker = NULL;
    myr_err err;
    EXPECT_RC(myr_worker_start(&opts, &worker, &err), NOT_FOUND, &err);
    EXPECT_HAS(err.message, "/no/such/program can't be run");
    EXPECT(worker == NULL);
    EXPECT_RC(myr_program_find("no-such-program-here", path, sizeof path, &err), NOT_FOUND, &err);
    EXPECT_RC(myr_program_find("/no/such", path, sizeof path, &err), NOT_FOUND, &err);
}

TEST(a_program_runs_to_its_end)
{
    const char *const env[] = {NULL};
    const char *const good[] = {"/bin/true", NULL}, *const bad[] = {"/bin/sh", "-c", "echo no >&2; exit 4", NULL};
    const char *const slow[] = {"/bin/sleep", "100", NULL};
    myr_worker_opts opts = {.argv = good, .env = env, .dir = "/"};
    myr_err err;
    EXPECT_RC(myr_process_run(&opts, 20000, NULL, &err), OK, &err);
    opts.argv = bad;
    EXPECT_RC(myr_process_run(&opts, 20000, NULL, &err), UNAVAILABLE, &err);
    EXPECT_HAS(err.message, "exit code 4: no");
    opts.argv = slow;
    EXPECT_RC(myr_process_run(&opts, 200, NULL, &err), TIMEOUT, &err);
    _Atomic bool stop = true;
    opts.stop = &stop;
    EXPECT_RC(myr_process_run(&opts, 20000, NULL, &err), UNAVAILABLE, &err);
    EXPECT_HAS(err.message, "not waited for any more");
    opts.stop = NULL;
    opts.dir = "/no/such/directory";
    EXPECT_RC(myr_process_run(&opts, 20000, NULL, &err), UNAVAILABLE, &err);
}

TEST(a_worker_that_is_not_needed_any_more_may_end_by_itself)
{
    char dir[TESTING_PATH_BYTES], path[TESTING_PATH_BYTES + 16], code[TESTING_PATH_BYTES + 128];
    testing_dir(dir);
    snprintf(path, sizeof path, "%s/done", dir);
    snprintf(code, sizeof code, "s.recv(1); print('x' * 1000000); open('%s', 'w').close()", path);
    int64_t start_ns = myr_clock_mono_ns();
    myr_worker_end(compute_start(code, 0), 60000);
    EXPECT(myr_io_exists(path)); /* it heard that its socket was closed, and was not killed */
    EXPECT((myr_clock_mono_ns() - start_ns) / 1000000 < 50000);
    myr_worker *deaf = compute_start("send(b'here'); time.sleep(100)", 0);
    MYR_AUTO(myr_buf) answer = {0};
    myr_err err = {0};
    EXPECT_RC(myr_worker_ask(deaf, NULL, SOON(20000), &answer, &err), OK, &err);
    int64_t pid = myr_worker_pid(deaf);
    start_ns = myr_clock_mono_ns();
    myr_worker_end(deaf, 300);
    int64_t took_ms = (myr_clock_mono_ns() - start_ns) / 1000000;
    EXPECT(took_ms >= 290 && took_ms < 20000);
    EXPECT(compute_is_gone(pid));
    myr_worker_end(NULL, 1000); /* fine */
}

TEST(a_program_reads_its_input)
{
    char dir[TESTING_PATH_BYTES], path[TESTING_PATH_BYTES + 16];
    const char *const argv[] = {"/bin/sh", "-c", "[ \"$(cat)\" = words ]", NULL}, *const env[] = {NULL};
    myr_err err = {0};
    testing_dir(dir);
    snprintf(path, sizeof path, "%s/in", dir);
    EXPECT_RC(myr_file_write(path, "words\n", 6, &err), OK, &err);
    myr_worker_opts opts = {.argv = argv, .env = env, .dir = "/", .input_path = path};
    EXPECT_RC(myr_process_run(&opts, 20000, NULL, &err), OK, &err);
    EXPECT_INT(err.rc, MYR_OK); /* nothing is said of one that went well */
    opts.input_path = NULL;
    EXPECT_RC(myr_process_run(&opts, 20000, NULL, &err), UNAVAILABLE, &err);
    opts.input_path = "/no/such/file";
    EXPECT_RC(myr_process_run(&opts, 20000, NULL, &err), UNAVAILABLE, &err);
}

TEST(what_a_program_started_ends_with_it)
{
    char dir[TESTING_PATH_BYTES], code[TESTING_PATH_BYTES + 64];
    testing_dir(dir);
    snprintf(code, sizeof code, "sleep 100 & echo $! > %s/pid; exit 0", dir);
    const char *const env[] = {NULL}, *const argv[] = {"/bin/sh", "-c", code, NULL};
    const myr_worker_opts opts = {.argv = argv, .env = env, .dir = dir};
    MYR_AUTO(myr_mem) text = NULL;
    size_t size;
    int64_t pid = 0, start_ns = myr_clock_mono_ns();
    myr_err err;
    EXPECT_RC(myr_process_run(&opts, 60000, NULL, &err), OK, &err);
    EXPECT((myr_clock_mono_ns() - start_ns) / 1000000 < 30000); /* not as long as its child has the socket */
    snprintf(code, sizeof code, "%s/pid", dir);
    EXPECT_RC(myr_file_read(code, 100, (char **)&text, &size, &err), OK, &err);
    EXPECT(myr_parse_int64(myr_str_trim(myr_str_of(text)), &pid) && pid > 1);
    EXPECT(compute_is_gone(pid));
}

TEST(each_failed_allocation_starts_nothing)
{
    const char *const env[] = {NULL}, *const argv[] = {"/bin/true", NULL};
    const myr_worker_opts opts = {.argv = argv, .env = env, .dir = "/"};
    FAIL_EACH_ALLOC (nth) {
        myr_worker *worker = NULL;
        myr_rc rc = myr_worker_start(&opts, &worker, NULL);
        EXPECT(rc == MYR_OK || (rc == MYR_NO_MEMORY && worker == NULL));
        myr_worker_stop(worker);
    }
}

/* ---- without a network ---- */

/* A program of the shell, offline: what comes of it. */
static myr_rc offline_shell(const char *code, bool is_offline, myr_buf *said, myr_err *err)
{
    const char *const env[] = {"PATH=/usr/sbin:/usr/bin:/bin", NULL}, *const argv[] = {"/bin/sh", "-c", code, NULL};
    const myr_worker_opts opts = {.argv = argv, .env = env, .dir = "/", .is_offline = is_offline};
    return myr_process_run(&opts, 60000, said, err);
}

#define OFFLINE_COUNT "exit $(($(wc -l < /proc/net/dev) - 2))" /* interfaces that it has */

TEST(a_worker_without_a_network_has_a_loopback_of_its_own)
{
    char code[512];
    MYR_AUTO(myr_buf) said = {0};
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof here;
    myr_err err;
    if (myr_offline_find() == MYR_OFFLINE_NO) {
        EXPECT_RC(offline_shell("true", true, NULL, &err), UNAVAILABLE, &err); /* it does not start with one */
        EXPECT_HAS(err.message, "exit code 122");
        skip();
    }
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT(fd >= 0 && bind(fd, (struct sockaddr *)&here, sizeof here) == 0 && listen(fd, 5) == 0);
    EXPECT_INT(getsockname(fd, (struct sockaddr *)&here, &size), 0);
    snprintf(code, sizeof code,
             "import socket, ctypes, os\n"
             "def tries(port):\n"
             "    try: socket.create_connection(('127.0.0.1', port), 20).close(); return True\n"
             "    except OSError: return False\n"
             "own = socket.create_server(('127.0.0.1', 0))\n"
             "print('other', tries(%d), 'own', tries(own.getsockname()[1]))\n"
             "libc = ctypes.CDLL(None, use_errno=True)\n"
             "print('back', libc.setns(os.open('/proc/%d/ns/net', os.O_RDONLY), 0x40000000))\n",
             ntohs(here.sin_port), (int)getpid());
    EXPECT_RC(myr_program_find("python3", python, sizeof python, &err), OK, &err);
    const char *const env[] = {NULL}, *const argv[] = {python, "-c", code, NULL};
    myr_worker_opts opts = {.argv = argv, .env = env, .dir = "/", .is_offline = true};
    EXPECT_RC(myr_process_run(&opts, 60000, &said, &err), OK, &err);
    EXPECT_HAS(said.data, "other False own True");
    EXPECT_HAS(said.data, "back -1"); /* root can't step back either */
    opts.is_offline = false;
    EXPECT_RC(myr_process_run(&opts, 60000, &said, &err), OK, &err);
    EXPECT_HAS(said.data, "other True own True");
    close(fd);
}

/* Where root started the tests: as a user who needs a name space of users for it. */
TEST(who_is_not_root_makes_a_user_name_space)
{
    int status = 0;
    if (geteuid() != 0) skip();
    pid_t pid = fork();
    if (pid == 0) {
        if (setgid(65534) != 0 || setuid(65534) != 0) _exit(1);
        if (offline_shell("true", true, NULL, NULL) != MYR_OK) _exit(2); /* this kernel permits it to root alone */
        myr_err err = {0};
        MYR_IGNORE(offline_shell("[ $(id -u) = 65534 ] && [ $(id -g) = 65534 ] && " OFFLINE_COUNT, true, NULL, &err));
        _exit(strstr(err.message, "exit code 1") != NULL ? 0 : 3);
    }
    EXPECT(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    EXPECT(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 2);
    EXPECT_STR(myr_offline_name(MYR_OFFLINE_USER), "user and network name space");
}

RUN()
