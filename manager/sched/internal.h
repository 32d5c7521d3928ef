/* What the scheduler knows of nodes and of the group of tasks that it places. sched/ only. */
#pragma once

#include "base/buf.h"
#include "base/omap.h"
#include "manager/sched/constraint.h"
#include "manager/sched/sched.h"

enum { FAULTY_COUNT = 5, FAULTY_MS = 5 * 60 * 1000, SHARE_WHOLE = 1000000 };

struct node_info {
	uint64_t id;
	const Pb__Node *node;  /* the store's; replaced on each change */
	uint64_t tasks;        /* that hold room */
	uint64_t cpus, memory; /* reserved by them */
	struct omap ports;     /* (protocol << 16 | port, 0) -> count */
	struct omap generic;   /* (hash of kind, 0) -> amount */
};

struct sched {
	struct store *store;
	struct omap nodes;      /* id -> node_info */
	struct omap of_service; /* (service, node) -> count of tasks that hold room */
	struct omap of_family;  /* (family of revisions, node) -> those of them that are to stay */
	struct omap failures;   /* (revision, node) -> struct failures */
	struct omap pending;    /* (service, task) -> the sched itself */
	bool room_changed;      /* since the last pass: waiting tasks are worth another look */
};

struct failures {
	int64_t at_ms[FAULTY_COUNT]; /* ring of the latest */
	unsigned n;
};

/* Tasks of one revision are alike: filters and ranking are worked out once for all of them. */
struct group {
	uint64_t service_id;
	const Pb__Service *service; /* may be NULL in odd states */
	const Pb__Revision *revision;
	struct constraint *constraints;
	size_t n_constraints;
	bool packs;
};

void group_init(struct group *g, const struct sched *s, const struct store_tx *tx,
		const Pb__Task *t);
void group_fini(struct group *g);

struct filter {
	bool (*ok)(const struct sched *s, const struct group *g, const struct node_info *n);
	/** "…%s" where %s becomes "on 2 nodes", or with `front` "2 nodes …". */
	const char *text;
	bool front;
	/** Adds the figures or names behind a refusal; NULL: the text says all. explain.c */
	void (*detail)(const struct group *g, const struct node_info *n, struct sw_buf *b);
};
extern const struct filter sched_filters[];
extern const size_t sched_n_filters;

void explain_ready(const struct group *g, const struct node_info *n, struct sw_buf *b);
void explain_resources(const struct group *g, const struct node_info *n, struct sw_buf *b);
void explain_constraints(const struct group *g, const struct node_info *n, struct sw_buf *b);
void explain_grants(const struct group *g, const struct node_info *n, struct sw_buf *b);
void explain_platform(const struct group *g, const struct node_info *n, struct sw_buf *b);
void explain_ports(const struct group *g, const struct node_info *n, struct sw_buf *b);
void explain_max_replicas(const struct group *g, const struct node_info *n, struct sw_buf *b);

/** Index of the first filter that refuses, or -1. */
int filter_first_refusal(const struct sched *s, const struct group *g, const struct node_info *n);
/** "no suitable node (…)" from counts per filter. */
char *filter_explain(const unsigned *counts);

struct node_info *node_info_get(const struct sched *s, uint64_t id);
uint64_t sched_service_count(const struct sched *s, uint64_t service, uint64_t node);
/** Tasks on the node that the service means to keep: what an update retires is not counted. */
uint64_t sched_family_count(const struct sched *s, const Pb__Revision *r, uint64_t node);
bool sched_is_faulty(const struct sched *s, uint64_t revision, uint64_t node, int64_t now_ms);
/** Of SHARE_WHOLE; by what is booked (share.c). */
uint64_t sched_share(const struct node_info *n);
/** Books a task's room on its node, or gives it back. */
void sched_book(struct sched *s, struct node_info *n, const Pb__Task *t, const Pb__Revision *r,
		int sign);
/** Gives the task its share of the node's generic resources (claims.c). */
void sched_claim(const struct sched *s, struct node_info *n, const Pb__Revision *r,
		 Pb__Task *const *placed, size_t n_placed, Pb__Task *t);
/** The same for a task that this pass placed: until the commit, its family is counted here too. */
void sched_book_placed(struct sched *s, const Pb__Task *t, const Pb__Revision *r, int sign);
