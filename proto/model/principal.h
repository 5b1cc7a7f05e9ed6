/* principal.h - who may speak: principals, their credentials, and tokens that make new ones */
#ifndef SLUIS_PROTO_MODEL_PRINCIPAL_H
#define SLUIS_PROTO_MODEL_PRINCIPAL_H

#include "proto/model/resource.h"

enum role {
	ROLE_NONE = 0,
	ROLE_ADMIN,
	ROLE_OPERATOR,
	ROLE_GATEKEEPER,
	ROLE_REVIEWER,
	ROLE_MEMBER,   /* a researcher: projects that name them */
	ROLE_PROVIDER, /* the leases of its own provider */
	ROLE_AUDITOR,  /* reads everything, changes nothing */
	ROLE_NODE,     /* an agent */
	ROLE_PUBLIC,
	ROLE_COUNT,
};

struct principal {
	uint32_t id; /* 1 is the daemon itself */
	char name[NAME_BYTES];
	uint8_t role;        /* enum role */
	char provider[NAME_BYTES]; /* ROLE_PROVIDER: name of its quota-tree node */
	uint32_t node;       /* ROLE_NODE */
	bool disabled;
};

enum cred_kind { CRED_CURVE = 0, CRED_UID = 1 };
enum cred_state { CRED_VALID = 0, CRED_REVOKED = 1 };
struct cred {
	uint64_t id;
	uint32_t principal;
	uint8_t kind;     /* enum cred_kind */
	uint8_t state;    /* enum cred_state */
	uint8_t key[32];  /* CURVE public key */
	uint32_t uid;     /* CRED_UID */
	int64_t created_ms;
	int64_t not_after_ms; /* 0: no end */
};

/* Kept as the SHA-256 of the secret; the secret itself is shown once. */
struct token {
	uint64_t id;
	uint8_t hash[32];
	uint8_t role; /* enum role of the principal it makes */
	char name[NAME_BYTES]; /* principal or node it is bound to; empty: any */
	char provider[NAME_BYTES];
	uint32_t uses_left;
	int64_t expires_ms;
};

#endif
