/* job.h - training work: what was asked for, and where it stands */
#ifndef SLUIS_PROTO_MODEL_JOB_H
#define SLUIS_PROTO_MODEL_JOB_H

#include "proto/model/quota.h"

enum job_class { JOB_SCAVENGER = 0, JOB_STANDBY, JOB_NORMAL, JOB_URGENT, JOB_SYSTEM };
enum job_loan { LOAN_NEVER = 0, LOAN_OK, LOAN_ONLY };
enum job_mode { JOB_SCRIPT = 0, JOB_COMMAND = 1 }; /* once on the first node; in every task */
/* How close the devices of a job must be to one another (nodes' labels: leaf or rack, pod or site). */
enum topology { TOPOLOGY_ANY = 0, TOPOLOGY_LEAF, TOPOLOGY_POD };
/* Which jobs find SLURM_* variables: those that ask, as sluisctl does for #SBATCH lines; all; none. */
enum slurm_env { SLURM_ENV_COMPAT = 0, SLURM_ENV_ALWAYS, SLURM_ENV_NEVER };
enum signal_target { SIGNAL_TASKS = 0, SIGNAL_BATCH = 1 };

enum job_state { /* Slurm's codes: proto/model/names.c */
	JOB_HELD = 0,
	JOB_PENDING,
	JOB_EARMARKED, /* a claim is fetching its devices */
	JOB_BINDING,
	JOB_RUNNING,
	JOB_STOPPING,
	/* terminal */
	JOB_COMPLETED,
	JOB_FAILED,
	JOB_TIMEOUT,
	JOB_CANCELLED,
	JOB_NODE_FAIL,
	JOB_PREEMPTED,
	JOB_OOM,
	JOB_DEADLINE,
	JOB_REJECTED,
};
static inline bool job_terminal(uint8_t s) { return s >= JOB_COMPLETED; }

/* Why an attempt ended or is being stopped: decides retry, charge and blame. */
enum end_cause {
	END_NONE = 0,
	END_EXIT,    /* the program ended by itself: exit code, signal */
	END_OOM,
	END_TIME,    /* time limit */
	END_INFRA,   /* device, node, agent */
	END_RECALL,  /* a claim took its loan */
	END_DRAIN,
	END_CANCEL,
	END_REQUEUE, /* asked for; outranks the exit code */
	END_DEADLINE,
	END_BIND,    /* the gang could not be bound */
};

enum dep_type { DEP_AFTER = 0, DEP_AFTERANY, DEP_AFTEROK, DEP_AFTERNOTOK, DEP_SINGLETON };
struct dependency { uint8_t type; uint64_t job; };
struct node_ref { uint32_t node; };

struct job_spec {
	uint32_t project; /* quota-tree node */
	uint16_t flavor;
	uint8_t shape;
	uint8_t klass; /* enum job_class */
	uint8_t loan;  /* enum job_loan */
	uint8_t mode;  /* enum job_mode */
	uint32_t units;     /* devices (or cores) for SHAPE_GPU, nodes for SHAPE_NODE: the gang */
	uint32_t units_max; /* elastic upper end; = units when rigid */
	uint16_t per_node;  /* SHAPE_GPU: exactly so many of the units on each node; 0: as it fits */
	uint16_t tasks_per_node; /* 0: see tasks_per_unit */
	uint16_t tasks_per_unit; /* per device; 0 and 0: one task per node */
	uint16_t cpus_per_task;
	uint32_t memory_mib;     /* per node; 0: the share of its devices */
	int64_t time_limit_ms;
	int64_t begin_ms;
	int64_t deadline_ms;
	int64_t notice_ms;
	int64_t exempt_ms;
	uint8_t signal;        /* notice signal; 0: SIGTERM */
	uint8_t signal_target; /* enum signal_target */
	int64_t signal_ms;     /* before the time limit; 0: notice_ms */
	uint8_t retries_infra;
	uint8_t retries_user;
	bool no_requeue;
	bool stop_on_disconnect;
	bool slurm_env; /* SLURM_* variables; as the cluster's settings had it when it was submitted */
	bool hold;
	uint32_t array_first; /* array when array_step > 0 */
	uint32_t array_last;
	uint32_t array_step;
	uint32_t array_running_max;
	uint8_t topology;        /* enum topology; several nodes are in as few groups of it as possible */
	bool topology_required;  /* in one, or not at all */
	int64_t topology_wait_ms; /* in one until so long after submission */
	uint64_t reservation; /* only inside this one; 0 */
	uint8_t payload[32]; /* SHA-256 of the payload: program, environment, paths */
	char name[NAME_BYTES];
	uint32_t requires_n;
	struct require *requires; /* predicates and constraint labels */
	uint32_t deps_n;
	struct dependency *deps;
};

struct job {
	uint64_t id;
	uint32_t owner; /* principal */
	char user[NAME_BYTES];
	uint64_t submit_seq; /* order of submission; kept over requeues */
	int64_t submit_ms;
	uint8_t state; /* enum job_state */
	bool admin_hold;
	bool requeue_wanted;
	uint8_t end_cause; /* enum end_cause of the last attempt */
	uint32_t attempt;  /* 0 before the first */
	uint32_t infra_retries;
	uint32_t user_retries;
	uint32_t recalls;
	int64_t back_ms;   /* a recall was not met within what it declared: its loans count as back so late; 0 */
	uint64_t array; /* job id of the array; 0 */
	uint32_t array_index;
	uint64_t alloc; /* current attempt's allocation; 0 */
	uint64_t claim; /* 0 */
	int64_t eligible_ms; /* begin, back-off or cool-down until; 0: may start */
	int64_t start_ms;    /* of the current or last attempt */
	int64_t end_ms;
	int64_t first_start_ms;
	int32_t exit_code;
	uint8_t exit_signal;
	int64_t checkpoint_ms; /* last reported one */
	uint64_t checkpoint_step;
	int64_t held_rums;
	uint32_t held_stage; /* index into the project's stages */
	int64_t used_guaranteed_rums;
	int64_t used_loan_rums;
	int64_t refunded_rums;
	int64_t attempt_guaranteed_rums; /* of the current attempt, not yet settled with the stage */
	int64_t attempt_loan_rums;
	int64_t resized_ms;         /* when its extras last changed by its own; 0: not in this attempt */
	int64_t held_extra_rums;    /* beside held_rums, for extras */
	int64_t attempt_extra_rums; /* used by them in this attempt */
	int64_t lost_rums; /* work thrown away by recalls */
	char end_text[TEXT_BYTES];
	struct job_spec spec;
	uint32_t excluded_n;
	struct node_ref *excluded; /* blamed nodes, not used again */
	uint32_t ran_n;
	struct node_ref *ran; /* nodes of the current or last attempt that started, also those of extras it had; each once */
	uint32_t array_started; /* array parent: children made so far */
	uint32_t array_live;    /* array parent: children not yet ended */
	/* a reservation: while it waits, nothing is started that would leave it too little from then on */
	int64_t reserved_ms;    /* 0: none */
	bool reserved_devices;  /* for want of devices, not of quota */
	int64_t promised_ms;    /* it was told that it has its devices by then; 0: nothing */
	uint16_t promise_broken; /* reason for which the last promise could not be kept; 0 */
};

#endif
