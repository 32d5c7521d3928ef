/* The encrypted way of this host: whom it leads to, from the views of encrypted networks. */
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "overlay/net_internal.h"

#include <stdlib.h>

enum { TEXT_MAX = 4 << 20 };

void wire_open(struct net *n)
{
	struct sw_error err = {0};

	if (wire_check(&err) < 0 || wire_load_key(n->run_dir, &n->key, &err) < 0)
		n->wire_error = sw_strdup(err.msg);
}

const char *net_wire_key(const struct net *n, const char **ret_error)
{
	*ret_error = n->wire_error != NULL ? n->wire_error : "";
	return n->wire_error == NULL ? n->key.public : "";
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = ((const struct wire_peer *)a)->number;
	uint32_t y = ((const struct wire_peer *)b)->number;

	return (x > y) - (x < y);
}

uint32_t wire_own_number(const struct net *n, const struct view *v)
{
	struct omap_iter it = omap_begin(&v->peers);

	for (const Pb__NodePeer *p; (p = omap_next(&it)) != NULL;)
		if (p->address == n->underlay)
			return p->number;
	return 0;
}

static void add_peers(const struct net *n, const struct view *v, struct wire_peer **peers,
		      size_t *k, size_t *cap)
{
	struct omap_iter it = omap_begin(&v->peers);

	for (const Pb__NodePeer *p; (p = omap_next(&it)) != NULL;) {
		if (p->address == n->underlay || p->number == 0 || !wire_is_key(p->wireguard_key))
			continue;
		sw_grow(*peers, *cap, *k + 1);
		(*peers)[*k] = (struct wire_peer){
			.number = p->number,
			.underlay = p->address,
			.port = (uint16_t)(p->wireguard_port != 0 ? p->wireguard_port : WIRE_PORT)};
		memcpy((*peers)[(*k)++].key, p->wireguard_key, WIRE_KEY + 1);
	}
}

void wire_order(const struct net *n, struct sync *s)
{
	struct omap_iter it = omap_begin(&n->networks);
	struct sw_buf text = SW_BUF_INIT(TEXT_MAX);
	struct wire_peer *peers = NULL;
	size_t k = 0, cap = 0, kept = 0;

	for (const struct network *w; (w = omap_next(&it)) != NULL;) {
		if (w->view->network == NULL || !view_is_encrypted(w->view))
			continue;
		s->wire.want = true;
		s->wire.number = wire_own_number(n, w->view);
		add_peers(n, w->view, &peers, &k, &cap);
	}
	if (!s->wire.want)
		return;
	if (k > 0)
		qsort(peers, k, sizeof *peers, by_number);
	for (size_t i = 0; i < k; i++)
		if (kept == 0 || peers[kept - 1].number != peers[i].number)
			peers[kept++] = peers[i];
	wire_text(&n->key, peers, kept, &text);
	s->wire.text = sw_buf_take(&text);
	s->wire.mtu = n->narrowest - WIRE_OVERHEAD;
	if (n->wire_error != NULL)
		(void)sw_fail(&s->wire.err, SW_EUNSUPP, "%s", n->wire_error);
	else if (s->wire.number == 0)
		(void)sw_fail(&s->wire.err, SW_EUNAVAIL, "this node has no number yet");
	s->wire.want = s->wire.err.code == 0;
	free(peers);
}
