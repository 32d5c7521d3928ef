/* What the files of control/ share. */
#pragma once

#include "base/list.h"
#include "base/loop.h"
#include "base/strmap.h"
#include "manager/control/control.h"

struct control {
	struct control_env env;
	struct store_watcher watcher;
	struct sw_closer closer;
	struct sw_later later; /* retries what waits */
	struct sw_timer
		patience; /* set while some wait: they are told why before their time is over */
	struct sw_list waiting; /* ops that wait for the state to change, or for their turn */
	size_t proposed;        /* ops whose proposal is under way */
	const void *alone;      /* the op that the others wait for (alone.c) */
	struct sw_list watches;
	struct sw_strmap agents; /* address -> struct rpc_channel */
	void (*closed)(void *);
	void *closed_arg;
};

/** One write: `build` looks at the state and fills the transaction. */
struct ctl_write {
	const struct rpc_method *method;
	/**
	 * 0: propose tx (or reply at once when it is empty); an error: refuse, but SW_EUNAVAIL:
	 * wait for the state to change and try again, until the call's deadline. `reply` is a
	 * zeroed message of the method's reply type.
	 */
	int (*build)(struct control *c, struct store_tx *tx, const ProtobufCMessage *request,
		     ProtobufCMessage *reply, struct sw_error *err);
};

void ctl_write_start(struct control *c, struct rpc_stream *s, const ProtobufCMessage *request,
		     const struct ctl_write *w);
uint64_t ctl_new_id(struct control *c);

/* alone.c */
/** The write must not cross others: it takes away what a service may name, or takes what only one
 *  can have. */
bool ctl_goes_alone(const struct store_tx *tx);

/* images.c */
/** The way to a node's agent; the node has an address and a port. */
struct rpc_channel *ctl_agent(struct control *c, const Pb__Node *n);
void ctl_close_agents(struct control *c);

/* ask.c */
/**
 * A question to every node's agent at once; what has come within wait_ms is the answer. The first
 * member of its owner, which is freed with it, after `reply` was sent (and freed).
 */
struct ctl_ask {
	const struct rpc_method *method; /* of the agents */
	uint64_t wait_ms;
	ProtobufCMessage *reply; /* to who asked */
	/** What a node is asked, which the ask frees; `at` counts the nodes in order of ids. */
	ProtobufCMessage *(*question)(struct ctl_ask *a, size_t at, const Pb__Node *n);
	/** What it answered; or NULL, and why not, as the end of a sentence about the node. */
	void (*answer)(struct ctl_ask *a, size_t at, const ProtobufCMessage *m, const char *fault);
	/* ask.c's own */
	struct control *c;
	struct rpc_stream *s; /* NULL once the caller has gone */
	size_t pending;
};
void ctl_ask_all(struct control *c, struct rpc_stream *s, struct ctl_ask *takes);

/* net_check.c */
void ctl_on_net_check(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);

/* net_plan.c: who is to probe what. Pure. */
enum { CTL_PROBES = 80000 }; /* of all nodes at most: so their results fit in one message */
/** Fills ports and nodes of an empty one; each node has its probes, without results. */
int ctl_plan_net_check(struct control *c, const Pb__NetCheckRequest *r, Pb__NetCheckReply *ret,
		       struct sw_error *err) SW_MUST_CHECK;
/** What the node of that index is asked; the caller frees it. */
Pb__ProbeRequest *ctl_probes_of(const struct store *s, const Pb__NetCheckReply *plan, size_t node);

/* cluster.c */
/** How long a certificate of a node may still be good that is issued now, or was before. */
uint64_t ctl_longest_cert_ms(const Pb__Cluster *c);

/* usage.c */
void ctl_on_usage(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);
void ctl_on_volumes(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);

/* objects.c */
/** SW_EPRECOND while a service asks for the volume of that name. */
int ctl_refuse_mounted(const struct control *c, const char *volume,
		       struct sw_error *err) SW_MUST_CHECK;

/* read.c */
void ctl_on_cluster_get(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);
void ctl_on_list(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);
void ctl_on_explain(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);
void ctl_on_service_logs(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);
/** A copy without what operators never see again: secret data, keys. */
struct store_head *ctl_public_copy(Pb__Kind kind, const struct store_head *o);

/* watch.c */
void ctl_on_watch(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);
void ctl_watch_change(struct control *c, const struct store_change *ch, uint64_t index);
void ctl_watch_reset(struct control *c);

/* validate.c */
int ctl_check_service(const struct control *c, const Pb__ServiceSpec *spec,
		      struct sw_error *err) SW_MUST_CHECK;
/** `self`: the service's id, 0 = new. What `tx` takes from others is free. */
int ctl_check_ports_free(const struct control *c, const struct store_tx *tx, uint64_t self,
			 const Pb__ServiceSpec *s, struct sw_error *err) SW_MUST_CHECK;
int ctl_check_name(const char *what, const char *name, struct sw_error *err) SW_MUST_CHECK;

/* objects.c */
int ctl_refuse_taken(const struct store_tx *tx, Pb__Kind kind, const char *name,
		     struct sw_error *err) SW_MUST_CHECK;
int ctl_remove_unused(struct control *c, struct store_tx *tx, Pb__Kind kind, const char *ref,
		      ProtobufCMessage *reply, struct sw_error *err) SW_MUST_CHECK;

/* files.c: secrets and configs; `spec` is a SecretSpec or a ConfigSpec, as `kind` says. */
enum ctl_file_change {
	CTL_FILE_SAME,
	CTL_FILE_CREATED,
	CTL_FILE_LABELED,  /* nobody needs to know */
	CTL_FILE_REPLACED, /* a new object under the old name */
};
int ctl_check_file(Pb__Kind kind, const ProtobufCMessage *spec, struct sw_error *err) SW_MUST_CHECK;
enum ctl_file_change ctl_put_file(struct control *c, struct store_tx *tx, Pb__Kind kind,
				  const ProtobufCMessage *spec, uint64_t stack_id,
				  uint64_t *ret_id);
/** The object is to go when nothing uses it any more; its name is free at once. */
void ctl_retire_file(struct store_tx *tx, Pb__Kind kind, uint64_t id);

/* plan.c: what the transaction would change, as items for people. */
void ctl_plan(const struct store_tx *tx, Pb__StackApplyReply *reply);

/* generation.c: what a stack was before. */
void ctl_keep_generation(struct control *c, struct store_tx *tx, uint64_t stack_id,
			 uint64_t generation, const Pb__StackSpec *spec);
/** The spec of a kept generation (0: the one before the current), contents and all. */
int ctl_old_stack(const struct control *c, const Pb__Stack *s, uint64_t generation,
		  Pb__StackSpec **ret, struct sw_error *err) SW_MUST_CHECK;

/* service.c */
/** Names in the spec become ids; what is missing is named. Looks at the transaction's view. */
int ctl_resolve(const struct store_tx *tx, Pb__ServiceSpec *spec,
		struct sw_error *err) SW_MUST_CHECK;
/** Creates or updates by name; takes a resolved spec. *ret_changed: 0 no, 1 created, 2 updated. */
void ctl_put_service(struct control *c, struct store_tx *tx, Pb__ServiceSpec *takes_spec,
		     uint64_t stack_id, int *ret_changed);
int ctl_check_same_mode(const Pb__Service *old, const Pb__ServiceSpec *next,
			struct sw_error *err) SW_MUST_CHECK;
/** Every service that names the secret or config gets a revision with this version of it. */
void ctl_roll_users(struct control *c, struct store_tx *tx, Pb__Kind kind, uint64_t id);
int ctl_find_named(const struct store_tx *tx, Pb__Kind kind, const char *name, uint64_t *ret_id);
/** By name or id; not one that is being removed. */
int ctl_find_service(struct control *c, const char *ref, const Pb__Service **ret,
		     struct sw_error *err) SW_MUST_CHECK;
/** A copy of the spec (NULL is refused) that was checked whole, and resolved; the caller frees. */
int ctl_checked_copy(struct control *c, struct store_tx *tx, uint64_t self,
		     const Pb__ServiceSpec *spec, Pb__ServiceSpec **ret,
		     struct sw_error *err) SW_MUST_CHECK;
/** Returns its id. */
uint64_t ctl_create_service(struct control *c, struct store_tx *tx, Pb__ServiceSpec *takes_spec,
			    uint64_t stack_id);
bool ctl_same_ports(Pb__PortConfig *const *a, size_t n_a, Pb__PortConfig *const *b, size_t n_b);

/* build functions, one a write method */
#define CTL_BUILD(name)                                                                         \
	int ctl_build_##name(struct control *c, struct store_tx *tx, const ProtobufCMessage *m, \
			     ProtobufCMessage *reply, struct sw_error *err)
CTL_BUILD(stack_apply);
CTL_BUILD(stack_rollback);
CTL_BUILD(stack_remove);
CTL_BUILD(service_create);
CTL_BUILD(service_update);
CTL_BUILD(service_scale);
CTL_BUILD(service_remove);
CTL_BUILD(service_run);
CTL_BUILD(cluster_update);
CTL_BUILD(node_update);
CTL_BUILD(node_remove);
CTL_BUILD(rebalance);
CTL_BUILD(network_create);
CTL_BUILD(network_remove);
CTL_BUILD(registry_set);
CTL_BUILD(registry_remove);
CTL_BUILD(secret_create);
CTL_BUILD(secret_update);
CTL_BUILD(secret_remove);
CTL_BUILD(config_create);
CTL_BUILD(config_update);
CTL_BUILD(config_remove);
CTL_BUILD(volume_create);
CTL_BUILD(volume_remove);
CTL_BUILD(join_token_get);
CTL_BUILD(operator_issue);
