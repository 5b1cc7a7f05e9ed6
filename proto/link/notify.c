/* notify.c - one datagram to the service manager
 *
 * Source: sd_notify(3), section "Notes": the protocol is stable and meant to be re-implemented.
 */
#include "proto/link/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int notify_send(const char *state, struct err *err)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	size_t len;
	ssize_t sent;
	int fd;

	if (path == NULL || path[0] == '\0')
		return 0;
	len = strlen(path);
	if ((path[0] != '/' && path[0] != '@') || len >= sizeof(addr.sun_path))
		return err_set(err, ERR_INVAL, "NOTIFY_SOCKET '%s' is no socket name", path);
	memcpy(addr.sun_path, path, len);
	if (addr.sun_path[0] == '@')
		addr.sun_path[0] = '\0'; /* abstract: the name ends with the length, without NUL */
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set_errno(err, ERR_SYS, "cannot make a socket");
	do
		sent = sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&addr,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
	while (sent < 0 && errno == EINTR);
	if (sent < 0)
		(void)err_set_errno(err, ERR_SYS, "cannot notify '%s'", path);
	close(fd);
	return sent < 0 ? ERR_SYS : 0;
}

/* A positive decimal number that is the whole of `text`, or 0. */
static int64_t number(const char *text)
{
	char *end;
	long long v;

	if (text == NULL || text[0] < '0' || text[0] > '9')
		return 0;
	errno = 0;
	v = strtoll(text, &end, 10);
	return errno != 0 || *end != '\0' ? 0 : v;
}

int64_t notify_watchdog_ms(void)
{
	const char *pid = getenv("WATCHDOG_PID");

	if (pid != NULL && number(pid) != (int64_t)getpid())
		return 0; /* meant for another process of the unit */
	return number(getenv("WATCHDOG_USEC")) / 1000;
}
