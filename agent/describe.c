#include "agent/describe.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "overlay/wire.h"
#include "proto/generic.h"
#include "proto/msg.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { CGROUP2_MAGIC = 0x63677270, MAX_ROUTES = 256, MAX_ROUTES_TEXT = 1 << 20 };

static const char *cgroup_kind(void)
{
	struct statfs s;

	if (statfs("/sys/fs/cgroup", &s) == 0 && s.f_type == CGROUP2_MAGIC)
		return "v2";
	return sw_path_exists("/sys/fs/cgroup/unified") ? "hybrid" : "v1";
}

/* Docker's names of machines. */
static const char *arch_name(const char *machine)
{
	static const char *const names[][2] = {
		{"x86_64", "amd64"},
		{"aarch64", "arm64"},
		{"armv7l", "arm"},
		{"i686", "386"},
	};

	for (size_t i = 0; i < SW_COUNT(names); i++)
		if (sw_streq(machine, names[i][0]))
			return names[i][1];
	return machine;
}

static void add_label(Pb__NodeDescription *d, const char *label)
{
	const char *eq = strchrnul(label, '=');
	sw_autofree char *key = sw_strndup(label, (size_t)(eq - label));

	msg_kv_set(&d->engine_labels, &d->n_engine_labels, key, *eq == '=' ? eq + 1 : "");
}

/* "eth0\t0000000A\t00000000\t0001\t…\t00FFFFFF": destination and mask in network order, as hex. */
static bool read_route(const char *line, char out[32])
{
	uint32_t to, via, mask;
	unsigned flags;
	char device[32], address[INET_ADDRSTRLEN];

	if (sscanf(line, "%31s %x %x %x %*d %*d %*d %x", device, &to, &via, &flags, &mask) != 5)
		return false;
	/* Not the default one, and none of ours between gates. */
	if (mask == 0 || (ntohl(to) & 0xfffe0000) == 0xc6120000 || ntohl(mask) == UINT32_MAX)
		return false;
	inet_ntop(AF_INET, &to, address, sizeof address);
	snprintf(out, 32, "%s/%d", address, __builtin_popcount(mask));
	return true;
}

static void add_routes(Pb__NodeDescription *d)
{
	sw_autofree char *text = NULL;
	char **lines, route[32];

	if (sw_read_file("/proc/net/route", MAX_ROUTES_TEXT, &text, NULL, NULL) < 0)
		return;
	lines = sw_strv_split(text, '\n');
	for (char **l = lines; *l != NULL && d->n_routes < MAX_ROUTES; l++) {
		bool known = !read_route(*l, route);

		for (size_t i = 0; i < d->n_routes && !known; i++)
			known = sw_streq(d->routes[i], route);
		if (!known)
			msg_add_str(&d->routes, &d->n_routes, route);
	}
	sw_strv_free(lines);
}

static void add_wire(Pb__NodeDescription *d, const struct net *net)
{
	const char *why = "";
	const char *key = net_wire_key(net, &why);

	msg_set_str(&d->wireguard_key, key);
	msg_set_str(&d->wireguard_error, why);
	d->wireguard_port = key[0] != 0 ? WIRE_PORT : 0;
}

const char *describe_arch(void)
{
	static struct utsname u;

	if (u.machine[0] == 0)
		uname(&u);
	return u.machine;
}

static uint64_t left_of(uint64_t all, uint64_t reserved)
{
	return all > reserved ? all - reserved : 0;
}

uint64_t describe_nano_cpus(void)
{
	return (uint64_t)sysconf(_SC_NPROCESSORS_ONLN) * 1000000000U;
}

uint64_t describe_memory(void)
{
	struct sysinfo si;

	return sysinfo(&si) == 0 ? (uint64_t)si.totalram * si.mem_unit : 0;
}

Pb__NodeDescription *describe_node(const struct agent_options *o, const char *address,
				   const char *runtime, const struct net *net)
{
	Pb__NodeDescription *d = sw_new(Pb__NodeDescription);
	char *const *labels = o->labels, *const *generic = o->generic;
	char host[256] = "";
	struct utsname u;

	pb__node_description__init(d);
	uname(&u);
	gethostname(host, sizeof host - 1);
	msg_set_str(&d->hostname, o->hostname != NULL ? o->hostname : host);
	d->platform = sw_new(Pb__Platform);
	pb__platform__init(d->platform);
	msg_set_str(&d->platform->os, "linux");
	msg_set_str(&d->platform->arch, arch_name(u.machine));
	d->resources = sw_new(Pb__Resources);
	pb__resources__init(d->resources);
	d->resources->nano_cpus = left_of(describe_nano_cpus(), o->reserve_nano_cpus);
	d->resources->memory = left_of(describe_memory(), o->reserve_memory);
	for (size_t i = 0; labels != NULL && labels[i] != NULL; i++)
		add_label(d, labels[i]);
	/* main.c has checked them. */
	for (size_t i = 0; generic != NULL && generic[i] != NULL; i++)
		(void)!generic_add(d->resources, generic[i], NULL);
	msg_set_str(&d->version, SW_VERSION);
	msg_set_str(&d->runtime, runtime);
	msg_set_str(&d->cgroup, cgroup_kind());
	msg_set_str(&d->address, address);
	msg_set_str(&d->kernel, u.release);
	add_routes(d);
	if (net != NULL) {
		d->mtu = net_underlay_mtu(net);
		add_wire(d, net);
	}
	return d;
}
