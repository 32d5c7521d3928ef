/*
 * Membership: one change at a time. Adding takes the newcomer in as a standby, lets it catch up and
 * makes it a voter; each step waits for the gate of guard S7.
 */
#include "base/mem.h"
#include "manager/consensus/core_internal.h"

#include <string.h>

enum { POLL_MS = 20, CATCH_UP_SLACK = 64, ADD_MS = 60000, REMOVE_MS = 10000 };

static void change_end(struct cons_core *c, int status, uint64_t index)
{
	c->change = (struct change){0};
	c->io.on_changed(c->io.arg, status, index);
}

/* The current configuration with `id` in that role; -1 takes it out. */
static int change_submit(struct cons_core *c, int role)
{
	const struct raft_configuration *now = &c->raft.configuration;
	struct raft_configuration to;
	struct raft_buffer buf = {0};
	bool there = false;
	int rv = 0;

	raft_configuration_init(&to);
	for (unsigned i = 0; i < now->n && rv == 0; i++) {
		const struct raft_server *s = &now->servers[i];
		bool it = s->id == c->change.id;

		there = there || it;
		if (!it || role >= 0)
			rv = raft_configuration_add(&to, s->id, s->address, it ? role : s->role);
	}
	if (rv == 0 && !there && role >= 0)
		rv = raft_configuration_add(&to, c->change.id, c->change.address, role);
	if (rv == 0)
		rv = raft_configuration_encode(&to, &buf);
	raft_configuration_close(&to);
	if (rv != 0)
		return rv == RAFT_DUPLICATEADDRESS ? SW_EEXIST : SW_EINTERNAL;
	rv = core_submit(c, CONS_CHANGE, buf.base, buf.len, &c->change.index);
	raft_free(buf.base);
	return rv;
}

/* Submits when the gate is open, else waits; other refusals end the change. */
static void change_try(struct cons_core *c, int role, enum change_step then)
{
	int rv;

	if (!guard_change_allowed(c, c->change.id))
		return;
	rv = change_submit(c, role);
	if (rv == 0)
		c->change.step = then;
	else if (rv != SW_EPRECOND && rv != SW_ENOTLEADER)
		change_end(c, rv, 0);
}

/*
 * A standby becomes a voter once it is nearly level: what it then still lacks is less than a commit
 * waits for anyway. The core's own CATCH_UP rounds are not used: a round that begins when the
 * newcomer has everything already ends only with a next entry, which may never come.
 */
static void change_catch_up(struct cons_core *c)
{
	const struct raft_server *s = core_server(&c->raft.configuration, c->change.id);
	raft_index match = 0;

	if (s == NULL || s->role != RAFT_STANDBY) {
		change_end(c, SW_EUNKNOWN, 0);
		return;
	}
	if (raft_match_index(&c->raft, c->change.id, &match) != 0 || match == 0 ||
	    match + CATCH_UP_SLACK < raft_last_index(&c->raft))
		return;
	c->change.step = STEP_PROMOTE;
	change_try(c, RAFT_VOTER, STEP_PROMOTING);
}

static void change_begin(struct cons_core *c)
{
	const struct raft_server *s = core_server(&c->raft.configuration, c->change.id);

	if (c->change.kind == CHANGE_REMOVE && s == NULL)
		change_end(c, SW_ENOTFOUND, 0);
	else if (c->change.kind == CHANGE_REMOVE)
		change_try(c, -1, STEP_APPLYING);
	else if (s == NULL)
		change_try(c, RAFT_STANDBY, STEP_APPLYING);
	else if (s->role == RAFT_VOTER)
		change_end(c, 0, c->conf.conf_index);
	else
		c->change.step = STEP_CATCH_UP; /* an earlier leader got this far */
}

void members_tick(struct cons_core *c)
{
	if (c->change.kind == CHANGE_NONE || raft_state(&c->raft) != RAFT_LEADER ||
	    c->now < c->change.next)
		return;
	c->change.next = c->now + POLL_MS;
	if (c->now >= c->change.deadline) {
		bool maybe = c->change.step == STEP_APPLYING || c->change.step == STEP_PROMOTING;

		change_end(c, maybe ? SW_EUNKNOWN : SW_ETIMEOUT, 0);
	} else if (c->change.step == STEP_SUBMIT) {
		change_begin(c);
	} else if (c->change.step == STEP_CATCH_UP) {
		change_catch_up(c);
	} else if (c->change.step == STEP_PROMOTE) {
		change_try(c, RAFT_VOTER, STEP_PROMOTING);
	}
}

void members_applied(struct cons_core *c, uint64_t index)
{
	if (c->change.kind == CHANGE_NONE || c->change.index != index || index == 0)
		return;
	if (c->change.step == STEP_APPLYING && c->change.kind == CHANGE_ADD) {
		c->change.step = STEP_CATCH_UP;
		c->change.next = c->now;
	} else if (c->change.step == STEP_APPLYING || c->change.step == STEP_PROMOTING) {
		change_end(c, 0, index);
	}
}

void members_lost(struct cons_core *c)
{
	bool maybe = c->change.step == STEP_APPLYING || c->change.step == STEP_PROMOTING;

	if (c->change.kind != CHANGE_NONE)
		change_end(c, maybe ? SW_EUNKNOWN : SW_ENOTLEADER, 0);
}

uint64_t members_next(const struct cons_core *c)
{
	return c->change.kind != CHANGE_NONE ? c->change.next : UINT64_MAX;
}

static int change_ask(struct cons_core *c, uint64_t now, enum change_kind kind, uint64_t id,
		      const char *address)
{
	c->now = now;
	if (c->failed || c->stalled || c->restarting || !c->up ||
	    raft_state(&c->raft) != RAFT_LEADER)
		return SW_ENOTLEADER;
	if (c->change.kind != CHANGE_NONE)
		return SW_EPRECOND;
	c->change = (struct change){.kind = kind, .step = STEP_SUBMIT, .id = id, .next = now};
	c->change.deadline = now + (kind == CHANGE_ADD ? ADD_MS : REMOVE_MS);
	if (address != NULL)
		strncpy(c->change.address, address, sizeof c->change.address - 1);
	return 0;
}

int cons_core_add(struct cons_core *c, uint64_t now, uint64_t id, const char *address)
{
	if (id == 0 || address[0] == 0 || strlen(address) > CONS_ADDRESS_MAX)
		return SW_EINVAL;
	if (c->up && core_server(&c->raft.configuration, id) == NULL &&
	    c->raft.configuration.n >= CONS_MEMBERS_MAX)
		return SW_EFULL;
	return change_ask(c, now, CHANGE_ADD, id, address);
}

/* A leader never removes itself: it hands over, and the next one does it. */
int cons_core_remove(struct cons_core *c, uint64_t now, uint64_t id)
{
	if (id == c->o.id && c->up && raft_state(&c->raft) == RAFT_LEADER) {
		if (core_voters(&c->raft.configuration) == 1)
			return SW_EPRECOND;
		cons_core_transfer(c, now, 0);
		return SW_ENOTLEADER;
	}
	return change_ask(c, now, CHANGE_REMOVE, id, NULL);
}

/* ---- questions ---- */

bool cons_core_is_raft_leader(const struct cons_core *c)
{
	return c->up && !c->failed && !c->restarting && !c->stalled && c->was_leader;
}

bool cons_core_is_leader(const struct cons_core *c)
{
	return cons_core_is_raft_leader(c) && c->barrier != 0 && c->applied >= c->barrier;
}

uint64_t cons_core_leader(const struct cons_core *c, const char **ret_address)
{
	struct raft *r = (struct raft *)(uintptr_t)&c->raft; /* raft_leader only reads */
	const char *address = NULL;
	raft_id id = 0;

	if (c->up && !c->failed && !c->restarting)
		raft_leader(r, &id, &address);
	if (ret_address != NULL)
		*ret_address = id != 0 && address != NULL ? address : "";
	return id;
}

uint64_t cons_core_term(const struct cons_core *c)
{
	return c->up ? raft_current_term(&c->raft) : c->term;
}

uint64_t cons_core_applied(const struct cons_core *c)
{
	return c->applied;
}

uint64_t cons_core_commit(const struct cons_core *c)
{
	return c->commit;
}

uint64_t cons_core_last(const struct cons_core *c)
{
	return mlog_last(&c->log);
}

uint64_t cons_core_snapshot_index(const struct cons_core *c)
{
	return c->snap.index;
}

bool cons_core_failed(const struct cons_core *c)
{
	return c->failed;
}

static bool core_reachable(const struct cons_core *c, uint64_t id)
{
	for (size_t i = 0; i < CONS_MEMBERS_MAX; i++)
		if (c->heard[i].id == id)
			return c->now < c->heard[i].at + 2 * c->o.election_ms;
	return false;
}

size_t cons_core_members(const struct cons_core *c, struct cons_member *out, size_t cap)
{
	uint64_t leader = cons_core_leader(c, NULL);
	struct raft_configuration conf;
	size_t n = 0;

	if (c->conf.conf == NULL || !core_decode_conf(c->conf.conf, c->conf.conf_n, &conf))
		return 0;
	for (; n < conf.n && n < cap; n++) {
		const struct raft_server *s = &conf.servers[n];
		struct cons_member *m = &out[n];

		*m = (struct cons_member){.raft_id = s->id, .voter = s->role == RAFT_VOTER};
		strncpy(m->address, s->address, sizeof m->address - 1);
		m->self = s->id == c->o.id;
		m->leader = s->id == leader;
		m->reachable = m->self || core_reachable(c, s->id);
	}
	raft_configuration_close(&conf);
	return n;
}

uint8_t *cons_core_first_conf(uint64_t id, const char *address, size_t *ret_n)
{
	struct raft_configuration conf;
	struct raft_buffer buf = {0};
	uint8_t *p = NULL;

	raft_configuration_init(&conf);
	if (raft_configuration_add(&conf, id, address, RAFT_VOTER) == 0 &&
	    raft_configuration_encode(&conf, &buf) == 0) {
		p = sw_memdup(buf.base, buf.len);
		*ret_n = buf.len;
		raft_free(buf.base);
	}
	raft_configuration_close(&conf);
	return p;
}

void cons_core_disable_guards(struct cons_core *c, uint32_t mask)
{
	c->off = mask;
}
