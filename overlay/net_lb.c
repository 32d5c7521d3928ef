/*
 * Virtual addresses in the sandboxes: each is brought from the state that it shows to that of its
 * networks. A sandbox that failed starts from nothing with the next try; a network counts as
 * applied only when all sandboxes of this host show it.
 */
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "overlay/net_internal.h"

enum { TEXT_MAX = 16 << 20 };

void box_balance(const struct net *n, const struct box *b, struct sync *s)
{
	struct sw_buf text = SW_BUF_INIT(TEXT_MAX);
	uint64_t *states = sw_new_n(uint64_t, b->n_networks + 1);
	struct lb_flow *flows = NULL;
	size_t n_flows = 0, cap_flows = 0;

	for (size_t i = 0; i < b->n_networks; i++) {
		const struct network *w = network_get(n, b->networks[i].network_id);

		if (w == NULL || w->view->network == NULL || !view_is_real(w->view))
			continue;
		states[i] = lb_state(w->lb);
		if (states[i] == b->balanced[i])
			continue;
		lb_text(w->lb, b->balanced[i], &text);
		lb_flows(w->lb, b->balanced[i], &flows, &n_flows, &cap_flows);
	}
	if (text.len == 0 && n_flows == 0) {
		sw_buf_fini(&text);
		free(states);
		free(flows);
		return;
	}
	sw_grow(s->lbs, s->cap_lbs, s->n_lbs + 1);
	s->lbs[s->n_lbs++] = (struct sync_lb){.task_id = b->task_id,
					      .path = sw_strdup(b->path),
					      .text = sw_buf_take(&text),
					      .flows = flows,
					      .n_flows = n_flows,
					      .cap_flows = cap_flows,
					      .states = states};
}

static void spoil(struct sync *s, uint64_t network, const struct sw_error *err)
{
	for (size_t i = 0; i < s->n_nets; i++)
		if (s->nets[i].plan.id == network && s->nets[i].err.code == 0)
			s->nets[i].err = *err;
}

void balance_results(struct net *n, struct sync *s)
{
	n->unbalanced = false;
	for (size_t i = 0; i < s->n_lbs; i++) {
		const struct sync_lb *r = &s->lbs[i];
		struct box *b = box_get(n, r->task_id);

		/* Removed meanwhile: nobody connects from there any more. */
		if (b == NULL || !sw_streq(b->path, r->path))
			continue;
		b->rules = r->err.code == 0 ? r->rules : 0;
		for (size_t k = 0; k < b->n_networks; k++) {
			b->balanced[k] = r->err.code == 0 ? r->states[k] : 0;
			if (r->err.code != 0)
				spoil(s, b->networks[k].network_id, &r->err);
		}
		if (r->err.code == 0)
			continue;
		n->unbalanced = true;
		sw_warn("sandbox not balanced", SW_ERR(&r->err));
	}
}

void balance_anew(struct net *n, struct box *b)
{
	sw_info("rules in a sandbox were changed by others", SW_ID("task", b->task_id));
	for (size_t i = 0; i < b->n_networks; i++)
		b->balanced[i] = 0;
	b->rules = 0;
	net_kick(n);
}

void balance_forget(struct net *n)
{
	struct omap_iter it = omap_begin(&n->networks), bi;
	struct network *w;
	struct box *b;

	while ((w = omap_next(&it)) != NULL) {
		uint64_t least = lb_state(w->lb);

		bi = omap_begin(&n->boxes);
		while ((b = omap_next(&bi)) != NULL)
			for (size_t i = 0; i < b->n_networks; i++)
				if (b->networks[i].network_id == w->view->network_id &&
				    b->balanced[i] < least)
					least = b->balanced[i];
		lb_forget(w->lb, least);
	}
}
