/* test_hooks_env.c - what hooks and tasks find in their environment is what sluis-agent(8) lists
 *
 * Without it, who writes a prolog reads the source, and a variable that is renamed breaks a site's programs unseen.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/core/environ.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"
#include "tests/lib/manual.h"

#define PAGE "agent/sluis-agent.8"
#define OF_HOOKS "PROLOG AND EPILOG"
#define OF_TASKS "ENVIRONMENT OF A TASK"

enum { NAMES_MAX = 256, NAME_MAX_BYTES = 64 };

struct names { char list[NAMES_MAX][NAME_MAX_BYTES]; size_t n; };

static bool has(const struct names *names, const char *name)
{
	for (size_t i = 0; i < names->n; i++)
		if (strcmp(names->list[i], name) == 0)
			return true;
	return false;
}

static void add(struct names *names, const char *name, size_t len)
{
	char text[NAME_MAX_BYTES];

	(void)snprintf(text, sizeof text, "%.*s", (int)len, name);
	if (has(names, text))
		return;
	assert_true(names->n < NAMES_MAX);
	memcpy(names->list[names->n++], text, sizeof text);
}

/* Whatever can be set around a unit of this kind is. */
static void build(enum environ_mode mode, enum unit_kind kind, struct names *names)
{
	struct unit_host hosts[] = {{.name = "n1", .address = "10.0.0.1", .slots = 1}, {.name = "n2", .address = "10.0.0.2", .slots = 1}};
	struct unit_device devices[] = {{.pci = "0000:01:00.0", .vendor = "nvidia"}, {.pci = "0000:02:00.0", .vendor = "amd"}};
	struct unit unit = {.alloc = 9, .part = 1, .kind = (uint8_t)kind, .owner = 4, .attempt = 2, .name = "x", .project = "a/b",
			    .user = "eva", .cores = {3}, .memory_mib = 7, .tasks = 1, .world = 2, .cpus_per_task = 1,
			    .master_address = "10.0.0.1", .master_port = 20000, .array = 5, .array_index = 1, .restart_count = 1,
			    .nodes_min = 1, .nodes_max = 4, .slurm_env = true, .devices = devices, .devices_n = 2, .hosts = hosts,
			    .hosts_n = 2};
	struct payload payload = {.cwd = "/x", .submit_host = "login", .checkpoint_dir = "/c", .checkpoint_command = "true",
				  .stop_within_ms = 1000};
	struct environ_in in = {.mode = mode, .unit = &unit, .hook = "prolog", .start_unix_ms = 1000, .until_unix_ms = 2000,
				.cluster = "c", .node = "n1", .address = "10.0.0.1", .cpuset = "0-1", .numa = "0", .home = "/h", .uid = 1};
	struct arena arena = {0};

	if (mode != ENVIRON_HOOK) { /* hooks.c gives these to no hook */
		in.payload = &payload;
		in.port = 8000;
		in.hostfile = "/f";
		in.tmpdir = "/t";
		in.interface = "ib0";
		in.hcas = "mlx5_0";
	}
	for (const char *const *env = environ_build(&in, &arena); *env; env++)
		add(names, *env, strcspn(*env, "="));
	arena_done(&arena);
}

static void build_for_hooks(struct names *names)
{
	build(ENVIRON_HOOK, UNIT_JOB_COMMAND, names);
	build(ENVIRON_HOOK, UNIT_SERVICE, names);
	add(names, "SLUIS_UNIT", strlen("SLUIS_UNIT")); /* of the execution layer: what hooks_run.c does not take away */
	add(names, "SLUIS_UNIT_KEY", strlen("SLUIS_UNIT_KEY"));
}

/* The names in calls like set(e, is_job(u) ? "A" : "B", "%s", value): strings of the argument behind `call`. */
static void add_called(const char *path, const char *call, struct names *names)
{
	char *text = tree_text(path);

	for (const char *at = strstr(text, call); at; at = strstr(at, call))
		for (at += strlen(call); *at && *at != ',' && *at != ';'; at++) {
			size_t len;

			if (*at != '"')
				continue;
			len = strcspn(at + 1, "\"");
			add(names, at + 1, len);
			at += 1 + len;
		}
	free(text);
}

/* As it stands there, or "SLURM_*". */
static bool listed(const struct manual *m, const char *section, const char *name)
{
	for (size_t i = 0; i < m->entries_n; i++) {
		const struct manual_entry *e = &m->entries[i];
		size_t len = strlen(e->name);

		if (strcmp(e->macro, "Ev") != 0 || strcmp(e->section, section) != 0)
			continue;
		if (strcmp(e->name, name) == 0 || (len && e->name[len - 1] == '*' && strncmp(e->name, name, len - 1) == 0))
			return true;
	}
	return false;
}

static void all_that_a_hook_finds_is_listed_and_nothing_else(void **state)
{
	struct names *found = xcalloc(1, sizeof *found);
	struct manual m;

	(void)state;
	build_for_hooks(found);
	manual_read(PAGE, &m);
	for (size_t i = 0; i < found->n; i++)
		if (!listed(&m, OF_HOOKS, found->list[i]))
			fail_msg("%s does not list %s under %s", PAGE, found->list[i], OF_HOOKS);
	for (size_t i = 0; i < m.entries_n; i++)
		if (strcmp(m.entries[i].section, OF_HOOKS) == 0 && strcmp(m.entries[i].macro, "Ev") == 0 && !has(found, m.entries[i].name))
			fail_msg("%s lists %s under %s, and no hook finds it", PAGE, m.entries[i].name, OF_HOOKS);
	manual_done(&m);
	free(found);
}

/* Tasks find the most of that too: it is not said twice. */
static void all_that_a_task_finds_is_listed(void **state)
{
	struct names *found = xcalloc(1, sizeof *found), *hook = xcalloc(1, sizeof *hook);
	struct manual m;

	(void)state;
	build_for_hooks(hook);
	add_called("agent/core/environ.c", "set(e, ", found);
	add_called("agent/core/environ.c", "set(&e, ", found);
	add_called("agent/exec/exec.c", "put_env(b, ", found);
	assert_in_range(found->n, 80, NAMES_MAX); /* the calls are found */
	for (enum unit_kind kind = UNIT_JOB_SCRIPT; kind <= UNIT_BARE; kind++)
		for (enum environ_mode mode = ENVIRON_BATCH; mode <= ENVIRON_EXEC; mode++)
			if (mode != ENVIRON_HOOK)
				build(mode, kind, found);
	manual_read(PAGE, &m);
	for (size_t i = 0; i < found->n; i++)
		if (!listed(&m, OF_TASKS, found->list[i]) && !has(hook, found->list[i]))
			fail_msg("%s lists %s nowhere", PAGE, found->list[i]);
	for (size_t i = 0; i < m.entries_n; i++) {
		const struct manual_entry *e = &m.entries[i];

		if (strcmp(e->section, OF_TASKS) == 0 && strcmp(e->macro, "Ev") == 0 && !strchr(e->name, '*') && !has(found, e->name))
			fail_msg("%s lists %s, and no task finds it", PAGE, e->name);
	}
	manual_done(&m);
	free(found);
	free(hook);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_that_a_hook_finds_is_listed_and_nothing_else),
		cmocka_unit_test(all_that_a_task_finds_is_listed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
