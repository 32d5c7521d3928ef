/*
 * The core's events: what comes from peers, from the disk, from who proposes, and at a start. Each is
 * a step of raft (step.c) or several; then what has become possible is done: rows are applied, a
 * snapshot is begun.
 */
#include "manager/consensus/core.h"

#include "base/assert.h"
#include "base/mem.h"
#include "manager/consensus/core_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MAX_INFLIGHT = 4096 };

void core_fatal(struct cons_core *c, int code, const char *fmt, ...)
{
	struct sw_error e = {.code = code};
	va_list ap;

	if (c->failed)
		return;
	c->failed = true;
	va_start(ap, fmt);
	vsnprintf(e.msg, sizeof e.msg, fmt, ap);
	va_end(ap);
	c->io.on_fatal(c->io.arg, &e);
}

const struct raft_server *core_server(const struct raft_configuration *conf, uint64_t id)
{
	for (unsigned i = 0; i < conf->n; i++)
		if (conf->servers[i].id == id)
			return &conf->servers[i];
	return NULL;
}

unsigned core_voters(const struct raft_configuration *conf)
{
	unsigned n = 0;

	for (unsigned i = 0; i < conf->n; i++)
		n += conf->servers[i].role == RAFT_VOTER;
	return n;
}

bool core_only_voter(struct cons_core *c)
{
	const struct raft_server *s = core_server(&c->raft.configuration, c->o.id);

	return s != NULL && s->role == RAFT_VOTER && core_voters(&c->raft.configuration) == 1;
}

bool core_decode_conf(const uint8_t *p, size_t n, struct raft_configuration *ret)
{
	struct raft_buffer buf = {.base = (void *)(uintptr_t)p, .len = n};

	raft_configuration_init(ret);
	return cons_conf_valid(p, n) && raft_configuration_decode(&buf, ret) == 0;
}

bool core_send(struct cons_core *c, uint64_t id, const char *address, const struct cons_frame *f)
{
	if (id == 0 || id == c->o.id)
		return false; /* S15 */
	cons_frame_encode(f, &c->out);
	SW_ASSERT(!c->out.overflow);
	return c->io.send(c->io.arg, id, address, (const uint8_t *)c->out.data, c->out.len);
}

uint64_t core_queue(struct cons_core *c, enum op_kind kind, uint64_t last)
{
	sw_grow(c->ops, c->cap_ops, c->n_ops + 1);
	c->ops[c->n_ops++] = (struct disk_op){.kind = kind, .seq = ++c->seq, .last = last};
	return c->seq;
}

/* ---- starting ---- */

static void start_rows(struct cons_core *c, struct raft_entry *rows)
{
	for (size_t i = 0; i < c->log.n; i++) {
		struct cons_entry *e = mlog_get(&c->log, c->log.first + i);

		rows[i].term = e->term;
		rows[i].type = e->type;
		rows[i].buf.base = e->data;
		rows[i].buf.len = e->n;
		rows[i].batch = e;
	}
}

/* S5: whether what we are about to start from has us as its only voter. */
static bool log_has_us_alone(struct cons_core *c)
{
	const uint8_t *p = c->snap.conf;
	size_t n = c->snap.conf_n;
	struct raft_configuration conf;
	const struct raft_server *us;
	bool alone;

	for (uint64_t i = c->log.first; i < c->log.first + c->log.n; i++) {
		struct cons_entry *e = mlog_get(&c->log, i);

		if (e->type == CONS_CHANGE && i > c->snap.conf_index) {
			p = e->data;
			n = e->n;
		}
	}
	if (p == NULL || !core_decode_conf(p, n, &conf))
		return false;
	us = core_server(&conf, c->o.id);
	alone = us != NULL && us->role == RAFT_VOTER && core_voters(&conf) == 1;
	raft_configuration_close(&conf);
	return alone;
}

static void start(struct cons_core *c)
{
	struct raft_event ev = {.type = RAFT_START};
	struct raft_snapshot_metadata meta = {0};
	struct raft_entry *rows = NULL;

	if (log_has_us_alone(c) && guard(c, CONS_S5)) {
		if (!c->io.set_term(c->io.arg, c->term + 1, c->o.id))
			return; /* tried again on the next tick */
		c->term++;
		c->vote = c->o.id;
	}
	raft_init(&c->raft, NULL, NULL, c->o.id, c->address);
	raft_seed(&c->raft, (unsigned)sw_rand_u64(&c->rand));
	raft_set_pre_vote(&c->raft, true);
	raft_set_election_timeout(&c->raft, (unsigned)c->o.election_ms);
	raft_set_heartbeat_timeout(&c->raft, 1); /* S11: our own timer paces the leader */
	raft_set_install_snapshot_timeout(&c->raft, (unsigned)c->o.install_ms);
	raft_set_max_inflight_entries(&c->raft, MAX_INFLIGHT);
	c->up = true;
	c->restarting = false;
	c->was_leader = false;
	c->barrier = 0;
	c->hold_from = c->cut_from = 0;
	c->fed = c->snap.index;
	c->stored = mlog_last(&c->log);
	if (c->snap.index > 0) {
		meta.index = c->snap.index;
		meta.term = c->snap.term;
		meta.configuration_index = c->snap.conf_index;
		SW_ASSERT(core_decode_conf(c->snap.conf, c->snap.conf_n, &meta.configuration));
		ev.start.metadata = &meta;
	}
	if (c->log.n > 0) {
		rows = sw_new_n(struct raft_entry, c->log.n);
		start_rows(c, rows);
	}
	ev.start.term = c->term;
	ev.start.voted_for = c->vote;
	ev.start.start_index = c->log.first;
	ev.start.entries = rows;
	ev.start.n_entries = (unsigned)c->log.n;
	core_step(c, &ev);
	free(rows);
}

/* Starts raft anew from what is on disk, once everything queued is there. Until then nothing goes
 * in or out. */
void core_restart(struct cons_core *c)
{
	if (c->restarting)
		return;
	c->restarting = true;
	transfer_stop_all(c);
	if (c->hold_from != 0)
		mlog_cut(&c->log, c->hold_from);
	c->hold_from = c->cut_from = 0;
	members_lost(c);
	if (!c->installing) {
		incoming_free(c->incoming);
		c->incoming = NULL;
	}
}

static void restart_if_drained(struct cons_core *c)
{
	if (!c->restarting || c->n_ops > 0 || c->stalled || c->snapshot_committing)
		return;
	if (c->up) {
		raft_close(&c->raft, NULL);
		memset(&c->raft, 0, sizeof c->raft);
		c->up = false;
	}
	start(c);
}

/* ---- after each event ---- */

static void feed_changes(struct cons_core *c)
{
	uint64_t commit = raft_commit_index(&c->raft);
	uint64_t to = commit < c->applied ? commit : c->applied;

	while (c->fed < to && !c->failed && !c->stalled && !c->installing) {
		const struct cons_entry *e = mlog_get(&c->log, ++c->fed);
		struct raft_event ev = {.type = RAFT_CONFIGURATION};

		if (e == NULL || e->type != CONS_CHANGE)
			continue;
		ev.configuration.index = c->fed;
		if (!core_decode_conf(e->data, e->n, &ev.configuration.conf)) {
			core_fatal(c, SW_ECORRUPT, "the configuration in row %llu is damaged",
				   (unsigned long long)c->fed);
			return;
		}
		core_step(c, &ev);
	}
}

static bool conf_has(const struct cons_meta *m, uint64_t id)
{
	struct raft_configuration conf;
	bool has;

	if (m->conf == NULL || !core_decode_conf(m->conf, m->conf_n, &conf))
		return false;
	has = core_server(&conf, id) != NULL;
	raft_configuration_close(&conf);
	return has;
}

static void core_removed(struct cons_core *c)
{
	core_fatal(c, SW_EPRECOND,
		   "this manager was removed from the cluster: remove its data folder before it "
		   "joins again");
}

static void apply_one(struct cons_core *c, struct cons_entry *e)
{
	uint64_t index = ++c->applied;
	bool removed = e->type == CONS_CHANGE && conf_has(&c->conf, c->o.id);

	if (e->type == CONS_CHANGE) {
		free(c->conf.conf);
		c->conf.conf = sw_memdup(e->data, e->n);
		c->conf.conf_n = e->n;
		c->conf.conf_index = index;
	}
	c->io.apply(c->io.arg, index, e);
	if (e->type == CONS_CHANGE)
		c->io.on_members(c->io.arg);
	members_applied(c, index);
	if (removed && !conf_has(&c->conf, c->o.id))
		core_removed(c);
}

static void apply_ready(struct cons_core *c)
{
	while (!c->failed && !c->stalled && !c->installing && !c->restarting) {
		struct cons_entry *e;

		feed_changes(c);
		if (c->applied >= c->commit || c->stalled || c->installing)
			break;
		e = mlog_get(&c->log, c->applied + 1);
		if (e == NULL)
			break;
		cons_entry_ref(e);
		apply_one(c, e);
		cons_entry_unref(e);
	}
}

static void maybe_snapshot(struct cons_core *c)
{
	if (c->snapshot_taking || c->snapshot_committing || c->installing || c->restarting ||
	    c->conf.conf == NULL || c->applied < c->snap.index + c->o.snapshot_every ||
	    mlog_term(&c->log, c->applied) == 0)
		return;
	cons_meta_copy(&c->taking, &c->conf);
	c->taking.index = c->applied;
	c->taking.term = mlog_term(&c->log, c->applied);
	c->snapshot_taking = true;
	c->io.snapshot_take(c->io.arg, &c->taking);
}

static void tell_role(struct cons_core *c)
{
	bool leading = cons_core_is_leader(c);
	uint64_t leader = cons_core_leader(c, NULL);

	if (leading == c->told_leading && leader == c->told_leader)
		return;
	c->told_leading = leading;
	c->told_leader = leader;
	c->io.on_role(c->io.arg, leading, leader);
}

void core_settle(struct cons_core *c)
{
	if (c->failed || c->stalled)
		return;
	/* S12: the lead was lost while our own write of the change waited. */
	if (c->hold_from != 0 && !c->restarting && raft_state(&c->raft) != RAFT_LEADER)
		core_restart(c);
	if (c->hold_from != 0 && !c->restarting) {
		raft_index match = 0;

		if (raft_match_index(&c->raft, c->hold_voter, &match) == 0 &&
		    match >= c->hold_from) {
			uint64_t from = c->hold_from;

			c->hold_from = 0;
			step_queue_rows(c, from);
		} else if (c->now >= c->hold_deadline) {
			core_restart(c);
		}
	}
	restart_if_drained(c);
	if (!c->up)
		return;
	apply_ready(c);
	if (c->failed || c->stalled)
		return;
	if (raft_state(&c->raft) != RAFT_LEADER)
		members_lost(c);
	maybe_snapshot(c);
	tell_role(c);
}

/* ---- events ---- */

static void wrote_rows(struct cons_core *c, uint64_t last)
{
	struct raft_event ev = {.type = RAFT_PERSISTED_ENTRIES};

	if (c->restarting || c->installing)
		return;
	if (guard(c, CONS_S4) && last <= c->stored)
		return;
	c->stored = last;
	if (c->cut_from != 0 && c->stored >= c->cut_from)
		c->cut_from = 0;
	ev.persisted_entries.index = last;
	core_step(c, &ev);
}

static void made_snapshot(struct cons_core *c)
{
	struct raft_event ev = {.type = RAFT_SNAPSHOT};
	uint64_t keep = c->o.snapshot_keep;

	c->snapshot_committing = false;
	cons_meta_fini(&c->snap);
	c->snap = c->taking;
	c->taking = (struct cons_meta){0};
	if (c->snap.index > keep)
		mlog_drop(&c->log, c->snap.index - keep + 1);
	c->log.snap_index = c->snap.index;
	c->log.snap_term = c->snap.term;
	c->io.snapshot_retire(c->io.arg, c->snap.index);
	if (c->restarting)
		return;
	ev.snapshot.metadata.index = c->snap.index;
	ev.snapshot.metadata.term = c->snap.term;
	ev.snapshot.metadata.configuration_index = c->snap.conf_index;
	ev.snapshot.trailing = (unsigned)keep;
	SW_ASSERT(core_decode_conf(c->snap.conf, c->snap.conf_n,
				   &ev.snapshot.metadata.configuration));
	core_step(c, &ev);
}

static void installed(struct cons_core *c)
{
	struct raft_event ev = {.type = RAFT_PERSISTED_SNAPSHOT};
	struct incoming *in = c->incoming;
	struct sw_error err = {0};

	if (c->io.restore(c->io.arg, in->meta.index, in->p, in->n, &err) != 0) {
		core_fatal(c, SW_ECORRUPT,
			   "the snapshot up to entry %llu from the leader can't be used: %s",
			   (unsigned long long)in->meta.index, err.msg);
		return;
	}
	cons_meta_copy(&c->snap, &in->meta);
	cons_meta_copy(&c->conf, &in->meta);
	c->applied = in->meta.index;
	c->fed = in->meta.index;
	if (c->commit < c->applied)
		c->commit = c->applied;
	c->stored = in->meta.index;
	incoming_free(in);
	c->incoming = NULL;
	c->installing = false;
	c->io.snapshot_retire(c->io.arg, c->snap.index);
	c->io.on_members(c->io.arg);
	if (c->restarting)
		return;
	ev.persisted_snapshot.metadata.index = c->snap.index;
	ev.persisted_snapshot.metadata.term = c->snap.term;
	ev.persisted_snapshot.metadata.configuration_index = c->snap.conf_index;
	ev.persisted_snapshot.last = true;
	SW_ASSERT(core_decode_conf(c->snap.conf, c->snap.conf_n,
				   &ev.persisted_snapshot.metadata.configuration));
	core_step(c, &ev);
}

/* What the disk has finished, in its order. */
void core_drain_ops(struct cons_core *c)
{
	while (c->n_ops > 0 && c->ops[0].seq <= c->done_seq && !c->stalled && !c->failed) {
		struct disk_op op = c->ops[0];

		memmove(c->ops, c->ops + 1, --c->n_ops * sizeof *c->ops);
		/* Of several finished writes only the last needs telling, if none was cut. */
		if (op.kind == OP_WRITE && c->n_ops > 0 && c->ops[0].kind == OP_WRITE &&
		    c->ops[0].seq <= c->done_seq && c->ops[0].last >= op.last)
			continue;
		if (op.kind == OP_WRITE && !op.overtaken)
			wrote_rows(c, op.last);
		else if (op.kind == OP_SNAPSHOT)
			made_snapshot(c);
		else if (op.kind == OP_INSTALL)
			installed(c);
	}
}

void cons_core_written(struct cons_core *c, uint64_t now, uint64_t seq)
{
	c->now = now;
	if (seq > c->done_seq)
		c->done_seq = seq;
	if (c->failed || c->stalled)
		return;
	core_drain_ops(c);
	core_settle(c);
}

void cons_core_snapshot_taken(struct cons_core *c, uint64_t now, bool ok)
{
	uint64_t keep;

	c->now = now;
	c->snapshot_taking = false;
	if (c->failed)
		return;
	/* An install overtook it, or the disk is in trouble: begun again by the usual rule. */
	if (!ok || c->installing || c->snap.index >= c->taking.index) {
		c->io.snapshot_discard(c->io.arg, c->taking.index);
		cons_meta_fini(&c->taking);
	} else {
		keep = c->taking.index > c->o.snapshot_keep
			       ? c->taking.index - c->o.snapshot_keep + 1
			       : 1;
		c->snapshot_committing = true;
		c->io.snapshot_commit(c->io.arg, core_queue(c, OP_SNAPSHOT, 0), &c->taking, keep);
	}
	core_settle(c);
}

static void receive_append(struct cons_core *c, uint64_t from, const char *address,
			   struct cons_frame *f)
{
	struct cons_span *rows = f->append.rows;
	uint32_t left;

	if (!guard_trim_append(c, f))
		return;
	left = f->append.n;
	do {
		uint32_t n = guard_piece(c, rows, left);
		struct raft_message m = {.type = RAFT_APPEND_ENTRIES};
		struct raft_event ev = {.type = RAFT_RECEIVE};
		struct raft_entry *e = n > 0 ? sw_new_n(struct raft_entry, n) : NULL;
		void *token = n > 0 ? raft_malloc(1) : NULL; /* raft frees it or gives it back */

		for (uint32_t i = 0; i < n; i++) {
			e[i].term = rows[i].term;
			e[i].type = rows[i].type;
			e[i].buf.base = (void *)(uintptr_t)rows[i].p;
			e[i].buf.len = rows[i].n;
			e[i].batch = token;
		}
		m.server_id = from;
		m.server_address = address;
		m.append_entries.term = f->term;
		m.append_entries.prev_log_index = f->append.prev;
		m.append_entries.prev_log_term = f->append.prev_term;
		m.append_entries.leader_commit = f->append.commit;
		m.append_entries.entries = e;
		m.append_entries.n_entries = n;
		ev.receive.message = &m;
		c->receiving = f;
		core_step(c, &ev);
		c->receiving = NULL;
		free(e);
		if (n == 0)
			break;
		f->append.prev += n;
		f->append.prev_term = rows[n - 1].term;
		rows += n;
		left -= n;
	} while (left > 0 && !c->stalled && !c->failed);
}

static void receive_simple(struct cons_core *c, uint64_t from, const char *address,
			   struct cons_frame *f)
{
	struct raft_message m = {.server_id = from, .server_address = address};
	struct raft_event ev = {.type = RAFT_RECEIVE};

	switch (f->type) {
	case CONS_F_APPEND_RESULT:
		guard_lost_snapshot(c, from, f);
		guard_stale_rejection(c, from, f);
		m.type = RAFT_APPEND_ENTRIES_RESULT;
		m.append_entries_result.version = 1;
		m.append_entries_result.term = f->term;
		m.append_entries_result.rejected = f->append_result.rejected;
		m.append_entries_result.last_log_index = f->append_result.last;
		m.append_entries_result.features = f->append_result.features;
		break;
	case CONS_F_VOTE:
		m.type = RAFT_REQUEST_VOTE;
		m.request_vote.version = 2;
		m.request_vote.term = f->term;
		m.request_vote.candidate_id = from; /* never what the frame says */
		m.request_vote.last_log_index = f->vote.last;
		m.request_vote.last_log_term = f->vote.last_term;
		m.request_vote.disrupt_leader = f->vote.disrupt;
		m.request_vote.pre_vote = f->vote.pre;
		break;
	case CONS_F_VOTE_RESULT:
		/* S14: the core reads a union's other member. */
		if (raft_state(&c->raft) != RAFT_CANDIDATE && guard(c, CONS_S14))
			return;
		m.type = RAFT_REQUEST_VOTE_RESULT;
		m.request_vote_result.version = 2;
		m.request_vote_result.term = f->term;
		m.request_vote_result.vote_granted = f->vote_result.granted;
		m.request_vote_result.pre_vote = f->vote_result.pre;
		m.request_vote_result.features = f->vote_result.features;
		break;
	case CONS_F_TIMEOUT_NOW:
		if (core_only_voter(c) && guard(c, CONS_S5))
			return;
		m.type = RAFT_TIMEOUT_NOW;
		m.timeout_now.version = 1;
		m.timeout_now.term = f->term;
		m.timeout_now.last_log_index = f->timeout_now.last;
		m.timeout_now.last_log_term = f->timeout_now.last_term;
		break;
	default:
		return;
	}
	ev.receive.message = &m;
	core_step(c, &ev);
}

static void heard(struct cons_core *c, uint64_t from)
{
	size_t at = 0;

	for (size_t i = 0; i < CONS_MEMBERS_MAX; i++) {
		if (c->heard[i].id == from) {
			at = i;
			break;
		}
		if (c->heard[i].at < c->heard[at].at)
			at = i;
	}
	c->heard[at].id = from;
	c->heard[at].at = c->now;
}

/* One who was removed was not told by anybody, and asks for votes. Only a leader that has applied a
 * row of its own term is sure enough to say so. */
static bool tell_gone(struct cons_core *c, uint64_t from, const char *address,
		      const struct cons_frame *f)
{
	struct cons_frame gone = {.type = CONS_F_GONE, .term = raft_current_term(&c->raft)};

	if (f->type != CONS_F_VOTE || !cons_core_is_leader(c) ||
	    c->raft.configuration_uncommitted_index != 0 ||
	    core_server(&c->raft.configuration, from) != NULL)
		return false;
	gone.gone.conf_index = c->conf.conf_index;
	core_send(c, from, address, &gone);
	return true;
}

void cons_core_receive(struct cons_core *c, uint64_t now, uint64_t from, const char *address,
		       const uint8_t *p, size_t n)
{
	struct cons_frame f;

	c->now = now;
	if (c->failed || c->stalled || c->restarting || !c->up || from == 0 || from == c->o.id)
		return;
	if (cons_frame_decode(p, n, &f, NULL) != 0)
		return;
	heard(c, from);
	if (guard_stale_term(c, from, address, &f) || tell_gone(c, from, address, &f)) {
		cons_frame_fini(&f);
		return;
	}
	/* Two leaders in one term can't be; a frame that says so is a lie or an echo of our own. */
	if ((f.type == CONS_F_APPEND || f.type == CONS_F_SNAPSHOT) &&
	    f.term == raft_current_term(&c->raft) && raft_state(&c->raft) == RAFT_LEADER) {
		cons_frame_fini(&f);
		return;
	}
	if (f.type == CONS_F_APPEND)
		receive_append(c, from, address, &f);
	else if (f.type == CONS_F_SNAPSHOT)
		incoming_chunk(c, from, address, &f);
	else if (f.type == CONS_F_SNAPSHOT_ACK)
		transfer_ack(c, from, &f);
	else if (f.type == CONS_F_GONE && f.gone.conf_index > c->conf.conf_index)
		core_removed(c);
	else if (f.type != CONS_F_GONE)
		receive_simple(c, from, address, &f);
	cons_frame_fini(&f);
	core_settle(c);
}

/* ---- proposals ---- */

static int submit(struct cons_core *c, struct cons_entry **e, size_t n, uint64_t *ret_first)
{
	struct raft_event ev = {.type = RAFT_SUBMIT};
	uint64_t term = raft_current_term(&c->raft);
	uint64_t first = mlog_last(&c->log) + 1;
	struct raft_entry *rows;
	int rv;

	if (raft_state(&c->raft) != RAFT_LEADER)
		return SW_ENOTLEADER;
	rows = sw_new_n(struct raft_entry, n);
	for (size_t i = 0; i < n; i++) {
		e[i]->term = term;
		rows[i].term = term;
		rows[i].type = e[i]->type;
		rows[i].buf.base = e[i]->data;
		rows[i].buf.len = e[i]->n;
		rows[i].batch = e[i];
	}
	ev.submit.entries = rows;
	ev.submit.n = (unsigned)n;
	c->submitting = n;
	c->submitted = e;
	rv = core_step(c, &ev);
	c->submitting = 0;
	free(rows);
	if (rv != 0)
		return rv == RAFT_CANTCHANGE ? SW_EPRECOND : SW_ENOTLEADER;
	*ret_first = first;
	return 0;
}

int core_submit(struct cons_core *c, uint8_t type, const void *p, size_t n, uint64_t *ret_index)
{
	struct cons_entry *e = cons_entry_new(0, type, p, n);
	int rv = submit(c, &e, 1, ret_index);

	cons_entry_unref(e);
	return rv;
}

int cons_core_propose(struct cons_core *c, uint64_t now, struct cons_entry **e, size_t n,
		      uint64_t *ret_first, uint64_t *ret_term)
{
	int rv;

	c->now = now;
	if (c->failed || c->restarting || !c->up)
		return SW_ENOTLEADER;
	if (c->stalled)
		return SW_EUNAVAIL;
	rv = submit(c, e, n, ret_first);
	if (rv == 0)
		*ret_term = e[0]->term;
	core_settle(c);
	return rv;
}

int cons_core_transfer(struct cons_core *c, uint64_t now, uint64_t to)
{
	struct raft_event ev = {.type = RAFT_TRANSFER};

	c->now = now;
	if (c->failed || c->stalled || c->restarting || !c->up ||
	    raft_state(&c->raft) != RAFT_LEADER || c->hold_from != 0)
		return SW_ENOTLEADER;
	ev.transfer.server_id = to;
	if (core_step(c, &ev) != 0)
		return SW_EPRECOND;
	core_settle(c);
	return 0;
}

/* ---- life ---- */

static void core_defaults(struct cons_core_options *o)
{
	o->heartbeat_ms = o->heartbeat_ms > 0 ? o->heartbeat_ms : 100;
	o->election_ms = o->election_ms > 0 ? o->election_ms : 400;
	o->install_ms = o->install_ms > 0 ? o->install_ms : 60000;
	o->snapshot_every = o->snapshot_every > 0 ? o->snapshot_every : 8192;
	o->snapshot_keep = o->snapshot_keep > 0 ? o->snapshot_keep : 4096;
	o->chunk = o->chunk > 0 ? o->chunk : 512 * 1024;
}

int cons_core_new(const struct cons_core_options *o, const struct cons_io *io,
		  struct cons_disk_state *disk, uint64_t now, struct cons_core **ret,
		  struct sw_error *err)
{
	struct cons_core *c;

	if (disk->n > 0 && disk->first == 1 && disk->snapshot.index == 0 &&
	    disk->entries[0]->type != CONS_CHANGE)
		return sw_fail(err, SW_ECORRUPT,
			       "row 1 of the log is not the first configuration: the data folder "
			       "is damaged, remove it and join again");
	c = sw_new(struct cons_core);
	c->o = *o;
	core_defaults(&c->o);
	strncpy(c->address, o->address, sizeof c->address - 1);
	c->o.address = c->address;
	c->io = *io;
	c->now = now;
	c->out.max = CONS_FRAME_MAX + CONS_CONF_MAX;
	sw_rand_init(&c->rand, o->seed);
	c->term = disk->term;
	c->vote = disk->vote;
	c->snap = disk->snapshot;
	disk->snapshot = (struct cons_meta){0};
	if (c->snap.index > 0)
		cons_meta_copy(&c->conf, &c->snap);
	c->applied = c->commit = c->snap.index;
	mlog_reset(&c->log, c->snap.index, c->snap.term);
	if (disk->n > 0)
		c->log.first = disk->first;
	for (size_t i = 0; i < disk->n; i++)
		mlog_append(&c->log, cons_entry_ref(disk->entries[i]));
	cons_disk_state_fini(disk);
	/* Raft starts with the first tick, which is due at once: then the caller is ready for what
	 * comes out. */
	c->restarting = true;
	*ret = c;
	return 0;
}

void cons_core_free(struct cons_core *c)
{
	if (c == NULL)
		return;
	transfer_stop_all(c);
	if (c->up)
		raft_close(&c->raft, NULL);
	for (size_t i = 0; i < c->n_held_rows; i++)
		cons_entry_unref(c->held_rows[i]);
	free(c->held_rows);
	incoming_free(c->incoming);
	cons_meta_fini(&c->snap);
	cons_meta_fini(&c->conf);
	cons_meta_fini(&c->taking);
	mlog_fini(&c->log);
	sw_buf_fini(&c->out);
	free(c->ops);
	free(c);
}
