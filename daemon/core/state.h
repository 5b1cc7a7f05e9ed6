/* state.h - the core's insides, shared by the files of daemon/core only
 *
 * Every record lives in one wrapper that owns a deep copy and whatever is derived from it. Derived
 * state is rebuilt by core_apply alone, so loading the records from the disk gives the same core.
 */
#ifndef SLUIS_DAEMON_CORE_STATE_H
#define SLUIS_DAEMON_CORE_STATE_H

#include "daemon/core/cert.h"
#include "daemon/core/core.h"
#include "daemon/core/idtab.h"
#include "daemon/core/packed.h"
#include "daemon/core/profile.h"
#include "daemon/core/quota.h"
#include "daemon/core/timer.h"
#include "proto/base/bits.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"
#include "proto/base/minmax.h"
#include "proto/base/ppm.h"
#include "proto/model/reason.h"

#define USAGE_HALF_LIFE_MS (14 * MS_PER_DAY)
#define IDEM_KEEP_MS (30 * MS_PER_DAY)
#define RECALL_SLO_DEFAULT_MS (15 * MS_PER_MIN)
#define LEASE_STOP_MS (60 * MS_PER_S) /* from the end of a lease to the kill of what still runs there */
/* Spans and instants from outside stay below these, so that no sum of a few of them overflows. */
#define SPAN_MAX_MS (36500 * MS_PER_DAY)
#define INSTANT_MAX_MS (3650000 * MS_PER_DAY)
enum {
	RESOURCES_MAX = (FLAVORS_MAX + 1) * SHAPE_COUNT, /* index: flavor id * 2 + shape */
	LOOK_AGAIN_MS = 5 * MS_PER_MIN, /* while anybody waits, everything is looked at so often, whatever was noted */
	SCHED_BUDGET = 4096,  /* needs tried in one look: scratch->look_max, which tests set lower */
	HOLDS_DEFAULT = 64,   /* reserved starts per flavor; one of each project */
	REASONS_KEPT = 8,     /* per job, for "how long has each reason held" */
	FINISHED_JOBS_MAX = 200000,
	OPEN_JOBS_MAX = 4096, /* records of jobs that are open when a decision begins: 3 MB */
};

struct unit_ref { uint64_t alloc; uint16_t part; };

/* Part `part` of a reservation is at this node. */
struct pin { uint64_t reservation; uint32_t part; };
/* A node in the roster of one of its flavors (roster.h). */
struct seat {
	uint16_t flavor; /* 0: it has no devices of any, and counts in cores */
	uint32_t at;     /* place in topology order; none while the rosters are stale */
	uint64_t mask;   /* its healthy devices */
	uint32_t n;      /* its devices, healthy or not */
	bool live[2], broken, pinned; /* as it was counted */
};

/* A node that its owner has broken: inside its nominal of whole nodes it runs single devices there (carrier.c). */
struct carrier {
	uint32_t qnode;
	uint16_t flavor;  /* 0: none */
	uint64_t devices; /* all of that flavor on the node, healthy or not */
	int64_t until_ms; /* of the piece that stays longest */
};
struct node_s {
	struct node r;
	uint64_t holder[DEVICES_PER_NODE_MAX];   /* alloc id; 0 free */
	uint64_t claimant[DEVICES_PER_NODE_MAX]; /* claim id; 0 none */
	uint64_t held;    /* devices with a holder */
	uint64_t claimed; /* devices with a claimant */
	uint64_t loaned;  /* devices held by a loan */
	uint64_t back[CERT_CLASSES_MAX]; /* of these, by the deadline class within which they are back */
	uint64_t cores_held[CORE_WORDS];
	uint64_t cores_claimed[CORE_WORDS];
	uint64_t cores_loaned[CORE_WORDS];
	uint32_t memory_held_mib;
	uint32_t memory_claimed_mib; /* also what the claims' victims still hold of it */
	uint32_t fraction_parts; /* guaranteed gpu-shaped parts here, not carried ones: the node is broken */
	struct carrier carrier;
	struct node_s *carrier_next; /* of its owner */
	/* of the record, for placing: */
	uint64_t cores_usable[CORE_WORDS];
	uint32_t cores_usable_n, core_words;
	const struct affinity *affinity; /* of all its devices */
	struct seat *seat; /* ascending by flavor */
	uint32_t seats_n;
	struct unit_ref *units;
	uint32_t units_n, units_cap;
	struct pin *pins; /* of confirmed and active reservations, by (reservation, part) */
	uint32_t pins_n, pins_cap;
	struct timer timer;
};

/* A million of these, most of them waiting in line behind others: the record is packed, and opened when somebody
 * looks at it (opened.c): job_rec(), job_read() and JOB_GET(). Only job_keep() changes it. */
struct job_s {
	uint8_t *packed;  /* struct job; the lists it points to are this one's, too */
	struct line *line;   /* while PENDING */
	struct timer wait;   /* place in it: by submission */
	struct timer timer;
	uint32_t open, open_at; /* its index in core->opened, if open_at is that one's */
	uint32_t pending_at; /* index into core->pending + 1 */
	uint32_t extras_n;    /* allocations beside its core */
	uint32_t extra_units; /* in those that are not being given back */
	/* volatile: never in facts, lost at restart */
	uint32_t order : 31;     /* place in line as of the last sched_order */
	uint32_t told_place : 1; /* what was told first is a reserved start */
	uint32_t p50_s, p90_s;   /* the likely start as of then, in seconds; 0: nobody can tell */
	uint32_t told50_s, told90_s; /* what could be told first; 0: nothing yet */
};

/* Waiting jobs, by what they ask for (line.c): jobs that only their submission tells apart are a line, lines
 * that only their time limit tells apart a need, the needs of a project and flavor a group. */
struct reason_span { uint16_t code; int64_t elapsed_ms; };
struct need {
	uint64_t hash;       /* first: see struct hashed */
	struct timers lines; /* by time limit */
	struct timers aged;  /* by submission of their first jobs */
	struct group *group;
	uint32_t at;         /* index in it + 1; 0: not in it */
	uint32_t project, user, units;
	uint16_t flavor;
	uint8_t shape, klass;
	bool loan_only, loan_ok;
	bool carriable; /* see carrier_suits() */
	bool plain; /* its jobs have no past and no conditions of their own: what is known here is all, until one is placed */
	int64_t notice_ms, exempt_ms, back_ms;
	bool fresh;  /* in scratch->fresh */
	bool lacks;  /* devices and nothing else, as of the last look; see sched_lacks() */
	bool parked; /* no device that comes free helps it: it waits for the job named, or for an order */
	uint64_t waits_for;
	struct need *wait_next, *wait_prev;
	uint64_t tried; /* walk that found that it cannot start */
	/* what was found when it was looked at last; volatile */
	uint16_t reason, as_loan; /* as_loan: what stops it as a loan, where the reason is its own quota; 0 */
	uint64_t reason_job; /* the job that stands in the way; 0 */
	int64_t reason_since_ms;
	struct reason_span span[REASONS_KEPT];
};
struct line {
	uint64_t hash;      /* first: see struct hashed */
	struct timers jobs; /* by submission */
	struct need *need;
	struct timer by_limit, by_age; /* places in it */
	uint64_t head, submit_seq; /* of the first */
	int64_t submit_ms, limit_ms;
};
struct group {
	uint16_t flavor;
	struct need **need;
	uint32_t n, cap;
	uint32_t klass_n[JOB_SYSTEM + 1];
};
/* Objects whose first member is the hash they are found by. */
struct hashed {
	uint64_t **all;
	uint32_t n, cap;
	uint64_t **slot; /* open addressing, capacity a power of two */
	uint32_t slots;
};
struct alloc_s {
	struct alloc r;
	struct timer timer;
	int64_t until_ms; /* the plan counts it until then */
	int64_t lost_from_ms; /* stopping it now loses the work since then; T_NEVER: nothing */
	uint8_t rank;         /* whose turn it is to go: lower first */
	struct timer by_end;  /* place in its loan_class: by until_ms */
	uint32_t loan_at;     /* index into core->loan_keys + 1; 0: not on loan */
	struct alloc_s *lease_next; /* of the same lease */
};
/* What a claim's plan asks of every loan before it looks at a few of them, side by side. */
struct loan_key {
	uint64_t id;
	const struct alloc_s *alloc;
	int64_t lost_from_ms;
	uint32_t units, node; /* node: 0 if on several */
	uint16_t flavor;
	uint8_t shape, rank;
};
/* Where a lease would make devices scarce: at that instant, so many, by which reservation (0: none, jobs were promised
 * the others). */
struct plan_low { int64_t at_ms, devices; uint64_t reservation; };
struct lease_s {
	struct lease r;
	struct renewal renewal; /* lease 0: none yet */
	struct timer timer;      /* contract */
	struct timer live_timer; /* liveness */
	uint32_t units_held;     /* in allocations that are not being given back */
	uint32_t units_active;
	struct alloc_s *allocs;  /* in no order that decides anything */
	uint32_t allocs_n;
	uint32_t units_claimed;  /* being fetched by its claims */
	uint16_t reason;
	int64_t reason_since_ms;
	struct cert_short tight; /* devices 0, or why it was refused */
	struct plan_low low;     /* the same, if the calendar is why */
};
struct claim_s {
	struct claim r;
	struct timer timer;
	int64_t until_ms; /* the plan counts it until then */
};
struct reservation_s {
	struct reservation r;
	struct timer timer;
	uint32_t inside; /* allocations placed inside it */
	struct bar *bars; /* as it stands in the plan, by flavor */
	uint32_t bars_n;
};
struct loan_class { uint32_t resource, units; struct timers by_end; };
struct qnode_s {
	struct qnode r;
	struct timer timer; /* the next edge of its windows */
	uint32_t at; /* index in the quota trees */
	uint32_t running, pending; /* jobs */
	uint32_t leases;           /* that have not ended */
	struct idtab lent;         /* loans that name it as a lender and have not been told to go */
	uint32_t rank;             /* place in scratch->order */
	uint32_t holds;            /* reservations of its jobs */
	struct group **group;      /* of its waiting jobs, one per flavor */
	uint32_t groups_n;
	struct idtab loans;            /* its running loans, and the same by resource and units (promote.c) */
	struct loan_class *loan_class;
	uint32_t loan_classes_n;
	struct usage usage;
	struct node_s *carriers; /* nodes that it has broken, in no order */
};
struct flavor_s { struct flavor r; };
struct idem_s { struct idem r; struct timer timer; };
/* Answers remembered (idem.c): open addressing, capacities powers of two. */
struct idems {
	struct idem_s **slot, **old; /* old: the table before it grew; NULL: all have moved */
	uint32_t n, cap, old_cap, moved; /* slots of the old one that were looked at */
};
struct approval_s { struct approval r; struct timer timer; };
struct idem_s *idem_find(const struct core *c, uint64_t id);
void idem_put(struct core *c, const struct idem *r);
void idem_del(struct core *c, uint64_t id);
uint64_t idem_next(const struct core *c, uint64_t after); /* the smallest id above; 0. O(capacity) */
void idems_done(struct core *c);

/* What is taken until when (plan.c): the profiles count what is taken as negative. */
struct plan_flavor {
	struct profile firm, total; /* devices */
	struct profile whole;       /* nodes: guaranteed work and reservations of the shape node */
	struct profile single;      /* devices: those of the other shape */
	int64_t ready;              /* healthy devices on nodes that may be used; [0]: cores */
	int64_t ready_whole;        /* nodes of them of which every device is */
	uint32_t holds, holds_total, holds_whole; /* reservations; of them, for want of devices; of nodes */
	uint32_t bars;
	int64_t owed[SHAPE_COUNT]; /* units that granted leases lack and nobody fetches for them */
	uint64_t first[2]; /* jobs whose reservations begin first; 0: none */
	bool firsts_stale;
};
struct pool {
	uint32_t at; /* index in the quota trees of the node whose nominal it is */
	int64_t own;
	struct profile firm; /* units */
	uint32_t holds;
};
/* A reservation as it stands in the profiles. */
struct hold {
	uint64_t job;
	int64_t from_ms, to_ms, units, devices;
	uint32_t qnode;
	uint16_t flavor;
	uint8_t shape;
	bool total; /* for want of devices: loans have to respect it, too */
	bool promised;
};
/* Devices of one flavor that a reservation of the calendar takes away, as it stands in the profiles: in each of
 * the spans, ascending and apart. A span is a window with the holds that meet it (plan.c). */
struct bar {
	uint16_t flavor;
	int64_t devices, nodes; /* nodes: of those that could be had whole, how many it has something of */
	struct window *spans;
	uint32_t spans_n;
};
struct plan_pools {
	struct pool *pool;
	uint32_t n;
	struct pool **of; /* by tree index; NULL: none */
};

/* Counters of the certificate, for each flavor of devices (certify.c). */
struct cert_flavor {
	struct cert_levels levels; /* n 0: not counted */
	struct cert_cells supply[CERT_CLASSES_MAX]; /* by the class up to which everything is waited for */
	struct cert_cells demand;
};
struct certify {
	uint32_t classes;
	int64_t class_ms[CERT_CLASSES_MAX]; /* recall times promised, ascending */
	struct cert_flavor flavor[FLAVORS_MAX + 1];
};
struct affinity;
struct node_type { struct node_type *next; struct affinity *affinity; uint64_t hash; uint32_t nodes; };

/* What is kept free of loans in a flavor (headroom.c). */
struct headroom {
	struct forecast r;    /* flavor 0: none yet */
	int64_t leased, peak; /* devices that firm leases have or are fetching; the most since the record was written */
	int64_t last;         /* leased before the change under way */
	int64_t extra;        /* extra units of elastic jobs */
	uint32_t kept[FORECAST_WINDOWS];
};

struct core {
	bool have_cluster;
	struct cluster cluster;
	struct flavor_s *flavor[FLAVORS_MAX + 1];
	struct idtab qnodes, nodes, principals, creds, tokens, leases, jobs, allocs, claims, approvals, reservations;
	struct idems idems;
	/* derived */
	uint32_t *tree_parent;            /* of the quota trees */
	uint32_t *tree_id;                /* index → qnode id */
	int64_t *tree_slo_ms;             /* index → its recall time */
	int64_t live[FLAVORS_MAX + 1];     /* healthy devices on nodes that are heard */
	int64_t promised[FLAVORS_MAX + 1]; /* sum of the nominals, in devices; with the trees */
	int64_t promised_private[FLAVORS_MAX + 1]; /* of it, to the private side */
	struct headroom headroom[FLAVORS_MAX + 1];
	uint32_t overnoted;               /* lenders named for more than they have left, over all trees */
	uint32_t tree_n;
	bool tree_stale;
	int64_t promised_whole[FLAVORS_MAX + 1]; /* nodes: Σ of the own nominals; made with the trees */
	struct quota_tree tree[RESOURCES_MAX]; /* cell NULL: resource not in use */
	uint64_t *pending;                /* ids of pending and earmarked jobs, ascending by id */
	uint32_t pending_n, pending_cap;
	struct hashed lines, needs;       /* empty ones stay until the next sweep */
	uint32_t lines_empty;
	struct idtab waiters;             /* job → first of the needs that wait for it */
	struct plan_flavor plan[FLAVORS_MAX + 1];
	struct plan_pools pools[RESOURCES_MAX];
	struct certify certify;
	struct idtab holds;               /* job → struct hold */
	uint32_t bars_n;                  /* of all reservations */
	struct idtab hungry;              /* leases that lack devices */
	struct idtab loans;               /* allocations on loan */
	struct loan_key *loan_keys;       /* of each of them, in no order that decides anything */
	uint32_t loan_keys_n, loan_keys_cap;
	struct idtab elastic;             /* running jobs that may grow */
	struct idtab ended;               /* jobs */
	struct roster *roster[FLAVORS_MAX + 1]; /* nodes in order of topology; [0]: those counted in cores */
	bool rosters_stale;
	uint64_t arrivals[FLAVORS_MAX + 1][DEVICES_PER_NODE_MAX + 1]; /* requests by devices on a node; [0]: whole ones */
	bool arrivals_changed[FLAVORS_MAX + 1]; /* since the mix was made of them */
	struct node_type *node_types;       /* in no order that decides anything */
	struct timers timers;             /* logical time */
	struct timers live_timers;        /* live time */
	struct scratch *scratch;          /* scheduler's memory between ticks: a cache, not state */
	struct opened *opened;            /* records of jobs looked at lately: a cache, too */
};

/* More allocations than can have been made between a backup and its restore. */
#define ALLOCS_LOST_MAX (UINT64_C(1) << 32)
#define PARTS_LOST_MAX 256U /* of one allocation */

/* ---- records of jobs (opened.c) -------------------------------------------------------------- */
/* Opened, for whoever decides: valid until the next core_decide, core_view or core_next_id, and it shows what is
 * applied meanwhile. The first time about 100 ns, then O(1). */
const struct job *job_rec(const struct core *c, const struct job_s *j);
/* Opened into storage of the caller, for walks over all of them. The lists are borrowed until the job changes. */
void job_read(const struct job_s *j, struct job *ret);
/* One field of at most 8 bytes, without opening it. */
#define JOB_GET(j, field)                                                                          \
	__extension__({                                                                            \
		__typeof__(((struct job *)0)->field) got_;                                         \
		packed_field((j)->packed, sizeof(struct job), offsetof(struct job, field), &got_, sizeof got_); \
		got_;                                                                              \
	})
/* For core_apply: `rec` is what it says from now on. */
void job_keep(struct core *c, struct job_s *j, const struct job *rec);
struct opened *opened_new(void);
void opened_free(struct opened *o);
void opened_begin(const struct core *c); /* pointers that job_rec() gave are valid no longer */


/* What a fact may have made possible; cleared when a look found nothing. */
enum {
	WORK_CLAIMS = 1,
	WORK_LEASES = 2,
	WORK_PROMOTE = 4,
	WORK_JOBS = 8,   /* order, limits or nodes changed: look at everything */
	WORK_FREED = 16, /* devices, quota or time of the flavors in scratch->freed */
	WORK_WALK = 32,  /* a walk is under way: starting a job frees nothing, so it goes on where it was */
	WORK_FRESH = 64, /* needs with a new first job */
	WORK_RESERVE = 128, /* a reservation may have lost devices, or find others */
	WORK_GROW = 256,    /* an elastic job may get more, or has to give back */
	WORK_DEVICES = WORK_CLAIMS | WORK_LEASES | WORK_PROMOTE | WORK_RESERVE | WORK_GROW,
	WORK_ALL = WORK_DEVICES | WORK_JOBS,
};
enum { FAILED_KEPT = 64, NAMES_KEPT = 256 };

/* Place of a need in its group's order: compared as numbers, smaller first. */
struct pick { int64_t usage; uint32_t user; bool young; uint64_t area, submit, id; struct need *need; };
/* A request for devices that failed since anything was freed: more units fail, too. */
struct failed { uint64_t hash; uint32_t units; uint64_t total; uint16_t reason; };
struct name_kept { char name[TEXT_BYTES]; uint32_t qnode; };

/* What the scheduler remembers to avoid looking again. It starts from nothing after a restart, when
 * CMD_RECOVER orders a whole pass. */
struct scratch {
	uint32_t work; /* WORK_* */
	uint64_t freed; /* flavors, by bit */
	struct need **fresh;
	uint32_t fresh_n, fresh_at, fresh_cap;
	/* the walk over the groups of one flavor: classes, in quota before on loan, projects in order, needs */
	uint64_t walk; /* number of the walk, from 1 */
	uint16_t walk_flavor;
	uint8_t walk_klass, walk_loans;
	uint64_t barred;    /* flavors of which somebody in quota waits for the calendar: bit f, see needs_wake_barred() */
	uint64_t walk_free; /* devices that were free for loans when one did not fit; UINT64_MAX: all did */
	uint32_t walk_project, walk_pick;
	struct pick *pick;
	uint32_t pick_n, pick_cap;
	struct qnode_s **order; /* projects in order */
	uint32_t order_n, order_cap;
	bool order_stale;
	uint32_t look_max, looked; /* needs that one look may try; that the last one tried */
	int64_t pause_ms; /* the budget of one look is used up: it goes on then */
	struct failed failed[FAILED_KEPT];
	struct name_kept names[NAMES_KEPT];
	bool names_kept; /* any */
	bool deficit_look; /* what is alive or promised has changed */
	int64_t ordered_ms;
	uint64_t headroom_due;  /* flavors, by bit, whose forecast has to be written */
	int64_t headroom_ms;    /* then; 0: at the end of this span */
	int64_t grow_ms; /* an elastic job may be resized again; 0: none waits for that */
	int64_t lease_ms; /* the plan changes then, for which a lease waits; 0: none */
	int64_t again_ms; /* everything is looked at then (LOOK_AGAIN_MS); 0: nobody waits */
	int64_t wake_ms; /* a stage somebody waits for opens then, or the plan changes; 0: none */
	uint64_t expiries, renewals, claims_done, claims_breached;
	uint64_t promises_given, promises_kept, promises_broken;
	uint64_t estimates, estimates_in; /* scored at the start; of them, no later than p90 */
	int64_t estimate_error_ms;        /* sum of |start - p50| */
	int32_t stretch50, stretch90; /* by which estimates are taken longer or shorter, in 1/1024: see estimate.c */
	int64_t run_sum_s, limit_sum_s;   /* of jobs that have ended */
};
/* Look again then, if not before; T_NEVER: time alone changes nothing. */
static inline void wake_at(int64_t *wake_ms, int64_t at_ms)
{
	if (at_ms != T_NEVER && (!*wake_ms || at_ms < *wake_ms))
		*wake_ms = at_ms;
}

/* ---- lookups (wrappers) ------------------------------------------------------------------- */
static inline struct node_s *node_of(const struct core *c, uint64_t id) { return idtab_get(&c->nodes, id); }
static inline struct job_s *job_of(const struct core *c, uint64_t id) { return idtab_get(&c->jobs, id); }
static inline struct lease_s *lease_of(const struct core *c, uint64_t id) { return idtab_get(&c->leases, id); }
static inline struct alloc_s *alloc_of(const struct core *c, uint64_t id) { return idtab_get(&c->allocs, id); }
static inline struct claim_s *claim_of(const struct core *c, uint64_t id) { return idtab_get(&c->claims, id); }
static inline struct qnode_s *qnode_of(const struct core *c, uint64_t id) { return idtab_get(&c->qnodes, id); }
static inline const struct flavor *flavor_of(const struct core *c, uint16_t id)
{
	return id <= FLAVORS_MAX && c->flavor[id] ? &c->flavor[id]->r : NULL;
}
#define EACH(core, table, type, var)                                                               \
	for (struct { uint64_t id; void *p; } var##_it = {0, NULL};                                \
	     (var##_it.id = idtab_next(&(core)->table, var##_it.id, &var##_it.p)) != 0;)           \
		for (struct type *var = var##_it.p; var; var = NULL)

/* Units of a shape as single devices (or cores). */
static inline int64_t in_devices(const struct core *c, uint16_t flavor, uint8_t shape, int64_t units)
{
	return shape == SHAPE_NODE ? units * flavor_of(c, flavor)->devices_per_node : units;
}
static inline uint32_t resource_index(uint16_t flavor, uint8_t shape)
{
	return (uint32_t)flavor * SHAPE_COUNT + shape;
}
/* Tree of a resource; NULL when nobody has quota in it. Rebuilds after a change of the division. */
struct quota_tree *tree_of(const struct core *c, uint16_t flavor, uint8_t shape);
static inline int64_t live_ms(const struct core *c, int64_t t_ms) { return t_ms - c->cluster.down_ms; }
/* recall_slo of a node, inherited. */
int64_t qnode_recall_slo(const struct core *c, uint32_t id);
bool qnode_under(const struct core *c, uint32_t id, uint32_t ancestor);
bool qnode_public(const struct core *c, uint32_t id); /* of the public side */

/* ---- masks --------------------------------------------------------------------------------- */
static inline unsigned mask_count(const uint64_t m[CORE_WORDS])
{
	unsigned n = 0;

	for (int i = 0; i < CORE_WORDS; i++)
		n += popcount64(m[i]);
	return n;
}
static inline void mask_or(uint64_t to[CORE_WORDS], const uint64_t m[CORE_WORDS])
{
	for (int i = 0; i < CORE_WORDS; i++)
		to[i] |= m[i];
}
static inline void mask_andnot(uint64_t to[CORE_WORDS], const uint64_t m[CORE_WORDS])
{
	for (int i = 0; i < CORE_WORDS; i++)
		to[i] &= ~m[i];
}

/* ---- making facts: a copy of the record to change; the same one if this decision has it already */
void *edit(const struct core *c, struct decision *d, uint8_t kind, uint64_t id);
void *create(struct decision *d, uint8_t kind, uint64_t id); /* zeroed */
void drop(struct decision *d, uint8_t kind, uint64_t id);
/* The record as this decision leaves it so far: edited or stored; NULL when deleted or absent. */
const void *peek(const struct core *c, const struct decision *d, uint8_t kind, uint64_t id);
#define EDIT(c, d, KIND, type, id) ((struct type *)edit((c), (d), (KIND), (id)))
static inline struct cluster *edit_cluster(const struct core *c, struct decision *d)
{
	return edit(c, d, RECORD_CLUSTER, 1);
}

/* ---- placing (place.c) ---------------------------------------------------------------------- */
enum place_over {
	PLACE_FREE = 0,   /* free devices only */
	PLACE_OVER_LOANS, /* devices held by loans that may be recalled count as free (claim planning) */
	PLACE_EMPTY,      /* everything installed counts: could it ever run? */
	PLACE_CALENDAR,   /* what can be pinned for the windows of `calendar` */
};
struct calendar_ask { int64_t t; const struct window *windows; uint32_t windows_n; bool ignore_jobs; };
struct place_ask {
	uint16_t flavor;
	uint8_t shape;
	uint8_t klass;      /* guaranteed gpu-shaped work stays in the fractional area */
	uint8_t over;       /* enum place_over */
	uint32_t units;     /* shape units */
	uint32_t chunk;     /* SHAPE_GPU: so many on one node; 0: as it fits, best on one node */
	bool chunk_parts;   /* one part per chunk (replicas), else one part per node */
	bool distinct;      /* each chunk on another node */
	uint16_t cpus;      /* per node; 0: the share of its devices */
	uint32_t memory_mib; /* per node; 0: the share */
	const struct require *requires; /* labels */
	uint32_t requires_n;
	const struct node_ref *excluded;
	uint32_t excluded_n;
	uint8_t topology;       /* enum topology: several nodes of one group, if any has room */
	bool topology_required; /* of one, or none */
	uint32_t leaf_max; /* units of one leaf, with what `lease` has there; chunks or nodes only; 0: no limit */
	uint64_t lease;
	uint64_t *ret_total;   /* units that are free in all, set on failure; may be NULL */
	uint64_t *ret_largest; /* the most that one node has, or one group where one is required; may be NULL */
	int64_t until_ms;     /* it is gone, or can be, by then; 0: it stays. See reservation.h */
	uint64_t reservation; /* only inside this one; 0 */
	uint64_t magnet;      /* the magnetic one it may use beside the rest; 0 */
	bool unbarred;        /* as if there were no reservations: to tell why it does not fit */
	const struct calendar_ask *calendar; /* PLACE_CALENDAR */
	const uint64_t *victims; /* PLACE_OVER_LOANS: only these allocations, ascending; NULL: any loan */
	uint32_t victims_n;
};
/* Fill parts (in `arena`). Returns 0, or the reason that blocks: REASON_NO_SHAPE, _FRAGMENTED,
 * _NODES_OUT, _RESERVED or _MAINTENANCE. Fewest nodes, best fit, topology order; the search is complete.
 * O(parts x buckets in use), where one node is as good as any other; a request with conditions of its own
 * (labels, cores, memory, nodes to avoid, reservations) passes over the nodes that do not suit, and one that
 * fails counts what would have suited: O(nodes). PLACE_OVER_LOANS: and the parts of the loans. */
int place(const struct core *c, const struct place_ask *ask, struct arena *arena, struct part **ret_parts,
	  uint32_t *ret_n);

/* The same of single devices on this very node: of what is free there, or of what `within` has of it (NULL: no such
 * limit). Whose node it is was judged before. O(1). */
bool place_inside(const struct core *c, const struct place_ask *ask, const struct node_s *n, const struct part *within,
		  struct arena *arena, struct part **ret_part);
/* Labels and exclusions: may it be this node at all? */
bool place_node_matches(const struct node *n, const struct place_ask *ask);
/* Nodes that guaranteed single-device work may still break, of `live` nodes of which it broke `broken`. O(1). */
uint32_t place_breakable(const struct core *c, uint16_t flavor, uint32_t live, uint32_t broken);
/* Nodes that guaranteed single-device work can come to break, at most: as many as are nobody's whole, and a device of
 * its own on each. O(1). */
uint32_t place_area(const struct core *c, uint16_t flavor);
uint32_t place_area_nodes(const struct core *c, uint16_t flavor); /* the first of the two alone */
/* May a running loan become guaranteed where it stands, without breaking a node promised whole? O(parts). */
bool place_may_guarantee(const struct core *c, const struct alloc *a);
/* What the node has of a flavor; NULL: nothing. O(its flavors). */
static inline const struct seat *node_seat(const struct node_s *n, uint16_t flavor)
{
	for (uint32_t i = 0; i < n->seats_n; i++)
		if (n->seat[i].flavor == flavor)
			return &n->seat[i];
	return NULL;
}
uint64_t node_flavor_mask(const struct node_s *n, uint16_t flavor); /* healthy devices of it */
/* Flavors counted in cores live on nodes that have no device of another flavor. */
static inline bool node_is_cpu(const struct node_s *n) { return n->seats_n == 1 && !n->seat[0].flavor; }
/* Of `total` cores or memory of a node, what goes along with so many devices of a flavor: by weight, so that seven
 * slices of a chip have together what a whole chip of another flavor has beside them. */
uint64_t share_for(const struct core *c, const struct node_s *n, uint16_t flavor, uint32_t devices, uint64_t total);
/* The weight of one device of it, and of all devices of the node. */
uint64_t share_weight(const struct core *c, const struct node_s *n, uint16_t flavor, uint64_t *ret_all);
/* What a node has for jobs. */
static inline uint32_t node_memory_mib(const struct node *n)
{
	return n->memory_mib > n->memory_reserved_mib ? n->memory_mib - n->memory_reserved_mib : 0;
}
/* Of the memory claimed on it, what nobody who has to go for a claim leaves behind. */
uint32_t node_memory_owed(const struct core *c, const struct node_s *n, const struct place_ask *ask);
/* Derive from the record what placing asks of it. TRUE if its place in the order of nodes may be another now. */
bool node_derive(struct core *c, struct node_s *n);
void node_forget_type(struct core *c, struct node_s *n); /* before the node goes */
/* Tell the rosters what a node has now (roster.c). O(flavors of the node). */
void node_index(struct core *c, struct node_s *n);

/* ---- deciding -------------------------------------------------------------------------------- */
int authz(const struct core *c, int64_t t, const struct command *cmd, uint16_t *ret_rule, struct err *err);

int decide_init(const struct core *c, int64_t t, const struct command *cmd, struct decision *d, struct err *err);
int decide_recover(const struct core *c, int64_t t, const struct command *cmd, struct decision *d, struct err *err);
int decide_enrolment(const struct core *c, int64_t t, const struct command *cmd, struct decision *d, struct err *err);
const char *utc_text(int64_t ms, char out[24]); /* "2027-01-15 17:00 UTC"; returns out */
/* Why `units` more cannot be lent to `leaf`, when a window will raise the limit that stops it: else false. */
bool windows_raise_text(const struct core *c, uint32_t leaf, uint16_t flavor, uint8_t shape, int64_t units,
			char out[TEXT_BYTES]);
int64_t qnode_due(const struct qnode *q); /* the next edge of its windows, or T_NEVER */
bool tick_qnode_timer(const struct core *c, int64_t t, struct decision *d, uint64_t id);
int decide_division(const struct core *c, int64_t t, const struct command *cmd, struct decision *d, struct err *err);
int decide_node(const struct core *c, int64_t t, const struct command *cmd, struct decision *d, struct err *err);
int decide_job(const struct core *c, int64_t t, const struct command *cmd, struct decision *d, struct err *err);
int decide_lease(const struct core *c, int64_t t, const struct command *cmd, struct decision *d, struct err *err);
void decide_tick(const struct core *c, int64_t t, const struct command *cmd, struct decision *d);

/* ---- dual control (approval.c) ------------------------------------------------------------------ */
/* Does one person alone not suffice for this command? */
bool approval_needed(const struct core *c, const struct command *cmd);
/* May cmd, which names an approval, bring it into effect? 0; ERR_NOTFOUND, ERR_CONFLICT (another command),
 * ERR_DENIED (the same person), or why the first person may not any more. */
int approval_check(const struct core *c, int64_t t, const struct command *cmd, struct err *err);
/* Leave an approval in place of what `d` decided. ERR_NOROOM, ERR_TOOBIG. */
int approval_propose(const struct core *c, int64_t t, const struct command *cmd, struct decision *d, struct err *err);
int decide_approval_refuse(const struct core *c, int64_t t, const struct command *cmd, struct decision *d,
			   struct err *err);

/* ---- life of allocations (alloc.c) ----------------------------------------------------------- */
struct grant_ask {
	uint8_t owner_kind;
	uint64_t owner;
	uint32_t attempt;
	uint32_t qnode;
	uint8_t klass;
	int64_t notice_ms, exempt_ms, limit_ms;
	struct place_ask place;
	bool carried;
};
/* Make an allocation of placed parts (BINDING). Returns its id. */
uint64_t alloc_make(const struct core *c, struct decision *d, int64_t t, const struct grant_ask *ask,
		    struct part *parts, uint32_t parts_n);
/* Start to stop everything of it: notice now, SIGKILL after `grace_ms`. No-op when already stopping
 * earlier than that. Usage is charged up to now when policy stops it. */
void alloc_stop(const struct core *c, struct decision *d, int64_t t, uint64_t id, uint8_t cause,
		int64_t grace_ms, uint64_t claim);
/* One row of an agent's report about one of its parts. */
void alloc_report(const struct core *c, struct decision *d, int64_t t, uint32_t node,
		  const struct unit_status *row);
/* Evidence that nothing of it is left on `node` (new boot id, declare-dead). */
void alloc_vanished(const struct core *c, struct decision *d, int64_t t, uint64_t id, uint32_t node);
/* Account usage of a running allocation up to `until`. */
void alloc_charge(const struct core *c, struct decision *d, int64_t t, uint64_t id);
int64_t alloc_prenotice_ms(const struct core *c, const struct alloc *a);
int64_t rums_of(const struct core *c, uint16_t flavor, uint8_t shape, uint32_t units, int64_t ms);

/* ---- usage and whose turn it is (usage.c) -------------------------------------------------------- */
struct usage *usage_edit(const struct core *c, struct decision *d, uint32_t qnode); /* created if there is none */
/* Book what `more` has, RU·ms of one flavor, to a qnode and, unless it is 0, to a user in it. */
void usage_add(const struct core *c, struct decision *d, int64_t t, uint32_t qnode, uint32_t user,
	       const struct usage_row *more);
/* What is left at `t` of `rums` as of `from_ms`: 2^-((t - from) / half-life). Both instants count as the start of
 * their 1024th of a half-life, so what was booked at different times keeps its order. O(1). */
int64_t usage_decay(int64_t rums, int64_t from_ms, int64_t t);
int64_t usage_now(const struct core *c, int64_t t, uint32_t qnode);
int64_t usage_of_user(const struct core *c, int64_t t, uint32_t qnode, uint32_t user); /* O(log users) */
uint32_t usage_sector(const struct core *c, uint32_t project); /* or the root; 0 */
/* Put the projects in order (scratch->order, their rank). O(projects log projects). */
void usage_order(const struct core *c, int64_t t);
void usage_order_seen(const struct core *c, int64_t t); /* for people: not while a walk goes by it */

/* ---- claims (claim.c) -------------------------------------------------------------------------- */
/* Plan devices over free ones and recallable loans, raise the claim, stop the victims (unless
 * `offered`). Returns the claim id, 0 if even recalling every loan does not help. */
uint64_t claim_raise(const struct core *c, struct decision *d, int64_t t, const struct grant_ask *ask,
		     uint32_t units, bool offered);
/* Tell a loan to go, with its notice; a lease goes as a whole. `claim` 0: for a reservation. */
void loan_recall(const struct core *c, struct decision *d, int64_t t, uint64_t alloc, uint64_t claim);
void claim_start(const struct core *c, struct decision *d, int64_t t, uint64_t id); /* an offered one */
/* A parked one: planned over what is there now, or dropped if its quota is gone, so that whoever raised it waits as
 * others do, or goes on loan. False: it waits on. */
bool claim_unpark(const struct core *c, struct decision *d, int64_t t, const struct claim *m);
/* Its devices are about to be bound: it ends; how late it was is kept. */
void claim_served(const struct core *c, struct decision *d, int64_t t, const struct claim *m);
void claim_drop(const struct core *c, struct decision *d, int64_t t, uint64_t id);
/* A loan that was recalled has gone: noted for its qnode and resource. Its job borrows again only after a while:
 * the cool-down times 2^n, n the job's recalls, an hour at most; 0 if nothing else of its qnode and resource was recalled
 * within the hour before. */
void recalled_note(const struct core *c, struct decision *d, int64_t t, const struct alloc *a);
int64_t cooldown_ms(const struct core *c, const struct usage *u, int64_t t, const struct alloc *a, uint32_t recalls);
/* Its devices are not to be had there any more: each claim is planned anew over other nodes. */
void claims_drop_on(const struct core *c, struct decision *d, int64_t t, uint32_t node);
bool claim_ready(const struct core *c, const struct claim *claim);

/* ---- the plan: what is taken until when (plan.c) -------------------------------------------------- */
static inline int64_t alloc_units(const struct alloc *a)
{
	int64_t units = 0;

	for (uint32_t i = 0; i < a->parts_n; i++)
		units += a->parts[i].units;
	return units;
}
void plan_init(struct core *c);
void plan_done(struct core *c);
/* Hooks of core_apply: what a record contributes, taken back or added. O(log allocations). */
void plan_alloc(struct core *c, struct alloc_s *a, bool add);
void plan_claim(struct core *c, struct claim_s *m, bool add);
void plan_job(struct core *c, const struct job *j);
void plan_node(struct core *c, const struct node_s *n, bool add);
void plan_ground(struct core *c, bool add); /* all nodes and all bars, around a change of a flavor. O(nodes) */
void plan_lease(struct core *c, const struct lease_s *l, int sign);
/* Its end has been set: TRUE if something is free sooner than before. O(its allocations), and claims. */
bool plan_lease_end(struct core *c, const struct lease_s *l);
void plan_pools_rebuild(struct core *c); /* the quota trees have changed */
/* The pool that pays for guaranteed work of `qnode`; NULL: none that could be promised from. */
struct pool *plan_pool(const struct core *c, uint32_t qnode, uint16_t flavor, uint8_t shape);
void plan_hold(struct core *c, const struct job *j); /* hook of core_apply: its reservation */
void plan_lengths_again(struct core *c); /* what reservations and claims are counted by has changed: times, devices */
/* Around a change of what a reservation of the calendar takes away: its record, its nodes, its pins there. */
void plan_bar(struct core *c, struct reservation_s *r, bool add);
/* Work that wants to run from t on for span_ms, without delaying a reservation. `job`'s own is left out of
 * account (0: none). `parts`: where it would be, if that is known; what a reservation of the calendar has there is
 * not counted twice. */
struct plan_ask {
	uint32_t qnode;
	uint16_t flavor;
	uint8_t shape;
	int64_t units, span_ms;
	uint64_t job;
	const struct part *parts;
	uint32_t parts_n;
	bool inside; /* of a reservation, wherever there: it takes no devices from anybody */
};
/* May it, as guaranteed work? On false *ret_other (may be NULL) is a job that it would delay. */
bool plan_may(const struct core *c, int64_t t, const struct plan_ask *ask, uint64_t *ret_other);
/* May a broken node stay so until then? On false *ret_other is a job that it would delay. */
bool plan_may_carry(const struct core *c, const struct node_s *n, int64_t until_ms, uint64_t *ret_other);
void plan_carrier(struct core *c, const struct node_s *n, int sign); /* for core_apply: around a change of it */
/* The same for a loan, which may be recalled for a promise but not for want of devices. */
bool plan_may_loan(const struct core *c, int64_t t, uint16_t flavor, int64_t devices, int64_t span_ms, uint64_t job,
		   uint64_t *ret_other);
/* May a firm lease have `units` more until until_ms (0: for good), with what the calendar takes away by then and what
 * was promised? */
bool plan_may_lease(const struct core *c, int64_t t, const struct lease *l, int64_t units, int64_t until_ms,
		    struct plan_low *ret);
/* May a lease end at term_end_ms, later than it said, with what was promised and admitted since by the end it said? On
 * false *ret is where it would be short. O(holds x log); the profiles are as before afterwards. */
bool plan_may_extend(const struct core *c, struct lease_s *l, int64_t term_end_ms, struct arena *arena,
		     struct plan_low *ret);
/* An instant until which such work may last at most: plan_may() says yes to nothing that ends later. */
int64_t plan_may_until(const struct core *c, int64_t t, uint32_t qnode, uint16_t flavor, uint8_t shape, int64_t units);
/* May guaranteed work that runs go on for more_ms? As plan_may(). */
bool plan_may_last(const struct core *c, int64_t t, const struct alloc *a, int64_t more_ms, uint64_t *ret_other);
/* From the start that is decided to the limit, at the latest; `claimed`: its devices have to be recalled. */
int64_t plan_span(const struct core *c, const struct job_spec *s, bool claimed);
/* When time alone next changes what plan_may() and plan_may_loan() say: something outlives its limit. */
int64_t plan_changes(const struct core *c, int64_t t, uint32_t qnode, uint16_t flavor, uint8_t shape);
/* First instant from which on `j`, which has no reservation, may start as guaranteed work without delaying one;
 * T_NEVER. */
int64_t plan_reserve(const struct core *c, int64_t t, const struct job *j);
/* Devices to spare for a hold in all of its time; negative: so many are missing. */
int64_t plan_spare(const struct core *c, const struct hold *h);
/* The reservation of the calendar whose end a job's place in the plan waits for; 0. */
uint64_t plan_behind(const struct core *c, uint64_t job);
/* Devices of guaranteed work, and of what leases were granted, that there are not in these windows. */
int64_t plan_short(const struct core *c, uint16_t flavor, const struct window *w, uint32_t n);
/* Take the reservations that carry no promise out of the plan, for a question, and put them back. */
struct hold **plan_soft_out(struct core *c, struct arena *arena, uint32_t *ret_n);
void plan_soft_in(struct core *c, struct hold *const *soft, uint32_t n);
uint32_t plan_reservations_max(const struct core *c);
uint32_t plan_reservations_each(const struct core *c); /* of one project */
/* From the limit of work to the proof that it is gone, at the latest. */
int64_t plan_margin(const struct core *c, uint16_t flavor);
/* Devices nobody holds or claims at t, loans counted as held; and the first instant from t on at which so
 * many stay free for span_ms (T_NEVER: none). O(log), by walltimes. */
int64_t plan_free(const struct core *c, int64_t t, uint16_t flavor);
int64_t plan_ready(const struct core *c, uint16_t flavor); /* devices there are for work */
int64_t plan_fit(const struct core *c, int64_t t, uint16_t flavor, int64_t devices, int64_t span_ms);
int plan_check(const struct core *c, struct err *err) NODISCARD; /* against a rebuild. O(all log all) */
/* ---- less alive than promised (deficit.c) ---------------------------------------------------------- */
void deficit_node(struct core *c, const struct node_s *n, int sign); /* for core_apply: what is alive there */
bool deficit_tick(const struct core *c, int64_t t, struct decision *d); /* note it when it changes */
bool deficit_step_on(const struct core *c, enum deficit_step step);
/* In a deficit: must a new loan wait for those who lack what is theirs? A guaranteed start of the public side? */
bool deficit_stops_loan(const struct core *c, uint16_t flavor);
bool deficit_stops_public(const struct core *c, uint32_t project, uint16_t flavor, uint8_t shape, uint32_t units);
/* Devices that the public side may hold guaranteed while `live` are alive. O(tree). */
int64_t deficit_public_share(const struct core *c, uint16_t flavor, int64_t live);

/* ---- whose nominal a loan uses (note.c) --------------------------------------------------------- */
void note_alloc(struct core *c, struct alloc_s *a, bool add); /* for core_apply: what its notes contribute */
void note_path(struct core *c, uint16_t flavor, uint8_t shape, uint32_t at, int sign); /* around a guaranteed charge */
void notes_rebuild(struct core *c); /* after the trees */
/* The notes of a loan, anew. O(tree). */
void note_loan(const struct core *c, struct decision *d, struct alloc *a);
/* Give one loan new notes whose lender took back what it had lent. True if one was found. */
bool note_again(const struct core *c, struct decision *d);
int note_check(const struct core *c, struct err *err);

/* ---- who goes for a claim (recall.c) ------------------------------------------------------------ */
struct recall { uint64_t *ids; uint32_t ids_n; struct part *parts; uint32_t parts_n; }; /* allocations, ascending */
/* Loans that have to go so that `ask` (its units) can be placed, and where. False if recalling all of
 * them that are back `within_ms` (with `late_too`: or later, if it must be) does not help. Everything from `arena`. O(nodes + loans) and one place();
 * for a few devices, wherever they are, O(loans) over 32 bytes of each. */
bool recall_plan(const struct core *c, int64_t t, const struct place_ask *ask, int64_t within_ms,
		 bool late_too, struct arena *arena, struct recall *ret);
void victim_key_set(const struct core *c, struct alloc_s *a); /* lost_from_ms, rank; for core_apply */
struct loan_key loan_key_of(const struct alloc_s *a); /* after that */
/* How long until a loan told now has given everything back, if everybody keeps to it. */
int64_t loan_back_ms(const struct core *c, const struct alloc *a, int64_t t);
int64_t alloc_bound_ms(const struct core *c, const struct alloc *a); /* the same from its start on: the bound it signed */
int64_t job_back_ms(const struct core *c, const struct job *j); /* the same of a job that asks for one */
int64_t spec_back_ms(const struct core *c, const struct job_spec *s, int64_t back_ms); /* whose recalls took back_ms */

/* ---- devices that are not lent (headroom.c) ------------------------------------------------------- */
/* For core_apply: take back (-1) what a lease has before a change, add (+1) what it has after; a forecast's record has been
 * copied; what is lent at all has changed; all leases of a flavor anew. */
void headroom_lease(struct core *c, const struct lease_s *l, int sign);
void headroom_apply(struct core *c, uint16_t flavor);
void headroom_risk(struct core *c);
void headroom_recount(struct core *c, uint16_t flavor);
/* Write the forecasts that are due. True if facts were made. */
bool headroom_tick(const struct core *c, int64_t t, struct decision *d);
int64_t headroom_next(const struct core *c, int64_t t);
/* Devices that stay free for leases beside a loan of so long. O(1). */
int64_t headroom_kept(const struct core *c, uint16_t flavor, int64_t length_ms);
/* May so many more be lent for so long (T_NEVER: for good)? O(1). */
bool headroom_may(const struct core *c, uint16_t flavor, int64_t devices, int64_t length_ms);
/* How long a job is likely to run, for that. */
int64_t headroom_length_ms(const struct job_spec *s);
void headroom_text(const struct core *c, uint16_t flavor, int64_t length_ms, char out[TEXT_BYTES]);
int headroom_check(const struct core *c, struct err *err) NODISCARD;

/* ---- what can be freed in time, and what was promised (certify.c) ------------------------------- */
/* For core_apply: take back (-1) what it contributed before a change, add (+1) what it does after. */
void certify_node(struct core *c, const struct node_s *n, int sign);
void certify_lease(struct core *c, const struct lease_s *l, int sign);
int64_t lease_lacks_units(const struct lease_s *l); /* of a live firm one: neither held nor fetched by a claim */
void certify_path(struct core *c, uint16_t flavor, uint8_t shape, uint32_t at, int sign);
void certify_part(struct core *c, const struct alloc *a, const struct part *p, bool add); /* between the two */
void certify_rebuild(const struct core *c, struct certify *cy); /* after the trees; then: */
void certify_count(struct core *c);
int certify_check(const struct core *c, struct err *err);
/* May loans that are back after `back_ms` take these parts?  Not if that adds to what would be missing in time of
 * all that was promised. O(parts × classes² × levels). */
bool certify_loan(const struct core *c, uint16_t flavor, int64_t back_ms, const struct part *parts, uint32_t parts_n);
/* Before they are placed: back within what every lender was promised, or so many more that nobody needs to have back
 * that soon; now (true), or at least on an idle cluster (0; ERR_NEVER, reason 506). O(tree), O(nodes). */
bool loan_in_time(const struct core *c, uint32_t leaf, uint16_t flavor, uint8_t shape, int64_t units, int64_t back_ms);
int loan_ever_in_time(const struct core *c, uint32_t leaf, uint16_t flavor, uint8_t shape, int64_t units, int64_t back_ms,
		      struct err *err) NODISCARD;
/* May a firm lease have `units` more, from t to until_ms (0: for good)? What reservations take in that time is not
 * counted. On false *ret says where it is tight, certify_text() for people. O(nodes) if there are reservations. */
bool certify_firm(const struct core *c, int64_t t, const struct lease *l, int64_t units, int64_t until_ms,
		  struct cert_short *ret);
void certify_text(const struct core *c, const struct lease *l, const struct cert_short *tight, char out[TEXT_BYTES]);

/* ---- nodes that their owner breaks (carrier.c) ---------------------------------------------------- */
/* For core_apply: what lies on the node, or until when, has changed. O(what is there). */
void carrier_again(struct core *c, struct node_s *n);
/* The node as a part. */
static inline struct part carrier_part(const struct node_s *n)
{
	return (struct part){.node = n->r.id, .devices = n->carrier.devices, .units = 1};
}
/* Work that may be carried: single devices of one node, and nothing that only the plan could arrange. */
bool carrier_suits(const struct core *c, const struct job_spec *s);
/* What such work asks for where a node has to be broken for it. */
struct place_ask carrier_whole(const struct place_ask *ask);
/* Has a node of the project room for so many devices, or has its quota of whole nodes one more? 0 or the reason.
 * O(its broken nodes). */
int carrier_ask(const struct core *c, uint32_t project, uint16_t flavor, uint32_t units);
/* The fullest of its broken nodes that has room until then, without delaying what was promised. 0, or the reason;
 * then *ret_other is whom it would delay (0). O(its broken nodes). */
int carrier_place(const struct core *c, uint32_t project, const struct place_ask *ask, int64_t until_ms,
		  struct arena *arena, struct part **ret_part, uint64_t *ret_other);
int carrier_check(const struct core *c, struct err *err) NODISCARD;

/* ---- quota questions (core.c) ------------------------------------------------------------------ */
/* Which resource carries `units` of (flavor, shape) as guaranteed for `leaf`?  0 or the reason. */
int quota_ask(const struct core *c, uint32_t leaf, uint16_t flavor, uint8_t shape, int64_t units, uint8_t klass);
/* For core_apply: count units of a resource that a qnode takes or gives back. O(depth). */
void quota_count(struct core *c, uint32_t qnode, uint16_t flavor, uint8_t shape, int64_t units, bool guaranteed);
/* Shortest recall time any lender of this resource may demand; T_NEVER if nobody lends. */
int64_t lender_slo_min(const struct core *c, uint32_t leaf, uint16_t flavor, uint8_t shape);

/* ---- jobs (job.c) --------------------------------------------------------------------------------- */
static inline bool job_waits(const struct job *j) { return j->state == JOB_PENDING || j->state == JOB_HELD; }
int64_t job_hold(const struct core *c, const struct job_spec *s, uint8_t klass);
static inline bool stage_open(const struct stage *s, int64_t t)
{
	return s->state == STAGE_RELEASED && s->from_ms <= t && (!s->to_ms || s->to_ms > t);
}
/* RU·ms that are neither spent nor held. */
static inline int64_t stage_left(const struct stage *s) { return s->amount_rums - s->held_rums - s->spent_rums; }
/* A released stage that covers `hold`: 0 and its index (UINT32_MAX: the project has no grant), or the
 * reason (204, 401, 402). ret_left: the most any open stage has left. */
int job_stage(const struct core *c, int64_t t, uint32_t project, int64_t hold, uint32_t *ret_stage, int64_t *ret_left);
/* Spend RU·ms of the open stages of a project, in order; what they have not is not asked for. O(stages). */
void stage_spend(const struct core *c, struct decision *d, int64_t t, uint32_t project, int64_t rums);
/* Asks it for devices and nothing else? Then its quota is all that it needs: how its devices lie, what else is on their
 * nodes and which nodes those are does not matter. */
bool job_promisable(const struct job *j);
void job_place_ask(const struct core *c, int64_t t, const struct job *j, uint8_t klass, struct place_ask *ask);
void job_bind(const struct core *c, struct decision *d, int64_t t, uint64_t id, uint8_t klass, bool carried,
	      struct part *parts, uint32_t parts_n);
uint16_t job_tasks(const struct job_spec *s, uint32_t units); /* asked for of so many units on one node */
/* Tasks and ranks of parts, from `rank` on. */
void job_tasks_fill(const struct job_spec *s, struct part *parts, uint32_t n, uint32_t rank);
uint64_t job_child(const struct core *c, struct decision *d, int64_t t, uint64_t array);
bool member_of(const struct core *c, uint32_t principal, uint32_t qnode);
/* Give every device the flavor that matches it now. */
void flavors_match(const struct core *c, const struct decision *d, struct node *n);
int flavor_find(const struct core *c, const char *name, uint16_t *ret, struct err *err);
/* Could it ever be placed on what is installed or committed? 0, or ERR_NEVER with reason 102 or 105. */
int shape_installed(const struct core *c, struct decision *d, const struct place_ask *want, struct err *err);

/* The most of (flavor, shape) that could ever be guaranteed at `leaf`, and used at all, on an idle cluster. */
void quota_most(const struct core *c, uint32_t leaf, uint16_t flavor, uint8_t shape, int64_t *ret_cover,
		int64_t *ret_all);
/* Admin, or the provider itself. */
bool may_act_for(const struct core *c, uint32_t principal, uint32_t provider);
void lease_place_ask(const struct core *c, int64_t t, const struct lease *l, struct place_ask *ask); /* without its units */
void lease_replicas_fill(const struct lease *l, struct part *parts, uint32_t n);
void lease_claim_filled(const struct core *c, struct decision *d, int64_t t, const struct claim *m);

/* ---- jobs and leases meeting their allocations -------------------------------------------------- */
void job_started(const struct core *c, struct decision *d, int64_t t, struct alloc *a);
/* `text`: what its agent says of it, or "". */
void job_part_exited(const struct core *c, struct decision *d, int64_t t, struct alloc *a, const struct part *p,
		     const char *text);
void job_alloc_gone(const struct core *c, struct decision *d, int64_t t, const struct alloc *a);
void job_bind_failed(const struct core *c, struct decision *d, int64_t t, const struct alloc *a, uint32_t node,
		     const char *text);
/* Return what the attempt holds of its stage, capturing what it used, less `refund`. */
void job_settle(const struct core *c, struct decision *d, struct job *j, int64_t refund);
void job_end(const struct core *c, struct decision *d, int64_t t, struct job *j, uint8_t state, const char *text);
/* The calendar takes the devices of its place in the plan. `broken`: the reason, if that was promised. */
void job_place_lost(const struct core *c, struct decision *d, uint64_t id, int broken);
void lease_alloc_started(const struct core *c, struct decision *d, int64_t t, struct alloc *a);
void lease_bind_failed(const struct core *c, struct decision *d, int64_t t, uint64_t id, uint32_t node, const char *text);
/* The node has failed the lease: others are taken in its place while there are any. */
void lease_blame(const struct core *c, struct decision *d, uint64_t id, uint32_t node);
void lease_alloc_gone(const struct core *c, struct decision *d, int64_t t, const struct alloc *a);
bool tick_node_timer(const struct core *c, int64_t t, struct decision *d, uint64_t id);
void job_lost(const struct core *c, struct decision *d, int64_t t, uint64_t id, const char *node);
bool tick_job_timer(const struct core *c, int64_t t, struct decision *d, uint64_t id);
bool tick_alloc_timer(const struct core *c, int64_t t, struct decision *d, uint64_t id);
bool tick_lease_timer(const struct core *c, int64_t t, struct decision *d, uint64_t id);
bool tick_lease_live(const struct core *c, int64_t t, struct decision *d, uint64_t id);
bool tick_claim_timer(const struct core *c, int64_t t, struct decision *d, uint64_t id);
bool sched_leases(const struct core *c, int64_t t, struct decision *d);
bool sched_claims(const struct core *c, int64_t t, struct decision *d);
/* Make one loan guaranteed that may be, the lowest id of the first project that has one. O(projects x classes log),
 * and what ends early enough. */
bool sched_promote(const struct core *c, int64_t t, struct decision *d);
void promote_track(struct core *c, struct alloc_s *a, bool add); /* whenever until_ms is made */
int promote_check(const struct core *c, struct err *err) NODISCARD;
void loan_classes_done(struct qnode_s *q);
/* Would `j` start at once if it were waiting now? Asks what the scheduler asks; emits nothing. */
bool sched_would_start(const struct core *c, int64_t t, const struct job *j, struct arena *arena);
bool sched_jobs(const struct core *c, int64_t t, struct decision *d);
bool sched_paused(const struct core *c); /* is somebody still to be looked at? */
/* Does what waits there, and is in its group, lack devices and nothing else? It did when it was looked at; what others
 * took since, or is kept from loans, may stand in its way now. O(tree). */
bool sched_lacks(const struct core *c, int64_t t, struct need *n);
/* Number the waiting jobs in the order of the queue; done at most every pending_n / 10 ms. */
void sched_order(const struct core *c, int64_t t);
void sched_reason_text(const struct core *c, const struct need *n, const struct job *j, char out[TEXT_BYTES]);
/* Why the promise of `j`, whose instant has passed, could not be kept: a reason. */
int sched_broken_cause(const struct core *c, int64_t t, const struct job *j);
/* Devices, quota or time of this flavor came free. */
void work_freed(struct core *c, uint16_t flavor);
/* What jobs have, or what is kept from them, has changed: an elastic one may grow. */
void work_grow(struct core *c);

/* ---- likely starts (estimate.c) ----------------------------------------------------------------- */
/* Of all `jobs`, which are in lines and in the order of the queue. */
void estimate_all(const struct core *c, int64_t t, struct job_s *const *jobs, uint32_t n);
void estimate_score(struct scratch *s, struct job_s *j, int64_t started_ms);
void estimate_ended(struct scratch *s, const struct job *j); /* what it needed of its time limit */

/* ---- lines and needs of waiting jobs (line.c) ------------------------------------------------------ */
void line_join(struct core *c, struct job_s *j);
void line_leave(struct core *c, struct job_s *j);
/* Free what ran empty, once that is much; no pointer to one may be kept. */
void lines_sweep(struct core *c);
void lines_done(struct core *c);
int line_check(const struct core *c, struct err *err) NODISCARD;
static inline const struct job *line_head(const struct core *c, const struct line *l)
{
	return l->head ? core_job(c, l->head) : NULL;
}
/* Have it looked at by the next tick. */
void need_fresh(struct core *c, struct need *n);
/* Out of its group until the job `waits_for` starts or ends (0: until an order changes, or it does). */
void need_park(struct core *c, struct need *n, uint64_t waits_for);
/* A job that comes into a need nobody has looked at brings along why it has waited so far. */
void need_carry(const struct need *from, struct need *to);
void needs_unpark(struct core *c);
void needs_wake_job(struct core *c, uint64_t job);
/* Look again at what waits in this project for a reason that `of` accepts. */
void needs_wake_project(struct core *c, struct qnode_s *q, bool (*of)(int reason));
/* Units of a flavor were charged: who waits within its quota for the calendar is looked at again. It may be in quota no
 * more, and borrow, or lack devices by now. O(needs of the flavor) while somebody waits so. */
void needs_wake_barred(struct core *c, uint16_t flavor);
/* A job that never has a guarantee: asked for so, or of a class that may only use what is idle. */
static inline bool waits_for_loan_only(const struct job_spec *s) { return s->loan == LOAN_ONLY || s->klass <= JOB_STANDBY; }
uint64_t hash_bytes(uint64_t h, const void *data, size_t n);
uint64_t hash_u64(uint64_t h, uint64_t v);

static inline int64_t or_else(int64_t value, int64_t otherwise) { return value ? value : otherwise; }

/* names for messages */
static inline void text_set(char *to, size_t n, const char *from)
{
	size_t i = 0;

	for (; from && from[i] && i + 1 < n; i++)
		to[i] = from[i];
	to[i] = '\0';
}
#define TEXT_SET(field, s) text_set((field), sizeof(field), (s))

#endif
