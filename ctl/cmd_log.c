/* cmd_log.c - the hash-chained log as a file: fetch, check without trusting anybody, re-apply */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/cmd.h"
#include "proto/base/ensure.h"
#include "proto/logfile/files.h"
#include "proto/logfile/logfile.h"

enum { VERIFY_MS = 10 * 60 * 1000 };

static int print_summary(struct ctl *c, const char *kind, const char *path, const struct logfile_summary *s)
{
	if (c->json) {
		json_t *item = json_object();

		json_object_set_new(item, "file", json_string(path));
		json_object_set_new(item, "records", json_integer((json_int_t)s->records));
		json_object_set_new(item, "first_seq", json_integer((json_int_t)s->first_seq));
		json_object_set_new(item, "last_seq", json_integer((json_int_t)s->last_seq));
		json_object_set_new(item, "marks", json_integer((json_int_t)s->marks));
		json_object_set_new(item, "head", json_string(text_hex(c, s->head_hash, sizeof s->head_hash)));
		json_object_set_new(item, "intact", json_true());
		return json_item(c, kind, s->last_seq, item);
	}
	if (c->quiet)
		return 0;
	fprintf(c->out, "%s records (%" PRIu64 " to %" PRIu64 "), %s to %s: hashes chain, %s %s\n",
		text_count(c, (int64_t)s->records), s->first_seq, s->last_seq, text_date(c, s->t_min_ms),
		text_date(c, s->t_max_ms), text_count(c, (int64_t)s->marks), text_plural(s->marks, "digest mark", "digest marks"));
	fprintf(c->out, "head %s  (compare it with the one you were told)\n", text_hex(c, s->head_hash, sizeof s->head_hash));
	return 0;
}

/* ---- export ---------------------------------------------------------------------------------- */

/* Fetch piece after piece; each record is checked before it is written. `to` 0: up to the head as it is when
 * the export begins. */
static int fetch(struct ctl *c, struct logfile_writer *w, uint64_t from, uint64_t to)
{
	struct query q = {.type = QUERY_LOG, .id = from};

	for (;;) {
		struct arena keep = scratch_begin(c);
		struct view_log v = {0};
		struct err err = {0};
		int r = ask(c, &q, &v, "read the log");
		bool last;

		if (!to)
			to = v.head_seq;
		if (!r && to > v.head_seq) {
			(void)err_set(&err, ERR_RANGE, "the log ends at %" PRIu64, v.head_seq);
			try_next(c, "--to %" PRIu64, v.head_seq);
			r = fault(c, &err, "there is no record %" PRIu64, to);
		}
		if (!r && !v.data.len) {
			(void)err_set(&err, ERR_NOTFOUND, "there is no record %" PRIu64, q.id);
			r = fault(c, &err, "cannot export");
		}
		if (!r && logfile_write_frames(w, v.data.data, v.data.len, v.first_seq, to, &err))
			r = fault(c, &err, "the daemon's log is not intact");
		q.id = v.next_seq;
		last = v.next_seq > to;
		if (!r && last && v.head_seq == to) { /* the daemon's digest, for `log replay` to compare with */
			struct store_mark m = {.seq = to};

			memcpy(m.hash, v.head_hash, sizeof m.hash);
			memcpy(m.digest, v.digest, sizeof m.digest);
			logfile_write_mark(w, &m);
		}
		if (!r)
			progress(c, "record %" PRIu64 " of %" PRIu64, last ? to : v.next_seq - 1, to);
		scratch_end(c, keep);
		if (r || last)
			return r;
	}
}

int cmd_log_export(struct ctl *c, const struct call *call)
{
	int64_t from = 0, to = 0;
	struct logfile_writer *w = NULL;
	struct logfile_summary sum;
	struct err err = {0};
	char *part;
	int r;

	if (opt_count(c, call, "from", 1, INT64_MAX, &from) || opt_count(c, call, "to", 1, INT64_MAX, &to))
		return EXIT_USAGE;
	if (to && to < from) {
		try_next(c, "--from below --to");
		return usage_fault(c, "--from %" PRId64 " is behind --to %" PRId64, from, to);
	}
	if (access(call->args[0], F_OK) == 0) {
		(void)err_set(&err, ERR_EXISTS, "'%.100s' exists already", call->args[0]);
		(void)err_hint(&err, "another name; a log file is never overwritten");
		return fault(c, &err, "cannot export");
	}
	part = file_part(call->args[0]);
	if (logfile_create(part, &w, &err)) {
		free(part);
		return fault(c, &err, NULL);
	}
	r = fetch(c, w, (uint64_t)from, (uint64_t)to);
	if (!r && (logfile_end(w, &err) || logfile_verify(part, &sum, &err) || file_publish(part, call->args[0], &err)))
		r = fault(c, &err, "cannot export");
	progress_end(c);
	logfile_writer_free(w);
	if (r)
		(void)unlink(part); /* ours; left over it would only be untidy */
	free(part);
	return r ? r : print_summary(c, "log_exported", call->args[0], &sum);
}

/* ---- verify and replay ----------------------------------------------------------------------- */

static int verify_daemon(struct ctl *c)
{
	struct query q = {.type = QUERY_VERIFY};
	struct view_text v = {0};
	int r = conn_resolve(c);

	if (r)
		return r;
	if (!c->timeout_given)
		c->timeout_ms = VERIFY_MS;
	r = ask(c, &q, &v, "verify");
	if (r)
		return r;
	if (c->json)
		return json_item(c, "log_verified", v.seq, json_of(&schema_view_text, &v));
	if (!c->quiet)
		fprintf(c->out, "the daemon says: %s, up to seq %s\nhead   %s\ndigest %s\n", text_safe(c, v.text),
			text_count(c, (int64_t)v.seq), text_hex(c, v.hash, sizeof v.hash), text_hex(c, v.digest, sizeof v.digest));
	next_line(c, "without trusting it: sluisctl log export FILE; sluisctl log verify FILE");
	return 0;
}

/* A file that is not there is not found; any other fault is "not intact". */
static int bad_file(struct ctl *c, const struct err *err, const char *doing)
{
	bool missing = err->code == ERR_NOTFOUND;

	if (!missing)
		try_next(c, "another copy of it: sluisctl log export FILE");
	else
		try_next(c, "sluisctl log export FILE");
	(void)fault(c, err, "%s", doing);
	return missing ? EXIT_NOTFOUND : EXIT_OTHER;
}

int cmd_log_verify(struct ctl *c, const struct call *call)
{
	struct logfile_summary sum;
	struct err err = {0};

	if (!call->args_n)
		return verify_daemon(c);
	if (logfile_verify(call->args[0], &sum, &err))
		return bad_file(c, &err, "not intact");
	return print_summary(c, "log_verified", call->args[0], &sum);
}

int cmd_log_replay(struct ctl *c, const struct call *call)
{
	struct logfile_state *st = logfile_state_new();
	int64_t until = INT64_MAX;
	struct err err = {0};
	uint64_t marks = 0;
	struct store_mark at;
	int r = opt_count(c, call, "until", 1, INT64_MAX, &until);

	for (size_t i = 0; !r && i < call->args_n; i++) {
		uint64_t compared = 0;

		if (logfile_replay(st, call->args[i], until == INT64_MAX ? UINT64_MAX : (uint64_t)until, &compared, &err))
			r = bad_file(c, &err, "cannot re-apply");
		marks += compared;
	}
	at = logfile_state_at(st);
	logfile_state_free(st);
	if (r)
		return r;
	if (c->json) {
		json_t *item = json_object();

		json_object_set_new(item, "seq", json_integer((json_int_t)at.seq));
		json_object_set_new(item, "digest", json_string(text_hex(c, at.digest, sizeof at.digest)));
		json_object_set_new(item, "head", json_string(text_hex(c, at.hash, sizeof at.hash)));
		json_object_set_new(item, "marks_compared", json_integer((json_int_t)marks));
		return json_item(c, "log_replayed", at.seq, item);
	}
	fprintf(c->out, "re-applied up to seq %s; digests equal at %s %s\ndigest %s\n", text_count(c, (int64_t)at.seq),
		text_count(c, (int64_t)marks), text_plural(marks, "mark", "marks"), text_hex(c, at.digest, sizeof at.digest));
	return 0;
}
