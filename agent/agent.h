/** An agent: identity, session to a manager, tasks, local API, wired to one loop. */
#pragma once

#include "base/error.h"

#include <uv.h>

struct agent;

struct agent_options {
	const char *state_dir;       /* /var/lib/swarm */
	const char *run_dir;         /* /run/swarm: sockets, namespaces */
	const char *advertise;       /* address of this host; NULL = given with init or join */
	const char *listen;          /* of the manager */
	const char *runtime;         /* OCI runtime */
	const char *shim;            /* path of swarm-shim */
	const char *managerd;        /* path of swarm-managerd */
	const char *manager_user;    /* that it runs as */
	const char *hostname;        /* NULL = the host's */
	const char *egress_subnet;   /* of the host's bridge; NULL = net's default */
	char *const *mirrors;        /* "docker.io=http://10.0.0.1:5000" */
	char *const *insecure;       /* registries without verified https */
	char *const *registry_certs; /* folders as Docker's certs.d */
	unsigned disk_watermark;     /* percent; fuller than that, images that nothing uses go; 0 =
					never */
	unsigned peer_port;          /* where layers are given to other nodes; 0 = nowhere */
	char *const *labels;         /* engine labels, "key=value" */
	char *const *allow;          /* what containers may do here (proto/grant.h) */
	char *const *generic;        /* generic resources, "kind=number" or "kind=name" */
	uint64_t reserve_nano_cpus;  /* of the host, for what is no task: nobody can reserve them */
	uint64_t reserve_memory;     /* bytes */
};

int agent_new(uv_loop_t *loop, const struct agent_options *o, struct agent **ret,
	      struct sw_error *err) SW_MUST_CHECK;
/** Containers, networks and the manager go on. */
void agent_close(struct agent *a, void (*cb)(void *), void *arg);
