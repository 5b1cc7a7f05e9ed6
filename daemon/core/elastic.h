/* elastic.h - jobs between a least and a most: what the files of daemon/core ask; see elastic.c */
#ifndef SLUIS_DAEMON_CORE_ELASTIC_H
#define SLUIS_DAEMON_CORE_ELASTIC_H

#include "daemon/core/state.h"

/* Does it grow? Scripts do not: they run once, on their first node. */
bool elastic_is(const struct job_spec *s);
/* Units by which it grows and shrinks, at least 1. */
uint32_t elastic_step(const struct core *c, const struct job_spec *s);
/* On so many nodes at most, its core being `core`. */
uint32_t elastic_nodes_max(const struct core *c, const struct job_spec *s, const struct alloc *core);

/* The core is being stopped: so are its extras, for the same cause and as soon. O(loans) if it has any. */
void elastic_follow(const struct core *c, struct decision *d, int64_t t, uint64_t job, uint8_t cause, int64_t grace_ms);
/* An extra's tasks ended by themselves: it goes, the job stays. */
void elastic_exited(const struct core *c, struct decision *d, int64_t t, const struct alloc *a);
/* An extra's devices are free: what it holds of the budget and will not use goes back. */
void elastic_gone(const struct core *c, struct decision *d, int64_t t, const struct alloc *a);
/* The job's time limit has moved: ERR_BUDGET if the stage does not cover it for the extras. */
int elastic_limit(const struct core *c, struct decision *d, struct job *j, int64_t limit_ms, struct err *err);
/* One resize, after everybody who waits had their turn. TRUE if there was one. */
bool sched_elastic(const struct core *c, int64_t t, struct decision *d);
int elastic_check(const struct core *c, struct err *err) NODISCARD;

#endif
