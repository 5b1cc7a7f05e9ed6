/* directives.c - job scripts and job options (see directives.h; the table is options.def) */
#include "proto/config/directives.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "proto/base/ckd.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"
#include "proto/base/limits.h"
#include "proto/config/signals.h"
#include "proto/config/units.h"

enum { OPTION_TEXT_MAX = 4096, COUNT_MAX = 1000000 };
/* Far more than there are: who asks for them is told so (102) by what makes the job, not that it is no number. */
#define GPUS_TOLD_MAX (INT64_C(1000) * 1000 * 1000 * 1000)

#define APPLY(fn)                                                                                                      \
	static int apply_##fn(struct job_options *o, const struct job_option *row, const char *value,                  \
			      const struct option_where *where, struct err *err)
#define UNUSED_HERE (void)o, (void)row, (void)value, (void)where, (void)err

static char *keep(struct job_options *o, const char *text)
{
	return arena_copy(&o->arena, text, strlen(text) + 1);
}

static void set_i64(struct job_options *o, const struct job_option *row, int64_t v)
{
	memcpy((char *)o + row->offset, &v, sizeof(v));
}

static int bad(struct err *err, int code, const char *hint, const char *what)
{
	(void)err_set(err, code, "%s", what);
	(void)err_hint(err, "%s", hint);
	return code;
}

static void texts_add(struct job_options *o, struct conf_texts *list, const char *text)
{
	const char **items = arena_alloc(&o->arena, (list->count + 1) * sizeof(char *));

	if (list->count)
		memcpy(items, list->items, list->count * sizeof(char *));
	items[list->count++] = text;
	list->items = items;
}

/* ---- one function per kind of option -------------------------------------------------------- */

APPLY(text)
{
	char *copy;

	UNUSED_HERE;
	for (const unsigned char *p = (const unsigned char *)value; *p; p++)
		if ((*p < 0x20 && *p != '\t' && *p != '\n') || *p == 0x7f)
			return bad(err, ERR_INVAL, "plain text", "control characters");
	if (value[0] == '\0')
		return bad(err, ERR_INVAL, "give a value, or remove the option", "the value is empty");
	if (strlen(value) > OPTION_TEXT_MAX && row->offset != offsetof(struct job_options, wrap))
		return bad(err, ERR_RANGE, "4096 bytes at most", "the value is too long");
	copy = keep(o, value);
	memcpy((char *)o + row->offset, &copy, sizeof(copy));
	return 0;
}

APPLY(path)
{
	return apply_text(o, row, value, where, err);
}

APPLY(flag)
{
	bool yes = true;

	UNUSED_HERE;
	memcpy((char *)o + row->offset, &yes, sizeof(yes));
	return 0;
}

APPLY(count)
{
	int64_t v = 0;
	int code = units_count(value, 1, COUNT_MAX, &v, err);

	(void)where;
	if (code)
		return code;
	set_i64(o, row, v);
	return 0;
}

APPLY(count0)
{
	int64_t v = 0;
	int code = units_count(value, 0, 1000, &v, err);

	(void)where;
	if (code)
		return code;
	set_i64(o, row, v);
	return 0;
}

static const char *const classes[] = {"urgent", "normal", "standby", "scavenger"};

static bool is_class(const char *s)
{
	for (size_t i = 0; i < ARRAY_LEN(classes); i++)
		if (strcmp(classes[i], s) == 0)
			return true;
	return false;
}

APPLY(klass)
{
	UNUSED_HERE;
	if (!is_class(value))
		return bad(err, ERR_INVAL, "urgent, normal, standby or scavenger", "is no class");
	o->klass = keep(o, value);
	return 0;
}

APPLY(nodes)
{
	char low[16] = "", high[16] = "", rest = 0;
	int64_t min = 0, max = 0;
	int n = sscanf(value, "%15[0-9]-%15[0-9]%c", low, high, &rest);

	UNUSED_HERE;
	if (n == 1 && strcmp(low, value) == 0)
		memcpy(high, low, sizeof(high));
	else if (n != 2)
		return bad(err, ERR_INVAL, "4, or 2-8", "is no number of nodes");
	if (units_count(low, 1, COUNT_MAX, &min, NULL) || units_count(high, 1, COUNT_MAX, &max, NULL) || min > max)
		return bad(err, ERR_RANGE, "1 or more, the smaller first", "is no number of nodes");
	o->nodes_min = min;
	o->nodes_max = max;
	return 0;
}

APPLY(elastic)
{
	char low[16] = "", high[16] = "", rest = 0;
	int64_t min = 0, max = 0;

	UNUSED_HERE;
	if (sscanf(value, "%15[0-9]..%15[0-9]%c", low, high, &rest) != 2 ||
	    units_count(low, 1, COUNT_MAX, &min, NULL) || units_count(high, 1, COUNT_MAX, &max, NULL) || min > max)
		return bad(err, ERR_INVAL, "--elastic 2..8", "is no span");
	o->elastic_min = min;
	o->elastic_max = max;
	return 0;
}

/* "4", "h100:4"; `h100` alone is one. */
static int gpus_value(struct job_options *o, const char *value, int64_t min, int64_t *ret, struct err *err)
{
	static const char hint[] = "4, or h100:4";
	const char *colon = strrchr(value, ':'), *number = colon ? colon + 1 : value;
	size_t len = colon ? (size_t)(colon - value) : 0;
	int64_t v = 0;
	char *type;

	if (strchr(value, ','))
		return bad(err, ERR_UNSUPPORTED, "one kind of device per job: two jobs with aftercorr", "asks for two kinds of devices");
	if (!isdigit((unsigned char)number[0])) { /* --gpus=h100 */
		if (colon || !isalpha((unsigned char)number[0]))
			return bad(err, ERR_INVAL, hint, "is no number of devices");
		number = "1";
		len = strlen(value);
	}
	if (units_count(number, min, GPUS_TOLD_MAX, &v, NULL) || (colon && len == 0))
		return bad(err, ERR_INVAL, hint, "is no number of devices");
	if (len > 0) {
		if (len >= NAME_BYTES ||
		    strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") < len)
			return bad(err, ERR_INVAL, hint, "is no kind of device");
		type = arena_alloc(&o->arena, len + 1);
		memcpy(type, value, len);
		o->gpu_type = type;
	}
	*ret = v;
	return 0;
}

/* "8-32", "h100:8-32": what stands before the last '-' is the least of an elastic job. */
static bool gpus_range(struct job_options *o, const char *value, char least[64])
{
	const char *colon = strrchr(value, ':'), *number = colon ? colon + 1 : value, *dash = strchr(number, '-');
	int64_t min = 0, max = 0;

	if (!dash || !isdigit((unsigned char)number[0]) || (size_t)(dash - value) >= 64)
		return false;
	memcpy(least, value, (size_t)(dash - value));
	least[dash - value] = '\0';
	if (units_count(least + (number - value), 1, COUNT_MAX, &min, NULL) || units_count(dash + 1, 1, COUNT_MAX, &max, NULL) ||
	    min > max)
		return false;
	o->elastic_min = min;
	o->elastic_max = max;
	return true;
}

APPLY(gpus)
{
	bool whole = row->offset == offsetof(struct job_options, gpus);
	char least[64];
	int64_t v = 0;
	int code;

	(void)where;
	if (whole)
		o->elastic_min = o->elastic_max = JOB_UNSET;
	code = gpus_value(o, whole && gpus_range(o, value, least) ? least : value, 0, &v, err);
	if (code)
		return code;
	set_i64(o, row, v);
	return 0;
}

APPLY(gres)
{
	int64_t v = 1;
	int code;

	UNUSED_HERE;
	if (strcmp(value, "none") == 0) {
		o->gres_gpus = 0;
		return 0;
	}
	if (strncmp(value, "gres/", 5) == 0)
		value += 5;
	if (strcmp(value, "gpu") != 0) {
		if (strncmp(value, "gpu:", 4) != 0)
			return bad(err, ERR_UNSUPPORTED, "--gres=gpu:4; for others --constraint LABEL", "is no device that sluis divides");
		code = gpus_value(o, value + 4, 0, &v, err);
		if (code)
			return code;
	}
	o->gres_gpus = v;
	return 0;
}

APPLY(exclusive)
{
	UNUSED_HERE;
	if (value && value[0])
		return bad(err, ERR_UNSUPPORTED, "--exclusive without a value", "nodes are shared with everybody or with nobody");
	o->whole_nodes = true;
	return 0;
}

APPLY(mem)
{
	int64_t v = 0;
	int code = units_job_mem_mib(value, &v, err);

	(void)where;
	if (code)
		return code;
	if (v > INT64_C(1) << 30)
		return bad(err, ERR_RANGE, "1 PiB at most", "is too much memory");
	if (v == 0 && row->offset != offsetof(struct job_options, mem_mib))
		return bad(err, ERR_RANGE, "--mem=0 for the node's share", "is no memory");
	set_i64(o, row, v);
	return 0;
}

APPLY(time)
{
	int64_t v = 0;
	int code;

	(void)where;
	if (strcasecmp(value, "unlimited") == 0 || strcasecmp(value, "infinite") == 0 || strcmp(value, "-1") == 0)
		return bad(err, ERR_UNSUPPORTED, "a time limit, say 24:00:00; none given: the project's default",
			   "no job runs without a time limit");
	code = units_job_time(value, &v, err);
	if (code)
		return code;
	if (v == 0)
		return bad(err, ERR_UNSUPPORTED, "a time limit, say 24:00:00; none given: the project's default",
			   "no job runs without a time limit");
	set_i64(o, row, v);
	return 0;
}

APPLY(duration)
{
	int64_t v = 0;
	int code = units_duration(value, &v, err);

	(void)where;
	if (code)
		return code;
	set_i64(o, row, v);
	return 0;
}

APPLY(instant)
{
	int64_t v = 0;
	int code;

	(void)where;
	if (strcasecmp(value, "teatime") == 0 || strcasecmp(value, "fika") == 0)
		return bad(err, ERR_UNSUPPORTED, "16:00", "is no time of day here");
	code = units_instant(value, o->now_ms, UNITS_LOCAL, &v, err);
	if (code)
		return code;
	set_i64(o, row, v);
	return 0;
}

/* "afterok:20:21_3,after:22+5" or "...?..." */
static int dependency_item(struct job_dep *deps, size_t *count, char *item, struct err *err)
{
	static const struct { const char *name; int kind; } names[] = {
		{"after", DEPEND_AFTER},	{"afterany", DEPEND_AFTERANY},	{"afterok", DEPEND_AFTEROK},
		{"afternotok", DEPEND_AFTERNOTOK}, {"aftercorr", DEPEND_AFTERCORR}, {"singleton", DEPEND_SINGLETON},
	};
	static const char hint[] = "afterok:1042, after:1042+5, afterany:1042:1043, singleton";
	char *save = NULL, *word = strtok_r(item, ":", &save);
	int kind = -1;
	size_t jobs = 0;

	if (word && isdigit((unsigned char)word[0])) { /* sbatch -d 1042 means afterany */
		kind = DEPEND_AFTERANY;
	} else {
		for (size_t i = 0; word && i < ARRAY_LEN(names); i++)
			if (strcmp(names[i].name, word) == 0)
				kind = names[i].kind;
		if (word && (strcmp(word, "expand") == 0 || strcmp(word, "afterburstbuffer") == 0))
			return bad(err, ERR_UNSUPPORTED, hint, "a job neither grows another nor has burst buffers");
		if (kind < 0)
			return bad(err, ERR_INVAL, hint, "is no dependency");
		word = strtok_r(NULL, ":", &save);
	}
	for (; word; word = strtok_r(NULL, ":", &save), jobs++) {
		struct job_dep *dep = &deps[*count];
		char id[24] = "", index[16] = "", delay[16] = "";
		size_t len = strspn(word, "0123456789"), pos = len;
		int64_t v = 0;

		if (kind == DEPEND_SINGLETON || *count == JOB_DEPS_MAX)
			return bad(err, ERR_INVAL, hint, kind == DEPEND_SINGLETON ? "singleton names no job" : "too many dependencies");
		*dep = (struct job_dep){.kind = kind, .index = JOB_UNSET};
		if (len == 0 || len >= sizeof(id))
			return bad(err, ERR_INVAL, hint, "names no job");
		memcpy(id, word, len);
		if (units_count(id, 1, INT64_MAX, &v, NULL))
			return bad(err, ERR_INVAL, hint, "names no job");
		dep->job = (uint64_t)v;
		if (word[pos] == '_') {
			len = strspn(word + pos + 1, "0123456789");
			if (len == 0 || len >= sizeof(index))
				return bad(err, ERR_INVAL, hint, "names no child of an array");
			memcpy(index, word + pos + 1, len);
			if (units_count(index, 0, ARRAY_MAX, &dep->index, NULL))
				return bad(err, ERR_INVAL, hint, "names no child of an array");
			pos += len + 1;
		}
		if (word[pos] == '+' && kind == DEPEND_AFTER) {
			len = strspn(word + pos + 1, "0123456789");
			if (len == 0 || len >= sizeof(delay))
				return bad(err, ERR_INVAL, hint, "the minutes behind + are missing");
			memcpy(delay, word + pos + 1, len);
			if (units_count(delay, 0, 1000000, &v, NULL))
				return bad(err, ERR_INVAL, hint, "the minutes behind + are too many");
			dep->delay_ms = v * MS_PER_MIN;
			pos += len + 1;
		}
		if (word[pos] != '\0')
			return bad(err, ERR_INVAL, hint, "is no dependency");
		(*count)++;
	}
	if (kind == DEPEND_SINGLETON) {
		if (*count == JOB_DEPS_MAX)
			return bad(err, ERR_INVAL, hint, "too many dependencies");
		deps[(*count)++] = (struct job_dep){.kind = kind, .index = JOB_UNSET};
	} else if (jobs == 0) {
		return bad(err, ERR_INVAL, hint, "names no job");
	}
	return 0;
}

APPLY(dependency)
{
	struct job_dep deps[JOB_DEPS_MAX];
	size_t count = 0;
	bool any = strchr(value, '?') != NULL;
	char *copy, *item, *save = NULL;
	int code;

	UNUSED_HERE;
	if (value[0] == '\0') { /* `scontrol`-made scripts carry an empty one: none */
		o->deps.count = 0;
		return 0;
	}
	if (any && strchr(value, ','))
		return bad(err, ERR_UNSUPPORTED, "commas (all of them) or question marks (one of them)", "mixes and with or");
	if (strlen(value) > OPTION_TEXT_MAX)
		return bad(err, ERR_RANGE, "4096 bytes at most", "the value is too long");
	copy = keep(o, value);
	for (item = strtok_r(copy, any ? "?" : ",", &save); item; item = strtok_r(NULL, any ? "?" : ",", &save)) {
		code = dependency_item(deps, &count, item, err);
		if (code)
			return code;
	}
	if (count == 0)
		return bad(err, ERR_INVAL, "afterok:1042", "is no dependency");
	o->deps.items = arena_copy(&o->arena, deps, count * sizeof(*deps));
	o->deps.count = count;
	o->deps.any = any;
	return 0;
}

/* "0-63:2%8", "5", and lists that are a range in other words ("1,2,3") */
APPLY(array)
{
	static const char hint[] = "first-last[:step][%running], for instance 0-63%8";
	const char *p = value;
	int64_t first = 0, last = 0, step = 1, running = 0, v = 0;
	char word[12];
	size_t len, items = 0;
	bool ranged = false;

	UNUSED_HERE;
	for (;;) {
		len = strspn(p, "0123456789");
		if (len == 0 || len >= sizeof(word))
			return bad(err, ERR_INVAL, hint, "is no array");
		memcpy(word, p, len);
		word[len] = '\0';
		p += len;
		v = strtoll(word, NULL, 10);
		if (items == 0)
			first = last = v;
		else if (items == 1)
			step = v - first;
		if (items >= 1 && (v <= last || v - last != step))
			return bad(err, ERR_UNSUPPORTED, "a range with a step, or one job each", "is a list of indices, not a range");
		last = v;
		items++;
		if (*p == '-' && items == 1) {
			ranged = true;
			p++;
			len = strspn(p, "0123456789");
			if (len == 0 || len >= sizeof(word))
				return bad(err, ERR_INVAL, hint, "is no array");
			memcpy(word, p, len);
			word[len] = '\0';
			p += len;
			last = strtoll(word, NULL, 10);
			if (*p == ':') {
				p++;
				len = strspn(p, "0123456789");
				if (len == 0 || len >= sizeof(word))
					return bad(err, ERR_INVAL, hint, "is no array");
				memcpy(word, p, len);
				word[len] = '\0';
				p += len;
				step = strtoll(word, NULL, 10);
			}
		}
		if (*p != ',')
			break;
		if (ranged)
			return bad(err, ERR_UNSUPPORTED, "a range with a step, or one job each", "is a list of indices, not a range");
		p++;
	}
	if (*p == '%') {
		if (units_count(p + 1, 1, ARRAY_MAX, &running, NULL))
			return bad(err, ERR_INVAL, hint, "is no array");
	} else if (*p != '\0') {
		return bad(err, ERR_INVAL, hint, "is no array");
	}
	if (step < 1 || last < first || last > ARRAY_MAX)
		return bad(err, ERR_RANGE, hint, "is no array");
	o->array.first = first;
	o->array.last = last;
	o->array.step = step;
	o->array.running_max = running;
	return 0;
}

APPLY(loan)
{
	static const char *const names[] = {"never", "ok", "only"};

	UNUSED_HERE;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(names[i], value) == 0) {
			o->loan = WISH_NEVER + (int)i;
			return 0;
		}
	return bad(err, ERR_INVAL, "never, ok or only", "is none of never, ok, only");
}

static int apply_kept(struct job_options *o, const struct job_option *row, const char *value,
		      const struct option_where *where, struct err *err)
{
	(void)err;
	if (o->kept.count == o->kept.cap) {
		size_t cap = o->kept.cap ? o->kept.cap * 2 : 8;
		struct kept_option *items = arena_alloc(&o->arena, cap * sizeof(*items));

		if (o->kept.count)
			memcpy(items, o->kept.items, o->kept.count * sizeof(*items));
		o->kept.items = items;
		o->kept.cap = cap;
	}
	o->kept.items[o->kept.count++] = (struct kept_option){
		.name = row->name, .value = value ? keep(o, value) : NULL, .line = where->line, .source = where->source};
	return 0;
}

/* [{R|B}:]SIG[@seconds]; R (reservations) is kept */
APPLY(signal)
{
	static const char hint[] = "USR1@120, B:TERM@60";
	const char *colon = strchr(value, ':'), *at = strchr(value, '@'), *name = colon ? colon + 1 : value;
	size_t len = at ? (size_t)(at - name) : strlen(name);
	bool batch = false, reservation = false;
	char text[16];
	int64_t seconds = 60; /* sbatch's default */
	int number;

	for (const char *p = value; colon && p < colon; p++) {
		if (*p != 'R' && *p != 'B')
			return bad(err, ERR_INVAL, hint, "is no signal");
		batch = batch || *p == 'B';
		reservation = reservation || *p == 'R';
	}
	if ((at && at < name) || len == 0 || len >= sizeof(text))
		return bad(err, ERR_INVAL, hint, "is no signal");
	memcpy(text, name, len);
	text[len] = '\0';
	number = signal_number(text);
	if (number == 0)
		return bad(err, ERR_INVAL, hint, "is no signal");
	if (at && units_count(at + 1, 0, 65535, &seconds, NULL))
		return bad(err, ERR_INVAL, hint, "the seconds behind @ are 0 to 65535");
	o->signal.number = number;
	o->signal.batch = batch;
	o->signal.seconds = seconds;
	return reservation ? apply_kept(o, row, value, where, err) : 0;
}

APPLY(requeue)
{
	UNUSED_HERE;
	o->requeue = row->name[0] == 'r';
	return 0;
}

/* required=LEVEL, preferred=LEVEL[@WAIT] or nvlink */
APPLY(topology)
{
	bool required = strncmp(value, "required=", 9) == 0, preferred = strncmp(value, "preferred=", 10) == 0;
	const char *level = value + (required ? 9 : preferred ? 10 : 0);
	size_t len = strcspn(level, "@");
	int64_t wait = 0;
	int topology = TOPO_ANY;

	UNUSED_HERE;
	if (len == 4 && strncmp(level, "leaf", len) == 0)
		topology = TOPO_LEAF;
	else if (len == 3 && strncmp(level, "pod", len) == 0)
		topology = TOPO_POD;
	if (!required && !preferred && strcmp(value, "nvlink") == 0)
		topology = TOPO_NVLINK;
	else if (topology == TOPO_ANY || (!required && !preferred) ||
		 (level[len] && (required || units_job_time(level + len + 1, &wait, NULL))))
		return bad(err, ERR_INVAL, "required=leaf, preferred=leaf, preferred=pod@10m or nvlink", "is no topology");
	o->topology = topology;
	o->topology_required = required;
	o->topology_wait_ms = wait;
	return 0;
}

/* --switches=n[@t]: one switch is a leaf, for which Slurm waits max_switch_wait, five minutes, when t is not
 * given. A count of switches above one is no level. */
APPLY(switches)
{
	size_t len = strspn(value, "0123456789");
	int64_t wait = 5 * MS_PER_MIN;

	if (len == 0 || (value[len] != '\0' && (value[len] != '@' || units_job_time(value + len + 1, &wait, NULL))))
		return bad(err, ERR_INVAL, "--switches=1@10:00", "is no number of switches");
	if (len == 1 && value[0] == '1') {
		o->topology = TOPO_LEAF;
		o->topology_required = false;
		o->topology_wait_ms = wait;
		return 0;
	}
	return apply_kept(o, row, value, where, err);
}

static bool label_ok(const char *s)
{
	size_t len = strlen(s);

	return len > 0 && len < 2 * LABEL_BYTES &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.=:/") == len;
}

APPLY(constraint)
{
	struct constraint any[16] = {0};
	size_t count = 0;
	char *copy, *save = NULL, *save2 = NULL;

	UNUSED_HERE;
	if (strpbrk(value, "*[]()"))
		return bad(err, ERR_UNSUPPORTED, "labels joined by & and |, one kind of node per job", "counts or groups labels");
	if (strlen(value) > OPTION_TEXT_MAX)
		return bad(err, ERR_RANGE, "4096 bytes at most", "the value is too long");
	copy = keep(o, value);
	for (char *part = strtok_r(copy, "|", &save); part; part = strtok_r(NULL, "|", &save)) {
		if (count == ARRAY_LEN(any))
			return bad(err, ERR_RANGE, "16 alternatives at most", "has too many alternatives");
		for (char *label = strtok_r(part, "&,", &save2); label; label = strtok_r(NULL, "&,", &save2)) {
			if (!label_ok(label))
				return bad(err, ERR_INVAL, "letters, digits, - _ . = : /", "is no label");
			if (any[count].all.count == 32)
				return bad(err, ERR_RANGE, "32 labels at most", "has too many labels");
			texts_add(o, &any[count].all, label);
		}
		if (any[count].all.count == 0)
			return bad(err, ERR_INVAL, "a&b|c", "a label is missing");
		count++;
	}
	if (count == 0)
		return bad(err, ERR_INVAL, "a&b|c", "a label is missing");
	o->constraint.any = arena_copy(&o->arena, any, count * sizeof(any[0]));
	o->constraint.count = count;
	o->constraint.text = keep(o, value);
	return 0;
}

APPLY(require)
{
	UNUSED_HERE;
	if (!label_ok(value))
		return bad(err, ERR_INVAL, "jurisdiction=NL, or the name of a predicate", "is no predicate");
	if (o->require.count == REQUIRES_MAX)
		return bad(err, ERR_RANGE, "8 at most", "too many predicates");
	texts_add(o, &o->require, keep(o, value));
	return 0;
}

APPLY(open_mode)
{
	UNUSED_HERE;
	if (strcmp(value, "append") == 0)
		o->open_mode = OPEN_APPEND;
	else if (strcmp(value, "truncate") == 0)
		o->open_mode = OPEN_TRUNCATE;
	else
		return bad(err, ERR_INVAL, "append or truncate", "is no way to open a file");
	return 0;
}

static bool variable_ok(const char *s, size_t len)
{
	return len > 0 && !isdigit((unsigned char)s[0]) &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") >= len;
}

APPLY(env)
{
	const char *eq = strchr(value, '=');

	UNUSED_HERE;
	if (!eq || !variable_ok(value, (size_t)(eq - value)))
		return bad(err, ERR_INVAL, "--env NAME=VALUE", "is no NAME=VALUE");
	if (o->env.count == 1024)
		return bad(err, ERR_RANGE, "1024 at most", "too many variables");
	texts_add(o, &o->env, keep(o, value));
	return 0;
}

APPLY(export)
{
	struct conf_texts names = {0}, values = o->env;
	int mode = EXPORT_LIST;
	char *copy, *save = NULL;
	bool first = true;

	UNUSED_HERE;
	if (strcmp(value, "NIL") == 0)
		value = "NONE";
	if (strlen(value) > OPTION_TEXT_MAX * 8)
		return bad(err, ERR_RANGE, "32 KiB at most", "the value is too long");
	copy = keep(o, value);
	for (char *item = strtok_r(copy, ",", &save); item; item = strtok_r(NULL, ",", &save), first = false) {
		const char *eq = strchr(item, '=');

		if (strcmp(item, "ALL") == 0) {
			mode = EXPORT_ALL;
		} else if (strcmp(item, "NONE") == 0) {
			if (!first || save[0])
				return bad(err, ERR_INVAL, "NONE alone, or names", "mixes NONE with names");
			mode = EXPORT_NONE;
		} else if (!variable_ok(item, eq ? (size_t)(eq - item) : strlen(item))) {
			return bad(err, ERR_INVAL, "ALL, NONE, or NAME,NAME=VALUE", "names no variable");
		} else if (names.count + values.count >= 1024) {
			return bad(err, ERR_RANGE, "1024 at most", "too many variables");
		} else {
			texts_add(o, eq ? &values : &names, item);
		}
	}
	if (first)
		return bad(err, ERR_INVAL, "ALL, NONE, or NAME,NAME=VALUE", "the value is empty");
	o->export_mode = mode;
	o->export_names = names;
	o->env = values;
	return 0;
}

APPLY(clusters)
{
	if (strcmp(value, "all") != 0 && o->cluster && strcmp(value, o->cluster) != 0)
		return bad(err, ERR_UNSUPPORTED, "sluisctl --cluster NAME, from where that cluster is known", "is another cluster");
	return apply_text(o, row, value, where, err);
}

APPLY(refuse)
{
	UNUSED_HERE;
	return bad(err, ERR_UNSUPPORTED, row->way, row->meaning);
}

/* An empty list of licenses asks for nothing. */
APPLY(licenses)
{
	if (value[0] == '\0')
		return apply_kept(o, row, value, where, err);
	return apply_refuse(o, row, value, where, err);
}

APPLY(gres_flags)
{
	if (strcmp(value, "disable-binding") == 0)
		return bad(err, ERR_UNSUPPORTED, "remove the line", "tasks are always bound next to their device");
	return apply_kept(o, row, value, where, err);
}

/* ---- the table ------------------------------------------------------------------------------ */

#define OWN true
#define SLURM false
const struct job_option job_option_table[] = {
#define OPTION(name_, short_, argument_, verdict_, whose, how, member, meaning_, way_)                                \
	{.name = name_,                                                                                                \
	 .short_name = short_,                                                                                         \
	 .argument = OPTION_##argument_,                                                                               \
	 .verdict = VERDICT_##verdict_,                                                                                \
	 .own = whose,                                                                                                 \
	 .apply = apply_##how,                                                                                         \
	 .offset = offsetof(struct job_options, member),                                                               \
	 .meaning = meaning_,                                                                                          \
	 .way = way_},
#include "proto/config/options.def"
#undef OPTION
};
#undef OWN
#undef SLURM
const size_t job_option_count = ARRAY_LEN(job_option_table);

const struct job_option *job_option_find(const char *name)
{
	for (size_t i = 0; i < job_option_count; i++)
		if (strcmp(job_option_table[i].name, name) == 0)
			return &job_option_table[i];
	return NULL;
}

const struct job_option *job_option_find_short(char c, bool sbatch)
{
	for (size_t i = 0; c && i < job_option_count; i++)
		if (job_option_table[i].short_name == c && !(sbatch && job_option_table[i].own))
			return &job_option_table[i];
	return NULL;
}

static const char *option_name(const void *ctx, size_t i)
{
	(void)ctx;
	return job_option_table[i].name;
}

const char *job_option_nearest(const char *name)
{
	return config_nearest(name, job_option_count, option_name, NULL);
}

void job_options_init(struct job_options *o, int64_t now_ms)
{
	memset(o, 0, sizeof(*o));
	o->now_ms = now_ms;
	o->gpus = o->gpus_per_node = o->gpus_per_task = o->gres_gpus = JOB_UNSET;
	o->nodes_min = o->nodes_max = o->elastic_min = o->elastic_max = JOB_UNSET;
	o->ntasks = o->tasks_per_node = o->tasks_per_gpu = JOB_UNSET;
	o->cpus_per_task = o->cpus_per_gpu = o->mem_mib = o->mem_per_cpu_mib = o->mem_per_gpu_mib = JOB_UNSET;
	o->time_limit_ms = o->begin_ms = o->deadline_ms = JOB_UNSET;
	o->array.first = o->notice_ms = o->exempt_ms = JOB_UNSET;
	o->retries = o->requeue = JOB_UNSET;
}

void job_options_done(struct job_options *o)
{
	arena_done(&o->arena);
	*o = (struct job_options){0};
}

int job_option_set(struct job_options *o, const char *name, const char *value, const struct option_where *where,
		   struct err *err)
{
	const struct job_option *row = job_option_find(name);
	const char *near;
	struct err why = {0};
	int code;

	if (!row) {
		near = job_option_nearest(name);
		(void)err_set(err, ERR_NOTFOUND, "'--%.100s': unknown option", name);
		if (near)
			(void)err_hint(err, "--%s", near);
		else
			(void)err_hint(err, "sluisctl help submit");
		return ERR_NOTFOUND;
	}
	if (row->own && where->source == FROM_SBATCH) {
		(void)err_set(err, ERR_UNSUPPORTED, "'--%s': sbatch does not know it", name);
		(void)err_hint(err, "#SLUIS --%s on a line of its own", name);
		return ERR_UNSUPPORTED;
	}
	if (row->argument == OPTION_NONE && value) {
		(void)err_set(err, ERR_INVAL, "'--%s=%.80s': takes no value", name, value);
		(void)err_hint(err, "--%s", name);
		return ERR_INVAL;
	}
	if (row->argument == OPTION_NEED && !value) {
		(void)err_set(err, ERR_INVAL, "'--%s': the value is missing", name);
		(void)err_hint(err, "--%s=VALUE: %s", name, row->meaning);
		return ERR_INVAL;
	}
	code = row->apply(o, row, value, where, &why);
	if (code) {
		if (value)
			(void)err_set(err, code, "'--%s=%.100s': %s", name, value, why.msg);
		else
			(void)err_set(err, code, "'--%s': %s", name, why.msg);
		(void)err_hint(err, "%s", why.hint);
	}
	return code;
}

int job_options_check(const struct job_options *o, struct err *err)
{
	if (o->gres_gpus != JOB_UNSET && o->gpus_per_node != JOB_UNSET && o->gres_gpus != o->gpus_per_node)
		return bad(err, ERR_CONFLICT, "one of them", "--gres and --gpus-per-node differ");
	if (o->begin_ms != JOB_UNSET && o->deadline_ms != JOB_UNSET && o->begin_ms >= o->deadline_ms)
		return bad(err, ERR_CONFLICT, "--begin before --deadline", "--begin is not before --deadline");
	if ((o->mem_mib != JOB_UNSET) + (o->mem_per_cpu_mib != JOB_UNSET) + (o->mem_per_gpu_mib != JOB_UNSET) > 1)
		return bad(err, ERR_CONFLICT, "one of --mem, --mem-per-cpu and --mem-per-gpu", "memory is asked for in two ways");
	return 0;
}

/* ---- words ---------------------------------------------------------------------------------- */

int shell_words(const char *line, struct arena *arena, struct conf_texts *ret_words, struct err *err)
{
	size_t len = strlen(line), count = 0;
	const char **words = arena_alloc(arena, (len / 2 + 2) * sizeof(char *));
	char *out = arena_alloc(arena, len + 2);
	const char *p = line;

	for (;;) {
		char quote = 0;

		p += strspn(p, " \t");
		if (*p == '\0' || *p == '#')
			break;
		words[count++] = out;
		for (; *p && (quote || (*p != ' ' && *p != '\t')); p++) {
			if (quote ? *p == quote : (*p == '"' || *p == '\''))
				quote = quote ? 0 : *p;
			else if (*p == '\\' && quote != '\'' && p[1] && (!quote || strchr("\\\"$`", p[1])))
				*out++ = *++p;
			else
				*out++ = *p;
		}
		if (quote) {
			(void)err_set(err, ERR_INVAL, "a quote (%c) is not closed", quote);
			(void)err_hint(err, "close it on the same line");
			return ERR_INVAL;
		}
		*out++ = '\0';
	}
	*ret_words = (struct conf_texts){.items = words, .count = count};
	return 0;
}

size_t options_from_words(const struct conf_texts *words, uint32_t line, enum option_source source, struct arena *arena,
			  struct directive *items, size_t items_max, size_t *ret_count)
{
	bool script = source == FROM_SBATCH || source == FROM_SLUIS;
	size_t count = 0, i = 0;

	for (; i < words->count && count < items_max; i++) {
		const char *w = words->items[i];
		struct directive d = {.line = line, .source = source};

		if (w[0] == '-' && w[1] == '-' && w[2] != '\0') {
			const char *eq = strchr(w, '=');
			size_t len = eq ? (size_t)(eq - w) - 2 : strlen(w + 2);
			char *name = arena_alloc(arena, len + 1);
			const struct job_option *row;

			memcpy(name, w + 2, len);
			d.name = name;
			row = job_option_find(name);
			if (eq)
				d.value = eq + 1;
			else if (row && row->argument == OPTION_NEED && i + 1 < words->count)
				d.value = words->items[++i];
			items[count++] = d;
			continue;
		}
		if (w[0] == '-' && w[1] != '-' && w[1] != '\0') {
			/* -N2, -N 2, and flags together: -Hv */
			for (const char *p = w + 1; *p && count < items_max; p++) {
				const struct job_option *row = job_option_find_short(*p, source == FROM_SBATCH);

				d.value = NULL;
				if (!row) {
					d.name = arena_copy(arena, (char[2]){*p, '\0'}, 2);
					items[count++] = d;
					break;
				}
				d.name = row->name;
				if (row->argument == OPTION_NEED) {
					if (p[1])
						d.value = p[1] == '=' ? p + 2 : p + 1;
					else if (i + 1 < words->count)
						d.value = words->items[++i];
					items[count++] = d;
					break;
				}
				items[count++] = d;
			}
			continue;
		}
		if (!script) {
			if (strcmp(w, "--") == 0)
				i++;
			break;
		}
		d.name = "";
		d.value = w;
		items[count++] = d;
	}
	*ret_count = count;
	return i;
}

/* ---- scripts -------------------------------------------------------------------------------- */

/* "#SBATCH" and a blank, or the line's end. */
static bool starts_with(const char *line, const char *word)
{
	size_t len = strlen(word);

	return strncmp(line, word, len) == 0 && (line[len] == ' ' || line[len] == '\t' || line[len] == '\0');
}

static void note(struct directives *d, uint32_t line, const char *text)
{
	if (d->notes.count < DIRECTIVES_MAX)
		d->notes.items[d->notes.count++] = (struct directive_note){line, text};
}

/* What a whole script must be. */
static bool script_ok(const char *file, const char *bytes, size_t len, struct config_errors *errs)
{
	const char *cr;

	if (len > SCRIPT_BYTES_MAX) {
		config_error_try(config_errors_add(errs, file, 0, 0, "the script is larger than 4 MiB"),
				 "put the data into a file beside it");
		return false;
	}
	if (memchr(bytes, '\0', len)) {
		config_error_try(config_errors_add(errs, file, 0, 0, "the script has NUL bytes: a program, not a script"),
				 "sluisctl submit -- ./%s", file);
		return false;
	}
	if (len < 2 || bytes[0] != '#' || bytes[1] != '!') {
		config_error_try(config_errors_add(errs, file, 1, 0, "the first line does not say what runs the script"),
				 "#!/bin/bash as the first line");
		return false;
	}
	cr = memmem(bytes, len, "\r\n", 2);
	if (cr) {
		uint32_t line = 1;

		for (const char *p = bytes; p < cr; p++)
			line += *p == '\n';
		config_error_try(config_errors_add(errs, file, line, 0, "lines end in CR LF, as on Windows"),
				 "sed -i 's/\\r$//' %s", file);
		return false;
	}
	return true;
}

static void read_line(struct directives *d, const char *line, uint32_t number, enum option_source source,
		      struct config_errors *errs)
{
	struct conf_texts words = {0};
	struct err err = {0};
	size_t count = 0;

	if (source == FROM_SBATCH)
		d->has_sbatch = true;
	else
		d->has_sluis = true;
	if (shell_words(line, &d->arena, &words, &err)) {
		config_error_try(config_errors_add(errs, d->file, number, 0, "%s", err.msg), "%s", err.hint);
		return;
	}
	if (options_from_words(&words, number, source, &d->arena, d->list.items + d->list.count,
			       DIRECTIVES_MAX - d->list.count, &count) < words.count)
		(void)config_errors_add(errs, d->file, number, 0, "more than %d options", DIRECTIVES_MAX);
	d->list.count += count;
}

int directives_read(const char *file, const void *bytes, size_t len, struct directives *ret, struct config_errors *errs)
{
	size_t before = errs->count + errs->dropped;
	struct directives d = {0};
	uint32_t number = 0, pbs_line = 0;
	bool header = true;
	char *text, *next;

	if (!script_ok(file, bytes, len, errs))
		return ERR_CONFIG;
	d.file = arena_copy(&d.arena, file, strlen(file) + 1);
	d.list.items = arena_alloc(&d.arena, DIRECTIVES_MAX * sizeof(struct directive));
	d.notes.items = arena_alloc(&d.arena, DIRECTIVES_MAX * sizeof(struct directive_note));
	text = arena_alloc(&d.arena, len + 1);
	memcpy(text, bytes, len);
	for (char *line = text; line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		number++;
		if (header && line[0] != '#' && line[strspn(line, " \t")] != '\0' && line[strspn(line, " \t")] != '#')
			header = false;
		if (starts_with(line, "#SLUIS")) {
			if (header)
				read_line(&d, line + 6, number, FROM_SLUIS, errs);
			else
				config_error_try(config_errors_add(errs, file, number, 0,
								   "a #SLUIS line after the first command"),
						 "move it above the first command");
		} else if (starts_with(line, "#SBATCH")) {
			if (header)
				read_line(&d, line + 7, number, FROM_SBATCH, errs);
			else
				note(&d, number, "#SBATCH after the first command: not read, as in Slurm");
		} else if (strncasecmp(line, "#SBATCH", 7) == 0 || strncasecmp(line, "#SLUIS", 6) == 0) {
			note(&d, number, "looks like a directive, but is not spelled like one");
		} else if (header && !pbs_line &&
			   (starts_with(line, "#PBS") || starts_with(line, "#BSUB") || starts_with(line, "#$"))) {
			pbs_line = number;
		}
	}
	if (pbs_line && !d.has_sbatch && !d.has_sluis)
		config_error_try(config_errors_add(errs, file, pbs_line, 0, "this is a PBS script"),
				 "write its limits as #SLUIS lines: --time, --nodes, --gpus-per-node");
	if (errs->count + errs->dropped != before) {
		directives_done(&d);
		return ERR_CONFIG;
	}
	*ret = d;
	return 0;
}

void directives_done(struct directives *d)
{
	arena_done(&d->arena);
	*d = (struct directives){0};
}

static void apply_one(struct job_options *o, const struct directive *item, const char *file, struct config_errors *errs)
{
	struct option_where where = {.file = file, .line = item->line, .source = item->source};
	struct err err = {0};

	if (item->name[0] == '\0') {
		if (strcmp(item->value, "hetjob") == 0 || strcmp(item->value, ":") == 0)
			config_error_try(config_errors_add(errs, file, item->line, 0, "'%s': one job has one shape", item->value),
					 "two jobs with --dependency=aftercorr, or --elastic");
		else
			config_error_try(config_errors_add(errs, file, item->line, 0, "'%s' is no option", item->value),
					 "--key=value");
		return;
	}
	if (job_option_set(o, item->name, item->value, &where, &err))
		config_error_try(config_errors_add(errs, file, item->line, 0, "%s", err.msg), "%s", err.hint);
}

/* The option a variable sets, or NULL: SLUIS_SUBMIT_JOB_NAME, SBATCH_TIMELIMIT. */
static const struct job_option *option_of_variable(const char *name, size_t len)
{
	static const struct { const char *slurm, *option; } aliases[] = {
		{"timelimit", "time"}, {"array-inx", "array"}, {"mem-per-node", "mem"}, {"cluster", "clusters"},
	};
	char option[64];

	if (len == 0 || len >= sizeof(option))
		return NULL;
	for (size_t i = 0; i < len; i++)
		option[i] = name[i] == '_' ? '-' : (char)tolower((unsigned char)name[i]);
	option[len] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(aliases); i++)
		if (strcmp(aliases[i].slurm, option) == 0)
			return job_option_find(aliases[i].option);
	return job_option_find(option);
}

static void apply_variables(struct job_options *o, char *const *env, bool slurm, struct config_errors *errs)
{
	/* sluis's own names after Slurm's, so they win */
	for (int own = !slurm; own < 2; own++) {
		const char *prefix = own ? "SLUIS_SUBMIT_" : "SBATCH_";

		for (size_t i = 0; env && env[i]; i++) {
			const char *eq = strchr(env[i], '='), *name = env[i] + strlen(prefix);
			const struct job_option *row;
			struct directive d = {.source = FROM_ENV};
			CLEANUP(buf_done) struct buf file = BUF_INIT;

			if (!eq || strncmp(env[i], prefix, strlen(prefix)) != 0)
				continue;
			buf_addf(&file, "%.*s", (int)(eq - env[i] < 100 ? eq - env[i] : 100), env[i]);
			row = option_of_variable(name, (size_t)(eq - name));
			if (!row) {
				if (own) /* Slurm has variables of no concern to the job */
					(void)config_errors_add(errs, buf_cstr(&file), 0, 0, "there is no such option");
				continue;
			}
			d.name = row->name;
			d.value = row->argument == OPTION_NONE || (row->argument == OPTION_MAY && eq[1] == '\0') ? NULL : eq + 1;
			apply_one(o, &d, buf_cstr(&file), errs);
		}
	}
}

int directives_resolve(struct job_options *o, const struct directives *script, char *const *env, bool slurm,
		       const struct directive *command, size_t command_count, struct config_errors *errs)
{
	size_t before = errs->count + errs->dropped;
	struct err err = {0};

	for (int source = FROM_SBATCH; source <= FROM_SLUIS; source++)
		for (size_t i = 0; script && i < script->list.count; i++)
			if ((int)script->list.items[i].source == source)
				apply_one(o, &script->list.items[i], script->file, errs);
	apply_variables(o, env, slurm, errs);
	for (size_t i = 0; i < command_count; i++)
		apply_one(o, &command[i], "command line", errs);
	if (script && script->has_sbatch)
		o->slurm_env = true;
	if (errs->count + errs->dropped == before && job_options_check(o, &err))
		config_error_try(config_errors_add(errs, script ? script->file : "command line", 0, 0, "%s", err.msg), "%s",
				 err.hint);
	return errs->count + errs->dropped == before ? 0 : ERR_CONFIG;
}
