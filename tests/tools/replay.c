/* replay.c - the corpus of a fuzz target as an ordinary test
 *
 * Linked with tests/fuzz/fuzz_x.c in place of libFuzzer. Feeds it every file of tests/fuzz/corpus/x, then
 * every prefix of each small one and one flipped bit per byte: truncation and damage are what parsers
 * meet first. A target says "broken" by crashing, so reaching the end is the test. Output: TAP.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/ensure.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SMALL_BYTES = 4096 };

/* A copy of exactly `size` bytes, so that a sanitizer sees a read past the end. */
static void feed(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size > 0 ? size : 1);

	ENSURE(copy != NULL);
	if (size > 0)
		memcpy(copy, data, size);
	(void)LLVMFuzzerTestOneInput(copy, size); /* libFuzzer gives the result no meaning */
	free(copy);
}

static int replay(const char *path)
{
	FILE *file = fopen(path, "rb");
	uint8_t *data = NULL;
	long size = -1;
	int rc = -1;

	if (file != NULL && fseek(file, 0, SEEK_END) == 0)
		size = ftell(file);
	if (size < 0 || fseek(file, 0, SEEK_SET) != 0)
		goto out;
	data = malloc((size_t)size + 1);
	ENSURE(data != NULL);
	if (fread(data, 1, (size_t)size, file) != (size_t)size)
		goto out;
	feed(data, (size_t)size);
	if (size <= SMALL_BYTES) {
		for (size_t n = 0; n < (size_t)size; n++) {
			feed(data, n);
			data[n] ^= (uint8_t)(1u << n % 8);
			feed(data, (size_t)size);
			data[n] ^= (uint8_t)(1u << n % 8);
		}
	}
	rc = 0;
out:
	if (file != NULL)
		(void)fclose(file); /* only read from */
	free(data);
	return rc;
}

int main(int argc, char **argv)
{
	const char *name = strrchr(argv[0], '/');
	char folder[512], path[1024];
	struct dirent **entries;
	int tests = 0, failed = 0, count;

	name = name != NULL ? name + 1 : argv[0];
	if (strncmp(name, "replay_", 7) == 0)
		name += 7;
	if (argc > 1)
		snprintf(folder, sizeof(folder), "%s", argv[1]);
	else
		snprintf(folder, sizeof(folder), "tests/fuzz/corpus/%s", name);
	feed(NULL, 0);
	printf("ok %d - nothing at all\n", ++tests);
	count = scandir(folder, &entries, NULL, alphasort);
	for (int i = 0; i < count; i++) {
		if (entries[i]->d_name[0] != '.') {
			snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
			int bad = replay(path) != 0;
			failed += bad;
			printf("%sok %d - %s\n", bad ? "not " : "", ++tests, entries[i]->d_name);
			fflush(stdout);
		}
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
	printf("1..%d\n", tests);
	return failed > 0;
}
