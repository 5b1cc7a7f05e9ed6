/* archive.c - old log records leave the store for files of their own
 *
 * With log.archive_dir set, records older than log.archive_after are written to
 * log-FIRST-LAST.sluis there, verified, and then forgotten by the store. What holds true:
 *  - a record is forgotten only when a file that holds it has been read back and checked
 *  - the files follow each other without gap or overlap, also over a crash between the two steps: the
 *    newest file says how far we are
 *  - one piece at a time, so that nobody waits long for the loop
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/impl.h"
#include "daemon/store/logfile.h"
#include "proto/base/failpoint.h"

enum { PIECE_RECORDS = 16384, PIECE_AGAIN_MS = 1000 };

static void file_name(const struct server *s, uint64_t first, uint64_t last, char out[4096])
{
	(void)snprintf(out, 4096, "%s/log-%020" PRIu64 "-%020" PRIu64 ".sluis", s->conf.log.archive_dir, first, last);
}

/* The end of the newest file, checked; 0 when there is none. */
static int newest(const struct server *s, uint64_t *ret_last, struct err *err)
{
	DIR *dir = opendir(s->conf.log.archive_dir);
	struct logfile_summary sum;
	uint64_t first = 0, last = 0;
	const struct dirent *e;
	char path[4096];
	int rc;

	if (!dir)
		return err_set_errno(err, ERR_SYS, "cannot read '%s'", s->conf.log.archive_dir);
	while ((e = readdir(dir)) != NULL) {
		uint64_t a, b;
		int end = -1;

		if (sscanf(e->d_name, "log-%20" SCNu64 "-%20" SCNu64 ".sluis%n", &a, &b, &end) == 2 && end > 0 &&
		    !e->d_name[end] && b > last) {
			first = a;
			last = b;
		}
	}
	(void)closedir(dir); /* only read from */
	*ret_last = last;
	if (!last)
		return 0;
	file_name(s, first, last, path);
	rc = logfile_verify(path, &sum, err);
	if (!rc && (sum.first_seq != first || sum.last_seq != last))
		rc = err_set(err, ERR_CORRUPT, "'%s' does not hold what its name says", path);
	return rc;
}

static int instant(void *ctx, const struct store_entry *entry, struct err *err)
{
	(void)err;
	*(int64_t *)ctx = entry->rec.t_ms;
	return 1; /* one is enough */
}

/* The last record in [from, to] that is not younger than `cutoff_ms`; from - 1 if none. Times rise with
 * the log, so halving finds it. */
static int last_before(struct server *s, uint64_t from, uint64_t to, int64_t cutoff_ms, uint64_t *ret, struct err *err)
{
	uint64_t lo = from - 1;

	while (lo < to) {
		uint64_t mid = lo + (to - lo + 1) / 2;
		int64_t t = 0;
		int rc = store_read(s->store, mid, instant, &t, err);

		if (rc < 0)
			return rc;
		if (t <= cutoff_ms)
			lo = mid;
		else
			to = mid - 1;
	}
	*ret = lo;
	return 0;
}

/* One piece. Sets *ret_more when another is due at once. */
static int piece(struct server *s, bool *ret_more, struct err *err)
{
	struct logfile_summary sum;
	struct store_head head;
	uint64_t last, to;
	char path[4096];
	int rc;

	*ret_more = false;
	store_head(s->store, &head);
	if (!s->archive_known) {
		if (mkdir(s->conf.log.archive_dir, 0700) < 0 && errno != EEXIST)
			return err_set_errno(err, ERR_SYS, "cannot make '%s'", s->conf.log.archive_dir);
		rc = newest(s, &s->archived, err);
		if (rc)
			return rc;
		if (s->archived > head.seq)
			return err_set(err, ERR_CONFLICT, "'%s' is of another log: it goes on beyond ours",
				       s->conf.log.archive_dir);
		s->archive_known = true;
	}
	if (s->archived < head.base_seq)
		s->archived = head.base_seq; /* what is gone cannot be archived */
	to = s->archived + PIECE_RECORDS < head.applied_seq ? s->archived + PIECE_RECORDS : head.applied_seq;
	if (to <= s->archived)
		return 0;
	rc = last_before(s, s->archived + 1, to, s->t_ms - s->conf.log.archive_after_ms, &last, err);
	if (rc || last <= s->archived)
		return rc;
	file_name(s, s->archived + 1, last, path);
	rc = logfile_export(s->store, s->archived + 1, last, path, &sum, err);
	FAILPOINT("archive.piece.exported");
	if (!rc)
		rc = logfile_verify(path, &sum, err);
	if (rc)
		return rc;
	s->archived = last;
	rc = store_trim(s->store, last, err);
	if (rc)
		return rc;
	log_event(LOG_INFO, "log archived", "records=%" PRIu64 " last=%" PRIu64 " path=%s", sum.records, last,
		  log_quote(path));
	*ret_more = last == to && sum.records == PIECE_RECORDS;
	return 0;
}

void archive_on_timer(struct loop *loop, struct loop_timer *timer, void *arg)
{
	struct server *s = arg;
	struct err err;
	bool more = false;

	if (s->conf.log.archive_dir && !s->exit_code && !queries_busy(s)) {
		(void)server_now(s);
		if (piece(s, &more, &err)) {
			log_event(LOG_ERR, "archive failed", "code=%s text=%s", err_name(err.code), log_quote(err.msg));
			if (store_broken(s->store))
				server_fail(s, &err);
		}
	}
	loop_timer_after(loop, timer, more ? PIECE_AGAIN_MS : MS_PER_MIN);
}
