/* view.h - questions and answers: what people and programs read
 *
 * A view is a record made readable: names beside ids, what is derived beside what is stored. sluisd
 * fills views from the core, the wire carries them, sluisctl prints them as tables or as JSON; the
 * JSON keys are the field names of the wire schema.
 */
#ifndef SLUIS_PROTO_MODEL_VIEW_H
#define SLUIS_PROTO_MODEL_VIEW_H

#include "proto/model/command.h"
#include "proto/model/payload.h"

/* name, number, request body, reply body (struct name without "view_") */
enum query_type {
	QUERY_NONE = 0,
	QUERY_STATUS = 1,   /* query → view_status */
	QUERY_JOBS = 2,     /* → view_jobs */
	QUERY_LEASES = 3,   /* → view_leases */
	QUERY_NODES = 4,    /* → view_nodes */
	QUERY_DIVISION = 5, /* → view_division */
	QUERY_USAGE = 6,    /* → view_usage */
	QUERY_EXPLAIN = 7,  /* → view_explain */
	QUERY_ENDPOINTS = 8, /* → view_endpoints */
	QUERY_PRINCIPALS = 9, /* → view_principals */
	QUERY_TOKENS = 10,  /* → view_tokens */
	QUERY_LOG = 11,     /* → view_log: encoded log records, in pieces */
	QUERY_PAYLOAD = 12, /* → view_payload */
	QUERY_BACKUP = 13,  /* → view_text: path written on the daemon's side */
	QUERY_OUTPUT = 14,  /* → view_output: relayed to the agent */
	QUERY_CLAIMS = 15,  /* → view_claims */
	QUERY_DEFICIT = 16, /* → view_deficit */
	QUERY_VERIFY = 17,  /* → view_text: the daemon checks its own store */
	QUERY_EXEC = 18,    /* → view_output: start a command inside an allocation, relayed */
	QUERY_SIGNAL = 19,  /* → view_text: relayed to the agents of a job */
	QUERY_EVENTS = 20,  /* → view_log */
	QUERY_APPROVALS = 21, /* → view_approvals */
	QUERY_RESERVATIONS = 22, /* → view_reservations */
	QUERY_SHARES = 23,  /* → view_shares */
};

struct query {
	uint16_t type; /* enum query_type */
	uint64_t id;   /* job, lease, from-seq … 0: all */
	char name[TEXT_BYTES]; /* node, project, user … */
	bool mine;
	bool all; /* finished ones too */
	uint32_t state_mask; /* jobs: bit per enum job_state; leases likewise; 0: any */
	uint32_t limit;      /* 0: LIST_ITEMS_MAX */
	uint8_t hash[32];
	/* OUTPUT, EXEC, SIGNAL */
	uint32_t task;
	uint8_t stream; /* 0 stdout, 1 stderr */
	int64_t offset; /* negative: so many bytes before the end */
	uint32_t attempt; /* 0: the latest */
	uint8_t signal;
	struct bytes payload; /* EXEC: struct payload */
	uint64_t exec;        /* EXEC: 0 starts, else goes on reading */
};

struct side_view { /* one flavor of one side, in devices */
	char flavor[FLAVOR_NAME_BYTES];
	char side[16]; /* public, private */
	int64_t nominal, guaranteed, loan, lent, free, waiting;
};
struct flavor_view {
	char name[FLAVOR_NAME_BYTES];
	int64_t installed, used, free, out, nodes, committed;
	int64_t kept; /* of those free, not lent for the longest time: leases are likely to grow into them */
};
struct view_status {
	char cluster[NAME_BYTES];
	char version[32];
	uint64_t seq;
	int64_t t_ms;
	int64_t up_ms;
	bool safe_mode;
	uint64_t division_version;
	uint32_t nodes, nodes_ready; /* ready: heard, and in use */
	uint32_t nodes_draining, nodes_cordoned; /* heard, and in use no more */
	uint32_t jobs_running, jobs_pending, leases_live, claims_running;
	uint64_t claims_done, claims_breached, renewals, expiries;
	int64_t commit_p99_us;
	uint64_t store_bytes, store_limit_bytes;
	/* since the daemon started: promised starts; likely starts by how they came true */
	uint64_t promises_given, promises_kept, promises_broken;
	uint64_t estimates, estimates_in; /* started; of them, no later than p90 */
	int64_t estimate_error_ms;        /* mean of |start - p50| */
	uint32_t flavors_n;
	struct flavor_view *flavors;
	uint32_t sides_n;
	struct side_view *sides;
	uint32_t notes_n; /* what needs somebody, with the command that shows more */
	struct string *notes;
};

struct job_view {
	struct job job;
	char state[16]; /* Slurm's short code: PD R CG … */
	char state_long[16];
	char project[TEXT_BYTES];
	char flavor[FLAVOR_NAME_BYTES];
	char klass[16];
	bool loan; /* runs on loan */
	char nodes[TEXT_BYTES]; /* where it is, or its last attempt ran (job.ran); "n1,n2,..." when there are more */
	uint16_t reason;
	char reason_text[TEXT_BYTES];
	int64_t reason_since_ms;
	int64_t start_p50_ms; /* estimate; 0: none */
	int64_t start_p90_ms;
	int64_t recall_at_ms; /* a claim takes it by; 0 */
	uint32_t extra;       /* units beside the core, of an elastic job */
	char reservation[NAME_BYTES];
	uint64_t order;       /* place in line, 1 = next; 0 when not waiting */
};
struct view_jobs { uint64_t seq; int64_t t_ms; uint32_t items_n; struct job_view *items; };

struct replica_view {
	uint64_t alloc;
	uint16_t part;
	char node[NAME_BYTES];
	char address[NAME_BYTES];
	uint16_t port;
	uint32_t devices;
	char state[16];
	bool healthy;
	uint32_t restarts;
};
struct lease_view {
	struct lease lease;
	char state[16];
	char provider[TEXT_BYTES];
	char flavor[FLAVOR_NAME_BYTES];
	char owner[NAME_BYTES];
	uint32_t units_here; /* bound and active */
	uint32_t units_coming; /* by a claim */
	int64_t coming_by_ms;
	uint64_t renew_seq, renewals;
	int64_t renewed_ago_ms; /* -1: never */
	int64_t expires_in_ms;
	int64_t renew_after_ms;
	uint16_t reason;
	char reason_text[TEXT_BYTES];
	uint32_t replicas_n;
	struct replica_view *replicas;
};
struct view_leases { uint64_t seq; int64_t t_ms; uint32_t items_n; struct lease_view *items; };

struct node_view {
	struct node node;
	char state[16];
	char flavor[FLAVOR_NAME_BYTES];
	uint32_t devices, used, free, out;
	uint32_t cores, cores_used;
	int64_t heard_ago_ms;
	char holders[TEXT_BYTES];
	char note[TEXT_BYTES];
	int64_t drained_by_ms; /* the jobs that its drain stops have until then; 0: none is there */
};
struct view_nodes { uint64_t seq; int64_t t_ms; uint32_t items_n; struct node_view *items; };

struct qnode_view {
	struct qnode qnode;
	char path[TEXT_BYTES];
	uint32_t depth;
	/* per quota of qnode.quotas, same order: what the subtree uses, in shape units */
	uint32_t uses_n;
	struct quota_use { int64_t total, guaranteed, loan, usage_guaranteed, usage_loan, slack; } *uses;
};
struct view_division {
	uint64_t seq;
	uint64_t version;
	uint32_t flavors_n;
	struct flavor *flavors;
	uint32_t items_n;
	struct qnode_view *items;
	uint8_t payload[32];
};

struct usage_view {
	char path[TEXT_BYTES];
	char flavor[FLAVOR_NAME_BYTES];
	int64_t guaranteed_rums, loan_rums, refunded_rums, idle_rums;
	int64_t budget_left_rums; /* -1: no budget */
	uint64_t claims_done, claims_late; /* recalls for it; every row of one project or provider carries the same */
};
struct view_usage { uint64_t seq; uint32_t items_n; struct usage_view *items; };

/* Whose turn it is: a sector, a project or a user in it. In order, each sector before its projects. */
struct share_view {
	char path[TEXT_BYTES];
	char user[NAME_BYTES]; /* "": the sector or project itself */
	uint32_t weight;
	int64_t usage_rums;    /* by half-lives */
	uint32_t place;        /* among its siblings, 1: next */
};
struct view_shares { uint64_t seq; int64_t t_ms; uint32_t items_n; struct share_view *items; };

/* A claim that was late, and why. */
struct breach_view {
	struct breach breach;
	char qnode[TEXT_BYTES]; /* whom it was promised */
	char owner[NAME_BYTES]; /* who waited: "lease-1" */
	char victim[NAME_BYTES]; /* whom for; empty: nobody in particular */
	char node[NAME_BYTES];  /* where; empty: it is gone */
	char cause[32];
};

struct reason_view { uint16_t code; char text[TEXT_BYTES]; int64_t since_ms; int64_t elapsed_ms; bool blocking; };
struct change_view { char option[TEXT_BYTES]; char effect[TEXT_BYTES]; };
struct view_explain {
	uint64_t seq;
	int64_t t_ms;
	uint32_t jobs_n; /* exactly one of the two has one element */
	struct job_view *jobs;
	uint32_t leases_n;
	struct lease_view *leases;
	uint32_t reasons_n;
	struct reason_view *reasons;
	uint32_t ahead;  /* jobs before it */
	uint64_t ahead_first;
	uint32_t changes_n; /* each verified: would start it now */
	struct change_view *changes;
	uint32_t kept_n;
	struct string *kept;
	uint32_t breaches_n; /* of its project or provider */
	struct breach_view *breaches;
};

struct view_endpoints { uint64_t seq; uint32_t items_n; struct replica_view *items; };

struct principal_view { /* a key, and whose it is */
	struct principal principal;
	char role[16];
	uint64_t cred;
	char key[48];
	bool revoked; /* or it has ended */
	int64_t created_ms;
	int64_t not_after_ms; /* it was rotated; 0: no end */
};
struct view_principals { uint64_t seq; uint32_t items_n; struct principal_view *items; };
struct token_view { struct token token; char role[16]; };
struct view_tokens { uint64_t seq; uint32_t items_n; struct token_view *items; };

struct claim_view {
	struct claim claim;
	char owner[NAME_BYTES]; /* "lease-1", "job-7" */
	char victims[TEXT_BYTES];
	int64_t due_in_ms;
	uint32_t units_here;
	char note[TEXT_BYTES];   /* late, and why; offered */
};
struct view_claims {
	uint64_t seq;
	uint32_t items_n;
	struct claim_view *items;
	uint32_t breaches_n; /* of claims that have ended, newest last for each project or provider */
	struct breach_view *breaches;
};

struct reservation_view {
	struct reservation reservation;
	char state[16];
	char owner[NAME_BYTES];
	char flavor[FLAVOR_NAME_BYTES];
	char members[TEXT_BYTES]; /* blank-separated */
	char nodes[TEXT_BYTES];
	uint32_t units_here; /* free for its members, or in their hands */
	uint32_t units_used; /* by work inside */
	char jobs[TEXT_BYTES];
	int64_t kept_rums; /* from others until now */
	int64_t used_rums; /* of it by work inside */
	char payer[TEXT_BYTES]; /* is charged the rest; "": nobody */
};
struct view_reservations { uint64_t seq; int64_t t_ms; uint32_t items_n; struct reservation_view *items; };

struct deficit_view { char who[NAME_BYTES]; char step[32]; char effect[TEXT_BYTES]; };
struct view_deficit { uint64_t seq; uint32_t items_n; struct deficit_view *items; };

struct approval_view { struct approval approval; char command[32]; char who[NAME_BYTES]; };
struct view_approvals { uint64_t seq; uint32_t items_n; struct approval_view *items; };

struct view_log { uint64_t first_seq, next_seq, head_seq; uint8_t head_hash[32]; uint8_t digest[32]; struct bytes data; };
struct view_payload { struct bytes data; };
struct view_text { char text[TEXT_BYTES]; uint64_t seq; uint8_t hash[32]; uint8_t digest[32]; };
struct view_output {
	struct bytes data;
	int64_t offset; /* of data[0] */
	int64_t size;
	bool ended; /* the task ended and data reaches the end */
	uint64_t exec;
	int32_t exit_code;
	char path[TEXT_BYTES]; /* where the output is, on which node */
};

#endif
