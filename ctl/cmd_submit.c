/* cmd_submit.c - submit: from a script or command, its options and the environment to a job */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "ctl/cmd.h"
#include "ctl/submit.h"
#include "proto/base/ensure.h"
#include "proto/base/sha256.h"
#include "proto/config/units.h"

extern char **environ;

/* What was typed, taken apart. */
struct typed {
	struct directive *options;
	size_t options_n;
	const char *file;        /* script, "-" for standard input; NULL: a command */
	const char *const *argv; /* the script's arguments, or the command */
	size_t argv_n;
	const char *text;        /* of the script */
};

static int take_apart(struct ctl *c, const struct call *call, struct typed *t)
{
	struct conf_texts words = {.items = call->args, .count = call->args_n};
	size_t at;

	t->options = arena_alloc(&c->arena, (2 * call->args_n + 1) * sizeof *t->options);
	at = options_from_words(&words, 0, FROM_COMMAND, &c->arena, t->options, 2 * call->args_n + 1, &t->options_n);
	t->argv = call->args + at;
	t->argv_n = call->args_n - at;
	if (at && !strcmp(call->args[at - 1], "--") && t->argv_n)
		return 0;
	if (t->argv_n) {
		t->file = t->argv[0];
		t->argv++;
		t->argv_n--;
	}
	return 0;
}

/* A mistyped option leaves its value standing where the script should: tell the option, not the value. */
static int known_options(struct ctl *c, const struct typed *t)
{
	for (size_t i = 0; i < t->options_n; i++) {
		const char *name = t->options[i].name;
		const char *near = job_option_nearest(name);

		if (job_option_find(name))
			continue;
		try_next(c, near ? "--%s" : "sluisctl help submit%s", near ? near : "");
		return usage_fault(c, "'%s%s': unknown option of submit", name[1] ? "--" : "-", name);
	}
	return 0;
}

static int read_script(struct ctl *c, struct typed *t, struct directives *d)
{
	CLEANUP(config_errors_done) struct config_errors errs = CONFIG_ERRORS_INIT;
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	const char *name = !strcmp(t->file, "-") ? "stdin" : t->file;
	struct err err = {0};
	int r = read_whole(t->file, SCRIPT_BYTES_MAX + 1, &b, &err);

	if (r == ERR_NOTFOUND) {
		try_next(c, "sluisctl submit -- %s, if it is a command", t->file);
		return fault(c, &err, "cannot submit %s", t->file);
	}
	if (r)
		return fault(c, &err, "cannot submit %s", t->file);
	if (directives_read(name, b.data ? (const void *)b.data : "", b.len, d, &errs))
		return config_fault(c, &errs);
	t->text = arena_copy(&c->arena, buf_cstr(&b), b.len + 1);
	return 0;
}

static int resolve(struct ctl *c, const struct typed *t, struct directives *d, struct job_options *o)
{
	CLEANUP(config_errors_done) struct config_errors errs = CONFIG_ERRORS_INIT;
	char *const *env = submission_precedence(t->file ? d : NULL, environ, t->options, t->options_n, &c->arena);

	if (directives_resolve(o, t->file ? d : NULL, env, false, t->options, t->options_n, &errs))
		return config_fault(c, &errs);
	if (!o->project && c->project[0])
		o->project = c->project;
	return 0;
}

static int make(struct ctl *c, const struct typed *t, const struct job_options *o, struct submission *sub)
{
	struct query q = {.type = QUERY_DIVISION};
	struct view_division division = {0};
	bool ask_division = submission_needs_division(o);
	const char *script = t->text;
	struct err err = {0};
	char cwd[4096];
	int r = 0;

	if (o->project && ask_division)
		r = ask(c, &q, &division, "read the division");
	if (r)
		return r;
	if (!getcwd(cwd, sizeof cwd))
		snprintf(cwd, sizeof cwd, "/");
	if (o->wrap)
		script = text_f(c, "#!/bin/sh\n%s\n", o->wrap);
	if (submission_fill(o, script, t->file, t->argv, t->argv_n, environ,
			    arena_copy(&c->arena, cwd, strlen(cwd) + 1), ask_division ? &division : NULL, &c->arena, sub,
			    &err)) {
		r = fault(c, &err, "cannot submit %s", t->file ? t->file : t->argv_n ? t->argv[0] : "the job");
		return err.code == ERR_UNSUPPORTED || err.code == ERR_CONFLICT ? EXIT_USAGE : r;
	}
	return 0;
}

/* What a script calls and finds on no node: a job step of Slurm. Told, not refused: a site may have a program of this
 * name, and a script may ask before it calls. `line` is at the beginning of one. */
static bool calls_srun(const char *line)
{
	size_t n;

	for (;;) {
		line += strspn(line, " \t");
		n = strcspn(line, " \t\r\n;|&");
		if (n == strlen("srun") && !strncmp(line, "srun", n))
			return true;
		/* NAME=VALUE, exec and time may stand before a command */
		if (!memchr(line, '=', n) && !(n == 4 && (!strncmp(line, "exec", n) || !strncmp(line, "time", n))))
			return false;
		line += n;
	}
}

static void note_srun(struct ctl *c, const struct typed *t)
{
	unsigned int at = 1;

	for (const char *line = t->text; line && *line; at++) {
		if (calls_srun(line)) {
			fprintf(c->errs, "%s:%u: srun: there are no job steps here: a script runs once, on the first node\n"
					 "  try     sluisctl submit [OPTIONS] -- COMMAND runs it in every task; mpirun finds the nodes\n",
				text_safe(c, t->file), at);
			return;
		}
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
}

/* The job as the daemon sees it a moment later; only for the estimate, so failing is no failure. */
static bool look_again(struct ctl *c, uint64_t id, struct job_view *ret)
{
	struct query q = {.type = QUERY_JOBS, .id = id, .all = true};
	struct view_jobs v = {0};
	struct err err = {0};

	if (c->dry_run || c->quiet || !id || ask_err(c, &q, &v, c->timeout_ms, &err) || !v.items_n)
		return false;
	*ret = v.items[0];
	return true;
}

static int print_json(struct ctl *c, const struct client_reply *reply, const struct submission *sub,
		      const struct job_view *v)
{
	json_t *item = v ? json_of(&schema_job_view, v) : json_object(), *kept = json_array();

	if (v)
		json_fix_job(item, v);
	json_object_set_new(item, "id", json_integer((json_int_t)reply->result.id));
	json_object_set_new(item, "project", json_string(reply->result.text));
	json_object_set_new(item, "hold_rums", json_integer(reply->result.hold_rums));
	json_object_set_new(item, "left_rums",
			    reply->result.left_rums < 0 ? json_null() : json_integer(reply->result.left_rums));
	for (uint32_t i = 0; i < sub->payload.kept_n; i++)
		json_array_append_new(kept, json_string(sub->kept[i].s));
	json_object_set_new(item, "ignored", kept);
	json_object_set_new(item, "dry_run", json_boolean(c->dry_run));
	return json_item(c, "job_submitted", reply->seq, item);
}

/* With --follow the answer is the job's output, so the rest goes beside it. */
static void print_text(struct ctl *c, FILE *out, const struct client_reply *reply, const struct submission *sub,
		       const struct job_view *v)
{
	const struct job_spec *s = &sub->cmd.spec;
	char limit[UNITS_TEXT_BYTES];
	const char *time = s->time_limit_ms ? units_slurm_time_print(limit, s->time_limit_ms)
			   : v              ? units_slurm_time_print(limit, v->job.spec.time_limit_ms)
					    : "default time";

	fprintf(out, "%s job %" PRIu64 " (%s, %s%s, %s, project %s)\n", c->dry_run ? "would submit" : "submitted",
		reply->result.id, text_safe(c, s->name), text_size(c, s->shape, s->units, s->per_node, sub->cmd.flavor),
		s->array_step ? text_f(c, " x %u", (s->array_last - s->array_first) / s->array_step + 1) : "", time, reply->result.text[0] ? text_path_last(reply->result.text) : sub->cmd.project);
	if (reply->result.left_rums >= 0 && reply->result.hold_rums > 0)
		fprintf(out, "holds %s GPU-hours when it starts (%s left)", text_gpuh(c, reply->result.hold_rums),
			text_gpuh(c, reply->result.left_rums));
	else
		fputs("no budget limits it", out);
	if (v && v->start_p50_ms)
		fprintf(out, "; expected start %s%s%s (p50-p90)", text_time(c, v->start_p50_ms),
			v->start_p90_ms > v->start_p50_ms ? "-" : "",
			v->start_p90_ms > v->start_p50_ms ? text_time(c, v->start_p90_ms) : "");
	else if (v && v->reason)
		fprintf(out, "; waits: %u %s", v->reason, text_safe(c, v->reason_text));
	else if (v)
		fprintf(out, "; %s", v->state_long);
	fputc('\n', out);
	for (uint32_t i = 0; i < sub->payload.kept_n; i++)
		fprintf(c->errs, "kept without effect: %s\n", text_safe(c, sub->kept[i].s));
}

static int send_it(struct ctl *c, const struct typed *t, struct submission *sub, struct client_reply *reply)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	struct sha256 h;

	schema_encode(&schema_payload, &sub->payload, &b);
	if (b.len > PAYLOAD_BYTES_MAX) {
		try_next(c, "--export NONE, or put the data into a file");
		return usage_fault(c, "cannot submit: script, arguments and environment take %zu bytes, at most %d", b.len,
				   PAYLOAD_BYTES_MAX);
	}
	sha256_init(&h);
	sha256_add(&h, b.data, b.len);
	sha256_final(&h, sub->cmd.spec.payload);
	return tell(c, CMD_JOB_SUBMIT, &sub->cmd, (struct bytes){b.data, (uint32_t)b.len}, reply,
		    text_f(c, "submit %s", t->file ? t->file : t->argv_n ? t->argv[0] : "the job"));
}

static int after(struct ctl *c, const struct job_options *o, uint64_t id)
{
	int status = 0, r, unread = 0;

	if (o->follow) {
		stop_catch();
		unread = job_logs(c, id, 0, 0, false, true, -1);
		if (unread == EXIT_INTERRUPTED)
			return unread;
	}
	if (!o->wait && !o->follow)
		return 0;
	r = job_wait_end(c, id, 0, &status);
	return r ? r : status ? status : unread;
}

static int submit(struct ctl *c, const struct call *call, struct typed *t, struct directives *d, struct job_options *o)
{
	static struct submission sub; /* large; one per process */
	struct client_reply reply = {0};
	struct job_view v;
	bool have;
	int r = conn_resolve(c);

	if (!r)
		r = take_apart(c, call, t);
	if (!r)
		r = known_options(c, t);
	if (!r && t->file)
		r = read_script(c, t, d);
	if (!r)
		r = resolve(c, t, d, o);
	if (r)
		return r;
	if (o->help) {
		help_command(c->out, call->cmd);
		return 0;
	}
	if (o->version)
		return cmd_version(c, call);
	if (!t->file && !t->argv_n && !o->wrap) {
		try_next(c, "sluisctl submit [OPTIONS] SCRIPT, or sluisctl submit [OPTIONS] -- COMMAND");
		return usage_fault(c, "submit: neither a script nor a command");
	}
	if (o->wrap && (t->file || t->argv_n)) {
		try_next(c, "one of them: sluisctl submit [OPTIONS] --wrap 'COMMAND', or [OPTIONS] SCRIPT, or [OPTIONS] -- COMMAND");
		return usage_fault(c, "--wrap is the script: %s cannot be another", t->file ? t->file : t->argv[0]);
	}
	if (o->follow && o->array.first != JOB_UNSET) {
		try_next(c, "--wait, and sluisctl logs ARRAY_INDEX");
		return usage_fault(c, "--follow: each job of an array has an output of its own");
	}
	c->quiet |= o->quiet || o->parsable;
	c->dry_run |= o->test_only;
	r = make(c, t, o, &sub);
	if (!r)
		r = send_it(c, t, &sub, &reply);
	if (r)
		return r;
	have = look_again(c, reply.result.id, &v);
	if (c->json)
		r = print_json(c, &reply, &sub, have ? &v : NULL);
	else if (c->quiet)
		fprintf(c->out, "%" PRIu64 "\n", reply.result.id);
	else
		print_text(c, o->follow ? c->errs : c->out, &reply, &sub, have ? &v : NULL);
	if (!c->json && !c->quiet)
		note_srun(c, t);
	fflush(c->out);
	return r || c->dry_run ? r : after(c, o, reply.result.id);
}

int cmd_submit(struct ctl *c, const struct call *call)
{
	struct directives d = {0};
	struct job_options o;
	struct typed t = {0};
	int r;

	job_options_init(&o, c->now_ms);
	r = submit(c, call, &t, &d, &o);
	job_options_done(&o);
	directives_done(&d);
	return r;
}
