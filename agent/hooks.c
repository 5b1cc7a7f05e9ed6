/* hooks.c - the site's programs before and after a unit: started, waited for, told to the core
 *
 * A prolog or epilog is one task of the execution layer, "prolog-ALLOC-PART" or "epilog-ALLOC-PART": this program again as
 * `sluis-agent --run-hooks` (hooks.h), which runs the folder's files in turn. So the loop never waits for one, and one
 * outlives the agent as a task does; its name is what keeps it from being started twice, and its end is kept until the
 * core needs it no more.
 *
 * It runs as the agent's own user, bound to no core and no device. Not as root where the agent is not: sluis-execd starts
 * nothing as root on the agent's word, because an agent that was taken over could then choose a node's root programs, or
 * their environment. What needs root asks a service of the machine for it (sluis-agent(8), PROLOG AND EPILOG).
 */
#include "agent/hooks.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/core/environ.h"
#include "agent/shell.h"
#include "proto/base/ensure.h"
#include "proto/base/failpoint.h"
#include "proto/link/log.h"

enum {
	LEFT_LOOK_MS = 250, /* between looks at what SIGKILL has yet to end */
	LEFT_LOOKS = 40, /* then it has failed; it is looked at all the same, for nothing is released before it is gone */
	LEFT_LATER_MS = 1000, /* between those */
	OUTPUT_READ_BYTES = 262144,
};

static const char *const hook_names[] = {[HOOK_PROLOG] = "prolog", [HOOK_EPILOG] = "epilog"};
static const enum left hook_lefts[] = {[HOOK_PROLOG] = LEFT_PROLOG, [HOOK_EPILOG] = LEFT_EPILOG};

/* One that the core waits for, or of which processes are left. */
struct hook_run {
	struct shell *shell;
	uint64_t alloc;
	uint16_t part;
	enum hook hook;
	bool told;   /* the core knows what it came to, or has not asked */
	bool forget; /* the core has no more use for it */
	int looks;
	struct loop_timer timer;
	struct hook_run *next;
};

static const char *folder_of(const struct shell *s, enum hook hook)
{
	return hook == HOOK_PROLOG ? s->conf.exec.prolog : s->conf.exec.epilog;
}

static void name_of(const struct hook_run *h, char out[EXEC_NAME_BYTES])
{
	(void)snprintf(out, EXEC_NAME_BYTES, "%s-%" PRIu64 "-%u", hook_names[h->hook], h->alloc, (unsigned)h->part);
}

static bool name_parse(const char *name, uint64_t *ret_alloc, uint16_t *ret_part, enum hook *ret_hook)
{
	for (size_t i = 0; i < ARRAY_LEN(hook_names); i++) {
		size_t n = strlen(hook_names[i]);
		int end = 0;

		if (strncmp(name, hook_names[i], n) != 0)
			continue;
		*ret_hook = (enum hook)i;
		return sscanf(name + n, "-%" SCNu64 "-%" SCNu16 "%n", ret_alloc, ret_part, &end) == 2 && !name[n + (size_t)end];
	}
	return false;
}

static struct hook_run *find(struct shell *s, uint64_t alloc, uint16_t part, enum hook hook)
{
	struct hook_run *h = s->hooks;

	while (h && (h->alloc != alloc || h->part != part || h->hook != hook))
		h = h->next;
	return h;
}

static void drop(struct hook_run *h)
{
	struct hook_run **at = &h->shell->hooks;

	while (*at != h)
		at = &(*at)->next;
	*at = h->next;
	loop_timer_cancel(h->shell->loop, &h->timer);
	free(h);
}

/* ---- its end --------------------------------------------------------------------------------------------- */

/* What it came to, once. */
static void tell(struct hook_run *h, bool ok, const char *why)
{
	char text[TEXT_BYTES];

	(void)snprintf(text, sizeof text, "%s %.100s", hook_names[h->hook], why);
	log_event(ok ? LOG_INFO : LOG_ERR, ok ? "hook_done" : "hook_failed", "hook=%s alloc=%" PRIu64 " part=%u error=%s",
		  hook_names[h->hook], h->alloc, (unsigned)h->part, log_quote(ok ? "" : why));
	h->told = true;
	FAILPOINT("agent.hook.ended");
	agent_hooked(h->shell->agent, shell_now(), h->alloc, h->part, h->hook, ok, text);
}

static void answer(struct hook_run *h, bool ok, const char *why)
{
	if (!h->told && !h->forget)
		tell(h, ok, why);
	drop(h);
}

static void log_output(const struct hook_run *h, const char *name)
{
	char *data = xmalloc(OUTPUT_READ_BYTES + 1), *save = NULL;
	struct err err = {0};
	size_t n = 0;

	if (exec_log_read(h->shell->exec, name, EXEC_STDOUT, 0, data, OUTPUT_READ_BYTES, &n, &err) != 0)
		n = 0; /* no file: it printed nothing */
	data[n] = '\0';
	for (char *line = strtok_r(data, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		log_event(LOG_INFO, "hook_output", "hook=%s alloc=%" PRIu64 " text=%s", hook_names[h->hook], h->alloc, log_quote(line));
	free(data);
}

/* What failed, as the runner says in one line. */
static void verdict(const struct hook_run *h, const char *name, const struct exec_status *st, char ret[TEXT_BYTES])
{
	struct err err = {0};
	size_t n = 0;

	if (st->state == EXEC_LOST) {
		(void)snprintf(ret, TEXT_BYTES, "lost its shim");
		return;
	}
	if (st->error[0]) {
		(void)snprintf(ret, TEXT_BYTES, "%.120s", st->error);
		return;
	}
	if (exec_log_read(h->shell->exec, name, EXEC_STDERR, 0, ret, TEXT_BYTES - 1, &n, &err) != 0)
		n = 0;
	ret[n] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
	if (!ret[0] && st->exit_signal)
		(void)snprintf(ret, TEXT_BYTES, "was ended by signal %d", st->exit_signal);
	else if (!ret[0])
		(void)snprintf(ret, TEXT_BYTES, "exited with %d", st->exit_code);
}

/* Of a unit that is gone; or an epilog, where there is none any more. */
static bool unwanted(const struct shell *s, uint64_t alloc, uint16_t part, enum hook hook)
{
	return !agent_unit(s->agent, alloc, part) || (hook == HOOK_EPILOG && !folder_of(s, hook));
}

/* It has ended, is out of sight, or is to end. What is left of it is ended, and looked at until it is gone. */
static void has_ended(struct hook_run *h, const char *name, const struct exec_status *st)
{
	bool useless = h->forget || unwanted(h->shell, h->alloc, h->part, h->hook);
	char why[TEXT_BYTES];

	agent_left(h->shell->agent, shell_now(), h->alloc, h->part, hook_lefts[h->hook], !st->empty);
	if (!st->empty) {
		shell_end(h->shell, name);
		if (!h->told && !h->forget && h->looks++ == LEFT_LOOKS)
			tell(h, false, "left processes that SIGKILL does not end");
		loop_timer_after(h->shell->loop, &h->timer, h->told ? LEFT_LATER_MS : LEFT_LOOK_MS);
		return;
	}
	if (h->told || useless) {
		if (useless)
			shell_release(h->shell, name);
		drop(h);
		return;
	}
	log_output(h, name);
	if (st->state == EXEC_EXITED && !st->exit_code && !st->exit_signal) {
		answer(h, true, "");
		return;
	}
	verdict(h, name, st, why);
	answer(h, false, why);
}

static void look(struct hook_run *h)
{
	char name[EXEC_NAME_BYTES];
	struct exec_status st;
	struct err err = {0};
	bool ours;

	name_of(h, name);
	if (exec_status(h->shell->exec, name, &st, &err) != 0) {
		answer(h, false, err.msg);
		return;
	}
	ours = hook_changed(h->shell, name, &st);
	ENSURE(ours);
}

static void look_again(struct loop *loop, struct loop_timer *timer, void *arg)
{
	(void)loop;
	(void)timer;
	look(arg);
}

static struct hook_run *find_or_make(struct shell *s, uint64_t alloc, uint16_t part, enum hook hook)
{
	struct hook_run *h = find(s, alloc, part, hook);

	if (h)
		return h;
	h = xcalloc(1, sizeof *h);
	*h = (struct hook_run){.shell = s, .alloc = alloc, .part = part, .hook = hook, .timer = LOOP_TIMER_INIT(look_again, h),
			       .next = s->hooks};
	s->hooks = h;
	return h;
}

bool hook_changed(struct shell *s, const char *name, const struct exec_status *st)
{
	struct hook_run *h;
	uint64_t alloc;
	uint16_t part;
	enum hook hook;
	bool useless, over;

	if (!name_parse(name, &alloc, &part, &hook))
		return false;
	h = find(s, alloc, part, hook);
	if (h && st->state == EXEC_NONE) { /* its files were removed by somebody */
		agent_left(s->agent, shell_now(), alloc, part, hook_lefts[hook], false);
		answer(h, false, "is not known any more");
		return true;
	}
	useless = st->state != EXEC_NONE && unwanted(s, alloc, part, hook);
	over = st->state == EXEC_EXITED || st->state == EXEC_LOST || useless || (h && h->forget);
	if (!h && over && (!st->empty || (useless && s->hooks_open))) {
		h = find_or_make(s, alloc, part, hook);
		h->told = true;
	}
	if (h && over)
		has_ended(h, name, st);
	return true;
}

/* ---- its start ------------------------------------------------------------------------------------------- */

static int start(struct hook_run *h, struct err *err)
{
	struct shell *s = h->shell;
	CLEANUP(buf_done) struct buf folder = BUF_INIT, limit = BUF_INIT;
	const struct unit *u = agent_unit(s->agent, h->alloc, h->part);
	char name[EXEC_NAME_BYTES];
	struct confine confine;
	struct arena arena = {0};
	struct exec_task t;
	int code;

	if (!u)
		return err_set(err, ERR_NOTFOUND, "its unit is gone");
	name_of(h, name);
	/* As far as it is known: that the submitter has no account here, or a device no nodes, is for the start to say. */
	(void)!confine_unit(s, u, &arena, &confine, err);
	buf_addf(&folder, "--run-hooks=%s", folder_of(s, h->hook));
	buf_addf(&limit, "--limit-ms=%" PRId64, s->conf.exec.prolog_timeout_ms);
	t = (struct exec_task){
		.name = name,
		.argv = (const char *const[]){s->self, buf_cstr(&folder), buf_cstr(&limit), NULL},
		.env = environ_build(&(struct environ_in){
			.mode = ENVIRON_HOOK,
			.unit = u,
			.hook = hook_names[h->hook],
			.start_unix_ms = wall_ms(wall_now()),
			.until_unix_ms = agent_unit_until(s->agent, u->alloc, u->part),
			.cluster = s->cluster,
			.node = s->node,
			.address = s->address,
			.cpuset = confine.cpus,
			.numa = node_numa(s, u->cores, &arena),
			.home = s->home,
			.uid = (uint32_t)(confine.account ? confine.uid : geteuid()),
			.nobody = s->run_as_user && !confine.account,
		}, &arena),
		.kill_rest = true,
	};
	code = exec_start(s->exec, &t, err);
	arena_done(&arena);
	return code;
}

void hook_start(struct shell *s, const struct action *act)
{
	struct hook_run *h = find_or_make(s, act->alloc, act->part, act->hook);
	char name[EXEC_NAME_BYTES];
	struct exec_status st;
	struct err err = {0};
	bool again, begun;

	h->told = h->forget = false;
	h->looks = 0;
	name_of(h, name);
	if (exec_status(s->exec, name, &st, &err) != 0) {
		answer(h, false, err.msg);
		return;
	}
	again = act->value == HOOK_ANEW && st.empty;
	if (st.state != EXEC_NONE && (again || st.state == EXEC_UNSTARTED || st.lost == EXEC_LOST_REBOOT)) {
		shell_release(s, name); /* what an earlier try or boot left */
		st.state = EXEC_NONE;
	}
	begun = st.state != EXEC_NONE;
	if (!begun && (act->value == HOOK_WAIT || !folder_of(s, h->hook))) {
		answer(h, true, "");
		return;
	}
	if (begun) {
		if (st.state == EXEC_EXITED || st.state == EXEC_LOST)
			has_ended(h, name, &st);
		return;
	}
	log_event(LOG_INFO, "hook", "hook=%s alloc=%" PRIu64 " part=%u", hook_names[h->hook], h->alloc, (unsigned)h->part);
	if (start(h, &err) != 0)
		answer(h, false, err.msg);
}

void hook_forget(struct shell *s, const struct action *act)
{
	struct hook_run *h = find_or_make(s, act->alloc, act->part, act->hook);
	char name[EXEC_NAME_BYTES];
	struct exec_status st;
	struct err err = {0};

	h->forget = true;
	name_of(h, name);
	if (exec_status(s->exec, name, &st, &err) != 0 || st.state == EXEC_NONE)
		drop(h);
	else
		has_ended(h, name, &st);
}

int hooks_check(struct shell *s, struct err *err)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	int code = 0;

	self[n > 0 ? n : 0] = '\0';
	s->self = xstrdup(self);
	for (size_t i = 0; i < ARRAY_LEN(hook_names) && !code; i++) {
		const char *folder = folder_of(s, (enum hook)i);

		if (!folder)
			continue;
		code = hooks_folder_check(folder, err);
		if (code)
			(void)err_prefix(err, "exec.%s", hook_names[i]);
	}
	return code;
}

/* An epilog that has ended, and that nobody will ask for. */
static void look_left(void *ctx, const char *name)
{
	struct shell *s = ctx;
	struct exec_status st;
	struct err err = {0};
	uint64_t alloc;
	uint16_t part;
	enum hook hook;

	if (name_parse(name, &alloc, &part, &hook) && hook == HOOK_EPILOG && exec_status(s->exec, name, &st, &err) == 0 &&
	    (st.state == EXEC_EXITED || st.state == EXEC_LOST))
		(void)!hook_changed(s, name, &st);
}

void hooks_open(struct shell *s)
{
	s->hooks_open = true;
	if (!folder_of(s, HOOK_EPILOG))
		exec_list(s->exec, look_left, s);
}

void hooks_done(struct shell *s)
{
	while (s->hooks) /* they run on, and the next agent finds them */
		drop(s->hooks);
}
