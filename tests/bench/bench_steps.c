/* bench_steps.c - what one step of the core costs, without sockets and disk
 *
 * A step is one command decided and applied, and the ticks after it until nothing is left to do: what
 * sluisd does between a frame and its batch. Measured on a full cluster with a long queue, where every
 * submission finds no room, and while the queue drains: each released node starts the next job.
 *
 *     bench_steps [QUEUED] [NODES] [DEVICES] [RESERVATIONS]     (100000 jobs on 1000 nodes of 8 devices)
 *
 * DEVICES, 8 or 1, has each job that runs when the queue comes: whole nodes, or eight times as many jobs. The jobs
 * in line ask for 1 to 16 devices, by 20 projects, and no two have the same name or payload. RESERVATIONS: so many of
 * them may have a reserved start, of any project, up to 1000; else 64, one of each project.
 *
 * Times are processor time of this process; bytes are what it grew by, per job, lease or node. make bench-growth
 * prints the same for 1k to 1M jobs and 100 to 10k nodes.
 */
#include "daemon/core/core.h"
#include "daemon/core/state.h"
#include "proto/base/prng.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { DEVICES = 8, PROJECTS = 20, SAMPLES = 2000 };

struct series { int64_t *ns; uint32_t n, cap; };

struct world {
	struct core *core;
	struct decision d;
	struct prng prng, payloads;
	int64_t t;
	uint32_t admin;
	uint32_t nodes;
	uint64_t keys;
	uint64_t facts;
	struct series *decisions; /* NULL: not timed */
};

/* Of this process: on a machine that does other things, too, waiting for a processor is no cost of a step. */
static struct mono cpu_now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts); /* cannot fail for this clock */
	return (struct mono){(int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec};
}

static void series_add(struct series *s, int64_t ns)
{
	if (s->n == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 1024;
		s->ns = xrealloc(s->ns, s->cap * sizeof *s->ns);
	}
	s->ns[s->n++] = ns;
}

static int ns_cmp(const void *pa, const void *pb)
{
	int64_t a, b;

	memcpy(&a, pa, sizeof a);
	memcpy(&b, pb, sizeof b);
	return a < b ? -1 : a > b;
}

static void series_print(struct series *s, const char *name)
{
	int64_t sum = 0;

	if (!s->n)
		return;
	qsort(s->ns, s->n, sizeof *s->ns, ns_cmp);
	for (uint32_t i = 0; i < s->n; i++)
		sum += s->ns[i];
	printf("%s_per_s: %" PRId64 " 1/s\n", name, s->n * NS_PER_S / (sum ? sum : 1));
	printf("%s_p50: %.1f us\n", name, (double)s->ns[s->n / 2] / 1000);
	printf("%s_p99: %.1f us\n", name, (double)s->ns[(uint64_t)s->n * 99 / 100] / 1000);
	printf("%s_max: %.1f us\n", name, (double)s->ns[s->n - 1] / 1000);
	free(s->ns);
	*s = (struct series){0};
}

static void ask(struct world *w, struct command *cmd)
{
	struct mono at = w->decisions ? cpu_now() : (struct mono){0};
	struct err err;

	if (core_decide(w->core, w->t, cmd, &w->d, &err)) {
		(void)fprintf(stderr, "bench_steps: %s: %s\n", command_name(cmd->type), err.msg);
		exit(1);
	}
	for (uint32_t i = 0; i < w->d.facts_n; i++)
		core_apply(w->core, &w->d.facts[i]);
	w->facts += w->d.facts_n;
	if (w->decisions)
		series_add(w->decisions, cpu_now().ns - at.ns);
}

static uint32_t settle(struct world *w)
{
	uint32_t ticks = 0;

	while (core_next_tick(w->core, w->t) <= w->t) {
		struct command tick = {.type = CMD_TICK};

		ask(w, &tick);
		ticks++;
	}
	return ticks;
}

static struct command user(struct world *w, uint16_t type)
{
	struct command cmd = {.type = type, .via = VIA_LOCAL, .principal = w->admin};

	w->keys++;
	memcpy(cmd.idem_key, &w->keys, sizeof w->keys);
	cmd.idem_key[15] = 1;
	return cmd;
}

static void divide(struct world *w)
{
	static struct flavor flavor = {.name = "h100", .vendor = "nvidia", .model = "*", .weight_milli = 1000,
				       .devices_per_node = DEVICES};
	struct quota quota[PROJECTS + 1];
	struct qnode q[PROJECTS + 7] = {
		{.kind = QNODE_ROOT, .name = "root"},
		{.kind = QNODE_PUBLIC, .name = "public", .parent = 1, .recall_slo_ms = 15 * MS_PER_MIN},
		{.kind = QNODE_SECTOR, .name = "health", .parent = 2},
		{.kind = QNODE_SECTOR, .name = "energy", .parent = 2},
		{.kind = QNODE_PRIVATE, .name = "private", .parent = 1, .recall_slo_ms = 15 * MS_PER_MIN},
		{.kind = QNODE_CLASS, .name = "company", .parent = 5},
		{.kind = QNODE_PROVIDER, .name = "chat", .parent = 6},
	};
	struct command cmd = user(w, CMD_DIVISION_APPLY);
	int64_t each = (int64_t)w->nodes * DEVICES / (PROJECTS * 2);

	flavor.committed_units = w->nodes * DEVICES;
	for (int i = 0; i < PROJECTS; i++) {
		struct qnode *p = &q[7 + i];

		p->kind = QNODE_PROJECT;
		p->parent = i % 2 ? 3 : 4;
		(void)snprintf(p->name, sizeof p->name, "project-%02d", i);
		quota[i] = (struct quota){1, SHAPE_GPU, each, QTY_UNLIMITED, QTY_UNLIMITED};
		p->quotas = &quota[i];
		p->quotas_n = 1;
	}
	quota[PROJECTS] = (struct quota){1, SHAPE_GPU, (int64_t)w->nodes * DEVICES - each * PROJECTS, QTY_UNLIMITED,
					 QTY_UNLIMITED};
	q[6].quotas = &quota[PROJECTS];
	q[6].quotas_n = 1;
	cmd.division_apply = (struct cmd_division_apply){.flavors_n = 1, .flavors = &flavor, .qnodes_n = PROJECTS + 7,
							 .qnodes = q};
	ask(w, &cmd);
}

static void join(struct world *w, uint32_t i)
{
	struct command cmd = {.type = CMD_ENROL, .via = VIA_ENROL};
	struct device dev[DEVICES] = {0};
	uint32_t principal;

	memset(cmd.enrol.token_hash, 7, 32);
	cmd.enrol.token_hash[0] = i <= 10000 ? 7 : 8;
	(void)snprintf(cmd.enrol.name, sizeof cmd.enrol.name, "n%05u", i);
	memcpy(cmd.enrol.key, &i, sizeof i);
	cmd.enrol.key[31] = 1;
	ask(w, &cmd);
	principal = (uint32_t)w->d.result.version;

	cmd = (struct command){.type = CMD_NODE_HELLO, .via = VIA_AGENTS, .principal = principal};
	for (uint16_t k = 0; k < DEVICES; k++) {
		(void)snprintf(dev[k].pci, sizeof dev[k].pci, "0000:%02x:00.0", k + 1);
		(void)snprintf(dev[k].vendor, sizeof dev[k].vendor, "nvidia");
		(void)snprintf(dev[k].model, sizeof dev[k].model, "H100");
		dev[k].numa = k / 4;
		dev[k].memory_mib = 81920;
		dev[k].cores[0] = UINT64_C(0xff) << k * 8;
	}
	cmd.node_hello = (struct cmd_node_hello){.node = i, .boot_id = "b", .incarnation = 1, .cores_n = 64,
						 .memory_mib = 1 << 20, .digest = {1}, .devices_n = DEVICES, .devices = dev};
	ask(w, &cmd);
}

static void world_new(struct world *w, uint32_t nodes, uint32_t reservations)
{
	struct uid_ref uid = {0};
	struct command cmd = {.type = CMD_INIT};

	*w = (struct world){.core = core_new(), .t = INT64_C(1700000000000), .nodes = nodes};
	prng_seed(&w->prng, 1);
	prng_seed(&w->payloads, 2);
	cmd.init.settings = (struct cluster){
		.name = "bench", .lease_ttl_ms = 15 * MS_PER_MIN, .lease_grace_ms = 15 * MS_PER_MIN,
		.lease_term_ms = MS_PER_DAY, .lease_offer_ms = MS_PER_HOUR, .rejoin_grace_ms = MS_PER_MIN,
		.bind_timeout_ms = MS_PER_HOUR, .lost_after_ms = MS_PER_HOUR, .notice_ms = MS_PER_MIN,
		.kill_margin_ms = 10 * MS_PER_S, .job_time_ms = MS_PER_HOUR, .age_guard_ms = MS_PER_DAY,
		.loan_rate_ppm = 500000, .urgent_rate_ppm = 2000000,
		.reservations_max = reservations, .reservations_each = reservations,
	};
	cmd.init.uids_n = 1;
	cmd.init.uids = &uid;
	ask(w, &cmd);
	w->admin = core_cred_of_uid(w->core, 0)->principal;
	divide(w);
	cmd = user(w, CMD_TOKEN_CREATE);
	cmd.token_create = (struct cmd_token_create){.role = ROLE_NODE, .uses = 10000, .ttl_ms = MS_PER_DAY};
	memset(cmd.token_create.hash, 7, 32);
	ask(w, &cmd);
	cmd.token_create.hash[0] = 8; /* a token serves 10,000 nodes */
	w->keys++;
	memcpy(cmd.idem_key, &w->keys, sizeof w->keys);
	ask(w, &cmd);
	for (uint32_t i = 1; i <= nodes; i++)
		join(w, i);
	(void)settle(w);
}

static struct command submission(struct world *w, uint32_t units)
{
	struct command cmd = user(w, CMD_JOB_SUBMIT);

	cmd.job_submit.spec = (struct job_spec){
		.units = units, .klass = JOB_NORMAL, .loan = LOAN_OK, .mode = JOB_COMMAND, .notice_ms = MS_PER_MIN,
		.time_limit_ms = (1 + (int64_t)prng_below(&w->prng, 48)) * MS_PER_HOUR / 2,
	};
	(void)snprintf(cmd.job_submit.spec.name, NAME_BYTES, "train-%08" PRIu64, w->keys);
	for (uint32_t i = 0; i < sizeof cmd.job_submit.spec.payload; i += 8) {
		uint64_t more = prng_next(&w->payloads);

		memcpy(cmd.job_submit.spec.payload + i, &more, sizeof more);
	}
	(void)snprintf(cmd.job_submit.project, sizeof cmd.job_submit.project, "project-%02u",
		       (unsigned)prng_below(&w->prng, PROJECTS));
	(void)snprintf(cmd.job_submit.flavor, sizeof cmd.job_submit.flavor, "h100");
	return cmd;
}

/* Every unit of the node says `state`. */
static void report(struct world *w, uint32_t node, uint8_t state)
{
	const struct node_s *n = node_of(w->core, node);
	struct command cmd = {.type = CMD_NODE_REPORT, .via = VIA_AGENTS, .principal = n->r.principal};
	struct unit_status row[64];

	cmd.node_report = (struct cmd_node_report){.node = node, .incarnation = 1, .units = row};
	for (uint32_t i = 0; i < n->units_n && i < 64; i++)
		row[cmd.node_report.units_n++] =
			(struct unit_status){.alloc = n->units[i].alloc, .part = n->units[i].part, .state = state,
					     .checkpoint_ago_ms = -1};
	ask(w, &cmd);
}

/* One of its jobs that run has ended, and is gone. */
static void report_end(struct world *w, uint32_t node)
{
	const struct node_s *n = node_of(w->core, node);
	struct command cmd = {.type = CMD_NODE_REPORT, .via = VIA_AGENTS, .principal = n->r.principal};
	struct unit_status row = {.state = UNIT_RELEASED, .checkpoint_ago_ms = -1};

	for (uint32_t i = 0; i < n->units_n && !row.alloc; i++)
		if (core_alloc(w->core, n->units[i].alloc)->state == ALLOC_ACTIVE) {
			row.alloc = n->units[i].alloc;
			row.part = n->units[i].part;
		}
	if (!row.alloc)
		return; /* recalled: it is stopping */
	cmd.node_report = (struct cmd_node_report){.node = node, .incarnation = 1, .units = &row, .units_n = 1};
	ask(w, &cmd);
}

static int64_t resident_bytes(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	long total = 0, resident = 0;

	if (f && fscanf(f, "%ld %ld", &total, &resident) != 2)
		resident = 0;
	if (f)
		(void)fclose(f);
	return (int64_t)resident * 4096;
}

static void question(struct world *w, const char *name, struct query q)
{
	union { struct view_jobs jobs; struct view_status status; struct view_usage usage; struct view_leases leases; } v = {0};
	struct arena arena = {0};
	struct mono at = cpu_now();

	if (core_view(w->core, w->t, w->admin, &q, &v, &arena, NULL))
		abort();
	printf("%s: %.1f us\n", name, (double)(cpu_now().ns - at.ns) / 1000);
	arena_done(&arena);
}

/* What people ask while much runs and waits; of the job in line for the first time, and again soon. */
static void questions(struct world *w)
{
	struct query in_line = {.type = QUERY_JOBS, .id = core_cluster(w->core)->next_job - 1};

	question(w, "question_job_running", (struct query){.type = QUERY_JOBS, .id = 1});
	question(w, "question_job_in_line_first", in_line);
	question(w, "question_job_in_line", in_line);
	question(w, "question_jobs_by_name", (struct query){.type = QUERY_JOBS, .name = "nobody"});
	question(w, "question_status", (struct query){.type = QUERY_STATUS});
	question(w, "question_usage", (struct query){.type = QUERY_USAGE});
	printf("memory_after_questions: %.1f MB\n", (double)resident_bytes() / 1e6);
}

/* Bytes of an active lease of one device, with its allocation: half of another cluster is leased, in another process,
 * as what this one has freed would be used again. */
static void leases(uint32_t nodes)
{
	uint32_t n = nodes * DEVICES / 2;
	struct world w;
	int64_t before;
	pid_t child;

	(void)fflush(stdout);
	child = fork();
	if (child) {
		(void)waitpid(child, NULL, 0);
		return;
	}
	world_new(&w, nodes, 0);
	before = resident_bytes();
	for (uint32_t i = 0; i < n; i++) {
		struct command cmd = user(&w, CMD_LEASE_REQUEST);

		cmd.lease_request = (struct cmd_lease_request){.provider = "chat", .flavor = "h100",
							       .spec = {.units = 1, .auto_accept = true}};
		(void)snprintf(cmd.lease_request.spec.name, NAME_BYTES, "replica-%06u", i);
		ask(&w, &cmd);
		(void)settle(&w);
	}
	for (uint32_t i = 1; i <= nodes; i++) {
		report(&w, i, UNIT_PREPARED);
		report(&w, i, UNIT_RUNNING);
	}
	(void)settle(&w);
	printf("memory_per_lease: %" PRId64 " bytes\n", (resident_bytes() - before) / n);
	question(&w, "question_lease", (struct query){.type = QUERY_LEASES, .id = 1});
	question(&w, "question_leases", (struct query){.type = QUERY_LEASES});
	exit(0);
}

int main(int argc, char **argv)
{
	uint32_t queued = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 100000;
	uint32_t nodes = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 1000;
	uint32_t each = argc > 3 && strtoul(argv[3], NULL, 10) == 1 ? 1 : DEVICES, running = nodes * DEVICES / each;
	uint32_t reservations = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 0;
	struct series steps = {0}, decisions = {0};
	struct world w;
	struct mono at, begin;
	int64_t before;
	uint32_t done = 0;

	leases(nodes);
	printf("running: %u jobs\n", running);
	before = resident_bytes();
	world_new(&w, nodes, reservations);
	printf("memory_per_node_of_8: %" PRId64 " bytes\n", (resident_bytes() - before) / (nodes ? nodes : 1));

	/* fill: each job is started at once */
	before = resident_bytes();
	for (uint32_t i = 0; i < running; i++) {
		struct command cmd = submission(&w, each);

		at = cpu_now();
		ask(&w, &cmd);
		(void)settle(&w);
		series_add(&steps, cpu_now().ns - at.ns);
	}
	series_print(&steps, "submit_and_start");
	for (uint32_t i = 1; i <= nodes; i++) {
		at = cpu_now();
		report(&w, i, UNIT_PREPARED);
		report(&w, i, UNIT_RUNNING);
		(void)settle(&w);
		series_add(&steps, cpu_now().ns - at.ns);
	}
	series_print(&steps, "prepared_and_running");
	printf("memory_per_running_job: %" PRId64 " bytes\n", (resident_bytes() - before) / running);

	/* the queue: all at once, then one look at all of it */
	before = resident_bytes();
	for (uint32_t i = 0; i < queued; i++) {
		struct command cmd = submission(&w, 1 + (uint32_t)prng_below(&w.prng, 16));

		at = cpu_now();
		ask(&w, &cmd);
		series_add(&steps, cpu_now().ns - at.ns);
	}
	series_print(&steps, "submit_decide_apply");
	if (queued)
		printf("memory_per_queued_job: %" PRId64 " bytes\n", (resident_bytes() - before) / queued);
	at = cpu_now();
	(void)settle(&w);
	printf("first_look_at_queue: %.1f us\n", (double)(cpu_now().ns - at.ns) / 1000);
	printf("reserved_starts: %" PRIu64 " jobs\n", (uint64_t)w.core->holds.count);

	/* one more while everything is full: three seconds at most */
	begin = cpu_now();
	for (uint32_t i = 0; i < SAMPLES && cpu_now().ns - begin.ns < 3 * NS_PER_S; i++) {
		struct command cmd = submission(&w, 1 + (uint32_t)prng_below(&w.prng, 16));

		w.t += 10;
		at = cpu_now();
		ask(&w, &cmd);
		(void)settle(&w);
		series_add(&steps, cpu_now().ns - at.ns);
	}
	series_print(&steps, "submit_step_full");
	printf("memory_total: %.1f MB\n", (double)resident_bytes() / 1e6);
	questions(&w);

	/* jobs end one after the other; a step is a report and several ticks, each a decision of its own */
	w.decisions = &decisions;
	begin = cpu_now();
	for (uint32_t i = 0; i < running && cpu_now().ns - begin.ns < 3 * NS_PER_S; i++) {
		w.t += 10;
		at = cpu_now();
		report_end(&w, i % nodes + 1);
		done += settle(&w);
		series_add(&steps, cpu_now().ns - at.ns);
	}
	printf("releases: %u jobs\nticks_per_release: %.2f\n", steps.n, (double)done / (steps.n ? steps.n : 1));
	series_print(&steps, "release_step");
	series_print(&decisions, "release_decision");
	core_free(w.core);
	decision_done(&w.d);
	return 0;
}
