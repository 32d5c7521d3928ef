#include "cli/compose/schema.h"
#include <stdio.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/units.h"
#include "cli/compose/check.h"

/* Rows read: key, type, since; what differs from "honoured, optional, no short form" behind. */
#define LEVEL(var, title, ...)                                       \
	static const struct schema_key var##_keys[] = {__VA_ARGS__}; \
	static const struct schema_level var = {title, var##_keys, SW_COUNT(var##_keys), false}
#define LEVEL_X(var, title, ...)                                     \
	static const struct schema_key var##_keys[] = {__VA_ARGS__}; \
	static const struct schema_level var = {title, var##_keys, SW_COUNT(var##_keys), true}
#define S            SCHEMA_SPEC
#define SUB(l)       .sub = &(l)
#define NORMAL(f)    .normal = (f)
#define WARN(text)   .class = SC_WARNED, .note = (text)
#define REFUSE(text) .class = SC_REFUSED, .note = (text)
#define NOTE(text)   .note = (text)
#define REQUIRED     .required = true
#define NULLABLE     .nullable = true

#define RUN_ONLY   "has no meaning in a cluster"
#define USE_LIMITS "write deploy.resources.limits instead"

LEVEL(update_config, "update_config", {"parallelism", ST_INT, 0}, {"delay", ST_DURATION, 0},
      {"failure_action", ST_TEXT, 0}, {"monitor", ST_DURATION, 0},
      {"max_failure_ratio", ST_NUMBER, 0}, {"order", ST_TEXT, 4},
      {"progress_deadline", ST_DURATION, S,
       NOTE("ours: a new task that does not run within it has failed (10m; 0s = never)")},
      {"x-progress-deadline", ST_DURATION, 0,
       NOTE("the same, for files that other tools read too")});

LEVEL(discrete_resource, "discrete_resource_spec", {"kind", ST_TEXT, 5}, {"value", ST_INT, 5});

LEVEL(generic_resource, "generic_resources[]",
      {"discrete_resource_spec", ST_OBJECT, 5, SUB(discrete_resource)});

LEVEL(limits, "limits", {"cpus", ST_TEXT, 0}, {"memory", ST_BYTES, 0}, {"pids", ST_INT, 9});

LEVEL(reservations, "reservations", {"cpus", ST_TEXT, 0}, {"memory", ST_BYTES, 0},
      {"generic_resources", ST_LIST, 5, SUB(generic_resource)},
      {"devices", ST_ANY, S, REFUSE("write generic_resources, and the node's own labels")});

LEVEL(resources, "resources", {"limits", ST_OBJECT, 0, SUB(limits)},
      {"reservations", ST_OBJECT, 0, SUB(reservations)});

LEVEL(restart_policy, "restart_policy", {"condition", ST_TEXT, 0}, {"delay", ST_DURATION, 0},
      {"max_attempts", ST_INT, 0}, {"window", ST_DURATION, 0});

LEVEL(preference, "preferences[]", {"spread", ST_TEXT, 3});

LEVEL(placement, "placement", {"constraints", ST_TEXTS, 0},
      {"preferences", ST_LIST, 3, SUB(preference)}, {"max_replicas_per_node", ST_INT, 8});

LEVEL(schedule_history, "history", {"success", ST_INT, S}, {"failure", ST_INT, S});

LEVEL(schedule, "schedule",
      {"cron", ST_TEXT, S, REQUIRED, NOTE("[second] minute hour day month weekday")},
      {"timezone", ST_TEXT, S, NOTE("of tzdata, as Europe/Berlin; UTC when absent")},
      {"overlap", ST_TEXT, S, NOTE("allow, forbid or replace")},
      {"history", ST_OBJECT, S, SUB(schedule_history), NOTE("runs whose tasks are kept")},
      {"suspend", ST_BOOL, S},
      {"start_deadline", ST_DURATION, S, NOTE("a tick found later than this has no run")});

LEVEL(deploy, "deploy", {"mode", ST_TEXT, 0}, {"replicas", ST_INT, 0}, {"labels", ST_PAIRS, 0},
      {"update_config", ST_OBJECT, 0, SUB(update_config)},
      {"rollback_config", ST_OBJECT, 7, SUB(update_config)},
      {"resources", ST_OBJECT, 0, SUB(resources)},
      {"restart_policy", ST_OBJECT, 0, SUB(restart_policy)},
      {"placement", ST_OBJECT, 0, SUB(placement)},
      {"schedule", ST_OBJECT, S, SUB(schedule), NOTE("ours: makes a job run at times")},
      {"max_concurrent", ST_INT, S, NOTE("ours: tasks of a job at a time")},
      {"rebalance", ST_TEXT, S, NOTE("ours: never or on-join")}, {"endpoint_mode", ST_TEXT, 2});

LEVEL(healthcheck, "healthcheck", {"test", ST_ANY, 0, NORMAL(normal_health_test)},
      {"interval", ST_DURATION, 0}, {"timeout", ST_DURATION, 0}, {"retries", ST_INT, 0},
      {"start_period", ST_DURATION, 4}, {"start_interval", ST_DURATION, 12},
      {"disable", ST_BOOL, 0});

LEVEL(logging, "logging", {"driver", ST_TEXT, 0}, {"options", ST_PAIRS, 0, NULLABLE});

LEVEL_X(service_network, "networks of a service", {"aliases", ST_TEXTS, 0},
	{"driver_opts", ST_PAIRS, 13, WARN("interfaces have no options")},
	{"ipv4_address", ST_TEXT, 0},
	{"ipv6_address", ST_TEXT, 0, WARN("networks have IPv4 addresses only")},
	{"priority", ST_INT, S, WARN("networks are attached in the order of their names")},
	{"gw_priority", ST_INT, S, WARN("the gateway is chosen by the node")},
	{"link_local_ips", ST_TEXTS, S, WARN("link-local addresses are not given")},
	{"mac_address", ST_TEXT, S, WARN("addresses of interfaces are made from the IP address")},
	{"interface_name", ST_TEXT, S, WARN("interfaces are named by the node")});

LEVEL_X(port, "ports[]", {"target", ST_INT, 2}, {"published", ST_INT, 2}, {"protocol", ST_TEXT, 2},
	{"mode", ST_TEXT, 2}, {"name", ST_TEXT, S}, {"host_ip", ST_TEXT, S},
	{"x-interface", ST_TEXT, 0}, {"app_protocol", ST_TEXT, S, WARN("it is only a remark")});

LEVEL(mount_bind, "bind", {"propagation", ST_TEXT, 2}, {"create_host_path", ST_BOOL, S},
      {"selinux", ST_TEXT, S, WARN("labels of SELinux are not changed")},
      {"recursive", ST_TEXT, S, WARN("binds are recursive")});

LEVEL(mount_volume, "volume", {"nocopy", ST_BOOL, 2}, {"subpath", ST_TEXT, S},
      {"labels", ST_PAIRS, S});

LEVEL(mount_tmpfs, "tmpfs", {"size", ST_BYTES, 6}, {"mode", ST_INT, S});

LEVEL_X(mount, "volumes[]", {"type", ST_TEXT, 2, REQUIRED}, {"source", ST_TEXT, 2},
	{"target", ST_TEXT, 2}, {"read_only", ST_BOOL, 2},
	{"consistency", ST_TEXT, 2, NOTE("no effect on Linux, as with Docker")},
	{"bind", ST_OBJECT, 2, SUB(mount_bind)}, {"volume", ST_OBJECT, 2, SUB(mount_volume)},
	{"tmpfs", ST_OBJECT, 6, SUB(mount_tmpfs)},
	{"image", ST_ANY, S, REFUSE("images can not be mounted")});

LEVEL_X(file_ref, "secrets[] and configs[]", {"source", ST_TEXT, 1}, {"target", ST_TEXT, 1},
	{"uid", ST_TEXT, 1}, {"gid", ST_TEXT, 1}, {"mode", ST_INT, 1});

LEVEL(ulimit, "ulimits.*", {"soft", ST_INT, 0, REQUIRED}, {"hard", ST_INT, 0, REQUIRED});

LEVEL(dependency, "depends_on.*", {"condition", ST_TEXT, S},
      {"required", ST_BOOL, S, WARN("every service named must be in the file")},
      {"restart", ST_BOOL, S, WARN("a service is not restarted when another one is")});

LEVEL(env_file, "env_file[]", {"path", ST_TEXT, S, REQUIRED}, {"required", ST_BOOL, S},
      {"format", ST_TEXT, S});

LEVEL(credential_spec, "credential_spec", {"config", ST_TEXT, 8}, {"file", ST_TEXT, 3},
      {"registry", ST_TEXT, 3});

LEVEL_X(service, "services", {"image", ST_TEXT, 0}, {"entrypoint", ST_COMMAND, 0, NULLABLE},
	{"command", ST_COMMAND, 0, NULLABLE}, {"environment", ST_PAIRS, 0},
	{"env_file", ST_LIST, 0, SUB(env_file), NORMAL(normal_env_file)}, {"labels", ST_PAIRS, 0},
	{"deploy", ST_OBJECT, 0, SUB(deploy), NULLABLE},
	{"x-cron", ST_OBJECT, 0, SUB(schedule),
	 NOTE("as deploy.schedule, for files that other tools read too")},
	{"x-rebalance", ST_TEXT, 0, NOTE("as deploy.rebalance")}, {"hostname", ST_TEXT, 0},
	{"domainname", ST_TEXT, 0}, {"user", ST_TEXT, 0}, {"working_dir", ST_TEXT, 0},
	{"group_add", ST_TEXTS, S}, {"extra_hosts", ST_TEXTS, 0, NORMAL(normal_extra_hosts)},
	{"dns", ST_TEXTS, 0}, {"dns_search", ST_TEXTS, 0}, {"dns_opt", ST_TEXTS, S},
	{"healthcheck", ST_OBJECT, 0, SUB(healthcheck)}, {"init", ST_BOOL, 7},
	{"logging", ST_OBJECT, 0, SUB(logging)},
	{"networks", ST_NAMED, 0, SUB(service_network), NORMAL(normal_names)},
	{"network_mode", ST_TEXT, 0, NOTE("host and none; others give a warning")},
	{"ports", ST_LIST, 0, SUB(port), NORMAL(normal_ports)},
	{"volumes", ST_LIST, 0, SUB(mount), NORMAL(normal_volumes)}, {"tmpfs", ST_TEXTS, 0},
	{"secrets", ST_LIST, 1, SUB(file_ref), NORMAL(normal_refs)},
	{"configs", ST_LIST, 3, SUB(file_ref), NORMAL(normal_refs)},
	{"depends_on", ST_NAMED, 0, SUB(dependency), NORMAL(normal_depends_on),
	 NOTE("no task is made before the conditions hold for the first time")},
	{"restart", ST_TEXT, 0, NOTE("where deploy.restart_policy is absent")},
	{"isolation", ST_TEXT, 5}, {"read_only", ST_BOOL, 0}, {"stdin_open", ST_BOOL, 0},
	{"tty", ST_BOOL, 0}, {"stop_grace_period", ST_DURATION, 0}, {"stop_signal", ST_TEXT, 0},
	{"sysctls", ST_PAIRS, 0}, {"ulimits", ST_NAMED, 0, SUB(ulimit), NORMAL(normal_ulimits)},
	{"cap_add", ST_TEXTS, 0}, {"cap_drop", ST_TEXTS, 0}, {"privileged", ST_BOOL, 0},
	{"devices", ST_TEXTS, 0, NORMAL(normal_devices)}, {"security_opt", ST_TEXTS, 0},
	{"pid", ST_TEXT, 0}, {"ipc", ST_TEXT, 0}, {"userns_mode", ST_TEXT, 0},
	{"cgroupns_mode", ST_TEXT, 9},
	{"cgroup", ST_TEXT, S, NOTE("host or private, as cgroupns_mode")},
	{"cgroup_parent", ST_TEXT, 0, WARN("containers are in their agent's cgroup")},
	{"shm_size", ST_BYTES, 0}, {"oom_score_adj", ST_INT, 13},
	{"mac_address", ST_TEXT, 0, WARN("addresses of interfaces are made from the IP address")},
	{"pull_policy", ST_TEXT, S}, {"platform", ST_TEXT, S},
	{"runtime", ST_TEXT, S, WARN("the node's agent has one (--runtime)")},
	{"scale", ST_INT, S, NOTE("where deploy.replicas is absent")},
	{"cpus", ST_TEXT, S, NOTE("where deploy.resources.limits.cpus is absent")},
	{"pids_limit", ST_INT, S, NOTE("where deploy.resources.limits.pids is absent")},
	{"mem_reservation", ST_BYTES, S,
	 NOTE("where deploy.resources.reservations.memory is absent")},
	{"build", ST_ANY, 0, NOTE("for `stack deploy --build`")},
	{"credential_spec", ST_OBJECT, 3, SUB(credential_spec), WARN("it is for Windows")},
	{"container_name", ST_TEXT, 0, WARN("containers are named after their service and task")},
	{"expose", ST_TEXTS, 0, WARN("services on one network reach every port of each other")},
	{"external_links", ST_TEXTS, 0, WARN("services reach each other by name on a network")},
	{"links", ST_TEXTS, 0, WARN("services reach each other by name on a network")},
	{"annotations", ST_PAIRS, S, WARN("the runtime gets no annotations")},
	{"attach", ST_BOOL, S, WARN("nothing is attached to")},
	{"blkio_config", ST_ANY, S, WARN("there are no limits for disks")},
	{"cpu_count", ST_ANY, S, WARN("it is for Windows")},
	{"cpu_percent", ST_ANY, S, WARN("it is for Windows")},
	{"cpu_period", ST_ANY, S, WARN(USE_LIMITS)},
	{"cpu_rt_period", ST_ANY, S, WARN("there is no real-time scheduling")},
	{"cpu_rt_runtime", ST_ANY, S, WARN("there is no real-time scheduling")},
	{"develop", ST_ANY, S, WARN(RUN_ONLY)},
	{"device_cgroup_rules", ST_TEXTS, S, WARN("name the devices in `devices`")},
	{"mem_swappiness", ST_ANY, S, WARN("the node decides")},
	{"oom_kill_disable", ST_ANY, S, WARN("it can not be turned off")},
	{"post_start", ST_ANY, S, WARN("hooks are not run")},
	{"pre_stop", ST_ANY, S, WARN("hooks are not run")},
	{"profiles", ST_ANY, S,
	 REFUSE("profiles are not known; put the service in a file of its own")},
	{"storage_opt", ST_ANY, S, WARN("the node decides")},
	{"use_api_socket", ST_ANY, S, REFUSE("it would give the container the whole cluster")},
	{"uts", ST_TEXT, S, REFUSE("the host's name can not be shared")},
	{"extends", ST_ANY, 0, REFUSE("use an anchor and <<, or several files")},
	{"volume_driver", ST_ANY, 0, REFUSE("write the driver at the top-level volume")},
	{"volumes_from", ST_ANY, 0, REFUSE("name the volume in both services")},
	{"cpu_quota", ST_ANY, 0, REFUSE(USE_LIMITS)},
	{"cpu_shares", ST_ANY, 0, REFUSE("write deploy.resources.reservations.cpus instead")},
	{"cpuset", ST_ANY, 0, REFUSE(USE_LIMITS)},
	{"mem_limit", ST_ANY, 0, REFUSE("write deploy.resources.limits.memory instead")},
	{"memswap_limit", ST_ANY, 0, REFUSE("write deploy.resources.limits.memory instead")},
	{"gpus", ST_ANY, S, REFUSE("write deploy.resources.reservations.generic_resources")},
	{"models", ST_ANY, S, REFUSE(RUN_ONLY)}, {"provider", ST_ANY, S, REFUSE(RUN_ONLY)});

LEVEL(ipam_config, "ipam.config[]", {"subnet", ST_TEXT, 0}, {"gateway", ST_TEXT, S},
      {"ip_range", ST_TEXT, S, WARN("addresses come from the whole subnet")},
      {"aux_addresses", ST_PAIRS, S, WARN("addresses are not kept apart")});

LEVEL(ipam, "ipam", {"driver", ST_TEXT, 0, NOTE("only the default one is there")},
      {"config", ST_LIST, 0, SUB(ipam_config)}, {"options", ST_PAIRS, S, WARN("there are none")});

LEVEL_X(network, "networks", {"name", ST_TEXT, 5}, {"driver", ST_TEXT, 0},
	{"driver_opts", ST_PAIRS, 0}, {"ipam", ST_OBJECT, 0, SUB(ipam)},
	{"external", ST_BOOL, 0, NORMAL(normal_external)}, {"internal", ST_BOOL, 0},
	{"attachable", ST_BOOL, 2}, {"labels", ST_PAIRS, 0},
	{"enable_ipv4", ST_BOOL, S, WARN("networks have IPv4")},
	{"enable_ipv6", ST_BOOL, S, WARN("networks have IPv4 addresses only")});

LEVEL_X(volume, "volumes", {"name", ST_TEXT, 4}, {"driver", ST_TEXT, 0},
	{"driver_opts", ST_PAIRS, 0}, {"external", ST_BOOL, 0, NORMAL(normal_external)},
	{"labels", ST_PAIRS, 0},
	{"x-cluster-spec", ST_ANY, 10, WARN("there are no cluster volumes")});

LEVEL_X(secret, "secrets", {"name", ST_TEXT, 5}, {"file", ST_TEXT, 1}, {"environment", ST_TEXT, S},
	{"content", ST_TEXT, S}, {"external", ST_BOOL, 1, NORMAL(normal_external)},
	{"labels", ST_PAIRS, 1},
	{"driver", ST_TEXT, 8,
	 NOTE("refused when the stack is deployed: there are no secret drivers")},
	{"driver_opts", ST_PAIRS, 8}, {"template_driver", ST_TEXT, 8});

LEVEL_X(config, "configs", {"name", ST_TEXT, 5}, {"file", ST_TEXT, 3}, {"environment", ST_TEXT, S},
	{"content", ST_TEXT, S}, {"external", ST_BOOL, 3, NORMAL(normal_external)},
	{"labels", ST_PAIRS, 3}, {"template_driver", ST_TEXT, 8});

static const struct schema_key top_keys[] = {
	{"version", ST_TEXT, 0, NOTE("\"3\" to \"3.13\"; none = the newest")},
	{"name", ST_TEXT, S, NOTE("the stack's, when the command gives none")},
	{"services", ST_NAMED, 0, SUB(service)},
	{"networks", ST_NAMED, 0, SUB(network)},
	{"volumes", ST_NAMED, 0, SUB(volume)},
	{"secrets", ST_NAMED, 1, SUB(secret)},
	{"configs", ST_NAMED, 3, SUB(config)},
	{"include", ST_ANY, S, REFUSE("give the files by several -c")},
	{"models", ST_ANY, S, REFUSE(RUN_ONLY)},
};

const struct schema_level schema_top = {"top level", top_keys, SW_COUNT(top_keys), true};

const struct schema_key *schema_find(const struct schema_level *l, const char *name)
{
	for (size_t i = 0; i < l->n; i++)
		if (sw_streq(l->keys[i].name, name))
			return &l->keys[i];
	return NULL;
}

const char *schema_nearest(const struct schema_level *l, const char *name)
{
	size_t n = strlen(name);
	unsigned best = n < 4 ? 2 : n < 8 ? 3 : 4;
	const char *found = NULL;

	for (size_t i = 0; i < l->n; i++) {
		unsigned d = unit_distance(name, l->keys[i].name);

		if (d < best && l->keys[i].class != SC_REFUSED) {
			best = d;
			found = l->keys[i].name;
		}
	}
	return found;
}

const char *schema_type_text(enum schema_type t)
{
	static const char *const texts[] = {
		[ST_ANY] = "anything",
		[ST_TEXT] = "a single value",
		[ST_INT] = "a whole number",
		[ST_NUMBER] = "a number",
		[ST_BOOL] = "true or false",
		[ST_DURATION] = "a duration such as 1m30s",
		[ST_BYTES] = "a size such as 50M",
		[ST_TEXTS] = "a list of single values",
		[ST_COMMAND] = "a command line or a list of words",
		[ST_PAIRS] = "a mapping or a list of KEY=VALUE",
		[ST_OBJECT] = "a mapping",
		[ST_NAMED] = "a mapping of names",
		[ST_LIST] = "a list",
	};

	return texts[t];
}

const char *schema_class_text(enum schema_class c)
{
	return c == SC_HONOURED ? "honoured" : c == SC_WARNED ? "warned" : "refused";
}

void schema_walk(const struct schema_level *l,
		 void (*each)(void *arg, const char *path, const struct schema_key *k), void *arg)
{
	struct walk {
		const struct schema_level *level;
		char prefix[160];
	} stack[64] = {{l, ""}};
	size_t n = 1;

	while (n > 0) {
		struct walk at = stack[--n];

		for (size_t i = 0; i < at.level->n; i++) {
			const struct schema_key *k = &at.level->keys[i];
			sw_autofree char *path = sw_asprintf("%s%s", at.prefix, k->name);
			const char *suffix = k->type == ST_NAMED  ? ".*."
					     : k->type == ST_LIST ? "[]."
								  : ".";

			each(arg, path, k);
			if (k->sub == NULL || n >= SW_COUNT(stack))
				continue;
			stack[n].level = k->sub;
			snprintf(stack[n].prefix, sizeof stack[n].prefix, "%s%s", path, suffix);
			n++;
		}
	}
}
