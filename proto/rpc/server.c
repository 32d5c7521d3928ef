/* Listeners, connections of a server, and the look-up of methods. */
#include "base/assert.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/rpc/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BACKLOG = 512, MAX_CONNECTIONS = 4096 };

struct listener {
	struct sw_list link;
	struct rpc_server *server;
	struct rpc_tls *tls; /* NULL: unix socket */
	char *path;          /* of the unix socket, to remove */
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t pipe;
	} uv;
};

/* ---- Life ---- */

static void add_table(struct rpc_server *s, const struct rpc_method *m, void *arg)
{
	for (; m->path != NULL; m++) {
		struct entry *e = sw_new(struct entry);

		SW_ASSERT(m->lead == RPC_ANY_MANAGER || m->kind == RPC_UNARY ||
			  m->kind == RPC_SERVER_STREAM);
		*e = (struct entry){.method = m, .arg = arg};
		free(sw_strmap_set(&s->methods, m->path, e));
	}
}

static void server_after(struct hub *h)
{
	struct rpc_server *s = container_of(h, struct rpc_server, hub);

	if (!s->closing || s->closed_hub || s->n_conns > 0 || h->n_streams > 0 ||
	    !sw_list_empty(&s->listeners))
		return;
	s->closed_hub = true;
	sw_timer_close(&s->grace);
	sw_timer_close(&s->look);
	hub_close(h);
}

static void server_on_grace(struct sw_timer *t)
{
	struct rpc_server *s = container_of(t, struct rpc_server, grace);
	struct sw_error e;

	sw_fail(&e, SW_EUNAVAIL, "the server has closed");
	sw_list_each_safe (l, &s->conns)
		conn_fail(sw_list_entry(l, struct conn, link), &e);
	hub_poke(&s->hub);
}

static void server_on_look(struct sw_timer *t)
{
	forward_look(container_of(t, struct rpc_server, look));
}

void rpc_server_leader_changed(struct rpc_server *s)
{
	if (!s->closing && !sw_list_empty(&s->forwards))
		sw_timer_set(&s->look, 0);
}

struct rpc_server *rpc_server_new(uv_loop_t *loop, const struct rpc_server_options *o)
{
	struct rpc_server *s = sw_new(struct rpc_server);

	s->o = *o;
	if (s->o.max_message == 0)
		s->o.max_message = RPC_MAX_MESSAGE;
	if (s->o.max_connections == 0)
		s->o.max_connections = MAX_CONNECTIONS;
	s->serving = true;
	sw_list_init(&s->conns);
	sw_list_init(&s->listeners);
	sw_list_init(&s->watchers);
	sw_list_init(&s->forwards);
	hub_init(&s->hub, loop, &s->closer, server_after);
	sw_timer_init(&s->grace, loop, &s->closer, server_on_grace);
	sw_timer_init(&s->look, loop, &s->closer, server_on_look);
	add_table(s, health_methods, s);
	for (const struct rpc_table *t = o->tables; t != NULL && t->methods != NULL; t++)
		add_table(s, t->methods, t->arg);
	s->o.tables = NULL;
	return s;
}

static void server_on_closed(struct sw_closer *closer)
{
	struct rpc_server *s = container_of(closer, struct rpc_server, closer);
	void (*cb)(void *) = s->close_cb;
	void *arg = s->close_arg;

	hub_fini(&s->hub);
	sw_strmap_fini(&s->methods, free);
	free(s);
	if (cb != NULL)
		cb(arg);
}

static void listener_on_close(uv_handle_t *h)
{
	struct listener *l = h->data;
	struct rpc_server *s = l->server;

	sw_list_remove(&l->link);
	rpc_tls_unref(l->tls);
	free(l->path);
	free(l);
	hub_poke(&s->hub);
}

static void listener_close(struct listener *l)
{
	if (l->path != NULL)
		unlink(l->path);
	uv_close(&l->uv.handle, listener_on_close);
}

void rpc_server_close(struct rpc_server *s, uint64_t grace_ms, void (*cb)(void *), void *arg)
{
	SW_ASSERT(!s->closing);
	s->closing = true;
	s->close_cb = cb;
	s->close_arg = arg;
	rpc_server_set_serving(s, false);
	sw_list_each (l, &s->listeners)
		listener_close(sw_list_entry(l, struct listener, link));
	sw_list_each_safe (l, &s->conns)
		conn_drain(sw_list_entry(l, struct conn, link));
	/* Watchers of the health service would hold the connections open for ever. */
	sw_list_each_safe (l, &s->watchers)
		rpc_stream_finish(sw_list_entry(l, struct rpc_stream, aux), NULL);
	forward_give_up(s);
	sw_timer_set(&s->grace, grace_ms);
	sw_closer_close(&s->closer, server_on_closed);
	hub_poke(&s->hub);
}

/* ---- Connections ---- */

static void on_conn_ready(struct conn *c)
{
	struct rpc_server *s = c->server;
	struct sw_error e = {0};

	if (s->o.admit != NULL && s->o.admit(s->o.arg, &c->peer, &e) != 0)
		conn_refuse(c, &e);
	else if (s->closing)
		conn_drain(c);
}

static void on_conn_gone(struct conn *c, const struct sw_error *why)
{
	(void)c, (void)why;
}

static void on_conn_free(struct conn *c)
{
	c->server->n_conns--;
	hub_poke(&c->server->hub);
}

static const struct conn_ops conn_ops = {
	.on_ready = on_conn_ready,
	.on_gone = on_conn_gone,
	.on_free = on_conn_free,
};

struct conn *server_new_conn(struct rpc_server *s)
{
	struct conn *c = conn_new(&s->hub, &conn_ops);

	c->server = s;
	c->max_message = s->o.max_message;
	s->n_conns++;
	sw_list_append(&s->conns, &c->link);
	return c;
}

static void name_of(const struct sockaddr_storage *a, char *out, size_t n)
{
	char ip[64] = "?";

	if (a->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)a;

		uv_ip6_name(in6, ip, sizeof ip);
		snprintf(out, n, "[%s]:%u", ip, ntohs(in6->sin6_port));
	} else {
		const struct sockaddr_in *in4 = (const struct sockaddr_in *)a;

		uv_ip4_name(in4, ip, sizeof ip);
		snprintf(out, n, "%s:%u", ip, ntohs(in4->sin_port));
	}
}

/* The kernel says who is at the other end of a unix socket. */
static int look_at_unix_peer(struct conn *c, struct sw_error *err)
{
	struct ucred cred;
	socklen_t n = sizeof cred;
	int fd;

	snprintf(c->address, sizeof c->address, "unix");
	if (uv_fileno(&c->uv.handle, &fd) != 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) != 0)
		return sw_fail(err, SW_EDENIED, "the kernel does not say who is calling");
	if (cred.uid != 0 && cred.uid != geteuid())
		return sw_fail(err, SW_EDENIED, "user %u may not use this socket; be root",
			       (unsigned)cred.uid);
	c->peer.role = RPC_ROLE_LOCAL;
	snprintf(c->name, sizeof c->name, "local");
	return 0;
}

static void start_conn(struct listener *l, struct conn *c)
{
	struct sockaddr_storage a;
	struct sw_error e;
	int n = sizeof a, rc;

	if (c->is_unix) {
		rc = look_at_unix_peer(c, &e);
		if (rc == 0)
			conn_start(c, NULL);
		else
			conn_fail(c, &e);
		return;
	}
	if (uv_tcp_getpeername(&c->uv.tcp, (struct sockaddr *)&a, &n) == 0)
		name_of(&a, c->address, sizeof c->address);
	sw_timer_set(&c->timer, RPC_HANDSHAKE_MS);
	conn_start(c, rpc_tls_ctx(l->tls));
	if (!c->dead)
		rpc_tls_prepare(l->tls, c);
}

static void listener_on_connection(uv_stream_t *stream, int status)
{
	struct listener *l = stream->data;
	struct rpc_server *s = l->server;
	struct sw_error e;
	struct conn *c;
	int rc;

	if (status < 0)
		return;
	c = server_new_conn(s);
	c->is_unix = l->tls == NULL;
	rc = c->is_unix ? uv_pipe_init(s->hub.loop, &c->uv.pipe, 0)
			: uv_tcp_init(s->hub.loop, &c->uv.tcp);
	SW_ASSERT(rc == 0);
	c->uv.handle.data = c;
	rc = uv_accept(stream, &c->uv.stream);
	if (rc != 0)
		sw_fail_uv(&e, rc, "accept");
	else if (s->n_conns > s->o.max_connections)
		rc = sw_fail(&e, SW_EFULL, "over %u connections", s->o.max_connections);
	if (rc != 0)
		conn_fail(c, &e);
	else
		start_conn(l, c);
}

/* ---- Listening ---- */

static struct listener *listener_new(struct rpc_server *s)
{
	struct listener *l = sw_new(struct listener);

	l->server = s;
	sw_list_append(&s->listeners, &l->link);
	return l;
}

static int parse_address(const char *address, struct sockaddr_storage *ret, struct sw_error *err)
{
	const char *colon = strrchr(address, ':');
	char host[64];
	uint64_t port;
	size_t n;

	if (colon == NULL || !sw_parse_u64(colon + 1, 65535, &port))
		return sw_fail(err, SW_EINVAL, "%s is not address:port", address);
	n = (size_t)(colon - address);
	if (n >= 2 && address[0] == '[' && address[n - 1] == ']') {
		address++;
		n -= 2;
	}
	if (n >= sizeof host)
		return sw_fail(err, SW_EINVAL, "%s is not address:port", address);
	memcpy(host, address, n);
	host[n] = 0;
	memset(ret, 0, sizeof *ret);
	if (uv_ip4_addr(host, (int)port, (struct sockaddr_in *)ret) == 0 ||
	    uv_ip6_addr(host, (int)port, (struct sockaddr_in6 *)ret) == 0)
		return 0;
	return sw_fail(err, SW_EINVAL, "%s is not an IP address with a port", address);
}

int rpc_server_listen_tls(struct rpc_server *s, const char *address, struct rpc_tls *tls,
			  struct sw_error *err)
{
	struct sockaddr_storage a;
	struct listener *l;
	int rc;

	if (!rpc_tls_can_serve(tls))
		return sw_fail(err, SW_EINVAL, "a server needs a certificate, its key and the CA");
	rc = parse_address(address, &a, err);
	if (rc != 0)
		return rc;
	l = listener_new(s);
	SW_ASSERT(uv_tcp_init(s->hub.loop, &l->uv.tcp) == 0);
	l->uv.handle.data = l;
	l->tls = rpc_tls_ref(tls);
	rc = uv_tcp_bind(&l->uv.tcp, (struct sockaddr *)&a, 0);
	if (rc == 0)
		rc = uv_listen(&l->uv.stream, BACKLOG, listener_on_connection);
	if (rc == 0)
		return 0;
	listener_close(l);
	return sw_fail_uv(err, rc, "cannot listen on %s", address);
}

int rpc_server_listen_unix(struct rpc_server *s, const char *path, unsigned mode,
			   struct sw_error *err)
{
	struct listener *l;
	struct stat st;
	int rc;

	if (strlen(path) >= 108)
		return sw_fail(err, SW_EINVAL, "the socket's path %s is over 107 bytes", path);
	if (lstat(path, &st) == 0) {
		if (!S_ISSOCK(st.st_mode))
			return sw_fail(err, SW_EEXIST, "%s is there and is no socket", path);
		unlink(path);
	}
	l = listener_new(s);
	SW_ASSERT(uv_pipe_init(s->hub.loop, &l->uv.pipe, 0) == 0);
	l->uv.handle.data = l;
	rc = uv_pipe_bind(&l->uv.pipe, path);
	if (rc == 0)
		l->path = sw_strdup(path);
	if (rc == 0 && chmod(path, (mode_t)mode) != 0)
		rc = -errno;
	if (rc == 0)
		rc = uv_listen(&l->uv.stream, BACKLOG, listener_on_connection);
	if (rc == 0)
		return 0;
	listener_close(l);
	return sw_fail_uv(err, rc, "cannot listen on %s", path);
}

int rpc_server_port(const struct rpc_server *s)
{
	sw_list_each (link, &s->listeners) {
		struct listener *l = sw_list_entry(link, struct listener, link);
		struct sockaddr_storage a;
		int n = sizeof a;

		if (l->tls != NULL &&
		    uv_tcp_getsockname(&l->uv.tcp, (struct sockaddr *)&a, &n) == 0)
			return ntohs(((struct sockaddr_in *)&a)->sin_port);
	}
	return 0;
}

void rpc_server_disconnect(struct rpc_server *s, uint64_t node_id)
{
	struct sw_error e;

	sw_fail(&e, SW_EREVOKED, "the node was removed from the cluster");
	sw_list_each_safe (l, &s->conns) {
		struct conn *c = sw_list_entry(l, struct conn, link);

		if (node_id != 0 && c->peer.node_id == node_id)
			conn_refuse(c, &e);
	}
}

void rpc_server_renew(struct rpc_server *s, uint64_t node_id)
{
	sw_list_each_safe (l, &s->conns) {
		struct conn *c = sw_list_entry(l, struct conn, link);

		if (node_id != 0 && c->peer.node_id == node_id)
			conn_drain(c);
	}
}

/* ---- Requests ---- */

static void refuse(struct rpc_stream *s, int code, const char *text)
{
	struct sw_error e;

	sw_fail(&e, code, "%s", text);
	rpc_stream_finish(s, &e);
}

static int check_role(const struct rpc_stream *s, const struct rpc_method *m, struct sw_error *err)
{
	static const enum rpc_role all[] = {RPC_ROLE_WORKER, RPC_ROLE_MANAGER, RPC_ROLE_OPERATOR,
					    RPC_ROLE_LOCAL, RPC_ROLE_NONE};
	const struct rpc_peer *p = rpc_stream_peer(s);
	char wanted[96] = "";

	if ((m->roles & (unsigned)p->role) != 0)
		return 0;
	for (size_t i = 0; i < SW_COUNT(all); i++) {
		size_t n = strlen(wanted);

		if ((m->roles & (unsigned)all[i]) != 0)
			snprintf(wanted + n, sizeof wanted - n, "%s%s", n > 0 ? " or " : "",
				 role_name(all[i]));
	}
	return sw_fail(err, p->role == RPC_ROLE_NONE ? SW_EAUTH : SW_EDENIED,
		       "%s is for the role %s, and the caller's is %s", m->path, wanted,
		       role_name(p->role));
}

void server_call(struct rpc_stream *s, const ProtobufCMessage *m)
{
	struct entry *e = sw_strmap_get(&s->server->methods, s->method->path);

	s->handled = true;
	s->method->handle(s, m, e->arg);
}

/* Passes the call on when it is the leader's; true when that (or a refusal) was done. */
static bool lead_elsewhere(struct rpc_stream *s)
{
	struct rpc_server *server = s->server;
	struct sw_error e = {0};

	if (s->method->lead == RPC_ANY_MANAGER || server->o.leader == NULL)
		return false;
	if (server->o.leader(server->o.arg, &e) == NULL && e.code == 0)
		return false;
	/* Two managers that disagree on who leads must not play ping-pong. */
	if (s->as != NULL || rpc_stream_metadata(s, "swarm-forwarded") != NULL)
		refuse(s, SW_ENOTLEADER, "this manager does not lead any more; try again");
	else
		forward_to_leader(s);
	return true;
}

void server_accept(struct rpc_stream *s)
{
	struct entry *entry = s->path != NULL ? sw_strmap_get(&s->server->methods, s->path) : NULL;
	struct sw_error e;
	char text[200];

	if (!s->is_post || s->content_type == NULL ||
	    sw_after(s->content_type, "application/grpc") == NULL) {
		refuse(s, SW_EINVAL, "not a gRPC request: POST of application/grpc is");
		return;
	}
	if (entry == NULL) {
		snprintf(text, sizeof text, "no method %.150s here", s->path);
		refuse(s, SW_EUNSUPP, text);
		return;
	}
	s->as = forward_caller(s);
	if (check_role(s, entry->method, &e) != 0) {
		rpc_stream_finish(s, &e);
		return;
	}
	s->method = entry->method;
	if (lead_elsewhere(s))
		return;
	if (s->method->kind == RPC_CLIENT_STREAM || s->method->kind == RPC_BIDI)
		server_call(s, NULL);
}
