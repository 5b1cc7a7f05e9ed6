/* limits.h - every ceiling in one place; reaching one is an answer (ERR_NOROOM), never a crash */
#ifndef SLUIS_PROTO_BASE_LIMITS_H
#define SLUIS_PROTO_BASE_LIMITS_H

enum {
	/* names and texts, bytes with the terminating NUL */
	NAME_BYTES = 64,
	FLAVOR_NAME_BYTES = 32,
	TEXT_BYTES = 128,
	LABEL_BYTES = 64,

	/* topology of one node */
	DEVICES_PER_NODE_MAX = 64, /* a device mask is one uint64_t */
	CORES_PER_NODE_MAX = 512,
	CORE_WORDS = CORES_PER_NODE_MAX / 64,
	NUMA_PER_NODE_MAX = 16,
	LABELS_PER_NODE_MAX = 16,

	/* the division */
	FLAVORS_MAX = 32,
	QNODES_MAX = 8192,
	QNODE_DEPTH_MAX = 8,
	QUOTAS_PER_QNODE_MAX = FLAVORS_MAX * 2,
	MEMBERS_PER_QNODE_MAX = 256,
	STAGES_PER_GRANT_MAX = 16,
	REQUIRES_MAX = 8,
	QUOTA_WINDOWS_MAX = 8, /* of one tree node; a bit each in qnode.windows_open */
	DIVISION_WINDOWS_MAX = 48, /* of all, so that a division that two people have to agree on can be kept meanwhile */
	WINDOW_LIMITS_MAX = QUOTA_WINDOWS_MAX * QUOTAS_PER_QNODE_MAX,
	WINDOW_DAYS_AHEAD = 400, /* so far they are counted out when the division is applied */
	WINDOW_SPANS_MAX = QUOTA_WINDOWS_MAX * (WINDOW_DAYS_AHEAD + 2),

	/* allocations */
	PARTS_PER_ALLOC_MAX = 2048,
	LENDERS_PER_ALLOC_MAX = 4,
	VICTIMS_PER_CLAIM_MAX = 16384,
	BREACHES_KEPT = 16,
	USERS_KEPT = 1024, /* of one project, in its usage */
	RECALLS_KEPT = 6, /* for one resource: six doublings of a minute are over an hour */
	UNITS_PER_NODE_MAX = 512, /* rows of an agent's desired state */
	TASKS_PER_PART_MAX = 256,

	/* reservations */
	RESERVATIONS_MAX = 1024,
	WINDOWS_MAX = 512,
	RESERVATION_MEMBERS_MAX = 64,

	/* jobs */
	DEPENDENCIES_MAX = 8,
	EXCLUDED_NODES_MAX = 4,
	ARRAY_MAX = 1000000,

	/* wire */
	FRAME_BYTES_MAX = 4 * 1024 * 1024,
	AGENT_FRAME_BYTES_MAX = 1024 * 1024,
	PAYLOAD_BYTES_MAX = 4 * 1024 * 1024 - 65536,
	WIRE_DEPTH_MAX = 8,
	RENEWALS_PER_COMMAND_MAX = 4096,
	LIST_ITEMS_MAX = 65536,
	PAYLOAD_STRINGS_MAX = 8192,       /* arguments or environment entries */
	STRING_BYTES_MAX = 128 * 1024,    /* one of them: Linux's MAX_ARG_STRLEN */
	PATH_TEXT_BYTES_MAX = 4096,
	NOTES_MAX = 256,                  /* lines of advice in a view */
	ADMIN_UIDS_MAX = 64,
};

_Static_assert(DEVICES_PER_NODE_MAX <= 64, "a device mask is one uint64_t");
_Static_assert(CORES_PER_NODE_MAX % 64 == 0, "a core mask is whole words");
_Static_assert(AGENT_FRAME_BYTES_MAX <= FRAME_BYTES_MAX, "one scan limit serves both");
_Static_assert(PAYLOAD_BYTES_MAX < FRAME_BYTES_MAX, "a payload travels in one frame");

#endif
