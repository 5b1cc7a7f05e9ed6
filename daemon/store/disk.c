/* disk.c - the LMDB environment below the store: tables, head, walks
 *
 * Five tables: meta (schema, head), log (first seq of a batch -> batch), mark (seq -> digest mark),
 * state (kind, id -> record), blob (SHA-256 -> bytes). Keys are big-endian, nothing is DUPSORT.
 * LMDB 0.9 has no checksums of its own, so every value we write carries or has one.
 *
 * FORMAT.md is the layout, field by field.
 */
#include "daemon/store/disk.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proto/logfile/bytes.h"
#include "proto/base/ensure.h"

enum {
	HEAD_VERSION = 1,
	HEAD_CHECK_BYTES = 8,
	HEAD_BYTES = 8 + 4 * 8 + 4 * STORE_HASH_BYTES + HEAD_CHECK_BYTES,
	BATCH_VERSION = 1,
	BATCH_HEADER_BYTES = 8,
	MARK_VERSION = 1,
	MARK_BYTES = 1 + 2 * STORE_HASH_BYTES + 8,
	STATE_VERSION = 1,
	STATE_HEADER_BYTES = 1 + STORE_HASH_BYTES,
	STATE_KEY_BYTES = 9,
	FLAG_RESTORED = 1,
};

static const char SCHEMA_KEY[] = "schema";
static const char HEAD_KEY[] = "head";

int disk_err(struct err *err, int rc, const char *fmt, ...)
{
	char what[ERR_MSG_BYTES];
	va_list ap;
	int code;

	va_start(ap, fmt);
	(void)vsnprintf(what, sizeof(what), fmt, ap); /* a cut message is still a message */
	va_end(ap);
	switch (rc) {
	case MDB_MAP_FULL:
	case ENOSPC:
	case EDQUOT:
		code = ERR_NOSPACE;
		break;
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_INVALID:
	case MDB_BAD_VALSIZE:
	case MDB_INCOMPATIBLE:
		code = ERR_CORRUPT;
		break;
	case MDB_VERSION_MISMATCH:
		code = ERR_VERSION;
		break;
	case EIO:
		code = ERR_IO;
		break;
	case ENOMEM:
		code = ERR_NOMEM;
		break;
	case ENOENT:
		code = ERR_NOTFOUND;
		break;
	default:
		code = ERR_SYS;
		break;
	}
	return err_set(err, code, "%.150s: %.90s", what, mdb_strerror(rc));
}

static MDB_val val_of(const void *p, size_t n)
{
	/* LMDB's type is not const; it does not write through keys and data of a put or get. */
	return (MDB_val){.mv_size = n, .mv_data = (void *)(uintptr_t)p};
}

/* ---- environment and schema ----------------------------------------------------------------- */

int disk_open(struct disk *d, const char *path, uint64_t map_bytes, unsigned flags, struct err *err)
{
	int rc;

	*d = (struct disk){0};
	rc = mdb_env_create(&d->env);
	if (rc)
		return disk_err(err, rc, "cannot make an environment");
	rc = mdb_env_set_maxdbs(d->env, 8);
	if (!rc)
		rc = mdb_env_set_maxreaders(d->env, 16);
	if (!rc)
		rc = mdb_env_set_mapsize(d->env, map_bytes);
	if (!rc)
		rc = mdb_env_open(d->env, path, MDB_NOSUBDIR | MDB_NOTLS | flags, 0600);
	if (rc) {
		disk_close(d);
		return disk_err(err, rc, "cannot open '%s'", path);
	}
	return 0;
}

void disk_close(struct disk *d)
{
	if (d->env)
		mdb_env_close(d->env);
	*d = (struct disk){0};
}

static int schema_get(MDB_txn *txn, uint32_t *ret, struct err *err)
{
	MDB_val k = val_of(SCHEMA_KEY, sizeof(SCHEMA_KEY) - 1), v;
	MDB_dbi meta;
	int rc = mdb_dbi_open(txn, "meta", 0, &meta);

	if (!rc)
		rc = mdb_get(txn, meta, &k, &v);
	if (rc == MDB_NOTFOUND)
		return err_set(err, ERR_FORMAT,
			       "the file is no sluis store: it has no schema version");
	if (rc)
		return disk_err(err, rc, "cannot read the schema version");
	if (v.mv_size != 4)
		return err_set(err, ERR_CORRUPT, "schema version has %zu bytes, not 4", v.mv_size);
	*ret = get_be32(v.mv_data);
	return 0;
}

static int schema_put(MDB_txn *txn, uint32_t schema, struct err *err)
{
	uint8_t bytes[4];
	MDB_val k = val_of(SCHEMA_KEY, sizeof(SCHEMA_KEY) - 1), v = val_of(bytes, sizeof(bytes));
	MDB_dbi meta;
	int rc = mdb_dbi_open(txn, "meta", MDB_CREATE, &meta);

	put_be32(bytes, schema);
	if (!rc)
		rc = mdb_put(txn, meta, &k, &v, 0);
	return rc ? disk_err(err, rc, "cannot write the schema version") : 0;
}

static int migrate_one(struct disk *d, store_migrate_fn *step, uint32_t from, struct err *err)
{
	MDB_txn *txn;
	int r, rc = mdb_txn_begin(d->env, NULL, 0, &txn);

	if (rc)
		return disk_err(err, rc, "cannot begin a migration");
	ENSURE(step);
	r = step(txn, err);
	if (!r)
		r = schema_put(txn, from + 1, err);
	if (r) {
		mdb_txn_abort(txn);
		err_prefix(err, "raising the schema from %u to %u", from, from + 1);
		return r;
	}
	rc = mdb_txn_commit(txn);
	return rc ? disk_err(err, rc, "cannot commit the schema step from %u", from) : 0;
}

static int schema_now(struct disk *d, uint32_t *ret, struct err *err)
{
	MDB_txn *txn;
	int r, rc = mdb_txn_begin(d->env, NULL, MDB_RDONLY, &txn);

	if (rc)
		return disk_err(err, rc, "cannot read the schema version");
	r = schema_get(txn, ret, err);
	mdb_txn_abort(txn);
	return r;
}

int disk_migrate(struct disk *d, store_migrate_fn *const *steps, uint32_t n, bool fresh,
		 struct err *err)
{
	uint32_t schema = 0;
	int r = fresh ? 0 : schema_now(d, &schema, err);

	if (r)
		return r;
	if (schema > n) {
		(void)err_set(err, ERR_VERSION,
			      "the store has schema %u, this build knows up to %u", schema, n);
		err_hint(err, "start the newer sluisd, or restore a backup made by this version");
		return ERR_VERSION;
	}
	for (; schema < n; schema++) {
		r = migrate_one(d, steps[schema], schema, err);
		if (r)
			return r;
	}
	return 0;
}

int disk_schema_check(struct disk *d, uint32_t schema, struct err *err)
{
	uint32_t is;
	int r = schema_now(d, &is, err);

	if (r)
		return r;
	if (is != schema)
		return err_set(err, ERR_VERSION, "it has schema %u, this build reads %u", is,
			       schema);
	return 0;
}

static int open_tables(struct disk *d, MDB_txn *txn, unsigned flags)
{
	const struct {
		const char *name;
		MDB_dbi *dbi;
	} tables[] = {
		{"meta", &d->meta},   {"log", &d->log},	  {"mark", &d->mark},
		{"state", &d->state}, {"blob", &d->blob},
	};
	int rc = 0;

	for (size_t i = 0; i < ARRAY_LEN(tables) && !rc; i++)
		rc = mdb_dbi_open(txn, tables[i].name, flags, tables[i].dbi);
	return rc;
}

int disk_tables(struct disk *d, struct err *err)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(d->env, NULL, MDB_RDONLY, &txn);

	if (rc)
		return disk_err(err, rc, "cannot open the tables");
	rc = open_tables(d, txn, 0);
	if (rc) {
		mdb_txn_abort(txn);
		return disk_err(err, rc == MDB_NOTFOUND ? MDB_CORRUPTED : rc,
				"cannot open the tables");
	}
	rc = mdb_txn_commit(txn); /* keeps the handles; writes nothing */
	return rc ? disk_err(err, rc, "cannot open the tables") : 0;
}

/* Schema 0 is an empty file. */
static int step_0_to_1(MDB_txn *txn, struct err *err)
{
	struct disk d = {.env = mdb_txn_env(txn)};
	int rc = open_tables(&d, txn, MDB_CREATE);

	if (rc)
		return disk_err(err, rc, "cannot make the tables");
	return disk_head_put(&d, txn, &(struct disk_head){0}, err);
}

store_migrate_fn *const disk_steps[STORE_SCHEMA] = {step_0_to_1};

/* ---- head ----------------------------------------------------------------------------------- */

static void head_check(const uint8_t *p, uint8_t ret[HEAD_CHECK_BYTES])
{
	uint8_t h[STORE_HASH_BYTES];

	record_hash(p, HEAD_BYTES - HEAD_CHECK_BYTES, h);
	memcpy(ret, h, HEAD_CHECK_BYTES);
}

int disk_head_put(const struct disk *d, MDB_txn *txn, const struct disk_head *h, struct err *err)
{
	uint8_t b[HEAD_BYTES] = {HEAD_VERSION, h->restored ? FLAG_RESTORED : 0};
	MDB_val k = val_of(HEAD_KEY, sizeof(HEAD_KEY) - 1), v = val_of(b, sizeof(b));
	int rc;

	ENSURE(h->base_seq <= h->applied_seq);
	ENSURE(h->applied_seq <= h->seq);
	put_be64(b + 8, h->epoch);
	put_be64(b + 16, h->seq);
	put_be64(b + 24, h->applied_seq);
	put_be64(b + 32, h->base_seq);
	memcpy(b + 40, h->hash, STORE_HASH_BYTES);
	memcpy(b + 72, h->base_hash, STORE_HASH_BYTES);
	digest_put(&h->digest, b + 104);
	digest_put(&h->applied, b + 136);
	head_check(b, b + HEAD_BYTES - HEAD_CHECK_BYTES);
	rc = mdb_put(txn, d->meta, &k, &v, 0);
	return rc ? disk_err(err, rc, "cannot write the head") : 0;
}

int disk_head_get(const struct disk *d, MDB_txn *txn, struct disk_head *ret, struct err *err)
{
	MDB_val k = val_of(HEAD_KEY, sizeof(HEAD_KEY) - 1), v;
	uint8_t check[HEAD_CHECK_BYTES];
	struct disk_head h = {0};
	const uint8_t *b;
	int rc = mdb_get(txn, d->meta, &k, &v);

	if (rc)
		return disk_err(err, rc == MDB_NOTFOUND ? MDB_CORRUPTED : rc,
				"cannot read the head");
	b = v.mv_data;
	if (v.mv_size != HEAD_BYTES)
		return err_set(err, ERR_CORRUPT, "head has %zu bytes, not %d", v.mv_size,
			       HEAD_BYTES);
	head_check(b, check);
	if (memcmp(check, b + HEAD_BYTES - HEAD_CHECK_BYTES, sizeof(check)) != 0)
		return err_set(err, ERR_CORRUPT, "head does not have its checksum");
	if (b[0] != HEAD_VERSION)
		return err_set(err, ERR_VERSION, "head version %u is not understood", b[0]);
	h.restored = b[1] & FLAG_RESTORED;
	h.epoch = get_be64(b + 8);
	h.seq = get_be64(b + 16);
	h.applied_seq = get_be64(b + 24);
	h.base_seq = get_be64(b + 32);
	memcpy(h.hash, b + 40, STORE_HASH_BYTES);
	memcpy(h.base_hash, b + 72, STORE_HASH_BYTES);
	h.digest = digest_get(b + 104);
	h.applied = digest_get(b + 136);
	if (h.base_seq > h.applied_seq || h.applied_seq > h.seq)
		return err_set(err, ERR_CORRUPT,
			       "head says base %" PRIu64 ", applied %" PRIu64 ", last %" PRIu64,
			       h.base_seq, h.applied_seq, h.seq);
	*ret = h;
	return 0;
}

struct store_head disk_head_public(const struct disk_head *h)
{
	struct store_head p = {.seq = h->seq,
			       .epoch = h->epoch,
			       .applied_seq = h->applied_seq,
			       .base_seq = h->base_seq,
			       .restored = h->restored};

	memcpy(p.hash, h->hash, sizeof(p.hash));
	digest_put(&h->digest, p.digest);
	return p;
}

/* ---- log ------------------------------------------------------------------------------------ */

void disk_batch_begin(struct buf *b, uint32_t records)
{
	uint8_t header[BATCH_HEADER_BYTES] = {BATCH_VERSION};

	put_be32(header + 4, records);
	buf_reset(b);
	buf_add(b, header, sizeof(header));
}

int disk_batch_add(struct buf *b, const struct store_record *rec,
		   const uint8_t prev[STORE_HASH_BYTES], uint8_t ret_hash[STORE_HASH_BYTES],
		   struct err *err)
{
	size_t at = b->len, len;

	(void)buf_reserve(b, 4);
	b->len += 4;
	record_encode(rec, prev, b);
	len = b->len - at - 4;
	if (len > STORE_RECORD_BYTES_MAX || b->len > STORE_BATCH_BYTES_MAX)
		return err_set(err, ERR_TOOBIG, "record %" PRIu64 " has %zu bytes, the batch %zu",
			       rec->seq, len, b->len);
	put_be32(b->data + at, (uint32_t)len);
	record_hash(b->data + at + 4, len, ret_hash);
	buf_add(b, ret_hash, STORE_HASH_BYTES);
	return 0;
}

/* Where a walk through the log stands. */
struct walk {
	uint64_t from, next;		/* first record to hand out; the one expected now */
	uint8_t prev[STORE_HASH_BYTES]; /* hash of next - 1 */
	bool prev_known;
	struct record_facts facts;
	store_entry_fn *cb;
	void *ctx;
};

static int walk_batch(struct walk *w, const uint8_t *p, size_t len, struct err *err)
{
	uint32_t n, rec_len;
	int r;

	if (len < BATCH_HEADER_BYTES)
		return err_set(err, ERR_CORRUPT, "batch at %" PRIu64 " has %zu bytes", w->next,
			       len);
	if (p[0] != BATCH_VERSION)
		return err_set(err, ERR_VERSION, "batch at %" PRIu64 " has version %u", w->next,
			       p[0]);
	n = get_be32(p + 4);
	p += BATCH_HEADER_BYTES;
	len -= BATCH_HEADER_BYTES;
	if (n == 0)
		return err_set(err, ERR_CORRUPT, "batch at %" PRIu64 " is empty", w->next);
	for (; n > 0; n--) {
		struct store_entry e;

		rec_len = len >= 4 ? get_be32(p) : 0;
		if (len < 4 || len - 4 < rec_len || len - 4 - rec_len < STORE_HASH_BYTES)
			return err_set(err, ERR_CORRUPT, "record %" PRIu64 " is cut off", w->next);
		r = record_check(p + 4, rec_len, p + 4 + rec_len, w->next,
				 w->prev_known ? w->prev : NULL, &w->facts, &e, err);
		if (r)
			return r;
		memcpy(w->prev, e.hash, sizeof(w->prev));
		w->prev_known = true;
		w->next++;
		r = e.rec.seq >= w->from ? w->cb(w->ctx, &e, err) : 0;
		if (r)
			return r;
		p += 4 + rec_len + STORE_HASH_BYTES;
		len -= 4 + rec_len + STORE_HASH_BYTES;
	}
	if (len)
		return err_set(err, ERR_CORRUPT, "%zu bytes behind record %" PRIu64, len,
			       w->next - 1);
	return 0;
}

/* Put the cursor on the batch that holds record `from`; *ret_rc is LMDB's answer. */
static int seek_batch(MDB_cursor *cur, uint64_t from, MDB_val *k, MDB_val *v)
{
	uint8_t key[8];
	int rc;

	put_be64(key, from);
	*k = val_of(key, sizeof(key));
	rc = mdb_cursor_get(cur, k, v, MDB_SET_RANGE);
	if (rc == MDB_NOTFOUND)
		return mdb_cursor_get(cur, k, v, MDB_LAST);
	if (!rc && (k->mv_size != 8 || get_be64(k->mv_data) != from))
		return mdb_cursor_get(cur, k, v, MDB_PREV);
	return rc;
}

static int walk_log(struct walk *w, MDB_cursor *cur, const struct disk_head *h, struct err *err)
{
	MDB_val k, v;
	int r, rc = seek_batch(cur, w->from, &k, &v);

	for (bool first = true; !rc; first = false) {
		uint64_t seq = k.mv_size == 8 ? get_be64(k.mv_data) : 0;

		if (k.mv_size != 8 || seq > h->seq)
			return err_set(err, ERR_CORRUPT, "the log goes on behind its head %" PRIu64,
				       h->seq);
		if (first && (seq <= h->base_seq || seq > w->from))
			return err_set(err, ERR_CORRUPT, "record %" PRIu64 " is missing", w->from);
		if (first) {
			w->next = seq;
			w->prev_known = seq == h->base_seq + 1;
			memcpy(w->prev, h->base_hash, sizeof(w->prev));
		}
		if (seq != w->next)
			return err_set(err, ERR_CORRUPT, "record %" PRIu64 " is missing", w->next);
		r = walk_batch(w, v.mv_data, v.mv_size, err);
		if (r)
			return r;
		rc = mdb_cursor_get(cur, &k, &v, MDB_NEXT);
	}
	if (rc != MDB_NOTFOUND)
		return disk_err(err, rc, "cannot read the log");
	if (w->next != h->seq + 1)
		return err_set(err, ERR_CORRUPT, "the log ends before record %" PRIu64, h->seq);
	if (memcmp(w->prev, h->hash, sizeof(w->prev)) != 0)
		return err_set(err, ERR_CORRUPT,
			       "record %" PRIu64 " does not have the hash of the head", h->seq);
	return 0;
}

int disk_log_walk(const struct disk *d, MDB_txn *txn, const struct disk_head *h, uint64_t from,
		  store_entry_fn *cb, void *ctx, struct err *err)
{
	struct walk w = {.from = from, .next = from, .cb = cb, .ctx = ctx};
	MDB_cursor *cur;
	int r, rc;

	if (from <= h->base_seq)
		return err_set(err, ERR_GONE, "the log begins at record %" PRIu64, h->base_seq + 1);
	if (from > h->seq)
		return 0;
	rc = mdb_cursor_open(txn, d->log, &cur);
	if (rc)
		return disk_err(err, rc, "cannot read the log");
	r = walk_log(&w, cur, h, err);
	mdb_cursor_close(cur);
	record_facts_done(&w.facts);
	return r;
}

/* ---- marks ---------------------------------------------------------------------------------- */

int disk_mark_put(const struct disk *d, MDB_txn *txn, const struct store_mark *m, struct err *err)
{
	uint8_t key[8], b[MARK_BYTES] = {MARK_VERSION}, check[STORE_HASH_BYTES];
	MDB_val k = val_of(key, sizeof(key)), v = val_of(b, sizeof(b));
	int rc;

	put_be64(key, m->seq);
	memcpy(b + 1, m->hash, STORE_HASH_BYTES);
	memcpy(b + 33, m->digest, STORE_HASH_BYTES);
	record_hash(b, MARK_BYTES - 8, check);
	memcpy(b + MARK_BYTES - 8, check, 8);
	rc = mdb_put(txn, d->mark, &k, &v, 0);
	return rc ? disk_err(err, rc, "cannot write a mark") : 0;
}

static int mark_parse(MDB_val k, MDB_val v, struct store_mark *ret, struct err *err)
{
	uint8_t check[STORE_HASH_BYTES];
	const uint8_t *b = v.mv_data;

	if (k.mv_size != 8 || v.mv_size != MARK_BYTES || b[0] != MARK_VERSION)
		return err_set(err, ERR_CORRUPT, "a mark has a foreign shape");
	ret->seq = get_be64(k.mv_data);
	record_hash(b, MARK_BYTES - 8, check);
	if (memcmp(check, b + MARK_BYTES - 8, 8) != 0)
		return err_set(err, ERR_CORRUPT, "mark %" PRIu64 " does not have its checksum",
			       ret->seq);
	memcpy(ret->hash, b + 1, STORE_HASH_BYTES);
	memcpy(ret->digest, b + 33, STORE_HASH_BYTES);
	return 0;
}

int disk_mark_walk(const struct disk *d, MDB_txn *txn, uint64_t from, uint64_t to,
		   store_mark_fn *cb, void *ctx, struct err *err)
{
	uint8_t key[8];
	MDB_val k = val_of(key, sizeof(key)), v;
	MDB_cursor *cur;
	int r = 0, rc = mdb_cursor_open(txn, d->mark, &cur);

	if (rc)
		return disk_err(err, rc, "cannot read the marks");
	put_be64(key, from);
	for (rc = mdb_cursor_get(cur, &k, &v, MDB_SET_RANGE); !rc && !r;
	     rc = mdb_cursor_get(cur, &k, &v, MDB_NEXT)) {
		struct store_mark m;

		r = mark_parse(k, v, &m, err);
		if (!r && m.seq > to)
			break;
		if (!r)
			r = cb(ctx, &m, err);
		if (r)
			break;
	}
	mdb_cursor_close(cur);
	if (!r && rc && rc != MDB_NOTFOUND)
		return disk_err(err, rc, "cannot read the marks");
	return r;
}

/* ---- state ---------------------------------------------------------------------------------- */

static void state_key(uint8_t key[STATE_KEY_BYTES], uint8_t kind, uint64_t id)
{
	key[0] = kind;
	put_be64(key + 1, id);
}

static int state_shape(MDB_val k, MDB_val v, struct err *err)
{
	const uint8_t *b = v.mv_data;

	if (k.mv_size != STATE_KEY_BYTES || v.mv_size < STATE_HEADER_BYTES ||
	    v.mv_size > STATE_HEADER_BYTES + STORE_VAL_BYTES_MAX)
		return err_set(err, ERR_CORRUPT, "a state record has a foreign shape");
	if (b[0] != STATE_VERSION)
		return err_set(err, ERR_VERSION, "a state record has version %u", b[0]);
	return 0;
}

static int state_row(MDB_val k, MDB_val v, store_load_fn *cb, void *ctx, struct digest *sum,
		     struct err *err)
{
	uint8_t hash[STORE_HASH_BYTES], kind;
	const uint8_t *b = v.mv_data, *key = k.mv_data;
	uint32_t len;
	uint64_t id;
	int r = state_shape(k, v, err);

	if (r)
		return r;
	kind = key[0];
	id = get_be64(key + 1);
	len = (uint32_t)(v.mv_size - STATE_HEADER_BYTES);
	digest_fact(kind, id, b + STATE_HEADER_BYTES, len, hash);
	if (memcmp(hash, b + 1, sizeof(hash)) != 0)
		return err_set(err, ERR_CORRUPT,
			       "state record kind %u id %" PRIu64 " does not have its hash", kind,
			       id);
	digest_add(sum, hash);
	return cb ? cb(ctx, kind, id, b + STATE_HEADER_BYTES, len, err) : 0;
}

int disk_state_walk(const struct disk *d, MDB_txn *txn, store_load_fn *cb, void *ctx,
		    struct digest *ret_sum, uint64_t *ret_n, struct err *err)
{
	struct digest sum = {0};
	MDB_cursor *cur;
	MDB_val k, v;
	uint64_t n = 0;
	int r = 0, rc = mdb_cursor_open(txn, d->state, &cur);

	if (rc)
		return disk_err(err, rc, "cannot read the state");
	for (rc = mdb_cursor_get(cur, &k, &v, MDB_FIRST); !rc && !r;
	     rc = mdb_cursor_get(cur, &k, &v, MDB_NEXT)) {
		r = state_row(k, v, cb, ctx, &sum, err);
		if (r)
			break;
		n++;
	}
	mdb_cursor_close(cur);
	if (r)
		return r;
	if (rc != MDB_NOTFOUND)
		return disk_err(err, rc, "cannot read the state");
	*ret_sum = sum;
	*ret_n = n;
	return 0;
}

int disk_fold(const struct disk *d, MDB_txn *txn, struct pending *p, struct digest *sum,
	      const struct store_fact *f, struct err *err)
{
	const struct pending_entry *old = pending_find(p, f->kind, f->id);
	uint8_t key[STATE_KEY_BYTES], hash[STORE_HASH_BYTES] = {0};
	MDB_val k = val_of(key, sizeof(key)), v;
	int r, rc;

	if (old) {
		if (old->val)
			digest_sub(sum, old->hash);
	} else {
		state_key(key, f->kind, f->id);
		rc = mdb_get(txn, d->state, &k, &v);
		if (rc && rc != MDB_NOTFOUND)
			return disk_err(err, rc, "cannot read state record kind %u id %" PRIu64,
					f->kind, f->id);
		r = rc ? 0 : state_shape(k, v, err);
		if (r)
			return r;
		if (!rc)
			digest_sub(sum, (const uint8_t *)v.mv_data + 1);
	}
	if (f->val) {
		digest_fact(f->kind, f->id, f->val, f->len, hash);
		digest_add(sum, hash);
	}
	pending_set(p, f, hash);
	return 0;
}

static int flush_one(const struct disk *d, MDB_txn *txn, const struct pending_entry *e)
{
	uint8_t key[STATE_KEY_BYTES], *b;
	MDB_val k = val_of(key, sizeof(key)), v;
	int rc;

	state_key(key, e->kind, e->id);
	if (!e->val) {
		rc = mdb_del(txn, d->state, &k, NULL);
		return rc == MDB_NOTFOUND ? 0 : rc;
	}
	v = (MDB_val){.mv_size = STATE_HEADER_BYTES + e->len};
	rc = mdb_put(txn, d->state, &k, &v, MDB_RESERVE);
	if (rc)
		return rc;
	b = v.mv_data;
	b[0] = STATE_VERSION;
	memcpy(b + 1, e->hash, STORE_HASH_BYTES);
	memcpy(b + STATE_HEADER_BYTES, e->val, e->len);
	return 0;
}

int disk_flush(const struct disk *d, MDB_txn *txn, struct pending *p, struct err *err)
{
	pending_sort(p);
	for (size_t i = 0; i < p->n; i++) {
		int rc = flush_one(d, txn, &p->v[i]);

		if (rc)
			return disk_err(err, rc, "cannot write state record kind %u id %" PRIu64,
					p->v[i].kind, p->v[i].id);
	}
	pending_clear(p);
	return 0;
}

/* ---- replay and verify ---------------------------------------------------------------------- */

struct replay {
	const struct disk *d;
	MDB_txn *txn;
	uint64_t applied;
	struct pending *p;
	struct digest sum;
	/* verify only: the next mark to meet */
	MDB_cursor *marks;
	struct store_mark mark;
	bool mark_ahead;
	uint64_t marks_n, records_n;
};

static int replay_entry(void *ctx, const struct store_entry *e, struct err *err)
{
	struct replay *rp = ctx;
	int r = 0;

	for (uint32_t i = 0; i < e->rec.facts_n && !r && e->rec.seq > rp->applied; i++)
		r = disk_fold(rp->d, rp->txn, rp->p, &rp->sum, &e->rec.facts[i], err);
	return r;
}

static int replay_compare(const struct replay *rp, const struct disk_head *h, struct err *err)
{
	if (memcmp(&rp->sum, &h->digest, sizeof(rp->sum)) != 0)
		return err_set(err, ERR_CORRUPT,
			       "state after record %" PRIu64
			       " does not have the digest of the head",
			       h->seq);
	return 0;
}

int disk_replay(const struct disk *d, MDB_txn *txn, const struct disk_head *h, struct pending *p,
		struct err *err)
{
	struct replay rp = {
		.d = d, .txn = txn, .applied = h->applied_seq, .p = p, .sum = h->applied};
	/* With nothing to replay the last record is still looked at: does the log end at its head?
	 */
	uint64_t from = h->applied_seq < h->seq ? h->applied_seq + 1 : h->seq;
	int r = 0;

	if (from > h->base_seq)
		r = disk_log_walk(d, txn, h, from, replay_entry, &rp, err);
	return r ? r : replay_compare(&rp, h, err);
}

static int next_mark(struct replay *rp, MDB_cursor_op op, struct err *err)
{
	MDB_val k, v;
	int rc = mdb_cursor_get(rp->marks, &k, &v, op);

	rp->mark_ahead = !rc;
	if (rc == MDB_NOTFOUND)
		return 0;
	return rc ? disk_err(err, rc, "cannot read the marks") : mark_parse(k, v, &rp->mark, err);
}

static int verify_entry(void *ctx, const struct store_entry *e, struct err *err)
{
	struct replay *rp = ctx;

	rp->records_n++;
	if (rp->mark_ahead && rp->mark.seq == e->rec.seq) {
		int r;

		if (memcmp(rp->mark.hash, e->hash, sizeof(e->hash)) != 0)
			return err_set(err, ERR_CORRUPT, "mark %" PRIu64 " is of another chain",
				       e->rec.seq);
		rp->marks_n++;
		r = next_mark(rp, MDB_NEXT, err);
		if (r)
			return r;
	}
	return replay_entry(ctx, e, err);
}

static int verify_blobs(const struct disk *d, MDB_txn *txn, uint64_t *ret_n, struct err *err)
{
	uint8_t hash[STORE_HASH_BYTES];
	MDB_cursor *cur;
	MDB_val k, v;
	uint64_t n = 0;
	int rc = mdb_cursor_open(txn, d->blob, &cur);

	if (rc)
		return disk_err(err, rc, "cannot read the blobs");
	for (rc = mdb_cursor_get(cur, &k, &v, MDB_FIRST); !rc;
	     rc = mdb_cursor_get(cur, &k, &v, MDB_NEXT)) {
		record_hash(v.mv_data, v.mv_size, hash);
		if (k.mv_size != sizeof(hash) || memcmp(k.mv_data, hash, sizeof(hash)) != 0) {
			mdb_cursor_close(cur);
			return err_set(err, ERR_CORRUPT,
				       "a blob of %zu bytes does not have its hash", v.mv_size);
		}
		n++;
	}
	mdb_cursor_close(cur);
	if (rc != MDB_NOTFOUND)
		return disk_err(err, rc, "cannot read the blobs");
	*ret_n = n;
	return 0;
}

static int verify_txn(const struct disk *d, MDB_txn *txn, struct replay *rp,
		      struct store_check *ret, struct err *err)
{
	struct disk_head h;
	struct digest sum;
	int r = disk_head_get(d, txn, &h, err);

	if (!r)
		r = disk_state_walk(d, txn, NULL, NULL, &sum, &ret->states, err);
	if (r)
		return r;
	if (memcmp(&sum, &h.applied, sizeof(sum)) != 0)
		return err_set(err, ERR_CORRUPT,
			       "the state records do not add up to their digest at %" PRIu64,
			       h.applied_seq);
	rp->applied = h.applied_seq;
	rp->sum = sum;
	r = next_mark(rp, MDB_FIRST, err);
	if (!r)
		r = disk_log_walk(d, txn, &h, h.base_seq + 1, verify_entry, rp, err);
	if (!r && rp->mark_ahead)
		r = err_set(err, ERR_CORRUPT, "mark %" PRIu64 " has no record", rp->mark.seq);
	if (!r)
		r = replay_compare(rp, &h, err);
	if (!r)
		r = verify_blobs(d, txn, &ret->blobs, err);
	ret->head = disk_head_public(&h);
	ret->records = rp->records_n;
	ret->marks = rp->marks_n;
	return r;
}

int disk_verify(const struct disk *d, struct store_check *ret, struct err *err)
{
	struct pending p = {0};
	struct replay rp = {.d = d, .p = &p};
	struct store_check check = {0};
	int r, rc = mdb_txn_begin(d->env, NULL, MDB_RDONLY, &rp.txn);

	if (rc)
		return disk_err(err, rc, "cannot begin to verify");
	rc = mdb_cursor_open(rp.txn, d->mark, &rp.marks);
	if (rc) {
		mdb_txn_abort(rp.txn);
		return disk_err(err, rc, "cannot read the marks");
	}
	r = verify_txn(d, rp.txn, &rp, &check, err);
	mdb_cursor_close(rp.marks);
	mdb_txn_abort(rp.txn);
	pending_done(&p);
	if (!r)
		*ret = check;
	return r;
}
