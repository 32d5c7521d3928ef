/*
 * The wire test's server: wire_server FOLDER. Makes a CA and certificates in FOLDER (ca.pem,
 * worker.pem/.key, manager.pem/.key), prints its port, serves until its standard input ends.
 */
#include "base/fs.h"
#include "base/mem.h"
#include "proto/pki/pki.h"
#include "proto/rpc/rpc.h"

#include <stdio.h>
#include <string.h>
#include <wire.pb-c.h>

#define DAY_MS (24LL * 3600 * 1000)

static void die(const struct sw_error *e)
{
	fprintf(stderr, "wire_server: %s\n", e->msg);
	exit(1);
}

static void do_unary(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	(void)arg;
	rpc_stream_reply(s, m);
}

/* ---- Server stream: `count` times the same message ---- */

struct many {
	ProtobufCBinaryData data;
	uint32_t at, count;
};

static void many_go(struct rpc_stream *s, void *arg)
{
	struct many *n = arg;

	for (; n->at < n->count; n->at++) {
		Wire__Msg m = WIRE__MSG__INIT;

		m.data = n->data;
		m.count = n->at + 1;
		if (!rpc_stream_send(s, &m.base))
			return;
	}
	rpc_stream_finish(s, NULL);
}

static void many_on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	struct many *n = arg;

	(void)s, (void)status;
	free(n->data.data);
	free(n);
}

static const struct rpc_stream_ops many_ops = {.on_writable = many_go, .on_end = many_on_end};

static void do_server(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	const Wire__Msg *q = (const Wire__Msg *)m;
	struct many *n = sw_new(struct many);

	(void)arg;
	n->count = q->count;
	if (q->data.len > 0)
		n->data.data = sw_memdup(q->data.data, q->data.len);
	n->data.len = q->data.len;
	rpc_stream_set_ops(s, &many_ops, n);
	many_go(s, n);
}

/* ---- Client stream: the number of messages and their bytes ---- */

static void count_on_message(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct many *n = arg;

	(void)s, (void)m;
	n->count++;
}

static void count_on_half_close(struct rpc_stream *s, void *arg)
{
	struct many *n = arg;
	Wire__Msg m = WIRE__MSG__INIT;

	m.count = n->count;
	rpc_stream_reply(s, &m.base);
}

static const struct rpc_stream_ops count_ops = {
	.on_message = count_on_message,
	.on_half_close = count_on_half_close,
	.on_end = many_on_end,
};

static void do_client(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	(void)m, (void)arg;
	rpc_stream_set_ops(s, &count_ops, sw_new(struct many));
}

/* ---- Bidi: each message back ---- */

static void bidi_on_message(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	(void)arg;
	if (!rpc_stream_send(s, m))
		rpc_stream_cancel(s);
}

static void bidi_on_half_close(struct rpc_stream *s, void *arg)
{
	(void)arg;
	rpc_stream_finish(s, NULL);
}

static const struct rpc_stream_ops bidi_ops = {
	.on_message = bidi_on_message,
	.on_half_close = bidi_on_half_close,
};

static void do_bidi(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	(void)m;
	rpc_stream_set_ops(s, &bidi_ops, arg);
}

static void do_error(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct sw_error e;

	(void)m, (void)arg;
	sw_fail(&e, SW_ENOTFOUND, "no 100%% m\xc3\xa4tch");
	rpc_stream_finish(s, &e);
}

static void slow_on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	(void)s, (void)arg;
	printf("end %s\n", sw_code_name(status->code));
	fflush(stdout);
}

static const struct rpc_stream_ops slow_ops = {.on_end = slow_on_end};

/* Never answers: deadline or cancel ends it. */
static void do_slow(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	(void)m;
	rpc_stream_set_ops(s, &slow_ops, arg);
}

#define MEMBERS (RPC_ROLE_WORKER | RPC_ROLE_MANAGER | RPC_ROLE_LOCAL)
#define ROW(name, k, r, fn)                                                               \
	{                                                                                 \
		.path = "/wire.Echo/" name, .in = &wire__msg__descriptor,                 \
		.out = &wire__msg__descriptor, .kind = (k), .roles = (r), .handle = (fn), \
	}

static const struct rpc_method methods[] = {
	ROW("Unary", RPC_UNARY, MEMBERS, do_unary),
	ROW("Server", RPC_SERVER_STREAM, MEMBERS, do_server),
	ROW("Client", RPC_CLIENT_STREAM, MEMBERS, do_client),
	ROW("Bidi", RPC_BIDI, MEMBERS, do_bidi),
	ROW("Error", RPC_UNARY, MEMBERS, do_error),
	ROW("Slow", RPC_UNARY, MEMBERS, do_slow),
	ROW("Manager", RPC_UNARY, RPC_ROLE_MANAGER, do_unary),
	{0},
};

/* ---- Certificates ---- */

static void put(const char *folder, const char *name, const char *text)
{
	sw_autofree char *path = sw_asprintf("%s/%s", folder, name);
	struct sw_error e;

	if (sw_write_file_fast(path, text, strlen(text), 0600, &e) != 0)
		die(&e);
}

static void issue(const char *folder, const char *ca, const char *ca_key, const char *name,
		  const char *ou, char **ret_cert, char **ret_key)
{
	sw_autofree char *file_cert = sw_asprintf("%s.pem", name);
	sw_autofree char *file_key = sw_asprintf("%s.key", name);
	sw_autofree char *csr = NULL;
	struct sw_error e;

	if (pki_new_request(ret_key, &csr, &e) != 0 ||
	    pki_sign(ca, ca_key, csr, "0000000000abc", ou, "wire", DAY_MS, ret_cert, &e) != 0)
		die(&e);
	put(folder, file_cert, *ret_cert);
	put(folder, file_key, *ret_key);
}

static struct rpc_tls *make_tls(const char *folder)
{
	char *ca, *ca_key, *cert, *key, *worker, *worker_key;
	struct rpc_tls *tls;
	struct sw_error e;

	if (pki_new_root("wire", &ca, &ca_key, &e) != 0)
		die(&e);
	put(folder, "ca.pem", ca);
	issue(folder, ca, ca_key, "manager", PKI_OU_MANAGER, &cert, &key);
	issue(folder, ca, ca_key, "worker", PKI_OU_WORKER, &worker, &worker_key);
	tls = rpc_tls_new(cert, key, ca, &e);
	if (tls == NULL)
		die(&e);
	free(ca);
	free(cert);
	free(worker);
	pki_free_key(ca_key);
	pki_free_key(key);
	pki_free_key(worker_key);
	return tls;
}

/* ---- Until standard input ends ---- */

static void on_closed(void *arg)
{
	(void)arg;
}

static void stdin_on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *buf)
{
	static char scrap[64];

	(void)h, (void)hint;
	*buf = uv_buf_init(scrap, sizeof scrap);
}

static void stdin_on_read(uv_stream_t *in, ssize_t n, const uv_buf_t *buf)
{
	(void)buf;
	if (n >= 0)
		return;
	uv_close((uv_handle_t *)in, NULL);
	rpc_server_close(in->data, 200, on_closed, NULL);
}

int main(int argc, char **argv)
{
	const struct rpc_table tables[] = {{methods, NULL}, {0}};
	const struct rpc_server_options o = {.tables = tables};
	struct rpc_server *s;
	struct rpc_tls *tls;
	struct sw_error e;
	uv_loop_t loop;
	uv_pipe_t in;

	if (argc != 2)
		return 2;
	uv_loop_init(&loop);
	tls = make_tls(argv[1]);
	s = rpc_server_new(&loop, &o);
	if (rpc_server_listen_tls(s, "127.0.0.1:0", tls, &e) != 0)
		die(&e);
	rpc_tls_unref(tls);
	uv_pipe_init(&loop, &in, 0);
	uv_pipe_open(&in, 0);
	in.data = s;
	uv_read_start((uv_stream_t *)&in, stdin_on_alloc, stdin_on_read);
	printf("port %d\n", rpc_server_port(s));
	fflush(stdout);
	uv_run(&loop, UV_RUN_DEFAULT);
	return uv_loop_close(&loop) == 0 ? 0 : 3;
}
