/* Secrets and configs as files of a container. */
#include "agent/internal.h"

#include "base/mem.h"
#include "base/str.h"

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

static int add(struct rt_file *out, const Pb__FileRef *f, bool secret,
	       const ProtobufCBinaryData *data, struct sw_error *err)
{
	const char *what = secret ? "secret" : "config";
	int rc;

	if (data == NULL)
		return sw_fail(err, SW_ENOTFOUND, "%s %s has not come from the manager", what,
			       f->name);
	rc = parse_owner(what, f->uid, &out->uid, err);
	if (rc == 0)
		rc = parse_owner(what, f->gid, &out->gid, err);
	if (rc != 0)
		return rc;
	out->mode = f->mode != 0 ? f->mode : 0444;
	out->data = data->data;
	out->n = data->len;
	out->path = target_of(f, secret);
	return 0;
}

int task_files(const struct task *t, struct rt_file **ret, size_t *ret_n, struct sw_error *err)
{
	const Pb__ContainerSpec *c = t->revision->task->container;
	struct rt_file *files = sw_new_n(struct rt_file, c->n_secrets + c->n_configs);
	size_t n = 0;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < c->n_secrets; i++) {
		const Pb__Secret *s = worker_secret(t->w, c->secrets[i]->object_id);

		rc = add(&files[n], c->secrets[i], true, s != NULL ? &s->spec->data : NULL, err);
		n += rc == 0;
	}
	for (size_t i = 0; rc == 0 && i < c->n_configs; i++) {
		const Pb__Config *x = worker_config(t->w, c->configs[i]->object_id);

		rc = add(&files[n], c->configs[i], false, x != NULL ? &x->spec->data : NULL, err);
		n += rc == 0;
	}
	*ret = files;
	*ret_n = n;
	return rc;
}
