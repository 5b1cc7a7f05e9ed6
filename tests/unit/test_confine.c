/* test_confine.c - what a unit's tasks are held to: account, devices, processors, memory nodes
 *
 * Work that runs as somebody else, or opens a neighbour's device, is the worst that an agent can do. The accounts, the
 * device nodes and what the execution layer can enforce are made up here: confine.c asks for each by a function that
 * this program has of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <errno.h>
#include <glob.h>
#include <pwd.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/probe/nodes.h"
#include "agent/shell.h"
#include "proto/base/buf.h"
#include "proto/base/ensure.h"

enum { OWN_UID = 990, ALL_CAPS = EXEC_CAP_MEMORY | EXEC_CAP_CPU | EXEC_CAP_CPUSET | EXEC_CAP_PIDS | EXEC_CAP_DEVICES |
		EXEC_CAP_TRACK | EXEC_CAP_USER };

/* ---- the world as confine.c sees it ------------------------------------------------------------------------- */

static unsigned caps;
static int lookup_errno; /* of an account that is not there */

unsigned exec_caps(const struct exec *exec)
{
	(void)exec;
	return caps;
}

static uid_t own_uid; /* the agent's */

uid_t geteuid(void)
{
	return own_uid;
}

struct passwd *getpwnam(const char *name)
{
	static struct { char name[16]; uid_t uid; char home[16]; } all[] = {
		{"root", 0, "/root"}, {"daemon", 999, "/d"}, {"sluis-agent", OWN_UID, "/a"}, {"eva", 1000, "/home/eva"},
		{"e.jansen", 2000, "/home/jansen"}, {"guest", 2001, "/home/guest"}, {"", 1500, "/"},
	};
	static struct passwd found;

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (!strcmp(all[i].name, name)) {
			found = (struct passwd){.pw_name = all[i].name, .pw_uid = all[i].uid, .pw_dir = all[i].home};
			return &found;
		}
	errno = lookup_errno;
	return NULL;
}

/* Two nodes of its own and two control nodes for each device, as the driver counts it; 9: they are not there. */
int probe_nodes(const char *root, const struct inv_device *d, const struct probe_handle *h, struct probe_nodes *ret,
		struct err *err)
{
	assert_string_equal(root, "");
	(void)d;
	*ret = (struct probe_nodes){.own_n = 2, .control_n = 2};
	if (h->minor == 9)
		return err_set(err, ERR_NOTFOUND, "there is no '/dev/nvidia9'");
	(void)snprintf(ret->own[0], NODE_PATH_BYTES, "/dev/nvidia%d", h->minor);
	(void)snprintf(ret->own[1], NODE_PATH_BYTES, "/dev/nvidia-caps/nvidia-cap%d", h->minor);
	(void)snprintf(ret->control[0], NODE_PATH_BYTES, "/dev/nvidiactl");
	(void)snprintf(ret->control[1], NODE_PATH_BYTES, "/dev/nvidia-uvm");
	return 0;
}

/* A machine with two adapters and FUSE. */
int glob(const char *pattern, int flags, int (*wrong)(const char *path, int eerrno), glob_t *ret)
{
	static char names[3][32] = {"/dev/infiniband/uverbs0", "/dev/infiniband/uverbs1", "/dev/fuse"};
	static char *verbs[] = {names[0], names[1]}, *fuse[] = {names[2]};

	(void)flags;
	(void)wrong;
	*ret = (glob_t){0};
	if (!strcmp(pattern, "/dev/infiniband/uverbs*"))
		*ret = (glob_t){.gl_pathc = 2, .gl_pathv = verbs};
	else if (!strcmp(pattern, "/dev/fuse"))
		*ret = (glob_t){.gl_pathc = 1, .gl_pathv = fuse};
	return ret->gl_pathc ? 0 : GLOB_NOMATCH;
}

void globfree(glob_t *g)
{
	*g = (glob_t){0};
}

struct world {
	struct shell s;
	struct inventory inv;
	struct probe_local local;
	struct unit unit;
	struct unit_device device[40];
	struct confine got;
	struct arena arena;
	struct err err;
	char dir[64], hosts[80], home[16];
};

/* Eight cores of two hardware threads each, the first four beside the first memory node, and forty devices. */
static int setup(void **state)
{
	struct world *w = xcalloc(1, sizeof *w);

	caps = ALL_CAPS;
	lookup_errno = 0;
	(void)snprintf(w->dir, sizeof w->dir, "/tmp/sluis-confine-XXXXXX");
	if (!mkdtemp(w->dir))
		return -1;
	(void)snprintf(w->hosts, sizeof w->hosts, "%s/hosts", w->dir);
	strcpy(w->home, "/agent");
	own_uid = OWN_UID;
	w->inv.numa_count = 2;
	for (unsigned i = 0; i < 2; i++) {
		w->inv.numa[i] = (struct inv_numa){.os_index = i * 4, .memory_mib = 1000};
		w->inv.numa[i].cores.w[0] = i ? 0xf0 : 0x0f;
	}
	w->local.devices_here = true;
	w->local.core_count = 8;
	for (unsigned i = 0; i < 8; i++)
		w->local.core[i].count = 2; /* both of processor 0, which is here everywhere */
	w->inv.device_count = ARRAY_LEN(w->device);
	for (unsigned i = 0; i < ARRAY_LEN(w->device); i++) {
		(void)snprintf(w->inv.devices[i].pci, sizeof w->inv.devices[i].pci, "0000:%02x:00.0", i);
		(void)snprintf(w->device[i].pci, sizeof w->device[i].pci, "0000:%02x:00.0", i);
		w->local.device[i].minor = (int)i;
	}
	w->s = (struct shell){.inventory = &w->inv, .local = &w->local, .node = "n1", .home = w->home, .hosts_dir = w->hosts,
			      .conf = {.state_dir = w->dir, .exec = {.uid_min = 1000, .uid_max = 2000, .tasks_max = 77}}};
	w->unit = (struct unit){.user = "eva", .devices = w->device, .memory_mib = 500};
	w->unit.cores[0] = 0x03;
	*state = w;
	return mkdir(w->hosts, 0700);
}

static int teardown(void **state)
{
	struct world *w = *state;
	int rc = rmdir(w->hosts) || rmdir(w->dir);

	arena_done(&w->arena);
	free(w);
	return rc;
}

static int open_it(struct world *w)
{
	w->err = (struct err){0};
	return confine_open(&w->s, &w->err);
}

static int ask(struct world *w)
{
	w->err = (struct err){0};
	return confine_unit(&w->s, &w->unit, &w->arena, &w->got, &w->err);
}

static int ask_for(struct world *w, const char *user)
{
	(void)snprintf(w->unit.user, sizeof w->unit.user, "%s", user);
	return ask(w);
}

/* Exactly these may be opened; NULL at the end. */
static void devices_are(const struct world *w, const char *const *want)
{
	size_t n = 0;

	assert_non_null(w->got.devices);
	for (; want[n] && w->got.devices[n]; n++)
		assert_string_equal(w->got.devices[n], want[n]);
	if (want[n] || w->got.devices[n])
		fail_msg("%zu: '%s' instead of '%s'", n, w->got.devices[n] ? w->got.devices[n] : "", want[n] ? want[n] : "");
}
#define DEVICES_ARE(w, ...) devices_are(w, (const char *const[]){__VA_ARGS__, NULL})

/* ---- accounts --------------------------------------------------------------------------------------------- */

static void work_runs_as_its_submitter_or_not_at_all(void **state)
{
	struct world *w = *state;
	struct conf_pair pair = {.key = "els", .value = "e.jansen"};

	assert_int_equal(open_it(w), 0);
	assert_true(w->s.run_as_user);
	assert_int_equal(ask_for(w, "eva"), 0);
	assert_int_equal(w->got.uid, 1000);
	assert_string_equal(w->got.home, "/home/eva");
	assert_int_equal(ask_for(w, "els"), ERR_DENIED);
	assert_non_null(strstr(w->err.msg, "user 'els' has no account 'els' on n1"));
	assert_int_equal(w->got.uid, 0); /* nor was it made somebody's */
	assert_false(w->got.account);
	w->s.conf.exec.users.items = &pair;
	w->s.conf.exec.users.count = 1;
	assert_int_equal(ask_for(w, "els"), 0);
	assert_int_equal(w->got.uid, 2000);
	assert_string_equal(w->got.home, "/home/jansen");
	pair.value = "gone";
	assert_int_equal(ask_for(w, "els"), ERR_DENIED);
	assert_non_null(strstr(w->err.msg, "user 'els' has no account 'gone' on n1"));
	assert_int_equal(ask_for(w, ""), ERR_DENIED);
}

static void accounts_of_the_system_are_nobodys(void **state)
{
	struct world *w = *state;

	assert_int_equal(open_it(w), 0);
	assert_int_equal(ask_for(w, "root"), ERR_DENIED);
	assert_non_null(strstr(w->err.msg, "account 'root' (uid 0) is outside exec.uid_min..uid_max on n1"));
	assert_int_equal(ask_for(w, "daemon"), ERR_DENIED); /* 999 */
	assert_int_equal(ask_for(w, "guest"), ERR_DENIED); /* 2001 */
	assert_int_equal(ask_for(w, "e.jansen"), 0); /* 2000 */
	assert_int_equal(ask_for(w, "sluis-agent"), ERR_DENIED); /* who may ask sluis-execd for all of the above */
	assert_false(w->got.account);
	own_uid = 0; /* root's work under an agent that is root: 0 is no account that is missing */
	assert_int_equal(ask_for(w, "root"), 0);
	assert_true(w->got.account);
	assert_int_equal(w->got.uid, 0);
}

/* A directory service that does not answer says nothing about the user. */
static void no_answer_is_not_no_account(void **state)
{
	struct world *w = *state;
	const int none[] = {0, ENOENT, ESRCH};

	assert_int_equal(open_it(w), 0);
	for (size_t i = 0; i < ARRAY_LEN(none); i++) {
		lookup_errno = none[i];
		assert_int_equal(ask_for(w, "nobody-here"), ERR_DENIED);
	}
	lookup_errno = EIO;
	assert_int_equal(ask_for(w, "nobody-here"), ERR_SYS);
	assert_int_equal(ask_for(w, "eva"), 0);
}

static void who_cannot_switch_does_not_pretend(void **state)
{
	struct world *w = *state;
	struct stat st;

	caps = ALL_CAPS & ~(unsigned)EXEC_CAP_USER;
	w->s.conf.exec.run_as = RUN_AS_USER;
	assert_int_equal(open_it(w), ERR_CONFIG);
	assert_non_null(strstr(w->err.hint, "exec.execd"));
	w->s.conf.exec.run_as = RUN_AS_AUTO;
	assert_int_equal(open_it(w), 0);
	assert_false(w->s.run_as_user);
	assert_int_equal(w->s.isolation & ISOLATION_USER, 0);
	caps = ALL_CAPS;
	w->s.conf.exec.run_as = RUN_AS_AGENT;
	assert_int_equal(open_it(w), 0);
	assert_false(w->s.run_as_user);
	assert_true(stat(w->dir, &st) == 0 && (st.st_mode & 0777) == 0700); /* nobody else has to pass */
	assert_int_equal(ask_for(w, "els"), 0); /* whoever that is */
	assert_false(w->got.account);
	assert_int_equal(w->got.uid, 0);
	assert_string_equal(w->got.home, "/agent");
	w->s.conf.exec.run_as = RUN_AS_USER;
	assert_int_equal(open_it(w), 0);
	assert_true(w->s.run_as_user);
	assert_true(stat(w->dir, &st) == 0 && (st.st_mode & 0777) == 0711); /* pass, not list */
	assert_true(stat(w->hosts, &st) == 0 && (st.st_mode & 0777) == 0711);
}

static void what_is_enforced_is_said(void **state)
{
	struct world *w = *state;
	static const struct { unsigned cap; uint32_t bit; } each[] = {
		{0, 0}, {EXEC_CAP_MEMORY, ISOLATION_MEMORY}, {EXEC_CAP_CPU, ISOLATION_CPU}, {EXEC_CAP_CPUSET, ISOLATION_CPUSET},
		{EXEC_CAP_PIDS, ISOLATION_TASKS}, {EXEC_CAP_DEVICES, ISOLATION_DEVICES}, {EXEC_CAP_TRACK, ISOLATION_TRACK},
		{EXEC_CAP_USER, ISOLATION_USER},
	};

	for (size_t i = 0; i < ARRAY_LEN(each); i++) {
		caps = each[i].cap;
		assert_int_equal(open_it(w), 0);
		assert_int_equal(w->s.isolation, ISOLATION_KNOWN | each[i].bit);
	}
}

/* ---- devices ---------------------------------------------------------------------------------------------- */

static void only_what_was_granted_may_be_opened(void **state)
{
	struct world *w = *state;
	const char *site[] = {"/dev/null"};

	w->unit.devices = &w->device[2];
	w->unit.devices_n = 1;
	assert_int_equal(ask(w), 0);
	DEVICES_ARE(w, "/dev/nvidia2", "/dev/nvidia-caps/nvidia-cap2", "/dev/nvidiactl", "/dev/nvidia-uvm",
		    "/dev/infiniband/uverbs0", "/dev/infiniband/uverbs1", "/dev/fuse");
	w->s.conf.exec.devices.items = site; /* what the site gives is instead of what is usual */
	w->s.conf.exec.devices.count = 1;
	w->unit.devices_n = 2;
	assert_int_equal(ask(w), 0);
	DEVICES_ARE(w, "/dev/nvidia2", "/dev/nvidia-caps/nvidia-cap2", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia3",
		    "/dev/nvidia-caps/nvidia-cap3", "/dev/null");
	w->unit.devices_n = 0; /* of a job without devices none, and no way to the driver */
	assert_int_equal(ask(w), 0);
	DEVICES_ARE(w, "/dev/null");
	caps &= ~(unsigned)EXEC_CAP_DEVICES;
	assert_int_equal(ask(w), 0);
	assert_null(w->got.devices); /* nobody is there to refuse */
	caps = ALL_CAPS;
	w->local.devices_here = false;
	assert_int_equal(ask(w), 0);
	assert_null(w->got.devices);
}

/* Found by name, and slice by slice: a grant is no place in a list. */
static void a_device_that_is_not_here_is_refused(void **state)
{
	struct world *w = *state;

	w->unit.devices = &w->device[5];
	w->unit.devices_n = 1;
	w->device[5].partition = 1;
	assert_int_equal(ask(w), ERR_STATE);
	assert_non_null(strstr(w->err.msg, "this node has no device 0000:05:00.0/1"));
	assert_null(w->got.devices);
	assert_int_equal(open_it(w), 0);
	assert_int_equal(ask(w), ERR_STATE);
	assert_true(w->got.account); /* who it is about is known: its epilog wants to know that */
	assert_int_equal(w->got.uid, 1000);
	w->inv.devices[7] = w->inv.devices[5];
	w->inv.devices[7].partition = 1;
	assert_int_equal(ask(w), 0);
	assert_string_equal(w->got.devices[0], "/dev/nvidia7");
	w->unit.devices = &w->device[9]; /* its nodes have gone: as little the job's fault */
	assert_int_equal(ask(w), ERR_STATE);
	assert_non_null(strstr(w->err.msg, "there is no '/dev/nvidia9'"));
	w->unit.devices = &w->device[10];
	w->unit.devices_n = 30; /* two nodes each, two of control, three usual */
	assert_int_equal(ask(w), ERR_TOOBIG);
	w->unit.devices_n = 29;
	assert_int_equal(ask(w), 0);
}

static void what_the_site_gives_to_all_are_devices(void **state)
{
	struct world *w = *state;
	const char *site[] = {"/dev/null", "/dev/none"};

	w->s.conf.exec.devices.items = site;
	w->s.conf.exec.devices.count = 1;
	assert_int_equal(open_it(w), 0);
	w->s.conf.exec.execd = "/run/sluis-execd/socket"; /* root's own list is shorter */
	assert_int_equal(open_it(w), ERR_CONFIG);
	assert_non_null(strstr(w->err.msg, "sluis-execd opens '/dev/null' to nobody"));
	w->s.conf.exec.execd = NULL;
	w->s.conf.exec.devices.count = 2;
	assert_int_equal(open_it(w), ERR_CONFIG);
	assert_non_null(strstr(w->err.msg, "cannot find '/dev/none'"));
	site[1] = "/tmp";
	assert_int_equal(open_it(w), ERR_CONFIG);
	assert_non_null(strstr(w->err.msg, "'/tmp' is no device node"));
}

/* ---- memory and processors ---------------------------------------------------------------------------------- */

/* Bound to the memory beside its cores only where no neighbour's need can become its end. */
static void memory_is_bound_where_it_is_its_own(void **state)
{
	struct world *w = *state;

	w->unit.cores[0] = 0x0f;
	w->unit.memory_mib = 1000;
	assert_int_equal(ask(w), 0);
	assert_string_equal(w->got.mems, "0");
	assert_false(w->got.mems_preferred);
	assert_true(w->got.mem_bytes == 1000ULL << 20);
	assert_int_equal(w->got.tasks_max, 77);
	w->unit.memory_mib = 1001; /* it was granted more than there is */
	assert_int_equal(ask(w), 0);
	assert_true(w->got.mems_preferred);
	w->unit.memory_mib = 10;
	w->unit.cores[0] = 0x07; /* a core of it is somebody else's */
	assert_int_equal(ask(w), 0);
	assert_string_equal(w->got.mems, "0");
	assert_true(w->got.mems_preferred);
	w->unit.cores[0] = 0xf8;
	assert_int_equal(ask(w), 0);
	assert_string_equal(w->got.mems, "0,4");
	assert_true(w->got.mems_preferred);
	w->unit.cores[0] = 0xff;
	w->unit.memory_mib = 2000;
	assert_int_equal(ask(w), 0);
	assert_false(w->got.mems_preferred);
	w->inv.numa[1].device_memory = true; /* of a device that has cores: no place for a program's */
	assert_int_equal(ask(w), 0);
	assert_string_equal(w->got.mems, "0");
	assert_true(w->got.mems_preferred);
	w->unit.cores[0] = 0;
	assert_int_equal(ask(w), 0);
	assert_null(w->got.mems);
	w->unit.cores[0] = 0x0f;
	w->inv.numa_count = 1;
	assert_int_equal(ask(w), 0);
	assert_null(w->got.mems);
	w->inv.numa_count = 2;
	w->inv.emulated = true;
	assert_int_equal(ask(w), 0);
	assert_null(w->got.mems);
	assert_null(w->got.cpus);
}

/* A task may widen its own affinity: where no cpuset stops it, a share of time does. */
static void processors_are_bounded_either_way(void **state)
{
	struct world *w = *state;
	cpu_set_t here;

	CPU_ZERO(&here);
	CPU_SET(0, &here);
	if (sched_setaffinity(0, sizeof here, &here) != 0)
		skip();
	w->unit.cores[0] = 0x07;
	assert_int_equal(ask(w), 0);
	assert_string_equal(w->got.cpus, "0");
	assert_int_equal(w->got.cpu_percent, 0);
	caps &= ~(unsigned)EXEC_CAP_CPUSET;
	assert_int_equal(ask(w), 0);
	assert_int_equal(w->got.cpu_percent, 600);
	w->local.core[2].os_index[1] = 4000; /* one that we may not use ourselves: bound to nothing, so not bounded */
	assert_int_equal(ask(w), 0);
	assert_null(w->got.cpus);
	assert_int_equal(w->got.cpu_percent, 0);
}

static void a_task_gets_all_of_it(void **state)
{
	const char *devices[] = {"/dev/fuse", NULL};
	const struct confine c = {.uid = 5, .devices = devices, .cpus = "1", .mems = "2", .mems_preferred = true, .mem_bytes = 6,
				  .tasks_max = 7, .cpu_percent = 8};
	struct exec_task t = {.name = "a1-p0-t0"};

	(void)state;
	confine_task(&c, &t);
	assert_int_equal(t.uid, 5);
	assert_ptr_equal(t.devices, devices);
	assert_string_equal(t.cpus, "1");
	assert_string_equal(t.mems, "2");
	assert_true(t.mems_preferred);
	assert_int_equal(t.mem_bytes, 6);
	assert_int_equal(t.tasks_max, 7);
	assert_int_equal(t.cpu_percent, 8);
}

int main(void)
{
#define STORY(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		STORY(work_runs_as_its_submitter_or_not_at_all),
		STORY(accounts_of_the_system_are_nobodys),
		STORY(no_answer_is_not_no_account),
		STORY(who_cannot_switch_does_not_pretend),
		STORY(what_is_enforced_is_said),
		STORY(only_what_was_granted_may_be_opened),
		STORY(a_device_that_is_not_here_is_refused),
		STORY(what_the_site_gives_to_all_are_devices),
		STORY(memory_is_bound_where_it_is_its_own),
		STORY(processors_are_bounded_either_way),
		cmocka_unit_test(a_task_gets_all_of_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
