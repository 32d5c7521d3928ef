#include "cli/terminal.h"

#include "base/fs.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <termios.h>

static struct termios before;
static int raw_fd = -1;

void terminal_restore(void)
{
	if (raw_fd >= 0)
		(void)tcsetattr(raw_fd, TCSADRAIN, &before);
	raw_fd = -1;
}

int terminal_raw(int fd, struct sw_error *err)
{
	struct termios t;

	if (tcgetattr(fd, &before) != 0)
		return sw_fail_sys(err, errno, "read the terminal's settings");
	t = before;
	cfmakeraw(&t);
	if (tcsetattr(fd, TCSADRAIN, &t) != 0)
		return sw_fail_sys(err, errno, "set the terminal to raw");
	raw_fd = fd;
	(void)atexit(terminal_restore);
	return 0;
}

bool terminal_size(int fd, unsigned *ret_rows, unsigned *ret_columns)
{
	struct winsize w;

	if (ioctl(fd, TIOCGWINSZ, &w) != 0)
		return false;
	*ret_rows = w.ws_row;
	*ret_columns = w.ws_col;
	return true;
}

struct copy {
	int from, to;
};

static void *copy_on_thread(void *arg)
{
	struct copy *c = arg;
	char buf[32768];
	ssize_t n;

	while ((n = read(c->from, buf, sizeof buf)) > 0)
		if (sw_write_all(c->to, buf, (size_t)n) != 0)
			break;
	close(c->from);
	close(c->to);
	free(c);
	return NULL;
}

static bool can_be_waited_for(int fd)
{
	struct epoll_event e = {.events = EPOLLIN};
	sw_autoclose int set = epoll_create1(EPOLL_CLOEXEC);

	return set >= 0 && epoll_ctl(set, EPOLL_CTL_ADD, fd, &e) == 0;
}

int terminal_input(int fd, int *ret_fd, struct sw_error *err)
{
	sw_autoclose int mine = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	int fds[2];
	struct copy *c;
	pthread_t t;

	if (mine < 0)
		return sw_fail_sys(err, errno, "standard input");
	if (can_be_waited_for(mine)) {
		*ret_fd = take_fd(&mine);
		return 0;
	}
	if (pipe2(fds, O_CLOEXEC) != 0)
		return sw_fail_sys(err, errno, "pipe");
	c = sw_new(struct copy);
	*c = (struct copy){take_fd(&mine), fds[1]};
	if (pthread_create(&t, NULL, copy_on_thread, c) != 0)
		abort(); /* as when memory is out */
	pthread_detach(t);
	*ret_fd = fds[0];
	return 0;
}
