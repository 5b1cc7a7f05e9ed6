/* shell.h - what the files of sluis-agent share: the one object that owns sockets, files and tasks
 *
 * agent/core decides; here is who reads clocks, writes the table, starts tasks and talks to sluisd.
 * One thread, one loop.
 */
#ifndef SLUIS_AGENT_SHELL_H
#define SLUIS_AGENT_SHELL_H

#include "agent/core/agent.h"
#include "agent/exec/exec.h"
#include "agent/exec/table.h"
#include "agent/probe/nodes.h"
#include "agent/probe/probe.h"
#include "proto/config/agent_conf.h"
#include "proto/link/link.h"
#include "proto/link/log.h"
#include "proto/link/loop.h"

/* As sluisd's: what the service manager does not restart from. */
enum {
	EXIT_FINE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,   /* options or configuration */
	EXIT_TAKEN = 69,  /* another agent runs for this node */
	EXIT_STORAGE = 70,
	EXIT_NEWER = 78,  /* state of a newer version */
};

struct pay {
	uint8_t hash[32];
	bool asked;  /* PAYLOAD_GET is under way */
	bool here;
	uint64_t idle; /* when it was last needed, counted; 0: it is */
	struct arena arena;
	struct payload payload;
	struct pay *next;
};

/* What the tasks of one unit are held to; from an arena. */
struct confine {
	bool account;     /* the submitter's is known: `uid`, which may be root's under an agent that is root */
	uid_t uid;        /* 0: the agent's own */
	const char *home; /* of that account */
	const char *const *devices; /* the only ones they may open, NULL at the end; NULL: any that modes allow */
	const char *cpus, *mems;
	bool mems_preferred;
	uint64_t mem_bytes;
	uint32_t tasks_max, cpu_percent;
};

enum { STARTS_MAX = 64, HOSTS_KNOWN_MAX = 1024 };
struct start {
	char name[AGENT_NAME_BYTES];
	struct exec_task task;
};

struct shell {
	struct agent_conf conf;
	char node[NAME_BYTES];
	char address[NAME_BYTES];
	char cluster[NAME_BYTES]; /* from WELCOME */
	char *units_dir, *payload_dir, *hosts_dir, *home;
	uint32_t tag; /* of state_dir: keeps the scratch folders of two agents apart */
	uint8_t salt[16]; /* kept in state_dir: makes their names hard to guess */
	struct inventory *inventory;
	struct probe_local *local;
	char reasons[INV_DEVICES_MAX][64]; /* why a device is not handed out; "" */
	char boot_id[40];
	uint64_t started_us; /* of this agent, CLOCK_MONOTONIC */
	struct scrub_check *scrubs;
	bool hosts_made[HOSTS_KNOWN_MAX]; /* hosts_dir/N is written */
	bool run_as_user;
	uint32_t isolation; /* enum isolation bits */
	char hcas[512]; /* all of this node's, as probed or configured; "" */
	struct agent *agent;
	struct exec *exec;
	struct table *table;
	struct loop *loop;
	struct link_ctx *link_ctx;
	struct link_client *client;
	struct loop_timer tick, watchdog, sweep;
	struct pay *pays;
	uint64_t pays_idle;
	char *self; /* this program */
	struct hook_run *hooks;
	bool hooks_open; /* hooks_open() was called */
	struct check *checks;
	uint64_t checks_made; /* numbers of health commands; above those of earlier lives */
	struct reader *readers;
	size_t reports_bytes; /* read in this turn */
	struct loop_timer reports_timer;
	struct start starts[STARTS_MAX];
	size_t starts_n;
	struct arena starts_arena;
	int exit_code;
	bool stopping;
};

/* ---- main.c ---- */
struct agent_now shell_now(void);
/* Queue one message to sluisd. What cannot be queued is dropped: the far side repeats what matters. */
void shell_send(struct shell *s, uint16_t type, uint64_t req, const void *body);
/* Ask the execution layer and tell the core. */
void shell_look(struct shell *s, const char *name);
/* What the agent started for itself, a hook or a health command: end all that is left of it; forget it. What fails is
 * logged, and tried again when somebody looks. */
static inline void shell_end(struct shell *s, const char *name)
{
	struct err err = {0};

	if (exec_kill(s->exec, name, &err) != 0)
		log_event(LOG_WARNING, "kill_failed", "task=%s error=%s", name, log_quote(err.msg));
}
static inline void shell_release(struct shell *s, const char *name)
{
	struct err err = {0};

	if (exec_release(s->exec, name, &err) != 0)
		log_event(LOG_WARNING, "release_failed", "task=%s error=%s", name, log_quote(err.msg));
}

/* ---- node.c: what this node is ---- */
/* Probe as configured. `gpus`: for a synthetic machine, or NULL. */
int node_probe(struct shell *s, const char *gpus, struct err *err) NODISCARD;
/* This node's address on the data plane: configured, or the source address towards `endpoint`. */
void node_address(struct shell *s, const char *endpoint);
/* Everything in the greeting but the units; lists are from `arena`. */
void node_fill_hello(const struct shell *s, struct cmd_node_hello *hello, struct arena *arena);
/* Hardware threads of a core mask as "0-3,8", or NULL when there is nothing to bind to here. */
const char *node_cpus(const struct shell *s, const uint64_t cores[CORE_WORDS], struct arena *arena);
/* NUMA nodes of a core mask as "0,1", "" if not known. */
const char *node_numa(const struct shell *s, const uint64_t cores[CORE_WORDS], struct arena *arena);

/* ---- confine.c: what a unit may be and use ---- */
/* Once, when the execution layer is open: decide what is enforced and say it. ERR_CONFIG for what cannot be. */
int confine_open(struct shell *s, struct err *err) NODISCARD;
/* ERR_DENIED: the submitter has no account here that may be used; ERR_STATE: a granted device has no nodes here. */
int confine_unit(const struct shell *s, const struct unit *u, struct arena *arena, struct confine *ret,
		 struct err *err) NODISCARD;
void confine_task(const struct confine *c, struct exec_task *t);
/* The nodes of one granted device. */
int confine_device(const struct shell *s, const struct unit_device *d, struct probe_nodes *ret, struct err *err) NODISCARD;

/* ---- scrub.c: proof that devices are idle ---- */
/* Devices found broken in this boot, by an earlier agent, are so still. */
void scrub_load(struct shell *s, const char *boot_id);
/* Look at the devices of a unit, whose processes have ended; tells the core. */
void scrub_start(struct shell *s, uint64_t alloc, uint16_t part);
void scrub_done(struct shell *s);
/* `sluis-agent --check-device`: say on stdout what is found. Returns the exit status. */
int scrub_answer(const char *const *devices, size_t n, const char *nvml, uint64_t since_us);

/* ---- hooks.c: the site's programs before and after ---- */
/* Once: are the folders that are configured fit to be used? ERR_CONFIG. */
int hooks_check(struct shell *s, struct err *err) NODISCARD;
/* The core is ready to hear of them; what is left of epilogs, where there are none any more, is removed. */
void hooks_open(struct shell *s);
void hook_start(struct shell *s, const struct action *action);
void hook_forget(struct shell *s, const struct action *action);
/* Was it a prolog or epilog that changed? Then it has been dealt with. */
bool hook_changed(struct shell *s, const char *name, const struct exec_status *st) NODISCARD;
void hooks_done(struct shell *s);

/* ---- health.c: health commands of services ---- */
void health_start(struct shell *s, const struct action *action);
void health_end(struct shell *s, const struct action *action);
/* Was it a health command that changed? Then it has been dealt with. */
bool health_changed(struct shell *s, const char *name, const struct exec_status *st) NODISCARD;
void health_done(struct shell *s); /* ends all that run */

/* ---- launch.c: payloads, and making tasks of them ---- */
struct pay *launch_payload(struct shell *s, const uint8_t hash[32]); /* NULL: not at hand */
/* Have a payload ready, from memory, disk or sluisd; tells the core at once or later. */
void launch_fetch(struct shell *s, const uint8_t hash[32]);
void launch_fetch_again(struct shell *s); /* after a greeting */
void launch_payload_came(struct shell *s, const struct msg_payload *m);
void launch_forget(struct shell *s, const uint8_t hash[32]);
/* Add a task to the batch that launch_flush starts. A failure is told to the core. */
void launch_task(struct shell *s, const struct action *action);
void launch_flush(struct shell *s);
/* Start `payload` as command `name` inside a unit. */
int launch_extra(struct shell *s, uint64_t alloc, uint16_t part, const char *name, uint64_t id,
		 const struct payload *payload, struct err *err) NODISCARD;
/* Start the health command of a unit as `name`; argv[0] is not looked at if it has none. */
int launch_health(struct shell *s, uint64_t alloc, uint16_t part, const char *name, struct err *err) NODISCARD;
void launch_port(struct shell *s, const struct action *action);
/* Remove what a unit does not need any more; its output stays for a while. */
void launch_clean(struct shell *s, uint64_t alloc, uint16_t part);
/* Remove output of units that have long been gone. */
void launch_sweep(struct shell *s);
/* Where the output of a task or command of a unit is: `kind` 't' or 'x', `stream` 0 or 1. */
void launch_output_path(const struct shell *s, uint64_t alloc, uint16_t part, char kind, uint64_t index, int stream,
			struct buf *out);

/* ---- relay.c: what users ask of a task through sluisd ---- */
void relay_output(struct shell *s, uint64_t req, const struct msg_relay *m);
void relay_exec(struct shell *s, uint64_t req, const struct msg_relay *m);
void relay_signal(struct shell *s, uint64_t req, const struct msg_relay *m);

/* ---- reports.c: what tasks report ---- */
/* Read the new lines of a task's reports. False: there are more than this turn has time for; then the task is looked at
 * again in the next. */
bool reports_read(struct shell *s, const char *name) NODISCARD;
void reports_turn(struct shell *s); /* another turn of the loop begins */
void reports_forget(struct shell *s, const char *name);
void reports_done(struct shell *s);

#endif
