/* demand.h - how many devices each provider wants, over time
 *
 * A recorded curve becomes device counts:
 *
 *     wanted(t) = ceil(value(t) × devices per value)      value: requests/s, instances or devices
 *     leased(t) = the most wanted during the last `scale_down_ms`, and at least one device while
 *                 anything was wanted during the last `idle_ms`
 *
 * which is what an autoscaler does: up at once, down after a delay. For a rate, devices per value is
 * service time / target load. The curve is taken as periodic: after its end it begins again.
 *
 * Three files are understood, told apart by the columns in their first line, in any order and with others beside them:
 *     provider, at_s, devices                   steps; the last instant is the end of the curve
 *     client, window_start_s, rate_rps          request rates per window (ServeGen)
 *     role, app_name, gpu_request, creation_time, deletion_time
 *                                               life times of service instances (Alibaba 2025, role HN)
 */
#ifndef SLUIS_DAEMON_SIM_DEMAND_H
#define SLUIS_DAEMON_SIM_DEMAND_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/sim/text.h"
#include "proto/base/err.h"
#include "proto/base/limits.h"

enum demand_kind { DEMAND_DEVICES = 0, DEMAND_RATE, DEMAND_INSTANCES };

struct demand_point { int64_t at_ms; double value; };
struct demand_series {
	char name[NAME_BYTES];
	struct demand_point *points; /* ascending, the first at 0; a value holds until the next */
	size_t points_n, points_cap;
};
struct demand_curve {
	enum demand_kind kind;
	struct demand_series *series; /* in order of first appearance */
	uint32_t series_n, series_cap;
	int64_t span_ms;
};

/* Read `bytes` of `text`; `name` is the file for messages. ret_curve must be zeroed and is freed by
 * demand_curve_done(), also after an error. ERR_FORMAT with "name:line: what"; lines that cannot be read
 * go to `bad` (text.h). */
int demand_parse(const char *name, const char *text, size_t bytes, struct bad_lines *bad,
		 struct demand_curve *ret_curve, struct err *err) NODISCARD;
/* A provider that wants `devices` more, always. Names of one provider add up. */
void demand_curve_add(struct demand_curve *c, const char *provider, uint32_t devices);
/* A provider that wants `value` from at_ms on; per provider ascending from 0. */
void demand_curve_point(struct demand_curve *c, const char *provider, int64_t at_ms, double value);
void demand_curve_done(struct demand_curve *c);

struct demand_step { int64_t at_ms; uint32_t provider; uint32_t units; };
struct demand {
	struct demand_step *steps; /* ascending by time, then provider; at 0 whatever is leased then */
	size_t steps_n, steps_cap;
	uint32_t providers_n;
	int64_t span_ms;
	uint32_t peak;     /* most devices leased at once */
	uint32_t asked;    /* the same before it was scaled, if the curve is of devices; else 0. Up to 2^30 */
	double mean;       /* over the span */
	double grown;      /* devices added by all growth in one span */
	double per_value;
};

struct demand_rule {
	double per_value; /* devices per value; 0: the most for which the peak of the sum is `peak` */
	uint32_t peak;
	int64_t scale_down_ms, idle_ms;
};
/* ERR_RANGE when the sum would exceed rule->peak. Free with demand_done(). */
int demand_make(const struct demand_curve *c, const struct demand_rule *rule, struct demand *ret, struct err *err)
	NODISCARD;
void demand_done(struct demand *d);

#endif
