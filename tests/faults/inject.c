/*
 * Makes one system call of a program fail, or kills the program there. The test compiles this to a library and has it
 * loaded before the C library (LD_PRELOAD), so that the program's calls come here first.
 *
 * What to do is in environment variables:
 *
 *   FAULT_FOLDER  calls on files at or below this folder count; others pass
 *   FAULT_KIND    write, sync, rename, truncate, create, remove, map or thread; the last has no folder
 *   FAULT_NUMBER  which call of that kind, counted from 1
 *   FAULT_ACTION  error N   the call fails with the system's error number N, and does nothing
 *                 short     a write takes half of the bytes, and says so
 *                 before    the program is killed before the call
 *                 within    the program is killed when half of a write's bytes are written
 *                 after     the program is killed after the call
 *   FAULT_LASTS   set: every later call of the kind gets the same
 *   FAULT_MARK    a file that is made when the fault happens, so that the test knows that it did
 *
 * Calls are counted over all threads. Every function calls the one that it stands for, which is the next of that name.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum action { NOTHING, FAIL, SHORT, BEFORE, WITHIN, AFTER };

static const char *folder, *kind, *mark;
static long number, error_number;
static int lasts;
static enum action action;
static atomic_long calls;

__attribute__((constructor)) static void begin(void) {
    const char *wanted = getenv("FAULT_ACTION"), *which = getenv("FAULT_NUMBER");
    folder = getenv("FAULT_FOLDER");
    kind = getenv("FAULT_KIND");
    mark = getenv("FAULT_MARK");
    lasts = getenv("FAULT_LASTS") != NULL;
    number = which ? atol(which) : 0;
    if (!wanted || !kind)
        return;
    if (sscanf(wanted, "error %ld", &error_number) == 1)
        action = FAIL;
    else if (!strcmp(wanted, "short"))
        action = SHORT;
    else if (!strcmp(wanted, "before"))
        action = BEFORE;
    else if (!strcmp(wanted, "within"))
        action = WITHIN;
    else if (!strcmp(wanted, "after"))
        action = AFTER;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* Whether `path` is the folder or below it. */
static int is_below(const char *path) {
    size_t length = folder ? strlen(folder) : 0;
    return length && !strncmp(path, folder, length) && (path[length] == '/' || !path[length]);
}

/* Whether an open file is at or below the folder. */
static int is_below_fd(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return 0;
    path[length] = 0;
    return is_below(path);
}

/* Whether what a name stands for would be at or below the folder; `at` is what a relative name is relative to. */
static int is_below_name(int at, const char *name) {
    char link[64], path[2 * PATH_MAX];
    if (name[0] == '/')
        return is_below(name);
    snprintf(link, sizeof link, at == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", at);
    ssize_t length = readlink(link, path, PATH_MAX);
    if (length <= 0)
        return 0;
    snprintf(path + length, PATH_MAX, "/%s", name);
    return is_below(path);
}

/* What is to be done with a call of the kind `of`. */
static enum action due(const char *of) {
    if (action == NOTHING || strcmp(kind, of))
        return NOTHING;
    long call = atomic_fetch_add(&calls, 1) + 1;
    if (call < number || (call > number && !lasts))
        return NOTHING;
    if (mark) {
        /* Past the functions of this file. */
        long made = syscall(SYS_openat, AT_FDCWD, mark, O_CREAT | O_WRONLY, 0600);
        if (made >= 0)
            syscall(SYS_close, made);
    }
    if (action == BEFORE)
        die();
    return action;
}

/* The function that `name` stands for. */
#define NEXT(type, name, ...)                                                                                          \
    static type (*next)(__VA_ARGS__);                                                                                  \
    if (!next)                                                                                                         \
    next = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

/* Calls `call` unless it is to fail, and is killed after it where that is wanted. */
#define FAULTY(type, is_ours, of, failure, call)                                                                       \
    enum action now = action != NOTHING && (is_ours) ? due(of) : NOTHING;                                              \
    if (now == FAIL) {                                                                                                 \
        errno = (int)error_number;                                                                                     \
        return failure;                                                                                                \
    }                                                                                                                  \
    type result = (call);                                                                                              \
    if (now == AFTER || now == WITHIN)                                                                                 \
        die();                                                                                                         \
    return result

/* How much of a write is let through. */
static size_t part(enum action now, size_t size) {
    return now == SHORT || now == WITHIN ? (size + 1) / 2 : size;
}

#define FAULTY_WRITE(size, call)                                                                                       \
    enum action now = action != NOTHING && is_below_fd(fd) ? due("write") : NOTHING;                                   \
    if (now == FAIL) {                                                                                                 \
        errno = (int)error_number;                                                                                     \
        return -1;                                                                                                     \
    }                                                                                                                  \
    size_t taken = part(now, size);                                                                                    \
    ssize_t result = (call);                                                                                           \
    if (now == AFTER || now == WITHIN)                                                                                 \
        die();                                                                                                         \
    return result

ssize_t write(int fd, const void *bytes, size_t size) {
    NEXT(ssize_t, write, int, const void *, size_t);
    FAULTY_WRITE(size, next(fd, bytes, taken));
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at) {
    NEXT(ssize_t, pwrite, int, const void *, size_t, off_t);
    FAULTY_WRITE(size, next(fd, bytes, taken, at));
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at) {
    NEXT(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    FAULTY_WRITE(size, next(fd, bytes, taken, at));
}

/* Half of it is the first half of the parts. */
ssize_t writev(int fd, const struct iovec *parts, int count) {
    NEXT(ssize_t, writev, int, const struct iovec *, int);
    FAULTY_WRITE((size_t)count, next(fd, parts, (int)taken));
}

int fsync(int fd) {
    NEXT(int, fsync, int);
    FAULTY(int, is_below_fd(fd), "sync", -1, next(fd));
}

int fdatasync(int fd) {
    NEXT(int, fdatasync, int);
    FAULTY(int, is_below_fd(fd), "sync", -1, next(fd));
}

int rename(const char *from, const char *to) {
    NEXT(int, rename, const char *, const char *);
    FAULTY(int, is_below_name(AT_FDCWD, to), "rename", -1, next(from, to));
}

int renameat(int from_at, const char *from, int to_at, const char *to) {
    NEXT(int, renameat, int, const char *, int, const char *);
    FAULTY(int, is_below_name(to_at, to), "rename", -1, next(from_at, from, to_at, to));
}

int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags) {
    NEXT(int, renameat2, int, const char *, int, const char *, unsigned);
    FAULTY(int, is_below_name(to_at, to), "rename", -1, next(from_at, from, to_at, to, flags));
}

int ftruncate(int fd, off_t size) {
    NEXT(int, ftruncate, int, off_t);
    FAULTY(int, is_below_fd(fd), "truncate", -1, next(fd, size));
}

int ftruncate64(int fd, off64_t size) {
    NEXT(int, ftruncate64, int, off64_t);
    FAULTY(int, is_below_fd(fd), "truncate", -1, next(fd, size));
}

int unlink(const char *name) {
    NEXT(int, unlink, const char *);
    FAULTY(int, is_below_name(AT_FDCWD, name), "remove", -1, next(name));
}

int unlinkat(int at, const char *name, int flags) {
    NEXT(int, unlinkat, int, const char *, int);
    FAULTY(int, is_below_name(at, name), "remove", -1, next(at, name, flags));
}

/* The mode, which is there only for files that may be made. */
#define MODE                                                                                                           \
    mode_t mode = 0;                                                                                                   \
    if (flags & (O_CREAT | __O_TMPFILE)) {                                                                             \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode = va_arg(more, mode_t);                                                                                   \
        va_end(more);                                                                                                  \
    }

int open(const char *name, int flags, ...) {
    NEXT(int, open, const char *, int, ...);
    MODE
    FAULTY(int, (flags & O_CREAT) && is_below_name(AT_FDCWD, name), "create", -1, next(name, flags, mode));
}

int open64(const char *name, int flags, ...) {
    NEXT(int, open64, const char *, int, ...);
    MODE
    FAULTY(int, (flags & O_CREAT) && is_below_name(AT_FDCWD, name), "create", -1, next(name, flags, mode));
}

int openat(int at, const char *name, int flags, ...) {
    NEXT(int, openat, int, const char *, int, ...);
    MODE
    FAULTY(int, (flags & O_CREAT) && is_below_name(at, name), "create", -1, next(at, name, flags, mode));
}

int openat64(int at, const char *name, int flags, ...) {
    NEXT(int, openat64, int, const char *, int, ...);
    MODE
    FAULTY(int, (flags & O_CREAT) && is_below_name(at, name), "create", -1, next(at, name, flags, mode));
}

void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
    NEXT(void *, mmap, void *, size_t, int, int, int, off_t);
    FAULTY(void *, fd >= 0 && is_below_fd(fd), "map", MAP_FAILED, next(at, size, protection, flags, fd, offset));
}

void *mmap64(void *at, size_t size, int protection, int flags, int fd, off64_t offset) {
    NEXT(void *, mmap64, void *, size_t, int, int, int, off64_t);
    FAULTY(void *, fd >= 0 && is_below_fd(fd), "map", MAP_FAILED, next(at, size, protection, flags, fd, offset));
}

/* Its error is what it returns. */
int pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*work)(void *), void *argument) {
    NEXT(int, pthread_create, pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    FAULTY(int, 1, "thread", (int)error_number, next(thread, how, work, argument));
}
