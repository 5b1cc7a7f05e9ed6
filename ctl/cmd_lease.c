/* cmd_lease.c - leases: asking, looking, changing, entering (keeping them: keep.c) */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/cmd.h"
#include "proto/base/ensure.h"
#include "proto/base/sha256.h"
#include "proto/config/service_conf.h"
#include "proto/config/units.h"

enum { EXEC_POLL_MS = 50, EXEC_POLL_MAX_MS = 500 };

void json_fix_lease(json_t *item, const void *obj)
{
	const struct lease_view *v = obj;

	json_object_set_new(item, "expires_ms", json_integer(v->expires_in_ms));
	json_object_del(item, "expires");
}

int lease_look(struct ctl *c, uint64_t id, struct lease_view *ret, const char *doing)
{
	struct query q = {.type = QUERY_LEASES, .id = id, .all = true};
	struct view_leases v = {0};
	struct err err = {0};
	int r = ask(c, &q, &v, doing);

	if (r)
		return r;
	if (!v.items_n) {
		(void)err_set(&err, ERR_NOTFOUND, "there is no lease %" PRIu64 " that you may see", id);
		(void)err_hint(&err, "sluisctl lease list --all");
		return fault(c, &err, NULL);
	}
	*ret = v.items[0];
	return 0;
}

static int parse_lease(struct ctl *c, const char *text, uint64_t *ret)
{
	struct err err = {0};

	if (!lease_name_parse(text, ret, &err))
		return 0;
	(void)fault(c, &err, NULL);
	return EXIT_USAGE;
}

static const char *lease_size(struct ctl *c, const struct lease_view *v)
{
	return text_size(c, v->lease.spec.shape, v->lease.spec.units, 0, v->flavor);
}

static bool is_service(const struct lease *l) { return !all_zero(l->spec.payload, sizeof l->spec.payload); }

static const char *service_text(struct ctl *c, const struct lease_view *v)
{
	uint32_t up = 0, n = 0;

	if (!is_service(&v->lease))
		return "bare";
	for (uint32_t i = 0; i < v->replicas_n; i++) {
		n += v->replicas[i].port != 0 || v->replicas[i].healthy || strcmp(v->replicas[i].state, "stopping") != 0;
		up += v->replicas[i].healthy;
	}
	return text_f(c, "%u/%u up", up, n);
}

/* ---- list and show --------------------------------------------------------------------------- */

static int states_parse(struct ctl *c, const char *list, uint32_t *mask)
{
	char *copy = list ? arena_copy(&c->arena, list, strlen(list) + 1) : NULL, *save = NULL;

	for (char *w = copy ? strtok_r(copy, ",", &save) : NULL; w; w = strtok_r(NULL, ",", &save)) {
		int s = lease_state_parse(w);

		if (s < 0) {
			try_next(c, "--state active,grace,granted,requested,ended");
			return usage_fault(c, "--state: '%s' is no state of a lease", w);
		}
		*mask |= UINT32_C(1) << s;
	}
	return 0;
}

static int lease_table(struct ctl *c, const struct view_leases *v)
{
	static const struct column cols[] = {
		{"id", "LEASE", COL_RIGHT}, {"provider", "PROVIDER", COL_SHRINK}, {"name", "NAME", COL_SHRINK},
		{"size", "SIZE", 0}, {"state", "STATE", 0}, {"renewed", "RENEWED", 0}, {"next", "NEXT", 0},
		{"term_end", "TERM ENDS", 0}, {"service", "SERVICE", COL_REST}, {"class", "CLASS", COL_WIDE},
		{"flavor", "FLAVOR", COL_WIDE}, {"here", "HERE", COL_WIDE | COL_RIGHT}, {"owner", "OWNER", COL_WIDE},
		{"fence", "FENCE", COL_WIDE | COL_RIGHT}, {"why", "WHY", COL_WIDE},
	};
	struct table *t = table_new(c, cols, ARRAY_LEN(cols));

	for (uint32_t i = 0; i < v->items_n; i++) {
		const struct lease_view *l = &v->items[i];

		table_row(t);
		table_cell(t, "%" PRIu64, l->lease.id);
		table_cell(t, "%s", c->wide || c->plain ? l->provider : text_path_last(l->provider));
		table_cell(t, "%s", l->lease.spec.name);
		if (c->plain)
			table_cell(t, "%u", l->lease.spec.units);
		else
			table_cell(t, "%s", lease_size(c, l));
		table_cell(t, "%s", l->state);
		table_cell(t, "%s", l->renewed_ago_ms < 0 ? "-" : text_age(c, l->renewed_ago_ms));
		table_cell(t, "%s", l->renew_after_ms > 0 && !lease_terminal(l->lease.state)
					    ? text_age(c, l->renew_after_ms > l->renewed_ago_ms
								    ? l->renew_after_ms - l->renewed_ago_ms : 0) : "-");
		table_cell(t, "%s", text_date(c, l->lease.term_end_ms));
		if (l->units_coming && !is_service(&l->lease))
			table_cell(t, "%u/%u here", l->units_here, l->lease.spec.units);
		else
			table_cell(t, "%s%s", l->units_coming ? text_f(c, "%u/%u here, ", l->units_here, l->lease.spec.units) : "",
				   service_text(c, l));
		table_cell(t, "%s", lease_class_name(l->lease.spec.klass));
		table_cell(t, "%s", l->flavor);
		table_cell(t, "%u", l->units_here);
		table_cell(t, "%s", l->owner);
		table_cell(t, "%" PRIu64, l->lease.fence);
		table_cell(t, "%s", l->reason ? text_f(c, "%u %s", l->reason, l->reason_text) : "");
	}
	return table_print(t);
}

int cmd_lease_list(struct ctl *c, const struct call *call)
{
	struct query q = {.type = QUERY_LEASES, .all = call_has(call, "all")};
	struct view_leases v = {0};
	uint32_t live = 0;
	int r;

	if (states_parse(c, call_get(call, "state"), &q.state_mask) ||
	    OPT_COPY(c, "--provider", call_get(call, "provider"), q.name))
		return EXIT_USAGE;
	r = ask(c, &q, &v, "read the leases");
	if (r)
		return r;
	if (c->json)
		return json_list(c, "lease_list", v.seq, &schema_lease_view, v.items, v.items_n, json_fix_lease);
	for (uint32_t i = 0; i < v.items_n; i++) {
		live += !lease_terminal(v.items[i].lease.state);
		if (c->quiet)
			fprintf(c->out, "%" PRIu64 "\n", v.items[i].lease.id);
	}
	if (c->quiet)
		return 0;
	r = lease_table(c, &v);
	if (!r && !c->plain && !c->no_header && !c->column_list)
		fprintf(c->out, "%u %s, %u live\n", v.items_n, text_plural(v.items_n, "lease", "leases"), live);
	return r;
}

/* What stands between the lease and being whole. */
static void print_state(struct ctl *c, const struct lease_view *v, int64_t t_ms)
{
	const struct lease *l = &v->lease;

	fprintf(c->out, "  state     %s since %s", v->state, text_time(c, l->state_since_ms));
	if (lease_terminal(l->state)) {
		fprintf(c->out, "%s%s\n", l->end_reason[0] ? ": " : "", text_safe(c, l->end_reason));
		return;
	}
	if (v->renewed_ago_ms >= 0)
		fprintf(c->out, "; renewed %s ago (seq %" PRIu64 ")%s%s", text_age(c, v->renewed_ago_ms), v->renew_seq,
			v->expires_in_ms > 0 ? ", safe until " : "",
			v->expires_in_ms > 0 ? text_f(c, "%s + grace %s", text_time(c, t_ms + v->expires_in_ms),
						      text_age(c, l->spec.grace_ms)) : "");
	fputc('\n', c->out);
	if (v->units_here < l->spec.units || v->units_coming)
		fprintf(c->out, "            %u of %u here%s\n", v->units_here, l->spec.units,
			v->units_coming ? text_f(c, ", %u due by %s", v->units_coming, text_time(c, v->coming_by_ms)) : "");
	if (v->reason)
		fprintf(c->out, "            %u %s\n", v->reason, text_safe(c, v->reason_text));
	if (l->state == LEASE_RECALLING && l->recall_at_ms && l->recall_at_ms != T_NEVER)
		fprintf(c->out, "            recalled: goes back by %s\n", text_time(c, l->recall_at_ms));
}

static void print_replicas(struct ctl *c, const struct lease_view *v)
{
	if (is_service(&v->lease))
		fprintf(c->out, "  service   %s      endpoints: sluisctl lease endpoints %" PRIu64 "\n", service_text(c, v),
			v->lease.id);
	for (uint32_t i = 0; i < v->replicas_n; i++) {
		const struct replica_view *r = &v->replicas[i];

		fprintf(c->out, "  %-9s %2u  %s  %u %s  %s%s%s%s\n", i ? "" : "devices", i, text_safe(c, r->node), r->devices,
			text_plural(r->devices, "unit", "units"), r->state,
			r->port ? text_f(c, "  %s:%u", r->address, r->port) : "",
			is_service(&v->lease) ? (r->healthy ? "  healthy" : "  not healthy") : "",
			r->restarts ? text_f(c, "  %u restarts", r->restarts) : "");
	}
}

void lease_print(struct ctl *c, const struct lease_view *v, uint64_t seq, int64_t t_ms)
{
	const struct lease *l = &v->lease;
	const char *dot = c->ascii ? "*" : "●";

	(void)seq;
	fprintf(c->out, "%s lease %" PRIu64 "   %s%s%s   %s   %s\n", dot, l->id, text_safe(c, l->spec.name),
		l->spec.name[0] ? "   " : "", text_path_last(v->provider), lease_class_name(l->spec.klass), lease_size(c, v));
	print_state(c, v, t_ms);
	if (l->term_end_ms)
		fprintf(c->out, "  term      to %s%s\n", text_date(c, l->term_end_ms),
			l->spec.auto_extend ? ", extends itself" : "");
	else
		fprintf(c->out, "  term      %s from when it is active%s\n", text_age(c, l->spec.term_ms),
			l->spec.auto_extend ? ", extends itself" : "");
	if (l->fence)
		fprintf(c->out, "  fence     %" PRIu64 "\n", l->fence);
	for (uint32_t i = 0; i < l->spec.requires_n; i++)
		fprintf(c->out, "  %-9s %s=%s\n", i ? "" : "require", text_safe(c, l->spec.requires[i].key),
			text_safe(c, l->spec.requires[i].value));
	print_replicas(c, v);
	if (v->renewals)
		fprintf(c->out, "  renewals  %s\n", text_count(c, (int64_t)v->renewals));
	if (l->state == LEASE_OFFERED)
		fprintf(c->out, "  next      sluisctl lease accept %" PRIu64 " (the offer stands until %s)\n", l->id,
			text_time(c, l->offer_until_ms));
	else if (l->state == LEASE_REQUESTED)
		fprintf(c->out, "  next      it waits until its devices are there: sluisctl wait lease-%" PRIu64 " --for %s\n", l->id,
			l->spec.auto_accept ? "active" : "offered");
	else if (lease_terminal(l->state))
		fprintf(c->out, "  next      sluisctl lease request --like %" PRIu64 "\n", l->id);
	else
		fprintf(c->out, "  next      renew every ~%s (ttl %s, grace %s): systemctl enable --now sluis-lease@%" PRIu64 "\n",
			text_age(c, v->renew_after_ms ? v->renew_after_ms : l->spec.ttl_ms / 3), text_age(c, l->spec.ttl_ms),
			text_age(c, l->spec.grace_ms), l->id);
}

int cmd_lease_show(struct ctl *c, const struct call *call)
{
	for (size_t i = 0; i < call->args_n; i++) {
		struct query q = {.type = QUERY_LEASES, .all = true};
		struct view_leases v = {0};
		struct err err = {0};
		int r = parse_lease(c, call->args[i], &q.id);

		if (!r)
			r = ask(c, &q, &v, "read the lease");
		if (!r && !v.items_n) {
			(void)err_set(&err, ERR_NOTFOUND, "there is no lease %" PRIu64 " that you may see", q.id);
			(void)err_hint(&err, "sluisctl lease list --all");
			r = fault(c, &err, NULL);
		}
		if (r)
			return r;
		if (c->json) {
			json_t *item = json_of(&schema_lease_view, &v.items[0]);

			json_fix_lease(item, &v.items[0]);
			r = json_item(c, "lease", v.seq, item);
			if (r)
				return r;
			continue;
		}
		if (i)
			fputc('\n', c->out);
		lease_print(c, &v.items[0], v.seq, v.t_ms);
	}
	return 0;
}

/* ---- request --------------------------------------------------------------------------------- */

static void strings_copy(struct ctl *c, const struct conf_texts *from, struct string **to, uint32_t *n)
{
	*to = arena_alloc(&c->arena, (from->count + 1) * sizeof **to);
	for (size_t i = 0; i < from->count; i++)
		(*to)[i].s = arena_copy(&c->arena, from->items[i], strlen(from->items[i]) + 1);
	*n = (uint32_t)from->count;
}

static void service_payload(struct ctl *c, const struct service_conf *s, struct payload *p)
{
	strings_copy(c, &s->command, &p->argv, &p->argv_n);
	strings_copy(c, &s->health.command, &p->health, &p->health_n);
	p->env = arena_alloc(&c->arena, (s->env.count + 1) * sizeof *p->env);
	for (size_t i = 0; i < s->env.count; i++)
		p->env[p->env_n++].s = text_f(c, "%s=%s", s->env.items[i].key, s->env.items[i].value);
	p->cwd = s->workdir ? text_f(c, "%s", s->workdir) : "/";
	p->health_every_ms = s->health.every_ms;
	p->health_timeout_ms = s->health.timeout_ms;
	p->health_after_ms = s->health.after_ms;
	p->health_fail = (uint32_t)s->health.fail;
	p->backoff_min_ms = s->restart.backoff_first_ms;
	p->backoff_max_ms = s->restart.backoff_last_ms;
	p->stop_signal = (uint8_t)s->stop.signal;
	p->stop_within_ms = s->stop.within_ms;
}

/* --service FILE: what to run, and, unless said otherwise, how much that needs. */
static int take_service(struct ctl *c, const char *path, struct lease_spec *s, struct buf *payload)
{
	CLEANUP(config_errors_done) struct config_errors errs = CONFIG_ERRORS_INIT;
	struct service_conf conf = {0};
	struct payload p = {0};
	struct sha256 h;
	int r = 0;

	if (service_conf_load(path, NULL, 0, &conf, &errs))
		return config_fault(c, &errs);
	service_payload(c, &conf, &p);
	schema_encode(&schema_payload, &p, payload);
	sha256_init(&h);
	sha256_add(&h, payload->data, payload->len);
	sha256_final(&h, s->payload);
	s->units_per_replica = (uint32_t)(s->shape == SHAPE_NODE ? 1 : conf.devices_per_replica);
	if (!s->units)
		s->units = (uint32_t)(s->shape == SHAPE_NODE ? conf.replicas : conf.replicas * conf.devices_per_replica);
	if (!s->units) {
		try_next(c, "devices_per_replica: 1 or more in %s", path);
		r = usage_fault(c, "%s: its replicas need no device: there is nothing to lease", path);
	}
	service_conf_done(&conf);
	return r;
}

/* --like LEASE: start from what that lease was. */
static int take_like(struct ctl *c, const char *text, struct cmd_lease_request *body)
{
	struct lease_view v;
	uint64_t id;
	int r = parse_lease(c, text, &id);

	if (!r)
		r = lease_look(c, id, &v, "read the lease to copy");
	if (r)
		return r;
	body->spec = v.lease.spec;
	body->spec.provider = 0;
	body->spec.flavor = 0;
	snprintf(body->provider, sizeof body->provider, "%s", text_path_last(v.provider));
	snprintf(body->flavor, sizeof body->flavor, "%s", v.flavor);
	return 0;
}

static int request_fill(struct ctl *c, const struct call *call, struct cmd_lease_request *body, struct buf *payload)
{
	static const char *const classes[] = {"firm", "loan", NULL};
	struct lease_spec *s = &body->spec;
	int64_t gpus = 0, nodes = 0, spread = s->leaf_percent_max;
	struct require *requires = arena_alloc(&c->arena, REQUIRES_MAX * sizeof *requires);
	uint32_t requires_n = 0;
	int klass = s->klass;

	if (opt_count(c, call, "gpus", 1, 65536, &gpus) || opt_count(c, call, "nodes", 1, 65536, &nodes) ||
	    opt_count(c, call, "spread", 1, 100, &spread) ||
	    opt_duration(c, call, "term", &s->term_ms) || opt_duration(c, call, "ttl", &s->ttl_ms) ||
	    opt_duration(c, call, "grace", &s->grace_ms) || opt_duration(c, call, "notice", &s->notice_ms) ||
	    opt_word(c, call, "class", classes, &klass) || OPT_COPY(c, "--name", call_get(call, "name"), s->name) ||
	    OPT_COPY(c, "--provider", call_get(call, "provider"), body->provider) ||
	    OPT_COPY(c, "--flavor", call_get(call, "flavor"), body->flavor) ||
	    opt_requires(c, call, requires, &requires_n))
		return EXIT_USAGE;
	if (gpus && nodes) {
		try_next(c, "--gpus or --nodes");
		return usage_fault(c, "lease request: devices or whole nodes, not both");
	}
	s->klass = (uint8_t)klass;
	s->leaf_percent_max = (uint8_t)spread;
	if (requires_n) {
		s->requires = requires;
		s->requires_n = requires_n;
	}
	if (gpus || nodes) {
		s->shape = nodes ? SHAPE_NODE : SHAPE_GPU;
		s->units = (uint32_t)(nodes ? nodes : gpus);
	}
	/* who waits for it to be active cannot accept it meanwhile */
	s->auto_accept |= call_has(call, "auto-accept") || call_has(call, "wait");
	s->auto_extend |= call_has(call, "auto-extend");
	if (call_get(call, "service") && take_service(c, call_get(call, "service"), s, payload))
		return EXIT_USAGE;
	if (!body->provider[0]) {
		try_next(c, "--provider NAME: sluisctl provider list");
		return usage_fault(c, "lease request: who leases?");
	}
	if (!body->flavor[0]) {
		try_next(c, "--flavor NAME: sluisctl division show");
		return usage_fault(c, "lease request: which kind of device?");
	}
	if (!s->units) {
		try_next(c, "--gpus N, --nodes N or --service FILE");
		return usage_fault(c, "lease request: how much?");
	}
	return 0;
}

static int wait_active(struct ctl *c, uint64_t id, int64_t limit_ms)
{
	int64_t start = mono_ms(mono_now());

	stop_catch();
	for (;;) {
		struct query q = {.type = QUERY_LEASES, .id = id, .all = true};
		struct arena keep = scratch_begin(c);
		struct view_leases v = {0};
		bool there = false, over = false;
		struct err err = {0};
		char why[TEXT_BYTES] = "";
		int r = ask_err(c, &q, &v, c->timeout_ms, &err);

		if (!r && v.items_n) {
			const struct lease_view *l = &v.items[0];

			progress(c, "lease %" PRIu64 " %s: %u of %u here%s%s", id, l->state, l->units_here, l->lease.spec.units,
				 l->reason ? "; " : "", l->reason_text);
			there = l->lease.state == LEASE_ACTIVE && l->units_here >= l->lease.spec.units;
			over = lease_terminal(l->lease.state);
			snprintf(why, sizeof why, "%s", l->lease.end_reason);
		}
		scratch_end(c, keep);
		if (there || stop_signal)
			break;
		if (over) {
			(void)err_set(&err, ERR_STATE, "lease %" PRIu64 " is over: %s", id, why[0] ? why : "it was refused");
			return fault(c, &err, NULL);
		}
		if (r && r != ERR_TIMEOUT && r != ERR_UNREACHABLE && r != ERR_INTERRUPTED)
			return fault(c, &err, "cannot wait for lease %" PRIu64, id);
		if (limit_ms && mono_ms(mono_now()) - start >= limit_ms) {
			progress_end(c);
			fprintf(c->errs, "sluisctl: still waiting; the request stands\n  try     sluisctl wait lease-%" PRIu64
					 " --for active\n", id);
			return EXIT_TIMEOUT;
		}
		sleep_ms(200);
	}
	progress_end(c);
	if (stop_signal) {
		fprintf(c->errs, "stopped waiting; the request stands: sluisctl wait lease-%" PRIu64 " --for active\n", id);
		return EXIT_INTERRUPTED;
	}
	if (!c->quiet && !c->json)
		fprintf(c->out, "lease %" PRIu64 " active\n", id);
	return 0;
}

/* What a request waits for, as submit says it of a job; an addition, so failing is no failure. */
static void say_what_it_waits_for(struct ctl *c, uint64_t id)
{
	struct query q = {.type = QUERY_LEASES, .id = id, .all = true};
	struct view_leases v = {0};
	struct err err = {0};

	if (c->json || c->quiet || c->plain || ask_err(c, &q, &v, c->timeout_ms, &err) || !v.items_n)
		return;
	if (v.items[0].reason)
		fprintf(c->out, "  waits   %u %s\n", v.items[0].reason, text_safe(c, v.items[0].reason_text));
}

int cmd_lease_request(struct ctl *c, const struct call *call)
{
	CLEANUP(buf_done) struct buf payload = BUF_INIT;
	struct cmd_lease_request body = {0};
	struct client_reply reply = {0};
	int64_t wait_ms = 0;
	int r = opt_duration(c, call, "wait", &wait_ms); /* before anything is sent: usage means that nothing was done */

	if (!r && call_get(call, "like"))
		r = take_like(c, call_get(call, "like"), &body);
	if (!r)
		r = request_fill(c, call, &body, &payload);
	if (!r)
		r = tell(c, CMD_LEASE_REQUEST, &body, (struct bytes){payload.data, (uint32_t)payload.len}, &reply,
			 "request the lease");
	if (!r)
		r = done_line(c, "lease_requested", &reply, "requested lease %" PRIu64 " (%s, %s, %s, provider %s)",
			      reply.result.id, text_size(c, body.spec.shape, body.spec.units, 0, body.flavor),
			      lease_class_name(body.spec.klass), !all_zero(body.spec.payload, sizeof body.spec.payload) ? "with a service" : "bare", body.provider);
	if (r || c->dry_run)
		return r;
	fflush(c->out);
	if (call_has(call, "wait"))
		return wait_active(c, reply.result.id, wait_ms);
	say_what_it_waits_for(c, reply.result.id);
	next_line(c, "%s %" PRIu64, body.spec.auto_accept ? "sluisctl lease keep" : "when it is offered: sluisctl lease accept",
		  reply.result.id);
	return 0;
}

/* ---- changing -------------------------------------------------------------------------------- */

static int object(struct ctl *c, const struct call *call, uint16_t type, const char *verb, const char *did)
{
	struct cmd_object body = {0};
	struct client_reply reply = {0};
	int r = parse_lease(c, call->args[0], &body.id);

	if (r || OPT_COPY(c, "--reason", c->reason, body.reason))
		return EXIT_USAGE;
	r = tell(c, type, &body, (struct bytes){0}, &reply, text_f(c, "%s lease %" PRIu64, verb, body.id));
	return r ? r : done_line(c, text_f(c, "lease_%s", verb), &reply, "%s lease %" PRIu64, did, body.id);
}

int cmd_lease_accept(struct ctl *c, const struct call *call)
{
	int r = object(c, call, CMD_LEASE_ACCEPT, "accept", "accepted");

	if (!r)
		next_line(c, "sluisctl lease keep %s", call->args[0]);
	return r;
}

int cmd_lease_decline(struct ctl *c, const struct call *call)
{
	return object(c, call, CMD_LEASE_DECLINE, "decline", "declined");
}

int cmd_lease_release(struct ctl *c, const struct call *call)
{
	return object(c, call, CMD_LEASE_RELEASE, "release", "released");
}

int cmd_lease_resize(struct ctl *c, const struct call *call)
{
	struct cmd_lease_resize body = {0};
	struct client_reply reply = {0};
	int64_t gpus = 0, nodes = 0, wait_ms = 0;
	struct lease_view v;
	int r = parse_lease(c, call->args[0], &body.lease);

	if (r || opt_duration(c, call, "wait", &wait_ms) || opt_count(c, call, "gpus", 0, 65536, &gpus) || opt_count(c, call, "nodes", 0, 65536, &nodes))
		return EXIT_USAGE;
	if (call_has(call, "gpus") == call_has(call, "nodes")) {
		try_next(c, "sluisctl lease resize %s --gpus N, or --nodes N", call->args[0]);
		return usage_fault(c, "lease resize: to how much?");
	}
	r = lease_look(c, body.lease, &v, "read the lease");
	if (r)
		return r;
	if ((v.lease.spec.shape == SHAPE_NODE) != call_has(call, "nodes")) {
		try_next(c, v.lease.spec.shape == SHAPE_NODE ? "--nodes N" : "--gpus N");
		return usage_fault(c, "lease %" PRIu64 " is counted in %s", body.lease,
				   v.lease.spec.shape == SHAPE_NODE ? "whole nodes" : "devices");
	}
	body.units = (uint32_t)(call_has(call, "nodes") ? nodes : gpus);
	r = tell(c, CMD_LEASE_RESIZE, &body, (struct bytes){0}, &reply, text_f(c, "resize lease %" PRIu64, body.lease));
	if (!r)
		r = done_line(c, "lease_resize", &reply, "resized lease %" PRIu64 " from %u to %u", body.lease,
			      v.lease.spec.units, body.units);
	if (!r && call_has(call, "wait") && !c->dry_run)
		return wait_active(c, body.lease, wait_ms);
	return r;
}

/* What an extension led to: sluisd keeps the later of the old end and of now + term, so the lease is asked. */
static const char *extended(struct ctl *c, uint64_t id, int64_t term_ms)
{
	struct query q = {.type = QUERY_LEASES, .id = id, .all = true};
	struct view_leases v = {0};
	struct err err = {0};
	const struct lease *l;

	if (c->json || c->quiet || ask_err(c, &q, &v, c->timeout_ms, &err) || !v.items_n)
		return text_f(c, "extended lease %" PRIu64, id); /* done all the same: the answer lacks the end */
	l = &v.items[0].lease;
	if (!l->term_end_ms)
		return text_f(c, "lease %" PRIu64 " is %s: its term is %s from when it is active", id, v.items[0].state,
			      text_age(c, c->dry_run ? term_ms : l->spec.term_ms));
	if (l->term_end_ms > v.t_ms + term_ms)
		return text_f(c, "lease %" PRIu64 " ends %s as before: that is later than %s from now", id,
			      text_time(c, l->term_end_ms), text_age(c, term_ms));
	return text_f(c, "extended lease %" PRIu64 ": it ends %s", id,
		      text_time(c, c->dry_run ? v.t_ms + term_ms : l->term_end_ms));
}

int cmd_lease_extend(struct ctl *c, const struct call *call)
{
	struct cmd_lease_extend body = {0};
	struct client_reply reply = {0};
	int r = parse_lease(c, call->args[0], &body.lease);

	if (r || opt_duration(c, call, "term", &body.term_ms))
		return EXIT_USAGE;
	if (!body.term_ms) {
		try_next(c, "sluisctl lease extend %s --term 30d", call->args[0]);
		return usage_fault(c, "lease extend: for how long?");
	}
	r = tell(c, CMD_LEASE_EXTEND, &body, (struct bytes){0}, &reply, text_f(c, "extend lease %" PRIu64, body.lease));
	return r ? r : done_line(c, "lease_extend", &reply, "%s", extended(c, body.lease, body.term_ms));
}

int cmd_lease_revoke(struct ctl *c, const struct call *call)
{
	struct cmd_lease_revoke body = {0};
	struct client_reply reply = {0};
	int r = parse_lease(c, call->args[0], &body.lease);

	if (r || OPT_COPY(c, "--reason", c->reason, body.reason))
		return EXIT_USAGE;
	if (!c->reason) {
		try_next(c, "--reason TEXT; its holder reads it");
		return usage_fault(c, "lease revoke: say why");
	}
	r = sure(c, "This ends somebody's service at once", call->args[0]);
	if (r)
		return r;
	r = tell(c, CMD_LEASE_REVOKE, &body, (struct bytes){0}, &reply, text_f(c, "revoke lease %" PRIu64, body.lease));
	return r ? r : done_line(c, "lease_revoke", &reply, "revoked lease %" PRIu64, body.lease);
}

/* ---- entering -------------------------------------------------------------------------------- */

/* Print what came on one stream; moves its offset. */
static int exec_piece(struct ctl *c, struct query *q, FILE *to, struct view_output *v, bool *ret_got, struct err *err)
{
	int r = ask_err(c, q, v, c->timeout_ms, err);

	if (r)
		return r;
	if (v->data.len)
		(void)fwrite(v->data.data, 1, v->data.len, to); /* a closed pipe shows at the end */
	fflush(to);
	q->offset = v->offset + (int64_t)v->data.len;
	*ret_got |= v->data.len > 0;
	return 0;
}

static int exec_follow(struct ctl *c, struct query *q)
{
	struct query streams[2] = {*q, *q};
	int64_t pause = EXEC_POLL_MS;
	char last = '\n';

	streams[1].stream = 1;
	for (;;) {
		bool got = false, ended = true;
		int code = 0;

		for (int i = 0; i < 2; i++) {
			struct arena keep = scratch_begin(c);
			struct view_output v = {0};
			struct err err = {0};
			int r = exec_piece(c, &streams[i], i ? c->errs : c->out, &v, &got, &err);

			if (!r && v.data.len)
				last = (char)v.data.data[v.data.len - 1];
			ended &= !r && v.ended;
			code = v.exit_code ? v.exit_code : code;
			scratch_end(c, keep);
			if (stop_signal || r == ERR_INTERRUPTED) {
				fprintf(c->errs, "stopped reading; the command goes on inside the lease\n");
				return EXIT_INTERRUPTED;
			}
			if (r && r != ERR_UNREACHABLE && r != ERR_TIMEOUT)
				return fault(c, &err, "cannot read its output");
		}
		if (ended && code && last != '\n' && c->errtty) /* "no such command" of who starts it ends without one */
			fputc('\n', c->errs);
		if (ended)
			return code;
		pause = got ? EXEC_POLL_MS : pause * 2 > EXEC_POLL_MAX_MS ? EXEC_POLL_MAX_MS : pause * 2;
		sleep_ms(pause);
	}
}

int cmd_lease_exec(struct ctl *c, const struct call *call)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	struct query q = {.type = QUERY_EXEC, .name = "lease"};
	struct payload p = {.cwd = "/"};
	struct view_output v = {0};
	struct job_name name;
	struct err err = {0};
	const char *text = !strncmp(call->args[0], "lease-", 6) ? call->args[0] + 6 : call->args[0];
	int r;

	if (job_name_parse(text, &name, NULL) || name.index >= 0) {
		try_next(c, "sluisctl lease exec 77 -- COMMAND, or 77.3 for its fourth part");
		return usage_fault(c, "'%s' is no lease", call->args[0]);
	}
	if (!call->rest_n) {
		try_next(c, "sluisctl lease exec %s -- COMMAND", call->args[0]);
		return usage_fault(c, "lease exec: which command?");
	}
	p.argv = arena_alloc(&c->arena, call->rest_n * sizeof *p.argv);
	for (; p.argv_n < call->rest_n; p.argv_n++)
		p.argv[p.argv_n].s = call->rest[p.argv_n];
	schema_encode(&schema_payload, &p, &b);
	q.id = name.id;
	q.task = name.task < 0 ? 0 : (uint32_t)name.task;
	q.payload = (struct bytes){b.data, (uint32_t)b.len};
	r = conn_resolve(c);
	if (r)
		return r;
	if (ask_err(c, &q, &v, c->timeout_ms, &err))
		return fault(c, &err, "cannot run %s in lease %" PRIu64, call->rest[0], q.id);
	q.exec = v.exec;
	q.payload = (struct bytes){0};
	stop_catch();
	return exec_follow(c, &q);
}

/* ---- endpoints ------------------------------------------------------------------------------- */

static void sd_json(struct ctl *c, const struct view_endpoints *v, uint64_t lease, bool healthy)
{
	json_t *root = json_array(), *group = json_object(), *targets = json_array(), *labels = json_object();

	for (uint32_t i = 0; i < v->items_n; i++)
		if (!healthy || v->items[i].healthy)
			json_array_append_new(targets, json_string(text_f(c, "%s:%u", v->items[i].address, v->items[i].port)));
	json_object_set_new(labels, "sluis_lease", json_string(text_f(c, "%" PRIu64, lease)));
	json_object_set_new(group, "targets", targets);
	json_object_set_new(group, "labels", labels);
	json_array_append_new(root, group);
	(void)json_dumpf(root, c->out, JSON_COMPACT | JSON_PRESERVE_ORDER); /* a full pipe shows at the end */
	fputc('\n', c->out);
	json_decref(root);
}

int cmd_lease_endpoints(struct ctl *c, const struct call *call)
{
	static const struct column cols[] = {
		{"node", "NODE", 0}, {"address", "ADDRESS", 0}, {"port", "PORT", COL_RIGHT}, {"devices", "DEV", COL_RIGHT},
		{"state", "STATE", 0}, {"healthy", "HEALTHY", 0}, {"restarts", "RESTARTS", COL_RIGHT},
	};
	static const char *const formats[] = {"text", "json", "prometheus-sd", "hosts", NULL};
	struct query q = {.type = QUERY_ENDPOINTS};
	bool healthy = call_has(call, "healthy");
	struct view_endpoints v = {0};
	struct lease_view lease;
	struct table *t;
	int format = 0, r = parse_lease(c, call->args[0], &q.id);

	if (r || opt_word(c, call, "format", formats, &format))
		return EXIT_USAGE;
	r = lease_look(c, q.id, &lease, "read the lease");
	if (!r)
		r = ask(c, &q, &v, "read the endpoints");
	if (r)
		return r;
	if (c->json || format == 1)
		return json_list(c, "endpoints", v.seq, &schema_replica_view, v.items, v.items_n, NULL);
	if (format == 2) {
		sd_json(c, &v, q.id, healthy);
		return 0;
	}
	if (format == 3) {
		for (uint32_t i = 0; i < v.items_n; i++)
			if (!healthy || v.items[i].healthy)
				fprintf(c->out, "%s:%u\n", text_safe(c, v.items[i].address), v.items[i].port);
		return 0;
	}
	t = table_new(c, cols, ARRAY_LEN(cols));
	for (uint32_t i = 0; i < v.items_n; i++) {
		const struct replica_view *e = &v.items[i];

		if (healthy && !e->healthy)
			continue;
		table_row(t);
		table_cell(t, "%s", e->node);
		table_cell(t, "%s", e->address);
		table_cell(t, "%u", e->port);
		table_cell(t, "%u", e->devices);
		table_cell(t, "%s", e->state);
		table_cell(t, "%s", e->healthy ? "yes" : "no");
		table_cell(t, "%u", e->restarts);
	}
	r = table_print(t);
	if (!r && !v.items_n && !c->plain)
		fprintf(c->errs, "lease %" PRIu64 " has no endpoints: %s\n", q.id,
			is_service(&lease.lease) ? "its replicas have no port yet" : "it runs no service");
	return r;
}
