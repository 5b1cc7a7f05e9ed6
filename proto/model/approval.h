/* approval.h - dual control: a command that waits until a second person agrees
 *
 * A command under dual control is judged like any other, but instead of its effect it leaves an
 * approval. It acts when somebody else, who may give the same command, repeats it naming the approval;
 * what is repeated must be the same to the byte. Whoever proposed it must still be allowed to then.
 */
#ifndef SLUIS_PROTO_MODEL_APPROVAL_H
#define SLUIS_PROTO_MODEL_APPROVAL_H

#include "proto/base/instant.h"
#include "proto/model/payload.h"
#include "proto/model/resource.h"

/* Commands that `dual_control` of sluisd.conf may name: the command, its bit in cluster.dual_control.
 * Revoking a firm lease always takes two. Bits are on the disk and never used for something else. */
#define DUAL_CONTROL_TABLE(X)                                                                      \
	X(CMD_DIVISION_APPLY, 0) /* but the first one */                                           \
	X(CMD_STAGE_SET, 1)                                                                        \
	X(CMD_NODE_DECLARE_DEAD, 2)                                                                \
	X(CMD_NODE_REMOVE, 3)                                                                      \
	X(CMD_TOKEN_CREATE, 4) /* of an admin */                                                   \
	X(CMD_KEY_REVOKE, 5)                                                                       \
	X(CMD_USER_DISABLE, 6)                                                                     \
	X(CMD_RESUME, 7)

enum { APPROVAL_BODY_BYTES_MAX = 512 * 1024, APPROVALS_MAX = 1000 };
#define APPROVAL_KEEP_MS (7 * MS_PER_DAY)

struct approval {
	uint64_t id;
	uint16_t cmd; /* enum command_type */
	uint32_t principal; /* who proposed it */
	uint64_t cred;      /* with this key */
	int64_t created_ms;
	int64_t expires_ms;
	uint8_t body_hash[16];
	struct bytes body; /* as it was sent, by schema_of_command(cmd) */
};

#endif
