/* help.c - what --help, `sluisctl help` and the completion say: commands.def and the tables of reasons and job
 * options, printed */
#include <string.h>

#include "ctl/cmd.h"
#include "proto/base/ensure.h"
#include "proto/config/directives.h"

static const struct { int status; const char *text; } exit_texts[] = {
	{EXIT_DONE, "done; the state asked for is reached"},
	{EXIT_OTHER, "other failure; diff --exit-code: something changes; verify: not intact"},
	{EXIT_USAGE, "usage: unknown flag, bad value, bad line of a script or file"},
	{EXIT_REFUSED, "refused: authority, policy, budget (reasons 2xx, 4xx)"},
	{EXIT_NOTFOUND, "not found"},
	{EXIT_CONFLICT, "conflict: version, idempotency key, state"},
	{EXIT_NEVER, "can never run as asked (reasons 1xx)"},
	{EXIT_UNKNOWN, "no answer; safe to repeat with the key that was printed"},
	{EXIT_TIMEOUT, "the time of wait passed"},
	{EXIT_GONE, "the lease is gone: do not restart, ask anew"},
	{EXIT_RECALLED, "the lease is being recalled (keep --exit-on-recall)"},
	{EXIT_PROPOSED, "nothing has changed yet: a second person has to agree (approval list)"},
	{EXIT_INTERRUPTED, "interrupted"},
};

enum { HELP_COLUMNS = 80 };

/* `left` padded to `indent` columns, then `text`, its further lines indented as far. */
static void print_wrapped(FILE *f, const char *left, size_t indent, const char *text)
{
	size_t len_left = strlen(left), at = len_left < indent || !len_left ? indent : len_left + 1;

	fprintf(f, "%-*s%s", (int)indent, left, at > indent ? " " : "");
	for (const char *p = text; *p; p += strspn(p, " ")) {
		size_t len = strcspn(p, " ");

		if (p > text && at + 1 + len > HELP_COLUMNS) {
			fprintf(f, "\n%*s", (int)indent, "");
			at = indent;
		} else if (p > text) {
			fputc(' ', f);
			at++;
		}
		fprintf(f, "%.*s", (int)len, p);
		at += len;
		p += len;
	}
	fputc('\n', f);
}

static void print_opt(FILE *f, const struct opt *o)
{
	char left[64];

	snprintf(left, sizeof left, "  %s%c%s--%s%s%s", o->key ? "-" : " ", o->key ? o->key : ' ', o->key ? ", " : "  ",
		 o->name, o->value && strncmp(o->value, "[=", 2) != 0 ? " " : "", o->value ? o->value : "");
	print_wrapped(f, left, 37, o->doc);
}

static void print_job_options(FILE *f)
{
	fputs("\nJob options (also as #SLUIS lines, and those of sbatch as #SBATCH lines):\n", f);
	for (size_t i = 0; i < job_option_count; i++) {
		const struct job_option *o = &job_option_table[i];
		char left[64];

		if (o->verdict != VERDICT_YES)
			continue;
		snprintf(left, sizeof left, "  %s%c%s--%s%s", o->short_name ? "-" : " ", o->short_name ? o->short_name : ' ',
			 o->short_name ? ", " : "  ", o->name,
			 o->argument == OPTION_NEED ? " VALUE" : o->argument == OPTION_MAY ? "[=VALUE]" : "");
		print_wrapped(f, left, 37, o->meaning);
	}
	fputs("\n-q is --qos here, as with sbatch; the bare id is --quiet or --parsable.\n"
	      "What other #SBATCH options do: sluisctl help sbatch-compat\n", f);
}

void help_command(FILE *f, const struct ctl_command *cmd)
{
	char title[64], line[512];

	snprintf(line, sizeof line, "sluisctl %s%s%s - %s", command_title(cmd, title), cmd->args[0] ? " " : "", cmd->args, cmd->doc);
	print_wrapped(f, "", 0, line);
	if (cmd->alias)
		fprintf(f, "the same as: sluisctl %s %s\n", cmd->noun, cmd->verb);
	if (cmd->opts[0].name)
		fputs("\nOptions:\n", f);
	for (const struct opt *o = cmd->opts; o->name; o++)
		print_opt(f, o);
	if (cmd->args_max == ARGS_JOB)
		print_job_options(f);
	fprintf(f, "\nExample:\n  %s\n", cmd->example);
	fprintf(f, "\nExit status: %s (sluisctl help exit-codes)\n", cmd->exits);
	fputs("Options of every command: sluisctl help\n", f);
}

static void print_named(FILE *f, const char *name, const struct ctl_command *cmd)
{
	char left[96];

	snprintf(left, sizeof left, "  %s", name);
	print_wrapped(f, left, 25, cmd->doc);
}

void help_top(FILE *f)
{
	const char *noun = "";

	fputs("sluisctl [OPTIONS] COMMAND [OPTIONS] [ARGS...] - ask sluisd\n\neveryday\n", f);
	for (size_t i = 0; i < command_count; i++)
		if (command_table[i].alias)
			print_named(f, command_table[i].alias, &command_table[i]);
	for (size_t i = 0; i < command_count; i++) {
		const struct ctl_command *cmd = &command_table[i];
		char left[64];

		if (cmd->alias)
			continue;
		if (strcmp(noun, cmd->noun) != 0)
			fputc('\n', f);
		noun = cmd->noun;
		snprintf(left, sizeof left, "%s %s", cmd->noun, cmd->verb);
		print_named(f, left, cmd);
	}
	fputs("\noptions of every command\n", f);
	for (const struct opt *o = global_opts; o->name; o++)
		print_opt(f, o);
	fputs("\nmore: sluisctl help COMMAND | exit-codes | reasons | roles | sbatch-compat |\n      env; sluisctl(1)\n", f);
}

static void help_exits(FILE *f)
{
	for (size_t i = 0; i < ARRAY_LEN(exit_texts); i++)
		fprintf(f, "%4d  %s\n", exit_texts[i].status, exit_texts[i].text);
	fputs("wait for one job's end, submit --wait and lease exec end as the job or command\ndid; 128+n for signal n.\n", f);
}

static void help_reasons(FILE *f)
{
	static const int codes[] = {
#define X(name, number, text) number,
		REASON_TABLE(X)
#undef X
	};
	static const char *const tiers[] = {"", "can never run as asked", "somebody has to act", "not yet",
					    "budget", "quota", "devices", "order", "on its way"};
	int tier = 0;

	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		if (reason_tier(codes[i]) != tier) {
			tier = reason_tier(codes[i]);
			fprintf(f, "%dxx  %s\n", tier, tiers[tier]);
		}
		if (codes[i])
			fprintf(f, "  %3d  %s\n", codes[i], reason_text(codes[i]));
	}
}

static void help_sbatch(FILE *f)
{
	static const char *const verdicts[] = {[VERDICT_YES] = "yes", [VERDICT_KEPT] = "kept", [VERDICT_NO] = "no"};

	fputs("yes: means the same or the nearest safe thing; kept: recorded, no effect;\nno: refused\n\n", f);
	for (size_t i = 0; i < job_option_count; i++) {
		const struct job_option *o = &job_option_table[i];
		char name[64], left[96], text[512];

		if (o->own)
			continue;
		snprintf(name, sizeof name, "%s%c%s--%s", o->short_name ? "-" : " ", o->short_name ? o->short_name : ' ',
			 o->short_name ? ", " : "  ", o->name);
		snprintf(left, sizeof left, "  %-26s %s", name, verdicts[o->verdict]);
		snprintf(text, sizeof text, "%s%s%s", o->meaning, o->way[0] ? "; " : "", o->way);
		print_wrapped(f, left, 34, text);
	}
}

static void help_env(FILE *f)
{
	fputs("SLUIS_ENDPOINT SLUIS_KEY SLUIS_SERVER_KEY SLUIS_CLUSTER SLUIS_PROJECT\nSLUIS_TIMEOUT\n"
	      "      defaults of the options; SLUIS_KEY is a path\n"
	      "SLUIS_CONFIG\n"
	      "      another file than ~/.config/sluis/sluisctl.conf\n"
	      "SLUIS_SUBMIT_<OPTION>\n"
	      "      defaults of submit: SLUIS_SUBMIT_FLAVOR=h100-80g\n"
	      "SLUIS_JOB_ID\n"
	      "      inside a job: what `job checkpointed` means without a job\n"
	      "NO_COLOR COLUMNS TERM=dumb LC_ALL TZ\n"
	      "      as everywhere\n"
	      "An option beats the environment, that beats ~/.config/sluis/sluisctl.conf, that\n"
	      "/etc/sluis/sluisctl.conf; without any of them the local door is tried.\n"
	      "sluisctl -v cluster info says where each value came from.\n", f);
}

/* In words what daemon/core/authz.c decides; its tests hold every cell. */
static void help_roles(FILE *f)
{
	static const char *const may[ROLE_PUBLIC] = {
		[ROLE_ADMIN] = "everything; some commands take a second person (sluisctl approval)",
		[ROLE_OPERATOR] = "accept, cordon, uncordon and drain nodes; cancel, hold, release and requeue anybody's jobs; "
				  "reservations; sees all leases",
		[ROLE_GATEKEEPER] = "open and stop the stages of grants (sluisctl project release-stage, freeze-stage), and be the second person for that; refuse what waits for one",
		[ROLE_REVIEWER] = "read, and nothing else",
		[ROLE_MEMBER] = "submit for the projects whose member it is; its own jobs, and as a PI those of the project; "
				"ask for reservations",
		[ROLE_PROVIDER] = "the leases of its provider: request, accept, renew, resize, extend, release",
		[ROLE_AUDITOR] = "read everything, the log, its export and all names, keys and tokens included; from the log "
				 "also what jobs run",
	};

	fputs("Everybody may read the state of the cluster, the division and its usage, nodes,\n"
	      "jobs and reservations. Output, logs and programs of a job are for its owner,\n"
	      "the PI of its project and admins; of a lease, for its provider and admins.\n\n", f);
	for (int r = 0; r < ROLE_PUBLIC; r++) {
		char left[32];

		if (!may[r])
			continue;
		snprintf(left, sizeof left, "  %s", role_names[r]);
		print_wrapped(f, left, 15, may[r]);
	}
	fputs("\nAgents have a role of their own, node: they speak for their node alone.\n"
	      "sluisctl token create user --role ROLE --name NAME invites somebody.\n", f);
}

static const char *topic_name(const void *ctx, size_t i)
{
	static const char *const topics[] = {"exit-codes", "reasons", "roles", "sbatch-compat", "env"};

	(void)ctx;
	return topics[i];
}

int cmd_help(struct ctl *c, const struct call *call)
{
	static void (*const topics[])(FILE *) = {help_exits, help_reasons, help_roles, help_sbatch, help_env};
	const struct ctl_command *cmd;
	const char *near;

	if (!call->args_n) {
		help_top(c->out);
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(topics) && call->args_n == 1; i++)
		if (!strcmp(call->args[0], topic_name(NULL, i))) {
			topics[i](c->out);
			return 0;
		}
	cmd = command_find(call->args[0], call->args_n > 1 ? call->args[1] : NULL);
	if (cmd) {
		help_command(c->out, cmd);
		return 0;
	}
	for (size_t i = 0, any = 0; i < command_count; i++) /* a noun: all its verbs */
		if (call->args_n == 1 && !strcmp(command_table[i].noun, call->args[0])) {
			char left[64];

			snprintf(left, sizeof left, "  sluisctl %s %s", command_table[i].noun, command_table[i].verb);
			print_wrapped(c->out, left, 36, command_table[i].doc);
			any = 1;
			if (i + 1 == command_count || strcmp(command_table[i + 1].noun, call->args[0]) != 0)
				return any ? 0 : EXIT_USAGE;
		}
	near = config_nearest(call->args[0], ARRAY_LEN(topics), topic_name, NULL);
	if (!near)
		near = command_nearest(call->args[0]);
	try_next(c, "sluisctl help %s", near ? near : "");
	return usage_fault(c, "there is no help about '%s'", call->args[0]);
}

int cmd_version(struct ctl *c, const struct call *call)
{
	(void)call;
	if (c->json) {
		json_t *item = json_object();

		json_object_set_new(item, "version", json_string(SLUIS_VERSION));
		return json_item(c, "version", 0, item);
	}
	fprintf(c->out, "sluisctl %s\n", SLUIS_VERSION);
	return 0;
}

/* ---- completion ------------------------------------------------------------------------------ */

int cmd_completion(struct ctl *c, const struct call *call)
{
	FILE *f = c->out;

	(void)call;
	fputs("# bash completion of sluisctl; made by: sluisctl completion bash\n"
	      "_sluisctl()\n{\n"
	      "\tlocal cur=${COMP_WORDS[COMP_CWORD]} noun=${COMP_WORDS[1]-} verb=${COMP_WORDS[2]-} words=\n"
	      "\tif [ \"$COMP_CWORD\" -eq 1 ]; then\n\t\twords=\"", f);
	for (size_t i = 0; i < command_count; i++) {
		if (command_table[i].alias)
			fprintf(f, "%s ", command_table[i].alias);
		if (!i || strcmp(command_table[i].noun, command_table[i - 1].noun) != 0)
			fprintf(f, "%s ", command_table[i].noun);
	}
	fputs("\"\n\telse\n\t\tcase \"$noun $verb\" in\n", f);
	for (size_t i = 0; i < command_count; i++) {
		const struct ctl_command *cmd = &command_table[i];

		if (cmd->verb[0])
			fprintf(f, "\t\t\"%s %s\"", cmd->noun, cmd->verb);
		else
			fprintf(f, "\t\t\"%s \"*", cmd->noun);
		if (cmd->alias)
			fprintf(f, "|\"%s \"*", cmd->alias);
		fputs(") words=\"", f);
		for (const struct opt *o = cmd->opts; o->name; o++)
			fprintf(f, "--%s ", o->name);
		for (size_t k = 0; cmd->args_max == ARGS_JOB && k < job_option_count; k++)
			if (job_option_table[k].verdict == VERDICT_YES)
				fprintf(f, "--%s ", job_option_table[k].name);
		for (const struct opt *o = global_opts; o->name; o++)
			fprintf(f, "--%s ", o->name);
		fputs("\" ;;\n", f);
	}
	for (size_t i = 0; i < command_count; i++) {
		if (!command_table[i].verb[0] || (i && !strcmp(command_table[i].noun, command_table[i - 1].noun)))
			continue;
		fprintf(f, "\t\t\"%s \"*) words=\"", command_table[i].noun);
		for (size_t k = i; k < command_count && !strcmp(command_table[k].noun, command_table[i].noun); k++)
			fprintf(f, "%s ", command_table[k].verb);
		fputs("\" ;;\n", f);
	}
	fputs("\t\tesac\n\tfi\n"
	      "\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
	      "\tif [ ${#COMPREPLY[@]} -eq 0 ]; then\n"
	      "\t\tcompopt -o default\n\tfi\n}\ncomplete -F _sluisctl sluisctl\n", f);
	return 0;
}
