/* agent_conf.h - sluis-agent.conf as a struct: the table in agent_conf.c is its only description */
#ifndef SLUIS_PROTO_CONFIG_AGENT_CONF_H
#define SLUIS_PROTO_CONFIG_AGENT_CONF_H

#include "proto/config/config.h"

enum conf_backend { BACKEND_SYSTEMD, BACKEND_CGROUP2, BACKEND_PLAIN };
enum conf_run_as {
	RUN_AS_AUTO,  /* as USER where the execution layer can switch users, else as AGENT */
	RUN_AS_AGENT, /* all work as the agent's own user */
	RUN_AS_USER,  /* as the submitter's account, or not at all */
};
enum conf_topology { TOPOLOGY_LIVE, TOPOLOGY_FILE, TOPOLOGY_SYNTHETIC };

/* --container IMAGE becomes this command; {image}, {workdir}, {command}, {uuid} are filled in. */
struct runtime_conf {
	const char *name;
	struct conf_texts argv;
	uint32_t line, col;
};

struct agent_conf {
	struct arena arena;
	struct {
		const char *address; /* tcp://HOST:PORT; NULL: as learnt when the node joined */
		const char *server_key; /* public key of sluisd, Z85; NULL before the node joined */
	} daemon;
	const char *node;    /* NULL: the host's name */
	const char *address; /* what tasks use to meet; NULL: source address towards the daemon */
	const char *key;     /* this node's own secret key: a path or credential:NAME */
	const char *state_dir;
	struct conf_pairs labels;
	struct {
		const char *interface; /* NULL: not named to NCCL and gloo */
		const char *hcas;
		int64_t port_first, port_last; /* rendezvous ports */
	} fabric;
	struct {
		int64_t cores, memory_mib; /* for the system, not handed out */
	} reserve;
	struct {
		int backend; /* enum conf_backend */
		const char *execd; /* path of its socket; NULL: do without */
		int run_as; /* enum conf_run_as */
		int64_t uid_min, uid_max; /* accounts that work may run as */
		struct conf_pairs users;  /* sluis name → account, where they differ */
		const char *scratch; /* where units have their TMPDIR */
		int64_t tasks_max;        /* processes and threads of one task; 0: no limit */
		struct conf_texts devices; /* nodes that every task may open besides its own devices */
		int64_t unkillable_ms; /* after SIGKILL, or the end of the work, until a unit that is still there is an alarm */
		const char *prolog, *epilog; /* folders of programs, or NULL */
		int64_t prolog_timeout_ms;
		struct { struct runtime_conf *items; size_t count; } runtimes;
	} exec;
	struct {
		int source; /* enum conf_topology */
		const char *text; /* the file's path, or the synthetic description */
	} topology;
	struct {
		const char *nvml, *rsmi; /* paths; NULL: the usual names on a live machine */
	} libraries;
	int64_t heartbeat_ms; /* 0: what sluisd asks for */
};

extern const struct conf_schema agent_conf_schema;

/* As daemon_conf_load(). */
int agent_conf_load(const char *path, const char *const *sets, size_t sets_count, struct agent_conf *ret_conf,
		    struct config_errors *errs) NODISCARD;
void agent_conf_done(struct agent_conf *conf);

#endif
