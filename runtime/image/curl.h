/**
 * libcurl, loaded when a registry is asked for the first time: with the libraries that it needs for
 * protocols that nobody asks it for here (LDAP, Kerberos, RTMP, SSH) it would be a fifth of an idle
 * agent's memory.
 */
#pragma once

#include "base/error.h"

#include <curl/curl.h>

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

/** From any thread; NULL when this host has no such library. */
const struct curl *img_curl(struct sw_error *err);
