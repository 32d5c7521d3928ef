/*
 * What networks, secrets, configs, volumes (and, to look at, services, nodes and tasks) have in
 * common: create, ls, inspect, rm; and events. The command's first word says which kind: one row
 * each.
 */
#include "cli/cmd.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/describe.h"
#include "cli/human.h"
#include "cli/table.h"
#include "cli/wait.h"
#include "proto/msg.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MAX_DATA = 2 << 20 };

struct kind {
	const char *word;
	Pb__Kind kind;
	enum cli_method create, remove; /* METHOD_NR = none */
	const char *columns;
	const char *const *headers;
};

static const char *const network_headers[] = {"ID", "NETWORK ID", NULL};
static const char *const created_headers[] = {"CreatedAt", "CREATED", "UpdatedAt", "UPDATED", NULL};

static const char *const registry_headers[] = {"Name",      "REGISTRY", "CreatedAt", "CREATED",
					       "UpdatedAt", "UPDATED",  NULL};

static const struct kind kinds[] = {
	{"network", PB__KIND__KIND_NETWORK, METHOD_NetworkCreate, METHOD_NetworkRemove,
	 "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}", network_headers},
	{"secret", PB__KIND__KIND_SECRET, METHOD_SecretCreate, METHOD_SecretRemove,
	 "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.CreatedAt}}\t{{.UpdatedAt}}", created_headers},
	{"config", PB__KIND__KIND_CONFIG, METHOD_ConfigCreate, METHOD_ConfigRemove,
	 "table {{.ID}}\t{{.Name}}\t{{.CreatedAt}}\t{{.UpdatedAt}}", created_headers},
	{"volume", PB__KIND__KIND_VOLUME, METHOD_VolumeCreate, METHOD_NR, NULL,
	 NULL}, /* cmd_volume.c */
	{"registry", PB__KIND__KIND_REGISTRY, METHOD_NR, METHOD_RegistryRemove,
	 "table {{.Name}}\t{{.CreatedAt}}\t{{.UpdatedAt}}", registry_headers},
	{"service", PB__KIND__KIND_SERVICE, METHOD_NR, METHOD_ServiceRemove, NULL, NULL},
	{"node", PB__KIND__KIND_NODE, METHOD_NR, METHOD_NR, NULL, NULL},
	{"task", PB__KIND__KIND_TASK, METHOD_NR, METHOD_NR, NULL, NULL},
};

static const struct kind *kind_of(const struct cli *cli)
{
	const char *words = cli->command->words;
	size_t n = strcspn(words, " ");

	for (size_t i = 0; i < SW_COUNT(kinds); i++)
		if (strlen(kinds[i].word) == n && strncmp(kinds[i].word, words, n) == 0)
			return &kinds[i];
	return NULL;
}

/* ---- ls ---- */

static json_t *row_of(const struct cli *cli, Pb__Kind kind, const ProtobufCMessage *o)
{
	const Pb__Network *x = (const Pb__Network *)o; /* ids and times are at the same place */
	char id[16], created[48], updated[48];
	const char *name = "", *driver = "";
	json_t *row, *labels = NULL;

	switch (kind) {
	case PB__KIND__KIND_NETWORK:
		name = x->spec->name;
		driver = x->spec->driver[0] != 0 ? x->spec->driver : "overlay";
		labels = cmd_labels(x->spec->labels, x->spec->n_labels);
		break;
	case PB__KIND__KIND_SECRET:
		name = ((const Pb__Secret *)o)->spec->name;
		labels = cmd_labels(((const Pb__Secret *)o)->spec->labels,
				    ((const Pb__Secret *)o)->spec->n_labels);
		break;
	case PB__KIND__KIND_CONFIG:
		name = ((const Pb__Config *)o)->spec->name;
		labels = cmd_labels(((const Pb__Config *)o)->spec->labels,
				    ((const Pb__Config *)o)->spec->n_labels);
		break;
	default:
		name = ((const Pb__Registry *)o)->spec->name;
	}
	human_ago(x->created_ms, sw_wall_ms(), created);
	human_ago(x->updated_ms, sw_wall_ms(), updated);
	row = json_pack("{ssssssssssss}", "ID", cmd_id(cli, x->id, id), "Name", name, "Driver",
			driver, "Scope", sw_streq(driver, "bridge") ? "local" : "swarm",
			"CreatedAt", created, "UpdatedAt", updated);
	json_object_set_new(row, "LabelMap", labels);
	return row;
}

static int by_name(const void *a, const void *b)
{
	return human_compare(json_string_value(json_object_get(*(json_t *const *)a, "Name")),
			     json_string_value(json_object_get(*(json_t *const *)b, "Name")));
}

static json_t *sorted(json_t *const *v, size_t n)
{
	json_t *rows = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(rows, v[i]);
	return rows;
}

CMD(object_ls)
{
	const struct kind *k = kind_of(cli);
	struct objects objects = {0};
	int rc = cmd_list(cli, k->kind, &objects, err);
	json_t **v = sw_new_n(json_t *, objects.n);
	json_t *rows;

	for (size_t i = 0; i < objects.n; i++)
		v[i] = row_of(cli, k->kind, objects.v[i]);
	if (objects.n > 0)
		qsort(v, objects.n, sizeof *v, by_name);
	rows = sorted(v, objects.n);
	free(v);
	if (rc == 0)
		rc = cmd_print_rows(cli, rows, k->columns, k->headers, err);
	json_decref(rows);
	objects_fini(&objects);
	return rc;
}

/* ---- inspect ---- */

CMD(object_inspect)
{
	const struct kind *k = kind_of(cli);
	json_t *all = json_array();
	struct client *c;
	int rc = cli_client(cli, &c, err);

	for (size_t i = 0; rc == 0 && i < cli->n_args; i++) {
		ProtobufCMessage *o = NULL;

		rc = client_get(c, k->kind, cli->args[i], &o, err);
		if (rc == 0)
			json_array_append_new(all, describe_object(o));
		msg_free(o);
	}
	if (rc == 0)
		rc = cmd_print_inspected(cli, all, err);
	json_decref(all);
	return rc;
}

/* ---- rm ---- */

static int remove_one(struct cli *cli, const struct kind *k, const char *ref, struct sw_error *err)
{
	Pb__Ref q = PB__REF__INIT;
	Pb__IdReply *r = NULL;
	struct client *c;
	int rc = cli_client(cli, &c, err);

	q.ref = (char *)ref;
	if (rc == 0)
		rc = client_call(c, k->remove, &q.base, &r, err);
	if (rc != 0)
		return rc;
	if (k->kind == PB__KIND__KIND_SERVICE)
		rc = wait_gone(cli, k->kind, r->id, ref, err);
	if (rc == 0)
		printf("%s\n", ref);
	msg_free(&r->base);
	return rc;
}

CMD(object_rm)
{
	const struct kind *k = kind_of(cli);
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < cli->n_args; i++)
		rc = remove_one(cli, k, cli->args[i], err);
	return rc;
}

/* ---- create ---- */

static void take_labels(struct cli *cli, const char *option, Pb__KeyValue ***kv, size_t *n)
{
	const char *v;

	for (size_t i = 0; (v = cli_nth(cli, option, i)) != NULL; i++) {
		size_t k = strcspn(v, "=");
		sw_autofree char *key = sw_strndup(v, k);

		msg_kv_set(kv, n, key, v[k] == '=' ? v + k + 1 : "");
	}
}

/* A file, or standard input for "-". */
static int read_data(const char *path, char **ret, size_t *ret_n, struct sw_error *err)
{
	return sw_read_file(sw_streq(path, "-") ? "/dev/stdin" : path, MAX_DATA, ret, ret_n, err);
}

static int create(struct cli *cli, const struct kind *k, const ProtobufCMessage *q,
		  struct sw_error *err)
{
	Pb__IdReply *r = NULL;
	struct client *c;
	int rc = cli_client(cli, &c, err);

	if (rc == 0)
		rc = client_call(c, k->create, q, &r, err);
	if (rc != 0)
		return rc;
	printf("%s\n", k->kind == PB__KIND__KIND_VOLUME ? cli->args[0] : sw_id(r->id).s);
	msg_free(&r->base);
	return 0;
}

static int create_network(struct cli *cli, const struct kind *k, struct sw_error *err)
{
	Pb__NetworkCreateRequest q = PB__NETWORK_CREATE_REQUEST__INIT;
	Pb__NetworkSpec *s = sw_new(Pb__NetworkSpec);
	int rc;

	pb__network_spec__init(s);
	msg_set_str(&s->name, cli->args[0]);
	msg_set_str(&s->driver, cli_get(cli, "driver"));
	s->internal = cli_flag(cli, "internal");
	s->attachable = cli_flag(cli, "attachable");
	take_labels(cli, "opt", &s->driver_opts, &s->n_driver_opts);
	take_labels(cli, "label", &s->labels, &s->n_labels);
	if (cli_get(cli, "subnet") != NULL) {
		Pb__IpamConfig *ipam = sw_new(Pb__IpamConfig);

		pb__ipam_config__init(ipam);
		msg_set_str(&ipam->subnet, cli_get(cli, "subnet"));
		msg_set_str(&ipam->gateway, cli_get(cli, "gateway"));
		msg_add(&s->ipam, &s->n_ipam, ipam);
	}
	q.spec = s;
	rc = create(cli, k, &q.base, err);
	msg_free(&s->base);
	return rc;
}

static int create_volume(struct cli *cli, const struct kind *k, struct sw_error *err)
{
	Pb__VolumeCreateRequest q = PB__VOLUME_CREATE_REQUEST__INIT;
	Pb__VolumeSpec *s = sw_new(Pb__VolumeSpec);
	int rc;

	pb__volume_spec__init(s);
	msg_set_str(&s->name, cli->args[0]);
	msg_set_str(&s->driver, cli_get(cli, "driver"));
	take_labels(cli, "opt", &s->driver_opts, &s->n_driver_opts);
	take_labels(cli, "label", &s->labels, &s->n_labels);
	q.spec = s;
	rc = create(cli, k, &q.base, err);
	msg_free(&s->base);
	return rc;
}

/* Secrets and configs have the same fields. */
_Static_assert(sizeof(Pb__SecretSpec) == sizeof(Pb__ConfigSpec) &&
		       offsetof(Pb__SecretSpec, data) == offsetof(Pb__ConfigSpec, data),
	       "secrets and configs are alike");

static int create_file(struct cli *cli, const struct kind *k, struct sw_error *err)
{
	Pb__SecretCreateRequest sq = PB__SECRET_CREATE_REQUEST__INIT;
	Pb__ConfigCreateRequest cq = PB__CONFIG_CREATE_REQUEST__INIT;
	bool is_secret = k->kind == PB__KIND__KIND_SECRET;
	Pb__SecretSpec *s = sw_new(Pb__SecretSpec);
	char *data = NULL;
	size_t n = 0;
	int rc = read_data(cli->args[1], &data, &n, err);

	if (is_secret)
		pb__secret_spec__init(s);
	else
		pb__config_spec__init((Pb__ConfigSpec *)s);
	if (rc == 0) {
		msg_set_str(&s->name, cli->args[0]);
		take_labels(cli, "label", &s->labels, &s->n_labels);
		msg_set_str(&s->template_driver, cli_get(cli, "template-driver"));
		s->data = (ProtobufCBinaryData){n, (uint8_t *)data};
		sq.spec = s;
		cq.spec = (Pb__ConfigSpec *)s;
		rc = create(cli, k, is_secret ? &sq.base : &cq.base, err);
		explicit_bzero(data, n);
	}
	msg_free(&s->base);
	return rc;
}

/* Without a file the content stays, and only labels change. */
static int change_file(struct cli *cli, const struct kind *k, Pb__SecretSpec *s,
		       struct sw_error *err)
{
	Pb__SecretUpdateRequest sq = PB__SECRET_UPDATE_REQUEST__INIT;
	Pb__ConfigUpdateRequest cq = PB__CONFIG_UPDATE_REQUEST__INIT;
	bool is_secret = k->kind == PB__KIND__KIND_SECRET;
	Pb__IdReply *r = NULL;
	struct client *c;
	int rc = cli_client(cli, &c, err);

	sq.ref = cq.ref = cli->args[0];
	sq.spec = s;
	cq.spec = (Pb__ConfigSpec *)s;
	if (rc == 0)
		rc = client_call(c, is_secret ? METHOD_SecretUpdate : METHOD_ConfigUpdate,
				 is_secret ? &sq.base : &cq.base, &r, err);
	if (rc == 0)
		printf("%s\n", sw_id(r->id).s);
	msg_free(r != NULL ? &r->base : NULL);
	return rc;
}

static void remove_labels(struct cli *cli, Pb__SecretSpec *s)
{
	const char *v;

	for (size_t i = 0; (v = cli_nth(cli, "label-rm", i)) != NULL; i++) {
		for (size_t n = 0; n < s->n_labels; n++) {
			if (!sw_streq(s->labels[n]->key, v))
				continue;
			msg_free(&s->labels[n]->base);
			s->labels[n] = s->labels[--s->n_labels];
			break;
		}
	}
}

CMD(file_update)
{
	const struct kind *k = kind_of(cli);
	Pb__Secret *old = NULL;
	struct client *c;
	char *data = NULL;
	size_t n = 0;
	int rc = cli_client(cli, &c, err);

	if (rc == 0)
		rc = client_get(c, k->kind, cli->args[0], &old, err);
	if (rc == 0 && cli->n_args == 2)
		rc = read_data(cli->args[1], &data, &n, err);
	if (rc == 0) {
		remove_labels(cli, old->spec);
		take_labels(cli, "label-add", &old->spec->labels, &old->spec->n_labels);
		if (data != NULL) {
			free(old->spec->data.data);
			old->spec->data = (ProtobufCBinaryData){n, (uint8_t *)data};
		}
		rc = change_file(cli, k, old->spec, err);
		if (data != NULL)
			explicit_bzero(data, n);
	}
	msg_free(old != NULL ? &old->base : NULL);
	return rc;
}

CMD(object_create)
{
	const struct kind *k = kind_of(cli);

	switch (k->kind) {
	case PB__KIND__KIND_NETWORK:
		return create_network(cli, k, err);
	case PB__KIND__KIND_VOLUME:
		return create_volume(cli, k, err);
	default:
		return create_file(cli, k, err);
	}
}
