/* division.h - division.yaml as plain data: flavors, what is committed, and the quota tree
 *
 * In the file a node's `nominal` is a total that contains its children's. Here each tree node has both:
 * `nominal`, what the file says, and `own`, that total minus what the children declare. A flavor that a
 * node's nominal does not name is the sum of its children's; once it names the flavor, a shape it leaves
 * out is 0. A borrowing or lending limit that is left out is no limit, shape by shape. A default for jobs
 * or leases that is left out is 0: sluisd's own setting holds.
 *
 * What the file alone can decide is checked here, with line and column: children within their parent,
 * public + private within committed, each tenant within its class's concentration cap, known flavors and predicates, stages in order and within the award.
 * Instants without a zone are UTC, so the file means the same wherever it is read.
 */
#ifndef SLUIS_PROTO_CONFIG_DIVISION_H
#define SLUIS_PROTO_CONFIG_DIVISION_H

#include "proto/config/config.h"

#define DIVISION_UNSET INT64_C(-1)

/* Whole nodes, single devices, cores; DIVISION_UNSET where the file says nothing. */
struct division_amount { int64_t nodes, gpus, cores; };

enum division_unit { DIVISION_UNIT_DEVICE, DIVISION_UNIT_CORE };
enum division_class { DIVISION_URGENT, DIVISION_NORMAL, DIVISION_STANDBY, DIVISION_SCAVENGER };
enum division_every { EVERY_DAY, EVERY_WEEKDAY, EVERY_WEEKEND };

struct division_flavor {
	struct conf_head head;
	const char *vendor, *model, *mig; /* NULL: any; model is a glob */
	int64_t memory_mib;		  /* 0: any */
	int64_t weight_milli;
	int64_t power_w; /* 0: not known */
	int64_t scrub_max_ms;
	int unit; /* enum division_unit */
	int64_t devices_per_node;
	int64_t headroom; /* devices that are never lent */
	struct division_amount committed; /* unset: nothing may be promised */
};

struct division_claim { const char *key; struct conf_texts values; }; /* one of the values */
struct division_predicate {
	const char *name;
	struct division_claim *claims; /* all of them */
	size_t claims_count;
	uint32_t line, col;
};

struct division_stage {
	struct conf_head head;
	const char *name;
	int64_t amount_mrus;
	int64_t from_ms, to_ms; /* to_ms 0: no end */
	const char *after;	/* NULL: may be released first */
	int64_t carry_over_ppm;
};

/* While the clock of that zone is between the two, the limits said here hold in place of borrowing_limit; a shape that is
 * left out keeps what it has. Of several open windows the largest limit holds. */
struct division_window {
	struct conf_head head;
	int every; /* enum division_every */
	int64_t from_min, to_min; /* minutes of the day; 1440 is its end */
	const char *zone; /* NULL: UTC */
	struct division_amount *borrowing; /* by flavor */
};

enum division_kind {
	DIVISION_ROOT,
	DIVISION_PUBLIC,
	DIVISION_PRIVATE,
	DIVISION_SECTOR,
	DIVISION_CHALLENGE,
	DIVISION_PROJECT,
	DIVISION_CLASS,
	DIVISION_PROVIDER,
};

struct division_node {
	int kind; /* enum division_kind */
	const char *name;
	uint32_t parent; /* index; of the root: 0, itself */
	uint32_t line, col;
	/* each an array of flavors.count, in the order of flavors */
	struct division_amount *nominal, *own, *borrowing, *lending;
	int64_t weight;
	int64_t recall_slo_ms; /* 0: the parent's */
	const char *pi, *tenant;
	struct conf_texts members, require;
	struct {
		int64_t running_jobs, pending_jobs, time_max_ms, leases, term_max_ms; /* 0: no limit */
	} limits;
	struct {
		int64_t awarded_mrus; /* 0 and no stages: no budget limit */
		int64_t approve_k;    /* 0: one gatekeeper */
		struct conf_texts approve_of;
		struct conf_items stages; /* struct division_stage */
	} grant;
	struct conf_items windows; /* struct division_window */
	int64_t concentration_cap_ppm; /* class: of the private side's nominal, for one tenant's leases; 0: no limit */
};

struct division {
	struct arena arena;
	int64_t version;
	const char *cluster;
	struct { struct division_flavor *items; size_t count; } flavors;
	struct { struct division_predicate *items; size_t count; } predicates;
	struct {
		int64_t job_time_ms, job_notice_ms, job_retries_infra, job_retries_user;
		int job_class; /* enum division_class */
		int64_t lease_ttl_ms, lease_grace_ms, lease_term_ms, lease_notice_nonrenew_ms;
	} defaults;
	struct division_node *nodes; /* [0] is the root; a parent stands before its children */
	size_t nodes_count;
	struct conf_texts deficit_order;
	int64_t lend_risk_ppm; /* 0: sluisd's own */
};

/* Parse a file or bytes. On ERR_CONFIG errs holds the reasons and *ret_division is untouched; else the
 * caller frees with division_free. Cost: O(bytes + nodes * flavors). */
int division_read_file(const char *path, struct division **ret_division, struct config_errors *errs) NODISCARD;
int division_read_bytes(const char *name, const void *bytes, size_t len, struct division **ret_division,
			struct config_errors *errs) NODISCARD;
void division_free(struct division *division);
/* The canonical file, appended: reading it back gives the same division. */
void division_write(const struct division *division, struct buf *out);
/* Index of a flavor by name, or -1. */
int division_deficit_step(const char *name); /* 1.. in the order of enum deficit_step; 0: there is none */
int division_flavor(const struct division *division, const char *name);
/* "public/health/lung-screening" of a node, appended; nothing for the root. */
void division_path(const struct division *division, size_t node, struct buf *out);
const char *division_kind_text(int kind);

#endif
