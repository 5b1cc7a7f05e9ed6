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
	bool retired;
};

#define QTY_UNLIMITED INT64_MAX

/* What the division says for jobs and leases that name nothing; 0: sluisd's own setting holds. */
struct division_defaults {
	int64_t job_time_ms;
	int64_t job_notice_ms;
	int64_t lease_ttl_ms;
	int64_t lease_grace_ms;
	int64_t lease_term_ms;
};

#endif
