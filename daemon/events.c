/* events.c - committed facts as lines of the journal: the audit trail
 *
 *     <6>job started job=42 attempt=1 seq=881
 *
 * A line names what changed, not the record: event and keys are stable. Noted when the fact is folded
 * in, because then the record it replaces is still there; written when the append has returned, so
 * the journal never says what the disk does not know. Renewals, remembered replies and usage are
 * no events.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/impl.h"
#include "proto/model/names.h"

PRINTF_LIKE(4, 5)
static void note(struct server *s, int level, const char *name, const char *fmt, ...)
{
	struct batch *b = &s->batch;
	char line[1024];
	va_list ap;

	if (level > s->log_level)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	if (b->events_n == b->events_cap) {
		b->events_cap = b->events_cap ? b->events_cap * 2 : 256;
		b->events = xrealloc(b->events, b->events_cap * sizeof *b->events);
	}
	b->events[b->events_n++] =
		(struct event){level, name, arena_copy(&b->arena, line, strlen(line) + 1)};
}

void events_tell(struct server *s)
{
	for (size_t i = 0; i < s->batch.events_n; i++)
		log_event(s->batch.events[i].level, s->batch.events[i].name, "%s", s->batch.events[i].fields);
}

static const char *path_of(const struct server *s, uint32_t qnode, char out[TEXT_BYTES])
{
	core_qnode_path(s->core, qnode, out);
	return out;
}

static void note_job(struct server *s, const struct job *old, const struct job *j, uint64_t id, uint64_t seq)
{
	static const char *const name[] = {
		[JOB_HELD] = "job held",	 [JOB_PENDING] = "job queued", [JOB_EARMARKED] = "job earmarked",
		[JOB_BINDING] = "job binding", [JOB_RUNNING] = "job started", [JOB_STOPPING] = "job stopping",
	};
	char path[TEXT_BYTES];

	if (!j) {
		note(s, LOG_DEBUG, "job forgotten", "job=%" PRIu64 " seq=%" PRIu64, id, seq);
		return;
	}
	if (!old)
		note(s, LOG_INFO, "job submitted",
		     "job=%" PRIu64 " user=%s project=%s units=%" PRIu32 " shape=%s class=%s name=%s seq=%" PRIu64,
		     id, log_quote(j->user), path_of(s, j->spec.project, path), j->spec.units,
		     shape_name(j->spec.shape), job_class_name(j->spec.klass), log_quote(j->spec.name), seq);
	if (old && old->state == j->state)
		return;
	if (job_terminal(j->state))
		note(s, LOG_INFO, "job ended",
		     "job=%" PRIu64 " state=%s cause=%s exit=%" PRId32 " signal=%u text=%s seq=%" PRIu64, id,
		     job_state_name(j->state), end_cause_name(j->end_cause), j->exit_code, j->exit_signal,
		     log_quote(j->end_text), seq);
	else if (old || j->state != JOB_PENDING)
		note(s, LOG_INFO, name[j->state], "job=%" PRIu64 " attempt=%" PRIu32 " alloc=%" PRIu64 " seq=%" PRIu64,
		     id, j->attempt, j->alloc, seq);
}

static void note_lease(struct server *s, const struct lease *old, const struct lease *l, uint64_t id, uint64_t seq)
{
	static const char *const name[] = {
		[LEASE_REQUESTED] = "lease requested",	 [LEASE_OFFERED] = "lease offered",
		[LEASE_GRANTED] = "lease granted",	 [LEASE_BINDING] = "lease binding",
		[LEASE_ACTIVE] = "lease active",	 [LEASE_GRACE] = "lease in grace",
		[LEASE_RECALLING] = "lease recalled",	 [LEASE_RELEASING] = "lease releasing",
		[LEASE_REVOKING] = "lease being revoked", [LEASE_REJECTED] = "lease rejected",
		[LEASE_WITHDRAWN] = "lease withdrawn",	 [LEASE_RELEASED] = "lease released",
		[LEASE_EXPIRED] = "lease expired",	 [LEASE_REVOKED] = "lease revoked",
		[LEASE_ENDED] = "lease ended",
	};
	char path[TEXT_BYTES];

	if (!l || (old && old->state == l->state && old->fence == l->fence))
		return;
	note(s, l->state == LEASE_GRACE || l->state == LEASE_EXPIRED ? LOG_WARNING : LOG_INFO, name[l->state],
	     "lease=%" PRIu64 " provider=%s units=%" PRIu32 " shape=%s fence=%" PRIu64 " reason=%s seq=%" PRIu64, id,
	     path_of(s, l->spec.provider, path), l->spec.units, shape_name(l->spec.shape), l->fence,
	     log_quote(l->end_reason), seq);
}

static void note_node(struct server *s, const struct node *old, const struct node *n, uint64_t seq)
{
	static const char *const name[] = {[NODE_JOINING] = "node enrolled", [NODE_READY] = "node ready",
					   [NODE_SUSPECT] = "node suspect",
					   [NODE_UNREACHABLE] = "node unreachable", [NODE_DOWN] = "node down"};
	static const char *const admin[] = {[NODE_ENABLED] = "node enabled", [NODE_CORDONED] = "node cordoned",
					    [NODE_DRAINING] = "node draining"};

	if (!n) {
		if (old)
			note(s, LOG_NOTICE, "node removed", "node=%s seq=%" PRIu64, log_quote(old->name), seq);
		return;
	}
	if (!old || old->state != n->state)
		note(s, n->state >= NODE_SUSPECT ? LOG_WARNING : LOG_INFO, name[n->state],
		     "node=%s devices=%" PRIu32 " cores=%u boot=%s seq=%" PRIu64, log_quote(n->name), n->devices_n,
		     n->cores_n, log_quote(n->boot_id), seq);
	if (old && old->admin != n->admin)
		note(s, LOG_NOTICE, admin[n->admin], "node=%s reason=%s seq=%" PRIu64, log_quote(n->name),
		     log_quote(n->admin_reason), seq);
	if (n->twin_boot[0] && (!old || strcmp(old->twin_boot, n->twin_boot) != 0))
		note(s, LOG_ERR, "two machines with one key", "node=%s boot=%s other_boot=%s seq=%" PRIu64, log_quote(n->name),
		     log_quote(n->boot_id), log_quote(n->twin_boot), seq);
	if (old && !old->lost && n->lost)
		note(s, LOG_WARNING, "node lost", "node=%s seq=%" PRIu64, log_quote(n->name), seq);
}

static void note_flavor(struct server *s, const struct flavor *old, const struct flavor *f, uint64_t seq)
{
	if (f && f->deficit != (old ? old->deficit : 0))
		note(s, f->deficit ? LOG_WARNING : LOG_NOTICE, f->deficit ? "deficit" : "deficit over",
		     "flavor=%s missing=%" PRIu32 " hits=%s seq=%" PRIu64, log_quote(f->name), f->deficit,
		     log_quote(f->deficit_hits), seq);
}

static void note_claim(struct server *s, const struct claim *old, const struct claim *m, uint64_t id, uint64_t seq)
{
	if (!m)
		note(s, LOG_INFO, "claim ended", "claim=%" PRIu64 " seq=%" PRIu64, id, seq);
	else if (!old)
		note(s, LOG_INFO, "claim raised",
		     "claim=%" PRIu64 " owner=%s-%" PRIu64 " units=%" PRIu32 " victims=%" PRIu32 " seq=%" PRIu64, id,
		     alloc_owner_name(m->owner_kind), m->owner, m->units, m->victims_n, seq);
	else if (m->breached && !old->breached)
		note(s, LOG_WARNING, "claim late",
		     "claim=%" PRIu64 " owner=%s-%" PRIu64 " cause=%s victim=%s-%" PRIu64 " node_id=%" PRIu32 " seq=%" PRIu64,
		     id, alloc_owner_name(m->owner_kind), m->owner, log_quote(breach_cause_name(m->breach_cause)),
		     alloc_owner_name(m->breach_owner_kind), m->breach_owner, m->breach_node, seq);
}

static void note_reservation(struct server *s, const struct reservation *old, const struct reservation *r, uint64_t id,
			     uint64_t seq)
{
	static const char *const name[] = {
		[RESERVATION_REQUESTED] = "reservation requested", [RESERVATION_CONFIRMED] = "reservation confirmed",
		[RESERVATION_ACTIVE] = "reservation active",	   [RESERVATION_ENDED] = "reservation ended",
		[RESERVATION_CANCELLED] = "reservation cancelled",
	};

	if (!r)
		return;
	if (!old || old->state != r->state)
		note(s, LOG_NOTICE, name[r->state], "reservation=%" PRIu64 " name=%s text=%s seq=%" PRIu64, id,
		     log_quote(r->spec.name), log_quote(r->end_text), seq);
	if (old && old->degraded != r->degraded)
		note(s, r->degraded ? LOG_WARNING : LOG_NOTICE, r->degraded ? "reservation degraded" : "reservation whole",
		     "reservation=%" PRIu64 " name=%s missing=%" PRIu32 " seq=%" PRIu64, id, log_quote(r->spec.name),
		     r->degraded, seq);
}

static void note_people(struct server *s, const struct fact *f, const void *old, uint64_t seq)
{
	const struct token *before = old;

	if (f->kind == RECORD_PRINCIPAL && f->principal) {
		const struct principal *was = old;

		if (!was)
			note(s, LOG_NOTICE, "user added", "user=%s role=%s seq=%" PRIu64, log_quote(f->principal->name),
			     role_name(f->principal->role), seq);
		else if (f->principal->disabled && !was->disabled)
			note(s, LOG_NOTICE, "user disabled", "user=%s seq=%" PRIu64, log_quote(f->principal->name), seq);
	} else if (f->kind == RECORD_CRED && f->cred) {
		const struct cred *was = old;

		if (!was)
			note(s, LOG_NOTICE, "key added", "key=%" PRIu64 " kind=%s principal=%" PRIu32 " seq=%" PRIu64,
			     f->id, cred_kind_name(f->cred->kind), f->cred->principal, seq);
		else if (f->cred->state == CRED_REVOKED && was->state != CRED_REVOKED)
			note(s, LOG_NOTICE, "key revoked", "key=%" PRIu64 " seq=%" PRIu64, f->id, seq);
	} else if (f->kind == RECORD_TOKEN && (!f->token || !before || f->token->uses_left != before->uses_left)) {
		note(s, LOG_NOTICE, !f->token ? "token ended" : before ? "token used" : "token created",
		     "token=%" PRIu64 " role=%s seq=%" PRIu64, f->id,
		     role_name(f->token ? f->token->role : before ? before->role : ROLE_NONE), seq);
	}
}

static void note_approval(struct server *s, const struct approval *old, const struct approval *a, uint64_t id, uint64_t seq)
{
	const struct approval *any = a ? a : old;

	note(s, LOG_NOTICE, a ? "approval proposed" : "approval ended", "approval=%" PRIu64 " command=%s principal=%" PRIu32
	     " seq=%" PRIu64, id, any ? command_name(any->cmd) : "-", any ? any->principal : 0, seq);
}

static void note_qnode(struct server *s, const struct qnode *old, const struct qnode *q, uint64_t seq)
{
	char path[TEXT_BYTES];

	if (!old || !q || old->stages_n != q->stages_n)
		return;
	for (uint32_t i = 0; i < q->stages_n; i++)
		if (old->stages[i].state != q->stages[i].state)
			note(s, LOG_NOTICE, "stage changed", "project=%s stage=%s state=%s seq=%" PRIu64,
			     path_of(s, q->id, path), log_quote(q->stages[i].name), stage_state_name(q->stages[i].state),
			     seq);
}

static void note_cluster(struct server *s, const struct cluster *old, const struct cluster *cl, uint64_t seq)
{
	if (!old || old->division_version != cl->division_version)
		note(s, LOG_NOTICE, old ? "division applied" : "cluster created",
		     "cluster=%s version=%" PRIu64 " seq=%" PRIu64, log_quote(cl->name), cl->division_version, seq);
	if (old && old->safe_mode != cl->safe_mode)
		note(s, LOG_WARNING, cl->safe_mode ? "safe mode on" : "safe mode off", "seq=%" PRIu64, seq);
}

void events_note(struct server *s, const struct fact *f, uint64_t seq)
{
	const void *old;

	if (f->kind == RECORD_RENEWAL || f->kind == RECORD_IDEM || f->kind == RECORD_USAGE || f->kind == RECORD_ALLOC ||
	    f->kind == RECORD_FORECAST)
		return;
	old = core_record(s->core, f->kind, f->id);
	switch (f->kind) {
	case RECORD_JOB: note_job(s, old, f->job, f->id, seq); break;
	case RECORD_LEASE: note_lease(s, old, f->lease, f->id, seq); break;
	case RECORD_NODE: note_node(s, old, f->node, seq); break;
	case RECORD_CLAIM: note_claim(s, old, f->claim, f->id, seq); break;
	case RECORD_FLAVOR: note_flavor(s, old, f->flavor, seq); break;
	case RECORD_RESERVATION: note_reservation(s, old, f->reservation, f->id, seq); break;
	case RECORD_QNODE: note_qnode(s, old, f->qnode, seq); break;
	case RECORD_APPROVAL: note_approval(s, old, f->approval, f->id, seq); break;
	case RECORD_CLUSTER: note_cluster(s, old, f->cluster, seq); break;
	default: note_people(s, f, old, seq); break;
	}
}
