/* Secrets and configs as files of a container. */
#include "agent/internal.h"

#include "base/mem.h"
#include "base/str.h"
#include "proto/expand.h"

#include <string.h>

/* A numeric id, or the default; names can't be known before the image is. */
static int parse_owner(const char *what, const char *s, uint32_t *ret, struct sw_error *err)
{
	uint64_t x = 0;

	if (s[0] != 0 && !sw_parse_u64(s, UINT32_MAX, &x))
		return sw_fail(err, SW_EINVAL, "%s: \"%s\" is not a numeric id", what, s);
	*ret = (uint32_t)x;
	return 0;
}

static char *target_of(const Pb__FileRef *f, bool secret)
{
	const char *t = f->target[0] != 0 ? f->target : f->name;

	if (t[0] == '/')
		return sw_strdup(t);
	return sw_asprintf("%s/%s", secret ? "/run/secrets" : "", t);
}

static const ProtobufCBinaryData *data_of(void *arg, const Pb__FileRef *f, bool secret)
{
	struct worker *w = arg;
	const Pb__Secret *s = secret ? worker_secret(w, f->object_id) : NULL;
	const Pb__Config *c = secret ? NULL : worker_config(w, f->object_id);

	return s != NULL ? &s->spec->data : c != NULL ? &c->spec->data : NULL;
}

static bool is_template(const struct worker *w, const Pb__FileRef *f, bool secret)
{
	const Pb__Secret *s = secret ? worker_secret(w, f->object_id) : NULL;
	const Pb__Config *c = secret ? NULL : worker_config(w, f->object_id);

	return (s != NULL && s->spec->template_driver[0] != 0) ||
	       (c != NULL && c->spec->template_driver[0] != 0);
}

struct making {
	const struct worker *w;
	struct expand_files from;
	const json_t *values;
};

static int content_of(const struct making *m, struct rt_file *out, const Pb__FileRef *f,
		      bool secret, struct sw_error *err)
{
	const char *what = secret ? "secret" : "config";
	const ProtobufCBinaryData *data = data_of(m->from.arg, f, secret);
	char *made;
	int rc;

	if (data == NULL)
		return sw_fail(err, SW_ENOTFOUND, "%s %s has not come from the manager", what,
			       f->name);
	if (!is_template(m->w, f, secret)) {
		out->data = sw_memdup(data->data, data->len);
		out->n = data->len;
		return 0;
	}
	rc = expand_content(data, &m->from, m->values, &made, &out->n, err);
	if (rc != 0)
		return sw_wrap(err, "%s %s", what, f->name);
	out->data = made;
	return 0;
}

static int add(const struct making *m, struct rt_file *out, const Pb__FileRef *f, bool secret,
	       struct sw_error *err)
{
	const char *what = secret ? "secret" : "config";
	int rc = parse_owner(what, f->uid, &out->uid, err);

	if (rc == 0)
		rc = parse_owner(what, f->gid, &out->gid, err);
	if (rc == 0)
		rc = content_of(m, out, f, secret, err);
	if (rc != 0)
		return rc;
	out->mode = f->mode != 0 ? f->mode : 0444;
	out->path = target_of(f, secret);
	return 0;
}

int task_files(const struct task *t, const Pb__ContainerSpec *c, const json_t *values,
	       struct rt_file **ret, size_t *ret_n, struct sw_error *err)
{
	const struct making m = {t->w, {c, data_of, t->w}, values};
	struct rt_file *files = sw_new_n(struct rt_file, c->n_secrets + c->n_configs);
	size_t n = 0;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < c->n_secrets; i++)
		if ((rc = add(&m, &files[n], c->secrets[i], true, err)) == 0)
			n++;
	for (size_t i = 0; rc == 0 && i < c->n_configs; i++)
		if ((rc = add(&m, &files[n], c->configs[i], false, err)) == 0)
			n++;
	*ret = files;
	*ret_n = n;
	return rc;
}

void task_files_free(struct rt_file *files, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		explicit_bzero((void *)files[i].data, files[i].n);
		free((void *)files[i].data);
		free((char *)files[i].path);
	}
	free(files);
}
