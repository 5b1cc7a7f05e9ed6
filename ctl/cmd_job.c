/* cmd_job.c - jobs: the queue, why one waits, ending, changing, waiting, output */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "ctl/cmd.h"
#include "proto/base/ckd.h"
#include "proto/base/ensure.h"
#include "proto/config/directives.h"
#include "proto/config/signals.h"
#include "proto/config/units.h"

enum { POLL_FIRST_MS = 100, POLL_MS = 1000, OUTPUT_BYTES = 256 * 1024, TAIL_BYTES_MAX = 64 << 20, ARGV_SHOWN_BYTES = 400 };

/* ---- reading jobs ---------------------------------------------------------------------------- */

void json_fix_job(json_t *item, const void *obj)
{
	const struct job_view *v = obj;

	/* "state" is the word, the code that Slurm's users know stands beside it */
	json_object_set_new(item, "state", json_string(v->state_long));
	json_object_set_new(item, "code", json_string(v->state));
	json_object_del(item, "state_long");
}

/* "running", "PD" ... as a bit of query.state_mask. */
static bool state_bit(const char *word, uint32_t *mask)
{
	bool any = false;

	for (uint8_t s = 0; job_state_names[s]; s++)
		if (!strcasecmp(job_state_names[s], word) || !strcasecmp(job_state_code(s), word)) {
			*mask |= UINT32_C(1) << s;
			any = true;
		}
	return any;
}

static const char *state_word(const void *ctx, size_t i)
{
	(void)ctx;
	return job_state_names[i];
}

static int states_parse(struct ctl *c, const char *list, uint32_t *mask)
{
	char *copy, *save = NULL;
	size_t n = 0;

	if (!list)
		return 0;
	while (job_state_names[n])
		n++;
	copy = arena_copy(&c->arena, list, strlen(list) + 1);
	for (char *word = strtok_r(copy, ",", &save); word; word = strtok_r(NULL, ",", &save))
		if (!state_bit(word, mask)) {
			const char *near = config_nearest(word, n, state_word, NULL);

			try_next(c, near ? "--state %s" : "--state running,pending,held,failed%s", near ? near : "");
			return usage_fault(c, "--state: '%s' is no state of a job", word);
		}
	return 0;
}

static int parse_job(struct ctl *c, const char *text, struct job_name *ret)
{
	struct err err = {0};

	if (!job_name_parse(text, ret, &err))
		return 0;
	(void)fault(c, &err, NULL);
	return EXIT_USAGE;
}

/* The row of `name` in a view of the job and, for an array, its children. */
static const struct job_view *row_of(const struct view_jobs *v, const struct job_name *name)
{
	for (uint32_t i = 0; i < v->items_n; i++) {
		const struct job *j = &v->items[i].job;

		if (name->index < 0 ? j->id == name->id : j->array == name->id && j->array_index == name->index)
			return &v->items[i];
	}
	return NULL;
}

/* None of the rows is the job asked for: a child that has not started has no number yet, and none of its own. */
static int no_row(struct ctl *c, const struct job_view *rows, uint32_t n, const struct job_name *name, const char *text)
{
	struct err err = {0};

	(void)err_set(&err, ERR_NOTFOUND, "there is no job %s", text);
	(void)err_hint(&err, "sluisctl queue --all");
	for (uint32_t i = 0; i < n; i++) {
		const struct job *j = &rows[i].job;
		const struct job_spec *s = &j->spec;
		int64_t at = name->index - s->array_first;

		if (j->id == name->id && !s->array_step && !j->array)
			(void)err_hint(&err, "%" PRIu64 " is no array; a task of it is %" PRIu64 ".%" PRId64, j->id, j->id, name->index);
		if (j->id != name->id || !s->array_step || name->index > s->array_last || at < 0 || at % s->array_step ||
		    at / s->array_step < j->array_started)
			continue;
		if (job_terminal(j->state))
			(void)err_set(&err, ERR_STATE, "job %s never started: its array has ended", text);
		else
			(void)err_set(&err, ERR_STATE, "job %s has not started: it waits as part of %" PRIu64, text, j->id);
		(void)err_hint(&err, "sluisctl explain %" PRIu64, j->id);
	}
	return fault(c, &err, NULL);
}

int job_look(struct ctl *c, const char *text, struct job_view *ret, struct job_name *name, const char *doing)
{
	struct query q = {.type = QUERY_JOBS, .all = true};
	struct view_jobs v = {0};
	const struct job_view *row;
	int r = parse_job(c, text, name);

	if (r)
		return r;
	q.id = name->id;
	r = ask(c, &q, &v, doing);
	if (r)
		return r;
	row = row_of(&v, name);
	if (!row)
		return no_row(c, v.items, v.items_n, name, text);
	*ret = *row;
	c->seq = v.seq;
	name->id = row->job.id;
	return 0;
}

/* ---- the queue ------------------------------------------------------------------------------- */

static bool runs(const struct job_view *v)
{
	uint8_t s = v->job.state;

	return s == JOB_RUNNING || s == JOB_STOPPING || s == JOB_BINDING;
}

static bool waits(const struct job_view *v)
{
	uint8_t s = v->job.state;

	return s == JOB_PENDING || s == JOB_HELD || s == JOB_EARMARKED;
}

/* Running first, then those that wait in the order they are looked at, then what has ended. */
static int queue_cmp(const void *va, const void *vb)
{
	const struct job_view *a = va, *b = vb;
	int ra = runs(a) ? 0 : waits(a) ? 1 : 2, rb = runs(b) ? 0 : waits(b) ? 1 : 2;
	uint64_t oa = a->order ? a->order : UINT64_MAX, ob = b->order ? b->order : UINT64_MAX;

	if (ra != rb)
		return ra - rb;
	if (ra == 1 && oa != ob)
		return oa < ob ? -1 : 1;
	return a->job.id < b->job.id ? -1 : a->job.id > b->job.id;
}

static const char *job_title(struct ctl *c, const struct job_view *v)
{
	if (v->job.array)
		return text_f(c, "%" PRIu64 "_%u", v->job.array, v->job.array_index);
	return text_f(c, "%" PRIu64, v->job.id);
}

static uint32_t children_left(const struct job_view *v)
{
	const struct job_spec *s = &v->job.spec;
	uint32_t all;

	if (!s->array_step)
		return 1;
	all = (s->array_last - s->array_first) / s->array_step + 1;
	return all > v->job.array_started ? all - v->job.array_started : 0;
}

static const char *job_label(struct ctl *c, const struct job_view *v)
{
	const struct job_spec *s = &v->job.spec;

	if (!s->array_step || !children_left(v))
		return s->name;
	if (s->array_running_max)
		return text_f(c, "%s[%u-%u%%%u]", s->name, s->array_first + v->job.array_started * s->array_step,
			      s->array_last, s->array_running_max);
	return text_f(c, "%s[%u-%u]", s->name, s->array_first + v->job.array_started * s->array_step, s->array_last);
}

static const char *job_size(struct ctl *c, const struct job_view *v)
{
	const struct job_spec *s = &v->job.spec;
	const char *size = text_size(c, s->shape, s->units, s->per_node, v->flavor);

	if (s->units_max > s->units && runs(v)) /* its least and what it has beyond that: 8+4 h100 */
		return text_f(c, "%u+%u %s", s->units, v->extra, s->shape == SHAPE_NODE ? "nodes" : v->flavor);
	if (s->units_max > s->units)
		return text_f(c, "%u-%u %s", s->units, s->units_max, s->shape == SHAPE_NODE ? "nodes" : v->flavor);
	return children_left(v) > 1 ? text_f(c, "%s x %u", size, children_left(v)) : size;
}

static const char *job_starts(struct ctl *c, const struct job_view *v)
{
	if (waits(v) && !v->start_p50_ms && v->reason != REASON_HELD_USER && v->reason != REASON_HELD_ADMIN &&
	    v->job.eligible_ms > c->now_ms)
		return text_f(c, "from %s", text_time(c, v->job.eligible_ms)); /* a begin time, or a pause after a failure */
	if (!waits(v) || !v->start_p50_ms)
		return "-";
	if (v->start_p90_ms > v->start_p50_ms)
		return text_f(c, "%s-%s", text_time(c, v->start_p50_ms), text_time(c, v->start_p90_ms));
	return text_time(c, v->start_p50_ms);
}

/* The same for the queue on a terminal, where every column is one less for why it waits: `explain` has all of it. */
static const char *job_starts_short(struct ctl *c, const struct job_view *v)
{
	const char *from = text_time(c, v->start_p50_ms), *to = text_time(c, v->start_p90_ms);

	if (!c->tty || c->wide || c->plain || !waits(v) || !v->start_p50_ms)
		return job_starts(c, v);
	if (strlen(from) == strlen("00:00:00") && strlen(to) == strlen(from) && v->start_p90_ms > v->start_p50_ms)
		return text_f(c, "%.5s-%.5s", from, to);
	return strlen(from) == strlen("00:00:00") ? text_f(c, "%.5s", from) : text_f(c, "~%s", from);
}

static const char *how_ended(struct ctl *c, const struct job_view *v)
{
	const struct job *j = &v->job;

	if (j->state == JOB_COMPLETED)
		return text_f(c, "done %s", text_time(c, j->end_ms));
	if (j->exit_signal)
		return text_f(c, "signal %s; %s", signal_text(j->exit_signal), j->end_text);
	if (j->exit_code)
		return text_f(c, "exit %d; %s", j->exit_code, j->end_text);
	return j->end_text[0] ? j->end_text : end_cause_name(j->end_cause);
}

static const char *job_why(struct ctl *c, const struct job_view *v)
{
	const struct job *j = &v->job;

	if (job_terminal(j->state))
		return how_ended(c, v);
	if (v->recall_at_ms)
		return text_f(c, "recalled, goes back by %s", text_time(c, v->recall_at_ms));
	if (j->state == JOB_STOPPING)
		return text_f(c, "stopping: %s", end_cause_name(j->end_cause));
	if (j->state == JOB_BINDING)
		return "its devices are being bound";
	if (j->state == JOB_RUNNING && j->spec.array_step)
		return text_f(c, "%u of its jobs run or wait", j->array_live);
	if (j->state == JOB_RUNNING && v->loan)
		return text_f(c, "may be recalled, notice %s", text_age(c, j->spec.notice_ms));
	if (j->state == JOB_RUNNING)
		return j->start_ms && j->spec.time_limit_ms
			       ? text_f(c, "guaranteed, ends %s", text_time(c, j->start_ms + j->spec.time_limit_ms))
			       : "guaranteed";
	return text_f(c, "%u %s", v->reason, v->reason_text);
}

static const char *job_time(struct ctl *c, const struct job_view *v)
{
	const struct job *j = &v->job;
	int64_t span;

	if (!j->start_ms || waits(v))
		return "-";
	span = (job_terminal(j->state) && j->end_ms ? j->end_ms : c->now_ms) - j->start_ms;
	return text_age(c, span > 0 ? span / 1000 * 1000 : 0);
}

static int64_t devices(const struct job_view *v)
{
	return v->job.spec.shape == SHAPE_NODE ? 0 : ((int64_t)v->job.spec.units + v->extra) * children_left(v);
}

static void queue_foot(struct ctl *c, const struct view_jobs *v)
{
	uint32_t running = 0, waiting = 0;
	int64_t running_gpus = 0, waiting_gpus = 0;
	uint64_t first = 0;

	for (uint32_t i = 0; i < v->items_n; i++) {
		const struct job_view *j = &v->items[i];

		if (runs(j) && !j->job.spec.array_step) {
			running++;
			running_gpus += devices(j);
		} else if (waits(j)) {
			waiting += children_left(j);
			waiting_gpus += devices(j);
			first = first ? first : j->job.id;
		}
	}
	fprintf(c->out, "%u %s: %u running", v->items_n, text_plural(v->items_n, "job", "jobs"), running);
	if (running_gpus)
		fprintf(c->out, " (%" PRId64 " gpu)", running_gpus);
	fprintf(c->out, ", %u waiting", waiting);
	if (waiting_gpus)
		fprintf(c->out, " (%" PRId64 " gpu)", waiting_gpus);
	if (first)
		fprintf(c->out, "\n  next    why the first one waits: sluisctl explain %" PRIu64, first);
	fputc('\n', c->out);
}

static int queue_table(struct ctl *c, const struct view_jobs *v)
{
	static const struct column cols[] = {
		{"id", "JOB", COL_RIGHT}, {"name", "NAME", COL_SHRINK}, {"user", "USER", COL_SHRINK},
		{"project", "PROJECT", COL_SHRINK}, {"size", "SIZE", 0}, {"time", "TIME", 0}, {"state", "STATE", 0},
		{"starts", "STARTS", 0}, {"why", "WHY", COL_REST}, {"nodes", "NODES", COL_WIDE | COL_SHRINK},
		{"class", "CLASS", COL_WIDE}, {"limit", "LIMIT", COL_WIDE}, {"attempt", "ATTEMPT", COL_WIDE | COL_RIGHT},
		{"submitted", "SUBMITTED", COL_WIDE}, {"order", "ORDER", COL_WIDE | COL_RIGHT},
	};
	struct table *t = table_new(c, cols, ARRAY_LEN(cols));
	char limit[UNITS_TEXT_BYTES];

	for (uint32_t i = 0; i < v->items_n; i++) {
		const struct job_view *j = &v->items[i];

		table_row(t);
		table_cell(t, "%s", job_title(c, j));
		table_cell(t, "%s", job_label(c, j));
		table_cell(t, "%s", j->job.user);
		table_cell(t, "%s", c->wide || c->plain ? j->project : text_path_last(j->project));
		table_cell(t, "%s", job_size(c, j));
		table_cell(t, "%s", job_time(c, j));
		table_cell(t, "%s%s", j->state, runs(j) && j->loan ? " loan" : "");
		table_cell(t, "%s", job_starts_short(c, j));
		table_cell(t, "%s", job_why(c, j));
		table_cell(t, "%s", waits(j) ? "" : j->nodes); /* where it ran before: sluisctl job show */
		table_cell(t, "%s", j->klass);
		table_cell(t, "%s", units_slurm_time_print(limit, j->job.spec.time_limit_ms));
		table_cell(t, "%u", j->job.attempt);
		table_cell(t, "%s", text_time(c, j->job.submit_ms));
		table_cell(t, "%" PRIu64, j->order);
	}
	return table_print(t);
}

/* Keep only the rows named on the command line. */
static int queue_pick(struct ctl *c, const struct call *call, struct view_jobs *v)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < v->items_n; i++) {
		bool wanted = false;

		for (size_t k = 0; k < call->args_n; k++) {
			struct job_name name;

			if (parse_job(c, call->args[k], &name))
				return EXIT_USAGE;
			wanted |= name.index < 0 ? v->items[i].job.id == name.id || v->items[i].job.array == name.id
						 : v->items[i].job.array == name.id &&
							   v->items[i].job.array_index == name.index;
		}
		if (wanted)
			v->items[kept++] = v->items[i];
	}
	if (!kept) {
		struct job_name name;
		int r = parse_job(c, call->args[0], &name);

		return r ? r : no_row(c, v->items, v->items_n, &name, call->args[0]);
	}
	v->items_n = kept;
	return 0;
}

static int queue_ask(struct ctl *c, const struct call *call, struct view_jobs *v)
{
	struct query q = {.type = QUERY_JOBS};
	const char *name = NULL;
	uint32_t kept = 0;
	int r;

	if (call->cmd->run == cmd_queue) {
		if (states_parse(c, call_get(call, "state"), &q.state_mask))
			return EXIT_USAGE;
		q.mine = call_has(call, "me");
		q.all = call_has(call, "all") || call->args_n > 0;
		name = call_get(call, "user") ? call_get(call, "user") : call_get(call, "project");
		if (OPT_COPY(c, "--project", name, q.name))
			return EXIT_USAGE;
		if (call->args_n == 1) {
			struct job_name job;

			if (parse_job(c, call->args[0], &job))
				return EXIT_USAGE;
			q.id = job.id;
		}
	}
	r = ask(c, &q, v, "read the queue");
	if (r || call->cmd->run != cmd_queue)
		return r;
	for (uint32_t i = 0; i < v->items_n; i++) {
		const struct job_view *j = &v->items[i];

		if ((call_get(call, "user") && strcmp(j->job.user, call_get(call, "user")) != 0) ||
		    (call_has(call, "start") && !waits(j)))
			continue;
		v->items[kept++] = *j;
	}
	v->items_n = kept;
	return call->args_n ? queue_pick(c, call, v) : 0;
}

/* No rows of a project that there is not are no answer but a slip of the pen. */
static int project_check(struct ctl *c, const char *name)
{
	struct query q = {.type = QUERY_DIVISION};
	struct view_division v = {0};
	struct err err = {0};

	if (ask_err(c, &q, &v, c->timeout_ms, &err))
		return 0;
	for (uint32_t i = 0; i < v.items_n; i++)
		if (!strcmp(v.items[i].qnode.name, name) || !strcmp(v.items[i].path, name))
			return 0;
	(void)err_set(&err, ERR_NOTFOUND, "there is no project '%.60s'", name);
	(void)err_hint(&err, "sluisctl project list");
	return fault(c, &err, NULL);
}

int queue_print(struct ctl *c, const struct call *call)
{
	struct view_jobs v = {0};
	int r = queue_ask(c, call, &v);

	if (!r && !v.items_n && call->cmd->run == cmd_queue && call_get(call, "project"))
		r = project_check(c, call_get(call, "project"));
	if (r)
		return r;
	if (v.items_n > 1)
		qsort(v.items, v.items_n, sizeof *v.items, queue_cmp);
	if (c->json)
		return json_list(c, "job_list", v.seq, &schema_job_view, v.items, v.items_n, json_fix_job);
	if (c->quiet) {
		for (uint32_t i = 0; i < v.items_n; i++)
			fprintf(c->out, "%" PRIu64 "\n", v.items[i].job.id);
		return 0;
	}
	r = queue_table(c, &v);
	if (!r && !c->plain && !c->column_list && !c->no_header)
		queue_foot(c, &v);
	return r;
}

int cmd_queue(struct ctl *c, const struct call *call) { return queue_print(c, call); }

/* ---- show ------------------------------------------------------------------------------------ */

static void print_line(struct ctl *c, const char *key, const char *text)
{
	if (text[0])
		fprintf(c->out, "  %-10s%s\n", key, text_safe(c, text));
}

/* Where it is, or its last attempt ran. What the view had no room for is asked for: the record has the numbers of
 * all. Not of an elastic job that runs: its record also knows where it is no more. */
static const char *job_nodes(struct ctl *c, const struct job_view *v)
{
	size_t len = strlen(v->nodes);
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	struct query q = {.type = QUERY_NODES};
	struct view_nodes all = {0};
	struct err err = {0};

	if (len < 3 || strcmp(v->nodes + len - 3, "...") != 0 || (runs(v) && v->job.spec.units_max > v->job.spec.units) ||
	    ask_err(c, &q, &all, c->timeout_ms, &err))
		return v->nodes;
	for (uint32_t i = 0; i < v->job.ran_n; i++) {
		const char *name = "(removed)";

		for (uint32_t k = 0; k < all.items_n; k++)
			if (all.items[k].node.id == v->job.ran[i].node)
				name = all.items[k].node.name;
		buf_addf(&b, "%s%s", i ? "," : "", name);
	}
	return b.len ? text_f(c, "%s", buf_cstr(&b)) : v->nodes;
}

/* What it runs. False where sluisd does not tell: the job is somebody else's. */
static bool job_payload(struct ctl *c, const struct job_view *v, struct payload *ret)
{
	struct query q = {.type = QUERY_PAYLOAD};
	struct view_payload p = {0};
	struct err err = {0};

	if (all_zero(v->job.spec.payload, sizeof q.hash))
		return false;
	memcpy(q.hash, v->job.spec.payload, sizeof q.hash);
	return !ask_err(c, &q, &p, c->timeout_ms, &err) &&
	       !schema_decode(&schema_payload, p.data.data, p.data.len, ret, &c->arena, &err);
}

/* Words as a shell would read them. */
static const char *quoted_words(struct ctl *c, const struct string *words, uint32_t n)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-";
	CLEANUP(buf_done) struct buf b = BUF_INIT;

	for (uint32_t i = 0; i < n; i++) {
		const char *w = words[i].s;

		buf_addf(&b, "%s", i ? " " : "");
		if (w[0] && !w[strspn(w, plain)]) {
			buf_addf(&b, "%s", w);
			continue;
		}
		buf_addf(&b, "'");
		for (; *w; w++)
			buf_addf(&b, *w == '\'' ? "'\\''" : "%c", *w);
		buf_addf(&b, "'");
	}
	return text_f(c, "%s", buf_cstr(&b));
}

/* The one line of a script that does something; NULL when there are more, and *ret_lines of all. */
static const char *only_line(struct ctl *c, const char *script, uint32_t *ret_lines)
{
	const char *only = NULL;
	uint32_t busy = 0;

	for (*ret_lines = 0; *script; (*ret_lines)++) {
		size_t len = strcspn(script, "\n"), blank = strspn(script, " \t\r");

		if (blank < len && script[blank] != '#' && !busy++)
			only = text_f(c, "%.*s", (int)(len - blank), script + blank);
		script += len + (script[len] == '\n');
	}
	return busy == 1 ? only : NULL;
}

static void print_payload(struct ctl *c, const struct job_view *v)
{
	struct payload p = {0};
	const char *words;

	if (!job_payload(c, v, &p))
		return;
	words = quoted_words(c, p.argv, p.argv_n);
	if (strlen(words) > ARGV_SHOWN_BYTES && !c->wide)
		words = text_f(c, "%.*s ... (%u %s; --wide has all)", ARGV_SHOWN_BYTES, words, p.argv_n, text_plural(p.argv_n, "word", "words"));
	if (p.script) {
		uint32_t lines;
		const char *only = only_line(c, p.script, &lines);

		print_line(c, "script", only && strlen(only) <= ARGV_SHOWN_BYTES
						? only : text_f(c, "%u %s: sluisctl job show %s --script", lines,
								text_plural(lines, "line", "lines"), job_title(c, v)));
		print_line(c, "arguments", words);
	} else {
		print_line(c, "command", words);
	}
	print_line(c, "folder", p.cwd ? p.cwd : "");
	if (p.output)
		print_line(c, "output", p.error ? text_f(c, "%s, errors %s", p.output, p.error) : p.output);
	print_line(c, "comment", p.comment ? p.comment : "");
}

static int script_print(struct ctl *c, const struct job_view *v)
{
	struct payload p = {0};
	struct err err = {0};

	if (job_payload(c, v, &p) && p.script)
		return fputs(p.script, c->out) < 0 ? EXIT_OTHER : 0;
	if (v->job.spec.mode == JOB_SCRIPT) {
		(void)err_set(&err, ERR_DENIED, "the script of job %s is not yours to see", job_title(c, v));
		(void)err_hint(&err, "as its submitter, the PI of its project, or an admin");
	} else {
		(void)err_set(&err, ERR_NOTFOUND, "job %s has no script: it is a command", job_title(c, v));
		(void)err_hint(&err, "sluisctl job show %s", job_title(c, v));
	}
	return fault(c, &err, NULL);
}

/* Beside the record: what it runs; null where that is not told. Its environment is nobody's to print. */
static void json_payload(struct ctl *c, const struct job_view *v, json_t *item)
{
	struct payload p = {0};
	bool told = job_payload(c, v, &p);
	json_t *argv = told ? json_array() : json_null();

	for (uint32_t i = 0; told && i < p.argv_n; i++)
		json_array_append_new(argv, json_string(p.argv[i].s));
	json_object_set_new(item, "argv", argv);
	json_object_set_new(item, "script", told && p.script ? json_string(p.script) : json_null());
	json_object_set_new(item, "cwd", told && p.cwd ? json_string(p.cwd) : json_null());
	json_object_set_new(item, "output", told && p.output ? json_string(p.output) : json_null());
	json_object_set_new(item, "error", told && p.error ? json_string(p.error) : json_null());
	json_object_set_new(item, "comment", told && p.comment ? json_string(p.comment) : json_null());
}

static void job_print(struct ctl *c, const struct job_view *v)
{
	const char *nodes = job_nodes(c, v);
	const struct job *j = &v->job;
	const struct job_spec *s = &j->spec;
	char limit[UNITS_TEXT_BYTES];

	fprintf(c->out, "job %s  %s  %s, %s, %s, %s\n", job_title(c, v), text_safe(c, job_label(c, v)), job_size(c, v),
		units_slurm_time_print(limit, s->time_limit_ms), v->project, j->user);
	print_line(c, "state", text_f(c, "%s (%s)%s; %s", v->state_long, v->state, v->loan && runs(v) ? " on loan" : "",
				      job_why(c, v)));
	print_line(c, "submitted", text_f(c, "%s; attempt %u, %u infrastructure and %u own retries, %u recalls",
					  text_time(c, j->submit_ms), j->attempt, j->infra_retries, j->user_retries,
					  j->recalls));
	if (j->start_ms)
		print_line(c, "started", text_f(c, "%s%s%s", text_time(c, j->start_ms), nodes[0] ? " on " : "",
					       text_nodes(c, nodes)));
	if (j->end_ms)
		print_line(c, "ended", text_f(c, "%s, cause %s, exit %d%s", text_time(c, j->end_ms),
					      end_cause_name(j->end_cause), j->exit_code,
					      j->exit_signal ? text_f(c, ", signal %s", signal_text(j->exit_signal)) : ""));
	if (s->units_max > s->units)
		print_line(c, "elastic", text_f(c, "%u to %u; %u now: %u for certain, %u on loan while they last", s->units,
						 s->units_max, runs(v) ? s->units + v->extra : 0, runs(v) ? s->units : 0, v->extra));
	if (waits(v) && v->start_p50_ms)
		print_line(c, "starts", job_starts(c, v));
	print_line(c, "tasks", text_f(c, "%s; %s%s", s->mode == JOB_SCRIPT ? "a script, once on the first node"
									   : "a command, in every task",
				      s->tasks_per_unit	 ? text_f(c, "%u per device", s->tasks_per_unit)
				      : s->tasks_per_node ? text_f(c, "%u per node", s->tasks_per_node)
							  : "one per node",
				      s->cpus_per_task ? text_f(c, ", %u %s each", s->cpus_per_task,
								text_plural(s->cpus_per_task, "core", "cores")) : ""));
	print_payload(c, v);
	print_line(c, "class", text_f(c, "%s, loan %s, notice %s, exempt %s", v->klass, job_loan_name(s->loan),
				      text_age(c, s->notice_ms), text_age(c, s->exempt_ms)));
	print_line(c, "reserved", v->reservation);
	for (uint32_t i = 0; i < s->requires_n; i++)
		print_line(c, i ? "" : "require", text_f(c, "%s=%s", s->requires[i].key, s->requires[i].value));
	for (uint32_t i = 0; i < s->deps_n; i++)
		print_line(c, i ? "" : "depends", text_f(c, "%s:%" PRIu64, dep_type_name(s->deps[i].type), s->deps[i].job));
	if (j->checkpoint_ms)
		print_line(c, "saved", text_f(c, "step %" PRIu64 " at %s", j->checkpoint_step, text_time(c, j->checkpoint_ms)));
	print_line(c, "used", text_f(c, "%s GPU-hours guaranteed, %s on loan, %s refunded; %s held",
				     text_gpuh(c, j->used_guaranteed_rums + j->attempt_guaranteed_rums),
				     text_gpuh(c, j->used_loan_rums + j->attempt_loan_rums),
				     text_gpuh(c, j->refunded_rums), text_gpuh(c, j->held_rums)));
}

int cmd_job_show(struct ctl *c, const struct call *call)
{
	for (size_t i = 0; i < call->args_n; i++) {
		struct job_name name;
		struct job_view v;
		int r = job_look(c, call->args[i], &v, &name, "read the job");

		if (r)
			return r;
		if (call_has(call, "script")) {
			r = script_print(c, &v);
			if (r)
				return r;
			continue;
		}
		if (c->json) {
			json_t *item = json_of(&schema_job_view, &v);

			json_fix_job(item, &v);
			json_object_set_new(item, "nodes", json_string(job_nodes(c, &v)));
			json_payload(c, &v, item);
			r = json_item(c, "job", c->seq, item);
			if (r)
				return r;
			continue;
		}
		if (i)
			fputc('\n', c->out);
		job_print(c, &v);
	}
	return 0;
}

/* ---- explain --------------------------------------------------------------------------------- */

/* What the submitter wrote and sluis keeps without effect, from the job's payload. */
static void kept_from_payload(struct ctl *c, const struct job_view *v, struct view_explain *ex)
{
	struct payload payload = {0};

	if (ex->kept_n || !job_payload(c, v, &payload)) /* only an addition: without it the rest of the answer stands */
		return;
	ex->kept = payload.kept;
	ex->kept_n = payload.kept_n;
}

/* "██████▓▓░  501 own quota is full 52m · 701 others are before it 6m" */
static void print_spans(struct ctl *c, const struct view_explain *v)
{
	static const char *const shades[] = {"█", "▓", "▒", "░"}, *const letters[] = {"#", "=", "-", "."};
	const char *const *marks = c->ascii ? letters : shades;
	CLEANUP(buf_done) struct buf bar = BUF_INIT, words = BUF_INIT, lines = BUF_INIT;
	char *text;
	int64_t all = 0;
	int64_t at = 0;

	for (uint32_t i = 0; i < v->reasons_n; i++)
		all += v->reasons[i].elapsed_ms > 0 ? v->reasons[i].elapsed_ms : 0;
	if (all <= 0)
		return;
	for (uint32_t i = 0; i < v->reasons_n; i++) {
		const struct reason_view *r = &v->reasons[i];
		int64_t cells = r->elapsed_ms > 0 ? r->elapsed_ms / ((all + 19) / 20) : 0;

		if (r->elapsed_ms <= 0)
			continue;
		for (int64_t k = 0; k < (cells ? cells : 1) && at < 20; k++, at++)
			buf_addf(&bar, "%s", marks[i % 4]);
		buf_addf(&words, "%s%u %s %s", words.len ? (c->ascii ? " / " : " · ") : "", r->code, r->text,
			 text_age(c, r->elapsed_ms));
		buf_addf(&lines, "%s%u %s %s", lines.len ? "\n" : "", r->code, text_safe(c, r->text), text_age(c, r->elapsed_ms));
	}
	if (!c->tty || c->wide || 12 + at + (int64_t)words.len <= c->columns) {
		fprintf(c->out, "  so far  %s  %s\n", buf_cstr(&bar), text_safe(c, buf_cstr(&words)));
		return;
	}
	text = arena_copy(&c->arena, buf_cstr(&lines), lines.len + 1); /* too narrow: a line for each reason */
	fold_line(c, (size_t)(12 + at), text_f(c, "  so far  %s  %s", buf_cstr(&bar), strsep(&text, "\n")));
	while (text)
		fold_line(c, (size_t)(12 + at), text_f(c, "%*s%s", (int)(12 + at), "", strsep(&text, "\n")));
}

/* Nobody can tell when it starts: what has to happen first, of what is sure. */
static const char *starts_when(struct ctl *c, const struct job_view *v)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	const struct job_spec *s = &v->job.spec;

	switch (v->reason) {
	case REASON_HELD_USER: return text_f(c, "once it is released: sluisctl job release %" PRIu64, v->job.id);
	case REASON_HELD_ADMIN: return "once an admin releases it";
	case REASON_FROZEN: return text_f(c, "once its project goes on: sluisctl project show %s", text_path_last(v->project));
	case REASON_STAGE:
	case REASON_STAGE_EXHAUSTED:
	case REASON_HOLD_TOO_LARGE:
		return text_f(c, "once an open stage of its grant covers it: sluisctl project show %s", text_path_last(v->project));
	case REASON_DEPENDENCY:
		for (uint32_t i = 0; i < s->deps_n; i++)
			if (s->deps[i].type != DEP_SINGLETON)
				buf_addf(&b, "%s %" PRIu64, b.len ? "" : ": sluisctl queue --all", s->deps[i].job);
		return text_f(c, "once the jobs it depends on have come so far%s", b.len ? buf_cstr(&b) : "");
	case REASON_NODES_OUT: return "once nodes are back: sluisctl node list";
	case REASON_SAFE_MODE: return "once safe mode is left: sluisctl cluster health";
	default: return "no estimate: nothing whose end is known lets it start";
	}
}

static void explain_waiting(struct ctl *c, const struct view_explain *v, const struct job_view *j)
{
	for (uint32_t i = 0; i < v->reasons_n; i++)
		if (v->reasons[i].blocking)
			fprintf(c->out, "  now     %u  %s\n", v->reasons[i].code, text_safe(c, v->reasons[i].text));
	print_spans(c, v);
	if (v->ahead)
		fprintf(c->out, "  ahead   %u %s, the first is %" PRIu64 "\n", v->ahead, text_plural(v->ahead, "job", "jobs"),
			v->ahead_first);
	else
		fputs("  ahead   nobody\n", c->out);
	if (j->job.promised_ms)
		fprintf(c->out, "  promise by %s\n", text_time(c, j->job.promised_ms));
	if (j->job.promise_broken)
		fprintf(c->out, "  broken  %u  the promise before: %s\n", j->job.promise_broken,
			reason_text(j->job.promise_broken));
	fprintf(c->out, "  starts  %s\n", strcmp(job_starts(c, j), "-") != 0 ? job_starts(c, j) : text_safe(c, starts_when(c, j)));
	if (v->changes_n)
		fputs("\n  would start it now (each checked against the live state):\n", c->out);
	for (uint32_t i = 0; i < v->changes_n; i++)
		fprintf(c->out, "    %-34s %s\n", text_safe(c, v->changes[i].option), text_safe(c, v->changes[i].effect));
	if (!v->changes_n)
		fputs("\n  no single change of flavor, size, time or loan would start it now\n", c->out);
}

static void explain_job(struct ctl *c, const struct view_explain *v)
{
	const struct job_view *j = &v->jobs[0];
	char limit[UNITS_TEXT_BYTES];

	fold_line(c, 6, text_f(c, "job %s  %s   %s, %s, %s, %s, %s", job_title(c, j), job_label(c, j), job_size(c, j),
			       units_slurm_time_print(limit, j->job.spec.time_limit_ms), text_path_last(j->project), j->job.user,
			       waits(j) ? text_f(c, "waiting %s", text_age(c, v->t_ms - j->job.submit_ms)) : j->state_long));
	fputc('\n', c->out);
	if (waits(j)) {
		explain_waiting(c, v, j);
	} else if (job_terminal(j->job.state)) {
		fprintf(c->out, "  ended   %s, cause %s: %s\n", text_time(c, j->job.end_ms), end_cause_name(j->job.end_cause),
			text_safe(c, how_ended(c, j)));
		if (j->nodes[0])
			fprintf(c->out, "  ran     on %s since %s\n", text_safe(c, text_nodes(c, job_nodes(c, j))),
				text_time(c, j->job.start_ms));
		fprintf(c->out, "  charged %s GPU-hours guaranteed, %s on loan, %s refunded\n",
			text_gpuh(c, j->job.used_guaranteed_rums), text_gpuh(c, j->job.used_loan_rums),
			text_gpuh(c, j->job.refunded_rums));
	} else {
		fprintf(c->out, "  now     %s; on %s%s%s\n", text_safe(c, job_why(c, j)), text_nodes(c, j->nodes),
			j->job.start_ms ? " since " : "", j->job.start_ms ? text_time(c, j->job.start_ms) : "");
		if (j->loan && !j->recall_at_ms)
			fprintf(c->out, "  loan    its lenders may take it back, %s after they ask\n",
				text_age(c, j->job.spec.notice_ms));
		print_spans(c, v);
	}
	for (uint32_t i = 0; i < v->kept_n; i++)
		fprintf(c->out, "%s%s\n", i ? "                           " : "\n  kept but without effect: ",
			text_safe(c, v->kept[i].s));
}

int cmd_explain(struct ctl *c, const struct call *call)
{
	const char *what = call->args[0];
	struct query q = {.type = QUERY_EXPLAIN};
	struct view_explain v = {0};
	struct job_view job;
	struct job_name name;
	struct err err = {0};
	int r;

	if (!strncmp(what, "lease-", 6)) {
		if (lease_name_parse(what, &q.id, &err)) {
			(void)fault(c, &err, NULL);
			return EXIT_USAGE;
		}
		snprintf(q.name, sizeof q.name, "lease");
	} else if (job_name_parse(what, &name, NULL)) {
		return node_print(c, what); /* no number: a node */
	} else {
		q.id = name.id;
		if (name.index >= 0) {
			r = job_look(c, what, &job, &name, "explain the job");
			if (r)
				return r;
			q.id = name.id;
		}
	}
	r = ask(c, &q, &v, text_f(c, "explain %s", text_safe(c, what)));
	if (r)
		return r;
	if (v.jobs_n)
		kept_from_payload(c, &v.jobs[0], &v);
	if (c->json)
		return json_item(c, "explain", v.seq, json_of(&schema_view_explain, &v));
	if (v.jobs_n)
		explain_job(c, &v);
	if (v.leases_n) {
		lease_print(c, &v.leases[0], v.seq, v.t_ms);
		print_spans(c, &v);
	}
	for (uint32_t i = 0; i < v.breaches_n; i++) {
		const struct breach_view *b = &v.breaches[i];
		const char *who = text_f(c, "%s-%" PRIu64, v.leases_n ? "lease" : "job", q.id);

		if (!strcmp(b->owner, who))
			fprintf(c->out, "  late      claim %" PRIu64 ", due %s, came %s later: %s%s%s%s%s\n", b->breach.claim,
				text_time(c, b->breach.due_ms), text_age(c, b->breach.late_ms), b->cause,
				b->victim[0] ? ", " : "", b->victim, b->node[0] ? " on " : "", text_safe(c, b->node));
	}
	return 0;
}

/* ---- ending and changing --------------------------------------------------------------------- */

static int control(struct ctl *c, uint16_t type, const char *text, bool now, const char *verb, const char *did)
{
	struct cmd_job_control body = {.now = now};
	struct client_reply reply = {0};
	struct job_name name;
	int r = parse_job(c, text, &name);

	if (r)
		return r;
	if (name.index >= 0) {
		struct job_view v;

		r = job_look(c, text, &v, &name, verb);
		if (r)
			return r;
	}
	body.job = name.id;
	if (OPT_COPY(c, "--reason", c->reason, body.reason))
		return EXIT_USAGE;
	r = tell(c, type, &body, (struct bytes){0}, &reply, text_f(c, "%s job %s", verb, text));
	if (!r && type == CMD_JOB_CANCEL && job_terminal(reply.result.state))
		return done_line(c, "job_cancel", &reply, "job %s has ended already: %s", text,
				 job_state_name(reply.result.state));
	return r ? r : done_line(c, text_f(c, "job_%s", verb), &reply, "%s job %s", did, text);
}

static int control_all(struct ctl *c, const struct call *call, uint16_t type, const char *verb, const char *did)
{
	int worst = 0;

	for (size_t i = 0; i < call->args_n; i++) {
		int r = control(c, type, call->args[i], false, verb, did);

		worst = r ? r : worst;
	}
	return worst;
}

static int signal_job(struct ctl *c, const char *text, int signo)
{
	struct query q = {.type = QUERY_SIGNAL, .signal = (uint8_t)signo};
	struct view_text v = {0};
	struct job_view job;
	struct job_name name;
	int r = job_look(c, text, &job, &name, "signal the job");

	if (r)
		return r;
	q.id = name.id;
	r = ask(c, &q, &v, text_f(c, "signal job %s", text));
	if (r)
		return r;
	if (c->json)
		return json_item(c, "job_signal", v.seq, json_of(&schema_view_text, &v));
	if (!c->quiet)
		fprintf(c->out, "sent %s to job %s%s%s\n", signal_text(signo), text, v.text[0] ? ": " : "",
			text_safe(c, v.text));
	return 0;
}

static int signal_opt(struct ctl *c, const char *value, int *ret)
{
	*ret = value ? signal_number(value) : 0;
	if (*ret)
		return 0;
	try_next(c, "--signal USR1");
	return usage_fault(c, value ? "--signal: '%s' is no signal" : "which signal?%s", value ? value : "");
}

static int cancel_mine(struct ctl *c, const struct call *call)
{
	struct query q = {.type = QUERY_JOBS, .mine = true};
	struct view_jobs v = {0};
	int r = 0, worst = 0;

	if (states_parse(c, call_get(call, "state"), &q.state_mask))
		return EXIT_USAGE;
	r = ask(c, &q, &v, "read your jobs");
	if (r)
		return r;
	for (uint32_t i = 0; i < v.items_n; i++) {
		if (v.items[i].job.array || job_terminal(v.items[i].job.state))
			continue; /* an array ends its children */
		r = control(c, CMD_JOB_CANCEL, text_f(c, "%" PRIu64, v.items[i].job.id), call_has(call, "now"), "cancel",
			    "cancelled");
		worst = r ? r : worst;
	}
	return worst;
}

int cmd_cancel(struct ctl *c, const struct call *call)
{
	int worst = 0, signo = 0;

	if (call_has(call, "signal") && signal_opt(c, call_get(call, "signal"), &signo))
		return EXIT_USAGE;
	if (call_has(call, "me") && !call->args_n && !signo)
		return cancel_mine(c, call);
	if (!call->args_n) {
		try_next(c, "sluisctl cancel JOB, or sluisctl cancel --me");
		return usage_fault(c, "cancel: which job?");
	}
	for (size_t i = 0; i < call->args_n; i++) {
		int r = signo ? signal_job(c, call->args[i], signo)
			      : control(c, CMD_JOB_CANCEL, call->args[i], call_has(call, "now"), "cancel", "cancelled");

		worst = r ? r : worst;
	}
	return worst;
}

int cmd_job_signal(struct ctl *c, const struct call *call)
{
	int signo = 0;

	if (signal_opt(c, call_get(call, "signal"), &signo))
		return EXIT_USAGE;
	return signal_job(c, call->args[0], signo);
}

int cmd_job_hold(struct ctl *c, const struct call *call) { return control_all(c, call, CMD_JOB_HOLD, "hold", "holding"); }

int cmd_job_release(struct ctl *c, const struct call *call)
{
	return control_all(c, call, CMD_JOB_RELEASE, "release", "released");
}

int cmd_job_requeue(struct ctl *c, const struct call *call)
{
	return control_all(c, call, CMD_JOB_REQUEUE, "requeue", "requeued");
}

int cmd_job_update(struct ctl *c, const struct call *call)
{
	struct cmd_job_update body = {0};
	struct client_reply reply = {0};
	struct job_name name;
	struct job_view v;
	int klass = -1, loan = -1, r;

	if (!call->values_n) {
		try_next(c, "--time, --class, --loan, --name, --deadline or --reservation");
		return usage_fault(c, "job update: nothing to change");
	}
	if (opt_job_time(c, call, "time", &body.time_limit_ms) || opt_instant(c, call, "deadline", &body.deadline_ms) ||
	    opt_word(c, call, "class", job_class_names, &klass) || opt_word(c, call, "loan", job_loan_names, &loan) ||
	    OPT_COPY(c, "--name", call_get(call, "name"), body.name) ||
	    OPT_COPY(c, "--reservation", call_get(call, "reservation"), body.reservation))
		return EXIT_USAGE;
	body.klass_plus1 = (uint8_t)(klass + 1);
	body.loan_plus1 = (uint8_t)(loan + 1);
	r = job_look(c, call->args[0], &v, &name, "update the job");
	if (r)
		return r;
	body.job = name.id;
	r = tell(c, CMD_JOB_UPDATE, &body, (struct bytes){0}, &reply, text_f(c, "update job %s", call->args[0]));
	return r ? r : done_line(c, "job_update", &reply, "updated job %s", call->args[0]);
}

int cmd_job_checkpointed(struct ctl *c, const struct call *call)
{
	const char *job = call->args_n ? call->args[0] : getenv("SLUIS_JOB_ID"), *hash = call_get(call, "hash");
	struct cmd_job_checkpointed body = {0};
	struct client_reply reply = {0};
	struct job_name name;
	int64_t step = 0;
	int r;

	if (!job) {
		try_next(c, "sluisctl job checkpointed JOB (inside a job $SLUIS_JOB_ID says which)");
		return usage_fault(c, "job checkpointed: which job?");
	}
	if (parse_job(c, job, &name) || opt_count(c, call, "step", 0, INT64_MAX, &step))
		return EXIT_USAGE;
	for (size_t i = 0; hash && i < 32; i++) {
		unsigned byte;
		int used = 0;

		if (strlen(hash) != 64 || sscanf(hash + 2 * i, "%2x%n", &byte, &used) != 1 || used != 2) {
			try_next(c, "--hash with the 64 hex digits that sha256sum prints");
			return usage_fault(c, "--hash: '%.70s' is no SHA-256", hash);
		}
		body.hash[i] = (uint8_t)byte;
	}
	body.job = name.id;
	body.step = (uint64_t)step;
	r = tell(c, CMD_JOB_CHECKPOINTED, &body, (struct bytes){0}, &reply, "report the checkpoint");
	return r ? r : done_line(c, "job_checkpointed", &reply, "checkpoint of job %s noted, step %" PRId64, job, step);
}

/* ---- output ---------------------------------------------------------------------------------- */

/* Ask for the next piece and hand it to `out`; moves q->offset behind it. */
static int output_piece(struct ctl *c, struct query *q, struct buf *out, int64_t *ret_size, bool *ret_ended,
			struct err *err)
{
	struct arena keep = scratch_begin(c);
	struct view_output v = {0};
	int r = ask_err(c, q, &v, c->timeout_ms, err);

	if (!r) {
		if (v.data.len)
			buf_add(out, v.data.data, v.data.len);
		q->offset = v.offset + (int64_t)v.data.len;
		*ret_size = v.size;
		*ret_ended = v.ended;
	}
	scratch_end(c, keep);
	return r;
}

/* Where the last `lines` lines begin: read back from the end in growing steps. */
static int tail_offset(struct ctl *c, const struct query *of, int64_t lines, int64_t *ret, struct err *err)
{
	for (int64_t back = 16384;; back *= 4) {
		CLEANUP(buf_done) struct buf b = BUF_INIT;
		struct query q = *of;
		int64_t size = 0, seen = 0, first;
		bool ended = false;
		size_t before, at;

		q.offset = -back;
		do {
			int r = output_piece(c, &q, &b, &size, &ended, err);

			if (r)
				return r;
			before = b.len;
		} while (q.offset < size && !ended && before != 0);
		first = q.offset - (int64_t)b.len;
		for (at = b.len; at > 0; at--) /* a line break that ends the output begins no line */
			if (b.data[at - 1] == '\n' && at != b.len && ++seen == lines)
				break;
		if (lines == 0)
			at = b.len;
		if (seen == lines || first == 0 || back >= TAIL_BYTES_MAX) {
			*ret = first + (int64_t)at;
			return 0;
		}
	}
}

/* The daemon may be away for a while: waiting goes on. */
static bool only_away(int code)
{
	return code == ERR_UNREACHABLE || code == ERR_TIMEOUT || code == ERR_AGAIN;
}

/* Until it runs, or has ended; a status when there is nothing to come. */
static int logs_wait_start(struct ctl *c, uint64_t id)
{
	for (;;) {
		struct arena keep = scratch_begin(c);
		struct query q = {.type = QUERY_JOBS, .id = id, .all = true};
		struct view_jobs v = {0};
		struct err err = {0};
		int r = ask(c, &q, &v, "read the job");
		const struct job_view *j = r ? NULL : row_of(&v, &(struct job_name){.id = id, .index = -1});
		bool later = j && waits(j);

		if (later)
			progress(c, "job %" PRIu64 " %s: %s", id, j->state_long, job_why(c, j));
		if (j && job_terminal(j->job.state) && !j->job.attempt) {
			(void)err_set(&err, ERR_STATE, "job %" PRIu64 " ended before it started: there is no output", id);
			(void)err_hint(&err, "sluisctl explain %" PRIu64, id);
			r = fault(c, &err, NULL);
		}
		scratch_end(c, keep);
		if (!later)
			return r; /* it runs or has ended; or nobody knows it, which the next question tells */
		sleep_ms(POLL_MS);
		if (stop_signal)
			return EXIT_INTERRUPTED;
	}
}

/* Who has the output does not answer. A job that goes on is worth waiting for, and so is sluisd; for one that has
 * ended, the time that an answer may take. `since_ms` is when it was first found so, 0 before. */
static bool output_out_of_reach(struct ctl *c, uint64_t id, int64_t *since_ms)
{
	struct arena keep = scratch_begin(c);
	struct query q = {.type = QUERY_JOBS, .id = id, .all = true};
	struct view_jobs v = {0};
	struct err err = {0};
	const struct job_view *j =
		ask_err(c, &q, &v, c->timeout_ms, &err) ? NULL : row_of(&v, &(struct job_name){.id = id, .index = -1});
	bool ended = j && job_terminal(j->job.state);
	int64_t now_ms = mono_ms(mono_now());

	scratch_end(c, keep);
	if (!ended || !*since_ms)
		*since_ms = ended ? now_ms : 0;
	return ended && now_ms - *since_ms >= c->timeout_ms;
}

int job_logs(struct ctl *c, uint64_t id, uint32_t task, uint32_t attempt, bool err_stream, bool follow, int64_t tail)
{
	struct query q = {.type = QUERY_OUTPUT, .id = id, .task = task, .attempt = attempt, .stream = err_stream,
			  .limit = OUTPUT_BYTES};
	int64_t wait_ms = POLL_FIRST_MS, silent_ms = 0;
	struct err err = {0};
	bool ended = false;
	int r = conn_resolve(c);

	if (!r && follow)
		r = logs_wait_start(c, id);
	progress_end(c);
	if (r)
		return r;
	if (tail >= 0 && tail_offset(c, &q, tail, &q.offset, &err))
		return fault(c, &err, "cannot read the output of job %" PRIu64, id);
	for (;;) {
		CLEANUP(buf_done) struct buf b = BUF_INIT;
		int64_t size = 0;

		r = output_piece(c, &q, &b, &size, &ended, &err);
		if (r == ERR_INTERRUPTED || stop_signal)
			return EXIT_INTERRUPTED;
		if (r == ERR_STATE && follow) { /* it has not started, or not again */
			r = logs_wait_start(c, id);
			progress_end(c);
			if (r)
				return r;
			sleep_ms(POLL_MS);
			continue;
		}
		if (follow && (only_away(r) || r == ERR_BUSY) && !output_out_of_reach(c, id, &silent_ms)) {
			sleep_ms(POLL_MS); /* daemon or agent away: the output waits for us */
			continue;
		}
		if (r)
			return fault(c, &err, "cannot read the output of job %" PRIu64, id);
		silent_ms = 0;
		if (b.len)
			(void)fwrite(b.data, 1, b.len, c->out); /* judged by ferror below */
		fflush(c->out);
		if (ferror(c->out))
			return EXIT_OTHER;
		if (b.len && !(ended && q.offset >= size)) {
			wait_ms = POLL_FIRST_MS;
			continue;
		}
		if (ended || !follow)
			return 0;
		sleep_ms(wait_ms);
		wait_ms = wait_ms * 2 > POLL_MS ? POLL_MS : wait_ms * 2;
	}
}

int cmd_logs(struct ctl *c, const struct call *call)
{
	int64_t tail = -1, attempt = 0;
	struct job_name name;
	struct job_view v;
	int r;

	if (opt_count(c, call, "tail", 0, 1000000, &tail) || opt_count(c, call, "attempt", 1, UINT32_MAX, &attempt))
		return EXIT_USAGE;
	r = job_look(c, call->args[0], &v, &name, "read the job");
	if (r)
		return r;
	if (v.job.spec.array_step && !v.job.array) {
		struct err err = {0};

		(void)err_set(&err, ERR_STATE, "%s is an array: each of its jobs has its own output", call->args[0]);
		(void)err_hint(&err, "sluisctl logs %" PRIu64 "_%u", v.job.id, v.job.spec.array_first);
		return fault(c, &err, NULL);
	}
	if (job_terminal(v.job.state) && !v.job.attempt) {
		struct err err = {0};

		(void)err_set(&err, ERR_STATE, "job %s ended before it started: there is no output", call->args[0]);
		(void)err_hint(&err, "sluisctl explain %s", call->args[0]);
		return fault(c, &err, NULL);
	}
	if (attempt > v.job.attempt && v.job.attempt) {
		struct err err = {0};

		(void)err_set(&err, ERR_NOTFOUND, "job %s has had %u %s, no attempt %" PRId64, call->args[0], v.job.attempt,
			      text_plural(v.job.attempt, "attempt", "attempts"), attempt);
		(void)err_hint(&err, "--attempt %u is the last", v.job.attempt);
		return fault(c, &err, NULL);
	}
	if (waits(&v) && !v.job.attempt && !call_has(call, "follow")) {
		struct err err = {0};

		(void)err_set(&err, ERR_STATE, "job %s has not started: there is no output yet", call->args[0]);
		(void)err_hint(&err, "sluisctl logs -f %s waits for it; sluisctl explain %s says why", call->args[0],
			       call->args[0]);
		return fault(c, &err, NULL);
	}
	stop_catch();
	return job_logs(c, name.id, name.task < 0 ? 0 : (uint32_t)name.task, (uint32_t)attempt, call_has(call, "err"),
			call_has(call, "follow"), tail);
}

/* ---- waiting --------------------------------------------------------------------------------- */

int job_exit_status(const struct job_view *v)
{
	const struct job *j = &v->job;

	if (j->state == JOB_COMPLETED)
		return 0;
	if (j->exit_signal)
		return 128 + j->exit_signal;
	return j->exit_code > 0 && j->exit_code < 256 ? j->exit_code : EXIT_OTHER;
}

enum { FOR_DONE, FOR_RUNNING, FOR_ACTIVE, FOR_STATE };
struct waited { bool lease; uint64_t id; int status; bool done; };

/* What kept it from running at all, if its end says so: behind "ended on h2: ". */
static const char *end_detail(const struct job *j)
{
	const char *at = strstr(j->end_text, ": ");

	return j->state != JOB_COMPLETED && at ? at : "";
}

static const char *job_now(struct ctl *c, const struct job_view *v)
{
	const struct job *j = &v->job;

	if (job_terminal(j->state))
		return text_f(c, "job %s %s, exit %d%s", job_title(c, v), v->state_long, job_exit_status(v),
			      text_safe(c, end_detail(j)));
	if (runs(v))
		return text_f(c, "job %s %s%s%s%s%s", job_title(c, v), v->state_long, v->nodes[0] ? " on " : "", text_nodes(c, v->nodes),
			      j->start_ms ? " since " : "", j->start_ms ? text_time(c, j->start_ms) : "");
	return text_f(c, "job %s %s: %s%s%s", job_title(c, v), v->state_long, job_why(c, v),
		      v->start_p50_ms ? "; p50 " : "", v->start_p50_ms ? text_time(c, v->start_p50_ms) : "");
}

/* One look; w->done when the state is reached. An error code when it never will be, or nobody answers. */
static int look_job(struct ctl *c, struct waited *w, int what, uint32_t mask, struct err *err)
{
	struct query q = {.type = QUERY_JOBS, .id = w->id, .all = true};
	struct view_jobs v = {0};
	const struct job_view *j = NULL;
	int r = ask_err(c, &q, &v, c->timeout_ms, err);

	if (r)
		return r;
	for (uint32_t i = 0; i < v.items_n; i++)
		if (v.items[i].job.id == w->id)
			j = &v.items[i];
	if (!j) {
		(void)err_set(err, ERR_NOTFOUND, "there is no job %" PRIu64, w->id);
		return err_hint(err, "sluisctl queue --all");
	}
	if (what == FOR_STATE && (mask & UINT32_C(1) << j->job.state))
		w->done = true;
	if ((what == FOR_RUNNING || what == FOR_ACTIVE) && j->job.state == JOB_RUNNING)
		w->done = true;
	if (job_terminal(j->job.state)) {
		if (!w->done && what != FOR_DONE) {
			(void)err_set(err, ERR_STATE, "%s: it will not come to that state", job_now(c, j));
			return err_hint(err, "sluisctl explain %" PRIu64, w->id);
		}
		w->done = true;
		w->status = what == FOR_DONE ? job_exit_status(j) : 0;
	}
	if (!w->done)
		progress(c, "%s", job_now(c, j));
	if (w->done) {
		progress_end(c);
		if (!c->quiet && !c->json)
			fprintf(c->out, "%s\n", job_now(c, j));
		if (c->json) {
			json_t *item = json_of(&schema_job_view, j);

			json_fix_job(item, j);
			json_object_set_new(item, "exit_status", json_integer(job_exit_status(j)));
			(void)json_item(c, "job", v.seq, item);
		}
	}
	return 0;
}

static int look_lease(struct ctl *c, struct waited *w, int what, const char *state, struct err *err)
{
	struct query q = {.type = QUERY_LEASES, .id = w->id, .all = true};
	struct view_leases v = {0};
	const struct lease_view *l;
	int r = ask_err(c, &q, &v, c->timeout_ms, err);
	bool over;

	if (r)
		return r;
	if (!v.items_n) {
		(void)err_set(err, ERR_NOTFOUND, "there is no lease %" PRIu64, w->id);
		return err_hint(err, "sluisctl lease list --all");
	}
	l = &v.items[0];
	over = lease_terminal(l->lease.state);
	if (what == FOR_STATE)
		w->done = !strcmp(l->state, state);
	else if (what == FOR_DONE)
		w->done = over;
	else
		w->done = l->lease.state == LEASE_ACTIVE && l->units_here >= l->lease.spec.units;
	if (over && !w->done) {
		(void)err_set(err, ERR_STATE, "lease %" PRIu64 " is %s: %s", w->id, l->state, l->lease.end_reason);
		return err_hint(err, "sluisctl lease request --like %" PRIu64, w->id);
	}
	if (!w->done)
		progress(c, "lease %" PRIu64 " %s, %u of %u here%s%s", w->id, l->state, l->units_here, l->lease.spec.units,
			 l->reason ? ": " : "", l->reason_text);
	if (w->done) {
		progress_end(c);
		if (!c->quiet && !c->json)
			fprintf(c->out, "lease %" PRIu64 " %s, %u of %u here\n", w->id, l->state, l->units_here,
				l->lease.spec.units);
		if (c->json) {
			json_t *item = json_of(&schema_lease_view, l);

			json_fix_lease(item, l);
			(void)json_item(c, "lease", v.seq, item);
		}
	}
	return 0;
}

static int wait_loop(struct ctl *c, struct waited *w, size_t n, int what, uint32_t mask, const char *state,
		     int64_t limit_ms)
{
	int64_t start = mono_ms(mono_now()), pause = POLL_FIRST_MS;

	stop_catch();
	for (;;) {
		bool all = true;

		for (size_t i = 0; i < n; i++) {
			struct arena keep = scratch_begin(c);
			struct err err = {0};
			int r = w[i].done ? 0
				: w[i].lease ? look_lease(c, &w[i], what, state, &err)
					     : look_job(c, &w[i], what, mask, &err);

			scratch_end(c, keep);
			if (r == ERR_INTERRUPTED || stop_signal)
				break;
			if (only_away(r))
				progress(c, "sluisd does not answer; still waiting");
			else if (r)
				return fault(c, &err, "cannot wait");
			all &= w[i].done;
		}
		if (stop_signal) {
			progress_end(c);
			fprintf(c->errs, "stopped waiting; the request stands: sluisctl wait %s%" PRIu64 "\n",
				w[0].lease ? "lease-" : "", w[0].id);
			return EXIT_INTERRUPTED;
		}
		if (all)
			return w[0].status;
		if (limit_ms && mono_ms(mono_now()) - start >= limit_ms) {
			progress_end(c);
			fprintf(c->errs, "sluisctl: still waiting after %s; the request stands\n  %-7s sluisctl explain %s%" PRIu64
					 "\n", text_age(c, limit_ms), "try", w[0].lease ? "lease-" : "", w[0].id);
			return EXIT_TIMEOUT;
		}
		if (limit_ms && pause > limit_ms - (mono_ms(mono_now()) - start))
			pause = limit_ms - (mono_ms(mono_now()) - start);
		sleep_ms(pause > 10 ? pause : 10);
		pause = pause * 2 > POLL_MS ? POLL_MS : pause * 2;
	}
}

static bool lease_state_word(const char *word)
{
	for (int i = 0; lease_state_names[i]; i++)
		if (!strcmp(lease_state_names[i], word))
			return true;
	return false;
}

int cmd_wait(struct ctl *c, const struct call *call)
{
	const char *what = call_get(call, "for") ? call_get(call, "for") : "done";
	struct waited *w = arena_alloc(&c->arena, call->args_n * sizeof *w);
	int64_t limit_ms = 0;
	uint32_t mask = 0;
	struct err err = {0};
	int kind, r;

	kind = !strcmp(what, "done")      ? FOR_DONE
	       : !strcmp(what, "running") ? FOR_RUNNING
	       : !strcmp(what, "active")  ? FOR_ACTIVE
					  : FOR_STATE;
	if (opt_duration(c, call, "timeout", &limit_ms))
		return EXIT_USAGE;
	if (kind == FOR_STATE && !state_bit(what, &mask) && !lease_state_word(what))
		return states_parse(c, what, &mask); /* says which there are */
	r = conn_resolve(c);
	if (r)
		return r;
	for (size_t i = 0; i < call->args_n; i++) {
		struct job_name name;
		struct job_view v;

		if (!strncmp(call->args[i], "lease-", 6)) {
			w[i].lease = true;
			if (lease_name_parse(call->args[i], &w[i].id, &err)) {
				(void)fault(c, &err, NULL);
				return EXIT_USAGE;
			}
			continue;
		}
		r = job_look(c, call->args[i], &v, &name, "read the job");
		if (r)
			return r;
		w[i].id = name.id;
	}
	r = wait_loop(c, w, call->args_n, kind, mask, what, limit_ms);
	for (size_t i = 1; !r && i < call->args_n; i++)
		r = w[i].status ? EXIT_OTHER : 0; /* of several jobs the status says only whether all did well */
	return r;
}

int job_wait_end(struct ctl *c, uint64_t id, int64_t limit_ms, int *ret_status)
{
	struct waited w = {.id = id};
	int r = wait_loop(c, &w, 1, FOR_DONE, 0, "", limit_ms);

	*ret_status = w.status;
	return r;
}
