/* guarded.c - the guarded memory of CURVE handshakes, kept for the next one: see guarded.h */
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "proto/base/ensure.h"
#include "proto/link/guarded.h"

struct kept {
	void *block; /* NULL: this place is free */
	size_t size;
	bool used;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* for what follows */
static struct kept kept[GUARDED_KEPT];
static unsigned int next_out; /* where to look for an idle block that makes room */
static struct guarded_stats stats;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static void *(*library_malloc)(size_t size); /* NULL: no libsodium, so nobody calls us */
static void (*library_free)(void *block);

static void find_library(void)
{
	void *m = dlsym(RTLD_NEXT, "sodium_malloc"), *f = dlsym(RTLD_NEXT, "sodium_free");

	memcpy(&library_malloc, &m, sizeof(m));
	memcpy(&library_free, &f, sizeof(f));
}

void guarded_use(void)
{
	pthread_once(&once, find_library);
}

/* The place for a new block: a free one, else that of an idle block of another size, which goes. */
static struct kept *place(void **ret_out)
{
	for (size_t i = 0; i < GUARDED_KEPT; i++) {
		if (kept[i].block == NULL)
			return &kept[i];
	}
	for (size_t i = 0; i < GUARDED_KEPT; i++) {
		struct kept *k = &kept[next_out++ % GUARDED_KEPT];

		if (!k->used) {
			*ret_out = k->block;
			return k;
		}
	}
	return NULL;
}

void *sodium_malloc(size_t size)
{
	struct kept *k;
	void *block = NULL, *out = NULL;

	guarded_use();
	ENSURE(library_malloc != NULL);
	pthread_mutex_lock(&lock);
	stats.given++;
	for (size_t i = 0; i < GUARDED_KEPT && block == NULL; i++) {
		if (kept[i].block != NULL && kept[i].size == size && !kept[i].used) {
			kept[i].used = true;
			block = kept[i].block;
		}
	}
	if (block == NULL)
		stats.made++;
	pthread_mutex_unlock(&lock);
	if (block != NULL)
		return block;

	block = library_malloc(size);
	if (block == NULL)
		return NULL;
	pthread_mutex_lock(&lock);
	k = place(&out);
	if (k != NULL)
		*k = (struct kept){.block = block, .size = size, .used = true};
	pthread_mutex_unlock(&lock);
	if (out != NULL)
		library_free(out);
	return block;
}

void sodium_free(void *block)
{
	bool ours = false;

	if (block == NULL)
		return;
	guarded_use();
	ENSURE(library_free != NULL);
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < GUARDED_KEPT && !ours; i++) {
		if (kept[i].block == block) {
			ENSURE(kept[i].used); /* not freed twice */
			explicit_bzero(block, kept[i].size);
			kept[i].used = false;
			ours = true;
		}
	}
	pthread_mutex_unlock(&lock);
	if (!ours)
		library_free(block);
}

struct guarded_stats guarded_stats(void)
{
	struct guarded_stats s;

	pthread_mutex_lock(&lock);
	s = stats;
	pthread_mutex_unlock(&lock);
	return s;
}
