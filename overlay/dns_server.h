/**
 * The resolver at 127.0.0.11:53 of every sandbox: answers from the views of its networks, sends
 * the rest on to upstream servers from the host's namespace. One loop thread.
 */
#pragma once

#include "base/loop.h"
#include "overlay/view.h"

struct dns_server;
struct dns_box;

/** Views of the networks that the task is joined to. */
typedef size_t dns_views_fn(void *arg, uint64_t task_id, const struct view **ret, size_t max);

/** upstreams: NULL-terminated, or NULL for those of /etc/resolv.conf. Holds the closer. */
struct dns_server *dns_server_new(uv_loop_t *loop, struct sw_closer *closer, char *const *upstreams,
				  dns_views_fn *views, void *arg);
/** After all its boxes are closed. */
void dns_server_close(struct dns_server *d);

/** Takes the socket (UDP). `forward`: false for sandboxes without a way out. `upstreams` (may be
 * NULL) are copied. */
struct dns_box *dns_box_open(struct dns_server *d, uint64_t task_id, int udp,
			     char *const *upstreams, bool forward);
void dns_box_close(struct dns_box *b);
