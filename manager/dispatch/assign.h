/**
 * What each attached agent should know: its tasks with what they need, and the networks they use.
 *
 * Pure. Store events mark what a session has yet to be told; assign_next builds the next message.
 * A change costs the sessions that it concerns: tasks go to their node, endpoints to the nodes that
 * use their network. The first message after attach is a snapshot.
 *
 * A task that is to stop while it still takes connections is held: its agent hears of it only when
 * the leader has released it (manager/leader/drain.h).
 */
#pragma once

#include "manager/store/store.h"
#include "proto/dispatch.pb-c.h"

struct assign;

struct assign *assign_new(struct store *s);
void assign_free(struct assign *a);

/** `woken` is told when a session has news, at most once until assign_next returned NULL. */
void assign_on_wake(struct assign *a, void (*woken)(void *arg, uint64_t node), void *arg);

/**
 * A node's agent attached (again: starts over with a snapshot) or went. `seen` is the latest state
 * that the agent was told of, as Assignments.version: it is told nothing before this manager's store
 * has come as far. An older state would have it stop tasks that are newer, and send connections to
 * tasks that were released because it had ceased to.
 *
 * An agent that does not know (its host or it itself has just started) gives ASSIGN_SEEN_UNKNOWN,
 * and is told nothing before the leader was asked how far it is: assign_confirm.
 */
#define ASSIGN_SEEN_UNKNOWN UINT64_MAX
void assign_attach(struct assign *a, uint64_t node, uint64_t seen);
/** The leader's store was at `index` when it was asked, after the session began. */
void assign_confirm(struct assign *a, uint64_t node, uint64_t index);
/** The session waits for one of them. */
bool assign_is_behind(const struct assign *a, uint64_t node);
void assign_detach(struct assign *a, uint64_t node);
bool assign_is_attached(const struct assign *a, uint64_t node);
/** The attached nodes in order of id: the first above `after`, 0 at the end. */
uint64_t assign_next_node(const struct assign *a, uint64_t after);

/** The next message, to be freed with msg_free, or NULL. Bounded in size: call again. Nobody is woken
 *  when a store that was behind has come far enough: ask now and then. */
Pb__Assignments *assign_next(struct assign *a, uint64_t node);

/** The node's kernel shows this version of the network. */
void assign_ack(struct assign *a, uint64_t node, uint64_t network, uint64_t version);
/**
 * Up to which Raft index the node's kernel shows all that its networks' views have to say: the
 * index of the store when it has acknowledged everything. A task that drains since that index or an
 * earlier one gets no new connections from there.
 */
uint64_t assign_applied(const struct assign *a, uint64_t node);
