/**
 * libcurl, loaded when a registry is asked for the first time: with the libraries that it needs for
 * protocols that nobody asks it for here (LDAP, Kerberos, RTMP, SSH) it would be a fifth of an idle
 * agent's memory.
 */
#pragma once

#include "base/error.h"

#include <curl/curl.h>
#include <stdatomic.h>
#include <stdbool.h>

#define CURL_FUNCTIONS(X) \
	X(easy_cleanup)   \
	X(easy_escape)    \
	X(easy_getinfo)   \
	X(easy_init)      \
	X(easy_perform)   \
	X(easy_reset)     \
	X(easy_setopt)    \
	X(easy_strerror)  \
	X(free)           \
	X(getdate)        \
	X(global_init)    \
	X(slist_append)   \
	X(slist_free_all)

struct curl {
#define X(name) __typeof__(curl_##name) *name;
	CURL_FUNCTIONS(X)
#undef X
};

/** A handle, freed by (*ret_lib)->easy_cleanup; from any thread. Fails on a host without the library. */
int img_curl_open(const struct curl **ret_lib, CURL **ret, struct sw_error *err) SW_MUST_CHECK;
/**
 * What all requests have in common, and nothing of an earlier one: HTTP and HTTPS only, a few redirects,
 * an end when nothing comes for long or *cancel (may be NULL) is set. What libcurl says of a failure
 * comes into `message`. Both pointers are used until the request has ended.
 */
void img_curl_prepare(const struct curl *lib, CURL *h, const char *url,
		      char message[CURL_ERROR_SIZE], const atomic_bool *cancel);
