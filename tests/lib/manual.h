/* manual.h - the lists of a manual page, for tests that hold them against the source */
#ifndef SLUIS_TESTS_LIB_MANUAL_H
#define SLUIS_TESTS_LIB_MANUAL_H

#include <stddef.h>

#include "proto/base/buf.h"

/* One name of ".It MACRO NAME , NAME ...", with what stands below that line until the list goes on. */
struct manual_entry {
	const char *section; /* the last ".Sh" or ".Ss" */
	const char *macro;   /* "Ev" */
	const char *name;
	const char *body;
};

struct manual {
	struct arena arena;
	struct manual_entry *entries; /* in order of the page */
	size_t entries_n;
};

/* Read and take apart the page at `path`, from the top of the tree. Aborts when it cannot be read. */
void manual_read(const char *path, struct manual *ret);
void manual_done(struct manual *m);
/* The first entry of this name, NULL if there is none; `section` NULL: in any. */
const struct manual_entry *manual_find(const struct manual *m, const char *section, const char *macro, const char *name);

/* A file of the tree as text; the caller frees. Aborts when it cannot be read. */
char *tree_text(const char *path);

#endif
