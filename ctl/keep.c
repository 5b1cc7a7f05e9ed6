/* keep.c - lease keep and lease renew: the holder's side, by proto/client/holder.h
 *
 *     look ─▶ holder says when ─▶ one command renews all that are due ─▶ holder judges the answers ─▶ line,
 *       ▲                                                                     state file, on-change, systemd
 *       └── fence moved, or somebody else renewed ◀───────────────────────────┘
 *
 * What holds true:
 *  - the stamp of a renewal is taken right before it is sent, and the deadline counts from it
 *  - a daemon that does not answer ends nothing: trying goes on, also past the deadline, because the
 *    daemon adds the time it was away to every lease; what ends is what we tell others (the state file)
 *  - status 9 only when the daemon has said of every lease that it is gone
 */
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl/cmd.h"
#include "proto/base/ensure.h"
#include "proto/client/holder.h"
#include "proto/link/notify.h"

enum {
	KEEP_MAX = 1024,       /* leases in one process */
	TOGETHER_MS = 1000,    /* who is due so soon is renewed along */
	ASK_MS_MAX = 5000,     /* one try; the next is the holder's back-off away */
	LOOK_AGAIN_MS = 1000,
	TURN_MS_MAX = 30000,
};

struct kept {
	struct holder h;
	struct lease_view view;   /* of the last look; its lists are not kept */
	struct replica_view *replicas; /* own copy */
	uint32_t replicas_n;
	bool looked;   /* h is started */
	bool told_away, told_gone, told_recall;
	char seen[TEXT_BYTES]; /* state, fence and size the hook was told */
	bool done;     /* --once: renewed */
	int64_t look_at_ms; /* not before, on the monotonic clock */
};

struct keep {
	struct ctl *c;
	struct kept *leases;
	size_t n;
	const char *state_file, *on_change;
	bool once, exit_on_recall, ready, away;
	bool goes_on; /* tries on while sluisd is away */
};

static struct kept *kept_of(struct keep *k, uint64_t id)
{
	for (size_t i = 0; i < k->n; i++)
		if (k->leases[i].view.lease.id == id)
			return &k->leases[i];
	return NULL;
}

/* ---- telling --------------------------------------------------------------------------------- */

static json_t *state_of(struct kept *l)
{
	json_t *o = json_object(), *devices = json_array(), *notices = json_array();
	bool may = holder_may_act(&l->h, boot_now(), wall_now());
	int64_t left_ms = may ? boot_ms(l->h.deadline) - boot_ms(boot_now()) : 0;

	for (uint32_t i = 0; i < l->replicas_n; i++) {
		const struct replica_view *r = &l->replicas[i];
		json_t *d = json_object();

		json_object_set_new(d, "node", json_string(r->node));
		json_object_set_new(d, "address", json_string(r->address));
		json_object_set_new(d, "port", json_integer(r->port));
		json_object_set_new(d, "devices", json_integer(r->devices));
		json_object_set_new(d, "healthy", json_boolean(r->healthy));
		json_array_append_new(devices, d);
	}
	if (l->h.last.recall_in_ms > 0)
		json_array_append_new(notices, json_pack("{s:s, s:I}", "type", "recall", "in_ms",
							 (json_int_t)l->h.last.recall_in_ms));
	json_object_set_new(o, "lease", json_integer((json_int_t)l->view.lease.id));
	json_object_set_new(o, "state", json_string(l->h.state == HOLDER_GONE ? "gone" : lease_state_name(l->h.last.state)));
	json_object_set_new(o, "holder", json_string(holder_state_name(l->h.state)));
	json_object_set_new(o, "fence", json_integer((json_int_t)l->h.fence));
	json_object_set_new(o, "units", json_integer(l->h.last.units));
	json_object_set_new(o, "deadline_boottime_ms", may ? json_integer(boot_ms(l->h.deadline)) : json_null());
	json_object_set_new(o, "deadline_unix", may ? json_integer((wall_ms(wall_now()) + left_ms) / 1000) : json_null());
	json_object_set_new(o, "devices", devices);
	json_object_set_new(o, "notices", notices);
	return o;
}

static void write_state(struct keep *k)
{
	json_t *root;
	struct err err = {0};
	char *text;

	if (!k->state_file)
		return;
	if (k->n == 1) {
		root = state_of(&k->leases[0]);
	} else {
		json_t *list = json_array();

		for (size_t i = 0; i < k->n; i++)
			json_array_append_new(list, state_of(&k->leases[i]));
		root = json_object();
		json_object_set_new(root, "leases", list);
	}
	text = json_dumps(root, JSON_COMPACT | JSON_PRESERVE_ORDER);
	json_decref(root);
	if (text && write_whole(k->state_file, text, strlen(text), 0644, &err))
		fprintf(k->c->errs, "sluisctl: %s\n", err.msg); /* keeping the lease matters more than the file */
	free(text);
}

/* The hook runs once per change and is waited for, so that two never run at once. */
static void run_hook(struct keep *k, const struct kept *l, const char *state)
{
	struct err err = {0};
	int status = 0;
	pid_t pid;

	if (!k->on_change)
		return;
	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		(void)err_set_errno(&err, ERR_SYS, "cannot start the --on-change command");
		fprintf(k->c->errs, "sluisctl: %s\n", err.msg);
		return;
	}
	if (pid == 0) {
		char text[32];

		snprintf(text, sizeof text, "%" PRIu64, l->view.lease.id);
		(void)setenv("SLUIS_LEASE", text, 1); /* without memory the hook has no variables */
		snprintf(text, sizeof text, "%u", l->h.last.units);
		(void)setenv("SLUIS_LEASE_UNITS", text, 1);
		snprintf(text, sizeof text, "%" PRIu64, l->h.fence);
		(void)setenv("SLUIS_LEASE_FENCE", text, 1);
		(void)setenv("SLUIS_LEASE_STATE", state, 1);
		execl("/bin/sh", "sh", "-c", k->on_change, (char *)NULL);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0 && !stop_signal)
		;
	if (status)
		fprintf(k->c->errs, "sluisctl: the --on-change command ended with status %d\n",
			WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static void tell_change(struct keep *k, struct kept *l)
{
	const char *state = l->h.state == HOLDER_GONE ? "gone" : lease_state_name(l->h.last.state);
	char now[TEXT_BYTES];

	snprintf(now, sizeof now, "%s %" PRIu64 " %u %u", state, l->h.fence, l->h.last.units, l->h.last.units_target);
	if (!strcmp(now, l->seen))
		return;
	memcpy(l->seen, now, sizeof now);
	run_hook(k, l, state);
}

static void tell_manager(struct keep *k)
{
	size_t held = 0, gone = 0;
	char text[160];

	for (size_t i = 0; i < k->n; i++) {
		held += holder_may_act(&k->leases[i].h, boot_now(), wall_now());
		gone += k->leases[i].h.state == HOLDER_GONE;
	}
	if (held && !k->ready)
		k->ready = true;
	snprintf(text, sizeof text, "%sWATCHDOG=1\nSTATUS=%zu of %zu %s held%s%s", k->ready ? "READY=1\n" : "", held, k->n,
		 text_plural(k->n, "lease", "leases"), gone ? text_f(k->c, ", %zu gone", gone) : "",
		 k->away ? "; sluisd does not answer" : "");
	if (notify_send(text, NULL) && k->c->verbose)
		fputs("sluisctl: the service manager cannot be told\n", k->c->errs);
}

static void print_renewed(struct keep *k, const struct kept *l)
{
	struct ctl *c = k->c;
	const struct renew_result *r = &l->h.last;

	if (c->json) {
		json_t *item = json_of(&schema_renew_result, r);

		json_object_set_new(item, "renew_seq", json_integer((json_int_t)l->h.seq));
		(void)json_item(c, "lease_renewed", 0, item);
		fflush(c->out);
		return;
	}
	if (c->quiet)
		return;
	if (!r->ttl_ms)
		fprintf(c->out, "lease %" PRIu64 " %s, nothing to renew yet, again in %s\n", l->view.lease.id,
			lease_state_name(r->state), text_age(c, r->renew_after_ms));
	else
		fprintf(c->out, "lease %" PRIu64 " renewed seq %" PRIu64 ", ttl %s, next in %s%s%s\n", l->view.lease.id, l->h.seq,
			text_age(c, r->ttl_ms), text_age(c, r->renew_after_ms), r->term_left_ms ? ", term ends " : "",
			r->term_left_ms ? text_date(c, wall_ms(wall_now()) + r->term_left_ms) : "");
	fflush(c->out);
}

static void print_recall(struct keep *k, struct kept *l)
{
	const struct renew_result *r = &l->h.last;

	if (r->recall_in_ms < 0 || l->told_recall)
		return;
	l->told_recall = true;
	fprintf(k->c->out, "lease %" PRIu64 " is recalled: %u of %u go back by %s; stop using them\n", l->view.lease.id,
		r->units, r->units_target, text_time(k->c, wall_ms(wall_now()) + r->recall_in_ms));
	fflush(k->c->out);
}

static void print_gone(struct keep *k, struct kept *l)
{
	if (l->told_gone)
		return;
	l->told_gone = true;
	if (l->h.code == ERR_NOTFOUND)
		fprintf(k->c->out, "lease %" PRIu64 " is not known any more\n", l->view.lease.id);
	else
		fprintf(k->c->out, "lease %" PRIu64 " has ended (%s%s%s)\n", l->view.lease.id, lease_state_name(l->h.last.state),
			l->view.lease.end_reason[0] ? ": " : "", text_safe(k->c, l->view.lease.end_reason));
	fflush(k->c->out);
}

/* ---- asking ---------------------------------------------------------------------------------- */

/* A daemon that is away is told of once; so is its return. */
static void note_away(struct keep *k, int code, const struct err *err)
{
	bool away = code == ERR_UNREACHABLE || code == ERR_TIMEOUT || code == ERR_AGAIN || code == ERR_BUSY;

	if (!k->goes_on) /* whoever asks once is told by the fault */
		return;
	if (away && !k->away)
		fprintf(k->c->errs, "sluisctl: %s; trying on\n", err->msg);
	if (!away && k->away && !code)
		fprintf(k->c->errs, "sluisctl: sluisd answers again\n");
	k->away = away || (k->away && code);
}

static int ask_ms(const struct keep *k)
{
	int ms = k->c->timeout_given && k->c->timeout_ms < ASK_MS_MAX ? k->c->timeout_ms : ASK_MS_MAX;

	for (size_t i = 0; i < k->n; i++)
		if (k->leases[i].h.ttl_ms > 0 && k->leases[i].h.ttl_ms / 4 < ms)
			ms = (int)(k->leases[i].h.ttl_ms / 4);
	return ms < 500 ? 500 : ms;
}

/* Look at one lease: where its renewals stand and what it holds. ERR_NOTFOUND and others as they come. */
static int look(struct keep *k, struct kept *l, struct err *err)
{
	struct query q = {.type = QUERY_LEASES, .id = l->view.lease.id, .all = true};
	struct view_leases v = {0};
	int r = ask_err(k->c, &q, &v, ask_ms(k), err);

	note_away(k, r, err);
	if (r)
		return r;
	if (!v.items_n) {
		(void)err_set(err, ERR_NOTFOUND, "there is no lease %" PRIu64 " that you may see", q.id);
		return err_hint(err, "sluisctl lease list --all; is this the key of its provider?");
	}
	l->view = v.items[0];
	free(l->replicas);
	l->replicas_n = l->view.replicas_n;
	l->replicas = xmalloc(l->replicas_n * sizeof *l->replicas + 1);
	if (l->replicas_n)
		memcpy(l->replicas, l->view.replicas, l->replicas_n * sizeof *l->replicas);
	l->view.replicas = NULL;
	l->view.lease.spec.requires = NULL;
	if (!l->looked) {
		holder_init(&l->h, q.id, l->view.lease.fence, l->view.renew_seq,
			    (uint64_t)wall_now().ns ^ (q.id * UINT64_C(0x9e3779b97f4a7c15)) ^ (uint64_t)getpid());
		l->h.last.state = l->view.lease.state;
		l->h.last.recall_in_ms = -1;
		l->looked = true;
	} else if (l->h.look) {
		holder_looked(&l->h, boot_now(), l->view.lease.fence, l->view.renew_seq);
	}
	return 0;
}

/* Renew these together; the holders judge the answers. */
static int renew(struct keep *k, struct kept **due, size_t n, struct err *err)
{
	struct lease_renew_item *items = arena_alloc(&k->c->arena, n * sizeof *items);
	struct cmd_lease_renew body = {.items_n = (uint32_t)n, .items = items};
	struct client_reply reply = {0};
	int r;

	for (size_t i = 0; i < n; i++)
		holder_send(&due[i]->h, boot_now(), &items[i]);
	k->c->have_idem = false; /* each renewal is a command of its own */
	r = tell_err(k->c, CMD_LEASE_RENEW, &body, (struct bytes){0}, ask_ms(k), &reply, err);
	note_away(k, r, err);
	if (r)
		return r;
	for (uint32_t i = 0; i < reply.result.renewals_n; i++) {
		const struct renew_result *res = &reply.result.renewals[i];
		struct kept *l = kept_of(k, res->lease);
		uint64_t before;

		if (!l)
			continue;
		before = l->h.renewals;
		for (size_t m = 0; m < n; m++)
			if (items[m].lease == res->lease)
				holder_reply(&l->h, boot_now(), wall_now(), items[m].renew_seq, res);
		if (l->h.renewals != before || (!res->code && !res->ttl_ms))
			print_renewed(k, l);
		l->done |= l->h.renewals != before;
		print_recall(k, l);
		if (res->code && res->code != ERR_GONE && res->code != ERR_NOTFOUND && res->code != ERR_STALE &&
		    res->code != ERR_STALE_FENCE)
			return err_set(err, res->code, "lease %" PRIu64 " cannot be renewed: %s", res->lease,
				       err_text(res->code));
	}
	return 0;
}

/* ---- the loop -------------------------------------------------------------------------------- */

/* What has to be done now; *ret_wait_ms until the next time. */
static size_t collect(struct keep *k, struct kept **due, int64_t *ret_wait_ms)
{
	struct boot now = boot_now(), soon = {now.ns + TOGETHER_MS * NS_PER_MS};
	size_t n = 0;
	bool any = false;

	*ret_wait_ms = TURN_MS_MAX;
	for (size_t i = 0; i < k->n; i++) {
		struct kept *l = &k->leases[i];
		struct boot when;

		switch (l->looked ? holder_step(&l->h, now, wall_now(), &when) : HOLDER_LOOK) {
		case HOLDER_STOP: break;
		case HOLDER_RENEW:
			due[n++] = l;
			any = true;
			break;
		case HOLDER_LOOK: {
			struct err err = {0};

			if (l->look_at_ms <= mono_ms(mono_now())) {
				l->look_at_ms = mono_ms(mono_now()) + LOOK_AGAIN_MS;
				(void)look(k, l, &err); /* away: looked at again; refused: the renewal says so */
			}
			*ret_wait_ms = l->looked && !l->h.look ? 0 : *ret_wait_ms < LOOK_AGAIN_MS ? *ret_wait_ms : LOOK_AGAIN_MS;
			break;
		}
		case HOLDER_WAIT:
			if (l->h.state == HOLDER_HELD && !l->h.look && l->h.next.ns <= soon.ns)
				due[n++] = l;
			if ((when.ns - now.ns) / NS_PER_MS + 1 < *ret_wait_ms)
				*ret_wait_ms = (when.ns - now.ns) / NS_PER_MS + 1;
			break;
		}
	}
	return any ? n : 0;
}

static bool all_gone(const struct keep *k)
{
	for (size_t i = 0; i < k->n; i++)
		if (!k->leases[i].looked || k->leases[i].h.state != HOLDER_GONE)
			return false;
	return true;
}

static bool all_done(const struct keep *k)
{
	for (size_t i = 0; i < k->n; i++)
		if (!k->leases[i].done && k->leases[i].h.state != HOLDER_GONE)
			return false;
	return true;
}

static bool recalled(const struct keep *k)
{
	for (size_t i = 0; i < k->n; i++)
		if (k->leases[i].told_recall && k->leases[i].h.state != HOLDER_GONE)
			return true;
	return false;
}

static int keep_turn(struct keep *k, struct kept **due, int64_t *ret_wait_ms)
{
	struct err err = {0};
	size_t n = collect(k, due, ret_wait_ms);
	int r = n ? renew(k, due, n, &err) : 0;

	if (n)
		*ret_wait_ms = 0; /* the holders know what is next */
	/* A key that is refused, or a lease that is somebody else's, does not get better by trying. */
	if (r == ERR_DENIED || r == ERR_REVOKED || r == ERR_VERSION || r == ERR_UNSUPPORTED)
		return fault(k->c, &err, "cannot keep");
	for (size_t i = 0; i < k->n; i++) {
		struct kept *l = &k->leases[i];

		if (l->looked && l->h.state == HOLDER_GONE && !l->told_gone) {
			(void)look(k, l, &err); /* for the reason only; the lease is gone either way */
			l->h.state = HOLDER_GONE;
			print_gone(k, l);
		}
		/* More or fewer devices than were seen: which ones? */
		if (l->looked && l->h.state != HOLDER_GONE && l->h.renewals && l->h.last.units != l->view.units_here &&
		    l->look_at_ms <= mono_ms(mono_now())) {
			l->look_at_ms = mono_ms(mono_now()) + LOOK_AGAIN_MS;
			(void)look(k, l, &err); /* away: seen with the next renewal */
		}
		if (l->looked && (l->h.renewals || l->h.state == HOLDER_GONE))
			tell_change(k, l);
	}
	return 0;
}

static int keep_loop(struct keep *k)
{
	struct kept *due[KEEP_MAX];
	int64_t watchdog = notify_watchdog_ms() / 2;

	while (!stop_signal) {
		struct arena scratch = scratch_begin(k->c);
		int64_t wait_ms = 0;
		int r = keep_turn(k, due, &wait_ms);

		write_state(k);
		tell_manager(k);
		scratch_end(k->c, scratch);
		if (r)
			return r;
		if (all_gone(k))
			return EXIT_GONE;
		if (k->exit_on_recall && recalled(k))
			return EXIT_RECALLED;
		if (k->once && all_done(k))
			return 0;
		if (watchdog && wait_ms > watchdog)
			wait_ms = watchdog;
		sleep_ms(wait_ms);
	}
	if (notify_send("STOPPING=1", NULL) && k->c->verbose)
		fputs("sluisctl: the service manager cannot be told\n", k->c->errs);
	return stop_signal == SIGTERM ? 0 : EXIT_INTERRUPTED;
}

static int keep_open(struct ctl *c, const struct call *call, struct keep *k)
{
	int r = conn_resolve(c);

	if (r)
		return r;
	if (call->args_n > KEEP_MAX) {
		try_next(c, "several processes of %d leases each", KEEP_MAX);
		return usage_fault(c, "more than %d leases", KEEP_MAX);
	}
	k->c = c;
	k->leases = xcalloc(call->args_n, sizeof *k->leases);
	k->n = call->args_n;
	for (size_t i = 0; i < k->n; i++) {
		struct err err = {0};
		uint64_t id = 0;

		if (lease_name_parse(call->args[i], &id, &err)) {
			(void)fault(c, &err, NULL);
			return EXIT_USAGE;
		}
		k->leases[i].view.lease.id = id;
	}
	return 0;
}

/* The first look decides whether there is anything to keep; a daemon that is away is waited for. */
static int first_look(struct keep *k)
{
	for (size_t i = 0; i < k->n; i++) {
		struct err err = {0};
		int r = look(k, &k->leases[i], &err);

		if (r == ERR_NOTFOUND || r == ERR_DENIED || r == ERR_INVAL || r == ERR_FORMAT || r == ERR_REVOKED)
			return fault(k->c, &err, "cannot keep lease %" PRIu64, k->leases[i].view.lease.id);
	}
	return 0;
}

static void keep_done(struct keep *k)
{
	for (size_t i = 0; i < k->n; i++)
		free(k->leases[i].replicas);
	free(k->leases);
}

int cmd_lease_keep(struct ctl *c, const struct call *call)
{
	struct keep k = {.state_file = call_get(call, "state-file"), .on_change = call_get(call, "on-change"),
			 .once = call_has(call, "once"), .goes_on = true, .exit_on_recall = call_has(call, "exit-on-recall")};
	int r = keep_open(c, call, &k);

	stop_catch();
	if (!r)
		r = first_look(&k);
	if (!r)
		r = keep_loop(&k);
	keep_done(&k);
	return r;
}

int cmd_lease_renew(struct ctl *c, const struct call *call)
{
	struct keep k = {.once = true};
	struct kept *due[KEEP_MAX];
	struct err err = {0};
	int64_t wait_ms;
	size_t n;
	int r = keep_open(c, call, &k);

	for (size_t i = 0; !r && i < k.n; i++)
		if (look(&k, &k.leases[i], &err))
			r = fault(c, &err, "cannot renew lease %" PRIu64, k.leases[i].view.lease.id);
	if (!r) {
		n = collect(&k, due, &wait_ms);
		if (n && renew(&k, due, n, &err))
			r = fault(c, &err, "cannot renew");
	}
	for (size_t i = 0; !r && i < k.n; i++)
		if (k.leases[i].h.state == HOLDER_GONE) {
			const struct lease_view *v = &k.leases[i].view;

			(void)err_set(&err, ERR_GONE, "lease %" PRIu64 " is gone: %s", v->lease.id,
				      v->lease.end_reason[0] ? v->lease.end_reason : "it has ended");
			fact(c, "facts", "an ended lease is never brought back");
			try_next(c, "sluisctl lease request --like %" PRIu64, v->lease.id);
			(void)fault(c, &err, NULL);
			r = EXIT_GONE;
		}
	keep_done(&k);
	return r;
}
