/* The body of assign: assign.c has sessions and tasks, views.c what they see of networks. */
#pragma once

#include "base/omap.h"
#include "manager/dispatch/assign.h"

struct net_use {              /* a network in a session */
	uint64_t tasks;       /* of this node that use it */
	uint64_t sent, acked; /* versions: of the last view sent, and shown by the kernel */
	bool full;            /* the whole view is to be sent */
	struct omap dirty;    /* (task, 0): endpoints to be sent or removed */
	struct omap services; /* (service, 0): the same */
	struct omap peers;    /* (node, 0): the same */
};

struct session {
	struct assign *owner;
	uint64_t node;
	uint64_t seen;             /* no snapshot of an older index */
	bool snapshot;             /* nothing was sent yet */
	bool awake;                /* the owner was told */
	struct omap dirty;         /* (task, 0) */
	struct omap sent;          /* (task, 0): the agent knows of it; value: its revision id */
	struct omap revisions;     /* (revision, 0) -> how many sent tasks use it */
	struct omap logins;        /* (registry, 0): changed, to be sent */
	struct omap networks;      /* (network, 0) -> struct net_use */
	struct omap gone_networks; /* (network, 0) */
};

struct assign {
	struct store *store;
	struct store_watcher watcher;
	struct omap sessions; /* (node, 0) */
	struct omap users;    /* (network, node) -> struct session */
	struct omap members;  /* (network, task): live tasks with an address or a published port */
	struct omap services; /* (network, service): with a virtual address or a published port */
	struct omap places;   /* (network, node) -> how many members are there */
	bool ingress;         /* something was published: every session uses the ingress network */
	void (*woken)(void *arg, uint64_t node);
	void *arg;
};

/* assign.c */
void session_wake(struct session *s);
void session_use(struct session *s, uint64_t network);
void session_unuse(struct session *s, uint64_t network);
/** On a node and not ended: its networks are needed there. */
bool task_uses_networks(const Pb__Task *t);
void add_id(uint64_t **vec, size_t *n, uint64_t id);

/* views.c */
void views_index(struct assign *a);
void views_fini(struct assign *a);
void views_task(struct assign *a, const Pb__Task *old, const Pb__Task *next);
void views_service(struct assign *a, const Pb__Service *old, const Pb__Service *next);
void views_node(struct assign *a, const Pb__Node *old, const Pb__Node *next);
void views_network(struct assign *a, uint64_t id);
bool net_use_is_dirty(const struct net_use *u);
void net_use_free(struct net_use *u);
Pb__NetworkView *view_of(struct session *s, uint64_t id, struct net_use *u);
