#include "base/mem.h"
#include "tests/sim/cluster.h"

#include <string.h>

static bool io_set_term(void *arg, uint64_t term, uint64_t vote)
{
	return sim_disk_set_term(((struct manager *)arg)->disk, term, vote);
}

static void io_write(void *arg, uint64_t seq, uint64_t from, struct cons_entry *const *e, size_t n)
{
	sim_disk_write(((struct manager *)arg)->disk, seq, from, e, n);
}

static void io_commit(void *arg, uint64_t seq, const struct cons_meta *meta, uint64_t keep)
{
	struct manager *m = arg;

	sim_disk_snapshot(m->disk, seq, meta, keep, m->snap, m->snap_n);
}

static void io_install(void *arg, uint64_t seq, const struct cons_meta *meta, const uint8_t *p,
		       size_t n)
{
	sim_disk_snapshot(((struct manager *)arg)->disk, seq, meta, 0, p, n);
}

static void io_take(void *arg, const struct cons_meta *meta)
{
	struct manager *m = arg;
	struct store_snapshot *s = store_snapshot_begin(m->store);
	size_t cap = 1 << 22, got;

	(void)meta;
	free(m->snap);
	m->snap = sw_alloc(cap);
	m->snap_n = 0;
	while ((got = store_snapshot_next(s, m->snap + m->snap_n, cap - m->snap_n)) > 0)
		m->snap_n += got;
	store_snapshot_end(s);
	m->taking = true;
}

static void io_index(void *arg, uint64_t index)
{
	(void)arg;
	(void)index;
}

struct reading {
	size_t n;
	uint8_t p[];
};

static void *io_open(void *arg, uint64_t index, uint64_t *size)
{
	struct manager *m = arg;
	struct reading *r = NULL;
	struct cons_disk_state st;
	const uint8_t *p;
	size_t n;

	sim_disk_load(m->disk, &st, &p, &n);
	if (st.snapshot.index == index) {
		r = sw_alloc(sizeof *r + n);
		r->n = n;
		memcpy(r->p, p, n);
		*size = n;
	}
	cons_disk_state_fini(&st);
	return r;
}

static size_t io_read(void *arg, void *snapshot, uint64_t at, uint8_t *buf, size_t cap)
{
	const struct reading *r = snapshot;

	(void)arg;
	if (cap > r->n - at)
		cap = r->n - at;
	memcpy(buf, r->p + at, cap);
	return cap;
}

static void io_close(void *arg, void *snapshot)
{
	(void)arg;
	free(snapshot);
}

static bool io_send(void *arg, uint64_t id, const char *address, const uint8_t *p, size_t n)
{
	struct manager *m = arg;

	(void)address;
	return sim_net_send(&m->w->net, m->at, (int)id - 1, p, n);
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

static void io_apply(void *arg, uint64_t index, const struct cons_entry *e)
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

static int io_restore(void *arg, uint64_t index, const uint8_t *p, size_t n, struct sw_error *err)
{
	struct manager *m = arg;
	int rc = store_restore(m->store, p, n, err);

	if (rc != 0)
		world_fail(m->w, "a snapshot was refused", index, n);
	else if (index < MAX_INDEX && m->w->digests[index] != (store_digest(m->store) | 1))
		world_fail(m->w, "a snapshot differs", index, (uint64_t)m->at);
	return rc;
}

static void io_role(void *arg, bool leading, uint64_t leader)
{
	(void)leader;
	((struct manager *)arg)->leading = leading;
}

static void io_members(void *arg)
{
	(void)arg;
}

static void io_changed(void *arg, int status, uint64_t index)
{
	(void)arg;
	(void)status;
	(void)index;
}

static void io_fatal(void *arg, const struct sw_error *why)
{
	world_fail(((struct manager *)arg)->w, why->msg, 0, 0);
}

void manager_written(void *arg, uint64_t seq)
{
	struct manager *m = arg;

	if (m->core != NULL)
		cons_core_written(m->core, m->w->sim.now, seq);
}

void manager_boot(struct manager *m)
{
	const struct cons_io io = {io_set_term, io_write, io_commit,  io_install, io_take,
				   io_index,    io_index, io_open,    io_read,    io_close,
				   io_send,     io_apply, io_restore, io_role,    io_members,
				   io_changed,  io_fatal, m};
	const struct cons_core_options o = {.id = (uint64_t)m->at + 1,
					    .address = "m",
					    .seed = sw_rand_u64(&m->w->sim.rand),
					    .install_ms = 3000,
					    .snapshot_every = 300,
					    .snapshot_keep = 100,
					    .chunk = 4096};
	struct cons_disk_state st;
	const uint8_t *p;
	size_t n;

	sim_disk_load(m->disk, &st, &p, &n);
	m->store = store_new();
	m->watcher = (struct store_watcher){.on_change = check_change, .arg = m};
	store_watch(m->store, &m->watcher);
	m->leader = leader_new(m->store, sw_rand_u64(&m->w->sim.rand));
	m->assign = assign_new(m->store);
	m->leading = m->was_leading = m->taking = false;
	if (st.snapshot.index > 0)
		io_restore(m, st.snapshot.index, p, n, NULL);
	if (cons_core_new(&o, &io, &st, m->w->sim.now, &m->core, NULL) != 0)
		world_fail(m->w, "a restart was refused", (uint64_t)m->at, 0);
}

void manager_crash(struct manager *m)
{
	cons_core_free(m->core);
	m->core = NULL;
	for (struct sw_list *l; (l = sw_list_pop(&m->pending)) != NULL;) {
		struct pending *p = sw_list_entry(l, struct pending, link);

		p->done(p->arg, SW_EUNKNOWN);
		free(p);
	}
	assign_free(m->assign);
	leader_free(m->leader);
	store_free(m->store);
	sim_disk_crash(m->disk);
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
	rc = cons_core_propose(m->core, m->w->sim.now, &e, 1, &index, &term);
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

	if (m->core == NULL)
		return;
	if (m->taking && sim_chance(&m->w->sim, 10)) {
		m->taking = false;
		cons_core_snapshot_taken(m->core, now, sim_chance(&m->w->sim, 90));
	}
	if (cons_core_next(m->core) <= now)
		cons_core_tick(m->core, now);
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
	struct world *w = arg;

	if (w->m[to].core != NULL)
		cons_core_receive(w->m[to].core, w->sim.now, (uint64_t)from + 1, "m", p, n);
}

struct manager *leader_of(struct world *w)
{
	for (int i = 0; i < MANAGERS; i++)
		if (w->m[i].core != NULL && w->m[i].was_leading)
			return &w->m[i];
	return NULL;
}
