/* operator issue, and contexts: work from afar with a certificate of one's own. */
#include "cli/cmd.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/context.h"
#include "cli/human.h"
#include "proto/msg.h"
#include "proto/pki/pki.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MAX_CONTEXT = 256 * 1024 };

static int write_context(struct cli *cli, const char *text, struct sw_error *err)
{
	const char *path = cli_get(cli, "output");

	if (path == NULL) {
		fputs(text, stdout);
		return 0;
	}
	return sw_write_file(path, text, strlen(text), 0600, err);
}

/* The key is made here and never leaves but in the file. */
CMD(operator_issue)
{
	Pb__OperatorIssueRequest q = PB__OPERATOR_ISSUE_REQUEST__INIT;
	Pb__OperatorIssueReply *r = NULL;
	struct context ctx = {0};
	sw_autofree char *csr = NULL;
	struct client *c;
	int rc = cli_client(cli, &c, err);

	if (rc == 0)
		rc = pki_new_request(&ctx.key, &csr, err);
	if (rc == 0) {
		q.name = cli->args[0];
		q.csr = (ProtobufCBinaryData){strlen(csr), (uint8_t *)csr};
		rc = client_call(c, METHOD_OperatorIssue, &q.base, &r, err);
	}
	if (rc == 0) {
		ctx.cert = sw_strndup((char *)r->certificate.data, r->certificate.len);
		ctx.ca = sw_strndup((char *)r->ca_cert.data, r->ca_cert.len);
		for (size_t i = 0; i < r->n_addresses; i++)
			ctx.addresses = sw_strv_add(ctx.addresses, r->addresses[i]);
		char *text = context_text(&ctx);
		rc = write_context(cli, text, err);
		pki_free_key(text); /* it has the key: wiped too */
	}
	msg_free(r != NULL ? &r->base : NULL);
	context_fini(&ctx);
	return rc;
}

/* "ann.ctx" names the context ann. */
static char *name_of(const struct cli *cli)
{
	const char *given = cli_get(cli, "name"), *path = cli->args[0];
	const char *slash = strrchr(path, '/');
	const char *base = slash != NULL ? slash + 1 : path;

	if (given != NULL)
		return sw_strdup(given);
	return sw_strndup(base, sw_ends_with(base, ".ctx") ? strlen(base) - 4 : strlen(base));
}

CMD(context_import)
{
	const char *path = cli->args[0];
	sw_autofree char *name = name_of(cli);
	char *text = NULL;
	size_t n;
	int rc = sw_read_file(sw_streq(path, "-") ? "/dev/stdin" : path, MAX_CONTEXT, &text, &n,
			      err);

	if (rc == 0 && sw_streq(name, "-"))
		rc = sw_fail(err, SW_EINVAL,
			     "a name is needed for a context from standard input: "
			     "--name NAME");
	if (rc == 0)
		rc = context_save(name, text, err);
	if (rc == 0)
		printf("%s\nUse it with: swarmctl --context %s, or from now on: swarmctl context "
		       "use "
		       "%s\n",
		       name, name, name);
	if (text != NULL)
		pki_free_key(text);
	return rc;
}

static int compare(const void *a, const void *b)
{
	return human_compare(*(char *const *)a, *(char *const *)b);
}

static char **context_names(void)
{
	sw_autofree char *dir = context_dir();
	sw_autofree char *path = sw_asprintf("%s/contexts", dir);
	DIR *d = opendir(path);
	char **names = NULL;

	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		if (!sw_ends_with(e->d_name, ".ctx"))
			continue;
		sw_autofree char *name = sw_strndup(e->d_name, strlen(e->d_name) - 4);
		names = sw_strv_add(names, name);
	}
	if (d != NULL)
		closedir(d);
	if (names != NULL)
		qsort(names, sw_strv_len(names), sizeof *names, compare);
	return names;
}

CMD(context_ls)
{
	sw_autofree char *current = context_current();
	char **names = context_names();

	(void)cli;
	(void)err;
	printf("default%s\n", sw_is_empty(current) ? " *" : "");
	for (size_t i = 0; names != NULL && names[i] != NULL; i++)
		printf("%s%s\n", names[i],
		       current != NULL && sw_streq(names[i], current) ? " *" : "");
	sw_strv_free(names);
	return 0;
}

CMD(context_use)
{
	const char *name = cli->args[0];
	int rc = context_use(sw_streq(name, "default") ? "" : name, err);

	if (rc == 0)
		printf("%s\n", name);
	return rc;
}

CMD(context_show)
{
	sw_autofree char *current = context_current();

	(void)cli;
	(void)err;
	printf("%s\n", sw_is_empty(current) ? "default" : current);
	return 0;
}

CMD(context_rm)
{
	for (size_t i = 0; i < cli->n_args; i++) {
		sw_autofree char *path = NULL;
		sw_autofree char *current = context_current();

		if (!context_name_ok(cli->args[i]))
			return sw_fail(err, SW_EINVAL, "\"%s\" is no name of a context",
				       cli->args[i]);
		path = context_path(cli->args[i]);
		if (unlink(path) < 0)
			return sw_fail(err, SW_ENOTFOUND, "no such context: %s", cli->args[i]);
		if (current != NULL && sw_streq(current, cli->args[i])) {
			int rc = context_use("", err);

			if (rc != 0)
				return rc;
		}
		printf("%s\n", cli->args[i]);
	}
	return 0;
}
