/*
 * One step of raft: an event goes in, and what comes out is carried out in the order that the
 * contract asks for: term and vote durable before anything leaves; entries; snapshot; messages;
 * state; commit.
 */
#include "manager/consensus/core.h"

#include "base/assert.h"
#include "base/mem.h"
#include "manager/consensus/core_internal.h"

enum { HOLD_MS = 2000 /* S12 */ };

/* Rows [from, from + n) as one or more frames of at most about CONS_FRAME_SOFT bytes. */
static void send_append(struct cons_core *c, const struct raft_message *m)
{
	const struct raft_append_entries *a = &m->append_entries;
	struct cons_frame f = {.type = CONS_F_APPEND, .term = a->term};
	uint64_t prev = a->prev_log_index, end = prev + a->n_entries;
	struct cons_span *rows = a->n_entries > 0 ? sw_new_n(struct cons_span, a->n_entries) : NULL;

	/* S12, 2 voters to 1: the change leaves only after our own write. */
	if (c->cut_from != 0 && end >= c->cut_from)
		end = prev >= c->cut_from ? prev : c->cut_from - 1;
	f.append.prev = prev;
	f.append.prev_term = a->prev_log_term;
	f.append.commit = a->leader_commit;
	f.append.rows = rows;
	do {
		size_t bytes = 0;

		f.append.n = 0;
		while (prev + f.append.n < end && bytes < CONS_FRAME_SOFT) {
			const struct cons_entry *e = mlog_get(&c->log, prev + f.append.n + 1);

			if (e == NULL || (f.append.n > 0 && bytes + e->n > CONS_FRAME_SOFT))
				break;
			rows[f.append.n++] = (struct cons_span){e->term, e->data, e->n, e->type};
			bytes += e->n + 16u;
		}
		if (!core_send(c, m->server_id, m->server_address, &f) || f.append.n == 0)
			break;
		prev += f.append.n;
		f.append.prev = prev;
		f.append.prev_term = rows[f.append.n - 1].term;
	} while (prev < end);
	free(rows);
}

static void send_message(struct cons_core *c, struct raft_message *m)
{
	struct cons_frame f = {0};

	guard_outgoing(c, m);
	switch (m->type) {
	case RAFT_APPEND_ENTRIES:
		send_append(c, m);
		return;
	case RAFT_INSTALL_SNAPSHOT:
		transfer_begin(c, m->server_id, m->server_address, m->install_snapshot.last_index);
		return;
	case RAFT_APPEND_ENTRIES_RESULT:
		f.type = CONS_F_APPEND_RESULT;
		f.term = m->append_entries_result.term;
		f.append_result.rejected = m->append_entries_result.rejected;
		f.append_result.last = m->append_entries_result.last_log_index;
		f.append_result.features = m->append_entries_result.features;
		break;
	case RAFT_REQUEST_VOTE:
		f.type = CONS_F_VOTE;
		f.term = m->request_vote.term;
		f.vote.candidate = m->request_vote.candidate_id;
		f.vote.last = m->request_vote.last_log_index;
		f.vote.last_term = m->request_vote.last_log_term;
		f.vote.disrupt = m->request_vote.disrupt_leader;
		f.vote.pre = m->request_vote.pre_vote;
		break;
	case RAFT_REQUEST_VOTE_RESULT:
		f.type = CONS_F_VOTE_RESULT;
		f.term = m->request_vote_result.term;
		f.vote_result.granted = m->request_vote_result.vote_granted;
		f.vote_result.pre = m->request_vote_result.pre_vote;
		f.vote_result.features = m->request_vote_result.features;
		break;
	case RAFT_TIMEOUT_NOW:
		f.type = CONS_F_TIMEOUT_NOW;
		f.term = m->timeout_now.term;
		f.timeout_now.last = m->timeout_now.last_log_index;
		f.timeout_now.last_term = m->timeout_now.last_log_term;
		break;
	default:
		return;
	}
	core_send(c, m->server_id, m->server_address, &f);
}

/* Takes the rows of an update over as ours and frees what raft's contract leaves to us. Done before
 * anything can wait, because a frame's bytes are gone after the call that brought it. */
static void collect_rows(struct cons_core *c, struct raft_update *u)
{
	unsigned n = u->entries.n;

	c->held_rows = NULL;
	c->n_held_rows = 0;
	if ((u->flags & (RAFT_UPDATE_ENTRIES)) == 0)
		return;
	c->held_rows = sw_new_n(struct cons_entry *, n);
	c->n_held_rows = n;
	for (unsigned i = 0; i < n; i++) {
		const struct raft_entry *e = &u->entries.batch[i];

		if (c->submitting > 0)
			c->held_rows[i] = cons_entry_ref(c->submitted[i]);
		else
			c->held_rows[i] =
				cons_entry_new(e->term, (uint8_t)e->type, e->buf.base, e->buf.len);
	}
	if (c->submitting == 0)
		raft_free(u->entries.batch[0].batch); /* the token, or raft's own barrier */
}

/* S12: a leader's own change of the number of voters between one and two. */
static void watch_change(struct cons_core *c, uint64_t index, const struct cons_entry *e)
{
	struct raft_configuration to;
	unsigned before = 0, after;

	if (e->type != CONS_CHANGE || c->submitting == 0 || !guard(c, CONS_S12))
		return;
	if (!core_decode_conf(e->data, e->n, &to))
		return;
	after = core_voters(&to);
	if (c->change.kind != CHANGE_NONE)
		before = after + (c->change.kind == CHANGE_REMOVE) -
			 (c->change.step == STEP_PROMOTE);
	if (after == 2 && before == 1) {
		c->hold_from = index;
		c->hold_voter = c->change.id;
		c->hold_deadline = c->now + HOLD_MS;
	} else if (after == 1 && before == 2) {
		c->cut_from = index;
	}
	raft_configuration_close(&to);
}

void step_queue_rows(struct cons_core *c, uint64_t from)
{
	uint64_t last = mlog_last(&c->log);
	size_t n = (size_t)(last + 1 - from);
	struct cons_entry **rows = sw_new_n(struct cons_entry *, n > 0 ? n : 1);

	for (size_t i = 0; i < n; i++)
		rows[i] = mlog_get(&c->log, from + i);
	guard_cut_writes(c, from);
	c->io.write(c->io.arg, core_queue(c, OP_WRITE, last), from, rows, n);
	free(rows);
}

static void take_rows(struct cons_core *c, uint64_t from)
{
	mlog_cut(&c->log, from);
	SW_ASSERT(from == mlog_last(&c->log) + 1);
	if (c->cut_from != 0 && from <= c->cut_from && c->submitting == 0)
		c->cut_from = 0;
	for (size_t i = 0; i < c->n_held_rows; i++) {
		mlog_append(&c->log, c->held_rows[i]);
		watch_change(c, from + i, c->held_rows[i]);
		if (c->held_rows[i]->type == CONS_BARRIER && c->submitting == 0 &&
		    c->receiving == NULL && raft_state(&c->raft) == RAFT_LEADER)
			c->barrier = from + i;
	}
	c->n_held_rows = 0;
	if (c->hold_from == 0 || from < c->hold_from) {
		c->hold_from = 0;
		step_queue_rows(c, from);
	} else if (raft_state(&c->raft) != RAFT_LEADER) {
		/* The new leader stands on the change: so the new voter has it. When the change
		 * itself was just replaced, the same call writes its replacement. */
		uint64_t hold = c->hold_from;

		c->hold_from = 0;
		step_queue_rows(c, hold);
	}
}

static void take_snapshot(struct cons_core *c)
{
	struct incoming *in = c->incoming;

	SW_ASSERT(in != NULL);
	c->installing = true;
	c->hold_from = c->cut_from = 0;
	for (size_t i = 0; i < c->n_ops; i++)
		c->ops[i].overtaken = c->ops[i].kind == OP_WRITE;
	mlog_reset(&c->log, in->meta.index, in->meta.term);
	c->io.install(c->io.arg, core_queue(c, OP_INSTALL, in->meta.index), &in->meta, in->p,
		      in->n);
}

/* Leadership as raft has it came or went. */
static void state_changed(struct cons_core *c)
{
	bool leader = raft_state(&c->raft) == RAFT_LEADER;
	uint64_t index;

	if (leader == c->was_leader)
		return;
	c->was_leader = leader;
	c->lost_due = 0;
	if (!leader) {
		c->barrier = 0;
		c->cut_from = 0;
		transfer_stop_all(c);
		return;
	}
	c->next_beat = c->now + c->o.heartbeat_ms;
	/* S7: a row of our own term, unless raft made one itself. */
	if (c->barrier == 0 && guard(c, CONS_S7_BARRIER)) {
		static const uint8_t nothing[8];

		if (core_submit(c, CONS_BARRIER, nothing, sizeof nothing, &index) == 0)
			c->barrier = index;
	}
}

static void carry_out(struct cons_core *c)
{
	struct raft_update u = c->held;

	if (c->held_rows != NULL) {
		if (c->n_held_rows > 0)
			take_rows(c, u.entries.index);
		free(c->held_rows);
		c->held_rows = NULL;
	}
	if ((u.flags & (RAFT_UPDATE_SNAPSHOT)) != 0)
		take_snapshot(c);
	if ((u.flags & (RAFT_UPDATE_MESSAGES)) != 0)
		for (unsigned i = 0; i < u.messages.n; i++)
			send_message(c, &u.messages.batch[i]);
	if (raft_commit_index(&c->raft) > c->commit)
		c->commit = raft_commit_index(&c->raft);
	c->submitting = 0;
	c->receiving = NULL;
	state_changed(c);
}

static bool write_term(struct cons_core *c)
{
	uint64_t term = raft_current_term(&c->raft), vote = raft_voted_for(&c->raft);

	if (!c->io.set_term(c->io.arg, term, vote))
		return false;
	c->term = term;
	c->vote = vote;
	return true;
}

int core_step(struct cons_core *c, struct raft_event *ev)
{
	struct raft_update u = {0};
	int rv;

	SW_ASSERT(!c->stalled);
	ev->time = c->now;
	rv = raft_step(&c->raft, ev, &u);
	if (rv == RAFT_NOTLEADER || rv == RAFT_CANTCHANGE || (rv != 0 && ev->type == RAFT_TRANSFER))
		return rv;
	if (rv == RAFT_SHUTDOWN) {
		core_fatal(c, SW_ECORRUPT,
			   "this manager's log differs from the cluster's in a committed entry: "
			   "remove its data folder and join it again as a new manager");
		return rv;
	}
	if (rv != 0) {
		core_fatal(c, SW_EINTERNAL, "raft: event %d failed: %s (%s)", (int)ev->type,
			   raft_strerror(rv), c->raft.errmsg);
		return rv;
	}
	collect_rows(c, &u);
	c->held = u;
	if ((u.flags & ((RAFT_UPDATE_CURRENT_TERM) | (RAFT_UPDATE_VOTED_FOR))) != 0 &&
	    !write_term(c)) {
		c->stalled = true;
		return 0;
	}
	carry_out(c);
	return 0;
}

bool step_resume(struct cons_core *c)
{
	if (!write_term(c))
		return false;
	c->stalled = false;
	carry_out(c);
	return true;
}
