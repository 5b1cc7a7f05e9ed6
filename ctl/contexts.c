/* contexts.c - the clusters a user knows: sluisctl.conf read and written, and the commands about it */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/cmd.h"
#include "proto/base/ensure.h"
#include "proto/config/ctl_conf.h"
#include "proto/link/link.h"

/* ---- the file -------------------------------------------------------------------------------- */

int key_path(struct ctl *c, const char *name, const char **ret, struct err *err)
{
	char home[4096];
	int r = conf_home(home, err);

	if (r)
		return r;
	for (char *p = home + 1; *p; p++)
		if (*p == '/') {
			*p = '\0';
			(void)mkdir(home, 0700); /* one that cannot be made shows with the next */
			*p = '/';
		}
	if ((mkdir(home, 0700) < 0 && errno != EEXIST) ||
	    (mkdir(text_f(c, "%s/keys", home), 0700) < 0 && errno != EEXIST))
		return err_set_errno(err, ERR_IO, "cannot make '%.100s/keys'", home);
	*ret = text_f(c, "%s/keys/%s.key", home, name);
	return 0;
}

static const char *conf_path(struct ctl *c, struct err *err)
{
	const char *own = getenv("SLUIS_CONFIG");
	char home[4096];

	if (own && own[0])
		return own;
	return conf_home(home, err) ? NULL : text_f(c, "%s/sluisctl.conf", home);
}

int conf_read(struct ctl *c, struct ctl_conf *ret, const char **ret_path)
{
	CLEANUP(config_errors_done) struct config_errors errs = CONFIG_ERRORS_INIT;
	struct err err = {0};

	*ret = (struct ctl_conf){0};
	*ret_path = conf_path(c, &err);
	if (!*ret_path)
		return fault(c, &err, NULL);
	if (access(*ret_path, F_OK) != 0)
		return 0;
	return ctl_conf_load(*ret_path, NULL, 0, ret, &errs) ? config_fault(c, &errs) : 0;
}

int conf_write(struct ctl *c, const struct ctl_conf *conf, const char *path)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	const char *keys, *own = getenv("SLUIS_CONFIG");
	struct err err = {0};

	if (!(own && own[0]) && key_path(c, "x", &keys, &err)) /* makes the folder */
		return fault(c, &err, NULL);
	ctl_conf_write(conf, &b);
	return write_whole(path, b.data, b.len, 0600, &err) ? fault(c, &err, NULL) : 0;
}

struct context_conf *context_put(struct ctl_conf *conf, const char *name)
{
	struct context_conf *items = conf->contexts.items, *more;

	for (size_t i = 0; i < conf->contexts.count; i++)
		if (!strcmp(items[i].head.name, name))
			return &items[i];
	more = arena_alloc(&conf->arena, (conf->contexts.count + 1) * sizeof *more);
	if (conf->contexts.count)
		memcpy(more, items, conf->contexts.count * sizeof *more);
	conf->contexts.items = more;
	more[conf->contexts.count] = (struct context_conf){.timeout_ms = 10000};
	more[conf->contexts.count].head.name = arena_copy(&conf->arena, name, strlen(name) + 1);
	return &more[conf->contexts.count++];
}

/* Z85, in the run's arena. */
static const char *key_text(struct ctl *c, const uint8_t key[LINK_KEY_BYTES])
{
	char text[LINK_Z85_BYTES];

	link_z85_encode(key, text);
	return text_f(c, "%s", text);
}

static bool same_text(const char *a, const char *b) { return a && b ? !strcmp(a, b) : !a && !b; }

void context_learn(struct ctl *c)
{
	static const uint8_t none[LINK_KEY_BYTES];
	const struct msg_welcome *w = c->client ? client_welcome(c->client) : NULL;
	const char *now, *next = NULL, *path;
	struct context_conf *ctx;
	struct ctl_conf conf;

	if (!w || !c->context_own || !client_server_key(c->client))
		return;
	if (!memcmp(client_server_key(c->client), c->server_key, LINK_KEY_BYTES) &&
	    !memcmp(w->server_next, c->have_server_key_next ? c->server_key_next : none, LINK_KEY_BYTES))
		return; /* as the context has it: the file need not be read again */
	now = key_text(c, client_server_key(c->client));
	if (memcmp(w->server_next, none, sizeof none) != 0)
		next = key_text(c, w->server_next);
	if (conf_read(c, &conf, &path))
		return; /* it was read a moment ago; the next run says what is wrong */
	ctx = ctl_conf_context(&conf, c->context) ? context_put(&conf, c->context) : NULL;
	if (ctx && (!same_text(ctx->server_key, now) || !same_text(ctx->server_key_next, next))) {
		ctx->server_key = now;
		ctx->server_key_next = next;
		(void)conf_write(c, &conf, path); /* said by it; what was asked for is done all the same */
	}
	ctl_conf_done(&conf);
}

/* ---- contexts -------------------------------------------------------------------------------- */

int cmd_context_list(struct ctl *c, const struct call *call)
{
	static const struct column cols[] = {{"current", "", 0}, {"name", "NAME", 0}, {"endpoint", "ENDPOINT", 0},
					     {"key", "KEY", 0}, {"project", "PROJECT", 0}};
	const struct context_conf *items;
	struct ctl_conf conf;
	const char *path;
	struct table *t;
	int r = conf_read(c, &conf, &path);

	(void)call;
	if (r)
		return r;
	items = conf.contexts.items;
	if (c->json) {
		json_t *list = json_array(), *item = json_object();

		for (size_t i = 0; i < conf.contexts.count; i++)
			json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:b}", "name", items[i].head.name, "endpoint",
							      items[i].endpoint, "key", items[i].key ? items[i].key : "", "project",
							      items[i].project ? items[i].project : "", "current",
							      conf.current && !strcmp(conf.current, items[i].head.name)));
		json_object_set_new(item, "contexts", list);
		r = json_item(c, "context_list", 0, item);
		ctl_conf_done(&conf);
		return r;
	}
	t = table_new(c, cols, ARRAY_LEN(cols));
	for (size_t i = 0; i < conf.contexts.count; i++) {
		table_row(t);
		table_cell(t, "%s", conf.current && !strcmp(conf.current, items[i].head.name) ? "*" : " ");
		table_cell(t, "%s", items[i].head.name);
		table_cell(t, "%s", items[i].endpoint);
		table_cell(t, "%s", items[i].key ? items[i].key : "-");
		table_cell(t, "%s", items[i].project ? items[i].project : "-");
	}
	r = table_print(t);
	if (!r && !conf.contexts.count && !c->plain)
		fprintf(c->out, "%s has no contexts: sluisctl user accept TOKEN, or sluisctl context add\n", path);
	ctl_conf_done(&conf);
	return r;
}

static const char *context_name(const void *items, size_t i)
{
	return ((const struct context_conf *)items)[i].head.name;
}

static int no_context(struct ctl *c, const struct ctl_conf *conf, const char *name)
{
	const char *near = config_nearest(name, conf->contexts.count, context_name, conf->contexts.items);
	struct err err = {0};

	(void)err_set(&err, ERR_NOTFOUND, "there is no context '%s'", name);
	(void)err_hint(&err, near ? "sluisctl context use %s" : "sluisctl context list%s", near ? near : "");
	return fault(c, &err, NULL);
}

int cmd_context_use(struct ctl *c, const struct call *call)
{
	const struct context_conf *ctx;
	struct ctl_conf conf;
	const char *path;
	int r = conf_read(c, &conf, &path);

	if (r)
		return r;
	ctx = ctl_conf_context(&conf, call->args[0]);
	if (ctx) {
		conf.current = ctx->head.name;
		r = conf_write(c, &conf, path);
	} else {
		r = no_context(c, &conf, call->args[0]);
	}
	if (!r && !c->quiet)
		fprintf(c->out, "now using %s\n", call->args[0]);
	ctl_conf_done(&conf);
	return r;
}

static int context_judge(struct ctl *c, const char *name)
{
	uint8_t key[LINK_KEY_BYTES];
	struct err err = {0};

	for (const char *p = name; *p; p++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", *p)) {
			try_next(c, "letters, digits, - _ .");
			return usage_fault(c, "'%s' is no name for a context", name);
		}
	if (!c->opt_endpoint || (strncmp(c->opt_endpoint, "tcp://", 6) != 0 && strncmp(c->opt_endpoint, "ipc:///", 7) != 0)) {
		try_next(c, "sluisctl context add %s --endpoint tcp://HOST:8472 --server-key KEY --key FILE", name);
		return usage_fault(c, "context add: where is it? --endpoint tcp://HOST:PORT or ipc:///PATH");
	}
	if (!strncmp(c->opt_endpoint, "tcp:", 4) && !c->opt_server_key) {
		try_next(c, "--server-key KEY (40 characters; sluisd prints it, endpoints.json has it)");
		return usage_fault(c, "context add: the server's key is missing");
	}
	if (c->opt_server_key && link_z85_decode(c->opt_server_key, key, &err)) {
		try_next(c, "all 40 characters");
		return usage_fault(c, "--server-key: %s", err.msg);
	}
	return 0;
}

int cmd_context_add(struct ctl *c, const struct call *call)
{
	struct context_conf *ctx;
	struct ctl_conf conf;
	struct err err = {0};
	const char *path;
	int r = context_judge(c, call->args[0]);

	if (!r)
		r = conf_read(c, &conf, &path);
	if (r)
		return r;
	if (ctl_conf_context(&conf, call->args[0])) {
		(void)err_set(&err, ERR_EXISTS, "there is a context '%s' already", call->args[0]);
		(void)err_hint(&err, "sluisctl context remove %s first", call->args[0]);
		r = fault(c, &err, NULL);
	}
	if (!r) {
		ctx = context_put(&conf, call->args[0]);
		ctx->endpoint = c->opt_endpoint;
		ctx->server_key = c->opt_server_key;
		ctx->key = c->opt_key;
		ctx->project = call_get(call, "project");
		if (c->timeout_given)
			ctx->timeout_ms = c->timeout_ms;
		if (!conf.current)
			conf.current = ctx->head.name;
		r = conf_write(c, &conf, path);
	}
	if (!r && !c->quiet)
		fprintf(c->out, "added %s to %s\n", call->args[0], path);
	ctl_conf_done(&conf);
	return r;
}

int cmd_context_remove(struct ctl *c, const struct call *call)
{
	struct context_conf *items;
	struct ctl_conf conf;
	const char *path;
	size_t kept = 0;
	int r = conf_read(c, &conf, &path);

	if (r)
		return r;
	items = conf.contexts.items;
	if (!ctl_conf_context(&conf, call->args[0])) {
		r = no_context(c, &conf, call->args[0]);
		ctl_conf_done(&conf);
		return r;
	}
	for (size_t i = 0; i < conf.contexts.count; i++)
		if (strcmp(items[i].head.name, call->args[0]) != 0)
			items[kept++] = items[i];
	conf.contexts.count = kept;
	if (conf.current && !strcmp(conf.current, call->args[0]))
		conf.current = kept ? items[0].head.name : NULL;
	r = conf_write(c, &conf, path);
	if (!r && !c->quiet)
		fprintf(c->out, "removed %s; its key file stays where it is\n", call->args[0]);
	ctl_conf_done(&conf);
	return r;
}
