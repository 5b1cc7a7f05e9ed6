/* node.h - a machine with its devices, as the daemon keeps it */
#ifndef SLUIS_PROTO_MODEL_NODE_H
#define SLUIS_PROTO_MODEL_NODE_H

#include "proto/model/resource.h"

enum node_state {
	NODE_JOINING = 0, /* enrolled, never reported */
	NODE_READY,
	NODE_SUSPECT,     /* heartbeats missed, or its topology changed: no new placements */
	NODE_UNREACHABLE, /* lost for longer than node_lost; its devices keep their holders */
	NODE_DOWN,        /* declared dead, or left */
};

enum node_admin { NODE_ENABLED = 0, NODE_CORDONED = 1, NODE_DRAINING = 2 };

/* What a node's agent can hold work to (bits of `isolation`). */
enum isolation {
	ISOLATION_KNOWN = 1, /* the agent said */
	ISOLATION_USER = 2,  /* work runs as its submitter */
	ISOLATION_DEVICES = 4, /* no device but the granted ones can be opened */
	ISOLATION_MEMORY = 8,
	ISOLATION_CPU = 16,    /* a share of time */
	ISOLATION_CPUSET = 32, /* cores and memory nodes */
	ISOLATION_TASKS = 64,  /* processes and threads */
	ISOLATION_TRACK = 128, /* no process leaves its unit */
};

enum device_health { DEVICE_OK = 0, DEVICE_SUSPECT, DEVICE_FAILED };

/* Named by (node, pci, partition); `uuid` may be empty: a zero or duplicate one is no identity. */
struct device {
	char pci[16];
	uint8_t partition;
	char uuid[48];
	char vendor[16];
	char model[64];
	char mig[24];
	uint16_t flavor; /* 0: matches no flavor, never handed out */
	uint8_t health;  /* enum device_health */
	char reason[64]; /* why it is not ok; "" */
	uint16_t numa;
	uint32_t memory_mib;
	uint64_t cores[CORE_WORDS]; /* near cores, by logical index */
	uint64_t peers;             /* devices reached over NVLink or XGMI */
};

struct label { char key[LABEL_BYTES]; char value[LABEL_BYTES]; };

struct node {
	uint32_t id; /* never reused */
	char name[NAME_BYTES];
	uint8_t state; /* enum node_state */
	uint8_t admin; /* enum node_admin */
	char admin_reason[TEXT_BYTES];
	int64_t admin_until_ms; /* 0: until lifted */
	int64_t drain_by_ms;   /* while it drains: jobs that are left are stopped by then; 0: they end in their own time */
	int64_t drain_next_ms; /* when the next of them is told; 0: all have been */
	int64_t state_since_ms;
	bool lost; /* unreachable for longer than lost_after: its jobs were started elsewhere */
	char boot_id[40];
	uint64_t incarnation;
	char twin_boot[40]; /* of another machine that spoke with the node's key while the node lived; empty: none */
	int64_t twin_ms;    /* when it was noticed last */
	char twins_before[160]; /* boot ids of others before it, newest first, each followed by a space */
	uint32_t principal; /* whose credential the agent uses */
	char address[NAME_BYTES]; /* data plane */
	uint8_t digest[32];         /* accepted topology */
	uint8_t digest_pending[32]; /* reported and not yet accepted; zero when equal */
	bool emulated;
	uint32_t isolation; /* enum isolation bits */
	uint16_t cores_n;
	uint16_t cores_reserved;
	uint32_t memory_mib;
	uint32_t memory_reserved_mib;
	uint32_t labels_n;
	struct label *labels;
	uint32_t devices_n;
	struct device *devices;
};

#endif
