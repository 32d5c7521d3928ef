#include "cli/registry_auth.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/image_host.h"
#include "proto/msg.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_ANSWER = 64 * 1024, HUB_KEYS = 3 };

extern char **environ;

/* Docker's own registry goes by several names, the first of which is what it writes. */
static const char *const hub[HUB_KEYS] = {"https://index.docker.io/v1/", "docker.io",
					  "index.docker.io"};

static char *config_path(void)
{
	const char *dir = getenv("DOCKER_CONFIG"), *home = getenv("HOME");

	if (!sw_is_empty(dir))
		return sw_asprintf("%s/config.json", dir);
	return sw_asprintf("%s/.docker/config.json", home != NULL ? home : "");
}

static const char *key_of(const char *host)
{
	return sw_streq(host, "docker.io") ? hub[0] : host;
}

/* ---- helpers: docker-credential-NAME get, the server on its input, JSON on its output ---- */

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

static char *ask_helper(const char *name, const char *server)
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
		fprintf(stderr, "warning: credentials of %s: %s\n", server, err.msg);
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
		fprintf(stderr, "warning: %s has no credentials of %s%s%.200s\n", program, server,
			status != 0 && n > 0 ? ": " : "", status != 0 ? answer : "");
	json_decref(j);
	explicit_bzero(answer, n);
	return found;
}

/* ---- what is kept ---- */

static const char *helper_of(const json_t *config, const char *host)
{
	const char *h =
		json_string_value(json_object_get(json_object_get(config, "credHelpers"), host));

	/* A store keeps an empty entry for each registry that it knows. */
	if (h == NULL && json_object_get(json_object_get(config, "auths"), key_of(host)) != NULL)
		h = json_string_value(json_object_get(config, "credsStore"));
	return h;
}

static const char *plain_of(const json_t *config, const char *host)
{
	const json_t *auths = json_object_get(config, "auths");
	sw_autofree char *url = sw_asprintf("https://%s", host);
	const char *auth = NULL;

	for (int k = 0; k < HUB_KEYS && auth == NULL && sw_streq(host, "docker.io"); k++)
		auth = json_string_value(json_object_get(json_object_get(auths, hub[k]), "auth"));
	if (auth == NULL)
		auth = json_string_value(json_object_get(json_object_get(auths, host), "auth"));
	if (auth == NULL)
		auth = json_string_value(json_object_get(json_object_get(auths, url), "auth"));
	return auth;
}

char *registry_auth_of(const char *host)
{
	sw_autofree char *path = config_path();
	json_t *config = json_load_file(path, 0, NULL);
	const char *helper = helper_of(config, host), *auth = plain_of(config, host);
	char *found = NULL;

	if (helper != NULL)
		found = ask_helper(helper, key_of(host));
	else if (!sw_is_empty(auth))
		found = sw_strdup(auth);
	json_decref(config);
	return found;
}

char *registry_auth(const char *image)
{
	sw_autofree char *host = image_host(image);

	return registry_auth_of(host);
}

static int load_config(const char *path, json_t **ret, struct sw_error *err)
{
	json_error_t e;

	*ret = sw_path_exists(path) ? json_load_file(path, 0, &e) : json_object();
	if (json_is_object(*ret))
		return 0;
	json_decref(*ret);
	return sw_fail(err, SW_ECORRUPT, "%s is not to be read as JSON: mend it or move it away",
		       path);
}

int registry_auth_keep(const char *host, const char *auth, struct sw_error *err)
{
	sw_autofree char *path = config_path(),
			 *dir = sw_strndup(path, strlen(path) - strlen("/config.json"));
	json_t *config = NULL, *auths;
	char *text = NULL;
	int rc = sw_mkdir_p(dir, 0700, err);

	if (rc == 0)
		rc = load_config(path, &config, err);
	if (rc != 0)
		return rc;
	auths = json_object_get(config, "auths");
	if (!json_is_object(auths)) {
		auths = json_object();
		json_object_set_new(config, "auths", auths);
	}
	if (auth != NULL)
		json_object_set_new(auths, key_of(host), json_pack("{s:s}", "auth", auth));
	else if (json_object_del(auths, key_of(host)) != 0)
		rc = sw_fail(err, SW_ENOTFOUND, "%s has no credentials of %s", path, host);
	if (rc == 0) {
		text = json_dumps(config, JSON_INDENT(8));
		rc = sw_write_file(path, text, strlen(text), 0600, err);
		explicit_bzero(text, strlen(text));
	}
	free(text);
	json_decref(config);
	return rc;
}

/* ---- for the cluster ---- */

int registry_auth_share_host(struct cli *cli, const char *host, struct sw_error *err)
{
	Pb__RegistrySetRequest q = PB__REGISTRY_SET_REQUEST__INIT;
	Pb__RegistrySpec spec = PB__REGISTRY_SPEC__INIT;
	sw_autofree char *auth = registry_auth_of(host);
	Pb__IdReply *r = NULL;
	struct client *c;
	int rc;

	if (auth == NULL)
		return 0;
	rc = cli_client(cli, &c, err);
	if (rc != 0)
		return rc;
	spec.name = (char *)host;
	spec.auth = auth;
	q.spec = &spec;
	rc = client_call(c, METHOD_RegistrySet, &q.base, &r, err);
	msg_free(r != NULL ? &r->base : NULL);
	explicit_bzero(auth, strlen(auth));
	return rc;
}

int registry_auth_share(struct cli *cli, char *const *images, size_t n, struct sw_error *err)
{
	char **hosts = NULL;
	int rc = 0;

	for (size_t i = 0; i < n; i++) {
		sw_autofree char *host = image_host(images[i]);

		if (!sw_strv_has(hosts, host))
			hosts = sw_strv_add(hosts, host);
	}
	for (size_t i = 0; rc == 0 && hosts != NULL && hosts[i] != NULL; i++)
		rc = registry_auth_share_host(cli, hosts[i], err);
	sw_strv_free(hosts);
	return rc;
}
