#include "overlay/dns_server.h"

#include "base/fs.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/str.h"
#include "overlay/dns_zone.h"

#include <stdio.h>
#include <string.h>

enum {
	UPSTREAMS = 3,
	PATIENCE_MS = 4000,
	IN_FLIGHT = 1024,
	NETWORKS = 64,
	UDP_OUT = 4096,
	RESOLV_MAX = 64 << 10
};

struct dns_server {
	uv_loop_t *loop;
	struct sw_closer *closer;
	char **upstreams;
	dns_views_fn *views;
	void *arg;
	struct sw_rand rand;
	unsigned in_flight;
	unsigned boxes; /* whose handles are not closed yet */
	char in[DNS_MAX + 1];
};

struct dns_box {
	struct dns_server *d;
	uint64_t task_id;
	uv_udp_t udp;
	struct sw_list asks;
	char **upstreams;
	bool forward, closing;
};

/** A query on its way to the upstream servers; its own socket, so that its port is random. */
struct ask {
	struct sw_list link; /* of the box; not linked when the box is gone */
	struct dns_server *d;
	struct dns_box *box;
	uv_udp_t udp;
	struct sw_timer timer;
	struct sockaddr_storage from;
	struct dns_query q;
	uint8_t *query;
	size_t n;
	unsigned tries, open; /* handles open */
	bool closing;
};

static char **read_resolv(void)
{
	sw_autofree char *text = NULL;
	char **v = NULL, **lines;

	if (sw_read_file("/etc/resolv.conf", RESOLV_MAX, &text, NULL, NULL) < 0)
		return NULL;
	lines = sw_strv_split(text, '\n');
	for (char **l = lines; *l != NULL && sw_strv_len(v) < UPSTREAMS; l++) {
		char address[64];

		if (sscanf(*l, "nameserver %63[0-9a-fA-F.:]", address) == 1)
			v = sw_strv_add(v, address);
	}
	sw_strv_free(lines);
	return v;
}

struct dns_server *dns_server_new(uv_loop_t *loop, struct sw_closer *closer, char *const *upstreams,
				  dns_views_fn *views, void *arg)
{
	struct dns_server *d = sw_new(struct dns_server);

	d->loop = loop;
	d->closer = closer;
	d->views = views;
	d->arg = arg;
	sw_rand_init(&d->rand, sw_rand_seed());
	for (; upstreams != NULL && *upstreams != NULL; upstreams++)
		d->upstreams = sw_strv_add(d->upstreams, *upstreams);
	if (d->upstreams == NULL)
		d->upstreams = read_resolv();
	sw_closer_hold(closer);
	return d;
}

static void maybe_free(struct dns_server *d)
{
	struct sw_closer *c = d->closer;

	if (d->views != NULL || d->in_flight > 0 || d->boxes > 0)
		return;
	sw_strv_free(d->upstreams);
	free(d);
	sw_closer_drop(c);
}

void dns_server_close(struct dns_server *d)
{
	d->views = NULL;
	maybe_free(d);
}

/* ---- forwarding ---- */

static void ask_closed(struct ask *a)
{
	struct dns_server *d = a->d;

	if (--a->open > 0)
		return;
	free(a->query);
	free(a);
	d->in_flight--;
	maybe_free(d);
}

static void ask_on_udp_close(uv_handle_t *h)
{
	ask_closed(container_of((uv_udp_t *)h, struct ask, udp));
}

static void ask_on_timer_close(uv_handle_t *h)
{
	ask_closed(container_of((uv_timer_t *)h, struct ask, timer.uv));
}

static void ask_end(struct ask *a)
{
	if (a->closing)
		return;
	a->closing = true;
	sw_list_remove(&a->link);
	uv_close((uv_handle_t *)&a->udp, ask_on_udp_close);
	uv_close((uv_handle_t *)&a->timer.uv, ask_on_timer_close);
}

static void reply(struct dns_box *b, const struct sockaddr *to, uint8_t *p, size_t n)
{
	uv_buf_t buf = uv_buf_init((char *)p, (unsigned)n);

	/* As on any network: what does not go out now is lost, and asked again. */
	uv_udp_try_send(&b->udp, &buf, 1, to);
}

static void reply_code(struct dns_box *b, const struct sockaddr *to, const uint8_t *query,
		       const struct dns_query *q, uint8_t rcode)
{
	struct dns_answer a = {.rcode = rcode};
	uint8_t out[DNS_UDP];

	reply(b, to, out, dns_write_answer(query, q, &a, out, sizeof out));
}

/* Nobody outside answers. A name without a dot is of the cluster or of nobody. */
static uint8_t unanswered(const struct dns_query *q)
{
	return strchr(q->name, '.') == NULL ? DNS_NXDOMAIN : DNS_SERVFAIL;
}

static void ask_send(struct ask *a)
{
	char **servers = a->box->upstreams != NULL ? a->box->upstreams : a->d->upstreams;
	unsigned n = (unsigned)sw_strv_len(servers);
	uv_buf_t buf = uv_buf_init((char *)a->query, (unsigned)a->n);
	struct sockaddr_in to;

	while (a->tries < n && a->tries < UPSTREAMS) {
		uv_udp_connect(&a->udp, NULL);
		if (uv_ip4_addr(servers[a->tries++], 53, &to) == 0 &&
		    uv_udp_connect(&a->udp, (struct sockaddr *)&to) == 0 &&
		    uv_udp_try_send(&a->udp, &buf, 1, NULL) >= 0) {
			sw_timer_set(&a->timer, PATIENCE_MS);
			return;
		}
	}
	a->query[0] = (uint8_t)(a->q.id >> 8); /* as the container asked, not as we did */
	a->query[1] = (uint8_t)a->q.id;
	reply_code(a->box, (struct sockaddr *)&a->from, a->query, &a->q, unanswered(&a->q));
	ask_end(a);
}

static void ask_on_timer(struct sw_timer *t)
{
	ask_send(container_of(t, struct ask, timer));
}

static void server_alloc(uv_handle_t *h, size_t want, uv_buf_t *buf)
{
	struct dns_server *d = h->data;

	(void)want;
	*buf = uv_buf_init(d->in, sizeof d->in);
}

static void ask_on_recv(uv_udp_t *udp, ssize_t n, const uv_buf_t *buf, const struct sockaddr *from,
			unsigned flags)
{
	struct ask *a = container_of(udp, struct ask, udp);

	if (n < 0) { /* refused: the next one */
		ask_send(a);
		return;
	}
	if (from == NULL || (flags & UV_UDP_PARTIAL) != 0 ||
	    !dns_is_answer(a->query, a->n, a->q.question_end, (uint8_t *)buf->base, (size_t)n))
		return;
	buf->base[0] = (char)(a->q.id >> 8);
	buf->base[1] = (char)a->q.id;
	reply(a->box, (struct sockaddr *)&a->from, (uint8_t *)buf->base, (size_t)n);
	ask_end(a);
}

static void forward(struct dns_box *b, const uint8_t *p, size_t n, const struct dns_query *q,
		    const struct sockaddr *from)
{
	struct dns_server *d = b->d;
	struct ask *a;
	uint16_t id;

	if (!b->forward || (b->upstreams == NULL && d->upstreams == NULL) ||
	    d->in_flight >= IN_FLIGHT) {
		reply_code(b, from, p, q, d->in_flight < IN_FLIGHT ? unanswered(q) : DNS_SERVFAIL);
		return;
	}
	a = sw_new(struct ask);
	a->d = d;
	a->box = b;
	a->q = *q;
	a->query = sw_memdup(p, n);
	a->n = n;
	memcpy(&a->from, from, sizeof(struct sockaddr_in));
	sw_rand_secret(&id, sizeof id);
	memcpy(a->query, &id, sizeof id);
	uv_udp_init(d->loop, &a->udp);
	a->udp.data = d;
	sw_timer_init(&a->timer, d->loop, NULL, ask_on_timer);
	a->open = 2;
	d->in_flight++;
	sw_list_append(&b->asks, &a->link);
	/* "Host unreachable" is told too, not only "port unreachable". */
	uv_udp_bind(&a->udp, (struct sockaddr *)&(struct sockaddr_in){.sin_family = AF_INET},
		    UV_UDP_LINUX_RECVERR);
	uv_udp_recv_start(&a->udp, server_alloc, ask_on_recv);
	ask_send(a);
}

/* ---- a sandbox ---- */

static void box_on_recv(uv_udp_t *udp, ssize_t n, const uv_buf_t *buf, const struct sockaddr *from,
			unsigned flags)
{
	struct dns_box *b = container_of(udp, struct dns_box, udp);
	const uint8_t *p = (const uint8_t *)buf->base;
	const struct view *views[NETWORKS];
	struct zone_result z;
	struct dns_answer a = {.ttl = ZONE_TTL};
	struct dns_query q;
	uint8_t out[UDP_OUT];
	size_t k;

	if (n < DNS_HEADER || from == NULL || (flags & UV_UDP_PARTIAL) != 0 || (p[2] & 0x80) != 0)
		return;
	if (!dns_read_query(p, (size_t)n, &q)) {
		reply(b, from, out, dns_write_error(p, DNS_FORMERR, out));
		return;
	}
	if (q.opcode != 0) {
		reply(b, from, out, dns_write_error(p, DNS_NOTIMP, out));
		return;
	}
	k = b->d->views(b->d->arg, b->task_id, views, NETWORKS);
	if (zone_answer(views, k, &q, &b->d->rand, &z) == ZONE_FORWARD) {
		forward(b, p, (size_t)n, &q, from);
		return;
	}
	a.addresses = z.addresses;
	a.n_addresses = z.n;
	a.ptr = z.ptr[0] != 0 ? z.ptr : NULL;
	reply(b, from, out,
	      dns_write_answer(p, &q, &a, out, q.udp_size < UDP_OUT ? q.udp_size : UDP_OUT));
}

struct dns_box *dns_box_open(struct dns_server *d, uint64_t task_id, int udp,
			     char *const *upstreams, bool forward)
{
	struct dns_box *b = sw_new(struct dns_box);

	b->d = d;
	b->task_id = task_id;
	b->forward = forward;
	sw_list_init(&b->asks);
	for (; upstreams != NULL && *upstreams != NULL; upstreams++)
		b->upstreams = sw_strv_add(b->upstreams, *upstreams);
	uv_udp_init(d->loop, &b->udp);
	b->udp.data = d;
	uv_udp_open(&b->udp, udp);
	uv_udp_recv_start(&b->udp, server_alloc, box_on_recv);
	d->boxes++;
	return b;
}

static void box_on_close(uv_handle_t *h)
{
	struct dns_box *b = container_of((uv_udp_t *)h, struct dns_box, udp);
	struct dns_server *d = h->data;

	sw_strv_free(b->upstreams);
	free(b);
	d->boxes--;
	maybe_free(d);
}

void dns_box_close(struct dns_box *b)
{
	sw_list_each_safe (l, &b->asks)
		ask_end(sw_list_entry(l, struct ask, link));
	uv_close((uv_handle_t *)&b->udp, box_on_close);
}
