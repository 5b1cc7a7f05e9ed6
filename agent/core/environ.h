/* environ.h - what a task finds in its environment, and where its output goes
 *
 * The user's own variables (payload.env) win, except over who the task is, which devices it has and
 * where its gang meets: those are always ours. Leftovers of another allocation in the user's
 * environment (SLUIS_*, SLURM_*, PET_*, ranks) are dropped.
 *
 * Source: names and values as torchrun, PyTorch's env://, Lightning, DeepSpeed, Open MPI, MPICH, NCCL
 * and submitit read them; SLURM_* as Slurm 22.05 sets them.
 */
#ifndef SLUIS_AGENT_CORE_ENVIRON_H
#define SLUIS_AGENT_CORE_ENVIRON_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/buf.h"
#include "proto/model/payload.h"
#include "proto/model/unit.h"

enum environ_mode {
	ENVIRON_BATCH, /* the script, once: counts and lists, no ranks */
	ENVIRON_TASK,  /* one of the gang's tasks, or a replica */
	ENVIRON_HOOK,  /* the site's prolog or epilog: what the unit is and holds; nothing of the user's, no meeting place */
	ENVIRON_EXEC,  /* a command inside the unit: as BATCH, but ranks it brings along stay */
};

/* Texts are borrowed; NULL or "" for what there is not. */
struct environ_in {
	enum environ_mode mode;
	const struct unit *unit;
	const struct payload *payload;
	const char *hook;        /* ENVIRON_HOOK: "prolog", "epilog" */
	uint32_t task;           /* index in this part */
	uint16_t port;           /* a service's own */
	int64_t start_unix_ms;
	int64_t until_unix_ms;   /* T_NEVER */
	const char *cluster;
	const char *node;        /* this node's name */
	const char *address;     /* and address */
	const char *hostfile, *tmpdir;
	const char *cpuset;      /* "0-7": what it is bound to */
	const char *numa;        /* "0,1" */
	const char *interface;   /* of the fabric */
	const char *hcas;        /* "mlx5_0,mlx5_1" */
	const char *home;        /* of the user it runs as */
	uint32_t uid;
	bool nobody;             /* ENVIRON_HOOK: the submitter has no account here, so it is no uid */
};

/* The environment, NULL at the end; everything lives in `arena`. Cost: variables × the user's variables. */
const char *const *environ_build(const struct environ_in *in, struct arena *arena);
/* The value of a variable in such a list, or NULL. */
const char *environ_get(const char *const *env, const char *name);

/* Expand %j %A %a %x %u %N %n %t %s %J %% with optional zero padding (%4t), as sbatch does; another
 * letter stays as it stands. The result lives in `arena`. */
const char *environ_path(const struct environ_in *in, const char *pattern, struct arena *arena);

/* `text` with every "{port}" replaced. */
const char *environ_port(const char *text, uint16_t port, struct arena *arena);

/* Lines "ADDRESS slots=N", one per host of the gang. */
void environ_hostfile(const struct environ_in *in, struct buf *out);

#endif
