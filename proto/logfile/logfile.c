/* logfile.c - the log outside the store: write, verify offline, re-apply
 *
 * One reader, logfile_scan(), serves verifying and re-applying; it reads through a small buffer,
 * hashes all it reads, and allocates no more than the file has bytes left.
 */
#include "proto/logfile/logfile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/ensure.h"
#include "proto/logfile/bytes.h"
#include "proto/logfile/files.h"
#include "proto/logfile/pending.h"
#include "proto/logfile/record.h"

enum {
	LOGFILE_VERSION = 1,
	CHECK_BYTES = 8,
	HEADER_BYTES = 8 + 2 + 6 + 8 + STORE_HASH_BYTES + CHECK_BYTES,
	FRAME_BYTES = 1 + 4, /* type, length of what follows */
	FRAME_RECORD = 'R',
	FRAME_MARK = 'M',
	FRAME_END = 'E',
	MARK_BYTES = 8 + 2 * STORE_HASH_BYTES + CHECK_BYTES,
	END_BYTES = 8 + 8 + 2 * STORE_HASH_BYTES,
};

static const char LOGFILE_MAGIC[9] = "SLUISLOG";

static void put_check(uint8_t *p, size_t n)
{
	uint8_t h[STORE_HASH_BYTES];

	record_hash(p, n, h);
	memcpy(p + n, h, CHECK_BYTES);
}

static bool has_check(const uint8_t *p, size_t n)
{
	uint8_t h[STORE_HASH_BYTES];

	record_hash(p, n, h);
	return memcmp(h, p + n, CHECK_BYTES) == 0;
}

/* ---- writing -------------------------------------------------------------------------------- */

struct logfile_writer {
	int fd;
	struct buf out; /* not yet written */
	crypto_hash_sha256_state all;
	uint64_t records, last_seq;
	uint8_t head_hash[STORE_HASH_BYTES];
	struct record_facts facts; /* of logfile_write_frames */
};

static int writer_flush(struct logfile_writer *w, struct err *err)
{
	int r;

	crypto_hash_sha256_update(&w->all, w->out.data, w->out.len);
	r = file_write(w->fd, w->out.data, w->out.len, err);
	buf_reset(&w->out);
	return r;
}

static void write_frame(struct logfile_writer *w, uint8_t type, const void *a, size_t a_len, const void *b,
			size_t b_len)
{
	uint8_t frame[FRAME_BYTES] = {type};

	put_be32(frame + 1, (uint32_t)(a_len + b_len));
	buf_add(&w->out, frame, sizeof(frame));
	buf_add(&w->out, a, a_len);
	if (b_len > 0)
		buf_add(&w->out, b, b_len);
}

static void write_header(struct logfile_writer *w, uint64_t first_seq, const uint8_t prev[STORE_HASH_BYTES])
{
	uint8_t h[HEADER_BYTES] = {0};

	memcpy(h, LOGFILE_MAGIC, 8);
	put_be16(h + 8, LOGFILE_VERSION);
	put_be64(h + 16, first_seq);
	memcpy(h + 24, prev, STORE_HASH_BYTES);
	put_check(h, HEADER_BYTES - CHECK_BYTES);
	buf_add(&w->out, h, sizeof(h));
}

int logfile_create(const char *path, struct logfile_writer **ret, struct err *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_set_errno(err, ERR_IO, "cannot make '%s'", path);
	*ret = xcalloc(1, sizeof(**ret));
	(*ret)->fd = fd;
	crypto_hash_sha256_init(&(*ret)->all);
	return 0;
}

void logfile_writer_free(struct logfile_writer *w)
{
	if (!w)
		return;
	(void)close(w->fd); /* synced by logfile_end, or thrown away */
	buf_done(&w->out);
	record_facts_done(&w->facts);
	free(w);
}

int logfile_write(struct logfile_writer *w, const struct store_entry *e, struct err *err)
{
	if (!w->records)
		write_header(w, e->rec.seq, e->prev);
	write_frame(w, FRAME_RECORD, e->raw, e->raw_len, e->hash, STORE_HASH_BYTES);
	w->records++;
	w->last_seq = e->rec.seq;
	memcpy(w->head_hash, e->hash, sizeof(w->head_hash));
	return w->out.len >= (size_t)1 << 18 ? writer_flush(w, err) : 0;
}

void logfile_write_mark(struct logfile_writer *w, const struct store_mark *m)
{
	uint8_t b[MARK_BYTES];

	put_be64(b, m->seq);
	memcpy(b + 8, m->hash, STORE_HASH_BYTES);
	memcpy(b + 40, m->digest, STORE_HASH_BYTES);
	put_check(b, MARK_BYTES - CHECK_BYTES);
	write_frame(w, FRAME_MARK, b, sizeof(b), NULL, 0);
}

int logfile_write_frames(struct logfile_writer *w, const uint8_t *p, size_t len, uint64_t seq, uint64_t to,
			 struct err *err)
{
	while (len > 0 && seq <= to) {
		const uint8_t *body = p + FRAME_BYTES;
		struct store_entry e;
		size_t n;
		int r;

		if (len < FRAME_BYTES || p[0] != FRAME_RECORD || get_be32(p + 1) > len - FRAME_BYTES ||
		    get_be32(p + 1) < STORE_HASH_BYTES)
			return err_set(err, ERR_FORMAT, "record %" PRIu64 ": a damaged frame", seq);
		n = get_be32(p + 1) - (size_t)STORE_HASH_BYTES;
		r = record_check(body, n, body + n, seq, w->records ? w->head_hash : NULL, &w->facts, &e, err);
		if (!r)
			r = logfile_write(w, &e, err);
		if (r)
			return r;
		seq++;
		p = body + n + STORE_HASH_BYTES;
		len -= FRAME_BYTES + n + STORE_HASH_BYTES;
	}
	return 0;
}

int logfile_end(struct logfile_writer *w, struct err *err)
{
	uint8_t b[FRAME_BYTES + END_BYTES] = {FRAME_END};
	crypto_hash_sha256_state all;
	int r;

	put_be32(b + 1, END_BYTES);
	put_be64(b + 5, w->records);
	put_be64(b + 13, w->last_seq);
	memcpy(b + 21, w->head_hash, STORE_HASH_BYTES);
	r = writer_flush(w, err);
	if (r)
		return r;
	all = w->all;
	crypto_hash_sha256_update(&all, b, sizeof(b) - STORE_HASH_BYTES);
	crypto_hash_sha256_final(&all, b + sizeof(b) - STORE_HASH_BYTES);
	r = file_write(w->fd, b, sizeof(b), err);
	if (!r && fsync(w->fd) < 0)
		r = err_set_errno(err, ERR_IO, "cannot sync");
	return r;
}

/* ---- reading -------------------------------------------------------------------------------- */

struct reader {
	const char *path;
	FILE *f;
	uint64_t at, bytes;		/* offset of the next byte; length of the file */
	uint64_t frame_at;		/* offset of the frame being read, for messages */
	uint64_t next;			/* record expected next */
	uint8_t prev[STORE_HASH_BYTES]; /* hash of next - 1 */
	crypto_hash_sha256_state all;
	struct buf frame;
	struct record_facts facts;
	struct logfile_summary sum;
};

typedef int record_fn(void *ctx, const struct store_entry *e, struct err *err);
typedef int mark_fn(void *ctx, const struct store_mark *m, struct err *err);

static int read_bytes(struct reader *rd, void *p, size_t n, struct err *err)
{
	if (n > rd->bytes - rd->at)
		return err_set(err, ERR_TRUNCATED,
			       "the file ends early, %" PRIu64 " bytes from here",
			       rd->bytes - rd->at);
	if (fread(p, 1, n, rd->f) != n)
		return err_set_errno(err, ERR_IO, "cannot read");
	rd->at += n;
	return 0;
}

static int read_header(struct reader *rd, struct err *err)
{
	uint8_t h[HEADER_BYTES];
	int r = read_bytes(rd, h, sizeof(h), err);

	if (r)
		return r;
	if (memcmp(h, LOGFILE_MAGIC, 8) != 0)
		return err_set(err, ERR_FORMAT, "not a log file");
	if (get_be16(h + 8) != LOGFILE_VERSION)
		return err_set(err, ERR_VERSION, "log file version %u is not understood",
			       get_be16(h + 8));
	if (!has_check(h, HEADER_BYTES - CHECK_BYTES))
		return err_set(err, ERR_CORRUPT, "the header does not have its checksum");
	crypto_hash_sha256_update(&rd->all, h, sizeof(h));
	rd->next = rd->sum.first_seq = get_be64(h + 16);
	memcpy(rd->prev, h + 24, STORE_HASH_BYTES);
	memcpy(rd->sum.prev_hash, h + 24, STORE_HASH_BYTES);
	if (rd->next == 0)
		return err_set(err, ERR_CORRUPT, "there is no record 0");
	return 0;
}

/* Read one frame into rd->frame, type byte and length included. The end frame is hashed by
 * read_end(). */
static int read_frame(struct reader *rd, struct err *err)
{
	uint32_t len;
	int r;

	rd->frame_at = rd->at;
	buf_reset(&rd->frame);
	r = read_bytes(rd, buf_reserve(&rd->frame, FRAME_BYTES), FRAME_BYTES, err);
	if (r)
		return r;
	len = get_be32(rd->frame.data + 1);
	if (len > STORE_RECORD_BYTES_MAX + STORE_HASH_BYTES)
		return err_set(err, ERR_CORRUPT, "a frame of %u bytes", len);
	if (len > rd->bytes - rd->at)
		return err_set(err, ERR_TRUNCATED, "the file ends inside a frame of %u bytes", len);
	rd->frame.len = FRAME_BYTES;
	r = read_bytes(rd, buf_reserve(&rd->frame, len), len, err);
	if (r)
		return r;
	rd->frame.len += len;
	if (rd->frame.data[0] != FRAME_END)
		crypto_hash_sha256_update(&rd->all, rd->frame.data, rd->frame.len);
	return 0;
}

static int read_record(struct reader *rd, record_fn *on_record, void *ctx, struct err *err)
{
	const uint8_t *p = rd->frame.data + FRAME_BYTES;
	size_t len = rd->frame.len - FRAME_BYTES;
	struct store_entry e;
	int r;

	if (len < STORE_HASH_BYTES)
		return err_set(err, ERR_CORRUPT, "record %" PRIu64 " is cut off", rd->next);
	len -= STORE_HASH_BYTES;
	r = record_check(p, len, p + len, rd->next, rd->prev, &rd->facts, &e, err);
	if (r)
		return r;
	if (rd->sum.records == 0 || e.rec.t_ms < rd->sum.t_min_ms)
		rd->sum.t_min_ms = e.rec.t_ms;
	if (rd->sum.records == 0 || e.rec.t_ms > rd->sum.t_max_ms)
		rd->sum.t_max_ms = e.rec.t_ms;
	rd->sum.records++;
	rd->sum.last_seq = rd->next++;
	memcpy(rd->prev, e.hash, sizeof(rd->prev));
	return on_record ? on_record(ctx, &e, err) : 0;
}

static int read_mark(struct reader *rd, mark_fn *on_mark, void *ctx, struct err *err)
{
	const uint8_t *p = rd->frame.data + FRAME_BYTES;
	struct store_mark m;

	if (rd->frame.len != FRAME_BYTES + MARK_BYTES || !has_check(p, MARK_BYTES - CHECK_BYTES))
		return err_set(err, ERR_CORRUPT,
			       "a mark behind record %" PRIu64 " does not have its checksum",
			       rd->next - 1);
	m.seq = get_be64(p);
	memcpy(m.hash, p + 8, STORE_HASH_BYTES);
	memcpy(m.digest, p + 40, STORE_HASH_BYTES);
	if (rd->sum.records == 0 || m.seq != rd->sum.last_seq ||
	    memcmp(m.hash, rd->prev, STORE_HASH_BYTES) != 0)
		return err_set(err, ERR_CORRUPT,
			       "mark %" PRIu64 " does not belong behind record %" PRIu64, m.seq,
			       rd->next - 1);
	rd->sum.marks++;
	return on_mark ? on_mark(ctx, &m, err) : 0;
}

static int read_end(struct reader *rd, struct err *err)
{
	const uint8_t *p = rd->frame.data + FRAME_BYTES;
	uint8_t h[STORE_HASH_BYTES];

	if (rd->frame.len != FRAME_BYTES + END_BYTES)
		return err_set(err, ERR_CORRUPT, "the end has %zu bytes", rd->frame.len);
	crypto_hash_sha256_update(&rd->all, rd->frame.data, rd->frame.len - STORE_HASH_BYTES);
	crypto_hash_sha256_final(&rd->all, h);
	if (get_be64(p) != rd->sum.records || get_be64(p + 8) != rd->sum.last_seq ||
	    memcmp(p + 16, rd->prev, STORE_HASH_BYTES) != 0)
		return err_set(err, ERR_CORRUPT,
			       "the end is of another file: it says %" PRIu64
			       " records up to %" PRIu64 ", there are %" PRIu64 " up to %" PRIu64,
			       get_be64(p), get_be64(p + 8), rd->sum.records, rd->sum.last_seq);
	if (memcmp(p + 48, h, sizeof(h)) != 0)
		return err_set(err, ERR_CORRUPT, "the file does not have its hash");
	if (rd->at != rd->bytes)
		return err_set(err, ERR_CORRUPT, "%" PRIu64 " bytes behind the end",
			       rd->bytes - rd->at);
	return 0;
}

static int scan_frames(struct reader *rd, record_fn *on_record, mark_fn *on_mark, void *ctx,
		       struct err *err)
{
	int r = read_header(rd, err);

	while (!r) {
		r = read_frame(rd, err);
		if (r)
			break;
		switch (rd->frame.data[0]) {
		case FRAME_RECORD:
			r = read_record(rd, on_record, ctx, err);
			break;
		case FRAME_MARK:
			r = read_mark(rd, on_mark, ctx, err);
			break;
		case FRAME_END:
			return read_end(rd, err);
		default:
			r = err_set(err, ERR_CORRUPT, "a frame of unknown type %u",
				    rd->frame.data[0]);
			break;
		}
	}
	return r;
}

/* Read the file at `path` from end to end. The callbacks may be NULL. */
static int logfile_scan(const char *path, record_fn *on_record, mark_fn *on_mark, void *ctx,
			struct logfile_summary *ret, struct err *err)
{
	enum { SHOWN = 80 };
	struct reader rd = {.path = path, .f = fopen(path, "re")};
	size_t len = strlen(path), cut = len > SHOWN ? len - SHOWN : 0; /* its end tells one archived file from the next */
	struct stat st;
	int r;

	if (!rd.f)
		return err_set_errno(err, errno == ENOENT ? ERR_NOTFOUND : ERR_IO,
				     "cannot open '%s'", path);
	if (fstat(fileno(rd.f), &st) < 0) {
		r = err_set_errno(err, ERR_IO, "cannot stat");
	} else {
		rd.bytes = (uint64_t)st.st_size;
		crypto_hash_sha256_init(&rd.all);
		r = scan_frames(&rd, on_record, on_mark, ctx, err);
	}
	if (r)
		err_prefix(err, "'%s%s': byte %" PRIu64 ", after record %" PRIu64, cut ? "..." : "", path + cut,
			   rd.frame_at, rd.sum.last_seq);
	memcpy(rd.sum.head_hash, rd.prev, STORE_HASH_BYTES);
	(void)fclose(rd.f); /* only read from */
	buf_done(&rd.frame);
	record_facts_done(&rd.facts);
	if (!r && ret)
		*ret = rd.sum;
	return r;
}

int logfile_verify(const char *path, struct logfile_summary *ret, struct err *err)
{
	return logfile_scan(path, NULL, NULL, NULL, ret, err);
}

/* ---- re-applying ---------------------------------------------------------------------------- */

struct logfile_state {
	struct pending all; /* the whole state; deleted records stay as empty entries */
	struct digest sum;
	uint64_t seq, until, marks;
	uint8_t hash[STORE_HASH_BYTES];
};

struct logfile_state *logfile_state_new(void)
{
	return xcalloc(1, sizeof(struct logfile_state));
}

void logfile_state_free(struct logfile_state *st)
{
	if (!st)
		return;
	pending_done(&st->all);
	free(st);
}

struct store_mark logfile_state_at(const struct logfile_state *st)
{
	struct store_mark m = {.seq = st->seq};

	memcpy(m.hash, st->hash, sizeof(m.hash));
	digest_put(&st->sum, m.digest);
	return m;
}

static void state_apply(struct logfile_state *st, const struct store_fact *f)
{
	const struct pending_entry *old = pending_find(&st->all, f->kind, f->id);
	uint8_t hash[STORE_HASH_BYTES] = {0};

	if (old && old->val)
		digest_sub(&st->sum, old->hash);
	if (f->val) {
		digest_fact(f->kind, f->id, f->val, f->len, hash);
		digest_add(&st->sum, hash);
	}
	if (old || f->val)
		pending_set(&st->all, f, hash);
}

static int replay_record(void *ctx, const struct store_entry *e, struct err *err)
{
	struct logfile_state *st = ctx;

	if (e->rec.seq > st->until)
		return 0;
	if (e->rec.seq != st->seq + 1 || memcmp(e->prev, st->hash, STORE_HASH_BYTES) != 0)
		return err_set(err, ERR_CORRUPT,
			       "record %" PRIu64 " does not follow record %" PRIu64 " of the state",
			       e->rec.seq, st->seq);
	for (uint32_t i = 0; i < e->rec.facts_n; i++)
		state_apply(st, &e->rec.facts[i]);
	st->seq = e->rec.seq;
	memcpy(st->hash, e->hash, sizeof(st->hash));
	return 0;
}

static int replay_mark(void *ctx, const struct store_mark *m, struct err *err)
{
	struct logfile_state *st = ctx;
	uint8_t digest[STORE_HASH_BYTES];

	if (m->seq != st->seq)
		return 0;
	digest_put(&st->sum, digest);
	if (memcmp(digest, m->digest, sizeof(digest)) != 0)
		return err_set(err, ERR_CORRUPT,
			       "the state re-applied up to record %" PRIu64
			       " does not have the digest of its mark",
			       m->seq);
	st->marks++;
	return 0;
}

int logfile_replay(struct logfile_state *st, const char *path, uint64_t until, uint64_t *ret_marks,
		   struct err *err)
{
	int r;

	st->until = until;
	st->marks = 0;
	r = logfile_scan(path, replay_record, replay_mark, st, NULL, err);
	if (!r && ret_marks)
		*ret_marks = st->marks;
	return r;
}

int logfile_state_each(struct logfile_state *st, store_load_fn *cb, void *ctx, struct err *err)
{
	struct pending_entry *v = NULL;
	int r = 0;

	if (st->all.n > 0) {
		/* Sorted beside the table, so that more can be re-applied afterwards. */
		struct pending view = st->all;

		v = xmalloc(view.n * sizeof(*v));
		memcpy(v, st->all.v, view.n * sizeof(*v));
		view.v = v;
		pending_sort(&view);
	}
	for (size_t i = 0; i < st->all.n && !r; i++)
		if (v[i].val)
			r = cb(ctx, v[i].kind, v[i].id, v[i].val, v[i].len, err);
	free(v);
	return r;
}
