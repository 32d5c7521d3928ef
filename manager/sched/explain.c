/* Why a task could or could not go to each node: the filter that refuses, and with what figures. */
#include "manager/sched/internal.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/grant.h"
#include "proto/msg.h"

#include <inttypes.h>
#include <string.h>

void explain_ready(const struct group *g, const struct node_info *n, struct sw_buf *b)
{
	static const char *const states[] = {"of unknown state", "ready", "down", "disconnected"};
	static const char *const availabilities[] = {"active", "paused", "drained"};
	const Pb__Node *node = n->node;

	(void)g;
	if (node->state != PB__NODE_STATE__NODE_READY)
		sw_buf_addf(b, "it is %s", states[node->state % SW_COUNT(states)]);
	else if (node->description != NULL && node->description->trouble[0] != 0)
		sw_buf_adds(b, node->description->trouble);
	else if (node->spec != NULL)
		sw_buf_addf(b, "it is %s", availabilities[node->spec->availability % 3]);
}

static uint64_t less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

void explain_resources(const struct group *g, const struct node_info *n, struct sw_buf *b)
{
	const Pb__Resources *want = g->revision->task->reservations;
	const Pb__Resources *have =
		n->node->description != NULL ? n->node->description->resources : NULL;
	uint64_t cpus = have != NULL ? have->nano_cpus : 0;
	uint64_t memory = have != NULL ? have->memory : 0;

	if (want->nano_cpus > less(cpus, n->cpus))
		sw_buf_addf(b, "%sCPUs: %.2f wanted, %.2f of %.2f free", b->len > 0 ? "; " : "",
			    (double)want->nano_cpus / 1e9, (double)less(cpus, n->cpus) / 1e9,
			    (double)cpus / 1e9);
	if (want->memory > less(memory, n->memory))
		sw_buf_addf(b,
			    "%smemory: %" PRIu64 " MiB wanted, %" PRIu64 " of %" PRIu64 " MiB free",
			    b->len > 0 ? "; " : "", want->memory >> 20,
			    less(memory, n->memory) >> 20, memory >> 20);
	for (size_t i = 0; i < want->n_generic; i++)
		sw_buf_addf(b, "%s%s: %" PRIu64 " wanted", b->len > 0 ? "; " : "",
			    want->generic[i]->kind, want->generic[i]->amount);
}

void explain_constraints(const struct group *g, const struct node_info *n, struct sw_buf *b)
{
	const Pb__Placement *p = g->revision->task->placement;

	for (size_t i = 0; i < p->n_constraints; i++) {
		struct constraint c = {0};
		const char *have;
		char text[64];

		if (constraint_parse(p->constraints[i], &c, NULL) != 0 ||
		    constraint_node_ok(&c, n->node)) {
			constraint_fini(&c);
			continue;
		}
		have = constraint_node_value(c.key, n->node, text);
		sw_buf_addf(b, "%s%s", b->len > 0 ? "; " : "", p->constraints[i]);
		if (have != NULL && *have != 0)
			sw_buf_addf(b, ", the node has %.80s", have);
		else
			sw_buf_adds(b, ", the node has none");
		constraint_fini(&c);
	}
}

void explain_grants(const struct group *g, const struct node_info *n, struct sw_buf *b)
{
	const Pb__NodeDescription *d = n->node->description;
	const char *word = grant_missing(g->revision->task->container, d->allow, d->n_allow);

	sw_buf_addf(b, "it has no \"allow = %s\"", word);
}

void explain_platform(const struct group *g, const struct node_info *n, struct sw_buf *b)
{
	const Pb__Platform *have = n->node->description->platform;

	(void)g;
	sw_buf_addf(b, "the node is %s/%s", have->os, have->arch);
}

void explain_ports(const struct group *g, const struct node_info *n, struct sw_buf *b)
{
	static const char *const protocols[] = {"tcp", "udp", "sctp"};

	for (size_t i = 0; i < g->revision->n_ports; i++) {
		const Pb__PortConfig *p = g->revision->ports[i];
		struct omap_key k = {(uint64_t)p->protocol << 16 | p->published, 0};

		if (p->mode == PB__PUBLISH_MODE__PUBLISH_HOST && omap_get(&n->ports, k) != NULL)
			sw_buf_addf(b, "%s%u/%s", b->len > 0 ? ", " : "", p->published,
				    protocols[p->protocol % SW_COUNT(protocols)]);
	}
}

void explain_max_replicas(const struct group *g, const struct node_info *n, struct sw_buf *b)
{
	(void)n;
	sw_buf_addf(b, "%" PRIu64, g->revision->task->placement->max_replicas_per_node);
}

static char *reason(const struct group *g, const struct node_info *n, int no)
{
	const char *text = sched_filters[no].text;
	size_t len = strcspn(text, "%");
	struct sw_buf b = SW_BUF_INIT(2048);
	char *why;

	while (len > 0 && text[len - 1] == ' ')
		len--;
	if (sched_filters[no].detail != NULL)
		sched_filters[no].detail(g, n, &b);
	why = sw_asprintf("%.*s%s%s%s", (int)len, text, b.len > 0 ? " (" : "", sw_buf_str(&b),
			  b.len > 0 ? ")" : "");
	sw_buf_fini(&b);
	return why;
}

void sched_explain(const struct sched *s, const Pb__Task *t,
		   void (*line)(void *arg, const Pb__Node *n, const char *why), void *arg)
{
	struct omap_iter it = omap_begin(&s->nodes);
	struct group g;

	group_init(&g, s, NULL, t);
	for (struct node_info *n; (n = omap_next(&it)) != NULL;) {
		int no = filter_first_refusal(s, &g, n);
		sw_autofree char *why = no < 0 ? sw_strdup("fits") : reason(&g, n, no);

		line(arg, n->node, why);
	}
	group_fini(&g);
}
