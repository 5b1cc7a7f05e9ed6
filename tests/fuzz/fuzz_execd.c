/* fuzz_execd.c - libFuzzer target over what sluis-execd decodes as root
 *
 * Besides "does not crash": a request that is accepted is one that may be acted on, checked here in words of
 * its own, and is the same after being written and read again.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/exec/request.h"
#include "proto/base/ensure.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_name(const char *name)
{
	size_t n = strnlen(name, EXEC_NAME_BYTES);

	ENSURE(n > 0);
	ENSURE(n < EXEC_NAME_BYTES);
	ENSURE(name[0] != '.');
	ENSURE(!strchr(name, '/'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct request r, back; /* no field is left from the run before: decoding begins by clearing */
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	uint8_t *copy = xmalloc(len ? len : 1); /* exactly as long: reading beyond is noticed */
	struct err err = {0};
	int code;

	memcpy(copy, data, len);
	code = request_decode(copy, len, &r, &err);
	free(copy);
	ENSURE(code <= 0);
	if (code) {
		ENSURE(err.msg[0]);
		return 0;
	}
	if (r.op != REQUEST_HELLO)
		check_name(r.name);
	if (r.op == REQUEST_START)
		ENSURE(r.uid != 0);
	ENSURE(r.devices_n <= DEVICES_MAX);
	for (size_t i = 0; i < r.devices_n; i++) {
		ENSURE(!strncmp(r.devices[i], "/dev/nvidia", 11) || !strncmp(r.devices[i], "/dev/dri/", 9) ||
			!strcmp(r.devices[i], "/dev/kfd") || !strcmp(r.devices[i], "/dev/fuse") ||
			!strncmp(r.devices[i], "/dev/infiniband/", 16));
		ENSURE(!strstr(r.devices[i], ".."));
		ENSURE(strlen(r.devices[i]) < DEVICE_PATH_BYTES);
	}
	request_encode(&r, &b);
	ENSURE(request_decode(b.data, b.len, &back, NULL) == 0);
	ENSURE(memcmp(&r, &back, sizeof(r)) == 0);
	return 0;
}
