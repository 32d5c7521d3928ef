/**
 * Placeholders: templates (base/template.h) in environment, hostname and mounts of a container, and
 * in secrets and configs that ask for it. Which values there are is said here, for the manager that
 * looks at them before anything is made and for the agent that fills them in.
 *
 *	.Service.ID .Service.Name .Service.Labels  .Task.ID .Task.Name .Task.Slot
 *	.Node.ID .Node.Hostname .Node.Platform.OS .Node.Platform.Architecture
 *
 * Contents of secrets and configs also have the functions env, secret and config.
 */
#pragma once

#include "base/error.h"
#include "proto/types.pb-c.h"

#include <jansson.h>

struct expand_values {
	uint64_t service_id, task_id, node_id;
	const char *service_name, *hostname, *os, *arch;
	Pb__KeyValue *const *labels;
	size_t n_labels;
	uint32_t slot; /* 0 = a global service: the node's id stands for it */
};

/** SERVICE.SLOT.TASK. The caller frees. */
char *expand_task_name(const struct expand_values *v);

/** A new reference. NULL: nothing is known yet, as expand_check_* want it. */
json_t *expand_data(const struct expand_values *v);
/** Fills in env, hostname, and mounts' sources, targets, labels and options. */
int expand_container(Pb__ContainerSpec *c, const json_t *data, struct sw_error *err) SW_MUST_CHECK;
/** Whether they can be filled in, as far as can be said without the values. */
int expand_check_container(const Pb__ContainerSpec *c, struct sw_error *err) SW_MUST_CHECK;

struct expand_files {                       /* what the contents may ask for */
	const Pb__ContainerSpec *container; /* with its own placeholders filled in */
	/** The bytes of a secret or config of the container; NULL = they are not here. */
	const ProtobufCBinaryData *(*data)(void *arg, const Pb__FileRef *ref, bool secret);
	void *arg;
};

/** *ret: the bytes that the caller frees, after it has wiped them. */
int expand_content(const ProtobufCBinaryData *in, const struct expand_files *f, const json_t *data,
		   char **ret, size_t *ret_n, struct sw_error *err) SW_MUST_CHECK;
int expand_check_content(const ProtobufCBinaryData *in, struct sw_error *err) SW_MUST_CHECK;
