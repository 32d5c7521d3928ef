/*
 * Who is to probe which published port: each node its own, and the next node's in order of ids. So
 * every port is tried on every node, from inside and over the wire, with two probes a node however
 * many nodes there are. A node that is down neither probes nor is probed: that it is down says it all.
 */
#include "manager/control/internal.h"

#include "base/mem.h"
#include "base/str.h"
#include "proto/msg.h"
#include "proto/probe.h"

#include <string.h>

enum { NAMES_MAX = 1000, PORTS_MAX = 20000 };

struct plan {
	const struct store *s;
	Pb__NetCheckReply *to;
	const Pb__Node **nodes; /* as to->nodes */
	size_t *next;           /* by node that is there: the next one that is; itself when alone */
	bool *hosts;            /* by node: a task of the service at hand runs there */
	size_t room;            /* ports that can still be probed */
};

/* ---- nodes ---- */

static bool is_there(const Pb__Node *n)
{
	return n->state == PB__NODE_STATE__NODE_READY && n->description != NULL &&
	       *n->description->address != 0;
}

static void add_node(struct plan *p, const Pb__Node *n)
{
	Pb__NetCheckNode *to = sw_new(Pb__NetCheckNode);

	pb__net_check_node__init(to);
	to->id = n->id;
	msg_set_str(&to->name, n->description != NULL ? n->description->hostname : "?");
	p->nodes[p->to->n_nodes] = n;
	msg_add(&p->to->nodes, &p->to->n_nodes, to);
}

/* From the last one back; what follows the last one is the first, which is known then. */
static void link_nodes(struct plan *p)
{
	size_t n = p->to->n_nodes, last = n, next = n;

	for (size_t i = n; i-- > 0;) {
		if (!is_there(p->nodes[i]))
			continue;
		last = last == n ? i : last;
		p->next[i] = next;
		next = i;
	}
	if (last != n)
		p->next[last] = next;
}

/* The index of the node, or n_nodes. */
static size_t find_node(const struct plan *p, uint64_t id)
{
	size_t lo = 0, hi = p->to->n_nodes;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (p->nodes[mid]->id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < p->to->n_nodes && p->nodes[lo]->id == id ? lo : p->to->n_nodes;
}

/* ---- what is not probed, and why ---- */

struct subject {
	const Pb__Service *s;
	const Pb__PortConfig *p;
	bool runs, wanted; /* a task does; one should */
	bool room;
};

/* All addresses of one family, or none at all, are no address to probe at. */
static bool is_address(const char *host_ip)
{
	return *host_ip != 0 && !sw_streq(host_ip, "0.0.0.0") && !sw_streq(host_ip, "::");
}

static bool lacks_task(const struct subject *x)
{
	return !x->runs && x->wanted;
}

static bool wants_none(const struct subject *x)
{
	return !x->runs;
}

static bool has_no_number(const struct subject *x)
{
	return x->p->published == 0;
}

static bool is_sctp(const struct subject *x)
{
	return x->p->protocol == PB__PROTOCOL__SCTP;
}

static bool is_at_interface(const struct subject *x)
{
	return *x->p->interface != 0;
}

/* Nodes are known by their addresses of the underlay, which is IPv4. */
static bool is_six_only(const struct subject *x)
{
	return sw_streq(x->p->host_ip, "::");
}

static bool is_too_much(const struct subject *x)
{
	return !x->room;
}

static const struct reason {
	bool (*holds)(const struct subject *x);
	const char *text;
	bool fault;
} reasons[] = {
	{lacks_task, "no running task", true},
	{wants_none, "no running task, and none is wanted", false},
	{has_no_number, "not probed: it has no number yet", true},
	{is_sctp, "not probed: SCTP", false},
	{is_at_interface, "not probed: only what comes in at one interface is answered", false},
	{is_six_only, "not probed: only addresses of IPv6 are answered", false},
	{is_too_much, "not probed: too many ports for one check, name some services", true},
};

static const struct reason *why_not(const struct subject *x)
{
	for (const struct reason *r = reasons; r < reasons + SW_COUNT(reasons); r++)
		if (r->holds(x))
			return r;
	return NULL;
}

/* ---- probes ---- */

static void add_probe(struct plan *p, size_t from, size_t to)
{
	Pb__NetCheckProbe *probe = sw_new(Pb__NetCheckProbe);

	pb__net_check_probe__init(probe);
	probe->port = (uint32_t)p->to->n_ports - 1;
	probe->to = (uint32_t)to;
	msg_add(&p->to->nodes[from]->probes, &p->to->nodes[from]->n_probes, probe);
}

static void add_probes(struct plan *p, const Pb__PortConfig *port)
{
	bool everywhere = port->mode == PB__PUBLISH_MODE__PUBLISH_INGRESS;

	for (size_t i = 0; i < p->to->n_nodes; i++) {
		size_t next = p->next[i];

		if (!is_there(p->nodes[i]))
			continue;
		if (everywhere || p->hosts[i])
			add_probe(p, i, i);
		/* Another node's address may be anything here, and a loopback's is. */
		if (next != i && !is_address(port->host_ip) && (everywhere || p->hosts[next]))
			add_probe(p, i, next);
	}
}

static void add_port(struct plan *p, const struct subject *x)
{
	const struct reason *why = why_not(x);
	Pb__NetCheckPort *to = sw_new(Pb__NetCheckPort);

	pb__net_check_port__init(to);
	msg_set_str(&to->service, x->s->spec->name);
	to->protocol = x->p->protocol;
	to->port = x->p->published;
	if (is_address(x->p->host_ip))
		msg_set_str(&to->address, x->p->host_ip);
	msg_add(&p->to->ports, &p->to->n_ports, to);
	if (why != NULL) {
		msg_set_str(&to->unprobed, why->text);
		to->fault = why->fault;
		return;
	}
	p->room--;
	add_probes(p, x->p);
}

/* ---- services ---- */

static void look_at_tasks(struct plan *p, struct subject *x)
{
	const Pb__ServiceSpec *spec = x->s->spec;
	struct store_iter it = {0};
	bool any = false;

	memset(p->hosts, 0, sizeof *p->hosts * p->to->n_nodes);
	for (const Pb__Task *t; (t = store_next_of_service(p->s, x->s->id, &it)) != NULL;) {
		size_t at = find_node(p, t->node_id);

		if (t->desired > PB__TASK_STATE__TASK_RUNNING)
			continue;
		any = true;
		if (at == p->to->n_nodes || !is_there(p->nodes[at]) || t->down ||
		    t->state != PB__TASK_STATE__TASK_RUNNING)
			continue;
		p->hosts[at] = true;
		x->runs = true;
	}
	x->wanted = spec->mode == PB__SERVICE_MODE__REPLICATED
			    ? spec->replicas > 0
			    : spec->mode == PB__SERVICE_MODE__GLOBAL && any;
}

static void add_service(struct plan *p, const Pb__Service *s)
{
	struct subject x = {.s = s};

	if (s->removing || s->n_ports == 0)
		return;
	look_at_tasks(p, &x);
	for (size_t i = 0; i < s->n_ports && p->to->n_ports <= PORTS_MAX; i++) {
		x.p = s->ports[i];
		x.room = p->room > 0;
		add_port(p, &x);
	}
}

static void add_all(struct plan *p)
{
	struct store_iter it = {0};

	for (const struct store_head *o;
	     (o = store_next(p->s, PB__KIND__KIND_SERVICE, &it)) != NULL;)
		add_service(p, (const Pb__Service *)o);
}

static int add_named(struct control *c, struct plan *p, const Pb__NetCheckRequest *r,
		     struct sw_error *err)
{
	const Pb__Service *s;
	struct omap seen = {0};
	int rc = 0;

	for (size_t i = 0; i < r->n_services && rc == 0; i++) {
		rc = ctl_find_service(c, r->services[i], &s, err);
		if (rc == 0 && omap_set(&seen, (struct omap_key){s->id, 0}, p) == NULL)
			add_service(p, s);
	}
	omap_fini(&seen);
	return rc;
}

int ctl_plan_net_check(struct control *c, const Pb__NetCheckRequest *r, Pb__NetCheckReply *ret,
		       struct sw_error *err)
{
	size_t n = store_count(c->env.store, PB__KIND__KIND_NODE);
	struct plan p = {.s = c->env.store, .to = ret};
	struct store_iter it = {0};
	int rc = 0;

	if (r->n_services > NAMES_MAX)
		return sw_fail(err, SW_ETOOBIG, "%zu services are named; one check takes %d",
			       r->n_services, NAMES_MAX);
	p.nodes = sw_new_n(const Pb__Node *, n + 1);
	p.next = sw_new_n(size_t, n + 1);
	p.hosts = sw_new_n(bool, n + 1);
	p.room = n * PROBE_TARGETS_MAX <= CTL_PROBES ? PROBE_TARGETS_MAX / 2 : CTL_PROBES / n / 2;
	for (const struct store_head *o; (o = store_next(p.s, PB__KIND__KIND_NODE, &it)) != NULL;)
		add_node(&p, (const Pb__Node *)o);
	link_nodes(&p);
	if (r->n_services > 0)
		rc = add_named(c, &p, r, err);
	else
		add_all(&p);
	free(p.nodes);
	free(p.next);
	free(p.hosts);
	if (rc == 0 && ret->n_ports > PORTS_MAX)
		rc = sw_fail(err, SW_ETOOBIG,
			     "more than %d ports are published; name the services to check",
			     PORTS_MAX);
	return rc;
}

Pb__ProbeRequest *ctl_probes_of(const struct store *s, const Pb__NetCheckReply *plan, size_t node)
{
	const Pb__NetCheckNode *from = plan->nodes[node];
	Pb__ProbeRequest *r = sw_new(Pb__ProbeRequest);

	pb__probe_request__init(r);
	for (size_t i = 0; i < from->n_probes; i++) {
		const Pb__NetCheckPort *port = plan->ports[from->probes[i]->port];
		const Pb__Node *to = store_node(s, plan->nodes[from->probes[i]->to]->id);
		Pb__ProbeTarget *t = sw_new(Pb__ProbeTarget);

		pb__probe_target__init(t);
		t->own = *port->address != 0;
		msg_set_str(&t->address, t->own ? port->address : to->description->address);
		t->port = port->port;
		t->protocol = port->protocol;
		msg_add(&r->targets, &r->n_targets, t);
	}
	return r;
}
