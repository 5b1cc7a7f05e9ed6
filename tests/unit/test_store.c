/* test_store.c - what the daemon remembers
 *
 * Without these a restart could bring back another cluster than the one that was acknowledged:
 * records lost or resurrected, two daemons on one directory, a damaged row believed, a backup that
 * is none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <limits.h>
#include <lmdb.h>
#include <pthread.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/store/store.h"
#include "proto/base/ensure.h"
#include "tests/lib/store_world.h"

/* ---- helpers -------------------------------------------------------------------------------- */

struct fix {
	char *dir;
	struct store_cfg cfg;
	struct store *s;
	struct world w;
	struct err err;
};

static int setup(void **state)
{
	struct fix *f = xcalloc(1, sizeof(*f));

	f->dir = world_tmpdir();
	f->cfg = (struct store_cfg){.dir = f->dir, .create = true};
	world_init(&f->w, 42);
	*state = f;
	return store_open(&f->cfg, &f->s, &f->err);
}

static int teardown(void **state)
{
	struct fix *f = *state;

	store_close(f->s);
	world_rmdir(f->dir);
	free(f);
	return 0;
}

/* Fail with the store's own words. */
static void ok_(struct fix *f, int r, int line)
{
	if (r)
		print_error("line %d: %s: %s\n", line, err_name(r), f->err.msg);
	assert_int_equal(r, 0);
}
#define OK(f, call) ok_((f), (call), __LINE__)

static void reopen(struct fix *f)
{
	store_close(f->s);
	f->s = NULL;
	OK(f, store_open(&f->cfg, &f->s, &f->err));
}

static void append(struct fix *f, int batches)
{
	for (int i = 0; i < batches; i++)
		OK(f, world_append(&f->w, f->s, WORLD_BATCH_MAX, &f->err));
}

static struct store_head head_of(struct fix *f)
{
	struct store_head h;

	store_head(f->s, &h);
	return h;
}

static char *path_in(struct fix *f, const char *name)
{
	struct buf b = BUF_INIT;

	buf_addf(&b, "%s/%s", f->dir, name);
	return (char *)(uintptr_t)buf_cstr(&b);
}

static bool exists(struct fix *f, const char *name)
{
	char *path = path_in(f, name);
	bool is = access(path, F_OK) == 0;

	free(path);
	return is;
}

/* One fact in one record at the head; the model does not know of it. */
static int put_one(struct fix *f, uint8_t kind, uint64_t id, const void *val, uint32_t len)
{
	struct store_head h = head_of(f);
	struct store_fact fact = {kind, id, val, len};
	struct store_record rec = {.seq = h.seq + 1, .facts = &fact, .facts_n = 1};

	return store_append(f->s, h.seq, h.epoch, &rec, 1, NULL, 0, &f->err);
}

/* Change the closed store behind its back: XOR `bit` into byte `at` (from the end if negative) of
 * the value of the first row of `table`, or of the row `key`; at = INT_MAX deletes the last row. */
static void damage(struct fix *f, const char *table, const char *key, int at, uint8_t bit)
{
	char *path = path_in(f, "data.mdb");
	MDB_val k = {key ? strlen(key) : 0, (void *)(uintptr_t)key}, v;
	MDB_cursor *cur;
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	uint8_t *copy;

	store_close(f->s);
	f->s = NULL;
	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_maxdbs(env, 8), 0);
	assert_int_equal(mdb_env_open(env, path, MDB_NOSUBDIR, 0600), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, table, 0, &dbi), 0);
	assert_int_equal(mdb_cursor_open(txn, dbi, &cur), 0);
	assert_int_equal(mdb_cursor_get(cur, &k, &v,
					key		? MDB_SET_KEY
					: at == INT_MAX ? MDB_LAST
							: MDB_FIRST),
			 0);
	if (at == INT_MAX) {
		assert_int_equal(mdb_cursor_del(cur, 0), 0);
	} else {
		copy = xmalloc(v.mv_size);
		memcpy(copy, v.mv_data, v.mv_size);
		copy[at < 0 ? (int)v.mv_size + at : at] ^= bit;
		v.mv_data = copy;
		assert_int_equal(mdb_cursor_put(cur, &k, &v, MDB_CURRENT), 0);
		free(copy);
	}
	mdb_cursor_close(cur);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
	free(path);
}

/* Open, load and verify: the first code that is not 0. */
static int open_all(struct fix *f)
{
	struct store_check check;
	int r;

	store_close(f->s);
	f->s = NULL;
	r = store_open(&f->cfg, &f->s, &f->err);
	if (!r)
		r = world_compare(&f->w, f->s, &f->err);
	return r ? r : store_verify(f->s, &check, &f->err);
}

/* ---- append and reopen ---------------------------------------------------------------------- */

static void test_acknowledged_is_visible_after_reopen(void **state)
{
	struct fix *f = *state;

	for (uint32_t every = 1; every <= 9; every += 4) {
		f->cfg.state_every = every;
		for (int round = 0; round < 5; round++) {
			struct store_check check;

			reopen(f);
			OK(f, world_compare(&f->w, f->s, &f->err));
			append(f, 7);
			OK(f, store_verify(f->s, &check, &f->err));
			assert_int_equal(check.records, f->w.seq);
		}
	}
	reopen(f);
	OK(f, world_compare(&f->w, f->s, &f->err));
}

static void test_append_needs_the_right_head_and_epoch(void **state)
{
	struct fix *f = *state;
	struct store_record rec = {0};
	struct store_head h;
	uint64_t epoch;

	OK(f, store_epoch_raise(f->s, 0, &epoch, &f->err));
	append(f, 3);
	h = head_of(f);
	rec.seq = h.seq + 1;
	assert_int_equal(store_append(f->s, h.seq - 1, h.epoch, &rec, 1, NULL, 0, &f->err),
			 ERR_CONFLICT);
	assert_int_equal(store_append(f->s, h.seq + 1, h.epoch, &rec, 1, NULL, 0, &f->err),
			 ERR_CONFLICT);
	assert_int_equal(store_append(f->s, h.seq, h.epoch - 1, &rec, 1, NULL, 0, &f->err),
			 ERR_SUPERSEDED);
	assert_int_equal(store_append(f->s, h.seq, h.epoch + 1, &rec, 1, NULL, 0, &f->err),
			 ERR_SUPERSEDED);
	assert_int_equal(head_of(f).seq, h.seq);
	/* A refusal is no failure: the store goes on. */
	assert_false(store_broken(f->s));
	append(f, 1);
	assert_int_equal(open_all(f), 0);
}

static void test_refused_batches_change_nothing(void **state)
{
	struct fix *f = *state;
	struct store_record recs[2] = {{.seq = 1}, {.seq = 3}};
	struct store_fact fact = {.val = (const uint8_t *)"", .len = STORE_VAL_BYTES_MAX + 1};
	struct store_record big = {.seq = 1, .facts = &fact, .facts_n = 1};
	struct store_record cmd = {.seq = 1, .cmd_len = STORE_CMD_BYTES_MAX + 1};
	struct store_record many = {.seq = 1, .facts_n = STORE_FACTS_MAX + 1};
	struct store_blob blob = {(const uint8_t *)"", STORE_BLOB_BYTES_MAX + 1};
	struct store *s = f->s;

	assert_int_equal(store_append(s, 0, 0, recs, 2, NULL, 0, &f->err), ERR_INVAL);
	assert_int_equal(store_append(s, 0, 0, recs + 1, 1, NULL, 0, &f->err), ERR_INVAL);
	assert_int_equal(store_append(s, 0, 0, recs, 0, NULL, 0, &f->err), ERR_INVAL);
	assert_int_equal(store_append(s, 0, 0, recs, STORE_BATCH_RECORDS_MAX + 1, NULL, 0, &f->err),
			 ERR_TOOBIG);
	assert_int_equal(store_append(s, 0, 0, &big, 1, NULL, 0, &f->err), ERR_TOOBIG);
	assert_int_equal(store_append(s, 0, 0, &cmd, 1, NULL, 0, &f->err), ERR_TOOBIG);
	assert_int_equal(store_append(s, 0, 0, &many, 1, NULL, 0, &f->err), ERR_TOOBIG);
	assert_int_equal(store_append(s, 0, 0, recs, 1, &blob, 1, &f->err), ERR_TOOBIG);
	assert_int_equal(head_of(f).seq, 0);
	append(f, 1);
	assert_int_equal(open_all(f), 0);
}

/* A record too large for the log is found while encoding, still before anything is written. */
static void test_oversized_record_is_refused(void **state)
{
	struct fix *f = *state;
	uint8_t *val = xcalloc(1, STORE_VAL_BYTES_MAX);
	struct store_fact facts[65];
	struct store_record rec = {.seq = 1, .facts = facts, .facts_n = ARRAY_LEN(facts)};

	for (size_t i = 0; i < ARRAY_LEN(facts); i++)
		facts[i] = (struct store_fact){.id = i, .val = val, .len = STORE_VAL_BYTES_MAX};
	assert_int_equal(store_append(f->s, 0, 0, &rec, 1, NULL, 0, &f->err), ERR_TOOBIG);
	free(val);
	append(f, 2);
	assert_int_equal(open_all(f), 0);
}

static void test_deleting_everything_empties_the_digest(void **state)
{
	struct fix *f = *state;
	static const uint8_t zeros[STORE_HASH_BYTES];

	f->cfg.state_every = 3;
	reopen(f);
	OK(f, put_one(f, 1, 5, "five", 4));
	OK(f, put_one(f, 1, 6, "six", 3));
	OK(f, put_one(f, 1, 5, "fife", 4));
	OK(f, put_one(f, 2, UINT64_MAX, "", 0)); /* empty is not deleted */
	assert_memory_not_equal(head_of(f).digest, zeros, sizeof(zeros));
	OK(f, put_one(f, 1, 5, NULL, 0));
	OK(f, put_one(f, 1, 5, NULL, 0)); /* twice does no harm */
	OK(f, put_one(f, 1, 99, NULL, 0));
	OK(f, put_one(f, 1, 6, NULL, 0));
	assert_memory_not_equal(head_of(f).digest, zeros, sizeof(zeros));
	OK(f, put_one(f, 2, UINT64_MAX, NULL, 0));
	assert_memory_equal(head_of(f).digest, zeros, sizeof(zeros));
	f->w.seq = head_of(f).seq;
	assert_int_equal(open_all(f), 0);
}

/* Renewals at full speed: the same records again and again, the state written now and then. */
static void test_state_is_written_behind_the_log(void **state)
{
	struct fix *f = *state;
	struct store_head h;

	f->cfg.state_every = 8;
	reopen(f);
	append(f, 7);
	h = head_of(f);
	assert_int_equal(h.applied_seq, 0);
	assert_int_equal(store_load(f->s, NULL, NULL, &f->err), ERR_STATE);
	append(f, 1);
	h = head_of(f);
	assert_int_equal(h.applied_seq, h.seq);
	append(f, 5);
	h = head_of(f);
	assert_true(h.applied_seq < h.seq);
	/* The next start replays the tail from the log and writes it. */
	reopen(f);
	assert_int_equal(head_of(f).applied_seq, h.seq);
	assert_memory_equal(head_of(f).digest, h.digest, sizeof(h.digest));
	OK(f, world_compare(&f->w, f->s, &f->err));
	/* So does a checkpoint. */
	append(f, 3);
	assert_true(head_of(f).applied_seq < head_of(f).seq);
	OK(f, store_checkpoint(f->s, NULL, &f->err));
	assert_int_equal(head_of(f).applied_seq, head_of(f).seq);
	OK(f, world_compare(&f->w, f->s, &f->err));
}

static void test_map_grows_with_the_data(void **state)
{
	struct fix *f = *state;
	uint8_t *val = xcalloc(1, 200000);
	struct store_check check;

	f->cfg.map_bytes = 1 << 20;
	reopen(f);
	for (uint64_t i = 0; i < 60; i++)
		OK(f, put_one(f, 1, i, val, 200000)); /* 24 MB with the log */
	free(val);
	reopen(f);
	OK(f, store_verify(f->s, &check, &f->err));
	assert_int_equal(check.states, 60);
}

static void test_full_map_stops_the_store(void **state)
{
	struct fix *f = *state;
	struct store_check check;
	struct store_head h;
	uint8_t val[20000] = {1};
	uint64_t epoch;
	int r = 0;

	f->cfg.map_bytes = f->cfg.map_bytes_max = 1 << 20;
	reopen(f);
	for (uint64_t i = 0; i < 100 && !r; i++) {
		h = head_of(f);
		r = put_one(f, 1, i, val, sizeof(val));
		if (h.seq > 22 && !r) /* a long way before it is full it says so */
			assert_int_equal(store_space(f->s), STORE_SPACE_LOW);
	}
	assert_int_equal(r, ERR_NOSPACE);
	assert_true(store_broken(f->s));
	assert_int_equal(put_one(f, 1, 1, NULL, 0), ERR_IO);
	assert_int_equal(store_epoch_raise(f->s, 0, &epoch, &f->err), ERR_IO);
	f->cfg.map_bytes_max = 0;
	reopen(f);
	assert_int_equal(head_of(f).seq, h.seq);
	OK(f, store_verify(f->s, &check, &f->err));
	OK(f, put_one(f, 1, 1, NULL, 0));
}

/* ---- opening -------------------------------------------------------------------------------- */

static void test_second_daemon_is_refused(void **state)
{
	struct fix *f = *state;
	struct store *second = NULL;
	char pid[32];

	assert_int_equal(store_open(&f->cfg, &second, &f->err), ERR_BUSY);
	(void)snprintf(pid, sizeof(pid), "pid %ld", (long)getpid());
	assert_non_null(strstr(f->err.msg, pid));
	assert_null(second);
	assert_int_equal(store_restore("/nonexistent", f->dir, 0, &f->err), ERR_BUSY);
	/* The refused one has left the lock of the first in place. */
	assert_int_equal(store_open(&f->cfg, &second, &f->err), ERR_BUSY);
	append(f, 1);
	reopen(f);
}

static void test_only_create_makes_a_store(void **state)
{
	struct fix *f = *state;
	char *sub = path_in(f, "sub");
	struct store_cfg cfg = {.dir = sub};
	struct store *s = NULL;
	struct stat st;

	assert_int_equal(store_open(&cfg, &s, &f->err), ERR_NOTFOUND);
	assert_int_equal(access(sub, F_OK), -1);
	cfg.create = true;
	OK(f, store_open(&cfg, &s, &f->err));
	assert_int_equal(stat(sub, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	store_close(s);
	cfg.create = false;
	OK(f, store_open(&cfg, &s, &f->err));
	store_close(s);
	free(sub);
}

/* What an interrupted first start leaves is no store, and does not stand in the way. */
static void test_half_made_store_is_made_anew(void **state)
{
	struct fix *f = *state;
	char *data = path_in(f, "data.mdb"), *fresh = path_in(f, "data.mdb.new");

	append(f, 1);
	store_close(f->s);
	f->s = NULL;
	assert_int_equal(rename(data, fresh), 0);
	assert_int_equal(truncate(fresh, 5000), 0);
	OK(f, store_open(&f->cfg, &f->s, &f->err));
	assert_int_equal(head_of(f).seq, 0);
	assert_false(exists(f, "data.mdb.new"));
	free(data);
	free(fresh);
}

/* Open and check in a child, since LMDB aborts when a page it needs is not a page. 0: all is there
 * and right; 1: refused; 2: LMDB's assertion. Anything else fails. */
static int open_in_child(struct fix *f)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		int r, null = open("/dev/null", O_WRONLY);

		(void)dup2(null, STDERR_FILENO);
		(void)signal(SIGABRT, SIG_DFL);
		r = open_all(f);
		_exit(r == 0							 ? 0
		      : r == ERR_CORRUPT || r == ERR_FORMAT || r == ERR_NOTFOUND ? 1
										 : 3);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT)
		return 2;
	assert_true(WIFEXITED(status));
	assert_in_range(WEXITSTATUS(status), 0, 1);
	return WEXITSTATUS(status);
}

/* A file that was cut is opened only if nothing is missing; it never reads as another truth, and
 * never ends in a bus error behind the end of the file. */
static void test_cut_files_are_refused(void **state)
{
	struct fix *f = *state;
	char *data = path_in(f, "data.mdb");
	struct stat st;

	append(f, 40);
	store_close(f->s);
	f->s = NULL;
	assert_int_equal(stat(data, &st), 0);
	for (off_t len = st.st_size - 4096; len > 8192; len -= 4096) {
		int seen;

		assert_int_equal(truncate(data, len), 0);
		seen = open_in_child(f);
		if (len < st.st_size / 2)
			assert_int_not_equal(seen, 0);
	}
	/* Without its two meta pages it is nothing at all. */
	for (off_t len = 8192; len >= 0; len -= 1024) {
		assert_int_equal(truncate(data, len), 0);
		assert_int_equal(open_in_child(f), 1);
	}
	free(data);
}

static int fake_calls;

static int fake_step(MDB_txn *txn, struct err *err)
{
	char key[] = "fake", val[] = "yes";
	MDB_val k = {4, key}, v = {3, val};
	MDB_dbi meta;

	(void)err;
	fake_calls++;
	assert_int_equal(mdb_dbi_open(txn, "meta", 0, &meta), 0);
	assert_int_equal(mdb_put(txn, meta, &k, &v, MDB_NOOVERWRITE), 0);
	return 0;
}

static int failing_step(MDB_txn *txn, struct err *err)
{
	int r = fake_step(txn, err);

	return r ? r : err_set(err, ERR_STATE, "not today");
}

/* Old to new, step by step, each in a transaction with its version; and never new to old. */
static void test_schema_goes_up_step_by_step_and_never_down(void **state)
{
	struct fix *f = *state;
	store_migrate_fn *const up[] = {NULL, fake_step};
	store_migrate_fn *const bad[] = {NULL, failing_step};
	struct store_cfg newer = f->cfg, failing = f->cfg;

	newer.steps = up;
	newer.steps_n = 2;
	failing.steps = bad;
	failing.steps_n = 2;
	append(f, 4);
	store_close(f->s);
	f->s = NULL;
	assert_int_equal(store_open(&failing, &f->s, &f->err), ERR_STATE);
	/* The failed step left no trace: this build still opens it, and the good step runs (it
	 * would fail if its row were there). */
	reopen(f);
	store_close(f->s);
	f->s = NULL;
	fake_calls = 0;
	OK(f, store_open(&newer, &f->s, &f->err));
	assert_int_equal(fake_calls, 1);
	OK(f, world_compare(&f->w, f->s, &f->err));
	store_close(f->s);
	f->s = NULL;
	OK(f, store_open(&newer, &f->s, &f->err));
	assert_int_equal(fake_calls, 1);
	store_close(f->s);
	f->s = NULL;
	assert_int_equal(store_open(&f->cfg, &f->s, &f->err), ERR_VERSION);
	assert_true(f->err.hint[0]);
	assert_null(f->s);
}

static void test_epoch_rises_and_stays(void **state)
{
	struct fix *f = *state;
	uint64_t epoch;

	for (uint64_t want = 1; want <= 3; want++) {
		OK(f, store_epoch_raise(f->s, 0, &epoch, &f->err));
		assert_int_equal(epoch, want);
		append(f, 1);
		reopen(f);
		assert_int_equal(head_of(f).epoch, want);
	}
	assert_int_equal(open_all(f), 0);
}

/* ---- the log -------------------------------------------------------------------------------- */

struct chain {
	struct fix *f;
	uint64_t next;
	uint8_t prev[STORE_HASH_BYTES];
	uint64_t stop;
};

/* Follow the chain with SHA-256 of our own. */
static int follow(void *ctx, const struct store_entry *e, struct err *err)
{
	struct chain *c = ctx;
	uint8_t h[STORE_HASH_BYTES];

	(void)err;
	assert_int_equal(e->rec.seq, c->next);
	crypto_hash_sha256(h, e->raw, e->raw_len);
	assert_memory_equal(h, e->hash, sizeof(h));
	assert_memory_equal(e->prev, c->prev, sizeof(h));
	/* The previous hash is inside what was hashed: its last 32 bytes. */
	assert_memory_equal(e->raw + e->raw_len - 32, c->prev, 32);
	memcpy(c->prev, h, sizeof(h));
	c->next++;
	return e->rec.seq == c->stop;
}

static void test_records_form_a_chain(void **state)
{
	struct fix *f = *state;
	struct chain c = {.f = f, .next = 1};

	append(f, 30);
	OK(f, store_read(f->s, 1, follow, &c, &f->err));
	assert_int_equal(c.next, f->w.seq + 1);
	assert_memory_equal(c.prev, head_of(f).hash, sizeof(c.prev));
	/* "Enough" is handed through, and a start in the middle of a batch works for every record.
	 */
	for (uint64_t from = 1; from <= f->w.seq; from++) {
		struct chain until = {.next = 1, .stop = from};

		assert_int_equal(store_read(f->s, 1, follow, &until, &f->err), 1);
		until.stop = 0;
		OK(f, store_read(f->s, from + 1, follow, &until, &f->err));
		assert_int_equal(until.next, f->w.seq + 1);
	}
}

static int same_record(void *ctx, const struct store_entry *e, struct err *err)
{
	const struct store_record *a = ctx, *b = &e->rec;

	(void)err;
	assert_int_equal(a->t_ms, b->t_ms);
	assert_int_equal(a->principal, b->principal);
	assert_int_equal(a->cred, b->cred);
	assert_int_equal(a->rule, b->rule);
	assert_int_equal(a->policy_version, b->policy_version);
	assert_int_equal(a->cmd_type, b->cmd_type);
	assert_int_equal(a->cmd_len, b->cmd_len);
	assert_memory_equal(a->cmd, b->cmd, a->cmd_len);
	assert_int_equal(a->facts_n, b->facts_n);
	for (uint32_t i = 0; i < a->facts_n; i++) {
		assert_int_equal(a->facts[i].kind, b->facts[i].kind);
		assert_int_equal(a->facts[i].id, b->facts[i].id);
		assert_int_equal(a->facts[i].len, b->facts[i].len);
		assert_int_equal(!a->facts[i].val, !b->facts[i].val);
		if (a->facts[i].len)
			assert_memory_equal(a->facts[i].val, b->facts[i].val, a->facts[i].len);
	}
	return 0;
}

static void test_every_field_comes_back(void **state)
{
	struct fix *f = *state;
	struct store_fact facts[] = {{255, UINT64_MAX, (const uint8_t *)"x", 1},
				     {0, 0, NULL, 0},
				     {7, 128, (const uint8_t *)"", 0}};
	struct store_record rec = {1,	       INT64_MIN,  UINT32_MAX, UINT64_MAX,
				   UINT16_MAX, UINT64_MAX, UINT16_MAX, (const uint8_t *)"command",
				   7,	       facts,	   3};

	OK(f, store_append(f->s, 0, 0, &rec, 1, NULL, 0, &f->err));
	OK(f, store_read(f->s, 1, same_record, &rec, &f->err));
}

static int count_mark(void *ctx, const struct store_mark *m, struct err *err)
{
	struct store_mark *last = ctx;

	(void)err;
	assert_true(m->seq > last->seq);
	*last = *m;
	return 0;
}

static void test_marks_are_written_as_due_and_on_demand(void **state)
{
	struct fix *f = *state;
	struct store_mark last = {0}, asked;
	struct store_check check;

	while (f->w.seq <= 2 * STORE_MARK_EVERY)
		append(f, 1);
	OK(f, store_marks(f->s, 0, UINT64_MAX, count_mark, &last, &f->err));
	assert_int_equal(last.seq, 2 * STORE_MARK_EVERY);
	OK(f, store_checkpoint(f->s, &asked, &f->err));
	assert_int_equal(asked.seq, f->w.seq);
	assert_memory_equal(asked.digest, head_of(f).digest, sizeof(asked.digest));
	last.seq = 0;
	OK(f, store_marks(f->s, STORE_MARK_EVERY + 1, UINT64_MAX, count_mark, &last, &f->err));
	assert_memory_equal(&last, &asked, sizeof(last));
	last.seq = 0;
	OK(f, store_marks(f->s, 0, STORE_MARK_EVERY, count_mark, &last, &f->err));
	assert_int_equal(last.seq, STORE_MARK_EVERY);
	OK(f, store_verify(f->s, &check, &f->err));
	assert_int_equal(check.marks, 3);
}

static void test_archived_log_can_be_trimmed(void **state)
{
	struct fix *f = *state;
	struct store_check check;
	struct chain c = {0};
	struct store_head h;

	f->cfg.state_every = 4;
	reopen(f);
	append(f, 20);
	OK(f, store_checkpoint(f->s, NULL, &f->err));
	append(f, 3);
	assert_int_equal(store_trim(f->s, head_of(f).applied_seq + 1, &f->err), ERR_RANGE);
	OK(f, store_trim(f->s, head_of(f).applied_seq / 2, &f->err));
	h = head_of(f);
	assert_in_range(h.base_seq, h.applied_seq / 2 - WORLD_BATCH_MAX + 1, h.applied_seq / 2);
	assert_int_equal(store_read(f->s, h.base_seq, follow, &c, &f->err), ERR_GONE);
	OK(f, store_verify(f->s, &check, &f->err));
	assert_int_equal(check.records, h.seq - h.base_seq);
	assert_int_equal(open_all(f), 0);
	/* Down to nothing, and on from there. */
	OK(f, store_trim(f->s, head_of(f).seq, &f->err));
	assert_int_equal(head_of(f).base_seq, head_of(f).seq);
	assert_int_equal(open_all(f), 0);
	append(f, 3);
	assert_int_equal(open_all(f), 0);
}

/* ---- blobs ---------------------------------------------------------------------------------- */

static void test_blobs_are_found_by_their_hash(void **state)
{
	struct fix *f = *state;
	CLEANUP(buf_done) struct buf got = BUF_INIT;
	struct store_blob blobs[] = {{(const uint8_t *)"#!/bin/sh\n", 10},
				     {(const uint8_t *)"two", 3}};
	struct store_record rec = {.seq = 1};
	uint8_t hash[STORE_HASH_BYTES];

	OK(f, store_append(f->s, 0, 0, &rec, 1, blobs, 2, &f->err));
	rec.seq = 2;
	OK(f, store_append(f->s, 1, 0, &rec, 1, blobs, 1, &f->err)); /* present already */
	f->w.seq = 2;
	reopen(f);
	store_blob_hash("#!/bin/sh\n", 10, hash);
	OK(f, store_blob_get(f->s, hash, &got, &f->err));
	assert_int_equal(got.len, 10);
	assert_memory_equal(got.data, "#!/bin/sh\n", 10);
	hash[31] ^= 1;
	assert_int_equal(store_blob_get(f->s, hash, &got, &f->err), ERR_NOTFOUND);
	damage(f, "blob", NULL, 0, 0x20);
	assert_int_equal(open_all(f), ERR_CORRUPT);
	hash[31] ^= 1;
	assert_true(store_blob_get(f->s, hash, &got, &f->err) == ERR_CORRUPT ||
		    (store_blob_hash("two", 3, hash), store_blob_get(f->s, hash, &got, &f->err)) ==
			    ERR_CORRUPT);
}

/* ---- damage --------------------------------------------------------------------------------- */

static void test_one_flipped_bit_is_found_wherever_it_is(void **state)
{
	static const struct {
		const char *table, *key;
		int at;
	} places[] = {
		{"state", NULL, 0},    {"state", NULL, 1},    {"state", NULL, 32},
		{"state", NULL, -1},   {"log", NULL, 0},      {"log", NULL, 4},
		{"log", NULL, 7},      {"log", NULL, 9},      {"log", NULL, 12},
		{"log", NULL, 20},     {"log", NULL, -1},     {"log", NULL, -40},
		{"mark", NULL, 0},     {"mark", NULL, 2},     {"mark", NULL, 40},
		{"mark", NULL, -1},    {"meta", "head", 0},   {"meta", "head", 1},
		{"meta", "head", 15},  {"meta", "head", 23},  {"meta", "head", 31},
		{"meta", "head", 39},  {"meta", "head", 40},  {"meta", "head", 72},
		{"meta", "head", 104}, {"meta", "head", 136}, {"meta", "head", -1},
	};
	struct fix *f = *state;

	append(f, 40);
	OK(f, store_checkpoint(f->s, NULL, &f->err));
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		for (uint8_t bit = 1; bit; bit = (uint8_t)(bit << 3)) {
			int r;

			damage(f, places[i].table, places[i].key, places[i].at, bit);
			r = open_all(f);
			if (r != ERR_CORRUPT && r != ERR_VERSION)
				print_error("%s byte %d bit %u: %d\n", places[i].table,
					    places[i].at, bit, r);
			assert_true(r == ERR_CORRUPT || r == ERR_VERSION);
			damage(f, places[i].table, places[i].key, places[i].at, bit);
			assert_int_equal(open_all(f), 0);
		}
	}
}

/* A mark that is whole in itself but speaks of another history. */
static void test_mark_of_another_chain_is_found(void **state)
{
	struct fix *f = *state;
	struct store_check check;
	uint8_t mark[73], check_bytes[STORE_HASH_BYTES];
	struct store_mark m;

	append(f, 3);
	OK(f, store_checkpoint(f->s, &m, &f->err));
	/* The layout of FORMAT.md, one bit of the hash changed, the check made good. */
	mark[0] = 1;
	memcpy(mark + 1, m.hash, STORE_HASH_BYTES);
	memcpy(mark + 33, m.digest, STORE_HASH_BYTES);
	mark[1] ^= 1;
	store_blob_hash(mark, 65, check_bytes);
	damage(f, "mark", NULL, 1, 1);
	for (int i = 0; i < 8; i++) {
		uint8_t good[STORE_HASH_BYTES];

		mark[1] ^= 1;
		store_blob_hash(mark, 65, good);
		mark[1] ^= 1;
		damage(f, "mark", NULL, 65 + i, (uint8_t)(good[i] ^ check_bytes[i]));
	}
	OK(f, store_open(&f->cfg, &f->s, &f->err));
	assert_int_equal(store_verify(f->s, &check, &f->err), ERR_CORRUPT);
	assert_non_null(strstr(f->err.msg, "another chain"));
}

static void test_missing_rows_are_found(void **state)
{
	struct fix *f = *state;
	struct store_check check;

	append(f, 20);
	damage(f, "state", NULL, INT_MAX, 0);
	OK(f, store_open(&f->cfg, &f->s, &f->err));
	assert_int_equal(store_load(f->s, NULL, NULL, &f->err), ERR_CORRUPT);
	assert_non_null(strstr(f->err.msg, "digest of the head"));
	assert_int_equal(store_verify(f->s, &check, &f->err), ERR_CORRUPT);
	assert_non_null(strstr(f->err.msg, "do not add up"));
	damage(f, "log", NULL, INT_MAX, 0);
	assert_int_equal(open_all(f), ERR_CORRUPT);
	assert_non_null(strstr(f->err.msg, "the log ends before"));
	damage(f, "meta", "head", INT_MAX, 0);
	assert_int_equal(open_all(f), ERR_CORRUPT);
	damage(f, "meta", "schema", INT_MAX, 0);
	assert_int_equal(open_all(f), ERR_FORMAT);
}

/* The bytes of a tail that was never applied are looked at before they are. */
static void test_damaged_tail_is_not_replayed(void **state)
{
	struct fix *f = *state;

	f->cfg.state_every = 100;
	reopen(f);
	append(f, 5);
	damage(f, "log", NULL, 30, 4);
	assert_int_equal(open_all(f), ERR_CORRUPT);
	damage(f, "log", NULL, 30, 4);
	assert_int_equal(open_all(f), 0);
}

/* ---- backup --------------------------------------------------------------------------------- */

static void test_backup_comes_back_in_a_new_epoch(void **state)
{
	struct fix *f = *state;
	char *file = path_in(f, "backup"), *dir = path_in(f, "restored");
	struct store_cfg cfg = {.dir = dir};
	struct store_check check, again;
	struct store *s = NULL;
	struct store_head h;
	uint64_t epoch;

	f->cfg.state_every = 50; /* the tail is in the log alone */
	reopen(f);
	OK(f, store_epoch_raise(f->s, 0, &epoch, &f->err));
	append(f, 70);
	OK(f, store_backup(f->s, file, &check, &f->err));
	assert_int_equal(check.records, f->w.seq);
	assert_int_equal(store_backup(f->s, file, &check, &f->err), ERR_EXISTS);
	assert_false(exists(f, "backup.part"));
	OK(f, store_backup_verify(file, &again, &f->err));
	assert_memory_equal(again.head.hash, head_of(f).hash, STORE_HASH_BYTES);
	assert_false(again.head.restored);
	/* The store goes on meanwhile. */
	OK(f, put_one(f, 9, 9, "later", 5));

	OK(f, store_restore(file, dir, 0, &f->err));
	assert_int_equal(store_restore(file, dir, 0, &f->err), ERR_EXISTS);
	OK(f, store_open(&cfg, &s, &f->err));
	OK(f, world_compare(&f->w, s, &f->err));
	store_head(s, &h);
	assert_int_equal(h.epoch, epoch + (UINT64_C(1) << 32));
	assert_true(h.restored);
	OK(f, store_epoch_raise(s, 0, &epoch, &f->err));
	store_head(s, &h);
	assert_true(h.restored); /* a start is no confirmation */
	OK(f, store_restored_clear(s, &f->err));
	store_close(s);
	OK(f, store_open(&cfg, &s, &f->err));
	store_head(s, &h);
	assert_false(h.restored);
	store_close(s);
	free(file);
	free(dir);
}

/* Two restores of one copy: each has epochs of its own, whatever was started in between; and neither is below what
 * the copy itself has seen, also where the clock is wrong. */
static void test_restores_of_one_copy_part_ways(void **state)
{
	static const int64_t wall_ms[] = {1800000000000, 1800000001000, 1};
	uint64_t epoch[ARRAY_LEN(wall_ms)], before, heard;
	char *file, *dir;
	struct fix *f = *state;

	file = path_in(f, "backup");
	OK(f, store_epoch_raise(f->s, 0, &before, &f->err));
	OK(f, store_backup(f->s, file, &(struct store_check){0}, &f->err));
	for (size_t i = 0; i < ARRAY_LEN(wall_ms); i++) {
		char name[16];
		struct store *s;

		(void)snprintf(name, sizeof name, "restored%zu", i);
		dir = path_in(f, name);
		OK(f, store_restore(file, dir, wall_ms[i], &f->err));
		OK(f, store_open(&(struct store_cfg){.dir = dir}, &s, &f->err));
		OK(f, store_epoch_raise(s, 0, &epoch[i], &f->err));
		assert_true(epoch[i] > before + STORE_EPOCH_STEP);
		assert_true(epoch[i] < STORE_EPOCH_MADE_UP);
		if (i == 0) { /* heard of another */
			OK(f, store_epoch_raise(s, before, &heard, &f->err));
			assert_int_equal(heard, epoch[i] + 1);
			OK(f, store_epoch_raise(s, heard + 5, &epoch[i], &f->err));
			assert_int_equal(epoch[i], heard + 6);
		}
		store_close(s);
		free(dir);
	}
	assert_true(epoch[1] > epoch[0] + STORE_EPOCH_STEP / 32);
	free(file);
}

static void flip(const char *path, off_t at, uint8_t bit)
{
	uint8_t b;
	int fd = open(path, O_RDWR);

	assert_int_equal(pread(fd, &b, 1, at), 1);
	b ^= bit;
	assert_int_equal(pwrite(fd, &b, 1, at), 1);
	(void)close(fd);
}

static void test_damaged_backup_is_never_restored(void **state)
{
	struct fix *f = *state;
	char *file = path_in(f, "backup"), *dir = path_in(f, "restored");
	struct stat st;
	int r;

	append(f, 30);
	OK(f, store_backup(f->s, file, NULL, &f->err));
	assert_int_equal(stat(file, &st), 0);
	for (off_t at = 0; at<st.st_size; at += at> st.st_size - 60 ? 1 : 331) {
		flip(file, at, 0x10);
		r = store_backup_verify(file, NULL, &f->err);
		assert_true(r == ERR_CORRUPT || r == ERR_TRUNCATED);
		flip(file, at, 0x10);
	}
	OK(f, store_backup_verify(file, NULL, &f->err));
	assert_int_equal(truncate(file, st.st_size - 1), 0);
	assert_int_equal(store_backup_verify(file, NULL, &f->err), ERR_TRUNCATED);
	assert_int_equal(store_restore(file, dir, 0, &f->err), ERR_TRUNCATED);
	assert_int_equal(truncate(file, 10), 0);
	assert_int_equal(store_backup_verify(file, NULL, &f->err), ERR_TRUNCATED);
	assert_int_equal(store_restore(file, dir, 0, &f->err), ERR_TRUNCATED);
	assert_false(exists(f, "restored/data.mdb"));
	assert_false(exists(f, "restored/data.mdb.new"));
	assert_int_equal(store_restore("/nonexistent", dir, 0, &f->err), ERR_NOTFOUND);
	/* A backup that cannot be written leaves the store as it was. */
	assert_true(store_backup(f->s, "/nonexistent/b", NULL, &f->err) < 0);
	assert_false(store_broken(f->s));
	append(f, 1);
	free(file);
	free(dir);
}

struct copier {
	struct store *s;
	char *path;
	int r, done;
};

static void *copy_again_and_again(void *arg)
{
	struct copier *c = arg;
	struct store_check check;
	struct err err;

	while (c->done < 8 && !c->r) {
		c->r = store_backup(c->s, c->path, &check, &err);
		(void)unlink(c->path);
		c->done++;
	}
	return NULL;
}

/* A backup takes as long as it takes; commands go on meanwhile, and each copy is whole (store_backup
 * verifies it). The map is too small on purpose: it has to grow, but not below the copy. */
static void test_backup_runs_beside_appends(void **state)
{
	struct fix *f = *state;
	struct copier c = {.path = path_in(f, "backup")};
	pthread_t thread;

	f->cfg.map_bytes = 1 << 20;
	reopen(f);
	append(f, 100);
	c.s = f->s;
	assert_int_equal(pthread_create(&thread, NULL, copy_again_and_again, &c), 0);
	append(f, 100);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(c.r, 0);
	assert_int_equal(c.done, 8);
	assert_int_equal(open_all(f), 0);
	free(c.path);
}

/* ---- room ----------------------------------------------------------------------------------- */

static void test_ballast_is_given_up_when_room_is_gone(void **state)
{
	struct fix *f = *state;

	f->cfg.low_bytes = 1;
	f->cfg.ballast_bytes = 1 << 20;
	f->cfg.reserve_bytes = 8 << 20;
	reopen(f);
	assert_true(exists(f, "ballast"));
	assert_int_equal(store_space(f->s), STORE_SPACE_OK);
	f->cfg.low_bytes = UINT64_MAX / 8; /* no disk has that */
	reopen(f);
	assert_int_equal(store_space(f->s), STORE_SPACE_CRITICAL);
	assert_false(exists(f, "ballast"));
	assert_int_equal(store_space(f->s), STORE_SPACE_CRITICAL);
	append(f, 1); /* renewals still go in */
	f->cfg.ballast_bytes = 0;
	reopen(f);
	assert_int_equal(store_space(f->s), STORE_SPACE_CRITICAL);
	f->cfg.ballast_bytes = 1 << 20;
	f->cfg.low_bytes = 1;
	reopen(f);
	assert_true(exists(f, "ballast"));
	assert_int_equal(open_all(f), 0);
}

static void test_data_file_is_preallocated(void **state)
{
	struct fix *f = *state;
	char *data = path_in(f, "data.mdb");
	struct stat st;

	f->cfg.reserve_bytes = 4 << 20;
	reopen(f);
	assert_int_equal(stat(data, &st), 0);
	assert_true(st.st_size >= 4 << 20);
	assert_true(st.st_blocks * 512 >= 4 << 20);
	append(f, 5);
	assert_int_equal(open_all(f), 0);
	free(data);
}

/* A real full disk: a tmpfs of 6 MB. Needs the right to mount. */
static void test_full_disk_stops_the_store_and_loses_nothing(void **state)
{
	struct fix *f = *state;
	char *mnt = path_in(f, "mnt"), *filler = path_in(f, "mnt/filler");
	struct store_cfg cfg = {
		.dir = mnt, .create = true, .low_bytes = 1 << 20, .ballast_bytes = 1 << 18};
	static uint8_t val[30000];
	struct store *outer = f->s;
	struct store_check check;
	struct store_head h = {0};
	bool was_low = false;
	int r = 0, fd;

	assert_int_equal(mkdir(mnt, 0700), 0);
	if (mount("tmpfs", mnt, "tmpfs", 0, "size=6m") < 0) {
		print_message("skipped: this process may not mount a tmpfs\n");
		free(mnt);
		free(filler);
		skip();
	}
	f->s = NULL;
	OK(f, store_open(&cfg, &f->s, &f->err));
	for (uint64_t i = 0; i < 1000 && !r; i++) {
		h = head_of(f);
		r = put_one(f, 1, i, val, sizeof(val));
		was_low |= store_space(f->s) == STORE_SPACE_LOW;
	}
	assert_true(was_low);
	assert_true(r == ERR_NOSPACE || r == ERR_IO);
	assert_true(store_broken(f->s));
	store_close(f->s);
	f->s = NULL;
	OK(f, store_open(&cfg, &f->s, &f->err));
	assert_int_equal(head_of(f).seq, h.seq);
	OK(f, store_verify(f->s, &check, &f->err));
	assert_int_equal(check.states, h.seq);
	assert_int_equal(store_space(f->s), STORE_SPACE_CRITICAL);
	store_close(f->s);

	/* With room again the ballast is taken back. */
	assert_int_equal(mount(NULL, mnt, NULL, MS_REMOUNT, "size=12m"), 0);
	OK(f, store_open(&cfg, &f->s, &f->err));
	fd = open(filler, O_WRONLY | O_CREAT, 0600);
	while (write(fd, val, sizeof(val)) == (ssize_t)sizeof(val))
		;
	assert_int_equal(store_space(f->s), STORE_SPACE_CRITICAL);
	assert_false(exists(f, "mnt/ballast"));
	assert_int_equal(ftruncate(fd, 0), 0);
	(void)close(fd);
	assert_int_equal(store_space(f->s), STORE_SPACE_OK);
	assert_true(exists(f, "mnt/ballast"));
	store_close(f->s);
	f->s = outer;
	assert_int_equal(umount(mnt), 0);
	free(mnt);
	free(filler);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_acknowledged_is_visible_after_reopen),
		T(test_append_needs_the_right_head_and_epoch),
		T(test_refused_batches_change_nothing),
		T(test_oversized_record_is_refused),
		T(test_deleting_everything_empties_the_digest),
		T(test_state_is_written_behind_the_log),
		T(test_map_grows_with_the_data),
		T(test_full_map_stops_the_store),
		T(test_second_daemon_is_refused),
		T(test_only_create_makes_a_store),
		T(test_half_made_store_is_made_anew),
		T(test_cut_files_are_refused),
		T(test_schema_goes_up_step_by_step_and_never_down),
		T(test_epoch_rises_and_stays),
		T(test_records_form_a_chain),
		T(test_every_field_comes_back),
		T(test_marks_are_written_as_due_and_on_demand),
		T(test_archived_log_can_be_trimmed),
		T(test_blobs_are_found_by_their_hash),
		T(test_one_flipped_bit_is_found_wherever_it_is),
		T(test_mark_of_another_chain_is_found),
		T(test_missing_rows_are_found),
		T(test_damaged_tail_is_not_replayed),
		T(test_backup_comes_back_in_a_new_epoch),
		T(test_restores_of_one_copy_part_ways),
		T(test_damaged_backup_is_never_restored),
		T(test_backup_runs_beside_appends),
		T(test_ballast_is_given_up_when_room_is_gone),
		T(test_data_file_is_preallocated),
		T(test_full_disk_stops_the_store_and_loses_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
