/*
 * The member on a loop. Calls from outside only queue; everything happens in `turn`, once a turn of
 * the loop: what the disk finished, what peers sent, what was proposed (as one SUBMIT), time; then
 * the callbacks that are due. So no callback ever fires inside a cons_ call.
 */
#include "manager/consensus/cons.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "manager/consensus/codec.h"
#include "manager/consensus/disk.h"
#include "manager/consensus/snapshot.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { MAX_IN_FLIGHT = 8192, MAX_INBOUND = 64 * 1024 * 1024 };

typedef void (*done_cb)(void *arg, int status, uint64_t index);

/* A proposal or a waiting reader, from the call to its answer. */
struct prop {
	struct sw_list link;
	struct cons_entry *entry; /* NULL = a reader: shares the barrier of its turn */
	uint64_t index, term;
	int status;
	done_cb cb;
	void *arg;
};

enum event_kind { EV_FRAME, EV_LOST, EV_TRANSFER, EV_ADD, EV_REMOVE };

struct event {
	struct sw_list link;
	enum event_kind kind;
	uint64_t id;
	char address[128];
	done_cb cb;
	void *arg;
	size_t n;
	uint8_t data[];
};

struct cons {
	uv_loop_t *loop;
	struct cons_options o;
	char address[128];
	struct cons_core *core;
	struct cons_disk *disk;
	struct seal *seal; /* of the loop's thread: reads snapshots to send */
	struct sw_closer closer;
	struct sw_timer timer;
	struct sw_later later;
	uv_async_t async;
	struct sw_list events, pending, in_flight, answered;
	size_t n_in_flight, n_inbound;
	bool in_turn, closing, torn, fatal, trouble;
	done_cb changed_cb; /* of the running membership change */
	void *changed_arg;
	void (*close_cb)(void *);
	void *close_arg;
	struct {
		struct sw_job job;
		bool running, ok;
		void *fsm;
		uint64_t index;
		struct sw_error err;
	} snap;
};

/* ---- what the core asks for ---- */

static bool io_set_term(void *arg, uint64_t term, uint64_t vote)
{
	return cons_disk_set_term(((struct cons *)arg)->disk, term, vote);
}

static void io_write(void *arg, uint64_t seq, uint64_t from, struct cons_entry *const *e, size_t n)
{
	cons_disk_write(((struct cons *)arg)->disk, seq, from, e, n);
}

static void io_snapshot_commit(void *arg, uint64_t seq, const struct cons_meta *m, uint64_t from)
{
	cons_disk_snapshot_commit(((struct cons *)arg)->disk, seq, m, from);
}

static void io_install(void *arg, uint64_t seq, const struct cons_meta *m, const uint8_t *p,
		       size_t n)
{
	cons_disk_install(((struct cons *)arg)->disk, seq, m, p, n);
}

static size_t snap_draw(void *arg, uint8_t *buf, size_t cap)
{
	struct cons *c = arg;

	return c->o.fsm.snapshot_next(c->snap.fsm, buf, cap);
}

static void snap_work(struct sw_job *j)
{
	struct cons *c = container_of(j, struct cons, snap.job);
	struct seal *seal = NULL;
	char key[PATH_MAX];

	snprintf(key, sizeof key, "%s/key", cons_disk_dir(c->disk));
	c->snap.ok = seal_open(key, false, &seal, &c->snap.err) == 0 &&
		     snapshot_write(cons_disk_dir(c->disk), seal, c->snap.index, snap_draw, c,
				    &c->snap.err) == 0;
	seal_close(seal);
}

static void turn(struct cons *c);

static void snap_done(struct sw_job *j)
{
	struct cons *c = container_of(j, struct cons, snap.job);

	c->o.fsm.snapshot_end(c->snap.fsm);
	c->snap.running = false;
	if (!c->snap.ok)
		sw_warn("snapshot failed, will be tried again", SW_ERR(&c->snap.err));
	if (!c->closing && !c->fatal)
		cons_core_snapshot_taken(c->core, sw_mono_ms(), c->snap.ok);
	turn(c);
}

static void io_snapshot_take(void *arg, const struct cons_meta *m)
{
	struct cons *c = arg;

	SW_ASSERT(!c->snap.running);
	c->snap.running = true;
	c->snap.index = m->index;
	c->snap.err = (struct sw_error){0};
	c->snap.fsm = c->o.fsm.snapshot_begin(c->o.fsm.arg);
	sw_job_start(&c->snap.job, c->loop, &c->closer, snap_work, snap_done);
}

static void io_snapshot_discard(void *arg, uint64_t index)
{
	snapshot_remove(cons_disk_dir(((struct cons *)arg)->disk), index);
}

static void io_snapshot_retire(void *arg, uint64_t index)
{
	snapshot_remove_below(cons_disk_dir(((struct cons *)arg)->disk), index);
}

static void *io_snapshot_open(void *arg, uint64_t index, uint64_t *ret_size)
{
	struct cons *c = arg;
	struct snapshot_file *f = NULL;
	struct sw_error err = {0};

	if (snapshot_open(cons_disk_dir(c->disk), c->seal, index, &f, &err) != 0) {
		sw_err("can't send the snapshot", SW_ERR(&err));
		return NULL;
	}
	*ret_size = snapshot_size(f);
	return f;
}

static size_t io_snapshot_read(void *arg, void *snapshot, uint64_t at, uint8_t *buf, size_t cap)
{
	struct sw_error err = {0};
	size_t n = snapshot_read(snapshot, at, buf, cap, &err);

	(void)arg;
	if (n == 0)
		sw_err("can't send the snapshot", SW_ERR(&err));
	return n;
}

static void io_snapshot_close(void *arg, void *snapshot)
{
	(void)arg;
	snapshot_close(snapshot);
}

static bool io_send(void *arg, uint64_t id, const char *address, const uint8_t *p, size_t n)
{
	struct cons *c = arg;

	return c->o.transport.send(c->o.transport.arg, id, address, p, n);
}

static void answer(struct cons *c, struct prop *p, int status)
{
	sw_list_remove(&p->link);
	p->status = status;
	sw_list_append(&c->answered, &p->link);
	c->n_in_flight--;
}

/* A proposal is answered when its index is applied with its term; anything else there: unknown. */
static void answer_up_to(struct cons *c, uint64_t index, uint64_t term)
{
	while (!sw_list_empty(&c->in_flight)) {
		struct prop *p = sw_list_entry(c->in_flight.next, struct prop, link);

		if (p->index > index)
			return;
		answer(c, p, p->index == index && p->term == term ? 0 : SW_EUNKNOWN);
	}
}

static void io_apply(void *arg, uint64_t index, const struct cons_entry *e)
{
	struct cons *c = arg;

	if (e->type == CONS_COMMAND)
		c->o.fsm.apply(c->o.fsm.arg, index, e->data, e->n);
	answer_up_to(c, index, e->term);
}

static int io_restore(void *arg, uint64_t index, const uint8_t *p, size_t n, struct sw_error *err)
{
	struct cons *c = arg;

	answer_up_to(c, index, 0);
	return c->o.fsm.restore(c->o.fsm.arg, index, p, n, err);
}

static void io_on_role(void *arg, bool leading, uint64_t leader)
{
	struct cons *c = arg;

	if (c->o.fsm.on_role != NULL)
		c->o.fsm.on_role(c->o.fsm.arg, leading, leader);
}

static void io_on_members(void *arg)
{
	struct cons *c = arg;

	if (c->o.fsm.on_members != NULL)
		c->o.fsm.on_members(c->o.fsm.arg);
}

static void io_on_changed(void *arg, int status, uint64_t index)
{
	struct cons *c = arg;
	struct prop *p;

	if (c->changed_cb == NULL)
		return;
	p = sw_new(struct prop);
	*p = (struct prop){.cb = c->changed_cb, .arg = c->changed_arg, .status = status};
	p->index = index;
	c->changed_cb = NULL;
	sw_list_append(&c->answered, &p->link);
}

static void io_on_fatal(void *arg, const struct sw_error *why)
{
	struct cons *c = arg;

	c->fatal = true;
	c->o.fsm.on_fatal(c->o.fsm.arg, why);
}

static const struct cons_io io_template = {
	.set_term = io_set_term,
	.write = io_write,
	.snapshot_commit = io_snapshot_commit,
	.install = io_install,
	.snapshot_take = io_snapshot_take,
	.snapshot_discard = io_snapshot_discard,
	.snapshot_retire = io_snapshot_retire,
	.snapshot_open = io_snapshot_open,
	.snapshot_read = io_snapshot_read,
	.snapshot_close = io_snapshot_close,
	.send = io_send,
	.apply = io_apply,
	.restore = io_restore,
	.on_role = io_on_role,
	.on_members = io_on_members,
	.on_changed = io_on_changed,
	.on_fatal = io_on_fatal,
};

/* ---- a turn ---- */

static void answer_now(struct cons *c, done_cb cb, void *arg, int status)
{
	struct prop *p = sw_new(struct prop);

	*p = (struct prop){.cb = cb, .arg = arg, .status = status};
	sw_list_append(&c->answered, &p->link);
}

static void do_change(struct cons *c, struct event *e)
{
	uint64_t now = sw_mono_ms();
	int rv = e->kind == EV_ADD ? cons_core_add(c->core, now, e->id, e->address)
				   : cons_core_remove(c->core, now, e->id);

	if (rv != 0) {
		answer_now(c, e->cb, e->arg, rv);
		return;
	}
	c->changed_cb = e->cb;
	c->changed_arg = e->arg;
}

static void do_events(struct cons *c)
{
	struct sw_list *l;

	while (!c->fatal && (l = sw_list_pop(&c->events)) != NULL) {
		struct event *e = sw_list_entry(l, struct event, link);
		uint64_t now = sw_mono_ms();

		c->n_inbound -= e->n;
		if (e->kind == EV_FRAME)
			cons_core_receive(c->core, now, e->id, e->address, e->data, e->n);
		else if (e->kind == EV_LOST)
			cons_core_peer_lost(c->core, now, e->id);
		else if (e->kind == EV_TRANSFER)
			cons_core_transfer(c->core, now, 0);
		else
			do_change(c, e);
		free(e);
	}
}

/* Moves the proposals (or the readers) of the turn on; `in_flight` stays in order of index. */
static void take_pending(struct cons *c, bool proposals, uint64_t index, uint64_t term, int rv)
{
	sw_list_each_safe (l, &c->pending) {
		struct prop *p = sw_list_entry(l, struct prop, link);

		if ((p->entry != NULL) != proposals)
			continue;
		sw_list_remove(l);
		p->term = term;
		p->index = proposals ? index++ : index;
		sw_list_append(&c->in_flight, &p->link);
		if (p->entry != NULL)
			cons_entry_unref(take_ptr(&p->entry));
		if (rv != 0)
			answer(c, p, rv);
	}
}

/* All proposals of the turn as one SUBMIT; the readers of the turn share one barrier at its end. */
static void do_proposals(struct cons *c)
{
	static const uint8_t nothing[8];
	struct cons_entry **rows = sw_new_n(struct cons_entry *, c->n_in_flight + 1);
	struct cons_entry *barrier = NULL;
	uint64_t first = 0, term = 0;
	size_t n = 0;
	int rv;

	sw_list_each (l, &c->pending) {
		struct prop *p = sw_list_entry(l, struct prop, link);

		if (p->entry != NULL)
			rows[n++] = p->entry;
		else if (barrier == NULL)
			barrier = cons_entry_new(0, CONS_BARRIER, nothing, sizeof nothing);
	}
	if (barrier != NULL)
		rows[n++] = barrier;
	rv = cons_core_is_raft_leader(c->core) ? 0 : SW_ENOTLEADER;
	if (rv == 0)
		rv = cons_core_propose(c->core, sw_mono_ms(), rows, n, &first, &term);
	take_pending(c, true, first, term, rv);
	take_pending(c, false, first + n - 1, term, rv);
	if (barrier != NULL)
		cons_entry_unref(barrier);
	free(rows);
}

static void fire_answers(struct cons *c)
{
	struct sw_list *l;

	while ((l = sw_list_pop(&c->answered)) != NULL) {
		struct prop *p = sw_list_entry(l, struct prop, link);

		if (p->cb != NULL)
			p->cb(p->arg, p->status, p->status == 0 ? p->index : 0);
		if (p->entry != NULL)
			cons_entry_unref(p->entry);
		free(p);
	}
}

static void fail_all(struct cons *c, struct sw_list *from, int status)
{
	while (!sw_list_empty(from))
		answer(c, sw_list_entry(from->next, struct prop, link), status);
}

static void drop_events(struct cons *c)
{
	struct sw_list *l;

	while ((l = sw_list_pop(&c->events)) != NULL) {
		struct event *e = sw_list_entry(l, struct event, link);

		if (e->cb != NULL)
			answer_now(c, e->cb, e->arg, SW_ENOTLEADER);
		free(e);
	}
}

static void watch_disk(struct cons *c)
{
	struct sw_error why = {0};
	bool trouble = cons_disk_trouble(c->disk, &why);

	if (trouble && !c->trouble)
		sw_err("the Raft log can't be written, trying on", SW_ERR(&why));
	else if (!trouble && c->trouble)
		sw_info("the Raft log can be written again");
	c->trouble = trouble;
}

static void arm(struct cons *c)
{
	uint64_t now = sw_mono_ms(), next = cons_core_next(c->core);

	if (next == UINT64_MAX)
		sw_timer_stop(&c->timer);
	else
		sw_timer_set(&c->timer, next > now ? next - now : 0);
}

static void teardown(struct cons *c);

static void turn(struct cons *c)
{
	if (c->in_turn || c->torn)
		return;
	c->in_turn = true;
	if (!c->closing && !c->fatal) {
		cons_core_written(c->core, sw_mono_ms(), cons_disk_done(c->disk));
		do_events(c);
	}
	if (!c->closing && !c->fatal && !sw_list_empty(&c->pending))
		do_proposals(c);
	if (!c->closing && !c->fatal && cons_core_next(c->core) <= sw_mono_ms())
		cons_core_tick(c->core, sw_mono_ms());
	if (c->closing || c->fatal) {
		fail_all(c, &c->pending, SW_ENOTLEADER);
		fail_all(c, &c->in_flight, SW_EUNKNOWN);
		io_on_changed(c, SW_EUNKNOWN, 0);
		drop_events(c);
	} else if (!cons_core_is_raft_leader(c->core)) {
		fail_all(c, &c->in_flight, SW_EUNKNOWN);
	}
	fire_answers(c);
	c->in_turn = false;
	if (c->closing && !c->snap.running) {
		teardown(c);
		return;
	}
	if (!c->closing) {
		watch_disk(c);
		arm(c);
	}
}

static void on_timer(struct sw_timer *t)
{
	turn(container_of(t, struct cons, timer));
}

static void on_later(struct sw_later *l)
{
	turn(container_of(l, struct cons, later));
}

static void on_async(uv_async_t *a)
{
	turn(container_of(a, struct cons, async));
}

static void on_disk(void *arg)
{
	uv_async_send(&((struct cons *)arg)->async);
}

/* ---- life ---- */

int cons_bootstrap(const char *dir, uint64_t raft_id, const char *address, struct sw_error *err)
{
	return cons_disk_bootstrap(dir, raft_id, address, err);
}

static int open_core(struct cons *c, struct sw_error *err)
{
	struct cons_core_options o = {.id = c->o.raft_id,
				      .address = c->address,
				      .seed = c->o.seed,
				      .heartbeat_ms = c->o.heartbeat_ms,
				      .election_ms = c->o.election_ms};
	struct cons_disk_state st = {0};
	struct cons_io io = io_template;
	uint8_t *snapshot = NULL;
	char key[PATH_MAX];
	size_t n = 0;
	int rv;

	rv = cons_disk_open(c->o.dir, c->o.raft_id, on_disk, c, &c->disk, &st, &snapshot, &n, err);
	if (rv != 0)
		return rv;
	snprintf(key, sizeof key, "%s/key", c->o.dir);
	rv = seal_open(key, false, &c->seal, err);
	if (rv == 0 && st.snapshot.index > 0)
		rv = c->o.fsm.restore(c->o.fsm.arg, st.snapshot.index, snapshot, n, err);
	free(snapshot);
	io.arg = c;
	if (rv == 0)
		rv = cons_core_new(&o, &io, &st, sw_mono_ms(), &c->core, err);
	if (rv != 0)
		cons_disk_state_fini(&st);
	return rv;
}

static void on_async_closed(uv_handle_t *h)
{
	struct cons *c = container_of((uv_async_t *)h, struct cons, async);

	sw_closer_drop(&c->closer);
}

static void on_closed(struct sw_closer *closer)
{
	struct cons *c = container_of(closer, struct cons, closer);

	if (c->close_cb != NULL)
		c->close_cb(c->close_arg);
	free(c);
}

static void teardown(struct cons *c)
{
	c->torn = true;
	if (c->disk != NULL) {
		/* The disk first: it may be writing a received snapshot that the core holds. */
		cons_disk_close(c->disk);
		cons_core_free(c->core);
	}
	seal_close(c->seal);
	sw_timer_close(&c->timer);
	sw_later_close(&c->later);
	uv_close((uv_handle_t *)&c->async, on_async_closed);
	sw_closer_close(&c->closer, on_closed);
}

int cons_open(uv_loop_t *loop, const struct cons_options *o, struct cons **ret,
	      struct sw_error *err)
{
	struct cons *c = sw_new(struct cons);
	int rv;

	c->loop = loop;
	c->o = *o;
	strncpy(c->address, o->address, sizeof c->address - 1);
	sw_list_init(&c->events);
	sw_list_init(&c->pending);
	sw_list_init(&c->in_flight);
	sw_list_init(&c->answered);
	sw_timer_init(&c->timer, loop, &c->closer, on_timer);
	sw_later_init(&c->later, loop, &c->closer, on_later);
	SW_ASSERT(uv_async_init(loop, &c->async, on_async) == 0);
	sw_closer_hold(&c->closer);
	rv = open_core(c, err);
	if (rv != 0) {
		teardown(c);
		return rv;
	}
	sw_timer_set(&c->timer, 0);
	*ret = c;
	return 0;
}

void cons_close(struct cons *c, void (*cb)(void *), void *arg)
{
	SW_ASSERT(!c->closing);
	c->closing = true;
	c->close_cb = cb;
	c->close_arg = arg;
	sw_later_call(&c->later);
}

/* ---- calls ---- */

static struct event *event_push(struct cons *c, enum event_kind kind, uint64_t id,
				const char *address, const uint8_t *p, size_t n)
{
	struct event *e = sw_alloc(sizeof *e + n);

	e->kind = kind;
	e->id = id;
	e->n = n;
	if (address != NULL)
		strncpy(e->address, address, sizeof e->address - 1);
	if (n > 0)
		memcpy(e->data, p, n);
	c->n_inbound += n;
	sw_list_append(&c->events, &e->link);
	sw_later_call(&c->later);
	return e;
}

void cons_receive(struct cons *c, uint64_t from, const char *address, const uint8_t *p, size_t n)
{
	/* What is dropped here the peer repeats. */
	if (c->closing || c->fatal || n > CONS_FRAME_MAX + CONS_CONF_MAX ||
	    c->n_inbound + n > MAX_INBOUND)
		return;
	event_push(c, EV_FRAME, from, address, p, n);
}

void cons_peer_lost(struct cons *c, uint64_t raft_id)
{
	if (!c->closing && !c->fatal)
		event_push(c, EV_LOST, raft_id, NULL, NULL, 0);
}

static void prop_push(struct cons *c, struct cons_entry *e, done_cb cb, void *arg)
{
	struct prop *p = sw_new(struct prop);

	*p = (struct prop){.entry = e, .cb = cb, .arg = arg};
	sw_list_append(&c->pending, &p->link);
	c->n_in_flight++;
	sw_later_call(&c->later);
}

static void refuse(struct cons *c, done_cb cb, void *arg, int status)
{
	answer_now(c, cb, arg, status);
	sw_later_call(&c->later);
}

void cons_propose(struct cons *c, const uint8_t *p, size_t n, done_cb cb, void *arg)
{
	if (n > CONS_MAX_ENTRY)
		refuse(c, cb, arg, SW_ETOOBIG);
	else if (c->n_in_flight >= MAX_IN_FLIGHT)
		refuse(c, cb, arg, SW_EUNAVAIL);
	else
		prop_push(c, cons_entry_new(0, CONS_COMMAND, p, n), cb, arg);
}

void cons_barrier(struct cons *c, done_cb cb, void *arg)
{
	if (c->n_in_flight >= MAX_IN_FLIGHT)
		refuse(c, cb, arg, SW_EUNAVAIL);
	else
		prop_push(c, NULL, cb, arg);
}

static void change_push(struct cons *c, enum event_kind kind, uint64_t id, const char *address,
			done_cb cb, void *arg)
{
	struct event *e;

	if (c->closing || c->fatal) {
		refuse(c, cb, arg, SW_ENOTLEADER);
		return;
	}
	e = event_push(c, kind, id, address, NULL, 0);
	e->cb = cb;
	e->arg = arg;
}

void cons_add(struct cons *c, uint64_t raft_id, const char *address, done_cb cb, void *arg)
{
	change_push(c, EV_ADD, raft_id, address, cb, arg);
}

void cons_remove(struct cons *c, uint64_t raft_id, done_cb cb, void *arg)
{
	change_push(c, EV_REMOVE, raft_id, NULL, cb, arg);
}

void cons_transfer(struct cons *c)
{
	if (!c->closing && !c->fatal)
		event_push(c, EV_TRANSFER, 0, NULL, NULL, 0);
}

bool cons_is_leader(const struct cons *c)
{
	return !c->fatal && cons_core_is_leader(c->core);
}

uint64_t cons_leader(const struct cons *c, const char **ret_address)
{
	return cons_core_leader(c->core, ret_address);
}

uint64_t cons_applied(const struct cons *c)
{
	return cons_core_applied(c->core);
}

size_t cons_in_flight(const struct cons *c)
{
	return c->n_in_flight;
}

size_t cons_members(const struct cons *c, struct cons_member *out, size_t cap)
{
	return cons_core_members(c->core, out, cap);
}
