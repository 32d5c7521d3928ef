#include "runtime/image/manifest.h"

#include "base/mem.h"
#include "base/str.h"
#include "runtime/image/reference.h"

#include <jansson.h>
#include <stdio.h>
#include <sys/utsname.h>

/* What can be wrong is reported with the path of the field: "layers[3].size". */
struct ctx {
	const char *what;
	struct sw_error *err;
};

static int bad(const struct ctx *c, const char *field, const char *why)
{
	return sw_fail(c->err, SW_EINVAL, "%s: %s: %s", c->what, field, why);
}

static void json_free_p(json_t **j)
{
	json_decref(*j);
}

#define autojson __attribute__((cleanup(json_free_p))) json_t

static int parse_doc(const struct ctx *c, const void *p, size_t n, json_t **ret)
{
	json_error_t je;
	json_t *j;

	if (n > IMG_DOC_MAX)
		return sw_fail(c->err, SW_ETOOBIG, "%s: %zu bytes, at most %d are taken", c->what,
			       n, IMG_DOC_MAX);
	j = json_loadb(p, n, JSON_REJECT_DUPLICATES, &je);
	if (j == NULL)
		return sw_fail(c->err, SW_EINVAL, "%s: not JSON: %s (line %d)", c->what, je.text,
			       je.line);
	if (!json_is_object(j)) {
		json_decref(j);
		return sw_fail(c->err, SW_EINVAL, "%s: not a JSON object", c->what);
	}
	*ret = j;
	return 0;
}

/* An absent or null field is left as it is. */
static int get_str(const struct ctx *c, const json_t *o, const char *key, char **ret)
{
	const json_t *v = json_object_get(o, key);

	if (v == NULL || json_is_null(v))
		return 0;
	if (!json_is_string(v))
		return bad(c, key, "must be a string");
	free(*ret);
	*ret = sw_strdup(json_string_value(v));
	return 0;
}

static int get_int(const struct ctx *c, const json_t *o, const char *key, int64_t *ret)
{
	const json_t *v = json_object_get(o, key);

	if (v == NULL || json_is_null(v))
		return 0;
	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return bad(c, key, "must be a whole number that is not negative");
	*ret = json_integer_value(v);
	return 0;
}

static int get_list(const struct ctx *c, const json_t *o, const char *key, char ***ret)
{
	const json_t *v = json_object_get(o, key);

	if (v == NULL || json_is_null(v))
		return 0;
	if (!json_is_array(v))
		return bad(c, key, "must be a list");
	if (json_array_size(v) > IMG_LIST_MAX)
		return bad(c, key, "has too many entries");
	*ret = sw_strv_add(*ret, "");
	free(take_ptr(&(*ret)[0]));
	for (size_t i = 0; i < json_array_size(v); i++) {
		const json_t *s = json_array_get(v, i);

		if (!json_is_string(s))
			return bad(c, key, "must hold strings only");
		*ret = sw_strv_add(*ret, json_string_value(s));
	}
	return 0;
}

/* Keys of an object as a list; with values ("k=v") when these are strings. */
static int get_map(const struct ctx *c, const json_t *o, const char *key, bool values, char ***ret)
{
	json_t *v = json_object_get(o, key);
	const char *k;
	json_t *item;

	if (v == NULL || json_is_null(v))
		return 0;
	if (!json_is_object(v))
		return bad(c, key, "must be an object");
	if (json_object_size(v) > IMG_LIST_MAX)
		return bad(c, key, "has too many entries");
	json_object_foreach(v, k, item)
	{
		sw_autofree char *kv = NULL;

		if (values && !json_is_string(item))
			return bad(c, key, "must hold strings only");
		if (values)
			kv = sw_asprintf("%s=%s", k, json_string_value(item));
		*ret = sw_strv_add(*ret, values ? kv : k);
	}
	return 0;
}

void img_platform_fini(struct img_platform *p)
{
	free(p->os);
	free(p->arch);
	free(p->variant);
	*p = (struct img_platform){0};
}

void img_desc_fini(struct img_desc *d)
{
	free(d->media_type);
	free(d->digest);
	free(d->ref_name);
	img_platform_fini(&d->platform);
	*d = (struct img_desc){0};
}

static void descs_free(struct img_desc *d, size_t n)
{
	for (size_t i = 0; i < n; i++)
		img_desc_fini(&d[i]);
	free(d);
}

void img_index_fini(struct img_index *i)
{
	descs_free(i->manifests, i->n);
	*i = (struct img_index){0};
}

void img_manifest_fini(struct img_manifest *m)
{
	free(m->media_type);
	img_desc_fini(&m->config);
	descs_free(m->layers, m->n);
	*m = (struct img_manifest){0};
}

void img_config_fini(struct img_config *c)
{
	img_platform_fini(&c->platform);
	free(c->created);
	sw_strv_free(c->diff_ids);
	sw_strv_free(c->env);
	sw_strv_free(c->entrypoint);
	sw_strv_free(c->cmd);
	sw_strv_free(c->volumes);
	sw_strv_free(c->ports);
	sw_strv_free(c->labels);
	sw_strv_free(c->shell);
	sw_strv_free(c->health);
	free(c->user);
	free(c->workdir);
	free(c->stop_signal);
	*c = (struct img_config){0};
}

/* RFC 6838: type "/" subtype, each a restricted name of at most 127 characters. */
static bool media_type_ok(const char *s)
{
	for (int part = 0; part < 2; part++) {
		size_t n = strcspn(s, "/");

		if (n == 0 || n > 127)
			return false;
		for (size_t i = 0; i < n; i++) {
			bool alnum = (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') ||
				     (s[i] >= '0' && s[i] <= '9');

			if (!alnum && (i == 0 || strchr("!#$&-^_.+", s[i]) == NULL))
				return false;
		}
		s += n;
		if (part == 0 && *s++ != '/')
			return false;
	}
	return *s == 0;
}

static int platform_of(const struct ctx *c, const json_t *o, struct img_platform *p)
{
	if (!json_is_object(o))
		return bad(c, "platform", "must be an object");
	if (get_str(c, o, "os", &p->os) < 0 || get_str(c, o, "architecture", &p->arch) < 0 ||
	    get_str(c, o, "variant", &p->variant) < 0)
		return SW_EINVAL;
	if (p->os == NULL || p->arch == NULL)
		return bad(c, "platform", "needs os and architecture");
	return 0;
}

static int check_urls(const struct ctx *c, const json_t *o)
{
	char **urls = NULL;
	int rc = get_list(c, o, "urls", &urls);

	sw_strv_free(urls);
	return rc;
}

static int check_annotations(const struct ctx *c, const json_t *o)
{
	char **a = NULL;
	int rc = get_map(c, o, "annotations", true, &a);

	sw_strv_free(a);
	return rc;
}

/* OCI's grammar is wider than that of references; what is fetched must be sha256 all the same. */
static bool digest_ok(const char *s)
{
	size_t alg = strcspn(s, ":");
	const char *rest = s + alg + 1;

	if (sw_after(s, "sha256:") != NULL || sw_after(s, "sha512:") != NULL)
		return img_digest_valid(s);
	if (alg == 0 || s[alg] == 0 || *rest == 0 ||
	    strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789+._-") != alg)
		return false;
	for (size_t i = 0; i < alg; i++)
		if (strchr("+._-", s[i]) != NULL &&
		    (i == 0 || i + 1 == alg || strchr("+._-", s[i + 1]) != NULL))
			return false;
	for (; *rest != 0; rest++)
		if (!(*rest >= 'a' && *rest <= 'z') && !(*rest >= 'A' && *rest <= 'Z') &&
		    !(*rest >= '0' && *rest <= '9') && strchr("=_-", *rest) == NULL)
			return false;
	return true;
}

static int desc_fields(const struct ctx *c, const json_t *o, struct img_desc *d)
{
	const json_t *platform = json_object_get(o, "platform");
	const json_t *notes = json_object_get(o, "annotations");

	d->size = -1;
	if (get_str(c, o, "mediaType", &d->media_type) < 0 ||
	    get_str(c, o, "digest", &d->digest) < 0 || get_int(c, o, "size", &d->size) < 0 ||
	    check_urls(c, o) < 0 || check_annotations(c, o) < 0)
		return SW_EINVAL;
	if (d->media_type == NULL || !media_type_ok(d->media_type))
		return bad(c, "mediaType", "missing or not a media type");
	if (d->digest == NULL || !digest_ok(d->digest))
		return bad(c, "digest", "missing or not a digest");
	if (d->size < 0)
		return bad(c, "size", "missing");
	if (json_object_get(o, "artifactType") != NULL &&
	    (!json_is_string(json_object_get(o, "artifactType")) ||
	     !media_type_ok(json_string_value(json_object_get(o, "artifactType")))))
		return bad(c, "artifactType", "not a media type");
	const char *data = json_string_value(json_object_get(o, "data"));
	size_t data_n;
	sw_autofree void *raw = data != NULL ? sw_unbase64(data, &data_n) : NULL;

	if (json_object_get(o, "data") != NULL && raw == NULL)
		return bad(c, "data", "not base64");
	if (platform != NULL && !json_is_null(platform) &&
	    platform_of(c, platform, &d->platform) < 0)
		return SW_EINVAL;
	if (get_str(c, notes, "org.opencontainers.image.ref.name", &d->ref_name) < 0 ||
	    get_str(c, notes, "io.containerd.image.name", &d->ref_name) < 0)
		return SW_EINVAL;
	return 0;
}

static int desc_of(const struct ctx *c, const json_t *o, const char *field, struct img_desc *ret)
{
	struct img_desc d = {0};
	char what[160];
	int rc;

	snprintf(what, sizeof what, "%s: %s", c->what, field);
	if (!json_is_object(o))
		return bad(c, field, "missing or not an object");
	rc = desc_fields(&(struct ctx){what, c->err}, o, &d);
	if (rc < 0)
		img_desc_fini(&d);
	else
		*ret = d;
	return rc;
}

static int descs_of(const struct ctx *c, const json_t *o, const char *field, size_t max,
		    struct img_desc **ret, size_t *ret_n)
{
	const json_t *v = json_object_get(o, field);
	size_t n = json_array_size(v);

	if (!json_is_array(v))
		return bad(c, field, "missing or not a list");
	if (n > max)
		return bad(c, field, "has too many entries");
	*ret = sw_new_n(struct img_desc, n + 1);
	for (size_t i = 0; i < n; i++) {
		char name[48];

		snprintf(name, sizeof name, "%s[%zu]", field, i);
		if (desc_of(c, json_array_get(v, i), name, &(*ret)[i]) < 0)
			return SW_EINVAL;
		*ret_n = i + 1;
	}
	return 0;
}

static int check_head(const struct ctx *c, const json_t *o)
{
	int64_t version = 0;
	const json_t *subject = json_object_get(o, "subject");
	char *type = NULL;
	int rc = get_int(c, o, "schemaVersion", &version);

	if (rc == 0 && version != 2)
		rc = bad(c, "schemaVersion", "must be 2 (schema 1 is not taken)");
	if (rc == 0)
		rc = get_str(c, o, "artifactType", &type);
	if (rc == 0 && type != NULL && !media_type_ok(type))
		rc = bad(c, "artifactType", "not a media type");
	if (rc == 0 && subject != NULL && !json_is_null(subject)) {
		struct img_desc d = {0};

		rc = desc_of(c, subject, "subject", &d);
		img_desc_fini(&d);
	}
	free(type);
	return rc < 0 ? rc : check_annotations(c, o);
}

int img_desc_parse(const void *p, size_t n, struct img_desc *ret, struct sw_error *err)
{
	struct ctx c = {"descriptor", err};
	autojson *j = NULL;
	int rc = parse_doc(&c, p, n, &j);

	return rc < 0 ? rc : desc_of(&c, j, "descriptor", ret);
}

int img_index_parse(const void *p, size_t n, struct img_index *ret, struct sw_error *err)
{
	struct ctx c = {"image index", err};
	struct img_index x = {0};
	autojson *j = NULL;
	int rc = parse_doc(&c, p, n, &j);

	if (rc == 0)
		rc = check_head(&c, j);
	if (rc == 0)
		rc = descs_of(&c, j, "manifests", IMG_INDEX_MAX, &x.manifests, &x.n);
	if (rc < 0) {
		img_index_fini(&x);
		return rc;
	}
	*ret = x;
	return 0;
}

int img_manifest_parse(const void *p, size_t n, struct img_manifest *ret, struct sw_error *err)
{
	struct ctx c = {"image manifest", err};
	struct img_manifest m = {0};
	autojson *j = NULL;
	int rc = parse_doc(&c, p, n, &j);

	if (rc == 0)
		rc = check_head(&c, j);
	if (rc == 0)
		rc = get_str(&c, j, "mediaType", &m.media_type);
	if (rc == 0)
		rc = desc_of(&c, json_object_get(j, "config"), "config", &m.config);
	if (rc == 0)
		rc = descs_of(&c, j, "layers", IMG_LAYERS_MAX, &m.layers, &m.n);
	if (rc == 0 && m.n == 0)
		rc = bad(&c, "layers", "must have at least one layer");
	if (rc < 0) {
		img_manifest_fini(&m);
		return rc;
	}
	*ret = m;
	return 0;
}

static int diff_ids_of(const struct ctx *c, const json_t *o, struct img_config *x)
{
	const json_t *rootfs = json_object_get(o, "rootfs");
	char *type = NULL;
	int rc;

	if (!json_is_object(rootfs))
		return bad(c, "rootfs", "missing or not an object");
	rc = get_str(c, rootfs, "type", &type);
	if (rc == 0 && (type == NULL || !sw_streq(type, "layers")))
		rc = bad(c, "rootfs.type", "must be \"layers\"");
	free(type);
	if (rc == 0)
		rc = get_list(c, rootfs, "diff_ids", &x->diff_ids);
	if (rc < 0)
		return rc;
	if (sw_strv_len(x->diff_ids) > IMG_LAYERS_MAX)
		return bad(c, "rootfs.diff_ids", "has too many layers");
	for (char **d = x->diff_ids; d != NULL && *d != NULL; d++)
		if (!img_digest_is_sha256(*d))
			return bad(c, "rootfs.diff_ids", "must hold sha256 digests");
	return 0;
}

static int health_of(const struct ctx *c, const json_t *o, struct img_config *x)
{
	static const struct {
		const char *key;
		size_t offset;
	} times[] = {
		{"Interval", offsetof(struct img_config, health_interval_ms)},
		{"Timeout", offsetof(struct img_config, health_timeout_ms)},
		{"StartPeriod", offsetof(struct img_config, health_start_ms)},
		{"StartInterval", offsetof(struct img_config, health_start_interval_ms)},
	};
	int64_t retries = 0;

	if (o == NULL || json_is_null(o))
		return 0;
	if (!json_is_object(o))
		return bad(c, "config.Healthcheck", "must be an object");
	if (get_list(c, o, "Test", &x->health) < 0 || get_int(c, o, "Retries", &retries) < 0)
		return SW_EINVAL;
	x->health_retries = (uint32_t)(retries > 1000000 ? 1000000 : retries);
	for (size_t i = 0; i < SW_COUNT(times); i++) {
		int64_t ns = 0;

		if (get_int(c, o, times[i].key, &ns) < 0)
			return SW_EINVAL;
		*(uint64_t *)((char *)x + times[i].offset) = (uint64_t)(ns / 1000000);
	}
	return 0;
}

static int run_of(const struct ctx *c, const json_t *o, struct img_config *x)
{
	if (o == NULL || json_is_null(o))
		return 0;
	if (!json_is_object(o))
		return bad(c, "config", "must be an object");
	if (get_list(c, o, "Env", &x->env) < 0 ||
	    get_list(c, o, "Entrypoint", &x->entrypoint) < 0 ||
	    get_list(c, o, "Cmd", &x->cmd) < 0 || get_list(c, o, "Shell", &x->shell) < 0 ||
	    get_map(c, o, "Volumes", false, &x->volumes) < 0 ||
	    get_map(c, o, "ExposedPorts", false, &x->ports) < 0 ||
	    get_map(c, o, "Labels", true, &x->labels) < 0 || get_str(c, o, "User", &x->user) < 0 ||
	    get_str(c, o, "WorkingDir", &x->workdir) < 0 ||
	    get_str(c, o, "StopSignal", &x->stop_signal) < 0)
		return SW_EINVAL;
	for (char **e = x->env; e != NULL && *e != NULL; e++)
		if (strchr(*e, '=') == NULL || **e == '=')
			return bad(c, "config.Env", "must hold NAME=value");
	return health_of(c, json_object_get(o, "Healthcheck"), x);
}

int img_config_parse(const void *p, size_t n, struct img_config *ret, struct sw_error *err)
{
	struct ctx c = {"image config", err};
	struct img_config x = {0};
	autojson *j = NULL;
	int rc = parse_doc(&c, p, n, &j);

	if (rc == 0)
		rc = platform_of(&c, j, &x.platform);
	if (rc == 0)
		rc = get_str(&c, j, "created", &x.created);
	if (rc == 0 && json_object_get(j, "history") != NULL &&
	    !json_is_null(json_object_get(j, "history")) &&
	    !json_is_array(json_object_get(j, "history")))
		rc = bad(&c, "history", "must be a list");
	if (rc == 0)
		rc = run_of(&c, json_object_get(j, "config"), &x);
	if (rc == 0)
		rc = diff_ids_of(&c, j, &x);
	if (rc < 0) {
		img_config_fini(&x);
		return rc;
	}
	*ret = x;
	return 0;
}

int img_layout_parse(const void *p, size_t n, struct sw_error *err)
{
	struct ctx c = {"oci-layout", err};
	autojson *j = NULL;
	sw_autofree char *version = NULL;
	int rc = parse_doc(&c, p, n, &j);

	if (rc == 0)
		rc = get_str(&c, j, "imageLayoutVersion", &version);
	if (rc == 0 && (version == NULL || !sw_streq(version, "1.0.0")))
		rc = bad(&c, "imageLayoutVersion", "must be \"1.0.0\"");
	return rc;
}

bool img_is_index(const char *media_type, const void *p, size_t n)
{
	struct ctx c = {"image", NULL};
	autojson *j = NULL;
	const char *inner;

	if (media_type != NULL && (sw_after(media_type, IMG_MT_OCI_INDEX) != NULL ||
				   sw_after(media_type, IMG_MT_DOCKER_LIST) != NULL))
		return true;
	if (media_type != NULL && (sw_after(media_type, IMG_MT_OCI_MANIFEST) != NULL ||
				   sw_after(media_type, IMG_MT_DOCKER_V2) != NULL))
		return false;
	if (parse_doc(&c, p, n, &j) < 0)
		return false;
	inner = json_string_value(json_object_get(j, "mediaType"));
	if (inner != NULL)
		return sw_streq(inner, IMG_MT_OCI_INDEX) || sw_streq(inner, IMG_MT_DOCKER_LIST);
	return json_is_array(json_object_get(j, "manifests"));
}

/* Higher is better, -1 is no match. An image without a variant runs on any. */
static int platform_rank(const struct img_platform *have, const struct img_platform *want)
{
	if (have->os == NULL || have->arch == NULL || !sw_streq(have->os, want->os) ||
	    !sw_streq(have->arch, want->arch))
		return -1;
	if (have->variant == NULL || *have->variant == 0)
		return 1;
	if (want->variant != NULL && *want->variant != 0)
		return sw_streq(have->variant, want->variant) ? 2 : -1;
	/* Baseline variants that every such machine has. */
	if (sw_streq(have->variant, "v8") || sw_streq(have->variant, "v1"))
		return 1;
	return 0;
}

const struct img_desc *img_index_choose(const struct img_index *x, const struct img_platform *want)
{
	const struct img_desc *best = NULL;
	int best_rank = -1;

	for (size_t i = 0; i < x->n; i++) {
		int rank = platform_rank(&x->manifests[i].platform, want);

		if (rank > best_rank) {
			best_rank = rank;
			best = &x->manifests[i];
		}
	}
	/* A lone manifest that names no platform: an image layout often has just that. */
	if (best == NULL && x->n == 1 && x->manifests[0].platform.os == NULL)
		best = &x->manifests[0];
	return best;
}

struct img_platform img_platform_host(void)
{
	static const struct {
		const char *machine, *arch, *variant;
	} rows[] = {
		{"x86_64", "amd64", ""},    {"aarch64", "arm64", "v8"}, {"armv7l", "arm", "v7"},
		{"ppc64le", "ppc64le", ""}, {"s390x", "s390x", ""},     {"riscv64", "riscv64", ""},
		{"i686", "386", ""},
	};
	struct utsname u = {0};

	uname(&u);
	for (size_t i = 0; i < SW_COUNT(rows); i++)
		if (sw_streq(u.machine, rows[i].machine))
			return (struct img_platform){(char *)"linux", (char *)rows[i].arch,
						     (char *)rows[i].variant};
	return (struct img_platform){(char *)"linux", (char *)"unknown", (char *)""};
}

int img_layer_check(const char *media_type, struct sw_error *err)
{
	static const char *const layers[] = {
		"application/vnd.oci.image.layer.v1.tar",
		"application/vnd.oci.image.layer.nondistributable.v1.tar",
		"application/vnd.docker.image.rootfs.diff.tar",
		"application/vnd.docker.image.rootfs.foreign.diff.tar",
	};

	for (size_t i = 0; i < SW_COUNT(layers); i++) {
		const char *rest = sw_after(media_type, layers[i]);

		if (rest == NULL)
			continue;
		if (*rest == 0 || sw_streq(rest, "+gzip") || sw_streq(rest, ".gzip") ||
		    sw_streq(rest, "+zstd") || sw_streq(rest, ".zstd"))
			return 0;
	}
	if (sw_streq(media_type, "application/octet-stream"))
		return 0;
	return sw_fail(err, SW_EUNSUPP, "layer of media type %s is not supported", media_type);
}
