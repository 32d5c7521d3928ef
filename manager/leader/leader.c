#include "manager/leader/leader.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/str.h"
#include "manager/leader/alive.h"
#include "manager/leader/drain.h"
#include "manager/orch/orch.h"
#include "manager/store/events.h"
#include "proto/msg.h"
#include "proto/task_state.h"

/* Rows of a pass: about a quarter of the largest entry, so that a pass is quick to write and read. */
enum { MAX_ROWS = 2000 };
/* What only tells of restarts in place waits for company: a crash loop of many tasks is a few entries
 * a second. */
enum { SOFT_MS = 250 };
enum { MAX_MESSAGE = 1024 };

struct report {
	uint64_t node;
	Pb__TaskStatus *status;
};

struct leader {
	struct store *store;
	struct store_watcher watcher;
	struct orch *orch;
	struct alloc *alloc;
	struct sched *sched;
	struct drain *drain;
	struct alive *alive;
	struct sw_rand rand;
	struct omap reports;      /* (task, 0) -> struct report */
	struct omap descriptions; /* (node, 0) -> Pb__NodeDescription */
	bool leading, in_flight, changed;
	bool urgent;          /* a report is worth a pass at once: a task moved on */
	uint64_t mono_ms;     /* as last told */
	uint64_t soft_due_ms; /* when the other reports are folded in; UINT64_MAX = none waits */
};

static struct omap_key one(uint64_t a)
{
	return (struct omap_key){a, 0};
}

static void time_is(struct leader *l, uint64_t mono_ms)
{
	l->mono_ms = mono_ms;
	alive_time(l->alive, mono_ms);
}

static void on_change(void *arg, const struct store_change *c, uint64_t index)
{
	struct leader *l = arg;

	drain_on_change(l->drain, c, index);
	sched_on_change(l->sched, c);
	alloc_on_change(l->alloc, c);
	if (!l->leading)
		return;
	if (c->kind == PB__KIND__KIND_NODE && c->new == NULL)
		alive_removed(l->alive, c->id);
	orch_on_change(l->orch, c);
	l->changed = true;
}

static void keep_books_anew(struct leader *l)
{
	sched_reset(l->sched);
	alloc_reset(l->alloc);
}

/* A pass that was refused, or whose end nobody will tell: what the books have of it is wrong. */
static void give_up_pass(struct leader *l)
{
	if (l->in_flight)
		keep_books_anew(l);
	l->in_flight = false;
}

static void look_at_all(struct leader *l)
{
	orch_reset(l->orch);
	l->changed = true;
}

static void on_reset(void *arg)
{
	struct leader *l = arg;

	keep_books_anew(l);
	drain_reset(l->drain);
	if (l->leading)
		look_at_all(l);
}

static struct orch_placement placement_of(const struct leader *l)
{
	return (struct orch_placement){
		.may_stay = sched_may_stay,
		.is_eligible = sched_is_eligible,
		.takes = sched_takes,
		.packs = sched_packs,
		.arg = l->sched,
	};
}

struct leader *leader_new(struct store *s, uint64_t seed)
{
	struct leader *l = sw_new(struct leader);
	struct orch_placement placement;

	l->store = s;
	sw_rand_init(&l->rand, seed);
	l->alloc = alloc_new(s);
	l->sched = sched_new(s);
	placement = placement_of(l);
	l->orch = orch_new(s, &placement);
	l->drain = drain_new(s);
	l->alive = alive_new(s);
	l->watcher = (struct store_watcher){.on_change = on_change, .on_reset = on_reset, .arg = l};
	store_watch(s, &l->watcher);
	return l;
}

void leader_set_zones(struct leader *l, const struct sw_zone *(*zone)(void *arg, const char *name),
		      void *arg)
{
	orch_set_zones(l->orch, zone, arg);
}

static void drop_reports(struct leader *l)
{
	struct omap_iter it = omap_begin(&l->reports);

	for (struct report *r; (r = omap_next(&it)) != NULL;) {
		msg_free(&r->status->base);
		free(r);
	}
	omap_fini(&l->reports);
}

static void drop_all(struct leader *l)
{
	struct omap_iter it = omap_begin(&l->descriptions);

	drop_reports(l);
	alive_end(l->alive);
	for (Pb__NodeDescription *d; (d = omap_next(&it)) != NULL;)
		msg_free(&d->base);
	omap_fini(&l->descriptions);
}

void leader_free(struct leader *l)
{
	if (l == NULL)
		return;
	store_unwatch(l->store, &l->watcher);
	drop_all(l);
	orch_free(l->orch);
	alloc_free(l->alloc);
	sched_free(l->sched);
	drain_free(l->drain);
	alive_free(l->alive);
	free(l);
}

void leader_begin(struct leader *l, uint64_t mono_ms)
{
	drop_all(l);
	l->leading = true;
	l->urgent = false;
	give_up_pass(l);
	l->mono_ms = mono_ms;
	l->soft_due_ms = UINT64_MAX;
	alive_begin(l->alive, mono_ms);
	drain_begin(l->drain);
	sched_retry(l->sched);
	alloc_retry(l->alloc);
	look_at_all(l);
}

void leader_end(struct leader *l)
{
	l->leading = false;
	drop_all(l);
	give_up_pass(l);
}

bool leader_is_leading(const struct leader *l)
{
	return l->leading;
}

/* ---- what comes in ---- */

static void note_urgency(struct leader *l, const Pb__TaskStatus *s)
{
	const Pb__Task *t = store_task(l->store, s->task_id);

	if (t == NULL || s->state != t->state || s->state != PB__TASK_STATE__TASK_RUNNING)
		l->urgent = true;
	else if (l->soft_due_ms == UINT64_MAX)
		l->soft_due_ms = l->mono_ms + SOFT_MS;
}

void leader_status(struct leader *l, uint64_t node, const Pb__TaskStatus *s)
{
	struct report *r;

	if (!l->leading)
		return;
	r = omap_get(&l->reports, one(s->task_id));
	if (r != NULL && (r->node != node || r->status->state > s->state))
		return;
	if (r == NULL) {
		r = sw_new(struct report);
		omap_set(&l->reports, one(s->task_id), r);
	} else {
		msg_free(&r->status->base);
	}
	r->node = node;
	r->status = msg_clone_of(Pb__TaskStatus, s);
	note_urgency(l, s);
}

void leader_alive(struct leader *l, uint64_t node, uint64_t mono_ms)
{
	const Pb__Node *n;

	if (!l->leading)
		return;
	time_is(l, mono_ms);
	alive_heard(l->alive, node);
	n = store_node(l->store, node);
	if (n != NULL && n->state != PB__NODE_STATE__NODE_READY)
		l->changed = true;
}

void leader_describe(struct leader *l, uint64_t node, const Pb__NodeDescription *d)
{
	Pb__NodeDescription *old;

	if (!l->leading)
		return;
	old = omap_set(&l->descriptions, one(node), msg_clone_of(Pb__NodeDescription, d));
	msg_free(old != NULL ? &old->base : NULL);
	l->changed = true;
}

void leader_applied(struct leader *l, uint64_t node, uint64_t index)
{
	if (l->leading && drain_applied(l->drain, node, index))
		l->changed = true;
}

/* ---- the pass ---- */

/* States only grow. The same state may come with better words. */
static void fold_report(struct store_tx *tx, const struct report *r)
{
	const Pb__TaskStatus *s = r->status;
	const Pb__Task *old = store_tx_get(tx, PB__KIND__KIND_TASK, s->task_id);
	Pb__Task *t;

	if (old == NULL || old->node_id != r->node || s->state < old->state ||
	    old->state < PB__TASK_STATE__TASK_ASSIGNED || task_is_dead(old))
		return;
	if (s->state == old->state && sw_streq(s->message, old->message) &&
	    s->restarts == old->restarts && s->down == old->down && s->health == old->health)
		return;
	t = store_tx_edit(tx, PB__KIND__KIND_TASK, s->task_id);
	if (s->state > t->state)
		t->state_ms = store_tx_now(tx);
	t->state = s->state;
	if (s->state == PB__TASK_STATE__TASK_RUNNING && t->running_ms == 0)
		t->running_ms = store_tx_now(tx);
	t->restarts = s->restarts;
	t->down = s->down && s->state == PB__TASK_STATE__TASK_RUNNING;
	t->health = s->health;
	t->exit_code = s->exit_code;
	t->pid = s->pid;
	sw_autofree char *text = sw_strndup(s->message, MAX_MESSAGE);
	msg_set_str(&t->message, text);
}

static void fold_reports(struct leader *l, struct store_tx *tx)
{
	for (;;) {
		struct omap_iter it = omap_begin(&l->reports);
		struct report *r = omap_next(&it);

		if (r == NULL) {
			l->urgent = false;
			l->soft_due_ms = UINT64_MAX;
			return;
		}
		if (store_tx_rows(tx) >= MAX_ROWS) {
			l->urgent = true;
			return;
		}
		fold_report(tx, r);
		omap_remove(&l->reports, it.key);
		msg_free(&r->status->base);
		free(r);
	}
}

static void fold_descriptions(struct leader *l, struct store_tx *tx)
{
	for (;;) {
		struct omap_iter it = omap_begin(&l->descriptions);
		Pb__NodeDescription *d = omap_next(&it);
		const Pb__Node *old;
		Pb__Node *n;

		if (d == NULL)
			return;
		omap_remove(&l->descriptions, it.key);
		old = store_tx_get(tx, PB__KIND__KIND_NODE, it.key.a);
		if (old == NULL ||
		    msg_equal(old->description != NULL ? &old->description->base : NULL,
			      &d->base)) {
			msg_free(&d->base);
			continue;
		}
		n = store_tx_edit(tx, PB__KIND__KIND_NODE, old->id);
		msg_free(n->description != NULL ? &n->description->base : NULL);
		n->description = d;
	}
}

static void set_node_state(struct store_tx *tx, uint64_t id, Pb__NodeState state, const char *why)
{
	Pb__Node *n = store_tx_edit(tx, PB__KIND__KIND_NODE, id);

	n->state = state;
	n->state_ms = store_tx_now(tx);
	msg_set_str(&n->message, why);
}

static void judge_nodes(struct leader *l, struct store_tx *tx)
{
	struct store_iter it = {0};

	for (const struct store_head *o;
	     (o = store_next(l->store, PB__KIND__KIND_NODE, &it)) != NULL;) {
		const Pb__Node *n = (const Pb__Node *)o;
		bool alive = alive_is(l->alive, n->id);

		if (alive && n->state != PB__NODE_STATE__NODE_READY)
			set_node_state(tx, n->id, PB__NODE_STATE__NODE_READY, "");
		else if (!alive && n->state == PB__NODE_STATE__NODE_READY)
			set_node_state(tx, n->id, PB__NODE_STATE__NODE_DOWN,
				       "no heartbeat from its agent");
	}
}

struct store_tx *leader_step(struct leader *l, int64_t wall_ms, uint64_t mono_ms)
{
	struct store_tx *tx;
	bool more;

	if (!l->leading || l->in_flight)
		return NULL;
	tx = store_tx_new(l->store, wall_ms);
	time_is(l, mono_ms);
	fold_reports(l, tx);
	fold_descriptions(l, tx);
	judge_nodes(l, tx);
	more = orch_run(l->orch, tx, &l->rand, MAX_ROWS);
	drain_run(l->drain, tx, mono_ms, MAX_ROWS);
	more |= alloc_run(l->alloc, tx, MAX_ROWS);
	more |= sched_run(l->sched, tx, MAX_ROWS);
	l->changed = more || omap_count(&l->reports) > 0;
	if (store_tx_is_empty(tx)) {
		store_tx_free(tx);
		return NULL;
	}
	events_note(tx, &l->rand);
	events_trim(tx);
	l->in_flight = true;
	return tx;
}

void leader_done(struct leader *l, int rc)
{
	if (rc != 0 && l->in_flight) {
		give_up_pass(l);
		look_at_all(l);
	}
	l->in_flight = false;
}

bool leader_has_work(const struct leader *l)
{
	return l->leading && !l->in_flight && (l->changed || l->urgent);
}

bool leader_gathers(const struct leader *l)
{
	return l->leading && l->soft_due_ms != UINT64_MAX;
}

uint64_t leader_due_in(const struct leader *l, int64_t wall_ms, uint64_t mono_ms)
{
	uint64_t drain = drain_due_in(l->drain, mono_ms), best = alive_due_in(l->alive, mono_ms);
	int64_t due = orch_next_due(l->orch);

	if (!l->leading)
		return UINT64_MAX;
	best = drain < best ? drain : best;
	if (due != INT64_MAX) {
		uint64_t left = due > wall_ms ? (uint64_t)(due - wall_ms) : 0;

		best = left < best ? left : best;
	}
	if (l->soft_due_ms != UINT64_MAX) {
		uint64_t left = l->soft_due_ms > mono_ms ? l->soft_due_ms - mono_ms : 0;

		best = left < best ? left : best;
	}
	return best;
}

const struct alloc *leader_alloc(const struct leader *l)
{
	return l->alloc;
}

size_t leader_plan_moves(const struct leader *l, const Pb__Service *s, int64_t wall_ms,
			 uint64_t *ret, size_t max)
{
	const struct orch_placement p = placement_of(l);
	int64_t due = INT64_MAX;

	return orch_plan_moves(l->store, &p, s, wall_ms, 0, ret, max, &due);
}

const struct sched *leader_sched(const struct leader *l)
{
	return l->sched;
}
