/**
 * Credentials of registries as `docker login` keeps them: config.json in $DOCKER_CONFIG or ~/.docker,
 * and the helpers that it names (credsStore, credHelpers).
 * Source: https://docs.docker.com/reference/cli/docker/login/
 */
#pragma once

#include "base/error.h"

/** base64 of "user:password" for the registry of an image, or NULL; the caller frees. */
char *registry_auth(const char *image);
/** The same for a host. What a helper said when it failed is shown as a warning. */
char *registry_auth_of(const char *host);

/** Keeps them in config.json, readable by this user only; auth NULL: forgets them. */
int registry_auth_keep(const char *host, const char *auth, struct sw_error *err) SW_MUST_CHECK;
