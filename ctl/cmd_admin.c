/* cmd_admin.c - who may speak (tokens, users, keys), and what is remembered (backups) */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/cmd.h"
#include "proto/base/ensure.h"
#include "proto/base/sha256.h"
#include "proto/config/ctl_conf.h"
#include "proto/config/units.h"
#include "proto/link/link.h"

enum { LONG_MS = 10 * 60 * 1000 }; /* a walk over the whole store */
#define STATE_DIR "/var/lib/sluis/state"

/* ---- tokens ---------------------------------------------------------------------------------- */

/* A token names the enrolment door and the key it will prove. Both may come from --enrol and the context,
 * from the daemon's answer ("KEY ENDPOINT"), or from the endpoints it has written. */
static int door_of(struct ctl *c, const struct call *call, const char *answer, struct join_token *t)
{
	const char *enrol = call_get(call, "enrol");
	const char *space = strchr(answer, ' ');
	struct err err = {0};

	if (space && space - answer == LINK_Z85_BYTES - 1 && !strncmp(space + 1, "tcp://", 6)) {
		char key[LINK_Z85_BYTES];

		memcpy(key, answer, LINK_Z85_BYTES - 1);
		key[LINK_Z85_BYTES - 1] = '\0';
		if (!c->have_server_key && !link_z85_decode(key, c->server_key, NULL))
			c->have_server_key = true;
		if (!c->enrol_endpoint[0])
			snprintf(c->enrol_endpoint, sizeof c->enrol_endpoint, "%s", space + 1);
	}
	if (!enrol)
		enrol = c->enrol_endpoint;
	if (!c->have_server_key || !enrol[0]) {
		(void)err_set(&err, ERR_STATE, "the token was made, but where newcomers go is not known here");
		fact(c, "needs", "%s%s%s", c->have_server_key ? "" : "the server's key", !c->have_server_key && !enrol[0] ? " and " : "",
		     enrol[0] ? "" : "the enrolment endpoint");
		(void)err_hint(&err, "--state-dir %s as root on its machine, or --enrol tcp://HOST:8473 --server-key KEY", STATE_DIR);
		return fault(c, &err, "cannot write the token");
	}
	if (strlen(enrol) >= sizeof t->endpoint || strncmp(enrol, "tcp://", 6) != 0) {
		try_next(c, "--enrol tcp://HOST:PORT");
		return usage_fault(c, "--enrol: '%s' is no endpoint", enrol);
	}
	memcpy(t->server_key, c->server_key, sizeof t->server_key);
	memcpy(t->endpoint, enrol, strlen(enrol) + 1);
	return 0;
}

/* The endpoints of the daemon on this machine, if we may read them. */
static void local_endpoints(struct ctl *c)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	json_t *root;

	if (c->enrol_endpoint[0] || strncmp(c->endpoint, "ipc://", 6) != 0 ||
	    read_whole(STATE_DIR "/endpoints.json", 65536, &b, NULL))
		return;
	root = json_loadb((const char *)b.data, b.len, 0, NULL);
	if (json_is_object(root)) {
		const char *enrol = json_string_value(json_object_get(root, "enrol"));
		const char *key = json_string_value(json_object_get(root, "server_key"));

		if (enrol)
			snprintf(c->enrol_endpoint, sizeof c->enrol_endpoint, "%s", enrol);
		if (key && !c->have_server_key)
			c->have_server_key = !link_z85_decode(key, c->server_key, NULL);
	}
	json_decref(root);
}

static int token_body(struct ctl *c, const struct call *call, struct cmd_token_create *body)
{
	bool node = !strcmp(call->args[0], "node");
	const char *role = call_get(call, "role");
	int64_t uses = 1, ttl_ms = MS_PER_HOUR;
	int word = node ? ROLE_NODE : ROLE_MEMBER;

	if (!node && strcmp(call->args[0], "user") != 0) {
		try_next(c, "sluisctl token create node, or sluisctl token create user --role member");
		return usage_fault(c, "a token is for a node or a user, not for '%s'", call->args[0]);
	}
	if (node && role) {
		try_next(c, "sluisctl token create user --role %s", role);
		return usage_fault(c, "a node has no --role");
	}
	if (opt_word(c, call, "role", role_names, &word) || opt_count(c, call, "uses", 1, 10000, &uses) ||
	    opt_duration(c, call, "ttl", &ttl_ms) || OPT_COPY(c, "--name", call_get(call, "name"), body->name) ||
	    OPT_COPY(c, "--provider", call_get(call, "provider"), body->provider))
		return EXIT_USAGE;
	if (!node && (word == ROLE_NONE || word >= ROLE_NODE)) {
		try_next(c, "--role admin, operator, gatekeeper, reviewer, member, provider or auditor");
		return usage_fault(c, "--role: nobody becomes '%s'", role);
	}
	if (word == ROLE_PROVIDER && !body->provider[0]) {
		try_next(c, "--provider NAME: sluisctl provider list");
		return usage_fault(c, "a provider's token names its provider");
	}
	body->role = (uint8_t)word;
	body->uses = (uint32_t)uses;
	body->ttl_ms = ttl_ms;
	return 0;
}

static const char *qnode_title(const void *view, size_t i)
{
	return ((const struct view_division *)view)->items[i].qnode.name;
}

/* A key for a provider that the division does not have would open nothing. */
static int known_provider(struct ctl *c, const char *provider)
{
	struct query q = {.type = QUERY_DIVISION};
	struct view_division v = {0};
	struct err err = {0};
	const char *near;

	if (!provider[0] || ask_err(c, &q, &v, c->timeout_ms, &err) || !v.version)
		return 0; /* who may not look may still be let in; before the first division nobody is known */
	for (uint32_t i = 0; i < v.items_n; i++)
		if (v.items[i].qnode.kind == QNODE_PROVIDER &&
		    (!strcmp(v.items[i].qnode.name, provider) || !strcmp(v.items[i].path, provider)))
			return 0;
	near = config_nearest(provider, v.items_n, qnode_title, &v);
	(void)err_set(&err, ERR_NOTFOUND, "there is no provider '%s'", provider);
	(void)err_hint(&err, near ? "--provider %s" : "sluisctl provider list%s", near ? near : "");
	return fault(c, &err, "cannot create a token");
}

static int print_token(struct ctl *c, const struct client_reply *reply, const struct cmd_token_create *body,
		       const char *text)
{
	if (c->json) {
		json_t *item = json_object();

		json_object_set_new(item, "id", json_integer((json_int_t)reply->result.id));
		json_object_set_new(item, "token", json_string(text));
		json_object_set_new(item, "role", json_string(role_name(body->role)));
		json_object_set_new(item, "uses", json_integer(body->uses));
		json_object_set_new(item, "ttl_ms", json_integer(body->ttl_ms));
		return json_item(c, "token_created", reply->seq, item);
	}
	if (!c->quiet)
		fprintf(c->errs, "token %" PRIu64 " for a %s%s%s, %u %s, good for %s; it is shown this once:\n", reply->result.id,
			role_name(body->role), body->name[0] ? " named " : "", body->name, body->uses,
			text_plural(body->uses, "use", "uses"), text_age(c, body->ttl_ms));
	fprintf(c->out, "%s\n", text);
	if (!c->quiet)
		fprintf(c->errs, "  next    %s\n", body->role == ROLE_NODE ? "on the node: sluis-agent --join TOKEN"
									    : "there: sluisctl user accept TOKEN");
	return 0;
}

int cmd_token_create(struct ctl *c, const struct call *call)
{
	struct cmd_token_create body = {0};
	struct client_reply reply = {0};
	struct join_token token = {0};
	char text[TOKEN_TEXT_BYTES];
	struct err err = {0};
	int r = token_body(c, call, &body);

	if (!r)
		r = conn_resolve(c);
	if (!r)
		r = known_provider(c, body.provider);
	if (r)
		return r;
	if (token_secret(token.secret, &err))
		return fault(c, &err, NULL);
	token_hash(token.secret, body.hash);
	r = tell(c, CMD_TOKEN_CREATE, &body, (struct bytes){0}, &reply, "create a token");
	if (r)
		return r;
	local_endpoints(c);
	r = door_of(c, call, reply.result.text, &token);
	if (!r) {
		token_encode(&token, text);
		r = print_token(c, &reply, &body, text);
		explicit_bzero(text, sizeof text);
	}
	explicit_bzero(&token, sizeof token);
	return r;
}

int cmd_token_list(struct ctl *c, const struct call *call)
{
	static const struct column cols[] = {
		{"id", "TOKEN", COL_RIGHT}, {"role", "ROLE", 0}, {"name", "NAME", 0}, {"provider", "PROVIDER", 0},
		{"uses", "USES LEFT", COL_RIGHT}, {"expires", "UNTIL", 0},
	};
	struct query q = {.type = QUERY_TOKENS};
	struct view_tokens v = {0};
	struct table *t;
	int r = ask(c, &q, &v, "read the tokens");

	(void)call;
	if (r)
		return r;
	if (c->json)
		return json_list(c, "token_list", v.seq, &schema_token_view, v.items, v.items_n, NULL);
	t = table_new(c, cols, ARRAY_LEN(cols));
	for (uint32_t i = 0; i < v.items_n; i++) {
		const struct token *k = &v.items[i].token;

		table_row(t);
		table_cell(t, "%" PRIu64, k->id);
		table_cell(t, "%s", v.items[i].role);
		table_cell(t, "%s", k->name[0] ? k->name : "any");
		table_cell(t, "%s", k->provider[0] ? k->provider : "-");
		table_cell(t, "%u", k->uses_left);
		table_cell(t, "%s", text_time(c, k->expires_ms));
	}
	r = table_print(t);
	if (!r && !v.items_n && !c->plain)
		fputs("no token works now\n", c->out);
	return r;
}

static int revoke_id(struct ctl *c, const struct call *call, uint16_t type, const char *noun)
{
	struct cmd_object body = {0};
	struct client_reply reply = {0};
	struct err err = {0};
	int r;

	if (id_parse(call->args[0], noun, &body.id, &err)) {
		(void)fault(c, &err, NULL);
		return EXIT_USAGE;
	}
	if (OPT_COPY(c, "--reason", c->reason, body.reason))
		return EXIT_USAGE;
	r = tell(c, type, &body, (struct bytes){0}, &reply, text_f(c, "revoke %s %s", noun, call->args[0]));
	return r ? r : done_line(c, text_f(c, "%s_revoked", noun), &reply, "revoked %s %" PRIu64, noun, body.id);
}

int cmd_token_revoke(struct ctl *c, const struct call *call) { return revoke_id(c, call, CMD_TOKEN_REVOKE, "token"); }
int cmd_key_revoke(struct ctl *c, const struct call *call) { return revoke_id(c, call, CMD_KEY_REVOKE, "key"); }

/* ---- users and keys -------------------------------------------------------------------------- */

static int people(struct ctl *c, struct view_principals *v)
{
	struct query q = {.type = QUERY_PRINCIPALS};

	return ask(c, &q, v, "read who may speak");
}

int cmd_user_list(struct ctl *c, const struct call *call)
{
	static const struct column cols[] = {
		{"name", "NAME", 0}, {"role", "ROLE", 0}, {"provider", "PROVIDER", 0}, {"keys", "KEYS", COL_RIGHT},
		{"note", "NOTE", 0},
	};
	struct view_principals v = {0};
	struct table *t;
	int r = people(c, &v);

	(void)call;
	if (r)
		return r;
	if (c->json)
		return json_list(c, "user_list", v.seq, &schema_principal_view, v.items, v.items_n, NULL);
	t = table_new(c, cols, ARRAY_LEN(cols));
	for (uint32_t i = 0; i < v.items_n; i++) {
		const struct principal *p = &v.items[i].principal;
		uint32_t keys = 0;
		bool first = true;

		for (uint32_t k = 0; k < v.items_n; k++)
			if (v.items[k].principal.id == p->id) {
				first &= k >= i;
				keys += !v.items[k].revoked;
			}
		if (!first)
			continue;
		table_row(t);
		table_cell(t, "%s", p->name);
		table_cell(t, "%s", v.items[i].role);
		table_cell(t, "%s", p->provider[0] ? p->provider : "-");
		table_cell(t, "%u", keys);
		table_cell(t, "%s", p->disabled ? "disabled" : "");
	}
	return table_print(t);
}

/* "valid", "until 14:02:00" after it was rotated, "ended" then; "disabled" is its owner. */
static const char *key_state(struct ctl *c, const struct principal_view *v)
{
	if (v->revoked)
		return v->not_after_ms && v->not_after_ms <= c->now_ms ? "ended" : "revoked";
	if (v->principal.disabled)
		return "disabled";
	return v->not_after_ms ? text_f(c, "until %s", text_time(c, v->not_after_ms)) : "valid";
}

int cmd_key_list(struct ctl *c, const struct call *call)
{
	static const struct column cols[] = {
		{"id", "KEY", COL_RIGHT}, {"name", "OF", 0}, {"role", "ROLE", 0}, {"public", "PUBLIC HALF", COL_SHRINK},
		{"created", "CREATED", 0}, {"state", "STATE", 0},
	};
	struct view_principals v = {0};
	struct table *t;
	int r = people(c, &v);

	(void)call;
	if (r)
		return r;
	if (c->json)
		return json_list(c, "key_list", v.seq, &schema_principal_view, v.items, v.items_n, NULL);
	t = table_new(c, cols, ARRAY_LEN(cols));
	for (uint32_t i = 0; i < v.items_n; i++) {
		table_row(t);
		table_cell(t, "%" PRIu64, v.items[i].cred);
		table_cell(t, "%s", v.items[i].principal.name);
		table_cell(t, "%s", v.items[i].role);
		table_cell(t, "%s", v.items[i].key);
		table_cell(t, "%s", text_time(c, v.items[i].created_ms));
		table_cell(t, "%s", key_state(c, &v.items[i]));
	}
	return table_print(t);
}

int cmd_user_disable(struct ctl *c, const struct call *call)
{
	struct cmd_object body = {0};
	struct client_reply reply = {0};
	int r;

	if (OPT_COPY(c, "user", call->args[0], body.name) || OPT_COPY(c, "--reason", c->reason, body.reason))
		return EXIT_USAGE;
	r = tell(c, CMD_USER_DISABLE, &body, (struct bytes){0}, &reply, text_f(c, "disable %s", call->args[0]));
	return r ? r : done_line(c, "user_disabled", &reply, "disabled %s: refused from the next message on", call->args[0]);
}

/* host of tcp://HOST:PORT; a door that listens everywhere is reached where the token led. */
static const char *reachable(struct ctl *c, const char *endpoint, const char *token_endpoint)
{
	const char *port = strrchr(endpoint, ':'), *end = strrchr(token_endpoint, ':');

	if (strncmp(endpoint, "tcp://", 6) != 0 || !port || !end || end < token_endpoint + 6)
		return endpoint;
	if (!strncmp(endpoint, "tcp://*:", 8) || !strncmp(endpoint, "tcp://0.0.0.0:", 14) || !strncmp(endpoint, "tcp://[::]:", 11))
		return text_f(c, "%.*s%s", (int)(end - token_endpoint), token_endpoint, port);
	return endpoint;
}

static int context_of_enrolled(struct ctl *c, const char *name, const struct msg_enrolled *e, const char *key,
			       const struct join_token *token)
{
	char server_key[LINK_Z85_BYTES];
	struct context_conf *ctx;
	struct ctl_conf conf;
	const char *path;
	int r = conf_read(c, &conf, &path);

	if (r)
		return r;
	link_z85_encode(token->server_key, server_key);
	ctx = context_put(&conf, name);
	ctx->endpoint = reachable(c, e->users ? e->users : "", token->endpoint);
	ctx->server_key = server_key;
	ctx->key = key;
	if (!conf.current)
		conf.current = ctx->head.name;
	r = conf_write(c, &conf, path);
	if (!r)
		fprintf(c->out, "context %s written to %s%s\n", name, path, conf.current == ctx->head.name ? ", and in use" : "");
	ctl_conf_done(&conf);
	return r;
}

static int read_token(struct ctl *c, const char *text, struct join_token *token)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	struct err err = {0};
	int r;

	if (!strcmp(text, "-")) {
		if (read_whole("-", 4096, &b, &err))
			return fault(c, &err, NULL);
		text = buf_cstr(&b);
	}
	r = token_parse(text, token, &err);
	if (b.data)
		explicit_bzero(b.data, b.len);
	if (!r)
		return 0;
	(void)fault(c, &err, NULL);
	return EXIT_USAGE;
}

int cmd_user_accept(struct ctl *c, const struct call *call)
{
	const struct passwd *pw = getpwuid(getuid());
	const char *name = call_get(call, "name") ? call_get(call, "name") : pw ? pw->pw_name : "", *path = NULL;
	struct msg_enrolled done = {0};
	struct join_token token;
	struct err err = {0};
	int timeout_ms = c->timeout_ms ? c->timeout_ms : 10000;
	int r = read_token(c, call->args[0], &token);

	if (r)
		return r;
	if (!name[0] || strchr(name, '/') || name[0] == '.') {
		try_next(c, "--name eva");
		return usage_fault(c, "'%s' is no name", name);
	}
	if (c->opt_key)
		path = home_path(c, c->opt_key);
	else if (key_path(c, name, &path, &err))
		return fault(c, &err, NULL);
	if (client_enrol(&token, name, "sluisctl " SLUIS_VERSION, path, timeout_ms, &done, &c->arena, &err)) {
		static const char whose[] = "this token is for ";

		if (!strncmp(err.msg, whose, strlen(whose))) /* the login name is another one */
			(void)err_hint(&err, "sluisctl user accept --name %.*s ...", NAME_BYTES, err.msg + strlen(whose));
		return fault(c, &err, "cannot accept the invitation as %s", name);
	}
	if (c->json) {
		json_t *item = json_of(&schema_msg_enrolled, &done);

		json_object_set_new(item, "key", json_string(path));
		return json_item(c, "user_accepted", 0, item);
	}
	fprintf(c->out, "you are %s, role %s, of %s; your key is %s (keep it to yourself)\n", name, role_name(done.role),
		text_safe(c, done.cluster), path);
	r = context_of_enrolled(c, call_get(call, "context") ? call_get(call, "context") : done.cluster, &done, path, &token);
	if (!r)
		next_line(c, "sluisctl status");
	return r;
}

static int make_pair(struct ctl *c, const char *path, uint8_t pub[LINK_KEY_BYTES], struct err *err)
{
	uint8_t sec[LINK_KEY_BYTES];
	int r = link_keypair(pub, sec, err);

	(void)c;
	if (!r)
		r = link_key_save(path, pub, sec, err);
	explicit_bzero(sec, sizeof sec);
	return r;
}

int cmd_key_create(struct ctl *c, const struct call *call)
{
	const char *path = home_path(c, call->args[0]);
	char text[LINK_Z85_BYTES];
	uint8_t pub[LINK_KEY_BYTES];
	struct err err = {0};

	if (make_pair(c, path, pub, &err)) {
		if (err.code == ERR_EXISTS && !err.hint[0])
			try_next(c, "another name; a key is never overwritten");
		return fault(c, &err, "cannot make a key");
	}
	link_z85_encode(pub, text);
	if (!c->quiet)
		fprintf(c->errs, "wrote %s; its public half:\n", path);
	fprintf(c->out, "%s\n", text);
	return 0;
}

int cmd_key_rotate(struct ctl *c, const struct call *call)
{
	struct cmd_key_rotate body = {{0}};
	struct client_reply reply = {0};
	const char *fresh, *old;
	struct err err = {0};
	int r = conn_resolve(c);

	(void)call;
	if (r)
		return r;
	if (!c->key_file[0]) {
		try_next(c, "sluisctl --cluster NAME key rotate, or --key FILE");
		return usage_fault(c, "key rotate: no key is in use here (%s)", c->endpoint);
	}
	fresh = text_f(c, "%s.new", c->key_file);
	old = text_f(c, "%s.old", c->key_file);
	if (make_pair(c, fresh, body.key, &err)) {
		if (err.code == ERR_EXISTS)
			try_next(c, "remove %s if no rotation is under way", fresh);
		return fault(c, &err, "cannot make a new key");
	}
	r = tell(c, CMD_KEY_ROTATE, &body, (struct bytes){0}, &reply, "rotate the key");
	if (r || c->dry_run) {
		if (r != EXIT_UNKNOWN && r != EXIT_INTERRUPTED) /* else it may be known by now */
			(void)unlink(fresh); /* ours, just made */
		return r;
	}
	if (rename(c->key_file, old) < 0 || rename(fresh, c->key_file) < 0) {
		(void)err_set_errno(&err, ERR_IO, "cannot put the new key in place");
		(void)err_hint(&err, "mv %s %s", fresh, c->key_file);
		return fault(c, &err, NULL);
	}
	return done_line(c, "key_rotated", &reply, "rotated: %s is the new key; the old one (%s) works for one more day",
			 c->key_file, old);
}

/* ---- backups --------------------------------------------------------------------------------- */

int cmd_backup_create(struct ctl *c, const struct call *call)
{
	struct query q = {.type = QUERY_BACKUP};
	struct view_text v = {0};
	int r;

	if (call->args_n && OPT_COPY(c, "backup", call->args[0], q.name))
		return EXIT_USAGE;
	r = conn_resolve(c);
	if (r)
		return r;
	if (!c->timeout_given)
		c->timeout_ms = LONG_MS;
	r = ask(c, &q, &v, "make a backup");
	if (r)
		return r;
	if (c->json)
		return json_item(c, "backup", v.seq, json_of(&schema_view_text, &v));
	if (c->quiet)
		fprintf(c->out, "%s\n", text_safe(c, v.text));
	else
		fprintf(c->out, "backup of seq %s, verified: %s (on sluisd's machine)\n  digest  %s\n",
			text_count(c, (int64_t)v.seq), text_safe(c, v.text), text_hex(c, v.digest, sizeof v.digest));
	return 0;
}

static uint64_t be64(const uint8_t *p)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return v;
}

/* The trailer of a backup file (FORMAT.md): magic, length, SHA-256 of all bytes before it. */
static int backup_check(FILE *f, uint64_t *ret_bytes, uint8_t ret_hash[32], struct err *err)
{
	uint8_t trailer[48], block[65536], hash[32];
	uint64_t left, bytes;
	struct sha256 h;
	struct stat st;

	if (fstat(fileno(f), &st) < 0)
		return err_set_errno(err, ERR_IO, "cannot read it");
	if (st.st_size < (off_t)sizeof trailer)
		return err_set(err, ERR_FORMAT, "it is no backup: too short");
	if (fseeko(f, st.st_size - (off_t)sizeof trailer, SEEK_SET) < 0 || fread(trailer, sizeof trailer, 1, f) != 1)
		return err_set_errno(err, ERR_IO, "cannot read it");
	if (memcmp(trailer, "SLUISBAK", 8) != 0)
		return err_set(err, ERR_FORMAT, "it is no backup, or it was cut off");
	bytes = left = be64(trailer + 8);
	if (bytes != (uint64_t)st.st_size - sizeof trailer)
		return err_set(err, ERR_CORRUPT, "it has %llu bytes where %llu were written",
			       (unsigned long long)st.st_size - sizeof trailer, (unsigned long long)bytes);
	sha256_init(&h);
	rewind(f);
	while (left) {
		size_t n = left < sizeof block ? (size_t)left : sizeof block;

		if (fread(block, 1, n, f) != n)
			return err_set_errno(err, ERR_IO, "cannot read it");
		sha256_add(&h, block, n);
		left -= n;
	}
	sha256_final(&h, hash);
	if (memcmp(hash, trailer + 16, sizeof hash) != 0)
		return err_set(err, ERR_CORRUPT, "its bytes do not have the hash that was written with them");
	*ret_bytes = bytes;
	memcpy(ret_hash, hash, sizeof hash);
	return 0;
}

int cmd_backup_verify(struct ctl *c, const struct call *call)
{
	FILE *f = fopen(call->args[0], "re");
	char size[UNITS_TEXT_BYTES];
	uint64_t bytes = 0;
	uint8_t hash[32];
	struct err err = {0};
	int r;

	if (!f) {
		(void)err_set_errno(&err, errno == ENOENT ? ERR_NOTFOUND : ERR_IO, "cannot open '%.100s'", call->args[0]);
		if (err.code == ERR_NOTFOUND)
			try_next(c, "sluisctl backup list");
		return fault(c, &err, NULL);
	}
	r = backup_check(f, &bytes, hash, &err);
	(void)fclose(f); /* only read from */
	if (r) {
		try_next(c, "an older backup: sluisctl backup list");
		(void)fault(c, &err, "%s is not intact", call->args[0]);
		return EXIT_OTHER;
	}
	if (c->json) {
		json_t *item = json_object();

		json_object_set_new(item, "file", json_string(call->args[0]));
		json_object_set_new(item, "bytes", json_integer((json_int_t)bytes));
		json_object_set_new(item, "sha256", json_string(text_hex(c, hash, sizeof hash)));
		return json_item(c, "backup_verified", 0, item);
	}
	if (!c->quiet)
		fprintf(c->out, "%s is whole: %s, sha256 %s\n", call->args[0], units_size_print(size, (int64_t)bytes),
			text_hex(c, hash, sizeof hash));
	return 0;
}

int cmd_backup_list(struct ctl *c, const struct call *call)
{
	static const struct column cols[] = {{"file", "FILE", 0}, {"bytes", "BYTES", COL_RIGHT}, {"written", "WRITTEN", 0}};
	const char *dir = call->args_n       ? call->args[0]
			  : c->opt_state_dir ? text_f(c, "%s/backup", c->opt_state_dir)
					     : STATE_DIR "/backup";
	DIR *d = opendir(dir);
	struct dirent *e;
	struct err err = {0};
	struct table *t;

	if (!d) {
		(void)err_set_errno(&err, errno == ENOENT ? ERR_NOTFOUND : ERR_IO, "cannot open '%.100s'", dir);
		(void)err_hint(&err, "sluisctl backup list DIR, on sluisd's machine as a user who may read it");
		return fault(c, &err, NULL);
	}
	t = table_new(c, cols, ARRAY_LEN(cols));
	while ((e = readdir(d)) != NULL) {
		struct stat st;

		if (e->d_name[0] == '.' || fstatat(dirfd(d), e->d_name, &st, 0) < 0 || !S_ISREG(st.st_mode))
			continue;
		table_row(t);
		table_cell(t, "%s", e->d_name);
		table_cell(t, "%lld", (long long)st.st_size);
		table_cell(t, "%s", text_time(c, (int64_t)st.st_mtime * 1000));
	}
	closedir(d);
	if (!c->sort)
		c->sort = "file";
	return table_print(t);
}
