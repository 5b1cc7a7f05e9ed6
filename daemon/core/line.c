/* line.c - lines of waiting jobs that only their submission tells apart
 *
 * What the scheduler asks of a job (gates, quota, budget, placement, reservation) depends on fields
 * that most jobs share with others: a million queued jobs are a few hundred lines. Looking at the first
 * of each line is looking at all of them.
 *
 * Invariants: a job is in a line exactly while it is PENDING; all jobs of a line are alike() or it has
 * one; lines are found by the hash of the fields that alike() compares.
 */
#include "daemon/core/state.h"

#include <stdlib.h>
#include <string.h>

uint64_t hash_u64(uint64_t h, uint64_t v)
{
	h = (h ^ v) * UINT64_C(0x9e3779b97f4a7c15);
	return h ^ h >> 29;
}

uint64_t hash_bytes(uint64_t h, const void *data, size_t n)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * UINT64_C(0x100000001b3); /* FNV-1a */
	return h;
}

/* Nothing about it depends on other jobs, on an instant or on its past. */
static bool plain(const struct job *j)
{
	return !j->spec.deps_n && !j->excluded_n && !j->spec.array_step && !j->eligible_ms && !j->held_rums;
}

static bool alike(const struct job *ja, const struct job *jb)
{
	const struct job_spec *a = &ja->spec, *b = &jb->spec;

	if (ja->id == jb->id)
		return true;
	if (!plain(ja) || !plain(jb) || a->project != b->project || a->flavor != b->flavor || a->shape != b->shape ||
	    a->klass != b->klass || a->loan != b->loan || a->units != b->units || a->per_node != b->per_node ||
	    a->tasks_per_node != b->tasks_per_node || a->tasks_per_unit != b->tasks_per_unit ||
	    a->cpus_per_task != b->cpus_per_task || a->memory_mib != b->memory_mib ||
	    a->time_limit_ms != b->time_limit_ms || a->notice_ms != b->notice_ms || a->exempt_ms != b->exempt_ms ||
	    ja->back_ms != jb->back_ms ||
	    a->requires_n != b->requires_n || a->reservation != b->reservation || a->units_max != b->units_max ||
	    a->topology != b->topology || a->topology_required != b->topology_required ||
	    a->topology_wait_ms != b->topology_wait_ms)
		return false;
	for (uint32_t i = 0; i < a->requires_n; i++)
		if (strcmp(a->requires[i].key, b->requires[i].key) != 0 ||
		    strcmp(a->requires[i].value, b->requires[i].value) != 0)
			return false;
	return true;
}

static uint64_t job_hash(const struct job *j)
{
	const struct job_spec *s = &j->spec;
	uint64_t h = hash_u64(s->project, (uint64_t)s->flavor << 32 | (uint64_t)s->shape << 16 |
						  (uint64_t)s->klass << 8 | s->loan);

	if (!plain(j))
		return hash_u64(h, j->id);
	h = hash_u64(h, (uint64_t)s->units << 32 | (uint64_t)s->per_node << 16 | s->tasks_per_node);
	h = hash_u64(h, (uint64_t)s->memory_mib << 32 | (uint64_t)s->tasks_per_unit << 16 | s->cpus_per_task);
	h = hash_u64(h, (uint64_t)s->time_limit_ms);
	h = hash_u64(h, (uint64_t)s->notice_ms);
	h = hash_u64(h, (uint64_t)s->exempt_ms);
	h = hash_u64(h, (uint64_t)j->back_ms);
	h = hash_u64(hash_u64(h, s->reservation), s->units_max);
	for (uint32_t i = 0; i < s->requires_n; i++) {
		h = hash_bytes(h, s->requires[i].key, strlen(s->requires[i].key) + 1);
		h = hash_bytes(h, s->requires[i].value, strlen(s->requires[i].value) + 1);
	}
	return h;
}

static void slot_insert(struct core *c, struct line *l)
{
	uint64_t i = l->hash & (c->line_slots - 1);

	while (c->line_slot[i])
		i = (i + 1) & (c->line_slots - 1);
	c->line_slot[i] = l;
}

static void slots_remake(struct core *c, uint32_t slots)
{
	free(c->line_slot);
	c->line_slots = slots;
	c->line_slot = xcalloc(slots, sizeof(struct line *));
	for (uint32_t i = 0; i < c->lines_n; i++)
		slot_insert(c, c->lines[i]);
}

static struct line *line_for(struct core *c, const struct job *j)
{
	uint64_t hash = job_hash(j);
	struct line *l;

	if (c->line_slots)
		for (uint64_t i = hash & (c->line_slots - 1); c->line_slot[i]; i = (i + 1) & (c->line_slots - 1)) {
			const struct job_s *head;

			l = c->line_slot[i];
			if (l->hash != hash)
				continue;
			head = line_head(c, l);
			if (!head || alike(&head->r, j))
				return l;
		}
	if ((c->lines_n + 1) * 2 > c->line_slots)
		slots_remake(c, c->line_slots ? c->line_slots * 2 : 64);
	if (c->lines_n == c->lines_cap) {
		c->lines_cap = c->lines_cap ? c->lines_cap * 2 : 32;
		c->lines = xrealloc(c->lines, c->lines_cap * sizeof(struct line *));
	}
	l = xcalloc(1, sizeof *l);
	l->hash = hash;
	c->lines[c->lines_n++] = l;
	slot_insert(c, l);
	return l;
}

static void head_note(const struct core *c, struct line *l)
{
	const struct timer *first = timer_first(&l->jobs);
	const struct job *j;

	if (!first || first->id == l->head) {
		l->head = first ? first->id : 0;
		return;
	}
	j = &job_of(c, first->id)->r;
	l->head = j->id;
	l->submit_seq = j->submit_seq;
	l->submit_ms = j->submit_ms;
	l->time_limit_ms = j->spec.time_limit_ms;
	l->project = j->spec.project;
	l->units = j->spec.units;
	l->flavor = j->spec.flavor;
	l->shape = j->spec.shape;
	l->klass = j->spec.klass;
	l->loan_only = waits_for_loan_only(&j->spec);
}

void line_join(struct core *c, struct job_s *j)
{
	struct scratch *s = c->scratch;
	struct line *l = line_for(c, &j->r);

	ENSURE(!j->line);
	j->line = l;
	c->dependent_n += j->r.spec.deps_n > 0;
	timer_set(&l->jobs, &j->wait, RECORD_JOB, j->r.id, (int64_t)j->r.submit_seq);
	head_note(c, l);
	if (l->head != j->r.id || l->fresh)
		return; /* whoever stands before it waits already */
	if (s->fresh_n == s->fresh_cap) {
		s->fresh_cap = s->fresh_cap ? s->fresh_cap * 2 : 64;
		s->fresh = xrealloc(s->fresh, s->fresh_cap * sizeof(struct line *));
	}
	s->fresh[s->fresh_n++] = l;
	l->fresh = true;
	s->work |= WORK_FRESH;
}

void line_leave(struct core *c, struct job_s *j)
{
	if (!j->line)
		return;
	c->dependent_n -= j->r.spec.deps_n > 0;
	timer_set(&j->line->jobs, &j->wait, RECORD_JOB, j->r.id, T_NEVER);
	head_note(c, j->line);
	j->line = NULL;
}

void lines_sweep(struct core *c)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < c->lines_n; i++)
		if (c->lines[i]->jobs.n) {
			c->lines[n++] = c->lines[i];
		} else {
			timers_done(&c->lines[i]->jobs);
			free(c->lines[i]);
		}
	if (n == c->lines_n)
		return;
	c->lines_n = n;
	slots_remake(c, c->line_slots > 64 && n * 8 < c->line_slots ? c->line_slots / 2 : c->line_slots);
}
