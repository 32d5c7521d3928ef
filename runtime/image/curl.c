#include "runtime/image/curl.h"

/* curl.h has macros of these names, which would stand in the way of their addresses. */
#undef curl_easy_getinfo
#undef curl_easy_setopt

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#define LIBRARY "libcurl.so.4"

static struct curl curl;
static char why[256];

static void load(void)
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

	for (size_t i = 0; whole && i < sizeof symbols / sizeof *symbols; i++) {
		void *p = dlsym(library, symbols[i].name);

		whole = p != NULL;
		memcpy(symbols[i].to, &p, sizeof p); /* ISO C has no way from there to a function */
	}
	if (whole && curl.global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK)
		return;
	const char *text = whole ? "it can't be set up" : dlerror();

	snprintf(why, sizeof why, "%s", text != NULL ? text : "it can't be loaded");
}

const struct curl *img_curl(struct sw_error *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, load);
	if (why[0] == 0)
		return &curl;
	sw_fail(err, SW_EUNSUPP, "registries are asked by %s, which is to be installed: %s",
		LIBRARY, why);
	return NULL;
}
