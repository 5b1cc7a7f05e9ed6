/* scrub.c - proof that the devices of a unit that has ended are idle, and what is done with those that broke
 *
 * The question goes to a process of its own, this program again as `sluis-agent --check-device`: a driver that
 * hangs must not take the agent along. Its answer is one line per device; no answer in time counts as in use.
 *
 *   state_dir/quarantine   "BOOT PCI/PARTITION REASON" per device found broken in this boot; a reboot resets
 *                          devices, so another boot's lines are dropped. sluisd hears of it in the greeting.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/probe/idle.h"
#include "agent/shell.h"
#include "proto/base/ensure.h"
#include "proto/link/log.h"

enum {
	CHECK_MS = 30000,
	ANSWER_BYTES_MAX = 16384,
	WHY_BYTES = TEXT_BYTES - INV_PCI_BYTES - 1, /* what is left of a text behind "PCI: " */
};
_Static_assert(WHY_BYTES == 111, "judge() reads so much of a line, less the NUL");

extern char **environ;

struct scrub_check {
	struct shell *shell;
	uint64_t alloc;
	uint16_t part;
	pid_t pid;
	int handle, answer_fd;
	bool late;
	struct loop_timer timer;
	struct scrub_check *next;
};

/* ---- broken devices --------------------------------------------------------------------------------------- */

static int device_index(const struct shell *s, const char *pci, unsigned partition)
{
	for (int i = 0; i < s->inventory->device_count; i++)
		if (!strcmp(s->inventory->devices[i].pci, pci) && s->inventory->devices[i].partition == partition)
			return i;
	return -1;
}

static void mark(struct shell *s, int at, const char *reason)
{
	s->inventory->devices[at].health = INV_HEALTH_FAILED;
	(void)snprintf(s->reasons[at], sizeof s->reasons[at], "%.63s", reason);
}

static void quarantine_path(const struct shell *s, struct buf *out)
{
	buf_addf(out, "%s/quarantine", s->conf.state_dir);
}

void scrub_load(struct shell *s, const char *boot_id)
{
	CLEANUP(buf_done) struct buf path = BUF_INIT;
	char line[512], boot[64], pci[INV_PCI_BYTES], reason[128];
	unsigned partition;
	bool other = false;
	FILE *f;

	(void)snprintf(s->boot_id, sizeof s->boot_id, "%s", boot_id);
	quarantine_path(s, &path);
	f = fopen(buf_cstr(&path), "re");
	while (f && fgets(line, sizeof line, f)) {
		int at;

		if (sscanf(line, "%63s %15[^/]/%u %127[^\n]", boot, pci, &partition, reason) != 4)
			continue;
		if (strcmp(boot, boot_id) != 0) {
			other = true;
			continue;
		}
		at = device_index(s, pci, partition);
		if (at >= 0)
			mark(s, at, reason);
	}
	if (f)
		(void)fclose(f);
	if (other)
		(void)unlink(buf_cstr(&path)); /* a file is of one boot */
}

static void quarantine(struct shell *s, int at, const char *reason)
{
	const struct inv_device *d = &s->inventory->devices[at];
	CLEANUP(buf_done) struct buf path = BUF_INIT;
	FILE *f;

	if (s->reasons[at][0])
		return;
	mark(s, at, reason);
	log_event(LOG_ERR, "device_quarantined", "device=%s/%u reason=%s", d->pci, (unsigned)d->partition, log_quote(reason));
	quarantine_path(s, &path);
	f = fopen(buf_cstr(&path), "ae");
	if (!f || fprintf(f, "%s %s/%u %s\n", s->boot_id, d->pci, (unsigned)d->partition, reason) < 0 || fflush(f) != 0 ||
	    fsync(fileno(f)) != 0)
		log_event(LOG_WARNING, "quarantine_not_kept", "device=%s/%u", d->pci, (unsigned)d->partition);
	if (f)
		(void)fclose(f);
}

/* ---- asking ----------------------------------------------------------------------------------------------- */

static const char *const verdicts[] = {[IDLE_CLEAN] = "clean", [IDLE_BUSY] = "busy", [IDLE_SICK] = "sick"};

/* Lines "PCI/PARTITION VERDICT TEXT", one for each of the unit's devices. */
static enum scrub judge(struct shell *s, const struct unit *u, char *answer, char text[TEXT_BYTES])
{
	uint32_t clean = 0, sick = 0;
	char *save = NULL;

	(void)snprintf(text, TEXT_BYTES, "its devices could not be looked at");
	for (char *line = strtok_r(answer, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char pci[INV_PCI_BYTES], verdict[8], why[WHY_BYTES] = "";
		unsigned partition;
		int at;

		if (sscanf(line, "%15[^/]/%u %7s %110[^\n]", pci, &partition, verdict, why) < 3)
			continue;
		at = device_index(s, pci, partition);
		if (at < 0)
			continue;
		clean += !strcmp(verdict, verdicts[IDLE_CLEAN]);
		if (!strcmp(verdict, verdicts[IDLE_SICK])) {
			sick++;
			quarantine(s, at, why);
		}
		if (!strcmp(verdict, verdicts[IDLE_BUSY]))
			(void)snprintf(text, TEXT_BYTES, "%s: %s", pci, why);
	}
	if (clean + sick < u->devices_n)
		return SCRUB_BUSY;
	return sick ? SCRUB_BROKEN : SCRUB_CLEAN;
}

static void end(struct scrub_check *c)
{
	struct scrub_check **at = &c->shell->scrubs;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	loop_timer_cancel(c->shell->loop, &c->timer);
	if (c->answer_fd >= 0)
		(void)close(c->answer_fd);
	free(c);
}

static void ended(struct loop *loop, pid_t pid, int status, void *arg)
{
	struct scrub_check *c = arg;
	struct shell *s = c->shell;
	const struct unit *u = agent_unit(s->agent, c->alloc, c->part);
	char *answer = xcalloc(1, ANSWER_BYTES_MAX + 1), text[TEXT_BYTES];
	uint64_t alloc = c->alloc;
	uint16_t part = c->part;
	enum scrub found = SCRUB_BUSY;
	size_t len = 0;
	ssize_t n;

	(void)loop;
	(void)pid;
	while (len < ANSWER_BYTES_MAX && (n = read(c->answer_fd, answer + len, ANSWER_BYTES_MAX - len)) > 0)
		len += (size_t)n;
	if (u)
		found = judge(s, u, status == 0 ? answer : (answer[0] = '\0', answer), text);
	if (c->late)
		(void)snprintf(text, sizeof text, "the driver has not answered within %d s", CHECK_MS / 1000);
	end(c);
	free(answer);
	if (!u)
		return;
	if (found == SCRUB_BUSY)
		log_event(LOG_WARNING, "device_in_use", "alloc=%" PRIu64 " part=%u text=%s", alloc, (unsigned)part, log_quote(text));
	agent_scrubbed(s->agent, shell_now(), alloc, part, found, text);
}

static void late(struct loop *loop, struct loop_timer *timer, void *arg)
{
	struct scrub_check *c = arg;

	(void)loop;
	(void)timer;
	c->late = true;
	(void)kill(c->pid, SIGKILL); /* its end is reported as that of any other */
}

/* "PCI/PARTITION,VENDOR,MIG,NODE..." */
static int describe(const struct shell *s, const struct unit_device *d, struct buf *out, struct err *err)
{
	int at = device_index(s, d->pci, d->partition);
	struct probe_nodes nodes;
	int code = confine_device(s, d, &nodes, err);

	/* A device whose nodes are gone can still be asked about; that it has none is for the driver to say. */
	if (code && code != ERR_NOTFOUND)
		return code;
	buf_addf(out, "%s/%u,%u,%s", d->pci, (unsigned)d->partition, (unsigned)s->inventory->devices[at].vendor,
		 s->inventory->devices[at].mig_profile);
	for (unsigned i = 0; !code && i < nodes.own_n; i++)
		buf_addf(out, ",%s", nodes.own[i]);
	return 0;
}

static int spawn(struct shell *s, const struct unit *u, pid_t *ret_pid, int *ret_fd, struct err *err)
{
	CLEANUP(buf_done) struct buf library = BUF_INIT, since = BUF_INIT;
	struct arena arena = {0};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	char **argv = arena_alloc(&arena, (u->devices_n * 2 + 6U) * sizeof *argv);
	sigset_t none;
	int pipes[2], n = 0, rc, code = 0;

	argv[n++] = (char[]){"sluis-agent"};
	if (s->conf.libraries.nvml || s->inventory->emulated) {
		buf_addf(&library, "--nvml=%s", s->conf.libraries.nvml ? s->conf.libraries.nvml : "");
		argv[n++] = arena_copy(&arena, buf_cstr(&library), library.len + 1);
	}
	buf_addf(&since, "--since=%" PRIu64, s->started_us);
	argv[n++] = arena_copy(&arena, buf_cstr(&since), since.len + 1);
	for (uint32_t i = 0; i < u->devices_n && !code; i++) {
		CLEANUP(buf_done) struct buf device = BUF_INIT;

		buf_addf(&device, "--check-device=");
		code = describe(s, &u->devices[i], &device, err);
		argv[n++] = arena_copy(&arena, buf_cstr(&device), device.len + 1);
	}
	argv[n] = NULL;
	if (!code && pipe2(pipes, O_CLOEXEC) != 0)
		code = err_set_errno(err, ERR_SYS, "cannot make a pipe");
	if (code) {
		arena_done(&arena);
		return code;
	}
	(void)posix_spawn_file_actions_init(&files);
	(void)posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
	(void)posix_spawn_file_actions_adddup2(&files, pipes[1], 1);
	(void)posix_spawnattr_init(&attr);
	(void)sigemptyset(&none); /* the loop blocks what it handles */
	(void)posix_spawnattr_setsigmask(&attr, &none);
	(void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	rc = posix_spawn(ret_pid, "/proc/self/exe", &files, &attr, argv, environ);
	(void)posix_spawn_file_actions_destroy(&files);
	(void)posix_spawnattr_destroy(&attr);
	(void)close(pipes[1]);
	arena_done(&arena);
	if (rc) {
		(void)close(pipes[0]);
		return err_set(err, ERR_SYS, "cannot start a check of its devices: %s", strerror(rc));
	}
	*ret_fd = pipes[0];
	return 0;
}

void scrub_start(struct shell *s, uint64_t alloc, uint16_t part)
{
	const struct unit *u = agent_unit(s->agent, alloc, part);
	struct scrub_check *c;
	struct err err = {0};
	int code;

	if (!u)
		return;
	c = xcalloc(1, sizeof *c);
	*c = (struct scrub_check){.shell = s, .alloc = alloc, .part = part, .answer_fd = -1, .timer = LOOP_TIMER_INIT(late, c),
				  .next = s->scrubs};
	s->scrubs = c;
	code = spawn(s, u, &c->pid, &c->answer_fd, &err);
	if (!code)
		code = loop_add_child(s->loop, c->pid, ended, c, &c->handle, &err);
	if (code) {
		end(c);
		log_event(LOG_WARNING, "check_failed", "alloc=%" PRIu64 " error=%s", alloc, log_quote(err.msg));
		agent_scrubbed(s->agent, shell_now(), alloc, part, SCRUB_BUSY, err.msg);
		return;
	}
	loop_timer_after(s->loop, &c->timer, CHECK_MS);
}

void scrub_done(struct shell *s)
{
	while (s->scrubs) {
		struct scrub_check *c = s->scrubs;

		if (c->pid > 0) {
			loop_child_del(s->loop, c->handle);
			(void)kill(c->pid, SIGKILL);
		}
		end(c);
	}
}

/* ---- answering: sluis-agent --check-device ---------------------------------------------------------------- */

int scrub_answer(const char *const *devices, size_t n, const char *nvml, uint64_t since_us)
{
	for (size_t i = 0; i < n; i++) {
		struct inv_device d = {.numa = -1};
		struct probe_nodes nodes = {.own_n = 0};
		struct idle_finding found;
		unsigned partition, vendor;
		const char *at;
		int used = 0;

		if (sscanf(devices[i], "%15[^/]/%u,%u,%n", d.pci, &partition, &vendor, &used) != 3 || !used ||
		    partition > INV_PARTITION_MAX || vendor > INV_VENDOR_INTEL) {
			(void)fprintf(stderr, "sluis-agent: '%s' is no PCI/PARTITION,VENDOR,MIG,NODE...\n", devices[i]);
			return EXIT_USAGE;
		}
		d.partition = (uint8_t)partition;
		d.vendor = (uint8_t)vendor;
		at = devices[i] + used;
		(void)snprintf(d.mig_profile, sizeof d.mig_profile, "%.*s", (int)strcspn(at, ","), at);
		for (at += strcspn(at, ","); *at == ',' && nodes.own_n < NODES_MAX; at += strcspn(at, ",")) {
			at++;
			(void)snprintf(nodes.own[nodes.own_n++], NODE_PATH_BYTES, "%.*s", (int)strcspn(at, ","), at);
		}
		probe_idle(nvml, &d, &nodes, since_us, &found);
		(void)printf("%s/%u %s %s\n", d.pci, partition, verdicts[found.verdict], found.text);
	}
	return fflush(stdout) != 0 ? EXIT_FAILED : EXIT_FINE;
}
