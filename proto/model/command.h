/* command.h - everything that can change the state, as the core sees it
 *
 * One row in COMMAND_TABLE makes the enum, the name, the codec entry, the row in the authority
 * table's test and the row that a test looks for in PROTOCOL.md. Internal commands (clock, node
 * liveness, recovery) are made by sluisd itself and refused from any door.
 */
#ifndef SLUIS_PROTO_MODEL_COMMAND_H
#define SLUIS_PROTO_MODEL_COMMAND_H

#include "proto/model/approval.h"
#include "proto/model/cluster.h"
#include "proto/model/job.h"
#include "proto/model/lease.h"
#include "proto/model/node.h"
#include "proto/model/principal.h"
#include "proto/model/reservation.h"
#include "proto/model/unit.h"

/* name, number (on the wire and in the log, never reused), body struct */
#define COMMAND_TABLE(X)                                                                           \
	/* internal: from sluisd itself */                                                         \
	X(CMD_TICK, 1, tick)                                                                       \
	X(CMD_INIT, 2, init)                                                                       \
	X(CMD_RECOVER, 3, recover)                                                                 \
	X(CMD_NODE_LIVENESS, 4, node_liveness)                                                     \
	/* from agents */                                                                          \
	X(CMD_NODE_HELLO, 20, node_hello)                                                          \
	X(CMD_NODE_REPORT, 21, node_report)                                                        \
	/* enrolment */                                                                            \
	X(CMD_ENROL, 30, enrol)                                                                    \
	X(CMD_TOKEN_CREATE, 31, token_create)                                                      \
	X(CMD_TOKEN_REVOKE, 32, object)                                                            \
	X(CMD_KEY_REVOKE, 33, object)                                                              \
	X(CMD_KEY_ROTATE, 34, key_rotate)                                                          \
	X(CMD_USER_DISABLE, 35, object)                                                            \
	/* the division */                                                                         \
	X(CMD_DIVISION_APPLY, 40, division_apply)                                                  \
	X(CMD_STAGE_SET, 41, stage_set)                                                            \
	/* nodes */                                                                                \
	X(CMD_NODE_CORDON, 50, node_admin)                                                         \
	X(CMD_NODE_UNCORDON, 51, node_admin)                                                       \
	X(CMD_NODE_DRAIN, 52, node_admin)                                                          \
	X(CMD_NODE_ACCEPT, 54, node_admin)                                                         \
	X(CMD_NODE_DECLARE_DEAD, 55, node_admin)                                                   \
	X(CMD_NODE_REMOVE, 56, node_admin)                                                         \
	X(CMD_RESUME, 57, tick)                                                                    \
	X(CMD_APPROVAL_REFUSE, 58, object)                                                         \
	/* jobs */                                                                                 \
	X(CMD_JOB_SUBMIT, 60, job_submit)                                                          \
	X(CMD_JOB_CANCEL, 61, job_control)                                                         \
	X(CMD_JOB_HOLD, 62, job_control)                                                           \
	X(CMD_JOB_RELEASE, 63, job_control)                                                        \
	X(CMD_JOB_REQUEUE, 64, job_control)                                                        \
	X(CMD_JOB_UPDATE, 65, job_update)                                                          \
	X(CMD_JOB_CHECKPOINTED, 66, job_checkpointed)                                              \
	/* leases */                                                                               \
	X(CMD_LEASE_REQUEST, 80, lease_request)                                                    \
	X(CMD_LEASE_ACCEPT, 81, object)                                                            \
	X(CMD_LEASE_DECLINE, 82, object)                                                           \
	X(CMD_LEASE_RENEW, 83, lease_renew)                                                        \
	X(CMD_LEASE_RESIZE, 84, lease_resize)                                                      \
	X(CMD_LEASE_RELEASE, 85, object)                                                           \
	X(CMD_LEASE_EXTEND, 86, lease_extend)                                                      \
	X(CMD_LEASE_REVOKE, 87, lease_revoke)                                                      \
	/* reservations */                                                                         \
	X(CMD_RESERVATION_CREATE, 100, reservation_create)                                         \
	X(CMD_RESERVATION_UPDATE, 101, reservation_update)                                         \
	X(CMD_RESERVATION_DELETE, 102, object)

enum command_type {
	CMD_NONE = 0,
#define X(name, number, body) name = (number),
	COMMAND_TABLE(X)
#undef X
};

struct cmd_tick {
	uint32_t budget; /* candidates that may be examined; 0: the default */
	int64_t heard_ms; /* all that came until then was decided: no lease expires at a later instant; 0: until now */
};
struct uid_ref { uint32_t uid; };
struct cmd_init { /* first start on an empty store, and changed settings later */
	struct cluster settings;  /* counters ignored */
	uint32_t uids_n;          /* local uids that are admins */
	struct uid_ref *uids;
};
struct cmd_recover {
	int64_t down_ms; /* how long nothing could be received */
	bool safe_mode;
	uint64_t salt; /* safe mode: any number; makes the ids of this future its own */
};
struct cmd_node_liveness {
	uint32_t node;
	uint8_t state; /* NODE_READY, NODE_SUSPECT or NODE_UNREACHABLE; not judged with a twin */
	char twin_boot[40]; /* boot id of another machine with this node's key: both were heard at once */
};

/* An agent's greeting after every (re)connect; the node is the one its credential belongs to. */
struct cmd_node_hello {
	uint32_t node; /* filled by the daemon from the credential */
	char boot_id[40];
	uint64_t incarnation;
	uint64_t epoch_seen; /* highest cluster epoch the agent obeyed */
	uint64_t alloc_seen; /* highest allocation that was bound to a device of it */
	char address[NAME_BYTES];
	uint16_t cores_reserved;
	uint32_t memory_reserved_mib;
	bool emulated;
	uint32_t isolation; /* enum isolation bits */
	uint8_t digest[32];
	uint16_t cores_n;
	uint32_t memory_mib;
	uint32_t labels_n;
	struct label *labels;
	uint32_t devices_n;
	struct device *devices; /* flavor is ignored: the daemon matches it */
	uint32_t units_n;
	struct unit_status *units;
};
struct cmd_node_report {
	uint32_t node; /* filled by the daemon from the credential */
	uint64_t incarnation;
	uint32_t units_n;
	struct unit_status *units;
};

struct cmd_enrol {
	uint8_t token_hash[32]; /* the daemon hashes the secret it was given */
	char name[NAME_BYTES];
	uint8_t key[32];
};
struct cmd_token_create {
	uint8_t hash[32]; /* the caller keeps the secret, the daemon its hash */
	uint8_t role;
	char name[NAME_BYTES];
	char provider[NAME_BYTES];
	uint32_t uses;
	int64_t ttl_ms;
};
struct cmd_object {
	uint64_t id;
	char name[NAME_BYTES]; /* where an object is known by name */
	char reason[TEXT_BYTES];
};
struct cmd_key_rotate { uint8_t key[32]; };

/* The whole contract at once. `qnodes[].parent` is the index + 1 of the parent in this array; ids
 * are matched by path, so renaming is removing and adding. Flavors are matched by name, and
 * quotas[].flavor is the index + 1 in `flavors`. */
struct cmd_division_apply {
	uint64_t expect_version;
	uint32_t flavors_n;
	struct flavor *flavors;
	uint32_t qnodes_n;
	struct qnode *qnodes;
	uint8_t payload[32]; /* the file's text, kept for export and history */
	struct division_defaults defaults;
	uint32_t deficit_order; /* enum deficit_step, four bits each, the first lowest; 0: the default */
	uint32_t lend_risk_ppm; /* 0: the default */
};
struct cmd_stage_set {
	char project[TEXT_BYTES];
	char stage[FLAVOR_NAME_BYTES];
	uint8_t state; /* enum stage_state */
};

struct cmd_node_admin {
	char node[NAME_BYTES];
	char reason[TEXT_BYTES];
	int64_t until_ms;
	int64_t deadline_ms; /* drain: stop what is left after */
	char boot_id[40];    /* declare-dead: proof that the right machine is meant */
};

struct cmd_job_submit {
	struct job_spec spec; /* project and flavor filled by the daemon from the names below */
	char project[TEXT_BYTES]; /* path, or last part if unique */
	char flavor[FLAVOR_NAME_BYTES];
	char user[NAME_BYTES];
	char reservation[NAME_BYTES]; /* name or id */
};
struct cmd_job_control {
	uint64_t job;
	bool now;        /* cancel: no notice */
	char reason[TEXT_BYTES];
};
struct cmd_job_update {
	uint64_t job;
	int64_t time_limit_ms; /* 0: unchanged */
	uint8_t klass_plus1;   /* 0: unchanged */
	uint8_t loan_plus1;
	int64_t deadline_ms;
	char name[NAME_BYTES];
	char reservation[NAME_BYTES]; /* name or id; "none": leaves it; empty: unchanged */
};
struct cmd_job_checkpointed {
	uint64_t job;
	uint64_t step;
	uint8_t hash[32];
};

struct cmd_lease_request {
	struct lease_spec spec; /* provider and flavor filled from the names below; 0 = default for times */
	char provider[NAME_BYTES];
	char flavor[FLAVOR_NAME_BYTES];
};
struct lease_renew_item {
	uint64_t lease;
	uint64_t fence;
	uint64_t renew_seq;
	int64_t ttl_ms; /* 0: the lease's own */
};
struct cmd_lease_renew {
	uint32_t items_n;
	struct lease_renew_item *items;
};
struct cmd_lease_resize { uint64_t lease; uint32_t units; };
struct cmd_lease_extend { uint64_t lease; int64_t term_ms; };
struct cmd_lease_revoke { uint64_t lease; char reason[TEXT_BYTES]; };

struct text_ref { char s[TEXT_BYTES]; };
struct cmd_reservation_create {
	struct reservation_spec spec; /* flavor filled by the daemon from the name below */
	char flavor[FLAVOR_NAME_BYTES]; /* empty: the nodes named */
	uint32_t nodes_n;
	struct text_ref *nodes;
	uint32_t members_n;
	struct text_ref *members; /* "project:PATH" or "user:NAME" */
};
struct cmd_reservation_update {
	uint64_t reservation;
	char name[NAME_BYTES]; /* where it is known by name */
	bool confirm;          /* pin what was requested */
	int64_t to_ms;         /* the end of the next window; 0: unchanged */
	uint32_t windows_n;    /* 0: unchanged */
	struct window *windows;
	uint32_t members_n;    /* 0: unchanged */
	struct text_ref *members;
};

/* Who speaks, and through which door; filled by sluisd from the credential, never by the peer. */
enum via { VIA_INTERNAL = 0, VIA_AGENTS = 1, VIA_USERS = 2, VIA_ENROL = 3, VIA_LOCAL = 4 };

struct command {
	uint16_t type; /* enum command_type */
	uint8_t via;   /* enum via */
	uint32_t principal;
	uint64_t cred;
	uint8_t idem_key[16]; /* all zero: none */
	uint8_t body_hash[16]; /* of the encoded body, for the idempotency check */
	bool dry_run;
	uint64_t approves;   /* the approval that this command, repeated by a second person, brings into effect */
	uint8_t cluster[16]; /* uid of the cluster it is meant for; all zero: whichever hears it */
	struct bytes body;   /* as it was sent; borrowed. An approval keeps it */
	union {
		struct cmd_tick tick;
		struct cmd_init init;
		struct cmd_recover recover;
		struct cmd_node_liveness node_liveness;
		struct cmd_node_hello node_hello;
		struct cmd_node_report node_report;
		struct cmd_enrol enrol;
		struct cmd_token_create token_create;
		struct cmd_object object;
		struct cmd_key_rotate key_rotate;
		struct cmd_division_apply division_apply;
		struct cmd_stage_set stage_set;
		struct cmd_node_admin node_admin;
		struct cmd_job_submit job_submit;
		struct cmd_job_control job_control;
		struct cmd_job_update job_update;
		struct cmd_job_checkpointed job_checkpointed;
		struct cmd_lease_request lease_request;
		struct cmd_lease_renew lease_renew;
		struct cmd_lease_resize lease_resize;
		struct cmd_lease_extend lease_extend;
		struct cmd_lease_revoke lease_revoke;
		struct cmd_reservation_create reservation_create;
		struct cmd_reservation_update reservation_update;
	};
};

/* What a decided command answers, beside the error. `id` names what was made or touched. */
struct renew_result {
	uint64_t lease;
	int32_t code; /* 0 or an enum err_code */
	uint8_t state; /* enum lease_state */
	uint64_t fence;
	int64_t ttl_ms;
	int64_t renew_after_ms;
	int64_t term_left_ms;
	int64_t recall_in_ms; /* -1: none */
	uint32_t units;
	uint32_t units_target;
};
struct result {
	uint64_t id;
	uint64_t version;
	int64_t hold_rums;
	int64_t left_rums;
	uint8_t state;
	char text[TEXT_BYTES];
	uint64_t approval; /* not done: it waits for a second person under this number */
	uint32_t renewals_n;
	struct renew_result *renewals;
};

/* Name of a command type, "tick" ...; NULL for a foreign number. */
const char *command_name(uint16_t type);

#endif
