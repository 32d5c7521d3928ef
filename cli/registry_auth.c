#include "cli/registry_auth.h"

#include "base/mem.h"
#include "base/str.h"

#include <jansson.h>
#include <stdlib.h>

enum { HUB_KEYS = 3 };

/* What stands before the first slash, when it can be a host; else Docker's own registry. */
static char *host_of(const char *image)
{
	size_t n = strcspn(image, "/");
	sw_autofree char *first = sw_strndup(image, n);

	if (image[n] == 0 || (strpbrk(first, ".:") == NULL && !sw_streq(first, "localhost")))
		return sw_strdup("docker.io");
	return take_ptr(&first);
}

char *registry_auth(const char *image)
{
	static const char *const hub[HUB_KEYS] = {"https://index.docker.io/v1/", "docker.io",
						  "index.docker.io"};
	sw_autofree char *host = host_of(image), *path = NULL,
			 *url = sw_asprintf("https://%s", host);
	const char *dir = getenv("DOCKER_CONFIG"), *home = getenv("HOME"), *auth = NULL;
	json_t *j, *auths;
	char *found;

	if (!sw_is_empty(dir))
		path = sw_asprintf("%s/config.json", dir);
	else
		path = sw_asprintf("%s/.docker/config.json", home != NULL ? home : "");
	j = json_load_file(path, 0, NULL);
	auths = json_object_get(j, "auths");
	for (int k = 0; k < HUB_KEYS && auth == NULL && sw_streq(host, "docker.io"); k++)
		auth = json_string_value(json_object_get(json_object_get(auths, hub[k]), "auth"));
	if (auth == NULL)
		auth = json_string_value(json_object_get(json_object_get(auths, host), "auth"));
	if (auth == NULL)
		auth = json_string_value(json_object_get(json_object_get(auths, url), "auth"));
	found = sw_is_empty(auth) ? NULL : sw_strdup(auth);
	json_decref(j);
	return found;
}
