/* What the files of agent/ share. agent.c wires; session.c talks to a manager; worker.c keeps the
 * set of tasks and task.c moves one of them; child.c runs the manager; local.c answers the CLI. */
#pragma once

#include "agent/agent.h"
#include "agent/health.h"
#include "agent/identity.h"
#include "agent/quiet.h"
#include "base/backoff.h"
#include "base/list.h"
#include "base/loop.h"
#include "base/omap.h"
#include "overlay/net.h"
#include "proto/dispatch.pb-c.h"
#include "proto/local.pb-c.h"
#include "proto/rpc/rpc.h"
#include "runtime/container/container.h"
#include "runtime/image/pull.h"

struct agent {
	uv_loop_t *loop;
	struct agent_options o;
	struct sw_closer closer;
	struct sw_rand rand;
	char *identity_dir, *records_dir, *manager_dir, *prefix, *cgroup_parent;
	uid_t manager_uid;
	gid_t manager_gid;
	char runtime_version[64];
	char *trouble; /* why no container can run here, or NULL */

	struct identity id;
	struct rpc_tls *tls;
	struct img_store *images;
	struct img_puller *puller;
	struct img_puller_options pull_options;
	struct vol_store *volumes;
	struct rt *rt;
	struct net *net; /* NULL until the node's address is known */
	struct rpc_server *server;

	struct session *session;
	struct worker *worker;
	struct child *child;
	struct peers *peers;
	struct collect *collect;
	struct renewal *renewal;
	struct sw_timer renew_timer;
	int64_t renew_at_ms;
	bool wanted_manager; /* the role that the managers want this node to have */
	bool leaving;
	void (*closed)(void *);
	void *closed_arg;
};

/* agent.c */
/** The node has an identity now (joined, started, renewed): everything that needs one begins. */
int agent_begin(struct agent *a, struct sw_error *err);
/** Leaves the cluster: containers, networks, manager and identity go; cb last. */
void agent_leave(struct agent *a, void (*cb)(void *arg), void *arg);
bool agent_in_cluster(const struct agent *a);
/** Looks for the OCI runtime; fills runtime_version and trouble. */
bool agent_has_runtime(struct agent *a);

/* session.c: the stream to a manager, kept up while there is an identity. */
struct session *session_new(struct agent *a);
void session_start(struct session *s);
/** Ends the stream and does not reconnect until started again. */
void session_stop(struct session *s);
void session_close(struct session *s);
/** What was allocated goes when the agent's closer has fired. */
void session_destroy(struct session *s);
/** A status is to be sent; the latest of a task wins. */
void session_status(struct session *s, const Pb__TaskStatus *st);
void session_ack(struct session *s, uint64_t network, uint64_t version, const struct sw_error *err);
/** This node was told of the state of that index: no manager with an older one may assign it tasks. */
void session_saw(struct session *s, uint64_t index);
/** This host is not as it was: the managers are told, when there is a session. */
void session_describe(struct session *s);
const char *session_manager(const struct session *s); /* NULL while detached */
struct rpc_channel *session_channel(const struct session *s);

/* worker.c: what this node should run. */
struct worker *worker_new(struct agent *a);
/** Takes over what earlier runs left. After rt and net are open. */
int worker_load(struct worker *w, struct sw_error *err);
void worker_assign(struct worker *w, const Pb__Assignments *m);
/** Reports every task's status again. */
void worker_report_all(struct worker *w);
void worker_on_exit(struct worker *w, struct rt_container *c, const struct rt_exit *e);
/** Stops and removes everything; cb when nothing is left. */
void worker_drain(struct worker *w, void (*cb)(void *), void *arg);
void worker_close(struct worker *w);
void worker_free(struct worker *w);
size_t worker_running(const struct worker *w);
/** Health checks are to be run no more: the runtime is being closed. */
void worker_stop_probes(struct worker *w);
/** The task's container has ended, or there is no such task. */
bool worker_task_ended(const struct worker *w, uint64_t task);
/** The container of a task that runs here now; NULL with the reason. */
struct rt_container *worker_container(const struct worker *w, uint64_t task, struct sw_error *err);
/** Every task that has a container, in the order of their ids. */
void worker_each_container(const struct worker *w,
			   void (*cb)(const Pb__TaskAssignment *a, const struct rt_container *c,
				      void *arg),
			   void *arg);

/* task.c */
enum task_step {
	TASK_IDLE, /* nothing made yet */
	TASK_PULLING,
	TASK_JOINING, /* its namespace is being made */
	TASK_CREATING,
	TASK_CREATED,
	TASK_STARTING,
	TASK_RUNNING,
	TASK_STOPPING, /* a stop was sent; on_exit follows */
	TASK_WAITING,  /* it ended and is to be restarted in place, in a while */
	TASK_ENDED,    /* container kept for its log */
	TASK_CLEANING, /* container is being removed */
	TASK_GONE,
};

struct task {
	struct worker *w;
	struct agent *agent;
	uint64_t id;
	Pb__TaskAssignment *a;
	Pb__Revision *revision;
	Pb__TaskStatus status; /* message is owned */
	enum task_step step;
	struct rt_container *container;
	char *netns;
	bool sandboxed; /* net knows of it */
	bool egress;
	bool removed; /* no longer assigned: clean up all */
	bool stop_asked;
	bool busy;                       /* a callback is due */
	uint64_t started_ms, restart_ms; /* monotonic: last start; when to restart in place */
	struct quiet quiet;
	uint32_t in_a_row; /* restarts in place without a stable run between */
	struct health health;
	const struct rt_health *check; /* while it is probed; the container's */
	struct rt_exec *probe;         /* one is running */
	uint64_t probe_ms;             /* when it began; or when the next one is due */
	bool failing;                  /* the managers were told of a failed probe */
	int64_t run_ms;                /* wall clock: when the container was started, if probed */
	uint64_t recorded;             /* digest of its record as it was saved last; 0 = never */
	char *sick;                    /* why it is being stopped as unhealthy, or NULL */
};

struct task *task_new(struct worker *w, uint64_t id);
void task_free(struct task *t);
/** Does the next thing; level-triggered, call any time. */
void task_go(struct task *t);
void task_exited(struct task *t, const struct rt_exit *e);
/** What an earlier run of the agent left of it. */
void task_adopt(struct task *t, struct rt_container *c, const Pb__TaskRecord *r);
/** TASK_WAITING: its delay is over. */
void task_restart(struct task *t);
/** TASK_STOPPING, before the signal: sends it when it is quiet; else quiet.look_ms says when to call again. */
void task_stop_quietly(struct task *t);

/** Its health is another, or has been found bad once more; text: what the last probe said. */
void task_health_changed(struct task *t, const char *text);

/* probe.c: health checks. */
struct probes *probes_new(struct agent *a);
/** The container runs. `resume`: it was healthy when an earlier agent last looked. */
void probes_begin(struct probes *p, struct task *t, bool resume);
/** No more of it, also of the one that is running. */
void probes_end(struct probes *p, struct task *t);
void probes_close(struct probes *p);
void probes_free(struct probes *p);

/* restart.c */
/** Whether the task that ended is restarted in place, and after how long. Counts it. */
bool restart_begin(struct task *t, const struct rt_exit *e, uint64_t *ret_delay_ms);
/** When it is due, monotonic; UINT64_MAX = it does not wait. */
uint64_t restart_next(const struct task *t);

bool task_fill_sandbox(struct task *t, struct net_sandbox *s);

/* worker.c, for task.c */
struct agent *worker_agent(const struct worker *w);
/** The credentials that managers gave for the registry of the image, as img_pull takes them, or NULL. */
const char *worker_login(const struct worker *w, const char *image);
const Pb__Secret *worker_secret(const struct worker *w, uint64_t id);
const Pb__Config *worker_config(const struct worker *w, uint64_t id);
/** Whether the network's containers may reach the outside; true when nothing is known of it. */
bool worker_network_is_internal(const struct worker *w, uint64_t id);
void worker_task_changed(struct worker *w, struct task *t);
void worker_task_gone(struct worker *w, struct task *t);
struct probes *worker_probes(const struct worker *w);
/** What another life of the agent must know of it has changed. */
void worker_save(struct worker *w, struct task *t);
/** A task waits for its restart, or for quiet: the worker's timer is to be set anew. */
void worker_timer_changed(struct worker *w);

/* files.c: secrets and configs of a task, with placeholders filled in from `values`. */
int task_files(const struct task *t, const Pb__ContainerSpec *c, const json_t *values,
	       struct rt_file **ret, size_t *ret_n, struct sw_error *err);
void task_files_free(struct rt_file *files, size_t n);

/* child.c: swarm-managerd, while the node's role is manager. */
struct child *child_new(struct agent *a);
/** Starts it, or takes over one that runs; starts it again when it ends. */
void child_start(struct child *c, char *const *join);
/** `wipe`: the state goes too. cb when it has ended. */
void child_stop(struct child *c, bool wipe, void (*cb)(void *), void *arg);
void child_reload(struct child *c);
bool child_is_wanted(const struct child *c);
/** Leaves the manager running. */
void child_free(struct child *c);

/* renew.c: certificates from the managers. */
/** Asks for a certificate over the session's channel: at its time, or when the role changed. */
void renew_start(struct agent *a);
void renew_arm(struct agent *a);
void renew_on_timer(struct sw_timer *t);
void renew_stop(struct agent *a);

/* logs.c */
void logs_on_logs(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);

/* volumes.c */
void volumes_on_volumes(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);

/* net_check.c */
void net_check_on_probe(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);

/* usage.c */
void usage_on_usage(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);

/* exec.c */
/** Control.Exec, as managers pass it on. */
void exec_on_exec(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);

/* forward.c */
/** Control.Forward, as managers pass it on. */
void forward_on_forward(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);

/* copy.c */
/** Control.Copy, as managers pass it on. */
void copy_on_copy(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);

/* local.c */
extern const struct rpc_method local_methods[]; /* argument: the struct agent */

/* bootstrap.c: init and join. */
void bootstrap_init(struct agent *a, struct rpc_stream *s, const Pb__InitRequest *r);
void bootstrap_join(struct agent *a, struct rpc_stream *s, const Pb__JoinRequest *r);
/** "10.0.0.1", "10.0.0.1:2377" or an interface name to address and port. NULL picks the address of
 *  the default route. */
int bootstrap_address(const char *given, unsigned default_port, char ret_host[64],
		      unsigned *ret_port, struct sw_error *err) SW_MUST_CHECK;
