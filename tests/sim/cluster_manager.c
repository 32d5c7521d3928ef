#include "base/mem.h"
#include "tests/sim/cluster.h"

static uint8_t *take(void *arg, size_t *ret_n)
{
	struct store_snapshot *s = store_snapshot_begin(((struct manager *)arg)->store);
	size_t cap = 1 << 22, n = 0, got;
	uint8_t *p = sw_alloc(cap);

	while ((got = store_snapshot_next(s, p + n, cap - n)) > 0)
		n += got;
	store_snapshot_end(s);
	*ret_n = n;
	return p;
}

static void answer(struct manager *m, uint64_t index, uint64_t term, int rc)
{
	sw_list_each_safe (l, &m->pending) {
		struct pending *p = sw_list_entry(l, struct pending, link);

		if (p->index != index)
			continue;
		sw_list_remove(&p->link);
		p->done(p->arg, p->term == term ? rc : SW_EUNKNOWN);
		free(p);
		return;
	}
}

static void apply(void *arg, uint64_t index, const struct cons_entry *e)
{
	struct manager *m = arg;
	struct world *w = m->w;
	uint64_t digest;
	int rc = 0;

	if (e->type == CONS_COMMAND)
		rc = store_apply(m->store, index, e->data, e->n, NULL);
	if (rc == SW_ECORRUPT)
		world_fail(w, "an entry does not decode", index, 0);
	answer(m, index, e->term, rc);
	if (index >= MAX_INDEX)
		return;
	digest = store_digest(m->store) | 1;
	if (w->digests[index] == 0)
		w->digests[index] = digest;
	else if (w->digests[index] != digest)
		world_fail(w, "two states at one index", index, (uint64_t)m->at);
	if (!m->leading && index % 64 == 0)
		check_books(m);
	if (index > w->applied) {
		w->applied = index;
		if (index % 16 == 0)
			check_store(m);
	}
}

static int restore(void *arg, uint64_t index, const uint8_t *p, size_t n, struct sw_error *err)
{
	struct manager *m = arg;
	int rc = store_restore(m->store, p, n, err);

	if (rc != 0)
		world_fail(m->w, "a snapshot was refused", index, n);
	else if (index < MAX_INDEX && m->w->digests[index] != (store_digest(m->store) | 1))
		world_fail(m->w, "a snapshot differs", index, (uint64_t)m->at);
	return rc;
}

static void on_role(void *arg, bool leading, uint64_t leader)
{
	(void)leader;
	((struct manager *)arg)->leading = leading;
}

static void on_fatal(void *arg, const struct sw_error *why)
{
	world_fail(((struct manager *)arg)->w, why->msg, 0, 0);
}

void manager_init(struct manager *m, struct world *w, int at)
{
	static const struct sim_member_ops ops = {
		.take = take,
		.apply = apply,
		.restore = restore,
		.on_role = on_role,
		.on_fatal = on_fatal,
	};

	m->w = w;
	m->at = at;
	sw_list_init(&m->pending);
	sim_member_init(&m->raft, &w->net, at, MANAGERS, &ops, m);
}

void manager_boot(struct manager *m)
{
	const struct cons_core_options o = {.seed = sw_rand_u64(&m->w->sim.rand),
					    .install_ms = 3000,
					    .snapshot_every = 300,
					    .snapshot_keep = 100,
					    .chunk = 4096};

	m->store = store_new();
	m->watcher = (struct store_watcher){.on_change = check_change, .arg = m};
	store_watch(m->store, &m->watcher);
	m->leader = leader_new(m->store, sw_rand_u64(&m->w->sim.rand));
	m->assign = assign_new(m->store);
	m->leading = m->was_leading = false;
	if (!sim_member_boot(&m->raft, o))
		world_fail(m->w, "a restart was refused", (uint64_t)m->at, 0);
}

void manager_crash(struct manager *m)
{
	sim_member_crash(&m->raft);
	for (struct sw_list *l; (l = sw_list_pop(&m->pending)) != NULL;) {
		struct pending *p = sw_list_entry(l, struct pending, link);

		p->done(p->arg, SW_EUNKNOWN);
		free(p);
	}
	assign_free(m->assign);
	leader_free(m->leader);
	store_free(m->store);
}

bool manager_propose(struct manager *m, const struct store_tx *tx, void (*done)(void *arg, int rc),
		     void *arg)
{
	uint64_t index, term;
	struct cons_entry *e;
	struct pending *p;
	uint8_t *bytes;
	size_t n = store_tx_pack(tx, &bytes);
	int rc;

	e = cons_entry_new(0, CONS_COMMAND, bytes, n);
	rc = cons_core_propose(m->raft.core, m->w->sim.now, &e, 1, &index, &term);
	cons_entry_unref(e);
	free(bytes);
	if (rc != 0)
		return false;
	p = sw_new(struct pending);
	*p = (struct pending){.index = index, .term = term, .done = done, .arg = arg};
	sw_list_append(&m->pending, &p->link);
	return true;
}

static void pass_done(void *arg, int rc)
{
	leader_done(((struct manager *)arg)->leader, rc);
}

static void run_pass(struct manager *m)
{
	uint64_t now = m->w->sim.now;
	struct store_tx *tx = leader_step(m->leader, wall(m->w), now);
	uint64_t in = leader_due_in(m->leader, wall(m->w), now);

	m->due_ms = in < UINT64_MAX - now ? now + in : UINT64_MAX;
	if (tx == NULL)
		return;
	if (!manager_propose(m, tx, pass_done, m))
		leader_done(m->leader, SW_ENOTLEADER);
	store_tx_free(tx);
}

static void lost_leadership(struct manager *m)
{
	leader_end(m->leader);
	for (struct sw_list *l; (l = sw_list_pop(&m->pending)) != NULL;) {
		struct pending *p = sw_list_entry(l, struct pending, link);

		p->done(p->arg, SW_EUNKNOWN);
		free(p);
	}
}

void manager_tick(struct manager *m)
{
	uint64_t now = m->w->sim.now;

	if (m->raft.core == NULL)
		return;
	sim_member_tick(&m->raft);
	if (m->leading && !m->was_leading)
		leader_begin(m->leader, now);
	else if (!m->leading && m->was_leading)
		lost_leadership(m);
	m->was_leading = m->leading;
	if (m->leading && (leader_has_work(m->leader) || now >= m->due_ms ||
			   leader_due_in(m->leader, wall(m->w), now) == 0))
		run_pass(m);
}

void manager_deliver(void *arg, int from, int to, const uint8_t *p, size_t n)
{
	sim_member_receive(&((struct world *)arg)->m[to].raft, from, p, n);
}

struct manager *leader_of(struct world *w)
{
	for (int i = 0; i < MANAGERS; i++)
		if (w->m[i].raft.core != NULL && w->m[i].was_leading)
			return &w->m[i];
	return NULL;
}
