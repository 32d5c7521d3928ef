/*
 * swarm-managerd, run as an unprivileged child in a session of its own while this node is a
 * manager. It outlives the agent: a pid file and the program's name find it again. When it ends by
 * itself it is started again after a back-off.
 */
#include "agent/internal.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FIRST_MS = 200, MAX_MS = 1000, STABLE_MS = 1000, STOP_MS = 5000 };

struct child {
	struct agent *a;
	pid_t pid; /* 0 = not running */
	int pidfd;
	int status; /* of the one that ended, as a shell says it; -1 = not ours to know */
	uv_poll_t poll;
	bool polling, wanted;
	bool stopping; /* asked to end; until it has, nothing is started */
	bool wipe;     /* its state goes when it has ended, whatever is wanted by then */
	char **join;
	uint64_t started_ms;
	struct sw_timer retry; /* start again; or, while stopping, the end of patience */
	struct sw_backoff backoff;
	void (*stopped)(void *);
	void *stopped_arg;
};

static void start(struct child *c);

static char *pid_path(const struct agent *a)
{
	return sw_asprintf("%s/manager.pid", a->o.run_dir);
}

static void wipe_state(struct child *c)
{
	struct sw_error err;

	if (sw_remove_tree(c->a->manager_dir, &err) != 0)
		sw_warn("manager state not removed", SW_ERR(&err));
}

static void ended(struct child *c)
{
	sw_autofree char *path = pid_path(c->a);
	void (*cb)(void *) = c->stopped;

	unlink(path);
	c->pid = 0;
	sw_timer_stop(&c->retry);
	if (c->wipe)
		wipe_state(c);
	c->wipe = false;
	c->stopped = NULL;
	if (cb != NULL)
		cb(c->stopped_arg);
	if (c->wanted && c->stopping) {
		c->stopping = false;
		start(c);
	} else if (c->wanted) {
		if (sw_mono_ms() - c->started_ms > STABLE_MS)
			sw_backoff_reset(&c->backoff);
		/* 126: its user can't be taken on; 127: it can't be run */
		sw_warn("manager ended: starting it again", SW_INT("status", c->status));
		sw_timer_set(&c->retry, sw_backoff_next(&c->backoff, &c->a->rand));
	}
	c->stopping = false;
}

static void on_poll_closed(uv_handle_t *h)
{
	struct child *c = container_of((uv_poll_t *)h, struct child, poll);

	close(c->pidfd);
	c->pidfd = -1;
	sw_closer_drop(&c->a->closer);
	if (!c->a->closer.closing)
		ended(c);
}

static void on_pidfd(uv_poll_t *p, int status, int events)
{
	struct child *c = container_of(p, struct child, poll);
	int st;

	(void)status;
	(void)events;
	/* Not our child when it was taken over: then somebody else reaps it. */
	c->status = waitpid(c->pid, &st, WNOHANG) != c->pid ? -1
		    : WIFEXITED(st)                         ? WEXITSTATUS(st)
							    : 128 + WTERMSIG(st);
	c->polling = false;
	uv_close((uv_handle_t *)p, on_poll_closed);
}

static bool watch(struct child *c, pid_t pid)
{
	c->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (c->pidfd < 0)
		return false;
	fcntl(c->pidfd, F_SETFD, FD_CLOEXEC);
	c->pid = pid;
	uv_poll_init(c->a->loop, &c->poll, c->pidfd);
	uv_poll_start(&c->poll, UV_READABLE, on_pidfd);
	c->polling = true;
	sw_closer_hold(&c->a->closer);
	return true;
}

/* ---- taking over ---- */

/* By its file: the name that the kernel shows is that of a descriptor at first. */
static bool is_managerd(pid_t pid)
{
	sw_autofree char *path = sw_asprintf("/proc/%d/exe", (int)pid);
	char exe[PATH_MAX];
	ssize_t n = readlink(path, exe, sizeof exe - 1);
	const char *name;

	if (n <= 0)
		return false;
	exe[n] = 0;
	name = strrchr(exe, '/');
	/* An upgrade may have replaced it: then " (deleted)" follows. */
	return name != NULL && sw_after(name, "/swarm-managerd") != NULL;
}

static bool take_over(struct child *c)
{
	sw_autofree char *path = pid_path(c->a);
	sw_autofree char *text = NULL;
	uint64_t pid;

	if (sw_read_file(path, 32, &text, NULL, NULL) != 0)
		return false;
	text[strcspn(text, "\n")] = 0;
	if (!sw_parse_u64(text, INT32_MAX, &pid) || pid == 0 || !is_managerd((pid_t)pid))
		return false;
	if (!watch(c, (pid_t)pid))
		return false;
	sw_info("manager taken over", SW_INT("pid", pid));
	return true;
}

/* ---- starting ---- */

static int make_dirs(struct child *c, struct sw_error *err)
{
	struct agent *a = c->a;
	sw_autofree char *sock_dir = sw_asprintf("%s/manager", a->o.run_dir);
	sw_autofree char *link = sw_asprintf("%s/manager.sock", a->o.run_dir);
	int rc = sw_mkdir_p(a->manager_dir, 0700, err);

	if (rc == 0)
		rc = sw_mkdir_p(sock_dir, 0750, err);
	if (rc != 0)
		return rc;
	if (chown(a->manager_dir, a->manager_uid, a->manager_gid) < 0 ||
	    chown(sock_dir, a->manager_uid, a->manager_gid) < 0)
		return sw_fail_sys(err, errno, "give %s to user %s", a->manager_dir,
				   a->o.manager_user);
	unlink(link);
	if (symlink("manager/manager.sock", link) < 0)
		return sw_fail_sys(err, errno, "make %s", link);
	return 0;
}

static char **arguments(struct child *c)
{
	struct agent *a = c->a;
	sw_autofree char *sock = sw_asprintf("%s/manager/manager.sock", a->o.run_dir);
	char host[64];
	unsigned port = 2377;
	sw_autofree char *advertise = NULL;
	const char *const fixed[] = {
		a->o.managerd, "--state-dir", a->manager_dir, "--identity-dir", a->identity_dir,
		"--socket",    sock};
	char **v = NULL;

	if (bootstrap_address(a->id.listen, 2377, host, &port, NULL) != 0)
		port = 2377;
	advertise = sw_asprintf("%s:%u", a->id.advertise, port);
	for (size_t i = 0; i < SW_COUNT(fixed); i++)
		v = sw_strv_add(v, fixed[i]);
	v = sw_strv_add(sw_strv_add(v, "--listen"), a->id.listen);
	v = sw_strv_add(sw_strv_add(v, "--advertise"), advertise);
	for (size_t i = 0; c->join != NULL && c->join[i] != NULL; i++)
		v = sw_strv_add(sw_strv_add(v, "--join"), c->join[i]);
	return v;
}

static pid_t spawn(struct child *c, char **argv)
{
	const struct agent *a = c->a;
	/* Opened by root: the manager's user may not be able to go where it lies, as into a home.
	 */
	sw_autoclose int program = open(argv[0], O_PATH | O_CLOEXEC);
	sigset_t none;
	pid_t pid;

	if (program < 0)
		return -1;
	sigemptyset(&none);
	pid = fork();
	if (pid != 0)
		return pid;
	setsid();
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (a->manager_uid != 0 && (setgroups(0, NULL) < 0 ||
				    setresgid(a->manager_gid, a->manager_gid, a->manager_gid) < 0 ||
				    setresuid(a->manager_uid, a->manager_uid, a->manager_uid) < 0))
		_exit(126);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	fexecve(program, argv, environ);
	_exit(127);
}

static void on_retry(struct sw_timer *t)
{
	struct child *c = container_of(t, struct child, retry);

	if (c->stopping && c->pid != 0)
		kill(c->pid, SIGKILL);
	else if (c->wanted)
		start(c);
}

static void start(struct child *c)
{
	sw_autofree char *path = pid_path(c->a);
	struct sw_error err;
	char text[16];
	char **argv;
	pid_t pid;

	if (c->pid != 0 || take_over(c))
		return;
	if (make_dirs(c, &err) != 0) {
		sw_err("manager can't be started", SW_ERR(&err));
		sw_timer_set(&c->retry, sw_backoff_next(&c->backoff, &c->a->rand));
		return;
	}
	argv = arguments(c);
	pid = spawn(c, argv);
	sw_strv_free(argv);
	c->started_ms = sw_mono_ms();
	if (pid < 0 || !watch(c, pid)) {
		sw_err("manager can't be started", SW_STR("program", c->a->o.managerd),
		       SW_STR("error", strerror(errno)));
		sw_timer_set(&c->retry, sw_backoff_next(&c->backoff, &c->a->rand));
		return;
	}
	snprintf(text, sizeof text, "%d\n", (int)pid);
	if (sw_write_file_fast(path, text, strlen(text), 0644, &err) != 0)
		sw_warn("pid of the manager not recorded", SW_ERR(&err));
	sw_info("manager started", SW_INT("pid", pid));
}

/* ---- the object ---- */

struct child *child_new(struct agent *a)
{
	struct child *c = sw_new(struct child);

	c->a = a;
	c->pidfd = -1;
	c->backoff = (struct sw_backoff){.first_ms = FIRST_MS, .max_ms = MAX_MS};
	sw_timer_init(&c->retry, a->loop, &a->closer, on_retry);
	return c;
}

void child_start(struct child *c, char *const *join)
{
	if (c->wanted)
		return;
	c->wanted = true;
	sw_strv_free(c->join);
	c->join = NULL;
	for (size_t i = 0; join != NULL && join[i] != NULL; i++)
		c->join = sw_strv_add(c->join, join[i]);
	if (!c->stopping)
		start(c);
}

void child_stop(struct child *c, bool wipe, void (*cb)(void *), void *arg)
{
	c->wanted = false;
	c->wipe = wipe;
	c->stopped = cb;
	c->stopped_arg = arg;
	c->stopping = true;
	if (c->pid == 0 && !take_over(c)) {
		ended(c);
		return;
	}
	kill(c->pid, SIGTERM);
	sw_timer_set(&c->retry, STOP_MS);
}

void child_reload(struct child *c)
{
	if (c->pid != 0)
		kill(c->pid, SIGHUP);
}

bool child_is_wanted(const struct child *c)
{
	return c->wanted;
}

void child_free(struct child *c)
{
	c->wanted = false;
	c->stopped = NULL;
	sw_timer_close(&c->retry);
	if (c->polling)
		uv_close((uv_handle_t *)&c->poll, on_poll_closed);
	sw_strv_free(c->join);
	c->join = NULL;
}
