/* What registry.c (asking) and registry_push.c (sending) share. */
#pragma once

#include "base/buf.h"
#include "base/rand.h"
#include "runtime/image/certs.h"
#include "runtime/image/curl.h"
#include "runtime/image/registry.h"

enum { URLS_MAX = 16 };

struct img_registry {
	char *path;           /* repository */
	char *urls[URLS_MAX]; /* bases, in the order to try */
	size_t n_urls, last;  /* last: of those that answered */
	size_t own; /* from here on it is the registry itself: credentials are for it only */
	bool insecure;
	char *domain; /* as in references */
	char *const *cert_dirs;
	struct img_certs certs; /* for certs_host; NULL = for none yet */
	char *certs_host;
	char *auth;  /* base64 */
	char *token; /* bearer, for urls[last] */
	const atomic_bool *cancel;
	const struct curl *lib; /* NULL until something was asked */
	CURL *curl;             /* as lib */
	struct sw_rand rand;
	bool elsewhere;       /* img_registry_elsewhere */
	uint64_t retry_at_ms; /* what the registry asked for, on sw_mono_ms's clock; 0 = nothing */
	bool push;            /* tokens are asked for that too */
	char *mount_from;     /* and for pulling from this repository; NULL = none */
};

struct call {
	struct img_registry *r;
	const char *url;
	const char *method; /* NULL = GET */
	const void *data;   /* to send; NULL = nothing */
	size_t data_n;
	const char *content_type; /* of it */
	const char *range;        /* Content-Range of it; NULL = none */
	char *location;           /* of the answer */
	char *got_range;          /* Range of the answer, to an upload */
	img_sink sink;
	void *ctx;
	struct sw_buf body; /* of answers that are no success, and of documents */
	char *type, *challenge;
	int64_t retry_after, got;
	int64_t size; /* of the blob that is wanted; 0 = not known */
	long status;
	int sink_rc;
	struct sw_error sink_err;
	bool resumed; /* a Range was asked for */
	int64_t skip; /* bytes to drop when the server ignored it */
};

/** One URL, with the authentication that it asks for; `i` is the base's number. 0 = a status of
 * 2xx. */
int img_registry_ask(struct call *c, size_t i, const char *accept, int64_t from,
		     struct sw_error *err) SW_MUST_CHECK;
void img_registry_call_fini(struct call *c);
