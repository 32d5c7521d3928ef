#include "runtime/shim/shim.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int say(const char *name, const char *why)
{
	(void)!write(2, name, strlen(name));
	(void)!write(2, ": ", 2);
	(void)!write(2, why, strlen(why));
	(void)!write(2, "\n", 1);
	return errno == ENOENT ? 127 : 126;
}

int init_main(char **argv)
{
	sigset_t all, none;
	pid_t child;

	sigfillset(&all);
	sigemptyset(&none);
	sigprocmask(SIG_BLOCK, &all, NULL);
	child = fork();
	if (child < 0)
		return say(argv[0], strerror(errno));
	if (child == 0) {
		setpgid(0, 0);
		tcsetpgrp(0, getpid());
		sigprocmask(SIG_SETMASK, &none, NULL);
		execvp(argv[0], argv);
		_exit(say(argv[0], strerror(errno)));
	}
	for (;;) {
		int sig = sigwaitinfo(&all, NULL), status;
		pid_t pid;

		if (sig > 0 && sig != SIGCHLD)
			kill(child, sig);
		while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
			if (pid == child)
				return WIFEXITED(status) ? WEXITSTATUS(status)
							 : 128 + WTERMSIG(status);
	}
}
