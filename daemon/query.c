/* query.c - answers: views of the state, pieces of the log, payloads, backups
 *
 * A query is answered after the append of its step, so it sees durable state. Long lists leave in
 * several frames. What reads the whole store (backup, verify) runs beside the loop, one at a
 * time: verify reads a fresh copy, as the store itself must not be read while it is appended to.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/impl.h"

enum {
	VIEW_BYTES = 1 << 20,	/* of one frame, if it can be split */
	ITEMS_FIRST = 256,
	LOG_BYTES = 1 << 20,	/* of one piece of the log; one record may be more */
	WAITERS_MAX = 256,
	WAIT_MS = 20000, /* a question for events is answered empty then */
};

/* Somebody who waits for the log to grow. */
struct waiter {
	struct link_door *door;
	struct link_peer peer;
	uint64_t req;
	struct query query;
	struct mono until;
};

/* What runs beside the loop. Owned by the thread from its start until `done` is written. */
struct work {
	pthread_t thread;
	bool running;
	struct store *store;
	char *path;
	bool verify; /* the copy is removed again */
	struct store_check check;
	int code;
	struct err err;
	int done; /* eventfd */
	struct link_door *door;
	struct link_peer peer;
	uint64_t req;
	uint16_t type;
};

struct queries {
	struct server *server;
	struct waiter waiter[WAITERS_MAX];
	size_t waiters_n;
	struct loop_timer timer;
	struct work work;
};

/* ---- views ------------------------------------------------------------------------------------ */

static const struct field *field_named(const struct schema *schema, const char *name)
{
	for (uint32_t i = 0; i < schema->fields_n; i++)
		if (strcmp(schema->fields[i].name, name) == 0)
			return &schema->fields[i];
	return NULL;
}

static void frame_send(struct server *s, struct link_door *door, const struct link_peer *peer, uint64_t req,
		       uint16_t type, const struct buf *body, bool more)
{
	struct msg_view msg = {.seq = s->seq, .type = type, .body = {body->data, (uint32_t)body->len}, .more = more};

	(void)server_send(s, door, peer, MSG_VIEW, req, &msg); /* who went away has no use for it */
}

/* The lists of a view that are not `items` are said once, in the first frame. */
static void other_lists_clear(const struct schema *schema, void *view, const struct field *items)
{
	static const uint32_t none;

	for (uint32_t i = 0; i < schema->fields_n; i++)
		if (schema->fields[i].type == FIELD_LIST && &schema->fields[i] != items)
			memcpy((uint8_t *)view + schema->fields[i].count_offset, &none, sizeof none);
}

static void items_send(struct server *s, struct link_door *door, const struct link_peer *peer, uint64_t req,
		       uint16_t type, const struct schema *schema, const struct field *f, void *view)
{
	CLEANUP(buf_done) struct buf body = BUF_INIT;
	uint32_t total, at = 0, n = ITEMS_FIRST;
	uint8_t *list, *from;

	memcpy(&total, (uint8_t *)view + f->count_offset, sizeof total);
	memcpy(&list, (uint8_t *)view + f->offset, sizeof list);
	do {
		if (n > total - at)
			n = total - at;
		from = total ? list + (size_t)at * f->elem : NULL;
		memcpy((uint8_t *)view + f->offset, &from, sizeof from);
		memcpy((uint8_t *)view + f->count_offset, &n, sizeof n);
		buf_reset(&body);
		schema_encode(schema, view, &body);
		if (body.len > VIEW_BYTES && n > 1) {
			n /= 2;
			continue;
		}
		at += n;
		frame_send(s, door, peer, req, type, &body, at < total);
		other_lists_clear(schema, view, f);
		if (body.len < VIEW_BYTES / 4)
			n *= 2;
		if (!n)
			n = 1;
	} while (at < total);
}

void view_send(struct server *s, struct link_door *door, const struct link_peer *peer, uint64_t req,
	       uint16_t type, void *view)
{
	CLEANUP(buf_done) struct buf body = BUF_INIT;
	const struct schema *schema = schema_of_view(type);
	const struct field *seq = field_named(schema, "seq"), *items = field_named(schema, "items");

	if (seq && seq->type == FIELD_U64)
		memcpy((uint8_t *)view + seq->offset, &s->seq, sizeof s->seq);
	if (items && items->type == FIELD_LIST) {
		items_send(s, door, peer, req, type, schema, items, view);
		return;
	}
	schema_encode(schema, view, &body);
	frame_send(s, door, peer, req, type, &body, false);
}

void view_refuse(struct server *s, struct link_door *door, const struct link_peer *peer, uint64_t req,
		 uint16_t type, const struct err *err)
{
	struct msg_view msg = {.code = err->code, .reason = (uint16_t)err->reason, .seq = s->seq,
			       .message = err->msg, .hint = err->hint, .type = type};

	(void)server_send(s, door, peer, MSG_VIEW, req, &msg);
}

/* ---- what the core cannot know ---------------------------------------------------------------- */

static uint64_t store_bytes(const struct server *s)
{
	char path[4096];
	struct stat st;

	(void)snprintf(path, sizeof path, "%s/data.mdb", s->conf.state_dir);
	return stat(path, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

static void add_note(struct view_status *v, struct arena *arena, const char *text)
{
	struct string *notes = arena_alloc(arena, (v->notes_n + 1) * sizeof *notes);

	if (v->notes_n == NOTES_MAX)
		return;
	if (v->notes_n)
		memcpy(notes, v->notes, v->notes_n * sizeof *notes);
	notes[v->notes_n++].s = arena_copy(arena, text, strlen(text) + 1);
	v->notes = notes;
}

/* The state of a restored copy says how its nodes were, not how they are: those that have not been heard are not ready. */
static void unheard_note(const struct server *s, struct view_status *v, struct arena *arena)
{
	uint32_t unheard = 0;
	char note[160];

	for (uint64_t id = 0; (id = core_next_id(s->core, RECORD_NODE, id)) != 0;) {
		const struct node *n = core_node(s->core, (uint32_t)id);

		if (n->state != NODE_READY || agents_heard_ago_ms(s, n->id) >= 0)
			continue;
		unheard++;
		v->nodes_ready -= n->admin == NODE_ENABLED;
		v->nodes_draining -= n->admin == NODE_DRAINING;
		v->nodes_cordoned -= n->admin == NODE_CORDONED;
	}
	if (!unheard)
		return;
	(void)snprintf(note, sizeof note, "not heard since sluisd started: %" PRIu32 " of %" PRIu32 " nodes", unheard, v->nodes);
	add_note(v, arena, note);
}

static void status_fill(struct server *s, struct view_status *v, struct arena *arena)
{
	char note[160];

	if (v->safe_mode)
		unheard_note(s, v, arena);
	(void)snprintf(v->version, sizeof v->version, "%s", SLUIS_VERSION);
	v->up_ms = (loop_now(s->loop).ns - s->started.ns) / NS_PER_MS;
	v->commit_p99_us = server_commit_p99_us(s);
	v->store_bytes = store_bytes(s);
	v->store_limit_bytes = (uint64_t)s->conf.map_size_bytes;
	if (s->space != STORE_SPACE_OK)
		add_note(v, arena, "the disk is nearly full: new submissions are refused");
	if (s->quarantined) {
		(void)snprintf(note, sizeof note, "%" PRIu32 " unreadable records were left out at start: see the journal",
			       s->quarantined);
		add_note(v, arena, note);
	}
}

static void nodes_fill(struct server *s, struct view_nodes *v)
{
	for (uint32_t i = 0; i < v->items_n; i++)
		v->items[i].heard_ago_ms = agents_heard_ago_ms(s, v->items[i].node.id);
}

static bool may_read_output(const struct server *s, uint32_t principal, const char *of, uint64_t id)
{
	struct query q = {.type = QUERY_OUTPUT, .id = id};
	struct err err;

	(void)snprintf(q.name, sizeof q.name, "%s", of);
	return !core_may_query(s->core, principal, &q, &err);
}

/* Who knows the hash of a payload may fetch it, and submit work that runs it; in it are the environment and the script
 * of whoever submitted it. So the hash is told only to those who may read the output as well: the submitter, the PI
 * of the project, admins; of a lease to its provider and admins (the rest of the row is shown to operators, too). */
static void programs_hide(const struct server *s, uint32_t principal, struct view_jobs *v)
{
	for (uint32_t i = 0; i < v->items_n; i++)
		if (!may_read_output(s, principal, "", v->items[i].job.id))
			memset(v->items[i].job.spec.payload, 0, sizeof v->items[i].job.spec.payload);
}

static void services_hide(const struct server *s, uint32_t principal, struct view_leases *v)
{
	for (uint32_t i = 0; i < v->items_n; i++)
		if (!may_read_output(s, principal, "lease", v->items[i].lease.id))
			memset(v->items[i].lease.spec.payload, 0, sizeof v->items[i].lease.spec.payload);
}

static void answer_core(struct server *s, const struct request *r, const struct query *q)
{
	CLEANUP(arena_done) struct arena arena = {0};
	void *view = arena_alloc(&arena, schema_of_view(q->type)->size);
	struct err err;

	if (core_view(s->core, s->t_ms, r->principal, q, view, &arena, &err)) {
		view_refuse(s, r->door, &r->peer, r->req, q->type, &err);
		return;
	}
	if (q->type == QUERY_STATUS)
		status_fill(s, view, &arena);
	else if (q->type == QUERY_NODES)
		nodes_fill(s, view);
	else if (q->type == QUERY_JOBS)
		programs_hide(s, r->principal, view);
	else if (q->type == QUERY_LEASES)
		services_hide(s, r->principal, view);
	view_send(s, r->door, &r->peer, r->req, q->type, view);
}

/* ---- the log ---------------------------------------------------------------------------------- */

struct piece {
	struct buf data;
	uint64_t first, last;
	uint32_t limit, n;
};

/* One frame of FORMAT.md, "log file": 'R', length of the body, record, its hash. */
static int piece_add(void *ctx, const struct store_entry *entry, struct err *err)
{
	struct piece *p = ctx;
	uint32_t len = entry->raw_len + STORE_HASH_BYTES;
	uint8_t head[5] = {'R', (uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len};

	(void)err;
	if (p->n && p->data.len + len + sizeof head > LOG_BYTES)
		return 1;
	if (!p->n)
		p->first = entry->rec.seq;
	p->last = entry->rec.seq;
	buf_add(&p->data, head, sizeof head);
	buf_add(&p->data, entry->raw, entry->raw_len);
	buf_add(&p->data, entry->hash, STORE_HASH_BYTES);
	return ++p->n == p->limit || p->data.len >= LOG_BYTES;
}

static void log_send(struct server *s, struct link_door *door, const struct link_peer *peer, uint64_t req,
		     const struct query *q)
{
	struct piece p = {.limit = q->limit};
	struct view_log v = {0};
	struct store_head head;
	uint64_t from = q->id ? q->id : 1;
	struct err err;
	int rc = 0;

	store_head(s->store, &head);
	if (from <= head.base_seq && !q->id)
		from = head.base_seq + 1; /* "from the beginning" of what is still here */
	if (from <= head.seq)
		rc = store_read(s->store, from, piece_add, &p, &err);
	if (!rc || rc == 1)
		rc = p.data.len > FRAME_BYTES_MAX - 4096 ?
			     err_set(&err, ERR_TOOBIG, "record %" PRIu64 " does not fit an answer", p.first) :
			     0;
	if (rc) {
		view_refuse(s, door, peer, req, q->type, &err);
	} else {
		v.first_seq = p.n ? p.first : from;
		v.next_seq = p.n ? p.last + 1 : from;
		v.head_seq = head.seq;
		memcpy(v.head_hash, head.hash, sizeof v.head_hash);
		memcpy(v.digest, head.digest, sizeof v.digest);
		v.data = (struct bytes){p.data.data, (uint32_t)p.data.len};
		view_send(s, door, peer, req, q->type, &v);
	}
	buf_done(&p.data);
}

/* Events that are there at once; else the question waits for the log to grow. */
static void answer_events(struct server *s, const struct request *r, const struct query *q)
{
	struct queries *qs = s->queries;
	struct waiter *w;

	if (q->id <= s->seq || qs->waiters_n == WAITERS_MAX) {
		log_send(s, r->door, &r->peer, r->req, q);
		return;
	}
	w = &qs->waiter[qs->waiters_n++];
	*w = (struct waiter){.door = r->door, .peer = r->peer, .req = r->req, .query = *q,
			     .until = {loop_now(s->loop).ns + WAIT_MS * NS_PER_MS}};
	w->query.payload = (struct bytes){0}; /* lives in the turn only, and says nothing here */
	if (!loop_timer_armed(&qs->timer))
		loop_timer_after(s->loop, &qs->timer, 1000);
}

static void waiters_answer(struct server *s, bool all, struct mono now)
{
	struct queries *qs = s->queries;
	size_t kept = 0;

	for (size_t i = 0; i < qs->waiters_n; i++) {
		struct waiter *w = &qs->waiter[i];

		if ((all && w->query.id <= s->seq) || w->until.ns <= now.ns)
			log_send(s, w->door, &w->peer, w->req, &w->query);
		else
			qs->waiter[kept++] = *w;
	}
	qs->waiters_n = kept;
}

void queries_wake(struct server *s)
{
	if (s->queries->waiters_n)
		waiters_answer(s, true, loop_now(s->loop));
}

static void on_timer(struct loop *loop, struct loop_timer *timer, void *arg)
{
	struct queries *qs = arg;

	waiters_answer(qs->server, false, loop_now(loop));
	if (qs->waiters_n)
		loop_timer_after(loop, timer, 1000);
}

/* ---- backup and verify ------------------------------------------------------------------------ */

static void *work_run(void *arg)
{
	struct work *w = arg;
	const uint64_t one = 1;

	w->code = store_backup(w->store, w->path, &w->check, &w->err);
	if (w->verify)
		(void)unlink(w->path); /* the next verify removes what is left */
	if (write(w->done, &one, sizeof one) != (ssize_t)sizeof one)
		abort(); /* an eventfd takes eight bytes, or our memory is broken */
	return NULL;
}

static void work_answer(struct server *s, struct work *w)
{
	struct view_text v = {.seq = w->check.head.seq};

	if (w->code) {
		log_event(LOG_ERR, w->verify ? "verify failed" : "backup failed", "code=%s text=%s", err_name(w->code),
			  log_quote(w->err.msg));
		view_refuse(s, w->door, &w->peer, w->req, w->type, &w->err);
		return;
	}
	if (w->verify)
		(void)snprintf(v.text, sizeof v.text,
			       "intact: %" PRIu64 " log records, %" PRIu64 " state records, %" PRIu64 " payloads",
			       w->check.records, w->check.states, w->check.blobs);
	else
		(void)snprintf(v.text, sizeof v.text, "%s", w->path);
	memcpy(v.hash, w->check.head.hash, sizeof v.hash);
	memcpy(v.digest, w->check.head.digest, sizeof v.digest);
	log_event(LOG_NOTICE, w->verify ? "state verified" : "backup written", "seq=%" PRIu64 " path=%s",
		  w->check.head.seq, log_quote(w->verify ? "" : w->path));
	view_send(s, w->door, &w->peer, w->req, w->type, &v);
}

bool queries_busy(const struct server *s) { return s->queries->work.running; }

static void work_join(struct work *w)
{
	if (!w->running)
		return;
	(void)pthread_join(w->thread, NULL); /* fails only for a thread that is none */
	w->running = false;
}

static void on_done(struct loop *loop, int fd, uint32_t events, void *arg)
{
	struct server *s = arg;
	uint64_t n;

	(void)loop;
	(void)events;
	if (read(fd, &n, sizeof n) != (ssize_t)sizeof n || !s->queries->work.running)
		return;
	work_join(&s->queries->work);
	work_answer(s, &s->queries->work);
	free(s->queries->work.path);
	s->queries->work.path = NULL;
}

static bool name_ok(const char *name)
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";

	return name[0] && name[0] != '.' && strspn(name, good) == strlen(name);
}

static int work_start(struct server *s, const struct request *r, const struct query *q, struct err *err)
{
	struct work *w = &s->queries->work;
	bool verify = q->type == QUERY_VERIFY;
	char name[TEXT_BYTES], dir[4096];
	size_t n;
	int rc;

	if (w->running) {
		(void)err_set(err, ERR_BUSY, "another backup or verify is running");
		return err_hint(err, "try again when it has ended");
	}
	(void)snprintf(dir, sizeof dir, "%s/backup", s->conf.state_dir);
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return err_set_errno(err, ERR_SYS, "cannot make '%s'", dir);
	if (verify)
		(void)snprintf(name, sizeof name, ".verify");
	else if (q->name[0])
		(void)snprintf(name, sizeof name, "%s", q->name);
	else
		(void)snprintf(name, sizeof name, "seq-%" PRIu64 ".sluis", s->seq);
	if (!verify && !name_ok(name)) {
		(void)err_set(err, ERR_INVAL, "'%s' is no name for a backup", name);
		return err_hint(err, "a plain file name: it is written into %s", dir);
	}
	n = strlen(dir) + strlen(name) + 2;
	w->path = xmalloc(n);
	(void)snprintf(w->path, n, "%s/%s", dir, name);
	if (verify)
		(void)unlink(w->path); /* of a verify that was interrupted */
	w->verify = verify;
	w->store = s->store;
	w->door = r->door;
	w->peer = r->peer;
	w->req = r->req;
	w->type = q->type;
	rc = pthread_create(&w->thread, NULL, work_run, w);
	if (rc) {
		free(w->path);
		w->path = NULL;
		errno = rc;
		return err_set_errno(err, ERR_SYS, "cannot start a thread");
	}
	w->running = true;
	return 0;
}

struct queries *queries_new(struct server *s, struct err *err)
{
	struct queries *qs = xcalloc(1, sizeof *qs);

	qs->server = s;
	qs->timer = (struct loop_timer)LOOP_TIMER_INIT(on_timer, qs);
	qs->work.done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->queries = qs;
	if (qs->work.done < 0) {
		(void)err_set_errno(err, ERR_SYS, "cannot make an eventfd");
		return NULL;
	}
	return loop_add_fd(s->loop, qs->work.done, EPOLLIN, on_done, s, err) ? NULL : qs;
}

void queries_free(struct server *s)
{
	struct queries *qs = s->queries;

	if (!qs)
		return;
	work_join(&qs->work);
	free(qs->work.path);
	loop_timer_cancel(s->loop, &qs->timer);
	if (qs->work.done >= 0) {
		loop_del(s->loop, qs->work.done);
		(void)close(qs->work.done);
	}
	free(qs);
	s->queries = NULL;
}

/* ---- all questions ---------------------------------------------------------------------------- */

static void answer_payload(struct server *s, const struct request *r, const struct query *q)
{
	CLEANUP(buf_done) struct buf data = BUF_INIT;
	struct view_payload v = {0};
	struct err err;

	if (store_blob_get(s->store, q->hash, &data, &err)) {
		view_refuse(s, r->door, &r->peer, r->req, q->type, &err);
		return;
	}
	v.data = (struct bytes){data.data, (uint32_t)data.len};
	view_send(s, r->door, &r->peer, r->req, q->type, &v);
}

void query_answer(struct server *s, const struct request *r)
{
	const struct query *q = r->msg;
	struct err err;
	int rc;

	if (!schema_of_view(q->type))
		rc = err_set(&err, ERR_UNSUPPORTED, "unknown question %u", q->type);
	else
		rc = core_may_query(s->core, r->principal, q, &err);
	if (rc) {
		refusals_note(s, link_door_kind_name(link_door_kind(r->door)),
			      core_principal(s->core, r->principal)->name, rc);
		view_refuse(s, r->door, &r->peer, r->req, q->type, &err);
		return;
	}
	switch (q->type) {
	case QUERY_LOG: log_send(s, r->door, &r->peer, r->req, q); break;
	case QUERY_EVENTS: answer_events(s, r, q); break;
	case QUERY_PAYLOAD: answer_payload(s, r, q); break;
	case QUERY_OUTPUT:
	case QUERY_EXEC:
	case QUERY_SIGNAL: relays_ask(s, r); break;
	case QUERY_BACKUP:
	case QUERY_VERIFY:
		if (work_start(s, r, q, &err))
			view_refuse(s, r->door, &r->peer, r->req, q->type, &err);
		break;
	default: answer_core(s, r, q); break;
	}
}
