/* What pull.c (an image) and pull_layer.c (one of its layers) share. */
#pragma once

#include "base/list.h"
#include "runtime/image/pull.h"

#include <pthread.h>

struct img_puller {
	uv_loop_t *loop;
	struct img_store *store;
	struct img_puller_options o;
	struct sw_list pulls; /* all, in the order they came */
	unsigned running;
	uv_async_t wake;
	atomic_bool cancel;
	bool closing;
	void (*closed)(void *);
	void *closed_ctx;
};

struct img_pull {
	struct sw_list link, waiters;
	struct img_puller *p;
	char *name, *auth;
	struct img_ref ref;
	pthread_t thread;
	bool started;
	atomic_bool finished;
	atomic_bool stop; /* a layer failed, or the puller closes */
	/* of the thread until `finished` */
	struct img_manifest m;
	struct img_config config;
	struct img_found found;
	bool peers_only; /* the documents came from a node: there is no registry to ask */
	atomic_size_t next_layer;
	pthread_mutex_t lock;
	struct sw_error err;
	int rc;
	char *id;
};

/** Asks the managers which nodes have the image; true when some do. Once known they stay as they are. */
bool img_pull_find_peers(struct img_pull *l);

/** Brings layer `i` into the store, from wherever it is to be had. `r` NULL: from nodes only. Any of the
 *  pull's threads. */
int img_pull_layer(struct img_pull *l, struct img_registry *r, size_t i,
		   struct sw_error *err) SW_MUST_CHECK;
