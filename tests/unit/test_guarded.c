/* test_guarded.c - the plaintext of a handshake lies in memory that is used again: what one left there must not
 * be read by the next, a block must not be given to two, and its guard page must still be right behind it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <sodium/core.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/ensure.h"
#include "proto/link/guarded.h"

/* The signal that ends a child which does `what` to the block. */
static int child_ends_by(void (*what)(uint8_t *block, size_t size), uint8_t *block, size_t size)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		signal(SIGABRT, SIG_DFL);
		(void)!freopen("/dev/null", "w", stderr);
		what(block, size);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void write_behind(uint8_t *block, size_t size)
{
	*(volatile uint8_t *)(block + size) = 1;
}

static void write_inside(uint8_t *block, size_t size)
{
	*(volatile uint8_t *)(block + size - 1) = 1;
}

static void free_twice(uint8_t *block, size_t size)
{
	(void)size;
	sodium_free(block);
	sodium_free(block);
}

static void a_freed_block_is_wiped_and_given_again(void **state)
{
	struct guarded_stats before;
	uint8_t *a = sodium_malloc(300), *b;

	(void)state;
	memset(a, 0x5c, 300);
	sodium_free(a);
	before = guarded_stats();
	b = sodium_malloc(300);
	assert_ptr_equal(b, a);
	for (size_t i = 0; i < 300; i++)
		assert_int_equal(b[i], 0);
	assert_int_equal(guarded_stats().given, before.given + 1);
	assert_int_equal(guarded_stats().made, before.made);
	sodium_free(b);
	sodium_free(NULL);
}

static void a_block_in_use_is_nobody_elses(void **state)
{
	uint8_t *a = sodium_malloc(300), *b = sodium_malloc(300), *c = sodium_malloc(301), *d;

	(void)state;
	assert_true(a != b && b != c && a != c);
	sodium_free(b);
	sodium_free(c);
	d = sodium_malloc(299); /* none of another size: its end would not touch the guard page */
	assert_true(d != a && d != b && d != c);
	sodium_free(d);
	sodium_free(a);
}

static void the_guard_page_is_right_behind_a_block(void **state)
{
	(void)state;
	for (int again = 0; again < 2; again++) {
		uint8_t *a = sodium_malloc(777);

		assert_int_equal(child_ends_by(write_inside, a, 777), 0);
		assert_int_equal(child_ends_by(write_behind, a, 777), SIGSEGV);
		sodium_free(a);
	}
}

static void freeing_twice_ends_the_process(void **state)
{
	uint8_t *a = sodium_malloc(90);

	(void)state;
	assert_int_equal(child_ends_by(free_twice, a, 90), SIGABRT);
	sodium_free(a);
}

static void those_beyond_the_kept_come_and_go(void **state)
{
	enum { MANY = GUARDED_KEPT + 40 };
	uint8_t *all[MANY];
	struct guarded_stats before;

	(void)state;
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < MANY; i++) {
			all[i] = sodium_malloc(64 + i % 3);
			memset(all[i], (int)i, 64);
		}
		for (size_t i = 0; i < MANY; i++) {
			for (size_t k = 0; k < 64; k++)
				assert_int_equal(all[i][k], (uint8_t)i);
			sodium_free(all[i]);
		}
	}
	/* A size that comes new takes the place of idle ones of sizes that nobody asks for any more. */
	before = guarded_stats();
	for (size_t i = 0; i < 2 * GUARDED_KEPT; i++) {
		uint8_t *a = sodium_malloc(1000 + i / 2);

		a[0] = 1;
		sodium_free(a);
	}
	assert_int_equal(guarded_stats().made - before.made, GUARDED_KEPT);
}

static void *hammer(void *arg)
{
	uint8_t mark = (uint8_t)(uintptr_t)arg;
	bool *ret = calloc(1, sizeof(*ret));

	*ret = true;
	for (int i = 0; i < 20000; i++) {
		size_t size = 200 + (size_t)(i % 4);
		uint8_t *a = sodium_malloc(size);

		memset(a, mark, size);
		for (size_t k = 0; k < size; k += 50)
			*ret = *ret && a[k] == mark;
		sodium_free(a);
	}
	return ret;
}

static void threads_do_not_meet_in_a_block(void **state)
{
	pthread_t t[4];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, hammer, (void *)(uintptr_t)(i + 1)), 0);
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		void *good;

		assert_int_equal(pthread_join(t[i], &good), 0);
		assert_true(*(bool *)good);
		free(good);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_freed_block_is_wiped_and_given_again),
		cmocka_unit_test(a_block_in_use_is_nobody_elses),
		cmocka_unit_test(the_guard_page_is_right_behind_a_block),
		cmocka_unit_test(freeing_twice_ends_the_process),
		cmocka_unit_test(those_beyond_the_kept_come_and_go),
		cmocka_unit_test(threads_do_not_meet_in_a_block),
	};

	if (sodium_init() < 0) /* as libzmq does with its first context */
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
