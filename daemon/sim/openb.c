/* openb.c - see openb.h */
#include "daemon/sim/openb.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/sim/csv.h"
#include "daemon/sim/text.h"
#include "proto/base/buf.h"

enum { NUMBER_MAX = 1000000000 };
enum { NODE_NAME = 0, NODE_CPU, NODE_MEMORY, NODE_GPUS, NODE_MODEL, NODE_COLUMNS };
enum { POD_NAME = 0, POD_CPU, POD_MEMORY, POD_GPUS, POD_GPU_MILLI, POD_SPEC };

/* The bit of a model, given one if it is new. */
static int model_bit(struct openb *o, const struct csv_row *r, const char *at, size_t bytes, uint32_t *ret_bit,
		     struct err *err)
{
	size_t i;

	if (bytes == 0 || bytes >= OPENB_NAME_BYTES)
		return err_set(err, ERR_FORMAT, "%s:%u: the name of a model is empty or longer than %d bytes", r->csv->name,
			       r->line, OPENB_NAME_BYTES - 1);
	for (i = 0; i < o->models_n; i++)
		if (strlen(o->models[i]) == bytes && memcmp(o->models[i], at, bytes) == 0)
			break;
	if (i == OPENB_MODELS_MAX)
		return err_set(err, ERR_NOROOM, "%s:%u: more than %d models", r->csv->name, r->line, OPENB_MODELS_MAX);
	if (i == o->models_n) {
		memcpy(o->models[i], at, bytes);
		o->models_n++;
	}
	*ret_bit = UINT32_C(1) << i;
	return 0;
}

static int models_of(struct openb *o, const struct csv_row *r, uint32_t *ret_models, struct err *err)
{
	const char *at, *end;

	*ret_models = UINT32_MAX;
	if (csv_empty(r, POD_SPEC))
		return 0;
	*ret_models = 0;
	at = r->field[r->csv->at[POD_SPEC]].at;
	end = at + r->field[r->csv->at[POD_SPEC]].bytes;
	for (;;) {
		const char *bar = memchr(at, '|', (size_t)(end - at)), *stop = bar ? bar : end;
		uint32_t bit;
		int rc = model_bit(o, r, at, (size_t)(stop - at), &bit, err);

		if (rc)
			return rc;
		*ret_models |= bit;
		if (!bar)
			return 0;
		at = bar + 1;
	}
}

static int parse_node(struct openb *o, const struct csv_row *r, struct openb_node *n, struct err *err)
{
	int rc = csv_text(r, NODE_NAME, n->name, sizeof n->name, err);

	if (rc == 0)
		rc = csv_integer(r, NODE_CPU, NUMBER_MAX, &n->cpu_milli, err);
	if (rc == 0)
		rc = csv_integer(r, NODE_MEMORY, NUMBER_MAX, &n->memory_mib, err);
	if (rc == 0)
		rc = csv_integer(r, NODE_GPUS, OPENB_GPUS_MAX, &n->gpus, err);
	if (rc == 0 && n->gpus > 0)
		rc = model_bit(o, r, r->field[r->csv->at[NODE_MODEL]].at, r->field[r->csv->at[NODE_MODEL]].bytes, &n->model,
			       err);
	return rc;
}

static int parse_pod(struct openb *o, const struct csv_row *r, struct openb_pod *p, struct err *err)
{
	int rc = csv_text(r, POD_NAME, p->name, sizeof p->name, err);

	if (rc == 0)
		rc = csv_integer(r, POD_CPU, NUMBER_MAX, &p->cpu_milli, err);
	if (rc == 0)
		rc = csv_integer(r, POD_MEMORY, NUMBER_MAX, &p->memory_mib, err);
	if (rc == 0)
		rc = csv_integer(r, POD_GPUS, OPENB_GPUS_MAX, &p->gpus, err);
	if (rc == 0)
		rc = csv_integer(r, POD_GPU_MILLI, GPU_MILLI, &p->gpu_milli, err);
	if (rc == 0)
		rc = models_of(o, r, &p->models, err);
	if (rc)
		return rc;
	if ((p->gpus == 0) != (p->gpu_milli == 0) || (p->gpus > 1 && p->gpu_milli < GPU_MILLI))
		return err_set(err, ERR_FORMAT, "%s:%u: %d GPUs of %d milli each cannot be asked for", r->csv->name,
			       r->line, p->gpus, p->gpu_milli);
	return 0;
}

static void *grown(void *array, size_t n, size_t size)
{
	return (n & (n - 1)) == 0 ? xrealloc(array, (n ? 2 * n : 1) * size) : array;
}

/* Names of the nodes of one list, by their hash: open addressing, at most half full. */
struct names {
	uint32_t *at; /* index of a node, from 1 */
	size_t cap, n;
};

static size_t slot_of(const struct names *m, const struct openb *o, const char *name)
{
	uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
	size_t i;

	for (const char *c = name; *c; c++)
		hash = (hash ^ (unsigned char)*c) * UINT64_C(1099511628211);
	for (i = hash & (m->cap - 1); m->at[i] && strcmp(o->nodes[m->at[i] - 1].name, name) != 0;)
		i = (i + 1) & (m->cap - 1);
	return i;
}

static void names_add(struct names *m, const struct openb *o, size_t node)
{
	if (2 * m->n >= m->cap) {
		struct names larger = {.cap = m->cap ? 2 * m->cap : 1024};

		larger.at = xcalloc(larger.cap, sizeof *larger.at);
		for (size_t i = 0; i < m->cap; i++)
			if (m->at[i])
				larger.at[slot_of(&larger, o, o->nodes[m->at[i] - 1].name)] = m->at[i];
		larger.n = m->n;
		free(m->at);
		*m = larger;
	}
	m->at[slot_of(m, o, o->nodes[node].name)] = (uint32_t)node + 1;
	m->n++;
}

static int add_node(struct openb *o, const struct csv_row *row, struct names *names, struct err *err)
{
	struct openb_node node = {0};
	int r = parse_node(o, row, &node, err);

	if (r)
		return r;
	if (names->n && names->at[slot_of(names, o, node.name)])
		return err_set(err, ERR_FORMAT, "%s:%u: there is a node '%s' already", row->csv->name, row->line, node.name);
	o->nodes = grown(o->nodes, o->nodes_n, sizeof node);
	o->nodes[o->nodes_n] = node;
	names_add(names, o, o->nodes_n++);
	return 0;
}

static int add_pod(struct openb *o, const struct csv_row *row, struct err *err)
{
	struct openb_pod pod = {0};
	int r = parse_pod(o, row, &pod, err);

	if (r)
		return r;
	o->pods = grown(o->pods, o->pods_n, sizeof pod);
	o->pods[o->pods_n++] = pod;
	return 0;
}

static int parse(struct openb *o, bool pods, const char *name, const char *text, size_t bytes, struct bad_lines *bad,
		 struct err *err)
{
	static const char *const columns[2][7] = {
		{"sn", "cpu_milli", "memory_mib", "gpu", "model", NULL},
		{"name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "gpu_spec", NULL},
	};
	struct names names = {0};
	struct lines lines;
	struct csv csv;
	const char *line;
	size_t n;
	int r;

	lines_begin(&lines, text, bytes);
	if (!lines_next(&lines, &line, &n))
		return err_set(err, ERR_FORMAT, "%s: the file is empty", name);
	r = csv_heading(&csv, name, lines.number, line, n, columns[pods], pods ? POD_SPEC : NODE_COLUMNS, err);
	if (r)
		return err_hint(err, pods ? "a list of pods begins with: name,cpu_milli,memory_mib,num_gpu,gpu_milli" :
					    "a list of nodes begins with: sn,cpu_milli,memory_mib,gpu,model");
	while (r == 0 && lines_next(&lines, &line, &n)) {
		struct csv_row row;
		struct err why;

		if (n > 0 && (csv_cut(&csv, lines.number, line, n, &row, &why) ||
			      (pods ? add_pod(o, &row, &why) : add_node(o, &row, &names, &why))))
			r = bad_line(bad, &why, err);
	}
	free(names.at);
	return r;
}

int openb_parse_nodes(struct openb *o, const char *name, const char *text, size_t bytes, struct bad_lines *bad,
		      struct err *err)
{
	return parse(o, false, name, text, bytes, bad, err);
}

int openb_parse_pods(struct openb *o, const char *name, const char *text, size_t bytes, struct bad_lines *bad,
		     struct err *err)
{
	return parse(o, true, name, text, bytes, bad, err);
}

void openb_done(struct openb *o)
{
	free(o->nodes);
	free(o->pods);
	*o = (struct openb){0};
}
