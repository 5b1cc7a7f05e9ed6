/* division.c - reading, checking and writing division.yaml (see division.h)
 *
 * The tree is walked with one table per kind of node. Rows are visited in the table's order, not the
 * file's, so flavors and predicates are known before anything refers to them, wherever they stand.
 */
#include "proto/config/division.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/ckd.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"
#include "proto/base/limits.h"
#include "proto/base/ppm.h"
#include "proto/config/units.h"

#define DIV(member) offsetof(struct division, member)
#define NODE(member) offsetof(struct division_node, member)
#define FLAVOR(member) offsetof(struct division_flavor, member)
#define STAGE(member) offsetof(struct division_stage, member)
#define WINDOW(member) offsetof(struct division_window, member)
#define LONG_MS (INT64_C(3650) * MS_PER_DAY)
#define AMOUNT_MAX INT64_C(1000000000) /* times QNODES_MAX it still fits */

struct builder {
	struct division *d;
	struct division_node *nodes; /* heap, grows; moved into the arena at the end */
	size_t count, cap;
	size_t parent; /* whose children are being read */
	struct doc_node **docs; /* the map each node came from */
	size_t windows; /* of all nodes so far */
	size_t errors_before;	/* the walk's first error would be the next */
};

static const char *const unit_names[] = {"device", "core", NULL};
static const char *const class_names[] = {"urgent", "normal", "standby", "scavenger", NULL};
static const char *const every_names[] = {"day", "weekday", "weekend", NULL};
static const char *const deficit_names[] = {"spare", "stop_new_loans", "recall_loans", "slow_public_starts",
					    "loan_leases", "replace_broken", NULL};

int division_deficit_step(const char *name)
{
	for (int i = 0; deficit_names[i]; i++)
		if (strcmp(deficit_names[i], name) == 0)
			return i + 1;
	return 0;
}

int division_flavor(const struct division *d, const char *name)
{
	for (size_t i = 0; i < d->flavors.count; i++)
		if (strcmp(d->flavors.items[i].head.name, name) == 0)
			return (int)i;
	return -1;
}

static const char *flavor_name(const void *ctx, size_t i)
{
	return ((const struct division *)ctx)->flavors.items[i].head.name;
}

static const char *predicate_name(const void *ctx, size_t i)
{
	return ((const struct division *)ctx)->predicates.items[i].name;
}

/* ---- setters -------------------------------------------------------------------------------- */

static const struct conf_row amount_rows[] = {
	{.key = "nodes", .type = CONF_COUNT, .offset = offsetof(struct division_amount, nodes), .max = AMOUNT_MAX},
	{.key = "gpus", .type = CONF_COUNT, .offset = offsetof(struct division_amount, gpus), .max = AMOUNT_MAX},
	{.key = "cores", .type = CONF_COUNT, .offset = offsetof(struct division_amount, cores), .max = AMOUNT_MAX},
};
static const struct conf_schema amount_schema = {.rows = amount_rows, .rows_count = ARRAY_LEN(amount_rows)};
static const struct division_amount amount_unset = {DIVISION_UNSET, DIVISION_UNSET, DIVISION_UNSET};

/* One flavor's amount; `n` is the map {nodes: 2, gpus: 16}. */
static void read_amount(struct conf_walk *walk, struct doc_node *n, struct division_amount *ret)
{
	const struct division *d = ((struct builder *)walk->ctx)->d;
	int f = division_flavor(d, n->key);
	bool core;

	if (f < 0) {
		const char *near = config_nearest(n->key, d->flavors.count, flavor_name, d);
		struct config_error *e = conf_error_key(walk, n, "unknown flavor '%.100s'", n->key);

		config_error_try(e, "%s", near ? near : "describe it under flavors");
		return;
	}
	*ret = amount_unset;
	conf_walk_map(walk, &amount_schema, n, ret);
	if (n->kind != DOC_MAP)
		return;
	if (n->count == 0)
		config_error_try(conf_error(walk, n, "an amount is missing"), "{nodes: 2, gpus: 16}");
	core = d->flavors.items[f].unit == DIVISION_UNIT_CORE;
	if (core && ret->gpus != DIVISION_UNSET)
		config_error_try(conf_error(walk, n, "'%s' is counted in cores, not gpus", n->key), "cores: N");
	if (!core && ret->cores != DIVISION_UNSET)
		config_error_try(conf_error(walk, n, "'%s' is counted in devices, not cores", n->key), "gpus: N");
}

static bool is_map(struct conf_walk *walk, const struct doc_node *node, const char *hint)
{
	if (node->kind == DOC_MAP)
		return true;
	config_error_try(conf_error(walk, node, "a map belongs here"), "%s", hint);
	return false;
}

/* An array of amounts by flavor. `target` is the node's array pointer, filled with "unset" before. */
static void set_amounts(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *target)
{
	struct division_amount *amounts;
	bool total = strcmp(row->key, "nominal") == 0;

	memcpy(&amounts, target, sizeof(amounts));
	if (!is_map(walk, node, "{FLAVOR: {nodes: 2, gpus: 16}}"))
		return;
	for (struct doc_node *n = node->first; n; n = n->next) {
		struct division_amount a = amount_unset;
		int f = division_flavor(((struct builder *)walk->ctx)->d, n->key);

		if (n->bad)
			continue;
		read_amount(walk, n, &a);
		if (f < 0)
			continue;
		if (total) { /* a named flavor is told in full */
			a.nodes = a.nodes < 0 ? 0 : a.nodes;
			a.gpus = a.gpus < 0 ? 0 : a.gpus;
			a.cores = a.cores < 0 ? 0 : a.cores;
		}
		amounts[f] = a;
	}
}

static void set_committed(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *target)
{
	struct division *d = ((struct builder *)walk->ctx)->d;

	(void)row;
	(void)target;
	if (!is_map(walk, node, "{FLAVOR: {nodes: 20}}"))
		return;
	for (struct doc_node *n = node->first; n; n = n->next) {
		struct division_amount a = amount_unset;
		int f = division_flavor(d, n->key);

		if (n->bad)
			continue;
		read_amount(walk, n, &a);
		if (f >= 0)
			d->flavors.items[f].committed = a;
	}
}

/* "700W" */
static void set_power(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *target)
{
	char digits[12] = "";
	int64_t v = 0;
	size_t len = node->kind == DOC_SCALAR ? strlen(node->text) : 0;

	(void)row;
	if (len >= 2 && len <= sizeof(digits) && node->text[len - 1] == 'W')
		memcpy(digits, node->text, len - 1);
	if (units_count(digits, 1, 1000000, &v, NULL)) {
		config_error_try(conf_error(walk, node, "no power in watts"), "700W");
		return;
	}
	memcpy(target, &v, sizeof(v));
}

static void set_gpuh(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *target)
{
	struct err err = {0};
	int64_t v = 0;

	(void)row;
	if (node->kind != DOC_SCALAR || units_gpuh_mrus(node->text, &v, &err)) {
		config_error_try(conf_error(walk, node, "%s", err.msg[0] ? err.msg : "an amount of GPU-hours belongs here"),
				 "4000 gpuh");
		return;
	}
	memcpy(target, &v, sizeof(v));
}

/* "18:00", "24:00" in minutes of the day */
static void set_minute(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *target)
{
	const char *s = node->kind == DOC_SCALAR ? node->text : "";
	int64_t v;

	(void)row;
	if (strlen(s) != 5 || s[2] != ':' || strspn(s, "0123456789") != 2 || strspn(s + 3, "0123456789") != 2 ||
	    s[3] > '5') {
		config_error_try(conf_error(walk, node, "no time of day"), "\"18:00\"");
		return;
	}
	v = ((s[0] - '0') * 10 + (s[1] - '0')) * 60 + (s[3] - '0') * 10 + (s[4] - '0');
	if (v > 1440)
		config_error_try(conf_error(walk, node, "'%s' is no time of day", s), "\"00:00\" to \"24:00\"");
	memcpy(target, &v, sizeof(v));
}

/* eu-sovereign: {jurisdiction: [NL, DE], operator_attested: true} */
static void set_predicates(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *target)
{
	static const struct conf_row list = {.key = "values", .type = CONF_TEXT_LIST};
	static const struct conf_row text = {.key = "value", .type = CONF_TEXT};
	struct division *d = ((struct builder *)walk->ctx)->d;

	(void)row;
	(void)target;
	if (!is_map(walk, node, "NAME: {KEY: [VALUE, VALUE]}"))
		return;
	d->predicates.items = arena_alloc(walk->arena, (node->count + 1) * sizeof(*d->predicates.items));
	for (struct doc_node *n = node->first; n; n = n->next) {
		struct division_predicate *p = &d->predicates.items[d->predicates.count];

		if (n->bad || !is_map(walk, n, "{KEY: [VALUE, VALUE]}"))
			continue;
		p->name = arena_copy(walk->arena, n->key, strlen(n->key) + 1);
		p->line = n->key_line;
		p->col = n->key_col;
		p->claims = arena_alloc(walk->arena, (n->count + 1) * sizeof(*p->claims));
		for (struct doc_node *c = n->first; c; c = c->next) {
			struct division_claim *claim = &p->claims[p->claims_count++];

			claim->key = arena_copy(walk->arena, c->key, strlen(c->key) + 1);
			if (c->kind == DOC_SEQ) {
				conf_value(walk, &list, c, &claim->values);
			} else {
				claim->values.items = arena_alloc(walk->arena, sizeof(char *));
				claim->values.count = 1;
				conf_value(walk, &text, c, &claim->values.items[0]);
			}
		}
		if (p->claims_count == 0)
			(void)conf_error(walk, n, "predicate '%s' asks for nothing", n->key);
		d->predicates.count++;
	}
}

static void set_require(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *target)
{
	static const struct conf_row list = {.key = "require", .type = CONF_TEXT_LIST};
	const struct division *d = ((struct builder *)walk->ctx)->d;

	(void)row;
	conf_value(walk, &list, node, target);
	for (struct doc_node *n = node->kind == DOC_SEQ ? node->first : NULL; n; n = n->next) {
		bool known = false;
		const char *near;
		struct config_error *e;

		for (size_t i = 0; n->kind == DOC_SCALAR && i < d->predicates.count; i++)
			known = known || strcmp(d->predicates.items[i].name, n->text) == 0;
		if (known || n->kind != DOC_SCALAR)
			continue;
		e = conf_error(walk, n, "unknown predicate '%.100s'", n->text);
		near = e ? config_nearest(n->text, d->predicates.count, predicate_name, d) : NULL;
		config_error_try(e, "%s", near ? near : "describe it under predicates");
	}
	if (node->kind == DOC_SEQ && node->count > REQUIRES_MAX)
		(void)conf_error(walk, node, "more than %d predicates", REQUIRES_MAX);
}

static void set_members(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *target)
{
	static const struct conf_row list = {.key = "members", .type = CONF_TEXT_LIST};
	size_t seen = 0;

	(void)row;
	conf_value(walk, &list, node, target);
	if (node->kind == DOC_SEQ && node->count > MEMBERS_PER_QNODE_MAX) {
		(void)conf_error(walk, node, "more than %d members", MEMBERS_PER_QNODE_MAX);
		return;
	}
	for (struct doc_node *n = node->kind == DOC_SEQ ? node->first : NULL; n; n = n->next, seen++) {
		struct doc_node *other = node->first;

		if (n->kind == DOC_SCALAR && strlen(n->text) >= NAME_BYTES)
			(void)conf_error(walk, n, "a member's name is longer than %d bytes", NAME_BYTES - 1);
		for (size_t i = 0; i < seen; i++, other = other->next)
			if (n->kind == DOC_SCALAR && other->kind == DOC_SCALAR && strcmp(n->text, other->text) == 0) {
				(void)conf_error(walk, n, "'%.100s' is a member twice", n->text);
				break;
			}
	}
}

static void set_deficit(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *target)
{
	static const struct conf_row list = {.key = "order", .type = CONF_TEXT_LIST};

	(void)row;
	conf_value(walk, &list, node, target);
	for (struct doc_node *n = node->kind == DOC_SEQ ? node->first : NULL; n; n = n->next) {
		static const struct conf_row word = {.key = "order", .type = CONF_ENUM, .names = deficit_names};
		int unused;

		if (n->kind == DOC_SCALAR)
			conf_value(walk, &word, n, &unused);
	}
}

/* A stage comes after one that stands before it; amounts fit the award. */
static void check_grant(struct conf_walk *walk, struct doc_node *node, void *target)
{
	const struct division_node *dn = target;
	const struct division_stage *stages = dn->grant.stages.items;
	int64_t sum = 0;
	char a[UNITS_TEXT_BYTES], b[UNITS_TEXT_BYTES];

	if (dn->grant.stages.count > STAGES_PER_GRANT_MAX) {
		(void)conf_error(walk, node, "more than %d stages", STAGES_PER_GRANT_MAX);
		return;
	}
	if (dn->grant.approve_k > (int64_t)dn->grant.approve_of.count && dn->grant.approve_of.count > 0)
		(void)conf_error(walk, doc_get(node, "approve"), "%" PRId64 " approvals of %zu roles", dn->grant.approve_k,
				 dn->grant.approve_of.count);
	for (size_t i = 0; i < dn->grant.stages.count; i++) {
		const struct division_stage *s = &stages[i];
		bool found = !s->after;

		for (size_t k = 0; k < i; k++) {
			if (strcmp(stages[k].name, s->name) == 0)
				(void)config_errors_add(walk->errs, walk->doc->file, s->head.line, s->head.col,
							"stage '%s' stands twice", s->name);
			found = found || strcmp(stages[k].name, s->after) == 0;
		}
		if (!found)
			config_error_try(config_errors_add(walk->errs, walk->doc->file, s->head.line, s->head.col,
							   "stage '%s' comes after '%s', which does not stand before it",
							   s->name, s->after),
					 "write the stages in their order");
		if (s->to_ms && s->to_ms <= s->from_ms)
			(void)config_errors_add(walk->errs, walk->doc->file, s->head.line, s->head.col,
						"stage '%s' ends before it begins", s->name);
		if (ckd_add(&sum, sum, s->amount_mrus))
			sum = INT64_MAX;
	}
	if (sum > dn->grant.awarded_mrus)
		config_error_try(conf_error(walk, node, "the stages hold %s, %s are awarded", units_gpuh_print(a, sum),
					    units_gpuh_print(b, dn->grant.awarded_mrus)),
				 "awarded: %s", a);
}

/* ---- the tables ----------------------------------------------------------------------------- */

static void set_group(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *target);
static void set_windows(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *target);

static const struct conf_row flavor_rows[] = {
	{.key = "vendor", .type = CONF_TEXT, .offset = FLAVOR(vendor), .doc = "nvidia, amd, intel; left out: any"},
	{.key = "model", .type = CONF_TEXT, .offset = FLAVOR(model), .doc = "glob over the reported model"},
	{.key = "memory", .type = CONF_SIZE_MIB, .offset = FLAVOR(memory_mib), .max = INT64_C(1) << 30,
	 .doc = "memory of the device"},
	{.key = "mig", .type = CONF_TEXT, .offset = FLAVOR(mig), .doc = "profile of a slice: 1g.10gb"},
	{.key = "weight", .type = CONF_COUNT, .offset = FLAVOR(weight_milli), .preset = "1000", .min = 1, .max = 1000000,
	 .doc = "worth in thousandths of the reference device"},
	{.key = "power", .type = CONF_CUSTOM, .offset = FLAVOR(power_w), .set = set_power, .doc = "power at full load"},
	{.key = "scrub_max", .type = CONF_DURATION, .offset = FLAVOR(scrub_max_ms), .preset = "60s", .max = MS_PER_HOUR,
	 .doc = "longest cleaning between two holders"},
	{.key = "unit", .type = CONF_ENUM, .offset = FLAVOR(unit), .preset = "device", .names = unit_names,
	 .doc = "what is counted"},
	{.key = "devices_per_node", .type = CONF_COUNT, .offset = FLAVOR(devices_per_node), .preset = "8", .min = 1,
	 .max = DEVICES_PER_NODE_MAX, .doc = "devices of a whole node"},
	{.key = "headroom", .type = CONF_COUNT, .offset = FLAVOR(headroom), .max = AMOUNT_MAX,
	 .doc = "devices kept free of loans, always; growth of the leases may keep more"},
};
static const struct conf_schema flavor_schema = {
	.rows = flavor_rows, .rows_count = ARRAY_LEN(flavor_rows), .item_bytes = sizeof(struct division_flavor)};

static const struct conf_row stage_rows[] = {
	{.key = "name", .type = CONF_NAME, .required = true, .offset = STAGE(name)},
	{.key = "amount", .type = CONF_CUSTOM, .required = true, .offset = STAGE(amount_mrus), .set = set_gpuh},
	{.key = "from", .type = CONF_INSTANT, .required = true, .offset = STAGE(from_ms)},
	{.key = "to", .type = CONF_INSTANT, .offset = STAGE(to_ms)},
	{.key = "after", .type = CONF_NAME, .offset = STAGE(after)},
	{.key = "carry_over", .type = CONF_SHARE, .offset = STAGE(carry_over_ppm), .max = UNITS_PPM_ALL},
};
static const struct conf_schema stage_schema = {
	.rows = stage_rows, .rows_count = ARRAY_LEN(stage_rows), .item_bytes = sizeof(struct division_stage)};

static const struct conf_row approve_rows[] = {
	{.key = "k", .type = CONF_COUNT, .required = true, .offset = NODE(grant.approve_k), .min = 1, .max = 16},
	{.key = "of", .type = CONF_TEXT_LIST, .required = true, .offset = NODE(grant.approve_of)},
};
static const struct conf_schema approve_schema = {.rows = approve_rows, .rows_count = ARRAY_LEN(approve_rows)};
/* target is the whole node: these rows carry the node's offsets */
static void set_approve(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *target)
{
	(void)row;
	conf_walk_map(walk, &approve_schema, node, target);
}
static const struct conf_row grant_rows[] = {
	{.key = "awarded", .type = CONF_CUSTOM, .required = true, .offset = NODE(grant.awarded_mrus), .set = set_gpuh},
	{.key = "approve", .type = CONF_CUSTOM, .set = set_approve},
	{.key = "stages", .type = CONF_SEQ_OF, .required = true, .offset = NODE(grant.stages), .sub = &stage_schema},
};
static const struct conf_schema grant_schema = {
	.rows = grant_rows, .rows_count = ARRAY_LEN(grant_rows), .check = check_grant};
static void set_grant(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *target)
{
	(void)row;
	conf_walk_map(walk, &grant_schema, node, target);
}

static const struct conf_row project_limit_rows[] = {
	{.key = "running_jobs", .type = CONF_COUNT, .offset = NODE(limits.running_jobs), .min = 1, .max = 4000000},
	{.key = "pending_jobs", .type = CONF_COUNT, .offset = NODE(limits.pending_jobs), .min = 1, .max = 4000000},
	{.key = "time_max", .type = CONF_DURATION, .offset = NODE(limits.time_max_ms), .min = 1000, .max = LONG_MS},
};
static const struct conf_schema project_limit_schema = {
	.rows = project_limit_rows, .rows_count = ARRAY_LEN(project_limit_rows)};
static const struct conf_row provider_limit_rows[] = {
	{.key = "leases", .type = CONF_COUNT, .offset = NODE(limits.leases), .min = 1, .max = 1000000},
	{.key = "term_max", .type = CONF_DURATION, .offset = NODE(limits.term_max_ms), .min = 1000, .max = LONG_MS},
};
static const struct conf_schema provider_limit_schema = {
	.rows = provider_limit_rows, .rows_count = ARRAY_LEN(provider_limit_rows)};

static const struct conf_row window_rows[] = {
	{.key = "every", .type = CONF_ENUM, .required = true, .offset = WINDOW(every), .names = every_names},
	{.key = "from", .type = CONF_CUSTOM, .required = true, .offset = WINDOW(from_min), .set = set_minute},
	{.key = "to", .type = CONF_CUSTOM, .required = true, .offset = WINDOW(to_min), .set = set_minute},
	{.key = "zone", .type = CONF_TEXT, .offset = WINDOW(zone)},
	{.key = "borrowing_limit", .type = CONF_CUSTOM, .required = true, .offset = WINDOW(borrowing), .set = set_amounts},
};
static const struct conf_schema window_schema = {
	.rows = window_rows, .rows_count = ARRAY_LEN(window_rows), .item_bytes = sizeof(struct division_window)};

/* What every node of the tree may say. */
#define QUOTA_ROWS                                                                                                     \
	{.key = "nominal", .type = CONF_CUSTOM, .offset = NODE(nominal), .set = set_amounts},                          \
	{.key = "borrowing_limit", .type = CONF_CUSTOM, .offset = NODE(borrowing), .set = set_amounts},                \
	{.key = "lending_limit", .type = CONF_CUSTOM, .offset = NODE(lending), .set = set_amounts},                    \
	{.key = "weight", .type = CONF_COUNT, .offset = NODE(weight), .preset = "1", .min = 1, .max = 1000000},        \
	{.key = "recall_slo", .type = CONF_DURATION, .offset = NODE(recall_slo_ms), .min = 1000, .max = LONG_MS},      \
	{.key = "require", .type = CONF_CUSTOM, .offset = NODE(require), .set = set_require}

static const struct conf_row public_rows[] = {QUOTA_ROWS, {.key = "sectors", .type = CONF_CUSTOM, .set = set_group}};
static const struct conf_row sector_rows[] = {QUOTA_ROWS, {.key = "challenges", .type = CONF_CUSTOM, .set = set_group}};
static const struct conf_row challenge_rows[] = {QUOTA_ROWS, {.key = "projects", .type = CONF_CUSTOM, .set = set_group}};
static const struct conf_row project_rows[] = {
	QUOTA_ROWS,
	{.key = "pi", .type = CONF_NAME, .offset = NODE(pi)},
	{.key = "members", .type = CONF_CUSTOM, .offset = NODE(members), .set = set_members},
	{.key = "limits", .type = CONF_MAP, .sub = &project_limit_schema},
	{.key = "grant", .type = CONF_CUSTOM, .set = set_grant},
};
static const struct conf_row private_rows[] = {QUOTA_ROWS, {.key = "classes", .type = CONF_CUSTOM, .set = set_group}};
static const struct conf_row class_rows[] = {
	QUOTA_ROWS,
	{.key = "concentration_cap", .type = CONF_SHARE, .offset = NODE(concentration_cap_ppm), .min = 1,
	 .max = UNITS_PPM_ALL},
	{.key = "providers", .type = CONF_CUSTOM, .set = set_group},
};
static const struct conf_row provider_rows[] = {
	QUOTA_ROWS,
	{.key = "tenant", .type = CONF_NAME, .required = true, .offset = NODE(tenant)},
	{.key = "members", .type = CONF_CUSTOM, .offset = NODE(members), .set = set_members},
	{.key = "limits", .type = CONF_MAP, .sub = &provider_limit_schema},
	{.key = "windows", .type = CONF_CUSTOM, .set = set_windows},
};
static const struct conf_row tree_rows[] = {
	{.key = "public", .type = CONF_CUSTOM, .set = set_group},
	{.key = "private", .type = CONF_CUSTOM, .set = set_group},
};

/* By kind: its name in texts, its table, and the group key its children stand under. */
static const struct kind {
	const char *text;
	struct conf_schema schema;
	const char *group;
	enum division_kind child;
} kinds[] = {
	[DIVISION_ROOT] = {"root", {.rows = tree_rows, .rows_count = ARRAY_LEN(tree_rows)}, NULL, DIVISION_ROOT},
	[DIVISION_PUBLIC] = {"public", {.rows = public_rows, .rows_count = ARRAY_LEN(public_rows)}, "sectors", DIVISION_SECTOR},
	[DIVISION_PRIVATE] = {"private", {.rows = private_rows, .rows_count = ARRAY_LEN(private_rows)}, "classes", DIVISION_CLASS},
	[DIVISION_SECTOR] = {"sector", {.rows = sector_rows, .rows_count = ARRAY_LEN(sector_rows)}, "challenges", DIVISION_CHALLENGE},
	[DIVISION_CHALLENGE] = {"challenge", {.rows = challenge_rows, .rows_count = ARRAY_LEN(challenge_rows)}, "projects", DIVISION_PROJECT},
	[DIVISION_PROJECT] = {"project", {.rows = project_rows, .rows_count = ARRAY_LEN(project_rows)}, NULL, DIVISION_PROJECT},
	[DIVISION_CLASS] = {"class", {.rows = class_rows, .rows_count = ARRAY_LEN(class_rows)}, "providers", DIVISION_PROVIDER},
	[DIVISION_PROVIDER] = {"provider", {.rows = provider_rows, .rows_count = ARRAY_LEN(provider_rows)}, NULL, DIVISION_PROVIDER},
};

const char *division_kind_text(int kind)
{
	ENSURE(kind >= 0 && (size_t)kind < ARRAY_LEN(kinds));
	return kinds[kind].text;
}

static struct division_amount *amounts_new(struct arena *arena, size_t count)
{
	struct division_amount *a = arena_alloc(arena, (count + 1) * sizeof(*a));

	for (size_t i = 0; i < count; i++)
		a[i] = amount_unset;
	return a;
}

/* Read one node of the tree and everything below it. */
static void read_node(struct conf_walk *walk, enum division_kind kind, const char *name, struct doc_node *node)
{
	struct builder *b = walk->ctx;
	size_t flavors = b->d->flavors.count, index = b->count, parent = b->parent;
	struct division_node dn = {.kind = (int)kind, .parent = (uint32_t)parent, .line = node->key_line, .col = node->key_col};

	if (b->count == QNODES_MAX) {
		(void)conf_error_key(walk, node, "more than %d nodes in the tree", QNODES_MAX);
		return;
	}
	if (b->count == b->cap) {
		b->cap = b->cap ? b->cap * 2 : 64;
		b->nodes = xrealloc(b->nodes, b->cap * sizeof(*b->nodes));
		b->docs = xrealloc(b->docs, b->cap * sizeof(struct doc_node *));
	}
	b->docs[index] = node;
	b->count++;
	dn.name = arena_copy(walk->arena, name, strlen(name) + 1);
	dn.nominal = amounts_new(walk->arena, flavors);
	dn.own = amounts_new(walk->arena, flavors);
	dn.borrowing = amounts_new(walk->arena, flavors);
	dn.lending = amounts_new(walk->arena, flavors);
	b->parent = index;
	conf_walk_map(walk, &kinds[kind].schema, node, &dn);
	b->parent = parent;
	b->nodes[index] = dn;
}

static void set_group(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *target)
{
	/* `public` and `private` are nodes themselves; the other keys hold nodes by name */
	static const struct { const char *key; enum division_kind kind; } groups[] = {
		{"sectors", DIVISION_SECTOR},	{"challenges", DIVISION_CHALLENGE}, {"projects", DIVISION_PROJECT},
		{"classes", DIVISION_CLASS},	{"providers", DIVISION_PROVIDER},
	};
	enum division_kind kind = DIVISION_ROOT;

	(void)target;
	if (strcmp(row->key, "public") == 0 || strcmp(row->key, "private") == 0) {
		read_node(walk, row->key[1] == 'u' ? DIVISION_PUBLIC : DIVISION_PRIVATE, row->key, node);
		return;
	}
	node->hidden = true;
	for (size_t i = 0; i < ARRAY_LEN(groups); i++)
		if (strcmp(groups[i].key, row->key) == 0)
			kind = groups[i].kind;
	ENSURE(kind != DIVISION_ROOT);
	if (!is_map(walk, node, "NAME: {...}"))
		return;
	for (struct doc_node *n = node->first; n; n = n->next) {
		size_t len = strlen(n->key);

		if (n->bad)
			continue;
		if (len >= NAME_BYTES || strspn(n->key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != len)
			config_error_try(conf_error_key(walk, n, "'%.100s' is no name for a %s", n->key, kinds[kind].text),
					 "letters, digits, - _ . (%d at most)", NAME_BYTES - 1);
		read_node(walk, kind, n->key, n);
	}
}

/* A window's amounts need their array before the table fills it. */
static void set_windows(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *target)
{
	struct builder *b = walk->ctx;
	struct division_node *dn = target; /* the row's offset is 0 */
	struct division_window *items;

	(void)row;
	if (node->kind != DOC_SEQ) {
		config_error_try(conf_error(walk, node, "a list belongs here"), "- {every: weekday, from: \"18:00\", ...}");
		return;
	}
	b->windows += node->count;
	if (node->count > QUOTA_WINDOWS_MAX || b->windows > DIVISION_WINDOWS_MAX) {
		(void)conf_error(walk, node, "more than %d windows of one node, or %d of all", QUOTA_WINDOWS_MAX,
				 DIVISION_WINDOWS_MAX);
		return;
	}
	items = arena_alloc(walk->arena, (node->count + 1) * sizeof(*items));
	dn->windows.items = items;
	for (struct doc_node *n = node->first; n; n = n->next) {
		struct division_window *w = &items[dn->windows.count];
		size_t before = walk->errs->count + walk->errs->dropped;

		if (n->bad)
			continue;
		w->head = (struct conf_head){.line = n->line, .col = n->col};
		w->borrowing = amounts_new(walk->arena, b->d->flavors.count);
		conf_walk_map(walk, &window_schema, n, w);
		if (w->from_min >= w->to_min && walk->errs->count + walk->errs->dropped == before)
			config_error_try(conf_error(walk, n, "the window ends before it begins"),
					 "two windows, if it spans midnight");
		dn->windows.count++;
	}
}

/* ---- sums ----------------------------------------------------------------------------------- */

/* "2 whole nodes and 16 single gpus" */
static void amount_text(const struct division_amount *a, struct buf *out)
{
	const char *glue = "";

	if (a->nodes > 0) {
		buf_addf(out, "%" PRId64 " whole node%s", a->nodes, a->nodes == 1 ? "" : "s");
		glue = " and ";
	}
	if (a->gpus > 0) {
		buf_addf(out, "%s%" PRId64 " single gpu%s", glue, a->gpus, a->gpus == 1 ? "" : "s");
		glue = " and ";
	}
	if (a->cores > 0 || *glue == '\0')
		buf_addf(out, "%s%" PRId64 " cores", glue, a->cores > 0 ? a->cores : 0);
}

/* Where the node declares its nominal, or the node itself. */
static const struct doc_node *nominal_place(const struct builder *b, size_t node)
{
	const struct doc_node *at = doc_get(b->docs[node], "nominal");

	return at ? at : b->docs[node];
}

/* Totals from the leaves up; what a node declares must hold its children. */
static void sum_flavor(struct conf_walk *walk, struct builder *b, size_t f, struct division_amount *totals,
		       struct division_amount *children)
{
	const char *flavor = b->d->flavors.items[f].head.name;

	for (size_t i = 0; i < b->count; i++)
		children[i] = (struct division_amount){0};
	for (size_t i = b->count; i-- > 0;) {
		struct division_node *n = &b->nodes[i];
		const struct division_amount *sum = &children[i];

		totals[i] = n->nominal[f].nodes == DIVISION_UNSET ? *sum : n->nominal[f];
		n->own[f] = (struct division_amount){totals[i].nodes - sum->nodes, totals[i].gpus - sum->gpus,
						     totals[i].cores - sum->cores};
		if (n->own[f].nodes < 0 || n->own[f].gpus < 0 || n->own[f].cores < 0) {
			CLEANUP(buf_done) struct buf have = BUF_INIT;
			CLEANUP(buf_done) struct buf want = BUF_INIT;

			amount_text(&totals[i], &have);
			amount_text(sum, &want);
			config_error_try(conf_error_key(walk, nominal_place(b, i), "'%s' declares %s of %s, its children %s",
							n->name, buf_cstr(&have), flavor, buf_cstr(&want)),
					 "raise it, or lower a child");
		}
		if (i > 0) {
			struct division_amount *up = &children[n->parent];

			up->nodes += totals[i].nodes;
			up->gpus += totals[i].gpus;
			up->cores += totals[i].cores;
		}
	}
}

/* public + private within committed. Single gpus are cut from whole nodes once those committed singly
 * are used up. */
static void check_committed(struct conf_walk *walk, const struct builder *b, size_t f, const struct division_amount *root)
{
	const struct division_flavor *fl = &b->d->flavors.items[f];
	const struct division_amount zero = {0};
	struct division_amount have = fl->committed.nodes == DIVISION_UNSET && fl->committed.gpus == DIVISION_UNSET &&
						      fl->committed.cores == DIVISION_UNSET
					      ? zero
					      : fl->committed;
	CLEANUP(buf_done) struct buf promised = BUF_INIT;
	size_t at = 0;
	int64_t loose, need;

	have.nodes = have.nodes < 0 ? 0 : have.nodes;
	have.gpus = have.gpus < 0 ? 0 : have.gpus;
	have.cores = have.cores < 0 ? 0 : have.cores;
	for (size_t i = 0; i < b->count; i++)
		if (b->nodes[i].kind <= DIVISION_PRIVATE && b->nodes[i].nominal[f].nodes != DIVISION_UNSET)
			at = i;
	amount_text(root, &promised);
	if (fl->unit == DIVISION_UNIT_CORE) {
		if (root->nodes <= have.nodes && root->cores <= have.cores)
			return;
		(void)conf_error_key(walk, nominal_place(b, at),
				     "public + private promise %s of %s; committed is %" PRId64 " nodes and %" PRId64 " cores",
				     buf_cstr(&promised), fl->head.name, have.nodes, have.cores);
		return;
	}
	loose = root->gpus > have.gpus ? root->gpus - have.gpus : 0;
	need = root->nodes + (loose + fl->devices_per_node - 1) / fl->devices_per_node;
	if (need <= have.nodes)
		return;
	if (have.gpus) {
		CLEANUP(buf_done) struct buf there = BUF_INIT;

		amount_text(&have, &there);
		config_error_try(config_errors_add(walk->errs, walk->doc->file, nominal_place(b, at)->key_line,
						   nominal_place(b, at)->key_col, "public + private promise %s of %s; committed is %s",
						   buf_cstr(&promised), fl->head.name, buf_cstr(&there)),
				 "promise less, or commit more");
	} else {
		config_error_try(config_errors_add(walk->errs, walk->doc->file, nominal_place(b, at)->key_line,
						   nominal_place(b, at)->key_col,
						   "public + private promise %s of %s, that is %" PRId64
						   " nodes; committed is %" PRId64,
						   buf_cstr(&promised), fl->head.name, need, have.nodes),
				 "promise less, or commit more");
	}
}

static int64_t in_devices(const struct division_flavor *f, const struct division_amount *a)
{
	return a->nodes * f->devices_per_node + (f->unit == DIVISION_UNIT_CORE ? a->cores : a->gpus);
}

static int by_tenant(const void *va, const void *vb)
{
	const struct division_node *a = *(struct division_node *const *)va, *b = *(struct division_node *const *)vb;
	int d = strcmp(a->tenant, b->tenant);

	if (d)
		return d;
	return a < b ? -1 : a > b;
}

/* What is promised to one tenant below a class must be within its cap, or the promise could not be used. */
static void check_concentration(struct conf_walk *walk, const struct builder *b, size_t f,
				const struct division_amount *totals, size_t top)
{
	const struct division_flavor *fl = &b->d->flavors.items[f];
	const struct division_node *n = &b->nodes[top];
	const struct doc_node *at = doc_get(b->docs[top], "concentration_cap");
	struct division_node **sorted = xcalloc(b->count + 1, sizeof(struct division_node *));
	int64_t all = in_devices(fl, &totals[n->parent]), most, sum = 0;
	size_t providers = 0;

	ENSURE(at);
	if (!f && at->text && strspn(at->text, "0123456789_") == strlen(at->text)) /* parts per million: nobody means them here */
		config_error_try(conf_error(walk, at, "'%s' is no share: its unit is missing", at->text), "%s %%", at->text);
	most = ppm_of(all, n->concentration_cap_ppm);
	for (size_t i = top + 1; i < b->count; i++)
		if (b->nodes[i].parent == top)
			sorted[providers++] = &b->nodes[i];
	qsort(sorted, providers, sizeof(struct division_node *), by_tenant);
	for (size_t i = 0; i < providers; i++) {
		const char *tenant = sorted[i]->tenant;
		char share[UNITS_TEXT_BYTES];

		sum = (i && strcmp(sorted[i - 1]->tenant, tenant) == 0 ? sum : 0) +
		      in_devices(fl, &totals[sorted[i] - b->nodes]);
		if (sum <= most || (i + 1 < providers && strcmp(sorted[i + 1]->tenant, tenant) == 0))
			continue;
		config_error_try(config_errors_add(walk->errs, walk->doc->file, at->key_line, at->key_col,
						   "tenant '%s' is promised %" PRId64 " %s of %s below '%s'; the cap of %s of the "
						   "private side's %" PRId64 " is %" PRId64, tenant, sum,
						   fl->unit == DIVISION_UNIT_CORE ? "cores" : "devices", fl->head.name, n->name,
						   units_share_print(share, n->concentration_cap_ppm), all, most),
				 "raise the cap, or lower a nominal of its providers");
	}
	free(sorted);
}

static int by_name(const void *va, const void *vb)
{
	const struct division_node *a = *(struct division_node *const *)va, *b = *(struct division_node *const *)vb;
	int d = strcmp(a->name, b->name);

	if (d)
		return d;
	return a < b ? -1 : a > b;
}

/* A provider is asked for by its bare name, so no two may share one. */
static void check_providers(struct conf_walk *walk, const struct builder *b)
{
	struct division_node **sorted = xcalloc(b->count + 1, sizeof(struct division_node *));
	size_t n = 0;

	for (size_t i = 0; i < b->count; i++)
		if (b->nodes[i].kind == DIVISION_PROVIDER)
			sorted[n++] = &b->nodes[i];
	qsort(sorted, n, sizeof(struct division_node *), by_name);
	for (size_t i = 1; i < n; i++)
		if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
			config_error_try(config_errors_add(walk->errs, walk->doc->file, sorted[i]->line, sorted[i]->col,
							   "provider '%s' stands twice, also in line %u", sorted[i]->name,
							   sorted[i - 1]->line),
					 "another name: leases are asked for by it");
	free(sorted);
}

static void set_tree(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *target)
{
	struct builder *b = walk->ctx;
	struct division_amount *totals, *children;
	size_t before;

	(void)row;
	(void)target;
	read_node(walk, DIVISION_ROOT, "root", node);
	if (walk->errs->count + walk->errs->dropped != b->errors_before)
		return; /* sums over half a tree, or flavors half read, would only confuse */
	totals = xcalloc(b->count, sizeof(*totals));
	children = xcalloc(b->count, sizeof(*children));
	for (size_t f = 0; f < b->d->flavors.count; f++) {
		before = walk->errs->count + walk->errs->dropped;
		sum_flavor(walk, b, f, totals, children);
		if (walk->errs->count + walk->errs->dropped == before)
			check_committed(walk, b, f, &totals[0]);
		for (size_t i = 0; i < b->count && walk->errs->count + walk->errs->dropped == before; i++)
			if (b->nodes[i].concentration_cap_ppm)
				check_concentration(walk, b, f, totals, i);
	}
	free(totals);
	free(children);
	check_providers(walk, b);
}

/* Flavors land as a plain list; each starts with nothing committed. */
static void set_flavors(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *target)
{
	static const struct conf_row list = {.key = "flavors", .type = CONF_MAP_OF, .sub = &flavor_schema};
	struct division *d = ((struct builder *)walk->ctx)->d;
	struct conf_items items = {0};

	(void)row;
	(void)target;
	conf_value(walk, &list, node, &items);
	d->flavors.items = items.items;
	d->flavors.count = items.count;
	for (size_t i = 0; i < items.count; i++) {
		struct division_flavor *f = &d->flavors.items[i];

		f->committed = amount_unset;
		if (strlen(f->head.name) >= FLAVOR_NAME_BYTES)
			(void)config_errors_add(walk->errs, walk->doc->file, f->head.line, f->head.col,
						"the name of flavor '%s' is longer than %d bytes", f->head.name,
						FLAVOR_NAME_BYTES - 1);
	}
	if (items.count > FLAVORS_MAX) {
		(void)conf_error(walk, node, "more than %d flavors", FLAVORS_MAX);
		d->flavors.count = FLAVORS_MAX; /* every node of the tree has room for each: keep that bounded */
	}
}

static const struct conf_row retries_rows[] = {
	{.key = "infra", .type = CONF_COUNT, .offset = DIV(defaults.job_retries_infra), .preset = "3", .max = 100},
	{.key = "user", .type = CONF_COUNT, .offset = DIV(defaults.job_retries_user), .preset = "0", .max = 100},
};
static const struct conf_schema retries_schema = {.rows = retries_rows, .rows_count = ARRAY_LEN(retries_rows)};
static const struct conf_row job_rows[] = {
	{.key = "time", .type = CONF_DURATION, .offset = DIV(defaults.job_time_ms), .min = 1000, .max = LONG_MS},
	{.key = "notice", .type = CONF_DURATION, .offset = DIV(defaults.job_notice_ms), .max = MS_PER_DAY},
	{.key = "retries", .type = CONF_MAP, .sub = &retries_schema},
	{.key = "class", .type = CONF_ENUM, .offset = DIV(defaults.job_class), .preset = "normal", .names = class_names},
};
static const struct conf_schema job_schema = {.rows = job_rows, .rows_count = ARRAY_LEN(job_rows)};
static const struct conf_row lease_rows[] = {
	{.key = "ttl", .type = CONF_DURATION, .offset = DIV(defaults.lease_ttl_ms), .min = 100, .max = LONG_MS},
	{.key = "grace", .type = CONF_DURATION, .offset = DIV(defaults.lease_grace_ms), .max = LONG_MS},
	{.key = "term", .type = CONF_DURATION, .offset = DIV(defaults.lease_term_ms), .min = 1000, .max = LONG_MS},
	{.key = "notice_nonrenew", .type = CONF_DURATION, .offset = DIV(defaults.lease_notice_nonrenew_ms), .preset = "7d",
	 .max = LONG_MS},
};
static const struct conf_schema lease_schema = {.rows = lease_rows, .rows_count = ARRAY_LEN(lease_rows)};
static const struct conf_row defaults_rows[] = {
	{.key = "job", .type = CONF_MAP, .sub = &job_schema},
	{.key = "lease", .type = CONF_MAP, .sub = &lease_schema},
};
static const struct conf_schema defaults_schema = {.rows = defaults_rows, .rows_count = ARRAY_LEN(defaults_rows)};
static const struct conf_row deficit_rows[] = {
	{.key = "order", .type = CONF_CUSTOM, .offset = DIV(deficit_order), .set = set_deficit},
};
static const struct conf_schema deficit_schema = {.rows = deficit_rows, .rows_count = ARRAY_LEN(deficit_rows)};

static const struct conf_row lending_rows[] = {
	{.key = "risk", .type = CONF_SHARE, .offset = DIV(lend_risk_ppm), .min = 1, .max = UNITS_PPM_ALL},
};
static const struct conf_schema lending_schema = {.rows = lending_rows, .rows_count = ARRAY_LEN(lending_rows)};

static const struct conf_row division_rows[] = {
	{.key = "version", .type = CONF_COUNT, .required = true, .offset = DIV(version), .max = INT64_C(1) << 53},
	{.key = "cluster", .type = CONF_NAME, .required = true, .offset = DIV(cluster)},
	{.key = "flavors", .type = CONF_CUSTOM, .required = true, .set = set_flavors},
	{.key = "committed", .type = CONF_CUSTOM, .required = true, .set = set_committed},
	{.key = "predicates", .type = CONF_CUSTOM, .set = set_predicates},
	{.key = "defaults", .type = CONF_MAP, .sub = &defaults_schema},
	{.key = "tree", .type = CONF_CUSTOM, .required = true, .set = set_tree},
	{.key = "deficit", .type = CONF_MAP, .sub = &deficit_schema},
	{.key = "lending", .type = CONF_MAP, .sub = &lending_schema},
};

/* ---- reading -------------------------------------------------------------------------------- */

static int division_from_doc(struct doc *doc, struct division **ret_division, struct config_errors *errs)
{
	static const struct conf_schema required = {.rows = division_rows, .rows_count = ARRAY_LEN(division_rows)};
	struct division *d = xcalloc(1, sizeof(*d));
	struct builder b = {.d = d, .errors_before = errs->count + errs->dropped};
	int code = conf_walk(doc, &required, d, &d->arena, &b, errs);

	if (b.count) {
		d->nodes = arena_copy(&d->arena, b.nodes, b.count * sizeof(*b.nodes));
		d->nodes_count = b.count;
	}
	free(b.nodes);
	free(b.docs);
	if (code)
		division_free(d);
	else
		*ret_division = d;
	return code;
}

int division_read_file(const char *path, struct division **ret_division, struct config_errors *errs)
{
	struct doc *doc = NULL;
	int code = doc_read_file(path, &doc, errs);

	if (code)
		return code;
	code = division_from_doc(doc, ret_division, errs);
	doc_free(doc);
	return code;
}

int division_read_bytes(const char *name, const void *bytes, size_t len, struct division **ret_division,
			struct config_errors *errs)
{
	struct doc *doc = NULL;
	int code = doc_read_bytes(name, bytes, len, &doc, errs);

	if (code)
		return code;
	code = division_from_doc(doc, ret_division, errs);
	doc_free(doc);
	return code;
}

void division_free(struct division *division)
{
	if (!division)
		return;
	arena_done(&division->arena);
	free(division);
}

void division_path(const struct division *division, size_t node, struct buf *out)
{
	const char *chain[QNODE_DEPTH_MAX];
	size_t n = 0;

	ENSURE(node < division->nodes_count);
	for (; node != 0 && n < ARRAY_LEN(chain); node = division->nodes[node].parent)
		chain[n++] = division->nodes[node].name;
	while (n > 0) {
		n--;
		buf_addf(out, "%s%s", chain[n], n ? "/" : "");
	}
}

/* ---- writing -------------------------------------------------------------------------------- */

static void write_indent(struct buf *out, int depth)
{
	buf_addf(out, "%*s", depth * 2, "");
}

static void write_amount(const struct division_amount *a, struct buf *out)
{
	const struct { const char *key; int64_t v; } parts[] = {{"nodes", a->nodes}, {"gpus", a->gpus}, {"cores", a->cores}};
	bool some = false;

	buf_addf(out, "{");
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		if (parts[i].v == DIVISION_UNSET)
			continue;
		buf_addf(out, "%s%s: %" PRId64, some ? ", " : "", parts[i].key, parts[i].v);
		some = true;
	}
	buf_addf(out, "}");
}

/* A nominal names its flavor in full, so zeros are left out unless nothing is left. */
static struct division_amount without_zeros(struct division_amount a)
{
	struct division_amount r = {a.nodes ? a.nodes : DIVISION_UNSET, a.gpus ? a.gpus : DIVISION_UNSET,
				    a.cores ? a.cores : DIVISION_UNSET};

	if (r.nodes == DIVISION_UNSET && r.gpus == DIVISION_UNSET && r.cores == DIVISION_UNSET)
		r.nodes = 0;
	return r;
}

static bool is_unset(const struct division_amount *a)
{
	return a->nodes == DIVISION_UNSET && a->gpus == DIVISION_UNSET && a->cores == DIVISION_UNSET;
}

static bool any_set(const struct division *d, const struct division_amount *amounts)
{
	for (size_t i = 0; i < d->flavors.count; i++)
		if (!is_unset(&amounts[i]))
			return true;
	return false;
}

static void write_amounts(const struct division *d, const struct division_amount *amounts, bool total, struct buf *out)
{
	bool some = false;

	buf_addf(out, "{");
	for (size_t i = 0; i < d->flavors.count; i++) {
		struct division_amount a = amounts[i];

		if (is_unset(&a))
			continue;
		if (total)
			a = without_zeros(a);
		buf_addf(out, "%s%s: ", some ? ", " : "", d->flavors.items[i].head.name);
		write_amount(&a, out);
		some = true;
	}
	buf_addf(out, "}");
}

static void write_texts(const struct conf_texts *texts, struct buf *out)
{
	buf_addf(out, "[");
	for (size_t i = 0; i < texts->count; i++) {
		buf_addf(out, "%s", i ? ", " : "");
		conf_quote(texts->items[i], out);
	}
	buf_addf(out, "]");
}

static void write_text_key(const char *key, const char *value, int depth, struct buf *out)
{
	if (!value)
		return;
	write_indent(out, depth);
	buf_addf(out, "%s: ", key);
	conf_quote(value, out);
	buf_addf(out, "\n");
}

static void write_grant(const struct division_node *n, int depth, struct buf *out)
{
	const struct division_stage *stages = n->grant.stages.items;
	char t[UNITS_TEXT_BYTES];

	if (n->grant.stages.count == 0 && n->grant.awarded_mrus == 0)
		return;
	write_indent(out, depth);
	buf_addf(out, "grant:\n");
	write_indent(out, depth + 1);
	buf_addf(out, "awarded: %s\n", units_gpuh_print(t, n->grant.awarded_mrus));
	if (n->grant.approve_k) {
		write_indent(out, depth + 1);
		buf_addf(out, "approve: {k: %" PRId64 ", of: ", n->grant.approve_k);
		write_texts(&n->grant.approve_of, out);
		buf_addf(out, "}\n");
	}
	write_indent(out, depth + 1);
	buf_addf(out, "stages:%s\n", n->grant.stages.count ? "" : " []");
	for (size_t i = 0; i < n->grant.stages.count; i++) {
		const struct division_stage *s = &stages[i];

		write_indent(out, depth + 2);
		buf_addf(out, "- {name: %s, amount: %s", s->name, units_gpuh_print(t, s->amount_mrus));
		buf_addf(out, ", from: \"%s\"", units_instant_print(t, s->from_ms));
		if (s->to_ms)
			buf_addf(out, ", to: \"%s\"", units_instant_print(t, s->to_ms));
		if (s->after)
			buf_addf(out, ", after: %s", s->after);
		if (s->carry_over_ppm)
			buf_addf(out, ", carry_over: %s", units_share_print(t, s->carry_over_ppm));
		buf_addf(out, "}\n");
	}
}

static void write_limits(const struct division_node *n, int depth, struct buf *out)
{
	const struct { const char *key; int64_t v; bool time; } limits[] = {
		{"running_jobs", n->limits.running_jobs, false}, {"pending_jobs", n->limits.pending_jobs, false},
		{"time_max", n->limits.time_max_ms, true},	 {"leases", n->limits.leases, false},
		{"term_max", n->limits.term_max_ms, true},
	};
	char t[UNITS_TEXT_BYTES];
	bool some = false;

	for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
		if (limits[i].v == 0)
			continue;
		if (!some) {
			write_indent(out, depth);
			buf_addf(out, "limits: {");
		}
		if (limits[i].time)
			buf_addf(out, "%s%s: %s", some ? ", " : "", limits[i].key, units_duration_exact(t, limits[i].v));
		else
			buf_addf(out, "%s%s: %" PRId64, some ? ", " : "", limits[i].key, limits[i].v);
		some = true;
	}
	if (some)
		buf_addf(out, "}\n");
}

static void write_windows(const struct division *d, const struct division_node *n, int depth, struct buf *out)
{
	const struct division_window *windows = n->windows.items;

	if (n->windows.count == 0)
		return;
	write_indent(out, depth);
	buf_addf(out, "windows:\n");
	for (size_t i = 0; i < n->windows.count; i++) {
		const struct division_window *w = &windows[i];

		write_indent(out, depth + 1);
		buf_addf(out, "- {every: %s, from: \"%02d:%02d\", to: \"%02d:%02d\"", every_names[w->every],
			 (int)(w->from_min / 60), (int)(w->from_min % 60), (int)(w->to_min / 60), (int)(w->to_min % 60));
		if (w->zone) {
			buf_addf(out, ", zone: ");
			conf_quote(w->zone, out);
		}
		buf_addf(out, ", borrowing_limit: ");
		write_amounts(d, w->borrowing, false, out);
		buf_addf(out, "}\n");
	}
}

/* Children of `index` stand behind it; `first_child` is found by scanning, so the whole is O(nodes^2) at
 * worst: 8192 nodes at most, and a person reads the result. */
static void write_node(const struct division *d, size_t index, int depth, struct buf *out)
{
	const struct division_node *n = &d->nodes[index];
	const struct { const char *key; const struct division_amount *amounts; bool total; } amounts[] = {
		{"nominal", n->nominal, true}, {"borrowing_limit", n->borrowing, false}, {"lending_limit", n->lending, false}};
	char t[UNITS_TEXT_BYTES];
	size_t start = out->len, body;
	bool some = false;

	write_indent(out, depth);
	buf_addf(out, "%s:", index ? n->name : "tree");
	body = out->len;
	buf_addf(out, "\n");
	for (size_t i = 0; i < ARRAY_LEN(amounts); i++) {
		if (!any_set(d, amounts[i].amounts))
			continue;
		write_indent(out, depth + 1);
		buf_addf(out, "%s: ", amounts[i].key);
		write_amounts(d, amounts[i].amounts, amounts[i].total, out);
		buf_addf(out, "\n");
	}
	if (n->weight > 1) {
		write_indent(out, depth + 1);
		buf_addf(out, "weight: %" PRId64 "\n", n->weight);
	}
	if (n->recall_slo_ms) {
		write_indent(out, depth + 1);
		buf_addf(out, "recall_slo: %s\n", units_duration_exact(t, n->recall_slo_ms));
	}
	if (n->concentration_cap_ppm) {
		write_indent(out, depth + 1);
		buf_addf(out, "concentration_cap: %s\n", units_share_print(t, n->concentration_cap_ppm));
	}
	write_text_key("tenant", n->tenant, depth + 1, out);
	write_text_key("pi", n->pi, depth + 1, out);
	if (n->members.count) {
		write_indent(out, depth + 1);
		buf_addf(out, "members: ");
		write_texts(&n->members, out);
		buf_addf(out, "\n");
	}
	if (n->require.count) {
		write_indent(out, depth + 1);
		buf_addf(out, "require: ");
		write_texts(&n->require, out);
		buf_addf(out, "\n");
	}
	write_limits(n, depth + 1, out);
	write_windows(d, n, depth + 1, out);
	write_grant(n, depth + 1, out);
	for (size_t i = index + 1; i < d->nodes_count; i++) {
		if (d->nodes[i].parent != index)
			continue;
		if (!some && kinds[n->kind].group) {
			write_indent(out, depth + 1);
			buf_addf(out, "%s:\n", kinds[n->kind].group);
		}
		some = true;
		write_node(d, i, depth + (kinds[n->kind].group ? 2 : 1), out);
	}
	if (out->len == body + 1) { /* nothing said: an empty map, not an empty value */
		out->len = body;
		buf_addf(out, " {}\n");
	}
	ENSURE(out->len > start);
}

/* A default that the file leaves to sluisd's own settings (0) is not written. */
static void default_write(struct buf *out, const char *key, int64_t ms)
{
	char t[UNITS_TEXT_BYTES];

	if (ms)
		buf_addf(out, "%s: %s, ", key, units_duration_exact(t, ms));
}

void division_write(const struct division *d, struct buf *out)
{
	char t[UNITS_TEXT_BYTES];
	bool some = false;

	buf_addf(out, "version: %" PRId64 "\ncluster: %s\n\nflavors:\n", d->version, d->cluster);
	for (size_t i = 0; i < d->flavors.count; i++) {
		const struct division_flavor *f = &d->flavors.items[i];
		const struct { const char *key, *value; } texts[] = {{"vendor", f->vendor}, {"model", f->model}, {"mig", f->mig}};

		buf_addf(out, "  %s: {", f->head.name);
		for (size_t k = 0; k < ARRAY_LEN(texts); k++) {
			if (!texts[k].value)
				continue;
			buf_addf(out, "%s: ", texts[k].key);
			conf_quote(texts[k].value, out);
			buf_addf(out, ", ");
		}
		if (f->memory_mib)
			buf_addf(out, "memory: %s, ", units_size_print(t, f->memory_mib << 20));
		if (f->power_w)
			buf_addf(out, "power: %" PRId64 "W, ", f->power_w);
		if (f->unit == DIVISION_UNIT_CORE)
			buf_addf(out, "unit: core, ");
		if (f->devices_per_node != 8)
			buf_addf(out, "devices_per_node: %" PRId64 ", ", f->devices_per_node);
		if (f->headroom)
			buf_addf(out, "headroom: %" PRId64 ", ", f->headroom);
		buf_addf(out, "scrub_max: %s, ", units_duration_exact(t, f->scrub_max_ms));
		buf_addf(out, "weight: %" PRId64 "}\n", f->weight_milli);
	}
	buf_addf(out, "\ncommitted: {");
	for (size_t i = 0; i < d->flavors.count; i++) {
		if (is_unset(&d->flavors.items[i].committed))
			continue;
		buf_addf(out, "%s%s: ", some ? ", " : "", d->flavors.items[i].head.name);
		write_amount(&d->flavors.items[i].committed, out);
		some = true;
	}
	buf_addf(out, "}\n");
	if (d->predicates.count)
		buf_addf(out, "\npredicates:\n");
	for (size_t i = 0; i < d->predicates.count; i++) {
		const struct division_predicate *p = &d->predicates.items[i];

		buf_addf(out, "  ");
		conf_quote(p->name, out);
		buf_addf(out, ": {");
		for (size_t k = 0; k < p->claims_count; k++) {
			buf_addf(out, "%s", k ? ", " : "");
			conf_quote(p->claims[k].key, out);
			buf_addf(out, ": ");
			write_texts(&p->claims[k].values, out);
		}
		buf_addf(out, "}\n");
	}
	buf_addf(out, "\ndefaults:\n  job: {");
	default_write(out, "time", d->defaults.job_time_ms);
	default_write(out, "notice", d->defaults.job_notice_ms);
	buf_addf(out, "retries: {infra: %" PRId64 ", user: %" PRId64 "}, class: %s}\n", d->defaults.job_retries_infra,
		 d->defaults.job_retries_user, class_names[d->defaults.job_class]);
	buf_addf(out, "  lease: {");
	default_write(out, "ttl", d->defaults.lease_ttl_ms);
	default_write(out, "grace", d->defaults.lease_grace_ms);
	default_write(out, "term", d->defaults.lease_term_ms);
	buf_addf(out, "notice_nonrenew: %s}\n\n", units_duration_exact(t, d->defaults.lease_notice_nonrenew_ms));
	write_node(d, 0, 0, out);
	if (d->deficit_order.count) {
		buf_addf(out, "\ndeficit:\n  order: ");
		write_texts(&d->deficit_order, out);
		buf_addf(out, "\n");
	}
	if (d->lend_risk_ppm)
		buf_addf(out, "\nlending:\n  risk: %s\n", units_share_print(t, d->lend_risk_ppm));
}
