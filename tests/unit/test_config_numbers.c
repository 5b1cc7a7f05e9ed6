/* test_config_numbers.c - no configured number is cut, wrapped or believed beyond its range
 *
 * Every numeric row of every configuration file, and every number of a real division, is set to values that overflow
 * somewhere on the way: 64 bits, the unit's factor (some so that a product that wraps would be small and pass for one
 * within its range), the width of the member. Each has to be an error that names the
 * place, or to come back as it was written.
 */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/sim/text.h"
#include "proto/base/ensure.h"
#include "proto/config/agent_conf.h"
#include "proto/config/ctl_conf.h"
#include "proto/config/daemon_conf.h"
#include "proto/config/division.h"
#include "proto/config/service_conf.h"

struct sweep { const struct conf_schema *root; size_t bytes; unsigned rows, tries; };

/* Setting `path` to `value` is refused, and the refusal names the key. */
static void refused(struct sweep *s, const char *path, const char *key, const char *value)
{
	struct config_errors errs = CONFIG_ERRORS_INIT;
	struct arena arena = {0};
	CLEANUP(buf_done) struct buf out = BUF_INIT;
	struct doc *doc = doc_new("conf");
	void *target = xcalloc(1, s->bytes);
	char assignment[512];
	bool named = false;

	(void)snprintf(assignment, sizeof assignment, "%s=%s", path, value);
	if (doc_set(doc, assignment, &errs) == 0 && conf_walk(doc, s->root, target, &arena, NULL, &errs) == 0)
		fail_msg("%s was taken", assignment);
	for (size_t i = 0; i < errs.count; i++)
		named |= strstr(errs.list[i].text, key) && strstr(errs.list[i].text, value);
	config_errors_print(&errs, &out);
	if (!named)
		fail_msg("%s: refused, but not by name and value:\n%s", assignment, buf_cstr(&out));
	config_errors_done(&errs);
	arena_done(&arena);
	doc_free(doc);
	free(target);
	s->tries++;
}

static void rows(struct sweep *s, const struct conf_schema *schema, const char *path)
{
	static const char *const counts[] = {"99999999999999999999", "18446744073709551616", "9223372036854775808", NULL};
	static const char *const durations[] = {"99999999999999999999s", "9223372036854775807d", "106751991168d", "18446744073709552s",
						"213503982335d", "307445734561826m", "5124095576031h", NULL};
	static const char *const sizes[] = {"99999999999999999999GiB", "9223372036854775807KiB", "16777217TiB", "17179869185GiB",
					    "17592186044417MiB", NULL};
	static const char *const shares[] = {"99999999999999999999 %", "18446744073709551616", "1844674407370956 %", NULL};

	for (size_t i = 0; i < schema->rows_count; i++) {
		const struct conf_row *r = &schema->rows[i];
		const char *const *values = NULL;
		char at[256];

		(void)snprintf(at, sizeof at, "%s%s%s", path, *path ? "." : "", r->key);
		switch (r->type) {
		case CONF_COUNT: values = counts; break;
		case CONF_DURATION: values = durations; break;
		case CONF_SIZE: case CONF_SIZE_MIB: values = sizes; break;
		case CONF_SHARE: values = shares; break;
		case CONF_MAP: rows(s, r->sub, at); break;
		default: break; /* no number, or in a list: the division below has those */
		}
		for (size_t k = 0; values && values[k]; k++)
			refused(s, at, r->key, values[k]);
		s->rows += values != NULL;
	}
}

static void every_setting_refuses_what_overflows(void **state)
{
	struct sweep sweeps[] = {
		{&daemon_conf_schema, sizeof(struct daemon_conf), 0, 0}, {&agent_conf_schema, sizeof(struct agent_conf), 0, 0},
		{&ctl_conf_schema, sizeof(struct ctl_conf), 0, 0}, {&service_conf_schema, sizeof(struct service_conf), 0, 0},
	};
	unsigned all = 0, tries = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sweeps); i++) {
		rows(&sweeps[i], sweeps[i].root, "");
		all += sweeps[i].rows;
		tries += sweeps[i].tries;
	}
	print_message("%u numeric settings, %u values\n", all, tries);
	assert_true(all > 30); /* the sweep found them */
}

/* Is it one that a division, written again, has in it somewhere? */
static bool written(const struct division *d, const char *number)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;

	division_write(d, &b);
	return strstr(buf_cstr(&b), number) != NULL;
}

static void every_number_of_a_division_is_kept_or_refused(void **state)
{
	static const char *const values[] = {"99999999999999999999", "18446744073709551617", "9223372036854775807",
					     "4294967297", "2147483649", "65537"};
	CLEANUP(buf_done) struct buf text = BUF_INIT;
	unsigned numbers = 0, refusals = 0, kept = 0;

	(void)state;
	assert_int_equal(text_load("demo/division.yaml", &text, NULL, NULL), 0);
	for (const char *at = buf_cstr(&text), *end; *at; at = end) {
		const char *line = at, *comment;

		end = at + 1;
		while (line > buf_cstr(&text) && line[-1] != '\n')
			line--;
		comment = memchr(line, '#', (size_t)(at - line));
		if (!isdigit((unsigned char)*at) || (at > line && (isalnum((unsigned char)at[-1]) || strchr("\"*-.", at[-1]))) || comment)
			continue;
		while (isdigit((unsigned char)*end))
			end++;
		if (*end == '-') { /* a date */
			end = strchr(end, '\n');
			continue;
		}
		numbers++;
		for (size_t k = 0; k < ARRAY_LEN(values); k++) {
			struct config_errors errs = CONFIG_ERRORS_INIT;
			CLEANUP(buf_done) struct buf changed = BUF_INIT;
			struct division *d = NULL;

			buf_add(&changed, text.data, (size_t)(at - buf_cstr(&text)));
			buf_addf(&changed, "%s%s", values[k], end);
			if (division_read_bytes("d", changed.data, changed.len, &d, &errs) == 0) {
				kept++;
				if (!written(d, values[k]))
					fail_msg("%s in place of '%.40s' was taken for something else", values[k], at);
			} else {
				refusals++;
				assert_true(errs.count > 0 && errs.list[0].line > 0);
			}
			assert_true(k > 1 || !d); /* beyond 64 bits is never a number */
			division_free(d);
			config_errors_done(&errs);
		}
	}
	print_message("%u numbers: %u values refused, %u kept as they are\n", numbers, refusals, kept);
	assert_true(numbers > 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_setting_refuses_what_overflows),
		cmocka_unit_test(every_number_of_a_division_is_kept_or_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
