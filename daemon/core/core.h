/* core.h - the deterministic heart of sluisd: commands in, facts out
 *
 * The core owns no clock, socket, file, thread or random source. Time comes with each call as
 * `t_ms`, the daemon's logical time, which never goes back. Equal inputs give equal facts, on every
 * machine: integers only, iteration in id order, budgets counted in candidates and never in time.
 *
 *     for each command:  core_decide (reads only) → facts → core_apply each
 *     then, until a decision is empty:  core_decide(CMD_TICK) → facts → core_apply each
 *
 * A fact is one whole record, put or deleted, so start-up is core_apply over everything on the disk
 * and the live path and the recovery path are one.
 */
#ifndef SLUIS_DAEMON_CORE_CORE_H
#define SLUIS_DAEMON_CORE_CORE_H

#include "proto/base/buf.h"
#include "proto/base/err.h"
#include "proto/model/command.h"
#include "proto/model/record.h"
#include "proto/model/unit.h"
#include "proto/model/view.h"

struct core;

/* What a command causes. Facts and everything they point to live in `arena`. Reusable: reset with
 * decision_reset, free with decision_done. */
struct decision {
	struct arena arena;
	struct fact *facts;
	uint32_t facts_n;
	uint32_t facts_cap;
	uint32_t *slot; /* index of facts by (kind, id), once there are many: place + 1; 0 free */
	uint32_t slots; /* a power of two; 0: not made */
	struct result result;
	uint16_t rule; /* row of the authority table that allowed it */
	bool replayed; /* the idempotency table knew it: `result` is the stored one, no facts */
};
void decision_reset(struct decision *d);
void decision_done(struct decision *d);

/* An empty core: no cluster yet. The first command must be CMD_INIT. Never NULL. */
struct core *core_new(void);
void core_free(struct core *core);

/* Judge one command at time t_ms. On success 0 and the facts it causes (maybe none); else a negative
 * code with message, hint and reason, and no facts. With cmd->dry_run nothing differs: the caller
 * does not apply. Cost: proportional to what the command touches; CMD_TICK: one scheduling action. */
int core_decide(const struct core *core, int64_t t_ms, const struct command *cmd, struct decision *d,
		struct err *err) NODISCARD;

/* Fold one fact into the state; copies what it keeps. Cannot fail: core_decide has already said yes,
 * and records from the disk were decoded strictly. */
void core_apply(struct core *core, const struct fact *fact);

/* All that was applied until now was read from the disk: what QUERY_STATUS counts begins here. O(1). */
void core_loaded(struct core *core);

/* When the core next wants a CMD_TICK: a logical instant, `t_ms` itself if work is ready, T_NEVER. */
int64_t core_next_tick(const struct core *core, int64_t t_ms);

/* Walk every cross-structure invariant that one state can show. Returns 0, or
 * ERR_CORRUPT naming the first that does not hold. Cost: O(everything). */
int core_check(const struct core *core, struct err *err) NODISCARD;

/* ---- reading ------------------------------------------------------------------------------- */
/* A job is borrowed until the next core_decide, core_view or core_next_id, other records until they change. */
const struct cluster *core_cluster(const struct core *core); /* NULL before CMD_INIT */
const struct job *core_job(const struct core *core, uint64_t id);
const struct lease *core_lease(const struct core *core, uint64_t id);
const struct renewal *core_renewal(const struct core *core, uint64_t lease);
const struct alloc *core_alloc(const struct core *core, uint64_t id);
const struct claim *core_claim(const struct core *core, uint64_t id);
const struct node *core_node(const struct core *core, uint32_t id);
const struct node *core_node_named(const struct core *core, const char *name);
const struct principal *core_principal(const struct core *core, uint32_t id);
const struct cred *core_cred(const struct core *core, uint64_t id);
const struct cred *core_cred_of_uid(const struct core *core, uint32_t uid);
const struct qnode *core_qnode(const struct core *core, uint32_t id);
/* By path ("public/health/lungnet") or by last part if that is unique; ERR_NOTFOUND or
 * ERR_CONFLICT naming the candidates. Reads NULL-safe. */
int core_qnode_find(const struct core *core, const char *name, uint32_t *ret_id, struct err *err) NODISCARD;
/* Path below the root, "public/health/…"; written into `out`, always terminated. */
void core_qnode_path(const struct core *core, uint32_t id, char out[TEXT_BYTES]);
/* Ascending ids; 0 when there is none above `after`. */
uint64_t core_next_id(const struct core *core, uint8_t kind, uint64_t after);
const void *core_record(const struct core *core, uint8_t kind, uint64_t id);

/* May `principal` ask this? Reading rules of the authority table; 0 or ERR_DENIED. */
int core_may_query(const struct core *core, uint32_t principal, const struct query *q, struct err *err) NODISCARD;

/* What should be on a node now: one row per part, built in `arena`. */
void core_units_of_node(const struct core *core, int64_t t_ms, uint32_t node, struct arena *arena,
			struct unit **ret_units, uint32_t *ret_n);

/* Fill the answer of a query that the state alone can answer (STATUS … EXPLAIN, CLAIMS, DEFICIT)
 * into `ret_view` (the view struct of the query type, zeroed by the callee), lists from `arena`.
 * `heard_ago_ms` of nodes and store figures are the shell's to add. */
int core_view(const struct core *core, int64_t t_ms, uint32_t principal, const struct query *q,
	      void *ret_view, struct arena *arena, struct err *err) NODISCARD;

#endif
