/*
 * Volumes: the cluster knows those that were declared, each node those that it has. ls shows both,
 * rm and prune end both.
 */
#include "cli/cmd.h"

#include "base/mem.h"
#include "base/str.h"
#include "base/strmap.h"
#include "proto/msg.h"

#include <stdio.h>

struct volume {
	char **nodes, **users;
	const Pb__VolumeSpec *spec; /* NULL: no one declared it */
};

static void volume_free(void *p)
{
	struct volume *v = p;

	sw_strv_free(v->nodes);
	sw_strv_free(v->users);
	free(v);
}

static struct volume *volume_of(struct sw_strmap *all, const char *name)
{
	struct volume *v = sw_strmap_get(all, name);

	if (v == NULL) {
		v = sw_new(struct volume);
		sw_strmap_set(all, name, v);
	}
	return v;
}

static int ask(struct cli *cli, char **remove, Pb__UsageReply **ret, struct sw_error *err)
{
	Pb__VolumesRequest q = PB__VOLUMES_REQUEST__INIT;
	struct client *c;
	int rc = cli_client(cli, &c, err);

	q.remove = remove;
	q.n_remove = sw_strv_len(remove);
	if (rc == 0)
		rc = client_call(c, METHOD_Volumes, &q.base, ret, err);
	for (size_t i = 0; rc == 0 && i < (*ret)->n_nodes; i++)
		if (*(*ret)->nodes[i]->error != 0)
			fprintf(stderr, "node %s %s\n", (*ret)->nodes[i]->node,
				(*ret)->nodes[i]->error);
	return rc;
}

static void gather(struct sw_strmap *all, const Pb__UsageReply *r)
{
	for (size_t i = 0; i < r->n_nodes; i++)
		for (size_t k = 0; k < r->nodes[i]->n_volumes; k++) {
			const Pb__VolumeUsage *u = r->nodes[i]->volumes[k];
			struct volume *v = volume_of(all, u->name);

			v->nodes = sw_strv_add(v->nodes, r->nodes[i]->node);
			for (size_t n = 0; n < u->n_users; n++)
				v->users = sw_strv_add(v->users, u->users[n]);
		}
}

static json_t *words(char *const *v)
{
	struct sw_buf b = SW_BUF_INIT(1 << 20);
	json_t *j;

	for (size_t i = 0; v != NULL && v[i] != NULL; i++)
		sw_buf_addf(&b, "%s%s", i > 0 ? ", " : "", v[i]);
	j = json_string(sw_buf_str(&b));
	sw_buf_fini(&b);
	return j;
}

static json_t *row_of(const char *name, const struct volume *v)
{
	const char *driver = v->spec != NULL && *v->spec->driver != 0 ? v->spec->driver : "local";
	json_t *row = json_pack("{sssssssssoso}", "ID", name, "Driver", driver, "Name", name,
				"Dangling", v->nodes != NULL && v->users == NULL ? "true" : "false",
				"Nodes", words(v->nodes), "UsedBy", words(v->users));

	json_object_set_new(row, "LabelMap",
			    v->spec != NULL ? cmd_labels(v->spec->labels, v->spec->n_labels)
					    : json_object());
	return row;
}

CMD(volume_ls)
{
	static const char *const headers[] = {"Name", "VOLUME NAME", NULL};
	struct objects objects = {0};
	struct sw_strmap all = {0};
	Pb__UsageReply *r = NULL;
	json_t *rows = json_array();
	int rc = cmd_list(cli, PB__KIND__KIND_VOLUME, &objects, err);

	for (size_t i = 0; rc == 0 && i < objects.n; i++) {
		const Pb__Volume *o = (const Pb__Volume *)objects.v[i];

		volume_of(&all, o->spec->name)->spec = o->spec;
	}
	if (rc == 0)
		rc = ask(cli, NULL, &r, err);
	if (rc == 0)
		gather(&all, r);
	for (size_t i = 0; i < all.n; i++)
		json_array_append_new(rows, row_of(all.e[i].key, all.e[i].value));
	if (rc == 0)
		rc = cmd_print_rows(cli, rows,
				    "table {{.Driver}}\t{{.Name}}\t{{.Nodes}}\t{{.UsedBy}}",
				    headers, err);
	json_decref(rows);
	sw_strmap_fini(&all, volume_free);
	msg_free(r != NULL ? &r->base : NULL);
	objects_fini(&objects);
	return rc;
}

/* ---- rm ---- */

static int refuse_used(const Pb__UsageReply *r, const char *name, bool *ret_found,
		       struct sw_error *err)
{
	for (size_t i = 0; i < r->n_nodes; i++)
		for (size_t k = 0; k < r->nodes[i]->n_volumes; k++) {
			const Pb__VolumeUsage *u = r->nodes[i]->volumes[k];

			if (!sw_streq(u->name, name))
				continue;
			*ret_found = true;
			if (u->n_users > 0)
				return sw_fail(err, SW_EPRECOND,
					       "volume %s is used by task %s on node %s", name,
					       u->users[0], r->nodes[i]->node);
		}
	return 0;
}

/* What a node could not remove, of what was asked. */
static int first_fault(const Pb__UsageReply *r, struct sw_error *err)
{
	for (size_t i = 0; i < r->n_nodes; i++)
		for (size_t k = 0; k < r->nodes[i]->n_volumes; k++)
			if (*r->nodes[i]->volumes[k]->error != 0)
				return sw_fail(err, SW_EPRECOND, "node %s: %s", r->nodes[i]->node,
					       r->nodes[i]->volumes[k]->error);
	return 0;
}

static int remove_one(struct cli *cli, const Pb__UsageReply *before, char *name,
		      struct sw_error *err)
{
	char *names[] = {name, NULL};
	Pb__UsageReply *after = NULL;
	Pb__Ref q = PB__REF__INIT;
	Pb__IdReply *id = NULL;
	struct client *c;
	bool found = false;
	int rc = refuse_used(before, name, &found, err);

	q.ref = name;
	if (rc == 0)
		rc = cli_client(cli, &c, err);
	if (rc == 0)
		rc = client_call(c, METHOD_VolumeRemove, &q.base, &id, err);
	if (rc == SW_ENOTFOUND && found)
		rc = 0; /* only nodes know it */
	if (rc == 0)
		rc = ask(cli, names, &after, err);
	if (rc == 0)
		rc = first_fault(after, err);
	if (rc == 0)
		printf("%s\n", name);
	msg_free(id != NULL ? &id->base : NULL);
	msg_free(after != NULL ? &after->base : NULL);
	return rc;
}

CMD(volume_rm)
{
	Pb__UsageReply *before = NULL;
	int rc = ask(cli, NULL, &before, err);

	for (size_t i = 0; rc == 0 && i < cli->n_args; i++)
		rc = remove_one(cli, before, (char *)cli->args[i], err);
	msg_free(before != NULL ? &before->base : NULL);
	return rc;
}

/* ---- prune ---- */

/* One with a name may be waiting for its service: only a container's own are for nobody else. */
CMD(volume_prune)
{
	Pb__UsageReply *r = NULL, *after = NULL;
	struct sw_strmap all = {0};
	char **names = NULL;
	int rc = ask(cli, NULL, &r, err);

	if (rc == 0)
		gather(&all, r);
	for (size_t i = 0; i < all.n; i++)
		if (sw_after(all.e[i].key, "anon-") != NULL &&
		    ((struct volume *)all.e[i].value)->users == NULL)
			names = sw_strv_add(names, all.e[i].key);
	if (rc == 0 && names != NULL)
		rc = ask(cli, names, &after, err);
	for (size_t i = 0; after != NULL && i < after->n_nodes; i++)
		for (size_t k = 0; k < after->nodes[i]->n_volumes; k++)
			if (after->nodes[i]->volumes[k]->removed)
				printf("%s\n", after->nodes[i]->volumes[k]->name);
	if (rc == 0 && after != NULL)
		rc = first_fault(after, err);
	sw_strv_free(names);
	sw_strmap_fini(&all, volume_free);
	msg_free(r != NULL ? &r->base : NULL);
	msg_free(after != NULL ? &after->base : NULL);
	return rc;
}
