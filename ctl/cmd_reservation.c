/* cmd_reservation.c - reservations: devices kept from an instant on
 *
 * sluisd knows instants only. Windows that repeat are counted out here, in the zone of the person who asks
 * ($TZ), day by day through its clock changes, and sent as a list of UTC instants for HORIZON_DAYS; where
 * the zone is UTC all through, sluisd goes on by itself. The zone and the version of its rules are kept, so
 * that somebody can tell later what was meant.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl/cmd.h"
#include "ctl/zone.h"
#include "proto/base/ensure.h"
#include "proto/config/hostlist.h"

enum { HORIZON_DAYS = 400 };

/* Slurm's words for what a reservation may do. */
struct flag { const char *word; size_t offset; };
#define FLAG(word, member) {word, offsetof(struct reservation_spec, member)}
static const struct flag flags[] = {
	FLAG("maint", maint), FLAG("flex", flex), FLAG("magnetic", magnetic), FLAG("overrun", overrun),
	FLAG("ignore_jobs", ignore_jobs), FLAG("no_replace", no_replace),
};

static bool *flag_of(struct reservation_spec *s, size_t i) { return (bool *)((char *)s + flags[i].offset); }

static const char *flag_word(const void *ctx, size_t i)
{
	(void)ctx;
	return flags[i].word;
}

static int flags_parse(struct ctl *c, const char *list, struct reservation_spec *s)
{
	char *copy = list ? arena_copy(&c->arena, list, strlen(list) + 1) : NULL, *save = NULL;

	for (char *w = copy ? strtok_r(copy, ",", &save) : NULL; w; w = strtok_r(NULL, ",", &save)) {
		bool known = false;

		for (size_t i = 0; i < ARRAY_LEN(flags); i++)
			if (!strcasecmp(flags[i].word, w))
				*flag_of(s, i) = known = true;
		if (!known) {
			const char *near = config_nearest(w, ARRAY_LEN(flags), flag_word, NULL);

			try_next(c, "--flags %s", near ? near : "maint,flex,magnetic,overrun,ignore_jobs,no_replace");
			return usage_fault(c, "--flags: '%s' is none", w);
		}
	}
	return 0;
}

static const char *flags_text(struct ctl *c, const struct reservation_spec *spec)
{
	struct reservation_spec s = *spec;
	const char *text = "";

	for (size_t i = 0; i < ARRAY_LEN(flags); i++)
		if (*flag_of(&s, i))
			text = *text ? text_f(c, "%s,%s", text, flags[i].word) : flags[i].word;
	if (s.purge_ms)
		text = text_f(c, "%s%spurge=%s", text, *text ? "," : "", text_age(c, s.purge_ms));
	return text;
}

/* ---- windows ----------------------------------------------------------------------------------- */

static bool day_wanted(const char *repeat, const struct tm *tm)
{
	bool weekend = tm->tm_wday == 0 || tm->tm_wday == 6;

	return !strcmp(repeat, "weekdays") ? !weekend : !strcmp(repeat, "weekends") ? weekend : true;
}

/* The same hour of the clock on the days that follow, or on that day of the months that follow. */
static int windows_repeat(struct ctl *c, const char *repeat, int64_t times, struct reservation_spec *s)
{
	static const char *const words[] = {"daily", "weekly", "weekdays", "weekends", "monthly", NULL};
	struct window first = s->windows[0];
	time_t at = (time_t)(first.from_ms / 1000);
	struct tm start;
	int step = !strcmp(repeat, "weekly") ? 7 : 1;
	bool monthly = !strcmp(repeat, "monthly"), known = false, even = true;
	uint32_t n = 0;

	for (size_t i = 0; words[i]; i++)
		known |= !strcmp(words[i], repeat);
	if (!known) {
		try_next(c, "--repeat daily, weekly, weekdays, weekends or monthly");
		return usage_fault(c, "--repeat: '%s' is none of them", repeat);
	}
	s->windows = arena_alloc(&c->arena, WINDOWS_MAX * sizeof *s->windows);
	(void)localtime_r(&at, &start);
	if (monthly && start.tm_mday > 28) {
		try_next(c, "--from the 28th or before");
		return usage_fault(c, "--repeat: not every month has a day %d", start.tm_mday);
	}
	for (int i = 0; i * step < HORIZON_DAYS && n < WINDOWS_MAX && (!times || n < times); i++) {
		struct tm tm = start;
		enum zone_fit fit = ZONE_ONCE;
		int64_t clock_s, t = at;

		*(monthly ? &tm.tm_mon : &tm.tm_mday) += i * step;
		clock_s = timegm(&tm); /* as the clock counts; brings the day of the week along */
		if (i)
			fit = zone_instant(clock_s, false, &t);
		if (monthly && t - at >= HORIZON_DAYS * (time_t)(MS_PER_DAY / MS_PER_S))
			break;
		if (!day_wanted(repeat, &tm))
			continue;
		if (fit != ZONE_ONCE)
			fprintf(c->errs, "note: the clock %s %02d:%02d on %s: that window begins at %s\n",
				fit == ZONE_NEVER ? "skips" : "shows twice", tm.tm_hour, tm.tm_min, text_date(c, t * 1000),
				text_time(c, t * 1000));
		s->windows[n].from_ms = t * 1000 + first.from_ms % 1000;
		s->windows[n].to_ms = s->windows[n].from_ms + (first.to_ms - first.from_ms);
		if (n > 1)
			even &= s->windows[n].from_ms - s->windows[n - 1].from_ms ==
				s->windows[1].from_ms - s->windows[0].from_ms;
		n++;
	}
	if (!n)
		return usage_fault(c, "--repeat: no such day comes");
	s->windows_n = n;
	/* only where nothing ever shifts may the daemon go on counting by itself */
	if (!times && n > 1 && even && !start.tm_gmtoff && !start.tm_isdst && (!getenv("TZ") || !strncmp(getenv("TZ"), "UTC", 3)))
		s->repeat_ms = s->windows[1].from_ms - s->windows[0].from_ms;
	return 0;
}

static int windows_fill(struct ctl *c, const struct call *call, struct reservation_spec *s)
{
	int64_t duration = 0, times = 0;
	struct window *w = arena_alloc(&c->arena, sizeof *w);

	w->from_ms = c->now_ms;
	if (opt_instant(c, call, "from", &w->from_ms) || opt_instant(c, call, "to", &w->to_ms) ||
	    opt_job_time(c, call, "duration", &duration) || opt_count(c, call, "times", 1, WINDOWS_MAX, &times))
		return EXIT_USAGE;
	if (call_has(call, "to") == call_has(call, "duration")) {
		try_next(c, "--to TIME or --duration D");
		return usage_fault(c, "reservation create: until when?");
	}
	if (duration)
		w->to_ms = w->from_ms + duration;
	if (w->to_ms <= w->from_ms) {
		try_next(c, "--from TIME before --to TIME");
		return usage_fault(c, "reservation create: it would end before it begins");
	}
	s->windows = w;
	s->windows_n = 1;
	if (call_has(call, "times") && !call_has(call, "repeat")) {
		try_next(c, "--repeat daily --times %s", call_get(call, "times"));
		return usage_fault(c, "--times without --repeat");
	}
	if (!call_has(call, "repeat"))
		return 0;
	tzset();
	zone_name(getenv("TZ") && *getenv("TZ") ? getenv("TZ") : tzname[0], s->zone);
	return windows_repeat(c, call_get(call, "repeat"), times, s);
}

/* ---- who and what -------------------------------------------------------------------------------- */

static int members_fill(struct ctl *c, const struct call *call, struct text_ref **ret, uint32_t *ret_n)
{
	static const char *const kinds[] = {"project", "user"};
	struct text_ref *refs = arena_alloc(&c->arena, RESERVATION_MEMBERS_MAX * sizeof *refs);
	uint32_t n = 0;

	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		const char *value;

		for (size_t i = 0; (value = call_nth(call, kinds[k], i)) != NULL; i++) {
			if (n == RESERVATION_MEMBERS_MAX)
				return usage_fault(c, "--%s: more than %d members", kinds[k], RESERVATION_MEMBERS_MAX);
			if (OPT_COPY(c, text_f(c, "--%s", kinds[k]), text_f(c, "%s:%s", kinds[k], value), refs[n].s))
				return EXIT_USAGE;
			n++;
		}
	}
	*ret = refs;
	*ret_n = n;
	return 0;
}

static int nodes_fill(struct ctl *c, const struct call *call, struct cmd_reservation_create *body)
{
	struct hostlist list = HOSTLIST_INIT;
	const char *text = call_get(call, "nodes");
	struct err err = {0};
	int r = 0;

	if (!text)
		return 0;
	if (hostlist_expand(&list, text, &err)) {
		(void)fault(c, &err, "--nodes");
		return EXIT_USAGE;
	}
	hostlist_sort(&list);
	if (list.count > PARTS_PER_ALLOC_MAX)
		r = usage_fault(c, "--nodes: more than %d nodes", PARTS_PER_ALLOC_MAX);
	body->nodes = arena_alloc(&c->arena, (list.count + 1) * sizeof *body->nodes);
	for (size_t i = 0; !r && i < list.count; i++)
		r = OPT_COPY(c, "--nodes", list.names[i], body->nodes[body->nodes_n++].s) ? EXIT_USAGE : 0;
	hostlist_done(&list);
	return r;
}

static int devices_fill(struct ctl *c, const struct call *call, struct cmd_reservation_create *body)
{
	struct reservation_spec *s = &body->spec;
	int64_t units = 0;
	bool whole = call_has(call, "whole-nodes");

	if (opt_count(c, call, whole ? "whole-nodes" : "gpus", 1, (int64_t)PARTS_PER_ALLOC_MAX * DEVICES_PER_NODE_MAX, &units))
		return EXIT_USAGE;
	s->units = (uint32_t)units;
	s->shape = whole ? SHAPE_NODE : SHAPE_GPU;
	if ((s->units > 0) == (body->nodes_n > 0) || (whole && call_has(call, "gpus"))) {
		try_next(c, "--nodes n1,n2, or --flavor F with --gpus N or --whole-nodes N");
		return usage_fault(c, "reservation create: which devices, or how many?");
	}
	if (s->units && !call_has(call, "flavor")) {
		try_next(c, "--flavor F; those here: sluisctl division show");
		return usage_fault(c, "reservation create: of which flavor?");
	}
	return OPT_COPY(c, "--flavor", call_get(call, "flavor"), body->flavor) ? EXIT_USAGE : 0;
}

/* ---- commands -------------------------------------------------------------------------------------- */

int cmd_reservation_create(struct ctl *c, const struct call *call)
{
	struct cmd_reservation_create body = {0};
	struct client_reply reply = {0};
	int r;

	if (OPT_COPY(c, "name", call->args[0], body.spec.name) || OPT_COPY(c, "--reason", c->reason, body.spec.reason) ||
	    flags_parse(c, call_get(call, "flags"), &body.spec) || opt_job_time(c, call, "purge", &body.spec.purge_ms) ||
	    windows_fill(c, call, &body.spec) || members_fill(c, call, &body.members, &body.members_n) ||
	    nodes_fill(c, call, &body) || devices_fill(c, call, &body))
		return EXIT_USAGE;
	r = tell(c, CMD_RESERVATION_CREATE, &body, (struct bytes){0}, &reply, text_f(c, "reserve %s", call->args[0]));
	if (r)
		return r;
	r = done_line(c, "reservation_create", &reply, "reservation %" PRIu64 " (%s) %s, %s to %s%s", reply.result.id,
		      call->args[0], reservation_state_name(reply.result.state), text_time(c, body.spec.windows[0].from_ms),
		      text_time(c, body.spec.windows[0].to_ms),
		      body.spec.windows_n > 1 ? text_f(c, " and %u more %s", body.spec.windows_n - 1,
							      text_plural(body.spec.windows_n - 1, "window", "windows")) : "");
	if (!r && reply.result.state == RESERVATION_REQUESTED)
		next_line(c, "an operator confirms it: sluisctl reservation confirm %s", call->args[0]);
	else if (!r && !body.spec.maint)
		next_line(c, "its work: sluisctl submit --reservation %s ...", call->args[0]);
	return r;
}

static const char *size_text(struct ctl *c, const struct reservation_view *v)
{
	const struct reservation *r = &v->reservation;

	if (!r->spec.units)
		return text_f(c, "%u %s", r->parts_n, text_plural(r->parts_n, "node", "nodes"));
	return text_size(c, r->spec.shape, r->spec.units, 0, v->flavor);
}

static const char *note_text(struct ctl *c, const struct reservation_view *v)
{
	const struct reservation *r = &v->reservation;

	if (r->degraded)
		return text_f(c, "degraded: %u missing since %s", r->degraded, text_time(c, r->degraded_ms));
	if (r->end_text[0])
		return r->end_text;
	if (r->state == RESERVATION_ACTIVE && v->jobs[0])
		return text_f(c, "in use by %s", v->jobs);
	return r->spec.reason;
}

static const char *from_text(struct ctl *c, const struct reservation *r)
{
	return r->spec.windows_n ? text_time(c, r->spec.windows[0].from_ms) : "-";
}

static const char *to_text(struct ctl *c, const struct reservation *r)
{
	return r->spec.windows_n ? text_time(c, r->spec.windows[0].to_ms) : "-";
}

/* For the list on a terminal: of the same day the hour is enough. */
static const char *to_short(struct ctl *c, const struct reservation *r)
{
	const char *from = from_text(c, r), *to = to_text(c, r), *hour = strrchr(to, ' ');

	if (!c->tty || c->wide || c->plain || !hour || strncmp(from, to, (size_t)(hour - to) + 1) != 0)
		return to;
	return hour + 1;
}

/* "state" as a word; the daemon's own number is no use to anybody. */
static void json_fix_reservation(json_t *item, const void *obj)
{
	const struct reservation_view *v = obj;

	json_object_set_new(item, "state", json_string(v->state));
	json_object_set_new(item, "owner", json_string(v->owner));
	json_object_set_new(item, "flavor", json_string(v->flavor));
	json_object_set_new(item, "members", json_string(v->members));
}

int cmd_reservation_list(struct ctl *c, const struct call *call)
{
	static const struct column cols[] = {
		{"id", "ID", COL_RIGHT}, {"name", "NAME", COL_SHRINK}, {"state", "STATE", 0}, {"from", "FROM", 0},
		{"to", "TO", 0}, {"size", "SIZE", 0}, {"who", "WHO", COL_SHRINK}, {"flags", "FLAGS", COL_SHRINK},
		{"note", "NOTE", COL_REST}, {"nodes", "NODES", COL_WIDE | COL_SHRINK}, {"windows", "WINDOWS", COL_WIDE | COL_RIGHT},
		{"here", "HERE", COL_WIDE | COL_RIGHT}, {"used", "USED", COL_WIDE | COL_RIGHT},
	};
	struct query q = {.type = QUERY_RESERVATIONS, .all = call_has(call, "all")};
	struct view_reservations v = {0};
	struct table *t;
	int r = ask(c, &q, &v, "read the reservations");

	if (r)
		return r;
	if (c->json)
		return json_list(c, "reservation_list", v.seq, &schema_reservation_view, v.items, v.items_n,
				 json_fix_reservation);
	t = table_new(c, cols, ARRAY_LEN(cols));
	for (uint32_t i = 0; i < v.items_n; i++) {
		const struct reservation_view *rv = &v.items[i];
		const struct reservation *res = &rv->reservation;

		table_row(t);
		table_cell(t, "%" PRIu64, res->id);
		table_cell(t, "%s", res->spec.name);
		table_cell(t, "%s", rv->state);
		table_cell(t, "%s", from_text(c, res));
		table_cell(t, "%s", to_short(c, res));
		table_cell(t, "%s", size_text(c, rv));
		table_cell(t, "%s", rv->members[0] ? rv->members : "nobody");
		table_cell(t, "%s", flags_text(c, &res->spec));
		table_cell(t, "%s", note_text(c, rv));
		table_cell(t, "%s", rv->nodes);
		table_cell(t, "%u", res->spec.windows_n);
		table_cell(t, "%u", rv->units_here);
		table_cell(t, "%u", rv->units_used);
	}
	r = table_print(t);
	if (!r && !v.items_n && !c->plain)
		fputs(q.all ? "there was no reservation\n" : "nothing is reserved\n", c->out);
	return r;
}

static int look(struct ctl *c, const char *name, struct view_reservations *v)
{
	struct query q = {.type = QUERY_RESERVATIONS, .all = true};
	struct err err = {0};
	int r;

	if (strspn(name, "0123456789") == strlen(name)) {
		if (id_parse(name, "reservation", &q.id, &err)) {
			(void)fault(c, &err, NULL);
			return EXIT_USAGE;
		}
	} else if (OPT_COPY(c, "reservation", name, q.name)) {
		return EXIT_USAGE;
	}
	r = ask(c, &q, v, "read the reservation");
	if (r)
		return r;
	if (!v->items_n) {
		(void)err_set(&err, ERR_NOTFOUND, "there is no reservation '%s'", name);
		(void)err_hint(&err, "sluisctl reservation list --all");
		return fault(c, &err, NULL);
	}
	v->items = &v->items[v->items_n - 1]; /* of the same name: the latest */
	v->items_n = 1;
	return 0;
}

static void print(struct ctl *c, const struct reservation_view *v)
{
	const struct reservation *r = &v->reservation;
	const struct reservation_spec *s = &r->spec;

	fprintf(c->out, "reservation %" PRIu64 "  %s  %s, %s\n", r->id, text_safe(c, s->name), size_text(c, v), v->state);
	if (s->windows_n)
		fprintf(c->out, "  window    %s to %s\n", from_text(c, r), to_text(c, r));
	for (uint32_t i = 1; i < s->windows_n && i < 4; i++)
		fprintf(c->out, "  then      %s to %s\n", text_time(c, s->windows[i].from_ms), text_time(c, s->windows[i].to_ms));
	if (s->windows_n > 4)
		fprintf(c->out, "  and       %u more, the last to %s%s\n", s->windows_n - 4,
			text_date(c, s->windows[s->windows_n - 1].to_ms), s->repeat_ms ? ", and on" : "");
	if (s->zone[0])
		fprintf(c->out, "  zone      %s\n", text_safe(c, s->zone));
	fprintf(c->out, "  who       %s\n", v->members[0] ? text_safe(c, v->members) : "nobody");
	fprintf(c->out, "  nodes     %s\n", v->nodes[0] ? text_safe(c, v->nodes) : "-");
	if (!reservation_terminal(r->state) && r->state != RESERVATION_REQUESTED)
		fprintf(c->out, "  here      %u free for it or in its hands, %u in use%s%s\n", v->units_here, v->units_used,
			v->jobs[0] ? " by job " : "", text_safe(c, v->jobs));
	if (v->kept_rums)
		fprintf(c->out, "  GPU-hours %s kept, %s used inside, %s idle%s%s\n", text_gpuh(c, v->kept_rums),
			text_gpuh(c, v->used_rums),
			text_gpuh(c, v->kept_rums > v->used_rums ? v->kept_rums - v->used_rums : 0),
			v->payer[0] ? ": charged to " : "", text_safe(c, v->payer));
	if (r->degraded)
		fprintf(c->out, "  degraded  %u missing since %s\n", r->degraded, text_time(c, r->degraded_ms));
	if (flags_text(c, s)[0])
		fprintf(c->out, "  flags     %s\n", flags_text(c, s));
	fprintf(c->out, "  made      %s by %s%s%s\n", text_time(c, r->created_ms), text_safe(c, v->owner), s->reason[0] ? ": " : "",
		text_safe(c, s->reason));
	if (r->end_text[0])
		fprintf(c->out, "  over      %s: %s\n", text_time(c, r->end_ms), text_safe(c, r->end_text));
}

int cmd_reservation_show(struct ctl *c, const struct call *call)
{
	for (size_t i = 0; i < call->args_n; i++) {
		struct view_reservations v = {0};
		int r = look(c, call->args[i], &v);

		if (r)
			return r;
		if (c->json) {
			json_t *item = json_of(&schema_reservation_view, &v.items[0]);

			json_fix_reservation(item, &v.items[0]);
			r = json_item(c, "reservation", v.seq, item);
			if (r)
				return r;
			continue;
		}
		if (i)
			fputc('\n', c->out);
		print(c, &v.items[0]);
	}
	return 0;
}

static int update(struct ctl *c, const struct call *call, struct cmd_reservation_update *body, const char *did)
{
	struct client_reply reply = {0};
	struct view_reservations v = {0};
	int r = look(c, call->args[0], &v);

	if (r)
		return r;
	body->reservation = v.items[0].reservation.id;
	r = tell(c, CMD_RESERVATION_UPDATE, body, (struct bytes){0}, &reply, text_f(c, "change reservation %s", call->args[0]));
	return r ? r : done_line(c, "reservation_update", &reply, "%s reservation %" PRIu64 " (%s), %s", did, reply.result.id,
				 reply.result.text, reservation_state_name(reply.result.state));
}

int cmd_reservation_update(struct ctl *c, const struct call *call)
{
	struct cmd_reservation_update body = {0};

	if (!call->values_n) {
		try_next(c, "--to TIME, --project P or --user U");
		return usage_fault(c, "reservation update: nothing to change");
	}
	if (opt_instant(c, call, "to", &body.to_ms) || members_fill(c, call, &body.members, &body.members_n))
		return EXIT_USAGE;
	return update(c, call, &body, "changed");
}

int cmd_reservation_confirm(struct ctl *c, const struct call *call)
{
	struct cmd_reservation_update body = {.confirm = true};

	return update(c, call, &body, "confirmed");
}

int cmd_reservation_delete(struct ctl *c, const struct call *call)
{
	for (size_t i = 0; i < call->args_n; i++) {
		struct cmd_object body = {0};
		struct client_reply reply = {0};
		struct view_reservations v = {0};
		int r = look(c, call->args[i], &v);

		if (r)
			return r;
		body.id = v.items[0].reservation.id;
		if (OPT_COPY(c, "--reason", c->reason, body.reason))
			return EXIT_USAGE;
		r = tell(c, CMD_RESERVATION_DELETE, &body, (struct bytes){0}, &reply,
			 text_f(c, "delete reservation %s", call->args[i]));
		if (!r)
			r = done_line(c, "reservation_delete", &reply, "reservation %" PRIu64 " (%s) is %s", reply.result.id,
				      reply.result.text, reservation_state_name(reply.result.state));
		if (r)
			return r;
	}
	return 0;
}
