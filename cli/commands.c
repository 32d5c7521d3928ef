/* The table of commands: parsing, help and completion all come from here. */
#include "cli/cmd.h"
#include "cli/service_flags.h"

#define NO_LIMIT SIZE_MAX

#define FILTER                                                            \
	{                                                                 \
		"filter", 'f', "KEY=VALUE", "Only what matches (several)" \
	}
#define FORMAT                                                         \
	{                                                              \
		"format", 0, "FORMAT", "table, json, or a Go template" \
	}
#define QUIET                                  \
	{                                      \
		"quiet", 'q', NULL, "Only ids" \
	}
#define NO_TRUNC                                              \
	{                                                     \
		"no-trunc", 0, NULL, "Whole ids and messages" \
	}
#define RESOLVE                                               \
	{                                                     \
		"no-resolve", 0, NULL, "Ids instead of names" \
	}
#define DETACH                                     \
	{                                          \
		"detach", 'd', NULL, "Do not wait" \
	}
#define TIMEOUT                                                    \
	{                                                          \
		"timeout", 0, "DURATION", "How long to wait (10m)" \
	}
#define LABEL                                                  \
	{                                                      \
		"label", 'l', "KEY=VALUE", "A label (several)" \
	}

#define OPTIONS(...) ((const struct cli_option[]){__VA_ARGS__, {0}})

#define UPDATE_FILE                                                               \
	OPTIONS({"label-add", 0, "KEY=VALUE", "Add or change a label (several)"}, \
		{"label-rm", 0, "KEY", "Remove a label (several)"})
#define CREATE_FILE \
	OPTIONS(LABEL, {"template-driver", 0, "NAME", "golang: the content is a template"})

#define LIST OPTIONS(FILTER, FORMAT, QUIET, NO_TRUNC)
#define PS   OPTIONS(FILTER, FORMAT, QUIET, NO_TRUNC, RESOLVE)

static const struct cli_option join_options[] = {
	{"token", 0, "TOKEN", "The join token"},
	{"advertise-addr", 0, "ADDRESS", "Address or interface that others reach this node at"},
	{"listen-addr", 0, "ADDRESS", "Where its manager listens (0.0.0.0:2377)"},
	{0},
};

#define SETTINGS                                                                               \
	{"task-history-limit", 0, "N", "Tasks kept a slot; -1 keeps all (5)"},                 \
		{"dispatcher-heartbeat", 0, "DURATION", "Nodes say that they live (1s)"},      \
		{"cert-expiry", 0, "DURATION", "Of nodes' certificates (2160h)"},              \
	{                                                                                      \
		"placement-strategy", 0, "WORD", "spread, or binpack by reservations (spread)" \
	}

static const struct cli_option init_options[] = {
	{"advertise-addr", 0, "ADDRESS", "Address or interface that others reach this node at"},
	{"listen-addr", 0, "ADDRESS", "Where its manager listens (0.0.0.0:2377)"},
	{"default-addr-pool", 0, "SUBNET", "Subnets are cut from it (several; 10.0.0.0/8)"},
	{"subnet-size", 0, "PREFIX", "Prefix length of a network's subnet (20)"},
	{"default-addr-pool-mask-length", 0, "PREFIX", "The same, as Docker calls it"},
	{"data-path-port", 0, "PORT", "UDP port of VXLAN (4789)"},
	{"availability", 0, "WORD", "active, pause or drain"},
	SETTINGS,
	{0},
};

static const struct cli_option update_options[] = {
	SETTINGS,
	{"addr-pool-add", 0, "SUBNET", "Networks are given subnets of it, too (several)"},
	{"addr-pool-rm", 0, "SUBNET", "New networks get none of it (several)"},
	{0},
};

static const struct cli_option node_update_options[] = {
	{"availability", 0, "WORD", "active, pause or drain"},
	{"drain-deadline", 0, "DURATION", "After it a drain waits for nobody (10m)"},
	{"force", 0, NULL, "Drain at once, without regard to the services' order"},
	{"wait", 0, NULL, "Until a drained node runs nothing"},
	TIMEOUT,
	QUIET,
	{"role", 0, "ROLE", "worker or manager"},
	{"label-add", 0, "KEY=VALUE", "Add or change a label (several)"},
	{"label-rm", 0, "KEY", "Remove a label (several)"},
	{0},
};

#define VALUE_OPTION(name, arg, fn, help)          {name, 0, arg, help},
#define LETTER_OPTION(name, letter, arg, fn, help) {name, letter, arg, help},
#define SWITCH_OPTION(name, letter, fn, help)      {name, letter, NULL, help},
#define LIST_OPTION(name, letter, update, arg, rm, fn, help) \
	{name, letter, arg, "Give " help " (several)"},
#define UPDATE_OPTIONS(name, letter, update, arg, rm, fn, help)      \
	{update "-add", 0, arg, "Add or change " help " (several)"}, \
		{update "-rm", 0, rm, "Remove " help " (several)"},

static const struct cli_option run_options[] = {
	{"name", 0, "NAME", "Name of the task; without one it is given one"},
	// clang-format off
	SERVICE_TASK_VALUES(VALUE_OPTION)
	SERVICE_LETTERS(LETTER_OPTION)
	SERVICE_SWITCHES(SWITCH_OPTION)
	SERVICE_ADDITIONS(VALUE_OPTION)
	SERVICE_LISTS(LIST_OPTION)
	// clang-format on
	{"env-file", 0, "FILE", "Give the variables of a file, NAME=VALUE in lines (several)"},
	{"with-registry-auth", 0, NULL, "Give the nodes your credentials of the image's registry"},
	{"keep", 0, NULL, "Leave the task for an hour after its end"},
	{"rm", 0, NULL, "Taken for Docker's sake: it is taken away anyway"},
	DETACH,
	{0},
};

static const struct cli_option service_create_options[] = {
	{"name", 0, "NAME", "Name of the service; without one it is called after its image"},
	{"mode", 0, "MODE", "replicated, global, replicated-job or global-job"},
	// clang-format off
	SERVICE_VALUES(VALUE_OPTION)
	SERVICE_LETTERS(LETTER_OPTION)
	SERVICE_SWITCHES(SWITCH_OPTION)
	SERVICE_ADDITIONS(VALUE_OPTION)
	SERVICE_LISTS(LIST_OPTION)
	// clang-format on
	{"env-file", 0, "FILE", "Give the variables of a file, NAME=VALUE in lines (several)"},
	{"with-registry-auth", 0, NULL,
	 "Give the nodes your credentials of the images' registries"},
	{"no-resolve-image", 0, NULL, "Accepted for Docker's sake"},
	DETACH,
	TIMEOUT,
	QUIET,
	{0},
};

static const struct cli_option service_update_options[] = {
	{"image", 0, "IMAGE", "Image of the tasks"},
	{"args", 0, "COMMAND", "Command of the tasks"},
	{"force", 0, NULL, "New tasks even when nothing changes"},
	{"rollback", 0, NULL, "Back to the version before"},
	SERVICE_VALUES(VALUE_OPTION) SERVICE_LETTERS(LETTER_OPTION) SERVICE_SWITCHES(SWITCH_OPTION)
		SERVICE_ADDITIONS(VALUE_OPTION) SERVICE_LISTS(UPDATE_OPTIONS){
			"with-registry-auth", 0, NULL,
			"Give the nodes your credentials of the images' registries"},
	{"no-resolve-image", 0, NULL, "Accepted for Docker's sake"},
	DETACH,
	TIMEOUT,
	QUIET,
	{0},
};

static const struct cli_option build_options[] = {
	{"file", 'f', "FILE", "The Dockerfile (CONTEXT/Dockerfile); - is stdin"},
	{"tag", 't', "NAME", "A name for the image (several)"},
	{"target", 0, "STAGE", "The stage to build (the last)"},
	{"build-arg", 0, "NAME[=VALUE]", "Set an ARG (several)"},
	{"build-context", 0, "NAME=WHERE", "A further context: a folder, or docker-image://IMAGE"},
	{"secret", 0, "id=NAME[,src=FILE]", "A secret for RUN --mount=type=secret (several)"},
	{"label", 0, "KEY=VALUE", "A label of the image (several)"},
	{"no-cache", 0, NULL, "Do every step again"},
	{"pull", 0, NULL, "Ask for newer base images"},
	{"push", 0, NULL, "Push the image's names when it is built"},
	{"output", 'o', "WHERE", "DIR, or type=image|local|tar|oci|docker,dest=PATH"},
	{"on", 0, "NODE", "Build on that node (this host; from afar: one that has little to do)"},
	{"progress", 0, "FORM", "auto, tty, plain or quiet"},
	{"iidfile", 0, "FILE", "Write the image's id there"},
	{"network", 0, "MODE", "Of RUN: default, none or host"},
	{"platform", 0, "OS/ARCH", "Platform of the image"},
	{"memory", 'm', "SIZE", "Limit of each RUN"},
	{"cpus", 0, "N", "Limit of each RUN"},
	QUIET,
	{0},
};

static const struct cli_option save_options[] = {
	{"output", 'o', "FILE", "Write there instead of to stdout"},
	{"format", 0, "FORM", "docker (also an OCI layout) or oci"},
	{0},
};

static const struct cli_option prune_options[] = {
	{"all", 'a', NULL,
	 "Also images with a name that no container uses, and what cut-off pulls left"},
	{"build-cache", 0, NULL, "Also everything that builds have kept"},
	{"force", 0, NULL, "Taken for Docker's sake: nothing is asked anyway"},
	{0},
};

static const struct cli_option logs_options[] = {
	{"follow", 'f', NULL, "Go on with what comes"},
	{"tail", 'n', "LINES", "Only so many lines from the end"},
	{"since", 0, "DURATION", "Only lines of the last so long (10m)"},
	{"timestamps", 't', NULL, "Show when"},
	{"raw", 0, NULL, "The lines alone"},
	NO_TRUNC,
	RESOLVE,
	{0},
};

static const struct cli_option exec_options[] = {
	{"interactive", 'i', NULL, "Pass standard input on"},
	{"tty", 't', NULL, "Give it a terminal"},
	{"detach", 'd', NULL, "Do not wait for its end, nor show what it says"},
	{"env", 'e', "NAME=VALUE", "A further variable (several)"},
	{"user", 'u', "USER[:GROUP]", "Run it as that user"},
	{"workdir", 'w', "DIR", "Run it in that folder"},
	{0},
};

static const struct cli_option deploy_options[] = {
	{"compose-file", 'c', "FILE", "Stack file, - for standard input (several)"},
	{"prune", 0, NULL, "Remove services that the file no longer has"},
	{"build", 0, NULL, "Build the images that the file says how to build, first"},
	{"resolve-image", 0, "WHEN", "always, changed or never"},
	{"with-registry-auth", 0, NULL,
	 "Give the nodes your credentials of the images' registries"},
	DETACH,
	TIMEOUT,
	QUIET,
	{0},
};

static const struct cli_option plan_options[] = {
	{"compose-file", 'c', "FILE", "Stack file, - for standard input (several)"},
	{"prune", 0, NULL, "With what the file no longer has"},
	{0},
};

static const struct cli_option config_options[] = {
	{"compose-file", 'c', "FILE", "Stack file, - for standard input (several)"},
	{"skip-interpolation", 0, NULL, "Leave $VARIABLES as they are"},
	FORMAT,
	{0},
};

static const struct cli_option network_create_options[] = {
	{"driver", 'd', "DRIVER", "overlay (default) or bridge"},
	{"subnet", 0, "SUBNET", "Its addresses"},
	{"gateway", 0, "ADDRESS", "Its gateway"},
	{"internal", 0, NULL, "Without a way out"},
	{"attachable", 0, NULL, "Others than services may join"},
	{"opt", 'o', "KEY=VALUE", "Driver option (several)"},
	{"label", 0, "KEY=VALUE", "A label (several)"},
	{0},
};

static const struct cli_option volume_create_options[] = {
	{"driver", 'd', "DRIVER", "local (default)"},
	{"opt", 'o', "KEY=VALUE", "Driver option: type, device, o (several)"},
	{"label", 0, "KEY=VALUE", "A label (several)"},
	{0},
};

static const struct cli_option output_options[] = {
	{"output", 'o', "FILE", "Write the context there (standard output)"},
	{0},
};

static const struct cli_option import_options[] = {
	{"name", 0, "NAME", "Name of the context (that of the file)"},
	{0},
};

static const struct cli_option load_options[] = {
	{"input", 'i', "FILE", "Archive (standard input)"},
	QUIET,
	{0},
};

static const struct cli_option events_options[] = {
	{"since", 0, "TIME", "From then on: 10m, or 2026-01-31T12:00:00Z (only what comes)"},
	{"until", 0, "TIME", "Until then, or now (for ever)"},
	FILTER,
	FORMAT,
	NO_TRUNC,
	{0},
};

const struct command cli_commands[] = {
	{"init", "[OPTIONS]", "Make this host the first manager of a cluster", init_options,
	 cmd_init, 0, 0, false},
	{"join", "[OPTIONS] MANAGER[:PORT]...", "Join a cluster", join_options, cmd_join, 1, 16,
	 false},
	{"join-token", "[OPTIONS] worker|manager", "Tell the token that nodes join with",
	 OPTIONS({"rotate", 0, NULL, "Make a new one; the old stops working"},
		 {"quiet", 'q', NULL, "Only the token"}),
	 cmd_join_token, 1, 1, false},
	{"leave", "[OPTIONS]", "Leave the cluster",
	 OPTIONS({"force", 'f', NULL, "Also as a manager"}), cmd_leave, 0, 0, false},
	{"update", "[OPTIONS]", "Change the cluster's settings", update_options, cmd_update, 0, 0,
	 false},
	{"cluster inspect", "[OPTIONS]", "Show the cluster's settings as JSON", OPTIONS(FORMAT),
	 cmd_cluster_inspect, 0, 0, false},

	{"node ls", "[OPTIONS]", "List nodes", LIST, cmd_node_ls, 0, 0, false},
	{"node inspect", "[OPTIONS] NODE...", "Show nodes as JSON", OPTIONS(FORMAT),
	 cmd_object_inspect, 1, NO_LIMIT, false},
	{"node ps", "[OPTIONS] NODE", "List the tasks of a node", PS, cmd_node_ps, 1, 1, false},
	{"node update", "[OPTIONS] NODE", "Change a node", node_update_options, cmd_node_update, 1,
	 1, false},
	{"node promote", "NODE...", "Make nodes managers", NULL, cmd_node_promote, 1, NO_LIMIT,
	 false},
	{"node demote", "NODE...", "Make managers workers", NULL, cmd_node_demote, 1, NO_LIMIT,
	 false},
	{"node rm", "[OPTIONS] NODE...", "Remove nodes",
	 OPTIONS({"force", 'f', NULL, "Also ones that are ready"}), cmd_node_rm, 1, NO_LIMIT,
	 false},

	{"stack deploy", "[OPTIONS] STACK", "Bring a stack to what its file says", deploy_options,
	 cmd_stack_deploy, 1, 1, false},
	{"stack up", "[OPTIONS] STACK", "The same as stack deploy", deploy_options,
	 cmd_stack_deploy, 1, 1, false},
	{"stack plan", "[OPTIONS] STACK", "Say what a deploy would change", plan_options,
	 cmd_stack_plan, 1, 1, false},
	{"stack rollback", "[OPTIONS] STACK [GENERATION]", "Back to what the stack was before",
	 OPTIONS({"plan", 0, NULL, "Only say what it would change"}, DETACH, TIMEOUT, QUIET),
	 cmd_stack_rollback, 1, 2, false},
	{"stack history", "[OPTIONS] STACK", "List the generations that are kept", LIST,
	 cmd_stack_history, 1, 1, false},
	{"stack run", "[OPTIONS] SERVICE [COMMAND] [ARG...]",
	 "Run a one-off task of a service, and end as it ends",
	 OPTIONS({"env", 'e', "NAME=VALUE", "A further variable (several)"},
		 {"keep", 0, NULL, "Leave the task for an hour after its end"}, DETACH),
	 cmd_stack_run, 1, NO_LIMIT, true},
	{"stack ls", "[OPTIONS]", "List stacks", LIST, cmd_stack_ls, 0, 0, false},
	{"stack ps", "[OPTIONS] STACK", "List the tasks of a stack", PS, cmd_stack_ps, 1, 1, false},
	{"stack logs", "[OPTIONS] STACK", "Show what the tasks of a stack print", logs_options,
	 cmd_service_logs, 1, 1, false},
	{"stack services", "[OPTIONS] STACK", "List the services of a stack", LIST,
	 cmd_stack_services, 1, 1, false},
	{"stack rm", "[OPTIONS] STACK...", "Remove stacks", OPTIONS(DETACH, TIMEOUT), cmd_stack_rm,
	 1, NO_LIMIT, false},
	{"stack config", "[OPTIONS]", "Print the merged stack file", config_options,
	 cmd_stack_config, 0, 0, false},

	{"run", "[OPTIONS] IMAGE [COMMAND] [ARG...]",
	 "Run one task, on networks that are attachable, and end as it ends", run_options, cmd_run,
	 1, NO_LIMIT, true},
	{"service create", "[OPTIONS] IMAGE [COMMAND] [ARG...]", "Create a service",
	 service_create_options, cmd_service_create, 1, NO_LIMIT, true},
	{"service ls", "[OPTIONS]", "List services", LIST, cmd_service_ls, 0, 0, false},
	{"service ps", "[OPTIONS] SERVICE...", "List the tasks of services", PS, cmd_service_ps, 1,
	 NO_LIMIT, false},
	{"service inspect", "[OPTIONS] SERVICE...", "Show services as JSON", OPTIONS(FORMAT),
	 cmd_object_inspect, 1, NO_LIMIT, false},
	{"service logs", "[OPTIONS] SERVICE|TASK", "Show what the tasks print", logs_options,
	 cmd_service_logs, 1, 1, false},
	{"logs", "[OPTIONS] SERVICE|TASK", "The same as service logs", logs_options,
	 cmd_service_logs, 1, 1, false},
	{"service scale", "[OPTIONS] SERVICE=REPLICAS...", "Set the number of tasks",
	 OPTIONS(DETACH, TIMEOUT), cmd_service_scale, 1, NO_LIMIT, false},
	{"service update", "[OPTIONS] SERVICE", "Change a service", service_update_options,
	 cmd_service_update, 1, 1, false},
	{"service rollback", "[OPTIONS] SERVICE", "Back to the version before",
	 OPTIONS(DETACH, TIMEOUT, QUIET), cmd_service_rollback, 1, 1, false},
	{"service rm", "SERVICE...", "Remove services", NULL, cmd_object_rm, 1, NO_LIMIT, false},

	{"network create", "[OPTIONS] NETWORK", "Create a network", network_create_options,
	 cmd_object_create, 1, 1, false},
	{"network ls", "[OPTIONS]", "List networks", LIST, cmd_object_ls, 0, 0, false},
	{"network inspect", "[OPTIONS] NETWORK...", "Show networks as JSON", OPTIONS(FORMAT),
	 cmd_object_inspect, 1, NO_LIMIT, false},
	{"network rm", "NETWORK...", "Remove networks", NULL, cmd_object_rm, 1, NO_LIMIT, false},
	{"secret create", "[OPTIONS] SECRET FILE|-", "Create a secret", CREATE_FILE,
	 cmd_object_create, 2, 2, false},
	{"secret update", "[OPTIONS] SECRET [FILE|-]",
	 "Give a secret new content, and its users new tasks", UPDATE_FILE, cmd_file_update, 1, 2,
	 false},
	{"login", "[OPTIONS] [REGISTRY]",
	 "Keep credentials of a registry, docker.io without a name",
	 OPTIONS({"username", 'u', "USER", "User (asked for on a terminal)"},
		 {"password", 'p', "PASSWORD", "Password (others can see it in the process list)"},
		 {"password-stdin", 0, NULL, "Read the password from standard input"},
		 {"cluster", 0, NULL, "Give them to the nodes that pull from there, too"}),
	 cmd_login, 0, 1, false},
	{"logout", "[OPTIONS] [REGISTRY]", "Forget credentials of a registry",
	 OPTIONS({"cluster", 0, NULL, "The cluster's, too"}), cmd_logout, 0, 1, false},
	{"registry ls", "[OPTIONS]", "List the registries that the nodes can log in at", LIST,
	 cmd_object_ls, 0, 0, false},
	{"registry rm", "REGISTRY...", "Take the nodes' credentials of registries away", NULL,
	 cmd_object_rm, 1, NO_LIMIT, false},
	{"secret ls", "[OPTIONS]", "List secrets", LIST, cmd_object_ls, 0, 0, false},
	{"secret inspect", "[OPTIONS] SECRET...", "Show secrets as JSON, without their data",
	 OPTIONS(FORMAT), cmd_object_inspect, 1, NO_LIMIT, false},
	{"secret rm", "SECRET...", "Remove secrets", NULL, cmd_object_rm, 1, NO_LIMIT, false},
	{"config create", "[OPTIONS] CONFIG FILE|-", "Create a config", CREATE_FILE,
	 cmd_object_create, 2, 2, false},
	{"config update", "[OPTIONS] CONFIG [FILE|-]",
	 "Give a config new content, and its users new tasks", UPDATE_FILE, cmd_file_update, 1, 2,
	 false},
	{"config ls", "[OPTIONS]", "List configs", LIST, cmd_object_ls, 0, 0, false},
	{"config inspect", "[OPTIONS] CONFIG...", "Show configs as JSON", OPTIONS(FORMAT),
	 cmd_object_inspect, 1, NO_LIMIT, false},
	{"config rm", "CONFIG...", "Remove configs", NULL, cmd_object_rm, 1, NO_LIMIT, false},
	{"volume create", "[OPTIONS] VOLUME", "Create a volume", volume_create_options,
	 cmd_object_create, 1, 1, false},
	{"volume ls", "[OPTIONS]", "List volumes, and on which nodes they are", LIST, cmd_volume_ls,
	 0, 0, false},
	{"volume inspect", "[OPTIONS] VOLUME...", "Show volumes as JSON", OPTIONS(FORMAT),
	 cmd_object_inspect, 1, NO_LIMIT, false},
	{"volume rm", "VOLUME...", "Remove volumes, with their data on every node", NULL,
	 cmd_volume_rm, 1, NO_LIMIT, false},
	{"volume prune", "", "Remove the nameless volumes that no task uses", NULL,
	 cmd_volume_prune, 0, 0, false},
	{"task inspect", "[OPTIONS] TASK...", "Show tasks as JSON", OPTIONS(FORMAT),
	 cmd_object_inspect, 1, NO_LIMIT, false},

	{"image ls", "[OPTIONS]", "List the images of this host", LIST, cmd_image_ls, 0, 0, false},
	{"image build", "[OPTIONS] CONTEXT|-", "Build an image on this host", build_options,
	 cmd_image_build, 1, 1, false},
	{"image push", "[OPTIONS] IMAGE", "Push an image to its registry", OPTIONS(QUIET),
	 cmd_image_push, 1, 1, false},
	{"image save", "[OPTIONS] IMAGE...", "Write images as an archive", save_options,
	 cmd_image_save, 1, NO_LIMIT, false},
	{"image tag", "IMAGE NAME", "Give an image another name", NULL, cmd_image_tag, 2, 2, false},
	{"image history", "[OPTIONS] IMAGE", "Show the steps that an image was made in",
	 OPTIONS(FORMAT, QUIET, NO_TRUNC), cmd_image_history, 1, 1, false},
	{"image prune", "[OPTIONS]", "Remove images that nothing uses", prune_options,
	 cmd_image_prune, 0, 0, false},
	{"image pull", "[OPTIONS] IMAGE", "Pull an image to this host", OPTIONS(QUIET),
	 cmd_image_pull, 1, 1, false},
	{"image load", "[OPTIONS]", "Load an archive of images", load_options, cmd_image_load, 0, 0,
	 false},
	{"image import", "FILE|- NAME", "Make an image of a root file system", NULL,
	 cmd_image_import, 2, 2, false},
	{"image inspect", "[OPTIONS] IMAGE...", "Show images as JSON", OPTIONS(FORMAT),
	 cmd_image_inspect, 1, NO_LIMIT, false},
	{"image rm", "IMAGE...", "Remove images from this host", NULL, cmd_image_rm, 1, NO_LIMIT,
	 false},

	{"exec", "[OPTIONS] TASK COMMAND [ARG...]", "Run a command in a task, on whatever node",
	 exec_options, cmd_exec, 2, NO_LIMIT, true},
	{"cp", "[OPTIONS] TASK:PATH PATH|- | PATH|- TASK:PATH",
	 "Copy files from a task or to it; - is a tar stream",
	 OPTIONS({"archive", 'a', NULL, "Keep the owners (as root)"},
		 {"follow-link", 'L', NULL, "Follow a link at the end of the source"}),
	 cmd_cp, 2, 2, false},
	{"port-forward", "TASK [[ADDRESS:]LOCAL:]PORT...",
	 "Reach ports of a task from this host, until it is interrupted", NULL, cmd_port_forward, 2,
	 64, false},
	{"top", "[OPTIONS] [SERVICE|STACK|NODE|TASK...]", "Show what tasks use",
	 OPTIONS({"no-stream", 0, NULL, "Once (what is not a terminal gets it once anyway)"},
		 {"interval", 0, "DURATION", "Between two looks (2s)"},
		 {"sort", 0, "ORDER", "cpu (default), memory, net or name"}, FILTER, FORMAT, QUIET,
		 NO_TRUNC),
	 cmd_top, 0, NO_LIMIT, false},

	{"net check", "[OPTIONS] [SERVICE...]", "Probe the published ports on every node",
	 OPTIONS({"all", 'a', NULL, "Each probe, also of ports that are well"}, FORMAT),
	 cmd_net_check, 0, NO_LIMIT, false},
	{"rebalance", "[OPTIONS] [SERVICE]", "Move tasks to nodes that have fewer",
	 OPTIONS({"plan", 0, NULL, "Only say what would move"}), cmd_rebalance, 0, 1, false},
	{"explain", "TASK|SERVICE", "Say why it is as it is", NULL, cmd_explain, 1, 1, false},
	{"events", "[OPTIONS]", "Show what happens", events_options, cmd_events, 0, 0, false},
	{"info", "", "Show this node", NULL, cmd_info, 0, 0, false},

	{"operator issue", "[OPTIONS] NAME", "Make a context for work from afar", output_options,
	 cmd_operator_issue, 1, 1, false},
	{"context import", "[OPTIONS] FILE|-", "Take a context in", import_options,
	 cmd_context_import, 1, 1, false},
	{"context ls", "", "List contexts", NULL, cmd_context_ls, 0, 0, false},
	{"context use", "NAME", "Use a context from now on (\"default\": this host)", NULL,
	 cmd_context_use, 1, 1, false},
	{"context show", "", "Show the context in use", NULL, cmd_context_show, 0, 0, false},
	{"context rm", "NAME...", "Forget contexts", NULL, cmd_context_rm, 1, NO_LIMIT, false},

	{"completion", "bash|zsh|fish", "Print a completion script", NULL, cmd_completion, 1, 1,
	 false},
	{"version", "", "Print the version", NULL, cmd_version, 0, 0, false},
	{0},
};
