/*
 * The ingress network of this host: from its view to orders for the gate. Ports and nodes are
 * stored on tmpfs, so that an agent that starts while no manager answers takes none of them away.
 */
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "overlay/net_internal.h"

#include <unistd.h>

enum { TEXT_MAX = 16 << 20 };

static struct network *ingress(const struct net *n)
{
	return network_get(n, PB__NETWORK_ID__NETWORK_INGRESS);
}

uint32_t gate_local(void *arg, uint64_t task_id)
{
	const struct net *n = arg;
	const struct box *b = box_get(n, task_id);

	return b != NULL && b->offset != 0 && (b->state == BOX_READY || b->state == BOX_MAKING)
		       ? n->host.address - 1 + b->offset
		       : 0;
}

void gate_changed(struct net *n)
{
	struct network *w = ingress(n);

	if (w == NULL || w->view->network == NULL)
		return;
	net_narrow(n, w->view);
	gate_refresh(n->gate, w->view, n->underlay, sw_rand_u64(&n->rand));
	n->host.number = gate_number(n->gate);
	n->host.vni = w->view->network->vni;
	n->host.port = (uint16_t)w->view->vxlan_port;
	w->dirty = true;
	net_kick(n);
}

void gate_task_changed(struct net *n, uint64_t task_id)
{
	struct network *w = ingress(n);
	const Pb__Endpoint *e =
		w != NULL ? omap_get(&w->view->endpoints, (struct omap_key){task_id, 0}) : NULL;

	if (e == NULL)
		return;
	omap_set(&w->view->touched, (struct omap_key){e->service_id, 0}, n);
	gate_changed(n);
}

/* ---- kept for the next run ---- */

static char *stored_path(const struct net *n)
{
	return sw_asprintf("%s/ingress", n->run_dir);
}

/** Ports and nodes; tasks come with the view itself. */
static void gate_save(struct net *n)
{
	const struct view *v = ingress(n)->view;
	struct omap_iter it = omap_begin(&v->services);
	sw_autofree char *path = stored_path(n);
	Pb__NetworkView m = PB__NETWORK_VIEW__INIT;
	struct sw_error err;
	sw_autofree uint8_t *p = NULL;

	m.network_id = v->network_id;
	m.snapshot = true;
	m.network = v->network;
	m.vxlan_port = v->vxlan_port;
	m.services = sw_new_n(Pb__ServiceView *, omap_count(&v->services) + 1);
	m.peers = sw_new_n(Pb__NodePeer *, omap_count(&v->peers) + 1);
	for (Pb__ServiceView *s; (s = omap_next(&it)) != NULL;)
		m.services[m.n_services++] = s;
	it = omap_begin(&v->peers);
	for (Pb__NodePeer *s; (s = omap_next(&it)) != NULL;)
		m.peers[m.n_peers++] = s;
	p = sw_alloc(protobuf_c_message_get_packed_size(&m.base) + 1);
	if (sw_write_file_fast(path, p, protobuf_c_message_pack(&m.base, p), 0600, &err) != 0)
		sw_warn("published ports not stored", SW_ERR(&err));
	free(m.services);
	free(m.peers);
}

void gate_load(struct net *n)
{
	sw_autofree char *path = stored_path(n), *data = NULL;
	Pb__NetworkView *m;
	size_t size;

	if (sw_read_file(path, TEXT_MAX, &data, &size, NULL) < 0)
		return;
	m = pb__network_view__unpack(NULL, size, (const uint8_t *)data);
	if (m == NULL)
		return;
	n->gate_stored = true;
	view_merge(network_add(n, PB__NETWORK_ID__NETWORK_INGRESS)->view, m);
	pb__network_view__free_unpacked(m, NULL);
	gate_changed(n);
}

void gate_unsave(const struct net *n)
{
	sw_autofree char *path = stored_path(n);

	unlink(path);
}

/* ---- orders ---- */

void gate_order(struct net *n, struct sync *s)
{
	const struct network *w = ingress(n);
	struct sw_buf text = SW_BUF_INIT(TEXT_MAX), over = SW_BUF_INIT(TEXT_MAX);
	const struct plan_peer *peers;

	if (n->host.number == 0)
		return;
	peers = gate_peers(n->gate, &s->host.n_peers);
	s->host.peers = sw_memdup(peers, s->host.n_peers * sizeof *peers);
	s->n_entries = gate_ports(n->gate, &s->entries);
	if (n->gate_stored)
		return; /* the rules that are there know the tasks */
	if (n->gate_saved != gate_layout(n->gate)) {
		gate_save(n);
		n->gate_saved = gate_layout(n->gate);
	}
	s->gate.rules = n->gate_rules;
	s->gate.version = w != NULL ? w->view->version : 0;
	s->gate.state = gate_state(n->gate);
	if (s->gate.state == n->gate_shown)
		return;
	gate_text(n->gate, n->gate_shown, &text);
	if (!n->gate_taken_over) {
		gate_text_over(n->gate, &over);
		s->gate.over = sw_buf_take(&over);
	}
	gate_flows(n->gate, n->gate_shown, &s->gate.flows, &s->gate.n_flows, &s->gate.cap_flows);
	s->gate.text = text.len > 0 ? sw_buf_take(&text) : sw_strdup("");
}

void gate_result(struct net *n, const struct sync *s)
{
	const struct sw_error *err = s->gate.err.code != 0 ? &s->gate.err
				     : s->err.code != 0    ? &s->err
							   : NULL;

	if (s->gate.version == 0)
		return;
	n->gate_taken_over = n->gate_taken_over || s->gate.over != NULL;
	if (s->gate.text != NULL) {
		n->gate_shown = s->gate.err.code == 0 ? s->gate.state : 0;
		n->gate_rules = s->gate.err.code == 0 ? s->gate.rules : 0;
		gate_forget(n->gate, n->gate_shown);
	}
	if (s->gate.stray) {
		sw_info("rules in the gate were changed by others");
		n->gate_shown = n->gate_rules = 0;
		net_kick(n);
	}
	if (s->gate.err.code != 0)
		n->unbalanced = true; /* tried again with the next tick */
	if (n->closing || (err == NULL && n->gate_told == s->gate.version))
		return;
	n->gate_told = err == NULL ? s->gate.version : 0;
	n->on_applied(n->arg, PB__NETWORK_ID__NETWORK_INGRESS, s->gate.version, err);
}
