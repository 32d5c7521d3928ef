/** The handlers of commands, and what they share. */
#pragma once

#include "cli/command.h"

#include <jansson.h>

#define CMD(name) int cmd_##name(struct cli *cli, struct sw_error *err)

CMD(init);
CMD(join);
CMD(join_token);
CMD(leave);
CMD(update);
CMD(cluster_inspect);
CMD(info);
CMD(version);
CMD(completion);
CMD(explain);
CMD(node_ls);
CMD(node_ps);
CMD(node_update);
CMD(node_promote);
CMD(node_demote);
CMD(node_rm);
CMD(service_create);
CMD(service_ls);
CMD(service_ps);
CMD(service_scale);
CMD(service_update);
CMD(service_rollback);
CMD(service_logs);
CMD(stack_ls);
CMD(stack_ps);
CMD(stack_services);
CMD(stack_rm);
CMD(stack_deploy);
CMD(stack_config);
CMD(stack_plan);
CMD(stack_rollback);
CMD(stack_history);
CMD(run);
CMD(stack_run);
CMD(file_update);
CMD(rebalance);
CMD(object_ls);
CMD(object_rm);
CMD(object_inspect);
CMD(object_create);
CMD(image_ls);
CMD(image_pull);
CMD(image_load);
CMD(image_import);
CMD(image_inspect);
CMD(image_rm);
CMD(image_build);
CMD(image_push);
CMD(image_tag);
CMD(image_save);
CMD(image_history);
CMD(image_prune);
CMD(volume_ls);
CMD(volume_rm);
CMD(volume_prune);
CMD(exec);
CMD(cp);
CMD(port_forward);
CMD(top);
CMD(net_check);
CMD(events);
CMD(login);
CMD(logout);
CMD(operator_issue);
CMD(context_ls);
CMD(context_use);
CMD(context_import);
CMD(context_rm);
CMD(context_show);

/** The id as printed: 12 digits unless --no-trunc. */
char *cmd_id(const struct cli *cli, uint64_t id, char out[16]);
/** Prints rows as --format and -q ask, after --filter (cli/filter.h). */
int cmd_print_rows(struct cli *cli, json_t *rows, const char *columns, const char *const *headers,
		   struct sw_error *err) SW_MUST_CHECK;
/** What `inspect` prints of the objects: JSON, or as --format says. */
int cmd_print_inspected(struct cli *cli, const json_t *all, struct sw_error *err) SW_MUST_CHECK;
/** All objects of a kind. */
int cmd_list(struct cli *cli, Pb__Kind kind, struct objects *ret,
	     struct sw_error *err) SW_MUST_CHECK;
/** As cmd_list, of one stack, service or node (0 = any). */
int cmd_list_of(struct cli *cli, Pb__Kind kind, uint64_t stack, uint64_t service, uint64_t node,
		struct objects *ret, struct sw_error *err) SW_MUST_CHECK;
/** The object with this id in a list in order of ids, or NULL. */
void *cmd_find(const struct objects *o, uint64_t id);
/** Labels as {"a": "b"}. */
json_t *cmd_labels(Pb__KeyValue *const *kv, size_t n);
/** "*:80->8080/tcp, …" */
char *cmd_ports(Pb__PortConfig *const *p, size_t n);
/** How many tasks of a service run, and how many are wanted of a global one. */
void cmd_count_tasks(const Pb__Service *s, const struct objects *tasks, uint64_t *ret_running,
		     uint64_t *ret_wanted);
/** Of a job's last run: tasks that completed, and how many are to; false for other services. */
bool cmd_count_completed(const Pb__Service *s, const struct objects *tasks, uint64_t *ret_completed,
			 uint64_t *ret_total);
/**
 * The task that a word means: an id or its beginning, SERVICE.SLOT, SERVICE.NODE of a global
 * service, or SERVICE alone (its first task that runs). Of several in a slot the one that is to
 * run. With the channel for a call into it, and its loop (client_open).
 */
int cmd_open_task(struct cli *cli, const char *word, struct Pb__TaskAt *ret,
		  struct rpc_channel **ret_channel, uv_loop_t **ret_loop,
		  struct sw_error *err) SW_MUST_CHECK;
/** Tasks as `ps` prints them. */
int cmd_print_tasks(struct cli *cli, const struct objects *tasks,
		    struct sw_error *err) SW_MUST_CHECK;
/** Rows of `service ls`; sorts the services by name. */
int cmd_print_services(struct cli *cli, const struct objects *services,
		       struct sw_error *err) SW_MUST_CHECK;
