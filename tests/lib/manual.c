/* manual.c - see manual.h
 *
 * Knows as much of mdoc(7) as our pages use.
 */
#include "tests/lib/manual.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/ensure.h"

char *tree_text(const char *path)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	FILE *f = fopen(path, "re");
	char part[4096];
	size_t n;

	if (!f)
		perror(path);
	ENSURE(f);
	while ((n = fread(part, 1, sizeof part, f)) > 0)
		buf_add(&b, part, n);
	(void)fclose(f);
	return xstrdup(buf_cstr(&b));
}

static bool begins(const char *line, const char *with)
{
	return strncmp(line, with, strlen(with)) == 0;
}

/* "Cm a , b Pq restart" has two names; the second macro ends them. */
static void add_names(struct manual *m, const char *section, const char *line)
{
	char *words = arena_copy(&m->arena, line, strlen(line) + 1), *save = NULL;
	const char *macro = strtok_r(words, " ", &save), *word;

	while (macro && (word = strtok_r(NULL, " ", &save)) != NULL) {
		if (strcmp(word, ",") == 0)
			continue;
		if (strlen(word) == 2 && word[0] >= 'A' && word[0] <= 'Z' && word[1] >= 'a' && word[1] <= 'z')
			break;
		m->entries = xrealloc(m->entries, (m->entries_n + 1) * sizeof *m->entries);
		m->entries[m->entries_n++] = (struct manual_entry){section, macro, word, ""};
	}
}

void manual_read(const char *path, struct manual *ret)
{
	CLEANUP(buf_done) struct buf body = BUF_INIT;
	char *text = tree_text(path), *save = NULL;
	const char *section = "";
	size_t open = 0; /* the first entry whose body is being read */

	*ret = (struct manual){.entries = NULL};
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		bool item = begins(line, ".It "), head = begins(line, ".Sh ") || begins(line, ".Ss ");

		if (!item && !head && !begins(line, ".El")) {
			buf_addf(&body, "%s\n", line);
			continue;
		}
		for (; open < ret->entries_n; open++)
			ret->entries[open].body = arena_copy(&ret->arena, buf_cstr(&body), body.len + 1);
		buf_reset(&body);
		if (head)
			section = arena_copy(&ret->arena, line + 4, strlen(line + 4) + 1);
		if (item)
			add_names(ret, section, line + 4);
	}
	free(text);
}

void manual_done(struct manual *m)
{
	free(m->entries);
	arena_done(&m->arena);
	*m = (struct manual){.entries = NULL};
}

const struct manual_entry *manual_find(const struct manual *m, const char *section, const char *macro, const char *name)
{
	for (size_t i = 0; i < m->entries_n; i++) {
		const struct manual_entry *e = &m->entries[i];

		if (strcmp(e->name, name) == 0 && strcmp(e->macro, macro) == 0 && (!section || strcmp(e->section, section) == 0))
			return e;
	}
	return NULL;
}
