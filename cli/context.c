/* Contexts as files. */
#include "cli/context.h"

#include "base/buf.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/pki/pki.h"

#include <ctype.h>

enum { MAX_CONTEXT = 256 * 1024, MAX_NAME = 64 };

void context_fini(struct context *c)
{
	sw_strv_free(c->addresses);
	free(c->ca);
	free(c->cert);
	pki_free_key(c->key);
	*c = (struct context){0};
}

/* A PEM block beginning at `p`, which is moved behind it. */
static char *take_pem(const char **p)
{
	const char *end = strstr(*p, "-----END ");
	const char *nl = end != NULL ? strchr(end, '\n') : NULL;
	char *block;

	if (end == NULL)
		return NULL;
	nl = nl != NULL ? nl + 1 : end + strlen(end);
	block = sw_strndup(*p, (size_t)(nl - *p));
	*p = nl;
	return block;
}

static int check(const struct context *c, struct sw_error *err)
{
	if (c->ca == NULL || c->cert == NULL || c->key == NULL || sw_strv_len(c->addresses) == 0)
		return sw_fail(
			err, SW_EINVAL,
			"not a context: wanted lines \"address HOST:PORT\", two certificates "
			"(cluster, operator) and a key");
	return pki_check(c->cert, c->key, c->ca, err);
}

int context_parse(const char *text, struct context *ret, struct sw_error *err)
{
	struct context c = {0};
	int rc;

	for (const char *p = text; *p != 0;) {
		const char *address = sw_after(p, "address ");
		size_t line = strcspn(p, "\n");

		if (sw_after(p, "-----BEGIN CERTIFICATE") != NULL) {
			char **slot = c.ca == NULL ? &c.ca : c.cert == NULL ? &c.cert : NULL;
			char *pem = take_pem(&p);

			if (pem == NULL || slot == NULL) {
				free(pem);
				break;
			}
			*slot = pem;
			continue;
		}
		if (sw_after(p, "-----BEGIN ") != NULL) {
			char *pem = c.key == NULL ? take_pem(&p) : NULL;

			if (pem == NULL)
				break;
			c.key = pem;
			continue;
		}
		if (address != NULL && line > strlen("address ")) {
			sw_autofree char *a = sw_strndup(address, line - strlen("address "));

			c.addresses = sw_strv_add(c.addresses, a);
		}
		p += line + (p[line] == '\n');
	}
	rc = check(&c, err);
	if (rc == 0)
		*ret = c;
	else
		context_fini(&c);
	return rc;
}

char *context_text(const struct context *c)
{
	struct sw_buf b = SW_BUF_INIT(MAX_CONTEXT);

	for (char **a = c->addresses; a != NULL && *a != NULL; a++)
		sw_buf_addf(&b, "address %s\n", *a);
	sw_buf_addf(&b, "%s%s%s", c->ca, c->cert, c->key);
	return sw_buf_take(&b);
}

bool context_name_ok(const char *name)
{
	size_t n = strlen(name);

	if (n == 0 || n > MAX_NAME || name[0] == '.')
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)name[i]) && strchr("-_.", name[i]) == NULL)
			return false;
	return true;
}

char *context_dir(void)
{
	const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");

	if (!sw_is_empty(xdg) && xdg[0] == '/')
		return sw_asprintf("%s/swarm", xdg);
	return sw_asprintf("%s/.config/swarm", sw_is_empty(home) ? "" : home);
}

char *context_path(const char *name)
{
	sw_autofree char *dir = context_dir();

	return sw_asprintf("%s/contexts/%s.ctx", dir, name);
}

static int check_name(const char *name, struct sw_error *err)
{
	return context_name_ok(name)
		       ? 0
		       : sw_fail(err, SW_EINVAL,
				 "context name \"%s\": wanted 1 to %d letters, digits, "
				 "-, _ and ., not beginning with a dot",
				 name, MAX_NAME);
}

int context_load(const char *name, struct context *ret, struct sw_error *err)
{
	sw_autofree char *path = context_path(name);
	char *text = NULL;
	size_t n = 0;
	int rc = check_name(name, err);

	if (rc != 0)
		return rc;
	rc = sw_read_file(path, MAX_CONTEXT, &text, &n, err);
	if (rc != 0) {
		sw_wrap(err, "context %s", name);
		return rc;
	}
	rc = context_parse(text, ret, err);
	if (rc != 0)
		sw_wrap(err, "context %s", name);
	explicit_bzero(text, n);
	free(text);
	return rc;
}

int context_save(const char *name, const char *text, struct sw_error *err)
{
	sw_autofree char *dir = context_dir();
	sw_autofree char *sub = sw_asprintf("%s/contexts", dir);
	sw_autofree char *path = context_path(name);
	int rc = check_name(name, err);

	if (rc != 0 || (rc = sw_mkdir_p(sub, 0700, err)) != 0)
		return rc;
	return sw_write_file(path, text, strlen(text), 0600, err);
}

char *context_current(void)
{
	sw_autofree char *dir = context_dir();
	sw_autofree char *path = sw_asprintf("%s/current", dir);
	char *name = NULL;

	if (sw_read_file(path, MAX_NAME + 2, &name, NULL, NULL) != 0)
		return sw_strdup("");
	name[strcspn(name, "\n")] = 0;
	return name;
}

int context_use(const char *name, struct sw_error *err)
{
	sw_autofree char *dir = context_dir();
	sw_autofree char *path = sw_asprintf("%s/current", dir);
	sw_autofree char *line = sw_asprintf("%s\n", name);
	int rc = sw_mkdir_p(dir, 0700, err);

	return rc != 0 ? rc : sw_write_file(path, line, strlen(line), 0600, err);
}
