/** Which registry an image's name belongs to. */
#pragma once

/** The host of it, as credentials are kept by: what stands before the first slash when it can be a
 *  host, else "docker.io". The caller frees. */
char *image_host(const char *image);
