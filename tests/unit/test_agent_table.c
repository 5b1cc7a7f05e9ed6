/* test_agent_table.c - an agent that forgets a row starts a task twice; one that forgets an epoch obeys a
 * daemon that no longer owns the device */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/exec/crc32c.h"
#include "agent/exec/table.h"
#include "proto/base/buf.h"
#include "proto/base/ensure.h"

struct world {
	char dir[64];
	char path[80];
};

static int setup(void **state)
{
	struct world *w = xcalloc(1, sizeof(*w));

	(void)snprintf(w->dir, sizeof(w->dir), "/tmp/sluis-table-XXXXXX");
	if (!mkdtemp(w->dir))
		return -1;
	(void)snprintf(w->path, sizeof(w->path), "%s/table", w->dir);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	char path[96];

	(void)unlink(w->path);
	(void)snprintf(path, sizeof(path), "%s.lock", w->path);
	(void)unlink(path);
	if (rmdir(w->dir)) /* also says that nothing else was left behind */
		return -1;
	free(w);
	return 0;
}

static struct table *open_table(const struct world *w, struct table_found *found)
{
	struct table *t = NULL;
	struct err err;

	assert_int_equal(table_open(w->dir, &t, found, &err), 0);
	return t;
}

/* As a new node begins: there was no file, and nothing can be missing. */
static struct table *open_new(const struct world *w)
{
	struct table_found found;
	struct table *t = open_table(w, &found);

	assert_true(found.rebuilt && found.none);
	assert_int_equal(table_meta_set(t, TABLE_ROWS_MISSING, 0, NULL), 0);
	assert_int_equal(table_sync(t, NULL), 0);
	table_close(t);
	t = open_table(w, &found); /* compact */
	assert_false(found.rebuilt || found.none);
	return t;
}

static void put(struct table *t, uint64_t alloc, uint16_t part, const char *text)
{
	assert_int_equal(table_put_row(t, alloc, part, text, strlen(text), NULL), 0);
}

static void expect_row(const struct table *t, uint64_t alloc, uint16_t part, const char *text)
{
	const void *payload;
	size_t len;

	assert_true(table_get_row(t, alloc, part, &payload, &len));
	assert_int_equal(len, strlen(text));
	assert_memory_equal(payload, text, len);
}

static void slurp(const char *path, struct buf *b)
{
	FILE *f = fopen(path, "rb");

	assert_non_null(f);
	buf_reset(b);
	b->len = fread(buf_reserve(b, 1 << 20), 1, 1 << 20, f);
	(void)fclose(f);
}

static void spill(const char *path, const uint8_t *data, size_t n)
{
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

/* RFC 3720 B.4 gives these; a wrong polynomial would still find most flips and tell nobody. */
static void crc_is_castagnoli(void **state)
{
	uint8_t bytes[32] = {0};

	(void)state;
	assert_int_equal(crc32c(0, bytes, 32), 0x8a9136aaU);
	memset(bytes, 0xff, 32);
	assert_int_equal(crc32c(0, bytes, 32), 0x62a8ab43U);
	for (int i = 0; i < 32; i++)
		bytes[i] = (uint8_t)i;
	assert_int_equal(crc32c(crc32c(0, bytes, 5), bytes + 5, 27), 0x46dd794eU);
}

static void collect(void *ctx, uint64_t alloc, uint16_t part, const void *payload, size_t len)
{
	buf_addf(ctx, "%d.%d=%.*s ", (int)alloc, part, (int)len, (const char *)payload);
}

static void keeps_what_was_synced(void **state)
{
	struct table_found found;
	struct buf seen = BUF_INIT;
	struct table *t = open_new(*state);

	put(t, 42, 1, "one");
	put(t, 42, 0, "zero");
	put(t, 7, 3, "seven");
	put(t, 9, 0, "");
	put(t, 42, 1, "one again");
	table_del_row(t, 7, 3);
	table_del_row(t, 1000, 0); /* none: fine */
	assert_int_equal(table_epoch_raise(t, "0000:3b:00.0/0", 12, NULL), 0);
	assert_int_equal(table_meta_set(t, TABLE_CLUSTER_EPOCH, 5, NULL), 0);
	assert_int_equal(table_meta_set(t, TABLE_SEQ_ACKED, 900, NULL), 0);
	assert_int_equal(table_sync(t, NULL), 0);
	put(t, 50, 0, "never synced");
	table_close(t);

	for (int times = 0; times < 3; times++) { /* as a log, then compacted, then compact already */
		t = open_table(*state, &found);
		assert_false(found.rebuilt);
		assert_int_equal(found.cut_bytes, 0);
		buf_reset(&seen);
		table_each_row(t, collect, &seen);
		assert_string_equal(buf_cstr(&seen), "9.0= 42.0=zero 42.1=one again ");
		assert_int_equal(table_row_count(t), 3);
		assert_int_equal(table_epoch_get(t, "0000:3b:00.0/0"), 12);
		assert_int_equal(table_epoch_get(t, "0000:3b:00.0/1"), 0);
		assert_int_equal(table_meta_get(t, TABLE_CLUSTER_EPOCH), 5);
		assert_int_equal(table_meta_get(t, TABLE_INCARNATION), 0);
		assert_int_equal(table_meta_get(t, TABLE_SEQ_ACKED), 900);
		table_close(t);
	}
	buf_done(&seen);
}

static void epochs_never_go_back(void **state)
{
	struct table_found found;
	struct err err;
	struct table *t = open_table(*state, &found);

	assert_int_equal(table_epoch_raise(t, "gpu0", 7, &err), 0);
	assert_int_equal(table_epoch_raise(t, "gpu0", 7, &err), 0);
	assert_int_equal(table_epoch_raise(t, "gpu0", 6, &err), ERR_STALE);
	assert_int_equal(table_epoch_get(t, "gpu0"), 7);
	assert_int_equal(table_epoch_raise(t, "", 1, &err), ERR_INVAL);
	assert_int_equal(table_epoch_raise(t,
		"a-device-name-of-sixty-five-bytes-is-one-byte-too-long-for-a-tabl", 1, &err), ERR_INVAL);
	assert_int_equal(table_meta_set(t, TABLE_CLUSTER_EPOCH, 3, &err), 0);
	assert_int_equal(table_meta_set(t, TABLE_CLUSTER_EPOCH, 2, &err), ERR_STALE);
	assert_int_equal(table_meta_set(t, TABLE_INCARNATION, 9, &err), 0);
	assert_int_equal(table_meta_set(t, TABLE_INCARNATION, 8, &err), ERR_STALE);
	assert_int_equal(table_meta_set(t, TABLE_SEQ_ACKED, 100, &err), 0);
	assert_int_equal(table_meta_set(t, TABLE_SEQ_ACKED, 10, &err), 0); /* a daemon restored with a new epoch */
	assert_int_equal(table_sync(t, &err), 0);
	table_close(t);
	t = open_table(*state, &found);
	assert_int_equal(table_epoch_raise(t, "gpu1", 5, &err), 0);
	assert_int_equal(table_epoch_max(t), 7);
	assert_int_equal(table_epoch_raise(t, "gpu0", 6, &err), ERR_STALE);
	assert_int_equal(table_meta_set(t, TABLE_CLUSTER_EPOCH, 2, &err), ERR_STALE);
	assert_int_equal(table_meta_get(t, TABLE_SEQ_ACKED), 10);
	table_close(t);
}

/* Cut the file at every byte of what came after the first sync: the first sync's contents are there each
 * time, the later ones in order, and only a cut inside an entry is reported. */
static void survives_a_cut_at_every_byte(void **state)
{
	struct world *w = *state;
	struct table_found found;
	struct buf whole = BUF_INIT;
	struct stat st;
	size_t first;
	struct table *t = open_new(w);

	put(t, 1, 0, "first");
	assert_int_equal(table_epoch_raise(t, "gpu0", 5, NULL), 0);
	assert_int_equal(table_sync(t, NULL), 0);
	assert_int_equal(stat(w->path, &st), 0);
	first = (size_t)st.st_size;
	put(t, 2, 0, "second");
	put(t, 1, 0, "changed");
	assert_int_equal(table_epoch_raise(t, "gpu0", 6, NULL), 0);
	assert_int_equal(table_sync(t, NULL), 0);
	table_close(t);
	slurp(w->path, &whole);
	assert_true(whole.len > first + 60);

	for (size_t cut = first; cut <= whole.len; cut++) {
		const size_t ends[] = {first, first + 8 + 11 + 6, first + 8 + 11 + 6 + 8 + 11 + 7, whole.len};
		size_t sound = first;

		for (size_t i = 0; i < ARRAY_LEN(ends); i++)
			if (ends[i] <= cut)
				sound = ends[i];
		spill(w->path, whole.data, cut);
		t = open_table(w, &found);
		assert_false(found.rebuilt);
		assert_int_equal(found.cut_bytes, cut - sound);
		expect_row(t, 1, 0, sound >= ends[2] ? "changed" : "first");
		assert_int_equal(table_row_count(t), sound >= ends[1] ? 2 : 1);
		assert_int_equal(table_epoch_get(t, "gpu0"), sound >= ends[3] ? 6 : 5);
		put(t, 3, 0, "appended"); /* the tail is gone for good: what follows it can be read */
		assert_int_equal(table_sync(t, NULL), 0);
		table_close(t);
		t = open_table(w, &found);
		assert_int_equal(found.cut_bytes, 0);
		expect_row(t, 3, 0, "appended");
		table_close(t);
	}
	buf_done(&whole);
}

/* A lost file says of itself that rows may be missing, through every start and compaction, until the caller has
 * made it good: who dies in between must not take the empty table for the whole one. */
static void a_lost_file_says_so_until_made_good(void **state)
{
	struct table_found found;
	struct table *t = open_table(*state, &found);

	assert_true(found.rebuilt && found.none); /* a lost file and a new node look alike */
	table_close(t);
	for (int times = 0; times < 3; times++) {
		t = open_table(*state, &found);
		assert_true(found.rebuilt);
		assert_false(found.none);
		put(t, 1 + (uint64_t)times, 0, "found");
		assert_int_equal(table_sync(t, NULL), 0);
		table_close(t);
	}
	t = open_table(*state, &found);
	assert_int_equal(table_meta_set(t, TABLE_ROWS_MISSING, 0, NULL), 0);
	table_close(t); /* not synced */
	t = open_table(*state, &found);
	assert_true(found.rebuilt);
	assert_int_equal(table_meta_set(t, TABLE_ROWS_MISSING, 0, NULL), 0);
	assert_int_equal(table_sync(t, NULL), 0);
	table_close(t);
	t = open_table(*state, &found);
	assert_false(found.rebuilt);
	assert_int_equal(table_row_count(t), 3);
	table_close(t);
}

/* Flip each byte in turn. Whatever is damaged, nothing false is read: a row has a value it once had, and
 * where rows may be missing `rebuilt` says so. An epoch is lost only with its own entry. */
static void finds_every_flipped_byte(void **state)
{
	struct world *w = *state;
	struct table_found found;
	struct buf whole = BUF_INIT;
	struct table *t = open_new(w);

	put(t, 1, 0, "first");
	assert_int_equal(table_sync(t, NULL), 0);
	assert_int_equal(table_epoch_raise(t, "gpu0", 5, NULL), 0);
	put(t, 2, 0, "second");
	assert_int_equal(table_epoch_raise(t, "gpu1", 6, NULL), 0);
	assert_int_equal(table_sync(t, NULL), 0);
	table_close(t);
	slurp(w->path, &whole);

	for (size_t i = 0; i < whole.len; i++) {
		const size_t row1 = 16, epoch0 = row1 + 24, row2 = epoch0 + 21, epoch1 = row2 + 25;
		struct err err;

		assert_int_equal(whole.len, epoch1 + 21);
		whole.data[i] ^= 0x10;
		spill(w->path, whole.data, whole.len);
		whole.data[i] ^= 0x10;
		if (i == 15) { /* the version digit */
			assert_int_equal(table_open(w->dir, &t, &found, &err), ERR_VERSION);
			continue;
		}
		t = open_table(w, &found);
		if (i < row1) {
			assert_true(found.rebuilt);
		} else {
			assert_int_equal(found.rebuilt, i < epoch1); /* the last entry: a torn tail */
			assert_true(found.cut_bytes > 0);
			assert_int_equal(table_row_count(t), i < epoch0 ? 0 : i < row2 ? 1 : i < epoch1 ? 1 : 2);
		}
		assert_int_equal(table_epoch_get(t, "gpu0"), i >= epoch0 && i < row2 ? 0 : 5);
		assert_int_equal(table_epoch_get(t, "gpu1"), i >= epoch1 ? 0 : 6);
		table_close(t);
	}
	buf_done(&whole);
}

static void one_process_at_a_time(void **state)
{
	const struct world *w = *state;
	struct table_found found;
	struct table *second;
	struct err err;
	struct table *t = open_table(w, &found);

	assert_int_equal(table_open(w->dir, &second, &found, &err), ERR_BUSY);
	table_close(t);
	t = open_table(w, &found);
	table_close(t);
}

static void has_ceilings(void **state)
{
	static uint8_t big[TABLE_PAYLOAD_BYTES_MAX + 1];
	struct table_found found;
	struct err err;
	struct table *t = open_table(*state, &found);

	assert_int_equal(table_put_row(t, 1, 0, big, sizeof(big), &err), ERR_TOOBIG);
	assert_int_equal(table_put_row(t, 1, 0, big, sizeof(big) - 1, &err), 0);
	for (uint64_t i = 2; i <= TABLE_ROWS_MAX; i++)
		assert_int_equal(table_put_row(t, i, 0, "x", 1, &err), 0);
	assert_int_equal(table_put_row(t, 0, 0, "x", 1, &err), ERR_NOROOM);
	assert_int_equal(table_put_row(t, 2, 0, "y", 1, &err), 0); /* replacing needs no room */
	assert_int_equal(table_sync(t, &err), 0);
	table_close(t);
	t = open_table(*state, &found);
	assert_int_equal(table_row_count(t), TABLE_ROWS_MAX);
	expect_row(t, 2, 0, "y");
	table_close(t);
}

/* A row that changes all the time must not fill the disk. */
static void a_long_life_stays_small(void **state)
{
	struct world *w = *state;
	static uint8_t payload[4096];
	struct table_found found;
	struct stat st;
	struct table *t = open_new(w);

	for (int i = 0; i < 2000; i++) {
		payload[0] = (uint8_t)i;
		assert_int_equal(table_put_row(t, 1, 0, payload, sizeof(payload), NULL), 0);
		if (i % 50 == 49)
			assert_int_equal(table_sync(t, NULL), 0);
	}
	assert_int_equal(stat(w->path, &st), 0);
	assert_true(st.st_size < 2 << 20); /* of 8 MB written */
	table_close(t);
	t = open_table(w, &found);
	assert_false(found.rebuilt);
	assert_int_equal(table_row_count(t), 1);
	table_close(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crc_is_castagnoli),
		cmocka_unit_test_setup_teardown(keeps_what_was_synced, setup, teardown),
		cmocka_unit_test_setup_teardown(epochs_never_go_back, setup, teardown),
		cmocka_unit_test_setup_teardown(survives_a_cut_at_every_byte, setup, teardown),
		cmocka_unit_test_setup_teardown(a_lost_file_says_so_until_made_good, setup, teardown),
		cmocka_unit_test_setup_teardown(finds_every_flipped_byte, setup, teardown),
		cmocka_unit_test_setup_teardown(one_process_at_a_time, setup, teardown),
		cmocka_unit_test_setup_teardown(has_ceilings, setup, teardown),
		cmocka_unit_test_setup_teardown(a_long_life_stays_small, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
