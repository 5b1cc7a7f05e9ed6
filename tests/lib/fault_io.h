/* fault_io.h - a disk that fails on command and remembers what was asked of it
 *
 * For programs linked with -Wl,--wrap of pwrite, pwritev, writev, write, lseek, fsync, fdatasync and renameat (the
 * Makefile does it for test_store_crash). Only files whose path begins with the watched prefix are
 * touched; all else goes straight through. One thread.
 *
 * Failing: the k-th watched call returns `err`, once or from then on; a write may first put half of
 * its bytes down. Recording: each watched write and sync becomes an event with its bytes, and the
 * test adds `acked` events between them, so that a replayer can rebuild any disk a crash could
 * leave.
 */
#ifndef SLUIS_TESTS_LIB_FAULT_IO_H
#define SLUIS_TESTS_LIB_FAULT_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum fault_io_mode {
	FAULT_IO_ONCE,	  /* call k fails, the next ones work: fsyncgate */
	FAULT_IO_FOREVER, /* call k and all after it fail */
	FAULT_IO_HALF,	  /* as FOREVER, but a write puts half of its bytes down and says so */
};

enum fault_io_kind {
	FAULT_IO_WRITE,
	FAULT_IO_SYNC,
	FAULT_IO_ACK,
	FAULT_IO_NAME, /* a watched file has got its final name */
};

struct fault_io_event {
	enum fault_io_kind kind;
	bool dsync;    /* write through an O_DSYNC descriptor: durable when it returns */
	uint64_t off;  /* write */
	uint64_t len;  /* write */
	uint64_t tag;  /* ack: what the test said */
	uint8_t *data; /* write: owned by fault_io */
};

/* Watch files whose path begins with `prefix` (copied); NULL watches nothing. Resets everything
 * else. */
void fault_io_watch(const char *prefix);
/* Let watched call number k (1 = the next) fail with errno `err`. */
void fault_io_fail(uint64_t k, enum fault_io_mode mode, int err);
/* No more failures. */
void fault_io_heal(void);
/* Watched calls so far; whether a planned failure has struck. */
uint64_t fault_io_calls(void);
bool fault_io_struck(void);

/* Keep events from now on. */
void fault_io_record(void);
void fault_io_ack(uint64_t tag);
/* The events so far, borrowed until the next fault_io_watch(). */
const struct fault_io_event *fault_io_events(size_t *ret_n);

/* The wrappers, for -Wl,--wrap. */
ssize_t __wrap_pwrite(int fd, const void *p, size_t n, off_t off);
ssize_t __wrap_write(int fd, const void *p, size_t n);
struct iovec;
ssize_t __wrap_writev(int fd, const struct iovec *iov, int iov_n);
ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int iov_n, off_t off);
int __wrap_fdatasync(int fd);
int __wrap_fsync(int fd);
int __wrap_renameat(int from_dir, const char *from, int to_dir, const char *to);
int __wrap_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags);
off_t __wrap_lseek(int fd, off_t off, int whence);

#endif
