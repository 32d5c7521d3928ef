/* Channels to the managers and the agent, and the loop that waits for their answers. */
#include "cli/client.h"

#include "base/backoff.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/context.h"
#include "proto/local.pb-c.h"
#include "proto/msg.h"

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { AGAIN_MS = 10000, START_MS = 1000, START_POLL_MS = 50 };
enum { CALL_MS = 30000, CONNECT_MS = 4000, PROBE_MS = 6000, MAX_OBJECTS = 4 << 20 };

struct client {
	uv_loop_t loop;
	char *run_dir;
	struct context context;
	bool remote;
	struct rpc_tls *tls;
	struct rpc_channel *control, *local;
	/* The call that is waited for. */
	struct rpc_stream *stream;
	const struct client_stream_ops *ops;
	void *arg;
	bool over, stopped, interrupted, half_closed;
	struct sw_error status;
	uv_timer_t tick;
	uv_signal_t sigint, sigterm;
};

int client_new(const struct client_options *o, struct client **ret, struct sw_error *err)
{
	struct client *c = sw_new(struct client);
	int rc = 0;

	c->remote = !sw_is_empty(o->context);
	if (c->remote)
		rc = context_load(o->context, &c->context, err);
	if (rc == 0 && c->remote) {
		c->tls = rpc_tls_new(c->context.cert, c->context.key, c->context.ca, err);
		rc = c->tls == NULL ? err->code : 0;
	}
	if (rc != 0) {
		context_fini(&c->context);
		free(c);
		return rc;
	}
	c->run_dir = sw_strdup(o->run_dir);
	uv_loop_init(&c->loop);
	*ret = c;
	return 0;
}

void client_free(struct client *c)
{
	if (c == NULL)
		return;
	if (c->control != NULL)
		rpc_channel_close(c->control, NULL, NULL);
	if (c->local != NULL)
		rpc_channel_close(c->local, NULL, NULL);
	uv_run(&c->loop, UV_RUN_DEFAULT);
	uv_loop_close(&c->loop);
	if (c->tls != NULL)
		rpc_tls_unref(c->tls);
	context_fini(&c->context);
	free(c->run_dir);
	free(c);
}

/* ---- where to call ---- */

/* The channel retries for ever; whether anyone listens at all is better known at once. */
static int try_socket(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	sw_autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return errno;
	if (strlen(path) >= sizeof a.sun_path)
		return ENAMETOOLONG;
	memcpy(a.sun_path, path, strlen(path) + 1);
	return connect(fd, (struct sockaddr *)&a, sizeof a) == 0 ? 0 : errno;
}

static struct rpc_channel *open_channel(struct client *c, const char *address)
{
	const struct rpc_channel_options o = {
		.address = address, .tls = c->tls, .connect_ms = CONNECT_MS};

	return rpc_channel_new(&c->loop, &o);
}

static int open_unix(struct client *c, const char *path, struct rpc_channel **ret,
		     struct sw_error *err)
{
	sw_autofree char *address = sw_asprintf("unix:%s", path);
	const struct rpc_channel_options o = {.address = address};
	int sys = try_socket(path);

	if (sys != 0)
		return sw_fail_sys(err, sys, "%s", path);
	*ret = rpc_channel_new(&c->loop, &o);
	return 0;
}

static int open_local(struct client *c, struct sw_error *err)
{
	sw_autofree char *path = sw_asprintf("%s/agent.sock", c->run_dir);
	int rc;

	if (c->local != NULL)
		return 0;
	if (c->remote)
		return sw_fail(err, SW_EPRECOND,
			       "this command concerns one host: run it there, without a context");
	rc = open_unix(c, path, &c->local, err);
	if (rc == 0)
		return 0;
	if (err->sys == EACCES)
		return sw_fail(err, SW_EDENIED, "%s: permission denied: run it as root", path);
	return sw_fail(err, SW_EUNAVAIL,
		       "no agent answers at %s: is swarm-agentd running on this host?", path);
}

/* This host has no manager: say why, and where there is one. */
static int no_manager(struct client *c, const char *path, bool *ret_starting, struct sw_error *err)
{
	Pb__InfoRequest q = PB__INFO_REQUEST__INIT;
	Pb__InfoReply *r = NULL;
	int rc = open_local(c, err);

	*ret_starting = false;
	if (rc == 0)
		rc = client_call(c, METHOD_Info, &q.base, &r, err);
	if (rc != 0)
		return sw_fail(
			err, SW_EUNAVAIL,
			"neither a manager nor an agent answers in %s: is swarm-agentd running "
			"on this host? From elsewhere, use a context (swarmctl context --help)",
			c->run_dir);
	*ret_starting = r->in_cluster && r->role == PB__NODE_ROLE__MANAGER;
	if (!r->in_cluster)
		sw_fail(err, SW_EPRECOND,
			"this node is not in a cluster: run swarmctl init or swarmctl join first");
	else if (*ret_starting)
		sw_fail(err, SW_EUNAVAIL,
			"the manager of this node does not answer at %s: it may be starting", path);
	else
		sw_fail(err, SW_EPRECOND,
			"this node is not a manager: run this on %s%s or use a context",
			sw_is_empty(r->manager) ? "a manager" : "the manager at ", r->manager);
	msg_free(&r->base);
	return err->code;
}

/* A manager that has ended is started again by its agent, which takes a moment. */
static int open_manager(struct client *c, struct sw_error *err)
{
	sw_autofree char *path = sw_asprintf("%s/manager.sock", c->run_dir);
	uint64_t until = sw_mono_ms() + START_MS;
	bool starting;

	while (open_unix(c, path, &c->control, err) != 0) {
		if (err->sys == EACCES)
			return sw_fail(err, SW_EDENIED, "%s: permission denied: run it as root",
				       path);
		no_manager(c, path, &starting, err);
		if (!starting || sw_mono_ms() >= until)
			return err->code;
		usleep(START_POLL_MS * 1000);
	}
	return 0;
}

/* ---- one call ---- */

static void close_handle(void *h)
{
	if (!uv_is_closing(h))
		uv_close(h, NULL);
}

static void on_message(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct client *c = arg;

	(void)s;
	if (!c->stopped && c->ops->on_message != NULL)
		c->ops->on_message(m, c->arg);
}

static void on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	struct client *c = arg;

	(void)s;
	if (c->status.code == 0 && !c->stopped)
		c->status = *status;
	c->over = true;
	c->stream = NULL;
}

static void send_more(struct client *c)
{
	for (;;) {
		ProtobufCMessage *m = NULL;
		int rc;

		if (c->stream == NULL || c->stopped)
			return;
		rc = c->ops->next(&m, c->arg, &c->status);
		if (rc < 0) {
			rpc_stream_cancel(c->stream);
			return;
		}
		if (rc == 2)
			return;
		if (rc == 0) {
			c->half_closed = true;
			rpc_stream_half_close(c->stream);
			return;
		}
		if (!rpc_stream_send(c->stream, m)) {
			sw_fail(&c->status, SW_EFULL, "the other end takes no more");
			rpc_stream_cancel(c->stream);
			return;
		}
		/* Half the queue's bound: the next message always finds room. */
		if (rpc_stream_queued(c->stream) >= 256 * 1024)
			return;
	}
}

static void on_tick(uv_timer_t *t)
{
	struct client *c = t->data;

	if (c->ops->next != NULL && !c->half_closed && c->stream != NULL &&
	    rpc_stream_queued(c->stream) < 256 * 1024)
		send_more(c);
	if (!c->stopped && c->ops->on_tick != NULL)
		c->ops->on_tick(c->arg);
}

static void on_signal(uv_signal_t *s, int signum)
{
	struct client *c = s->data;

	(void)signum;
	c->interrupted = true;
	c->ops->on_interrupt(c->arg);
}

static void watch_signal(struct client *c, uv_signal_t *s, int signum)
{
	uv_signal_init(&c->loop, s);
	s->data = c;
	if (c->ops->on_interrupt != NULL)
		uv_signal_start(s, on_signal, signum);
}

void client_stop(struct client *c)
{
	if (c->stopped)
		return;
	c->stopped = true;
	if (c->stream != NULL)
		rpc_stream_cancel(c->stream);
}

/* A turn of calls is a struct of its own, so that one may be made from inside no_manager. */
static int run_call(struct client *c, struct rpc_channel *ch, enum cli_method m,
		    const ProtobufCMessage *request, const struct client_stream_ops *ops, void *arg,
		    struct sw_error *err)
{
	static const struct rpc_stream_ops stream_ops = {.on_message = on_message,
							 .on_end = on_end};
	uint64_t tick = ops->next != NULL ? 1 : ops->tick_ms;

	c->ops = ops;
	c->arg = arg;
	c->over = c->stopped = c->interrupted = c->half_closed = false;
	c->status = (struct sw_error){0};
	c->stream = rpc_call(ch, &cli_methods[m], ops->deadline_ms, &stream_ops, c);
	uv_timer_init(&c->loop, &c->tick);
	c->tick.data = c;
	if (tick != 0)
		uv_timer_start(&c->tick, on_tick, tick, tick);
	watch_signal(c, &c->sigint, SIGINT);
	watch_signal(c, &c->sigterm, SIGTERM);
	if (request != NULL) {
		if (!rpc_stream_send(c->stream, request))
			sw_fail(&c->status, SW_ETOOBIG, "the request is too large to send");
		rpc_stream_half_close(c->stream);
	}
	while (!c->over)
		uv_run(&c->loop, UV_RUN_ONCE);
	close_handle(&c->tick);
	close_handle(&c->sigint);
	close_handle(&c->sigterm);
	uv_run(&c->loop, UV_RUN_NOWAIT);
	if (c->status.code != 0)
		*err = c->status;
	return c->status.code;
}

static void keep_reply(const ProtobufCMessage *m, void *arg)
{
	ProtobufCMessage **slot = arg;

	if (*slot == NULL)
		*slot = msg_clone(m);
}

/* Connects to the first manager of the context that answers. */
static int open_remote(struct client *c, struct sw_error *err)
{
	struct sw_error first = {0};

	for (char **a = c->context.addresses; *a != NULL; a++) {
		Pb__Empty q = PB__EMPTY__INIT;
		const struct client_stream_ops ops = {.deadline_ms = PROBE_MS};
		struct rpc_channel *ch = open_channel(c, *a);
		int rc = run_call(c, ch, METHOD_ClusterGet, &q.base, &ops, NULL, err);

		/* Anything but silence is an answer. */
		if (rc == 0 || (rc != SW_EUNAVAIL && rc != SW_ETIMEOUT && rc != SW_EIO)) {
			c->control = ch;
			return 0;
		}
		if (first.code == 0)
			first = *err;
		rpc_channel_close(ch, NULL, NULL);
	}
	*err = first;
	sw_wrap(err, "none of the %zu managers of this context answers",
		sw_strv_len(c->context.addresses));
	return err->code;
}

static int open_control(struct client *c, struct sw_error *err)
{
	if (c->control != NULL)
		return 0;
	return c->remote ? open_remote(c, err) : open_manager(c, err);
}

int client_open(struct client *c, struct rpc_channel **ret, uv_loop_t **ret_loop,
		struct sw_error *err)
{
	int rc = open_control(c, err);

	*ret = c->control;
	*ret_loop = &c->loop;
	return rc;
}

void client_pause(struct sw_backoff *b)
{
	struct sw_rand r;

	sw_rand_init(&r, sw_rand_seed());
	usleep((useconds_t)sw_backoff_next(b, &r) * 1000);
}

/*
 * Managers come and go: an election, a manager that is started anew. What surely was not done, and
 * what may be done twice, is asked again for some seconds, from a laptop also of another manager.
 */
static bool may_ask_again(enum cli_method m, const struct sw_error *err)
{
	if (m >= METHOD_CONTROL_NR)
		return false;
	if (cli_methods[m].lead == RPC_LEADER_AGAIN)
		return err->code == SW_EUNAVAIL || err->code == SW_EUNKNOWN ||
		       err->code == SW_ENOTLEADER;
	return err->code == SW_ENOTLEADER;
}

struct again {
	uint64_t until;
	struct sw_backoff backoff;
};

static bool ask_again(struct client *c, enum cli_method m, struct again *a, struct sw_error *err)
{
	struct sw_error none;

	if (!may_ask_again(m, err) || c->control == NULL || c->interrupted)
		return false;
	if (a->until == 0)
		*a = (struct again){.until = sw_mono_ms() + AGAIN_MS,
				    .backoff = {.first_ms = 50, .max_ms = 1000}};
	if (sw_mono_ms() >= a->until)
		return false;
	client_pause(&a->backoff);
	if (c->remote) {
		struct rpc_channel *old = c->control;

		c->control = NULL;
		if (open_remote(c, &none) == 0)
			rpc_channel_close(old, NULL, NULL);
		else
			c->control = old;
	}
	return true;
}

int client_stream(struct client *c, enum cli_method m, const ProtobufCMessage *request,
		  const struct client_stream_ops *ops, void *arg, struct sw_error *err)
{
	bool control = m < METHOD_CONTROL_NR;
	int rc = control ? open_control(c, err) : open_local(c, err);

	return rc != 0 ? rc
		       : run_call(c, control ? c->control : c->local, m, request, ops, arg, err);
}

int client_call(struct client *c, enum cli_method m, const ProtobufCMessage *request, void *ret,
		struct sw_error *err)
{
	const struct client_stream_ops ops = {.on_message = keep_reply, .deadline_ms = CALL_MS};
	ProtobufCMessage *reply = NULL;
	struct again again = {0};
	int rc;

	do {
		msg_free(reply);
		reply = NULL;
		rc = client_stream(c, m, request, &ops, &reply, err);
	} while (rc != 0 && ask_again(c, m, &again, err));
	if (rc == 0 && reply == NULL)
		rc = sw_fail(err, SW_EINTERNAL, "%s: answered with nothing", cli_methods[m].path);
	if (rc == 0)
		*(ProtobufCMessage **)ret = reply;
	else
		msg_free(reply);
	return rc;
}

/* ---- lists ---- */

const ProtobufCMessageDescriptor *client_kind(Pb__Kind kind)
{
	static const ProtobufCMessageDescriptor *const kinds[] = {
		[PB__KIND__KIND_CLUSTER] = &pb__cluster__descriptor,
		[PB__KIND__KIND_NODE] = &pb__node__descriptor,
		[PB__KIND__KIND_STACK] = &pb__stack__descriptor,
		[PB__KIND__KIND_SERVICE] = &pb__service__descriptor,
		[PB__KIND__KIND_REVISION] = &pb__revision__descriptor,
		[PB__KIND__KIND_TASK] = &pb__task__descriptor,
		[PB__KIND__KIND_IMAGE] = &pb__image__descriptor,
		[PB__KIND__KIND_NETWORK] = &pb__network__descriptor,
		[PB__KIND__KIND_SECRET] = &pb__secret__descriptor,
		[PB__KIND__KIND_CONFIG] = &pb__config__descriptor,
		[PB__KIND__KIND_VOLUME] = &pb__volume__descriptor,
		[PB__KIND__KIND_REGISTRY] = &pb__registry__descriptor,
		[PB__KIND__KIND_OPERATOR] = &pb__operator__descriptor,
		[PB__KIND__KIND_EVENT] = &pb__event__descriptor,
		[PB__KIND__KIND_STACK_GENERATION] = &pb__stack_generation__descriptor,
	};

	return kind > 0 && (size_t)kind < SW_COUNT(kinds) ? kinds[kind] : NULL;
}

struct collect {
	const ProtobufCMessageDescriptor *d;
	struct objects o;
	size_t cap;
	bool bad;
};

static void collect_page(const ProtobufCMessage *m, void *arg)
{
	const Pb__ListReply *r = (const Pb__ListReply *)m;
	struct collect *k = arg;

	for (size_t i = 0; i < r->n_objects; i++) {
		ProtobufCMessage *x = msg_unpack(k->d, r->objects[i].data, r->objects[i].len);

		if (x == NULL || k->o.n >= MAX_OBJECTS) {
			msg_free(x);
			k->bad = true;
			return;
		}
		sw_grow(k->o.v, k->cap, k->o.n + 1);
		k->o.v[k->o.n++] = x;
	}
}

void objects_fini(struct objects *o)
{
	for (size_t i = 0; i < o->n; i++)
		msg_free(o->v[i]);
	free(o->v);
	*o = (struct objects){0};
}

int client_list(struct client *c, const Pb__ListRequest *request, struct objects *ret,
		struct sw_error *err)
{
	static const struct client_stream_ops ops = {.on_message = collect_page,
						     .deadline_ms = CALL_MS};
	struct collect k = {.d = client_kind(request->kind)};
	struct again again = {0};
	int rc;

	do {
		objects_fini(&k.o);
		k.cap = 0;
		k.bad = false;
		rc = client_stream(c, METHOD_List, &request->base, &ops, &k, err);
	} while (rc != 0 && ask_again(c, METHOD_List, &again, err));
	if (rc == 0 && k.bad)
		rc = sw_fail(err, SW_ECORRUPT,
			     "the list from the manager can't be read: is it of another version?");
	if (rc == 0)
		*ret = k.o;
	else
		objects_fini(&k.o);
	return rc;
}

int client_get(struct client *c, Pb__Kind kind, const char *ref, void *ret, struct sw_error *err)
{
	Pb__ListRequest q = PB__LIST_REQUEST__INIT;
	struct objects o = {0};
	int rc;

	if (ref[0] == 0)
		return sw_fail(err, SW_EINVAL, "an empty name names nothing");
	q.kind = kind;
	q.ref = (char *)ref;
	rc = client_list(c, &q, &o, err);
	if (rc == 0 && o.n != 1)
		rc = sw_fail(err, SW_ENOTFOUND, "not found: %s", ref);
	if (rc == 0) {
		*(ProtobufCMessage **)ret = o.v[0];
		o.v[0] = NULL;
		o.n = 0;
	}
	objects_fini(&o);
	return rc;
}
