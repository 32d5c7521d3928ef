/* Which task a word means, where names of services are easier to type than ids. */
#include "cli/cmd.h"

#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/msg.h"
#include "proto/task_state.h"

static bool is_named(const Pb__Service *s, const char *word, const char **ret_rest)
{
	const char *rest = sw_after(word, s->spec->name);

	if (rest == NULL || (*rest != 0 && (*rest != '.' || rest[1] == 0)))
		return false;
	*ret_rest = *rest == '.' ? rest + 1 : rest;
	return true;
}

/* The longest name wins: "shop.web" may be a service, and "shop" another. */
static const Pb__Service *service_of(const struct objects *services, const char *word,
				     const char **ret_rest)
{
	const Pb__Service *best = NULL;
	const char *rest;

	for (size_t i = 0; i < services->n; i++) {
		const Pb__Service *s = (const Pb__Service *)services->v[i];

		if (is_named(s, word, &rest) &&
		    (best == NULL || strlen(s->spec->name) > strlen(best->spec->name))) {
			best = s;
			*ret_rest = rest;
		}
	}
	return best;
}

static bool is_at(const Pb__Task *t, const char *place, const struct objects *nodes)
{
	const Pb__Node *n = cmd_find(nodes, t->node_id);
	uint64_t slot;

	if (*place == 0)
		return true;
	if (t->slot != 0)
		return sw_parse_u64(place, UINT32_MAX, &slot) && slot == t->slot;
	return sw_after(sw_id(t->node_id).s, place) != NULL ||
	       (n != NULL && n->description != NULL && sw_streq(n->description->hostname, place));
}

/* Rather one that runs and is to; then the lowest slot; then the newest. */
static bool is_better(const Pb__Task *a, const Pb__Task *b)
{
	bool x = a->state == PB__TASK_STATE__TASK_RUNNING && a->desired == a->state;
	bool y = b->state == PB__TASK_STATE__TASK_RUNNING && b->desired == b->state;

	if (x != y)
		return x;
	if (a->slot != b->slot)
		return a->slot < b->slot;
	return a->created_ms > b->created_ms;
}

static int of_service(struct cli *cli, const Pb__Service *s, const char *place, Pb__TaskAt *ret,
		      struct sw_error *err)
{
	struct objects tasks = {0}, nodes = {0};
	const Pb__Task *best = NULL;
	int rc = cmd_list_of(cli, PB__KIND__KIND_TASK, 0, s->id, 0, &tasks, err);

	if (rc == 0)
		rc = cmd_list(cli, PB__KIND__KIND_NODE, &nodes, err);
	for (size_t i = 0; rc == 0 && i < tasks.n; i++) {
		const Pb__Task *t = (const Pb__Task *)tasks.v[i];

		if (t->node_id != 0 && is_at(t, place, &nodes) &&
		    (best == NULL || is_better(t, best)))
			best = t;
	}
	if (rc == 0 && best == NULL)
		rc = sw_fail(err, SW_ENOTFOUND, "service %s has no task %s%s%s on any node",
			     s->spec->name, s->spec->name, *place != 0 ? "." : "", place);
	if (rc == 0) {
		ret->task_id = best->id;
		ret->node_id = best->node_id;
	}
	objects_fini(&tasks);
	objects_fini(&nodes);
	return rc;
}

static int by_id(struct client *c, const char *word, Pb__TaskAt *ret, struct sw_error *err)
{
	Pb__Task *t = NULL;
	int rc = client_get(c, PB__KIND__KIND_TASK, word, &t, err);

	if (rc == SW_ENOTFOUND)
		return sw_fail(err, rc, "no such task: %s (wanted an id, SERVICE.SLOT or SERVICE)",
			       word);
	if (rc != 0)
		return rc;
	ret->task_id = t->id;
	ret->node_id = t->node_id;
	if (t->node_id == 0)
		rc = sw_fail(err, SW_EPRECOND, "task %s has no node yet: it is %s", word,
			     task_state_of(t->state)->name);
	msg_free(&t->base);
	return rc;
}

int cmd_open_task(struct cli *cli, const char *word, Pb__TaskAt *ret,
		  struct rpc_channel **ret_channel, uv_loop_t **ret_loop, struct sw_error *err)
{
	struct objects services = {0};
	const Pb__Service *s;
	struct client *c;
	const char *rest = "";
	int rc = cli_client(cli, &c, err);

	if (rc == 0)
		rc = cmd_list(cli, PB__KIND__KIND_SERVICE, &services, err);
	if (rc != 0)
		return rc;
	s = service_of(&services, word, &rest);
	rc = s != NULL ? of_service(cli, s, rest, ret, err) : by_id(c, word, ret, err);
	objects_fini(&services);
	return rc != 0 ? rc : client_open(c, ret_channel, ret_loop, err);
}
