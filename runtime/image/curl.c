#include "runtime/image/curl.h"

#include "base/mem.h"

/* curl.h has macros of these names, which would stand in the way of their addresses. */
#undef curl_easy_getinfo
#undef curl_easy_setopt

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#define LIBRARY "libcurl.so.4"

static struct curl curl;
static bool loaded;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of both, until it is loaded */

static int load(struct sw_error *err)
{
	static const struct {
		const char *name;
		void *to;
	} symbols[] = {
#define X(name) {"curl_" #name, &curl.name},
		CURL_FUNCTIONS(X)
#undef X
	};
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	bool whole = library != NULL;

	for (size_t i = 0; whole && i < SW_COUNT(symbols); i++) {
		void *p = dlsym(library, symbols[i].name);

		whole = p != NULL;
		memcpy(symbols[i].to, &p, sizeof p); /* ISO C has no way from there to a function */
	}
	if (!whole) {
		const char *why = dlerror();

		return sw_fail(err, SW_EUNSUPP,
			       LIBRARY " is needed to ask others over HTTP, and can't be used: %s",
			       why != NULL ? why : "no reason is known");
	}
	if (curl.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return sw_fail(err, SW_EINTERNAL, LIBRARY " can't be set up");
	return 0;
}

/* Tried anew each time until it works: somebody may install what is missing. */
const struct curl *img_curl(struct sw_error *err)
{
	int rc;

	pthread_mutex_lock(&lock);
	rc = loaded ? 0 : load(err);
	loaded = rc == 0;
	pthread_mutex_unlock(&lock);
	return rc == 0 ? &curl : NULL;
}
