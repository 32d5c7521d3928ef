#include "tests/sim/sim_member.h"

#include "base/mem.h"

#include <string.h>

/* ---- what the core asks for ---- */

static bool io_set_term(void *arg, uint64_t term, uint64_t vote)
{
	return sim_disk_set_term(((struct sim_member *)arg)->disk, term, vote);
}

static void io_write(void *arg, uint64_t seq, uint64_t from, struct cons_entry *const *e, size_t n)
{
	sim_disk_write(((struct sim_member *)arg)->disk, seq, from, e, n);
}

static void io_commit(void *arg, uint64_t seq, const struct cons_meta *meta, uint64_t keep)
{
	struct sim_member *m = arg;

	sim_disk_snapshot(m->disk, seq, meta, keep, m->snap, m->snap_n);
}

static void io_install(void *arg, uint64_t seq, const struct cons_meta *meta, const uint8_t *p,
		       size_t n)
{
	sim_disk_snapshot(((struct sim_member *)arg)->disk, seq, meta, 0, p, n);
}

static void io_take(void *arg, const struct cons_meta *meta)
{
	struct sim_member *m = arg;

	(void)meta;
	free(m->snap);
	m->snap = m->ops->take(m->arg, &m->snap_n);
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
	struct sim_member *m = arg;
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
	struct sim_member *m = arg;

	(void)address;
	return sim_net_send(m->net, m->at, (int)id - 1, p, n);
}

static void io_apply(void *arg, uint64_t index, const struct cons_entry *e)
{
	struct sim_member *m = arg;

	m->ops->apply(m->arg, index, e);
}

static int io_restore(void *arg, uint64_t index, const uint8_t *p, size_t n, struct sw_error *err)
{
	struct sim_member *m = arg;

	return m->ops->restore(m->arg, index, p, n, err);
}

static void io_role(void *arg, bool leading, uint64_t leader)
{
	struct sim_member *m = arg;

	m->ops->on_role(m->arg, leading, leader);
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
	struct sim_member *m = arg;

	m->ops->on_fatal(m->arg, why);
}

/* ---- life ---- */

static void after(struct sim_member *m)
{
	if (m->ops->after != NULL)
		m->ops->after(m->arg);
}

static void on_written(void *arg, uint64_t seq)
{
	struct sim_member *m = arg;

	if (m->core != NULL)
		cons_core_written(m->core, m->net->sim->now, seq);
	after(m);
}

/* In libraft's encoding of a configuration. */
static size_t first_row(int members, uint8_t out[128])
{
	size_t at = 9;

	memset(out, 0, 128);
	out[0] = 1;
	out[1] = (uint8_t)members;
	for (int i = 0; i < members; i++, at += 12) {
		out[at] = (uint8_t)(i + 1);
		out[at + 8] = 'm';
		out[at + 9] = (uint8_t)('0' + i);
		out[at + 11] = 1;
	}
	return (at + 7) / 8 * 8;
}

void sim_member_init(struct sim_member *m, struct sim_net *net, int at, int members,
		     const struct sim_member_ops *ops, void *arg)
{
	uint8_t conf[128];
	struct cons_entry *row = cons_entry_new(1, CONS_CHANGE, conf, first_row(members, conf));

	*m = (struct sim_member){.net = net, .at = at, .ops = ops, .arg = arg};
	m->disk = sim_disk_new(net->sim, on_written, m);
	sim_disk_write(m->disk, 0, 1, &row, 1);
	cons_entry_unref(row);
	sim_disk_set_term(m->disk, 1, 0);
}

void sim_member_fini(struct sim_member *m)
{
	sim_disk_free(m->disk);
	free(m->snap);
}

bool sim_member_boot(struct sim_member *m, struct cons_core_options o)
{
	const struct cons_io io = {io_set_term, io_write, io_commit,  io_install, io_take,
				   io_index,    io_index, io_open,    io_read,    io_close,
				   io_send,     io_apply, io_restore, io_role,    io_members,
				   io_changed,  io_fatal, m};
	struct cons_disk_state st;
	const uint8_t *p;
	size_t n;

	o.id = (uint64_t)m->at + 1;
	o.address = "m";
	m->taking = false;
	sim_disk_load(m->disk, &st, &p, &n);
	if (st.snapshot.index > 0)
		m->ops->restore(m->arg, st.snapshot.index, p, n, NULL);
	return cons_core_new(&o, &io, &st, m->net->sim->now, &m->core, NULL) == 0;
}

void sim_member_crash(struct sim_member *m)
{
	cons_core_free(m->core);
	m->core = NULL;
	sim_disk_crash(m->disk);
}

void sim_member_tick(struct sim_member *m)
{
	uint64_t now = m->net->sim->now;

	if (m->taking && sim_chance(m->net->sim, 10)) {
		m->taking = false;
		cons_core_snapshot_taken(m->core, now, sim_chance(m->net->sim, 90));
	}
	if (cons_core_next(m->core) <= now)
		cons_core_tick(m->core, now);
	after(m);
}

void sim_member_receive(struct sim_member *m, int from, const uint8_t *p, size_t n)
{
	if (m->core == NULL)
		return;
	cons_core_receive(m->core, m->net->sim->now, (uint64_t)from + 1, "m", p, n);
	after(m);
}
