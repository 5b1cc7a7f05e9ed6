/* relay.c - questions that only the node can answer: output, a command inside an allocation, a signal
 *
 *     user ──QUERY──▶ authority, which part? ──OUTPUT_READ, EXEC, SIGNAL──▶ agent ──OUTPUT, REPLY──▶ VIEW ──▶ user
 *
 * What holds true:
 *  - a question is handed on only after core_may_query allowed it, and answered once: by the agent,
 *    or with ERR_UNREACHABLE when it does not answer within RELAY_MS
 *  - an answer counts only from the node that was asked
 *  - where a job ran is remembered for the newest PLACES jobs, beyond the end of its allocation: people
 *    read output after the end. It is rebuilt from the log at start.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/impl.h"

enum {
	PLACES = 32768,	   /* slots; job ids are dense, so the newest never collide */
	ATTEMPTS_KEPT = 4, /* of one job */
	EXTRAS_KEPT = 256, /* parts that came and went with the size of one attempt */
	ASKED_MAX = 4096,  /* questions under way */
};

struct place_part { uint64_t alloc; uint32_t node; uint16_t index; uint32_t rank0, tasks; };
struct place { /* of one attempt */
	uint64_t job, alloc; /* its core's */
	uint32_t attempt;
	uint32_t core_n;  /* parts of the core; behind them those of extras as they came */
	uint32_t parts_n;
	struct place_part parts[];
};

/* One user's question, perhaps put to several nodes. */
struct question {
	struct link_door *door;
	struct link_peer peer;
	uint64_t req;
	uint16_t type; /* enum query_type */
	uint32_t waiting, sent;
	struct err err; /* the first refusal */
};
struct asked {
	uint64_t id; /* request id towards the agent; 0: free */
	uint32_t node;
	struct mono until;
	struct question *question;
};

struct relays {
	struct server *server;
	struct place *place[PLACES][ATTEMPTS_KEPT]; /* newest attempt first */
	struct asked asked[ASKED_MAX];
	size_t asked_n;
	uint64_t next_id;
	struct loop_timer timer;
};

static void on_timer(struct loop *loop, struct loop_timer *timer, void *arg);

struct relays *relays_new(struct server *s)
{
	struct relays *r = xcalloc(1, sizeof *r);

	r->server = s;
	r->timer = (struct loop_timer)LOOP_TIMER_INIT(on_timer, r);
	return r;
}

void relays_free(struct relays *r)
{
	if (!r)
		return;
	loop_timer_cancel(r->server->loop, &r->timer);
	for (size_t i = 0; i < PLACES; i++)
		for (size_t k = 0; k < ATTEMPTS_KEPT; k++)
			free(r->place[i][k]);
	for (size_t i = 0; i < ASKED_MAX; i++)
		if (r->asked[i].id && --r->asked[i].question->waiting == 0)
			free(r->asked[i].question);
	free(r);
}

/* ---- where things ran ------------------------------------------------------------------------- */

/* `p` (or NULL) with the parts of `a` behind its own. */
static struct place *place_add(struct place *p, const struct alloc *a)
{
	uint32_t n = p ? p->parts_n : 0;

	p = p ? xrealloc(p, sizeof *p + (n + a->parts_n) * sizeof p->parts[0]) : xcalloc(1, sizeof *p + a->parts_n * sizeof p->parts[0]);
	for (uint32_t i = 0; i < a->parts_n; i++)
		p->parts[n + i] = (struct place_part){a->id, a->parts[i].node, a->parts[i].index, a->parts[i].rank0,
						      a->parts[i].tasks};
	p->parts_n = n + a->parts_n;
	return p;
}

static struct place *place_of(const struct alloc *a)
{
	struct place *p = place_add(NULL, a);

	p->job = a->owner;
	p->alloc = a->id;
	p->attempt = a->attempt;
	p->core_n = a->parts_n;
	return p;
}

static void extra_note(struct place **slot, const struct alloc *a)
{
	struct place *p;
	size_t k = 0;

	while (k < ATTEMPTS_KEPT && (!slot[k] || slot[k]->job != a->owner || slot[k]->attempt != a->attempt))
		k++;
	if (k == ATTEMPTS_KEPT)
		return;
	p = slot[k];
	for (uint32_t i = p->core_n; i < p->parts_n; i++)
		if (p->parts[i].alloc == a->id)
			return;
	if (p->parts_n - p->core_n >= EXTRAS_KEPT) { /* the oldest is forgotten */
		memmove(&p->parts[p->core_n], &p->parts[p->core_n + 1],
			(p->parts_n - p->core_n - 1) * sizeof p->parts[0]);
		p->parts_n--;
	}
	slot[k] = place_add(p, a);
}

void relays_note(struct server *s, const struct alloc *a)
{
	struct place **slot = s->relays->place[a->owner % PLACES];
	size_t at = 0;

	if (a->owner_kind != OWNER_JOB || !a->parts_n)
		return;
	if (a->extra) {
		extra_note(slot, a);
		return;
	}
	for (size_t k = 0; k < ATTEMPTS_KEPT; k++)
		if (slot[k] && slot[k]->alloc == a->id) {
			if (a->parts_n > slot[k]->core_n) { /* parts only leave; seen late: learn them */
				free(slot[k]);
				slot[k] = place_of(a);
			}
			return;
		}
	while (at < ATTEMPTS_KEPT && slot[at] && slot[at]->alloc > a->id)
		at++; /* at a start the old ones come last, from the log: the newest stays first */
	if (at == ATTEMPTS_KEPT)
		return;
	free(slot[ATTEMPTS_KEPT - 1]);
	memmove(&slot[at + 1], &slot[at], (ATTEMPTS_KEPT - 1 - at) * sizeof(struct place *));
	slot[at] = place_of(a);
}

static const struct place *place_find(const struct relays *r, uint64_t job, uint32_t attempt)
{
	struct place *const *slot = r->place[job % PLACES];

	for (size_t k = 0; k < ATTEMPTS_KEPT; k++)
		if (slot[k] && slot[k]->job == job && (!attempt || slot[k]->attempt == attempt))
			return slot[k];
	return NULL;
}

/* ---- asking ----------------------------------------------------------------------------------- */

static void finish(struct server *s, struct question *q, struct view_output *output)
{
	struct view_text text = {.seq = s->seq};

	if (q->err.code) {
		view_refuse(s, q->door, &q->peer, q->req, q->type, &q->err);
	} else if (q->type == QUERY_SIGNAL) {
		(void)snprintf(text.text, sizeof text.text, "delivered to %" PRIu32 " of %" PRIu32 " parts", q->sent,
			       q->sent);
		view_send(s, q->door, &q->peer, q->req, q->type, &text);
	} else {
		view_send(s, q->door, &q->peer, q->req, q->type, output);
	}
	free(q);
}

static void ask(struct server *s, struct question *q, uint32_t node, uint64_t alloc, uint16_t part,
		const struct query *query)
{
	static const uint16_t type[] = {[QUERY_OUTPUT] = MSG_OUTPUT_READ, [QUERY_EXEC] = MSG_EXEC,
					[QUERY_SIGNAL] = MSG_SIGNAL};
	struct relays *r = s->relays;
	struct msg_relay msg = {.alloc = alloc, .part = part, .query = *query};
	struct asked *a = NULL;
	struct err err;

	q->sent++;
	for (size_t i = 0; i < ASKED_MAX && !a; i++)
		if (!r->asked[i].id)
			a = &r->asked[i];
	if (!a) {
		if (!q->err.code) {
			(void)err_set(&q->err, ERR_BUSY, "too many questions wait for agents");
			(void)err_hint(&q->err, "try again in a few seconds");
		}
		return;
	}
	if (agents_relay(s, node, type[query->type], r->next_id + 1, &msg, &err)) {
		if (!q->err.code)
			q->err = err;
		return;
	}
	*a = (struct asked){.id = ++r->next_id, .node = node, .question = q,
			    .until = {loop_now(s->loop).ns + RELAY_MS * NS_PER_MS}};
	q->waiting++;
	r->asked_n++;
	if (!loop_timer_armed(&r->timer))
		loop_timer_after(s->loop, &r->timer, 500);
}

/* The parts of a job that the question is about: the one with the task, or all for a signal. */
static int ask_job(struct server *s, struct question *q, const struct query *query, struct err *err)
{
	const struct place *p = place_find(s->relays, query->id, query->attempt);
	bool asked = false;

	if (!p) {
		const struct job *j = core_job(s->core, query->id);

		if (j && j->spec.array_step) {
			(void)err_set(err, ERR_STATE, "job %" PRIu64 " is an array: its jobs are asked for one by one", query->id);
			return err_hint(err, "%" PRIu64 "_%" PRIu32 " is its first one", query->id, j->spec.array_first);
		}
		if (j && !j->attempt)
			return err_set(err, ERR_STATE, "job %" PRIu64 " has not started yet", query->id);
		return err_set(err, ERR_GONE, "where that attempt of job %" PRIu64 " ran is no longer known", query->id);
	}
	if (query->type != QUERY_OUTPUT && !core_alloc(s->core, p->alloc))
		return err_set(err, ERR_STATE, "job %" PRIu64 " is not running", query->id);
	for (uint32_t i = p->parts_n; i-- > 0;) { /* of a rank that was used twice: the latest */
		const struct place_part *part = &p->parts[i];
		uint32_t tasks = part->tasks ? part->tasks : 1;

		if (query->type == QUERY_SIGNAL ? !core_alloc(s->core, part->alloc) :
						  query->task < part->rank0 || query->task - part->rank0 >= tasks)
			continue;
		ask(s, q, part->node, part->alloc, part->index, query);
		asked = true;
		if (query->type != QUERY_SIGNAL)
			break;
	}
	if (asked)
		return 0;
	(void)err_set(err, ERR_RANGE, "job %" PRIu64 " has no task %" PRIu32, query->id, query->task);
	return err_hint(err, "tasks are counted from 0: sluisctl job show %" PRIu64 " says how many there are", query->id);
}

/* A lease's parts in order of (allocation, part); `task` counts them. */
static int ask_lease(struct server *s, struct question *q, const struct query *query, struct err *err)
{
	uint32_t at = 0;

	for (uint64_t id = 0; (id = core_next_id(s->core, RECORD_ALLOC, id)) != 0;) {
		const struct alloc *a = core_alloc(s->core, id);

		if (a->owner_kind != OWNER_LEASE || a->owner != query->id)
			continue;
		for (uint32_t i = 0; i < a->parts_n; i++, at++)
			if (query->type == QUERY_SIGNAL || at == query->task)
				ask(s, q, a->parts[i].node, id, a->parts[i].index, query);
	}
	if (q->sent)
		return 0;
	return err_set(err, ERR_RANGE, "lease %" PRIu64 " has no part %" PRIu32, query->id, query->task);
}

void relays_ask(struct server *s, const struct request *r)
{
	const struct query *query = r->msg;
	struct question *q = xcalloc(1, sizeof *q);
	struct err err;
	int rc;

	q->door = r->door;
	q->peer = r->peer;
	q->req = r->req;
	q->type = query->type;
	rc = strcmp(query->name, "lease") == 0 ? ask_lease(s, q, query, &err) : ask_job(s, q, query, &err);
	if (rc)
		q->err = err;
	if (!q->waiting)
		finish(s, q, NULL);
}

/* ---- answers ---------------------------------------------------------------------------------- */

static void settle(struct server *s, struct asked *a, struct view_output *output)
{
	struct question *q = a->question;

	a->id = 0;
	s->relays->asked_n--;
	if (--q->waiting == 0)
		finish(s, q, output);
}

void relays_answered(struct server *s, uint32_t node, uint64_t req, const struct msg_output *output,
		     const struct msg_reply *reply)
{
	static const struct view_output nothing;
	struct view_output out = output ? output->output : nothing;
	int code = output ? output->code : reply->code;
	const char *text = output ? output->message : reply->message;

	for (size_t i = 0; req && i < ASKED_MAX; i++) {
		struct asked *a = &s->relays->asked[i];

		if (a->id != req || a->node != node)
			continue;
		if ((a->question->type == QUERY_SIGNAL) != (reply != NULL) && !code)
			return; /* no answer to this question */
		if (code && !a->question->err.code)
			(void)err_set(&a->question->err, code < 0 ? code : ERR_FORMAT, "%s",
				      text ? text : err_text(code));
		settle(s, a, &out);
		return;
	}
}

static void on_timer(struct loop *loop, struct loop_timer *timer, void *arg)
{
	struct relays *r = arg;
	struct server *s = r->server;

	for (size_t i = 0; i < ASKED_MAX; i++) {
		struct asked *a = &r->asked[i];
		const struct node *n;

		if (!a->id || a->until.ns > loop_now(loop).ns)
			continue;
		n = core_node(s->core, a->node);
		if (!a->question->err.code) {
			(void)err_set(&a->question->err, ERR_UNREACHABLE, "the agent of %s did not answer within %d s",
				      n ? n->name : "a removed node", RELAY_MS / 1000);
			(void)err_hint(&a->question->err, "sluisctl node list; the work on it goes on");
		}
		settle(s, a, NULL);
	}
	if (r->asked_n)
		loop_timer_after(loop, timer, 500);
}
