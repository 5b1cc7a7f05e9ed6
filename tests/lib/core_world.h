/* core_world.h - a small cluster around the deterministic core, for tests
 *
 * Everything happens through commands, as in sluisd: cw_do() decides, applies the facts, and walks
 * core_check() after every step; an invariant that does not hold fails the test on the spot. Time is
 * a number. Agents are played here: they read core_units_of_node() and answer what an obedient agent
 * would, unless a test tells one of them to behave otherwise.
 *
 * The cluster of cw_open(): 4 nodes n1..n4 of 8 "h100", and
 *
 *   root ── public ── health ── cancer ── lung (alice, PI paula), heart (bob)    8 GPUs own each
 *       └── private ── sme ── acme, beta                                        8 GPUs own each
 *
 * lending and borrowing without limit. Change `div` between cw_open() and cw_apply(), or afterwards
 * and apply again.
 */
#ifndef SLUIS_TESTS_LIB_CORE_WORLD_H
#define SLUIS_TESTS_LIB_CORE_WORLD_H

#include "daemon/core/core.h"
#include "proto/base/instant.h"
#include "proto/model/reason.h"

enum cw_q { CW_ROOT, CW_PUBLIC, CW_HEALTH, CW_CANCER, CW_LUNG, CW_HEART, CW_PRIVATE, CW_SME, CW_ACME, CW_BETA,
	    CW_QNODES, CW_QNODES_MAX = 24 };
enum { CW_NODES_MAX = 16, CW_UNITS_MAX = 64, CW_GPUS = 8, CW_CORES = 64 };

struct cw_who { uint32_t principal; uint64_t cred; uint8_t via; };

/* What an agent does about a unit; the default is to obey at once. */
enum cw_manner {
	CW_OBEY = 0,
	CW_MUTE,     /* reports nothing: partitioned, or dead */
	CW_NACK,     /* cannot prepare anything */
	CW_STUBBORN, /* everything but releasing devices */
};
struct cw_unit {
	uint64_t alloc;
	uint16_t part;
	uint8_t state; /* enum unit_state as last reported */
	bool exits;    /* ends by itself with `code` at the next turn */
	int32_t code;
	bool seen;
};
struct cw_node {
	uint32_t id;
	struct cw_who agent;
	uint8_t manner; /* enum cw_manner */
	uint32_t boot;
	uint64_t incarnation;
	uint8_t topology; /* first byte of the digest */
	uint32_t gpus;
	char model[64];
	char leaf[16];
	struct cw_unit unit[CW_UNITS_MAX];
	uint32_t units_n;
};

struct core_world {
	struct core *core;
	struct decision d; /* of the last command */
	struct err err;    /* of the last refused command */
	int64_t t;
	uint64_t steps; /* commands decided */
	uint32_t check_each; /* core_check() after every so many of them, for long stories of many jobs; 0: after each */
	struct cw_who admin, paula, alice, bob, acme, beta, operator, gatekeeper, reviewer, auditor;
	struct cw_node node[CW_NODES_MAX]; /* [1]..[nodes_n] */
	uint32_t nodes_n;
	struct cmd_division_apply div;
	struct flavor flavor[4];
	struct qnode qnode[CW_QNODES_MAX];
	struct quota quota[CW_QNODES_MAX][8];
	struct member member[CW_QNODES_MAX][2];
	struct stage stage[CW_QNODES_MAX][4];
	uint8_t key_next;
};

/* Make the cluster, the people and the nodes; no division yet. cw_start() does all of it. */
void cw_open(struct core_world *w, uint32_t nodes);
void cw_apply(struct core_world *w); /* the division as `div` says now */
void cw_start(struct core_world *w); /* cw_open of 4 nodes, cw_apply */
void cw_close(struct core_world *w);
/* For cmocka: a started world of its own in *state, and its end. */
int cw_setup(void **state);
int cw_teardown(void **state);
#define STORY(name) cmocka_unit_test_setup_teardown(name, cw_setup, cw_teardown)

/* The quota of one tree node: replaces what it had of (flavor index, shape). */
void cw_quota(struct core_world *w, uint32_t q, uint16_t flavor, uint8_t shape, int64_t nominal, int64_t borrowing,
	      int64_t lending);
/* A grant stage for a project, in GPU-hours. */
void cw_stage(struct core_world *w, uint32_t q, const char *name, uint8_t state, int64_t gpu_hours);
uint32_t cw_id(const struct core_world *w, const char *path); /* of a tree node, must exist */

/* An empty command of `who`. */
struct command cw_cmd(const struct core_world *w, struct cw_who who, uint16_t type);
/* Decide, apply, check. Returns the core's answer; facts and result stay in w->d. */
int cw_do(struct core_world *w, const struct command *cmd);
/* CMD_TICK until nothing is left to decide. */
void cw_tick(struct core_world *w);
/* One turn of every agent: TRUE if somebody reported something. */
bool cw_agents(struct core_world *w);
/* Ticks and agents until all is quiet. */
void cw_settle(struct core_world *w);
/* To t + ms, stopping at every instant at which the core asked for a tick; settles at each. */
void cw_advance(struct core_world *w, int64_t ms);
/* A new core from the records of the old one, as after a restart that took down_ms of w->t: checked,
 * equal in its records, and told by CMD_RECOVER. */
void cw_reload(struct core_world *w, int64_t down_ms);
/* Digest of all records: equal states, equal numbers. */
uint64_t cw_digest(const struct core_world *w);

/* nodes */
int cw_hello(struct core_world *w, uint32_t node); /* by index 1.. */
int cw_report(struct core_world *w, uint32_t node, uint64_t alloc, uint16_t part, uint8_t state, int32_t code);
void cw_reboot(struct core_world *w, uint32_t node); /* new boot id, all units gone, greets */
int cw_liveness(struct core_world *w, uint32_t node, uint8_t state);
int cw_admin_node(struct core_world *w, uint16_t type, uint32_t node, const char *reason);
/* Every unit of the job's (lease's) current allocation ends by itself with `code`, then settle. */
void cw_exit(struct core_world *w, uint64_t job, int32_t code);
const struct cw_unit *cw_unit(const struct core_world *w, uint32_t node, uint64_t alloc);

/* jobs: a template that the caller may change */
struct command cw_submit_cmd(const struct core_world *w, struct cw_who who, const char *project, uint32_t units,
			     int64_t limit_ms);
uint64_t cw_submit(struct core_world *w, struct cw_who who, const char *project, uint32_t units, int64_t limit_ms);
int cw_job(struct core_world *w, struct cw_who who, uint16_t type, uint64_t job);
uint8_t cw_job_state(const struct core_world *w, uint64_t job);
/* The reason the views show for a waiting job or lease. */
int cw_reason(const struct core_world *w, uint64_t job);
/* leases */
struct command cw_lease_cmd(const struct core_world *w, struct cw_who who, const char *provider, uint32_t units,
			    uint8_t klass);
uint64_t cw_lease(struct core_world *w, struct cw_who who, const char *provider, uint32_t units, uint8_t klass);
int cw_lease_op(struct core_world *w, struct cw_who who, uint16_t type, uint64_t lease);
int cw_resize(struct core_world *w, struct cw_who who, uint64_t lease, uint32_t units);
uint8_t cw_lease_state(const struct core_world *w, uint64_t lease);
/* Renew; the answer to this lease is returned, its code inside. */
struct renew_result cw_renew(struct core_world *w, struct cw_who who, uint64_t lease, uint64_t seq);
/* sums over the records */
uint32_t cw_held(const struct core_world *w, uint8_t owner_kind, uint64_t owner); /* units in its allocations */
uint32_t cw_claims(const struct core_world *w);
uint32_t cw_allocs(const struct core_world *w);
const struct claim *cw_claim_of(const struct core_world *w, uint8_t owner_kind, uint64_t owner);
const struct alloc *cw_alloc_of(const struct core_world *w, uint8_t owner_kind, uint64_t owner); /* newest */

#endif
