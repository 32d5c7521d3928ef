/** What a container's health check is: the task's, with the image's where the task says nothing. */
#pragma once

#include "proto/types.pb-c.h"
#include "runtime/image/manifest.h"

#include <jansson.h>

/** Times are what is meant: defaults are filled in. */
struct rt_health {
	char **argv; /* NULL = no check */
	uint64_t interval_ms, timeout_ms, start_period_ms, start_interval_ms;
	uint32_t retries;
};

/** `spec` may be NULL. Docker's rules: each field that the task leaves out is the image's. */
struct rt_health rt_health_of(const Pb__Healthcheck *spec, const struct img_config *image);
void rt_health_fini(struct rt_health *h);

/** As part of a container's record; of none: NULL. */
json_t *rt_health_save(const struct rt_health *h);
struct rt_health rt_health_load(const json_t *j);
