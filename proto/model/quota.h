/* quota.h - the quota tree: root → public → sector → challenge → project and root → private → class → provider
 *
 * `nominal` here is a node's *own* part: what the division file declares for it minus what it
 * declares for its children. The slack recursion adds them up again (daemon/core/quota.h).
 */
#ifndef SLUIS_PROTO_MODEL_QUOTA_H
#define SLUIS_PROTO_MODEL_QUOTA_H

#include "proto/model/resource.h"

enum qnode_kind {
	QNODE_ROOT = 0,
	QNODE_PUBLIC,
	QNODE_SECTOR,
	QNODE_CHALLENGE,
	QNODE_PROJECT,
	QNODE_PRIVATE,
	QNODE_CLASS,
	QNODE_PROVIDER,
};

/* One (flavor, shape) of one tree node, in whole units of the shape. */
struct quota {
	uint16_t flavor;
	uint8_t shape;      /* enum shape */
	int64_t nominal;    /* own part, >= 0 */
	int64_t borrowing;  /* QTY_UNLIMITED or the most that may be used above own and children's nominal */
	int64_t lending;    /* QTY_UNLIMITED or the most slack the parent may see */
};

/* A borrowing limit of the times between two readings of a clock. The rule is kept as it was written, for people; what
 * counts are its spans. A row of windows, limits or spans that names a window does so by its place in the list. */
enum window_days { DAYS_ALL = 0, DAYS_WEEKDAY, DAYS_WEEKEND };
struct quota_window {
	uint8_t days;      /* enum window_days */
	uint16_t from_min; /* minutes of the day */
	uint16_t to_min;
	char zone[NAME_BYTES]; /* whose clock, with the version of its rules */
};
struct window_limit {
	uint8_t window;
	uint8_t shape; /* enum shape */
	uint16_t flavor;
	int64_t borrowing;
};
struct window_span {
	uint8_t window;
	int64_t from_ms; /* UTC */
	int64_t to_ms;
};

/* A part of a grant, opened gate by gate. Amounts in RU·ms (one reference GPU for one ms). */
enum stage_state { STAGE_LOCKED = 0, STAGE_RELEASED, STAGE_FROZEN, STAGE_LAPSED };
struct stage {
	char name[FLAVOR_NAME_BYTES];
	uint8_t state; /* enum stage_state */
	int64_t amount_rums;
	int64_t held_rums;  /* promised to running jobs */
	int64_t spent_rums; /* captured */
	int64_t from_ms;
	int64_t to_ms; /* 0: no end */
};

struct member { char name[NAME_BYTES]; };
struct require { char key[LABEL_BYTES]; char value[LABEL_BYTES]; };

struct qnode {
	uint32_t id; /* 1 is the root; never reused */
	uint32_t parent;
	uint8_t kind; /* enum qnode_kind */
	char name[NAME_BYTES];
	uint32_t weight;
	int64_t recall_slo_ms; /* 0: inherited from the parent */
	char pi[NAME_BYTES];     /* project: principal investigator; provider: unused */
	char tenant[NAME_BYTES]; /* provider */
	uint32_t running_jobs_max; /* 0: no limit */
	uint32_t pending_jobs_max;
	int64_t time_ms_max;
	uint32_t leases_max;
	int64_t term_ms_max;
	bool frozen;
	bool retired; /* no longer in the division; nothing new starts here */
	uint32_t quotas_n;
	struct quota *quotas;
	uint32_t members_n;
	struct member *members;
	uint32_t stages_n;
	struct stage *stages; /* none: the project has no budget limit */
	uint32_t requires_n;
	struct require *requires;
	uint32_t concentration_cap_ppm; /* what one tenant may lease below it, of the private side's nominal; 0: no limit */
	uint32_t windows_n;
	struct quota_window *windows;
	uint32_t window_limits_n;
	struct window_limit *window_limits;
	uint32_t window_spans_n;
	struct window_span *window_spans; /* that have not passed; by window, in it ascending and apart */
	uint32_t windows_open; /* bit i: window i is open, its limits hold in place of the borrowing above */
};

/* What was delivered to one leaf, in RU·ms; never decays. */
struct usage_row {
	uint16_t flavor;
	int64_t guaranteed_rums;
	int64_t loan_rums;
	int64_t refunded_rums;
	int64_t idle_rums; /* kept from others by its reservations and not used */
};
/* A claim of this node that came later than its recall time, kept after the claim has ended. */
struct breach {
	uint64_t claim;
	uint8_t owner_kind; /* enum alloc_owner: who waited */
	uint64_t owner;
	uint8_t cause;      /* enum breach_cause */
	uint8_t victim_kind; /* whom for */
	uint64_t victim;
	uint32_t node;      /* where; 0: nowhere in particular */
	int64_t due_ms;
	int64_t late_ms;
	bool dropped; /* given up, not served */
};
/* A claim that recalled loans of this node: what a cool-down counts. */
struct recalled { uint64_t claim; uint16_t flavor; uint8_t shape; int64_t at_ms; };

/* What a user has had of it, forgotten by half-lives like all of it. */
struct user_usage { uint32_t user; int64_t decayed_rums; };

struct usage {
	uint32_t qnode;
	int64_t decayed_rums; /* fair share: as of decayed_at_ms, half-life USAGE_HALF_LIFE_MS */
	int64_t decayed_at_ms;
	uint32_t rows_n;
	struct usage_row *rows;
	uint64_t claims_done;
	uint64_t claims_late;
	uint32_t breaches_n; /* the newest BREACHES_KEPT, ascending by time */
	struct breach *breaches;
	uint32_t recalled_n; /* of the last hour, at most RECALLS_KEPT of a resource, ascending by time */
	struct recalled *recalled;
	uint32_t users_n; /* ascending; who has nothing left is not there */
	struct user_usage *users;
};

#endif
