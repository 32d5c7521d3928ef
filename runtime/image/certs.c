#include "runtime/image/certs.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

enum { FILE_MAX = 1 << 20, ALL_MAX = 8 << 20 };

void img_certs_fini(struct img_certs *c)
{
	free(c->dir);
	free(c->ca);
	free(c->cert);
	free(c->key);
	*c = (struct img_certs){0};
}

/* A host may be what a server said: it names one folder, or none. */
static bool is_host(const char *host)
{
	return *host != 0 && *host != '.' &&
	       strspn(host, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
			    ".-_:[]") == strlen(host);
}

static int add_ca(struct img_certs *c, const char *path, struct sw_error *err)
{
	sw_autofree char *pem = NULL, *before = take_ptr(&c->ca);
	size_t n;
	int rc = sw_read_file(path, FILE_MAX, &pem, &n, err);

	if (rc == 0 && c->ca_n + n > ALL_MAX)
		rc = sw_fail(err, SW_ETOOBIG, "%s: CAs of more than %d bytes", c->dir, ALL_MAX);
	if (rc < 0)
		return rc;
	c->ca = sw_asprintf("%s%s\n", before != NULL ? before : "", pem);
	c->ca_n = strlen(c->ca);
	return 0;
}

static int add_pair(struct img_certs *c, const char *path, const char *from, const char *to,
		    struct sw_error *err)
{
	sw_autofree char *stem = sw_strndup(path, strlen(path) - strlen(from));
	sw_autofree char *other = sw_asprintf("%s%s", stem, to);

	if (!sw_path_exists(other))
		return sw_fail(err, SW_EPRECOND, "%s: %s is missing beside it", path, other);
	if (c->cert == NULL) {
		c->cert = sw_asprintf("%s.cert", stem);
		c->key = sw_asprintf("%s.key", stem);
	}
	return 0;
}

static int add_file(struct img_certs *c, const char *name, struct sw_error *err)
{
	sw_autofree char *path = sw_asprintf("%s/%s", c->dir, name);
	const char *dot = strrchr(name, '.');

	if (dot == NULL)
		return 0;
	if (sw_streq(dot, ".crt"))
		return add_ca(c, path, err);
	if (sw_streq(dot, ".cert"))
		return add_pair(c, path, ".cert", ".key", err);
	if (sw_streq(dot, ".key"))
		return add_pair(c, path, ".key", ".cert", err);
	return 0;
}

int img_certs_load(char *const *dirs, const char *host, struct img_certs *ret, struct sw_error *err)
{
	struct img_certs c = {0};
	struct dirent **v = NULL;
	int n = -1, rc = 0;

	for (; n < 0 && is_host(host) && dirs != NULL && *dirs != NULL; dirs++) {
		free(c.dir);
		c.dir = sw_asprintf("%s/%s", *dirs, host);
		n = scandir(c.dir, &v, NULL, alphasort);
		if (n < 0 && errno != ENOENT && errno != ENOTDIR) {
			rc = sw_fail_sys(err, errno, "read %s", c.dir);
			break;
		}
	}
	for (int i = 0; i < n; i++) {
		if (rc == 0)
			rc = add_file(&c, v[i]->d_name, err);
		free(v[i]);
	}
	free(v);
	if (rc < 0 || n < 0)
		img_certs_fini(&c);
	if (rc == 0)
		*ret = c;
	return rc < 0 ? sw_wrap(err, "certificates for registry %s", host) : 0;
}
