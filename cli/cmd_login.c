/* login, logout: credentials of registries, kept where Docker keeps them. */
#include "cli/cmd.h"

#include "base/mem.h"
#include "base/str.h"
#include "cli/registry_auth.h"
#include "cli/registry_share.h"
#include "proto/msg.h"

#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

enum { MAX_SECRET = 12 * 1024 };

/* What an argument names: a host, or a URL of one. */
static char *host_of(const struct cli *cli)
{
	const char *s = cli->n_args > 0 ? cli->args[0] : "docker.io", *scheme = strstr(s, "://");
	sw_autofree char *host = NULL;

	s = scheme != NULL ? scheme + 3 : s;
	host = sw_strndup(s, strcspn(s, "/"));
	return sw_streq(host, "index.docker.io") ? sw_strdup("docker.io") : take_ptr(&host);
}

/* One line, without what ends it. */
static int read_line(const char *what, bool secret, char **ret, struct sw_error *err)
{
	struct termios old, quiet;
	bool tty = isatty(0) && tcgetattr(0, &old) == 0;
	char buf[MAX_SECRET];

	if (tty) {
		fprintf(stderr, "%s: ", what);
		quiet = old;
		quiet.c_lflag &= ~(tcflag_t)(secret ? ECHO : 0);
		(void)tcsetattr(0, TCSAFLUSH, &quiet);
	}
	*ret = fgets(buf, sizeof buf, stdin) != NULL ? sw_strndup(buf, strcspn(buf, "\r\n")) : NULL;
	if (tty) {
		(void)tcsetattr(0, TCSAFLUSH, &old);
		if (secret)
			fputc('\n', stderr);
	}
	explicit_bzero(buf, sizeof buf);
	if (sw_is_empty(*ret)) {
		free(take_ptr(ret));
		return sw_fail(err, SW_EINVAL, "no %s was given", what);
	}
	return 0;
}

static int ask(const struct cli *cli, char **ret_user, char **ret_password, struct sw_error *err)
{
	const char *user = cli_get(cli, "username"), *password = cli_get(cli, "password");
	bool piped = cli_flag(cli, "password-stdin");
	int rc = 0;

	*ret_user = sw_is_empty(user) ? NULL : sw_strdup(user);
	*ret_password = sw_is_empty(password) ? NULL : sw_strdup(password);
	if (piped && (*ret_user == NULL || *ret_password != NULL))
		return sw_fail(err, SW_EINVAL,
			       "--password-stdin goes with --username, without --password");
	if (!piped && !isatty(0) && (*ret_user == NULL || *ret_password == NULL))
		return sw_fail(err, SW_EINVAL,
			       "there is no terminal to ask on: --username USER --password-stdin");
	if (*ret_user == NULL)
		rc = read_line("username", false, ret_user, err);
	if (rc == 0 && *ret_password == NULL)
		rc = read_line("password", true, ret_password, err);
	if (rc == 0 && strchr(*ret_user, ':') != NULL)
		rc = sw_fail(err, SW_EINVAL, "user \"%s\" has a colon", *ret_user);
	return rc;
}

static void wipe(char *s)
{
	if (s != NULL)
		explicit_bzero(s, strlen(s));
	free(s);
}

CMD(login)
{
	sw_autofree char *host = host_of(cli);
	char *user, *password, *plain = NULL, *auth = NULL;
	int rc = ask(cli, &user, &password, err);

	if (rc == 0) {
		plain = sw_asprintf("%s:%s", user, password);
		auth = sw_base64(plain, strlen(plain));
		rc = registry_auth_keep(host, auth, err);
	}
	if (rc == 0 && cli_flag(cli, "cluster"))
		rc = registry_share_host(cli, host, err);
	if (rc == 0)
		printf("Credentials of %s are kept; the registry is asked when they are first "
		       "used\n",
		       host);
	free(user);
	wipe(password);
	wipe(plain);
	wipe(auth);
	return rc;
}

CMD(logout)
{
	sw_autofree char *host = host_of(cli);
	Pb__Ref q = PB__REF__INIT;
	Pb__IdReply *r = NULL;
	struct client *c;
	int rc = registry_auth_keep(host, NULL, err);

	if (rc == 0 && cli_flag(cli, "cluster"))
		rc = cli_client(cli, &c, err);
	if (rc == 0 && cli_flag(cli, "cluster")) {
		q.ref = host;
		rc = client_call(c, METHOD_RegistryRemove, &q.base, &r, err);
		msg_free(r != NULL ? &r->base : NULL);
	}
	if (rc == 0)
		printf("Credentials of %s are forgotten\n", host);
	return rc;
}
