#include "runtime/container/driver.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>

extern char **environ;

enum { CREATE_TIMEOUT_MS = 120000 };

/* fds[i] becomes the child's number `to[i]`. */
static int spawn(char *const *argv, const int *fds, const int *to, size_t n, bool session,
		 pid_t *ret, struct sw_error *err)
{
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	sigset_t none, all;
	short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
	int rc;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&fa);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(&attr, (short)(flags | (session ? POSIX_SPAWN_SETSID : 0)));
	posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDWR, 0);
	if (session) {
		posix_spawn_file_actions_adddup2(&fa, 0, 1);
		posix_spawn_file_actions_adddup2(&fa, 0, 2);
	}
	for (size_t i = 0; i < n; i++)
		posix_spawn_file_actions_adddup2(&fa, fds[i], to[i]);
	rc = posix_spawnp(ret, argv[0], &fa, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&fa);
	return rc != 0 ? sw_fail_sys(err, rc, "run %s", argv[0]) : 0;
}

int rt_spawn(char *const *argv, const int *fds, size_t n, pid_t *ret, struct sw_error *err)
{
	int from[4] = {0}, to[4] = {0}, rc;

	/* Clear of the numbers to come, so that no dup2 overwrites another's source. */
	for (size_t i = 0; i < n; i++) {
		int fd = fds[i] >= 0 ? fds[i] : open("/dev/null", O_RDWR | O_CLOEXEC);

		from[i] = fcntl(fd, F_DUPFD_CLOEXEC, 10);
		to[i] = (int)i;
		if (fds[i] < 0)
			sw_close_p(&fd);
	}
	rc = spawn(argv, from, to, n, true, ret, err);
	for (size_t i = 0; i < n; i++)
		sw_close_p(&from[i]);
	return rc;
}

/* Until the end of the stream, a newline (when `line`), or the deadline. False on the deadline. */
static bool collect(int fd, bool line, uint64_t deadline, char *out, size_t out_n)
{
	size_t n = 0;

	for (;;) {
		char buf[4096];
		uint64_t now = sw_mono_ms();
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t got;

		out[n] = 0;
		if (now >= deadline)
			return false;
		if (poll(&p, 1, (int)(deadline - now)) <= 0)
			continue;
		got = read(fd, buf, sizeof buf);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return true;
		size_t room = out_n - 1 - n, take = (size_t)got < room ? (size_t)got : room;

		memcpy(out + n, buf, take);
		n += take;
		out[n] = 0;
		if (line && memchr(buf, '\n', (size_t)got) != NULL)
			return true;
	}
}

int rt_run(char *const *argv, uint64_t timeout_ms, char *out, size_t out_n, int *ret_code,
	   struct sw_error *err)
{
	int fds[2], status = 0, rc;
	uint64_t deadline = sw_mono_ms() + timeout_ms;
	bool ended;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return sw_fail_sys(err, errno, "pipe");
	rc = spawn(argv, (int[]){fds[1], fds[1]}, (int[]){1, 2}, 2, false, &pid, err);
	close(fds[1]);
	if (rc < 0) {
		close(fds[0]);
		return rc;
	}
	ended = collect(fds[0], false, deadline, out, out_n);
	close(fds[0]);
	if (!ended)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	*ret_code = !ended ? -1 : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	return 0;
}

int rt_spawn_shim(char *const *argv, int lock_fd, pid_t *ret_container, struct sw_error *err)
{
	char reply[2200];
	const char *text;
	uint64_t pid;
	int fds[2], high, lock_high, rc;
	pid_t shim;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return sw_fail_sys(err, errno, "pipe");
	/* Clear of 3 and 4, so that neither dup2 overwrites the other's source. */
	high = fcntl(fds[1], F_DUPFD_CLOEXEC, 10);
	lock_high = fcntl(lock_fd, F_DUPFD_CLOEXEC, 10);
	close(fds[1]);
	rc = spawn(argv, (int[]){high, lock_high}, (int[]){3, 4}, 2, true, &shim, err);
	close(high);
	close(lock_high);
	if (rc < 0) {
		close(fds[0]);
		return rc;
	}
	if (!collect(fds[0], false, sw_mono_ms() + CREATE_TIMEOUT_MS, reply, sizeof reply)) {
		kill(shim, SIGKILL);
		rc = sw_fail(err, SW_ETIMEOUT,
			     "the OCI runtime did not create the container in %d s",
			     CREATE_TIMEOUT_MS / 1000);
	}
	close(fds[0]);
	if (rc < 0)
		return rc;
	reply[strcspn(reply, "\n")] = 0;
	text = sw_after(reply, "ok ");
	if (text != NULL && sw_parse_u64(text, INT32_MAX, &pid)) {
		*ret_container = (pid_t)pid;
		return 0;
	}
	while (waitpid(shim, NULL, 0) < 0 && errno == EINTR)
		;
	text = sw_after(reply, "err ");
	if (text == NULL)
		return sw_fail(err, SW_EIO, "swarm-shim died before the container was created");
	return sw_fail(err, SW_EPRECOND, "create: %s", rt_clean_message((char *)text));
}

char *rt_clean_message(char *msg)
{
	char *m = strstr(msg, "msg=\"");
	char *end;

	if (m != NULL) { /* runc: time="…" level=error msg="…" */
		msg = m + 5;
		end = strrchr(msg, '"');
		if (end != NULL)
			*end = 0;
	} else if (strlen(msg) > 22 && msg[4] == '-' && msg[10] == 'T' &&
		   (m = strstr(msg, "Z: ")) != NULL && m - msg < 40) { /* crun: 2026-…Z: */
		msg = m + 3;
	}
	for (end = msg + strlen(msg); end > msg && (end[-1] == '\n' || end[-1] == ' ');)
		*--end = 0;
	for (char *p = msg; *p != 0; p++)
		if (*p == '\n')
			*p = ' ';
	return msg;
}

bool rt_cgroup_v2(void)
{
	return sw_path_exists("/sys/fs/cgroup/cgroup.controllers");
}

/* Lines of /proc/PID/cgroup are "ID:CONTROLLERS:PATH"; v2 is "0::PATH". */
/* "cpu,cpuacct" holds both. */
static bool holds(const char *names, const char *controller)
{
	size_t n = strlen(controller);

	for (const char *s = names; s != NULL; s = strchr(s, ',')) {
		s += *s == ',';
		if (strncmp(s, controller, n) == 0 && (s[n] == 0 || s[n] == ','))
			return true;
	}
	return false;
}

char *rt_cgroup(pid_t pid, const char *controller)
{
	sw_autofree char *path = sw_asprintf("/proc/%d/cgroup", (int)pid);
	sw_autofree char *text = NULL;
	struct sw_error ignored;
	char *found = NULL;
	bool v2 = rt_cgroup_v2();

	if (sw_read_file(path, 65536, &text, NULL, &ignored) < 0)
		return NULL;
	for (char *save = NULL, *l = strtok_r(text, "\n", &save); l != NULL;
	     l = strtok_r(NULL, "\n", &save)) {
		char *names = strchr(l, ':');
		char *dir = names != NULL ? strchr(names + 1, ':') : NULL;

		if (dir == NULL || found != NULL)
			continue;
		*dir++ = 0;
		if (v2 && names[1] == 0)
			found = sw_asprintf("/sys/fs/cgroup%s", dir);
		else if (!v2 && holds(names + 1, controller))
			found = sw_asprintf("/sys/fs/cgroup/%s%s", controller, dir);
	}
	return found;
}

uint64_t rt_cgroup_ooms(const char *folder)
{
	static const char *const files[] = {"memory.events", "memory.oom_control"};

	for (size_t i = 0; i < SW_COUNT(files); i++) {
		sw_autofree char *path = sw_asprintf("%s/%s", folder, files[i]);
		sw_autofree char *text = NULL;
		struct sw_error ignored;
		char *at;

		if (sw_read_file(path, 65536, &text, NULL, &ignored) < 0)
			continue;
		at = strstr(text, "oom_kill ");
		if (at != NULL)
			return strtoull(at + strlen("oom_kill "), NULL, 10);
	}
	return 0;
}
