/** State of struct net; for net*.c only. */
#pragma once

#include "base/list.h"
#include "base/loop.h"
#include "base/omap.h"
#include "base/rand.h"
#include "overlay/dns_server.h"
#include "overlay/gate.h"
#include "overlay/lb.h"
#include "overlay/net.h"
#include "overlay/sync.h"
#include "overlay/view.h"

#include <net/if.h>

struct network {
	struct lb *lb;
	struct view *view; /* without a network message while only found in the kernel */
	bool dirty, found; /* found: of an earlier run, and no view has come yet */
};

enum box_state { BOX_FOUND, BOX_WAITING, BOX_MAKING, BOX_READY };

struct box {
	uint64_t task_id;
	enum box_state state;
	uint32_t offset; /* of its address in the egress subnet, 0 = none */
	char *path;
	bool dirty, egress;
	Pb__TaskNetwork *networks; /* plain values */
	uint64_t *balanced;        /* of each network: the lb_state that its namespace shows */
	uint32_t rules;            /* generation of the rules there; 0 = none were loaded */
	size_t n_networks;
	struct net_port *ports;
	size_t n_ports;
	char **dns;
	uint64_t deadline_ms; /* for its views */
	void (*done)(void *arg, const char *netns, const struct sw_error *err);
	void *arg;
	struct dns_box *resolver;
};

/** What may not be made again before its removal is done: its names and numbers are taken. */
enum dying { DYING_BOX, DYING_NETWORK, DYING_VNI };

/** A call to come on a later turn. */
struct ending {
	struct sw_list link;
	void (*created)(void *arg, const char *netns, const struct sw_error *err);
	void *arg;
	struct sw_error err;
};

struct net {
	uv_loop_t *loop;
	struct sw_closer closer;
	char *run_dir, *prefix;
	uint32_t underlay, mtu;
	char way[IF_NAMESIZE]; /* of the underlay; empty: the MTU was given, or is to be looked for */
	bool mtu_given;
	uint32_t narrowest;    /* MTU of the cluster's underlays: all overlays have to pass */
	struct plan_host host; /* without peers */
	struct wire_key key;
	char *wire_error; /* why this host can't encrypt */
	struct gate *gate;
	bool gate_taken_over;           /* what an earlier run left there is no matter any more */
	bool gate_stored;               /* no view came yet: what is known is from an earlier run */
	uint64_t gate_saved;            /* layout that was stored */
	uint64_t gate_shown, gate_told; /* state that the gate shows; version that was told */
	int rules_fd;                   /* for the next */
	uint32_t gate_rules, rules; /* generations of the rules: the gate's as loaded, the host's */
	uint32_t last_offset;
	void (*on_applied)(void *arg, uint64_t network_id, uint64_t version,
			   const struct sw_error *err);
	void (*on_underlay)(void *arg);
	void *arg;
	struct omap networks, boxes; /* (id, 0) → network, box */
	struct omap offsets;         /* (offset, 0) → box or itself while it is being dropped */
	struct sync_drop *drops;     /* wanted gone: after the next order nothing leads there */
	size_t n_drops, cap_drops;
	struct sync_drop *leaving; /* wanted gone before the order that is being carried out */
	size_t n_leaving;
	struct sync *burial;    /* of those that an order has cut off. Waits, or is done; or NULL */
	struct omap dying;      /* (id or number, enum dying) → how many drops are not done */
	struct sw_list endings; /* due at the end of this turn */
	struct sw_later later;
	struct sw_timer tick;
	unsigned ticks;
	struct sw_rand rand;
	bool ordered, burying, dirty, closing, destroying, settled;
	bool unbalanced; /* some sandbox could not be: tried again with the next tick */
	struct doer *doer, *undertaker;
	struct dns_server *dns;
	void (*closed)(void *arg);
	void *closed_arg;
};

/* net_box.c */
struct box *box_get(const struct net *n, uint64_t task_id);
void box_free(struct net *n, struct box *b);
/** Takes it out of the map and asks for the removal of its namespace, if it may have one. */
void box_drop(struct net *n, struct box *b);
/** The views of its networks have come, and nothing of an earlier life is in the way. */
bool box_can_be_made(const struct net *n, const struct box *b);
/** What the resolver needs. */
size_t box_views(void *arg, uint64_t task_id, const struct view **ret, size_t max);
char *box_path(const struct net *n, uint64_t task_id, uint32_t offset);
void box_plan(const struct net *n, const struct box *b, struct sync *s);
void box_ports(const struct net *n, const struct box *b, struct sync *s);
void box_result(struct net *n, struct sync_box *r);

/* net_gate.c: the ingress network */
uint32_t gate_local(void *arg, uint64_t task_id);
/** The view of the ingress network changed, or what this node has of a task. */
void gate_changed(struct net *n);
void gate_task_changed(struct net *n, uint64_t task_id);
/** What an earlier run knew of it: ports go on answering while no manager has been heard. */
void gate_load(struct net *n);
void gate_unsave(const struct net *n);
void gate_order(struct net *n, struct sync *s);
void gate_result(struct net *n, const struct sync *s);

/* net_wire.c: the encrypted way */
void wire_open(struct net *n);
void wire_order(const struct net *n, struct sync *s);
/** This node's number, as the view has it; 0 = not known. */
uint32_t wire_own_number(const struct net *n, const struct view *v);

/* net_lb.c: virtual addresses in the sandboxes */
/** After the box is in the order: what its namespace lacks. */
void box_balance(const struct net *n, const struct box *b, struct sync *s);
void balance_results(struct net *n, struct sync *s);
/** The kernel shows the network's balancing nowhere worse than this: what is older can go. */
void balance_forget(struct net *n);
/** What the sandbox shows is not known any more: it is given all of it. */
void balance_anew(struct net *n, struct box *b);

/* net_find.c: what is there at start */
/** Of the interface that has the address: `name`, or looked for when that is empty or gone. */
int find_underlay_mtu(uint32_t address, char name[IF_NAMESIZE], uint32_t *ret,
		      struct sw_error *err) SW_MUST_CHECK;
/** IPv6 is on here, and `mtu` enough for it. */
bool find_ipv6(uint32_t mtu);
int find_subnet(const char *text, struct plan_host *h, struct sw_error *err) SW_MUST_CHECK;
/** Fills networks and boxes from the mounts below run_dir. */
int find_earlier(struct net *n, struct sw_error *err) SW_MUST_CHECK;

/* net.c */
struct network *network_get(const struct net *n, uint64_t id);
struct network *network_add(struct net *n, uint64_t id);
/** `number` as in struct sync_drop. */
void net_drop_path(struct net *n, char *takes_path, uint64_t id, uint32_t number, bool box);
bool net_is_dying(const struct net *n, uint64_t id, enum dying what);
/** Whether it has to wait for the removal of itself or of another one of its number. */
bool network_is_held(const struct net *n, const struct network *w);
void net_kick(struct net *n);
/** All is compared with the kernel again. */
void net_touch_all(struct net *n);
/** The nodes of the ingress network, which are all, changed. */
void net_narrow(struct net *n, const struct view *ingress);
/** The MTU of the network's interfaces. */
uint32_t net_mtu_of(const struct net *n, const struct view *v);
