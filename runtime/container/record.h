/** What a container's folder says: container.json, memory, pid, shim.pid, exit. All small and
 * blocking. */
#pragma once

#include "runtime/container/container.h"
#include "runtime/container/health.h"

struct rt_record {
	char *id, *image;    /* image: id, NULL until it was resolved */
	char **labels;       /* "key=value" */
	char **volumes;      /* names */
	char *memory_cgroup; /* folder, NULL until created */
	char *boot_id;
	int stop_signal; /* 0 = SIGTERM */
	int64_t grace_ms;
	bool keep_log, shared_mounts;
	int64_t log_max_size;
	int log_max_files;
	struct rt_health health;
	pid_t shim_pid; /* not stored here */
};

void rt_record_fini(struct rt_record *r);
/** Fills all but id and image. */
int rt_record_from(struct rt_record *r, const struct rt_spec *s, int64_t log_size, int log_files,
		   struct sw_error *err) SW_MUST_CHECK;
int rt_record_save(const char *dir, const struct rt_record *r, struct sw_error *err) SW_MUST_CHECK;
/** memory_cgroup, which is known later than the rest, and is no part of rt_record_save. */
int rt_record_save_memory(const char *dir, const char *cgroup, struct sw_error *err) SW_MUST_CHECK;
int rt_record_load(const char *dir, struct rt_record *r, struct sw_error *err) SW_MUST_CHECK;
/** Names of the folders in `containers`. */
int rt_record_list(const char *containers, char ***ret, struct sw_error *err) SW_MUST_CHECK;

/** 0 when the file is not there. */
pid_t rt_record_pid(const char *dir, const char *file);
/** True when the container's first process is no longer the OCI runtime's. */
bool rt_record_started(pid_t pid);
/** From the exit file and the cgroup; `lost` with a reason when there is none. */
void rt_record_exit(const char *dir, const struct rt_record *r, struct rt_exit *ret);
