/* node ls, ps, update, promote, demote, rm. */
#include "cli/cmd.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/units.h"
#include "cli/human.h"
#include "cli/wait.h"
#include "proto/msg.h"

#include <stdio.h>

enum { ROLE_MS = 30000 };

static const char *const states[] = {"Unknown", "Ready", "Down", "Disconnected"};
static const char *const availabilities[] = {"Active", "Pause", "Drain"};
static const char *const availability_words[] = {"active", "pause", "drain"};

static const char *name_in(const char *const *names, size_t n, unsigned i)
{
	return i < n ? names[i] : "Unknown";
}

static const char *manager_status(const Pb__ClusterReply *r, const Pb__Node *n)
{
	for (size_t i = 0; i < r->n_managers; i++) {
		const Pb__ManagerStatus *m = r->managers[i];

		if (m->node_id == n->id)
			return m->leader ? "Leader" : m->reachable ? "Reachable" : "Unreachable";
	}
	return "";
}

static json_t *row_of(const struct cli *cli, const Pb__ClusterReply *r, const Pb__Node *n)
{
	char id[16];
	sw_autofree char *shown = NULL;
	const Pb__NodeDescription *d = n->description;
	bool self = n->id == r->self_id;
	bool tabled = cli_get(cli, "format") == NULL && !cli_flag(cli, "quiet");

	cmd_id(cli, n->id, id);
	shown = sw_asprintf("%s%s", id, self && tabled ? " *" : "");
	return json_pack("{sssssbssssssssssss}", "ID", shown, "Hostname",
			 d != NULL ? d->hostname : "", "Self", self, "Status",
			 name_in(states, SW_COUNT(states), n->state), "Availability",
			 name_in(availabilities, SW_COUNT(availabilities), n->spec->availability),
			 "ManagerStatus", manager_status(r, n), "EngineVersion",
			 d != NULL ? d->version : "", "Name", d != NULL ? d->hostname : "", "Role",
			 n->role == PB__NODE_ROLE__MANAGER ? "manager" : "worker");
}

static int by_hostname(const void *a, const void *b)
{
	const Pb__Node *x = *(Pb__Node *const *)a, *y = *(Pb__Node *const *)b;

	return human_compare(x->description != NULL ? x->description->hostname : "",
			     y->description != NULL ? y->description->hostname : "");
}

CMD(node_ls)
{
	Pb__Empty q = PB__EMPTY__INIT;
	Pb__ClusterReply *r = NULL;
	struct objects nodes = {0};
	json_t *rows = json_array();
	struct client *c;
	int rc = cli_client(cli, &c, err);

	if (rc == 0 && (rc = client_call(c, METHOD_ClusterGet, &q.base, &r, err)) == 0)
		rc = cmd_list(cli, PB__KIND__KIND_NODE, &nodes, err);
	if (nodes.n > 0)
		qsort(nodes.v, nodes.n, sizeof *nodes.v, by_hostname);
	for (size_t i = 0; rc == 0 && i < nodes.n; i++) {
		const Pb__Node *n = (const Pb__Node *)nodes.v[i];
		json_t *row = row_of(cli, r, n);

		json_object_set_new(row, "LabelMap",
				    cmd_labels(n->spec->labels, n->spec->n_labels));
		json_array_append_new(rows, row);
	}
	if (rc == 0)
		rc = cmd_print_rows(cli, rows,
				    "table {{.ID}}\t{{.Hostname}}\t{{.Status}}\t{{.Availability}}\t"
				    "{{.ManagerStatus}}\t{{.EngineVersion}}",
				    NULL, err);
	json_decref(rows);
	objects_fini(&nodes);
	msg_free(r != NULL ? &r->base : NULL);
	return rc;
}

CMD(node_ps)
{
	struct objects tasks = {0};
	Pb__Node *n = NULL;
	struct client *c;
	int rc = cli_client(cli, &c, err);

	if (rc == 0 && (rc = client_get(c, PB__KIND__KIND_NODE, cli->args[0], &n, err)) == 0)
		rc = cmd_list_of(cli, PB__KIND__KIND_TASK, 0, 0, n->id, &tasks, err);
	if (rc == 0)
		rc = cmd_print_tasks(cli, &tasks, err);
	msg_free(n != NULL ? &n->base : NULL);
	objects_fini(&tasks);
	return rc;
}

static int set_labels(struct cli *cli, Pb__NodeSpec *spec, struct sw_error *err)
{
	const char *v;

	for (size_t i = 0; (v = cli_nth(cli, "label-add", i)) != NULL; i++) {
		size_t n = strcspn(v, "=");
		sw_autofree char *key = sw_strndup(v, n);

		if (n == 0)
			return sw_fail(err, SW_EINVAL, "--label-add %s: wanted KEY=VALUE", v);
		msg_kv_set(&spec->labels, &spec->n_labels, key, v[n] == '=' ? v + n + 1 : "");
	}
	for (size_t i = 0; (v = cli_nth(cli, "label-rm", i)) != NULL; i++) {
		for (size_t k = 0; k < spec->n_labels; k++) {
			if (!sw_streq(spec->labels[k]->key, v))
				continue;
			msg_free(&spec->labels[k]->base);
			memmove(&spec->labels[k], &spec->labels[k + 1],
				(--spec->n_labels - k) * sizeof *spec->labels);
			break;
		}
	}
	return 0;
}

static int set_spec(struct cli *cli, Pb__NodeSpec *spec, const char *role, struct sw_error *err)
{
	const char *a = cli_get(cli, "availability"), *deadline = cli_get(cli, "drain-deadline");
	size_t i = 0;
	int64_t ns;

	if (role != NULL && !sw_streq(role, "worker") && !sw_streq(role, "manager"))
		return sw_fail(err, SW_EINVAL, "role \"%s\": wanted worker or manager", role);
	if (role != NULL)
		spec->role =
			sw_streq(role, "manager") ? PB__NODE_ROLE__MANAGER : PB__NODE_ROLE__WORKER;
	while (a != NULL && i < SW_COUNT(availability_words) && !sw_streq(a, availability_words[i]))
		i++;
	if (i == SW_COUNT(availability_words))
		return sw_fail(err, SW_EINVAL, "availability \"%s\": wanted active, pause or drain",
			       a);
	if (a != NULL) {
		spec->availability = (Pb__Availability)i;
		spec->drain_ms = 0;
	}
	if (cli_flag(cli, "force"))
		spec->drain_ms = 1;
	else if (deadline != NULL && (!unit_duration(deadline, &ns) || ns <= 0))
		return sw_fail(err, SW_EINVAL,
			       "--drain-deadline: wanted a duration (5m), not \"%s\"", deadline);
	else if (deadline != NULL)
		spec->drain_ms = unit_ms(ns);
	return set_labels(cli, spec, err);
}

static int update_node(struct cli *cli, const char *ref, const char *role, struct sw_error *err)
{
	Pb__NodeUpdateRequest q = PB__NODE_UPDATE_REQUEST__INIT;
	Pb__IdReply *r = NULL;
	Pb__Node *n = NULL;
	struct client *c;
	int rc = cli_client(cli, &c, err);

	if (rc == 0)
		rc = client_get(c, PB__KIND__KIND_NODE, ref, &n, err);
	if (rc == 0 && (rc = set_spec(cli, n->spec, role, err)) == 0) {
		q.ref = (char *)ref;
		q.spec = n->spec;
		q.version = n->version;
		rc = client_call(c, METHOD_NodeUpdate, &q.base, &r, err);
	}
	msg_free(n != NULL ? &n->base : NULL);
	msg_free(r != NULL ? &r->base : NULL);
	return rc;
}

/* A node that is still ending its last time as a manager can be one again in a moment; and the node
 * itself may have changed its row between our reading and writing. */
static int update_role(struct cli *cli, const char *ref, const char *role, struct sw_error *err)
{
	uint64_t until = sw_mono_ms() + ROLE_MS;
	struct sw_backoff backoff = {.first_ms = 100, .max_ms = 1000};
	int rc;

	do {
		rc = update_node(cli, ref, role, err);
		if (rc != SW_EUNAVAIL && rc != SW_ECONFLICT)
			break;
		client_pause(&backoff);
	} while (sw_mono_ms() < until);
	return rc;
}

CMD(node_update)
{
	int rc = update_role(cli, cli->args[0], cli_get(cli, "role"), err);

	if (rc != 0)
		return rc;
	printf("%s\n", cli->args[0]);
	fflush(stdout);
	return cli_flag(cli, "wait") ? wait_drained(cli, cli->args[0], err) : 0;
}

static int change_role(struct cli *cli, const char *role, const char *said, struct sw_error *err)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < cli->n_args; i++) {
		rc = update_role(cli, cli->args[i], role, err);
		if (rc == 0)
			printf("Node %s %s in the swarm.\n", cli->args[i], said);
	}
	return rc;
}

CMD(node_promote)
{
	return change_role(cli, "manager", "promoted to a manager", err);
}

CMD(node_demote)
{
	return change_role(cli, "worker", "demoted", err);
}

CMD(rebalance)
{
	Pb__RebalanceRequest q = PB__REBALANCE_REQUEST__INIT;
	Pb__RebalanceReply *r = NULL;
	struct client *c;
	int rc = cli_client(cli, &c, err);

	if (cli->n_args == 1)
		q.service = cli->args[0];
	q.dry_run = cli_flag(cli, "plan");
	if (rc == 0)
		rc = client_call(c, METHOD_Rebalance, &q.base, &r, err);
	if (rc != 0)
		return rc;
	for (size_t i = 0; i < r->n_moves; i++)
		printf("%s %s\n", q.dry_run ? "would move" : "moving", r->moves[i]);
	if (r->n_moves == 0)
		printf("Nothing to move: tasks are spread evenly\n");
	msg_free(&r->base);
	return 0;
}

CMD(node_rm)
{
	struct client *c;
	int rc = cli_client(cli, &c, err);

	for (size_t i = 0; rc == 0 && i < cli->n_args; i++) {
		Pb__NodeRemoveRequest q = PB__NODE_REMOVE_REQUEST__INIT;
		Pb__IdReply *r = NULL;

		q.ref = cli->args[i];
		q.force = cli_flag(cli, "force");
		rc = client_call(c, METHOD_NodeRemove, &q.base, &r, err);
		if (rc == 0)
			printf("%s\n", cli->args[i]);
		msg_free(r != NULL ? &r->base : NULL);
	}
	return rc;
}
