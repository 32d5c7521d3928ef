/**
 * Programs that keep credentials of registries for `docker login`: docker-credential-NAME.
 * Source: https://github.com/docker/docker-credential-helpers
 */
#pragma once

/** base64 of "user:password" that the helper has for the server, or NULL; the caller frees. What it
 *  said when it failed is shown as a warning. */
char *credential_helper_ask(const char *name, const char *server);
