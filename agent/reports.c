/* reports.c - what tasks report of their checkpoints, read from their files and told to the core
 *
 * A task may have written more than can be read while the daemon and everybody else wait. So a turn of the loop reads
 * so much and no more, of one task so much; who has more comes last in the next turn. The end of a task waits for that
 * (shell_look): with its unit its reports go, and the last is the one that counts.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/shell.h"
#include "proto/base/ensure.h"

enum {
	CHUNK_BYTES = 16384, /* more than the longest line that the shim keeps */
	LOOK_BYTES = 4 * CHUNK_BYTES,
	TURN_BYTES = 4 * LOOK_BYTES,
};

struct reader { /* how far a task's reports were read */
	char name[AGENT_NAME_BYTES];
	bool more; /* than could be read in this turn */
	uint64_t offset;
	struct reader *next;
};

/* The number behind "step": in a line of JSON; false if there is none. */
static bool step_of(const char *line, uint64_t *ret)
{
	const char *at = strstr(line, "\"step\"");
	uint64_t v = 0;

	if (!at)
		return false;
	at += 6;
	at += strspn(at, " \t");
	if (*at++ != ':')
		return false;
	at += strspn(at, " \t");
	if (*at < '0' || *at > '9')
		return false;
	for (; *at >= '0' && *at <= '9'; at++) {
		if (v > (UINT64_MAX - 9) / 10)
			return false;
		v = v * 10 + (uint64_t)(*at - '0');
	}
	*ret = v;
	return true;
}

/* The lines of `data`, as far as they are whole; returns their bytes. */
static size_t take_lines(struct shell *s, uint64_t alloc, uint16_t part, char *data, size_t n)
{
	char *line = data, *end;
	uint64_t step;

	while ((end = memchr(line, '\n', (size_t)(data + n - line))) != NULL) {
		*end = '\0';
		if (step_of(line, &step))
			agent_checkpoint(s->agent, shell_now(), alloc, part, step);
		line = end + 1;
	}
	if (line == data && n == CHUNK_BYTES)
		return n; /* a line longer than any report is skipped */
	return (size_t)(line - data);
}

static struct reader **find(struct shell *s, const char *name)
{
	struct reader **at = &s->readers;

	while (*at && strcmp((*at)->name, name) != 0)
		at = &(*at)->next;
	return at;
}

static struct reader *reader_at(struct reader **at, const char *name)
{
	if (!*at) {
		*at = xcalloc(1, sizeof **at);
		(void)snprintf((*at)->name, sizeof (*at)->name, "%s", name);
	}
	return *at;
}

/* Each that had more when this turn began, once. */
static void go_on(struct loop *loop, struct loop_timer *timer, void *arg)
{
	struct shell *s = arg;
	struct reader *r;
	size_t n = 0;

	for (r = s->readers; r; r = r->next)
		n += r->more;
	for (; n > 0 && s->reports_bytes < TURN_BYTES; n--) {
		char name[AGENT_NAME_BYTES];

		for (r = s->readers; !r->more; r = r->next)
			;
		r->more = false;
		memcpy(name, r->name, sizeof name);
		shell_look(s, name);
	}
	if (n > 0)
		loop_timer_after(loop, timer, 0);
}

/* Last in the list, and in the next turn. */
static void later(struct shell *s, struct reader **at)
{
	struct reader *r = *at;

	*at = r->next;
	while (*at)
		at = &(*at)->next;
	*at = r;
	r->next = NULL;
	r->more = true;
	if (!s->reports_timer.cb)
		s->reports_timer = (struct loop_timer)LOOP_TIMER_INIT(go_on, s);
	loop_timer_after(s->loop, &s->reports_timer, 0);
}

bool reports_read(struct shell *s, const char *name)
{
	struct reader **at = find(s, name);
	char data[CHUNK_BYTES + 1], kind;
	uint64_t alloc, index, look = 0;
	size_t n = CHUNK_BYTES, used = 0;
	uint16_t part;
	uint32_t run;
	struct err err;

	if (!agent_name_parse(name, &alloc, &part, &kind, &index, &run) || !agent_unit(s->agent, alloc, part))
		return true;
	for (; n == CHUNK_BYTES; look += used) {
		if (look >= LOOK_BYTES || s->reports_bytes >= TURN_BYTES)
			break;
		if (exec_log_read(s->exec, name, EXEC_REPORTS, *at ? (*at)->offset : 0, data, CHUNK_BYTES, &n, &err) || !n)
			return true;
		data[n] = '\0';
		used = take_lines(s, alloc, part, data, n);
		reader_at(at, name)->offset += used;
		s->reports_bytes += n;
	}
	if (n < CHUNK_BYTES)
		return true;
	(void)reader_at(at, name);
	later(s, at);
	return false;
}

void reports_turn(struct shell *s)
{
	s->reports_bytes = 0;
}

void reports_forget(struct shell *s, const char *name)
{
	struct reader **at = find(s, name), *gone = *at;

	if (!gone)
		return;
	*at = gone->next;
	free(gone);
}

void reports_done(struct shell *s)
{
	loop_timer_cancel(s->loop, &s->reports_timer);
	while (s->readers) {
		struct reader *next = s->readers->next;

		free(s->readers);
		s->readers = next;
	}
}
