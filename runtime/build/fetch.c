#include "base/buf.h"
#include "base/mem.h"
#include "runtime/build/solve_internal.h"
#include "runtime/image/curl.h"

static size_t on_body(char *p, size_t size, size_t n, void *ctx)
{
	return sw_buf_add(ctx, p, size * n) ? size * n : 0;
}

int bld_fetch(const char *url, size_t max, const atomic_bool *cancel, char **ret, size_t *ret_n,
	      struct sw_error *err)
{
	struct sw_buf body = SW_BUF_INIT(max);
	char text[CURL_ERROR_SIZE] = "";
	const struct curl *lib;
	CURLcode rc;
	CURL *h;
	int r = img_curl_open(&lib, &h, err);

	if (r != 0)
		return r;
	img_curl_prepare(lib, h, url, text, cancel);
	lib->easy_setopt(h, CURLOPT_FAILONERROR, 1L);
	lib->easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
	lib->easy_setopt(h, CURLOPT_WRITEDATA, &body);
	rc = lib->easy_perform(h);
	lib->easy_cleanup(h);
	if (rc != CURLE_OK) {
		bool big = body.overflow;

		sw_buf_fini(&body);
		if (rc == CURLE_ABORTED_BY_CALLBACK)
			return sw_fail(err, SW_ECANCELED, "cancelled");
		if (big)
			return sw_fail(err, SW_ETOOBIG, "%s: larger than %zu bytes", url, max);
		return sw_fail(err, SW_EUNAVAIL, "%s: %s", url,
			       *text != 0 ? text : lib->easy_strerror(rc));
	}
	*ret_n = body.len;
	sw_buf_addc(&body, 0);
	*ret = sw_buf_take(&body);
	return 0;
}
