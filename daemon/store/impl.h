/* impl.h - struct store, for store.c, space.c and backup.c alone */
#ifndef SLUIS_DAEMON_STORE_IMPL_H
#define SLUIS_DAEMON_STORE_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "daemon/store/disk.h"

#define STORE_DATA	    "data.mdb"
#define STORE_DATA_NEW	    "data.mdb.new"
#define STORE_BALLAST	    "ballast"
#define STORE_LOCK	    "LOCK"
#define STORE_MAP_BYTES	    (UINT64_C(1) << 30)
#define STORE_MAP_BYTES_MAX (UINT64_C(256) << 30)

struct store {
	uint32_t magic;
	char *dir;
	int dir_fd, lock_fd;
	struct disk disk;
	uint64_t map_bytes_max, reserve_bytes, ballast_bytes, low_bytes;
	uint32_t state_every;

	struct disk_head head;	  /* what the disk has */
	struct pending pending;	  /* facts of records in (head.applied_seq, head.seq] */
	uint32_t batches_pending; /* appended since the state was written */
	struct buf batch;	  /* kept for its memory */
	atomic_bool broken;
	atomic_bool backing_up;   /* one backup at a time */
	pthread_mutex_t map_lock; /* held while the map must not move: a copy, or moving it */

	pthread_mutex_t
		lock; /* guards what follows: store_head() and store_space() come from anywhere */
	struct store_head public;
	uint64_t used_bytes, map_bytes;
	uint64_t data_bytes; /* length of the data file, preallocated part included */
	bool ballast_held;
};

/* dir/name, on the heap. */
char *store_path(const char *dir, const char *name);

/* Open `dir` (made 0700 if `create`) and hold its LOCK file. On success both descriptors are the
 * caller's. */
int store_dir_lock(const char *dir, bool create, int *ret_dir_fd, int *ret_lock_fd,
		   struct err *err) NODISCARD;

/* Preallocate the data file and take the ballast, as far as the disk has room. */
void space_open(struct store *s);

#endif
