/*
 * When the core does something by itself: heartbeats, elections, the quick one after the leader's
 * connection broke, the question of one who was left out. And when it is to be called next.
 */
#include "manager/consensus/core.h"

#include "base/assert.h"
#include "base/mem.h"
#include "manager/consensus/core_internal.h"

enum {
	STALL_RETRY_MS = 100,
	ELECTION_PAUSE_MS = 10,
	LOST_BASE_MS = 5,
	LOST_RANK_MS = 30,
	LOST_AGAIN_MS = 60,
	LOST_TRIES = 4,
};

static void step_timeout(struct cons_core *c)
{
	struct raft_event ev = {.type = RAFT_TIMEOUT};

	core_step(c, &ev);
}

static void tick_election(struct cons_core *c)
{
	if (c->now < raft_timeout(&c->raft) || c->now < c->next_election ||
	    raft_role(&c->raft) != RAFT_VOTER)
		return;
	c->next_election = c->now + ELECTION_PAUSE_MS;
	/* S5: it would lead again in its old term. */
	if (core_only_voter(c) && guard(c, CONS_S5))
		core_restart(c);
	else
		step_timeout(c);
}

/* The newest configuration that came here leaves us out, committed or not: whoever leads sends us
 * nothing more, and we may not campaign. A newcomer has no configuration at all. */
static bool is_left_out(const struct cons_core *c)
{
	return c->up && !c->failed && !c->restarting && c->raft.configuration.n > 0 &&
	       core_server(&c->raft.configuration, c->o.id) == NULL;
}

/* Then a leader is asked, by a request for a vote before the election: it moves no term, and the
 * answer is that we are gone (tell_gone). */
static void tick_left_out(struct cons_core *c)
{
	struct cons_frame f = {.type = CONS_F_VOTE, .term = raft_current_term(&c->raft)};

	if (!is_left_out(c) || c->now < c->next_ask)
		return;
	c->next_ask = c->now + c->o.election_ms;
	f.vote.candidate = c->o.id;
	f.vote.last = raft_last_index(&c->raft);
	f.vote.last_term = mlog_term(&c->log, f.vote.last);
	f.vote.pre = true;
	for (unsigned i = 0; i < c->raft.configuration.n; i++)
		core_send(c, c->raft.configuration.servers[i].id,
			  c->raft.configuration.servers[i].address, &f);
}

/* Quick fail-over: the leader's connection broke, so campaign without waiting out the timer. */
static void tick_lost(struct cons_core *c)
{
	bool follower = raft_state(&c->raft) == RAFT_FOLLOWER &&
			c->raft.follower_state.current_leader.id == 0;
	bool candidate =
		raft_state(&c->raft) == RAFT_CANDIDATE && c->raft.candidate_state.in_pre_vote;

	if (c->lost_due == 0 || c->now < c->lost_due)
		return;
	c->lost_due = 0;
	if ((!follower && !candidate) || core_only_voter(c) || raft_role(&c->raft) != RAFT_VOTER)
		return;
	if (++c->lost_tries < LOST_TRIES)
		c->lost_due = c->now + LOST_AGAIN_MS;
	c->raft.election_timer_start =
		c->now > 2 * c->o.election_ms ? c->now - 2 * c->o.election_ms : 0;
	step_timeout(c);
}

void cons_core_tick(struct cons_core *c, uint64_t now)
{
	c->now = now;
	if (c->failed)
		return;
	if (c->stalled) {
		if (!step_resume(c))
			return;
		core_drain_ops(c);
	}
	if (c->up && !c->restarting && !c->stalled) {
		if (raft_state(&c->raft) != RAFT_LEADER) {
			tick_election(c);
		} else if (c->now >= c->next_beat) {
			c->next_beat = c->now + c->o.heartbeat_ms;
			step_timeout(c);
		}
	}
	if (c->up && !c->restarting && !c->stalled)
		tick_lost(c);
	if (!c->stalled)
		tick_left_out(c);
	if (c->up && !c->restarting && !c->stalled) {
		transfer_tick(c);
		members_tick(c);
	}
	core_settle(c);
}

/* A member without a vote never campaigns; raft leaves its timeout in the past. */
static uint64_t next_election(const struct cons_core *c)
{
	struct raft *r = (struct raft *)(uintptr_t)&c->raft; /* raft_role only reads */
	uint64_t at = raft_timeout(&c->raft);

	if (raft_role(r) != RAFT_VOTER)
		return UINT64_MAX;
	return at > c->next_election ? at : c->next_election;
}

uint64_t cons_core_next(const struct cons_core *c)
{
	uint64_t next, t;

	if (c->failed)
		return UINT64_MAX;
	if (c->stalled || c->restarting || !c->up)
		return c->now + STALL_RETRY_MS;
	next = c->was_leader ? c->next_beat : next_election(c);
	if (c->lost_due != 0 && c->lost_due < next)
		next = c->lost_due;
	if (c->hold_from != 0 && c->hold_deadline < next)
		next = c->hold_deadline;
	if (is_left_out(c) && c->next_ask < next)
		next = c->next_ask;
	t = transfer_next(c);
	next = t < next ? t : next;
	t = members_next(c);
	return t < next ? t : next;
}

void cons_core_peer_lost(struct cons_core *c, uint64_t now, uint64_t id)
{
	const struct raft_configuration *conf = &c->raft.configuration;
	uint64_t rank = 0;

	c->now = now;
	if (c->failed || c->stalled || c->restarting || !c->up ||
	    raft_state(&c->raft) != RAFT_FOLLOWER || c->raft.follower_state.current_leader.id != id)
		return;
	c->raft.follower_state.current_leader.id = 0;
	for (unsigned i = 0; i < conf->n && conf->servers[i].id != c->o.id; i++)
		rank += conf->servers[i].role == RAFT_VOTER && conf->servers[i].id != id;
	c->lost_due = now + LOST_BASE_MS + LOST_RANK_MS * rank;
	c->lost_tries = 0;
	core_settle(c);
}
