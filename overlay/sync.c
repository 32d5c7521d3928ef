#include "overlay/sync.h"

#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "overlay/flows.h"
#include "overlay/nlx.h"
#include "overlay/ns.h"
#include "overlay/rules.h"
#include "overlay/sync_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

struct sync *sync_new(const char *run_dir, const char *prefix)
{
	struct sync *s = sw_new(struct sync);

	s->run_dir = run_dir;
	s->prefix = prefix;
	return s;
}

void sync_free(struct sync *s)
{
	for (size_t i = 0; i < s->n_nets; i++)
		free(s->nets[i].plan.peers);
	for (size_t i = 0; i < s->n_boxes; i++) {
		free(s->boxes[i].plan.ifs);
		free(s->boxes[i].path);
	}
	for (size_t i = 0; i < s->n_drops; i++)
		free(s->drops[i].path);
	for (size_t i = 0; i < s->n_lbs; i++) {
		free(s->lbs[i].path);
		free(s->lbs[i].text);
		free(s->lbs[i].flows);
		free(s->lbs[i].states);
	}
	free(s->lbs);
	for (size_t i = 0; i < s->spent.n; i++)
		close(s->spent.fds[i]);
	free(s->spent.fds);
	free(s->host.peers);
	free(s->gate.text);
	free(s->gate.over);
	if (s->wire.text != NULL)
		explicit_bzero(s->wire.text, strlen(s->wire.text));
	free(s->wire.text);
	free(s->gate.flows);
	free(s->entries);
	free(s->nets);
	free(s->boxes);
	free(s->drops);
	free(s->ports);
	free(s);
}

char *sync_net_path(const char *run_dir, uint64_t network_id)
{
	return sw_asprintf("%s/netns/n-%s", run_dir, sw_id(network_id).s);
}

char *sync_gate_path(const char *run_dir)
{
	return sw_asprintf("%s/netns/gate", run_dir);
}

/* ---- one namespace ---- */

void place_fini(struct place *p)
{
	nlx_close(p->x);
	plan_state_fini(&p->state);
	sw_close_p(&p->fd);
	*p = (struct place){.fd = -1};
}

int place_load(struct place *p, struct sw_error *err)
{
	plan_state_fini(&p->state);
	return nlx_read(p->x, &p->state, err);
}

/** Opens what is at path, or makes it. */
int place_open(struct worker *w, struct place *p, const char *path, enum place_make make,
	       struct sw_error *err)
{
	struct sw_error why;
	int r = ns_open(path, &p->fd, &why);

	if (r == SW_ENOTFOUND && make != PLACE_FIND)
		r = ns_make(path, w->home, make == PLACE_MAKE_SIX, &p->fd, &why);
	if (r < 0)
		return sw_fail(err, why.code, "%s", why.msg);
	r = ns_enter(p->fd, err);
	if (r < 0)
		return r;
	r = nlx_open(&p->x, err);
	ns_return(w->home);
	return r < 0 ? r : place_load(p, err);
}

/** Carries out steps; those at the bridge on its socket, a VXLAN device on the host's. */
int perform(struct worker *w, struct place *bridge, struct place *box, const struct plan *p,
	    struct sw_error *err)
{
	struct nlx_places at = {bridge != NULL ? bridge->fd : -1, box != NULL ? box->fd : -1};
	struct nlx *last = NULL;
	int r = 0;

	for (size_t i = 0; i < p->n && r == 0; i++) {
		const struct plan_step *s = &p->steps[i];
		bool in_box = s->where == PLAN_IN_BOX || s->op == PLAN_ADD_VETH;
		struct nlx *x = s->op == PLAN_ADD_VXLAN ? w->host.x : in_box ? box->x : bridge->x;

		if (last != NULL && x != last)
			r = nlx_flush(last, err);
		if (r == 0)
			r = nlx_add(x, s, &at, err);
		last = x;
	}
	if (last != NULL) {
		int f = nlx_flush(last, r == 0 ? err : NULL);

		r = r == 0 ? f : r;
	}
	return r;
}

bool box_failed(const struct sync *s, uint64_t task_id)
{
	for (size_t i = 0; i < s->n_boxes; i++)
		if (s->boxes[i].plan.task_id == task_id)
			return s->boxes[i].err.code != 0;
	return false;
}

/* ---- networks ---- */

static struct place *find_place(struct worker *w, uint64_t id)
{
	if (id == 0)
		return &w->gate;
	for (size_t i = 0; i < w->n_places; i++)
		if (w->places[i].id == id)
			return &w->places[i];
	return NULL;
}

static struct place *get_place(struct worker *w, const struct sync *s, uint64_t id,
			       enum place_make make, struct sw_error *err)
{
	struct place *p = find_place(w, id), fresh = {.fd = -1, .id = id};
	sw_autofree char *path = NULL;

	if (p != NULL)
		return p;
	path = sync_net_path(s->run_dir, id);
	if (place_open(w, &fresh, path, make, err) < 0) {
		place_fini(&fresh);
		return NULL;
	}
	sw_grow(w->places, w->cap_places, w->n_places + 1);
	w->places[w->n_places] = fresh;
	return &w->places[w->n_places++];
}

static int do_net(struct worker *w, const struct sync *s, const struct plan_net *want,
		  struct sw_error *err)
{
	struct place *p = get_place(w, s, want->id, PLACE_MAKE, err);
	struct plan plan = {0};
	int r = 0;

	if (p == NULL)
		return SW_EIO;
	plan_net_diff(want, &p->state, &plan);
	if (plan.n > 0) {
		r = perform(w, p, NULL, &plan, err);
		if (r == 0)
			r = place_load(p, err);
	}
	plan_fini(&plan);
	return r;
}

/* ---- sandboxes ---- */

static int open_dns(struct worker *w, int ns, int *ret_fd, struct sw_error *err)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_port = htons(53),
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 10)};
	sw_autoclose int fd = -1;
	int e = 0, r;

	r = ns_enter(ns, err);
	if (r < 0)
		return r;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		e = errno;
	ns_return(w->home);
	if (fd < 0)
		return sw_fail_sys(err, e, "open the resolver's socket");
	if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0)
		return sw_fail_sys(err, errno, "take 127.0.0.11:53 in the sandbox");
	*ret_fd = take_fd(&fd);
	return 0;
}

static int do_interfaces(struct worker *w, const struct sync *s, const struct plan_box *want,
			 struct place *box, struct sw_error *err)
{
	struct plan all = {0};
	int r = 0;

	for (size_t i = 0; i < want->n_ifs && r == 0; i++) {
		uint64_t id = want->ifs[i].network_id;
		struct place *at = get_place(w, s, id, PLACE_FIND, err);
		struct plan p = {0};

		if (at == NULL)
			return SW_EIO;
		plan_if_diff(want, i, id == 0 ? "gw0" : "br0", &box->state, &at->state, &p);
		r = perform(w, at, box, &p, err);
		if (p.n > 0)
			all.n = 1;
		plan_fini(&p);
	}
	if (r == 0 && all.n > 0)
		r = place_load(box, err);
	all.n = 0;
	if (r == 0)
		plan_box_diff(want, &box->state, &all);
	if (r == 0)
		r = perform(w, NULL, box, &all, err);
	plan_fini(&all);
	return r;
}

static void spend(struct sync_spent *spent, int fd)
{
	sw_grow(spent->fds, spent->cap, spent->n + 1);
	spent->fds[spent->n++] = fd;
}

uint32_t rules_here(struct sync_spent *spent)
{
	int fd = rules_open();
	uint32_t generation = rules_generation(fd);

	if (fd >= 0 && spent != NULL)
		spend(spent, fd);
	else
		sw_close_p(&fd);
	return generation;
}

bool shows_rules(struct worker *w, struct sync_spent *spent, int ns, uint32_t generation)
{
	uint32_t now;

	if (generation == 0 || ns_enter(ns, NULL) < 0)
		return true;
	now = rules_here(spent);
	ns_return(w->home);
	return now == 0 || now == generation;
}

static int do_box(struct worker *w, const struct sync *s, struct sync_box *b, struct sw_error *err)
{
	struct place box = {.fd = -1};
	int r = 0;

	for (size_t i = 0; b->probe && i < s->n_ports && r == 0; i++)
		if (s->ports[i].task_id == b->plan.task_id)
			r = nat_probe(&s->ports[i], s->host.six, err);
	if (r == 0)
		r = place_open(w, &box, b->path, b->plan.six ? PLACE_MAKE_SIX : PLACE_MAKE, err);
	if (r == 0)
		r = do_interfaces(w, s, &b->plan, &box, err);
	if (r == 0)
		b->stray = !shows_rules(w, NULL, box.fd, b->rules);
	if (r == 0 && b->want_dns)
		r = open_dns(w, box.fd, &b->udp, err);
	place_fini(&box);
	return r;
}

/* ---- virtual addresses ---- */

static bool is_nft_socket(int fd)
{
	int domain = 0, protocol = 0;
	socklen_t n = sizeof domain, m = sizeof protocol;

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) == 0 && domain == AF_NETLINK &&
	       getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &m) == 0 &&
	       protocol == NETLINK_NETFILTER;
}

/* A socket belongs to the namespace in which the context is made, which opens one socket and does
 * not say which. It has the lowest free number, unless another thread was faster: then it is closed
 * here and now, for 10 ms. Kept open by a second number it ends when that is closed. */
int nft_here(struct sync_spent *spent, const char *commands, struct sw_error *err)
{
	int lowest = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0), kept;
	struct nft_ctx *ctx;
	int r;

	if (lowest >= 0)
		close(lowest);
	ctx = nft_ctx_new(NFT_CTX_DEFAULT);
	if (ctx == NULL)
		return sw_fail(err, SW_EIO, "libnftables does not start");
	r = nat_run(ctx, commands, NULL, err);
	kept = lowest >= 0 && is_nft_socket(lowest) ? fcntl(lowest, F_DUPFD_CLOEXEC, 0) : -1;
	nft_ctx_free(ctx);
	if (kept >= 0)
		spend(spent, kept);
	return r;
}

static int do_balance(struct worker *w, struct sync *s, struct sync_lb *b, struct sw_error *err)
{
	sw_autoclose int fd = -1;
	struct sw_error why;
	int r = ns_open(b->path, &fd, &why);

	if (r < 0)
		return sw_fail(err, why.code, "%s", why.msg);
	r = ns_enter(fd, err);
	if (r < 0)
		return r;
	r = nft_here(&s->spent, b->text, err);
	b->rules = rules_here(&s->spent);
	ns_forget_ended();
	if (r == 0)
		r = flows_end(b->flows, b->n_flows, err);
	ns_return(w->home);
	return r;
}

/* ---- removal ---- */

/** Takes its interfaces away first: a process that still lives in it would keep them, and a VXLAN
 *  device its number, until that process ends. */
static int do_drop(struct worker *w, const struct sync_drop *d, struct sw_error *err)
{
	struct place p = {.fd = -1};
	struct plan plan = {0};

	if (place_open(w, &p, d->path, PLACE_FIND, NULL) == 0) {
		for (size_t i = 0; i < p.state.n_links; i++) {
			const struct plan_link *l = &p.state.links[i];

			if (l->kind == PLAN_OTHER)
				continue;
			sw_grow(plan.steps, plan.cap, plan.n + 1);
			plan.steps[plan.n] = (struct plan_step){.op = PLAN_DEL_LINK};
			snprintf(plan.steps[plan.n++].name, PLAN_NAME, "%s", l->name);
		}
		if (perform(w, &p, NULL, &plan, err) < 0)
			err = NULL; /* the first reason counts; the mount goes all the same */
		plan_fini(&plan);
	}
	place_fini(&p);
	return ns_remove(d->path, err);
}

static void do_all_away(struct worker *w, const struct sync *s, struct sw_error *err)
{
	do_wire_away(w, &s->host);
	if (do_gate_away(w, s, err) == 0 && do_nat_away(w, s, err) == 0)
		err->code = 0;
}

static void drop(struct worker *w, struct sync *s, bool boxes)
{
	for (size_t i = 0; i < s->n_drops; i++)
		if (s->drops[i].box == boxes && do_drop(w, &s->drops[i], &s->err) < 0)
			continue; /* told in s->err; found again by the next start */
}

/* Networks first: one of the same number may wait to be made. */
static void bury(struct worker *w, struct sync *s)
{
	drop(w, s, false);
	drop(w, s, true);
	for (size_t i = 0; i < s->spent.n; i++)
		close(s->spent.fds[i]);
	s->spent.n = 0;
}

void sync_run(struct worker *w, struct sync *s)
{
	for (size_t i = 0; i < s->n_boxes; i++)
		s->boxes[i].udp = -1;
	if (s->burial || s->all_away) {
		bury(w, s);
		if (s->all_away)
			do_all_away(w, s, &s->err);
		return;
	}
	if (do_gate(w, s, &s->err) < 0)
		sw_wrap(&s->err, "the way to the outside");
	if (s->wire.want && do_wire(w, &s->host, &s->wire, &s->wire.err) < 0)
		sw_wrap(&s->wire.err, "encryption");
	for (size_t i = 0; i < s->n_nets; i++)
		if (s->nets[i].encrypted && s->wire.err.code != 0)
			s->nets[i].err = s->wire.err; /* not made, rather than made in clear */
		else if (do_net(w, s, &s->nets[i].plan, &s->nets[i].err) < 0)
			sw_wrap(&s->nets[i].err, "network %s", sw_id(s->nets[i].plan.id).s);
	for (size_t i = 0; i < s->n_boxes; i++) {
		struct sync_box *b = &s->boxes[i];

		if (do_box(w, s, b, &b->err) < 0)
			sw_wrap(&b->err, "sandbox of task %s", sw_id(b->plan.task_id).s);
	}
	for (size_t i = 0; i < s->n_lbs; i++) {
		struct sync_lb *b = &s->lbs[i];

		if (!box_failed(s, b->task_id) && do_balance(w, s, b, &b->err) < 0)
			sw_wrap(&b->err, "virtual addresses of task %s", sw_id(b->task_id).s);
	}
	if (s->gate.text != NULL && do_gate_ports(w, s, &s->gate.err) < 0)
		sw_wrap(&s->gate.err, "published ports in the gate");
	if (do_nat(w, s, &s->err) < 0)
		sw_wrap(&s->err, "published ports");
	for (size_t i = 0; i < w->n_places; i++)
		place_fini(&w->places[i]);
	w->n_places = 0;
}

int worker_init(struct worker *w, struct sw_error *err)
{
	*w = (struct worker){.host.fd = -1, .gate.fd = -1};
	w->home = ns_self();
	if (w->home < 0)
		return sw_fail_sys(err, errno, "open the own network namespace");
	w->host.fd = dup(w->home);
	return nlx_open(&w->host.x, err);
}

void worker_fini(struct worker *w)
{
	place_fini(&w->host);
	place_fini(&w->gate);
	free(w->places);
	nat_fini(w);
	sw_close_p(&w->home);
}
