#include "proto/image_host.h"

#include "base/mem.h"
#include "base/str.h"

#include <string.h>

char *image_host(const char *image)
{
	size_t n = strcspn(image, "/");
	sw_autofree char *first = sw_strndup(image, n);

	if (image[n] == 0 || (strpbrk(first, ".:") == NULL && !sw_streq(first, "localhost")) ||
	    sw_streq(first, "index.docker.io"))
		return sw_strdup("docker.io");
	return take_ptr(&first);
}
