#include "runtime/container/inside.h"

#include "base/fs.h"
#include "base/mem.h"
#include "runtime/container/container_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum { TEXT_MAX = 4 << 20 };

/* Something of its first process in /proc. */
static int open_own(const struct rt_container *c, const char *what, int flags, int *ret_fd,
		    struct sw_error *err)
{
	sw_autofree char *path = sw_asprintf("/proc/%d/%s", (int)c->pid, what);
	sw_autoclose int fd = -1;

	if (c->state == RT_RUNNING && c->pid > 0)
		fd = open(path, flags | O_CLOEXEC);
	/* Alive still: so the number was its own all the time. */
	if (fd < 0 || c->pid_fd < 0 || syscall(SYS_pidfd_send_signal, c->pid_fd, 0, NULL, 0) < 0)
		return sw_fail(err, SW_EPRECOND, "container %s does not run", c->r.id);
	*ret_fd = take_fd(&fd);
	return 0;
}

int rt_inside_root(const struct rt_container *c, int *ret_fd, struct sw_error *err)
{
	return open_own(c, "root", O_PATH | O_DIRECTORY, ret_fd, err);
}

int rt_inside_netns(const struct rt_container *c, int *ret_fd, struct sw_error *err)
{
	return open_own(c, "ns/net", O_RDONLY, ret_fd, err);
}

int rt_inside_open(int root, const char *path, int flags, mode_t mode)
{
	struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC),
			       .mode = (flags & O_CREAT) != 0 ? mode : 0,
			       .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};

	return (int)syscall(SYS_openat2, root, *path != 0 ? path : ".", &how, sizeof how);
}

char *rt_inside_text(int root, const char *path)
{
	sw_autoclose int fd = rt_inside_open(root, path, O_RDONLY | O_NONBLOCK, 0);
	struct sw_error ignored;
	char self[48], *text = NULL;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return sw_strdup("");
	snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
	return sw_read_file(self, TEXT_MAX, &text, NULL, &ignored) == 0 ? text : sw_strdup("");
}
