/* request.c - see request.h */
#include "agent/exec/request.h"

#include <stdio.h>
#include <string.h>

#include "agent/exec/procfs.h"
#include "agent/exec/unit.h"
#include "proto/base/ckd.h"
#include "proto/base/ensure.h"

static const char *const op_names[] = {"hello", "start", "kill", "remove"};

enum field {
	F_OP, F_NAME, F_UID, F_MEM, F_TASKS, F_CPU, F_CPUS, F_MEMS, F_PRIVATE_TMP, F_DEVICES, F_DEVICE,
};

static const char *const field_names[] = {
	"op", "name", "uid", "mem", "tasks", "cpu", "cpus", "mems", "private_tmp", "devices", "device",
};

static int number(const char *text, uint64_t max, uint64_t *ret, struct err *err)
{
	uint64_t v = 0;

	if (!*text || (*text == '0' && text[1]))
		return err_set(err, ERR_INVAL, "'%.40s' is no number", text);
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return err_set(err, ERR_INVAL, "not a number in a request");
		if (ckd_mul(&v, v, UINT64_C(10)) || ckd_add(&v, v, (uint64_t)(*text - '0')) || v > max)
			return err_set(err, ERR_RANGE, "a number in a request is too large");
	}
	*ret = v;
	return 0;
}

static int number32(const char *text, uint32_t *ret, struct err *err)
{
	uint64_t v = 0;
	int code = number(text, INT32_MAX, &v, err);

	*ret = (uint32_t)v;
	return code;
}

static int set(const char *text, char ret[REQUEST_SET_BYTES], size_t words, struct err *err)
{
	uint64_t bits[UNIT_CPU_WORDS];

	if (strlen(text) >= REQUEST_SET_BYTES)
		return err_set(err, ERR_TOOBIG, "a list of cpus or nodes exceeds %d bytes", REQUEST_SET_BYTES - 1);
	(void)snprintf(ret, REQUEST_SET_BYTES, "%s", text);
	return cpulist_parse(text, bits, words, err);
}

static int take_name(const char *text, struct request *r, struct err *err)
{
	int code = unit_name_check(text, err);

	if (!code)
		(void)snprintf(r->name, sizeof(r->name), "%s", text);
	return code;
}

static int take_uid(const char *text, struct request *r, struct err *err)
{
	int code = number32(text, &r->uid, err);

	if (!code && r->uid == 0)
		return err_set(err, ERR_DENIED, "nothing is started as root");
	return code;
}

static int take_device(const char *text, struct request *r, struct err *err)
{
	if (!r->has_devices)
		return err_set(err, ERR_FORMAT, "a device without devices=1");
	if (r->devices_n == DEVICES_MAX)
		return err_set(err, ERR_TOOBIG, "more than %d devices", DEVICES_MAX);
	if (!device_allowed(text))
		return err_set(err, ERR_DENIED, "'%.80s' is no accelerator", text);
	(void)snprintf(r->devices[r->devices_n++], DEVICE_PATH_BYTES, "%s", text);
	return 0;
}

static int take_yes(const char *text, bool *ret, struct err *err)
{
	*ret = true;
	return strcmp(text, "1") ? err_set(err, ERR_INVAL, "a flag in a request is not 1") : 0;
}

static int take_op(const char *text, struct request *r, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(op_names); i++)
		if (!strcmp(text, op_names[i])) {
			r->op = (enum request_op)i;
			return 0;
		}
	return err_set(err, ERR_INVAL, "no such request '%.40s'", text);
}

static int take(enum field field, const char *text, struct request *r, struct err *err)
{
	switch (field) {
	case F_OP: return take_op(text, r, err);
	case F_NAME: return take_name(text, r, err);
	case F_UID: return take_uid(text, r, err);
	case F_MEM: return number(text, INT64_MAX, &r->mem_bytes, err);
	case F_TASKS: return number32(text, &r->tasks_max, err);
	case F_CPU: return number32(text, &r->cpu_percent, err);
	case F_CPUS: return set(text, r->cpus, UNIT_CPU_WORDS, err);
	case F_MEMS: return set(text, r->mems, UNIT_CPU_WORDS / 8, err);
	case F_PRIVATE_TMP: return take_yes(text, &r->private_tmp, err);
	case F_DEVICES: return take_yes(text, &r->has_devices, err);
	case F_DEVICE: return take_device(text, r, err);
	}
	UNREACHABLE();
}

static int check_fields(const struct request *r, unsigned seen, struct err *err)
{
	static const unsigned all_start = (1U << ARRAY_LEN(field_names)) - 1;
	static const struct {
		unsigned needs, allows;
	} of[] = {
		[REQUEST_HELLO] = {1U << F_OP, 1U << F_OP},
		[REQUEST_START] = {1U << F_OP | 1U << F_NAME | 1U << F_UID, all_start},
		[REQUEST_KILL] = {1U << F_OP | 1U << F_NAME, 1U << F_OP | 1U << F_NAME},
		[REQUEST_REMOVE] = {1U << F_OP | 1U << F_NAME, 1U << F_OP | 1U << F_NAME},
	};

	if (!(seen & 1U << F_OP) || (seen & of[r->op].needs) != of[r->op].needs)
		return err_set(err, ERR_FORMAT, "a request lacks a field");
	if (seen & ~of[r->op].allows)
		return err_set(err, ERR_UNKNOWN_FIELD, "'%s' has a field too many", op_names[r->op]);
	return 0;
}

int request_decode(const void *data, size_t n, struct request *ret, struct err *err)
{
	const char *at = data;
	const char *end = at + n;
	unsigned seen = 0;

	memset(ret, 0, sizeof(*ret));
	if (n > REQUEST_BYTES_MAX)
		return err_set(err, ERR_TOOBIG, "a request exceeds %d bytes", REQUEST_BYTES_MAX);
	if (!n || end[-1])
		return err_set(err, ERR_FORMAT, "a request is cut short");
	for (; at < end; at += strlen(at) + 1) {
		const char *eq = strchr(at, '=');
		size_t f = 0;
		int code;

		if (!eq)
			return err_set(err, ERR_FORMAT, "a record of a request has no '='");
		while (f < ARRAY_LEN(field_names) &&
				(strlen(field_names[f]) != (size_t)(eq - at) || strncmp(at, field_names[f], (size_t)(eq - at))))
			f++;
		if (f == ARRAY_LEN(field_names))
			return err_set(err, ERR_UNKNOWN_FIELD, "no such field '%.*s'", (int)(eq - at > 40 ? 40 : eq - at), at);
		if (f != F_DEVICE && (seen & 1U << f))
			return err_set(err, ERR_UNKNOWN_FIELD, "field '%s' is given twice", field_names[f]);
		seen |= 1U << f;
		code = take((enum field)f, eq + 1, ret, err);
		if (code)
			return code;
	}
	return check_fields(ret, seen, err);
}

void request_encode(const struct request *r, struct buf *out)
{
	unit_put(out, "op", op_names[r->op]);
	if (r->op == REQUEST_HELLO)
		return;
	unit_put(out, "name", r->name);
	if (r->op != REQUEST_START)
		return;
	unit_put_u64(out, "uid", r->uid);
	if (r->mem_bytes)
		unit_put_u64(out, "mem", r->mem_bytes);
	if (r->tasks_max)
		unit_put_u64(out, "tasks", r->tasks_max);
	if (r->cpu_percent)
		unit_put_u64(out, "cpu", r->cpu_percent);
	if (r->cpus[0])
		unit_put(out, "cpus", r->cpus);
	if (r->mems[0])
		unit_put(out, "mems", r->mems);
	if (r->private_tmp)
		unit_put(out, "private_tmp", "1");
	if (r->has_devices)
		unit_put(out, "devices", "1");
	for (size_t i = 0; i < r->devices_n; i++)
		unit_put(out, "device", r->devices[i]);
}

int request_of_task(const struct exec_task *task, uid_t uid, struct request *ret, struct err *err)
{
	*ret = (struct request){.op = REQUEST_START, .uid = task->uid ? task->uid : uid, .mem_bytes = task->mem_bytes,
		.tasks_max = task->tasks_max, .cpu_percent = task->cpu_percent, .private_tmp = task->private_tmp,
		.has_devices = task->devices != NULL};
	if ((task->cpus && strlen(task->cpus) >= REQUEST_SET_BYTES) || (task->mems && strlen(task->mems) >= REQUEST_SET_BYTES))
		return err_set(err, ERR_TOOBIG, "a list of cpus or nodes exceeds %d bytes", REQUEST_SET_BYTES - 1);
	(void)snprintf(ret->name, sizeof(ret->name), "%s", task->name);
	(void)snprintf(ret->cpus, sizeof(ret->cpus), "%s", task->cpus ? task->cpus : "");
	(void)snprintf(ret->mems, sizeof(ret->mems), "%s", task->mems && !task->mems_preferred ? task->mems : "");
	for (const char *const *d = task->devices; d && *d; d++) {
		int code = take_device(*d, ret, err);

		if (code)
			return code;
	}
	return 0;
}
