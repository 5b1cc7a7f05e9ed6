/* pack_report.c - see pack_report.h */
#include "daemon/sim/pack_report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/sim/picture.h"

void pack_json(struct buf *b, const struct pack_report *r)
{
	const struct packsim_result *s = &r->result;

	buf_addf(b, "{\n  \"version\": \"%s\",\n  \"nodes_sha256\": \"%s\",\n  \"pods_sha256\": \"%s\",\n", SLUIS_VERSION,
		 r->nodes_sha, r->pods_sha);
	buf_addf(b, "  \"policy\": \"%s\",\n  \"seed\": %" PRId64 ",\n  \"until\": %.15g,\n", r->policy_name, r->seed,
		 (double)r->until_milli / 1000);
	buf_addf(b, "  \"nodes\": %zu,\n  \"pods\": %zu,\n  \"gpus\": %" PRId64 ",\n", r->list.nodes_n, r->list.pods_n,
		 s->capacity_milli / GPU_MILLI);
	bad_lines_json(b, &r->bad);
	buf_addf(b, "  \"arrived\": %" PRIu64 ",\n  \"placed\": %" PRIu64 ",\n", s->arrived, s->placed);
	buf_addf(b, "  \"asked_gpus\": %.15g,\n  \"allocated_gpus\": %.15g,\n", (double)s->asked_milli / GPU_MILLI,
		 (double)s->allocated_milli / GPU_MILLI);
	buf_addf(b, "  \"allocation_pct\": %.15g,\n  \"fragmented_pct\": %.15g,\n  \"fragmented_of_idle_pct\": %.15g\n}\n",
		 s->allocation_pct, s->fragmented_pct, s->fragmented_idle_pct);
}

void pack_text(struct buf *b, const struct pack_report *r)
{
	const struct packsim_result *s = &r->result;

	buf_addf(b, "nodes              %zu with %" PRId64 " GPUs\n", r->list.nodes_n, s->capacity_milli / GPU_MILLI);
	buf_addf(b, "pods               %zu listed, %" PRIu64 " arrived, %" PRIu64 " placed\n", r->list.pods_n, s->arrived,
		 s->placed);
	bad_lines_text(b, &r->bad);
	buf_addf(b, "policy             %s, seed %" PRId64 "\n", r->policy_name, r->seed);
	buf_addf(b, "GPUs               %.1f asked, %.1f allocated\n", (double)s->asked_milli / GPU_MILLI,
		 (double)s->allocated_milli / GPU_MILLI);
	buf_addf(b, "allocation         %.3f %%\n", s->allocation_pct);
	buf_addf(b, "fragmentation      %.3f %% of the GPUs, %.3f %% of what is idle\n", s->fragmented_pct,
		 s->fragmented_idle_pct);
}

/* Names come from a file: one that would be two fields is quoted (RFC 4180). */
static void add_name(struct buf *b, const char *name)
{
	bool plain = true;

	for (const char *c = name; *c; c++)
		plain &= *c != ',' && *c != '"';
	if (plain) {
		buf_addf(b, "%s", name);
		return;
	}
	buf_addf(b, "\"");
	for (const char *c = name; *c; c++)
		buf_addf(b, *c == '"' ? "\"\"" : "%c", *c);
	buf_addf(b, "\"");
}

void pack_csv(struct buf *b, const struct pack_report *r)
{
	buf_addf(b, "arrival,pod,gpus,gpu_milli,node\n");
	for (size_t i = 0; i < r->log.arrivals_n; i++) {
		const struct packsim_arrival *a = &r->log.arrivals[i];
		const struct openb_pod *p = &r->list.pods[a->pod];

		buf_addf(b, "%zu,", i + 1);
		add_name(b, p->name);
		buf_addf(b, ",%" PRId32 ",%" PRId32 ",", p->gpus, p->gpu_milli);
		if (a->node != PACKSIM_NO_NODE)
			add_name(b, r->list.nodes[a->node].name);
		buf_addf(b, "\n");
	}
}

void pack_curve_csv(struct buf *b, const struct pack_report *r)
{
	buf_addf(b, "asked_pct,allocated_pct,fragmented_pct\n");
	for (size_t i = 0; i < r->log.points_n; i++) {
		const struct packsim_point *p = &r->log.points[i];

		buf_addf(b, "%.4f,%.4f,%.4f\n", p->asked_pct, p->allocated_pct, p->fragmented_pct);
	}
}

void pack_picture(struct buf *b, const struct pack_report *r)
{
	size_t n = r->log.points_n;
	double *x = xmalloc(3 * n * sizeof *x), *allocated = x + n, *fragmented = allocated + n;
	char from[256];
	struct picture p = {.title = "How full the GPUs get",
			    .text = "GPUs in use, and GPUs on which the typical pod finds no room, over what was asked for.",
			    .source = from, .x_name = "asked for, % of the GPUs", .y_name = "% of the GPUs",
			    .y_max = 100, .line = 100, .line_name = "all"};
	struct picture_series s[] = {{"in use", PICTURE_BLUE, false, x, allocated, n},
				     {"fragmented", PICTURE_VERMILION, false, x, fragmented, n}};

	for (size_t i = 0; i < n; i++) {
		x[i] = r->log.points[i].asked_pct;
		allocated[i] = r->log.points[i].allocated_pct;
		fragmented[i] = r->log.points[i].fragmented_pct;
	}
	p.x_max = x[n - 1];
	(void)snprintf(from, sizeof from, "source: %.60s %.8s, %.60s %.8s; policy %s, seed %" PRId64 "; sluis-sim " SLUIS_VERSION,
		       r->nodes_name, r->nodes_sha, r->pods_name, r->pods_sha, r->policy_name, r->seed);
	picture_lines(b, &p, s, 2);
	free(x);
}
