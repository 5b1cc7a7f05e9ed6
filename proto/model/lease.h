/* lease.h - capacity held by a provider
 *
 * Liveness deadlines (`expires_live_ms`) count in *live time*: logical time minus all downtime of
 * the daemon. Contract deadlines (term end, offer) count in logical time and are never frozen.
 */
#ifndef SLUIS_PROTO_MODEL_LEASE_H
#define SLUIS_PROTO_MODEL_LEASE_H

#include "proto/model/quota.h"

enum lease_class { LEASE_FIRM = 0, LEASE_LOAN = 1 };

enum lease_state {
	LEASE_REQUESTED = 0,
	LEASE_OFFERED,
	LEASE_GRANTED,
	LEASE_BINDING,
	LEASE_ACTIVE,
	LEASE_GRACE,
	LEASE_RECALLING,
	LEASE_RELEASING,
	LEASE_REVOKING,
	/* terminal; devices may still be on their way back */
	LEASE_REJECTED,
	LEASE_WITHDRAWN,
	LEASE_RELEASED,
	LEASE_EXPIRED,
	LEASE_REVOKED,
	LEASE_ENDED,
};
static inline bool lease_terminal(uint8_t s) { return s >= LEASE_REJECTED; }

struct lease_spec {
	uint32_t provider; /* quota-tree node */
	uint16_t flavor;
	uint8_t shape;  /* enum shape */
	uint8_t klass;  /* enum lease_class */
	uint32_t units; /* devices (SHAPE_GPU) or nodes (SHAPE_NODE) */
	uint32_t units_per_replica; /* service: devices of one replica; bare: 0 */
	uint8_t leaf_percent_max;   /* of the units in one leaf, but one replica always may; 0: no limit */
	int64_t term_ms;
	int64_t ttl_ms;
	int64_t grace_ms;
	int64_t notice_ms; /* loan: notice before a recall takes it */
	bool auto_accept;
	bool auto_extend;
	uint8_t payload[32]; /* SHA-256 of the service's payload; zero: bare capacity */
	char name[NAME_BYTES];
	uint32_t requires_n;
	struct require *requires;
};

struct lease {
	uint64_t id;
	uint32_t owner; /* principal */
	uint8_t state;  /* enum lease_state */
	struct lease_spec spec;
	uint64_t fence; /* raised whenever its set of devices is bound anew */
	int64_t created_ms;
	int64_t state_since_ms;
	int64_t offer_until_ms;
	int64_t active_since_ms;
	int64_t term_end_ms;
	int64_t recall_at_ms; /* RECALLING: renewals are capped here */
	uint64_t claim;       /* the claim that recalls it */
	char end_reason[TEXT_BYTES];
	uint32_t bind_failures;
	int64_t retry_ms; /* after a failed bind: not before; 0 */
	uint32_t excluded_n; /* nodes that failed it, newest last: others are taken while there are any */
	struct node_ref *excluded;
};

/* The part of a lease that changes with every renewal: small, so 100,000 a second are cheap. */
struct renewal {
	uint64_t lease;
	uint64_t renew_seq;
	int64_t renewed_ms;      /* logical time of the commit */
	int64_t expires_live_ms; /* live time */
	uint64_t renewals;
	int64_t told_ms; /* logical time of the latest end that a holder was told; 0: none yet */
};

#endif
