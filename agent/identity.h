/** This node's certificate and what it knows of its cluster, on disk below STATE/identity. */
#pragma once

#include "base/error.h"
#include "proto/types.pb-c.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct identity {
	char *cert, *key, *ca; /* PEM; NULL = not in a cluster */
	uint64_t node_id, cluster_id;
	Pb__NodeRole role; /* as the certificate says */
	int64_t not_before_ms, not_after_ms;
	char **managers; /* host:port, NULL-terminated */
	char *advertise; /* address of this host, as given with init or join */
	char *listen;    /* address:port of its manager, when it is one */
};

void identity_fini(struct identity *id);
/** SW_ENOTFOUND when there is none. */
int identity_load(const char *dir, struct identity *ret, struct sw_error *err) SW_MUST_CHECK;
/** Takes the three over and writes them; the group may read the key (the manager's user). */
int identity_set(struct identity *id, const char *dir, gid_t group, char *takes_cert,
		 char *takes_key, char *takes_ca, struct sw_error *err) SW_MUST_CHECK;
int identity_save_addresses(const struct identity *id, const char *dir,
			    struct sw_error *err) SW_MUST_CHECK;
void identity_set_managers(struct identity *id, char *const *managers, size_t n);
int identity_remove(struct identity *id, const char *dir, struct sw_error *err) SW_MUST_CHECK;
/** When the certificate should be renewed: at 50 to 80 % of its life, drawn with `rand`. */
int64_t identity_renew_at(const struct identity *id, uint64_t rand);
