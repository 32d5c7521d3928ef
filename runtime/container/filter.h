/**
 * Seccomp profiles compiled ahead. crun compiles the profile for every container, which is a third
 * of what making one costs; it takes a compiled one in an annotation instead. Other runtimes pass
 * over that, so the profile itself stays in the config beside it.
 */
#pragma once

#include <jansson.h>

struct rt_filters;

struct rt_filters *rt_filters_new(void);
void rt_filters_free(struct rt_filters *f);

/** The annotation's name. */
#define RT_FILTER_ANNOTATION "run.oci.seccomp_bpf_data"

/**
 * `profile`, the config's linux.seccomp, as a BPF program in base64; the caller frees. Compiled
 * once while `f` lives. NULL when it holds what is not understood here: the runtime has the profile
 * still. From any thread.
 */
char *rt_filters_get(struct rt_filters *f, const json_t *profile);
