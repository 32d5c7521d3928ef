#include "runtime/shim/shim.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* By a name in the folder: its whole path may be longer than an address has room for. */
int console_listen(const char *dir)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = CONSOLE_NAME};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || chdir(dir) < 0)
		return -1;
	unlink(CONSOLE_NAME);
	if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 1) < 0 || chdir("/") < 0)
		return -1;
	return fd;
}

int console_take(int listener)
{
	char text[256];
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(sizeof(int))];
	} c;
	struct iovec v = {text, sizeof text};
	struct msghdr m = {
		.msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c};
	struct cmsghdr *h;
	int from = accept4(listener, NULL, NULL, SOCK_CLOEXEC), fd = -1;

	if (from < 0)
		return -1;
	if (recvmsg(from, &m, MSG_CMSG_CLOEXEC) > 0 && (h = CMSG_FIRSTHDR(&m)) != NULL &&
	    h->cmsg_type == SCM_RIGHTS && h->cmsg_len == CMSG_LEN(sizeof fd))
		memcpy(&fd, CMSG_DATA(h), sizeof fd);
	close(from);
	return fd;
}
