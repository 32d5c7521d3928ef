/*
 * swarm-shim: the parent of one container.
 *
 * It lives in its own session, so it outlives the agent that started it. It mounts the container's
 * root in a mount namespace of its own (nothing to unmount when it ends), has the OCI runtime
 * create the container, owns the container's output pipes, writes the log and, at the end, the exit
 * file.
 *
 *	swarm-shim run KEY=VALUE…    fd 3: one line back to the agent, "ok PID" or "err REASON"
 *	                             fd 4: a lock that is held while the shim lives
 *	swarm-shim init -- COMMAND…  process 1 of a container with init
 *
 * Keys: dir bundle id runtime root log log_size log_files overlay merged shared tty stdin. With tty=1
 * the container has a terminal, whose output is logged as stdout; with stdin=1 its input stays open,
 * and nobody writes to it.
 */
#include "runtime/shim/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STATUS_FD = 3, LOCK_FD = 4, DRAIN_MS = 200, REASON_MAX = 2000 };

struct shim {
	const char *dir, *bundle, *id, *runtime, *root, *overlay, *merged;
	bool shared, tty, input;
	int console; /* where the runtime hands a terminal over; -1 = no more */
	int held;    /* the other end of the container's open input */
	struct logfile log;
	struct stream out, err;
	int signals;
	pid_t creator;   /* the runtime's "create", 0 when it has ended */
	pid_t container; /* 0 until created */
	bool exited;
	int status; /* of the container, as waitpid gives it */
	long long deadline_ms;
	char reason[REASON_MAX]; /* what the runtime wrote while it created */
	size_t reason_n;
};

static long long now_ms(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (long long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void answer(const char *word, const char *text)
{
	char buf[REASON_MAX + 64];
	int n = snprintf(buf, sizeof buf, "%s %s\n", word, text);

	(void)!write(STATUS_FD, buf, (size_t)n);
	close(STATUS_FD);
}

static int give_up(const char *what)
{
	char buf[512];

	snprintf(buf, sizeof buf, "%s: %s", what, strerror(errno));
	answer("err", buf);
	return 1;
}

/* Written whole or not at all; on the disk before it has its name. */
static int write_file(const char *dir, const char *name, const char *text, bool sync)
{
	char path[4200], tmp[4200];
	int fd, rc;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	snprintf(tmp, sizeof tmp, "%s/%s.tmp", dir, name);
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -1;
	rc = write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -1;
	if (rc == 0 && sync)
		rc = fsync(fd);
	close(fd);
	if (rc == 0)
		rc = rename(tmp, path);
	if (rc == 0 && sync) {
		fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0) {
			fsync(fd);
			close(fd);
		}
	}
	return rc;
}

static void parse(struct shim *s, char **argv)
{
	const struct {
		const char *key;
		const char **to;
	} rows[] = {
		{"dir=", &s->dir},         {"bundle=", &s->bundle}, {"id=", &s->id},
		{"runtime=", &s->runtime}, {"root=", &s->root},     {"log=", &s->log.path},
		{"overlay=", &s->overlay}, {"merged=", &s->merged},
	};

	for (; *argv != NULL; argv++) {
		for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
			if (strncmp(*argv, rows[i].key, strlen(rows[i].key)) == 0)
				*rows[i].to = *argv + strlen(rows[i].key);
		if (strncmp(*argv, "log_size=", 9) == 0)
			s->log.max_size = atoll(*argv + 9);
		if (strncmp(*argv, "log_files=", 10) == 0)
			s->log.max_files = (int)strtol(*argv + 10, NULL, 10);
		if (strcmp(*argv, "shared=1") == 0)
			s->shared = true;
		if (strcmp(*argv, "tty=1") == 0)
			s->tty = true;
		if (strcmp(*argv, "stdin=1") == 0)
			s->input = true;
	}
}

static int mount_root(const struct shim *s)
{
	if (s->overlay == NULL)
		return 0;
	/* Mounts of the host still come in (slave); ours do not go out, and end with us. */
	if (!s->shared &&
	    (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0))
		return -1;
	return mount("overlay", s->merged, "overlay", 0, s->overlay);
}

static int start_create(struct shim *s)
{
	char pid_file[4200];
	int out[2], err[2], in[2] = {-1, -1};
	pid_t pid;

	snprintf(pid_file, sizeof pid_file, "%s/pid", s->dir);
	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		return -1;
	if (s->tty && (s->console = console_listen(s->dir)) < 0)
		return -1;
	if (s->input && !s->tty && pipe2(in, O_CLOEXEC) < 0)
		return -1;
	pid = fork();
	if (pid < 0)
		return -1;
	if (pid == 0) {
		const char *argv[] = {s->runtime, "--root",  s->root,      "create",
				      "--bundle", s->bundle, "--pid-file", pid_file,
				      s->id,      NULL,      NULL,         NULL};
		int null = in[0] >= 0 ? in[0] : open("/dev/null", O_RDONLY);
		sigset_t none;

		if (s->tty && chdir(s->dir) == 0) {
			argv[8] = "--console-socket";
			argv[9] = CONSOLE_NAME;
			argv[10] = s->id;
		}

		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		dup2(null, 0);
		dup2(out[1], 1);
		dup2(err[1], 2);
		execvp(s->runtime, (char **)argv);
		dprintf(2, "OCI runtime %s: %s\n", s->runtime, strerror(errno));
		_exit(127);
	}
	close(out[1]);
	close(err[1]);
	if (in[0] >= 0)
		close(in[0]);
	s->held = in[1];
	s->out = (struct stream){.fd = out[0], .name = "stdout"};
	s->err = (struct stream){.fd = err[0], .name = "stderr"};
	s->creator = pid;
	return 0;
}

/* Until the runtime has created the container, what comes on stderr is its own. */
static void take(struct shim *s, struct stream *st)
{
	char buf[LINE_MAX_BYTES];
	ssize_t n = read(st->fd, buf, sizeof buf);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		close(st->fd);
		st->fd = -1;
		log_flush(&s->log, st);
		return;
	}
	if (s->container == 0) {
		size_t room = REASON_MAX - 1 - s->reason_n;
		size_t part = (size_t)n < room ? (size_t)n : room;

		memcpy(s->reason + s->reason_n, buf, part);
		s->reason_n += part;
		return;
	}
	log_add(&s->log, st, buf, (size_t)n);
}

/* From here on the terminal is what the container writes to. */
static void take_console(struct shim *s)
{
	int fd = console_take(s->console);

	close(s->console);
	s->console = -1;
	if (fd < 0)
		return;
	if (s->out.fd >= 0)
		close(s->out.fd);
	s->out.fd = fd;
}

static int read_pid(const struct shim *s)
{
	char path[4200], buf[32] = {0};
	int fd;

	snprintf(path, sizeof path, "%s/pid", s->dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	(void)!read(fd, buf, sizeof buf - 1);
	close(fd);
	return (int)strtol(buf, NULL, 10);
}

static void drain_reason(struct shim *s)
{
	struct pollfd p = {.fd = s->err.fd, .events = POLLIN};

	while (s->err.fd >= 0 && poll(&p, 1, 0) > 0) {
		take(s, &s->err);
		p.fd = s->err.fd;
	}
}

/* Returns false when the container could not be created. */
static bool created(struct shim *s, int status)
{
	char text[32];
	int pid;

	drain_reason(s);
	s->creator = 0;
	pid = WIFEXITED(status) && WEXITSTATUS(status) == 0 ? read_pid(s) : 0;
	if (pid <= 0) {
		if (s->reason_n == 0)
			s->reason_n = (size_t)snprintf(s->reason, REASON_MAX,
						       "OCI runtime %s create ended with status %d",
						       s->runtime, status);
		while (s->reason_n > 0 && s->reason[s->reason_n - 1] == '\n')
			s->reason_n--;
		s->reason[s->reason_n] = 0;
		answer("err", s->reason);
		return false;
	}
	s->container = pid;
	snprintf(text, sizeof text, "%d", pid);
	answer("ok", text);
	return true;
}

/* False when there is nothing left to do. */
static bool reap(struct shim *s)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	(void)!read(s->signals, &info, sizeof info);
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == s->creator && !created(s, status))
			return false;
		if (s->container != 0 && pid == s->container) {
			s->exited = true;
			s->status = status;
			s->deadline_ms = now_ms(CLOCK_MONOTONIC) + DRAIN_MS;
		}
	}
	return true;
}

/* A grandchild may hold the pipes open for ever: after the exit only DRAIN_MS more. */
static void watch(struct shim *s)
{
	for (;;) {
		struct pollfd p[4] = {{.fd = s->signals, .events = POLLIN},
				      {.fd = s->out.fd, .events = POLLIN},
				      {.fd = s->err.fd, .events = POLLIN},
				      {.fd = s->console, .events = POLLIN}};
		int wait = -1;

		if (s->exited) {
			long long left = s->deadline_ms - now_ms(CLOCK_MONOTONIC);

			if (left <= 0 || (s->out.fd < 0 && s->err.fd < 0))
				return;
			wait = (int)left;
		}
		if (poll(p, 4, wait) < 0)
			continue;
		if (p[3].revents != 0) {
			take_console(s);
			continue;
		}
		if (p[1].revents != 0)
			take(s, &s->out);
		if (p[2].revents != 0)
			take(s, &s->err);
		if (p[0].revents != 0 && !reap(s))
			return;
	}
}

static int run(struct shim *s)
{
	char text[96];
	sigset_t chld;
	int fd;

	setsid();
	if (chdir("/") < 0)
		return give_up("chdir");
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_SETMASK, &chld, NULL);
	s->signals = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
	fcntl(STATUS_FD, F_SETFD, FD_CLOEXEC);
	fcntl(LOCK_FD, F_SETFD, FD_CLOEXEC);

	snprintf(text, sizeof text, "%d\n", (int)getpid());
	if (write_file(s->dir, "shim.pid", text, false) < 0)
		return give_up("write shim.pid");
	if (mount_root(s) < 0)
		return give_up("mount the root file system (overlay)");
	log_open(&s->log);
	if (start_create(s) < 0)
		return give_up("start the OCI runtime");
	/* The container keeps the score it was given; only the shim is spared. */
	fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		(void)!write(fd, "-999", 4);
		close(fd);
	}
	watch(s);
	if (!s->exited)
		return 1;
	log_flush(&s->log, &s->out);
	log_flush(&s->log, &s->err);
	snprintf(text, sizeof text, "%d %d %lld\n",
		 WIFEXITED(s->status) ? WEXITSTATUS(s->status) : 128 + WTERMSIG(s->status),
		 WIFSIGNALED(s->status) ? WTERMSIG(s->status) : 0, now_ms(CLOCK_REALTIME));
	return write_file(s->dir, "exit", text, true) < 0;
}

int main(int argc, char **argv)
{
	static struct shim s = {.log = {.max_files = 1}, .console = -1, .held = -1};

	if (argc > 3 && strcmp(argv[1], "init") == 0)
		return init_main(argv + 3);
	if (argc < 3 || strcmp(argv[1], "run") != 0) {
		dprintf(2, "usage: swarm-shim run KEY=VALUE... | swarm-shim init -- COMMAND...\n");
		return 2;
	}
	parse(&s, argv + 2);
	if (s.dir == NULL || s.bundle == NULL || s.id == NULL || s.runtime == NULL ||
	    s.root == NULL) {
		answer("err", "swarm-shim: dir, bundle, id, runtime and root are needed");
		return 2;
	}
	return run(&s);
}
