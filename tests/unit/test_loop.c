/* test_loop.c - the event loop, notices to the service manager, and the log
 *
 * All programs live in this loop: if it loses an event, fires a timer of the dead or lets one source
 * starve the others, leases are renewed late. Nothing here sleeps for a length of time; where time
 * has to pass, a turn of the loop waits for its timer.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/ensure.h"
#include "proto/base/prng.h"
#include "proto/link/log.h"
#include "proto/link/loop.h"
#include "proto/link/notify.h"

static struct err err;

/* What happened, in order, as letters. */
struct story {
	char text[256];
	size_t len;
};

static void tell(struct story *s, char c)
{
	assert_true(s->len + 1 < sizeof(s->text));
	s->text[s->len++] = c;
}

static struct loop *loop_start(void)
{
	struct loop *loop = NULL;

	assert_int_equal(loop_new(&loop, &err), 0);
	return loop;
}

static void turn(struct loop *loop)
{
	assert_int_equal(loop_turn(loop, 0, &err), 0);
}

/* ---- timers ------------------------------------------------------------------------------------- */

struct named_timer {
	struct loop_timer timer;
	struct story *story;
	char name;
};

static void timer_tells(struct loop *loop, struct loop_timer *timer, void *arg)
{
	struct named_timer *t = arg;

	(void)loop;
	assert_ptr_equal(timer, &t->timer);
	assert_false(loop_timer_armed(timer));
	tell(t->story, t->name);
}

static void timers_make(struct named_timer *t, size_t n, struct story *story)
{
	for (size_t i = 0; i < n; i++)
		t[i] = (struct named_timer){.timer = LOOP_TIMER_INIT(timer_tells, &t[i]),
					    .story = story, .name = (char)('a' + i)};
}

/* Timers fire by instant, equal ones as they were set; a cancelled one does not, a re-armed one once. */
static void timers_fire_in_order(void **state)
{
	struct loop *loop = loop_start();
	struct story story = {0};
	struct named_timer t[6];
	struct mono now = loop_now(loop);

	(void)state;
	timers_make(t, 6, &story);
	loop_timer_set(loop, &t[0].timer, (struct mono){now.ns - 1});
	loop_timer_set(loop, &t[1].timer, (struct mono){now.ns - 5});
	loop_timer_set(loop, &t[2].timer, (struct mono){now.ns - 1});
	loop_timer_set(loop, &t[3].timer, (struct mono){now.ns - 9});
	loop_timer_set(loop, &t[4].timer, (struct mono){now.ns - 7});
	loop_timer_set(loop, &t[5].timer, (struct mono){INT64_MAX});
	loop_timer_set(loop, &t[3].timer, (struct mono){now.ns - 2});
	loop_timer_cancel(loop, &t[4].timer);
	loop_timer_cancel(loop, &t[4].timer);
	turn(loop);
	assert_string_equal(story.text, "bdac");
	turn(loop);
	assert_string_equal(story.text, "bdac");
	assert_true(loop_timer_armed(&t[5].timer));
	loop_timer_cancel(loop, &t[5].timer);
	loop_free(loop);
}

/* The loop sleeps until the first timer and not longer, also when an earlier one comes later. */
static void timers_wake_the_loop(void **state)
{
	struct loop *loop = loop_start();
	struct story story = {0};
	struct named_timer t[2];
	struct mono begin = loop_now(loop);

	(void)state;
	timers_make(t, 2, &story);
	loop_timer_after(loop, &t[1].timer, 20000);
	turn(loop); /* the kernel's timer is set for the late one now */
	loop_timer_set(loop, &t[0].timer, (struct mono){begin.ns + 20 * NS_PER_MS});
	while (story.len == 0)
		assert_int_equal(loop_turn(loop, -1, &err), 0);
	assert_string_equal(story.text, "a");
	assert_true(loop_now(loop).ns - begin.ns >= 20 * NS_PER_MS);
	assert_true(loop_now(loop).ns - begin.ns < 20000 * NS_PER_MS);
	loop_timer_set(loop, &t[1].timer, (struct mono){begin.ns + 40 * NS_PER_MS});
	while (story.len == 1)
		assert_int_equal(loop_turn(loop, -1, &err), 0);
	assert_string_equal(story.text, "ab");
	assert_true(loop_now(loop).ns - begin.ns >= 40 * NS_PER_MS);
	loop_timer_after(loop, &t[0].timer, INT64_MAX);
	assert_true(t[0].timer.due.ns == INT64_MAX);
	loop_timer_cancel(loop, &t[0].timer);
	loop_free(loop);
}

struct heap_check {
	struct mono last;
	unsigned int fired;
};

static void heap_check_fired(struct loop *loop, struct loop_timer *timer, void *arg)
{
	struct heap_check *check = arg;

	(void)loop;
	assert_true(timer->due.ns >= check->last.ns);
	check->last = timer->due;
	check->fired++;
}

/* Against the heap: 700 timers set, moved and cancelled at random still fire in order, each once. */
static void timers_heap_keeps_order(void **state)
{
	enum { TIMERS = 700 };
	static struct loop_timer t[TIMERS];
	struct loop *loop = loop_start();
	struct heap_check check = {.last.ns = INT64_MIN};
	struct prng prng;
	unsigned int armed = 0;

	(void)state;
	prng_seed(&prng, 0x5eed);
	for (size_t i = 0; i < TIMERS; i++)
		t[i] = (struct loop_timer)LOOP_TIMER_INIT(heap_check_fired, &check);
	for (int i = 0; i < 5000; i++) {
		struct loop_timer *timer = &t[prng_below(&prng, TIMERS)];

		if (prng_below(&prng, 4) == 0)
			loop_timer_cancel(loop, timer);
		else
			loop_timer_set(loop, timer, (struct mono){(int64_t)prng_below(&prng, 900)});
	}
	for (size_t i = 0; i < TIMERS; i++)
		armed += loop_timer_armed(&t[i]);
	assert_true(armed > 0 && armed < TIMERS);
	turn(loop);
	assert_int_equal(check.fired, armed);
	loop_free(loop);
}

static void timer_rearms(struct loop *loop, struct loop_timer *timer, void *arg)
{
	tell(arg, 't');
	loop_timer_after(loop, timer, 0);
}

static void fd_tells(struct loop *loop, int fd, uint32_t events, void *arg)
{
	(void)loop;
	(void)fd;
	assert_true(events & EPOLLIN);
	tell(arg, 'f');
}

static void idle_tells(struct loop *loop, void *arg)
{
	(void)loop;
	tell(arg, '.');
}

/* A timer that always wants "now" gets one go a turn: descriptors and the idle hook (where the daemon
 * commits) are not starved. The idle hook comes once, after everything else. */
static void turn_is_bounded_and_idle_is_last(void **state)
{
	struct loop *loop = loop_start();
	struct story story = {0};
	struct loop_timer timer = LOOP_TIMER_INIT(timer_rearms, &story);
	int a[2], b[2];

	(void)state;
	assert_int_equal(pipe(a), 0);
	assert_int_equal(pipe(b), 0);
	assert_int_equal(write(a[1], "x", 1), 1);
	assert_int_equal(write(b[1], "x", 1), 1);
	assert_int_equal(loop_add_fd(loop, a[0], EPOLLIN, fd_tells, &story, &err), 0);
	assert_int_equal(loop_add_fd(loop, b[0], EPOLLIN, fd_tells, &story, &err), 0);
	assert_int_equal(loop_add_fd(loop, b[0], EPOLLIN, fd_tells, &story, &err), ERR_EXISTS);
	loop_set_idle(loop, idle_tells, &story);
	loop_timer_after(loop, &timer, 0);
	turn(loop);
	turn(loop);
	assert_string_equal(story.text, "tff.tff.");
	loop_timer_cancel(loop, &timer);
	loop_mod(loop, a[0], 0);
	turn(loop);
	assert_string_equal(story.text, "tff.tff.f.");
	loop_set_idle(loop, NULL, NULL);
	loop_del(loop, b[0]);
	turn(loop);
	assert_string_equal(story.text, "tff.tff.f.");
	loop_free(loop);
	for (int i = 0; i < 2; i++) {
		close(a[i]);
		close(b[i]);
	}
}

/* ---- deleting while events are in flight -------------------------------------------------------- */

struct killers {
	int fd[2];
	int calls;
};

static void fd_kills_other(struct loop *loop, int fd, uint32_t events, void *arg)
{
	struct killers *k = arg;
	int other = k->fd[0] == fd ? k->fd[1] : k->fd[0];

	(void)events;
	k->calls++;
	loop_del(loop, other);
	/* The number is watched anew for something that is not readable, as after close and open. */
	assert_int_equal(loop_add_fd(loop, other, EPOLLPRI, fd_kills_other, arg, &err), 0);
}

struct timer_pair {
	struct loop_timer t[2];
	int calls;
};

static void timer_kills_other(struct loop *loop, struct loop_timer *timer, void *arg)
{
	struct timer_pair *p = arg;

	p->calls++;
	loop_timer_cancel(loop, timer == &p->t[0] ? &p->t[1] : &p->t[0]);
}

/* Two are ready in one turn and the first deletes the second: its callback must not run, its object
 * may be freed memory by then. */
static void deleted_is_never_called(void **state)
{
	struct loop *loop = loop_start();
	struct killers k = {0};
	struct timer_pair p = {0};
	int pipes[2][2];

	(void)state;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pipe(pipes[i]), 0);
		assert_int_equal(write(pipes[i][1], "x", 1), 1);
		k.fd[i] = pipes[i][0];
		assert_int_equal(loop_add_fd(loop, k.fd[i], EPOLLIN, fd_kills_other, &k, &err), 0);
		p.t[i] = (struct loop_timer)LOOP_TIMER_INIT(timer_kills_other, &p);
		loop_timer_after(loop, &p.t[i], 0);
	}
	turn(loop);
	assert_int_equal(k.calls, 1);
	assert_int_equal(p.calls, 1);
	assert_false(loop_timer_armed(&p.t[0]) || loop_timer_armed(&p.t[1]));
	turn(loop);
	assert_int_equal(p.calls, 1);
	loop_free(loop);
	for (int i = 0; i < 2; i++) {
		close(pipes[i][0]);
		close(pipes[i][1]);
	}
}

/* ---- signals, children -------------------------------------------------------------------------- */

static void signal_stops(struct loop *loop, int signo, void *arg)
{
	*(int *)arg = signo;
	loop_stop(loop);
}

static void signals_arrive_as_events(void **state)
{
	struct loop *loop = loop_start();
	int got = 0;

	(void)state;
	assert_int_equal(loop_add_signal(loop, SIGUSR1, signal_stops, &got, &err), 0);
	assert_int_equal(loop_add_signal(loop, SIGTERM, signal_stops, &got, &err), 0);
	assert_int_equal(loop_add_signal(loop, SIGTERM, signal_stops, &got, &err), ERR_EXISTS);
	assert_int_equal(kill(getpid(), SIGTERM), 0);
	assert_int_equal(loop_run(loop, &err), 0);
	assert_int_equal(got, SIGTERM);
	assert_int_equal(kill(getpid(), SIGUSR1), 0);
	assert_int_equal(loop_run(loop, &err), 0);
	assert_int_equal(got, SIGUSR1);
	loop_free(loop);
}

struct ended {
	pid_t pid;
	int status;
};

static void child_ended(struct loop *loop, pid_t pid, int status, void *arg)
{
	*(struct ended *)arg = (struct ended){pid, status};
	loop_stop(loop);
}

/* The end of a child comes as an event with its status, and leaves no zombie. */
static void children_are_reaped(void **state)
{
	struct loop *loop = loop_start();
	struct ended ended = {0};
	int handle = -1;
	pid_t pid = fork();

	(void)state;
	if (pid == 0)
		_exit(7);
	assert_int_equal(loop_add_child(loop, pid, child_ended, &ended, &handle, &err), 0);
	assert_int_equal(loop_run(loop, &err), 0);
	assert_int_equal(ended.pid, pid);
	assert_true(WIFEXITED(ended.status));
	assert_int_equal(WEXITSTATUS(ended.status), 7);
	assert_int_equal(waitpid(pid, NULL, WNOHANG), -1);
	assert_int_equal(loop_add_child(loop, pid, child_ended, &ended, &handle, &err),
			 ERR_NOTFOUND);

	/* A watch may be given up; and loop_free closes those that are left. */
	assert_int_equal(loop_add_child(loop, getpid(), child_ended, &ended, &handle, &err), 0);
	loop_child_del(loop, handle);
	assert_int_equal(fcntl(handle, F_GETFD), -1);
	assert_int_equal(loop_add_child(loop, getpid(), child_ended, &ended, &handle, &err), 0);
	loop_free(loop);
	assert_int_equal(fcntl(handle, F_GETFD), -1);
}

/* ---- notify ------------------------------------------------------------------------------------- */

static int notify_listen(struct sockaddr_un *addr, socklen_t len)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)addr, len), 0);
	return fd;
}

static void notify_expect(int fd, const char *text)
{
	char got[128] = "";

	assert_int_equal(recv(fd, got, sizeof(got) - 1, MSG_DONTWAIT), (ssize_t)strlen(text));
	assert_string_equal(got, text);
	close(fd);
}

/* Notices reach a path and an abstract name; without a manager they are silently not sent. */
static void notify_speaks_to_the_manager(void **state)
{
	char dir[] = "/tmp/sluis-test-XXXXXX", path[64], name[72];
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	size_t len;
	int fd;

	(void)state;
	unsetenv("NOTIFY_SOCKET");
	assert_int_equal(notify_send("READY=1", &err), 0);

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/notify", dir);
	memcpy(addr.sun_path, path, strlen(path) + 1);
	fd = notify_listen(&addr, sizeof(addr));
	setenv("NOTIFY_SOCKET", path, 1);
	assert_int_equal(notify_send("READY=1\nSTATUS=serving", &err), 0);
	notify_expect(fd, "READY=1\nSTATUS=serving");
	assert_int_equal(notify_send("READY=1", &err), ERR_SYS); /* nobody there any more */
	unlink(path);
	rmdir(dir);

	snprintf(name, sizeof(name), "@%s", path);
	len = strlen(name);
	memcpy(addr.sun_path, name, len);
	addr.sun_path[0] = '\0';
	fd = notify_listen(&addr, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
	setenv("NOTIFY_SOCKET", name, 1);
	assert_int_equal(notify_send("WATCHDOG=1", &err), 0);
	notify_expect(fd, "WATCHDOG=1");

	setenv("NOTIFY_SOCKET", "relative", 1);
	assert_int_equal(notify_send("READY=1", &err), ERR_INVAL);
	unsetenv("NOTIFY_SOCKET");
}

static void notify_reads_the_watchdog(void **state)
{
	char pid[32];

	(void)state;
	unsetenv("WATCHDOG_PID");
	unsetenv("WATCHDOG_USEC");
	assert_int_equal(notify_watchdog_ms(), 0);
	setenv("WATCHDOG_USEC", "30000000", 1);
	assert_int_equal(notify_watchdog_ms(), 30000);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("WATCHDOG_PID", pid, 1);
	assert_int_equal(notify_watchdog_ms(), 30000);
	setenv("WATCHDOG_PID", "1", 1);
	assert_int_equal(notify_watchdog_ms(), 0);
	setenv("WATCHDOG_PID", pid, 1);
	setenv("WATCHDOG_USEC", "30s", 1);
	assert_int_equal(notify_watchdog_ms(), 0);
	unsetenv("WATCHDOG_PID");
	unsetenv("WATCHDOG_USEC");
}

/* ---- log ---------------------------------------------------------------------------------------- */

static int log_pipe[2];

static void log_capture(void)
{
	assert_int_equal(pipe2(log_pipe, O_NONBLOCK), 0);
	log_set_fd(log_pipe[1]);
}

static void log_expect(const char *text)
{
	static char got[2 * LOG_LINE_BYTES];
	ssize_t n = read(log_pipe[0], got, sizeof(got) - 1);

	got[n > 0 ? n : 0] = '\0';
	assert_string_equal(got, text);
}

static void log_release(void)
{
	log_set_fd(STDERR_FILENO);
	log_set_level(LOG_INFO);
	close(log_pipe[0]);
	close(log_pipe[1]);
}

/* One event, one line, with a priority for journald; what a caller forgot to quote stays in it. */
static void log_writes_one_line(void **state)
{
	char longer[2 * LOG_LINE_BYTES], line[2 * LOG_LINE_BYTES];
	int level = -1;
	ssize_t n;

	(void)state;
	log_capture();
	log_event(LOG_INFO, "lease granted", "lease=%d gpus=%d", 42, 8);
	log_expect("<6>lease granted lease=42 gpus=8\n");
	log_event(LOG_ERR, "store broken", "%s", "");
	log_expect("<3>store broken \n");
	log_event(LOG_DEBUG, "not shown", "x=%d", 1);
	log_expect("");
	log_set_level(LOG_DEBUG);
	log_event(LOG_DEBUG, "shown", "x=%d", 1);
	log_expect("<7>shown x=1\n");
	log_event(LOG_WARNING, "peer said", "name=%s", "x\n<0>forged\033[2J");
	log_expect("<4>peer said name=x?<0>forged?[2J\n");

	memset(longer, 'y', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	log_event(LOG_INFO, "long", "name=%s", longer);
	n = read(log_pipe[0], line, sizeof(line));
	assert_true(n > 0 && n <= LOG_LINE_BYTES);
	assert_memory_equal(line + n - 4, "...\n", 4);

	assert_int_equal(log_level_parse("warning", &level, &err), 0);
	assert_int_equal(level, LOG_WARNING);
	assert_int_equal(log_level_parse("loud", &level, &err), ERR_INVAL);
	log_release();
}

static void log_quotes_foreign_text(void **state)
{
	static const struct {
		const char *text, *quoted;
	} rows[] = {
		{"plain-7_x/y:z", "plain-7_x/y:z"},
		{"", "\"\""},
		{"two words", "\"two words\""},
		{"a=b", "\"a=b\""},
		{"say \"hi\"", "\"say \\\"hi\\\"\""},
		{"back\\slash", "\"back\\\\slash\""},
		{"nl\ncr\rtab\t", "\"nl\\ncr\\rtab\\t\""},
		{"\033[31m\x7f", "\"\\x1b[31m\\x7f\""},
		{"caf\xc3\xa9", "\"caf\xc3\xa9\""},
		{"\xe2\x82\xac \xf0\x9f\x9a\xa2", "\"\xe2\x82\xac \xf0\x9f\x9a\xa2\""},
		{"bad \xff\xc3", "\"bad \\xff\\xc3\""},
		{"c1 \xc2\x9b", "\"c1 \\xc2\\x9b\""},
		{"overlong \xc0\xaf \xe0\x80\xaf", "\"overlong \\xc0\\xaf \\xe0\\x80\\xaf\""},
		{"surrogate \xed\xa0\x80", "\"surrogate \\xed\\xa0\\x80\""},
	};
	char out[LOG_QUOTE_BYTES], big[2 * LOG_QUOTE_BYTES];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_string_equal(log_quote(rows[i].text), rows[i].quoted);
	assert_string_equal(log_quote(NULL), "\"\"");
	assert_string_equal(log_quote_into(out, "a\0b", 3), "\"a\\x00b\"");
	for (size_t len = LOG_QUOTE_BYTES - 12; len < sizeof(big); len++) {
		memset(big, len % 2 ? 'x' : '\n', len);
		log_quote_into(out, big, len);
		assert_true(strlen(out) < LOG_QUOTE_BYTES);
		if (len >= LOG_QUOTE_BYTES)
			assert_string_equal(out + strlen(out) - 4, "...\"");
	}
}

/* A peer cannot fill the disk with warnings, and the log admits what it left out. */
static void log_limit_says_what_it_dropped(void **state)
{
	struct log_limit limit = {.burst = 2, .window_ms = 1000};
	struct mono now = {INT64_C(1) << 40};

	(void)state;
	log_capture();
	for (int i = 0; i < 5; i++)
		log_event_limited(&limit, now, LOG_WARNING, "bad frame", "i=%d", i);
	log_expect("<4>bad frame i=0\n<4>bad frame i=1\n");
	now.ns += 999 * NS_PER_MS;
	log_event_limited(&limit, now, LOG_WARNING, "bad frame", "i=%d", 5);
	log_expect("");
	now.ns += NS_PER_MS;
	log_event_limited(&limit, now, LOG_WARNING, "bad frame", "i=%d", 6);
	log_event_limited(&limit, now, LOG_WARNING, "bad frame", "i=%d", 7);
	log_expect("<4>bad frame i=6 dropped=4\n<4>bad frame i=7\n");
	log_release();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(timers_fire_in_order),
		cmocka_unit_test(timers_wake_the_loop),
		cmocka_unit_test(timers_heap_keeps_order),
		cmocka_unit_test(turn_is_bounded_and_idle_is_last),
		cmocka_unit_test(deleted_is_never_called),
		cmocka_unit_test(signals_arrive_as_events),
		cmocka_unit_test(children_are_reaped),
		cmocka_unit_test(notify_speaks_to_the_manager),
		cmocka_unit_test(notify_reads_the_watchdog),
		cmocka_unit_test(log_writes_one_line),
		cmocka_unit_test(log_quotes_foreign_text),
		cmocka_unit_test(log_limit_says_what_it_dropped),
	};

	alarm(60); /* a loop that loses an event hangs: fail instead */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
