/** Whole clusters on virtual time: what there is, and the seams between the files that make it up.
 *
 * cluster_sim.c     the run: a cluster is founded, faults come, faults end
 * cluster_manager.c managers with the real consensus core, store, passes and assignments
 * cluster_agent.c   agents that pull slowly, crash and come back
 * cluster_client.c  what operators do
 * cluster_files.c   secrets and configs: their versions, at the operators, managers and agents
 * cluster_stacks.c a stack: its generations, at the operators and managers
 * cluster_calm.c    what operators do while no host fails, when budgets are to be kept exactly
 * cluster_check.c   what must always hold, and what must hold at the end
 * cluster_books.c   what managers keep beside their store, compared with it */
#pragma once

#include "base/list.h"
#include "base/omap.h"
#include "manager/consensus/core.h"
#include "manager/control/internal.h"
#include "manager/dispatch/assign.h"
#include "manager/leader/leader.h"
#include "tests/sim/sim_member.h"
#include "tests/sim/sim_work.h"

#define NETWORK "net"

enum {
	MANAGERS = 3,
	AGENTS = 8,
	FAULT_MS = 30000,
	HEAL_MS = 60000,
	MAX_INDEX = 60000,
	MAX_SERVICES = 12,
	FILES = 4, /* secrets and configs by turns */
	REPORT_MS = 300,
	NODE_MEMORY = 600, /* seven nodes have room for all tasks that there can be */
	TASK_MEMORY = 25,  /* reserved, at most */
	WALL = 1000000,    /* virtual wall clock at 0 */
};

struct pending { /* a proposal of this manager */
	struct sw_list link;
	uint64_t index, term;
	void (*done)(void *arg, int rc);
	void *arg;
};

struct manager {
	struct world *w;
	int at;
	struct sim_member raft;
	struct store *store;
	struct store_watcher watcher;
	struct leader *leader;
	struct assign *assign;
	struct sw_list pending;
	uint64_t due_ms; /* the next pass in any case */
	bool leading, was_leading;
	size_t writes; /* of operators, under way */
	bool alone;    /* one of them is */
};

struct container { /* as an agent sees a task */
	uint64_t id, revision;
	Pb__TaskState state, desired;
	uint64_t next_ms;             /* when it moves on */
	bool named;                   /* by the last snapshot */
	bool bad, job, slow, sick;    /* what its image does (sim_work.h) */
	uint64_t ill_ms;              /* since when its health check fails, 0: it does not */
	uint64_t checked_ms;          /* when its health check has found out */
	uint64_t back_ms;             /* when it is started again in place, 0: it is up */
	uint32_t restarts, restarted; /* the latter: by which world.restarting */
};

struct seen_endpoint { /* of a task on one of its networks, as this node's kernel shows it */
	bool ready;
};

struct pending_ack {
	struct sw_list link;
	uint64_t at, network, version;
	struct omap endpoints; /* (task, network) -> struct seen_endpoint: the changes */
	bool snapshot;
};

struct agent {
	struct world *w;
	uint64_t node; /* id, from 1 */
	int manager;   /* attached to, or -1 */
	uint64_t attach_ms, report_ms;
	struct omap tasks;
	struct omap revisions; /* (id, 0) -> Pb__Revision, as it was told */
	struct omap files;     /* (id, 0) -> content, of secrets and configs alike */
	struct omap shown;     /* (task, network) -> struct seen_endpoint: who gets connections */
	struct sw_list acks;   /* views on their way into the kernel */
	uint64_t seen;         /* version of the last assignments */
	uint64_t blind_ms;     /* when some manager last held this node for not ready */
	bool down, cut;
};

struct service { /* what the clients were told */
	uint64_t id;
	char name[32];
	uint64_t replicas;            /* last acknowledged */
	bool acked, removing, unsure; /* unsure: an answer was "maybe" */
	bool was_bad;                 /* nothing of it ran when the calm began */
	uint64_t least;               /* tasks that must run all the time while it is calm */
	uint64_t tasks;               /* which ones are its own, as one number */
};

struct file { /* a secret or config, by its name */
	Pb__Kind kind;
	char name[16];
	uint64_t id; /* the version that was acknowledged last */
	bool unsure;
};

struct world {
	struct sim sim;
	struct sim_net net;
	struct manager m[MANAGERS];
	struct agent a[AGENTS];
	struct service s[MAX_SERVICES];
	size_t n_services;
	struct file f[FILES];
	uint64_t contents;       /* how many were ever written: the content of a version */
	struct omap versions;    /* (id of a secret or config, 0) -> its content, as pointer */
	struct omap generations; /* (stack, generation) -> what it says, as pointer */
	uint64_t deployed;       /* of them, acknowledged and looked at */
	uint64_t work[2];        /* a job, a scheduled one */
	struct omap stopping;    /* (task, 0) -> when it was first wanted to stop + 1, as pointer */
	uint64_t digests[MAX_INDEX];
	uint64_t applied, drained;
	uint32_t restarting; /* how often containers were restarted in the calm */
	bool healing;
	char bad[600];
};

static inline int64_t wall(const struct world *w)
{
	return (int64_t)w->sim.now + WALL;
}

static inline struct omap_key one(uint64_t a)
{
	return (struct omap_key){a, 0};
}

/** The first thing that is wrong is kept, with two numbers that say where; the run ends. */
void world_fail(struct world *w, const char *what, uint64_t a, uint64_t b);
void world_run(struct world *w, uint64_t ms, bool faults);
/** Faults over: all that was acknowledged holds after a while. Then the calm (cluster_calm.c). */
void world_heal(struct world *w);

void manager_init(struct manager *m, struct world *w, int at);
void manager_boot(struct manager *m);
void manager_crash(struct manager *m);
void manager_tick(struct manager *m);
/** false = refused, `done` is not called. Otherwise it is, once: 0, SW_EUNKNOWN or why not. */
bool manager_propose(struct manager *m, const struct store_tx *tx, void (*done)(void *arg, int rc),
		     void *arg);
/** For sim_net: `arg` is the world. */
void manager_deliver(void *arg, int from, int to, const uint8_t *p, size_t n);
struct manager *leader_of(struct world *w);

void agent_tick(struct agent *a);
/** What this node shows of the task says `ready`, on any network that has it. */
bool agent_shows(const struct agent *a, uint64_t task, bool ready);
/** The container ends, and is started again in place after `ms`. */
void agent_restart(const struct world *w, struct container *c, uint64_t ms);
/** The host died: its containers with it. */
void agent_die(struct agent *a);

void clients_tick(struct world *w);
/** A manager's way to build what operators ask for. */
struct control control_of(struct manager *m);
/** A proposal's end, for manager_propose: `arg` is the service. */
void client_done(void *arg, int rc);
/** Like manager_propose, in the order that the API keeps; refused when it must wait for others. */
bool client_propose(struct manager *m, const struct store_tx *tx, void (*done)(void *arg, int rc),
		    void *arg);
/** A new version of the service, with this image. */
void begin_update(struct manager *m, struct store_tx *tx, uint64_t service, const char *image);
/** One that goes on whatever fails: nobody is there to look at one that is paused. */
Pb__UpdateConfig *clients_update(void);
/** The schedule is suspended, or goes on. */
void clients_suspend(struct world *w, struct manager *l, bool suspend);
const char *any_image(struct world *w);
/** One that fails, says the image; it is to go back then. */
bool is_hopeless(const char *image);

void files_create(struct manager *m, struct store_tx *tx);
/** New content for one of them: all that use it roll, and nobody else. */
void files_change(struct manager *m, struct file *f);
/** Some of them, by name. */
void files_use(struct world *w, Pb__ContainerSpec *c);
/** What an agent is told, and what it keeps: that of its tasks. */
void files_take(struct agent *a, const Pb__Assignments *m);
void files_prune(struct agent *a);
void files_forget(struct agent *a);
/** A container is started: with the version that its revision names. */
void files_check_start(const struct agent *a, const struct container *c);
void files_check_change(struct manager *m, const struct store_change *c);
/** The service names it, in the state of this manager. */
bool files_is_used(const struct manager *m, const struct file *f, uint64_t service);
void files_check_end(struct manager *m);

/** Deploys, rolls back or removes the stack. */
void stacks_tick(struct world *w, struct manager *l);
void stacks_check_change(struct manager *m, const struct store_change *c);
void stacks_check_store(struct manager *m);
void stacks_check_end(struct manager *m);
/** A revision, or a kept generation of the stack, names the secret. */
bool stacks_name(const struct store *st, uint64_t id);

/** A store watcher's on_change; `arg` is the manager. */
void check_change(void *arg, const struct store_change *c, uint64_t index);
void check_store(struct manager *m);
/** What a manager that does not lead keeps beside its store is what the store says. */
void check_books(struct manager *m);
void check_stop_order(const struct agent *a, const Pb__Task *t);
void check_drop(const struct agent *a, const struct container *c);
void check_end(struct world *w);
bool is_updating(const Pb__Service *s);
bool is_bad(const struct store *st, const Pb__Service *s);
/** How many containers run for a service, and are well. */
uint64_t running_of(struct world *w, const struct store *st, uint64_t service);
