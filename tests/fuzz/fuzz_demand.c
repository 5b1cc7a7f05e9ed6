/* fuzz_demand.c - demand curves and training traces, the inputs of sluis-sim divide
 *
 * The first byte chooses. A curve that is accepted becomes steps that ascend, stay below the peak that was set and
 * have the same sum after one period; a trace becomes jobs of the window, ascending, none too large.
 */
#include <stdint.h>
#include <stdlib.h>

#include "daemon/sim/demand.h"
#include "daemon/sim/divide.h"
#include "proto/base/buf.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void curve(const char *text, size_t bytes, bool scaled, struct bad_lines bad)
{
	struct demand_rule rule = {.peak = 100, .per_value = scaled ? 0 : 0.5, .scale_down_ms = 5 * MS_PER_MIN,
				   .idle_ms = MS_PER_HOUR};
	struct demand_curve c = {0};
	struct demand d = {0};
	struct err err = {0};
	uint32_t *now;
	uint64_t sum = 0, peak = 0;

	if (demand_parse("fuzz", text, bytes, &bad, &c, &err) || demand_make(&c, &rule, &d, &err)) {
		ENSURE(err.msg[0]);
		goto out;
	}
	ENSURE(d.peak <= rule.peak);
	now = xcalloc(d.providers_n, sizeof *now);
	for (size_t i = 0; i < d.steps_n; i++) {
		const struct demand_step *s = &d.steps[i];

		ENSURE(s->provider < d.providers_n);
		ENSURE(s->at_ms >= 0 && s->at_ms < d.span_ms);
		ENSURE(i == 0 || d.steps[i - 1].at_ms <= s->at_ms);
		sum += s->units;
		sum -= now[s->provider];
		now[s->provider] = s->units;
		if (i + 1 == d.steps_n || d.steps[i + 1].at_ms != s->at_ms)
			peak = sum > peak ? sum : peak;
	}
	ENSURE(peak == d.peak);
	free(now);
out:
	demand_done(&d);
	demand_curve_done(&c);
}

static void trace(const char *text, size_t bytes, struct bad_lines bad)
{
	struct divide_pick pick = {.span_ms = 14 * MS_PER_DAY, .run_ms_max = 14 * MS_PER_DAY, .units_max = 64};
	struct divide_trace t = {0};
	struct err err = {0};

	if (divide_trace_parse("fuzz", text, bytes, &bad, &pick, &t, &err)) {
		ENSURE(err.msg[0]);
	} else {
		ENSURE(t.jobs_n + t.useless_n + t.too_large_n + t.outside_n == t.read_n);
		for (size_t i = 0; i < t.jobs_n; i++) {
			ENSURE(t.jobs[i].submit_ms >= 0 && t.jobs[i].submit_ms < pick.span_ms);
			ENSURE(i == 0 || t.jobs[i - 1].submit_ms <= t.jobs[i].submit_ms);
			ENSURE(t.jobs[i].units >= 1 && t.jobs[i].units <= pick.units_max);
			ENSURE(t.jobs[i].run_ms >= 1 && t.jobs[i].run_ms <= pick.run_ms_max);
			ENSURE(t.jobs[i].limit_ms >= t.jobs[i].run_ms);
			ENSURE(t.jobs[i].tenant < t.tenants_n);
		}
	}
	divide_trace_done(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bad_lines bad = {.skip = size && data[0] & 64};

	if (size < 1 || size > 4096)
		return 0;
	if (data[0] % 3 == 2)
		trace((const char *)data + 1, size - 1, bad);
	else
		curve((const char *)data + 1, size - 1, data[0] % 3 == 1, bad);
	return 0;
}
