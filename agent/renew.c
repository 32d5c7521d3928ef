/* Certificates from the managers: at their time of life, and when the node's role is to change. */
#include "agent/internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "proto/ca.pb-c.h"
#include "proto/msg.h"
#include "proto/pki/pki.h"

enum { CALL_MS = 10000, RETRY_MS = 5000, FAR_MS = 3600 * 1000 };

static const struct rpc_method issue_method = {"/swarm.v1.Ca/Issue",
					       &pb__issue_request__descriptor,
					       &pb__issue_reply__descriptor,
					       RPC_UNARY,
					       0,
					       false,
					       NULL};

struct renewal {
	struct agent *a;
	char *key;
};

static void on_child_stopped(void *arg)
{
	(void)arg;
	sw_info("manager stopped: this node is a worker now");
}

/* The certificate decides: a manager's has the manager run, a worker's stops it and its state goes,
 * so that a later promotion joins as a new member. */
static void follow_role(struct agent *a)
{
	if (a->id.role == PB__NODE_ROLE__MANAGER) {
		if (child_is_wanted(a->child))
			child_reload(a->child);
		else
			child_start(a->child, a->id.managers);
	} else if (child_is_wanted(a->child)) {
		child_stop(a->child, true, on_child_stopped, a);
	}
}

static int install(struct agent *a, const Pb__IssueReply *r, char *takes_key, struct sw_error *err)
{
	char *cert = sw_strndup((char *)r->certificate.data, r->certificate.len);
	char *ca = sw_strdup(a->id.ca);
	int rc = pki_check(cert, takes_key, ca, err);

	if (rc != 0) {
		free(cert);
		free(ca);
		pki_free_key(takes_key);
		return rc;
	}
	rc = identity_set(&a->id, a->identity_dir, a->manager_gid, cert, takes_key, ca, err);
	if (rc == 0)
		rc = rpc_tls_renew(a->tls, a->id.cert, a->id.key, a->id.ca, err);
	return rc;
}

static void on_issued(const ProtobufCMessage *reply, const struct sw_error *status, void *arg)
{
	struct renewal *r = arg;
	struct agent *a = r->a;
	struct sw_error err;
	char *key = take_ptr(&r->key);

	a->renewal = NULL;
	free(r);
	if (a->closer.closing || !agent_in_cluster(a)) {
		pki_free_key(key);
		return;
	}
	if (reply == NULL) {
		sw_warn("certificate not renewed", SW_ERR(status));
		pki_free_key(key);
		sw_timer_set(&a->renew_timer, RETRY_MS);
		return;
	}
	if (install(a, (const Pb__IssueReply *)reply, key, &err) != 0) {
		sw_err("certificate not installed", SW_ERR(&err));
		sw_timer_set(&a->renew_timer, RETRY_MS);
		return;
	}
	sw_info("certificate renewed", SW_INT("not_after_ms", a->id.not_after_ms));
	follow_role(a);
	renew_arm(a);
}

void renew_start(struct agent *a)
{
	struct rpc_channel *c = session_channel(a->session);
	Pb__IssueRequest q = PB__ISSUE_REQUEST__INIT;
	sw_autofree char *csr = NULL;
	struct sw_error err;
	struct renewal *r;

	if (a->renewal != NULL)
		return;
	if (c == NULL) {
		sw_timer_set(&a->renew_timer, RETRY_MS);
		return;
	}
	r = sw_new(struct renewal);
	r->a = a;
	if (pki_new_request(&r->key, &csr, &err) != 0) {
		sw_err("no signing request", SW_ERR(&err));
		free(r);
		sw_timer_set(&a->renew_timer, RETRY_MS);
		return;
	}
	a->renewal = r;
	q.csr = (ProtobufCBinaryData){strlen(csr), (uint8_t *)csr};
	rpc_unary(c, &issue_method, &q.base, CALL_MS, on_issued, r);
}

static void wait_for_it(struct agent *a)
{
	int64_t in = a->renew_at_ms - sw_wall_ms();

	sw_timer_set(&a->renew_timer, in < 0 ? 0 : in > FAR_MS ? FAR_MS : (uint64_t)in);
}

void renew_arm(struct agent *a)
{
	a->renew_at_ms = identity_renew_at(&a->id, sw_rand_u64(&a->rand));
	wait_for_it(a);
}

/* Wall clocks jump: the time is looked at again at least every hour. A failed try or a change of
 * role comes here early too. */
void renew_on_timer(struct sw_timer *t)
{
	struct agent *a = container_of(t, struct agent, renew_timer);
	bool is_manager = a->id.role == PB__NODE_ROLE__MANAGER;

	if (!agent_in_cluster(a))
		return;
	if (sw_wall_ms() >= a->renew_at_ms || is_manager != a->wanted_manager)
		renew_start(a);
	else
		wait_for_it(a);
}

void renew_stop(struct agent *a)
{
	sw_timer_stop(&a->renew_timer);
}
