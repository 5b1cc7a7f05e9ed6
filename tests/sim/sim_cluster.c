/* sim_cluster.c - the fault simulation: one process, virtual time, a seed per run
 *
 *   sim_cluster                          regressions, canaries, then seeds for about 20 s (at most 200)
 *   sim_cluster --seed=0x5eed [--verbose] one run
 *   sim_cluster --seeds=20000 [--from=N] [--jobs=K] so many seeds, in K processes, with figures
 *   sim_cluster --hunt=400 [--from=N]    until the first violation: exit status 1 and which seed it was
 *   sim_cluster --canary=NAME            a bug planted in the harness: how soon is it caught?
 *
 * Without it nobody would know whether a device is ever given twice, an acknowledged command ever
 * lost or a renewed lease ever expired when daemons, agents, disks, clocks and networks misbehave
 * together. See tests/lib/sim_world.h.
 */
#include "tests/lib/sim_world.h"

#include "proto/base/ensure.h"
#include "proto/base/instant.h"

#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	CHECK_SEEDS = 200,
	CANARY_SEEDS = 400,
	JOBS_MAX = 64,
	CHUNK_SEEDS = 1000, /* a long run can be taken up again after each of these */
	SEED_S_MAX = 60,    /* a seed that takes longer goes on without end */
};
static const int64_t CHECK_MS = 20 * MS_PER_S;
#ifndef SIM_SEEDS_FILE
#define SIM_SEEDS_FILE "tests/sim/seeds/regressions"
#endif

static struct sim_counts total;
static volatile sig_atomic_t running_hi, running_lo;

/* An ENSURE of the code under test, or no end: say which seed before going down. */
static void on_fatal(int sig)
{
	static const char digit[] = "0123456789abcdef";
	uint64_t seed = (uint64_t)(uint32_t)running_hi << 32 | (uint32_t)running_lo;
	char text[] = "\nan assertion failed, or it goes on without end\n  make sim SEED=0x0000000000000000\n";
	ssize_t done;

	(void)sig;
	for (int i = 0; i < 16; i++)
		text[sizeof text - 3 - (size_t)i] = digit[seed >> (4 * i) & 15];
	done = write(STDOUT_FILENO, text, sizeof text - 1);
	(void)done; /* on the way down */
	(void)signal(SIGABRT, SIG_DFL);
	abort();
}

static bool run_one(uint64_t seed, enum sim_canary canary, bool verbose, uint64_t *ret_hash, char *what, size_t what_size)
{
	struct sim *s;
	bool ok;

	running_hi = (sig_atomic_t)(uint32_t)(seed >> 32);
	running_lo = (sig_atomic_t)(uint32_t)seed;
	(void)alarm(SEED_S_MAX);
	s = sim_new(seed, canary);
	s->verbose = verbose;
	ok = sim_run(s);
	*ret_hash = s->hash;
	if (!ok && canary == CANARY_NONE) {
		printf("seed 0x%" PRIx64 " step %" PRIu64 " at %" PRId64 ".%03d s: %s\n  make sim SEED=0x%" PRIx64 "\n",
		       seed, s->step, s->now_ms / 1000, (int)(s->now_ms % 1000), s->what, seed);
		(void)fflush(stdout);
	}
	if (what)
		(void)snprintf(what, what_size, "%s", s->what);
	if (canary == CANARY_NONE) {
#define X(name, unit) total.name += s->n.name;
		SIM_COUNT_TABLE(X)
#undef X
		total.virtual_ms += s->n.virtual_ms;
	}
	sim_free(s);
	return ok;
}

static void figures(uint64_t seeds, uint64_t failed, int64_t ms, int64_t cpu_ms)
{
	printf("seeds: %" PRIu64 " seeds\n", seeds);
	printf("violations: %" PRIu64 " seeds\n", failed);
	printf("seeds_per_s: %" PRIu64 ".%" PRIu64 " seeds/s\n", seeds * 1000 / (uint64_t)(ms ? ms : 1),
	       seeds * 10000 / (uint64_t)(ms ? ms : 1) % 10);
	printf("seeds_per_core_s: %" PRIu64 ".%" PRIu64 " seeds/s of processor time\n",
	       seeds * 1000 / (uint64_t)(cpu_ms ? cpu_ms : 1), seeds * 10000 / (uint64_t)(cpu_ms ? cpu_ms : 1) % 10);
	printf("simulated: %" PRIu64 " hours\n", total.virtual_ms / (uint64_t)MS_PER_HOUR);
	printf("device_time: %" PRIu64 " hours\n", total.device_ms / (uint64_t)MS_PER_HOUR);
#define X(name, unit)                                                                              \
	if (strcmp(#name, "device_ms") != 0)                                                       \
		printf("%s: %" PRIu64 " %s\n", #name, total.name, unit);
	SIM_COUNT_TABLE(X)
#undef X
}

static int64_t clock_ms(clockid_t clock)
{
	struct timespec ts;

	(void)clock_gettime(clock, &ts); /* cannot fail for these clocks */
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Spread counters over all 64 bits. */
static uint64_t seed_at(uint64_t i)
{
	uint64_t z = i * UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	return z ^ z >> 27;
}

/* Seeds until the planted bug is caught; 0 if it never is. */
static uint32_t canary_hunt(enum sim_canary canary, char *what, size_t what_size)
{
	uint64_t hash;

	for (uint32_t i = 0; i < CANARY_SEEDS; i++)
		if (!run_one(seed_at(i + 1), canary, false, &hash, what, what_size))
			return i + 1;
	return 0;
}

static int canaries(uint32_t *passed, uint32_t *failed)
{
	for (int c = 1; c < CANARY_COUNT; c++) {
		char what[400] = "";
		uint32_t n = canary_hunt((enum sim_canary)c, what, sizeof what);

		if (n) {
			printf("canary %s: caught by seed %u: %s\n", sim_canary_name[c], n, what);
			(*passed)++;
		} else {
			printf("canary %s: NOT caught in %d seeds\n", sim_canary_name[c], CANARY_SEEDS);
			(*failed)++;
		}
	}
	return 0;
}

/* Seeds that once found something. Returns how many failed. */
static void regressions(uint32_t *passed, uint32_t *failed)
{
	FILE *f = fopen(SIM_SEEDS_FILE, "r");
	char line[256];
	uint64_t hash;

	if (!f) {
		printf("%s is not here: run from the repository's root for the regressions\n", SIM_SEEDS_FILE);
		return;
	}
	while (fgets(line, sizeof line, f)) {
		if (line[0] != '0')
			continue;
		if (run_one(strtoull(line, NULL, 0), CANARY_NONE, false, &hash, NULL, 0))
			(*passed)++;
		else
			(*failed)++;
	}
	(void)fclose(f); /* only read */
}

static int check(void)
{
	int64_t start = clock_ms(CLOCK_MONOTONIC);
	uint32_t passed = 0, failed = 0;
	uint64_t first, again;

	regressions(&passed, &failed);
	(void)run_one(seed_at(1), CANARY_NONE, false, &first, NULL, 0);
	(void)run_one(seed_at(1), CANARY_NONE, false, &again, NULL, 0);
	printf("trace of seed 0x%" PRIx64 ": %016" PRIx64 ", again %016" PRIx64 "\n", seed_at(1), first, again);
	if (first == again)
		passed++;
	else
		failed++;
	(void)canaries(&passed, &failed);
	for (uint64_t i = 0; i < CHECK_SEEDS && clock_ms(CLOCK_MONOTONIC) - start < CHECK_MS; i++) {
		if (run_one(seed_at(i + 1), CANARY_NONE, false, &first, NULL, 0))
			passed++;
		else
			failed++;
	}
	figures(passed + failed, failed, clock_ms(CLOCK_MONOTONIC) - start, clock_ms(CLOCK_PROCESS_CPUTIME_ID));
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0;
}

/* What a process of a long run has done: shared, so that it survives the process. */
struct worker {
	pid_t pid;
	uint64_t next, failed;
	int64_t cpu_ms;
	struct sim_counts total;
};

static void work(struct worker *w, uint64_t until, uint32_t stride)
{
	uint64_t hash;

	while (w->next < until) {
		int64_t cpu = clock_ms(CLOCK_PROCESS_CPUTIME_ID);
		uint64_t seed = seed_at(w->next);

		w->next += stride; /* should this seed take us down, the next process goes on after it */
		w->failed++;
		if (run_one(seed, CANARY_NONE, false, &hash, NULL, 0))
			w->failed--;
		w->cpu_ms += clock_ms(CLOCK_PROCESS_CPUTIME_ID) - cpu;
		w->total = total;
	}
}

static pid_t spawn(struct worker *w, uint64_t until, uint32_t stride)
{
	pid_t pid;

	(void)fflush(stdout); /* else its lines would come twice */
	pid = fork();
	if (pid < 0) {
		perror("sim_cluster: fork");
		exit(2);
	}
	if (!pid) {
		total = w->total;
		work(w, until, stride);
		(void)fflush(stdout);
		_exit(0);
	}
	return pid;
}

static int roam(uint64_t seeds, uint64_t from, uint32_t jobs)
{
	struct worker *w = mmap(NULL, JOBS_MAX * sizeof *w, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int64_t start = clock_ms(CLOCK_MONOTONIC), cpu_ms = 0;
	uint64_t failed = 0;

	if (w == MAP_FAILED) {
		perror("sim_cluster: mmap");
		return 2;
	}
	printf("seeds from %" PRIu64 ", %" PRIu64 " of them\n", from, seeds);
	for (uint64_t at = from; at < from + seeds; at += CHUNK_SEEDS) {
		uint64_t until = from + seeds - at < CHUNK_SEEDS ? from + seeds : at + CHUNK_SEEDS;

		for (uint32_t i = 0; i < jobs; i++) {
			w[i].next = at + i;
			w[i].pid = spawn(&w[i], until, jobs);
		}
		for (uint32_t i = 0; i < jobs; i++) {
			int status;

			while (waitpid(w[i].pid, &status, 0) == w[i].pid && !(WIFEXITED(status) && !WEXITSTATUS(status)))
				w[i].pid = spawn(&w[i], until, jobs);
		}
		failed = 0;
		for (uint32_t i = 0; i < jobs; i++)
			failed += w[i].failed;
		if (seeds > CHUNK_SEEDS)
			printf("to %" PRIu64 ": %" PRIu64 " violations (go on with FROM=%" PRIu64 ")\n", until - 1, failed,
			       until);
	}
	for (uint32_t i = 0; i < jobs; i++) {
#define X(name, unit) total.name += w[i].total.name;
		SIM_COUNT_TABLE(X)
#undef X
		total.virtual_ms += w[i].total.virtual_ms;
		cpu_ms += w[i].cpu_ms;
	}
	figures(seeds, failed, clock_ms(CLOCK_MONOTONIC) - start, cpu_ms);
	(void)munmap(w, JOBS_MAX * sizeof *w); /* cannot fail: it is ours */
	return failed != 0;
}

struct hunt { uint64_t at; char what[400]; };

/* In a process of its own: the bug may take it down. */
static int hunt(uint64_t seeds, uint64_t from)
{
	struct hunt *h = mmap(NULL, sizeof *h, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t hash;
	int status = 0;
	pid_t pid;

	if (h == MAP_FAILED) {
		perror("sim_cluster: mmap");
		return 2;
	}
	(void)fflush(stdout);
	pid = fork();
	if (pid < 0) {
		perror("sim_cluster: fork");
		return 2;
	}
	if (!pid) {
		for (h->at = from; h->at < from + seeds; h->at++)
			if (!run_one(seed_at(h->at), CANARY_NONE, false, &hash, h->what, sizeof h->what))
				_exit(1);
		_exit(0);
	}
	(void)waitpid(pid, &status, 0); /* our child, and we wait once */
	if (WIFEXITED(status) && !WEXITSTATUS(status)) {
		printf("nothing in %" PRIu64 " seeds\n", seeds);
		return 0;
	}
	printf("caught by seed %" PRIu64 ": %s\n", h->at - from + 1, h->what[0] ? h->what : "an assertion, or no end");
	return 1;
}

int main(int argc, char **argv)
{
	uint64_t seeds = 0, hunted = 0, from = 1, seed = 0, hash, jobs = 1;
	enum sim_canary canary = CANARY_NONE;
	bool verbose = false, one = false;
	int64_t start = clock_ms(CLOCK_MONOTONIC);
	bool ok;

	for (int i = 1; i < argc; i++) {
		if (!strncmp(argv[i], "--seed=", 7)) {
			seed = strtoull(argv[i] + 7, NULL, 0);
			one = true;
		} else if (!strncmp(argv[i], "--seeds=", 8)) {
			seeds = strtoull(argv[i] + 8, NULL, 0);
		} else if (!strncmp(argv[i], "--hunt=", 7)) {
			hunted = strtoull(argv[i] + 7, NULL, 0);
		} else if (!strncmp(argv[i], "--from=", 7)) {
			from = strtoull(argv[i] + 7, NULL, 0);
		} else if (!strncmp(argv[i], "--jobs=", 7)) {
			jobs = strtoull(argv[i] + 7, NULL, 0);
		} else if (!strncmp(argv[i], "--canary=", 9)) {
			for (int c = 1; c < CANARY_COUNT; c++)
				if (!strcmp(argv[i] + 9, sim_canary_name[c]))
					canary = (enum sim_canary)c;
			if (!canary) {
				fprintf(stderr, "sim_cluster: no canary '%s'\n", argv[i] + 9);
				return 2;
			}
		} else if (!strcmp(argv[i], "--verbose")) {
			verbose = true;
		} else {
			fprintf(stderr, "usage: sim_cluster [--seed=N [--verbose] | --seeds=N [--from=N] [--jobs=K] | --hunt=N | --canary=NAME]\n");
			return 2;
		}
	}
	/* each seed builds and frees a cluster: keep the memory instead of giving it back; only speed depends on it */
	(void)mallopt(M_TRIM_THRESHOLD, 1 << 28);
	(void)mallopt(M_MMAP_THRESHOLD, 1 << 28);
	if (!jobs || jobs > JOBS_MAX) {
		fprintf(stderr, "sim_cluster: --jobs is from 1 to %d\n", JOBS_MAX);
		return 2;
	}
	(void)signal(SIGABRT, on_fatal); /* for the seed only: failing to set it changes nothing */
	(void)signal(SIGALRM, on_fatal);
	if (canary && !one) {
		char what[400] = "";
		uint32_t n = canary_hunt(canary, what, sizeof what);

		if (n)
			printf("caught by seed %u: %s\n", n, what);
		else
			printf("not caught in %d seeds\n", CANARY_SEEDS);
		return !n;
	}
	if (hunted)
		return hunt(hunted, from);
	if (seeds)
		return roam(seeds, from, (uint32_t)jobs);
	if (!one)
		return check();
	printf("seed 0x%" PRIx64 "\n", seed);
	ok = run_one(seed, canary, verbose, &hash, NULL, 0);
	printf("trace: %016" PRIx64 " hash\n", hash);
	figures(1, !ok, clock_ms(CLOCK_MONOTONIC) - start, clock_ms(CLOCK_PROCESS_CPUTIME_ID));
	return !ok;
}
