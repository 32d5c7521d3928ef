#include "runtime/image/inspect.h"

#include "base/clock.h"
#include "base/mem.h"

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
