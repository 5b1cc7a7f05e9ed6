/* alloc.h - devices in somebody's hands: allocations and the claims that fetch them
 *
 * The id of an allocation is also the epoch of every device in it and the fence of its owner: ids
 * only rise, so each bind raises the epoch. A device belongs to an allocation from the fact that
 * makes the allocation until the fact that removes the part; nothing but evidence removes a part
 * (the agent's `released`, a new boot id, or declare-dead).
 */
#ifndef SLUIS_PROTO_MODEL_ALLOC_H
#define SLUIS_PROTO_MODEL_ALLOC_H

#include "proto/model/resource.h"

enum alloc_owner { OWNER_JOB = 0, OWNER_LEASE = 1 };

enum alloc_state {
	ALLOC_BINDING = 0, /* agents prepare; nothing runs */
	ALLOC_ACTIVE,      /* the barrier was released */
	ALLOC_STOPPING,    /* notice given; killed at stop_at_ms */
};

enum part_state {
	PART_ASSIGNED = 0,
	PART_PREPARED,
	PART_RUNNING,
	PART_EXITED, /* all tasks ended; devices not yet proven free */
	PART_LOST,   /* node unreachable beyond lost_after, or unit unknown there */
};

/* What one node contributes. Device and core masks index the node's own tables. */
struct part {
	uint16_t index; /* stable name within the allocation */
	uint32_t node;
	uint64_t devices;
	uint64_t cores[CORE_WORDS];
	uint32_t memory_mib;
	uint32_t units; /* devices, cores or 1 node, as the shape counts */
	uint16_t tasks;
	uint32_t rank0;
	uint8_t state; /* enum part_state */
	bool stop;     /* this part alone is being given back (shrink) */
	uint16_t port; /* rendezvous (first part of a job) or service port */
	int32_t exit_code;
	uint8_t exit_signal;
	bool oom;
	bool healthy; /* service replica answers its health command */
	bool unkillable; /* its processes outlive SIGKILL, or its devices stay in use: its node was drained for it */
	uint32_t restarts;
};

struct lender { uint32_t qnode; uint32_t units; };

struct alloc {
	uint64_t id;
	uint8_t owner_kind; /* enum alloc_owner */
	uint64_t owner;
	uint32_t attempt;
	uint32_t qnode; /* the leaf it is charged to */
	uint16_t flavor;
	uint8_t shape;
	uint8_t klass; /* enum alloc_class */
	uint8_t state; /* enum alloc_state */
	uint32_t units;
	int64_t created_ms;
	int64_t start_ms;  /* barrier */
	int64_t bind_by_ms;
	int64_t limit_ms;  /* contract end (time limit, term end); T_NEVER for none */
	int64_t notice_ms; /* loan: what a recall must give */
	int64_t exempt_until_ms;
	int64_t back_ms;   /* loan of a job that was late before: it counts as back no sooner; 0 */
	uint8_t stop_cause; /* enum end_cause */
	int64_t stop_at_ms; /* STOPPING: SIGKILL at */
	uint64_t claim;     /* that recalls it */
	uint64_t reservation; /* inside which it was placed; 0 */
	bool extra;         /* surplus of an elastic job's attempt, beside its core allocation */
	bool carried;       /* single devices inside its owner's whole-node nominal: its node counts, not they */
	int64_t charged_until_ms; /* usage is accounted up to here */
	uint32_t lenders_n;
	struct lender *lenders; /* loan: whose nominal it used when admitted */
	uint32_t parts_n;
	struct part *parts;
	uint16_t part_next; /* index of the next part that is split off: none is ever used twice */
};

struct victim { uint64_t alloc; };

/* Why what was promised for an instant is late. */
enum breach_cause {
	BREACH_NONE = 0,
	BREACH_NODE,       /* the victim's node is not reachable */
	BREACH_UNKILLABLE, /* its processes outlive SIGKILL */
	BREACH_NOTICE,     /* it was told, and its own notice is longer */
	BREACH_AGENT,      /* told, killed, and its agent has not proven it gone */
	BREACH_CAPACITY,   /* hardware was lost: there is nothing to recall */
};

/* A claim owns its devices from the moment it is raised: `parts` are what will be bound, `victims`
 * hold some of them still. Without parts: a node of them was lost, it is planned anew. */
struct claim {
	uint64_t id;
	uint8_t owner_kind; /* enum alloc_owner */
	uint64_t owner;
	uint32_t qnode;
	uint16_t flavor;
	uint8_t shape;
	uint32_t units;
	int64_t created_ms;
	int64_t deadline_ms;
	uint8_t klass; /* enum alloc_class of what will be bound */
	bool offered;  /* holds free devices only; victims are told when the offer is accepted */
	bool breached;
	uint8_t breach_cause; /* enum breach_cause, of the first that was late; with who and where: */
	uint8_t breach_owner_kind;
	uint64_t breach_owner;
	uint32_t breach_node;
	uint32_t victims_n;
	struct victim *victims;
	uint32_t parts_n;
	struct part *parts;
};

#endif
