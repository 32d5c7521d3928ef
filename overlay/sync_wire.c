/* The encrypted way's part of an order: its interface, its key, its peers. */
#include "base/mem.h"
#include "base/str.h"
#include "overlay/sync_internal.h"
#include "overlay/wire.h"

#include <stdio.h>

/** The kernel's, or else a process that makes one of its own. */
static int make(struct worker *w, const char *name, struct sw_error *err)
{
	struct plan_step step = {.op = PLAN_ADD_WIRE};
	struct plan p = {.steps = &step, .n = 1};
	struct sw_error why = {0};

	snprintf(step.name, sizeof step.name, "%s", name);
	if (perform(w, &w->host, NULL, &p, &why) == 0)
		return 0;
	return wire_start_process(name, err);
}

static int set_up(struct worker *w, const struct plan_host *h, const struct sync_wire *wire,
		  struct sw_error *err)
{
	const struct plan_link *l = plan_find(&w->host.state, h->wire);
	struct plan p = {0};
	struct plan_step *s;
	int r;

	if (l == NULL)
		return sw_fail(err, SW_EIO, "the WireGuard interface %s did not appear", h->wire);
	s = plan_put(&p, PLAN_PUT_ADDR, PLAN_AT_BRIDGE, h->wire);
	s->index = l->index;
	s->address = wire_address(wire->number);
	s->prefix = 16;
	plan_put(&p, PLAN_SET_LINK, PLAN_AT_BRIDGE, h->wire)->mtu = wire->mtu;
	r = perform(w, &w->host, NULL, &p, err);
	plan_fini(&p);
	return r;
}

int do_wire(struct worker *w, const struct plan_host *h, const struct sync_wire *wire,
	    struct sw_error *err)
{
	uint64_t digest = sw_hash_str(wire->text) | 1;
	int r = 0;

	if (plan_find(&w->host.state, h->wire) == NULL) {
		w->wired = 0;
		r = make(w, h->wire, err);
		if (r == 0)
			r = place_load(&w->host, err);
	}
	if (r < 0 || w->wired == digest)
		return r;
	r = wire_configure(h->wire, wire->text, err);
	if (r == 0)
		r = set_up(w, h, wire, err);
	w->wired = r == 0 ? digest : 0;
	return r;
}

void do_wire_away(struct worker *w, const struct plan_host *h)
{
	struct plan_step step = {.op = PLAN_DEL_LINK};
	struct plan p = {.steps = &step, .n = 1};
	struct sw_error err;

	/* A process that made it ends with it. */
	snprintf(step.name, sizeof step.name, "%s", h->wire);
	if (perform(w, &w->host, NULL, &p, &err) < 0)
		return; /* there was none, or the host keeps an interface that nobody uses */
}
