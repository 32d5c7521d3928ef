#include "base/buf.h"
#include "base/mem.h"
#include "runtime/build/solve_internal.h"
#include "runtime/image/curl.h"

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
	const struct curl *lib = img_curl(err);
	CURL *h = lib != NULL ? lib->easy_init() : NULL;
	CURLcode rc;

	if (lib == NULL)
		return err->code;
	if (h == NULL)
		return sw_fail(err, SW_EINTERNAL, "libcurl can't be used");
	lib->easy_setopt(h, CURLOPT_URL, url);
	lib->easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
	lib->easy_setopt(h, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
	lib->easy_setopt(h, CURLOPT_FOLLOWLOCATION, 1L);
	lib->easy_setopt(h, CURLOPT_MAXREDIRS, (long)REDIRECTS);
	lib->easy_setopt(h, CURLOPT_FAILONERROR, 1L);
	lib->easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
	lib->easy_setopt(h, CURLOPT_USERAGENT, "swarm/" SW_VERSION);
	lib->easy_setopt(h, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
	lib->easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, 1L);
	lib->easy_setopt(h, CURLOPT_LOW_SPEED_TIME, (long)STALL_S);
	lib->easy_setopt(h, CURLOPT_ERRORBUFFER, text);
	lib->easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
	lib->easy_setopt(h, CURLOPT_WRITEDATA, &f);
	lib->easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
	lib->easy_setopt(h, CURLOPT_XFERINFOFUNCTION, on_progress);
	lib->easy_setopt(h, CURLOPT_XFERINFODATA, &f);
	rc = lib->easy_perform(h);
	lib->easy_cleanup(h);
	if (rc != CURLE_OK) {
		bool big = f.body.overflow;

		sw_buf_fini(&f.body);
		if (rc == CURLE_ABORTED_BY_CALLBACK)
			return sw_fail(err, SW_ECANCELED, "cancelled");
		if (big)
			return sw_fail(err, SW_ETOOBIG, "%s: larger than %zu bytes", url, max);
		return sw_fail(err, SW_EUNAVAIL, "%s: %s", url,
			       *text != 0 ? text : lib->easy_strerror(rc));
	}
	*ret_n = f.body.len;
	sw_buf_addc(&f.body, 0);
	*ret = sw_buf_take(&f.body);
	return 0;
}
