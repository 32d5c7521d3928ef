#include "runtime/image/registry_internal.h"

#include "base/backoff.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/date.h"
#include "base/digest.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/image/manifest.h"
#include "runtime/image/patience.h"

#include <jansson.h>
#include <stdio.h>

enum {
	ATTEMPTS = 5,
	RETRY_AFTER_MAX_S = 60, /* what a registry may ask for, and is waited for */
	MEANWHILE_S = 5,        /* so much even when there is somebody else to ask */
};

#define ACCEPT                                                                       \
	"Accept: " IMG_MT_OCI_INDEX ", " IMG_MT_OCI_MANIFEST ", " IMG_MT_DOCKER_LIST \
	", " IMG_MT_DOCKER_V2

static bool is_local(const char *host)
{
	return sw_after(host, "localhost") != NULL || sw_after(host, "127.") != NULL ||
	       sw_after(host, "[::1]") != NULL;
}

static void add_url(struct img_registry *r, char *url)
{
	if (r->n_urls == URLS_MAX)
		free(url);
	else
		r->urls[r->n_urls++] = url;
}

struct img_registry *img_registry_new(const struct img_ref *ref, const struct img_registries *known,
				      const char *auth, const atomic_bool *cancel)
{
	const struct img_registry_host *hosts = known->hosts;
	struct img_registry *r = sw_new(struct img_registry);
	const char *host =
		sw_streq(ref->domain, "docker.io") ? "registry-1.docker.io" : ref->domain;

	r->path = sw_strdup(ref->path);
	r->domain = sw_strdup(ref->domain);
	r->cert_dirs = known->certs;
	r->cancel = cancel;
	r->insecure = is_local(ref->domain);
	sw_rand_init(&r->rand, sw_rand_seed());
	for (size_t i = 0; i < known->n; i++) {
		if (!sw_streq(hosts[i].host, ref->domain))
			continue;
		for (char *const *m = hosts[i].mirrors; m != NULL && *m != NULL; m++)
			add_url(r, sw_strdup(*m));
		r->insecure |= hosts[i].insecure;
		if (auth == NULL)
			auth = hosts[i].auth;
	}
	r->own = r->n_urls;
	r->auth = sw_strdup(auth);
	add_url(r, sw_asprintf("https://%s", host));
	if (r->insecure)
		add_url(r, sw_asprintf("http://%s", host));
	return r;
}

void img_registry_free(struct img_registry *r)
{
	if (r == NULL)
		return;
	for (size_t i = 0; i < r->n_urls; i++)
		free(r->urls[i]);
	if (r->curl != NULL)
		r->lib->easy_cleanup(r->curl);
	img_certs_fini(&r->certs);
	free(r->certs_host);
	free(r->domain);
	free(r->path);
	free(r->auth);
	free(r->token);
	free(r->mount_from);
	free(r);
}

void img_registry_call_fini(struct call *c)
{
	sw_buf_fini(&c->body);
	free(c->type);
	free(c->challenge);
	free(c->location);
	free(c->got_range);
}

/* Seconds to a date of HTTP; 0 = it is past, or none. */
static int64_t until(const struct curl *lib, const char *date)
{
	int64_t at = lib->getdate(date, NULL), now = sw_wall_ms() / 1000;

	return at > now && at - now < INT32_MAX ? at - now : 0;
}

static size_t on_header(char *p, size_t size, size_t n, void *ctx)
{
	static const char *const names[] = {
		"content-type:", "www-authenticate:", "retry-after:", "location:", "range:"};
	struct call *c = ctx;
	sw_autofree char *line = sw_strndup(p, size * n);

	line[strcspn(line, "\r\n")] = 0;
	for (size_t i = 0; i < SW_COUNT(names); i++) {
		const char *v = line + strlen(names[i]);
		uint64_t s;

		if (strncasecmp(line, names[i], strlen(names[i])) != 0)
			continue;
		while (*v == ' ')
			v++;
		if (i == 2)
			c->retry_after =
				sw_parse_u64(v, INT32_MAX, &s) ? (int64_t)s : until(c->r->lib, v);
		if (i != 2) {
			char **const all[] = {&c->type, &c->challenge, NULL, &c->location,
					      &c->got_range};
			char **to = all[i];

			free(*to);
			*to = sw_strdup(v);
		}
	}
	return size * n;
}

static size_t on_body(char *p, size_t size, size_t n, void *ctx)
{
	struct call *c = ctx;
	size_t len = size * n;

	if (c->status == 0)
		c->r->lib->easy_getinfo(c->r->curl, CURLINFO_RESPONSE_CODE, &c->status);
	if (c->sink == NULL || (c->status != 200 && c->status != 206))
		return sw_buf_add(&c->body, p, len) ? len : 0;
	if (c->resumed && c->status == 200 && c->skip > 0) {
		size_t drop = (int64_t)len < c->skip ? len : (size_t)c->skip;

		c->skip -= (int64_t)drop;
		p += drop;
		len -= drop;
	}
	if (c->size > 0 && (int64_t)len > c->size - c->got)
		c->sink_rc = sw_fail(&c->sink_err, SW_ECORRUPT,
				     "%s gives more than the %lld bytes expected", c->url,
				     (long long)c->size);
	else if (len > 0)
		c->sink_rc = c->sink(c->ctx, p, len, &c->sink_err);
	if (c->sink_rc < 0)
		return 0;
	c->got += (int64_t)len;
	return size * n;
}

/* "reg:5000" of "https://user@reg:5000/v2/". */
static char *host_of(const char *url)
{
	const char *from = strstr(url, "://"), *at;
	size_t n;

	from = from != NULL ? from + 3 : url;
	n = strcspn(from, "/?#");
	at = memrchr(from, '@', n);
	return at != NULL ? sw_strndup(at + 1, n - (size_t)(at + 1 - from)) : sw_strndup(from, n);
}

static CURLcode on_ssl_ctx(CURL *h, void *ctx, void *arg)
{
	(void)h;
	img_certs_offer(arg, ctx);
	return CURLE_OK;
}

/* Of the host that is asked. A token server that has none of its own is asked with the registry's,
 * as by Docker. */
static int use_certs(struct img_registry *r, const char *url, struct sw_error *err)
{
	sw_autofree char *host = host_of(url), *base = host_of(r->urls[r->last]);
	const char *const hosts[] = {host, r->last >= r->own ? r->domain : base};
	int rc = 0;

	if (r->certs_host == NULL || !sw_streq(r->certs_host, host)) {
		img_certs_fini(&r->certs);
		free(take_ptr(&r->certs_host));
		for (size_t i = 0; rc == 0 && r->certs.dir == NULL && i < SW_COUNT(hosts); i++)
			rc = img_certs_load(r->cert_dirs, hosts[i], &r->certs, err);
		if (rc < 0)
			return rc;
		r->certs_host = take_ptr(&host);
	}
	if (r->certs.ca != NULL) { /* beside curl's folder of the system's CAs */
		struct curl_blob blob = {r->certs.ca, r->certs.ca_n, CURL_BLOB_COPY};

		r->lib->easy_setopt(r->curl, CURLOPT_CAINFO_BLOB, &blob);
	}
	if (r->certs.n_own > 0) {
		r->lib->easy_setopt(r->curl, CURLOPT_SSL_CTX_FUNCTION, on_ssl_ctx);
		r->lib->easy_setopt(r->curl, CURLOPT_SSL_CTX_DATA, &r->certs);
	}
	return 0;
}

/* A failure of TLS says where certificates belong; asking again would not help. */
static int no_answer(const struct call *c, const char *message, struct sw_error *err)
{
	const struct img_registry *r = c->r;

	if (strcasestr(message, "certificate") == NULL || r->cert_dirs == NULL)
		return sw_fail(err, SW_EUNAVAIL, "registry %s: %s", c->url, message);
	return sw_fail(err, SW_EAUTH,
		       "registry %s: %s; a CA of its own belongs in %s/%s/ca.crt, a certificate "
		       "to show in client.cert and client.key there",
		       c->url, message, r->cert_dirs[0], r->certs_host);
}

/* One request. 0 = an answer came (c->status), else an error; never looks at the status. */
static int request(struct call *c, const char *auth_header, const char *accept, int64_t from,
		   struct sw_error *err)
{
	struct curl_slist *headers = NULL;
	char message[CURL_ERROR_SIZE] = "", range[32];
	const struct curl *lib;
	CURLcode rc;
	CURL *h;
	int known = c->r->curl != NULL ? 0 : img_curl_open(&c->r->lib, &c->r->curl, err);

	c->status = 0;
	c->retry_after = 0;
	if (known < 0)
		return known;
	lib = c->r->lib;
	h = c->r->curl;
	img_curl_prepare(lib, h, c->url, message, c->r->cancel);
	known = use_certs(c->r, c->url, err);
	if (known < 0)
		return known;
	if (auth_header != NULL)
		headers = lib->slist_append(headers, auth_header);
	if (accept != NULL)
		headers = lib->slist_append(headers, accept);
	if (c->data != NULL || c->method != NULL) {
		sw_autofree char *type = sw_asprintf(
			"Content-Type: %s",
			c->content_type != NULL ? c->content_type : "application/octet-stream");

		headers = lib->slist_append(headers, type);
		headers = lib->slist_append(headers, "Expect:");
	}
	if (c->range != NULL) {
		sw_autofree char *text = sw_asprintf("Content-Range: %s", c->range);

		headers = lib->slist_append(headers, text);
	}
	c->resumed = from > 0;
	c->skip = from;
	lib->easy_setopt(h, CURLOPT_HTTPHEADER, headers);
	lib->easy_setopt(h, CURLOPT_BUFFERSIZE, 256L << 10);
	lib->easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
	lib->easy_setopt(h, CURLOPT_HEADERDATA, c);
	lib->easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
	lib->easy_setopt(h, CURLOPT_WRITEDATA, c);
	if (c->r->insecure) {
		lib->easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 0L);
		lib->easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 0L);
	}
	if (from > 0) {
		snprintf(range, sizeof range, "%lld-", (long long)from);
		lib->easy_setopt(h, CURLOPT_RANGE, range);
	}
	if (c->method != NULL && !sw_streq(c->method, "HEAD")) {
		lib->easy_setopt(h, CURLOPT_POSTFIELDS, c->data != NULL ? c->data : "");
		lib->easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)c->data_n);
		lib->easy_setopt(h, CURLOPT_CUSTOMREQUEST, c->method);
	} else if (c->method != NULL) {
		lib->easy_setopt(h, CURLOPT_NOBODY, 1L);
	}
	rc = lib->easy_perform(h);
	lib->easy_getinfo(h, CURLINFO_RESPONSE_CODE, &c->status);
	lib->slist_free_all(headers);
	if (c->sink_rc < 0) {
		if (err != NULL)
			*err = c->sink_err;
		return c->sink_rc;
	}
	if (rc == CURLE_ABORTED_BY_CALLBACK)
		return sw_fail(err, SW_ECANCELED, "cancelled");
	if (rc == CURLE_WRITE_ERROR)
		return sw_fail(err, SW_ETOOBIG, "%s: the answer is too large", c->url);
	if (rc != CURLE_OK)
		return no_answer(c, *message != 0 ? message : lib->easy_strerror(rc), err);
	return 0;
}

/* key="value" of a WWW-Authenticate header; NULL = not there. */
static char *challenge_value(const char *challenge, const char *key)
{
	sw_autofree char *want = sw_asprintf("%s=\"", key);
	const char *at = strcasestr(challenge, want);
	const char *end;

	if (at == NULL)
		return NULL;
	at += strlen(want);
	end = strchr(at, '"');
	return end != NULL ? sw_strndup(at, (size_t)(end - at)) : NULL;
}

static bool is_passing(long status)
{
	return status == 429 || status >= 500;
}

/* *ret_after: seconds that the token server asks for. */
static int get_token(struct img_registry *r, const char *challenge, bool with_auth,
		     int64_t *ret_after, struct sw_error *err)
{
	sw_autofree char *realm = challenge_value(challenge, "realm"), *url = NULL, *basic = NULL;
	sw_autofree char *service = challenge_value(challenge, "service");
	char *esc = service != NULL ? r->lib->easy_escape(r->curl, service, 0) : NULL;
	struct call c = {.r = r, .body = SW_BUF_INIT(1 << 20)};
	const char *token;
	json_t *j;
	int rc;

	if (realm == NULL)
		return sw_fail(err, SW_EAUTH, "registry asks for a token but names no realm");
	url = sw_asprintf("%s%cservice=%s&scope=repository:%s:pull%s%s%s%s", realm,
			  strchr(realm, '?') != NULL ? '&' : '?', esc != NULL ? esc : "", r->path,
			  r->push ? ",push" : "", r->mount_from != NULL ? "&scope=repository:" : "",
			  r->mount_from != NULL ? r->mount_from : "",
			  r->mount_from != NULL ? ":pull" : "");
	if (esc != NULL)
		r->lib->free(esc);
	c.url = url;
	if (with_auth && r->auth != NULL)
		basic = sw_asprintf("Authorization: Basic %s", r->auth);
	rc = request(&c, basic, NULL, 0, err);
	if (rc == 0 && c.status != 200)
		rc = sw_fail(err, is_passing(c.status) ? SW_EUNAVAIL : SW_EAUTH,
			     "token server %s answered %ld: %.150s", realm, c.status,
			     sw_buf_str(&c.body));
	*ret_after = c.retry_after;
	if (rc == 0) {
		j = json_loadb(sw_buf_str(&c.body), c.body.len, 0, NULL);
		token = json_string_value(json_object_get(j, "token"));
		if (token == NULL)
			token = json_string_value(json_object_get(j, "access_token"));
		free(take_ptr(&r->token));
		if (token != NULL && strpbrk(token, "\r\n") == NULL)
			r->token = sw_strdup(token);
		else
			rc = sw_fail(err, SW_EAUTH, "token server %s gave no token", realm);
		json_decref(j);
	}
	img_registry_call_fini(&c);
	return rc;
}

/* "404 MANIFEST_UNKNOWN: manifest unknown" from the registry's error document. */
static int answer_error(const struct call *c, const char *base, struct sw_error *err)
{
	json_t *j = json_loadb(sw_buf_str(&c->body), c->body.len, 0, NULL);
	const json_t *e = json_array_get(json_object_get(j, "errors"), 0);
	const char *code = json_string_value(json_object_get(e, "code"));
	const char *msg = json_string_value(json_object_get(e, "message"));
	int sw = c->status == 404        ? SW_ENOTFOUND
		 : c->status == 401      ? SW_EAUTH
		 : c->status == 403      ? SW_EDENIED
		 : is_passing(c->status) ? SW_EUNAVAIL
					 : SW_EIO;

	sw = sw_fail(err, sw, "registry %s answered %ld%s%s%s%s", base, c->status,
		     code != NULL ? " " : "", code != NULL ? code : "", msg != NULL ? ": " : "",
		     msg != NULL ? msg : "");
	json_decref(j);
	return sw;
}

int img_registry_ask(struct call *c, size_t i, const char *accept, int64_t from,
		     struct sw_error *err)
{
	struct img_registry *r = c->r;
	bool own = i >= r->own;
	sw_autofree char *header = NULL;

	if (r->last != i) {
		free(take_ptr(&r->token));
		r->last = i;
	}
	for (int round = 0;; round++) {
		int rc;

		free(take_ptr(&header));
		if (r->token != NULL)
			header = sw_asprintf("Authorization: Bearer %s", r->token);
		else if (round > 0 && own && r->auth != NULL)
			header = sw_asprintf("Authorization: Basic %s", r->auth);
		free(take_ptr(&c->challenge));
		free(take_ptr(&c->location));
		free(take_ptr(&c->got_range));
		sw_buf_reset(&c->body);
		rc = request(c, header, accept, from, err);
		if (rc < 0)
			return rc;
		if (c->status >= 200 && c->status < 300)
			return 0;
		if (c->status != 401 || round == 1 || c->challenge == NULL)
			return answer_error(c, r->urls[i], err);
		free(take_ptr(&r->token));
		if (strncasecmp(c->challenge, "Bearer", 6) == 0) {
			rc = get_token(r, c->challenge, own, &c->retry_after, err);
			if (rc < 0)
				return rc;
		} else if (!own || r->auth == NULL) {
			return answer_error(c, r->urls[i], err);
		}
	}
}

/* The registry's wish goes first: what it said may be long. */
static int tell_when(struct img_registry *r, int64_t seconds, struct sw_error *err)
{
	struct sw_date d = sw_date_of(sw_wall_ms() / 1000 + seconds);

	r->retry_at_ms = sw_mono_ms() + (uint64_t)seconds * 1000;
	return sw_wrap(err, "to be asked again in %lld s, at %04lld-%02d-%02dT%02d:%02d:%02dZ",
		       (long long)seconds, (long long)d.year, d.month, d.day, d.hour, d.minute,
		       d.second);
}

/* All URLs in order, up to ATTEMPTS times while a retry can help. A manifest is the first thing
 * asked: when nobody answers at all, that is said at once, since others may have the image. In the
 * middle of a pull a registry that is gone may be starting again. */
static int fetch(struct call *c, const char *kind, const char *what, const char *accept,
		 struct sw_error *err)
{
	struct img_registry *r = c->r;
	struct sw_backoff backoff = {.first_ms = 250, .max_ms = 8000};
	bool patient = c->sink != NULL;
	int rc = SW_EUNAVAIL;

	r->retry_at_ms = 0;
	for (int attempt = 1;; attempt++) {
		bool again = false;

		for (size_t i = 0; i < r->n_urls; i++) {
			sw_autofree char *url =
				sw_asprintf("%s/v2/%s/%s/%s", r->urls[i], r->path, kind, what);
			struct sw_error e = {0};

			c->url = url;
			rc = img_registry_ask(c, i, accept, c->got, &e);
			if (rc == 0)
				return 0;
			*err = e;
			if (rc == SW_ECANCELED || c->sink_rc < 0)
				return rc;
			again |= sw_code_retry(rc) && (patient || c->status != 0);
			/* http is for a registry that does not speak https, not for one that says
			 * no. */
			if (i >= r->own && c->status != 0)
				break;
		}
		if (!again)
			return rc;
		if (c->retry_after > RETRY_AFTER_MAX_S || attempt == ATTEMPTS ||
		    (c->retry_after > MEANWHILE_S && r->elsewhere))
			return c->retry_after > 0 ? tell_when(r, c->retry_after, err) : rc;
		img_pause(c->retry_after > 0 ? (uint64_t)c->retry_after * 1000
					     : sw_backoff_next(&backoff, &r->rand),
			  r->cancel);
	}
}

void img_registry_elsewhere(struct img_registry *r)
{
	r->elsewhere = true;
}

int64_t img_registry_retry_after(const struct img_registry *r)
{
	int64_t ms = (int64_t)(r->retry_at_ms - sw_mono_ms());

	return r->retry_at_ms == 0 ? 0 : ms > 0 ? (ms + 999) / 1000 : 1;
}

int img_registry_manifest(struct img_registry *r, const char *which, char **ret, size_t *ret_n,
			  char **ret_type, struct sw_error *err)
{
	struct call c = {.r = r, .body = SW_BUF_INIT(IMG_DOC_MAX)};
	char hex[SW_SHA256_HEX];
	const char *want = sw_after(which, "sha256:");
	int rc = fetch(&c, "manifests", which, ACCEPT, err);

	if (rc == 0 && want != NULL &&
	    !sw_streq(sw_sha256_hex(sw_buf_str(&c.body), c.body.len, hex), want))
		rc = sw_fail(err, SW_ECORRUPT,
			     "registry %s: manifest %s has the content of sha256:%s",
			     r->urls[r->last], which, hex);
	if (rc == 0) {
		*ret_n = c.body.len;
		*ret = c.body.data != NULL ? sw_buf_take(&c.body) : sw_strdup("");
		*ret_type = take_ptr(&c.type);
	}
	img_registry_call_fini(&c);
	return rc;
}

int img_registry_blob(struct img_registry *r, const char *digest, int64_t from, int64_t size,
		      img_sink sink, void *ctx, struct sw_error *err)
{
	struct call c = {.r = r,
			 .sink = sink,
			 .ctx = ctx,
			 .got = from,
			 .size = size,
			 .body = SW_BUF_INIT(1 << 20)};
	int rc = fetch(&c, "blobs", digest, NULL, err);

	if (rc == 0 && size >= 0 && c.got != size)
		rc = sw_fail(err, SW_ECORRUPT, "registry %s: blob %s has %lld bytes, expected %lld",
			     r->urls[r->last], digest, (long long)c.got, (long long)size);
	img_registry_call_fini(&c);
	return rc;
}
