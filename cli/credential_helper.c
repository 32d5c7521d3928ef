/* docker-credential-NAME get: the server on its input, JSON on its output. */
#include "cli/credential_helper.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/command.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_ANSWER = 64 * 1024 };

extern char **environ;

static int spawn_helper(const char *program, int fds[2], pid_t *ret, struct sw_error *err)
{
	char *argv[] = {(char *)program, (char *)"get", NULL};
	posix_spawn_file_actions_t fa;
	int in[2], out[2], rc;

	if (pipe2(in, O_CLOEXEC) < 0)
		return sw_fail_sys(err, errno, "pipe");
	if (pipe2(out, O_CLOEXEC) < 0) {
		rc = sw_fail_sys(err, errno, "pipe");
		close(in[0]);
		close(in[1]);
		return rc;
	}
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_adddup2(&fa, in[0], 0);
	posix_spawn_file_actions_adddup2(&fa, out[1], 1);
	rc = posix_spawnp(ret, program, &fa, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&fa);
	close(in[0]);
	close(out[1]);
	fds[0] = out[0];
	fds[1] = in[1];
	if (rc == 0)
		return 0;
	close(fds[0]);
	close(fds[1]);
	return sw_fail_sys(err, rc, "run %s", program);
}

static size_t read_all(int fd, char *buf, size_t cap)
{
	size_t n = 0;

	for (ssize_t r;
	     n < cap && ((r = read(fd, buf + n, cap - n)) > 0 || (r < 0 && errno == EINTR));)
		n += r > 0 ? (size_t)r : 0;
	return n;
}

static char *auth_text(const char *user, const char *secret)
{
	sw_autofree char *plain = sw_asprintf("%s:%s", user, secret);
	char *auth = sw_base64(plain, strlen(plain));

	explicit_bzero(plain, strlen(plain));
	return auth;
}

char *credential_helper_ask(const char *name, const char *server)
{
	sw_autofree char *program = sw_asprintf("docker-credential-%s", name);
	sw_autofree char *answer = sw_alloc(MAX_ANSWER + 1);
	struct sw_error err;
	int fds[2] = {-1, -1}, status = -1;
	const char *user, *secret;
	char *found = NULL;
	size_t n;
	pid_t pid;
	json_t *j;

	if (spawn_helper(program, fds, &pid, &err) != 0) {
		cli_warn("credentials of %s: %s", server, err.msg);
		return NULL;
	}
	signal(SIGPIPE, SIG_IGN);
	(void)sw_write_all(fds[1], server, strlen(server));
	close(fds[1]);
	n = read_all(fds[0], answer, MAX_ANSWER);
	answer[n] = 0;
	close(fds[0]);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	j = json_loads(answer, 0, NULL);
	user = json_string_value(json_object_get(j, "Username"));
	secret = json_string_value(json_object_get(j, "Secret"));
	if (status == 0 && !sw_is_empty(user) && secret != NULL)
		found = auth_text(user, secret);
	else
		cli_warn("%s has no credentials of %s%s%.200s", program, server,
			 status != 0 && n > 0 ? ": " : "", status != 0 ? answer : "");
	json_decref(j);
	explicit_bzero(answer, n);
	return found;
}
