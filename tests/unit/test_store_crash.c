/* test_store_crash.c - the store on a disk that fails, and after every crash a disk could have had
 *
 * Without these an acknowledged lease could be gone after a power cut, and nobody would know before
 * it happens. Two parts:
 *  - every write and sync of a workload fails in turn, once and for good; the store has to notice,
 *    stay stopped, and the next start has to find all that was acknowledged
 *  - crash images: from the recorded writes and syncs of a workload, rebuild disks as a crash could
 *    leave them - the writes in order up to a point, and random subsets of what was not yet synced,
 *    torn at 512-byte sectors - and open each with the real store
 *
 * Model of the disk: fdatasync makes all earlier writes durable; a write through O_DSYNC is durable
 * when it returns; a sector is written whole or not at all; unsynced sectors reach the disk in any
 * order.
 *
 * SLUIS_CRASH_IMAGES=n tries at least n images and prints `name: value unit` lines (make crash).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/store/logfile.h"
#include "daemon/store/store.h"
#include "proto/base/ensure.h"
#include "tests/lib/fault_io.h"
#include "tests/lib/store_world.h"

enum {
	IMAGES_UNIT = 4000, /* tried in the unit run */
	SECTOR = 512,
	OPS_MAX = 48, /* steps of one workload */
	SUBSETS = 3,  /* random images per crash point, beside the in-order one */
};

/* ---- a workload ----------------------------------------------------------------------------- */

/* What the store must be when it says that its head is `seq`. */
struct truth {
	uint64_t seq;
	uint8_t hash[STORE_HASH_BYTES], digest[STORE_HASH_BYTES];
};

struct story {
	struct world w;
	struct store_cfg cfg;
	struct truth truth[OPS_MAX + 1]; /* one per head there has been, ascending */
	size_t truths;
	uint64_t acked_seq, acked_epoch;
	uint8_t blob[256];
};

static void story_init(struct story *st, const char *dir, uint64_t seed)
{
	memset(st, 0, sizeof(*st));
	world_init(&st->w, seed);
	/* A small first map, so that it grows on the way. */
	st->cfg = (struct store_cfg){.dir = dir,
				     .create = true,
				     .map_bytes = 1 << 19,
				     .map_bytes_max = 1 << 26,
				     .state_every = 1 + (uint32_t)(seed % 4)};
	st->truths = 1; /* the empty store */
}

/* Acknowledged: the event carries the head in its low and the epoch in its high half. */
static void acked(struct story *st, const struct store_head *h)
{
	st->acked_seq = h->seq;
	st->acked_epoch = h->epoch;
	fault_io_ack(h->epoch << 32 | h->seq);
}

static int append_step(struct story *st, struct store *s, struct err *err)
{
	struct store_blob blob = {st->blob, 0};
	struct store_head h;
	size_t n = world_batch(&st->w, WORLD_BATCH_MAX);
	struct truth *t = &st->truth[st->truths];
	bool with_blob = prng_below(&st->w.rng, 4) == 0;

	/* Written down before the append: if its answer never comes it may still have happened. */
	t->seq = st->w.seq;
	(void)world_digest(&st->w, t->digest);
	st->truths++;
	blob.len = (uint32_t)prng_below(&st->w.rng, sizeof(st->blob));
	memset(st->blob, (int)prng_below(&st->w.rng, 3), blob.len);
	store_head(s, &h);
	return store_append(s, h.seq, h.epoch, st->w.batch, n, &blob, with_blob, err);
}

static int step(struct story *st, struct store *s, struct err *err)
{
	struct store_head h;
	uint64_t epoch;

	store_head(s, &h);
	if (h.epoch == 0) /* as the daemon does at its start */
		return store_epoch_raise(s, 0, &epoch, err);
	switch (prng_below(&st->w.rng, 16)) {
	case 0:
		return store_checkpoint(s, NULL, err);
	case 1:
		return store_trim(s, h.applied_seq / 2, err);
	case 2:
		return store_epoch_raise(s, 0, &epoch, err);
	default:
		return append_step(st, s, err);
	}
}

/* Run `ops` steps or up to the first failure; what was acknowledged is in `st`. */
static int story_run(struct story *st, struct store *s, size_t ops, struct err *err)
{
	struct store_head h;

	for (size_t i = 0; i < ops; i++) {
		int r = step(st, s, err);

		if (r)
			return r;
		store_head(s, &h);
		acked(st, &h);
		memcpy(st->truth[st->truths - 1].hash, h.hash, sizeof(h.hash));
	}
	return 0;
}

/* Is the open store one that the story allows, given what was acknowledged? */
static int story_check(const struct story *st, struct store *s, uint64_t seq_acked,
		       uint64_t epoch_acked, struct err *err)
{
	const struct truth *t = NULL;
	struct store_check check;
	struct store_head h;
	int r;

	store_head(s, &h);
	if (h.seq < seq_acked)
		return err_set(err, ERR_GONE, "acknowledged %" PRIu64 ", found %" PRIu64, seq_acked,
			       h.seq);
	if (h.epoch < epoch_acked)
		return err_set(err, ERR_GONE, "acknowledged epoch %" PRIu64 ", found %" PRIu64,
			       epoch_acked, h.epoch);
	for (size_t i = 0; i < st->truths; i++)
		if (st->truth[i].seq == h.seq)
			t = &st->truth[i];
	if (!t)
		return err_set(err, ERR_CORRUPT, "the head %" PRIu64 " cuts through a batch",
			       h.seq);
	if (memcmp(t->digest, h.digest, sizeof(h.digest)) != 0)
		return err_set(err, ERR_CORRUPT, "the digest at %" PRIu64 " is another", h.seq);
	r = store_verify(s, &check, err);
	if (r)
		return r;
	if (check.records != h.seq - h.base_seq)
		return err_set(err, ERR_CORRUPT, "%" PRIu64 " records in the log", check.records);
	return 0;
}

/* ---- failing calls -------------------------------------------------------------------------- */

static char *data_prefix(const char *dir)
{
	struct buf b = BUF_INIT;

	buf_addf(&b, "%s/data.mdb", dir);
	return (char *)(uintptr_t)buf_cstr(&b);
}

/* Every later call on a store that saw a write fail has to refuse, even though the disk works
 * again. */
static void expect_stopped(struct story *st, struct store *s)
{
	struct store_check check;
	struct store_head h;
	struct err err;
	uint64_t epoch;

	assert_true(store_broken(s));
	store_head(s, &h);
	(void)world_batch(&st->w, 1);
	st->w.batch[0].seq = h.seq + 1;
	assert_int_equal(store_append(s, h.seq, h.epoch, st->w.batch, 1, NULL, 0, &err), ERR_IO);
	assert_int_equal(store_epoch_raise(s, 0, &epoch, &err), ERR_IO);
	assert_int_equal(store_checkpoint(s, NULL, &err), ERR_IO);
	assert_int_equal(store_trim(s, 0, &err), ERR_IO);
	assert_int_equal(store_restored_clear(s, &err), ERR_IO);
	assert_int_equal(store_verify(s, &check, &err), ERR_IO);
	assert_int_equal(store_backup(s, "/nonexistent/x", NULL, &err), ERR_IO);
}

/* Returns false when call k was never reached. */
static bool fail_call(uint64_t k, enum fault_io_mode mode, int code)
{
	char *dir = world_tmpdir(), *data = data_prefix(dir);
	static struct story st;
	struct store *s = NULL;
	struct err err = {0};
	bool struck;
	int r;

	story_init(&st, dir, 0x51);
	fault_io_watch(data);
	fault_io_fail(k, mode, code);
	/* The making of the store is part of the story. */
	r = store_open(&st.cfg, &s, &err);
	if (!r) {
		r = story_run(&st, s, 14, &err);
		struck = fault_io_struck();
		fault_io_heal();
		if (struck) {
			assert_true(r == ERR_IO || r == ERR_NOSPACE);
			expect_stopped(&st, s);
		} else {
			assert_int_equal(r, 0);
		}
		store_close(s);
	}
	struck = fault_io_struck();
	fault_io_heal();
	assert_true(struck || r == 0);
	s = NULL;
	assert_int_equal(store_open(&st.cfg, &s, &err), 0);
	r = story_check(&st, s, st.acked_seq, st.acked_epoch, &err);
	if (r)
		print_error("call %" PRIu64 ": %s\n", k, err.msg);
	assert_int_equal(r, 0);
	store_close(s);
	fault_io_watch(NULL);
	free(data);
	world_rmdir(dir);
	return struck;
}

static void test_every_call_fails(void **state)
{
	static const struct {
		enum fault_io_mode mode;
		int code;
	} ways[] = {
		{FAULT_IO_ONCE, EIO},
		{FAULT_IO_FOREVER, EIO},
		{FAULT_IO_FOREVER, ENOSPC},
		{FAULT_IO_HALF, ENOSPC},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
		uint64_t k = 1;

		while (fail_call(k, ways[i].mode, ways[i].code))
			k++;
		assert_true(k > 30); /* the workload really has that many calls */
	}
}

/* ---- crash images --------------------------------------------------------------------------- */

struct tally {
	uint64_t images, acked_lost, corrupt;
	bool lying_disk; /* the canary: syncs that do nothing */
	bool loud;	 /* print what is wrong */
	struct prng rng;
};

struct disk_image {
	uint8_t *data;
	uint64_t len, cap;
};

static void image_write(struct disk_image *im, uint64_t off, const uint8_t *p, uint64_t n)
{
	if (off + n > im->cap) {
		uint64_t cap = 2 * (off + n);

		im->data = xrealloc(im->data, cap);
		memset(im->data + im->cap, 0, cap - im->cap);
		im->cap = cap;
	}
	memcpy(im->data + off, p, n);
	if (im->len < off + n)
		im->len = off + n;
}

static void image_copy(struct disk_image *to, const struct disk_image *from)
{
	if (to->len > from->len)
		memset(to->data + from->len, 0, to->len - from->len);
	to->len = 0;
	image_write(to, 0, from->data, from->len);
}

/* A write that was under way: whole, not at all, the front half, or sector by sector. */
static void image_maybe_write(struct disk_image *im, const struct fault_io_event *e,
			      struct prng *rng)
{
	uint64_t mode = prng_below(rng, 4), torn = prng_below(rng, e->len / SECTOR + 1) * SECTOR,
		 off = 0;

	while (off < e->len) {
		uint64_t n = SECTOR - (e->off + off) % SECTOR;
		bool keep =
			mode == 0 || (mode == 2 && off < torn) || (mode == 3 && prng_below(rng, 2));

		if (n > e->len - off)
			n = e->len - off;
		if (keep)
			image_write(im, e->off + off, e->data + off, n);
		off += n;
	}
}

static void judge(struct tally *t, int code, const struct err *err, uint64_t at)
{
	t->images++;
	if (!code)
		return;
	if (code == ERR_GONE)
		t->acked_lost++;
	else
		t->corrupt++;
	if (t->loud)
		print_error("crash point %" PRIu64 ": %s\n", at, err->msg);
}

static void try_image(struct story *st, const struct disk_image *im, uint64_t ack, uint64_t at,
		      const char *dir, struct tally *t)
{
	char *data = data_prefix(dir);
	struct store *s = NULL;
	struct store_cfg cfg = st->cfg;
	struct err err = {0};
	int r, fd = open(data, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ENSURE(fd >= 0);
	ENSURE(pwrite(fd, im->data, im->len, 0) == (ssize_t)im->len);
	(void)close(fd); /* the image is only for us */
	cfg.dir = dir;
	cfg.create = false;
	r = store_open(&cfg, &s, &err);
	if (!r)
		r = story_check(st, s, ack & UINT32_MAX, ack >> 32, &err);
	/* A store that came back has to go on working, too. */
	if (!r && t->images % 16 == 0) {
		struct store_record rec = {.t_ms = 1};
		struct store_head h;

		store_head(s, &h);
		rec.seq = h.seq + 1;
		r = store_append(s, h.seq, h.epoch, &rec, 1, NULL, 0, &err);
	}
	store_close(s);
	judge(t, r, &err, at);
	free(data);
}

/* All crash points of one recorded workload. `durable` starts as the file before the first event.
 */
static void replay_events(struct story *st, struct disk_image *durable, const char *dir,
			  uint64_t images_max, struct tally *t)
{
	struct disk_image im = {0}, order = {0};
	size_t n, synced = 0; /* events before it are durable, or were O_DSYNC */
	const struct fault_io_event *ev = fault_io_events(&n);
	uint64_t ack = 0;

	image_copy(&order, durable);
	for (size_t i = 0; i < n && t->images < images_max; i++) {
		if (ev[i].kind == FAULT_IO_ACK) {
			ack = ev[i].tag;
			continue;
		}
		/* What a sync did not save is lost. Only that: LMDB is not made to read a disk that
		 * kept some of what it should have lost and lost some of what it should have kept.
		 */
		if (t->lying_disk) {
			try_image(st, durable, ack, i, dir, t);
			continue;
		}
		/* The crash comes while call i is under way. First the page cache written out in
		 * order... */
		try_image(st, &order, ack, i, dir, t);
		/* ...then any part of what no sync has covered, call i included. */
		for (int k = 0; k < SUBSETS; k++) {
			image_copy(&im, durable);
			for (size_t j = synced; j <= i; j++)
				if (ev[j].kind == FAULT_IO_WRITE)
					image_maybe_write(&im, &ev[j], &t->rng);
			try_image(st, &im, ack, i, dir, t);
		}
		if (ev[i].kind == FAULT_IO_WRITE) {
			image_write(&order, ev[i].off, ev[i].data, ev[i].len);
			if (ev[i].dsync)
				image_write(durable, ev[i].off, ev[i].data, ev[i].len);
		} else {
			image_copy(durable, &order);
			synced = i + 1;
		}
	}
	/* And once after everything: the last answer has been given, nothing more was written. */
	try_image(st, durable, ack, n, dir, t);
	free(im.data);
	free(order.data);
}

static void read_file(const char *path, struct disk_image *im)
{
	struct stat st;
	int fd = open(path, O_RDONLY);
	uint8_t *p;

	ENSURE(fd >= 0);
	ENSURE(fstat(fd, &st) == 0);
	p = xmalloc((size_t)st.st_size);
	ENSURE(read(fd, p, (size_t)st.st_size) == st.st_size);
	image_write(im, 0, p, (uint64_t)st.st_size);
	free(p);
	(void)close(fd);
}

/* Record one workload and try the crashes in it. */
static void crash_story(uint64_t seed, uint64_t images_max, struct tally *t)
{
	char *dir = world_tmpdir(), *crash_dir = world_tmpdir(), *data = data_prefix(dir);
	struct disk_image durable = {0};
	static struct story st;
	struct store *s = NULL;
	struct err err = {0};

	story_init(&st, dir, seed);
	assert_int_equal(store_open(&st.cfg, &s, &err), 0);
	read_file(data, &durable);
	fault_io_watch(data);
	fault_io_record();
	assert_int_equal(story_run(&st, s, 8 + seed % (OPS_MAX - 8), &err), 0);
	store_close(s);
	replay_events(&st, &durable, crash_dir, images_max, t);
	fault_io_watch(NULL);
	free(durable.data);
	free(data);
	world_rmdir(crash_dir);
	world_rmdir(dir);
}

static void test_every_crash_is_survived(void **state)
{
	const char *env = getenv("SLUIS_CRASH_IMAGES");
	uint64_t want = env ? strtoull(env, NULL, 10) : IMAGES_UNIT, seed;
	struct tally t = {.loud = true};

	(void)state;
	prng_seed(&t.rng, 0xc4a5);
	for (seed = 1; t.images < want && t.acked_lost + t.corrupt < 10; seed++)
		crash_story(seed, want, &t);
	if (env) {
		printf("crash_workloads: %" PRIu64 " count\n", seed - 1);
		printf("crash_images: %" PRIu64 " count\n", t.images);
		printf("acked_lost: %" PRIu64 " count\n", t.acked_lost);
		printf("corrupt: %" PRIu64 " count\n", t.corrupt);
	}
	assert_int_equal(t.acked_lost, 0);
	assert_int_equal(t.corrupt, 0);
}

/* A disk that answers a sync without doing it loses acknowledged records: the replayer has to see
 * that, or the test above proves nothing. */
static void test_replayer_sees_a_lying_disk(void **state)
{
	struct tally t = {.lying_disk = true};

	(void)state;
	prng_seed(&t.rng, 0xc4a5);
	crash_story(3, 300, &t);
	assert_true(t.acked_lost > 0);
}

/* ---- files that appear by a rename ------------------------------------------------------------ */

/* What a disk certainly has of the watched file when it gets its name. */
static void durable_when_named(struct disk_image *durable)
{
	struct disk_image order = {0};
	size_t n;
	const struct fault_io_event *ev = fault_io_events(&n);
	bool named = false;

	for (size_t i = 0; i < n && !named; i++) {
		if (ev[i].kind == FAULT_IO_WRITE) {
			image_write(&order, ev[i].off, ev[i].data, ev[i].len);
			if (ev[i].dsync)
				image_write(durable, ev[i].off, ev[i].data, ev[i].len);
		} else if (ev[i].kind == FAULT_IO_SYNC) {
			image_copy(durable, &order);
		}
		named = ev[i].kind == FAULT_IO_NAME;
	}
	assert_true(named);
	free(order.data);
}

static void expect_durable(const char *path)
{
	struct disk_image durable = {0}, is = {0};

	durable_when_named(&durable);
	fault_io_watch(NULL);
	read_file(path, &is);
	assert_true(is.len > 4096);
	/* what lies behind the last write was never written: a hole on both sides */
	assert_true(durable.len <= is.len);
	image_write(&durable, is.len - 1, is.data + is.len - 1, 1);
	assert_memory_equal(durable.data, is.data, is.len);
	free(durable.data);
	free(is.data);
}

static char *path_of(const char *dir, const char *name)
{
	struct buf b = BUF_INIT;

	buf_addf(&b, "%s/%s", dir, name);
	return (char *)(uintptr_t)buf_cstr(&b);
}

/* A backup, an exported piece of the log, a restored store: whoever sees the name sees all of it, also after
 * a power cut; before that the log is not trimmed, and the backup not reported. */
static void test_a_name_is_given_to_synced_bytes(void **state)
{
	char *dir = world_tmpdir(), *to = world_tmpdir();
	char *backup = path_of(to, "b"), *backup_part = path_of(to, "b.part"), *piece = path_of(to, "log");
	char *piece_part = path_of(to, "log.part"), *restored = path_of(to, "r"), *fresh = path_of(to, "r/data.mdb.new");
	char *data = path_of(to, "r/data.mdb");
	struct logfile_summary sum;
	static struct story st;
	struct store *s = NULL;
	struct err err = {0};

	(void)state;
	story_init(&st, dir, 0x77);
	assert_int_equal(store_open(&st.cfg, &s, &err), 0);
	assert_int_equal(story_run(&st, s, 14, &err), 0);

	fault_io_watch(backup_part);
	fault_io_record();
	if (store_backup(s, backup, NULL, &err))
		fail_msg("%s", err.msg);
	expect_durable(backup);

	fault_io_watch(piece_part);
	fault_io_record();
	{
		struct store_head h;

		store_head(s, &h);
		if (logfile_export(s, h.base_seq + 1, UINT64_MAX, piece, &sum, &err))
			fail_msg("%s", err.msg);
	}
	expect_durable(piece);
	store_close(s);

	fault_io_watch(fresh);
	fault_io_record();
	if (store_restore(backup, restored, 0, &err))
		fail_msg("%s", err.msg);
	expect_durable(data);

	free(backup);
	free(backup_part);
	free(piece);
	free(piece_part);
	free(restored);
	free(fresh);
	free(data);
	world_rmdir(to);
	world_rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_call_fails),
		cmocka_unit_test(test_replayer_sees_a_lying_disk),
		cmocka_unit_test(test_every_crash_is_survived),
		cmocka_unit_test(test_a_name_is_given_to_synced_bytes),
	};
	const struct CMUnitTest images_only[] = {
		cmocka_unit_test(test_every_crash_is_survived),
	};

	if (getenv("SLUIS_CRASH_IMAGES"))
		return cmocka_run_group_tests(images_only, NULL, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
