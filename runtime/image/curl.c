#include "runtime/image/curl.h"

#include "base/mem.h"

/* curl.h has macros of these names, which would stand in the way of their addresses. */
#undef curl_easy_getinfo
#undef curl_easy_setopt

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#define LIBRARY "libcurl.so.4"

enum { CONNECT_S = 10, STALL_S = 30, REDIRECTS = 5 };

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
int img_curl_open(const struct curl **ret_lib, CURL **ret, struct sw_error *err)
{
	int rc;

	pthread_mutex_lock(&lock);
	rc = loaded ? 0 : load(err);
	loaded = rc == 0;
	pthread_mutex_unlock(&lock);
	if (rc != 0)
		return rc;
	*ret = curl.easy_init();
	if (*ret == NULL)
		return sw_fail(err, SW_EINTERNAL, LIBRARY " gives no handle");
	*ret_lib = &curl;
	return 0;
}

static int on_progress(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	const atomic_bool *cancel = ctx;

	(void)a, (void)b, (void)c, (void)d;
	return cancel != NULL && atomic_load(cancel);
}

void img_curl_prepare(const struct curl *lib, CURL *h, const char *url,
		      char message[CURL_ERROR_SIZE], const atomic_bool *cancel)
{
	lib->easy_reset(h);
	lib->easy_setopt(h, CURLOPT_URL, url);
	lib->easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
	lib->easy_setopt(h, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
	lib->easy_setopt(h, CURLOPT_FOLLOWLOCATION, 1L);
	lib->easy_setopt(h, CURLOPT_MAXREDIRS, (long)REDIRECTS);
	lib->easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
	lib->easy_setopt(h, CURLOPT_USERAGENT, "swarm/" SW_VERSION);
	lib->easy_setopt(h, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
	lib->easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, 1L);
	lib->easy_setopt(h, CURLOPT_LOW_SPEED_TIME, (long)STALL_S);
	lib->easy_setopt(h, CURLOPT_ERRORBUFFER, message);
	lib->easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
	lib->easy_setopt(h, CURLOPT_XFERINFOFUNCTION, on_progress);
	lib->easy_setopt(h, CURLOPT_XFERINFODATA, cancel);
}
