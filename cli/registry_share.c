#include "cli/registry_share.h"

#include "base/mem.h"
#include "base/str.h"
#include "cli/registry_auth.h"
#include "proto/image_host.h"
#include "proto/msg.h"

#include <string.h>

int registry_share_host(struct cli *cli, const char *host, struct sw_error *err)
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

int registry_share(struct cli *cli, char *const *images, size_t n, struct sw_error *err)
{
	char **hosts = NULL;
	int rc = 0;

	for (size_t i = 0; i < n; i++) {
		sw_autofree char *host = image_host(images[i]);

		if (!sw_strv_has(hosts, host))
			hosts = sw_strv_add(hosts, host);
	}
	for (size_t i = 0; rc == 0 && hosts != NULL && hosts[i] != NULL; i++)
		rc = registry_share_host(cli, hosts[i], err);
	sw_strv_free(hosts);
	return rc;
}
