/* swarm-agentd: options and signals round one agent. */
#include "agent/agent.h"

#include "agent/describe.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/options.h"
#include "base/pulse.h"
#include "base/str.h"
#include "base/units.h"
#include "proto/generic.h"
#include "proto/grant.h"
#include "proto/msg.h"
#include "runtime/copy/copy.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

struct program {
	uv_loop_t loop;
	struct agent *agent;
	uv_signal_t term, interrupt;
	struct sw_pulse pulse;
	bool stopping;
};

static void on_closed(void *arg)
{
	(void)arg;
}

static void on_term(uv_signal_t *s, int signum)
{
	struct program *p = s->data;

	(void)signum;
	if (p->stopping)
		return;
	p->stopping = true;
	uv_close((uv_handle_t *)&p->term, NULL);
	uv_close((uv_handle_t *)&p->interrupt, NULL);
	sw_pulse_stop(&p->pulse);
	agent_close(p->agent, on_closed, p);
}

static void watch(struct program *p, uv_signal_t *s, int signum)
{
	uv_signal_init(&p->loop, s);
	s->data = p;
	uv_signal_start(s, on_term, signum);
}

/* A program that is installed beside this one. */
static char *beside(const char *name)
{
	char self[512];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	char *slash;

	if (n <= 0)
		return sw_strdup(name);
	self[n] = 0;
	slash = strrchr(self, '/');
	return sw_asprintf("%.*s/%s", (int)(slash - self), self, name);
}

static int check_generic(char *const *list, struct sw_error *err)
{
	Pb__Resources r = PB__RESOURCES__INIT;
	int rc = 0;

	for (size_t i = 0; rc == 0 && list != NULL && list[i] != NULL; i++)
		rc = generic_add(&r, list[i], err);
	while (r.n_generic > 0)
		msg_free(&r.generic[--r.n_generic]->base);
	free(r.generic);
	return rc;
}

static int check_mirrors(char *const *list, struct sw_error *err)
{
	for (; list != NULL && *list != NULL; list++) {
		const char *eq = strchr(*list, '=');

		if (eq == NULL || eq == *list || strstr(eq, "://") == NULL)
			return sw_fail(err, SW_EINVAL,
				       "registry-mirror %s: REGISTRY=URL is wanted, as "
				       "docker.io=http://192.0.2.20:5000",
				       *list);
	}
	return 0;
}

static int check_allow(char *const *list, struct sw_error *err)
{
	int rc = 0;

	for (; rc == 0 && list != NULL && *list != NULL; list++)
		rc = grant_check(*list, err);
	return rc;
}

/* So much of the host is for what is no task. */
static int check_reserve(const char *cpus, const char *memory, struct agent_options *o,
			 struct sw_error *err)
{
	int64_t nano = 0, bytes = 0;

	if (cpus != NULL &&
	    (!unit_nano_cpus(cpus, &nano) || nano < 0 || (uint64_t)nano >= describe_nano_cpus()))
		return sw_fail(err, SW_EINVAL,
			       "reserve-cpus %s: wanted a number of processors (0.5), fewer than "
			       "the host has",
			       cpus);
	if (memory != NULL && (!unit_bytes(memory, 1024, &bytes) || bytes < 0 ||
			       (uint64_t)bytes >= describe_memory()))
		return sw_fail(err, SW_EINVAL,
			       "reserve-memory %s: wanted a size (512M), less than the host has",
			       memory);
	o->reserve_nano_cpus = (uint64_t)nano;
	o->reserve_memory = (uint64_t)bytes;
	return 0;
}

int main(int argc, char **argv)
{
	static struct program p;
	char *state = NULL, *run = NULL, *advertise = NULL, *listen = NULL, *runtime = NULL;
	char *shim = NULL, *managerd = NULL, *user = NULL, *hostname = NULL, *egress = NULL;
	char *peer_port = NULL, *watermark = NULL, *cpus = NULL, *memory = NULL;
	char **mirrors = NULL, **insecure = NULL, **labels = NULL, **generic = NULL, **allow = NULL;
	char **certs = NULL;
	bool debug = false;
	const struct sw_option options[] = {
		{"state-dir", SW_OPTION_STRING, &state, "/var/lib/swarm", "State"},
		{"run-dir", SW_OPTION_STRING, &run, "/run/swarm", "Sockets and namespaces"},
		{"advertise-addr", SW_OPTION_STRING, &advertise, NULL,
		 "Address or interface of this host"},
		{"listen-addr", SW_OPTION_STRING, &listen, NULL, "Where its manager listens"},
		{"runtime", SW_OPTION_STRING, &runtime, "crun", "OCI runtime"},
		{"shim", SW_OPTION_STRING, &shim, NULL, "Path of swarm-shim"},
		{"managerd", SW_OPTION_STRING, &managerd, NULL, "Path of swarm-managerd"},
		{"manager-user", SW_OPTION_STRING, &user, "swarm", "User that managers run as"},
		{"hostname", SW_OPTION_STRING, &hostname, NULL, "Name of this node"},
		{"egress-subnet", SW_OPTION_STRING, &egress, NULL,
		 "Subnet of the containers' way out"},
		{"disk-watermark", SW_OPTION_STRING, &watermark, "85",
		 "Percent of the disk; above it images that nothing uses go (0: never)"},
		{"peer-port", SW_OPTION_STRING, &peer_port, "2378",
		 "Where layers of images are given to other nodes; 0 = nowhere"},
		{"registry-mirror", SW_OPTION_LIST, &mirrors, NULL,
		 "REGISTRY=URL, asked first (several)"},
		{"insecure-registry", SW_OPTION_LIST, &insecure, NULL,
		 "Registry without verified https (several)"},
		{"registry-certs", SW_OPTION_LIST, &certs, NULL,
		 "Folder of HOST[:PORT]/ with ca.crt, client.cert, client.key (several; "
		 "/etc/swarm/certs.d and /etc/docker/certs.d)"},
		{"label", SW_OPTION_LIST, &labels, NULL, "Engine label KEY=VALUE (several)"},
		{"node-generic-resource", SW_OPTION_LIST, &generic, NULL,
		 "KIND=NUMBER or KIND=NAME that tasks can reserve (several)"},
		{"reserve-cpus", SW_OPTION_STRING, &cpus, NULL,
		 "Processors of the host that no task can reserve: 0.5"},
		{"reserve-memory", SW_OPTION_STRING, &memory, NULL,
		 "Memory of the host that no task can reserve: 512M"},
		{"allow", SW_OPTION_LIST, &allow, NULL,
		 "What containers may do here: privileged, devices[=GLOB], pid-host, ipc-host, "
		 "cgroupns-host, userns-host, unconfined (several)"},
		{"debug", SW_OPTION_FLAG, &debug, NULL, "Log more"},
		{0},
	};
	struct agent_options o = {0};
	uint64_t port = 0, percent = 0;
	struct sw_error err = {0};

	/* Its own child, chrooted into a container (agent/copy.c). */
	if (argc > 1 && sw_streq(argv[1], "copy"))
		return copy_child(argc - 1, argv + 1);
	/* Threads that wait most of the time need no heap each. */
	mallopt(M_ARENA_MAX, 1);
	if (sw_options_parse("swarm-agentd", options, argc, argv, &err) != 0) {
		sw_err("bad options", SW_ERR(&err));
		return 2;
	}
	if (certs == NULL) {
		certs = sw_strv_add(NULL, "/etc/swarm/certs.d");
		certs = sw_strv_add(certs, "/etc/docker/certs.d");
	}
	if (check_mirrors(mirrors, &err) != 0 || check_generic(generic, &err) != 0 ||
	    check_allow(allow, &err) != 0) {
		sw_err("bad options", SW_ERR(&err));
		return 2;
	}
	sw_log_init("agent", debug ? SW_LOG_DEBUG : SW_LOG_INFO);
	signal(SIGPIPE, SIG_IGN);
	if (!sw_parse_u64(watermark, 100, &percent)) {
		sw_err("bad options", SW_STR("disk-watermark", watermark));
		return 2;
	}
	if (!sw_parse_u64(peer_port, 65535, &port)) {
		sw_err("bad options", SW_STR("peer-port", peer_port));
		return 2;
	}
	o = (struct agent_options){
		.disk_watermark = (unsigned)percent,
		.peer_port = (unsigned)port,
		.state_dir = state,
		.run_dir = run,
		.advertise = advertise,
		.listen = listen,
		.runtime = runtime,
		.shim = shim != NULL ? shim : beside("swarm-shim"),
		.managerd = managerd != NULL ? managerd : beside("swarm-managerd"),
		.manager_user = user,
		.hostname = hostname,
		.egress_subnet = egress,
		.mirrors = mirrors,
		.insecure = insecure,
		.registry_certs = certs,
		.labels = labels,
		.allow = allow,
		.generic = generic,
	};
	if (check_reserve(cpus, memory, &o, &err) != 0) {
		sw_err("bad options", SW_ERR(&err));
		return 2;
	}
	uv_loop_init(&p.loop);
	if (agent_new(&p.loop, &o, &p.agent, &err) != 0) {
		sw_err("agent can't start", SW_ERR(&err));
		return 1;
	}
	watch(&p, &p.term, SIGTERM);
	watch(&p, &p.interrupt, SIGINT);
	sw_info("agent started", SW_STR("version", SW_VERSION));
	sw_pulse_start(&p.pulse, &p.loop);
	uv_run(&p.loop, UV_RUN_DEFAULT);
	uv_loop_close(&p.loop);
	return 0;
}
