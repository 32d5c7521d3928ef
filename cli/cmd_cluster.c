/* init, join, join-token, leave, info, version, completion, explain. */
#include "cli/cmd.h"

#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/settings.h"
#include "proto/local.pb-c.h"
#include "proto/msg.h"

#include <stdio.h>

static int local_call(struct cli *cli, enum cli_method m, const ProtobufCMessage *q, void *ret,
		      struct sw_error *err)
{
	struct client *c;
	int rc = cli_client(cli, &c, err);

	return rc != 0 ? rc : client_call(c, m, q, ret, err);
}

static int availability(const char *s, Pb__Availability *ret, struct sw_error *err)
{
	static const char *const names[] = {"active", "pause", "drain"};

	for (size_t i = 0; i < SW_COUNT(names); i++) {
		if (sw_streq(s, names[i])) {
			*ret = (Pb__Availability)i;
			return 0;
		}
	}
	return sw_fail(err, SW_EINVAL, "availability \"%s\": wanted active, pause or drain", s);
}

static int number_option(struct cli *cli, const char *name, uint64_t hi, uint32_t *ret,
			 struct sw_error *err)
{
	const char *s = cli_get(cli, name);
	uint64_t v = 0;

	if (s != NULL && !sw_parse_u64(s, hi, &v))
		return sw_fail(err, SW_EINVAL, "--%s: wanted a number up to %llu, not \"%s\"", name,
			       (unsigned long long)hi, s);
	*ret = (uint32_t)v;
	return 0;
}

static char *text_option(struct cli *cli, const char *name)
{
	const char *s = cli_get(cli, name);

	return (char *)(s != NULL ? s : "");
}

CMD(init)
{
	Pb__InitRequest q = PB__INIT_REQUEST__INIT;
	Pb__InitReply *r = NULL;
	const char *a = cli_get(cli, "availability"), *pool;
	const char *size = cli_get(cli, "subnet-size") != NULL ? "subnet-size"
							       : "default-addr-pool-mask-length";
	int rc = a != NULL ? availability(a, &q.availability, err) : 0;

	if (rc != 0 || (rc = settings_check(cli, err)) != 0 ||
	    (rc = number_option(cli, size, 30, &q.subnet_size, err)) != 0 ||
	    (rc = number_option(cli, "data-path-port", 65535, &q.vxlan_port, err)) != 0)
		return rc;
	q.advertise = text_option(cli, "advertise-addr");
	q.listen = text_option(cli, "listen-addr");
	for (size_t i = 0; (pool = cli_nth(cli, "default-addr-pool", i)) != NULL; i++)
		msg_add_str(&q.address_pools, &q.n_address_pools, pool);
	rc = local_call(cli, METHOD_ClusterInit, &q.base, &r, err);
	for (size_t i = 0; i < q.n_address_pools; i++)
		free(q.address_pools[i]);
	free(q.address_pools);
	if (rc != 0)
		return rc;
	printf("Swarm initialized: current node (%s) is now a manager.\n\n"
	       "To add a worker to this swarm, run the following command:\n\n"
	       "    swarmctl join --token %s %s\n\n"
	       "To add a manager to this swarm, run 'swarmctl join-token manager' and follow the "
	       "instructions.\n",
	       sw_id(r->node_id).s, r->worker_token, r->address);
	msg_free(&r->base);
	if (settings_are_asked(cli) && (rc = settings_change(cli, err)) != 0)
		sw_wrap(err, "the cluster is made, but its settings are as always");
	return rc;
}

CMD(join)
{
	Pb__JoinRequest q = PB__JOIN_REQUEST__INIT;
	Pb__JoinReply *r = NULL;
	int rc;

	if (cli_get(cli, "token") == NULL)
		return sw_fail(err, SW_EINVAL,
			       "--token is needed: a manager tells it by swarmctl "
			       "join-token worker");
	q.token = text_option(cli, "token");
	q.advertise = text_option(cli, "advertise-addr");
	q.listen = text_option(cli, "listen-addr");
	q.managers = cli->args;
	q.n_managers = cli->n_args;
	rc = local_call(cli, METHOD_ClusterJoin, &q.base, &r, err);
	if (rc != 0)
		return rc;
	printf("This node joined a swarm as a %s.\n",
	       r->role == PB__NODE_ROLE__MANAGER ? "manager" : "worker");
	msg_free(&r->base);
	return 0;
}

CMD(join_token)
{
	Pb__JoinTokenRequest q = PB__JOIN_TOKEN_REQUEST__INIT;
	Pb__JoinTokenReply *r = NULL;
	const char *role = cli->args[0];
	int rc;

	if (!sw_streq(role, "worker") && !sw_streq(role, "manager"))
		return sw_fail(err, SW_EINVAL, "wanted worker or manager, not \"%s\"", role);
	q.role = sw_streq(role, "manager") ? PB__NODE_ROLE__MANAGER : PB__NODE_ROLE__WORKER;
	q.rotate = cli_flag(cli, "rotate");
	rc = local_call(cli, METHOD_JoinTokenGet, &q.base, &r, err);
	if (rc != 0)
		return rc;
	if (cli_flag(cli, "quiet")) {
		printf("%s\n", r->token);
	} else {
		if (q.rotate)
			printf("Successfully rotated %s join token.\n\n", role);
		printf("To add a %s to this swarm, run the following command:\n\n"
		       "    swarmctl join --token %s %s\n\n",
		       role, r->token, r->n_addresses > 0 ? r->addresses[0] : "MANAGER:2377");
	}
	msg_free(&r->base);
	return 0;
}

CMD(leave)
{
	Pb__LeaveRequest q = PB__LEAVE_REQUEST__INIT;
	Pb__LeaveReply *r = NULL;
	int rc;

	q.force = cli_flag(cli, "force");
	rc = local_call(cli, METHOD_ClusterLeave, &q.base, &r, err);
	if (rc != 0)
		return rc;
	printf("Node left the swarm.\n");
	msg_free(&r->base);
	return 0;
}

CMD(info)
{
	Pb__InfoRequest q = PB__INFO_REQUEST__INIT;
	Pb__InfoReply *r = NULL;
	int rc = local_call(cli, METHOD_Info, &q.base, &r, err);

	if (rc != 0)
		return rc;
	printf("Swarm: %s\n", r->in_cluster ? "active" : "inactive");
	if (r->in_cluster)
		printf(" NodeID: %s\n Is Manager: %s\n Attached to: %s\n", sw_id(r->node_id).s,
		       r->role == PB__NODE_ROLE__MANAGER ? "true" : "false",
		       r->manager[0] != 0 ? r->manager : "no manager");
	printf("State: %s\nContainers running: %u\nVersion: %s\n", r->state, r->running,
	       r->version);
	msg_free(&r->base);
	return 0;
}

CMD(version)
{
	(void)cli;
	(void)err;
	printf("swarmctl " SW_VERSION "\n");
	return 0;
}

CMD(completion)
{
	const char *script = cli_completion(cli->args[0]);

	if (script == NULL)
		return sw_fail(err, SW_EINVAL, "wanted bash, zsh or fish, not \"%s\"",
			       cli->args[0]);
	fputs(script, stdout);
	return 0;
}

CMD(explain)
{
	Pb__Ref q = PB__REF__INIT;
	Pb__ExplainReply *r = NULL;
	int rc;

	q.ref = cli->args[0];
	rc = local_call(cli, METHOD_Explain, &q.base, &r, err);
	if (rc != 0)
		return rc;
	for (size_t i = 0; i < r->n_lines; i++)
		printf("%s\n", r->lines[i]);
	msg_free(&r->base);
	return 0;
}
