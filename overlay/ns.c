#include "overlay/ns.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { NSFS_MAGIC_ = 0x6e736673 };

#define SELF "/proc/thread-self/ns/net"

int ns_self(void)
{
	return open(SELF, O_RDONLY | O_CLOEXEC);
}

int ns_enter(int fd, struct sw_error *err)
{
	if (setns(fd, CLONE_NEWNET) < 0)
		return sw_fail_sys(err, errno, "enter a network namespace");
	return 0;
}

void ns_return(int home)
{
	SW_ASSERT(setns(home, CLONE_NEWNET) == 0);
}

int ns_open(const char *path, int *ret_fd, struct sw_error *err)
{
	sw_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct statfs st;

	if (fd < 0)
		return sw_fail_sys(err, errno, "open namespace %s", path);
	/* A file without a mount is left when a run died between the two. */
	if (fstatfs(fd, &st) < 0 || st.f_type != NSFS_MAGIC_)
		return sw_fail(err, SW_ENOTFOUND, "no namespace is mounted at %s", path);
	*ret_fd = take_fd(&fd);
	return 0;
}

void ns_set(const char *path, const char *value)
{
	sw_autoclose int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, value, strlen(value)) < 0)
		return;
}

/** Without, nothing of ours speaks it on these interfaces; discovery would only be dropped. With, they
 *  have what they are given: no advertised address, no test whether another one has it. */
static void set_ipv6(bool six)
{
	ns_set("/proc/sys/net/ipv6/conf/all/disable_ipv6", six ? "0" : "1");
	ns_set("/proc/sys/net/ipv6/conf/default/disable_ipv6", six ? "0" : "1");
	if (!six)
		return;
	ns_set("/proc/sys/net/ipv6/conf/default/accept_ra", "0");
	ns_set("/proc/sys/net/ipv6/conf/default/accept_dad", "0");
	ns_set("/proc/sys/net/ipv6/conf/default/addr_gen_mode", "1");
}

void ns_forget_ended(void)
{
	/* Half a minute in LAST_ACK is what a task leaves that goes before its last answer; it is
	 * about as long as a busy client needs to come round to a port. */
	ns_set("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_time_wait", "1");
	ns_set("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_last_ack", "2");
	ns_set("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close", "1");
}

int ns_make(const char *path, int home, bool six, int *ret_fd, struct sw_error *err)
{
	sw_autoclose int file = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0444);
	int r = 0;

	if (file < 0)
		return sw_fail_sys(err, errno, "create %s", path);
	if (unshare(CLONE_NEWNET) < 0) {
		r = sw_fail_sys(err, errno, "make a network namespace");
	} else {
		set_ipv6(six);
		if (mount(SELF, path, NULL, MS_BIND, NULL) < 0)
			r = sw_fail_sys(err, errno, "mount a network namespace at %s", path);
		ns_return(home);
	}
	if (r < 0) {
		unlink(path);
		return r;
	}
	return ns_open(path, ret_fd, err);
}

int ns_remove(const char *path, struct sw_error *err)
{
	while (umount2(path, MNT_DETACH) == 0)
		;
	if (errno != EINVAL && errno != ENOENT)
		return sw_fail_sys(err, errno, "unmount %s", path);
	if (unlink(path) < 0 && errno != ENOENT)
		return sw_fail_sys(err, errno, "remove %s", path);
	return 0;
}
