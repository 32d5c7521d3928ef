/** Credentials of registries that a user has (cli/registry_auth.h), given to the cluster. */
#pragma once

#include "cli/command.h"

/** What there is for the host, or for the registries of these images. */
int registry_share_host(struct cli *cli, const char *host, struct sw_error *err) SW_MUST_CHECK;
int registry_share(struct cli *cli, char *const *images, size_t n,
		   struct sw_error *err) SW_MUST_CHECK;
