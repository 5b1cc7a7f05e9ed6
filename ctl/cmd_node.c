/* cmd_node.c - nodes: what they have, taking them out and back */
#include <inttypes.h>
#include <string.h>

#include "ctl/cmd.h"
#include "proto/base/ensure.h"

static const char *label_of(const struct node *n, const char *key)
{
	for (uint32_t i = 0; i < n->labels_n; i++)
		if (!strcmp(n->labels[i].key, key))
			return n->labels[i].value;
	return "-";
}

/* "devices" is how many; which ones stands beside it. */
static void json_fix_node(json_t *item, const void *obj)
{
	const struct node_view *v = obj;
	json_t *inner = json_of(&schema_node, &v->node);

	json_object_set(item, "device_list", json_object_get(inner, "devices"));
	json_decref(inner);
}

static bool state_wanted(const char *list, const char *state)
{
	size_t len = strlen(state);

	for (const char *p = list; p; p = strchr(p, ',')) {
		p += *p == ',';
		if (!strncmp(p, state, len) && (!p[len] || p[len] == ','))
			return true;
	}
	return !list;
}

static int known_states(struct ctl *c, const char *list)
{
	char *copy = list ? arena_copy(&c->arena, list, strlen(list) + 1) : NULL, *save = NULL;

	for (char *w = copy ? strtok_r(copy, ",", &save) : NULL; w; w = strtok_r(NULL, ",", &save))
		if (node_state_parse(w) < 0 && node_admin_parse(w) < 0) {
			try_next(c, "--state joining, ready, suspect, unreachable, down, cordoned or draining");
			return usage_fault(c, "--state: '%s' is no state of a node", w);
		}
	return 0;
}

int cmd_node_list(struct ctl *c, const struct call *call)
{
	static const struct column cols[] = {
		{"node", "NODE", 0}, {"state", "STATE", 0}, {"leaf", "LEAF", 0}, {"flavor", "FLAVOR", 0},
		{"devices", "DEV", COL_RIGHT}, {"used", "USED", COL_RIGHT}, {"free", "FREE", COL_RIGHT},
		{"out", "OUT", COL_RIGHT}, {"cores", "CORES", COL_RIGHT}, {"heard", "HEARD", COL_RIGHT},
		{"note", "NOTE", COL_REST}, {"holders", "HOLDERS", COL_WIDE | COL_SHRINK},
		{"address", "ADDRESS", COL_WIDE}, {"boot_id", "BOOT ID", COL_WIDE},
	};
	const char *states = call_get(call, "state");
	struct query q = {.type = QUERY_NODES};
	struct view_nodes v = {0};
	uint32_t kept = 0, ready = 0;
	struct table *t;
	int r;

	if (known_states(c, states))
		return EXIT_USAGE;
	r = ask(c, &q, &v, "read the nodes");
	if (r)
		return r;
	for (uint32_t i = 0; i < v.items_n; i++)
		if (state_wanted(states, v.items[i].state))
			v.items[kept++] = v.items[i];
	v.items_n = kept;
	if (c->json)
		return json_list(c, "node_list", v.seq, &schema_node_view, v.items, v.items_n, json_fix_node);
	t = table_new(c, cols, ARRAY_LEN(cols));
	for (uint32_t i = 0; i < v.items_n; i++) {
		struct node_view *n = &v.items[i];

		local_times(c, n->note);
		ready += !strcmp(n->state, "ready");
		table_row(t);
		table_cell(t, "%s", n->node.name);
		table_cell(t, "%s", n->state);
		table_cell(t, "%s", label_of(&n->node, "leaf"));
		table_cell(t, "%s", n->flavor[0] ? n->flavor : "-");
		table_cell(t, "%u", n->devices);
		table_cell(t, "%u", n->used);
		table_cell(t, "%u", n->free);
		table_cell(t, "%u", n->out);
		table_cell(t, "%u/%u", n->cores_used, n->cores);
		table_cell(t, "%s", n->heard_ago_ms < 0 ? "never" : text_age(c, n->heard_ago_ms / 1000 * 1000));
		table_cell(t, "%s", n->note);
		table_cell(t, "%s", n->holders);
		table_cell(t, "%s", n->node.address);
		table_cell(t, "%s", n->node.boot_id);
	}
	r = table_print(t);
	if (!r && !c->plain && !c->no_header && !c->column_list)
		fprintf(c->out, "%u %s: %u ready\n", v.items_n, text_plural(v.items_n, "node", "nodes"), ready);
	return r;
}

static void print_devices(struct ctl *c, const struct node *n)
{
	for (uint32_t i = 0; i < n->devices_n; i++) {
		const struct device *d = &n->devices[i];

		fprintf(c->out, "  device    %-2u %s%s  %s %s%s%s, %u GiB, NUMA %u, %s\n", i, d->pci,
			d->partition ? text_f(c, ".%u", d->partition) : "", text_safe(c, d->vendor), text_safe(c, d->model),
			d->mig[0] ? " " : "", d->mig, d->memory_mib / 1024, d->numa, device_health_name(d->health));
		if (d->reason[0])
			fprintf(c->out, "            why: %s\n", text_safe(c, d->reason));
	}
}

static void print_node(struct ctl *c, const struct node_view *v)
{
	const struct node *n = &v->node;

	fold_line(c, 10, text_f(c, "node %s   %s   %s   %u devices: %u in use, %u free, %u out   cores %u/%u   %u GiB",
				n->name, v->state, v->flavor, v->devices, v->used, v->free, v->out, v->cores_used, v->cores,
				n->memory_mib / 1024));
	fprintf(c->out, "  state     %s since %s; %s%s\n", node_state_name(n->state), text_time(c, n->state_since_ms),
		v->heard_ago_ms < 0 ? "not heard since sluisd started" : text_f(c, "heard %s ago", text_age(c, v->heard_ago_ms)),
		n->emulated ? "; emulated" : "");
	if (n->admin != NODE_ENABLED)
		fprintf(c->out, "  %-9s %s%s%s\n", node_admin_name(n->admin), text_safe(c, n->admin_reason),
			n->admin_until_ms ? ", until " : "", n->admin_until_ms ? text_time(c, n->admin_until_ms) : "");
	if (v->drained_by_ms)
		fprintf(c->out, "  deadline  its jobs have until %s\n", text_time(c, v->drained_by_ms));
	if (v->note[0] && (n->admin == NODE_ENABLED || strcmp(v->note, n->admin_reason) != 0))
		fprintf(c->out, "  note      %s\n", text_safe(c, v->note));
	fprintf(c->out, "  holders   %s\n", v->holders[0] ? text_safe(c, v->holders) : "nobody");
	fprintf(c->out, "  address   %s   boot id %s   incarnation %" PRIu64 "\n", text_safe(c, n->address),
		text_safe(c, n->boot_id), n->incarnation);
	if (n->isolation & ISOLATION_KNOWN) {
		CLEANUP(buf_done) struct buf with = BUF_INIT, without = BUF_INIT;

		isolation_names(n->isolation, true, &with);
		isolation_names(n->isolation, false, &without);
		fold_line(c, 12, text_f(c, "  isolation %s%s%s", with.len ? buf_cstr(&with) : "none",
					without.len ? "; not enforced here: " : "", without.len ? buf_cstr(&without) : ""));
	}
	if (n->labels_n)
		fputs("  labels    ", c->out);
	for (uint32_t i = 0; i < n->labels_n; i++)
		fprintf(c->out, "%s%s=%s%s", i ? " " : "", text_safe(c, n->labels[i].key), text_safe(c, n->labels[i].value),
			i + 1 == n->labels_n ? "\n" : "");
	print_devices(c, n);
}

int node_print(struct ctl *c, const char *name)
{
	struct query q = {.type = QUERY_NODES};
	struct view_nodes v = {0};
	struct err err = {0};
	int r;

	if (OPT_COPY(c, "node", name, q.name))
		return EXIT_USAGE;
	r = ask(c, &q, &v, "read the node");
	if (r)
		return r;
	if (!v.items_n) {
		(void)err_set(&err, ERR_NOTFOUND, "there is no node '%s'", name);
		(void)err_hint(&err, "sluisctl node list");
		return fault(c, &err, NULL);
	}
	if (c->json) {
		json_t *item = json_of(&schema_node_view, &v.items[0]);

		json_fix_node(item, &v.items[0]);
		return json_item(c, "node", v.seq, item);
	}
	local_times(c, v.items[0].note);
	print_node(c, &v.items[0]);
	return 0;
}

int cmd_node_show(struct ctl *c, const struct call *call)
{
	for (size_t i = 0; i < call->args_n; i++) {
		int r;

		if (i && !c->json)
			fputc('\n', c->out);
		r = node_print(c, call->args[i]);
		if (r)
			return r;
	}
	return 0;
}

static int admin(struct ctl *c, const struct call *call, uint16_t type, const char *kind, const char *verb,
		 const char *did, struct cmd_node_admin *body)
{
	struct client_reply reply = {0};
	int r;

	if (OPT_COPY(c, "node", call->args[0], body->node) || OPT_COPY(c, "--reason", c->reason, body->reason))
		return EXIT_USAGE;
	r = tell(c, type, body, (struct bytes){0}, &reply, text_f(c, "%s %s", verb, call->args[0]));
	return r ? r : done_line(c, kind, &reply, "%s %s", did, call->args[0]);
}

static int reason_needed(struct ctl *c, const struct call *call)
{
	if (c->reason)
		return 0;
	try_next(c, "sluisctl node %s %s --reason 'firmware'", call->cmd->verb, call->args[0]);
	return usage_fault(c, "node %s: say why, for those who look at it later", call->cmd->verb);
}

int cmd_node_cordon(struct ctl *c, const struct call *call)
{
	struct cmd_node_admin body = {0};

	if (reason_needed(c, call) || opt_instant(c, call, "until", &body.until_ms))
		return EXIT_USAGE;
	return admin(c, call, CMD_NODE_CORDON, "node_cordon", "cordon", "cordoned: nothing new starts on", &body);
}

int cmd_node_uncordon(struct ctl *c, const struct call *call)
{
	struct cmd_node_admin body = {0};

	return admin(c, call, CMD_NODE_UNCORDON, "node_uncordon", "uncordon", "in use again:", &body);
}

int cmd_node_drain(struct ctl *c, const struct call *call)
{
	struct cmd_node_admin body = {0};
	int r;

	if (reason_needed(c, call) || opt_instant(c, call, "deadline", &body.deadline_ms))
		return EXIT_USAGE;
	r = admin(c, call, CMD_NODE_DRAIN, "node_drain", "drain", "draining", &body);
	if (!r)
		next_line(c, "sluisctl node show %s says who is still there", call->args[0]);
	return r;
}

int cmd_node_accept(struct ctl *c, const struct call *call)
{
	struct cmd_node_admin body = {0};

	return admin(c, call, CMD_NODE_ACCEPT, "node_accept", "accept", "accepted the topology of", &body);
}

int cmd_node_dead(struct ctl *c, const struct call *call)
{
	struct cmd_node_admin body = {0};
	const char *boot = call_get(call, "boot-id");
	int r;

	if (!boot) {
		try_next(c, "sluisctl node list --columns node,state,boot_id shows it; --boot-id ID");
		return usage_fault(c, "declare-dead: the boot id is missing: it proves that the right machine is meant");
	}
	if (OPT_COPY(c, "--boot-id", boot, body.boot_id))
		return EXIT_USAGE;
	r = sure(c, "Declaring a node dead gives its devices to others; work that still runs there is lost. It",
		 call->args[0]);
	return r ? r : admin(c, call, CMD_NODE_DECLARE_DEAD, "node_declare_dead", "declare dead", "declared dead:", &body);
}

/* The daemon forgets any node without work, and its key with it; one that is up is hardly meant. */
static int remove_check(struct ctl *c, const char *name)
{
	struct query q = {.type = QUERY_NODES};
	struct view_nodes v = {0};
	struct err err = {0};
	int r = c->yes || c->dry_run ? 0 : ask(c, &q, &v, "read the nodes");

	for (uint32_t i = 0; !r && i < v.items_n; i++)
		if (!strcmp(v.items[i].node.name, name) && v.items[i].node.state == NODE_READY) {
			(void)err_set(&err, ERR_STATE, "%s is up: its agent reports", name);
			(void)err_hint(&err, "sluisctl node drain %s, stop its agent, then again; or --yes", name);
			r = fault(c, &err, "cannot remove %s", name);
		}
	return r;
}

int cmd_node_remove(struct ctl *c, const struct call *call)
{
	struct cmd_node_admin body = {0};
	int r = remove_check(c, call->args[0]);

	if (!r)
		r = sure(c, "Removing a node", call->args[0]);
	return r ? r : admin(c, call, CMD_NODE_REMOVE, "node_remove", "remove", "removed", &body);
}
