/* test_config.c - a file that is read wrongly is a promise nobody made: what the reader refuses, that every error of a
 * file is told at once with its place, and that the division's sums hold before anything is sent */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/base/ensure.h"
#include "proto/base/instant.h"
#include "proto/config/agent_conf.h"
#include "proto/config/ctl_conf.h"
#include "proto/config/daemon_conf.h"
#include "proto/base/limits.h"
#include "proto/config/division.h"
#include "proto/config/service_conf.h"
#include "proto/config/units.h"

static const char division_text[] =
	"# yaml-language-server: $schema=/usr/share/sluis/schema/division.json\n"
	"version: 12                       # the version this was written against; apply refuses if the cluster moved on\n"
	"cluster: ai-factory\n"
	"\n"
	"flavors:                          # what a device is; matched by agents' reports, first match wins\n"
	"  h100-80g:        {vendor: nvidia, model: \"H100 80GB*\", memory: 80GiB, weight: 1000, power: 700W, scrub_max: 60s}\n"
	"  h100-1g.10gb:    {vendor: nvidia, model: \"H100 80GB*\", mig: 1g.10gb, weight: 143}\n"
	"  mi250x:          {vendor: amd, model: \"MI250X*\", weight: 620}\n"
	"  cpu:             {unit: core, weight: 4}\n"
	"\n"
	"committed:                        # what may be promised: installed minus spare; the sums below must fit\n"
	"  h100-80g: {nodes: 20}           # = 14 nodes promised whole + 48 gpus promised singly\n"
	"  mi250x:   {nodes: 1}\n"
	"\n"
	"predicates:                       # named sovereignty filters over attestations\n"
	"  eu-sovereign: {jurisdiction: [NL, DE, FR, NO], operator_attested: true}\n"
	"\n"
	"defaults:\n"
	"  job:   {time: 1h, notice: 2m, retries: {infra: 3, user: 0}, class: normal}\n"
	"  lease: {ttl: 15m, grace: 15m, term: 30d, notice_nonrenew: 7d}\n"
	"\n"
	"tree:\n"
	"  public:                                     # 20 %\n"
	"    nominal: {h100-80g: {nodes: 2, gpus: 16}, mi250x: {nodes: 1}}   # whole nodes, and single gpus (2 nodes' worth)\n"
	"    lending_limit: {h100-80g: {nodes: 1, gpus: 8}}\n"
	"    recall_slo: 15m\n"
	"    sectors:\n"
	"      health:\n"
	"        nominal: {h100-80g: {nodes: 2}}\n"
	"        weight: 2\n"
	"        challenges:\n"
	"          lung-screening:\n"
	"            weight: 2\n"
	"            projects:\n"
	"              lungnet:\n"
	"                pi: eva\n"
	"                members: [eva, ann]\n"
	"                require: [eu-sovereign]\n"
	"                borrowing_limit: {h100-80g: {gpus: 16}}\n"
	"                limits: {running_jobs: 50, pending_jobs: 5000, time_max: 48h}\n"
	"                grant:\n"
	"                  awarded: 4000 gpuh\n"
	"                  approve: {k: 2, of: [gatekeeper, reviewer]}\n"
	"                  stages:\n"
	"                    - {name: pilot, amount: 400 gpuh,  from: 2026-01-01, to: 2026-04-01}\n"
	"                    - {name: train, amount: 3000 gpuh, from: 2026-04-01, to: 2026-12-01, after: pilot, carry_over: 10 %}\n"
	"                    - {name: scale, amount: 600 gpuh,  from: 2026-12-01, to: 2027-04-01, after: train}\n"
	"          dementia:\n"
	"            projects:\n"
	"              memo: {pi: ann, grant: {awarded: 800 gpuh, stages: [{name: pilot, amount: 800 gpuh, from: 2026-12-01, to: 2027-06-01}]}}\n"
	"      energy:\n"
	"        nominal: {h100-80g: {gpus: 16}, mi250x: {nodes: 1}}\n"
	"        challenges:\n"
	"          grid-congestion:\n"
	"            projects: {gridopt: {pi: lisa, members: [lisa, tom], grant: {awarded: 9000 gpuh, stages: [{name: all, amount: 9000 gpuh, from: 2026-01-01, to: 2027-01-01}]}}}\n"
	"  private:                                    # 80 %\n"
	"    nominal: {h100-80g: {nodes: 12, gpus: 32}}                      # 12 + 4 = 16 nodes' worth\n"
	"    lending_limit: {h100-80g: {nodes: 8, gpus: 24}}\n"
	"    recall_slo: 10m\n"
	"    classes:\n"
	"      sme:\n"
	"        nominal: {h100-80g: {gpus: 32}}       # the floor: nobody outside can claim below it\n"
	"        providers:\n"
	"          acme: {tenant: acme-bv, nominal: {h100-80g: {gpus: 16}}}\n"
	"          kiem: {tenant: kiem-ai, nominal: {h100-80g: {gpus: 16}}}\n"
	"      company:\n"
	"        nominal: {h100-80g: {nodes: 12}}\n"
	"        concentration_cap: 60 %               # of private nominal, per beneficial owner\n"
	"        providers:\n"
	"          bluecloud:\n"
	"            tenant: bluecloud-nv\n"
	"            nominal: {h100-80g: {nodes: 8}}\n"
	"            limits: {leases: 20, term_max: 90d}\n"
	"            windows:                          # evenings need more; days lend it out\n"
	"              - {every: weekday, from: \"18:00\", to: \"24:00\", zone: Europe/Amsterdam, borrowing_limit: {h100-80g: {nodes: 2}}}\n"
	"          polder: {tenant: polder-ai, nominal: {h100-80g: {nodes: 4}}}\n"
	"\n"
	"deficit:                                      # what happens when live < promised, in this order\n"
	"  order: [spare, stop_new_loans, recall_loans, slow_public_starts, loan_leases, replace_broken]\n";

static const char daemon_text[] =
	"# /etc/sluis/sluisd.conf\n"
	"cluster: ai-factory\n"
	"state_dir: /var/lib/sluis/state\n"
	"map_size: 64GiB\n"
	"listen:\n"
	"  agents: tcp://*:8471\n"
	"  users:  tcp://*:8472\n"
	"  local:  /run/sluis/sluisd.sock\n"
	"server_key: credential:server.key         # systemd LoadCredential=, or a path\n"
	"limits: {nodes: 12000, devices: 140000, pending_jobs: 1000000, leases: 100000}\n"
	"leases: {ttl: 15m, grace: 15m, rejoin_grace: 5m, renewals_per_second: 2000}\n"
	"jobs:   {notice_default: 2m, lost_after: 30m, default_time: 1h, slurm_env: compat}\n"
	"partitions:                               # what sbatch -p means here\n"
	"  gpu:   {flavor: h100-80g, default: true, time_max: 48h}\n"
	"  night: {flavor: h100-80g, class: standby, loan: only}\n"
	"qos: {high: urgent, low: scavenger}\n"
	"gres_types: {h100: h100-80g, a100: none}\n"
	"log:  {format: journal, level: info, archive_dir: /var/lib/sluis/archive, archive_after: 30d}\n";

static const char agent_text[] =
	"# /etc/sluis/sluis-agent.conf\n"
	"daemon: {address: tcp://ctl.example:8471, server_key: \"Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID\"}\n"
	"node: n017                                # default: the host's name\n"
	"address: 10.2.0.17                        # what tasks use to meet; default: source address towards the daemon\n"
	"state_dir: /var/lib/sluis-agent\n"
	"labels: {site: ams1, rack: r07, leaf: leaf3, jurisdiction: NL, operator: example}\n"
	"fabric: {interface: ib0, hcas: auto, ports: 20000-29999}\n"
	"reserve: {cores: 2, memory: 8GiB}         # for the system, not handed out\n"
	"exec:\n"
	"  backend: systemd                        # systemd | cgroup2 | plain\n"
	"  prolog: /etc/sluis/prolog.d             # optional; each with a time limit, failure = node suspect\n"
	"  runtimes:                               # --container IMAGE becomes this command; {} are filled in\n"
	"    apptainer: [apptainer, exec, --nv, --bind, \"{workdir}\", \"{image}\", \"{command}\"]\n"
	"    podman:    [podman, run, --rm, --device, \"nvidia.com/gpu={uuid}\", \"{image}\", \"{command}\"]\n"
	"    bwrap:     [bwrap, --ro-bind, \"{image}\", /, --bind, \"{workdir}\", \"{workdir}\", --dev-bind, /dev, /dev, --proc, /proc, \"{command}\"]\n"
	"topology: {source: live}                  # live | file: PATH.xml | synthetic: \"package:2 numanode:1 core:32 pu:2\"\n";

static const char ctl_text[] =
	"# ~/.config/sluis/sluisctl.conf\n"
	"current: ai-factory\n"
	"contexts:\n"
	"  ai-factory: {endpoint: \"tcp://ctl.example:8472\", server_key: \"rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7\", key: ~/.config/sluis/keys/eva.key, project: lungnet}\n";

static const char service_text[] =
	"# chat.service.yaml for: sluisctl lease request --service\n"
	"command: [/opt/chat/serve, --port, \"{port}\"]\n"
	"replicas: 6\n"
	"devices_per_replica: 8\n"
	"health: {command: [/opt/chat/ready, \"{port}\"], every: 10s, timeout: 3s, after: 60s, fail: 3}\n"
	"restart: {backoff: 1s..60s}\n"
	"stop: {signal: TERM, within: 45s}\n"
	"env: {MODEL: /models/chat}\n";

/* ---- helpers -------------------------------------------------------------------------------- */

static char *temp_file(const char *text)
{
	char *path = strdup("/tmp/test_config.XXXXXX");
	int fd;

	assert_non_null(path);
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(close(fd), 0);
	return path;
}

/* Errors as text, the temporary name replaced by "FILE". */
static void errors_text(struct config_errors *errs, const char *path, struct buf *out)
{
	struct buf raw = BUF_INIT;
	const char *p;

	config_errors_print(errs, &raw);
	buf_reset(out);
	p = buf_cstr(&raw);
	for (const char *hit; path && (hit = strstr(p, path)); p = hit + strlen(path)) {
		buf_add(out, p, (size_t)(hit - p));
		buf_addf(out, "FILE");
	}
	buf_addf(out, "%s", p);
	(void)buf_cstr(out);
	buf_done(&raw);
	config_errors_done(errs);
}

#define DEFINE_LOAD(kind)                                                                                              \
	static int load_##kind(const char *text, const char *const *sets, size_t sets_count, struct kind##_conf *ret,  \
			       struct buf *out)                                                                        \
	{                                                                                                              \
		struct config_errors errs = CONFIG_ERRORS_INIT;                                                        \
		char *path = text ? temp_file(text) : NULL;                                                            \
		int code = kind##_conf_load(path, sets, sets_count, ret, &errs);                                       \
                                                                                                                       \
		if (path)                                                                                              \
			assert_int_equal(unlink(path), 0);                                                             \
		assert_int_equal(code, errs.count ? ERR_CONFIG : 0);                                                   \
		errors_text(&errs, path, out);                                                                         \
		free(path);                                                                                            \
		return code;                                                                                           \
	}
DEFINE_LOAD(daemon)
DEFINE_LOAD(agent)
DEFINE_LOAD(ctl)
DEFINE_LOAD(service)

static void daemon_refused(const char *text, const char *want)
{
	struct daemon_conf conf;
	struct buf out = BUF_INIT;

	memset(&conf, 0x5a, sizeof(conf));
	assert_int_equal(load_daemon(text, NULL, 0, &conf, &out), ERR_CONFIG);
	assert_string_equal(buf_cstr(&out), want);
	for (size_t i = 0; i < sizeof(conf); i++) /* nothing half applied */
		assert_int_equal(((unsigned char *)&conf)[i], 0x5a);
	buf_done(&out);
}

/* ---- the reader ----------------------------------------------------------------------------- */

static void the_reader_refuses_what_yaml_would_take(void **state)
{
	char deep[64] = "a: ";

	(void)state;
	daemon_refused("cluster: &x a\n", "FILE:1:10: error: anchors (&name) are not used here\n  try     write the value out\n");
	daemon_refused("cluster: *x\n", "FILE:1:10: error: aliases (*name) are not used here\n  try     write the value out\n");
	daemon_refused("cluster: !!str a\n", "FILE:1:10: error: tags (!name) are not used here\n  try     remove the tag\n");
	daemon_refused("cluster: a\n---\ncluster: b\n", "FILE:2:1: error: a second document begins here\n  try     one document per file\n");
	daemon_refused("%YAML 1.1\n---\ncluster: b\n",
		       "FILE:1:1: error: directives (%YAML, %TAG) are not used here\n  try     remove the line\n");
	daemon_refused("cluster:\ta\n", "FILE:1:9: error: a tab\n  try     blanks\n");
	daemon_refused("cluster: a\ncluster: b\n",
		       "FILE:2:1: error: key 'cluster' stands twice\n  try     keep one of them; the other is in line 1\n");
	daemon_refused("leases: {ttl: 5m, grace: 5m, ttl: 6m}\n",
		       "FILE:1:30: error: key 'ttl' stands twice in leases\n  try     keep one of them; the other is in line 1\n");
	daemon_refused("- a\n", "FILE:1:1: error: the file is no map of keys and values\n  try     key: value\n");
	daemon_refused("cluster: \"a\\0b\"\n", "FILE:1:10: error: a NUL byte has no place in a text\n");
	daemon_refused("cluster: [a\n", "FILE:2:1: error: did not find expected ',' or ']'\n");
	for (size_t i = 0; i < 12; i++)
		strcat(deep, "[");
	for (size_t i = 0; i < 12; i++)
		strcat(deep, "]");
	daemon_refused(deep, "FILE:1:15: error: nested deeper than 12 levels\n");
	daemon_refused("cluster: a\xff\n", "FILE:1:11: error: invalid leading UTF-8 octet\n");
}

static void large_files_are_refused_unread(void **state)
{
	struct config_errors errs = CONFIG_ERRORS_INIT;
	struct doc *doc = NULL;
	char *big = calloc(1, CONFIG_BYTES_MAX + 1);

	(void)state;
	assert_non_null(big);
	memset(big, '#', CONFIG_BYTES_MAX + 1);
	assert_int_equal(doc_read_bytes("f", big, CONFIG_BYTES_MAX + 1, &doc, &errs), ERR_CONFIG);
	assert_string_equal(errs.list[0].text, "the file is larger than 4 MiB");
	assert_int_equal(doc_read_bytes("f", big, CONFIG_BYTES_MAX, &doc, &errs), 0);
	doc_free(doc);
	config_errors_done(&errs);
	free(big);
	assert_int_equal(doc_read_file("/nonexistent/f", &doc, &errs), ERR_CONFIG);
	assert_non_null(strstr(errs.list[0].text, "No such file"));
	config_errors_done(&errs);
	assert_int_equal(doc_read_file("/", &doc, &errs), ERR_CONFIG);
	config_errors_done(&errs);
}

static void all_errors_of_a_file_come_at_once(void **state)
{
	(void)state;
	daemon_refused("clustr: a\n"
		       "leases: {ttl: 15, gracee: 5m}\n"
		       "limits: {nodes: many, devices: 0, leases: 010}\n"
		       "log:\t{level: loud}\n"
		       "partitions: {gpu: {default: yes}}\n"
		       "map_size: 64\n"
		       "listen: [a]\n"
		       "jobs: {default_time: -1h, slurm_env: \"\\e[31m\"}\n"
		       "local_admins: [0, x]\n"
		       "server_key: keys/server\n",
		       "FILE:1:1: error: unknown key 'clustr'\n"
		       "  try     cluster\n"
		       "FILE:2:15: error: '15' has no unit in leases/ttl\n"
		       "  try     a number with a unit: 500ms, 90s, 15m, 12h, 30d, 2w\n"
		       "FILE:2:19: error: unknown key 'gracee' in leases\n"
		       "  try     grace\n"
		       "FILE:3:17: error: 'many' is not a whole number in limits/nodes\n"
		       "  try     decimal digits, no sign and no leading zero\n"
		       "FILE:3:32: error: '0' is out of range in limits/devices\n"
		       "  try     1 to 1048576\n"
		       "FILE:3:43: error: '010' is not a whole number in limits/leases\n"
		       "  try     decimal digits, no sign and no leading zero\n"
		       "FILE:4:5: error: a tab\n"
		       "  try     blanks\n"
		       "FILE:4:14: error: 'loud' is none of error, warning, notice, info, debug in log/level\n"
		       "  try     error\n"
		       "FILE:5:19: error: key 'flavor' is missing in partitions/gpu\n"
		       "  try     flavor: a name of letters, digits, - _ .\n"
		       "FILE:5:29: error: 'yes' is not true or false in partitions/gpu/default\n"
		       "  try     true or false\n"
		       "FILE:6:11: error: '64' has no unit in map_size\n"
		       "  try     a whole number with a unit: 512MiB, 64GiB, 64G, 8gb (all 1024-based)\n"
		       "FILE:7:9: error: a list stands where a map belongs in listen\n"
		       "  try     keys and values\n"
		       "FILE:8:22: error: '-1h' is not a duration in jobs/default_time\n"
		       "  try     a number with a unit: 500ms, 90s, 15m, 12h, 30d, 2w\n"
		       "FILE:8:38: error: '\\x1b[31m' is none of compat, always, never in jobs/slurm_env\n"
		       "  try     compat\n"
		       "FILE:9:19: error: 'x' is not a whole number in local_admins\n"
		       "  try     decimal digits, no sign and no leading zero\n"
		       "FILE:10:13: error: 'keys/server' is not a path, or credential:NAME in server_key\n"
		       "  try     a path, or credential:NAME\n");
}

static void the_list_of_errors_ends_somewhere(void **state)
{
	struct buf text = BUF_INIT, out = BUF_INIT;
	struct daemon_conf conf;
	const char *tail;

	(void)state;
	for (int i = 0; i < 100; i++)
		buf_addf(&text, "unknown%d: 1\n", i);
	assert_int_equal(load_daemon(buf_cstr(&text), NULL, 0, &conf, &out), ERR_CONFIG);
	tail = strstr(buf_cstr(&out), "and 36 more errors");
	assert_non_null(tail);
	buf_done(&text);
	buf_done(&out);
}

/* ---- the four files ------------------------------------------------------------------------- */

static void sluisd_conf_as_documented(void **state)
{
	struct buf out = BUF_INIT;
	struct daemon_conf c;
	const struct partition_conf *p;

	(void)state;
	if (load_daemon(daemon_text, NULL, 0, &c, &out))
		fail_msg("%s", buf_cstr(&out));
	assert_string_equal(c.cluster, "ai-factory");
	assert_int_equal(c.map_size_bytes, INT64_C(64) << 30);
	assert_string_equal(c.listen.agents, "tcp://*:8471");
	assert_null(c.listen.enrol);
	assert_string_equal(c.listen.local, "/run/sluis/sluisd.sock");
	assert_int_equal(c.limits.devices, 140000);
	assert_int_equal(c.leases.ttl_ms, 15 * MS_PER_MIN);
	assert_int_equal(c.leases.rejoin_grace_ms, 5 * MS_PER_MIN);
	assert_int_equal(c.liveness.suspect_ms, 30000); /* a default */
	assert_int_equal(c.jobs.slurm_env, SLURM_ENV_COMPAT);
	assert_int_equal(c.partitions.count, 2);
	p = daemon_conf_partition(&c, NULL);
	assert_non_null(p);
	assert_string_equal(p->head.name, "gpu");
	assert_int_equal(p->time_max_ms, 48 * MS_PER_HOUR);
	p = daemon_conf_partition(&c, "night");
	assert_int_equal(p->klass, CONF_CLASS_STANDBY);
	assert_int_equal(p->loan, CONF_LOAN_ONLY);
	assert_null(daemon_conf_partition(&c, "nowhere"));
	assert_string_equal(c.qos.items[0].value, "urgent");
	assert_string_equal(c.gres_types.items[1].value, "none");
	assert_int_equal(c.log.level, LEVEL_INFO);
	daemon_conf_done(&c);
	assert_int_equal(load_daemon("# nothing\n", NULL, 0, &c, &out), 0);
	assert_string_equal(c.server_key, "credential:server.key");
	daemon_conf_done(&c);
	buf_done(&out);
}

static void checks_across_keys(void **state)
{
	(void)state;
	daemon_refused("liveness: {heartbeat: 30s}\n",
		       "FILE:1:11: error: heartbeat < suspect <= unreachable does not hold in liveness\n"
		       "  try     suspect 3 heartbeats, unreachable 9\n");
	daemon_refused("recall: {slo: 5m}\n",
		       "FILE:1:9: error: exempt + notice + kill_margin + scrub_max is longer than slo: no loan could be given back in "
		       "time in recall\n  try     a longer recall.slo, or a shorter loan.exempt\n");
	daemon_refused("qos: {high: fast}\n",
		       "FILE:1:13: error: 'fast' is no class in qos/high\n  try     urgent, normal, standby or scavenger\n");
	daemon_refused("partitions: {a: {flavor: x, default: true}, b: {flavor: x, default: true}}\n",
		       "FILE:1:45: error: partitions 'a' and 'b' are both the default\n  try     default: true at one of them\n");
}

static void sets_override_and_are_judged_alike(void **state)
{
	static const char *const good[] = {"leases.ttl=10s", "listen.users=tcp://127.0.0.1:*", "local_admins=[0, 1000]",
					   "partitions.gpu.flavor=mi250x", "listen.enrol=tcp://[::1]:*"};
	static const char *const bad[] = {"leases.ttl=10", "leases.tll=1s", "nonsense", "cluster.a=1", ".a=1", "limits={nodes: 1"};
	struct buf out = BUF_INIT;
	struct daemon_conf c;

	(void)state;
	if (load_daemon(daemon_text, good, ARRAY_LEN(good), &c, &out))
		fail_msg("%s", buf_cstr(&out));
	assert_int_equal(c.leases.ttl_ms, 10000);
	assert_int_equal(c.leases.grace_ms, 15 * MS_PER_MIN);
	assert_string_equal(c.listen.users, "tcp://127.0.0.1:*");
	assert_int_equal(c.local_admins.count, 2);
	assert_int_equal(c.local_admins.items[1], 1000);
	assert_string_equal(daemon_conf_partition(&c, "gpu")->flavor, "mi250x");
	daemon_conf_done(&c);
	assert_int_equal(load_daemon(NULL, good, 3, &c, &out), 0); /* without a file */
	daemon_conf_done(&c);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(load_daemon(daemon_text, &bad[i], 1, &c, &out), ERR_CONFIG);
		if (strncmp(buf_cstr(&out), "--set ", 6) != 0 || !strstr(buf_cstr(&out), bad[i]))
			fail_msg("%s", buf_cstr(&out));
	}
	assert_int_equal(load_daemon(daemon_text, bad, 2, &c, &out), ERR_CONFIG);
	assert_string_equal(buf_cstr(&out),
			    "--set leases.tll=1s: error: unknown key 'tll' in leases\n  try     ttl\n"
			    "--set leases.ttl=10: error: '10' has no unit in leases/ttl\n"
			    "  try     a number with a unit: 500ms, 90s, 15m, 12h, 30d, 2w\n");
	buf_done(&out);
}

static void endpoints_are_checked(void **state)
{
	static const struct { const char *text; bool ok; } rows[] = {
		{"tcp://*:8471", true}, {"tcp://127.0.0.1:*", true}, {"tcp://[::1]:8471", true}, {"tcp://ctl.example:1", true},
		{"tcp://*:0", false}, {"tcp://*:65536", false}, {"tcp://:1", false}, {"tcp://a", false}, {"udp://a:1", false},
		{"tcp://a b:1", false}, {"tcp://a:1x", false}, {"tcp://[::1:8471", false}, {"tcp://**:1", false}};
	struct buf out = BUF_INIT;
	struct daemon_conf c;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char set[64];
		const char *sets[] = {set};
		int code;

		snprintf(set, sizeof(set), "listen.agents=%s", rows[i].text);
		code = load_daemon(NULL, sets, 1, &c, &out);
		if ((code == 0) != rows[i].ok)
			fail_msg("%s: %d", rows[i].text, code);
		if (!code)
			daemon_conf_done(&c);
	}
	buf_done(&out);
}

static void agent_conf_as_documented(void **state)
{
	struct buf out = BUF_INIT;
	struct agent_conf c;

	(void)state;
	if (load_agent(agent_text, NULL, 0, &c, &out))
		fail_msg("%s", buf_cstr(&out));
	assert_string_equal(c.daemon.address, "tcp://ctl.example:8471");
	assert_int_equal(strlen(c.daemon.server_key), 40);
	assert_int_equal(c.labels.count, 5);
	assert_string_equal(c.labels.items[3].value, "NL");
	assert_int_equal(c.fabric.port_first, 20000);
	assert_int_equal(c.fabric.port_last, 29999);
	assert_int_equal(c.reserve.memory_mib, 8192);
	assert_int_equal(c.exec.runtimes.count, 3);
	assert_string_equal(c.exec.runtimes.items[0].name, "apptainer");
	assert_string_equal(c.exec.runtimes.items[0].argv.items[0], "apptainer");
	assert_int_equal(c.topology.source, TOPOLOGY_LIVE);
	agent_conf_done(&c);
	/* jurisdiction: NO is Norway */
	assert_int_equal(load_agent("daemon: {address: tcp://a:1}\nlabels: {jurisdiction: NO, n: 0x10, t: 12:30}\n"
				    "topology: {synthetic: \"core:2 pu:2\"}\n", NULL, 0, &c, &out), 0);
	assert_string_equal(c.labels.items[0].value, "NO");
	assert_string_equal(c.labels.items[1].value, "0x10");
	assert_string_equal(c.labels.items[2].value, "12:30");
	assert_int_equal(c.topology.source, TOPOLOGY_SYNTHETIC);
	agent_conf_done(&c);
	/* a key that nothing reads is an error, not a wish that goes unheard */
	assert_int_equal(load_agent("run_dir: /run/sluis-agent\n", NULL, 0, &c, &out), ERR_CONFIG);
	assert_non_null(strstr(buf_cstr(&out), "FILE:1:1: error: unknown key 'run_dir'\n  try     "));
	assert_non_null(strstr(buf_cstr(&out), ", state_dir, "));
	/* a node that joined by a token learnt where sluisd is */
	assert_int_equal(load_agent("node: n1\n", NULL, 0, &c, &out), 0);
	assert_null(c.daemon.address);
	agent_conf_done(&c);
	assert_int_equal(load_agent("daemon: {address: tcp://a:1, server_key: short}\nfabric: {ports: 5-1}\n"
				    "topology: {source: dead}\nexec: {runtimes: {x: [a]}}\n", NULL, 0, &c, &out), ERR_CONFIG);
	assert_string_equal(buf_cstr(&out),
			    "FILE:2:17: error: '5-1' is no range of ports in fabric/ports\n"
			    "  try     20000-29999, within 1024 to 65535\n"
			    "FILE:3:20: error: not a topology in topology/source\n"
			    "  try     {source: live}, {file: PATH.xml} or {synthetic: \"package:2 core:32 pu:2\"}\n"
			    "FILE:4:22: error: the command of runtime 'x' has no place for the task in exec/runtimes/x\n"
			    "  try     \"{command}\" as a word of its own\n");
	buf_done(&out);
}

static void ctl_conf_as_documented_and_written_back(void **state)
{
	struct buf out = BUF_INIT, file = BUF_INIT, again = BUF_INIT;
	struct ctl_conf c, back;

	(void)state;
	if (load_ctl(ctl_text, NULL, 0, &c, &out))
		fail_msg("%s", buf_cstr(&out));
	assert_string_equal(ctl_conf_context(&c, NULL)->project, "lungnet");
	assert_null(ctl_conf_context(&c, "other"));
	assert_int_equal(ctl_conf_context(&c, NULL)->timeout_ms, 10000);
	ctl_conf_write(&c, &file);
	if (load_ctl(buf_cstr(&file), NULL, 0, &back, &out))
		fail_msg("%s", buf_cstr(&out));
	assert_string_equal(ctl_conf_context(&back, NULL)->server_key, ctl_conf_context(&c, NULL)->server_key);
	ctl_conf_write(&back, &again);
	assert_string_equal(buf_cstr(&again), buf_cstr(&file));
	ctl_conf_done(&back);
	ctl_conf_done(&c);
	assert_int_equal(load_ctl("current: a\ncontexts: {b: {endpoint: ipc:///run/x}}\n", NULL, 0, &c, &out), ERR_CONFIG);
	assert_string_equal(buf_cstr(&out), "FILE:1:10: error: there is no context 'a' in current\n  try     b\n");
	buf_done(&out);
	buf_done(&file);
	buf_done(&again);
}

static void service_file_as_documented(void **state)
{
	struct buf out = BUF_INIT;
	struct service_conf c;

	(void)state;
	if (load_service(service_text, NULL, 0, &c, &out))
		fail_msg("%s", buf_cstr(&out));
	assert_int_equal(c.command.count, 3);
	assert_int_equal(c.replicas, 6);
	assert_int_equal(c.health.fail, 3);
	assert_int_equal(c.restart.backoff_first_ms, 1000);
	assert_int_equal(c.restart.backoff_last_ms, 60000);
	assert_int_equal(c.stop.signal, 15);
	assert_int_equal(c.stop.within_ms, 45000);
	assert_string_equal(c.env.items[0].value, "/models/chat");
	service_conf_done(&c);
	assert_int_equal(load_service("command: [serve]\nrestart: {backoff: 5s..1s}\n", NULL, 0, &c, &out), ERR_CONFIG);
	assert_string_equal(buf_cstr(&out), "FILE:2:20: error: not a span of waiting times in restart/backoff\n"
					    "  try     1s..60s, a day at most\n");
	assert_int_equal(load_service("command: [serve]\n", NULL, 0, &c, &out), ERR_CONFIG);
	assert_non_null(strstr(buf_cstr(&out), "absolute path"));
	buf_done(&out);
}

/* ---- the division --------------------------------------------------------------------------- */

static struct division *division_of(const char *text, struct buf *out)
{
	struct config_errors errs = CONFIG_ERRORS_INIT;
	struct division *d = NULL;
	int code = division_read_bytes("division.yaml", text, strlen(text), &d, &errs);

	assert_int_equal(code, errs.count ? ERR_CONFIG : 0);
	errors_text(&errs, NULL, out);
	return d;
}

static size_t node_at(const struct division *d, const char *path)
{
	for (size_t i = 0; i < d->nodes_count; i++) {
		struct buf b = BUF_INIT;
		bool same;

		division_path(d, i, &b);
		same = strcmp(buf_cstr(&b), path) == 0;
		buf_done(&b);
		if (same)
			return i;
	}
	fail_msg("no node %s", path);
	return 0;
}

static void the_documented_division_is_read(void **state)
{
	struct buf out = BUF_INIT;
	struct division *d = division_of(division_text, &out);
	const struct division_node *n;
	const struct division_stage *stages;
	int h100;

	(void)state;
	if (!d)
		fail_msg("%s", buf_cstr(&out));
	assert_int_equal(d->version, 12);
	assert_int_equal(d->flavors.count, 4);
	h100 = division_flavor(d, "h100-80g");
	assert_int_equal(h100, 0);
	assert_string_equal(d->flavors.items[h100].model, "H100 80GB*");
	assert_int_equal(d->flavors.items[h100].memory_mib, 81920);
	assert_int_equal(d->flavors.items[h100].power_w, 700);
	assert_int_equal(d->flavors.items[h100].committed.nodes, 20);
	assert_int_equal(d->flavors.items[3].unit, DIVISION_UNIT_CORE);
	assert_int_equal(d->predicates.items[0].claims_count, 2);
	assert_string_equal(d->predicates.items[0].claims[0].values.items[3], "NO");
	assert_int_equal(d->nodes[0].kind, DIVISION_ROOT);
	n = &d->nodes[node_at(d, "public")];
	assert_int_equal(n->nominal[h100].nodes, 2);
	assert_int_equal(n->nominal[h100].gpus, 16);
	assert_int_equal(n->own[h100].nodes, 0); /* all of it is the sectors' */
	assert_int_equal(n->own[h100].gpus, 0);
	assert_int_equal(n->lending[h100].gpus, 8);
	assert_int_equal(n->borrowing[h100].gpus, DIVISION_UNSET);
	assert_int_equal(n->recall_slo_ms, 15 * MS_PER_MIN);
	n = &d->nodes[node_at(d, "public/health")];
	assert_int_equal(n->own[h100].nodes, 2); /* nothing below declares any */
	assert_int_equal(n->weight, 2);
	n = &d->nodes[node_at(d, "public/health/lung-screening/lungnet")];
	assert_int_equal(n->kind, DIVISION_PROJECT);
	assert_int_equal(n->nominal[h100].nodes, DIVISION_UNSET);
	assert_int_equal(n->own[h100].nodes, 0);
	assert_int_equal(n->borrowing[h100].gpus, 16);
	assert_int_equal(n->borrowing[h100].nodes, DIVISION_UNSET);
	assert_int_equal(n->members.count, 2);
	assert_string_equal(n->require.items[0], "eu-sovereign");
	assert_int_equal(n->limits.time_max_ms, 48 * MS_PER_HOUR);
	assert_int_equal(n->grant.awarded_mrus, 4000 * UNITS_MRUS_PER_GPUH);
	stages = n->grant.stages.items;
	assert_int_equal(n->grant.stages.count, 3);
	assert_string_equal(stages[1].after, "pilot");
	assert_int_equal(stages[1].carry_over_ppm, 100000);
	assert_int_equal(stages[0].from_ms, units_days_from_civil(2026, 1, 1) * MS_PER_DAY);
	n = &d->nodes[node_at(d, "private/company")];
	assert_int_equal(n->concentration_cap_ppm, 600000);
	assert_int_equal(n->own[h100].nodes, 0); /* 12 - 8 - 4 */
	n = &d->nodes[node_at(d, "private/company/bluecloud")];
	assert_string_equal(n->tenant, "bluecloud-nv");
	assert_int_equal(n->windows.count, 1);
	assert_int_equal(((const struct division_window *)n->windows.items)->to_min, 1440);
	assert_int_equal(d->deficit_order.count, 6);
	division_free(d);
	buf_done(&out);
}

static bool same_texts(const struct conf_texts *a, const struct conf_texts *b)
{
	bool same = a->count == b->count;

	for (size_t i = 0; same && i < a->count; i++)
		same = strcmp(a->items[i], b->items[i]) == 0;
	return same;
}

static void what_is_written_reads_back_as_itself(void **state)
{
	struct buf out = BUF_INIT, once = BUF_INIT, twice = BUF_INIT;
	struct division *d = division_of(division_text, &out), *back;

	(void)state;
	assert_non_null(d);
	division_write(d, &once);
	back = division_of(buf_cstr(&once), &out);
	if (!back)
		fail_msg("%s\n%s", buf_cstr(&out), buf_cstr(&once));
	division_write(back, &twice);
	assert_string_equal(buf_cstr(&once), buf_cstr(&twice));
	assert_int_equal(back->nodes_count, d->nodes_count);
	assert_int_equal(back->flavors.count, d->flavors.count);
	assert_true(same_texts(&back->deficit_order, &d->deficit_order));
	assert_memory_equal(&back->defaults, &d->defaults, sizeof(d->defaults));
	for (size_t i = 0; i < d->nodes_count; i++) {
		const struct division_node *a = &d->nodes[i], *b = &back->nodes[i];
		size_t bytes = d->flavors.count * sizeof(struct division_amount);

		assert_string_equal(a->name, b->name);
		assert_int_equal(a->kind, b->kind);
		assert_int_equal(a->parent, b->parent);
		assert_memory_equal(a->nominal, b->nominal, bytes);
		assert_memory_equal(a->own, b->own, bytes);
		assert_memory_equal(a->borrowing, b->borrowing, bytes);
		assert_memory_equal(a->lending, b->lending, bytes);
		assert_memory_equal(&a->limits, &b->limits, sizeof(a->limits));
		assert_int_equal(a->weight, b->weight);
		assert_int_equal(a->recall_slo_ms, b->recall_slo_ms);
		assert_int_equal(a->concentration_cap_ppm, b->concentration_cap_ppm);
		assert_int_equal(a->grant.awarded_mrus, b->grant.awarded_mrus);
		assert_int_equal(a->grant.approve_k, b->grant.approve_k);
		assert_int_equal(a->grant.stages.count, b->grant.stages.count);
		for (size_t k = 0; k < a->grant.stages.count; k++) {
			const struct division_stage *s = (const struct division_stage *)a->grant.stages.items + k;
			const struct division_stage *t = (const struct division_stage *)b->grant.stages.items + k;

			assert_int_equal(s->amount_mrus, t->amount_mrus);
			assert_int_equal(s->from_ms, t->from_ms);
			assert_int_equal(s->to_ms, t->to_ms);
			assert_int_equal(s->carry_over_ppm, t->carry_over_ppm);
		}
		assert_true(same_texts(&a->members, &b->members));
		assert_true(same_texts(&a->require, &b->require));
		assert_int_equal(a->windows.count, b->windows.count);
	}
	division_free(d);
	division_free(back);
	buf_done(&out);
	buf_done(&once);
	buf_done(&twice);
}

#define HEAD "version: 1\ncluster: c\nflavors:\n  h100-80g: {}\n  cpu: {unit: core}\ncommitted: {h100-80g: {nodes: 20}}\n"

static void division_refused(const char *text, const char *want)
{
	struct buf out = BUF_INIT;
	struct division *d = division_of(text, &out);

	if (d)
		fail_msg("taken:\n%s", text);
	assert_string_equal(buf_cstr(&out), want);
	buf_done(&out);
}

static void sums_that_do_not_fit_are_refused(void **state)
{
	struct buf out = BUF_INIT;
	struct division *d;

	(void)state;
	division_refused(HEAD "tree:\n  public:\n    nominal: {h100-80g: {nodes: 3, gpus: 16}}\n"
			      "  private:\n    nominal: {h100-80g: {nodes: 12, gpus: 32}}\n",
			 "division.yaml:11:5: error: public + private promise 15 whole nodes and 48 single gpus of h100-80g, that is 21 "
			 "nodes; committed is 20\n  try     promise less, or commit more\n");
	division_refused(HEAD "tree:\n  public:\n    nominal: {h100-80g: {nodes: 2}}\n    sectors:\n"
			      "      a: {nominal: {h100-80g: {nodes: 2}}}\n      b: {nominal: {h100-80g: {nodes: 1}}}\n",
			 "division.yaml:9:5: error: 'public' declares 2 whole nodes of h100-80g, its children 3 whole nodes in "
			 "tree/public\n  try     raise it, or lower a child\n");
	/* single gpus do not make up for whole nodes */
	division_refused(HEAD "tree:\n  public:\n    nominal: {h100-80g: {nodes: 2}}\n    sectors:\n"
			      "      a: {nominal: {h100-80g: {gpus: 1}}}\n",
			 "division.yaml:9:5: error: 'public' declares 2 whole nodes of h100-80g, its children 1 single gpu in "
			 "tree/public\n  try     raise it, or lower a child\n");
	/* undeclared: the sum of the children; and exactly full is full */
	d = division_of(HEAD "tree:\n  public:\n    sectors:\n      a: {nominal: {h100-80g: {nodes: 2, gpus: 8}}}\n"
			     "  private:\n    nominal: {h100-80g: {nodes: 17}}\n", &out);
	if (!d)
		fail_msg("%s", buf_cstr(&out));
	assert_int_equal(d->nodes[node_at(d, "public")].own[0].nodes, 0);
	assert_int_equal(d->nodes[node_at(d, "public")].nominal[0].nodes, DIVISION_UNSET);
	assert_int_equal(d->nodes[node_at(d, "private")].own[0].nodes, 17);
	division_free(d);
	/* one device more needs one node more */
	division_refused(HEAD "tree:\n  public:\n    nominal: {h100-80g: {nodes: 20, gpus: 1}}\n",
			 "division.yaml:9:5: error: public + private promise 20 whole nodes and 1 single gpu of h100-80g, that is 21 nodes; "
			 "committed is 20\n  try     promise less, or commit more\n");
	/* what is committed singly, beside no node, is said as it stands in the file */
	division_refused("version: 0\ncluster: t\nflavors: {g: {vendor: nvidia, weight: 1000, devices_per_node: 8, scrub_max: 1s}}\n"
			 "committed: {g: {gpus: 12}}\ntree:\n  public:\n    nominal: {g: {gpus: 13}}\n",
			 "division.yaml:7:5: error: public + private promise 13 single gpus of g; committed is 12 single gpus\n"
			 "  try     promise less, or commit more\n");
	division_refused(HEAD "tree:\n  public:\n    nominal: {cpu: {cores: 5}}\n",
			 "division.yaml:9:5: error: public + private promise 5 cores of cpu; committed is 0 nodes and 0 cores in "
			 "tree/public\n");
	buf_done(&out);
}

/* Over both shapes and all its providers in the class; 60 % of 81 devices, rounded down, are 48. */
static void one_tenant_is_promised_no_more_than_the_cap(void **state)
{
#define CAPPED(of_t, of_u)                                                                                             \
	HEAD "tree:\n  private:\n    nominal: {h100-80g: {nodes: 9, gpus: 9}}\n    classes:\n      big:\n"               \
	     "        concentration_cap: 60 %\n        providers:\n          a: {tenant: t, nominal: {h100-80g: {nodes: 5}}}\n" \
	     "          b: {tenant: u, nominal: {h100-80g: {gpus: " of_u "}}}\n"                                          \
	     "          c: {tenant: t, nominal: {h100-80g: {gpus: " of_t "}}}\n"                                          \
	     "      sme: {providers: {d: {tenant: t, nominal: {h100-80g: {nodes: 1}}}}}\n"
	struct buf out = BUF_INIT;
	struct division *d = division_of(CAPPED("8", "1"), &out);

	(void)state;
	if (!d)
		fail_msg("%s", buf_cstr(&out));
	assert_int_equal(d->nodes[node_at(d, "private/big")].concentration_cap_ppm, 600000);
	division_free(d);
	/* 60 alone would be 60 parts per million */
	division_refused(HEAD "tree:\n  private:\n    nominal: {h100-80g: {nodes: 9}}\n    classes:\n      big:\n"
			      "        concentration_cap: 60\n        providers:\n          a: {tenant: t}\n",
			 "division.yaml:12:28: error: '60' is no share: its unit is missing in tree/private/big/concentration_cap\n"
			 "  try     60 %\n");
	division_refused(CAPPED("9", "0"),
			 "division.yaml:12:9: error: tenant 't' is promised 49 devices of h100-80g below 'big'; the cap of 60 % of the "
			 "private side's 81 is 48\n  try     raise the cap, or lower a nominal of its providers\n");
#undef CAPPED
	buf_done(&out);
}

/* Each is counted out over more than a year, and all of them are kept until a second person agrees. */
static void windows_are_bounded(void **state)
{
	CLEANUP(buf_done) struct buf text = BUF_INIT;
	struct buf out = BUF_INIT;
	struct division *d;

	(void)state;
	for (int most = QUOTA_WINDOWS_MAX; most <= QUOTA_WINDOWS_MAX + 1; most++) {
		buf_done(&text);
		buf_addf(&text, HEAD "tree:\n  private:\n    classes:\n      c:\n        providers:\n          a:\n            tenant: t\n"
				     "            windows:\n");
		for (int i = 0; i < most; i++)
			buf_addf(&text, "              - {every: day, from: \"01:00\", to: \"02:00\", borrowing_limit: {h100-80g: {gpus: %d}}}\n", i);
		if (most > QUOTA_WINDOWS_MAX) {
			division_refused(buf_cstr(&text), "division.yaml:15:15: error: more than 8 windows of one node, or 48 of all in "
							  "tree/private/c/a/windows\n");
			break;
		}
		d = division_of(buf_cstr(&text), &out);
		if (!d)
			fail_msg("%s", buf_cstr(&out));
		assert_int_equal(d->nodes[node_at(d, "private/c/a")].windows.count, QUOTA_WINDOWS_MAX);
		division_free(d);
	}
	buf_done(&text);
	buf_addf(&text, HEAD "tree:\n  private:\n    classes:\n      c:\n        providers:\n");
	for (int i = 0; i <= DIVISION_WINDOWS_MAX; i++)
		buf_addf(&text, "          a%d: {tenant: t, windows: [{every: day, from: \"01:00\", to: \"02:00\", borrowing_limit: {}}]}\n", i);
	division_refused(buf_cstr(&text), "division.yaml:60:37: error: more than 8 windows of one node, or 48 of all in "
					  "tree/private/c/a48/windows\n");
	buf_done(&out);
}

static void names_in_the_division_must_be_known_and_unique(void **state)
{
	(void)state;
	division_refused(HEAD "tree:\n  public:\n    sectors:\n      health:\n        nominl: {}\n        require: [eu]\n"
			      "        lending_limit: {h100-80: {nodes: 1}, cpu: {gpus: 1}}\n        challenges: {}\n        weight: 0\n",
			 "division.yaml:11:9: error: unknown key 'nominl' in tree/public/health\n  try     nominal\n"
			 "division.yaml:12:19: error: unknown predicate 'eu' in tree/public/health/require\n"
			 "  try     describe it under predicates\n"
			 "division.yaml:13:25: error: unknown flavor 'h100-80' in tree/public/health/lending_limit\n"
			 "  try     h100-80g\n"
			 "division.yaml:13:51: error: 'cpu' is counted in cores, not gpus in tree/public/health/lending_limit/cpu\n"
			 "  try     cores: N\n"
			 "division.yaml:15:17: error: '0' is out of range in tree/public/health/weight\n  try     1 to 1000000\n");
	division_refused(HEAD "tree:\n  private:\n    classes:\n      sme: {providers: {a: {tenant: t}}}\n"
			      "      company: {providers: {a: {tenant: t}}}\n",
			 "division.yaml:11:29: error: provider 'a' stands twice, also in line 10\n"
			 "  try     another name: leases are asked for by it\n");
	division_refused(HEAD "tree:\n  public:\n    sectors: {s: {challenges: {c: {projects: {p: {members: [a, b, a],\n"
			      "      grant: {awarded: 10 gpuh, stages: [{name: x, amount: 6 gpuh, from: 2026-01-01, to: 2025-01-01},\n"
			      "        {name: x, amount: 6 gpuh, from: 2026-01-01, after: z}]}}}}}}}\n",
			 "division.yaml:9:67: error: 'a' is a member twice in tree/public/s/c/p/members\n"
			 "division.yaml:10:14: error: the stages hold 12 gpuh, 10 gpuh are awarded in tree/public/s/c/p/grant\n"
			 "  try     awarded: 12 gpuh\n"
			 "division.yaml:10:42: error: stage 'x' ends before it begins\n"
			 "division.yaml:11:9: error: stage 'x' stands twice\n"
			 "division.yaml:11:9: error: stage 'x' comes after 'z', which does not stand before it\n"
			 "  try     write the stages in their order\n");
	/* a flavor that could not be read is in no sum (found by fuzzing: a division by its devices_per_node) */
	division_refused("version: 1\ncluster: c\nflavors:\n  h:\ncommitted: {}\ntree:\n  public:\n"
			 "    nominal: {h: {nodes: 2}}\n",
			 "division.yaml:4:5: error: nothing stands where a map belongs in flavors/h\n  try     keys and values\n");
	division_refused(HEAD "tree: {}\nflavors: {}\n",
			 "division.yaml:8:1: error: key 'flavors' stands twice\n  try     keep one of them; the other is in line 3\n");
	division_refused(HEAD, "division.yaml:1:1: error: key 'tree' is missing\n  try     tree: another value\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_reader_refuses_what_yaml_would_take),
		cmocka_unit_test(large_files_are_refused_unread),
		cmocka_unit_test(all_errors_of_a_file_come_at_once),
		cmocka_unit_test(the_list_of_errors_ends_somewhere),
		cmocka_unit_test(sluisd_conf_as_documented),
		cmocka_unit_test(checks_across_keys),
		cmocka_unit_test(sets_override_and_are_judged_alike),
		cmocka_unit_test(endpoints_are_checked),
		cmocka_unit_test(agent_conf_as_documented),
		cmocka_unit_test(ctl_conf_as_documented_and_written_back),
		cmocka_unit_test(service_file_as_documented),
		cmocka_unit_test(the_documented_division_is_read),
		cmocka_unit_test(what_is_written_reads_back_as_itself),
		cmocka_unit_test(sums_that_do_not_fit_are_refused),
		cmocka_unit_test(windows_are_bounded),
		cmocka_unit_test(one_tenant_is_promised_no_more_than_the_cap),
		cmocka_unit_test(names_in_the_division_must_be_known_and_unique),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
