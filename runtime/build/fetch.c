#include "base/buf.h"
#include "base/mem.h"
#include "runtime/build/solve_internal.h"

#include <curl/curl.h>

enum { CONNECT_S = 10, STALL_S = 30, REDIRECTS = 5 };

struct fetch {
	struct sw_buf body;
	const atomic_bool *cancel;
};

static size_t on_body(char *p, size_t size, size_t n, void *ctx)
{
	struct fetch *f = ctx;

	return sw_buf_add(&f->body, p, size * n) ? size * n : 0;
}

static int on_progress(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	const struct fetch *f = ctx;

	(void)a, (void)b, (void)c, (void)d;
	return f->cancel != NULL && atomic_load(f->cancel);
}

int bld_fetch(const char *url, size_t max, const atomic_bool *cancel, char **ret, size_t *ret_n,
	      struct sw_error *err)
{
	struct fetch f = {.body = SW_BUF_INIT(max), .cancel = cancel};
	char text[CURL_ERROR_SIZE] = "";
	CURL *h = curl_easy_init();
	CURLcode rc;

	curl_easy_setopt(h, CURLOPT_URL, url);
	curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(h, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 1L);
	curl_easy_setopt(h, CURLOPT_MAXREDIRS, (long)REDIRECTS);
	curl_easy_setopt(h, CURLOPT_FAILONERROR, 1L);
	curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(h, CURLOPT_USERAGENT, "swarm/" SW_VERSION);
	curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
	curl_easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(h, CURLOPT_LOW_SPEED_TIME, (long)STALL_S);
	curl_easy_setopt(h, CURLOPT_ERRORBUFFER, text);
	curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(h, CURLOPT_WRITEDATA, &f);
	curl_easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(h, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(h, CURLOPT_XFERINFODATA, &f);
	rc = curl_easy_perform(h);
	curl_easy_cleanup(h);
	if (rc != CURLE_OK) {
		bool big = f.body.overflow;

		sw_buf_fini(&f.body);
		if (rc == CURLE_ABORTED_BY_CALLBACK)
			return sw_fail(err, SW_ECANCELED, "cancelled");
		if (big)
			return sw_fail(err, SW_ETOOBIG, "%s: larger than %zu bytes", url, max);
		return sw_fail(err, SW_EUNAVAIL, "%s: %s", url,
			       *text != 0 ? text : curl_easy_strerror(rc));
	}
	*ret_n = f.body.len;
	sw_buf_addc(&f.body, 0);
	*ret = sw_buf_take(&f.body);
	return 0;
}
