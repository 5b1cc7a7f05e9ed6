/* node.c - nodes: greeting, reports, liveness, administration
 *
 *   JOINING ──hello──▶ READY ⇄ SUSPECT ──node_lost──▶ UNREACHABLE ──hello──▶ READY
 *                        └──declare-dead──▶ DOWN
 * beside it: enabled | cordoned | draining. Placements need READY and enabled.
 *
 * Time never frees a device. Behind an unreachable node everything stays held; after lost_after its
 * jobs may start elsewhere as new attempts, the old ones keep their devices until the node is heard
 * again (released, or a new boot id) or an operator declares it dead.
 *
 * A new boot id is evidence that the old boot is over, and all that ran in it. Not so that of a twin: a copy of the
 * machine, with the node's key, that was heard while the node itself lived. It is never let in as a reboot; who
 * wants it to take the node's place declares the node dead.
 */
#include "daemon/core/reservation.h"
#include "daemon/core/state.h"

#include <inttypes.h>
#include <string.h>

static const uint8_t ZERO_DIGEST[32];
static const uint64_t FENCE_MAX = UINT64_C(1) << 62; /* beyond, a number was made up */
static const int64_t TWIN_AGAIN_MS = 10 * MS_PER_MIN; /* a twin that goes on trying is noted once in so long */

static bool glob(const char *pat, const char *s)
{
	const char *star = NULL, *back = NULL;

	while (*s) {
		if (*pat == '*') {
			star = ++pat;
			back = s;
		} else if (*pat == '?' || *pat == *s) {
			pat++;
			s++;
		} else if (star) {
			pat = star;
			s = ++back;
		} else {
			return false;
		}
	}
	while (*pat == '*')
		pat++;
	return !*pat;
}

void flavors_match(const struct core *c, const struct decision *d, struct node *n)
{
	for (uint32_t i = 0; i < n->devices_n; i++) {
		struct device *dev = &n->devices[i];

		dev->flavor = 0;
		for (uint16_t id = 1; id <= FLAVORS_MAX && !dev->flavor; id++) {
			const struct flavor *f = peek(c, d, RECORD_FLAVOR, id);

			if (!f || f->retired || f->unit != UNIT_DEVICE)
				continue;
			if ((!f->vendor[0] || !strcmp(f->vendor, dev->vendor)) && glob(f->model[0] ? f->model : "*", dev->model) &&
			    !strcmp(f->mig, dev->mig) && dev->memory_mib >= f->memory_mib_min)
				dev->flavor = id;
		}
	}
}

static void state_set(struct node *n, uint8_t state, int64_t t)
{
	if (n->state != state)
		n->state_since_ms = t;
	n->state = state;
	if (state == NODE_READY)
		n->lost = false;
}

static void everything_vanished(const struct core *c, struct decision *d, int64_t t, uint32_t node)
{
	const struct node_s *n = node_of(c, node);

	for (uint32_t i = 0; i < n->units_n; i++) {
		const struct alloc *a = peek(c, d, RECORD_ALLOC, n->units[i].alloc);

		if (a)
			alloc_vanished(c, d, t, a->id, node);
	}
}

static void rows_apply(const struct core *c, struct decision *d, int64_t t, uint32_t node,
		       const struct unit_status *rows, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		alloc_report(c, d, t, node, &rows[i]);
}

/* After a restore of an older copy a node may show allocations of a future that the copy does not know, or have
 * bound its devices to such. Their numbers are the newest ever given: whatever the clocks did, they are not given
 * again, and can be stopped; and the node, which takes no lower ones on these devices, takes ours. Nodes that have not
 * been heard yet may know of later ones still, so there is a gap. */
static void ids_seen(const struct core *c, struct decision *d, uint64_t bound, const struct unit_status *rows, uint32_t n)
{
	uint64_t newest = bound < FENCE_MAX ? bound : 0;

	for (uint32_t i = 0; i < n; i++)
		if (rows[i].alloc < FENCE_MAX)
			newest = rows[i].alloc > newest ? rows[i].alloc : newest;
	if (newest >= c->cluster.next_alloc)
		edit_cluster(c, d)->next_alloc = newest + ALLOCS_LOST_MAX;
}

/* One word of `words`, each of which a space follows; its length, or 0 at the end. */
static size_t word_len(const char *words)
{
	return strcspn(words, " ");
}

static bool twin_known(const struct node *n, const char *boot)
{
	const char *w = n->twins_before;

	if (!strcmp(n->twin_boot, boot))
		return true;
	for (size_t len; (len = word_len(w)) != 0; w += len + 1)
		if (len == strlen(boot) && !memcmp(w, boot, len))
			return true;
	return false;
}

/* The one noticed before stays known, too, as long as there is room: when each takes the place of the other, none is
 * ever let in. `boot` is not among them any more. */
static void twins_before_set(struct node *n, const char *before, const char *boot)
{
	char words[sizeof n->twins_before], *end = words;
	const char *w = n->twins_before;
	size_t len = strlen(before);

	if (len && strcmp(before, boot) != 0 && !strchr(before, ' ')) {
		memcpy(end, before, len);
		end[len] = ' ';
		end += len + 1;
	}
	for (; (len = word_len(w)) != 0; w += len + 1) {
		if ((len == strlen(boot) && !memcmp(w, boot, len)) || (len == strlen(before) && !memcmp(w, before, len)))
			continue;
		if ((size_t)(end - words) + len + 2 > sizeof words)
			break;
		memcpy(end, w, len + 1);
		end += len + 1;
	}
	*end = '\0';
	TEXT_SET(n->twins_before, words);
}

static int decide_hello(const struct core *c, int64_t t, const struct command *cmd, struct decision *d,
			struct err *err)
{
	const struct cmd_node_hello *h = &cmd->node_hello;
	const struct node_s *old = node_of(c, h->node);
	bool same_boot, changed;
	struct node *n;

	if (!old)
		return err_set(err, ERR_NOTFOUND, "this node is not enrolled");
	if (h->cores_n > CORES_PER_NODE_MAX || h->devices_n > DEVICES_PER_NODE_MAX || h->cores_reserved > h->cores_n)
		return err_set(err, ERR_RANGE, "the topology is larger than sluisd handles");
	if (!h->boot_id[0])
		return err_set(err, ERR_INVAL, "a greeting needs a boot id");
	same_boot = !strcmp(old->r.boot_id, h->boot_id);
	if (!same_boot && old->r.state != NODE_DOWN && twin_known(&old->r, h->boot_id)) {
		err_set(err, ERR_CONFLICT, "this machine was heard while %s lived: it has a copy of its key", old->r.name);
		return err_hint(err, "give it one of its own: sluis-agent --new-key; if %.20s is to be this machine: "
				     "sluisctl node declare-dead", old->r.name);
	}
	/* whatever its boot: a greeting of an earlier boot that was long on its way must not pass for a reboot,
	 * which is evidence that nothing runs */
	if (h->incarnation < old->r.incarnation && (same_boot || old->r.state != NODE_DOWN)) {
		err_set(err, ERR_SUPERSEDED, "a newer agent of %s is connected", old->r.name);
		return err_hint(err, "if not, its clock is behind: set it and start the agent again, or "
				     "sluisctl node declare-dead %s", old->r.name);
	}
	if (old->r.state == NODE_DOWN && same_boot) {
		err_set(err, ERR_STATE, "%s was declared dead in this very boot", old->r.name);
		return err_hint(err, "reboot it: its devices may have been given to others");
	}
	if (!same_boot && old->r.boot_id[0])
		everything_vanished(c, d, t, h->node); /* evidence: nothing survives a reboot */
	n = EDIT(c, d, RECORD_NODE, node, h->node);
	changed = memcmp(n->digest, ZERO_DIGEST, 32) != 0 && memcmp(n->digest, h->digest, 32) != 0;
	TEXT_SET(n->boot_id, h->boot_id);
	if (!same_boot && twin_known(n, h->boot_id)) { /* it is the node now */
		twins_before_set(n, n->twin_boot, h->boot_id);
		n->twin_boot[0] = '\0';
	}
	n->incarnation = h->incarnation;
	TEXT_SET(n->address, h->address);
	n->emulated = h->emulated;
	n->isolation = h->isolation;
	n->labels = h->labels;
	n->labels_n = h->labels_n;
	n->cores_reserved = h->cores_reserved;
	n->memory_reserved_mib = h->memory_reserved_mib;
	if (changed) {
		memcpy(n->digest_pending, h->digest, 32);
		state_set(n, NODE_SUSPECT, t);
	} else {
		memcpy(n->digest, h->digest, 32);
		memset(n->digest_pending, 0, 32);
		n->cores_n = h->cores_n;
		n->memory_mib = h->memory_mib;
		n->devices_n = h->devices_n;
		n->devices = arena_copy(&d->arena, h->devices, h->devices_n * sizeof *h->devices);
		flavors_match(c, d, n);
		state_set(n, NODE_READY, t);
	}
	ids_seen(c, d, h->alloc_seen, h->units, h->units_n);
	rows_apply(c, d, t, h->node, h->units, h->units_n);
	d->result.id = h->node;
	d->result.state = n->state;
	return 0;
}

static void twin_note(const struct core *c, int64_t t, const struct node_s *old, const char *boot, struct decision *d)
{
	struct node *n;

	if (!strcmp(old->r.twin_boot, boot) && t - old->r.twin_ms < TWIN_AGAIN_MS)
		return;
	n = EDIT(c, d, RECORD_NODE, node, old->r.id);
	twins_before_set(n, n->twin_boot, boot);
	TEXT_SET(n->twin_boot, boot);
	n->twin_ms = t;
}

static int decide_liveness(const struct core *c, int64_t t, const struct command *cmd, struct decision *d,
			   struct err *err)
{
	const struct node_s *old = node_of(c, cmd->node_liveness.node);
	uint8_t state = cmd->node_liveness.state;
	bool topology_open;

	if (!old)
		return err_set(err, ERR_NOTFOUND, "no such node");
	if (cmd->node_liveness.twin_boot[0]) {
		twin_note(c, t, old, cmd->node_liveness.twin_boot, d);
		return 0;
	}
	topology_open = memcmp(old->r.digest_pending, ZERO_DIGEST, 32) != 0;
	if (old->r.state == NODE_JOINING || old->r.state == NODE_DOWN || old->r.state == state ||
	    (state == NODE_READY && topology_open))
		return 0;
	state_set(EDIT(c, d, RECORD_NODE, node, old->r.id), state, t);
	if (state == NODE_UNREACHABLE)
		claims_drop_on(c, d, t, old->r.id); /* who was promised its devices gets others, in the same time */
	return 0;
}

/* Tell the jobs that have to go by n->drain_by_ms as late as their notice allows, so that one that would end before is
 * not stopped. Leases are their holders' to move. */
static void drain_tell(const struct core *c, int64_t t, struct decision *d, struct node *n)
{
	const struct node_s *old = node_of(c, n->id);
	int64_t next = T_NEVER;

	for (uint32_t i = 0; n->drain_by_ms && i < old->units_n; i++) {
		const struct alloc *a = core_alloc(c, old->units[i].alloc);
		int64_t at = n->drain_by_ms - a->notice_ms;

		if (a->owner_kind != OWNER_JOB || a->state == ALLOC_STOPPING)
			continue;
		if (at <= t)
			alloc_stop(c, d, t, a->id, END_DRAIN, max64(n->drain_by_ms - t, 0), 0);
		else
			next = min64(next, at);
	}
	n->drain_next_ms = next == T_NEVER ? 0 : next;
}

bool tick_node_timer(const struct core *c, int64_t t, struct decision *d, uint64_t id)
{
	const struct node_s *old = node_of(c, id);
	struct node *n = EDIT(c, d, RECORD_NODE, node, id);

	if (n->admin != NODE_ENABLED && n->admin_until_ms && n->admin_until_ms <= t) {
		n->admin = NODE_ENABLED;
		n->admin_until_ms = n->drain_by_ms = n->drain_next_ms = 0;
		n->admin_reason[0] = '\0';
		return true;
	}
	if (n->drain_next_ms && n->drain_next_ms <= t) {
		drain_tell(c, t, d, n);
		return true;
	}
	n->lost = true;
	claims_drop_on(c, d, t, n->id);
	for (uint32_t i = 0; i < old->units_n; i++) {
		const struct alloc *a = peek(c, d, RECORD_ALLOC, old->units[i].alloc);
		const struct job *j = a && a->owner_kind == OWNER_JOB ? peek(c, d, RECORD_JOB, a->owner) : NULL;

		if (j && j->alloc == a->id)
			job_lost(c, d, t, j->id, n->name);
		else if (j && a->extra)
			alloc_stop(c, d, t, a->id, END_INFRA, 0, 0); /* the job goes on without */
	}
	return true;
}

static int decide_admin(const struct core *c, int64_t t, const struct command *cmd, struct decision *d,
			struct err *err)
{
	const struct cmd_node_admin *a = &cmd->node_admin;
	const struct node *found = NULL;
	const struct node_s *old;
	struct node *n;

	EACH(c, nodes, node_s, it)
		if (!strcmp(it->r.name, a->node))
			found = &it->r;
	if (!found) {
		err_set(err, ERR_NOTFOUND, "there is no node '%s'", a->node);
		return err_hint(err, "sluisctl node list");
	}
	old = node_of(c, found->id);
	d->result.id = found->id;
	switch ((enum command_type)cmd->type) {
	case CMD_NODE_CORDON:
	case CMD_NODE_DRAIN:
		if (!a->reason[0]) {
			err_set(err, ERR_INVAL, "say why");
			return err_hint(err, "--reason TEXT: others will read it");
		}
		n = EDIT(c, d, RECORD_NODE, node, found->id);
		n->admin = cmd->type == CMD_NODE_DRAIN ? NODE_DRAINING : NODE_CORDONED;
		TEXT_SET(n->admin_reason, a->reason);
		n->admin_until_ms = a->until_ms;
		n->drain_by_ms = cmd->type == CMD_NODE_DRAIN ? a->deadline_ms : 0;
		drain_tell(c, t, d, n);
		return 0;
	case CMD_NODE_UNCORDON:
		n = EDIT(c, d, RECORD_NODE, node, found->id);
		n->admin = NODE_ENABLED;
		n->admin_until_ms = n->drain_by_ms = n->drain_next_ms = 0;
		n->admin_reason[0] = '\0';
		return 0;
	case CMD_NODE_ACCEPT:
		if (!memcmp(found->digest_pending, ZERO_DIGEST, 32))
			return err_set(err, ERR_STATE, "%s reports the topology that is known", found->name);
		if (old->units_n) {
			err_set(err, ERR_STATE, "%s still holds work placed on its old topology", found->name);
			return err_hint(err, "sluisctl node drain %s first", found->name);
		}
		n = EDIT(c, d, RECORD_NODE, node, found->id);
		memcpy(n->digest, n->digest_pending, 32);
		memset(n->digest_pending, 0, 32);
		n->devices_n = 0; /* the agent greets again with the new ones */
		n->cores_n = n->cores_reserved;
		return 0;
	case CMD_NODE_DECLARE_DEAD:
		if (strcmp(a->boot_id, found->boot_id) != 0) {
			err_set(err, ERR_INVAL, "%s runs another boot", found->name);
			return err_hint(err, "its last boot id is %s: make sure that machine is off", found->boot_id);
		}
		if (found->state == NODE_READY) {
			err_set(err, ERR_STATE, "%s is alive", found->name);
			return err_hint(err, "sluisctl node drain %s", found->name);
		}
		everything_vanished(c, d, t, found->id);
		claims_drop_on(c, d, t, found->id);
		n = EDIT(c, d, RECORD_NODE, node, found->id);
		state_set(n, NODE_DOWN, t);
		TEXT_SET(n->admin_reason, a->reason);
		return 0;
	case CMD_NODE_REMOVE:
		if (old->units_n) {
			err_set(err, ERR_STATE, "%s still holds %u units of work", found->name, old->units_n);
			return err_hint(err, "sluisctl node drain %s first", found->name);
		}
		for (uint64_t id = 0; (id = core_next_id(c, RECORD_CRED, id)) != 0;)
			if (core_cred(c, id)->principal == found->principal)
				EDIT(c, d, RECORD_CRED, cred, id)->state = CRED_REVOKED;
		claims_drop_on(c, d, t, found->id);
		reservations_leave(c, d, found->id);
		drop(d, RECORD_NODE, found->id);
		return 0;
	default: UNREACHABLE();
	}
}

int decide_node(const struct core *c, int64_t t, const struct command *cmd, struct decision *d, struct err *err)
{
	switch ((enum command_type)cmd->type) {
	case CMD_NODE_HELLO: return decide_hello(c, t, cmd, d, err);
	case CMD_NODE_REPORT: {
		const struct node_s *n = node_of(c, cmd->node_report.node);

		if (!n)
			return err_set(err, ERR_NOTFOUND, "this node is not enrolled");
		if (cmd->node_report.incarnation != n->r.incarnation)
			return err_set(err, ERR_SUPERSEDED, "a newer agent of %s is connected", n->r.name);
		rows_apply(c, d, t, n->r.id, cmd->node_report.units, cmd->node_report.units_n);
		return 0;
	}
	case CMD_NODE_LIVENESS: return decide_liveness(c, t, cmd, d, err);
	default: return decide_admin(c, t, cmd, d, err);
	}
}
