/* faults.c - LD_PRELOAD: a process whose memory or disk fails once, at a chosen call
 *
 *     FAULTS=write:12 FAULTS_UNDER=/tmp/x/state LD_PRELOAD=.../faults.so sluisd ...
 *
 *     FAULTS=write:N[+]     the N-th write to a file below FAULTS_UNDER fails with EIO; with + all that follow too
 *     FAULTS=full:N         from the N-th on they fail with ENOSPC
 *     FAULTS=sync:N[+]      the N-th fsync or fdatasync of such a file fails with EIO
 *     FAULTS=malloc:HASH    the first allocation whose callers have this hash fails
 *     FAULTS=count          nothing fails
 *     FAULTS_LOG=FILE       "write" and "sync" per call; "malloc HASH" when callers are seen for the first
 *                           time; "struck" when the fault has happened
 *
 * Writes are pwrite, pwritev, write, writev, ftruncate, fallocate, posix_fallocate, rename and link: all
 * that changes a file or a folder through the C library. What LMDB reads through its map is not touched.
 *
 * Allocations are told apart by their callers, eight deep, not by number: the same place fails in every run
 * although two threads allocate, and each is tried once instead of thousands of times. For that the process
 * must run without address randomization (setarch -R), and the hash is made of plain addresses.
 *
 * Source: SQLite's out-of-memory and I/O-error loops; libfiu, fault injection by LD_PRELOAD.
 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wmissing-prototypes" /* we are the C library here */
#pragma GCC diagnostic ignored "-Wpedantic"	      /* dlsym() hands out functions as objects */

enum { DEPTH = 8, SEEN_MAX = 16384 };
enum kind { NOTHING, WRITE, SYNC, MALLOC };

static enum kind kind;
static unsigned long nth;
static uint64_t callers_wanted;
static bool for_good, ready;
static int errno_wanted = EIO, log_fd = -1;
static char under[4096];
static atomic_ulong calls;
static atomic_bool struck;
static _Atomic uint64_t seen[SEEN_MAX];
static __thread bool inside; /* in here already: whatever we call is not counted */

#define REAL(ret, name, ...)                                        \
	static ret (*real)(__VA_ARGS__);                            \
	if (!real)                                                  \
		real = (ret(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static void say(const char *fmt, ...)
{
	ssize_t (*real)(int, const void *, size_t) =
		(ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
	char line[80];
	va_list ap;
	int n;

	if (log_fd < 0)
		return;
	va_start(ap, fmt);
	n = vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	(void)!real(log_fd, line, (size_t)n);
}

__attribute__((constructor)) static void begin(void)
{
	const char *what = getenv("FAULTS"), *log = getenv("FAULTS_LOG"), *where = getenv("FAULTS_UNDER");
	const char *arg = what ? strchr(what, ':') : NULL;
	void *frames[DEPTH];

	inside = true;
	(void)backtrace(frames, DEPTH); /* loads what it needs now */
	if (log)
		log_fd = fcntl(open(log, O_WRONLY | O_CREAT | O_APPEND, 0600), F_DUPFD_CLOEXEC, 900);
	if (where)
		(void)snprintf(under, sizeof under, "%s", where);
	if (arg && strncmp(what, "malloc:", 7) == 0) {
		kind = MALLOC;
		callers_wanted = strtoull(arg + 1, NULL, 16);
	} else if (arg) {
		char *end;

		kind = strncmp(what, "sync:", 5) == 0 ? SYNC : WRITE;
		nth = strtoul(arg + 1, &end, 10);
		for_good = *end == '+' || strncmp(what, "full:", 5) == 0;
		if (strncmp(what, "full:", 5) == 0)
			errno_wanted = ENOSPC;
	}
	ready = what != NULL;
	inside = false;
}

/* ---- memory ----------------------------------------------------------------------------------- */

static bool first_time(uint64_t hash)
{
	for (size_t i = 0; i < SEEN_MAX; i++) {
		_Atomic uint64_t *slot = &seen[(hash + i) % SEEN_MAX];
		uint64_t there = 0;

		if (atomic_compare_exchange_strong(slot, &there, hash))
			return true;
		if (there == hash)
			return false;
	}
	return false;
}

static bool memory_out(void)
{
	void *frames[DEPTH + 2];
	uint64_t hash = UINT64_C(14695981039346656037);
	int n;
	bool hit;

	if (!ready || inside)
		return false;
	inside = true;
	n = backtrace(frames, DEPTH + 2);
	for (int i = 2; i < n; i++)
		hash = (hash ^ (uintptr_t)frames[i]) * UINT64_C(1099511628211);
	if (first_time(hash))
		say("malloc %016lx\n", (unsigned long)hash);
	hit = kind == MALLOC && hash == callers_wanted && !atomic_exchange(&struck, true);
	if (hit) {
		say("struck\n");
		errno = ENOMEM;
	}
	inside = false;
	return hit;
}

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);

void *malloc(size_t n) { return memory_out() ? NULL : __libc_malloc(n); }
void *calloc(size_t n, size_t size) { return memory_out() ? NULL : __libc_calloc(n, size); }
void *realloc(void *p, size_t n) { return memory_out() ? NULL : __libc_realloc(p, n); }

/* ---- disk ------------------------------------------------------------------------------------- */

static bool below(const char *path) { return under[0] && strncmp(path, under, strlen(under)) == 0; }

static bool watched(int fd)
{
	char link[64], path[4096];
	ssize_t n;
	int e = errno;

	if (!ready || inside || fd < 0 || fd == log_fd)
		return false;
	(void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof path - 1);
	errno = e;
	if (n < 0)
		return false;
	path[n] = '\0';
	return below(path);
}

/* Count a call of `which`; true if it has to fail. */
static bool strikes(enum kind which)
{
	unsigned long now;

	say(which == SYNC ? "sync\n" : "write\n");
	if (kind != which)
		return false;
	now = atomic_fetch_add(&calls, 1) + 1;
	if (now != nth && !(for_good && now > nth))
		return false;
	if (!atomic_exchange(&struck, true))
		say("struck\n");
	errno = errno_wanted;
	return true;
}

#define FAILS(fd, which) (watched(fd) && strikes(which))

ssize_t write(int fd, const void *p, size_t n)
{
	REAL(ssize_t, "write", int, const void *, size_t);
	return FAILS(fd, WRITE) ? -1 : real(fd, p, n);
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
	REAL(ssize_t, "writev", int, const struct iovec *, int);
	return FAILS(fd, WRITE) ? -1 : real(fd, v, n);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
	REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
	return FAILS(fd, WRITE) ? -1 : real(fd, p, n, at);
}

ssize_t pwrite64(int fd, const void *p, size_t n, off_t at) { return pwrite(fd, p, n, at); }

ssize_t pwritev(int fd, const struct iovec *v, int n, off_t at)
{
	REAL(ssize_t, "pwritev", int, const struct iovec *, int, off_t);
	return FAILS(fd, WRITE) ? -1 : real(fd, v, n, at);
}

ssize_t pwritev64(int fd, const struct iovec *v, int n, off_t at) { return pwritev(fd, v, n, at); }

int ftruncate(int fd, off_t n)
{
	REAL(int, "ftruncate", int, off_t);
	return FAILS(fd, WRITE) ? -1 : real(fd, n);
}

int ftruncate64(int fd, off_t n) { return ftruncate(fd, n); }

int fallocate(int fd, int mode, off_t at, off_t n)
{
	REAL(int, "fallocate", int, int, off_t, off_t);
	return FAILS(fd, WRITE) ? -1 : real(fd, mode, at, n);
}

int fallocate64(int fd, int mode, off_t at, off_t n) { return fallocate(fd, mode, at, n); }

int posix_fallocate(int fd, off_t at, off_t n)
{
	REAL(int, "posix_fallocate", int, off_t, off_t);
	return FAILS(fd, WRITE) ? errno_wanted : real(fd, at, n);
}

int posix_fallocate64(int fd, off_t at, off_t n) { return posix_fallocate(fd, at, n); }

int rename(const char *from, const char *to)
{
	REAL(int, "rename", const char *, const char *);
	return ready && below(to) && strikes(WRITE) ? -1 : real(from, to);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	REAL(int, "renameat", int, const char *, int, const char *);
	return FAILS(to_dir, WRITE) ? -1 : real(from_dir, from, to_dir, to);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	REAL(int, "renameat2", int, const char *, int, const char *, unsigned);
	bool ours = to_dir >= 0 ? watched(to_dir) : ready && below(to);

	return ours && strikes(WRITE) ? -1 : real(from_dir, from, to_dir, to, flags);
}

int link(const char *from, const char *to)
{
	REAL(int, "link", const char *, const char *);
	return ready && below(to) && strikes(WRITE) ? -1 : real(from, to);
}

int fdatasync(int fd)
{
	REAL(int, "fdatasync", int);
	return FAILS(fd, SYNC) ? -1 : real(fd);
}

int fsync(int fd)
{
	REAL(int, "fsync", int);
	return FAILS(fd, SYNC) ? -1 : real(fd);
}
