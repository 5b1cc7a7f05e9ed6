/* fuzz_snapshot.c - a cluster as it stands, and what it becomes
 *
 * What is accepted becomes a log, a trace and a demand, and each has all of the work in it.
 */
#include <stdint.h>
#include <stdlib.h>

#include "daemon/sim/snapshot.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct divide_pick pick = {.span_ms = MS_PER_DAY, .run_ms_max = MS_PER_DAY, .units_max = 64};
	struct demand_rule rule = {.per_value = 1, .peak = 1000, .scale_down_ms = 1000, .idle_ms = 1000};
	struct divide_trace trace = {0};
	struct demand_curve curve = {0};
	struct demand demand = {0};
	struct snapshot s = {0};
	struct swf log = {0};
	struct err err = {0};

	if (size > 16384)
		return 0;
	if (snapshot_parse("fuzz", (const char *)data, size, NULL, &s, &err)) {
		ENSURE(err.msg[0]);
	} else {
		ENSURE(s.nodes > 0 && s.per_node > 0 && s.per_node <= DEVICES_PER_NODE_MAX);
		ENSURE(s.running_n <= s.jobs_n);
		snapshot_log(&s, &log);
		ENSURE(log.jobs_n == s.jobs_n);
		for (size_t i = 0; i < log.jobs_n; i++)
			ENSURE(log.jobs[i].run_s >= 1 && log.jobs[i].procs >= 1 && (i < s.running_n) == s.jobs[i].running);
		snapshot_trace(&s, &pick, &trace);
		ENSURE(trace.jobs_n + trace.too_large_n == s.jobs_n);
		snapshot_demand(&s, MS_PER_DAY, &curve);
		ENSURE(curve.series_n <= s.leases_n);
		if (demand_make(&curve, &rule, &demand, &err))
			ENSURE(err.msg[0]);
		else
			ENSURE(demand.peak <= rule.peak);
	}
	demand_done(&demand);
	demand_curve_done(&curve);
	divide_trace_done(&trace);
	swf_done(&log);
	snapshot_done(&s);
	return 0;
}
