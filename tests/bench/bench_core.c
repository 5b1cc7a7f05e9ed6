/* bench_core.c - what the scheduling structures cost: "name: value unit" lines
 *
 * Each figure is the best of three runs, on whatever the machine is: compare figures of one machine only.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/core/backfill.h"
#include "daemon/core/profile.h"
#include "daemon/sim/jobsim.h"
#include "proto/base/buf.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"
#include "proto/base/prng.h"

enum { RUNS = 3 };

static void say(const char *name, double value, const char *unit) { (void)printf("%s: %.4g %s\n", name, value, unit); }

/* ---- profile: `running` jobs on 80,000 GPUs, some of them reservations ------------------------- */

static volatile int64_t sink; /* so that questions are asked */

struct load { int64_t end_ms[80000], units[80000]; uint32_t n; };

static void fill(struct profile *p, struct load *l, struct prng *r, uint32_t running, uint32_t reservations)
{
	profile_init(p, 80000, 2 * running + 2 * reservations + 4096);
	l->n = running;
	for (uint32_t i = 0; i < running; i++) {
		l->units[i] = 80000 / running;
		l->end_ms[i] = 1 + (int64_t)prng_below(r, 7 * (uint64_t)MS_PER_DAY);
		ENSURE(profile_hold(p, 0, l->end_ms[i], l->units[i], NULL) == 0);
	}
	for (uint32_t i = 0; i < reservations; i++) {
		int64_t units = 1 + (int64_t)prng_below(r, 512), length = 1 + (int64_t)prng_below(r, (uint64_t)MS_PER_DAY);
		int64_t at = profile_fit(p, 0, length, units);

		ENSURE(profile_hold(p, at, at + length, units, NULL) == 0);
	}
}

static void bench_profile(uint32_t running, uint32_t reservations)
{
	static struct load load;
	double best_pair = 1e18, best_fit = 1e18, best_min = 1e18;
	char name[96];

	for (int run = 0; run < RUNS; run++) {
		enum { PAIRS = 200000, FITS = 2000, MINS = 400000 };
		struct profile p;
		struct prng r;
		int64_t t0;

		prng_seed(&r, 1);
		fill(&p, &load, &r, running, reservations);
		t0 = mono_now().ns;
		for (int i = 0; i < PAIRS; i++) { /* one job ends early, the next takes its place */
			uint32_t at = (uint32_t)prng_below(&r, load.n);
			int64_t end = 1 + (int64_t)prng_below(&r, 7 * (uint64_t)MS_PER_DAY);

			ENSURE(profile_add(&p, load.end_ms[at], -load.units[at], NULL) == 0);
			ENSURE(profile_add(&p, end, load.units[at], NULL) == 0);
			load.end_ms[at] = end;
		}
		t0 = mono_now().ns - t0;
		if ((double)t0 / PAIRS < best_pair)
			best_pair = (double)t0 / PAIRS;
		t0 = mono_now().ns;
		for (int i = 0; i < FITS; i++)
			sink += profile_fit(&p, 0, 1 + (int64_t)prng_below(&r, (uint64_t)MS_PER_HOUR),
					    1 + (int64_t)prng_below(&r, 8));
		t0 = mono_now().ns - t0;
		if ((double)t0 / FITS < best_fit)
			best_fit = (double)t0 / FITS;
		t0 = mono_now().ns;
		for (int i = 0; i < MINS; i++) {
			int64_t from = (int64_t)prng_below(&r, (uint64_t)MS_PER_DAY);

			sink += profile_min(&p, from, from + 1 + (int64_t)prng_below(&r, (uint64_t)MS_PER_DAY));
		}
		t0 = mono_now().ns - t0;
		if ((double)t0 / MINS < best_min)
			best_min = (double)t0 / MINS;
		profile_done(&p);
	}
	(void)snprintf(name, sizeof name, "profile update pair, %u running, %u reserved", running, reservations);
	say(name, best_pair, "ns");
	(void)snprintf(name, sizeof name, "profile earliest fit, %u running, %u reserved", running, reservations);
	say(name, best_fit, "ns");
	(void)snprintf(name, sizeof name, "profile range minimum, %u running, %u reserved", running, reservations);
	say(name, best_min, "ns");
}

/* ---- simulated jobs: a synthetic log at a load of 0.85 --------------------------------------------------- */

static void bench_jobs(void)
{
	enum { N = 100000, PROCS = 1024 };
	struct swf_job *jobs = xcalloc(N, sizeof *jobs);
	int64_t *start_s = xcalloc(N, sizeof *start_s);
	struct prng r;
	char name[64];

	prng_seed(&r, 3);
	for (size_t i = 0; i < N; i++) {
		int64_t run = 1 + (int64_t)prng_below(&r, prng_below(&r, 3) ? 3600 : 36000);

		jobs[i] = (struct swf_job){.submit_s = (i ? jobs[i - 1].submit_s : 0) + (int64_t)prng_below(&r, 940),
					   .run_s = run, .request_s = run * (1 + (int64_t)prng_below(&r, 5)),
					   .procs = INT64_C(1) << prng_below(&r, 9), .user = (int64_t)prng_below(&r, 50)};
	}
	for (size_t k = 0; jobsim_policies[k]; k++) {
		int64_t t0 = mono_now().ns;

		ENSURE(jobsim_run(jobs, N, PROCS, jobsim_policies[k], ESTIMATE_TSAFRIR, NULL, NULL, start_s, NULL) == 0);
		t0 = mono_now().ns - t0;
		(void)snprintf(name, sizeof name, "simulated jobs, %s", jobsim_policies[k]->name);
		say(name, (double)N / ((double)t0 / 1e9), "1/s");
	}
	free(jobs);
	free(start_s);
}

int main(void)
{
	bench_profile(20000, 64);
	bench_profile(80000, 1000);
	bench_jobs();
	return 0;
}
