/* The agent's socket: what concerns this host. */
#include "agent/collect.h"
#include "agent/images.h"
#include "agent/peers.h"

#include "base/fs.h"
#include "base/id.h"
#include "base/log.h"
#include "base/str.h"
#include "proto/msg.h"
#include "runtime/image/archive.h"
#include "runtime/image/inspect.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static void fail(struct rpc_stream *s, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void fail(struct rpc_stream *s, int code, const char *fmt, ...)
{
	char text[400];
	struct sw_error err;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	sw_fail(&err, code, "%s", text);
	rpc_stream_finish(s, &err);
}

/* ---- the cluster ---- */

static void on_init(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	bootstrap_init(arg, s, (const Pb__InitRequest *)m);
}

static void on_join(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	bootstrap_join(arg, s, (const Pb__JoinRequest *)m);
}

struct leave {
	struct rpc_stream *s;
};

static void leave_on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	(void)s;
	(void)status;
	((struct leave *)arg)->s = NULL;
}

static const struct rpc_stream_ops leave_ops = {.on_end = leave_on_end};

static void on_left(void *arg)
{
	struct leave *l = arg;
	Pb__LeaveReply r = PB__LEAVE_REPLY__INIT;

	if (l->s != NULL) {
		rpc_stream_set_ops(l->s, NULL, NULL);
		rpc_stream_reply(l->s, &r.base);
	}
	free(l);
}

static void on_leave(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct agent *a = arg;
	struct leave *l;

	if (!agent_in_cluster(a)) {
		fail(s, SW_EPRECOND, "this node is not in a cluster");
		return;
	}
	if (a->id.role == PB__NODE_ROLE__MANAGER && !((const Pb__LeaveRequest *)m)->force) {
		fail(s, SW_EPRECOND,
		     "this node is a manager: demote it first (swarmctl node demote "
		     "%s), or use --force and lose its vote",
		     sw_id(a->id.node_id).s);
		return;
	}
	l = sw_new(struct leave);
	l->s = s;
	rpc_stream_set_ops(s, &leave_ops, l);
	agent_leave(a, on_left, l);
}

static void on_info(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct agent *a = arg;
	Pb__InfoReply r = PB__INFO_REPLY__INIT;
	const char *manager = session_manager(a->session);

	(void)m;
	r.in_cluster = agent_in_cluster(a);
	r.node_id = a->id.node_id;
	r.role = a->id.role;
	r.manager = (char *)(manager != NULL ? manager : "");
	r.version = (char *)SW_VERSION;
	r.state = (char *)(!r.in_cluster ? "inactive" : manager != NULL ? "attached" : "detached");
	r.running = (uint32_t)worker_running(a->worker);
	rpc_stream_reply(s, &r.base);
}

/* ---- images ---- */

static void on_image_list(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct agent *a = arg;
	struct img_image **images = NULL;
	Pb__ImageListReply r = PB__IMAGE_LIST_REPLY__INIT;
	struct sw_error err;
	size_t n = 0;

	(void)m;
	if (img_store_list(a->images, &images, &n, &err) != 0) {
		rpc_stream_finish(s, &err);
		return;
	}
	Pb__ImageSummary *sums = sw_new_n(Pb__ImageSummary, n);
	r.images = sw_new_n(Pb__ImageSummary *, n);
	for (size_t i = 0; i < n; i++) {
		images_fill_summary(&sums[i], images[i]);
		r.images[r.n_images++] = &sums[i];
	}
	rpc_stream_reply(s, &r.base);
	free(r.images);
	free(sums);
	for (size_t i = 0; i < n; i++)
		img_image_free(images[i]);
	free(images);
}

struct fetch { /* a pull or a load, and who waits for it */
	struct agent *a;
	struct rpc_stream *s; /* NULL once the caller has gone */
	struct sw_job job;
	char *name, *import_as;
	int fd; /* load: a file without a name */
	bool receiving, loading;
	char **ids;
	struct sw_error err;
};

static void fetch_free(struct fetch *f)
{
	if (f->fd >= 0)
		close(f->fd);
	free(f->name);
	free(f->import_as);
	sw_strv_free(f->ids);
	free(f);
}

static void send_image(struct fetch *f, const char *id)
{
	struct img_image *i = NULL;
	Pb__ImageSummary sum;
	Pb__ImageProgress p = PB__IMAGE_PROGRESS__INIT;

	if (f->s == NULL || img_store_get(f->a->images, id, &i, NULL) != 0)
		return;
	images_fill_summary(&sum, i);
	p.image = &sum;
	(void)!rpc_stream_send(f->s, &p.base);
	img_image_free(i);
}

static void fetch_done(struct fetch *f, const struct sw_error *err)
{
	if (f->s != NULL) {
		rpc_stream_set_ops(f->s, NULL, NULL);
		rpc_stream_finish(f->s, err);
	}
	fetch_free(f);
}

static void fetch_on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	struct fetch *f = arg;

	(void)s;
	(void)status;
	f->s = NULL;
	if (f->receiving)
		fetch_free(f);
}

static const struct rpc_stream_ops pull_ops = {.on_end = fetch_on_end};

static void on_pulled(struct img_pull *p, const char *image_id, const struct sw_error *err,
		      void *ctx)
{
	struct fetch *f = ctx;

	(void)p;
	if (err == NULL)
		send_image(f, image_id);
	collect_now(f->a->collect);
	fetch_done(f, err);
}

static void on_image_pull(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct agent *a = arg;
	const Pb__ImagePullRequest *r = (const Pb__ImagePullRequest *)m;
	struct fetch *f = sw_new(struct fetch);
	struct sw_error err;

	f->a = a;
	f->s = s;
	f->fd = -1;
	rpc_stream_set_ops(s, &pull_ops, f);
	if (img_pull(a->puller, r->reference, NULL, on_pulled, f, &err) != 0)
		fetch_done(f, &err);
}

static void load_work(struct sw_job *j)
{
	struct fetch *f = container_of(j, struct fetch, job);
	char *id = NULL;

	lseek(f->fd, 0, SEEK_SET);
	if (f->import_as == NULL) {
		(void)!img_load(f->a->images, f->fd, &f->ids, &f->err);
	} else if (img_import(f->a->images, f->fd, f->import_as, &id, &f->err) == 0) {
		f->ids = sw_strv_add(NULL, id);
		free(id);
	}
}

static void load_told(void *arg)
{
	struct fetch *f = arg;

	for (size_t i = 0; f->err.code == 0 && f->ids != NULL && f->ids[i] != NULL; i++)
		send_image(f, f->ids[i]);
	fetch_done(f, f->err.code != 0 ? &f->err : NULL);
}

static void load_done(struct sw_job *j)
{
	struct fetch *f = container_of(j, struct fetch, job);

	peers_tell(f->a->peers, load_told, f);
}

static void load_on_message(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct fetch *f = arg;
	const Pb__ImageLoadRequest *r = (const Pb__ImageLoadRequest *)m;
	int rc;

	if (f->err.code != 0)
		return;
	if (r->import_as[0] != 0 && f->import_as == NULL)
		f->import_as = sw_strdup(r->import_as);
	rc = sw_write_all(f->fd, r->data.data, r->data.len);
	if (rc == 0)
		return;
	sw_fail_sys(&f->err, -rc, "keep the archive");
	f->receiving = false;
	rpc_stream_set_ops(s, NULL, NULL);
	rpc_stream_finish(s, &f->err);
	fetch_free(f);
}

static void load_on_half_close(struct rpc_stream *s, void *arg)
{
	struct fetch *f = arg;

	(void)s;
	f->receiving = false;
	sw_job_start(&f->job, f->a->loop, &f->a->closer, load_work, load_done);
}

static const struct rpc_stream_ops load_ops = {
	.on_message = load_on_message,
	.on_half_close = load_on_half_close,
	.on_end = fetch_on_end,
};

static void on_image_load(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct agent *a = arg;
	struct fetch *f;
	int fd = open(a->o.state_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	(void)m;
	if (fd < 0) {
		fail(s, SW_EIO, "no room for the archive in %s", a->o.state_dir);
		return;
	}
	f = sw_new(struct fetch);
	f->a = a;
	f->s = s;
	f->fd = fd;
	f->receiving = true;
	rpc_stream_set_ops(s, &load_ops, f);
}

static void on_image_inspect(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct agent *a = arg;
	Pb__ImageInspectReply r = PB__IMAGE_INSPECT_REPLY__INIT;
	struct img_image *i = NULL;
	struct sw_error err;

	if (img_store_get(a->images, ((const Pb__ImageRef *)m)->ref, &i, &err) != 0) {
		rpc_stream_finish(s, &err);
		return;
	}
	r.json = img_image_json(i);
	rpc_stream_reply(s, &r.base);
	free(r.json);
	img_image_free(i);
}

static void on_image_remove(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct agent *a = arg;
	const char *ref = ((const Pb__ImageRef *)m)->ref;
	Pb__ImageRemoveReply r = PB__IMAGE_REMOVE_REPLY__INIT;
	struct img_image *i = NULL, *left = NULL;
	struct sw_error err;
	char *names[1] = {(char *)ref};

	if (img_store_get(a->images, ref, &i, &err) != 0 ||
	    img_store_remove(a->images, ref, &err) != 0) {
		img_image_free(i);
		rpc_stream_finish(s, &err);
		return;
	}
	r.untagged = names;
	r.n_untagged = sw_after(i->id, ref) == NULL;
	if (img_store_get(a->images, i->id, &left, NULL) != 0) {
		r.deleted = &i->id;
		r.n_deleted = 1;
	}
	rpc_stream_reply(s, &r.base);
	img_image_free(i);
	img_image_free(left);
}

/* ---- volumes ---- */

static void on_volume_list(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct agent *a = arg;
	Pb__VolumeListReply r = PB__VOLUME_LIST_REPLY__INIT;
	struct sw_error err;
	char **names = NULL;

	(void)m;
	if (vol_list(a->volumes, &names, &err) != 0) {
		rpc_stream_finish(s, &err);
		return;
	}
	size_t n = sw_strv_len(names);
	Pb__VolumeInfo *infos = sw_new_n(Pb__VolumeInfo, n);
	r.volumes = sw_new_n(Pb__VolumeInfo *, n);
	for (size_t i = 0; i < n; i++) {
		pb__volume_info__init(&infos[i]);
		infos[i].name = names[i];
		infos[i].driver = (char *)"local";
		r.volumes[r.n_volumes++] = &infos[i];
	}
	rpc_stream_reply(s, &r.base);
	free(r.volumes);
	free(infos);
	sw_strv_free(names);
}

static void on_volume_remove(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct agent *a = arg;
	Pb__VolumeRemoveReply r = PB__VOLUME_REMOVE_REPLY__INIT;
	struct sw_error err;

	if (vol_remove(a->volumes, ((const Pb__VolumeRef *)m)->name, &err) != 0)
		rpc_stream_finish(s, &err);
	else
		rpc_stream_reply(s, &r.base);
}

#define ROW(name, in_, out_, kind, fn)                                                        \
	{                                                                                     \
		"/swarm.v1.Local/" name, &pb__##in_##__descriptor, &pb__##out_##__descriptor, \
			kind, RPC_ROLE_LOCAL, RPC_ANY_MANAGER, fn                             \
	}

const struct rpc_method local_methods[] = {
	ROW("ClusterInit", init_request, init_reply, RPC_UNARY, on_init),
	ROW("ClusterJoin", join_request, join_reply, RPC_UNARY, on_join),
	ROW("ClusterLeave", leave_request, leave_reply, RPC_UNARY, on_leave),
	ROW("Info", info_request, info_reply, RPC_UNARY, on_info),
	ROW("ImageList", image_list_request, image_list_reply, RPC_UNARY, on_image_list),
	ROW("ImagePull", image_pull_request, image_progress, RPC_SERVER_STREAM, on_image_pull),
	ROW("ImageLoad", image_load_request, image_progress, RPC_BIDI, on_image_load),
	ROW("ImageInspect", image_ref, image_inspect_reply, RPC_UNARY, on_image_inspect),
	ROW("ImageRemove", image_ref, image_remove_reply, RPC_UNARY, on_image_remove),
	ROW("ImageBuild", build_request, build_event, RPC_BIDI, build_on_build),
	ROW("ImageTag", image_tag_request, image_tag_reply, RPC_UNARY, images_on_tag),
	ROW("ImageSave", image_save_request, image_data, RPC_SERVER_STREAM, images_on_save),
	ROW("ImagePush", image_push_request, image_progress, RPC_SERVER_STREAM, images_on_push),
	ROW("ImageHistory", image_ref, image_inspect_reply, RPC_UNARY, images_on_history),
	ROW("ImagePrune", image_prune_request, image_prune_reply, RPC_UNARY, images_on_prune),
	ROW("VolumeList", volume_list_request, volume_list_reply, RPC_UNARY, on_volume_list),
	ROW("VolumeRemove", volume_ref, volume_remove_reply, RPC_UNARY, on_volume_remove),
	{0},
};
