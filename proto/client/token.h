/* token.h - join tokens: one line of text that lets a machine or a person in once
 *
 *     sluis-join-1.<server key>.<secret>.<endpoint>
 *
 * Key and secret are 32 bytes each in base64url without padding (43 characters); the rest of the line
 * is the endpoint of the enrolment door. The server key makes the joiner sure of whom it asks, the
 * secret makes the server sure of who asks; the server keeps only the secret's SHA-256.
 */
#ifndef SLUIS_PROTO_CLIENT_TOKEN_H
#define SLUIS_PROTO_CLIENT_TOKEN_H

#include <stdint.h>

#include "proto/base/err.h"

enum { TOKEN_KEY_BYTES = 32, TOKEN_ENDPOINT_BYTES = 256, TOKEN_TEXT_BYTES = 384 };

struct join_token {
	uint8_t server_key[TOKEN_KEY_BYTES];
	uint8_t secret[TOKEN_KEY_BYTES];
	char endpoint[TOKEN_ENDPOINT_BYTES]; /* tcp://HOST:PORT */
};

/* Draw a secret from the kernel. ERR_SYS if it has none. */
int token_secret(uint8_t ret_secret[TOKEN_KEY_BYTES], struct err *err) NODISCARD;
/* What the server keeps of it. */
void token_hash(const uint8_t secret[TOKEN_KEY_BYTES], uint8_t ret_hash[32]);
void token_encode(const struct join_token *token, char ret_text[TOKEN_TEXT_BYTES]);
/* Surrounding white space is ignored. ERR_BADTOKEN says which part is wrong, never its content. */
int token_parse(const char *text, struct join_token *ret_token, struct err *err) NODISCARD;

#endif
