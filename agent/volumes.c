/* Peer.Volumes: what this node has of volumes and who uses it. Files are looked at on a thread. */
#include "agent/internal.h"

#include "base/str.h"
#include "base/strmap.h"
#include "proto/look.pb-c.h"
#include "proto/msg.h"

enum { REMOVE_MAX = 1000 };

struct look {
	struct agent *a;
	struct rpc_stream *s; /* NULL once the caller has gone */
	struct sw_job job;
	Pb__VolumesRequest *request;
	Pb__NodeUsage *reply;
	struct sw_strmap names; /* of tasks, by their containers */
};

static void on_container(const Pb__TaskAssignment *a, const struct rt_container *c, void *arg)
{
	struct look *l = arg;
	char *name = a->task->slot != 0 ? sw_asprintf("%s.%u", a->service_name, a->task->slot)
					: sw_strdup(a->service_name);

	free(sw_strmap_set(&l->names, rt_id(c), name));
}

static void add(struct look *l, const char *name, const char *error, bool removed)
{
	Pb__VolumeUsage *v = sw_new(Pb__VolumeUsage);
	char **users = vol_users(l->a->volumes, name);

	pb__volume_usage__init(v);
	msg_set_str(&v->name, name);
	msg_set_str(&v->error, error);
	v->removed = removed;
	v->users = sw_new_n(char *, sw_strv_len(users));
	for (size_t i = 0; users != NULL && users[i] != NULL; i++) {
		const char *task = sw_strmap_get(&l->names, users[i]);

		v->users[v->n_users++] = sw_strdup(task != NULL ? task : users[i]);
	}
	msg_add(&l->reply->volumes, &l->reply->n_volumes, v);
	sw_strv_free(users);
}

static void look_work(struct sw_job *job)
{
	struct look *l = container_of(job, struct look, job);
	struct sw_strmap faults = {0};
	char **names = NULL;
	struct sw_error err;

	for (size_t i = 0; i < l->request->n_remove && i < REMOVE_MAX; i++) {
		const char *name = l->request->remove[i];
		int rc = vol_remove(l->a->volumes, name, &err);

		if (rc == 0)
			add(l, name, "", true);
		else if (rc != SW_ENOTFOUND)
			free(sw_strmap_set(&faults, name, sw_strdup(err.msg)));
	}
	if (vol_list(l->a->volumes, &names, &err) != 0)
		msg_set_str(&l->reply->error, err.msg);
	for (size_t i = 0; names != NULL && names[i] != NULL; i++) {
		const char *fault = sw_strmap_get(&faults, names[i]);

		add(l, names[i], fault != NULL ? fault : "", false);
	}
	sw_strv_free(names);
	sw_strmap_fini(&faults, free);
}

static void look_done(struct sw_job *job)
{
	struct look *l = container_of(job, struct look, job);

	if (l->s != NULL) {
		rpc_stream_set_ops(l->s, NULL, NULL);
		rpc_stream_reply(l->s, &l->reply->base);
	}
	msg_free(&l->reply->base);
	msg_free(&l->request->base);
	sw_strmap_fini(&l->names, free);
	free(l);
}

static void on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	(void)s;
	(void)status;
	((struct look *)arg)->s = NULL;
}

void volumes_on_volumes(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	static const struct rpc_stream_ops ops = {.on_end = on_end};
	struct agent *a = arg;
	struct look *l = sw_new(struct look);

	l->a = a;
	l->s = s;
	l->request = (Pb__VolumesRequest *)msg_clone(m);
	l->reply = sw_new(Pb__NodeUsage);
	pb__node_usage__init(l->reply);
	l->reply->node_id = a->id.node_id;
	l->reply->node = sw_strdup(a->o.hostname);
	worker_each_container(a->worker, on_container, l);
	rpc_stream_set_ops(s, &ops, l);
	sw_job_start(&l->job, a->loop, &a->closer, look_work, look_done);
}
