/*
 * A small agent for runtime.sh:
 *
 *	rt_driver DIR SHIM RUNTIME load FILE | pull NAME | images
 *	rt_driver DIR SHIM RUNTIME run ID IMAGE MEMORY COMMAND…   prints "running", waits, "exit
 * CODE oom REASON" rt_driver DIR SHIM RUNTIME wait                           takes over what is
 * there; waits for all, removes
 */
#include "base/mem.h"
#include "base/str.h"
#include "runtime/container/process.h"
#include "runtime/image/archive.h"
#include "runtime/image/pull.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>

struct driver {
	uv_loop_t loop;
	struct rt *rt;
	struct img_store *images;
	struct vol_store *volumes;
	int left, status;
};

static int die(const struct sw_error *err)
{
	printf("error: %s\n", err->msg);
	fflush(stdout);
	return 1;
}

static void on_removed(struct rt_container *c, const struct sw_error *err, void *ctx)
{
	struct driver *d = ctx;

	if (err != NULL)
		d->status = die(err);
	printf("removed %s\n", rt_id(c));
	if (--d->left == 0)
		uv_stop(&d->loop);
}

static void on_exit_of(struct rt_container *c, const struct rt_exit *e, void *ctx)
{
	struct driver *d = ctx;
	struct sw_error err;

	printf("exit %s %d %s%s%s\n", rt_id(c), e->code, e->oom ? "oom " : "",
	       e->lost ? "lost " : "", e->reason);
	fflush(stdout);
	if (rt_remove(c, on_removed, d, &err) < 0)
		d->status = die(&err);
}

/* RT_EXEC is a script that runs inside once the container does; RT_EXEC_USER, RT_EXEC_TTY (its
 * terminal's output is shown), RT_EXEC_STOP (it is stopped once it has written something, so that its
 * traps are set). The container is killed after its end. */
static void on_exec_end(const struct rt_process_end *e, void *ctx)
{
	struct sw_error err;

	printf("exec %d %s %s\n", e->code, e->started ? "started" : "not started", e->reason);
	fflush(stdout);
	(void)!rt_kill(ctx, SIGKILL, &err);
}

static void on_exec_terminal(int fd, void *ctx)
{
	char buf[4096];
	ssize_t n;

	(void)ctx;
	(void)!write(fd, "exit $(($(id -u) + 20))\n", 24);
	while ((n = read(fd, buf, sizeof buf)) > 0)
		(void)!write(1, buf, (size_t)n);
	close(fd);
}

static void exec_inside(struct rt_container *c)
{
	static const struct rt_process_ops ops = {on_exec_terminal, on_exec_end};
	char *argv[] = {(char *)"sh", (char *)"-c", getenv("RT_EXEC"), NULL};
	char *named[] = {getenv("RT_EXEC"), NULL};
	char *env[] = {(char *)"FROM_EXEC=yes", NULL};
	struct rt_process_spec s = {.argv = getenv("RT_EXEC_PLAIN") != NULL ? named : argv,
				    .env = env,
				    .user = getenv("RT_EXEC_USER"),
				    .tty = getenv("RT_EXEC_TTY") != NULL,
				    .rows = 33,
				    .columns = 77,
				    .in = -1,
				    .out = 1,
				    .err = 2};
	struct rt_process *p;
	struct sw_error err;
	bool stop = getenv("RT_EXEC_STOP") != NULL;
	int ready[2] = {-1, -1};
	char byte;

	if (stop && pipe(ready) == 0)
		s.out = ready[1];
	if (rt_process_start(c, &s, &ops, c, &p, &err) < 0) {
		die(&err);
		(void)!rt_kill(c, SIGKILL, &err);
	} else if (stop) {
		close(ready[1]);
		(void)!read(ready[0], &byte, 1);
		rt_process_stop(p, 100);
	}
}

static void on_started(struct rt_container *c, const struct sw_error *err, void *ctx)
{
	struct driver *d = ctx;
	struct sw_error e;

	if (err == NULL) {
		printf("running %s %d\n", rt_id(c), (int)rt_pid(c));
		fflush(stdout);
		if (getenv("RT_EXEC") != NULL)
			exec_inside(c);
		return;
	}
	d->status = die(err);
	if (rt_remove(c, on_removed, d, &e) < 0)
		die(&e);
}

static void on_created(struct rt_container *c, const struct sw_error *err, void *ctx)
{
	struct driver *d = ctx;
	struct sw_error e;

	if (err != NULL) {
		d->status = die(err);
		if (rt_remove(c, on_removed, d, &e) < 0)
			die(&e);
		return;
	}
	if (rt_start(c, on_started, d, &e) < 0)
		d->status = die(&e);
}

static int run(struct driver *d, char **argv)
{
	Pb__TaskSpec task = PB__TASK_SPEC__INIT;
	Pb__ContainerSpec cs = PB__CONTAINER_SPEC__INIT;
	Pb__Resources limits = PB__RESOURCES__INIT;
	Pb__Mount volume = PB__MOUNT__INIT, *mounts[] = {&volume};
	struct rt_file file = {"/run/secrets/key", "opensesame", 10, 0, 0, 0400};
	struct rt_spec spec = {.id = argv[0],
			       .image = argv[1],
			       .task = &task,
			       .netns = "none",
			       .hosts = "127.0.0.1 localhost\n",
			       .files = &file,
			       .n_files = 1};
	struct rt_container *c;
	struct sw_error err;

	task.container = &cs;
	task.limits = &limits;
	limits.memory = strtoull(argv[2], NULL, 10);
	limits.pids = 64;
	volume.type = PB__MOUNT_TYPE__MOUNT_VOLUME;
	volume.source = (char *)"vol";
	volume.target = (char *)"/etc";
	cs.mounts = mounts;
	cs.n_mounts = getenv("RT_VOLUME") != NULL;
	cs._init_case = PB__CONTAINER_SPEC___INIT_INIT;
	cs.init = getenv("RT_INIT") != NULL;
	cs.user = getenv("RT_USER") != NULL ? getenv("RT_USER") : (char *)"";
	cs.command = argv + 3;
	while (cs.command[cs.n_command] != NULL)
		cs.n_command++;
	d->left = 1;
	if (rt_create(d->rt, &spec, on_created, d, &c, &err) < 0)
		return die(&err);
	return 0;
}

static void on_pulled(struct img_pull *p, const char *id, const struct sw_error *err, void *ctx)
{
	struct driver *d = ctx;

	(void)p;
	if (err != NULL)
		d->status = die(err);
	else
		printf("pulled %s\n", id);
	uv_stop(&d->loop);
}

static int pull(struct driver *d, const char *name)
{
	static struct img_registry_host mirror;
	static char *urls[2];
	struct img_puller_options o = {.registries.hosts = &mirror};
	struct img_puller *p;
	struct sw_error err;

	if (getenv("RT_MIRROR") != NULL) {
		urls[0] = getenv("RT_MIRROR");
		mirror = (struct img_registry_host){.host = "docker.io", .mirrors = urls};
		o.registries.n = 1;
	}
	p = img_puller_new(&d->loop, d->images, &o);
	if (img_pull(p, name, NULL, on_pulled, d, &err) < 0)
		return die(&err);
	uv_run(&d->loop, UV_RUN_DEFAULT);
	return d->status;
}

static int load(struct driver *d, const char *path)
{
	sw_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct sw_error err;
	char **ids = NULL;

	if (img_load(d->images, fd, &ids, &err) < 0)
		return die(&err);
	for (char **id = ids; id != NULL && *id != NULL; id++)
		printf("loaded %s\n", *id);
	sw_strv_free(ids);
	return 0;
}

static int list(struct driver *d)
{
	struct img_image **v;
	struct sw_error err;
	size_t n;

	if (img_store_list(d->images, &v, &n, &err) < 0)
		return die(&err);
	for (size_t i = 0; i < n; i++)
		printf("%s %s\n", v[i]->id, v[i]->names != NULL ? v[i]->names[0] : "-");
	return 0;
}

int main(int argc, char **argv)
{
	static struct driver d;
	struct rt_options o = {
		.ctx = &d, .on_exit = on_exit_of, .cgroup_parent = getenv("RT_CGROUP")};
	struct sw_error err;
	char *dir, *images, *volumes, *run_dir;

	if (argc < 5)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	dir = argv[1];
	images = sw_asprintf("%s/images", dir);
	volumes = sw_asprintf("%s/volumes", dir);
	run_dir = sw_asprintf("%s/run", dir);
	uv_loop_init(&d.loop);
	if (img_store_open(images, &d.images, &err) < 0 || vol_open(volumes, &d.volumes, &err) < 0)
		return die(&err);
	if (sw_streq(argv[4], "load"))
		return load(&d, argv[5]);
	if (sw_streq(argv[4], "pull"))
		return pull(&d, argv[5]);
	if (sw_streq(argv[4], "images"))
		return list(&d);
	o.state_dir = dir;
	o.run_dir = run_dir;
	o.shim = argv[2];
	o.runtime = argv[3];
	if (rt_open(&d.loop, &o, d.images, d.volumes, &d.rt, &err) < 0)
		return die(&err);
	for (struct rt_container *c = rt_next(d.rt, NULL); c != NULL; c = rt_next(d.rt, c)) {
		printf("found %s %s\n", rt_id(c), rt_state_name(rt_state_of(c)));
		d.left++;
	}
	fflush(stdout);
	if (sw_streq(argv[4], "run") && run(&d, argv + 5) != 0)
		return 1;
	uv_run(&d.loop, UV_RUN_DEFAULT);
	return d.status;
}
