/* cmd_pack.c - sluis-sim pack: a stream of pods onto GPU nodes */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/sim/main/cmd.h"
#include "daemon/sim/openb.h"
#include "daemon/sim/packsim.h"
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
	"  --json           print one JSON object\n";

struct options {
	const char *nodes, *pods, *policy_name;
	enum packsim_policy policy;
	int64_t seed;
	int64_t until_milli;
	struct bad_lines bad;
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

static int parse_options(int argc, char **argv, struct options *o, bool *ret_done)
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
	while ((c = getopt_long(argc, argv, ":", longs, NULL)) != -1) {
		switch (c) {
		case NODES: o->nodes = optarg; break;
		case PODS: o->pods = optarg; break;
		case POLICY: o->policy_name = optarg; break;
		case SEED:
			if (parse_int("--seed", optarg, 0, INT64_MAX - 1, &o->seed, &err))
				return usage("%s", err.msg);
			break;
		case UNTIL:
			if (parse_ratio(optarg, &o->until_milli))
				return usage("--until takes a ratio from 0.001 to 1000, not '%s'", optarg);
			break;
		case BAD_LINES:
			if (parse_bad_lines(optarg, &o->bad, &err))
				return usage("%s", err.msg);
			break;
		case JSON: o->json = true; break;
		case HELP: (void)fputs(help_text, stdout); return 0;
		default: return usage_option(c, argv);
		}
	}
	if (optind < argc)
		return usage("'%s' is not an option", argv[optind]);
	if (!o->nodes || !o->pods || !o->policy_name)
		return usage("--nodes, --pods and --policy are needed");
	for (; o->policy < PACK_COUNT; o->policy++)
		if (strcmp(packsim_policy_names[o->policy], o->policy_name) == 0)
			break;
	if (o->policy == PACK_COUNT)
		return usage("'%s' is not a policy: random, bestfit, fgd or sluis", o->policy_name);
	*ret_done = false;
	return 0;
}

static int load(struct options *o, struct openb *list, char nodes_sha[TEXT_HEX_BYTES],
		char pods_sha[TEXT_HEX_BYTES], struct err *err)
{
	CLEANUP(buf_done) struct buf text = BUF_INIT;
	int r = text_load(o->nodes, &text, nodes_sha, err);

	if (r == 0)
		r = openb_parse_nodes(list, o->nodes, (const char *)text.data, text.len, &o->bad, err);
	buf_reset(&text);
	if (r == 0)
		r = text_load(o->pods, &text, pods_sha, err);
	return r ? r : openb_parse_pods(list, o->pods, (const char *)text.data, text.len, &o->bad, err);
}

static void print_json(struct buf *b, const struct options *o, const struct openb *list, const char *nodes_sha,
		       const char *pods_sha, const struct packsim_result *r)
{
	buf_addf(b, "{\n  \"version\": \"%s\",\n  \"nodes_sha256\": \"%s\",\n  \"pods_sha256\": \"%s\",\n", SLUIS_VERSION,
		 nodes_sha, pods_sha);
	buf_addf(b, "  \"policy\": \"%s\",\n  \"seed\": %" PRId64 ",\n  \"until\": %.15g,\n", o->policy_name, o->seed,
		 (double)o->until_milli / 1000);
	buf_addf(b, "  \"nodes\": %zu,\n  \"pods\": %zu,\n  \"gpus\": %" PRId64 ",\n", list->nodes_n, list->pods_n,
		 r->capacity_milli / GPU_MILLI);
	bad_lines_json(b, &o->bad);
	buf_addf(b, "  \"arrived\": %" PRIu64 ",\n  \"placed\": %" PRIu64 ",\n", r->arrived, r->placed);
	buf_addf(b, "  \"asked_gpus\": %.15g,\n  \"allocated_gpus\": %.15g,\n", (double)r->asked_milli / GPU_MILLI,
		 (double)r->allocated_milli / GPU_MILLI);
	buf_addf(b, "  \"allocation_pct\": %.15g,\n  \"fragmented_pct\": %.15g,\n  \"fragmented_of_idle_pct\": %.15g\n}\n",
		 r->allocation_pct, r->fragmented_pct, r->fragmented_idle_pct);
}

static void print_text(struct buf *b, const struct options *o, const struct openb *list,
		       const struct packsim_result *r)
{
	buf_addf(b, "nodes              %zu with %" PRId64 " GPUs\n", list->nodes_n, r->capacity_milli / GPU_MILLI);
	buf_addf(b, "pods               %zu listed, %" PRIu64 " arrived, %" PRIu64 " placed\n", list->pods_n, r->arrived,
		 r->placed);
	bad_lines_text(b, &o->bad);
	buf_addf(b, "policy             %s, seed %" PRId64 "\n", o->policy_name, o->seed);
	buf_addf(b, "GPUs               %.1f asked, %.1f allocated\n", (double)r->asked_milli / GPU_MILLI,
		 (double)r->allocated_milli / GPU_MILLI);
	buf_addf(b, "allocation         %.3f %%\n", r->allocation_pct);
	buf_addf(b, "fragmentation      %.3f %% of the GPUs, %.3f %% of what is idle\n", r->fragmented_pct,
		 r->fragmented_idle_pct);
}

int cmd_pack(int argc, char **argv)
{
	CLEANUP(buf_done) struct buf out = BUF_INIT;
	char nodes_sha[TEXT_HEX_BYTES], pods_sha[TEXT_HEX_BYTES];
	struct options o = {.seed = 42, .until_milli = 1300};
	struct packsim_result result;
	struct openb list = {0};
	struct progress progress;
	struct err err = {0};
	bool done;
	int status = parse_options(argc, argv, &o, &done), r;

	if (done)
		return status;
	r = load(&o, &list, nodes_sha, pods_sha, &err);
	if (r == 0) {
		progress_begin(&progress, "milli-GPU asked");
		r = packsim_run(&list, o.policy, (uint64_t)o.seed, o.until_milli, progress_step, &progress, &result, &err);
		progress_end(&progress);
	}
	if (r) {
		status = fail(&err);
	} else {
		if (o.json)
			print_json(&out, &o, &list, nodes_sha, pods_sha, &result);
		else
			print_text(&out, &o, &list, &result);
		status = print_out(&out);
	}
	openb_done(&list);
	return status;
}
