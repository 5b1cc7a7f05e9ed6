/* unit.h - what the daemon wants on a node, and what the agent says is there
 *
 * Level-triggered: the daemon sends the whole desired set of a node with a revision whenever it
 * changes; the agent reports the whole set of what it has. A unit is one part of one allocation,
 * named (alloc, part). The allocation id is also the fence and the epoch of every device in it.
 */
#ifndef SLUIS_PROTO_MODEL_UNIT_H
#define SLUIS_PROTO_MODEL_UNIT_H

#include "proto/model/alloc.h"
#include "proto/model/job.h"

enum unit_kind { UNIT_JOB_SCRIPT = 0, UNIT_JOB_COMMAND, UNIT_SERVICE, UNIT_BARE };
enum unit_phase {
	UNIT_PREPARE = 0, /* check devices and epochs, choose the port, start nothing */
	UNIT_RUN,
	UNIT_STOP, /* notice, signal, kill at the deadline, prove devices free */
};

struct unit_device { char pci[16]; uint8_t partition; char uuid[48]; char vendor[16]; };
struct unit_host { char name[NAME_BYTES]; char address[NAME_BYTES]; uint16_t slots; };

struct unit {
	uint64_t alloc;
	uint16_t part;
	uint8_t kind;  /* enum unit_kind */
	uint8_t phase; /* enum unit_phase */
	uint8_t payload[32]; /* zero: nothing to run (bare) */
	uint64_t owner;      /* job or lease id */
	uint32_t attempt;
	char name[NAME_BYTES];
	char project[TEXT_BYTES]; /* path in the quota tree */
	char user[NAME_BYTES];
	uint8_t klass;    /* enum alloc_class */
	uint64_t cores[CORE_WORDS];
	uint32_t memory_mib;
	uint16_t tasks;
	uint32_t rank0;
	uint32_t world;
	uint32_t node_rank;
	uint16_t cpus_per_task;
	char master_address[NAME_BYTES];
	uint16_t master_port; /* known from UNIT_RUN on */
	int64_t time_left_ms; /* until the contract end; T_NEVER */
	uint64_t array;
	uint32_t array_index;
	uint32_t restart_count;
	bool resume; /* a checkpoint was reported */
	/* elastic jobs; 0: of one size. Running tasks are told when `units_now` changes. */
	uint32_t nodes_min, nodes_max, nodes_now, units_now;
	bool slurm_env;
	bool stop_on_disconnect;
	/* UNIT_STOP */
	uint8_t stop_cause; /* enum end_cause */
	int64_t stop_in_ms; /* SIGKILL after */
	uint8_t signal;
	uint8_t signal_target;
	uint64_t claim;
	uint32_t devices_n;
	struct unit_device *devices;
	uint32_t hosts_n;
	struct unit_host *hosts; /* of the whole gang, in node-rank order */
};

enum unit_state {
	UNIT_ABSENT = 0,
	UNIT_PREPARED,
	UNIT_RUNNING,
	UNIT_EXITED,   /* every task ended; exit kept until acknowledged */
	UNIT_RELEASED, /* no process, devices free: the evidence */
	UNIT_FAILED,   /* could not be prepared or started (text says why) */
	UNIT_LOST,     /* the machine rebooted under it */
	UNIT_UNKNOWN,  /* agent cannot tell; never kills */
	UNIT_UNKILLABLE,
};

struct unit_status {
	uint64_t alloc;
	uint16_t part;
	uint8_t state; /* enum unit_state */
	uint16_t port;
	int32_t exit_code;
	uint8_t exit_signal;
	bool oom;
	bool healthy;
	uint32_t restarts;
	uint64_t checkpoint_step;
	int64_t checkpoint_ago_ms; /* -1: none */
	char text[TEXT_BYTES];
	bool unfit; /* no work can start on this node, whoever's it is (text says why): it is drained */
};

#endif
