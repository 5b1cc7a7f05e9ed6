/* test_config_manual.c - sluisd.conf(5) and sluis-agent.conf(5) list every setting, with the default that it has
 *
 * The tables are what the programs go by; an operator goes by the pages. A setting that is in one of them alone, or has
 * another default there, is found out on a bad day.
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

#include "proto/base/ensure.h"
#include "proto/config/agent_conf.h"
#include "proto/config/daemon_conf.h"
#include "proto/config/units.h"
#include "tests/lib/manual.h"

enum { PATH_BYTES = 128 };

struct page {
	const char *path, *example; /* of a file */
	const struct conf_schema *schema;
	size_t target_bytes;
	bool typed; /* each entry begins with the type and the range */
};

static const struct page pages[] = {
	{"daemon/sluisd.conf.5", "systemd/sluisd.conf.example", &daemon_conf_schema, sizeof(struct daemon_conf), false},
	{"agent/sluis-agent.conf.5", "systemd/sluis-agent.conf.example", &agent_conf_schema, sizeof(struct agent_conf), true},
};

/* What is to be found, and where. */
struct look {
	const struct page *page;
	struct manual manual;
	char *text;
	const char *idle; /* the list of what is checked and has no effect */
};

/* As it is printed, but for line ends. */
static char *plain(const char *mdoc)
{
	char *out = xcalloc(1, strlen(mdoc) + 1), *to = out;

	for (const char *s = mdoc; *s; s++) {
		if (s[0] == '\\' && s[1] == '&')
			s++;
		else if (*s != '\\' || s[1] != ' ')
			*to++ = *s;
	}
	return out;
}

/* The next ".Cm NAME" from `at` on, NULL at the end: the keys without effect stand in a sentence. */
static const char *next_named(const char *at, char ret[PATH_BYTES])
{
	at = at ? strstr(at, "\n.Cm ") : NULL;
	if (at)
		(void)snprintf(ret, PATH_BYTES, "%.*s", (int)strcspn(at + 5, " \n"), at + 5);
	return at ? at + 1 : NULL;
}

static bool without_effect(const struct look *k, const char *path)
{
	char name[PATH_BYTES];

	for (const char *at = next_named(k->idle, name); at; at = next_named(at, name))
		if (strcmp(name, path) == 0)
			return true;
	return false;
}

/* A word, or words, of its own: a default of 2 is not found in 512. */
static bool says(const char *body, const char *text)
{
	for (const char *at = strstr(body, text); at; at = strstr(at + 1, text))
		if (at > body && strchr(" \n", at[-1]) && strchr(" \n", at[strlen(text)]))
			return true;
	return false;
}

static const char *type_word(enum conf_type type)
{
	switch (type) {
	case CONF_TEXT: return "Text";
	case CONF_NAME: return "Name";
	case CONF_PATH: case CONF_SECRET: return "Path";
	case CONF_ENDPOINT: return "Endpoint";
	case CONF_COUNT: return "Number";
	case CONF_DURATION: return "Duration";
	case CONF_SIZE: case CONF_SIZE_MIB: return "Size";
	case CONF_ENUM: return "One of";
	case CONF_TEXT_LIST: case CONF_COUNT_LIST: case CONF_SEQ_OF: return "List";
	case CONF_PAIRS: case CONF_MAP: case CONF_MAP_OF: return "Map";
	case CONF_BOOL: case CONF_SOCKET: case CONF_SHARE: case CONF_INSTANT: case CONF_CUSTOM: return "";
	}
	return "";
}

static void range_text(const struct conf_row *row, char out[3 * UNITS_TEXT_BYTES])
{
	char low[UNITS_TEXT_BYTES], high[UNITS_TEXT_BYTES];

	out[0] = '\0';
	if (row->type == CONF_DURATION)
		(void)snprintf(out, 3 * UNITS_TEXT_BYTES, "%s to %s", units_duration_exact(low, row->min),
			       units_duration_exact(high, row->max));
	else if (row->type == CONF_SIZE_MIB)
		(void)snprintf(out, 3 * UNITS_TEXT_BYTES, "%s to %s", units_size_print(low, row->min << 20),
			       units_size_print(high, row->max << 20));
	else if (row->type == CONF_COUNT)
		(void)snprintf(out, 3 * UNITS_TEXT_BYTES, "%lld to %lld", (long long)row->min, (long long)row->max);
}

static void check_row(const struct look *k, const struct conf_row *row, const char *path)
{
	const struct manual_entry *e = manual_find(&k->manual, NULL, "Cm", path);
	char range[3 * UNITS_TEXT_BYTES], *body;

	if (without_effect(k, path))
		return;
	if (!e)
		fail_msg("%s does not list %s", k->page->path, path);
	body = plain(e->body);
	if (!strstr(body, "efault"))
		fail_msg("%s does not say what %s is by default", k->page->path, path);
	if (row->preset && !says(body, row->preset))
		fail_msg("%s does not say that %s is %s by default", k->page->path, path, row->preset);
	for (size_t i = 0; row->type == CONF_ENUM && row->names[i]; i++)
		if (!says(body, row->names[i]))
			fail_msg("%s does not say that %s may be %s", k->page->path, path, row->names[i]);
	range_text(row, range);
	if (k->page->typed && strncmp(body, type_word(row->type), strlen(type_word(row->type))) != 0)
		fail_msg("%s: %s does not begin with '%s'", k->page->path, path, type_word(row->type));
	if (k->page->typed && !strstr(body, range))
		fail_msg("%s does not say that %s is from %s", k->page->path, path, range);
	free(body);
}

static void each_row(const struct look *k, const struct conf_schema *schema, const char *prefix,
		     void (*fn)(const struct look *k, const struct conf_row *row, const char *path))
{
	char path[PATH_BYTES];

	for (size_t i = 0; i < schema->rows_count; i++) {
		const struct conf_row *row = &schema->rows[i];

		(void)snprintf(path, sizeof path, "%s%s%s", prefix, prefix[0] ? "." : "", row->key);
		if (row->type == CONF_MAP)
			each_row(k, row->sub, path, fn);
		else
			fn(k, row, path);
	}
}

static struct look look(const struct page *page)
{
	struct look k = {.page = page, .text = tree_text(page->path)};

	manual_read(page->path, &k.manual);
	k.idle = strstr(k.text, "\n.Ss Keys without effect\n");
	return k;
}

static void look_done(struct look *k)
{
	manual_done(&k->manual);
	free(k->text);
}

static void every_setting_is_in_its_page(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
		struct look k = look(&pages[i]);

		each_row(&k, pages[i].schema, "", check_row);
		look_done(&k);
	}
}

static bool known(const struct conf_schema *schema, const char *path)
{
	size_t len = strcspn(path, ".");

	for (size_t i = 0; i < schema->rows_count; i++) {
		const struct conf_row *row = &schema->rows[i];

		if (strlen(row->key) != len || strncmp(row->key, path, len) != 0)
			continue;
		return path[len] ? row->type == CONF_MAP && known(row->sub, path + len + 1) : row->type != CONF_MAP;
	}
	return false;
}

static void and_nothing_that_is_none(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
		struct look k = look(&pages[i]);
		char name[PATH_BYTES];
		size_t n = 0;

		for (size_t e = 0; e < k.manual.entries_n; e++) {
			if (strcmp(k.manual.entries[e].macro, "Cm") != 0)
				continue;
			n++;
			if (!known(pages[i].schema, k.manual.entries[e].name))
				fail_msg("%s lists %s, which is no setting", pages[i].path, k.manual.entries[e].name);
		}
		assert_true(n > 20);
		for (const char *at = next_named(k.idle, name); at; at = next_named(at, name))
			if (!known(pages[i].schema, name))
				fail_msg("%s names %s, which is no setting", pages[i].path, name);
		look_done(&k);
	}
}

/* Read it as the program would. */
static void is_good(const struct page *page, const char *name, const char *text, size_t len)
{
	struct config_errors errs = CONFIG_ERRORS_INIT;
	CLEANUP(buf_done) struct buf said = BUF_INIT;
	struct arena arena = {0};
	struct doc *doc = NULL;
	void *target = xcalloc(1, page->target_bytes);

	if (doc_read_bytes(name, text, len, &doc, &errs) != 0 ||
	    conf_walk(doc, page->schema, target, &arena, NULL, &errs) != 0) {
		config_errors_print(&errs, &said);
		fail_msg("%s", buf_cstr(&said));
	}
	doc_free(doc);
	free(target);
	arena_done(&arena);
	config_errors_done(&errs);
}

static void their_examples_are_good_files(void **state)
{
	static const char begin[] = ".Bd -literal -offset indent\n";

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
		char *text = tree_text(pages[i].path), *file = tree_text(pages[i].example);
		const char *at = strstr(text, "\n.Sh EXAMPLES\n");
		size_t n = 0;

		is_good(&pages[i], pages[i].example, file, strlen(file));
		for (at = at ? strstr(at, begin) : NULL; at; at = strstr(at, begin)) {
			const char *end = strstr(at, "\n.Ed");

			at += strlen(begin);
			assert_non_null(end);
			is_good(&pages[i], pages[i].path, at, (size_t)(end + 1 - at));
			n++;
		}
		assert_true(n > 0);
		free(text);
		free(file);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_setting_is_in_its_page),
		cmocka_unit_test(and_nothing_that_is_none),
		cmocka_unit_test(their_examples_are_good_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
