/* The gate's part of an order: its namespace, devices, settings and rules. */
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "overlay/flows.h"
#include "overlay/ns.h"
#include "overlay/rules.h"
#include "overlay/sync_internal.h"

#include <net/if.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <unistd.h>

/** In the gate. A new namespace filters by the way back and has bridges pass iptables: with either,
 *  what comes from another gate, or goes between two containers, is lost. */
static void write_gate_settings(void)
{
	static const char *const settings[][2] = {
		{"/proc/sys/net/ipv4/ip_forward", "1"},
		{"/proc/sys/net/ipv4/fwmark_reflect", "1"},
		{"/proc/sys/net/ipv4/conf/all/rp_filter", "0"},
		{"/proc/sys/net/ipv4/conf/default/rp_filter", "0"},
		{"/proc/sys/net/ipv4/conf/gw0/rp_filter", "0"},
		{"/proc/sys/net/ipv4/conf/up0/rp_filter", "0"},
		{"/proc/sys/net/ipv4/conf/vx/rp_filter", "0"},
		{"/proc/sys/net/ipv4/conf/gw0/send_redirects", "0"},
		{"/proc/sys/net/ipv4/conf/all/send_redirects", "0"},
		{"/proc/sys/net/ipv6/conf/all/forwarding", "1"},
		{"/proc/sys/net/ipv6/fwmark_reflect", "1"},
		/* A neighbour is asked for with the link's own address when it is for others. */
		{"/proc/sys/net/ipv6/conf/gw0/addr_gen_mode", "0"},
		{"/proc/sys/net/ipv6/conf/up0/addr_gen_mode", "0"},
		{"/proc/sys/net/bridge/bridge-nf-call-iptables", "0"},
		{"/proc/sys/net/bridge/bridge-nf-call-ip6tables", "0"},
	};

	for (size_t i = 0; i < SW_COUNT(settings); i++)
		ns_set(settings[i][0], settings[i][1]);
}

static int gate_settings(struct worker *w, struct sw_error *err)
{
	int r = ns_enter(w->gate.fd, err);

	if (r < 0)
		return r;
	write_gate_settings();
	ns_return(w->home);
	return 0;
}

/** Of an interface, in the thread's namespace. */
static void set_interface(const char *family, const char *interface, const char *name,
			  const char *value)
{
	char path[128];

	snprintf(path, sizeof path, "/proc/sys/net/%s/conf/%s/%s", family, interface, name);
	ns_set(path, value);
}

/** A host that forwards no longer takes its own address and route from router advertisements,
 *  unless told to on each interface that does. */
static void forward_ipv6(void)
{
	sw_autofree char *forwards = NULL;
	struct if_nameindex *all;

	if (sw_read_file("/proc/sys/net/ipv6/conf/all/forwarding", 8, &forwards, NULL, NULL) < 0 ||
	    forwards[0] == '1')
		return;
	all = if_nameindex();
	for (size_t i = 0; all != NULL && all[i].if_index != 0; i++) {
		sw_autofree char *takes = NULL,
				 *path = sw_asprintf("/proc/sys/net/ipv6/conf/%s/accept_ra",
						     all[i].if_name);

		if (sw_read_file(path, 8, &takes, NULL, NULL) == 0 && takes[0] == '1')
			ns_set(path, "2");
	}
	if (all != NULL)
		if_freenameindex(all);
	ns_set("/proc/sys/net/ipv6/conf/all/forwarding", "1");
}

/** Before the host's end of the link is up: then it has its addresses at once. */
static void host_settings(const struct plan_host *h)
{
	set_interface("ipv4", h->up, "route_localnet", "1");
	ns_set("/proc/sys/net/ipv4/ip_forward", "1");
	if (!h->six)
		return;
	set_interface("ipv6", h->up, "disable_ipv6", "0");
	set_interface("ipv6", h->up, "accept_ra", "0");
	set_interface("ipv6", h->up, "accept_dad", "0");
	forward_ipv6();
}

static int do_inside(struct worker *w, const struct plan_host *h, struct sw_error *err)
{
	struct plan p = {0};
	int r;

	plan_gate_diff(h, &w->gate.state, &p);
	r = perform(w, &w->gate, NULL, &p, err);
	plan_fini(&p);
	return r == 0 ? place_load(&w->gate, err) : r;
}

/** Twice: the host's end has a number only when it is there. */
static int do_link(struct worker *w, const struct plan_host *h, struct sw_error *err)
{
	int r = 0;

	for (int round = 0; round < 2 && r == 0; round++) {
		bool was = plan_find(&w->gate.state, "up0") != NULL &&
			   plan_find(&w->host.state, h->up) != NULL;
		struct plan p = {0};

		host_settings(h);
		plan_link_diff(h, &w->host.state, &w->gate.state, &p);
		r = perform(w, &w->host, &w->gate, &p, err);
		plan_fini(&p);
		if (r == 0)
			r = place_load(&w->gate, err);
		if (r == 0)
			r = place_load(&w->host, err);
		if (was)
			break;
	}
	return r;
}

int do_gate(struct worker *w, struct sync *s, struct sw_error *err)
{
	sw_autofree char *path = sync_gate_path(s->run_dir);
	int r = 0;

	if (w->gate.fd < 0)
		r = place_open(w, &w->gate, path, s->host.six ? PLACE_MAKE_SIX : PLACE_MAKE, err);
	else
		r = place_load(&w->gate, err);
	if (r == 0)
		r = place_load(&w->host, err);
	if (r == 0)
		r = do_inside(w, &s->host, err);
	if (r == 0)
		r = do_link(w, &s->host, err);
	if (r < 0) {
		place_fini(&w->gate); /* opened, or made, afresh with the next order */
		return r;
	}
	s->gate.stray = !shows_rules(w, &s->spent, w->gate.fd, s->gate.rules);
	return gate_settings(w, err);
}

int do_gate_ports(struct worker *w, struct sync *s, struct sw_error *err)
{
	struct sync_gate *g = &s->gate;
	int r;

	if (w->gate.fd < 0)
		return sw_fail(err, SW_EUNAVAIL, "there is no gate");
	r = ns_enter(w->gate.fd, err);
	if (r < 0)
		return r;
	if (g->over == NULL || nft_here(&s->spent, g->over, NULL) < 0)
		r = nft_here(&s->spent, g->text, err);
	g->rules = rules_here(&s->spent);
	ns_forget_ended();
	if (r == 0)
		r = flows_end(g->flows, g->n_flows, err);
	ns_return(w->home);
	return r;
}

int do_gate_away(struct worker *w, const struct sync *s, struct sw_error *err)
{
	sw_autofree char *path = sync_gate_path(s->run_dir);
	struct plan_step step = {.op = PLAN_DEL_LINK};
	struct plan p = {.steps = &step, .n = 1};
	int r;

	/* The device first: its number is free only when it is gone, whoever keeps the namespace.
	 */
	snprintf(step.name, sizeof step.name, "vx");
	if (w->gate.fd < 0 && place_open(w, &w->gate, path, PLACE_FIND, NULL) < 0)
		return ns_remove(path, err);
	r = perform(w, &w->gate, NULL, &p, err);
	snprintf(step.name, sizeof step.name, "%s", s->host.up);
	if (r == 0)
		r = perform(w, &w->host, NULL, &p, err);
	place_fini(&w->gate);
	return r == 0 ? ns_remove(path, err) : r;
}
