// links: overlay
/*
 * Rules are changed while clients connect, in the real kernel: none is refused. A packet that began
 * its way through the old rules may look an element up as the new ones become valid, and finds it in
 * neither; so what is chosen by an element has a choice without one, and maps are not made anew.
 */
#include "base/buf.h"
#include "base/mem.h"
#include "base/rand.h"
#include "overlay/gate.h"
#include "overlay/lb.h"
#include "overlay/nat.h"
#include "overlay/ns.h"
#include "overlay/plan.h"
#include "overlay/view.h"

#include <arpa/inet.h>
#include <errno.h>
#include <nftables/libnftables.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum {
	TEXT_MAX = 1 << 20,
	STRESS_MS = 1000,
	NET = 77,
	WEB = 5,
	OTHER = 6,
	SELF = 7,
	PORT = 80,
	PUBLISHED = 8080,
	CLIENT = 0xc0a84d63,   /* 192.168.77.99 */
	UNDERLAY = 0xc0a84d01, /* 192.168.77.1 */
	GATEWAY = 0xac120001,  /* 172.18.0.1, tasks follow */
	VIP = 0x0a090101,      /* 10.9.1.1 */
};

static void run(const char *format, ...)
{
	char command[512];
	va_list ap;

	va_start(ap, format);
	vsnprintf(command, sizeof command, format, ap);
	va_end(ap);
	if (system(command) != 0)
		fail_msg("%s", command);
}

static struct sockaddr_in6 at(struct in6_addr address, uint16_t port)
{
	return (struct sockaddr_in6){
		.sin6_family = AF_INET6, .sin6_addr = address, .sin6_port = htons(port)};
}

/* ---- the other processes ---- */

struct helper {
	pid_t pid;
	int in, out; /* commands to it, words from it */
};

struct seen {
	unsigned tries, failed;
	int why; /* errno of the last */
};

/** `own`: in a network namespace of its own, else in ours. */
static struct helper helper_start(bool own, void (*body)(int in, int out))
{
	int in[2], out[2];
	struct helper h;
	char ready;

	assert_int_equal(pipe(in), 0);
	assert_int_equal(pipe(out), 0);
	h.pid = fork();
	assert_true(h.pid >= 0);
	if (h.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (own && unshare(CLONE_NEWNET) < 0)
			_exit(1);
		close(in[1]);
		if (write(out[1], "r", 1) == 1)
			body(in[0], out[1]);
		_exit(0);
	}
	close(in[0]);
	close(out[1]);
	h.in = in[1];
	h.out = out[0];
	assert_int_equal(read(h.out, &ready, 1), 1);
	return h;
}

static void helper_end(struct helper *h)
{
	kill(h->pid, SIGKILL);
	waitpid(h->pid, NULL, 0);
	close(h->in);
	close(h->out);
}

static void helper_tell(const struct helper *h, const void *p, size_t n)
{
	assert_int_equal(write(h->in, p, n), n);
}

static void forget(int fd)
{
	struct linger now = {.l_onoff = 1};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	close(fd);
}

/** Accepts at an address that it is told of (so that one that was not translated is refused). */
static void serve(int in, int out)
{
	struct sockaddr_in6 a;
	int fd = socket(AF_INET6, SOCK_STREAM, 0), on = 1, c;
	char end;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (read(in, &a, sizeof a) != sizeof a || bind(fd, (struct sockaddr *)&a, sizeof a) < 0 ||
	    listen(fd, 4096) < 0 || write(out, "l", 1) != 1)
		return;
	while ((c = accept(fd, NULL, NULL)) >= 0) {
		if (read(c, &end, 1) <= 0)
			close(c);
	}
}

static void serve_at(const struct helper *h, struct in6_addr address, uint16_t port)
{
	struct sockaddr_in6 a = at(address, port);
	char word;

	helper_tell(h, &a, sizeof a);
	assert_int_equal(read(h->out, &word, 1), 1);
}

/** Connects, again and again, until there is another word from outside. */
static void connect_on(int in, int out)
{
	struct pollfd p = {.fd = in, .events = POLLIN};
	struct timeval patience = {.tv_usec =
					   900000}; /* less than until a lost SYN is sent again */
	struct sockaddr_in6 a;
	struct seen s;
	char word;

	if (read(in, &a, sizeof a) != sizeof a)
		return;
	s = (struct seen){0};
	while (poll(&p, 1, 0) == 0) {
		int fd = socket(AF_INET6, SOCK_STREAM, 0);

		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
		s.tries++;
		if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0) {
			s.failed++;
			s.why = errno;
		}
		forget(fd);
	}
	if (read(in, &word, 1) == 1 && write(out, &s, sizeof s) == sizeof s)
		connect_on(in, out);
}

/* ---- a world ---- */

struct world {
	int home;
	struct helper client, servers[3];
	size_t n_servers;
	struct nft_ctx *nft;
	struct view *v;
	uint64_t version;
};

static void apply(struct world *w, Pb__NetworkView *m)
{
	m->network_id = NET;
	m->version = ++w->version;
	assert_true(view_merge(w->v, m));
}

static void put_task(struct world *w, uint64_t service, uint64_t id, uint32_t address,
		     bool draining)
{
	Pb__NetworkView m = PB__NETWORK_VIEW__INIT;
	Pb__Endpoint e = PB__ENDPOINT__INIT, *one = &e;

	e.task_id = id;
	e.service_id = service;
	e.service = "web";
	e.address = address;
	e.node_address = UNDERLAY;
	e.slot = (uint32_t)id;
	e.ready = true;
	e.draining = draining;
	m.endpoints = &one;
	m.n_endpoints = 1;
	apply(w, &m);
}

static void put_service(struct world *w, uint64_t id, char *name, uint32_t vip, uint32_t published)
{
	Pb__NetworkView m = PB__NETWORK_VIEW__INIT;
	Pb__ServiceView s = PB__SERVICE_VIEW__INIT, *one = &s;
	Pb__PortConfig p = PB__PORT_CONFIG__INIT, *port = &p;

	p.published = published;
	p.target = PORT;
	p.mode = PB__PUBLISH_MODE__PUBLISH_INGRESS;
	s.service_id = id;
	s.name = name;
	s.vip = vip;
	s.ports = &port;
	s.n_ports = published != 0;
	m.services = &one;
	m.n_services = 1;
	apply(w, &m);
}

static void drop_service(struct world *w, uint64_t id)
{
	Pb__NetworkView m = PB__NETWORK_VIEW__INIT;

	m.removed_services = &id;
	m.n_removed_services = 1;
	apply(w, &m);
}

static void put_node(struct world *w, uint64_t id, uint32_t number, uint32_t address)
{
	Pb__NetworkView m = PB__NETWORK_VIEW__INIT;
	Pb__NodePeer p = PB__NODE_PEER__INIT, *one = &p;

	p.node_id = id;
	p.number = number;
	p.address = address;
	m.peers = &one;
	m.n_peers = 1;
	apply(w, &m);
}

static void drop_node(struct world *w, uint64_t id)
{
	Pb__NetworkView m = PB__NETWORK_VIEW__INIT;

	m.removed_peers = &id;
	m.n_removed_peers = 1;
	apply(w, &m);
}

static void load(struct world *w, struct sw_buf *text)
{
	struct sw_error err;

	if (nat_run(w->nft, sw_buf_str(text), NULL, &err) != 0)
		fail_msg("%s\n%s", err.msg, sw_buf_str(text));
	sw_buf_reset(text);
}

static int setup(void **state)
{
	struct world *w = sw_new(struct world);
	Pb__NetworkView m = PB__NETWORK_VIEW__INIT;
	Pb__Network n = PB__NETWORK__INIT;

	w->home = ns_self();
	if (w->home < 0 || unshare(CLONE_NEWNET) < 0)
		return -1;
	run("ip link set lo up");
	w->nft = nft_ctx_new(NFT_CTX_DEFAULT);
	w->v = view_new(NET);
	m.network = &n;
	m.snapshot = true;
	apply(w, &m);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	if (w->client.pid > 0)
		helper_end(&w->client);
	for (size_t i = 0; i < w->n_servers; i++)
		helper_end(&w->servers[i]);
	nft_ctx_free(w->nft);
	view_free(w->v);
	ns_return(w->home);
	close(w->home);
	free(w);
	return 0;
}

static long ms_between(const struct timespec *a, const struct timespec *b)
{
	return (b->tv_sec - a->tv_sec) * 1000 + (b->tv_nsec - a->tv_nsec) / 1000000;
}

/** Changes until the time is over, and nobody was refused. */
static void nobody_is_refused(struct world *w, struct in6_addr address, uint16_t port,
			      void (*change)(struct world *w, void *arg, unsigned round), void *arg)
{
	struct sockaddr_in6 a = at(address, port);
	struct timespec start, now;
	struct seen s;
	unsigned round = 0;

	ns_forget_ended();
	helper_tell(&w->client, &a, sizeof a);
	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		change(w, arg, round++);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (ms_between(&start, &now) < STRESS_MS);
	helper_tell(&w->client, "x", 1);
	assert_int_equal(read(w->client.out, &s, sizeof s), sizeof s);
	print_message("%u changes, %u connections, %u failed\n", round, s.tries, s.failed);
	assert_true(s.tries > 100 && round > 10);
	if (s.failed > 0)
		fail_msg("%u of %u connections failed, the last: %s", s.failed, s.tries,
			 strerror(s.why));
}

/* ---- virtual addresses ---- */

struct lb_world {
	struct lb *lb;
	uint64_t shown;
};

static void change_backends(struct world *w, void *arg, unsigned round)
{
	struct sw_buf text = SW_BUF_INIT(TEXT_MAX);
	struct lb_world *l = arg;

	put_task(w, WEB, 3, VIP + 3, round % 2 == 0);
	lb_refresh(l->lb, w->v, round);
	lb_text(l->lb, l->shown, &text);
	load(w, &text);
	l->shown = lb_state(l->lb);
	lb_forget(l->lb, l->shown);
	sw_buf_fini(&text);
}

/** Another service comes, with none to three tasks, and goes. */
static void change_others(struct world *w, void *arg, unsigned round)
{
	struct sw_buf text = SW_BUF_INIT(TEXT_MAX);
	struct lb_world *l = arg;

	if (round % 8 == 7)
		drop_service(w, OTHER);
	else
		put_service(w, OTHER, "other", VIP + 100, 0);
	for (uint32_t i = 0; i < 3; i++)
		put_task(w, OTHER, 10 + i, VIP + 10 + i, round % 4 <= i);
	lb_refresh(l->lb, w->v, round);
	lb_text(l->lb, l->shown, &text);
	load(w, &text);
	l->shown = lb_state(l->lb);
	lb_forget(l->lb, l->shown);
	sw_buf_fini(&text);
}

/** From three tasks to one and back. */
static void change_two(struct world *w, void *arg, unsigned round)
{
	put_task(w, WEB, 2, VIP + 2, round % 4 >= 2);
	change_backends(w, arg, round);
}

static void a_virtual_address(void **state)
{
	struct world *w = *state;
	struct lb_world l = {.lb = lb_new(NET)};

	run("ip address add 10.9.1.1/32 dev lo");
	put_service(w, WEB, "web", VIP, 0);
	for (uint32_t i = 1; i <= 3; i++) {
		run("ip address add 10.9.1.%u/32 dev lo", i + 1);
		w->servers[w->n_servers++] = helper_start(false, serve);
		serve_at(&w->servers[i - 1], addr_mapped(VIP + i), PORT);
		put_task(w, WEB, i, VIP + i, false);
	}
	w->client = helper_start(false, connect_on);
	change_backends(w, &l, 1);
	nobody_is_refused(w, addr_mapped(VIP), PORT, change_backends, &l);
	nobody_is_refused(w, addr_mapped(VIP), PORT, change_two, &l);
	nobody_is_refused(w, addr_mapped(VIP), PORT, change_others, &l);
	lb_free(l.lb);
}

/* ---- published ports: the gate ---- */

static uint32_t address_of_task(void *arg, uint64_t task_id)
{
	(void)arg;
	return GATEWAY + (uint32_t)task_id;
}

static void make_gate(struct world *w)
{
	w->client = helper_start(true, connect_on);
	w->servers[w->n_servers++] = helper_start(true, serve);
	/* Without the second in which nobody is told where an address is. */
	run("sysctl -qw net.ipv6.conf.default.accept_dad=0");
	run("nsenter -t %d -n sysctl -qw net.ipv6.conf.default.accept_dad=0", w->client.pid);
	run("nsenter -t %d -n sysctl -qw net.ipv6.conf.default.accept_dad=0", w->servers[0].pid);
	run("ip link add vx up type bridge");
	run("ip link add up0 up type veth peer name eth0 netns %d", w->client.pid);
	run("ip link add gw0 up type veth peer name eth0 netns %d", w->servers[0].pid);
	run("sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 "
	    "net.ipv6.conf.all.forwarding=1");
	run("ip address add 192.168.77.1/24 dev up0 && ip address add fd77::1/64 dev up0 nodad && "
	    "ip address add 172.18.0.1/16 dev gw0 && ip address add %s/112 dev gw0 nodad",
	    addr_text(ADDR_SIX, GATEWAY).s);
	run("nsenter -t %d -n sh -c 'ip address add 192.168.77.99/24 dev eth0 && "
	    "ip address add fd77::99/64 dev eth0 nodad && ip link set eth0 up && "
	    "ip route add 198.18.0.0/15 via 192.168.77.1 && "
	    "ip route add %s/111 via fd77::1'",
	    w->client.pid, addr_text(ADDR_SIX, plan_identity(0)).s);
	for (uint32_t i = 1; i <= 6; i++)
		run("nsenter -t %d -n sh -c 'ip address add %s/16 dev eth0 && "
		    "ip address add %s/112 dev eth0 nodad'",
		    w->servers[0].pid, addr_text(ADDR_FOUR, GATEWAY + i).s,
		    addr_text(ADDR_SIX, GATEWAY + i).s);
	run("nsenter -t %d -n sh -c 'ip link set eth0 up && ip route add default via 172.18.0.1 && "
	    "ip route add default via %s'",
	    w->servers[0].pid, addr_text(ADDR_SIX, GATEWAY).s);
	serve_at(&w->servers[0], in6addr_any, PORT);
	put_node(w, SELF, SELF, UNDERLAY);
	put_service(w, WEB, "web", 0, PUBLISHED);
	for (uint64_t i = 1; i <= 3; i++)
		put_task(w, WEB, i, 0, false);
}

struct gate_world {
	struct gate *gate;
	uint64_t shown;
};

static void load_gate(struct world *w, struct gate_world *g, unsigned round)
{
	struct sw_buf text = SW_BUF_INIT(TEXT_MAX);
	struct lb_flow *flows = NULL;
	size_t n = 0, cap = 0;

	gate_refresh(g->gate, w->v, UNDERLAY, round);
	gate_text(g->gate, g->shown, &text);
	gate_flows(g->gate, g->shown, &flows, &n, &cap);
	free(flows);
	load(w, &text);
	g->shown = gate_state(g->gate);
	gate_forget(g->gate, g->shown);
	sw_buf_fini(&text);
}

static void change_tasks(struct world *w, void *arg, unsigned round)
{
	put_task(w, WEB, 3, 0, round % 2 == 0);
	load_gate(w, arg, round);
}

static void change_ports(struct world *w, void *arg, unsigned round)
{
	if (round % 2 == 0)
		put_service(w, OTHER, "other", 0, PUBLISHED + 1);
	else
		drop_service(w, OTHER);
	load_gate(w, arg, round);
}

static void change_nodes(struct world *w, void *arg, unsigned round)
{
	if (round % 2 == 0)
		put_node(w, SELF + 1, SELF + 1, UNDERLAY + 1);
	else
		drop_node(w, SELF + 1);
	load_gate(w, arg, round);
}

static void put_owner(struct world *w, uint64_t owner)
{
	Pb__NetworkView m = PB__NETWORK_VIEW__INIT;
	Pb__ServiceView s[2] = {PB__SERVICE_VIEW__INIT, PB__SERVICE_VIEW__INIT};
	Pb__ServiceView *both[] = {&s[0], &s[1]};
	Pb__PortConfig p = PB__PORT_CONFIG__INIT, *port = &p;

	p.published = PUBLISHED;
	p.target = PORT;
	p.mode = PB__PUBLISH_MODE__PUBLISH_INGRESS;
	for (size_t i = 0; i < 2; i++) {
		s[i].service_id = WEB + i;
		s[i].name = "s";
		s[i].ports = &port;
		s[i].n_ports = s[i].service_id == owner;
	}
	m.services = both;
	m.n_services = 2;
	apply(w, &m);
}

/** From one service to another, in one update. */
static void move_port(struct world *w, void *arg, unsigned round)
{
	put_owner(w, WEB + round % 2);
	put_task(w, OTHER, 4, 0, false);
	load_gate(w, arg, round);
}

/** From one service to one that comes as the other goes. */
static void hand_port_on(struct world *w, void *arg, unsigned round)
{
	put_owner(w, WEB + round % 2);
	drop_service(w, WEB + (round + 1) % 2);
	for (uint64_t i = 1; i <= 4; i++)
		put_task(w, WEB + round % 2, i, 0, false);
	load_gate(w, arg, round);
}

static void load_over(struct world *w, struct gate_world *g)
{
	struct sw_buf text = SW_BUF_INIT(TEXT_MAX);

	gate_text_over(g->gate, &text);
	load(w, &text);
	g->shown = gate_state(g->gate);
	sw_buf_fini(&text);
}

/** As an agent does that starts. */
static void take_over(struct world *w, void *arg, unsigned round)
{
	struct gate_world *g = arg;

	put_task(w, WEB, 3, 0, round % 2 == 0);
	gate_refresh(g->gate, w->v, UNDERLAY, round);
	load_over(w, g);
}

static void at_the_gate(void **state, void (*change)(struct world *w, void *arg, unsigned round))
{
	struct world *w = *state;
	struct gate_world g = {.gate = gate_new(address_of_task, NULL)};

	make_gate(w);
	load_gate(w, &g, 0);
	nobody_is_refused(w, addr_mapped(plan_identity(SELF)), PUBLISHED, change, &g);
	nobody_is_refused(w, addr_six(plan_identity(SELF)), PUBLISHED, change, &g);
	gate_free(g.gate);
}

static void a_port_whose_tasks_change(void **state)
{
	at_the_gate(state, change_tasks);
}

static void a_port_beside_another(void **state)
{
	at_the_gate(state, change_ports);
}

static void a_port_while_nodes_come_and_go(void **state)
{
	at_the_gate(state, change_nodes);
}

static void a_port_that_moves(void **state)
{
	at_the_gate(state, move_port);
}

static void a_port_that_is_handed_on(void **state)
{
	at_the_gate(state, hand_port_on);
}

static void a_gate_that_is_taken_over(void **state)
{
	at_the_gate(state, take_over);
}

/* ---- from any state to any ---- */

/* Who has which of the ports; like the managers, which give a port of a protocol to one service. */
enum { SERVICES = 3, NODES = 3, PORTS = 4, NOBODY = SERVICES };

struct desk {
	struct sw_rand rand;
	unsigned owner[2 * PORTS]; /* of ports 0.. of TCP, then of UDP */
	uint32_t target[2 * PORTS];
	uint32_t self; /* this node's number */
};

static size_t any(struct desk *d, size_t below)
{
	return (size_t)(sw_rand_u64(&d->rand) % below);
}

/** All services in one message, so that a port moves between them in one update. */
static void publish(struct world *w, const struct desk *d)
{
	Pb__NetworkView m = PB__NETWORK_VIEW__INIT;
	Pb__ServiceView s[SERVICES], *services[SERVICES];
	Pb__PortConfig p[2 * PORTS], *ports[SERVICES][2 * PORTS];

	for (size_t i = 0; i < SERVICES; i++) {
		s[i] = (Pb__ServiceView)PB__SERVICE_VIEW__INIT;
		s[i].service_id = WEB + i;
		s[i].name = "s";
		s[i].ports = ports[i];
		services[i] = &s[i];
	}
	for (size_t i = 0; i < SW_COUNT(p); i++) {
		Pb__ServiceView *of = d->owner[i] != NOBODY ? &s[d->owner[i]] : NULL;

		p[i] = (Pb__PortConfig)PB__PORT_CONFIG__INIT;
		p[i].protocol = i < PORTS ? PB__PROTOCOL__TCP : PB__PROTOCOL__UDP;
		p[i].published = PUBLISHED + (uint32_t)i % PORTS;
		p[i].target = d->target[i];
		p[i].mode = PB__PUBLISH_MODE__PUBLISH_INGRESS;
		if (of != NULL)
			of->ports[of->n_ports++] = &p[i];
	}
	m.services = services;
	m.n_services = SERVICES;
	apply(w, &m);
}

static void hand_over(struct world *w, struct desk *d)
{
	for (size_t n = 1 + any(d, 3); n > 0; n--) {
		size_t port = any(d, SW_COUNT(d->owner));

		d->owner[port] = (unsigned)any(d, SERVICES + 1);
		d->target[port] = PORT + (uint32_t)any(d, 2);
	}
	publish(w, d);
}

static void end_service(struct world *w, struct desk *d)
{
	unsigned which = (unsigned)any(d, SERVICES);

	for (size_t i = 0; i < SW_COUNT(d->owner); i++)
		if (d->owner[i] == which)
			d->owner[i] = NOBODY;
	drop_service(w, WEB + which);
}

static void put_task_of(struct world *w, struct desk *d)
{
	Pb__NetworkView m = PB__NETWORK_VIEW__INIT;
	Pb__Endpoint e = PB__ENDPOINT__INIT, *one = &e;
	uint32_t node = (uint32_t)any(d, NODES + 1);

	e.task_id = 1 + any(d, 6);
	e.service_id = WEB + e.task_id % SERVICES;
	e.service = "s";
	e.node_id = SELF + node;
	e.node_address = UNDERLAY + node;
	e.slot = (uint32_t)e.task_id;
	e.ready = any(d, 4) != 0;
	e.draining = any(d, 3) == 0;
	m.endpoints = &one;
	m.n_endpoints = 1;
	apply(w, &m);
}

static void drop_task(struct world *w, struct desk *d)
{
	Pb__NetworkView m = PB__NETWORK_VIEW__INIT;
	uint64_t id = 1 + any(d, 6);

	m.removed = &id;
	m.n_removed = 1;
	apply(w, &m);
}

static void change_anything(struct world *w, struct desk *d)
{
	uint32_t node = 1 + (uint32_t)any(d, NODES);

	switch (any(d, 16)) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
		hand_over(w, d);
		break;
	case 5:
		end_service(w, d);
		break;
	case 6: /* of another number than before, at times */
	case 7:
		put_node(w, SELF + node, SELF + node + 10 * (uint32_t)any(d, 2), UNDERLAY + node);
		break;
	case 8:
		drop_node(w, SELF + node);
		break;
	case 9:
		d->self = any(d, 4) == 0 ? SELF + 100 + (uint32_t)any(d, 2) : d->self;
		put_node(w, SELF, d->self, UNDERLAY);
		break;
	case 10:
		drop_task(w, d);
		break;
	default:
		put_task_of(w, d);
	}
}

static int by_line(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/** The rules as nftables prints them, a line each, in the order of the alphabet. */
static char *listed(struct world *w)
{
	struct sw_buf out = SW_BUF_INIT(TEXT_MAX);
	sw_autofree char *all = NULL;
	char *lines[1024], *rest;
	struct sw_error err;
	size_t n = 0;

	assert_int_equal(nat_run(w->nft, "list ruleset\n", &all, &err), 0);
	rest = all;
	for (char *l; (l = strsep(&rest, "\n")) != NULL && n < 1024;)
		lines[n++] = l;
	qsort(lines, n, sizeof *lines, by_line);
	for (size_t i = 0; i < n; i++)
		sw_buf_addf(&out, "%s\n", lines[i]);
	return sw_buf_take(&out);
}

/** However many changes come at once, what is changed in place is what would be made afresh. */
static void in_place_as_afresh(void **state)
{
	struct world *w = *state;
	struct gate_world g = {.gate = gate_new(address_of_task, NULL)};
	struct desk d = {.self = SELF};
	uint32_t number = SELF;

	sw_rand_init(&d.rand, 7);
	for (size_t i = 0; i < SW_COUNT(d.owner); i++)
		d.owner[i] = NOBODY;
	run("ip link add vx up type bridge");
	put_node(w, SELF, SELF, UNDERLAY);
	load_gate(w, &g, 0);
	for (unsigned round = 0; round < 300; round++) {
		sw_autofree char *changed = NULL, *made = NULL;

		for (size_t n = any(&d, 6); n > 0; n--) {
			change_anything(w, &d);
			if (any(&d, 2) == 0) /* seen, but not shown */
				gate_refresh(g.gate, w->v, UNDERLAY, 0);
		}
		if (any(&d, 4) == 0) { /* an agent that starts has nothing but the maps' names */
			gate_refresh(g.gate, w->v, UNDERLAY, 0);
			if (gate_number(g.gate) == number)
				load_over(w, &g);
		}
		load_gate(w, &g, 0);
		number = gate_number(g.gate);
		changed = listed(w);
		g.shown = 0;
		load_gate(w, &g, 0);
		made = listed(w);
		assert_string_equal(changed, made);
	}
	gate_free(g.gate);
}

/** An order that failed is followed by one that makes all anew: that ends what the first was to end. */
static void what_was_to_end_is_told_until_it_has(void **state)
{
	struct world *w = *state;
	struct gate *g = gate_new(address_of_task, NULL);
	struct lb_flow *flows = NULL;
	size_t n = 0, cap = 0;
	uint64_t shown;

	put_node(w, SELF, SELF, UNDERLAY);
	put_owner(w, WEB);
	put_task(w, WEB, 1, 0, false);
	gate_refresh(g, w->v, UNDERLAY, 0);
	shown = gate_state(g);
	gate_forget(g, shown);
	put_task(w, WEB, 1, 0, true);
	put_task(w, WEB, 2, 0, false);
	gate_refresh(g, w->v, UNDERLAY, 0);
	gate_flows(g, shown, &flows, &n, &cap);
	assert_int_equal(n, 1);
	assert_int_equal(flows[0].backend, GATEWAY + 1);
	n = 0; /* that order failed */
	gate_flows(g, 0, &flows, &n, &cap);
	assert_int_equal(n, 1);
	gate_forget(g, gate_state(g));
	n = 0;
	gate_flows(g, 0, &flows, &n, &cap);
	assert_int_equal(n, 0);
	free(flows);
	gate_free(g);
}

/* ---- published ports: the host ---- */

static void change_entries(struct world *w, void *arg, unsigned round)
{
	static const struct plan_host host = {.address = GATEWAY,
					      .prefix = 16,
					      .mtu = 1450,
					      .underlay = UNDERLAY,
					      .number = SELF,
					      .port = 4789,
					      .wire_port = 4790,
					      .up = "xup",
					      .wire = "xwg"};
	struct gate_port entries[] = {{.published = PUBLISHED}, {.published = PUBLISHED + 1}};
	struct sw_buf text = SW_BUF_INIT(TEXT_MAX);

	for (size_t i = 0; i < 2; i++)
		assert_true(addr_bind_parse("", "", &entries[i].host));
	if (arg == NULL)
		nat_base_text("x", &host, &text);
	nat_ports_text("x", &host, NULL, 0, entries, 1 + round % 2, &text);
	load(w, &text);
	sw_buf_fini(&text);
}

static void host_afresh(struct world *w, void *arg, unsigned round)
{
	(void)arg;
	change_entries(w, NULL, round);
}

static void a_port_of_the_host(void **state)
{
	struct world *w = *state;

	run("ip address add 10.9.1.1/32 dev lo");
	run("ip address add 198.18.0.%d/32 dev lo", SELF);
	w->servers[w->n_servers++] = helper_start(false, serve);
	serve_at(&w->servers[0], addr_mapped(plan_identity(SELF)), PUBLISHED);
	w->client = helper_start(false, connect_on);
	change_entries(w, NULL, 0);
	nobody_is_refused(w, addr_mapped(VIP), PUBLISHED, change_entries, w);
	nobody_is_refused(w, addr_mapped(VIP), PUBLISHED, host_afresh, w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_virtual_address, setup, teardown),
		cmocka_unit_test_setup_teardown(a_port_whose_tasks_change, setup, teardown),
		cmocka_unit_test_setup_teardown(a_port_beside_another, setup, teardown),
		cmocka_unit_test_setup_teardown(a_port_while_nodes_come_and_go, setup, teardown),
		cmocka_unit_test_setup_teardown(a_port_that_moves, setup, teardown),
		cmocka_unit_test_setup_teardown(a_port_that_is_handed_on, setup, teardown),
		cmocka_unit_test_setup_teardown(a_gate_that_is_taken_over, setup, teardown),
		cmocka_unit_test_setup_teardown(in_place_as_afresh, setup, teardown),
		cmocka_unit_test_setup_teardown(what_was_to_end_is_told_until_it_has, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_port_of_the_host, setup, teardown),
	};

	if (geteuid() != 0) {
		print_message("skipped: network namespaces need root\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
