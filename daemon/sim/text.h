/* text.h - whole text files in memory, plain or gzip, read line by line
 *
 * The one place of sluis-sim that opens trace files.
 */
#ifndef SLUIS_DAEMON_SIM_TEXT_H
#define SLUIS_DAEMON_SIM_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/buf.h"
#include "proto/base/err.h"

enum { TEXT_HEX_BYTES = 65 };
#define TEXT_SIZE_MAX ((size_t)1 << 30) /* after unpacking */

/* Load `path` into ret_text (initialised by the caller, who owns it). A file that begins as gzip is
 * unpacked; the mark of UTF-8 that some editors put first is left out. ret_sha256, if not NULL, gets the SHA-256 of the
 * unpacked bytes in hex.
 * ERR_NOTFOUND, ERR_IO, ERR_TRUNCATED (a gzip file that breaks off), ERR_TOOBIG. */
int text_load(const char *path, struct buf *ret_text, char ret_sha256[TEXT_HEX_BYTES], struct err *err) NODISCARD;

/* Walks lines of a text in memory. */
struct lines {
	const char *at;
	const char *end;
	unsigned number; /* of the line last returned, from 1 */
};

void lines_begin(struct lines *l, const char *text, size_t bytes);
/* The next line without its "\n" or "\r\n", or false at the end. */
bool lines_next(struct lines *l, const char **ret_line, size_t *ret_bytes);

/* `text` as a JSON string with its quotes. */
void text_json(struct buf *b, const char *text);

/* Lines that cannot be read. A reader refuses the file at the first one, unless it is given one of these with
 * `skip`: then it leaves such lines out and counts them. NULL refuses. */
struct bad_lines {
	bool skip;
	size_t n;
	struct err first; /* why, of the first */
};

/* A line cannot be read, as `why` says. 0 to leave it out; else the code of `why`, which is in `err` then, with a
 * hint. */
int bad_line(struct bad_lines *bad, const struct err *why, struct err *err) NODISCARD;
/* What was left out, as a line of a report: nothing if there was nothing. */
void bad_lines_text(struct buf *b, const struct bad_lines *bad);
/* The same as members of a JSON object: how many, and the first or null. */
void bad_lines_json(struct buf *b, const struct bad_lines *bad);

#endif
