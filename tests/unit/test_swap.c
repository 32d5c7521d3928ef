// links: overlay
/*
 * Rules are changed while clients connect, in the real kernel: none is refused. A packet that began
 * its way through the old rules may look an element up as the new ones become valid, and finds it in
 * neither; so what is chosen by an element has a choice without one, and maps are not made anew.
 */
#include "overlay/lb.h"
#include "tests/unit/gate_world.h"
#include "tests/unit/rules_world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

enum { STRESS_MS = 1000, NET = 78, VIP = 0x0a090101 /* 10.9.1.1 */ };

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
	struct rules_world rules;
	struct helper client, servers[3];
	size_t n_servers;
	void *row; /* of the test's table */
};

static int setup(void **state)
{
	struct world *w = sw_new(struct world);

	w->row = *state;
	rules_enter(&w->rules);
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
	rules_leave(&w->rules);
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
	struct seen_view seen;
	struct lb *lb;
	uint64_t shown;
};

static void show_backends(struct world *w, struct lb_world *l, unsigned round)
{
	struct sw_buf text = SW_BUF_INIT(TEXT_MAX);

	lb_refresh(l->lb, l->seen.v, round);
	lb_text(l->lb, l->shown, &text);
	rules_load(&w->rules, &text);
	l->shown = lb_state(l->lb);
	lb_forget(l->lb, l->shown);
	sw_buf_fini(&text);
}

static void change_backends(struct world *w, void *arg, unsigned round)
{
	struct lb_world *l = arg;

	put_task(&l->seen, WEB, 3, VIP + 3, round % 2 == 0);
	show_backends(w, l, round);
}

/** From three tasks to one and back. */
static void change_two(struct world *w, void *arg, unsigned round)
{
	struct lb_world *l = arg;

	put_task(&l->seen, WEB, 2, VIP + 2, round % 4 >= 2);
	change_backends(w, l, round);
}

/** Another service comes, with none to three tasks, and goes. */
static void change_others(struct world *w, void *arg, unsigned round)
{
	struct lb_world *l = arg;

	if (round % 8 == 7)
		see_no_service(&l->seen, OTHER);
	else
		put_service(&l->seen, OTHER, VIP + 100, 0);
	for (uint32_t i = 0; i < 3; i++)
		put_task(&l->seen, OTHER, 10 + i, VIP + 10 + i, round % 4 <= i);
	show_backends(w, l, round);
}

static void a_virtual_address(void **state)
{
	struct world *w = *state;
	struct lb_world l = {.lb = lb_new(NET)};

	see_network(&l.seen, NET);
	run("ip address add 10.9.1.1/32 dev lo");
	put_service(&l.seen, WEB, VIP, 0);
	for (uint32_t i = 1; i <= 3; i++) {
		run("ip address add 10.9.1.%u/32 dev lo", i + 1);
		w->servers[w->n_servers++] = helper_start(false, serve);
		serve_at(&w->servers[i - 1], addr_mapped(VIP + i), PORT);
		put_task(&l.seen, WEB, i, VIP + i, false);
	}
	w->client = helper_start(false, connect_on);
	show_backends(w, &l, 1);
	nobody_is_refused(w, addr_mapped(VIP), PORT, change_backends, &l);
	nobody_is_refused(w, addr_mapped(VIP), PORT, change_two, &l);
	nobody_is_refused(w, addr_mapped(VIP), PORT, change_others, &l);
	lb_free(l.lb);
	view_free(l.seen.v);
}

/* ---- published ports: the gate ---- */

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
}

static void show_gate(struct world *w, struct gate_world *g, unsigned round)
{
	struct sw_buf text = SW_BUF_INIT(TEXT_MAX);

	gate_next(g, round, &text);
	rules_load(&w->rules, &text);
	sw_buf_fini(&text);
}

static void change_tasks(struct world *w, void *arg, unsigned round)
{
	struct gate_world *g = arg;

	put_task(&g->seen, WEB, 3, 0, round % 2 == 0);
	show_gate(w, g, round);
}

static void change_ports(struct world *w, void *arg, unsigned round)
{
	struct gate_world *g = arg;

	if (round % 2 == 0)
		put_service(&g->seen, OTHER, 0, PUBLISHED + 1);
	else
		see_no_service(&g->seen, OTHER);
	show_gate(w, g, round);
}

static void change_nodes(struct world *w, void *arg, unsigned round)
{
	struct gate_world *g = arg;

	if (round % 2 == 0)
		put_node(&g->seen, SELF + 1, UNDERLAY + 1);
	else
		see_no_node(&g->seen, SELF + 1);
	show_gate(w, g, round);
}

/** From one service to another, in one update. */
static void move_port(struct world *w, void *arg, unsigned round)
{
	struct gate_world *g = arg;

	put_owner(&g->seen, WEB + round % 2);
	put_task(&g->seen, OTHER, 4, 0, false);
	show_gate(w, g, round);
}

/** From one service to one that comes as the other goes. */
static void hand_port_on(struct world *w, void *arg, unsigned round)
{
	struct gate_world *g = arg;

	put_owner(&g->seen, WEB + round % 2);
	see_no_service(&g->seen, WEB + (round + 1) % 2);
	for (uint64_t i = 1; i <= 4; i++)
		put_task(&g->seen, WEB + round % 2, i, 0, false);
	show_gate(w, g, round);
}

/** As an agent does that starts. */
static void take_over(struct world *w, void *arg, unsigned round)
{
	struct sw_buf text = SW_BUF_INIT(TEXT_MAX);
	struct gate_world *g = arg;

	put_task(&g->seen, WEB, 3, 0, round % 2 == 0);
	gate_refresh(g->gate, g->seen.v, UNDERLAY, round);
	gate_text_over(g->gate, &text);
	rules_load(&w->rules, &text);
	g->shown = gate_state(g->gate);
	sw_buf_fini(&text);
}

static struct row {
	const char *name;
	void (*change)(struct world *w, void *arg, unsigned round);
} rows[] = {
	{"a port whose tasks change", change_tasks},      {"a port beside another", change_ports},
	{"a port while nodes come and go", change_nodes}, {"a port that moves", move_port},
	{"a port that is handed on", hand_port_on},       {"a gate that is taken over", take_over},
};

static void at_the_gate(void **state)
{
	struct world *w = *state;
	const struct row *r = w->row;
	struct gate_world g;

	make_gate(w);
	gate_world_init(&g);
	put_service(&g.seen, WEB, 0, PUBLISHED);
	for (uint64_t i = 1; i <= 3; i++)
		put_task(&g.seen, WEB, i, 0, false);
	show_gate(w, &g, 0);
	nobody_is_refused(w, addr_mapped(plan_identity(SELF)), PUBLISHED, r->change, &g);
	nobody_is_refused(w, addr_six(plan_identity(SELF)), PUBLISHED, r->change, &g);
	gate_world_fini(&g);
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
	rules_load(&w->rules, &text);
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
	struct CMUnitTest tests[SW_COUNT(rows) + 2] = {
		cmocka_unit_test_setup_teardown(a_virtual_address, setup, teardown),
		cmocka_unit_test_setup_teardown(a_port_of_the_host, setup, teardown),
	};

	for (size_t i = 0; i < SW_COUNT(rows); i++)
		tests[i + 2] =
			(struct CMUnitTest){rows[i].name, at_the_gate, setup, teardown, &rows[i]};
	if (geteuid() != 0) {
		print_message("skipped: network namespaces need root\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
