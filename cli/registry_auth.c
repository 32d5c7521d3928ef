#include "cli/registry_auth.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/credential_helper.h"
#include "proto/image_host.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HUB_KEYS = 3 };

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
		found = credential_helper_ask(helper, key_of(host));
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
