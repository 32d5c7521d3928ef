/** Walks an expanded tree along the schema: types, unknown keys, long forms in place of short ones.
 */
#pragma once

#include "cli/compose/schema.h"
#include "cli/compose/yaml.h"

struct check {
	struct yaml_pool *pool;
	struct diag *diag;
	unsigned minor; /* of the file's version 3.x */
};

/** Makes `root` (a mapping) canonical in place; what is wrong is reported and left out. */
void check_file(struct check *c, struct yaml_node *root);

/* Short forms, one file's worth each (normal_*.c); see schema_key.normal. */
typedef struct yaml_node *schema_normal(struct check *c, struct yaml_node *n,
					const struct compose_path *path);
schema_normal normal_health_test, normal_env_file, normal_extra_hosts, normal_names, normal_ports,
	normal_volumes, normal_refs, normal_depends_on, normal_ulimits, normal_devices,
	normal_external;
