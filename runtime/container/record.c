#include "runtime/container/record.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/container/driver.h"
#include "runtime/container/profile.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>

enum { RECORD_MAX = 1 << 20, GRACE_DEFAULT_MS = 10000 };

void rt_record_fini(struct rt_record *r)
{
	free(r->id);
	free(r->image);
	sw_strv_free(r->labels);
	sw_strv_free(r->volumes);
	free(r->memory_cgroup);
	free(r->boot_id);
	rt_health_fini(&r->health);
	*r = (struct rt_record){0};
}

static char *boot_id(void)
{
	struct sw_error ignored;
	char *text = NULL;

	if (sw_read_file("/proc/sys/kernel/random/boot_id", 64, &text, NULL, &ignored) < 0)
		return sw_strdup("");
	text[strcspn(text, "\n")] = 0;
	return text;
}

static int log_options(struct rt_record *r, const Pb__LogDriver *log, struct sw_error *err)
{
	uint64_t n;

	for (size_t i = 0; log != NULL && i < log->n_options; i++) {
		const char *key = log->options[i]->key, *value = log->options[i]->value;
		size_t digits = strspn(value, "0123456789");
		sw_autofree char *number = sw_strndup(value, digits);
		int shift = value[digits] == 0     ? 0
			    : value[digits] == 'k' ? 10
			    : value[digits] == 'm' ? 20
			    : value[digits] == 'g' ? 30
						   : -1;

		if (sw_streq(key, "max-size")) {
			if (shift < 0 || !sw_parse_u64(number, 1 << 30, &n))
				return sw_fail(err, SW_EINVAL, "log option max-size \"%s\"", value);
			r->log_max_size = (int64_t)(n << shift);
		} else if (sw_streq(key, "max-file")) {
			if (!sw_parse_u64(value, 1000, &n) || n == 0)
				return sw_fail(err, SW_EINVAL, "log option max-file \"%s\"", value);
			r->log_max_files = (int)n;
		}
	}
	return 0;
}

int rt_record_from(struct rt_record *r, const struct rt_spec *s, int64_t log_size, int log_files,
		   struct sw_error *err)
{
	const Pb__ContainerSpec *c = s->task->container;
	const Pb__LogDriver *log = s->task->log;

	r->boot_id = boot_id();
	r->grace_ms = c->_stop_grace_case == PB__CONTAINER_SPEC___STOP_GRACE_STOP_GRACE_MS
			      ? (int64_t)c->stop_grace_ms
			      : GRACE_DEFAULT_MS;
	if (*c->stop_signal != 0) {
		r->stop_signal = rt_signal_number(c->stop_signal);
		if (r->stop_signal == 0)
			return sw_fail(err, SW_EINVAL, "unknown stop signal \"%s\"",
				       c->stop_signal);
	}
	r->keep_log = log == NULL || !sw_streq(log->name, "none");
	r->log_max_size = log_size;
	r->log_max_files = log_files;
	for (char *const *l = s->labels; l != NULL && *l != NULL; l++)
		r->labels = sw_strv_add(r->labels, *l);
	for (size_t i = 0; i < c->n_mounts; i++) {
		const Pb__Mount *m = c->mounts[i];

		if (m->type == PB__MOUNT_TYPE__MOUNT_VOLUME && *m->source != 0)
			r->volumes = sw_strv_add(r->volumes, m->source);
		r->shared_mounts |=
			sw_streq(m->propagation, "shared") || sw_streq(m->propagation, "rshared");
	}
	return log_options(r, log, err);
}

static json_t *list(char *const *v)
{
	json_t *a = json_array();

	for (; v != NULL && *v != NULL; v++)
		json_array_append_new(a, json_string(*v));
	return a;
}

static char **list_of(const json_t *a)
{
	char **v = NULL;

	for (size_t i = 0; i < json_array_size(a); i++)
		if (json_is_string(json_array_get(a, i)))
			v = sw_strv_add(v, json_string_value(json_array_get(a, i)));
	return v;
}

int rt_record_save(const char *dir, const struct rt_record *r, struct sw_error *err)
{
	sw_autofree char *path = sw_asprintf("%s/container.json", dir);
	json_t *j = json_pack("{s:s*, s:s*, s:o, s:o, s:i, s:I, s:b, s:I, s:i, s:o*}", "image",
			      r->image, "boot_id", r->boot_id, "labels", list(r->labels), "volumes",
			      list(r->volumes), "stop_signal", r->stop_signal, "grace_ms",
			      (json_int_t)r->grace_ms, "shared_mounts", r->shared_mounts,
			      "log_max_size", (json_int_t)r->log_max_size, "log_max_files",
			      r->log_max_files, "health", rt_health_save(&r->health));
	sw_autofree char *text = j != NULL ? json_dumps(j, JSON_COMPACT) : NULL;

	json_decref(j);
	if (text == NULL)
		return sw_fail(err, SW_EINVAL, "a label, volume name or health check is not UTF-8");
	return sw_write_file_fast(path, text, strlen(text), 0600, err);
}

/* In a file of its own: replacing one that was just written makes the kernel write it out first. */
int rt_record_save_memory(const char *dir, const char *cgroup, struct sw_error *err)
{
	sw_autofree char *path = sw_asprintf("%s/memory", dir);

	return sw_write_file_fast(path, cgroup, strlen(cgroup), 0600, err);
}

static char *load_memory(const char *dir, const json_t *j)
{
	sw_autofree char *path = sw_asprintf("%s/memory", dir);
	struct sw_error ignored;
	char *text = NULL;

	if (sw_read_file(path, 4096, &text, NULL, &ignored) == 0)
		return text;
	/* Where earlier versions kept it. */
	return sw_strdup(json_string_value(json_object_get(j, "memory_cgroup")));
}

int rt_record_load(const char *dir, struct rt_record *r, struct sw_error *err)
{
	sw_autofree char *path = sw_asprintf("%s/container.json", dir);
	sw_autofree char *text = NULL;
	json_t *j;
	size_t n;
	int rc = sw_read_file(path, RECORD_MAX, &text, &n, err);

	if (rc < 0)
		return rc;
	j = json_loadb(text, n, 0, NULL);
	if (j == NULL)
		return sw_fail(err, SW_ECORRUPT, "%s is not JSON", path);
	r->image = sw_strdup(json_string_value(json_object_get(j, "image")));
	r->memory_cgroup = load_memory(dir, j);
	r->boot_id = sw_strdup(json_string_value(json_object_get(j, "boot_id")));
	r->labels = list_of(json_object_get(j, "labels"));
	r->volumes = list_of(json_object_get(j, "volumes"));
	r->stop_signal = (int)json_integer_value(json_object_get(j, "stop_signal"));
	r->grace_ms = json_integer_value(json_object_get(j, "grace_ms"));
	r->health = rt_health_load(json_object_get(j, "health"));
	json_decref(j);
	return 0;
}

int rt_record_list(const char *containers, char ***ret, struct sw_error *err)
{
	DIR *d = opendir(containers);

	if (d == NULL)
		return sw_fail_sys(err, errno, "open %s", containers);
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		if (*e->d_name != '.')
			*ret = sw_strv_add(*ret, e->d_name);
	closedir(d);
	return 0;
}

pid_t rt_record_pid(const char *dir, const char *file)
{
	sw_autofree char *path = sw_asprintf("%s/%s", dir, file);
	sw_autofree char *text = NULL;
	struct sw_error ignored;

	if (sw_read_file(path, 64, &text, NULL, &ignored) < 0)
		return 0;
	return (pid_t)strtol(text, NULL, 10);
}

/* Before `start`, process 1 waits in a fifo that the runtime made, still running its program. */
bool rt_record_started(pid_t pid)
{
	sw_autofree char *path = sw_asprintf("/proc/%d/exe", (int)pid);
	char exe[512];
	ssize_t n = readlink(path, exe, sizeof exe - 1);
	const char *base;

	if (n < 0)
		return true;
	exe[n] = 0;
	base = strrchr(exe, '/');
	base = base != NULL ? base + 1 : exe;
	return strstr(base, "crun") == NULL && strstr(base, "runc") == NULL;
}

void rt_record_exit(const char *dir, const struct rt_record *r, struct rt_exit *e)
{
	sw_autofree char *path = sw_asprintf("%s/exit", dir);
	sw_autofree char *text = NULL, *boot = boot_id();
	struct sw_error ignored;
	long long at = 0;

	if (sw_read_file(path, 128, &text, NULL, &ignored) == 0 &&
	    sscanf(text, "%d %d %lld", &e->code, &e->signal, &at) == 3) {
		e->at_ms = at;
		/* The victim may be a child whose parent then gave up: any kill there counts when
		 * the container did not end well. */
		e->oom = e->code != 0 && r->memory_cgroup != NULL &&
			 rt_cgroup_ooms(r->memory_cgroup) > 0;
		if (e->oom)
			snprintf(e->reason, sizeof e->reason,
				 "out of memory: killed by the kernel");
		else if (e->signal != 0)
			snprintf(e->reason, sizeof e->reason, "killed by signal %d", e->signal);
		else if (e->code != 0)
			snprintf(e->reason, sizeof e->reason, "exited with code %d", e->code);
		return;
	}
	e->lost = true;
	e->code = 137;
	if (r->boot_id != NULL && !sw_streq(r->boot_id, boot))
		snprintf(e->reason, sizeof e->reason, "lost: the host was restarted");
	else if (rt_record_pid(dir, "pid") == 0)
		snprintf(e->reason, sizeof e->reason, "lost: it was never created completely");
	else
		snprintf(e->reason, sizeof e->reason,
			 "lost: its shim died and left no exit status");
}
