/* Which nodes a task may go to: a table of filters, asked in order; the first refusal is the
 * reason. */
#include "manager/sched/internal.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/generic.h"
#include "proto/grant.h"
#include "proto/msg.h"

#include <stdio.h>
#include <strings.h>

void group_init(struct group *g, const struct sched *s, const struct store_tx *tx,
		const Pb__Task *t)
{
	const Pb__Placement *p;

	*g = (struct group){.service_id = t->service_id};
	g->service = tx != NULL ? store_tx_get(tx, PB__KIND__KIND_SERVICE, t->service_id)
				: store_service(s->store, t->service_id);
	g->revision = tx != NULL ? store_tx_get(tx, PB__KIND__KIND_REVISION, t->revision_id)
				 : store_revision(s->store, t->revision_id);
	if (g->revision == NULL || g->revision->task == NULL)
		return;
	g->packs = sched_packs(s->store, g->revision->task);
	if ((p = g->revision->task->placement) == NULL)
		return;
	g->constraints = sw_new_n(struct constraint, p->n_constraints);
	for (size_t i = 0; i < p->n_constraints; i++)
		/* control refuses what does not parse: a leftover can only match nothing */
		if (constraint_parse(p->constraints[i], &g->constraints[g->n_constraints], NULL) ==
		    0)
			g->n_constraints++;
}

void group_fini(struct group *g)
{
	for (size_t i = 0; i < g->n_constraints; i++)
		constraint_fini(&g->constraints[i]);
	free(g->constraints);
}

static bool node_takes_tasks(const Pb__Node *n)
{
	return n->state == PB__NODE_STATE__NODE_READY &&
	       (n->description == NULL || n->description->trouble[0] == 0) &&
	       (n->spec == NULL || n->spec->availability == PB__AVAILABILITY__ACTIVE);
}

static bool ready_ok(const struct sched *s, const struct group *g, const struct node_info *n)
{
	(void)s;
	(void)g;
	return node_takes_tasks(n->node);
}

static bool resources_ok(const struct sched *s, const struct group *g, const struct node_info *n)
{
	const Pb__Resources *want = g->revision != NULL ? g->revision->task->reservations : NULL;
	const Pb__Resources *have =
		n->node->description != NULL ? n->node->description->resources : NULL;

	(void)s;
	if (want == NULL)
		return true;
	if (want->nano_cpus > 0 && (have == NULL || n->cpus + want->nano_cpus > have->nano_cpus))
		return false;
	if (want->memory > 0 && (have == NULL || n->memory + want->memory > have->memory))
		return false;
	for (size_t i = 0; i < want->n_generic; i++) {
		const char *kind = want->generic[i]->kind;
		uint64_t used = (uint64_t)(uintptr_t)omap_get(
			&n->generic, (struct omap_key){sw_hash_str(kind), 0});

		if (used + want->generic[i]->amount >
		    (have != NULL ? generic_count(have->generic, have->n_generic, kind) : 0))
			return false;
	}
	return true;
}

static bool constraints_ok(const struct sched *s, const struct group *g, const struct node_info *n)
{
	(void)s;
	for (size_t i = 0; i < g->n_constraints; i++)
		if (!constraint_node_ok(&g->constraints[i], n->node))
			return false;
	return true;
}

static bool same_platform(const Pb__Platform *want, const Pb__Platform *have)
{
	static const char *const same[][2] = {{"x86_64", "amd64"}, {"aarch64", "arm64"}};
	const char *a = want->arch, *b = have->arch;

	for (size_t i = 0; i < SW_COUNT(same); i++) {
		a = strcasecmp(a, same[i][0]) == 0 ? same[i][1] : a;
		b = strcasecmp(b, same[i][0]) == 0 ? same[i][1] : b;
	}
	return (want->os[0] == 0 || strcasecmp(want->os, have->os) == 0) &&
	       (a[0] == 0 || strcasecmp(a, b) == 0);
}

static bool platform_ok(const struct sched *s, const struct group *g, const struct node_info *n)
{
	const Pb__Placement *p = g->revision != NULL ? g->revision->task->placement : NULL;
	const Pb__Platform *have =
		n->node->description != NULL ? n->node->description->platform : NULL;

	(void)s;
	if (p == NULL || p->n_platforms == 0 || have == NULL)
		return true;
	for (size_t i = 0; i < p->n_platforms; i++)
		if (same_platform(p->platforms[i], have))
			return true;
	return false;
}

static bool ports_ok(const struct sched *s, const struct group *g, const struct node_info *n)
{
	(void)s;
	for (size_t i = 0; g->revision != NULL && i < g->revision->n_ports; i++) {
		const Pb__PortConfig *p = g->revision->ports[i];
		struct omap_key k = {(uint64_t)p->protocol << 16 | p->published, 0};

		if (p->mode == PB__PUBLISH_MODE__PUBLISH_HOST && p->published != 0 &&
		    omap_get(&n->ports, k) != NULL)
			return false;
	}
	return true;
}

static bool max_replicas_ok(const struct sched *s, const struct group *g, const struct node_info *n)
{
	const Pb__Placement *p = g->revision != NULL ? g->revision->task->placement : NULL;

	return p == NULL || p->max_replicas_per_node == 0 ||
	       sched_family_count(s, g->revision, n->id) < p->max_replicas_per_node;
}

static bool is_encrypted(const Pb__Network *n)
{
	return n != NULL && n->spec != NULL &&
	       msg_kv_get(n->spec->driver_opts, n->spec->n_driver_opts, "encrypted") != NULL;
}

/* Clear text is no way out: the task waits for a node that can. */
static bool encryption_ok(const struct sched *s, const struct group *g, const struct node_info *n)
{
	const Pb__NodeDescription *d = n->node->description;

	for (size_t i = 0; d != NULL && d->wireguard_key[0] == 0 && g->revision != NULL &&
			   g->revision->task != NULL && i < g->revision->task->n_networks;
	     i++)
		if (is_encrypted(
			    store_network(s->store, g->revision->task->networks[i]->network_id)))
			return false;
	return true;
}

/* What its administrator has to allow. */
static bool grants_ok(const struct sched *s, const struct group *g, const struct node_info *n)
{
	const Pb__NodeDescription *d = n->node->description;

	(void)s;
	return d == NULL || g->revision == NULL || g->revision->task == NULL ||
	       grant_missing(g->revision->task->container, d->allow, d->n_allow) == NULL;
}

const struct filter sched_filters[] = {
	{ready_ok, "not available for new tasks", true, explain_ready},
	{encryption_ok, "cannot encrypt the task's network: install wireguard-go", true, NULL},
	{resources_ok, "insufficient resources %s", false, explain_resources},
	{grants_ok, "not allowed by the node's agent.conf %s", false, explain_grants},
	{constraints_ok, "scheduling constraints not satisfied %s", false, explain_constraints},
	{platform_ok, "unsupported platform %s", false, explain_platform},
	{ports_ok, "host-mode port already in use %s", false, explain_ports},
	{max_replicas_ok, "max replicas per node limit reached %s", false, explain_max_replicas},
};
const size_t sched_n_filters = SW_COUNT(sched_filters);

int filter_first_refusal(const struct sched *s, const struct group *g, const struct node_info *n)
{
	for (size_t i = 0; i < sched_n_filters; i++)
		if (!sched_filters[i].ok(s, g, n))
			return (int)i;
	return -1;
}

static void add_reason(struct sw_buf *b, const struct filter *f, unsigned n)
{
	const char *noun = n == 1 ? "node" : "nodes";
	const char *at = strstr(f->text, "%s");

	if (f->front)
		sw_buf_addf(b, "%u %s %s", n, noun, f->text);
	else
		sw_buf_addf(b, "%.*son %u %s", (int)(at - f->text), f->text, n, noun);
}

char *filter_explain(const unsigned *counts)
{
	struct sw_buf b = SW_BUF_INIT(1024);
	bool done[16] = {false};

	sw_buf_adds(&b, "no suitable node");
	for (int printed = 0;; printed++) {
		int best = -1;

		for (size_t i = 0; i < sched_n_filters; i++)
			if (!done[i] && counts[i] > 0 && (best < 0 || counts[i] > counts[best]))
				best = (int)i;
		if (best < 0) {
			if (printed > 0)
				sw_buf_addc(&b, ')');
			return sw_buf_take(&b);
		}
		done[best] = true;
		sw_buf_adds(&b, printed == 0 ? " (" : "; ");
		add_reason(&b, &sched_filters[best], counts[best]);
	}
}

static bool spec_constraints_ok(const Pb__TaskSpec *spec, const Pb__Node *n)
{
	const Pb__Placement *p = spec->placement;

	for (size_t i = 0; p != NULL && i < p->n_constraints; i++) {
		struct constraint c = {0};
		bool ok = constraint_parse(p->constraints[i], &c, NULL) == 0 &&
			  constraint_node_ok(&c, n);

		constraint_fini(&c);
		if (!ok)
			return false;
	}
	return true;
}

bool sched_may_stay(const Pb__TaskSpec *spec, const Pb__Node *n)
{
	if (n->spec != NULL && n->spec->availability == PB__AVAILABILITY__DRAIN)
		return false;
	return spec_constraints_ok(spec, n);
}

bool sched_is_eligible(const Pb__TaskSpec *spec, const Pb__Node *n)
{
	return node_takes_tasks(n) && spec_constraints_ok(spec, n);
}
