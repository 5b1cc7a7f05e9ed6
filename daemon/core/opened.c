/* opened.c - records of jobs: packed at rest, open while somebody looks at them
 *
 * A job is looked at again and again while it is at the head of its line or runs, and hardly ever while others
 * stand before it. So what was opened stays open, until OPEN_JOBS_MAX are: then all are closed at once, by counting
 * up `at`, when the next decision begins. Nothing depends on what is open; core_apply writes through job_keep(),
 * so that an open record never says anything else than the packed one.
 */
#include "daemon/core/state.h"

#include <stdlib.h>
#include <string.h>

struct opened {
	struct arena arena;
	struct job **rec;
	uint32_t n, cap;
	uint32_t at; /* what job_s.open_at is compared with; from 1 */
};

struct opened *opened_new(void)
{
	struct opened *o = xcalloc(1, sizeof *o);

	o->at = 1;
	return o;
}

void opened_free(struct opened *o)
{
	arena_done(&o->arena);
	free(o->rec);
	free(o);
}

void opened_begin(const struct core *c)
{
	struct opened *o = c->opened;

	if (o->n < OPEN_JOBS_MAX)
		return;
	arena_reset(&o->arena);
	o->n = 0;
	o->at++;
}

void job_read(const struct job_s *j, struct job *ret) { packed_open(j->packed, ret, sizeof *ret); }

const struct job *job_rec(const struct core *c, const struct job_s *j)
{
	struct opened *o = c->opened;
	struct job_s *mut;

	if (j->open_at == o->at)
		return o->rec[j->open];
	if (o->n == o->cap) {
		o->cap = o->cap ? o->cap * 2 : 256;
		o->rec = xrealloc(o->rec, o->cap * sizeof(struct job *));
	}
	memcpy(&mut, &j, sizeof mut); /* who is open is no state */
	mut->open = o->n;
	mut->open_at = o->at;
	o->rec[o->n] = arena_alloc(&o->arena, sizeof(struct job));
	job_read(j, o->rec[o->n]);
	return o->rec[o->n++];
}

void job_keep(struct core *c, struct job_s *j, const struct job *rec)
{
	free(j->packed);
	j->packed = packed_new(rec, sizeof *rec);
	if (j->open_at == c->opened->at)
		*c->opened->rec[j->open] = *rec;
}
