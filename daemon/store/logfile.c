/* logfile.c - the store's log as a file of its own: records and the marks between them, in order */
#include "daemon/store/logfile.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "proto/logfile/files.h"

struct export {
	struct logfile_writer *w;
	uint64_t to;
	struct store_mark *marks; /* ascending; marks_at is the next to write */
	size_t marks_n, marks_cap, marks_at;
};

static int write_entry(void *ctx, const struct store_entry *e, struct err *err)
{
	struct export *x = ctx;
	int r = logfile_write(x->w, e, err);

	if (r)
		return r;
	for (; x->marks_at < x->marks_n && x->marks[x->marks_at].seq == e->rec.seq; x->marks_at++)
		logfile_write_mark(x->w, &x->marks[x->marks_at]);
	return e->rec.seq == x->to;
}

static int keep_mark(void *ctx, const struct store_mark *m, struct err *err)
{
	struct export *x = ctx;

	(void)err;
	if (x->marks_n == x->marks_cap) {
		x->marks_cap = x->marks_cap ? 2 * x->marks_cap : 64;
		x->marks = xrealloc(x->marks, x->marks_cap * sizeof(*x->marks));
	}
	x->marks[x->marks_n++] = *m;
	return 0;
}

static int export_to(struct store *s, uint64_t from, const char *path, uint64_t to, struct err *err)
{
	struct export x = {.to = to};
	int r = logfile_create(path, &x.w, err);

	if (!r)
		r = store_marks(s, from, to, keep_mark, &x, err);
	if (!r)
		r = store_read(s, from, write_entry, &x, err);
	if (r >= 0)
		r = logfile_end(x.w, err);
	logfile_writer_free(x.w);
	free(x.marks);
	return r;
}

int logfile_export(struct store *s, uint64_t from, uint64_t to, const char *path,
		   struct logfile_summary *ret, struct err *err)
{
	struct store_head head;
	char *part;
	int r;

	store_head(s, &head);
	if (to == UINT64_MAX)
		to = head.seq;
	if (from == 0 || from > to || to > head.seq)
		return err_set(err, ERR_RANGE,
			       "no records %" PRIu64 " to %" PRIu64 ": the log ends at %" PRIu64,
			       from, to, head.seq);
	part = file_part(path);
	r = export_to(s, from, part, to, err);
	if (!r)
		r = logfile_verify(part, ret, err);
	if (!r)
		r = file_publish(part, path, err);
	if (r)
		(void)unlink(part);
	free(part);
	return r;
}
