/**
 * The cluster's state in memory: a table of immutable objects per kind, with indexes.
 *
 * Objects are the messages of proto/types.proto. Once committed an object never changes; a change
 * is a new object in a transaction (manager/store/tx.h), which becomes a command, and a command
 * that is applied replaces objects. Pure: no clock, no randomness, no I/O; iteration is in the
 * order of ids.
 *
 * A `const Pb__X *` from here is good until the next apply; keep it longer with store_ref.
 */
#pragma once

#include "base/error.h"
#include "base/omap.h"
#include "proto/control.pb-c.h"
#include "proto/store.pb-c.h"
#include "proto/types.pb-c.h"

#include <stddef.h>
#include <stdint.h>

/* KIND, name, message type. There is one Cluster; the others are found by their ids. */
#define STORE_KINDS(X) X(CLUSTER, cluster, Pb__Cluster) STORE_KINDS_BY_ID(X)
#define STORE_KINDS_BY_ID(X)                                       \
	X(NODE, node, Pb__Node)                                    \
	X(STACK, stack, Pb__Stack)                                 \
	X(SERVICE, service, Pb__Service)                           \
	X(REVISION, revision, Pb__Revision)                        \
	X(TASK, task, Pb__Task)                                    \
	X(NETWORK, network, Pb__Network)                           \
	X(SECRET, secret, Pb__Secret)                              \
	X(CONFIG, config, Pb__Config)                              \
	X(VOLUME, volume, Pb__Volume)                              \
	X(JOIN_TOKEN, join_token, Pb__JoinToken)                   \
	X(OPERATOR, operator, Pb__Operator)                        \
	X(REVOCATION, revocation, Pb__Revocation)                  \
	X(EVENT, event, Pb__Event)                                 \
	X(STACK_GENERATION, stack_generation, Pb__StackGeneration) \
	X(IMAGE, image, Pb__Image)                                 \
	X(REGISTRY, registry, Pb__Registry)

#define STORE_KIND_NR (PB__KIND__KIND_REGISTRY + 1)

/** What every object begins with (checked against each type at compile time). */
struct store_head {
	ProtobufCMessage base;
	uint64_t id, version;
	int64_t created_ms, updated_ms;
};

/** What an index entry points to. */
struct store_obj {
	unsigned refs;
	Pb__Kind kind;
	struct store_head *head;
};

struct store;

/** One row that a command changed. `old` NULL: created; `new` NULL: removed. */
struct store_change {
	Pb__Kind kind;
	uint64_t id;
	const struct store_head *old, *new;
};

/** Told of every change after the whole command is in, in the order of its rows. */
struct store_watcher {
	void (*on_change)(void *arg, const struct store_change *c, uint64_t index);
	/** The whole state was replaced by a snapshot: start over. */
	void (*on_reset)(void *arg);
	void *arg;
	struct store_watcher *next; /* the store's */
};

/* ---- life ---- */
struct store *store_new(void);
void store_free(struct store *s);

/* ---- act ---- */
/** The watcher is the caller's and must stay until removed. Not from inside a callback. */
void store_watch(struct store *s, struct store_watcher *w);
void store_unwatch(struct store *s, struct store_watcher *w);

/**
 * Applies a packed Pb__Command of Raft entry `index`. All rows or none: SW_ECONFLICT when a row
 * does not find the version it names, SW_EEXIST when a name is taken. The outcome is the same
 * everywhere.
 */
int store_apply(struct store *s, uint64_t index, const void *p, size_t n, struct sw_error *err);

/** Drops everything and loads a snapshot (store_snapshot_*). On error the store is empty. */
int store_restore(struct store *s, const void *p, size_t n, struct sw_error *err) SW_MUST_CHECK;

/** Freezes the state as of now: costs a reference an object. */
struct store_snapshot *store_snapshot_begin(struct store *s);
/** Fills buf; 0 at the end. May run on another thread while the store goes on. */
size_t store_snapshot_next(struct store_snapshot *snap, uint8_t *buf, size_t cap);
/** On the store's thread. */
void store_snapshot_end(struct store_snapshot *snap);

/* ---- ask ---- */
uint64_t store_index(const struct store *s); /* of the last applied command */
/** Equal contents have equal digests, whatever way they came about. */
uint64_t store_digest(const struct store *s);
size_t store_count(const struct store *s, Pb__Kind kind);
const struct store_head *store_get(const struct store *s, Pb__Kind kind, uint64_t id);
/** By exact name; NULL for kinds without names. */
const struct store_head *store_find_name(const struct store *s, Pb__Kind kind, const char *name);
/** By whole id, then name, then unique id prefix. SW_ENOTFOUND, SW_EINVAL when ambiguous. */
int store_find_ref(const struct store *s, Pb__Kind kind, const char *ref,
		   const struct store_head **ret, struct sw_error *err) SW_MUST_CHECK;

/** Walks. `it` starts zeroed; NULL at the end. Nothing may be applied meanwhile. */
struct store_iter {
	struct omap_iter it;
	int phase;
};
const struct store_head *store_next(const struct store *s, Pb__Kind kind, struct store_iter *it);
/** A walk during which changes may be applied: the object with the next id after this one. */
const struct store_head *store_after(const struct store *s, Pb__Kind kind, uint64_t id);
/** Tasks of a service, of a node, of none (node 0: not placed); by id. */
const Pb__Task *store_next_of_service(const struct store *s, uint64_t service,
				      struct store_iter *it);
const Pb__Task *store_next_of_node(const struct store *s, uint64_t node, struct store_iter *it);
/** Revisions of a service; services of a stack. */
const Pb__Revision *store_next_revision(const struct store *s, uint64_t service,
					struct store_iter *it);
const Pb__Service *store_next_in_stack(const struct store *s, uint64_t stack,
				       struct store_iter *it);

/** Kept generations of a stack, in order of ids (not of generations). */
const Pb__StackGeneration *store_next_generation(const struct store *s, uint64_t stack,
						 struct store_iter *it);

/** The one Cluster object, or NULL before `init`. */
const Pb__Cluster *store_cluster(const struct store *s);

#define X(KIND, name, type)                                                        \
	static inline const type *store_##name(const struct store *s, uint64_t id) \
	{                                                                          \
		return (const type *)store_get(s, PB__KIND__KIND_##KIND, id);      \
	}
STORE_KINDS_BY_ID(X)
#undef X

/* ---- kinds: one row each (kinds.c) ---- */
struct store_kind {
	const char *name; /* "service" */
	const ProtobufCMessageDescriptor *descriptor;
	/** NULL for kinds without names. */
	const char *(*name_of)(const struct store_head *o);
	/** Further indexes: writes up to 2 first keys; returns how many. The second key is the id.
	 */
	struct {
		uint64_t (*key)(const struct store_head *o);
	} index[2];
};
extern const struct store_kind store_kinds[STORE_KIND_NR];
const char *store_name_of(Pb__Kind kind, const struct store_head *o); /* "" when it has none */
