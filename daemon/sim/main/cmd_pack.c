/* cmd_pack.c - sluis-sim pack: a stream of pods onto GPU nodes */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/sim/main/cmd.h"
#include "daemon/sim/pack_report.h"
#include "daemon/sim/text.h"
#include "proto/base/ensure.h"

static const char help_text[] =
	"usage: sluis-sim pack --nodes NODES.csv[.gz] --pods PODS.csv[.gz] --policy POLICY [OPTION ...]\n"
	"\n"
	"  --nodes FILE     nodes: sn,cpu_milli,memory_mib,gpu,model\n"
	"  --pods FILE      pods: name,cpu_milli,memory_mib,num_gpu,gpu_milli[,gpu_spec[,...]]\n"
	"  --policy POLICY  random, bestfit, fgd or sluis\n"
	"  --seed N         of the order of arrival (default 42)\n"
	"  --until RATIO    stop when this share of the GPU capacity has been asked for (default 1.3)\n"
	"  --bad-lines HOW  lines that cannot be read: refuse the file (default), or skip and count them\n"
	"  -o DIR           write tables and a picture there\n"
	"  --json           print one JSON object\n";

struct options {
	const char *nodes, *pods, *out;
	enum packsim_policy policy;
	bool json;
};

/* "1.3" is 1300; at most three decimals, above 0, at most 1000. */
static int parse_ratio(const char *text, int64_t *ret_milli)
{
	int64_t v = 0, scale = 0;

	for (const char *c = text; *c; c++) {
		if (*c == '.' && scale == 0 && c != text && c[1]) {
			scale = 1;
			continue;
		}
		if (*c < '0' || *c > '9' || scale == 1000 || v > 1000000)
			return ERR_INVAL;
		v = v * 10 + (*c - '0');
		scale *= 10;
	}
	for (scale = scale ? scale : 1; scale < 1000; scale *= 10)
		v *= 10;
	if (v < 1 || v > 1000000)
		return ERR_RANGE;
	*ret_milli = v;
	return 0;
}

static int parse_options(int argc, char **argv, struct options *o, struct pack_report *r, bool *ret_done)
{
	enum { NODES = 1, PODS, POLICY, SEED, UNTIL, BAD_LINES, JSON, HELP };
	static const struct option longs[] = {
		{"nodes", required_argument, NULL, NODES}, {"pods", required_argument, NULL, PODS},
		{"policy", required_argument, NULL, POLICY}, {"seed", required_argument, NULL, SEED},
		{"until", required_argument, NULL, UNTIL}, {"bad-lines", required_argument, NULL, BAD_LINES}, {"json", no_argument, NULL, JSON},
		{"help", no_argument, NULL, HELP}, {NULL, 0, NULL, 0},
	};
	struct err err;
	int c;

	*ret_done = true;
	while ((c = getopt_long(argc, argv, ":o:", longs, NULL)) != -1) {
		switch (c) {
		case NODES: o->nodes = optarg; break;
		case PODS: o->pods = optarg; break;
		case POLICY: r->policy_name = optarg; break;
		case SEED:
			if (parse_int("--seed", optarg, 0, INT64_MAX - 1, &r->seed, &err))
				return usage("%s", err.msg);
			break;
		case UNTIL:
			if (parse_ratio(optarg, &r->until_milli))
				return usage("--until takes a ratio from 0.001 to 1000, not '%s'", optarg);
			break;
		case BAD_LINES:
			if (parse_bad_lines(optarg, &r->bad, &err))
				return usage("%s", err.msg);
			break;
		case 'o': o->out = optarg; break;
		case JSON: o->json = true; break;
		case HELP: (void)fputs(help_text, stdout); return 0;
		default: return usage_option(c, argv);
		}
	}
	if (optind < argc)
		return usage("'%s' is not an option", argv[optind]);
	if (!o->nodes || !o->pods || !r->policy_name)
		return usage("--nodes, --pods and --policy are needed");
	for (; o->policy < PACK_COUNT; o->policy++)
		if (strcmp(packsim_policy_names[o->policy], r->policy_name) == 0)
			break;
	if (o->policy == PACK_COUNT)
		return usage("'%s' is not a policy: random, bestfit, fgd or sluis", r->policy_name);
	*ret_done = false;
	return 0;
}

static int load(const struct options *o, struct pack_report *r, struct err *err)
{
	CLEANUP(buf_done) struct buf text = BUF_INIT;
	int rc = text_load(o->nodes, &text, r->nodes_sha, err);

	r->nodes_name = base_name(o->nodes);
	r->pods_name = base_name(o->pods);
	if (rc == 0)
		rc = openb_parse_nodes(&r->list, o->nodes, (const char *)text.data, text.len, &r->bad, err);
	buf_reset(&text);
	if (rc == 0)
		rc = text_load(o->pods, &text, r->pods_sha, err);
	return rc ? rc : openb_parse_pods(&r->list, o->pods, (const char *)text.data, text.len, &r->bad, err);
}

static int write_all(const char *dir, const struct pack_report *r, struct err *err)
{
	static const struct {
		const char *name;
		void (*write)(struct buf *, const struct pack_report *);
	} files[] = {
		{"summary.json", pack_json}, {"pods.csv", pack_csv}, {"curve.csv", pack_curve_csv}, {"curve.svg", pack_picture},
	};
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	int rc = make_dir(dir, err);

	for (size_t i = 0; i < ARRAY_LEN(files) && rc == 0; i++) {
		files[i].write(&b, r);
		rc = write_file(dir, files[i].name, &b, err);
	}
	return rc;
}

static int simulate(const struct options *o, struct pack_report *r, struct err *err)
{
	struct progress progress;
	int rc = load(o, r, err);

	if (rc)
		return rc;
	progress_begin(&progress, "milli-GPU asked");
	rc = packsim_run(&r->list, o->policy, (uint64_t)r->seed, r->until_milli, progress_step, &progress,
			 o->out ? &r->log : NULL, &r->result, err);
	progress_end(&progress);
	return !rc && o->out ? write_all(o->out, r, err) : rc;
}

int cmd_pack(int argc, char **argv)
{
	CLEANUP(buf_done) struct buf out = BUF_INIT;
	struct pack_report report = {.seed = 42, .until_milli = 1300};
	struct options o = {0};
	struct err err = {0};
	bool done;
	int status = parse_options(argc, argv, &o, &report, &done);

	if (done)
		return status;
	if (simulate(&o, &report, &err)) {
		status = fail(&err);
	} else {
		if (o.json)
			pack_json(&out, &report);
		else
			pack_text(&out, &report);
		status = print_out(&out);
	}
	packsim_log_done(&report.log);
	openb_done(&report.list);
	return status;
}
