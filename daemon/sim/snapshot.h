/* snapshot.h - a cluster as it stands (`sluisctl snapshot`), as input of a simulation
 *
 * One JSON object; unknown members are ignored, so that a later sluisctl may write more:
 *
 *     snapshot   1, the version of the format
 *     t_ms       when
 *     flavors    name, installed, out
 *     sides      flavor, side ("public", "private"), nominal: devices
 *     nodes      flavor, devices, out
 *     jobs       id, project, flavor, state ("waiting", "held", "running"), devices, limit_ms, start_ms; in the order
 *                in which they are looked at
 *     leases     provider, flavor, devices
 *
 * What nobody knows is how long a job will run: it is taken to run to its limit. A running job has the rest of its limit
 * left, and comes first.
 */
#ifndef SLUIS_DAEMON_SIM_SNAPSHOT_H
#define SLUIS_DAEMON_SIM_SNAPSHOT_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/sim/demand.h"
#include "daemon/sim/divide.h"
#include "daemon/sim/swf.h"
#include "proto/base/err.h"
#include "proto/base/limits.h"

struct snapshot_job {
	uint64_t id;
	char project[TEXT_BYTES];
	uint32_t units; /* devices */
	bool running;
	int64_t left_ms;
};
struct snapshot_lease { char provider[TEXT_BYTES]; uint32_t units; };

struct snapshot {
	char cluster[NAME_BYTES];
	char flavor[FLAVOR_NAME_BYTES]; /* the one that all of this is about */
	uint32_t nodes, per_node;       /* that are not out; devices of a node, in the most common size */
	uint32_t public_units, private_units;
	struct snapshot_job *jobs; /* running ones first, then in the order they are looked at */
	size_t jobs_n, running_n, held_n, others_n; /* held ones and those of other flavors are left out */
	struct snapshot_lease *leases;
	size_t leases_n;
};

/* Read `bytes` of `text`; `name` is the file for messages. `flavor` NULL: the one with most devices installed.
 * ret_snapshot must be zeroed; snapshot_done() frees it, also after an error. ERR_FORMAT names the member
 * ("name: jobs[3].devices: ..."), ERR_VERSION, ERR_NOTFOUND for a flavor that is not in it, ERR_INVAL for a cluster
 * without devices of it. */
int snapshot_parse(const char *name, const char *text, size_t bytes, const char *flavor, struct snapshot *ret_snapshot,
		   struct err *err) NODISCARD;
void snapshot_done(struct snapshot *s);

/* Its jobs as a log, all submitted at 0. `ret` must be zeroed. */
void snapshot_log(const struct snapshot *s, struct swf *ret);
/* Its jobs as a training trace, all submitted at 0; larger ones than pick->units_max are left out. */
void snapshot_trace(const struct snapshot *s, const struct divide_pick *pick, struct divide_trace *ret);
/* Its leases as a demand that stays as it is for span_ms. */
void snapshot_demand(const struct snapshot *s, int64_t span_ms, struct demand_curve *ret);

#endif
