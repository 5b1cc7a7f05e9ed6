/* agent_conf.c - the table of sluis-agent.conf (see agent_conf.h) */
#include "proto/config/agent_conf.h"

#include <stdio.h>
#include <string.h>

#include "proto/base/ensure.h"
#include "proto/base/instant.h"
#include "proto/base/limits.h"
#include "proto/config/units.h"

#define AT(member) offsetof(struct agent_conf, member)

static const char *const backend_names[] = {"systemd", "cgroup2", "plain", NULL};
static const char *const run_as_names[] = {"auto", "agent", "user", NULL};

/* ports: 20000-29999 */
static void set_ports(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *target)
{
	char first[8] = "", last[8] = "", rest = 0;
	int64_t ports[2];

	(void)row;
	if (node->kind != DOC_SCALAR || sscanf(node->text, "%7[0-9]-%7[0-9]%c", first, last, &rest) != 2 ||
	    units_count(first, 1024, 65535, &ports[0], NULL) || units_count(last, 1024, 65535, &ports[1], NULL) ||
	    ports[0] > ports[1]) {
		config_error_try(conf_error(walk, node, "'%.100s' is no range of ports",
					    node->kind == DOC_SCALAR ? node->text : "a list or a map"),
				 "20000-29999, within 1024 to 65535");
		return;
	}
	memcpy(target, ports, sizeof(ports));
}

/* topology: live | file: PATH | synthetic: TEXT */
static void set_topology(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *target)
{
	static const char hint[] = "{source: live}, {file: PATH.xml} or {synthetic: \"package:2 core:32 pu:2\"}";
	static const char *const keys[] = {"source", "file", "synthetic"};
	struct agent_conf *conf = target; /* the row's offset is 0 */
	struct doc_node *child = node->first;
	size_t k = 0;

	(void)row;
	if (node->kind != DOC_MAP || node->count != 1) {
		config_error_try(conf_error(walk, node, "one of source, file and synthetic belongs here"), "%s", hint);
		return;
	}
	while (k < ARRAY_LEN(keys) && strcmp(keys[k], child->key) != 0)
		k++;
	if (k == ARRAY_LEN(keys)) {
		config_error_try(conf_error_key(walk, child, "unknown key '%.100s'", child->key), "%s", hint);
		return;
	}
	if (child->kind != DOC_SCALAR || child->text[0] == '\0' || (k == 0 && strcmp(child->text, "live") != 0)) {
		config_error_try(conf_error(walk, child, "not a topology"), "%s", hint);
		return;
	}
	conf->topology.source = (int)k;
	conf->topology.text = arena_copy(walk->arena, child->text, strlen(child->text) + 1);
}

static void set_runtimes(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *target)
{
	struct agent_conf *conf = target; /* the row's offset is 0 */
	static const struct conf_row argv_row = {.key = "argv", .type = CONF_TEXT_LIST};

	(void)row;
	if (node->kind != DOC_MAP) {
		config_error_try(conf_error(walk, node, "names and their commands belong here"),
				 "apptainer: [apptainer, exec, \"{image}\", \"{command}\"]");
		return;
	}
	conf->exec.runtimes.items = arena_alloc(walk->arena, (node->count + 1) * sizeof(struct runtime_conf));
	for (struct doc_node *n = node->first; n; n = n->next) {
		struct runtime_conf *rt = &conf->exec.runtimes.items[conf->exec.runtimes.count];
		bool has_command = false;

		if (n->bad)
			continue;
		rt->name = arena_copy(walk->arena, n->key, strlen(n->key) + 1);
		rt->line = n->line;
		rt->col = n->col;
		conf_value(walk, &argv_row, n, &rt->argv);
		for (size_t i = 0; i < rt->argv.count; i++)
			has_command = has_command || strcmp(rt->argv.items[i], "{command}") == 0;
		if (n->kind == DOC_SEQ && !has_command)
			config_error_try(conf_error(walk, n, "the command of runtime '%.100s' has no place for the task",
						    n->key),
					 "\"{command}\" as a word of its own");
		conf->exec.runtimes.count++;
	}
}

static const struct conf_row daemon_rows[] = {
	{.key = "address", .type = CONF_ENDPOINT, .offset = AT(daemon.address),
	 .doc = "where sluisd takes agents; left out: learnt when the node joins"},
	{.key = "server_key", .type = CONF_TEXT, .offset = AT(daemon.server_key),
	 .doc = "sluisd's public key (Z85, 40 characters); left out: learnt when the node joins"},
};
static const struct conf_row fabric_rows[] = {
	{.key = "interface", .type = CONF_TEXT, .offset = AT(fabric.interface), .doc = "network device of the data plane"},
	{.key = "hcas", .type = CONF_TEXT, .offset = AT(fabric.hcas), .preset = "auto",
	 .doc = "InfiniBand devices for NCCL; auto: the ones next to the devices"},
	{.key = "ports", .type = CONF_CUSTOM, .offset = AT(fabric.port_first), .preset = "20000-29999", .set = set_ports,
	 .doc = "rendezvous ports of jobs"},
};
static const struct conf_row reserve_rows[] = {
	{.key = "cores", .type = CONF_COUNT, .offset = AT(reserve.cores), .preset = "2", .max = CORES_PER_NODE_MAX - 1,
	 .doc = "cores for the system"},
	{.key = "memory", .type = CONF_SIZE_MIB, .offset = AT(reserve.memory_mib), .preset = "8GiB", .max = 1 << 24,
	 .doc = "memory for the system"},
};
static const struct conf_row exec_rows[] = {
	{.key = "backend", .type = CONF_ENUM, .offset = AT(exec.backend), .preset = "systemd", .names = backend_names,
	 .doc = "how work is contained"},
	{.key = "execd", .type = CONF_TEXT, .offset = AT(exec.execd),
	 .doc = "socket of sluis-execd, which then contains the work; /run/sluis-execd/socket"},
	{.key = "run_as", .type = CONF_ENUM, .offset = AT(exec.run_as), .preset = "auto", .names = run_as_names,
	 .doc = "whose account work runs as: the submitter's (user), the agent's, or auto: user wherever that can be"},
	{.key = "uid_min", .type = CONF_COUNT, .offset = AT(exec.uid_min), .preset = "1000", .min = 1, .max = UINT32_MAX - 1,
	 .doc = "lowest account that work may run as"},
	{.key = "uid_max", .type = CONF_COUNT, .offset = AT(exec.uid_max), .preset = "60000", .min = 1,
	 .max = UINT32_MAX - 1, .doc = "and the highest"},
	{.key = "users", .type = CONF_PAIRS, .offset = AT(exec.users),
	 .doc = "account of a sluis user, where it has another name: {eva: e.jansen}"},
	{.key = "scratch", .type = CONF_PATH, .offset = AT(exec.scratch), .preset = "/tmp",
	 .doc = "folder in which each unit has its TMPDIR; everybody may make folders there, as in /tmp"},
	{.key = "tasks_max", .type = CONF_COUNT, .offset = AT(exec.tasks_max), .preset = "16384", .max = 4194304,
	 .doc = "processes and threads that one task may have; 0: no limit"},
	{.key = "devices", .type = CONF_TEXT_LIST, .offset = AT(exec.devices),
	 .doc = "device nodes that every task may open besides its own; fast networks and FUSE if left out"},
	{.key = "unkillable", .type = CONF_DURATION, .offset = AT(exec.unkillable_ms), .preset = "60s", .min = 100,
	 .max = MS_PER_HOUR, .doc = "after SIGKILL, or with a device still in use after the end of the work: time until alarm"},
	{.key = "prolog", .type = CONF_PATH, .offset = AT(exec.prolog), .doc = "folder of programs run before an attempt"},
	{.key = "epilog", .type = CONF_PATH, .offset = AT(exec.epilog), .doc = "folder of programs run after one"},
	{.key = "prolog_timeout", .type = CONF_DURATION, .offset = AT(exec.prolog_timeout_ms), .preset = "45s", .min = 100,
	 .max = MS_PER_HOUR, .doc = "longest run of each; longer is a failure, which drains the node"},
	{.key = "runtimes", .type = CONF_CUSTOM, .set = set_runtimes, .doc = "commands behind --container"},
};

static const struct conf_row libraries_rows[] = {
	{.key = "nvml", .type = CONF_PATH, .offset = AT(libraries.nvml), .doc = "NVIDIA's libnvidia-ml.so.1, if it is not found by name"},
	{.key = "rsmi", .type = CONF_PATH, .offset = AT(libraries.rsmi), .doc = "AMD's librocm_smi64.so, likewise"},
};

static const struct conf_schema daemon_schema = {.rows = daemon_rows, .rows_count = ARRAY_LEN(daemon_rows)};
static const struct conf_schema fabric_schema = {.rows = fabric_rows, .rows_count = ARRAY_LEN(fabric_rows)};
static const struct conf_schema reserve_schema = {.rows = reserve_rows, .rows_count = ARRAY_LEN(reserve_rows)};
static const struct conf_schema libraries_schema = {.rows = libraries_rows, .rows_count = ARRAY_LEN(libraries_rows)};
static const struct conf_schema exec_schema = {.rows = exec_rows, .rows_count = ARRAY_LEN(exec_rows)};

static void check(struct conf_walk *walk, struct doc_node *node, void *target);

static const struct conf_row rows[] = {
	{.key = "daemon", .type = CONF_MAP, .sub = &daemon_schema, .doc = "the sluisd this node belongs to"},
	{.key = "node", .type = CONF_NAME, .offset = AT(node), .doc = "this node's name; left out: the host's"},
	{.key = "address", .type = CONF_TEXT, .offset = AT(address),
	 .doc = "address that tasks use to meet; left out: the source address towards sluisd"},
	{.key = "key", .type = CONF_SECRET, .offset = AT(key), .preset = "/var/lib/sluis-agent/node.key",
	 .doc = "this node's secret key"},
	{.key = "state_dir", .type = CONF_PATH, .offset = AT(state_dir), .preset = "/var/lib/sluis-agent",
	 .doc = "attempts, exit reports, epochs, sockets of running tasks"},
	{.key = "labels", .type = CONF_PAIRS, .offset = AT(labels), .doc = "what is known about this node: site, rack, leaf"},
	{.key = "fabric", .type = CONF_MAP, .sub = &fabric_schema, .doc = "the data plane"},
	{.key = "reserve", .type = CONF_MAP, .sub = &reserve_schema, .doc = "not handed out"},
	{.key = "exec", .type = CONF_MAP, .sub = &exec_schema, .doc = "how work runs"},
	{.key = "topology", .type = CONF_CUSTOM, .set = set_topology, .doc = "where the topology comes from"},
	{.key = "libraries", .type = CONF_MAP, .sub = &libraries_schema, .doc = "vendors' libraries"},
	{.key = "heartbeat", .type = CONF_DURATION, .offset = AT(heartbeat_ms), .min = 10, .max = MS_PER_HOUR,
	 .doc = "how often to report; left out: what sluisd asks for"},
};

const struct conf_schema agent_conf_schema = {.rows = rows, .rows_count = ARRAY_LEN(rows), .check = check};

static void check(struct conf_walk *walk, struct doc_node *node, void *target)
{
	const struct agent_conf *c = target;

	if (c->labels.count > LABELS_PER_NODE_MAX)
		(void)conf_error(walk, doc_get(node, "labels"), "more than %d labels", LABELS_PER_NODE_MAX);
	for (size_t i = 0; i < c->labels.count; i++) {
		const struct conf_pair *p = &c->labels.items[i];

		if (strlen(p->key) >= LABEL_BYTES || strlen(p->value) >= LABEL_BYTES)
			(void)config_errors_add(walk->errs, walk->doc->file, p->line, p->col,
						"label '%.80s' is longer than %d bytes", p->key, LABEL_BYTES - 1);
	}
	if (c->exec.uid_min > c->exec.uid_max)
		config_error_try(conf_error(walk, doc_get(doc_get(node, "exec"), "uid_min"), "uid_min is above uid_max"),
				 "uid_min: 1000, uid_max: 60000");
	if (c->daemon.address && strchr(c->daemon.address, '*'))
		config_error_try(conf_error(walk, doc_get(doc_get(node, "daemon"), "address"),
					    "'%s' is no address to connect to", c->daemon.address),
				 "tcp://ctl.example:8471");
	if (c->daemon.server_key && strlen(c->daemon.server_key) != 40)
		config_error_try(conf_error(walk, doc_get(doc_get(node, "daemon"), "server_key"),
					    "a public key has 40 characters, not %zu", strlen(c->daemon.server_key)),
				 "the line that sluisctl cluster info prints on the server");
}

int agent_conf_load(const char *path, const char *const *sets, size_t sets_count, struct agent_conf *ret_conf,
		    struct config_errors *errs)
{
	struct agent_conf conf = {0};
	int code = conf_load(path, "sluis-agent.conf", sets, sets_count, &agent_conf_schema, &conf, &conf.arena, errs);

	if (code)
		agent_conf_done(&conf);
	else
		*ret_conf = conf;
	return code;
}

void agent_conf_done(struct agent_conf *conf)
{
	arena_done(&conf->arena);
	memset(conf, 0, sizeof(*conf));
}
