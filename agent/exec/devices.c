/* devices.c - see devices.h
 *
 * The program is a chain of comparisons over struct bpf_cgroup_dev_ctx: for each rule "type, major and
 * minor fit: allow", at the end "refuse". It is written down here instruction by instruction; a loader
 * library would be larger than the program.
 */
#include "agent/exec/devices.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "proto/base/ensure.h"

enum {
	RULE_INSNS = 6,
	MINOR_ANY = -1,
	INSNS_MAX = 8 + RULE_INSNS * (DEVICES_MAX + 8),
};

struct rule {
	int type; /* BPF_DEVCG_DEV_CHAR or _BLOCK */
	int major, minor;
};

/* null, zero, full, random, urandom, tty, ptmx, pts */
static const struct rule defaults[] = {
	{BPF_DEVCG_DEV_CHAR, 1, 3}, {BPF_DEVCG_DEV_CHAR, 1, 5}, {BPF_DEVCG_DEV_CHAR, 1, 7}, {BPF_DEVCG_DEV_CHAR, 1, 8},
	{BPF_DEVCG_DEV_CHAR, 1, 9}, {BPF_DEVCG_DEV_CHAR, 5, 0}, {BPF_DEVCG_DEV_CHAR, 5, 2},
	{BPF_DEVCG_DEV_CHAR, 136, MINOR_ANY},
};

struct program {
	struct bpf_insn insns[INSNS_MAX];
	size_t n;
};

bool device_allowed(const char *path)
{
	static const struct {
		const char *folder;
		const char *start; /* of the name */
		bool whole;
	} known[] = {{"/dev/", "nvidia", false}, {"/dev/nvidia-caps/", "nvidia-cap", false}, {"/dev/dri/", "card", false},
		{"/dev/dri/", "renderD", false}, {"/dev/", "kfd", true}, {"/dev/infiniband/", "uverbs", false},
		{"/dev/infiniband/", "rdma_cm", true}, {"/dev/", "fuse", true}};

	if (strlen(path) >= DEVICE_PATH_BYTES)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		size_t f = strlen(known[i].folder), s = strlen(known[i].start);
		const char *rest = path + f + s;

		if (strncmp(path, known[i].folder, f) || strncmp(path + f, known[i].start, s))
			continue;
		if (known[i].whole ? !*rest : !rest[strspn(rest, "abcdefghijklmnopqrstuvwxyz0123456789-")])
			return true;
	}
	return false;
}

static void put(struct program *p, uint8_t code, uint8_t dst, uint8_t src, int16_t off, int32_t imm)
{
	ENSURE(p->n < INSNS_MAX);
	p->insns[p->n++] = (struct bpf_insn){.code = code, .dst_reg = (unsigned)dst & 15U, .src_reg = (unsigned)src & 15U, .off = off, .imm = imm};
}

static void put_head(struct program *p)
{
	/* r2: type, the low half of access_type; r4, r5: major, minor */
	put(p, BPF_LDX | BPF_W | BPF_MEM, 2, 1, offsetof(struct bpf_cgroup_dev_ctx, access_type), 0);
	put(p, BPF_ALU | BPF_AND | BPF_K, 2, 0, 0, 0xffff);
	put(p, BPF_LDX | BPF_W | BPF_MEM, 4, 1, offsetof(struct bpf_cgroup_dev_ctx, major), 0);
	put(p, BPF_LDX | BPF_W | BPF_MEM, 5, 1, offsetof(struct bpf_cgroup_dev_ctx, minor), 0);
}

static void put_rule(struct program *p, const struct rule *r)
{
	int16_t skip = r->minor == MINOR_ANY ? 3 : 4;

	put(p, BPF_JMP | BPF_JNE | BPF_K, 2, 0, skip, r->type);
	put(p, BPF_JMP | BPF_JNE | BPF_K, 4, 0, (int16_t)(skip - 1), r->major);
	if (r->minor != MINOR_ANY)
		put(p, BPF_JMP | BPF_JNE | BPF_K, 5, 0, 2, r->minor);
	put(p, BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 1);
	put(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

static int load(struct program *p)
{
	union bpf_attr attr;

	put(p, BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0);
	put(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	attr.insns = (uint64_t)(uintptr_t)p->insns;
	attr.insn_cnt = (uint32_t)p->n;
	attr.license = (uint64_t)(uintptr_t)"GPL";
	return (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
}

bool device_filter_possible(void)
{
	struct program p = {.n = 0};
	int fd = load(&p);

	if (fd >= 0)
		(void)close(fd);
	return fd >= 0;
}

static int attach(const char *cgroup, int prog, struct err *err)
{
	union bpf_attr attr;
	int dir = open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int code = 0;

	if (dir < 0)
		return err_set_errno(err, ERR_SYS, "cannot open the cgroup '%.120s'", cgroup);
	memset(&attr, 0, sizeof(attr));
	attr.target_fd = (uint32_t)dir;
	attr.attach_bpf_fd = (uint32_t)prog;
	attr.attach_type = BPF_CGROUP_DEVICE;
	/* MULTI: filters of the cgroups above keep their say. */
	attr.attach_flags = BPF_F_ALLOW_MULTI;
	if (syscall(SYS_bpf, BPF_PROG_ATTACH, &attr, sizeof(attr)))
		code = err_set_errno(err, ERR_SYS, "cannot filter the devices of '%.120s'", cgroup);
	(void)close(dir);
	return code;
}

int device_filter_attach(const char *cgroup, const char *const *paths, struct err *err)
{
	struct program p = {.n = 0};
	int fd, code;

	put_head(&p);
	for (size_t i = 0; i < ARRAY_LEN(defaults); i++)
		put_rule(&p, &defaults[i]);
	for (size_t i = 0; paths[i]; i++) {
		struct rule r;
		struct stat st;

		if (i == DEVICES_MAX)
			return err_set(err, ERR_TOOBIG, "more than %d devices", DEVICES_MAX);
		if (lstat(paths[i], &st))
			return err_set_errno(err, ERR_NOTFOUND, "no device '%.80s'", paths[i]);
		if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode))
			return err_set(err, ERR_INVAL, "'%.80s' is no device node", paths[i]);
		r = (struct rule){.type = S_ISCHR(st.st_mode) ? BPF_DEVCG_DEV_CHAR : BPF_DEVCG_DEV_BLOCK,
			.major = (int)major(st.st_rdev), .minor = (int)minor(st.st_rdev)};
		put_rule(&p, &r);
	}
	fd = load(&p);
	if (fd < 0)
		return err_set_errno(err, ERR_SYS, "cannot load a device filter");
	code = attach(cgroup, fd, err);
	(void)close(fd); /* the cgroup holds it now */
	return code;
}
