/* startup.c - from the disk to open doors
 *
 *     store ──load──▶ core ──CMD_INIT, CMD_RECOVER──▶ log ──▶ keys ──▶ doors ──proof──▶ endpoints.json ──▶ READY
 *
 * What holds true:
 *  - every record on the disk is decoded strictly before the core sees it; one that cannot be is named
 *    and stops the start, except a renewal or a remembered reply: those are derived from the log and
 *    left out, with a warning
 *  - the time we were away is added to every liveness deadline before anybody can speak
 *  - a door that lets in a key nobody knows is never served
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/impl.h"
#include "proto/base/ckd.h"
#include "proto/base/failpoint.h"
#include "proto/link/notify.h"
#include "proto/model/names.h"

enum {
	PROOF_MS = 10000,
	IO_THREADS_NODES = 5000,
	RESERVE_BYTES = 32 << 20, /* preallocated, so that a full disk does not strike mid-commit */
	BALLAST_BYTES = 16 << 20,
	MAP_FIRST_BYTES = 64 << 20, /* small, so that every site exercises its growth long before it needs it */
	STATE_EVERY = 16, /* appends between two writes of state records; the log has them all */
};


static char *path_in(const struct server *s, const char *name)
{
	size_t n = strlen(s->conf.state_dir) + strlen(name) + 2;
	char *path = xmalloc(n);

	(void)snprintf(path, n, "%s/%s", s->conf.state_dir, name); /* n is its length */
	return path;
}

static void free_path(char **path) { free(*path); }
#define PATH(name) CLEANUP(free_path) char *name

/* ---- settings --------------------------------------------------------------------------------- */

static bool uids_known(const struct server *s, const struct cmd_init *init)
{
	for (uint32_t i = 0; i < init->uids_n; i++)
		if (!core_cred_of_uid(s->core, init->uids[i].uid))
			return false;
	return true;
}

static void uids_fill(const struct server *s, struct cmd_init *init, struct arena *arena)
{
	uint32_t own = (uint32_t)geteuid();
	size_t n = s->conf.local_admins.count;

	if (n >= ADMIN_UIDS_MAX)
		n = ADMIN_UIDS_MAX - 1;
	init->uids = arena_alloc(arena, (n + 1) * sizeof *init->uids);
	init->uids[init->uids_n++].uid = own;
	for (size_t i = 0; i < n; i++)
		if (s->conf.local_admins.items[i] != own)
			init->uids[init->uids_n++].uid = (uint32_t)s->conf.local_admins.items[i];
}

/* The names were checked when the file was read. */
static uint32_t dual_control_bits(const struct daemon_conf *conf)
{
	uint32_t bits = 0;

	for (size_t i = 0; i < conf->dual_control.count; i++) {
#define X(cmd, bit)                                                                                \
	if (!strcmp(conf->dual_control.items[i], command_name(cmd)))                               \
		bits |= UINT32_C(1) << (bit);
		DUAL_CONTROL_TABLE(X)
#undef X
	}
	return bits;
}

bool settings_fill(struct server *s, struct cmd_init *ret, struct arena *arena)
{
	const struct cluster *have = core_cluster(s->core);
	struct cluster *to = &ret->settings, same;

	*ret = (struct cmd_init){0};
	(void)snprintf(to->name, sizeof to->name, "%s", s->conf.cluster);
	to->lease_ttl_ms = s->conf.leases.ttl_ms;
	to->lease_grace_ms = s->conf.leases.grace_ms;
	to->lease_term_ms = s->conf.leases.term_ms;
	to->lease_offer_ms = s->conf.leases.offer_ms;
	to->rejoin_grace_ms = s->conf.leases.rejoin_grace_ms;
	to->bind_timeout_ms = s->conf.leases.bind_timeout_ms;
	to->renewals_per_s = (uint32_t)s->conf.leases.renewals_per_second;
	to->lost_after_ms = s->conf.jobs.lost_after_ms;
	to->notice_ms = s->conf.jobs.notice_default_ms;
	to->job_time_ms = s->conf.jobs.default_time_ms;
	to->kill_margin_ms = s->conf.recall.kill_margin_ms;
	to->cooldown_ms = s->conf.recall.cooldown_ms;
	to->age_guard_ms = s->conf.jobs.age_guard_ms;
	to->reservations_max = (uint32_t)s->conf.jobs.reservations;
	to->reservations_each = (uint32_t)s->conf.jobs.reservations_each;
	to->resize_ms = s->conf.jobs.resize_interval_ms;
	to->loan_rate_ppm = (uint32_t)s->conf.loan.rate_ppm;
	to->urgent_rate_ppm = (uint32_t)s->conf.jobs.urgent_percent * 10000;
	to->slurm_env = (uint8_t)s->conf.jobs.slurm_env;
	to->dual_control = dual_control_bits(&s->conf);
	uids_fill(s, ret, arena);
	if (!have) {
		randombytes_buf(to->uid, sizeof to->uid);
		return true;
	}
	memcpy(to->uid, have->uid, sizeof to->uid);
	/* the same record with our settings: equal when nothing changed */
	same = *have;
	memcpy(same.name, to->name, sizeof same.name);
	same.lease_ttl_ms = to->lease_ttl_ms;
	same.lease_grace_ms = to->lease_grace_ms;
	same.lease_term_ms = to->lease_term_ms;
	same.lease_offer_ms = to->lease_offer_ms;
	same.rejoin_grace_ms = to->rejoin_grace_ms;
	same.bind_timeout_ms = to->bind_timeout_ms;
	same.renewals_per_s = to->renewals_per_s;
	same.lost_after_ms = to->lost_after_ms;
	same.notice_ms = to->notice_ms;
	same.job_time_ms = to->job_time_ms;
	same.kill_margin_ms = to->kill_margin_ms;
	same.cooldown_ms = to->cooldown_ms;
	same.age_guard_ms = to->age_guard_ms;
	same.reservations_max = to->reservations_max;
	same.reservations_each = to->reservations_each;
	same.resize_ms = to->resize_ms;
	same.loan_rate_ppm = to->loan_rate_ppm;
	same.urgent_rate_ppm = to->urgent_rate_ppm;
	same.slurm_env = to->slurm_env;
	same.dual_control = to->dual_control;
	return !schema_equal(&schema_cluster, have, &same) || !uids_known(s, ret);
}

/* ---- the sign of life ------------------------------------------------------------------------- */

/* A quiet cluster writes no log, so the log alone does not tell how long we were away. The file holds
 * the logical instant as text, rewritten each minute; it need not survive a power cut: an older
 * one makes the time away longer, which expires nobody. */
void alive_write(struct server *s, bool sync)
{
	PATH(path) = path_in(s, "alive");
	char text[32];
	int n = snprintf(text, sizeof text, "%20" PRId64 "\n", server_now(s));
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return;
	FAILPOINT("server.alive.opened");
	if (pwrite(fd, text, (size_t)n, 0) == n && sync)
		(void)fsync(fd);
	(void)close(fd);
}

static int64_t alive_read(const struct server *s)
{
	PATH(path) = path_in(s, "alive");
	char text[32] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int64_t t = 0;

	if (fd < 0)
		return 0;
	if (read(fd, text, sizeof text - 1) > 0 && sscanf(text, "%" SCNd64, &t) != 1)
		t = 0;
	(void)close(fd);
	return t > 0 ? t : 0;
}

static int last_instant(void *ctx, const struct store_entry *entry, struct err *err)
{
	(void)err;
	*(int64_t *)ctx = entry->rec.t_ms;
	return 0;
}

/* ---- loading ---------------------------------------------------------------------------------- */

static int load_record(void *ctx, uint8_t kind, uint64_t id, const uint8_t *val, uint32_t len, struct err *err)
{
	struct server *s = ctx;
	const struct schema *schema = schema_of_record(kind);
	struct fact fact = {.kind = kind, .id = id};
	void *rec;
	int rc;

	if (!schema) {
		(void)err_set(err, ERR_VERSION, "record %" PRIu64 " is of the unknown kind %u", id, (unsigned)kind);
		return err_hint(err, "the state was written by a newer sluisd: start that one");
	}
	arena_reset(&s->turn_arena);
	rec = arena_alloc(&s->turn_arena, schema->size);
	rc = schema_decode(schema, val, len, rec, &s->turn_arena, err);
	if (rc && (kind == RECORD_RENEWAL || kind == RECORD_IDEM)) {
		log_event(LOG_ERR, "record quarantined", "kind=%s id=%" PRIu64 " text=%s", record_kind_name(kind),
			  id, log_quote(err->msg));
		s->quarantined++;
		return 0;
	}
	if (rc) {
		(void)err_prefix(err, "cannot read %s %" PRIu64, record_kind_name(kind), id);
		(void)err_hint(err, "restore a backup: sluisd --restore FILE --state-dir NEW");
		err->code = ERR_CORRUPT;
		return ERR_CORRUPT;
	}
	fact.any = rec;
	counts_note(&s->counts, kind, NULL, rec);
	if (kind == RECORD_ALLOC)
		relays_note(s, fact.alloc);
	core_apply(s->core, &fact);
	return 0;
}

/* Where ended jobs ran is only in the log: look back over its newest records. */
static int replay_places(void *ctx, const struct store_entry *entry, struct err *err)
{
	struct server *s = ctx;

	(void)err;
	arena_reset(&s->turn_arena);
	for (uint32_t i = 0; i < entry->rec.facts_n; i++) {
		const struct store_fact *f = &entry->rec.facts[i];
		struct alloc a;

		if (f->kind == RECORD_ALLOC && f->val &&
		    !schema_decode(&schema_alloc, f->val, f->len, &a, &s->turn_arena, NULL))
			relays_note(s, &a);
	}
	return 0;
}

static int exit_of_store(int code)
{
	return code == ERR_BUSY ? EXIT_HELD : code == ERR_VERSION ? EXIT_NEWER : EXIT_STORAGE;
}

static int open_store(struct server *s, struct err *err)
{
	enum { PLACES_BACK = 20000 };
	const uint64_t map = (uint64_t)s->conf.map_size_bytes, first = MAP_FIRST_BYTES;
	struct store_cfg cfg = {.dir = s->conf.state_dir, .create = true, .map_bytes = map < first ? map : first,
				.map_bytes_max = map, .reserve_bytes = RESERVE_BYTES, .ballast_bytes = BALLAST_BYTES,
				.state_every = STATE_EVERY};
	struct store_head head;
	uint64_t from;
	int rc = store_open(&cfg, &s->store, err);

	if (rc)
		return rc;
	rc = store_load(s->store, load_record, s, err);
	if (rc)
		return rc;
	store_head(s->store, &head);
	s->seq = head.seq;
	from = head.seq > PLACES_BACK ? head.seq - PLACES_BACK : 0;
	if (from < head.base_seq)
		from = head.base_seq;
	if (from < head.seq)
		rc = store_read(s->store, from + 1, replay_places, s, err);
	return rc;
}

/* The logical clock, the epoch, and the commands every start begins with. */
static int resume(struct server *s, struct err *err)
{
	int64_t log_ms = 0, disk_ms, down_ms = 0;
	struct cmd_recover *recover;
	struct store_head head;
	struct cmd_init init;
	int rc;

	store_head(s->store, &head);
	if (head.seq > head.base_seq) {
		rc = store_read(s->store, head.seq, last_instant, &log_ms, err);
		if (rc)
			return rc;
	}
	if (core_cluster(s->core) && core_cluster(s->core)->last_seen_ms > log_ms)
		log_ms = core_cluster(s->core)->last_seen_ms;
	disk_ms = alive_read(s);
	if (disk_ms < log_ms)
		disk_ms = log_ms;
	clock_start(&s->clock, disk_ms, mono_now(), wall_now());
	s->started = mono_now();
	if (core_cluster(s->core))
		down_ms = server_now(s) - disk_ms;
	core_loaded(s->core);
	FAILPOINT("startup.loaded");
	rc = store_epoch_raise(s->store, 0, &s->epoch, err);
	if (rc)
		return rc;
	if (settings_fill(s, &init, &s->turn_arena))
		server_command(s, CMD_INIT)->init = init;
	recover = &server_command(s, CMD_RECOVER)->recover;
	recover->down_ms = down_ms;
	recover->safe_mode = head.restored || down_ms > DAY_MS_SAFE;
	if (recover->safe_mode)
		randombytes_buf(&recover->salt, sizeof recover->salt);
	log_event(recover->safe_mode ? LOG_WARNING : LOG_NOTICE, "recovered",
		  "seq=%" PRIu64 " epoch=%" PRIu64 " down_ms=%" PRId64 " safe_mode=%s nodes=%" PRId64
		  " pending=%" PRId64 " leases=%" PRId64,
		  s->seq, s->epoch, down_ms, recover->safe_mode ? "yes" : "no", s->counts.nodes,
		  s->counts.pending_jobs, s->counts.leases);
	return 0;
}

/* ---- the server's key ------------------------------------------------------------------------- */

static int own_key(struct server *s, int *ret_exit, struct err *err)
{
	PATH(dir) = path_in(s, "keys");
	PATH(path) = path_in(s, "keys/server.key");
	int rc;

	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return err_set_errno(err, ERR_SYS, "cannot make '%s'", dir);
	rc = link_key_load(path, s->server_pub, s->server_sec, err);
	if (rc != ERR_NOTFOUND)
		return rc;
	*ret_exit = EXIT_STORAGE; /* from here on it is the disk, not the configuration */
	rc = link_keypair(s->server_pub, s->server_sec, err);
	FAILPOINT("startup.key.made");
	if (!rc)
		rc = link_key_save(path, s->server_pub, s->server_sec, err);
	if (!rc)
		log_event(LOG_NOTICE, "server key made", "path=%s", log_quote(path));
	return rc;
}

/* A path, or credential:NAME: what systemd's LoadCredential= hands over. */
static int load_key(const char *conf, uint8_t ret_pub[LINK_KEY_BYTES], uint8_t ret_sec[LINK_KEY_BYTES], struct err *err)
{
	static const char prefix[] = "credential:";
	const char *dir = getenv("CREDENTIALS_DIRECTORY");
	char path[4096];
	int rc = ERR_NOTFOUND;

	if (strncmp(conf, prefix, sizeof prefix - 1) != 0)
		return link_key_load(conf, ret_pub, ret_sec, err);
	conf += sizeof prefix - 1;
	if (dir) {
		(void)snprintf(path, sizeof path, "%s/%s", dir, conf);
		rc = link_key_load(path, ret_pub, ret_sec, err);
	}
	if (rc != ERR_NOTFOUND)
		return rc;
	(void)err_set(err, ERR_NOTFOUND, "there is no credential '%s'", conf);
	err_hint(err, "LoadCredential=%s:PATH in the unit, or leave the setting out", conf);
	return ERR_NOTFOUND;
}

/* The key of now, and the public half of the one that comes next: told to everybody who greets, so that they
 * know it when it is put in the place of the first. */
static int server_key(struct server *s, int *ret_exit, struct err *err)
{
	uint8_t sec[LINK_KEY_BYTES];
	int rc = load_key(s->conf.server_key, s->server_pub, s->server_sec, err);

	if (rc == ERR_NOTFOUND && !strcmp(s->conf.server_key, "credential:server.key"))
		rc = own_key(s, ret_exit, err);
	if (rc || !s->conf.server_key_next)
		return rc;
	rc = load_key(s->conf.server_key_next, s->server_next, sec, err);
	explicit_bzero(sec, sizeof sec);
	if (rc)
		return err_prefix(err, "server_key_next");
	if (!memcmp(s->server_next, s->server_pub, LINK_KEY_BYTES))
		memset(s->server_next, 0, LINK_KEY_BYTES); /* it is in place already */
	return 0;
}

/* ---- doors ------------------------------------------------------------------------------------ */

void endpoint_text(const char *endpoint, const char *host, char out[LINK_ENDPOINT_BYTES])
{
	const char *port = strrchr(endpoint, ':');

	if (port && (strncmp(endpoint, "tcp://0.0.0.0:", 14) == 0 || strncmp(endpoint, "tcp://*:", 8) == 0 ||
		     strncmp(endpoint, "tcp://[::]:", 11) == 0))
		(void)snprintf(out, LINK_ENDPOINT_BYTES, "tcp://%s%s", host, port);
	else
		(void)snprintf(out, LINK_ENDPOINT_BYTES, "%s", endpoint);
}

static int open_doors(struct server *s, int *ret_exit, struct err *err)
{
	const struct link_ctx_opts ctx = {.io_threads = s->conf.limits.nodes > IO_THREADS_NODES ? 2 : 1,
					  .zap = true};
	/* A pipelining client has many small answers under way; a lost one would only be asked again. */
	const struct link_limits users = {.max_msg_bytes = FRAME_BYTES_MAX, .rcvhwm = 256, .sndhwm = 2048};
	const struct link_limits agents = {.max_msg_bytes = AGENT_FRAME_BYTES_MAX};
	const struct {
		enum link_door_kind kind;
		const char *endpoint;
		const struct link_limits *limits;
	} open[] = {
		{DOOR_AGENTS, s->conf.listen.agents, &agents},
		{DOOR_USERS, s->conf.listen.users, &users},
		{DOOR_ENROL, s->conf.listen.enrol, NULL},
		{DOOR_LOCAL, s->conf.listen.local, &users},
	};
	int rc = link_ctx_new(&ctx, &s->link, err);

	*ret_exit = rc ? EXIT_OTHER : EXIT_CONF; /* no thread or no descriptor is nobody's setting */
	if (rc)
		return rc;
	server_keys_publish(s); /* before anybody can be refused */
	for (size_t i = 0; i < ARRAY_LEN(open) && !rc; i++) {
		bool local = open[i].kind == DOOR_LOCAL;
		char ipc[LINK_ENDPOINT_BYTES];

		if (!open[i].endpoint || (local && strcmp(open[i].endpoint, "off") == 0))
			continue;
		(void)snprintf(ipc, sizeof ipc, "ipc://%s", open[i].endpoint);
		rc = link_door_open(s->link, open[i].kind, local ? ipc : open[i].endpoint,
				    local ? NULL : s->server_sec, open[i].limits, &s->door[open[i].kind], err);
		if (rc)
			(void)err_prefix(err, "listen.%s", link_door_kind_name(open[i].kind));
	}
	return rc;
}

/* Whoever can connect is let in by ZeroMQ, not by us: see with our own eyes that a stranger is not. */
static int prove(struct server *s, struct err *err)
{
	for (int i = DOOR_AGENTS; i <= DOOR_USERS; i++) {
		char at[LINK_ENDPOINT_BYTES];
		int rc;

		if (!s->door[i])
			continue;
		endpoint_text(link_door_endpoint(s->door[i]), "127.0.0.1", at);
		rc = link_prove_refusal(s->link, at, s->server_pub, PROOF_MS, err);
		if (rc)
			return err_prefix(err, "door %s: the proof that strangers are refused failed",
					  link_door_kind_name((enum link_door_kind)i));
	}
	refusals_skip(s);
	return 0;
}

/* ---- endpoints.json --------------------------------------------------------------------------- */

static void json_text(struct buf *b, const char *text)
{
	buf_addf(b, "\"");
	for (const char *p = text; *p; p++)
		if (*p == '"' || *p == '\\')
			buf_addf(b, "\\%c", *p);
		else
			buf_addf(b, "%c", *p);
	buf_addf(b, "\"");
}

static void endpoints_json(const struct server *s, struct buf *b)
{
	char z85[LINK_Z85_BYTES], at[LINK_ENDPOINT_BYTES];

	link_z85_encode(s->server_pub, z85);
	buf_addf(b, "{");
	for (int i = 0; i < DOOR_KINDS; i++) {
		buf_addf(b, "\"%s\": ", link_door_kind_name((enum link_door_kind)i));
		if (s->door[i]) {
			endpoint_text(link_door_endpoint(s->door[i]), "127.0.0.1", at);
			json_text(b, at);
		} else {
			buf_addf(b, "null");
		}
		buf_addf(b, ", ");
	}
	buf_addf(b, "\"server_key\": ");
	json_text(b, z85);
	buf_addf(b, ", \"cluster\": ");
	json_text(b, s->conf.cluster);
	buf_addf(b, ", \"pid\": %ld}\n", (long)getpid());
}

/* The file appears whole: who waits for it never reads half a line. */
static int endpoints_write(struct server *s, struct err *err)
{
	CLEANUP(buf_done) struct buf json = BUF_INIT;
	PATH(path) = path_in(s, "endpoints.json");
	PATH(part) = path_in(s, "endpoints.json.part");
	int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	bool ok;

	endpoints_json(s, &json);
	if (fd < 0)
		return err_set_errno(err, ERR_SYS, "cannot open '%s'", part);
	ok = write(fd, json.data, json.len) == (ssize_t)json.len && fsync(fd) == 0;
	ok = close(fd) == 0 && ok;
	FAILPOINT("startup.endpoints.before_rename");
	if (!ok || rename(part, path) < 0)
		return err_set_errno(err, ERR_SYS, "cannot write '%s'", path);
	if (s->opts->print_endpoints) {
		(void)fwrite(json.data, 1, json.len, stdout);
		(void)fflush(stdout); /* who closed it does not want it */
	}
	return 0;
}

/* ---- all of it -------------------------------------------------------------------------------- */

static int start_steps(struct server *s, int *ret_exit, struct err *err)
{
	int rc = loop_new(&s->loop, err);

	*ret_exit = EXIT_OTHER;
	if (rc)
		return rc;
	s->core = core_new();
	s->relays = relays_new(s);
	s->refusals = refusals_new();
	rc = open_store(s, err);
	if (rc) {
		*ret_exit = exit_of_store(rc);
		if (rc == ERR_CORRUPT)
			(void)err_hint(err, "keep '%s' as it is and restore a backup into a new one: sluisd(8), EXAMPLES",
				       s->conf.state_dir);
		return rc;
	}
	rc = queries_new(s, err) ? 0 : err->code;
	if (rc)
		return rc;
	*ret_exit = EXIT_STORAGE;
	rc = resume(s, err);
	if (rc)
		return rc;
	*ret_exit = EXIT_CONF;
	rc = server_key(s, ret_exit, err);
	if (rc)
		return rc;
	rc = open_doors(s, ret_exit, err);
	if (rc)
		return rc;
	FAILPOINT("startup.doors.open");
	/* The first step: settings and recovery are on the disk before a door is served. */
	server_flush(s);
	if (s->exit_code || !core_cluster(s->core)) {
		*ret_exit = s->exit_code ? s->exit_code : EXIT_CONF;
		return err_set(err, ERR_CONFIG, "the settings were not accepted; the line above says why");
	}
	*ret_exit = EXIT_OTHER;
	FAILPOINT("startup.first.step");
	rc = prove(s, err);
	if (!rc)
		rc = server_signals(s, err); /* who has seen where we are may ask us to stop */
	if (rc)
		return rc;
	*ret_exit = EXIT_STORAGE;
	return endpoints_write(s, err);
}

int server_open(struct daemon_conf *conf, const struct server_opts *opts, struct server **ret_server,
		int *ret_exit, struct err *err)
{
	struct server *s = xcalloc(1, sizeof *s);
	struct err notify;
	int rc;

	s->conf = *conf;
	*conf = (struct daemon_conf){0};
	s->opts = opts;
	s->log_level = server_level(&s->conf);
	rc = start_steps(s, ret_exit, err);
	if (rc) {
		server_free(s);
		return rc;
	}
	log_event(LOG_NOTICE, "serving", "version=%s cluster=%s seq=%" PRIu64 " agents=%s users=%s", SLUIS_VERSION,
		  s->conf.cluster, s->seq, link_door_endpoint(s->door[DOOR_AGENTS]),
		  link_door_endpoint(s->door[DOOR_USERS]));
	if (notify_send("READY=1\nSTATUS=serving", &notify))
		log_event(LOG_WARNING, "notify failed", "text=%s", log_quote(notify.msg));
	*ret_server = s;
	return 0;
}
