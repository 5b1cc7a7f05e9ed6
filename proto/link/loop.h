/* loop.h - one thread's event loop: descriptors, timers, signals, children
 *
 * epoll for descriptors, one timerfd below a binary heap of timers, one signalfd, a pidfd per child.
 * A turn is: wait; read the clock once; fire the timers that are due; run the callbacks of ready
 * descriptors; run the idle hook. Whatever a callback adds or arms is looked at in the next turn, so
 * a turn is bounded (LOOP_EVENTS_PER_TURN, LOOP_TIMERS_PER_TURN) and nobody starves: work that is
 * left over makes the next wait return at once.
 *
 * Callbacks may add, change and delete anything, themselves included: no callback runs after its
 * watch or timer was deleted, also not when its event was already fetched from the kernel.
 */
#ifndef SLUIS_PROTO_LINK_LOOP_H
#define SLUIS_PROTO_LINK_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/types.h>

#include "proto/base/err.h"
#include "proto/base/instant.h"

enum { LOOP_EVENTS_PER_TURN = 256, LOOP_TIMERS_PER_TURN = 1024 };

struct loop;
struct loop_timer;

typedef void loop_fd_fn(struct loop *loop, int fd, uint32_t events, void *arg);
typedef void loop_timer_fn(struct loop *loop, struct loop_timer *timer, void *arg);
typedef void loop_signal_fn(struct loop *loop, int signo, void *arg);
/* `status` is that of waitpid(2), or -1 when the process was not ours to wait for. */
typedef void loop_child_fn(struct loop *loop, pid_t pid, int status, void *arg);
typedef void loop_idle_fn(struct loop *loop, void *arg);

/* A one-shot timer. The caller owns the memory, sets cb and arg, zeroes the rest, and cancels it
 * before freeing it. */
struct loop_timer {
	loop_timer_fn *cb;
	void *arg;
	struct mono due; /* valid while armed */
	uint64_t order;  /* equal instants fire in the order they were set */
	size_t slot;     /* 1-based place in the heap or in the list being fired */
	uint8_t where;   /* 0 idle, 1 heap, 2 being fired */
};
#define LOOP_TIMER_INIT(callback, argument) {.cb = (callback), .arg = (argument)}

int loop_new(struct loop **ret_loop, struct err *err) NODISCARD;
/* Closes what the loop opened; watched descriptors stay open. Accepts NULL. */
void loop_free(struct loop *loop);

/* Watch `fd` (borrowed, one watch per descriptor) for EPOLLIN, EPOLLOUT, EPOLLET...; EPOLLERR and
 * EPOLLHUP always come. Returns 0; ERR_EXISTS; ERR_SYS (also for regular files, which cannot be
 * watched). */
int loop_add_fd(struct loop *loop, int fd, uint32_t events, loop_fd_fn *cb, void *arg,
		struct err *err) NODISCARD;
/* Change the events of a watched fd. */
void loop_mod(struct loop *loop, int fd, uint32_t events);
/* Stop watching; do this before close(fd). An fd that is not watched is no error. */
void loop_del(struct loop *loop, int fd);

/* Arm or re-arm `timer` for an instant; one in the past fires in the next turn. O(log armed). */
void loop_timer_set(struct loop *loop, struct loop_timer *timer, struct mono due);
/* Same, `after_ms` from the start of this turn; negative counts as 0. */
void loop_timer_after(struct loop *loop, struct loop_timer *timer, int64_t after_ms);
/* Disarm; a timer that is not armed is no error. */
void loop_timer_cancel(struct loop *loop, struct loop_timer *timer);
bool loop_timer_armed(const struct loop_timer *timer);

/* Block `signo` for this thread and hand it to `cb` instead; one callback per signal. The signals
 * stay blocked after loop_free. */
int loop_add_signal(struct loop *loop, int signo, loop_signal_fn *cb, void *arg,
		    struct err *err) NODISCARD;

/* Wait for the end of process `pid` once, reaping it if it is our child. Processes that are not our
 * children may be watched too. On 0 *ret_handle is for loop_child_del; it is void once cb ran.
 * ERR_NOTFOUND when there is no such process. */
int loop_add_child(struct loop *loop, pid_t pid, loop_child_fn *cb, void *arg, int *ret_handle,
		   struct err *err) NODISCARD;
void loop_child_del(struct loop *loop, int handle);

/* `cb` runs once per turn after every other callback of it; NULL takes it away. */
void loop_set_idle(struct loop *loop, loop_idle_fn *cb, void *arg);

/* Turns until loop_stop. Returns 0, or ERR_SYS. */
int loop_run(struct loop *loop, struct err *err) NODISCARD;
/* One turn, waiting at most `timeout_ms` (-1: without end) for something to do. */
int loop_turn(struct loop *loop, int timeout_ms, struct err *err) NODISCARD;
/* loop_run returns at the end of this turn (its idle hook still runs). */
void loop_stop(struct loop *loop);
/* The instant at which the current turn began; outside a turn, the last one. */
struct mono loop_now(const struct loop *loop);

#endif
