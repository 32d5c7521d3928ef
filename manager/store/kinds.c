/* The table of object kinds: what the store knows of each type, one row a kind. */
#include "manager/store/store.h"

#include "base/mem.h"

/* The generated structs must begin as struct store_head says. */
#define X(KIND, name, type)                                                                      \
	_Static_assert(                                                                          \
		offsetof(type, id) == offsetof(struct store_head, id) &&                         \
			offsetof(type, version) == offsetof(struct store_head, version) &&       \
			offsetof(type, created_ms) == offsetof(struct store_head, created_ms) && \
			offsetof(type, updated_ms) == offsetof(struct store_head, updated_ms),   \
		#type " does not begin as an object does");
STORE_KINDS(X)
#undef X

static const char *node_name(const struct store_head *o)
{
	const Pb__Node *n = (const Pb__Node *)o;

	return n->description != NULL ? n->description->hostname : "";
}

static const char *stack_name(const struct store_head *o)
{
	return ((const Pb__Stack *)o)->name;
}

static const char *operator_name(const struct store_head *o)
{
	return ((const Pb__Operator *)o)->name;
}

static const char *cluster_name(const struct store_head *o)
{
	return ((const Pb__Cluster *)o)->name;
}

#define SPEC_NAME(what, type)                                      \
	static const char *what##_name(const struct store_head *o) \
	{                                                          \
		const type *x = (const type *)o;                   \
                                                                   \
		return x->spec != NULL ? x->spec->name : "";       \
	}
SPEC_NAME(service, Pb__Service)
SPEC_NAME(network, Pb__Network)
SPEC_NAME(secret, Pb__Secret)
SPEC_NAME(config, Pb__Config)
SPEC_NAME(volume, Pb__Volume)
SPEC_NAME(registry, Pb__Registry)

static uint64_t task_service(const struct store_head *o)
{
	return ((const Pb__Task *)o)->service_id;
}

static uint64_t task_node(const struct store_head *o)
{
	return ((const Pb__Task *)o)->node_id;
}

static uint64_t revision_service(const struct store_head *o)
{
	return ((const Pb__Revision *)o)->service_id;
}

static uint64_t generation_stack(const struct store_head *o)
{
	return ((const Pb__StackGeneration *)o)->stack_id;
}

static uint64_t service_stack(const struct store_head *o)
{
	return ((const Pb__Service *)o)->stack_id;
}

/* index[0] of tasks is by service, index[1] by node: store.c's walks rely on it. */
const struct store_kind store_kinds[STORE_KIND_NR] = {
	[PB__KIND__KIND_CLUSTER] = {"cluster", &pb__cluster__descriptor, cluster_name},
	[PB__KIND__KIND_NODE] = {"node", &pb__node__descriptor, NULL},
	[PB__KIND__KIND_STACK] = {"stack", &pb__stack__descriptor, stack_name},
	[PB__KIND__KIND_SERVICE] = {"service",
				    &pb__service__descriptor,
				    service_name,
				    {{service_stack}}},
	[PB__KIND__KIND_REVISION] = {"revision",
				     &pb__revision__descriptor,
				     NULL,
				     {{revision_service}}},
	[PB__KIND__KIND_TASK] = {"task",
				 &pb__task__descriptor,
				 NULL,
				 {{task_service}, {task_node}}},
	[PB__KIND__KIND_NETWORK] = {"network", &pb__network__descriptor, network_name},
	[PB__KIND__KIND_SECRET] = {"secret", &pb__secret__descriptor, secret_name},
	[PB__KIND__KIND_CONFIG] = {"config", &pb__config__descriptor, config_name},
	[PB__KIND__KIND_VOLUME] = {"volume", &pb__volume__descriptor, volume_name},
	[PB__KIND__KIND_JOIN_TOKEN] = {"join token", &pb__join_token__descriptor, NULL},
	[PB__KIND__KIND_OPERATOR] = {"operator", &pb__operator__descriptor, operator_name},
	[PB__KIND__KIND_REVOCATION] = {"revocation", &pb__revocation__descriptor, NULL},
	[PB__KIND__KIND_EVENT] = {"event", &pb__event__descriptor, NULL},
	[PB__KIND__KIND_STACK_GENERATION] = {"stack generation",
					     &pb__stack_generation__descriptor,
					     NULL,
					     {{generation_stack}}},
	[PB__KIND__KIND_IMAGE] = {"image", &pb__image__descriptor, NULL},
	[PB__KIND__KIND_REGISTRY] = {"registry", &pb__registry__descriptor, registry_name},
};

#define X(KIND, name, type) \
	_Static_assert((int)PB__KIND__KIND_##KIND < (int)STORE_KIND_NR, "kind without a row");
STORE_KINDS(X)
#undef X

const char *store_name_of(Pb__Kind kind, const struct store_head *o)
{
	/* Host names are shown as names of nodes but two nodes may share one: they are not indexed.
	 */
	if (kind == PB__KIND__KIND_NODE)
		return node_name(o);
	return store_kinds[kind].name_of != NULL ? store_kinds[kind].name_of(o) : "";
}
