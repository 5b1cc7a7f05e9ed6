/* launch.c - from a payload to running tasks: files, environment, binding, ports
 *
 *   state_dir/payloads/HEX        payloads of units that are here, named by their SHA-256
 *   state_dir/hosts/N             the host file of a unit alone on this node with N slots, for all of them
 *   state_dir/units/aN-pM-t3.out  output of the task of rank 3 (.err too): a file, or a link to where `-o` sends it
 *                  aN-pM-x7.out   of a command inside the unit
 *   /tmp/sluis-TAG-aN-pM-SALT/    (exec.scratch) TMPDIR, made and removed by the unit's shims, for its user alone; .script, and
 *                                 .hostfile of a gang. TAG keeps agents on one machine apart
 *
 * Output stays when the unit is released, so that it can be read; launch_sweep removes it later. Few files and no
 * folders: making and removing them is most of what a quick job costs.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/core/environ.h"
#include "agent/exec/remove.h"
#include "agent/shell.h"
#include "proto/base/ensure.h"
#include "proto/base/failpoint.h"
#include "proto/base/sha256.h"
#include "proto/link/log.h"

enum { OUTPUT_KEPT_S = 7 * 86400, PAYS_IDLE_MAX = 16, PATH_BYTES = 4096 + 256 };

/* ---- payloads ---------------------------------------------------------------------------------------- */

static void payload_path(const struct shell *s, const uint8_t hash[32], struct buf *out)
{
	buf_addf(out, "%s/", s->payload_dir);
	for (int i = 0; i < 32; i++)
		buf_addf(out, "%02x", hash[i]);
}

static struct pay *pay_find(struct shell *s, const uint8_t hash[32])
{
	struct pay *p = s->pays;

	while (p && memcmp(p->hash, hash, 32) != 0)
		p = p->next;
	return p;
}

/* Take the bytes for what they are called. */
static int pay_take(struct pay *p, const void *data, size_t len, struct err *err)
{
	uint8_t digest[SHA256_BYTES];
	struct sha256 sha;
	int code;

	sha256_init(&sha);
	sha256_add(&sha, data, len);
	sha256_final(&sha, digest);
	if (memcmp(digest, p->hash, sizeof digest) != 0)
		return err_set(err, ERR_CORRUPT, "the payload is not what its hash says");
	code = schema_decode(&schema_payload, data, len, &p->payload, &p->arena, err);
	p->here = code == 0;
	return code;
}

static int write_file(const char *path, const void *data, size_t len, mode_t mode, struct err *err)
{
	CLEANUP(buf_done) struct buf fresh = BUF_INIT;
	const uint8_t *at = data;
	int fd;

	buf_addf(&fresh, "%s.new", path);
	fd = open(buf_cstr(&fresh), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return err_set_errno(err, ERR_IO, "cannot write '%.160s'", path);
	while (len > 0) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		at += n;
		len -= (size_t)n;
	}
	if (fchmod(fd, mode) != 0) /* whatever our umask */
		len = 1;
	FAILPOINT("agent.file.before_rename");
	if (close(fd) != 0 || len > 0 || rename(buf_cstr(&fresh), path) != 0) {
		int code = err_set_errno(err, errno == ENOSPC ? ERR_NOSPACE : ERR_IO, "cannot write '%.160s'", path);

		(void)unlink(buf_cstr(&fresh)); /* ours */
		return code;
	}
	return 0;
}

static void pay_ask(struct shell *s, struct pay *p)
{
	struct msg_payload_get get;

	memcpy(get.hash, p->hash, sizeof get.hash);
	p->asked = true;
	shell_send(s, MSG_PAYLOAD_GET, 0, &get);
}

/* One that an earlier agent kept, or NULL. */
static struct pay *pay_load(struct shell *s, const uint8_t hash[32])
{
	CLEANUP(buf_done) struct buf path = BUF_INIT, data = BUF_INIT;
	struct pay *p;
	struct err err = {0};
	size_t n = 0;

	payload_path(s, hash, &path);
	while (exec_file_read(buf_cstr(&path), data.len, buf_reserve(&data, 65536), 65536, &n, &err) == 0 && n > 0 &&
	       data.len <= PAYLOAD_BYTES_MAX)
		data.len += n;
	if (!data.len)
		return NULL;
	p = xcalloc(1, sizeof *p);
	memcpy(p->hash, hash, 32);
	if (pay_take(p, data.data, data.len, &err) != 0) {
		log_event(LOG_WARNING, "payload_damaged", "path=%s error=%s", log_quote(buf_cstr(&path)), log_quote(err.msg));
		(void)unlink(buf_cstr(&path)); /* sluisd has another copy */
		arena_done(&p->arena);
		free(p);
		return NULL;
	}
	p->next = s->pays;
	s->pays = p;
	return p;
}

struct pay *launch_payload(struct shell *s, const uint8_t hash[32])
{
	struct pay *p = pay_find(s, hash);

	if (!p)
		p = pay_load(s, hash);
	return p && p->here ? p : NULL;
}

void launch_fetch(struct shell *s, const uint8_t hash[32])
{
	struct pay *p = pay_find(s, hash);

	if (!p)
		p = pay_load(s, hash);
	if (!p) {
		p = xcalloc(1, sizeof *p);
		memcpy(p->hash, hash, 32);
		p->next = s->pays;
		s->pays = p;
	}
	p->idle = 0;
	if (p->here)
		agent_payload(s->agent, shell_now(), hash, &p->payload, NULL);
	else if (!p->asked)
		pay_ask(s, p);
}

void launch_fetch_again(struct shell *s)
{
	for (struct pay *p = s->pays; p; p = p->next)
		if (!p->here)
			pay_ask(s, p);
}

void launch_payload_came(struct shell *s, const struct msg_payload *m)
{
	CLEANUP(buf_done) struct buf path = BUF_INIT;
	struct pay *p = pay_find(s, m->hash);
	char text[TEXT_BYTES];
	struct err err = {0};
	int code = m->code;

	if (!p || p->here)
		return;
	p->asked = false;
	if (code)
		(void)err_set(&err, code, "sluisd does not give the payload: %s", err_text(code));
	else
		code = pay_take(p, m->data.data, m->data.len, &err);
	if (code) {
		log_event(LOG_WARNING, "payload_refused", "error=%s", log_quote(err.msg));
		(void)snprintf(text, sizeof text, "%.120s", err.msg);
		agent_payload(s->agent, shell_now(), m->hash, NULL, text);
		return;
	}
	payload_path(s, m->hash, &path);
	if (write_file(buf_cstr(&path), m->data.data, m->data.len, 0600, &err) != 0)
		log_event(LOG_WARNING, "payload_not_kept", "error=%s", log_quote(err.msg)); /* asked for again if need be */
	agent_payload(s->agent, shell_now(), m->hash, &p->payload, NULL);
}

static void pay_drop(struct shell *s, struct pay **at)
{
	CLEANUP(buf_done) struct buf path = BUF_INIT;
	struct pay *gone = *at;

	payload_path(s, gone->hash, &path);
	(void)unlink(buf_cstr(&path)); /* was perhaps never kept */
	*at = gone->next;
	arena_done(&gone->arena);
	free(gone);
}

/* The next element of an array needs it again in a moment: only the longest unneeded ones go. */
void launch_forget(struct shell *s, const uint8_t hash[32])
{
	struct pay *p = pay_find(s, hash), **oldest = NULL;
	size_t idle = 0;

	if (!p || agent_payload_used(s->agent, hash))
		return; /* wanted again meanwhile */
	p->idle = ++s->pays_idle;
	for (struct pay **at = &s->pays; *at; at = &(*at)->next) {
		if (!(*at)->idle || agent_payload_used(s->agent, (*at)->hash))
			continue;
		idle++;
		if (!oldest || (*at)->idle < (*oldest)->idle)
			oldest = at;
	}
	if (idle > PAYS_IDLE_MAX)
		pay_drop(s, oldest);
}

/* ---- folders ----------------------------------------------------------------------------------------- */

/* Where the tasks of a unit have their scratch folder: not to be guessed, so that nobody can be there first. */
static void scratch_path(const struct shell *s, uint64_t alloc, uint16_t part, struct buf *out)
{
	uint8_t digest[SHA256_BYTES];
	struct sha256 sha;

	sha256_init(&sha);
	sha256_add(&sha, s->salt, sizeof s->salt);
	sha256_add(&sha, &alloc, sizeof alloc);
	sha256_add(&sha, &part, sizeof part);
	sha256_final(&sha, digest);
	buf_addf(out, "%s/sluis-%08" PRIx32 "-a%" PRIu64 "-p%u-%02x%02x%02x%02x%02x%02x", s->conf.exec.scratch, s->tag, alloc,
		 (unsigned)part, digest[0], digest[1], digest[2], digest[3], digest[4], digest[5]);
}

void launch_output_path(const struct shell *s, uint64_t alloc, uint16_t part, char kind, uint64_t index, int stream,
			struct buf *out)
{
	buf_addf(out, "%s/a%" PRIu64 "-p%u-%c%" PRIu64 ".%s", s->units_dir, alloc, (unsigned)part, kind, index,
		 stream ? "err" : "out");
}

void launch_clean(struct shell *s, uint64_t alloc, uint16_t part)
{
	CLEANUP(buf_done) struct buf path = BUF_INIT;

	scratch_path(s, alloc, part, &path);
	/* Usually gone with the last shim; a killed one leaves it, and what is another user's is for the cleaning of /tmp. */
	remove_own(buf_cstr(&path));
}

/* Files of payloads that were kept for an earlier agent's units. */
static void sweep_payloads(struct shell *s)
{
	DIR *dir = opendir(s->payload_dir);
	struct dirent *d;

	while (dir && (d = readdir(dir)) != NULL) {
		CLEANUP(buf_done) struct buf path = BUF_INIT;
		uint8_t hash[32];
		bool known = false;

		if (strlen(d->d_name) != 64)
			continue;
		for (int i = 0; i < 32; i++)
			if (sscanf(d->d_name + 2 * i, "%2hhx", &hash[i]) != 1)
				known = true; /* not one of ours */
		known |= pay_find(s, hash) != NULL || agent_payload_used(s->agent, hash);
		buf_addf(&path, "%s/%s", s->payload_dir, d->d_name);
		if (!known)
			(void)unlink(buf_cstr(&path)); /* next time, if not now */
	}
	if (dir)
		(void)closedir(dir);
}

void launch_sweep(struct shell *s)
{
	DIR *dir = opendir(s->units_dir);
	time_t now = time(NULL);
	struct dirent *d;

	sweep_payloads(s);

	while (dir && (d = readdir(dir)) != NULL) {
		CLEANUP(buf_done) struct buf path = BUF_INIT;
		unsigned long long alloc;
		unsigned part;
		struct stat st;

		if (sscanf(d->d_name, "a%llu-p%u-", &alloc, &part) != 2 || agent_unit(s->agent, alloc, (uint16_t)part))
			continue;
		buf_addf(&path, "%s/%s", s->units_dir, d->d_name);
		if (lstat(buf_cstr(&path), &st) == 0 && st.st_mtime + OUTPUT_KEPT_S < now)
			(void)unlink(buf_cstr(&path)); /* next time, if not now */
	}
	if (dir)
		(void)closedir(dir);
}

/* ---- one task ---------------------------------------------------------------------------------------- */

/* A task in the making: all that a unit's tasks and commands have in common. */
struct making {
	struct environ_in in;
	struct confine confine;
	const char *scratch;
	struct exec_file files[2]; /* script, hostfile */
	size_t files_n;
};

/* Where the unit's host file is. That of a unit alone says nothing but how many slots it has, so one file serves
 * all of them. */
static int make_hostfile(struct shell *s, struct making *m, struct arena *arena, struct err *err)
{
	CLEANUP(buf_done) struct buf path = BUF_INIT, text = BUF_INIT;
	const struct unit *u = m->in.unit;
	int code = 0;

	environ_hostfile(&m->in, &text);
	if (u->hosts_n > 1) {
		buf_addf(&path, "%s/.hostfile", m->scratch);
		m->files[m->files_n++] = (struct exec_file){.name = ".hostfile", .text = arena_copy(arena, buf_cstr(&text), text.len + 1)};
	} else {
		unsigned slots = u->hosts_n ? u->hosts[0].slots : 0;

		buf_addf(&path, "%s/%u", s->hosts_dir, slots);
		if (slots >= HOSTS_KNOWN_MAX || !s->hosts_made[slots]) /* an earlier agent may have had another address */
			code = write_file(buf_cstr(&path), text.data, text.len, 0644, err);
		if (slots < HOSTS_KNOWN_MAX)
			s->hosts_made[slots] = code == 0;
	}
	m->in.hostfile = arena_copy(arena, buf_cstr(&path), path.len + 1);
	return code;
}

static int make_common(struct shell *s, const struct unit *u, const struct payload *p, enum environ_mode mode,
		       uint32_t task, struct making *m, struct arena *arena, struct err *err)
{
	CLEANUP(buf_done) struct buf path = BUF_INIT;
	uint16_t port = 0;
	int code;

	*m = (struct making){.files_n = 0};
	code = confine_unit(s, u, arena, &m->confine, err);
	if (code)
		return code;
	(void)agent_unit_state(s->agent, u->alloc, u->part, &port);
	scratch_path(s, u->alloc, u->part, &path);
	m->scratch = arena_copy(arena, buf_cstr(&path), path.len + 1);
	m->in = (struct environ_in){
		.mode = mode,
		.unit = u,
		.payload = p,
		.task = task,
		.port = port,
		.start_unix_ms = wall_ms(wall_now()),
		.until_unix_ms = agent_unit_until(s->agent, u->alloc, u->part),
		.cluster = s->cluster,
		.node = s->node,
		.address = s->address,
		.tmpdir = m->scratch,
		.cpuset = m->confine.cpus,
		.numa = node_numa(s, u->cores, arena),
		.interface = s->conf.fabric.interface,
		.hcas = u->devices_n || u->hosts_n > 1 ? s->hcas : NULL,
		.home = m->confine.home,
		.uid = (uint32_t)(m->confine.account ? m->confine.uid : geteuid()),
	};
	return make_hostfile(s, m, arena, err);
}

static void make_task(const struct making *m, const char *const *argv, const char *cwd, struct exec_task *t,
		      struct arena *arena)
{
	*t = (struct exec_task){
		.argv = argv,
		.env = environ_build(&m->in, arena),
		.cwd = cwd && cwd[0] ? cwd : "/",
		.scratch = m->scratch,
		.files = arena_copy(arena, m->files, m->files_n * sizeof *m->files),
		.files_n = m->files_n,
	};
	confine_task(&m->confine, t);
}

static const char *below(const char *cwd, const char *path, struct arena *arena)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;

	if (path[0] != '/')
		buf_addf(&b, "%s/", cwd ? cwd : "");
	buf_addf(&b, "%s", path);
	return arena_copy(arena, buf_cstr(&b), b.len + 1);
}

/* Where one stream goes: what the user said, opened by the task as its user, with a link to it among the
 * unit's files; or such a file of ours. */
static int output(const struct environ_in *in, const char *pattern, const char *own, const char **ret_path, bool *ret_ours,
		  struct arena *arena, struct err *err)
{
	const char *path;
	char there[PATH_BYTES];
	ssize_t n;

	*ret_ours = !pattern || !pattern[0];
	if (*ret_ours) {
		*ret_path = arena_copy(arena, own, strlen(own) + 1);
		return 0;
	}
	path = below(in->payload->cwd, environ_path(in, pattern, arena), arena);
	n = readlink(own, there, sizeof there);
	if (n < 0 || (size_t)n != strlen(path) || memcmp(there, path, (size_t)n) != 0) {
		(void)unlink(own); /* of an earlier run; usually none */
		if (symlink(path, own) != 0)
			return err_set_errno(err, ERR_IO, "cannot make '%.120s'", own);
	}
	*ret_path = path;
	return 0;
}

/* Now, as file times have it. */
static int64_t file_time_now(void)
{
	struct timespec t;

	ENSURE(clock_gettime(CLOCK_REALTIME_COARSE, &t) == 0);
	return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

/* `--container IMAGE`: the first configured runtime around the command. */
static int contain(const struct shell *s, const struct environ_in *in, const char ***argv, size_t *n, struct arena *arena,
		   struct err *err)
{
	const struct runtime_conf *rt = s->conf.exec.runtimes.items;
	CLEANUP(buf_done) struct buf uuids = BUF_INIT;
	const char **out;
	size_t at = 0;

	if (!s->conf.exec.runtimes.count)
		return err_set(err, ERR_INVAL, "node %s has no container runtime", s->node);
	for (uint32_t i = 0; i < in->unit->devices_n; i++)
		buf_addf(&uuids, "%s%s", i ? "," : "", in->unit->devices[i].uuid);
	out = arena_alloc(arena, (rt->argv.count + *n + 1) * sizeof *out);
	for (size_t i = 0; i < rt->argv.count; i++) {
		const char *word = rt->argv.items[i];
		const struct { const char *hole, *text; } holes[] = {
			{"{image}", in->payload->container},
			{"{workdir}", in->payload->cwd ? in->payload->cwd : "/"},
			{"{uuid}", buf_cstr(&uuids)},
		};

		if (strcmp(word, "{command}") == 0) {
			memcpy(out + at, *argv, *n * sizeof *out);
			at += *n;
			continue;
		}
		for (size_t k = 0; k < ARRAY_LEN(holes); k++) {
			const char *hole = strstr(word, holes[k].hole);
			CLEANUP(buf_done) struct buf b = BUF_INIT;

			if (!hole)
				continue;
			buf_addf(&b, "%.*s%s%s", (int)(hole - word), word, holes[k].text, hole + strlen(holes[k].hole));
			word = arena_copy(arena, buf_cstr(&b), b.len + 1);
		}
		out[at++] = word;
	}
	out[at] = NULL;
	*argv = out;
	*n = at;
	return 0;
}

/* Everything that exec needs of one task; borrows from unit, payload and arena. */
static int task_make(struct shell *s, const struct unit *u, const struct payload *p, uint32_t task, uint64_t run,
		     struct exec_task *t, struct arena *arena, struct err *err)
{
	CLEANUP(buf_done) struct buf own = BUF_INIT;
	bool script = u->kind == UNIT_JOB_SCRIPT && p->script;
	bool first = task == 0 && u->rank0 == 0 && run == 0;
	struct making m;
	const char **argv;
	size_t n = 0;
	int code = make_common(s, u, p, u->kind == UNIT_JOB_SCRIPT ? ENVIRON_BATCH : ENVIRON_TASK, task, &m, arena, err);

	if (code)
		return code;
	argv = arena_alloc(arena, (p->argv_n + 2U) * sizeof *argv);
	if (script) {
		m.files[m.files_n++] = (struct exec_file){.name = ".script", .text = p->script, .executable = true};
		buf_addf(&own, "%s/.script", m.scratch);
		argv[n++] = arena_copy(arena, buf_cstr(&own), own.len + 1);
	}
	for (uint32_t i = 0; i < p->argv_n; i++)
		argv[n++] = u->kind == UNIT_SERVICE ? environ_port(p->argv[i].s ? p->argv[i].s : "", m.in.port, arena) :
			    p->argv[i].s ? p->argv[i].s : "";
	if (!n)
		return err_set(err, ERR_INVAL, "there is no command to run");
	if (p->container && p->container[0]) {
		code = contain(s, &m.in, &argv, &n, arena, err);
		if (code)
			return code;
	}
	make_task(&m, argv, p->cwd, t, arena);
	if (p->input && p->input[0])
		t->stdin_path = below(p->cwd, environ_path(&m.in, p->input, arena), arena);
	if (first && !p->append)
		t->truncate_before_ns = file_time_now();
	buf_reset(&own);
	launch_output_path(s, u->alloc, u->part, 't', u->rank0 + task, 0, &own);
	code = output(&m.in, p->output, buf_cstr(&own), &t->stdout_path, &t->agent_stdout, arena, err);
	if (code)
		return code;
	if (!p->error || !p->error[0]) {
		t->stderr_to_stdout = true;
		return 0;
	}
	buf_reset(&own);
	launch_output_path(s, u->alloc, u->part, 't', u->rank0 + task, 1, &own);
	return output(&m.in, p->error, buf_cstr(&own), &t->stderr_path, &t->agent_stderr, arena, err);
}

/* What the user asked for cannot be, wherever it runs; all else is this node's trouble. */
static bool user_fault(int code)
{
	return code == ERR_INVAL || code == ERR_TOOBIG || code == ERR_NOTFOUND;
}

static void start_failed(struct shell *s, const char *name, int code, const struct err *err)
{
	char text[TEXT_BYTES];

	log_event(LOG_WARNING, "start_failed", "task=%s error=%s", name, log_quote(err->msg));
	(void)snprintf(text, sizeof text, "%.120s", err->msg);
	agent_start_failed(s->agent, shell_now(), name, text, user_fault(code));
}

void launch_task(struct shell *s, const struct action *action)
{
	const struct unit *u = agent_unit(s->agent, action->alloc, action->part);
	struct pay *p = u ? launch_payload(s, u->payload) : NULL;
	struct start *start;
	struct err err = {0};
	int code;

	if (s->starts_n == STARTS_MAX)
		launch_flush(s);
	start = &s->starts[s->starts_n];
	memcpy(start->name, action->name, sizeof start->name);
	if (!u || !p)
		code = err_set(&err, ERR_STATE, "its payload is not at hand");
	else
		code = task_make(s, u, &p->payload, action->task, action->value, &start->task, &s->starts_arena, &err);
	if (code) {
		start_failed(s, action->name, code, &err);
		return;
	}
	start->task.name = start->name;
	s->starts_n++;
}

void launch_flush(struct shell *s)
{
	const struct exec_task *tasks[STARTS_MAX];
	int codes[STARTS_MAX];
	size_t n = s->starts_n;
	struct err err = {0};

	if (!n)
		return;
	for (size_t i = 0; i < n; i++)
		tasks[i] = &s->starts[i].task;
	s->starts_n = 0;
	if (exec_start_batch(s->exec, tasks, n, codes, &err) != 0 && n > 1 && !err.msg[0])
		(void)err_set(&err, ERR_SYS, "cannot start");
	for (size_t i = 0; i < n; i++) {
		if (codes[i] == 0)
			continue;
		if (codes[i] == ERR_EXISTS) { /* it was started in an earlier life */
			shell_look(s, s->starts[i].name);
			continue;
		}
		start_failed(s, s->starts[i].name, codes[i], &err);
	}
	arena_reset(&s->starts_arena);
}

int launch_health(struct shell *s, uint64_t alloc, uint16_t part, const char *name, struct err *err)
{
	const struct unit *u = agent_unit(s->agent, alloc, part);
	const struct pay *p = u ? launch_payload(s, u->payload) : NULL;
	struct arena arena = {0};
	struct making m;
	struct exec_task t;
	const char **argv;
	int code;

	if (!p)
		return err_set(err, ERR_STATE, "its payload is not at hand");
	code = make_common(s, u, &p->payload, ENVIRON_TASK, 0, &m, &arena, err);
	if (!code) {
		argv = arena_alloc(&arena, (p->payload.health_n + 1U) * sizeof *argv);
		for (uint32_t i = 0; i < p->payload.health_n; i++)
			argv[i] = environ_port(p->payload.health[i].s ? p->payload.health[i].s : "", m.in.port, &arena);
		make_task(&m, argv, p->payload.cwd, &t, &arena);
		t.name = name;
		t.kill_rest = true;
		t.stdout_path = t.stderr_path = "/dev/null";
		code = exec_start(s->exec, &t, err);
	}
	arena_done(&arena);
	return code;
}

int launch_extra(struct shell *s, uint64_t alloc, uint16_t part, const char *name, uint64_t id,
		 const struct payload *payload, struct err *err)
{
	const struct unit *u = agent_unit(s->agent, alloc, part);
	CLEANUP(buf_done) struct buf out = BUF_INIT, errs = BUF_INIT;
	struct arena arena = {0};
	struct making m;
	struct exec_task t;
	const char **argv;
	struct pay *own;
	struct payload p = *payload;
	int code;

	ENSURE(u);
	own = launch_payload(s, u->payload);
	if (!p.cwd && own)
		p.cwd = own->payload.cwd;
	code = make_common(s, u, &p, ENVIRON_EXEC, 0, &m, &arena, err);
	if (!code) {
		argv = arena_alloc(&arena, (p.argv_n + 1U) * sizeof *argv);
		for (uint32_t i = 0; i < p.argv_n; i++)
			argv[i] = p.argv[i].s ? p.argv[i].s : "";
		make_task(&m, argv, p.cwd, &t, &arena);
		launch_output_path(s, alloc, part, 'x', id, 0, &out);
		launch_output_path(s, alloc, part, 'x', id, 1, &errs);
		t.name = name;
		t.stdin_path = p.input && p.input[0] ? p.input : NULL;
		t.stdout_path = buf_cstr(&out);
		t.stderr_path = buf_cstr(&errs);
		t.agent_stdout = t.agent_stderr = true;
		code = exec_start(s->exec, &t, err);
	}
	arena_done(&arena);
	return code;
}

/* ---- ports ------------------------------------------------------------------------------------------- */

/* Can this port be bound for both families, as a trainer would? */
static bool port_free(uint16_t port)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	bool ok = fd >= 0 && bind(fd, (struct sockaddr *)&four, sizeof four) == 0;

	if (fd >= 0)
		(void)close(fd);
	if (!ok)
		return false;
	fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return true; /* a machine without IPv6 */
	ok = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) != 0 ||
	     bind(fd, (struct sockaddr *)&six, sizeof six) == 0 || errno == EADDRNOTAVAIL;
	(void)close(fd);
	return ok;
}

void launch_port(struct shell *s, const struct action *action)
{
	uint64_t first = (uint64_t)s->conf.fabric.port_first, last = (uint64_t)s->conf.fabric.port_last;
	uint64_t n = last - first + 1;
	/* Begin elsewhere for each allocation: a port just given back may linger in TIME_WAIT, and several agents
	 * of one machine do not race for the same one. */
	uint64_t at = (action->alloc * 7 + action->part + s->tag) % n;
	uint16_t port = 0;

	for (uint64_t i = 0; i < n && !port; i++) {
		uint16_t candidate = (uint16_t)(first + (at + i) % n);

		if (!agent_port_used(s->agent, candidate) && port_free(candidate))
			port = candidate;
	}
	agent_port(s->agent, shell_now(), action->alloc, action->part, port);
}
