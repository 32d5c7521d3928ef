/*
 * Snapshots between members. Sending: raft asks for one, we send its file in chunks, one in flight,
 * repeated until it is acknowledged. Receiving: chunks are put together in memory and raft gets one
 * InstallSnapshot when all is here.
 */
#include "base/mem.h"
#include "manager/consensus/core_internal.h"

#include <string.h>

enum {
	CHUNK_RETRY_MS = 400,
	RESULT_MS = 2000, /* from the last chunk to raft's own answer: the install is in between */
};

static struct asked *asked_find(struct cons_core *c, uint64_t peer)
{
	struct asked *free_one = NULL;

	for (size_t i = 0; i < CONS_MEMBERS_MAX; i++) {
		if (c->asked[i].id == peer)
			return &c->asked[i];
		/* Members that are gone give their place. */
		if (c->asked[i].id == 0 ||
		    core_server(&c->raft.configuration, c->asked[i].id) == NULL)
			free_one = &c->asked[i];
	}
	if (free_one != NULL)
		*free_one = (struct asked){.id = peer};
	return free_one;
}

static void transfer_free(struct cons_core *c, struct transfer *t)
{
	c->io.snapshot_close(c->io.arg, t->snapshot);
	free(t);
}

static struct transfer **transfer_find(struct cons_core *c, uint64_t peer)
{
	struct transfer **t = &c->transfers;

	while (*t != NULL && (*t)->peer != peer)
		t = &(*t)->next;
	return t;
}

static void transfer_stop(struct cons_core *c, struct transfer **at, uint64_t patience_ms)
{
	struct transfer *t = *at;
	struct asked *a = asked_find(c, t->peer);

	if (a != NULL)
		a->over = c->now + patience_ms;
	*at = t->next;
	transfer_free(c, t);
}

void transfer_stop_all(struct cons_core *c)
{
	while (c->transfers != NULL)
		transfer_stop(c, &c->transfers, 0);
	memset(c->asked, 0, sizeof c->asked);
}

uint64_t transfer_lost(struct cons_core *c, uint64_t peer)
{
	struct asked *a = asked_find(c, peer);
	uint64_t index;

	if (a == NULL || a->index == 0 || c->now < a->over || *transfer_find(c, peer) != NULL)
		return 0;
	index = a->index;
	a->index = 0;
	return index;
}

void transfer_matched(struct cons_core *c, uint64_t peer, uint64_t index)
{
	struct asked *a = asked_find(c, peer);

	if (a != NULL && index >= a->index)
		a->index = 0;
}

static void transfer_send(struct cons_core *c, struct transfer *t)
{
	size_t want = t->size - t->at < c->o.chunk ? (size_t)(t->size - t->at) : c->o.chunk;
	struct cons_frame f = {.type = CONS_F_SNAPSHOT, .term = raft_current_term(&c->raft)};
	sw_autofree uint8_t *p = sw_alloc(want + 1);

	t->sent = c->now;
	if (c->snap.index != t->index)
		return; /* the configuration that belongs to it is gone: transfer_tick ends it */
	if (want > 0 && c->io.snapshot_read(c->io.arg, t->snapshot, t->at, p, want) != want)
		return;
	f.snapshot.index = t->index;
	f.snapshot.last_term = c->snap.term;
	f.snapshot.conf_index = c->snap.conf_index;
	f.snapshot.conf = c->snap.conf;
	f.snapshot.conf_n = (uint32_t)c->snap.conf_n;
	f.snapshot.total = t->size;
	f.snapshot.at = t->at;
	f.snapshot.p = p;
	f.snapshot.n = (uint32_t)want;
	core_send(c, t->peer, t->address, &f);
}

void transfer_begin(struct cons_core *c, uint64_t peer, const char *address, uint64_t index)
{
	struct transfer **at = transfer_find(c, peer);
	struct asked *a = asked_find(c, peer);
	struct transfer *t;

	if (a != NULL)
		*a = (struct asked){peer, index, c->now};
	/* S9: each heartbeat that the peer refuses meanwhile asks again. */
	if (*at != NULL && guard(c, CONS_S9))
		return;
	if (*at != NULL)
		transfer_stop(c, at, 0);
	if (c->snap.index != index)
		return;
	t = sw_new(struct transfer);
	t->peer = peer;
	t->index = index;
	t->begun = c->now;
	strncpy(t->address, address, sizeof t->address - 1);
	t->snapshot = c->io.snapshot_open(c->io.arg, index, &t->size);
	if (t->snapshot == NULL) {
		free(t);
		return;
	}
	t->next = c->transfers;
	c->transfers = t;
	transfer_send(c, t);
}

void transfer_ack(struct cons_core *c, uint64_t from, const struct cons_frame *f)
{
	struct transfer **at = transfer_find(c, from);
	struct transfer *t = *at;

	if (t == NULL || t->index != f->ack.index || f->term != raft_current_term(&c->raft))
		return;
	if (f->ack.have >= t->size) {
		transfer_stop(c, at, RESULT_MS);
		return;
	}
	/* A late acknowledgement of an earlier chunk is no reason to send again; one that is behind
	 * what we have sent for long means that the peer forgot (it restarted). */
	if (f->ack.have < t->at && c->now < t->sent + CHUNK_RETRY_MS)
		return;
	if (f->ack.have == t->at)
		return;
	t->at = f->ack.have;
	transfer_send(c, t);
}

void transfer_tick(struct cons_core *c)
{
	struct transfer **at = &c->transfers;

	while (*at != NULL) {
		struct transfer *t = *at;

		if (raft_state(&c->raft) != RAFT_LEADER || c->snap.index != t->index ||
		    core_server(&c->raft.configuration, t->peer) == NULL ||
		    c->now >= t->begun + c->o.install_ms) {
			transfer_stop(c, at, 0);
			continue;
		}
		if (c->now >= t->sent + CHUNK_RETRY_MS) {
			transfer_send(c, t);
		}
		at = &t->next;
	}
}

uint64_t transfer_next(const struct cons_core *c)
{
	uint64_t next = UINT64_MAX;

	for (const struct transfer *t = c->transfers; t != NULL; t = t->next)
		if (t->sent + CHUNK_RETRY_MS < next)
			next = t->sent + CHUNK_RETRY_MS;
	return next;
}

void incoming_free(struct incoming *in)
{
	if (in == NULL)
		return;
	cons_meta_fini(&in->meta);
	free(in->p);
	free(in);
}

static void incoming_begin(struct cons_core *c, uint64_t from, const struct cons_frame *f)
{
	struct incoming *in = sw_new(struct incoming);

	incoming_free(c->incoming);
	c->incoming = in;
	in->from = from;
	in->term = f->term;
	in->total = (size_t)f->snapshot.total;
	in->meta.index = f->snapshot.index;
	in->meta.term = f->snapshot.last_term;
	in->meta.conf_index = f->snapshot.conf_index;
	in->meta.conf = sw_memdup(f->snapshot.conf, f->snapshot.conf_n);
	in->meta.conf_n = f->snapshot.conf_n;
}

static void incoming_deliver(struct cons_core *c, uint64_t from, const char *address)
{
	struct incoming *in = c->incoming;
	struct raft_message m = {.type = RAFT_INSTALL_SNAPSHOT};
	struct raft_event ev = {.time = c->now, .type = RAFT_RECEIVE};

	m.server_id = from;
	m.server_address = address;
	m.install_snapshot.version = 0;
	m.install_snapshot.term = in->term;
	m.install_snapshot.last_index = in->meta.index;
	m.install_snapshot.last_term = in->meta.term;
	m.install_snapshot.conf_index = in->meta.conf_index;
	if (!core_decode_conf(in->meta.conf, in->meta.conf_n, &m.install_snapshot.conf))
		return;
	m.install_snapshot.data.base = raft_malloc(1); /* a token: raft only frees it */
	m.install_snapshot.data.len = 1;
	ev.receive.message = &m;
	core_step(c, &ev);
	/* The update had a snapshot (carried out already, or held until the term is written): what
	 * raft looked at is ours to free. Else raft freed it. */
	if (c->installing || (c->stalled && (c->held.flags & (RAFT_UPDATE_SNAPSHOT)) != 0)) {
		raft_configuration_close(&m.install_snapshot.conf);
		raft_free(m.install_snapshot.data.base);
	}
	if (!c->installing && c->incoming == in && !c->stalled) {
		incoming_free(in); /* raft did not need it */
		c->incoming = NULL;
	}
}

void incoming_chunk(struct cons_core *c, uint64_t from, const char *address,
		    const struct cons_frame *f)
{
	struct cons_frame ack = {.type = CONS_F_SNAPSHOT_ACK, .term = f->term};
	struct incoming *in = c->incoming;

	/* S8: while one is being installed, or our own is being made current, others are dropped.
	 */
	if (c->installing || c->snapshot_committing)
		return;
	if (f->snapshot.index <= c->commit) {
		/* Had already; the next heartbeat, which stands on this index, tells raft so. */
		ack.ack.index = f->snapshot.index;
		ack.ack.have = f->snapshot.total;
		core_send(c, from, address, &ack);
		return;
	}
	if (in == NULL || in->from != from || in->term != f->term ||
	    in->meta.index != f->snapshot.index || in->total != f->snapshot.total) {
		incoming_begin(c, from, f);
		in = c->incoming;
	}
	if (f->snapshot.at == in->n && f->snapshot.n > 0) {
		sw_grow(in->p, in->cap, in->n + f->snapshot.n);
		memcpy(in->p + in->n, f->snapshot.p, f->snapshot.n);
		in->n += f->snapshot.n;
	}
	ack.ack.index = f->snapshot.index;
	ack.ack.have = in->n;
	core_send(c, from, address, &ack);
	if (in->n == in->total)
		incoming_deliver(c, from, address);
}
