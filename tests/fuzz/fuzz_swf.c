/* fuzz_swf.c - a batch log in the Standard Workload Format, read and simulated
 *
 * The first byte chooses policy and estimate. What leaving out bad lines keeps is what refusing them reads when
 * there are none. Jobs that pass the filter can be simulated: none starts before its submission, and at no start
 * are more processors in use than there are.
 */
#include <stdint.h>
#include <stdlib.h>

#include "daemon/sim/jobsim.h"
#include "daemon/sim/swf.h"
#include "proto/base/buf.h"
#include "proto/base/ensure.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void simulate(const struct swf *swf, int64_t procs, uint8_t how)
{
	int64_t start_s[64];
	struct jobsim_result result;
	struct err err = {0};
	size_t policies = 0;

	if (swf->jobs_n == 0 || swf->jobs_n > 64)
		return;
	while (jobsim_policies[policies])
		policies++;
	if (jobsim_run(swf->jobs, swf->jobs_n, procs, jobsim_policies[how % policies],
		       (enum jobsim_estimate)(how / 16 % ESTIMATE_COUNT), NULL, NULL, start_s, &err)) {
		ENSURE(err.msg[0]);
		return;
	}
	for (size_t i = 0; i < swf->jobs_n; i++) {
		int64_t used = 0;

		ENSURE(start_s[i] >= swf->jobs[i].submit_s);
		for (size_t k = 0; k < swf->jobs_n; k++)
			if (start_s[k] <= start_s[i] && start_s[i] < start_s[k] + swf->jobs[k].run_s)
				used += swf->jobs[k].procs;
		ENSURE(used <= procs);
	}
	jobsim_measure(swf->jobs, swf->jobs_n, procs, start_s, &result);
	ENSURE(result.slowdown.mean >= 1);
	ENSURE(result.wait_s.max >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct swf strict = {0}, lenient = {0};
	struct bad_lines bad = {.skip = true};
	struct swf_dropped dropped;
	struct err err = {0};
	size_t read_n;
	int r;

	if (size < 2 || size > 16384)
		return 0;
	r = swf_parse("fuzz", (const char *)data + 2, size - 2, NULL, &strict, &err);
	ENSURE(r == 0 || (err.code == r && err.msg[0] && err.hint[0]));
	ENSURE(swf_parse("fuzz", (const char *)data + 2, size - 2, &bad, &lenient, NULL) == 0);
	ENSURE((r == 0) == (bad.n == 0));
	ENSURE(r || strict.jobs_n == lenient.jobs_n);
	read_n = lenient.jobs_n;
	swf_filter(&lenient, data[1] + 1, data[0] & 8, &dropped);
	ENSURE(lenient.jobs_n + dropped.all == read_n);
	simulate(&lenient, data[1] + 1, data[0]);
	swf_done(&strict);
	swf_done(&lenient);
	return 0;
}
