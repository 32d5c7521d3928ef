/* `update` and `cluster inspect`: what holds for the cluster as a whole. */
#include "cli/settings.h"

#include "base/mem.h"
#include "base/str.h"
#include "base/units.h"
#include "cli/cmd.h"
#include "cli/describe.h"
#include "proto/cluster.h"
#include "proto/msg.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum { TRIES = 8 };

static int change_history(Pb__Cluster *c, const char *s, struct sw_error *err)
{
	int64_t n;

	if (!sw_parse_i64(s, -1, INT32_MAX, &n))
		return sw_fail(err, SW_EINVAL,
			       "wanted a number of tasks, or -1 for all, not \"%s\"", s);
	c->task_history_limit = (int32_t)n;
	return 0;
}

static int read_ms(const char *s, uint64_t *ret, struct sw_error *err)
{
	int64_t ns;

	if (!unit_duration(s, &ns) || ns <= 0)
		return sw_fail(err, SW_EINVAL, "wanted a duration (5s, 2160h), not \"%s\"", s);
	*ret = unit_ms(ns);
	return 0;
}

static int change_heartbeat(Pb__Cluster *c, const char *s, struct sw_error *err)
{
	return read_ms(s, &c->heartbeat_ms, err);
}

static int change_expiry(Pb__Cluster *c, const char *s, struct sw_error *err)
{
	return read_ms(s, &c->node_cert_ms, err);
}

static int change_placement(Pb__Cluster *c, const char *s, struct sw_error *err)
{
	static const char *const words[] = {
		[PB__PLACEMENT_STRATEGY__PLACEMENT_SPREAD] = "spread",
		[PB__PLACEMENT_STRATEGY__PLACEMENT_BINPACK] = "binpack",
	};

	for (size_t i = 0; i < SW_COUNT(words); i++) {
		if (sw_streq(s, words[i])) {
			c->placement = (Pb__PlacementStrategy)i;
			return 0;
		}
	}
	return sw_fail(err, SW_EINVAL, "wanted spread or binpack, not \"%s\"", s);
}

static size_t find_pool(const Pb__Cluster *c, const char *s)
{
	size_t i = 0;

	while (i < c->n_address_pools && !sw_streq(c->address_pools[i], s))
		i++;
	return i;
}

static int add_pool(Pb__Cluster *c, const char *s, struct sw_error *err)
{
	(void)err;
	if (find_pool(c, s) == c->n_address_pools)
		msg_add_str(&c->address_pools, &c->n_address_pools, s);
	return 0;
}

static int remove_pool(Pb__Cluster *c, const char *s, struct sw_error *err)
{
	size_t i = find_pool(c, s);

	if (i == c->n_address_pools)
		return sw_fail(err, SW_ENOTFOUND, "the cluster has no address pool \"%s\"", s);
	free(c->address_pools[i]);
	memmove(&c->address_pools[i], &c->address_pools[i + 1],
		(--c->n_address_pools - i) * sizeof *c->address_pools);
	return 0;
}

static const struct {
	const char *option;
	int (*change)(Pb__Cluster *c, const char *value, struct sw_error *err);
} changes[] = {
	{"task-history-limit", change_history}, {"dispatcher-heartbeat", change_heartbeat},
	{"cert-expiry", change_expiry},         {"placement-strategy", change_placement},
	{"addr-pool-rm", remove_pool},          {"addr-pool-add", add_pool},
};

bool settings_are_asked(const struct cli *cli)
{
	for (size_t i = 0; i < SW_COUNT(changes); i++)
		if (cli_get(cli, changes[i].option) != NULL)
			return true;
	return false;
}

static int change_all(const struct cli *cli, Pb__Cluster *c, struct sw_error *err)
{
	const char *value;

	for (size_t i = 0; i < SW_COUNT(changes); i++)
		for (size_t k = 0; (value = cli_nth(cli, changes[i].option, k)) != NULL; k++)
			if (changes[i].change(c, value, err) != 0)
				return sw_wrap(err, "--%s", changes[i].option);
	return 0;
}

static int read_cluster(struct cli *cli, struct client **ret_client, Pb__ClusterReply **ret,
			struct sw_error *err)
{
	Pb__Empty q = PB__EMPTY__INIT;
	int rc = cli_client(cli, ret_client, err);

	if (rc == 0)
		rc = client_call(*ret_client, METHOD_ClusterGet, &q.base, ret, err);
	if (rc == 0 && (*ret)->cluster == NULL)
		rc = sw_fail(err, SW_EUNAVAIL, "the cluster is not made yet");
	return rc;
}

static int change_once(struct cli *cli, struct sw_error *err)
{
	Pb__ClusterUpdateRequest q = PB__CLUSTER_UPDATE_REQUEST__INIT;
	Pb__ClusterReply *now = NULL;
	Pb__IdReply *r = NULL;
	struct client *c;
	int rc = read_cluster(cli, &c, &now, err);

	if (rc == 0)
		rc = change_all(cli, now->cluster, err);
	if (rc == 0) {
		q.cluster = now->cluster;
		rc = client_call(c, METHOD_ClusterUpdate, &q.base, &r, err);
	}
	msg_free(now != NULL ? &now->base : NULL);
	msg_free(r != NULL ? &r->base : NULL);
	return rc;
}

/* Somebody else may change them at the same moment. */
int settings_change(struct cli *cli, struct sw_error *err)
{
	struct sw_backoff backoff = {.first_ms = 50, .max_ms = 500};
	int rc = change_once(cli, err);

	for (int i = 1; rc == SW_ECONFLICT && i < TRIES; i++) {
		client_pause(&backoff);
		rc = change_once(cli, err);
	}
	return rc;
}

int settings_check(const struct cli *cli, struct sw_error *err)
{
	Pb__Cluster c = PB__CLUSTER__INIT;
	int rc;

	cluster_set_defaults(&c);
	rc = change_all(cli, &c, err);
	return rc != 0 ? rc : cluster_check(&c, err);
}

CMD(update)
{
	int rc;

	if (!settings_are_asked(cli))
		return sw_fail(err, SW_EINVAL,
			       "nothing to change was given: see swarmctl update --help");
	if ((rc = settings_change(cli, err)) == 0)
		printf("Swarm updated.\n");
	return rc;
}

CMD(cluster_inspect)
{
	Pb__ClusterReply *r = NULL;
	json_t *all = json_array();
	struct client *c;
	int rc = read_cluster(cli, &c, &r, err);

	if (rc == 0) {
		json_array_append_new(all, describe_object(&r->cluster->base));
		rc = cmd_print_inspected(cli, all, err);
	}
	json_decref(all);
	msg_free(r != NULL ? &r->base : NULL);
	return rc;
}
