/* text.c - see text.h */
#include "daemon/sim/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "proto/base/sha256.h"

static void hex_of(const struct buf *text, char ret_sha256[TEXT_HEX_BYTES])
{
	uint8_t digest[SHA256_BYTES];
	struct sha256 s;

	sha256_init(&s);
	sha256_add(&s, text->data, text->len);
	sha256_final(&s, digest);
	for (size_t i = 0; i < sizeof digest; i++)
		(void)snprintf(ret_sha256 + 2 * i, 3, "%02x", digest[i]);
}

static int read_all(gzFile f, const char *path, struct buf *ret_text, struct err *err)
{
	enum { CHUNK = 1 << 20 };
	int n;

	do {
		n = gzread(f, buf_reserve(ret_text, CHUNK), CHUNK);
		if (n < 0)
			return err_set(err, ERR_IO, "'%s' cannot be unpacked", path);
		ret_text->len += (size_t)n;
		if (ret_text->len > TEXT_SIZE_MAX)
			return err_set(err, ERR_TOOBIG, "'%s' is larger than %zu bytes", path, TEXT_SIZE_MAX);
	} while (n > 0);
	return 0;
}

int text_load(const char *path, struct buf *ret_text, char ret_sha256[TEXT_HEX_BYTES], struct err *err)
{
	static const char mark[] = "\xef\xbb\xbf";
	gzFile f = gzopen(path, "rb");
	int r, closed;

	if (!f)
		return err_set_errno(err, errno == ENOENT ? ERR_NOTFOUND : ERR_IO, "cannot open '%s'", path);
	r = read_all(f, path, ret_text, err);
	closed = gzclose_r(f);
	if (r)
		return r;
	if (closed == Z_BUF_ERROR)
		return err_set(err, ERR_TRUNCATED, "'%s' breaks off in the middle", path);
	if (closed != Z_OK)
		return err_set(err, ERR_IO, "'%s' cannot be read", path);
	if (ret_sha256)
		hex_of(ret_text, ret_sha256);
	if (ret_text->len >= sizeof mark - 1 && memcmp(ret_text->data, mark, sizeof mark - 1) == 0) {
		ret_text->len -= sizeof mark - 1;
		memmove(ret_text->data, ret_text->data + sizeof mark - 1, ret_text->len);
	}
	(void)buf_cstr(ret_text); /* a NUL behind the last byte, so number scanners stop */
	return 0;
}

void lines_begin(struct lines *l, const char *text, size_t bytes)
{
	*l = (struct lines){.at = text, .end = text ? text + bytes : NULL};
}

bool lines_next(struct lines *l, const char **ret_line, size_t *ret_bytes)
{
	const char *nl;

	if (l->at == l->end)
		return false;
	nl = memchr(l->at, '\n', (size_t)(l->end - l->at));
	*ret_line = l->at;
	*ret_bytes = (size_t)((nl ? nl : l->end) - l->at);
	if (*ret_bytes && (*ret_line)[*ret_bytes - 1] == '\r')
		--*ret_bytes;
	l->at = nl ? nl + 1 : l->end;
	l->number++;
	return true;
}

int bad_line(struct bad_lines *bad, const struct err *why, struct err *err)
{
	if (bad && bad->skip) {
		if (bad->n++ == 0)
			bad->first = *why;
		return 0;
	}
	if (err)
		*err = *why;
	(void)err_hint(err, "--bad-lines skip leaves such lines out and counts them");
	return why->code;
}

void bad_lines_text(struct buf *b, const struct bad_lines *bad)
{
	if (bad->n)
		buf_addf(b, "bad lines          %zu left out; the first: %s\n", bad->n, bad->first.msg);
}

void bad_lines_json(struct buf *b, const struct bad_lines *bad)
{
	buf_addf(b, "  \"bad_lines\": %zu,\n  \"bad_lines_first\": ", bad->n);
	if (bad->n)
		text_json(b, bad->first.msg);
	else
		buf_addf(b, "null");
	buf_addf(b, ",\n");
}

void text_json(struct buf *b, const char *text)
{
	buf_add(b, "\"", 1);
	for (; *text; text++)
		if (*text == '"' || *text == '\\')
			buf_addf(b, "\\%c", *text);
		else if ((unsigned char)*text < 0x20)
			buf_addf(b, "\\u%04x", (unsigned)*text);
		else
			buf_add(b, text, 1);
	buf_add(b, "\"", 1);
}
