/** A StackSpec as the create requests that Docker's CLI makes of the same file, for comparing the
 * two. */
#pragma once

#include "proto/types.pb-c.h"

#include <jansson.h>

/** {"networks": […], "secrets": […], "configs": […], "services": […]}, lists sorted as the CLI
 * sorts them: by name, or by published port. */
json_t *docker_api_stack(const Pb__StackSpec *s);
/** Leaves out what says nothing: nulls, noughts, empty texts, lists and objects. Takes j. */
json_t *docker_api_trim(json_t *j);
