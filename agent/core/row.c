/* row.c - see row.h
 *
 * In the table a row is
 *     u8 version (1), u8 flags (1 started, 2 noticed, 4 fenced, 8 adopted, 16 prologued), char boot_id[40],
 *     i64 stop_at_ms, i64 until_unix_ms, i64 checkpoint_unix_ms     (big-endian)
 *     u32 length of the status, the status, the unit                (schemas unit_status and unit)
 */
#include "agent/core/row.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/ensure.h"
#include "proto/base/instant.h"

enum { ROW_VERSION = 1, ROW_HEAD_BYTES = 2 + 40 + 24 + 4 };
enum { FLAG_STARTED = 1, FLAG_NOTICED = 2, FLAG_FENCED = 4, FLAG_ADOPTED = 8, FLAG_PROLOGUED = 16 };

struct row *row_new(uint64_t alloc, uint16_t part)
{
	struct row *r = xcalloc(1, sizeof *r);

	r->unit.alloc = alloc;
	r->unit.part = part;
	r->unit.time_left_ms = T_NEVER;
	r->until_unix_ms = T_NEVER;
	r->acked_state = UINT8_MAX;
	r->told_state = UINT8_MAX;
	r->dirty = true;
	return r;
}

void row_free(struct row *r)
{
	if (!r)
		return;
	for (uint32_t i = 0; i < r->extras_n; i++)
		free(r->extras[i].devices);
	free(r->extras);
	free(r->tasks);
	arena_done(&r->arena);
	free(r);
}

bool row_runs(const struct row *r)
{
	return r->unit.kind != UNIT_BARE && (r->unit.kind == UNIT_SERVICE || r->unit.tasks > 0);
}

bool row_final(const struct row *r)
{
	return r->state == UNIT_RELEASED || r->state == UNIT_LOST;
}

bool row_touched(const struct row *r)
{
	return r->started || r->prologued;
}

bool row_lives(const struct row *r)
{
	return !row_final(r) && (row_touched(r) || r->state != UNIT_FAILED);
}

bool row_hides_devices(const struct row *r)
{
	bool live = false;

	if (!r->adopted || r->unit.devices_n || !row_lives(r))
		return false;
	for (uint32_t i = 0; i < r->tasks_n; i++)
		live |= r->tasks[i].begun && !r->tasks[i].st.empty;
	for (uint32_t i = 0; i < r->extras_n; i++)
		live |= !r->extras[i].st.empty;
	return live;
}

void row_device_name(const struct unit_device *d, char out[AGENT_DEVICE_BYTES])
{
	(void)snprintf(out, AGENT_DEVICE_BYTES, "%s/%u", d->pci, (unsigned)d->partition);
}

bool row_has_device(const struct row *r, const char *device)
{
	char name[AGENT_DEVICE_BYTES];

	for (uint32_t i = 0; i < r->unit.devices_n; i++) {
		row_device_name(&r->unit.devices[i], name);
		if (strcmp(name, device) == 0)
			return true;
	}
	return false;
}

void row_want(struct row *r, const struct unit *u)
{
	struct arena fresh = {0};
	uint32_t tasks_n = r->tasks_n;

	schema_copy(&schema_unit, &r->unit, u, &fresh);
	arena_done(&r->arena);
	r->arena = fresh;
	if (row_runs(r)) {
		uint32_t want = u->kind == UNIT_JOB_COMMAND ? u->tasks : 1;

		tasks_n = want > tasks_n ? want : tasks_n;
	}
	if (tasks_n > r->tasks_n) {
		r->tasks = xrealloc(r->tasks, tasks_n * sizeof *r->tasks);
		memset(r->tasks + r->tasks_n, 0, (tasks_n - r->tasks_n) * sizeof *r->tasks);
		r->tasks_n = tasks_n;
	}
}

static void put_be(struct buf *b, uint64_t v, unsigned bytes)
{
	uint8_t *p = buf_reserve(b, bytes);

	for (unsigned i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
	b->len += bytes;
}

static uint64_t get_be(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v = v << 8 | p[i];
	return v;
}

void row_status(const struct row *r, int64_t unix_ms, struct unit_status *st)
{
	int64_t ago = unix_ms - r->checkpoint_unix_ms;

	*st = (struct unit_status){
		.alloc = r->unit.alloc,
		.part = r->unit.part,
		.state = r->state,
		.port = r->port,
		.exit_code = r->exit_code,
		.exit_signal = r->exit_signal,
		.oom = r->oom,
		.healthy = r->healthy && r->state == UNIT_RUNNING,
		.restarts = r->restarts,
		.unfit = r->unfit,
		.checkpoint_step = r->checkpoint_step,
		.checkpoint_ago_ms = r->checkpoint_unix_ms == 0 ? -1 : ago > 0 ? ago : 0,
	};
	(void)snprintf(st->text, sizeof st->text, "%s", r->text);
}

void row_encode(const struct row *r, struct buf *out)
{
	CLEANUP(buf_done) struct buf body = BUF_INIT;
	struct unit unit = r->unit;
	struct unit_status st;

	row_status(r, 0, &st);
	schema_encode(&schema_unit_status, &st, &body);
	buf_reset(out);
	put_be(out, ROW_VERSION, 1);
	put_be(out, (r->started ? FLAG_STARTED : 0U) | (r->noticed ? FLAG_NOTICED : 0U) |
			    (r->fenced ? FLAG_FENCED : 0U) | (r->adopted ? FLAG_ADOPTED : 0U) |
			    (r->prologued ? FLAG_PROLOGUED : 0U), 1);
	buf_add(out, r->boot_id, sizeof r->boot_id);
	put_be(out, (uint64_t)r->stop_at_ms, 8);
	put_be(out, (uint64_t)r->until_unix_ms, 8);
	put_be(out, (uint64_t)r->checkpoint_unix_ms, 8);
	put_be(out, body.len, 4);
	buf_add(out, body.data, body.len);
	buf_reset(&body);
	schema_encode(&schema_unit, &unit, &body);
	if (out->len + body.len > AGENT_ROW_BYTES_MAX) {
		/* Only a gang of hundreds of long names comes here. The hosts matter for a start only, and
		 * come again with the next DESIRED. */
		unit.hosts_n = 0;
		unit.hosts = NULL;
		buf_reset(&body);
		schema_encode(&schema_unit, &unit, &body);
	}
	buf_add(out, body.data, body.len);
}

int row_decode(const void *data, size_t len, struct row **ret_row, struct err *err)
{
	const uint8_t *p = data;
	struct arena arena = {0};
	struct unit_status st;
	struct unit unit;
	struct row *r;
	uint64_t n;
	int code;

	if (len < ROW_HEAD_BYTES || p[0] != ROW_VERSION)
		return err_set(err, ERR_FORMAT, "a row of the table is of no known form");
	n = get_be(p + ROW_HEAD_BYTES - 4, 4);
	if (n > len - ROW_HEAD_BYTES)
		return err_set(err, ERR_TRUNCATED, "a row of the table is cut short");
	code = schema_decode(&schema_unit_status, p + ROW_HEAD_BYTES, n, &st, &arena, err);
	if (!code)
		code = schema_decode(&schema_unit, p + ROW_HEAD_BYTES + n, len - ROW_HEAD_BYTES - n, &unit, &arena, err);
	if (code) {
		arena_done(&arena);
		return code;
	}
	r = row_new(unit.alloc, unit.part);
	row_want(r, &unit);
	arena_done(&arena);
	r->started = p[1] & FLAG_STARTED;
	r->noticed = p[1] & FLAG_NOTICED;
	r->fenced = p[1] & FLAG_FENCED;
	r->adopted = p[1] & FLAG_ADOPTED;
	r->prologued = p[1] & FLAG_PROLOGUED;
	r->unfit = st.unfit;
	memcpy(r->boot_id, p + 2, sizeof r->boot_id);
	r->boot_id[sizeof r->boot_id - 1] = '\0';
	r->stop_at_ms = (int64_t)get_be(p + 42, 8);
	r->until_unix_ms = (int64_t)get_be(p + 50, 8);
	r->checkpoint_unix_ms = (int64_t)get_be(p + 58, 8);
	r->state = st.state;
	r->port = st.port;
	r->exit_code = st.exit_code;
	r->exit_signal = st.exit_signal;
	r->oom = st.oom;
	r->restarts = st.restarts;
	r->checkpoint_step = st.checkpoint_step;
	(void)snprintf(r->text, sizeof r->text, "%s", st.text);
	r->dirty = false;
	*ret_row = r;
	return 0;
}
