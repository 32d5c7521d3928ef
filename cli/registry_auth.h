/** Credentials of registries as `docker login` keeps them. */
#pragma once

/** base64 of "user:password" for the registry of an image, or NULL; the caller frees. */
char *registry_auth(const char *image);
