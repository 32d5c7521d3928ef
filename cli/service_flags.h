/**
 * The flags of `service create` and `service update` that change a service's spec: one row each. A
 * list has three names: --env at create, --env-add and --env-rm at update.
 *
 * Rows: name, name of the value, function behind it (service_flags.c), help.
 */
#pragma once

#include "cli/command.h"

/* Of the task, so also of a one-off one. */
#define SERVICE_TASK_VALUES(X)                                                                   \
	X("entrypoint", "COMMAND", entrypoint, "Instead of the image's entrypoint")              \
	X("health-cmd", "COMMAND", health_cmd, "Tells whether the container is healthy")         \
	X("health-interval", "DURATION", health_interval, "Between two checks (30s)")            \
	X("health-retries", "N", health_retries, "Failures in a row that make it unhealthy (3)") \
	X("health-start-interval", "DURATION", health_start_interval,                            \
	  "Between two checks in the start period (5s)")                                         \
	X("health-start-period", "DURATION", health_start_period, "Failures do not count yet")   \
	X("health-timeout", "DURATION", health_timeout, "Of one check (30s)")                    \
	X("hostname", "NAME", hostname, "Host name of the containers")                           \
	X("limit-cpu", "NUMBER", limit_cpu, "Most CPUs")                                         \
	X("limit-memory", "BYTES", limit_memory, "Most memory")                                  \
	X("limit-pids", "N", limit_pids, "Most processes")                                       \
	X("log-driver", "DRIVER", log_driver, "Where the output goes")                           \
	X("oom-score-adj", "N", oom_score_adj, "What the kernel kills first (-1000 to 1000)")    \
	X("reserve-cpu", "NUMBER", reserve_cpu, "CPUs that its node must have left")             \
	X("reserve-memory", "BYTES", reserve_memory, "Memory that its node must have left")      \
	X("stop-grace-period", "DURATION", stop_grace, "Before a container is killed (10s)")     \
	X("stop-signal", "SIGNAL", stop_signal, "That asks a container to stop")

/* Of the service: how many tasks, when, and how they change. */
#define SERVICE_OWN_VALUES(X)                                                                      \
	X("endpoint-mode", "MODE", endpoint_mode, "vip or dnsrr")                                  \
	X("max-concurrent", "N", max_concurrent, "Tasks of a job at a time")                       \
	X("replicas", "N", replicas, "How many tasks")                                             \
	X("replicas-max-per-node", "N", max_per_node, "Most tasks on one node")                    \
	X("restart-condition", "WORD", restart_condition, "none, on-failure or any")               \
	X("restart-delay", "DURATION", restart_delay, "Before a restart")                          \
	X("restart-max-attempts", "N", restart_max_attempts, "Restarts before it is given up")     \
	X("restart-window", "DURATION", restart_window, "Attempts within it count")                \
	X("rebalance", "WORD", rebalance, "never or on-join")                                      \
	X("rollback-delay", "DURATION", rollback_delay, "Between two tasks of a rollback")         \
	X("rollback-failure-action", "WORD", rollback_failure_action, "pause or continue")         \
	X("rollback-max-failure-ratio", "RATIO", rollback_max_failure_ratio,                       \
	  "Failures that a rollback bears (0 to 1)")                                               \
	X("rollback-monitor", "DURATION", rollback_monitor, "How long a new task is watched (5s)") \
	X("rollback-order", "ORDER", rollback_order, "start-first or stop-first")                  \
	X("rollback-parallelism", "N", rollback_parallelism, "Tasks at a time (0: all)")           \
	X("rollback-progress-deadline", "DURATION", rollback_progress,                             \
	  "A new task must run within it (10m)")                                                   \
	X("schedule", "CRON", schedule, "A job runs at these times")                               \
	X("schedule-overlap", "WORD", schedule_overlap, "allow, forbid or replace")                \
	X("schedule-suspend", "BOOL", schedule_suspend, "No runs while true")                      \
	X("schedule-timezone", "ZONE", schedule_timezone, "Of the schedule (UTC)")                 \
	X("update-delay", "DURATION", update_delay, "Between two tasks of an update")              \
	X("update-failure-action", "WORD", update_failure_action, "pause, continue or rollback")   \
	X("update-max-failure-ratio", "RATIO", update_max_failure_ratio,                           \
	  "Failures that an update bears (0 to 1)")                                                \
	X("update-monitor", "DURATION", update_monitor, "How long a new task is watched (5s)")     \
	X("update-order", "ORDER", update_order, "start-first or stop-first")                      \
	X("update-parallelism", "N", update_parallelism, "Tasks at a time (0: all)")               \
	X("update-progress-deadline", "DURATION", update_progress,                                 \
	  "A new task must run within it (10m)")

#define SERVICE_VALUES(X) SERVICE_TASK_VALUES(X) SERVICE_OWN_VALUES(X)

/* Those with a letter, or none. */
#define SERVICE_LETTERS(X)                                           \
	X("user", 'u', "USER[:GROUP]", user, "Who runs the command") \
	X("workdir", 'w', "PATH", workdir, "Where the command runs")

#define SERVICE_SWITCHES(X)                                                   \
	X("init", 0, init, "A small init reaps what the container leaves")    \
	X("no-healthcheck", 0, no_healthcheck, "Not even the image's")        \
	X("read-only", 0, read_only, "The root file system can't be written") \
	X("tty", 't', tty, "Give the containers a terminal")

/* At both commands under one name; given again they add up. */
#define SERVICE_ADDITIONS(X)                                                 \
	X("cap-add", "CAPABILITY", cap_add, "A capability more (several)")   \
	X("cap-drop", "CAPABILITY", cap_drop, "A capability less (several)") \
	X("log-opt", "KEY=VALUE", log_opt, "Option of the log driver (several)")

/* name at create, letter, name at update before -add and -rm, value, what -rm takes, function, help
 */
#define SERVICE_LISTS(X)                                                                     \
	X("config", 0, "config", "CONFIG", "CONFIG", config, "a config")                     \
	X("constraint", 0, "constraint", "EXPRESSION", "EXPRESSION", constraint,             \
	  "where tasks may run")                                                             \
	X("container-label", 0, "container-label", "KEY=VALUE", "KEY", container_label,      \
	  "a label of the containers")                                                       \
	X("dns", 0, "dns", "ADDRESS", "ADDRESS", dns, "a DNS server")                        \
	X("dns-option", 0, "dns-option", "OPTION", "OPTION", dns_option, "an option of DNS") \
	X("dns-search", 0, "dns-search", "DOMAIN", "DOMAIN", dns_search, "a search domain")  \
	X("env", 'e', "env", "NAME=VALUE", "NAME", env, "a variable")                        \
	X("generic-resource", 0, "generic-resource", "KIND=N", "KIND", generic,              \
	  "a resource that its node must have left")                                         \
	X("group", 0, "group", "GROUP", "GROUP", group, "a further group of the user")       \
	X("host", 0, "host", "NAME:ADDRESS", "NAME", host, "a line of /etc/hosts")           \
	X("label", 'l', "label", "KEY=VALUE", "KEY", label, "a label of the service")        \
	X("mount", 0, "mount", "MOUNT", "TARGET", mount, "a mount")                          \
	X("network", 0, "network", "NETWORK", "NETWORK", network, "a network")               \
	X("placement-pref", 0, "placement-pref", "spread=KEY", "spread=KEY", preference,     \
	  "over what tasks are spread")                                                      \
	X("publish", 'p', "publish", "PORT", "TARGET[/PROTOCOL]", port, "a published port")  \
	X("secret", 0, "secret", "SECRET", "SECRET", secret, "a secret")                     \
	X("sysctl", 0, "sysctl", "KEY=VALUE", "KEY", sysctl, "a kernel setting")             \
	X("ulimit", 0, "ulimit", "NAME=SOFT[:HARD]", "NAME", ulimit, "a limit of the processes")

/** An empty spec that the functions below can fill. */
Pb__ServiceSpec *service_flags_spec(void);
/** Its image; SW_EINVAL for what is no reference to one. */
int service_flags_image(Pb__ServiceSpec *spec, const char *image,
			struct sw_error *err) SW_MUST_CHECK;
/** What it runs instead of the image's command; nothing: that again. */
void service_flags_command(Pb__ServiceSpec *spec, char *const *words, size_t n);
/** Does what the command line says to the spec, in the order in which it says it. */
int service_flags_apply(const struct cli *cli, Pb__ServiceSpec *spec,
			struct sw_error *err) SW_MUST_CHECK;
