/* token.c - see token.h; base64url is RFC 4648 section 5 without padding */
#include "proto/client/token.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "proto/base/ensure.h"
#include "proto/base/sha256.h"

#define PREFIX "sluis-join-1."
static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

enum { KEY_CHARS = 43 }; /* 32 bytes */

static void key_to_text(const uint8_t key[TOKEN_KEY_BYTES], char text[KEY_CHARS + 1])
{
	uint32_t bits = 0, n = 0, out = 0;

	for (int i = 0; i < TOKEN_KEY_BYTES; i++) {
		bits = bits << 8 | key[i];
		for (n += 8; n >= 6; n -= 6)
			text[out++] = ALPHABET[bits >> (n - 6) & 63];
	}
	text[out++] = ALPHABET[bits << (6 - n) & 63];
	ENSURE(out == KEY_CHARS);
	text[out] = '\0';
}

/* Read 43 characters. The two spare bits of the last one have to be zero: one key, one text. */
static int key_from_text(const char *text, uint8_t key[TOKEN_KEY_BYTES])
{
	uint32_t bits = 0, n = 0, out = 0;

	for (int i = 0; i < KEY_CHARS; i++) {
		const char *at = text[i] ? strchr(ALPHABET, text[i]) : NULL;

		if (!at)
			return ERR_FORMAT;
		bits = bits << 6 | (uint32_t)(at - ALPHABET);
		n += 6;
		if (n >= 8) {
			n -= 8;
			key[out++] = (uint8_t)(bits >> n);
		}
	}
	return bits & ((1U << n) - 1) ? ERR_FORMAT : 0;
}

int token_secret(uint8_t ret_secret[TOKEN_KEY_BYTES], struct err *err)
{
	if (getrandom(ret_secret, TOKEN_KEY_BYTES, 0) != TOKEN_KEY_BYTES)
		return err_set_errno(err, ERR_SYS, "cannot draw random bytes");
	return 0;
}

void token_hash(const uint8_t secret[TOKEN_KEY_BYTES], uint8_t ret_hash[32])
{
	struct sha256 s;

	sha256_init(&s);
	sha256_add(&s, secret, TOKEN_KEY_BYTES);
	sha256_final(&s, ret_hash);
}

void token_encode(const struct join_token *token, char ret_text[TOKEN_TEXT_BYTES])
{
	char key[KEY_CHARS + 1], secret[KEY_CHARS + 1];
	int n;

	key_to_text(token->server_key, key);
	key_to_text(token->secret, secret);
	n = snprintf(ret_text, TOKEN_TEXT_BYTES, PREFIX "%s.%s.%s", key, secret, token->endpoint);
	ENSURE(n > 0 && n < TOKEN_TEXT_BYTES);
}

static int bad(struct err *err, const char *what)
{
	(void)err_set(err, ERR_BADTOKEN, "not a join token: %s", what);
	return err ? err_hint(err, "copy the whole line, from sluis-join- to the port")
		   : ERR_BADTOKEN;
}

int token_parse(const char *text, struct join_token *ret_token, struct err *err)
{
	struct join_token t = {0};
	size_t len;

	text += strspn(text, " \t\r\n");
	len = strcspn(text, " \t\r\n");
	if (text[len + strspn(text + len, " \t\r\n")])
		return bad(err, "there is white space in it");
	if (len < strlen(PREFIX) || strncmp(text, PREFIX, strlen(PREFIX)) != 0)
		return bad(err, "it does not begin with " PREFIX);
	text += strlen(PREFIX);
	len -= strlen(PREFIX);
	if (len < KEY_CHARS + 1 || text[KEY_CHARS] != '.' || key_from_text(text, t.server_key))
		return bad(err, "the server key is damaged");
	text += KEY_CHARS + 1;
	len -= KEY_CHARS + 1;
	if (len < KEY_CHARS + 1 || text[KEY_CHARS] != '.' || key_from_text(text, t.secret))
		return bad(err, "the secret is damaged");
	text += KEY_CHARS + 1;
	len -= KEY_CHARS + 1;
	if (len >= sizeof t.endpoint || strncmp(text, "tcp://", 6) != 0 || len < 9)
		return bad(err, "the endpoint is damaged");
	memcpy(t.endpoint, text, len);
	*ret_token = t;
	return 0;
}
