/* resource.h - flavors, shapes, classes: the words for capacity */
#ifndef SLUIS_PROTO_MODEL_RESOURCE_H
#define SLUIS_PROTO_MODEL_RESOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/limits.h"

/* What one unit of a flavor is. */
enum flavor_unit { UNIT_DEVICE = 0, UNIT_CORE = 1 };

/* The topology unit in which quota is promised. Whole nodes promised stay whole. */
enum shape { SHAPE_GPU = 0, SHAPE_NODE = 1, SHAPE_COUNT = 2 };

/* An allocation is guaranteed, or may be recalled with notice. */
enum alloc_class { CLASS_GUARANTEED = 0, CLASS_LOAN = 1 };

/* A kind of device. Matched against what agents report: vendor exact, model by glob, mig exact;
 * the first match in id order wins. `unit` UNIT_CORE makes the flavor count cores of every node. */
struct flavor {
	uint16_t id; /* 1..FLAVORS_MAX, never reused */
	char name[FLAVOR_NAME_BYTES];
	char vendor[16];
	char model[64]; /* glob with '*' and '?' */
	char mig[24];   /* profile, or empty: whole devices */
	uint8_t unit;   /* enum flavor_unit */
	uint32_t memory_mib_min;
	uint32_t weight_milli; /* 1000 = one reference GPU */
	uint32_t devices_per_node;
	uint32_t scrub_ms_max;
	uint32_t power_w;
	uint32_t committed_nodes; /* what may be promised whole */
	uint32_t committed_units; /* and singly */
	uint32_t headroom;        /* devices kept free of loans, however little the leases grow */
	bool retired;
	/* kept by sluisd: devices promised that are on no live node, since when, and whose they were */
	uint32_t deficit;
	int64_t deficit_since_ms;
	char deficit_hits[TEXT_BYTES]; /* "lease-1 job-7", as far as it goes */
};

/* What gives when less is alive than was promised. */
enum deficit_step {
	DEFICIT_SPARE = 1,      /* what is installed beyond what was promised */
	DEFICIT_STOP_LOANS,     /* no new loans while somebody entitled lacks devices */
	DEFICIT_RECALL_LOANS,   /* loans go for replacements */
	DEFICIT_SLOW_PUBLIC,    /* the public side starts no more than its share of what is alive */
	DEFICIT_LOAN_LEASES,    /* loan leases end with their next recall */
	DEFICIT_REPLACE_BROKEN, /* who lost hardware is served before others of its class */
	DEFICIT_STEPS,
};
#define DEFICIT_ORDER_DEFAULT 0x654321u /* steps, the first in the lowest four bits */

#define QTY_UNLIMITED INT64_MAX

/* Without a word in the division: a device that is wanted back sooner in seven cases of ten is not lent. */
#define LEND_RISK_DEFAULT 700000u

/* What the division says for jobs and leases that name nothing; 0: sluisd's own setting holds. */
struct division_defaults {
	int64_t job_time_ms;
	int64_t job_notice_ms;
	int64_t lease_ttl_ms;
	int64_t lease_grace_ms;
	int64_t lease_term_ms;
};

#endif
