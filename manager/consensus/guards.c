/*
 * The rules that libraft's core needs round itself to be safe, one function each, numbered as in
 * the table of docs/protocols/raft.md. Those that are a matter of order (S5, S7, S8, S11, S12) are
 * where that order is: core.c, members.c, transfer.c.
 */
#include "manager/consensus/core_internal.h"

#include <string.h>

/* S1: a message of an older leader never reaches the core, whose answer to it can read as a
 * success. We answer with our term and a rejection of anything. */
bool guard_stale_term(struct cons_core *c, uint64_t from, const char *address,
		      const struct cons_frame *f)
{
	uint64_t prev = f->type == CONS_F_APPEND ? f->append.prev : f->snapshot.index;
	uint64_t term = raft_current_term(&c->raft);
	struct cons_frame answer = {.type = CONS_F_APPEND_RESULT, .term = term};

	if (f->type != CONS_F_APPEND && f->type != CONS_F_SNAPSHOT)
		return false;
	if (f->term >= term || !guard(c, CONS_S1))
		return false;
	answer.append_result.rejected = prev > 0 ? prev : 1;
	answer.append_result.last = answer.append_result.rejected - 1;
	core_send(c, from, address, &answer);
	return true;
}

/* S2: rows up to our commit are as the leader has them, and may be compacted away: an AppendEntries
 * that begins below is begun at the commit. False: drop it. */
bool guard_trim_append(struct cons_core *c, struct cons_frame *f)
{
	uint64_t skip, commit = c->commit;

	if (c->installing || f->append.prev >= commit || !guard(c, CONS_S2))
		return true;
	if (mlog_term(&c->log, commit) == 0)
		return false;
	skip = commit - f->append.prev;
	if (skip > f->append.n)
		skip = f->append.n;
	f->append.n -= (uint32_t)skip;
	if (f->append.n > 0)
		memmove(f->append.rows, f->append.rows + skip,
			f->append.n * sizeof *f->append.rows);
	f->append.prev = commit;
	f->append.prev_term = mlog_term(&c->log, commit);
	return true;
}

/* S3: how many of these rows may be handed over at once. The core takes the index of the first for
 * that of a change, so a change must be the first. */
uint32_t guard_piece(const struct cons_core *c, const struct cons_span *rows, uint32_t n)
{
	if (!guard(c, CONS_S3))
		return n;
	for (uint32_t i = 1; i < n; i++)
		if (rows[i].type == CONS_CHANGE)
			return i;
	return n;
}

/* S4: rows >= from are being cut. Writes in flight that had them report only what remains: the core
 * keeps an index, not a term, and would acknowledge rows that are not durable. */
void guard_cut_writes(struct cons_core *c, uint64_t from)
{
	if (!guard(c, CONS_S4))
		return;
	for (size_t i = 0; i < c->n_ops; i++)
		if (c->ops[i].kind == OP_WRITE && c->ops[i].last >= from)
			c->ops[i].last = from - 1;
	if (c->stored >= from)
		c->stored = from - 1;
}

/*
 * S17: raft waits for the outcome of the snapshot that it asked to send, by that snapshot's index;
 * its heartbeats meanwhile stand on the newest one. When ours overtakes a transfer, or its result is
 * lost, no rejection ever names the index that raft waits for, and nothing is sent until
 * install_snapshot_timeout. The next rejection is handed over as one of that snapshot.
 */
void guard_lost_snapshot(struct cons_core *c, uint64_t from, struct cons_frame *f)
{
	uint64_t lost;

	if (raft_state(&c->raft) != RAFT_LEADER || f->term != raft_current_term(&c->raft) ||
	    !guard(c, CONS_S17))
		return;
	if (f->append_result.rejected == 0) {
		transfer_matched(c, from, f->append_result.last);
		return;
	}
	lost = transfer_lost(c, from);
	if (lost != 0)
		f->append_result.rejected = lost;
}

/* S13: a rejection of what is known to match, or with less than what matches, is late or doubled.
 */
void guard_stale_rejection(struct cons_core *c, uint64_t from, struct cons_frame *f)
{
	raft_index match = 0;

	if (f->append_result.rejected == 0 || raft_state(&c->raft) != RAFT_LEADER ||
	    f->term != raft_current_term(&c->raft) || !guard(c, CONS_S13))
		return;
	if (core_server(&c->raft.configuration, from) == NULL ||
	    raft_match_index(&c->raft, from, &match) != 0)
		return;
	if (f->append_result.rejected > match && f->append_result.last >= match)
		return;
	f->append_result.rejected = 0;
	f->append_result.last = match;
}

/* S16: skip our whole conflicting term in one round trip, but never below our commit. */
static void guard_conflict_hint(const struct cons_core *c, struct raft_append_entries_result *r)
{
	uint64_t at = r->rejected, term;

	if (r->rejected == 0 || r->last_log_index != r->rejected - 1 || !guard(c, CONS_S16))
		return;
	term = mlog_term(&c->log, at);
	if (term == 0)
		return;
	while (at > c->log.first && at > c->commit + 1 && mlog_term(&c->log, at - 1) == term)
		at--;
	if (at - 1 < r->last_log_index && at - 1 >= c->commit)
		r->last_log_index = at - 1;
}

/* What the core says wrongly on its way out. */
void guard_outgoing(struct cons_core *c, struct raft_message *m)
{
	struct raft_request_vote_result *v = &m->request_vote_result;

	/* S6: a refused pre-vote must carry our term, or one with a longer log and a lower term may
	 * never catch up. */
	if (m->type == RAFT_REQUEST_VOTE_RESULT && v->pre_vote && !v->vote_granted &&
	    v->term < raft_current_term(&c->raft) && guard(c, CONS_S6))
		v->term = raft_current_term(&c->raft);
	if (m->type == RAFT_APPEND_ENTRIES_RESULT)
		guard_conflict_hint(c, &m->append_entries_result);
}

/* S7: the membership changes only when the barrier of our own term is applied and every other voter
 * but the one it is about has it and the last configuration. */
bool guard_change_allowed(struct cons_core *c, uint64_t about)
{
	const struct raft_configuration *conf = &c->raft.configuration;
	uint64_t last_conf = c->raft.configuration_uncommitted_index;

	if (raft_state(&c->raft) != RAFT_LEADER || raft_transferee(&c->raft) != 0 || last_conf != 0)
		return false;
	if (guard(c, CONS_S7_BARRIER) && (c->barrier == 0 || c->applied < c->barrier))
		return false;
	if (!guard(c, CONS_S7_GATE))
		return true;
	last_conf = c->raft.configuration_committed_index;
	for (unsigned i = 0; i < conf->n; i++) {
		raft_index match = 0;

		if (conf->servers[i].role != RAFT_VOTER || conf->servers[i].id == c->o.id ||
		    conf->servers[i].id == about)
			continue;
		if (raft_match_index(&c->raft, conf->servers[i].id, &match) != 0 ||
		    match < c->barrier || match < last_conf)
			return false;
	}
	return true;
}
