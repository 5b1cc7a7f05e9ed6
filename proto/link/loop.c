/* loop.c - one thread's event loop: descriptors, timers, signals, children
 *
 * Watches live in an array indexed by descriptor. What epoll carries is (generation, fd): an event
 * fetched before its watch was deleted no longer matches and is dropped, also when the number was
 * given out again meanwhile.
 *
 * Due timers are moved from the heap to `firing` before the first one runs. So a callback that
 * re-arms its timer for "now" is heard in the next turn and cannot hold up the descriptors.
 *
 * Invariants:
 *  - heap[slot - 1] == timer for each timer with where == IN_HEAP; the same for firing
 *  - the timerfd is armed for the first timer of the heap, or earlier, whenever the loop sleeps
 */
#include "proto/link/loop.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/buf.h"
#include "proto/base/ckd.h"
#include "proto/base/ensure.h"

enum timer_where { NOWHERE, IN_HEAP, FIRING };
enum { SIGNALS = 65, SIGNALS_PER_TURN = 16 };

struct child {
	pid_t pid;
	loop_child_fn *cb;
	void *arg;
};

struct watch {
	loop_fd_fn *cb; /* NULL: not watched */
	void *arg;
	struct child *child; /* owned; set when the fd is a pidfd of ours */
	uint32_t gen;
};

struct loop {
	int epoll_fd, timer_fd, signal_fd;
	struct mono now;
	bool in_turn, stopping;
	int64_t timer_fd_ns; /* what the timerfd is armed for; 0: not armed */

	struct watch *watches;
	size_t watches_cap;

	struct loop_timer **heap;
	size_t heap_len, heap_cap;
	uint64_t timer_order;
	struct loop_timer *firing[LOOP_TIMERS_PER_TURN];

	sigset_t signals;
	struct {
		loop_signal_fn *cb;
		void *arg;
	} on_signal[SIGNALS];

	loop_idle_fn *idle;
	void *idle_arg;
};

/* ---- descriptors -------------------------------------------------------------------------------- */

static struct watch *watch_of(const struct loop *loop, int fd)
{
	if (fd < 0 || (size_t)fd >= loop->watches_cap || loop->watches[fd].cb == NULL)
		return NULL;
	return &loop->watches[fd];
}

static struct epoll_event event_of(const struct loop *loop, int fd, uint32_t events)
{
	uint64_t tag = ((uint64_t)loop->watches[fd].gen << 32) | (uint32_t)fd;

	return (struct epoll_event){.events = events, .data.u64 = tag};
}

int loop_add_fd(struct loop *loop, int fd, uint32_t events, loop_fd_fn *cb, void *arg,
		struct err *err)
{
	struct epoll_event ev;

	ENSURE(fd >= 0);
	ENSURE(cb != NULL);
	if (watch_of(loop, fd) != NULL)
		return err_set(err, ERR_EXISTS, "descriptor %d is watched already", fd);
	if ((size_t)fd >= loop->watches_cap) {
		size_t cap = (size_t)fd * 2 + 16;

		loop->watches = xrealloc(loop->watches, cap * sizeof(*loop->watches));
		memset(loop->watches + loop->watches_cap, 0,
		       (cap - loop->watches_cap) * sizeof(*loop->watches));
		loop->watches_cap = cap;
	}
	loop->watches[fd].gen++;
	ev = event_of(loop, fd, events);
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return err_set_errno(err, ERR_SYS, "cannot watch descriptor %d", fd);
	loop->watches[fd].cb = cb;
	loop->watches[fd].arg = arg;
	return 0;
}

void loop_mod(struct loop *loop, int fd, uint32_t events)
{
	struct epoll_event ev;

	ENSURE(watch_of(loop, fd) != NULL);
	ev = event_of(loop, fd, events);
	ENSURE(epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, fd, &ev) == 0);
}

void loop_del(struct loop *loop, int fd)
{
	struct watch *w = watch_of(loop, fd);

	if (w == NULL)
		return;
	(void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL); /* gone already if it was closed */
	*w = (struct watch){.gen = w->gen};
}

/* ---- timers: a binary heap by (due, order) ------------------------------------------------------ */

static bool earlier(const struct loop_timer *a, const struct loop_timer *b)
{
	return a->due.ns != b->due.ns ? a->due.ns < b->due.ns : a->order < b->order;
}

static void heap_put(struct loop *loop, size_t i, struct loop_timer *timer)
{
	loop->heap[i] = timer;
	timer->slot = i + 1;
}

/* Place `timer` at hole `i`, moving the hole up or down to where the order holds. */
static void heap_sift(struct loop *loop, size_t i, struct loop_timer *timer)
{
	while (i > 0 && earlier(timer, loop->heap[(i - 1) / 2])) {
		heap_put(loop, i, loop->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	for (;;) {
		size_t kid = 2 * i + 1;

		if (kid + 1 < loop->heap_len && earlier(loop->heap[kid + 1], loop->heap[kid]))
			kid++;
		if (kid >= loop->heap_len || !earlier(loop->heap[kid], timer))
			break;
		heap_put(loop, i, loop->heap[kid]);
		i = kid;
	}
	heap_put(loop, i, timer);
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *timer)
{
	if (timer->where == IN_HEAP) {
		size_t hole = timer->slot - 1;
		struct loop_timer *last = loop->heap[--loop->heap_len];

		ENSURE(loop->heap[hole] == timer);
		if (last != timer)
			heap_sift(loop, hole, last);
	} else if (timer->where == FIRING) {
		ENSURE(loop->firing[timer->slot - 1] == timer);
		loop->firing[timer->slot - 1] = NULL;
	}
	timer->where = NOWHERE;
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, struct mono due)
{
	ENSURE(timer->cb != NULL);
	loop_timer_cancel(loop, timer);
	if (loop->heap_len == loop->heap_cap) {
		loop->heap_cap = loop->heap_cap * 2 + 16;
		loop->heap = xrealloc(loop->heap, loop->heap_cap * sizeof(struct loop_timer *));
	}
	timer->due = due;
	timer->order = ++loop->timer_order;
	timer->where = IN_HEAP;
	heap_sift(loop, loop->heap_len++, timer);
}

void loop_timer_after(struct loop *loop, struct loop_timer *timer, int64_t after_ms)
{
	struct mono due = loop->now;
	int64_t after_ns;

	if (after_ms > 0 && (ckd_mul(&after_ns, after_ms, NS_PER_MS) ||
			     ckd_add(&due.ns, loop->now.ns, after_ns)))
		due.ns = INT64_MAX;
	loop_timer_set(loop, timer, due);
}

bool loop_timer_armed(const struct loop_timer *timer)
{
	return timer->where != NOWHERE;
}

static void timers_fire(struct loop *loop)
{
	size_t n = 0;

	while (n < LOOP_TIMERS_PER_TURN && loop->heap_len > 0 &&
	       loop->heap[0]->due.ns <= loop->now.ns) {
		struct loop_timer *timer = loop->heap[0];

		loop_timer_cancel(loop, timer);
		timer->where = FIRING;
		timer->slot = n + 1;
		loop->firing[n++] = timer;
	}
	for (size_t i = 0; i < n; i++) {
		struct loop_timer *timer = loop->firing[i];

		if (timer == NULL)
			continue;
		timer->where = NOWHERE;
		timer->cb(loop, timer, timer->arg);
	}
}

static void timer_fd_ready(struct loop *loop, int fd, uint32_t events, void *arg)
{
	uint64_t expirations;

	(void)events;
	(void)arg;
	(void)!read(fd, &expirations, sizeof(expirations)); /* EAGAIN when it was re-armed since */
	loop->timer_fd_ns = 0;
}

/* Make sure the first timer wakes us. Returns true when one is due already. */
static bool timers_arm(struct loop *loop)
{
	struct itimerspec spec = {0};
	int64_t due;

	if (loop->heap_len == 0)
		return false;
	due = loop->heap[0]->due.ns;
	if (due <= loop->now.ns)
		return true;
	if (due == loop->timer_fd_ns)
		return false;
	spec.it_value.tv_sec = due / NS_PER_S;
	spec.it_value.tv_nsec = due % NS_PER_S;
	ENSURE(timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL) == 0);
	loop->timer_fd_ns = due;
	return false;
}

/* ---- signals and children ----------------------------------------------------------------------- */

static void signal_fd_ready(struct loop *loop, int fd, uint32_t events, void *arg)
{
	struct signalfd_siginfo info;

	(void)events;
	(void)arg;
	for (int i = 0; i < SIGNALS_PER_TURN; i++) {
		if (read(fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
			return;
		ENSURE(info.ssi_signo < SIGNALS);
		loop->on_signal[info.ssi_signo].cb(loop, (int)info.ssi_signo,
						   loop->on_signal[info.ssi_signo].arg);
	}
}

int loop_add_signal(struct loop *loop, int signo, loop_signal_fn *cb, void *arg, struct err *err)
{
	ENSURE(signo > 0 && signo < SIGNALS);
	ENSURE(cb != NULL);
	if (loop->on_signal[signo].cb != NULL)
		return err_set(err, ERR_EXISTS, "signal %d is watched already", signo);
	if (sigaddset(&loop->signals, signo) < 0 ||
	    signalfd(loop->signal_fd, &loop->signals, SFD_CLOEXEC | SFD_NONBLOCK) < 0)
		return err_set_errno(err, ERR_SYS, "cannot watch signal %d", signo);
	loop->on_signal[signo].cb = cb;
	loop->on_signal[signo].arg = arg;
	ENSURE(pthread_sigmask(SIG_BLOCK, &loop->signals, NULL) == 0);
	return 0;
}

static void child_ready(struct loop *loop, int fd, uint32_t events, void *arg)
{
	struct child child = *(struct child *)arg;
	int status = -1;

	(void)events;
	if (waitpid(child.pid, &status, WNOHANG) != child.pid)
		status = -1; /* somebody else's child, or reaped already */
	loop_child_del(loop, fd);
	child.cb(loop, child.pid, status, child.arg);
}

int loop_add_child(struct loop *loop, pid_t pid, loop_child_fn *cb, void *arg, int *ret_handle,
		   struct err *err)
{
	struct child *child;
	int fd, rc;

	ENSURE(cb != NULL);
	fd = (int)syscall(SYS_pidfd_open, pid, 0); /* close-on-exec by itself */
	if (fd < 0)
		return err_set_errno(err, errno == ESRCH ? ERR_NOTFOUND : ERR_SYS,
				     "cannot watch process %d", (int)pid);
	child = xcalloc(1, sizeof(*child));
	*child = (struct child){.pid = pid, .cb = cb, .arg = arg};
	rc = loop_add_fd(loop, fd, EPOLLIN, child_ready, child, err);
	if (rc < 0) {
		free(child);
		close(fd);
		return rc;
	}
	loop->watches[fd].child = child;
	*ret_handle = fd;
	return 0;
}

void loop_child_del(struct loop *loop, int handle)
{
	struct watch *w = watch_of(loop, handle);

	if (w == NULL || w->child == NULL)
		return;
	free(w->child);
	loop_del(loop, handle);
	close(handle);
}

/* ---- the loop ----------------------------------------------------------------------------------- */

int loop_new(struct loop **ret_loop, struct err *err)
{
	struct loop *loop = xcalloc(1, sizeof(*loop));
	int rc;

	sigemptyset(&loop->signals);
	loop->now = mono_now();
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	loop->signal_fd = signalfd(-1, &loop->signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (loop->epoll_fd < 0 || loop->timer_fd < 0 || loop->signal_fd < 0)
		rc = err_set_errno(err, ERR_SYS, "cannot make an event loop");
	else
		rc = loop_add_fd(loop, loop->timer_fd, EPOLLIN, timer_fd_ready, NULL, err);
	if (rc == 0)
		rc = loop_add_fd(loop, loop->signal_fd, EPOLLIN, signal_fd_ready, NULL, err);
	if (rc < 0) {
		loop_free(loop);
		return rc;
	}
	*ret_loop = loop;
	return 0;
}

void loop_free(struct loop *loop)
{
	int saved = errno;

	if (loop == NULL)
		return;
	ENSURE(!loop->in_turn);
	for (size_t fd = 0; fd < loop->watches_cap; fd++)
		loop_child_del(loop, (int)fd);
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	if (loop->timer_fd >= 0)
		close(loop->timer_fd);
	if (loop->signal_fd >= 0)
		close(loop->signal_fd);
	free(loop->watches);
	free(loop->heap);
	free(loop);
	errno = saved;
}

void loop_set_idle(struct loop *loop, loop_idle_fn *cb, void *arg)
{
	loop->idle = cb;
	loop->idle_arg = arg;
}

int loop_turn(struct loop *loop, int timeout_ms, struct err *err)
{
	struct epoll_event events[LOOP_EVENTS_PER_TURN];
	int n;

	ENSURE(!loop->in_turn);
	n = epoll_wait(loop->epoll_fd, events, LOOP_EVENTS_PER_TURN,
		       timers_arm(loop) ? 0 : timeout_ms);
	if (n < 0 && errno != EINTR)
		return err_set_errno(err, ERR_SYS, "cannot wait for events");
	loop->in_turn = true;
	loop->now = mono_now();
	timers_fire(loop);
	for (int i = 0; i < n; i++) {
		int fd = (int)(uint32_t)events[i].data.u64;
		struct watch *w = watch_of(loop, fd);

		if (w != NULL && w->gen == (uint32_t)(events[i].data.u64 >> 32))
			w->cb(loop, fd, events[i].events, w->arg);
	}
	if (loop->idle != NULL)
		loop->idle(loop, loop->idle_arg);
	loop->in_turn = false;
	return 0;
}

int loop_run(struct loop *loop, struct err *err)
{
	int rc = 0;

	while (rc == 0 && !loop->stopping)
		rc = loop_turn(loop, -1, err);
	loop->stopping = false;
	return rc;
}

void loop_stop(struct loop *loop)
{
	loop->stopping = true;
}

struct mono loop_now(const struct loop *loop)
{
	return loop->now;
}
