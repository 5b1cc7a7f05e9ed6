/* record.h - the kinds of records; a fact is one whole record put or deleted */
#ifndef SLUIS_PROTO_MODEL_RECORD_H
#define SLUIS_PROTO_MODEL_RECORD_H

#include "proto/model/alloc.h"
#include "proto/model/approval.h"
#include "proto/model/cluster.h"
#include "proto/model/forecast.h"
#include "proto/model/job.h"
#include "proto/model/lease.h"
#include "proto/model/node.h"
#include "proto/model/principal.h"
#include "proto/model/quota.h"
#include "proto/model/reservation.h"

/* kind, stable number, struct, how its id is read. Numbers are on the disk and never change. */
#define RECORD_TABLE(X)                                                                            \
	X(RECORD_CLUSTER, 1, cluster, 1)                                                           \
	X(RECORD_FLAVOR, 2, flavor, r->id)                                                         \
	X(RECORD_QNODE, 3, qnode, r->id)                                                           \
	X(RECORD_NODE, 4, node, r->id)                                                             \
	X(RECORD_PRINCIPAL, 5, principal, r->id)                                                   \
	X(RECORD_CRED, 6, cred, r->id)                                                             \
	X(RECORD_TOKEN, 7, token, r->id)                                                           \
	X(RECORD_LEASE, 8, lease, r->id)                                                           \
	X(RECORD_RENEWAL, 9, renewal, r->lease)                                                    \
	X(RECORD_JOB, 10, job, r->id)                                                              \
	X(RECORD_ALLOC, 11, alloc, r->id)                                                          \
	X(RECORD_CLAIM, 12, claim, r->id)                                                          \
	X(RECORD_USAGE, 13, usage, r->qnode)                                                       \
	X(RECORD_IDEM, 14, idem, r->id)                                                            \
	X(RECORD_APPROVAL, 15, approval, r->id)                                                    \
	X(RECORD_RESERVATION, 16, reservation, r->id)                                              \
	X(RECORD_FORECAST, 17, forecast, r->flavor)

/* A reply remembered under its idempotency key, so that a repeated command does not act twice. */
struct idem {
	uint64_t id; /* 64-bit hash of principal and key */
	uint32_t principal;
	uint8_t key[16];
	uint8_t body_hash[16];
	int64_t at_ms;
	int32_t code;
	uint64_t result_id;
	bool proposed; /* result_id is an approval's */
};

enum record_kind {
	RECORD_NONE = 0,
#define X(kind, number, type, idexpr) kind = (number),
	RECORD_TABLE(X)
#undef X
	RECORD_KINDS = 18,
};

struct fact {
	uint8_t kind; /* enum record_kind */
	uint64_t id;
	/* NULL: deleted. Borrowed; which member is valid says `kind`. */
	union {
		const void *any;
#define X(kind, number, type, idexpr) const struct type *type;
		RECORD_TABLE(X)
#undef X
	};
};

#endif
