/* health.c - health commands of services: started, waited for, told to the core
 *
 *   (waits) ──▶ runs ──ended, or its time is over──▶ told ──killed, again and again──▶ nothing left: forgotten
 *
 * One is a task of its own, "health-ALLOC-PART-NUMBER": it runs as the unit's user, under the unit's limits. When its
 * time is over the core hears so at once, whether it can be killed or not; until nothing of it is left the core knows
 * that too, and does not release the unit's devices. What an earlier agent began nobody waits for: it is ended.
 *
 * None is begun beside what is left of another: a command that hangs where no signal reaches it would otherwise leave a
 * process each time. It waits for those to be gone, no longer than it may take itself, and has failed then.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/shell.h"
#include "proto/base/ensure.h"
#include "proto/link/log.h"

enum { LEFT_LOOK_MS = 500 }; /* between looks at what SIGKILL has yet to end: without its shim nobody tells */

struct check {
	struct shell *shell;
	uint64_t alloc, number;
	uint16_t part;
	bool begun;
	bool told; /* the core has its answer, or has not asked */
	struct loop_timer timer; /* its time is over; once it is told: the next look */
	struct check *next;
};

static void name_of(const struct check *c, char out[EXEC_NAME_BYTES])
{
	(void)snprintf(out, EXEC_NAME_BYTES, "health-%" PRIu64 "-%u-%" PRIu64, c->alloc, (unsigned)c->part, c->number);
}

static bool name_parse(const char *name, struct check *ret)
{
	int end = 0;

	return sscanf(name, "health-%" SCNu64 "-%" SCNu16 "-%" SCNu64 "%n", &ret->alloc, &ret->part, &ret->number, &end) == 3 &&
	       !name[end];
}

static bool same_unit(const struct check *c, const struct check *d)
{
	return c->alloc == d->alloc && c->part == d->part;
}

static void timer_fires(struct loop *loop, struct loop_timer *timer, void *arg);

static struct check *add(struct shell *s, const struct check *like)
{
	struct check *c = xcalloc(1, sizeof *c);

	*c = *like;
	c->shell = s;
	c->timer = (struct loop_timer)LOOP_TIMER_INIT(timer_fires, c);
	c->next = s->checks;
	s->checks = c;
	return c;
}

static void drop(struct check *c)
{
	struct check **at = &c->shell->checks;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	loop_timer_cancel(c->shell->loop, &c->timer);
	free(c);
}

/* Something of another one of the same unit, or NULL. */
static const struct check *left_beside(const struct check *c)
{
	const struct check *d = c->shell->checks;

	while (d && (d == c || !d->told || !same_unit(c, d)))
		d = d->next;
	return d;
}

static void tell_left(const struct check *c, bool left)
{
	agent_left(c->shell->agent, shell_now(), c->alloc, c->part, LEFT_HEALTH, left);
}

static void answer(struct check *c, bool ok)
{
	c->told = true;
	loop_timer_cancel(c->shell->loop, &c->timer);
	agent_health(c->shell->agent, shell_now(), c->alloc, c->part, ok);
}

static void begin(struct check *c)
{
	char name[EXEC_NAME_BYTES];
	struct err err = {0};

	name_of(c, name);
	c->begun = true;
	if (launch_health(c->shell, c->alloc, c->part, name, &err) == 0)
		return;
	log_event(LOG_WARNING, "health_failed", "alloc=%" PRIu64 " error=%s", c->alloc, log_quote(err.msg));
	answer(c, false); /* an unhealthy answer is the safe one */
	drop(c);
}

/* Nothing of it is left. */
static void gone(struct check *c)
{
	struct check *next = c->shell->checks;
	bool more = left_beside(c) != NULL;

	tell_left(c, more);
	while (next && (next->begun || !same_unit(c, next)))
		next = next->next;
	drop(c);
	if (next && !more)
		begin(next);
}

/* It has been told, and something is left. */
static void end_rest(struct check *c, const char *name)
{
	shell_end(c->shell, name);
	loop_timer_after(c->shell->loop, &c->timer, LEFT_LOOK_MS);
}

/* Answer with "no", and end what there is of it. */
static void give_up(struct check *c)
{
	char name[EXEC_NAME_BYTES];

	if (!c->begun) {
		answer(c, false);
		drop(c);
		return;
	}
	name_of(c, name);
	tell_left(c, true); /* first: nothing is released in between */
	answer(c, false);
	end_rest(c, name);
}

static void timer_fires(struct loop *loop, struct loop_timer *timer, void *arg)
{
	struct check *c = arg;
	char name[EXEC_NAME_BYTES];

	(void)loop;
	(void)timer;
	if (!c->told) {
		give_up(c);
		return;
	}
	name_of(c, name);
	loop_timer_after(c->shell->loop, &c->timer, LEFT_LOOK_MS);
	shell_look(c->shell, name);
}

bool health_changed(struct shell *s, const char *name, const struct exec_status *st)
{
	struct check is = {.begun = true, .told = true}, *c = s->checks;

	if (!name_parse(name, &is))
		return false;
	while (c && (c->number != is.number || !same_unit(c, &is)))
		c = c->next;
	if (!c && st->state == EXEC_NONE)
		return true;
	if (!c)
		c = add(s, &is); /* of an earlier life of the agent: nobody waits for its answer */
	if (!c->told && st->state != EXEC_STARTING && st->state != EXEC_RUNNING) {
		if (!st->empty)
			tell_left(c, true);
		answer(c, st->state == EXEC_EXITED && st->exit_code == 0);
	}
	if (!c->told)
		return true;
	if (!st->empty) {
		tell_left(c, true);
		end_rest(c, name);
		return true;
	}
	shell_release(s, name);
	gone(c);
	return true;
}

void health_start(struct shell *s, const struct action *action)
{
	const struct unit *u = agent_unit(s->agent, action->alloc, action->part);
	const struct pay *p = u ? launch_payload(s, u->payload) : NULL;
	struct check *c;

	if (!p || !p->payload.health_n) {
		agent_health(s->agent, shell_now(), action->alloc, action->part, true);
		return;
	}
	c = add(s, &(struct check){.alloc = action->alloc, .part = action->part, .number = ++s->checks_made});
	loop_timer_after(s->loop, &c->timer, (int64_t)action->value);
	if (!left_beside(c))
		begin(c);
}

void health_end(struct shell *s, const struct action *action)
{
	const struct check unit = {.alloc = action->alloc, .part = action->part};
	struct check *c = s->checks;

	while (c && (c->told || !same_unit(c, &unit)))
		c = c->next;
	if (c) /* there is one at a time; none if it has just been answered */
		give_up(c);
}

void health_done(struct shell *s)
{
	while (s->checks) {
		struct check *c = s->checks;
		char name[EXEC_NAME_BYTES];
		struct err err;

		name_of(c, name);
		if (c->begun && !c->told)
			(void)!exec_kill(s->exec, name, &err); /* the next agent ends it, if not we */
		drop(c);
	}
}
