/* test_logfile.c - the log outside the store
 *
 * Without these an archive could be cut, edited or glued together from two histories, and whoever
 * reads it years later would believe it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/store/logfile.h"
#include "proto/base/ensure.h"
#include "tests/lib/store_world.h"

struct fix {
	char *dir, *file;
	struct store *s;
	struct world w;
	struct err err;
	struct buf bytes; /* of the exported file */
};

static char *path_in(struct fix *f, const char *name)
{
	struct buf b = BUF_INIT;

	buf_addf(&b, "%s/%s", f->dir, name);
	return (char *)(uintptr_t)buf_cstr(&b);
}

static int setup(void **state)
{
	struct fix *f = xcalloc(1, sizeof(*f));
	struct store_cfg cfg = {.create = true, .state_every = 16};

	cfg.dir = f->dir = world_tmpdir();
	f->file = path_in(f, "log");
	world_init(&f->w, 7);
	*state = f;
	return store_open(&cfg, &f->s, &f->err);
}

static int teardown(void **state)
{
	struct fix *f = *state;

	store_close(f->s);
	buf_done(&f->bytes);
	free(f->file);
	world_rmdir(f->dir);
	free(f);
	return 0;
}

static void ok_(struct fix *f, int r, int line)
{
	if (r)
		print_error("line %d: %s: %s\n", line, err_name(r), f->err.msg);
	assert_int_equal(r, 0);
}
#define OK(f, call) ok_((f), (call), __LINE__)

static void append_to(struct fix *f, uint64_t seq)
{
	while (f->w.seq < seq)
		OK(f, world_append(&f->w, f->s, WORLD_BATCH_MAX, &f->err));
}

static void slurp(struct fix *f, const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY);

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	buf_reset(&f->bytes);
	(void)buf_reserve(&f->bytes, (size_t)st.st_size);
	assert_int_equal(read(fd, f->bytes.data, (size_t)st.st_size), st.st_size);
	f->bytes.len = (size_t)st.st_size;
	(void)close(fd);
}

static void spit(const char *path, const uint8_t *p, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_int_equal(write(fd, p, n), (ssize_t)n);
	(void)close(fd);
}

static size_t frame_len(const uint8_t *p)
{
	return 5 + ((size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4]);
}

/* Offset of the n-th frame (from 0), behind the header of 64 bytes. */
static size_t frame_at(const struct fix *f, size_t n)
{
	size_t at = 64;

	while (n-- > 0)
		at += frame_len(f->bytes.data + at);
	assert_true(at < f->bytes.len);
	return at;
}

static void test_export_says_what_is_in_it(void **state)
{
	struct fix *f = *state;
	struct logfile_summary sum, again;
	struct store_head h;

	append_to(f, 100);
	store_head(f->s, &h);
	OK(f, logfile_export(f->s, 1, UINT64_MAX, f->file, &sum, &f->err));
	assert_int_equal(sum.records, h.seq);
	assert_int_equal(sum.first_seq, 1);
	assert_int_equal(sum.last_seq, h.seq);
	assert_int_equal(sum.t_min_ms, 7 - 100);
	assert_int_equal(sum.t_max_ms, (int64_t)h.seq * 7 - 100);
	assert_memory_equal(sum.head_hash, h.hash, sizeof(h.hash));
	OK(f, logfile_verify(f->file, &again, &f->err));
	assert_memory_equal(&sum, &again, sizeof(sum));
	assert_int_equal(logfile_export(f->s, 1, 5, f->file, NULL, &f->err), ERR_EXISTS);
	OK(f, logfile_verify(f->file, &again, &f->err)); /* and it is still the old one */
	assert_memory_equal(&sum, &again, sizeof(sum));
}

static void test_only_records_that_exist_are_exported(void **state)
{
	struct fix *f = *state;

	assert_int_equal(logfile_export(f->s, 1, UINT64_MAX, f->file, NULL, &f->err), ERR_RANGE);
	append_to(f, 50);
	assert_int_equal(logfile_export(f->s, 0, 5, f->file, NULL, &f->err), ERR_RANGE);
	assert_int_equal(logfile_export(f->s, 6, 5, f->file, NULL, &f->err), ERR_RANGE);
	assert_int_equal(logfile_export(f->s, 1, f->w.seq + 1, f->file, NULL, &f->err), ERR_RANGE);
	OK(f, store_checkpoint(f->s, NULL, &f->err));
	OK(f, store_trim(f->s, 30, &f->err));
	assert_int_equal(logfile_export(f->s, 1, 40, f->file, NULL, &f->err), ERR_GONE);
	assert_int_equal(access(f->file, F_OK), -1);
	OK(f, logfile_export(f->s, 35, 40, f->file, NULL, &f->err));
}

static int compare_one(void *ctx, uint8_t kind, uint64_t id, const uint8_t *val, uint32_t len,
		       struct err *err)
{
	struct world *w = ctx;

	(void)err;
	assert_true(w->rec[kind][id].live);
	assert_int_equal(w->rec[kind][id].len, len);
	assert_memory_equal(w->rec[kind][id].val, val, len);
	w->rec[kind][id].live = false;
	return 0;
}

/* From nothing, through marks, to the state that the store has: in one file and in three. */
static void test_reapplying_gives_the_same_state(void **state)
{
	struct fix *f = *state;
	struct logfile_state *one = logfile_state_new(), *three = logfile_state_new();
	uint8_t digest[STORE_HASH_BYTES];
	char *part[3] = {path_in(f, "a"), path_in(f, "b"), path_in(f, "c")};
	uint64_t marks, from = 1, to[3] = {3000, 8000, UINT64_MAX};
	struct store_mark at;

	append_to(f, 3 * STORE_MARK_EVERY);
	OK(f, store_checkpoint(f->s, NULL, &f->err));
	OK(f, logfile_export(f->s, 1, UINT64_MAX, f->file, NULL, &f->err));
	OK(f, logfile_replay(one, f->file, UINT64_MAX, &marks, &f->err));
	assert_int_equal(marks, f->w.seq == 3 * STORE_MARK_EVERY ? 3 : 4);
	at = logfile_state_at(one);
	(void)world_digest(&f->w, digest);
	assert_int_equal(at.seq, f->w.seq);
	assert_memory_equal(at.digest, digest, sizeof(digest));

	for (int i = 0; i < 3; i++) {
		OK(f, logfile_export(f->s, from, to[i], part[i], NULL, &f->err));
		OK(f, logfile_replay(three, part[i], UINT64_MAX, NULL, &f->err));
		from = to[i] + 1;
	}
	at = logfile_state_at(three);
	assert_memory_equal(at.digest, digest, sizeof(digest));
	logfile_state_free(three);

	/* A part that does not go on where the state stands is refused. */
	three = logfile_state_new();
	assert_int_equal(logfile_replay(three, part[1], UINT64_MAX, NULL, &f->err), ERR_CORRUPT);
	logfile_state_free(three);

	OK(f, logfile_state_each(one, compare_one, &f->w, &f->err));
	assert_int_equal(world_digest(&f->w, digest), 0); /* every live record was met */
	logfile_state_free(one);
	for (int i = 0; i < 3; i++)
		free(part[i]);
}

static void test_reapplying_stops_where_asked(void **state)
{
	struct fix *f = *state;
	struct store_head h;
	uint64_t marks;

	append_to(f, 60);
	store_head(f->s, &h);
	append_to(f, 90);
	OK(f, logfile_export(f->s, 1, UINT64_MAX, f->file, NULL, &f->err));
	for (int i = 0; i < 2; i++) {
		struct logfile_state *st = logfile_state_new();
		struct store_mark at;

		OK(f, logfile_replay(st, f->file, i ? 0 : h.seq, &marks, &f->err));
		at = logfile_state_at(st);
		assert_int_equal(at.seq, i ? 0 : h.seq);
		if (!i)
			assert_memory_equal(at.digest, h.digest, sizeof(h.digest));
		logfile_state_free(st);
	}
}

static void test_every_truncation_is_found(void **state)
{
	struct fix *f = *state;
	struct logfile_summary sum;

	append_to(f, 20);
	OK(f, store_checkpoint(f->s, NULL, &f->err));
	OK(f, logfile_export(f->s, 1, UINT64_MAX, f->file, NULL, &f->err));
	slurp(f, f->file);
	for (size_t n = 0; n < f->bytes.len; n++) {
		assert_int_equal(truncate(f->file, (off_t)n), f->bytes.len ? 0 : -1);
		assert_int_equal(logfile_verify(f->file, &sum, &f->err), ERR_TRUNCATED);
		assert_non_null(strstr(f->err.msg, f->file));
		spit(f->file, f->bytes.data, f->bytes.len);
	}
	buf_add(&f->bytes, "x", 1);
	spit(f->file, f->bytes.data, f->bytes.len);
	assert_int_equal(logfile_verify(f->file, &sum, &f->err), ERR_CORRUPT);
}

static void test_every_flipped_byte_is_found(void **state)
{
	struct fix *f = *state;

	append_to(f, 12);
	OK(f, store_checkpoint(f->s, NULL, &f->err));
	OK(f, logfile_export(f->s, 3, UINT64_MAX, f->file, NULL, &f->err));
	slurp(f, f->file);
	for (size_t at = 0; at < f->bytes.len; at++) {
		uint8_t bit = (uint8_t)(1 << at % 8);

		f->bytes.data[at] ^= bit;
		spit(f->file, f->bytes.data, f->bytes.len);
		assert_true(logfile_verify(f->file, NULL, &f->err) < 0);
		f->bytes.data[at] ^= bit;
	}
	spit(f->file, f->bytes.data, f->bytes.len);
	OK(f, logfile_verify(f->file, NULL, &f->err));
}

static void test_first_bad_record_is_named(void **state)
{
	struct fix *f = *state;
	char where[64];
	size_t at;

	append_to(f, 40);
	OK(f, logfile_export(f->s, 1, 40, f->file, NULL, &f->err));
	slurp(f, f->file);
	at = frame_at(f, 16); /* record 17 */
	f->bytes.data[at + 12] ^= 1;
	f->bytes.data[frame_at(f, 30) + 12] ^= 1;
	spit(f->file, f->bytes.data, f->bytes.len);
	assert_int_equal(logfile_verify(f->file, NULL, &f->err), ERR_CORRUPT);
	assert_non_null(strstr(f->err.msg, "record 17:"));
	(void)snprintf(where, sizeof(where), "byte %zu,", at);
	assert_non_null(strstr(f->err.msg, where));
}

/* Of a folder of archived files only the end of the path differs. */
static void test_a_long_path_is_told_by_its_end(void **state)
{
	struct fix *f = *state;
	char name[128], *path;

	memset(name, 'x', 90);
	(void)strcpy(name + 90, "-00000000000000000017.sluis");
	path = path_in(f, name);
	append_to(f, 4);
	OK(f, logfile_export(f->s, 1, 4, path, NULL, &f->err));
	slurp(f, path);
	f->bytes.data[frame_at(f, 2) + 12] ^= 1;
	spit(path, f->bytes.data, f->bytes.len);
	assert_int_equal(logfile_verify(path, NULL, &f->err), ERR_CORRUPT);
	assert_non_null(strstr(f->err.msg, "x-00000000000000000017.sluis': byte "));
	free(path);
}

/* Records swapped, doubled or left out: each has its right hash, the chain does not. */
static void test_reordered_and_missing_records_are_found(void **state)
{
	struct fix *f = *state;
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	size_t a, c, d;

	append_to(f, 40);
	OK(f, logfile_export(f->s, 1, 40, f->file, NULL, &f->err));
	slurp(f, f->file);
	a = frame_at(f, 9);
	c = frame_at(f, 10);
	d = frame_at(f, 11);
	for (int way = 0; way < 3; way++) {
		buf_reset(&b);
		buf_add(&b, f->bytes.data, a);
		if (way != 2)
			buf_add(&b, f->bytes.data + c, d - c);
		if (way != 1)
			buf_add(&b, f->bytes.data + a, c - a);
		if (way == 2)
			buf_add(&b, f->bytes.data + a, c - a); /* doubled */
		buf_add(&b, f->bytes.data + d, f->bytes.len - d);
		spit(f->file, b.data, b.len);
		assert_int_equal(logfile_verify(f->file, NULL, &f->err), ERR_CORRUPT);
		assert_non_null(strstr(f->err.msg, "record 1"));
	}
}

/* The head of one history and the tail of another, both whole in themselves. */
static void test_spliced_histories_are_found(void **state)
{
	struct fix *f = *state;
	char *other = path_in(f, "other"), *dir = path_in(f, "second");
	struct store_cfg cfg = {.dir = dir, .create = true};
	struct store *s = NULL, *mine = f->s;
	struct buf b = BUF_INIT;
	size_t cut;

	append_to(f, 40);
	OK(f, logfile_export(f->s, 1, 40, f->file, NULL, &f->err));
	OK(f, store_open(&cfg, &s, &f->err));
	world_init(&f->w, 8);
	f->s = s;
	append_to(f, 40);
	OK(f, logfile_export(f->s, 1, 40, other, NULL, &f->err));
	store_close(s);
	f->s = mine;
	slurp(f, f->file);
	cut = frame_at(f, 20);
	buf_add(&b, f->bytes.data, cut);
	slurp(f, other);
	cut = frame_at(f, 20);
	buf_add(&b, f->bytes.data + cut, f->bytes.len - cut);
	spit(f->file, b.data, b.len);
	assert_int_equal(logfile_verify(f->file, NULL, &f->err), ERR_CORRUPT);
	assert_non_null(strstr(f->err.msg, "record 21: chain broken"));
	buf_done(&b);
	free(other);
	free(dir);
}

/* A store whose digest went wrong long ago, exported faithfully: only re-applying can tell. */
static void test_wrong_mark_is_found_by_reapplying(void **state)
{
	struct fix *f = *state;
	struct logfile_state *st = logfile_state_new();
	char *other = path_in(f, "other"), *dir = path_in(f, "second");
	struct store_cfg cfg = {.dir = dir, .create = true};
	struct store *s = NULL;
	struct store_fact fact = {1, 1, (const uint8_t *)"x", 1};
	struct store_record rec = {.seq = 1, .facts = &fact, .facts_n = 1};

	/* Two stores with equal records 1..3 but one fact more in the second's record 1. */
	OK(f, store_open(&cfg, &s, &f->err));
	OK(f, store_append(s, 0, 0, &rec, 1, NULL, 0, &f->err));
	OK(f, store_checkpoint(s, NULL, &f->err));
	OK(f, logfile_export(s, 1, 1, other, NULL, &f->err));
	store_close(s);
	rec.facts_n = 0;
	OK(f, store_append(f->s, 0, 0, &rec, 1, NULL, 0, &f->err));
	OK(f, store_checkpoint(f->s, NULL, &f->err));
	OK(f, logfile_export(f->s, 1, 1, f->file, NULL, &f->err));
	OK(f, logfile_replay(st, other, UINT64_MAX, NULL, &f->err));
	logfile_state_free(st);

	/* Give the file the digest of the other and make everything else fit again. */
	{
		struct buf good = BUF_INIT;
		size_t mark;

		slurp(f, other);
		mark = frame_at(f, 1) + 5;
		buf_add(&good, f->bytes.data + mark + 40, STORE_HASH_BYTES);
		slurp(f, f->file);
		mark = frame_at(f, 1) + 5;
		memcpy(f->bytes.data + mark + 40, good.data, STORE_HASH_BYTES);
		store_blob_hash(f->bytes.data + mark, 72, good.data);
		memcpy(f->bytes.data + mark + 72, good.data, 8);
		store_blob_hash(f->bytes.data, f->bytes.len - 32,
				f->bytes.data + f->bytes.len - 32);
		spit(f->file, f->bytes.data, f->bytes.len);
		buf_done(&good);
	}
	OK(f, logfile_verify(f->file, NULL, &f->err));
	st = logfile_state_new();
	assert_int_equal(logfile_replay(st, f->file, UINT64_MAX, NULL, &f->err), ERR_CORRUPT);
	assert_non_null(strstr(f->err.msg, "digest of its mark"));
	logfile_state_free(st);
	free(other);
	free(dir);
}

static void test_foreign_files_are_refused(void **state)
{
	struct fix *f = *state;
	uint8_t junk[300] = "SLUISLOG";

	assert_int_equal(logfile_verify(f->file, NULL, &f->err), ERR_NOTFOUND);
	junk[9] = 2; /* version */
	spit(f->file, junk, sizeof(junk));
	assert_int_equal(logfile_verify(f->file, NULL, &f->err), ERR_VERSION);
	junk[0] = 's';
	spit(f->file, junk, sizeof(junk));
	assert_int_equal(logfile_verify(f->file, NULL, &f->err), ERR_FORMAT);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_export_says_what_is_in_it),
		T(test_only_records_that_exist_are_exported),
		T(test_reapplying_gives_the_same_state),
		T(test_reapplying_stops_where_asked),
		T(test_every_truncation_is_found),
		T(test_every_flipped_byte_is_found),
		T(test_first_bad_record_is_named),
		T(test_a_long_path_is_told_by_its_end),
		T(test_reordered_and_missing_records_are_found),
		T(test_spliced_histories_are_found),
		T(test_wrong_mark_is_found_by_reapplying),
		T(test_foreign_files_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
