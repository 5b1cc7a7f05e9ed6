/* openb.c - see openb.h */
#include "daemon/sim/openb.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/sim/text.h"
#include "proto/base/buf.h"

enum { FIELDS_MAX = 16, NUMBER_MAX = 1000000000 };

/* One line cut at its commas. */
struct row {
	const char *name;
	unsigned number;
	int n;
	struct { const char *at; size_t bytes; } field[FIELDS_MAX];
};

static int cut(const char *name, unsigned number, const char *line, size_t bytes, int least, struct row *ret_row,
	       struct err *err)
{
	const char *at = line, *end = line + bytes;

	*ret_row = (struct row){.name = name, .number = number};
	for (;;) {
		const char *comma = memchr(at, ',', (size_t)(end - at));
		const char *stop = comma ? comma : end;

		if (ret_row->n == FIELDS_MAX)
			return err_set(err, ERR_FORMAT, "%s:%u: more than %d fields", name, number, FIELDS_MAX);
		ret_row->field[ret_row->n].at = at;
		ret_row->field[ret_row->n++].bytes = (size_t)(stop - at);
		if (!comma)
			break;
		at = comma + 1;
	}
	if (ret_row->n < least)
		return err_set(err, ERR_FORMAT, "%s:%u: %d fields, %d are needed", name, number, ret_row->n, least);
	return 0;
}

static int number_at(const struct row *r, int i, int32_t max, int32_t *ret, struct err *err)
{
	int64_t v = 0;

	if (r->field[i].bytes == 0)
		return err_set(err, ERR_FORMAT, "%s:%u: field %d is empty", r->name, r->number, i + 1);
	for (size_t k = 0; k < r->field[i].bytes; k++) {
		char c = r->field[i].at[k];

		if (c < '0' || c > '9' || v > max)
			return err_set(err, ERR_FORMAT, "%s:%u: field %d is not a number from 0 to %d", r->name,
				       r->number, i + 1, max);
		v = v * 10 + (c - '0');
	}
	if (v > max)
		return err_set(err, ERR_FORMAT, "%s:%u: field %d is not a number from 0 to %d", r->name, r->number,
			       i + 1, max);
	*ret = (int32_t)v;
	return 0;
}

static int name_at(const struct row *r, int i, char ret[OPENB_NAME_BYTES], struct err *err)
{
	size_t n = r->field[i].bytes;

	if (n == 0 || n >= OPENB_NAME_BYTES)
		return err_set(err, ERR_FORMAT, "%s:%u: field %d is empty or longer than %d bytes", r->name, r->number,
			       i + 1, OPENB_NAME_BYTES - 1);
	memcpy(ret, r->field[i].at, n);
	ret[n] = '\0';
	return 0;
}

/* The bit of a model, given one if it is new. */
static int model_bit(struct openb *o, const struct row *r, const char *at, size_t bytes, uint32_t *ret_bit,
		     struct err *err)
{
	size_t i;

	if (bytes == 0 || bytes >= OPENB_NAME_BYTES)
		return err_set(err, ERR_FORMAT, "%s:%u: the name of a model is empty or too long", r->name, r->number);
	for (i = 0; i < o->models_n; i++)
		if (strlen(o->models[i]) == bytes && memcmp(o->models[i], at, bytes) == 0)
			break;
	if (i == OPENB_MODELS_MAX)
		return err_set(err, ERR_NOROOM, "%s:%u: more than %d models", r->name, r->number, OPENB_MODELS_MAX);
	if (i == o->models_n) {
		memcpy(o->models[i], at, bytes);
		o->models_n++;
	}
	*ret_bit = UINT32_C(1) << i;
	return 0;
}

static int models_at(struct openb *o, const struct row *r, int i, uint32_t *ret_models, struct err *err)
{
	const char *at, *end;

	*ret_models = UINT32_MAX;
	if (i >= r->n || r->field[i].bytes == 0)
		return 0;
	*ret_models = 0;
	at = r->field[i].at;
	end = at + r->field[i].bytes;
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

static int parse_node(struct openb *o, const struct row *r, struct openb_node *n, struct err *err)
{
	int rc = name_at(r, 0, n->name, err);

	if (rc == 0)
		rc = number_at(r, 1, NUMBER_MAX, &n->cpu_milli, err);
	if (rc == 0)
		rc = number_at(r, 2, NUMBER_MAX, &n->memory_mib, err);
	if (rc == 0)
		rc = number_at(r, 3, OPENB_GPUS_MAX, &n->gpus, err);
	if (rc == 0 && n->gpus > 0)
		rc = model_bit(o, r, r->field[4].at, r->field[4].bytes, &n->model, err);
	return rc;
}

static int parse_pod(struct openb *o, const struct row *r, struct openb_pod *p, struct err *err)
{
	int rc = name_at(r, 0, p->name, err);

	if (rc == 0)
		rc = number_at(r, 1, NUMBER_MAX, &p->cpu_milli, err);
	if (rc == 0)
		rc = number_at(r, 2, NUMBER_MAX, &p->memory_mib, err);
	if (rc == 0)
		rc = number_at(r, 3, OPENB_GPUS_MAX, &p->gpus, err);
	if (rc == 0)
		rc = number_at(r, 4, GPU_MILLI, &p->gpu_milli, err);
	if (rc == 0)
		rc = models_at(o, r, 5, &p->models, err);
	if (rc)
		return rc;
	if ((p->gpus == 0) != (p->gpu_milli == 0) || (p->gpus > 1 && p->gpu_milli < GPU_MILLI))
		return err_set(err, ERR_FORMAT, "%s:%u: %d GPUs of %d milli each cannot be asked for", r->name,
			       r->number, p->gpus, p->gpu_milli);
	return 0;
}

static void *grown(void *array, size_t n, size_t size)
{
	return (n & (n - 1)) == 0 ? xrealloc(array, (n ? 2 * n : 1) * size) : array;
}

static int parse_line(struct openb *o, bool pods, const struct row *row, struct err *err)
{
	struct openb_node node = {0};
	struct openb_pod pod = {0};
	int r = pods ? parse_pod(o, row, &pod, err) : parse_node(o, row, &node, err);

	if (r)
		return r;
	if (pods) {
		o->pods = grown(o->pods, o->pods_n, sizeof pod);
		o->pods[o->pods_n++] = pod;
	} else {
		o->nodes = grown(o->nodes, o->nodes_n, sizeof node);
		o->nodes[o->nodes_n++] = node;
	}
	return 0;
}

static int parse(struct openb *o, bool pods, const char *name, const char *text, size_t bytes, struct bad_lines *bad,
		 struct err *err)
{
	static const char heading[2][5] = {"sn,", "name"};
	struct lines lines;
	const char *line;
	size_t n;

	lines_begin(&lines, text, bytes);
	if (!lines_next(&lines, &line, &n) || n < strlen(heading[pods]) ||
	    memcmp(line, heading[pods], strlen(heading[pods])) != 0)
		return err_set(err, ERR_FORMAT, "%s:1: no heading of a list of %s", name, pods ? "pods" : "nodes");
	while (lines_next(&lines, &line, &n)) {
		struct row row;
		struct err why;

		if (n > 0 && (cut(name, lines.number, line, n, 5, &row, &why) || parse_line(o, pods, &row, &why)) &&
		    bad_line(bad, &why, err))
			return why.code;
	}
	return 0;
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
