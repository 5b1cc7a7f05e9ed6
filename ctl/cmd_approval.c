/* cmd_approval.c - what waits for a second person */
#include <inttypes.h>
#include <string.h>

#include "ctl/cmd.h"
#include "proto/base/ensure.h"
#include "proto/wire/tables.h"

static int ask_approvals(struct ctl *c, struct view_approvals *v)
{
	struct query q = {.type = QUERY_APPROVALS};

	return ask(c, &q, v, "read what waits for approval");
}

int cmd_approval_list(struct ctl *c, const struct call *call)
{
	static const struct column cols[] = {
		{"id", "APPROVAL", COL_RIGHT}, {"command", "COMMAND", 0}, {"who", "PROPOSED BY", 0},
		{"created", "SINCE", 0}, {"expires", "UNTIL", 0},
	};
	struct view_approvals v = {0};
	struct table *t;
	int r = ask_approvals(c, &v);

	(void)call;
	if (r)
		return r;
	if (c->json)
		return json_list(c, "approval_list", v.seq, &schema_approval_view, v.items, v.items_n, NULL);
	t = table_new(c, cols, ARRAY_LEN(cols));
	for (uint32_t i = 0; i < v.items_n; i++) {
		const struct approval *a = &v.items[i].approval;

		table_row(t);
		table_cell(t, "%" PRIu64, a->id);
		table_cell(t, "%s", v.items[i].command);
		table_cell(t, "%s", v.items[i].who);
		table_cell(t, "%s", text_time(c, a->created_ms));
		table_cell(t, "%s", text_time(c, a->expires_ms));
	}
	r = table_print(t);
	if (!r && !v.items_n && !c->plain)
		fputs("nothing waits for a second person\n", c->out);
	return r;
}

/* The approval named by the argument, and its command decoded (all bodies share one address). */
static int find(struct ctl *c, const struct call *call, struct view_approvals *v, const struct approval_view **ret,
		struct command *ret_cmd)
{
	const struct schema *schema;
	struct err err = {0};
	uint64_t id;
	int r;

	if (id_parse(call->args[0], "approval", &id, &err)) {
		(void)fault(c, &err, NULL);
		return EXIT_USAGE;
	}
	r = ask_approvals(c, v);
	if (r)
		return r;
	for (uint32_t i = 0; i < v->items_n; i++)
		if (v->items[i].approval.id == id)
			*ret = &v->items[i];
	if (!*ret) {
		(void)err_set(&err, ERR_NOTFOUND, "there is no approval %" PRIu64 " that waits", id);
		(void)err_hint(&err, "sluisctl approval list");
		return fault(c, &err, NULL);
	}
	schema = schema_of_command((*ret)->approval.cmd);
	if (!schema) {
		(void)err_set(&err, ERR_UNSUPPORTED, "this sluisctl does not know its command");
		(void)err_hint(&err, "use the sluisctl of sluisd's release");
		return fault(c, &err, "approval %" PRIu64, id);
	}
	if ((*ret)->approval.body.len &&
	    schema_decode(schema, (*ret)->approval.body.data, (*ret)->approval.body.len, &ret_cmd->tick, &c->arena, &err))
		return fault(c, &err, "approval %" PRIu64, id);
	return 0;
}

/* The text of the file behind a proposed division. */
static int print_file(struct ctl *c, const struct approval_view *a, const struct command *cmd)
{
	struct query q = {.type = QUERY_PAYLOAD};
	struct view_payload p = {0};
	int r;

	if (a->approval.cmd != CMD_DIVISION_APPLY)
		return usage_fault(c, "approval %" PRIu64 " is about no file", a->approval.id);
	memcpy(q.hash, cmd->division_apply.payload, sizeof q.hash);
	r = ask(c, &q, &p, "read the proposed file");
	if (!r && fwrite(p.data.data, 1, p.data.len, c->out) != p.data.len)
		r = EXIT_OTHER;
	return r;
}

int cmd_approval_show(struct ctl *c, const struct call *call)
{
	const struct approval_view *a = NULL;
	struct command cmd = {0};
	struct view_approvals v = {0};
	json_t *said;
	int r = find(c, call, &v, &a, &cmd);

	if (r)
		return r;
	if (call_has(call, "file"))
		return print_file(c, a, &cmd);
	said = json_of(schema_of_command(a->approval.cmd), &cmd.tick);
	if (c->json) {
		json_t *item = json_of(&schema_approval_view, a);

		json_object_set_new(item, "body", said);
		return json_item(c, "approval", v.seq, item);
	}
	fprintf(c->out, "approval %" PRIu64 "  %s, proposed by %s %s, until %s\n", a->approval.id, a->command,
		text_safe(c, a->who), text_time(c, a->approval.created_ms), text_time(c, a->approval.expires_ms));
	if (a->approval.cmd == CMD_DIVISION_APPLY) {
		json_decref(said);
		next_line(c, "sluisctl approval show %" PRIu64 " --file > proposed.yaml; sluisctl division diff -f proposed.yaml",
			  a->approval.id);
		return 0;
	}
	(void)json_dumpf(said, c->out, JSON_INDENT(2) | JSON_SORT_KEYS);
	fputc('\n', c->out);
	json_decref(said);
	next_line(c, "sluisctl approval grant %" PRIu64 ", or refuse it", a->approval.id);
	return 0;
}

int cmd_approval_grant(struct ctl *c, const struct call *call)
{
	const struct approval_view *a = NULL;
	struct client_reply reply = {0};
	struct command cmd = {0};
	struct view_approvals v = {0};
	int r = find(c, call, &v, &a, &cmd);

	if (!r)
		r = sure(c, text_f(c, "This does what %s proposed (%s)", text_safe(c, a->who), a->command), call->args[0]);
	if (r)
		return r;
	c->approves = a->approval.id;
	c->body_sent = a->approval.body;
	r = tell(c, a->approval.cmd, &cmd.tick, (struct bytes){0}, &reply, text_f(c, "grant approval %s", call->args[0]));
	return r ? r : done_line(c, "approval_granted", &reply, "granted approval %" PRIu64 ": %s is done", a->approval.id,
				 a->command);
}

int cmd_approval_refuse(struct ctl *c, const struct call *call)
{
	struct cmd_object body = {0};
	struct client_reply reply = {0};
	struct err err = {0};
	int r;

	if (id_parse(call->args[0], "approval", &body.id, &err)) {
		(void)fault(c, &err, NULL);
		return EXIT_USAGE;
	}
	if (OPT_COPY(c, "--reason", c->reason, body.reason))
		return EXIT_USAGE;
	r = tell(c, CMD_APPROVAL_REFUSE, &body, (struct bytes){0}, &reply, text_f(c, "refuse approval %s", call->args[0]));
	return r ? r : done_line(c, "approval_refused", &reply, "refused approval %" PRIu64 ": nothing has changed", body.id);
}
