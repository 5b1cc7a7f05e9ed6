/* submit.h - job options as what travels: a job spec and a payload
 *
 * Pure but for reading the environment handed in; the flavors of the cluster are an argument. What the
 * spec cannot carry is refused by the name of its option, or noted as kept.
 */
#ifndef SLUIS_CTL_SUBMIT_H
#define SLUIS_CTL_SUBMIT_H

#include "proto/config/directives.h"
#include "proto/model/command.h"
#include "proto/model/payload.h"
#include "proto/model/view.h"

enum { KEPT_MAX = 256 };
struct submission {
	struct cmd_job_submit cmd;
	struct payload payload;
	struct string kept[KEPT_MAX];
};

/* Does the answer depend on the cluster's division? Then `division` of submission_fill must be there. */
bool submission_needs_division(const struct job_options *o);

/* --gpus, --gpus-per-node, --gpus-per-task and --gres say one thing in several ways: what the command line
 * (`options`) says of it replaces all that environment and script say, and what the environment says all of the
 * script. Takes the lines that lose out of `script` (or NULL); returns the environment without them, in `arena`. */
char *const *submission_precedence(struct directives *script, char *const *env, const struct directive *options, size_t n,
				   struct arena *arena);

/* Fill `ret` from the options. `script` is the text of a job script, or NULL; then `argv` is a command.
 * `division` may be NULL (see above). `env` is environ-like. Everything is borrowed or in `arena`.
 * ERR_INVAL, ERR_UNSUPPORTED, ERR_RANGE with a hint. */
int submission_fill(const struct job_options *o, const char *script, const char *file, const char *const *argv,
		    size_t argv_n, char *const *env, const char *cwd, const struct view_division *division,
		    struct arena *arena, struct submission *ret, struct err *err) NODISCARD;

#endif
