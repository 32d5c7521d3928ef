#include "runtime/image/inspect.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"

#include <jansson.h>
#include <string.h>

static json_t *list(char *const *v)
{
	json_t *a = json_array();

	for (size_t i = 0; v != NULL && v[i] != NULL; i++)
		json_array_append_new(a, json_string(v[i]));
	return a;
}

static json_t *list_or_null(char *const *v)
{
	return v != NULL ? list(v) : json_null();
}

/* "key=value" strings to an object; keys without a value get "". */
static json_t *object(char *const *v)
{
	json_t *o = json_object();

	for (size_t i = 0; v != NULL && v[i] != NULL; i++) {
		const char *eq = strchrnul(v[i], '=');
		sw_autofree char *key = sw_strndup(v[i], (size_t)(eq - v[i]));

		json_object_set_new(o, key, json_string(*eq == '=' ? eq + 1 : ""));
	}
	return o;
}

/* {"80/tcp": {}} */
static json_t *set(char *const *v)
{
	json_t *o = json_object();

	for (size_t i = 0; v != NULL && v[i] != NULL; i++)
		json_object_set_new(o, v[i], json_object());
	return o;
}

static json_t *text(const char *s)
{
	return json_string(s != NULL ? s : "");
}

/* Durations in nanoseconds, as everywhere in Docker's documents; what is not said is left out. */
static json_t *health_of(const struct img_config *c)
{
	const struct {
		const char *key;
		uint64_t ms;
	} times[] = {{"Interval", c->health_interval_ms},
		     {"Timeout", c->health_timeout_ms},
		     {"StartPeriod", c->health_start_ms},
		     {"StartInterval", c->health_start_interval_ms}};
	json_t *o = json_object();

	json_object_set_new(o, "Test", list(c->health));
	for (size_t i = 0; i < SW_COUNT(times); i++)
		if (times[i].ms > 0)
			json_object_set_new(o, times[i].key,
					    json_integer((json_int_t)times[i].ms * 1000000));
	if (c->health_retries > 0)
		json_object_set_new(o, "Retries", json_integer(c->health_retries));
	return o;
}

static json_t *config_of(const struct img_config *c)
{
	json_t *o = json_object();

	json_object_set_new(o, "User", text(c->user));
	json_object_set_new(o, "ExposedPorts", set(c->ports));
	json_object_set_new(o, "Env", list(c->env));
	json_object_set_new(o, "Cmd", list_or_null(c->cmd));
	json_object_set_new(o, "Volumes", set(c->volumes));
	json_object_set_new(o, "WorkingDir", text(c->workdir));
	json_object_set_new(o, "Entrypoint", list_or_null(c->entrypoint));
	json_object_set_new(o, "Labels", object(c->labels));
	if (c->stop_signal != NULL)
		json_object_set_new(o, "StopSignal", json_string(c->stop_signal));
	if (c->health != NULL)
		json_object_set_new(o, "Healthcheck", health_of(c));
	return o;
}

char *img_image_json(const struct img_image *i)
{
	json_t *o = json_object(), *root = json_object(), *digests = json_array();
	char added[32];
	char *out;

	json_object_set_new(o, "Id", json_string(i->id));
	json_object_set_new(o, "RepoTags", list(i->names));
	if (i->digest != NULL && i->digest[0] != 0)
		json_array_append_new(digests, json_string(i->digest));
	json_object_set_new(o, "RepoDigests", digests);
	json_object_set_new(o, "Created", text(i->config.created));
	json_object_set_new(o, "Added", json_string(sw_time_rfc3339(i->added_ms, added)));
	json_object_set_new(o, "Config", config_of(&i->config));
	json_object_set_new(o, "Architecture", text(i->config.platform.arch));
	json_object_set_new(o, "Os", text(i->config.platform.os));
	json_object_set_new(o, "Size", json_integer((json_int_t)i->size));
	json_object_set_new(root, "Type", json_string("layers"));
	json_object_set_new(root, "Layers", list(i->config.diff_ids));
	json_object_set_new(o, "RootFS", root);
	out = json_dumps(o, JSON_INDENT(4));
	json_decref(o);
	return out;
}

int img_history_json(struct img_store *s, const char *name, char **ret, struct sw_error *err)
{
	sw_autofree char *config = NULL, *manifest = NULL;
	struct img_image *i = NULL;
	json_t *doc, *entries, *out = json_array();
	size_t n, manifest_n, layer = 0;
	int rc = img_store_get(s, name, &i, err);

	if (rc == 0)
		rc = img_store_documents(s, i->id, &config, &n, &manifest, &manifest_n, err);
	doc = rc == 0 ? json_loadb(config, n, 0, NULL) : NULL;
	entries = json_object_get(doc, "history");
	for (size_t k = 0; rc == 0 && k < json_array_size(entries); k++) {
		json_t *h = json_array_get(entries, k);
		const char *by = json_string_value(json_object_get(h, "created_by"));
		const char *at = json_string_value(json_object_get(h, "created"));
		const char *comment = json_string_value(json_object_get(h, "comment"));
		bool empty = json_is_true(json_object_get(h, "empty_layer"));
		char *const *ids = i->config.diff_ids;
		uint64_t size = 0;

		if (!empty && layer < sw_strv_len(ids))
			rc = img_store_layer(s, ids[layer++], NULL, &size, err);
		json_array_insert_new(out, 0,
				      json_pack("{s:s, s:s, s:I, s:s}", "CreatedBy",
						by != NULL ? by : "", "Created",
						at != NULL ? at : "", "Size", (json_int_t)size,
						"Comment", comment != NULL ? comment : ""));
	}
	if (rc == 0 && json_array_size(out) > 0)
		json_object_set_new(json_array_get(out, 0), "ID", json_string(i->id));
	if (rc == 0)
		*ret = json_dumps(out, JSON_COMPACT);
	json_decref(doc);
	json_decref(out);
	img_image_free(i);
	return rc;
}
