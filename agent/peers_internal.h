/** State of struct peers; for peers*.c only. */
#pragma once

#include "agent/belong.h"
#include "agent/images.h"
#include "agent/peers.h"
#include "base/strmap.h"
#include "proto/peer.pb-c.h"

#include <pthread.h>

enum { PEERS_CALL_MS = 20000 };

struct peers {
	struct agent *a;
	struct img_peers source;
	struct rpc_server *server;
	struct belong *belong;
	struct sw_strmap channels; /* address -> struct rpc_channel */
	/* asking: peers_ask.c */
	uv_async_t wake;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct sw_list wants; /* not yet seen by the loop */
	struct sw_list resumes;
	bool closing;
	/* telling: peers_tell.c */
	struct sw_timer tell;
	struct sw_job job;
	struct img_image **images;
	size_t n_images;
	uint64_t seen, listed; /* changes of the store: told, and in the list */
	struct sw_strmap told; /* image id -> digest of what was told, as a number */
	bool busy, told_once;
	struct sw_list waiters; /* struct waiter */
	unsigned giving;        /* layers that are sent: peers_give.c */
	void (*closed)(void *);
	void *closed_arg;
};

void peers_ask_open(struct peers *p);
void peers_ask_close(struct peers *p);
void peers_ask_free(struct peers *p);

void peers_tell_open(struct peers *p);
/** Whoever waits is called. */
void peers_tell_close(struct peers *p);
void peers_tell_free(struct peers *p);

/** The service Peer. The argument is struct peers. */
void peers_on_image(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);
void peers_on_layer(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);
