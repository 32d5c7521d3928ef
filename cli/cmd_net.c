/* net check: published ports, probed by every node at once; what is well is summed up. */
#include "cli/cmd.h"

#include "base/mem.h"
#include "base/str.h"
#include "cli/human.h"
#include "proto/msg.h"

#include <stdio.h>

static const struct outcome {
	const char *text; /* NULL: the result says more */
	bool good, bad;   /* neither: it says nothing about the port */
} outcomes[] = {
	[PB__PROBE_OUTCOME__PROBE_NOT_TRIED] = {"not tried: the time was over", false, true},
	[PB__PROBE_OUTCOME__PROBE_OK] = {NULL, true, false},
	[PB__PROBE_OUTCOME__PROBE_NO_REFUSAL] = {"no refusal", true, false},
	[PB__PROBE_OUTCOME__PROBE_REFUSED] = {"refused", false, true},
	[PB__PROBE_OUTCOME__PROBE_SILENT] = {"no answer in 1 s", false, true},
	[PB__PROBE_OUTCOME__PROBE_FAILED] = {NULL, false, true},
	[PB__PROBE_OUTCOME__PROBE_ELSEWHERE] = {"this node has no such address", false, false},
};

struct probe {
	const Pb__NetCheckPort *port;
	const Pb__NetCheckNode *from, *to;
	const Pb__ProbeResult *result;
	const struct outcome *outcome;
};

/* What was found of one port, or of all. */
struct tally {
	size_t good, bad, elsewhere, unsure, nodes;
	uint32_t slowest_us;
};

struct report {
	struct cli *cli;
	json_t *rows;
	struct probe *probes; /* those of nodes that answered, in the order of printing */
	size_t n_probes;
	size_t tried, bad_probes, bad_ports, bad_nodes;
};

/* ---- order ---- */

static int compare_ports(const Pb__NetCheckPort *a, const Pb__NetCheckPort *b)
{
	int c = human_compare(a->service, b->service);

	if (c == 0)
		c = a->port < b->port ? -1 : a->port > b->port;
	if (c == 0)
		c = a->protocol < b->protocol ? -1 : a->protocol > b->protocol;
	if (c == 0)
		c = strcmp(a->address, b->address);
	return c;
}

static int by_port(const void *a, const void *b)
{
	return compare_ports(*(Pb__NetCheckPort *const *)a, *(Pb__NetCheckPort *const *)b);
}

static int by_port_and_node(const void *a, const void *b)
{
	const struct probe *x = a, *y = b;
	int c = compare_ports(x->port, y->port);

	if (c == 0)
		c = human_compare(x->to->name, y->to->name);
	return c != 0 ? c : human_compare(x->from->name, y->from->name);
}

static const struct outcome *outcome_of(const Pb__ProbeResult *r)
{
	static const struct outcome unknown = {"a result that this swarmctl does not know", false,
					       true};

	return (size_t)r->outcome < SW_COUNT(outcomes) ? &outcomes[r->outcome] : &unknown;
}

static void gather(struct report *r, const Pb__NetCheckReply *reply)
{
	static const Pb__ProbeResult none = PB__PROBE_RESULT__INIT;
	size_t cap = 0;

	for (size_t i = 0; i < reply->n_nodes; i++) {
		const Pb__NetCheckNode *from = reply->nodes[i];

		for (size_t k = 0; *from->error == 0 && k < from->n_probes; k++) {
			const Pb__NetCheckProbe *p = from->probes[k];
			const Pb__ProbeResult *result = p->result != NULL ? p->result : &none;

			if (p->port >= reply->n_ports || p->to >= reply->n_nodes)
				continue; /* of a manager that is not well */
			sw_grow(r->probes, cap, r->n_probes + 1);
			r->probes[r->n_probes++] =
				(struct probe){reply->ports[p->port], from, reply->nodes[p->to],
					       result, outcome_of(result)};
		}
	}
	if (r->n_probes > 0)
		qsort(r->probes, r->n_probes, sizeof *r->probes, by_port_and_node);
	if (reply->n_ports > 0)
		qsort(reply->ports, reply->n_ports, sizeof(Pb__NetCheckPort *), by_port);
}

/* ---- rows ---- */

static void add_row(struct report *r, const Pb__NetCheckPort *p, const char *from, const char *to,
		    const char *result)
{
	static const char *const protocols[] = {"tcp", "udp", "sctp"};
	sw_autofree char *port =
		p == NULL
			? sw_strdup("-")
			: sw_asprintf(strchr(p->address, ':') != NULL ? "[%s]%s%u/%s" : "%s%s%u/%s",
				      p->address, *p->address != 0 ? ":" : "", p->port,
				      (size_t)p->protocol < SW_COUNT(protocols)
					      ? protocols[p->protocol]
					      : "?");

	json_array_append_new(r->rows,
			      json_pack("{ssssssssss}", "Service", p != NULL ? p->service : "-",
					"Port", port, "From", from, "To", to, "Result", result));
}

static void add_probe(struct report *r, const struct probe *p)
{
	sw_autofree char *ok = sw_asprintf("ok %.2f ms", (double)p->result->us / 1000);
	const char *text = p->outcome->text != NULL ? p->outcome->text
			   : p->outcome->good       ? ok
						    : p->result->error;

	add_row(r, p->port, p->from->name, p->to->name, text);
}

/* "ok on 3 nodes, slowest 0.62 ms" */
static void add_sum(struct report *r, const Pb__NetCheckPort *port, const struct tally *t)
{
	const char *s = t->nodes == 1 ? "" : "s";
	sw_autofree char *text = t->unsure > 0
					 ? sw_asprintf("no refusal on %zu node%s", t->nodes, s)
					 : sw_asprintf("ok on %zu node%s, slowest %.2f ms",
						       t->nodes, s, (double)t->slowest_us / 1000);

	add_row(r, port, "*", "*", text);
}

static struct tally count(const struct probe *p, size_t n)
{
	struct tally t = {0};
	const Pb__NetCheckNode *last = NULL;

	for (size_t i = 0; i < n; i++) {
		t.bad += p[i].outcome->bad;
		t.good += p[i].outcome->good;
		t.elsewhere += !p[i].outcome->good && !p[i].outcome->bad;
		if (!p[i].outcome->good)
			continue;
		t.unsure += p[i].result->outcome == PB__PROBE_OUTCOME__PROBE_NO_REFUSAL;
		t.nodes += p[i].to != last;
		t.slowest_us = p[i].result->us > t.slowest_us ? p[i].result->us : t.slowest_us;
		last = p[i].to;
	}
	return t;
}

/* `p`: the port's probes. */
static void add_port(struct report *r, const Pb__NetCheckPort *port, const struct probe *p,
		     size_t n)
{
	bool all = cli_flag(r->cli, "all");
	struct tally t = count(p, n);

	r->tried += t.good + t.bad;
	r->bad_probes += t.bad;
	if (*port->unprobed != 0) {
		r->bad_ports += port->fault;
		add_row(r, port, "-", "-", port->unprobed);
		return;
	}
	for (size_t i = 0; i < n; i++)
		if (all || p[i].outcome->bad)
			add_probe(r, &p[i]);
	if (t.good == 0 && t.bad == 0) {
		r->bad_ports++;
		add_row(r, port, "-", "-",
			t.elsewhere > 0 ? "no node that answered has this address"
					: "no node that could probe it answered");
	} else if (t.bad == 0 && !all) {
		add_sum(r, port, &t);
	}
}

static void add_node(struct report *r, const Pb__NetCheckNode *n)
{
	sw_autofree char *text = sw_asprintf("node %s %s", n->name, n->error);

	if (*n->error == 0)
		return;
	r->bad_nodes++;
	add_row(r, NULL, n->name, "-", text);
}

static void add_all(struct report *r, const Pb__NetCheckReply *reply)
{
	size_t at = 0;

	gather(r, reply);
	for (size_t i = 0; i < reply->n_ports; i++) {
		size_t begin = at;

		while (at < r->n_probes && r->probes[at].port == reply->ports[i])
			at++;
		add_port(r, reply->ports[i], r->probes + begin, at - begin);
	}
	for (size_t i = 0; i < reply->n_nodes; i++)
		add_node(r, reply->nodes[i]);
}

/* ---- the whole ---- */

static void say(struct sw_buf *b, size_t n, const char *one, const char *many)
{
	if (n > 0)
		sw_buf_addf(b, "%s%zu %s", b->len > 0 ? ", " : "", n, n == 1 ? one : many);
}

static int verdict(const struct report *r, struct sw_error *err)
{
	struct sw_buf b = SW_BUF_INIT(400);
	sw_autofree char *failed = sw_asprintf("of %zu probes failed", r->tried);
	int rc = 0;

	say(&b, r->bad_probes, failed, failed);
	say(&b, r->bad_ports, "port could not be probed", "ports could not be probed");
	say(&b, r->bad_nodes, "node did not answer", "nodes did not answer");
	if (b.len > 0)
		rc = sw_fail(err, SW_EPRECOND, "%s", sw_buf_str(&b));
	sw_buf_fini(&b);
	return rc;
}

CMD(net_check)
{
	Pb__NetCheckRequest q = PB__NET_CHECK_REQUEST__INIT;
	struct report r = {.cli = cli, .rows = json_array()};
	Pb__NetCheckReply *reply = NULL;
	struct client *c;
	int rc = cli_client(cli, &c, err);

	q.services = cli->args;
	q.n_services = cli->n_args;
	if (rc == 0)
		rc = client_call(c, METHOD_NetCheck, &q.base, &reply, err);
	if (rc == 0) {
		add_all(&r, reply);
		rc = cmd_print_rows(
			cli, r.rows,
			"table {{.Service}}\t{{.Port}}\t{{.From}}\t{{.To}}\t{{.Result}}", NULL,
			err);
	}
	if (rc == 0)
		rc = verdict(&r, err);
	json_decref(r.rows);
	free(r.probes);
	msg_free(reply != NULL ? &reply->base : NULL);
	return rc;
}
