#include "proto/expand.h"

#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/template.h"
#include "proto/msg.h"

#include <string.h>

/* As much as a secret or config may hold, and a piece of a container's description. */
enum { MAX_CONTENT = 1024000, MAX_TEXT = 64 * 1024, MAX_HOSTNAME = 64 };

static const struct template_rules looking = {.check = true};

char *expand_task_name(const struct expand_values *v)
{
	if (v->slot != 0)
		return sw_asprintf("%s.%u.%s", v->service_name, v->slot, sw_id(v->task_id).s);
	return sw_asprintf("%s.%s.%s", v->service_name, sw_id(v->node_id).s, sw_id(v->task_id).s);
}

json_t *expand_data(const struct expand_values *v)
{
	sw_autofree char *name = NULL, *slot = NULL;
	json_t *labels;

	if (v == NULL)
		return json_pack(
			"{s:{s:s, s:s, s:n}, s:{s:s, s:s, s:{s:s, s:s}}, s:{s:s, s:s, s:s}}",
			"Service", "ID", "", "Name", "", "Labels", "Node", "ID", "", "Hostname", "",
			"Platform", "OS", "", "Architecture", "", "Task", "ID", "", "Name", "",
			"Slot", "");
	labels = json_object();
	for (size_t i = 0; i < v->n_labels; i++)
		json_object_set_new_nocheck(labels, v->labels[i]->key,
					    json_string_nocheck(v->labels[i]->value));
	name = expand_task_name(v);
	slot = v->slot != 0 ? sw_asprintf("%u", v->slot) : sw_strdup(sw_id(v->node_id).s);
	return json_pack("{s:{s:s, s:s, s:o}, s:{s:s, s:s, s:{s:s, s:s}}, s:{s:s, s:s, s:s}}",
			 "Service", "ID", sw_id(v->service_id).s, "Name", v->service_name, "Labels",
			 labels, "Node", "ID", sw_id(v->node_id).s, "Hostname", v->hostname,
			 "Platform", "OS", v->os, "Architecture", v->arch, "Task", "ID",
			 sw_id(v->task_id).s, "Name", name, "Slot", slot);
}

/* ---- containers ---- */

struct filling {
	const struct template_rules *rules;
	const json_t *data;
	struct sw_error *err;
};

/* The text in place; `what` and `of` say which it is. */
static int fill(const struct filling *f, char **text, const char *what, const char *of)
{
	struct sw_buf b = SW_BUF_INIT(MAX_TEXT);
	int rc;

	if (strstr(*text, "{{") == NULL)
		return 0;
	rc = template_expand(*text, f->rules, f->data, &b, f->err);
	if (rc != 0)
		sw_wrap(f->err, "%s%.80s", what, of);
	else if (!f->rules->check)
		msg_set_str(text, sw_buf_str(&b));
	sw_buf_fini(&b);
	return rc;
}

static int fill_env(const struct filling *f, Pb__ContainerSpec *c)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < c->n_env; i++) {
		sw_autofree char *name = sw_strndup(c->env[i], strcspn(c->env[i], "="));

		rc = fill(f, &c->env[i], "environment ", name);
	}
	return rc;
}

static int fill_pairs(const struct filling *f, Pb__KeyValue **kv, size_t n, const char *what)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = fill(f, &kv[i]->value, what, kv[i]->key);
	return rc;
}

static int fill_mount(const struct filling *f, Pb__Mount *m)
{
	sw_autofree char *target = sw_strdup(m->target);
	int rc = fill(f, &m->source, "source of mount ", target);

	if (rc == 0)
		rc = fill(f, &m->target, "target of mount ", target);
	if (rc == 0 && !f->rules->check && m->target[0] != '/')
		rc = sw_fail(
			f->err, SW_EINVAL,
			"target of mount %.80s becomes \"%.80s\", which is not an absolute path",
			target, m->target);
	if (rc == 0)
		rc = fill_pairs(f, m->labels, m->n_labels, "volume label ");
	if (rc == 0)
		rc = fill_pairs(f, m->driver_opts, m->n_driver_opts, "volume option ");
	return rc;
}

static int fill_hostname(const struct filling *f, Pb__ContainerSpec *c)
{
	int rc = fill(f, &c->hostname, "hostname", "");

	if (rc == 0 && !f->rules->check && strlen(c->hostname) > MAX_HOSTNAME)
		rc = sw_fail(f->err, SW_EINVAL,
			     "hostname becomes \"%s\", which has %zu characters; at most %d are "
			     "allowed",
			     c->hostname, strlen(c->hostname), MAX_HOSTNAME);
	return rc;
}

static int fill_container(const struct filling *f, Pb__ContainerSpec *c)
{
	int rc = fill_env(f, c);

	if (rc == 0)
		rc = fill_hostname(f, c);
	for (size_t i = 0; rc == 0 && i < c->n_mounts; i++)
		rc = fill_mount(f, c->mounts[i]);
	return rc;
}

int expand_container(Pb__ContainerSpec *c, const json_t *data, struct sw_error *err)
{
	static const struct template_rules rules = {.check = false};
	const struct filling f = {&rules, data, err};

	return fill_container(&f, c);
}

int expand_check_container(const Pb__ContainerSpec *c, struct sw_error *err)
{
	json_t *nothing = expand_data(NULL);
	const struct filling f = {&looking, nothing, err};
	int rc = fill_container(&f, (Pb__ContainerSpec *)c); /* which a look leaves alone */

	json_decref(nothing);
	return rc;
}

/* ---- contents ---- */

static const char *const lookups[] = {"env", "secret", "config", NULL};

static int no_such(const char *what, const char *key, struct sw_error *err)
{
	return sw_fail(err, SW_ENOTFOUND, "the service has no %s \"%.60s\"", what, key);
}

/* Docker looks by target; names are unambiguous too, so both will do. */
static int file_of(const struct expand_files *f, bool secret, const char *key, json_t **ret,
		   struct sw_error *err)
{
	Pb__FileRef *const *refs = secret ? f->container->secrets : f->container->configs;
	size_t n = secret ? f->container->n_secrets : f->container->n_configs;
	const char *what = secret ? "secret" : "config";
	const Pb__FileRef *found = NULL;
	const ProtobufCBinaryData *data;

	for (size_t i = n; i-- > 0;)
		if (sw_streq(refs[i]->name, key))
			found = refs[i];
	for (size_t i = n; i-- > 0;)
		if (sw_streq(refs[i]->target, key))
			found = refs[i];
	if (found == NULL)
		return no_such(what, key, err);
	data = f->data(f->arg, found, secret);
	if (data == NULL)
		return sw_fail(err, SW_ENOTFOUND, "%s %.60s has not come from the manager", what,
			       key);
	*ret = json_stringn_nocheck((const char *)data->data, data->len);
	return 0;
}

static int look_up(void *arg, const char *function, const char *key, json_t **ret,
		   struct sw_error *err)
{
	const struct expand_files *f = arg;
	size_t n = strlen(key);

	if (!sw_streq(function, "env"))
		return file_of(f, sw_streq(function, "secret"), key, ret, err);
	*ret = NULL;
	for (size_t i = f->container->n_env; i-- > 0 && *ret == NULL;)
		if (strncmp(f->container->env[i], key, n) == 0 && f->container->env[i][n] == '=')
			*ret = json_string_nocheck(f->container->env[i] + n + 1);
	if (*ret == NULL)
		*ret = json_string("");
	return 0;
}

static int content(const ProtobufCBinaryData *in, const struct template_rules *rules,
		   const json_t *data, struct sw_buf *out, struct sw_error *err)
{
	char *text;
	int rc;

	if (memchr(in->data, 0, in->len) != NULL)
		return sw_fail(err, SW_EINVAL, "a template can't hold a zero byte");
	text = sw_strndup((const char *)in->data, in->len);
	rc = template_expand(text, rules, data, out, err);
	explicit_bzero(text, in->len);
	free(text);
	return rc;
}

int expand_content(const ProtobufCBinaryData *in, const struct expand_files *f, const json_t *data,
		   char **ret, size_t *ret_n, struct sw_error *err)
{
	const struct template_rules rules = {
		.lookups = lookups, .lookup = look_up, .arg = (void *)f};
	struct sw_buf b = SW_BUF_INIT(MAX_CONTENT);
	int rc = content(in, &rules, data, &b, err);

	if (rc != 0) {
		sw_buf_fini(&b);
		return rc;
	}
	*ret_n = b.len;
	*ret = sw_buf_take(&b);
	return 0;
}

int expand_check_content(const ProtobufCBinaryData *in, struct sw_error *err)
{
	const struct template_rules rules = {.check = true, .lookups = lookups};
	struct sw_buf b = SW_BUF_INIT(MAX_CONTENT);
	json_t *nothing = expand_data(NULL);
	int rc = content(in, &rules, nothing, &b, err);

	json_decref(nothing);
	sw_buf_fini(&b);
	return rc;
}
