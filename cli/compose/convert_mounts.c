#include "base/mem.h"
#include "base/str.h"
#include "base/units.h"
#include "cli/compose/convert.h"
#include "cli/compose/spec.h"
#include "proto/msg.h"

static const char *const types[] = {"bind", "volume", "tmpfs", NULL};

/* A volume of the file: its full name, driver and labels ride in the mount, as with Docker. */
static void use_volume(struct convert *c, Pb__Mount *m, const struct yaml_node *v,
		       const struct compose_path *path)
{
	const struct yaml_node *volumes = yaml_get(c->root, "volumes");
	struct yaml_pair *pair = yaml_get_pair(volumes, m->source);
	const struct yaml_node *o = pair ? pair->value : NULL;
	sw_autofree char *key = NULL, *name = NULL;
	const char *driver = yaml_get_text(o, "driver");

	if (*m->source == 0)
		return;
	if (o == NULL) {
		if (volumes == NULL || !volumes->damaged)
			convert_fault(c, v, path, NULL,
				      "undefined volume \"%.60s\": it is not in the top-level "
				      "volumes",
				      m->source);
		return;
	}
	key = sw_strdup(m->source);
	name = convert_name(c, o, key);
	msg_set_str(&m->source, name);
	sw_strmap_set(&c->used_volumes, key, (void *)c);
	if (convert_is_external(o))
		return;
	msg_set_str(&m->driver, driver ? driver : "");
	convert_pairs(o, "driver_opts", &m->driver_opts, &m->n_driver_opts);
	convert_pairs(o, "labels", &m->labels, &m->n_labels);
	msg_kv_set(&m->labels, &m->n_labels, "com.docker.stack.namespace", c->stack);
	convert_sort_pairs(m->labels, m->n_labels);
}

static void convert_options(struct convert *c, Pb__Mount *m, const struct yaml_node *v,
			    const struct compose_path *path)
{
	const struct yaml_node *bind = yaml_get(v, "bind"), *volume = yaml_get(v, "volume");
	const struct yaml_node *tmpfs = yaml_get(v, "tmpfs");
	const char *propagation = yaml_get_text(bind, "propagation");
	const char *subpath = yaml_get_text(volume, "subpath");

	msg_set_str(&m->propagation, propagation ? propagation : "");
	m->create_host_path = convert_bool(bind, "create_host_path");
	m->no_copy = convert_bool(volume, "nocopy");
	msg_set_str(&m->subpath, subpath ? subpath : "");
	convert_pairs(volume, "labels", &m->labels, &m->n_labels);
	m->tmpfs_size = convert_bytes(tmpfs, "size");
	m->tmpfs_mode = (uint32_t)convert_count(c, tmpfs, "mode", 0, 07777, path);
}

static void convert_mount(struct convert *c, Pb__ContainerSpec *out, const struct yaml_node *v,
			  const struct compose_path *path)
{
	const char *source = yaml_get_text(v, "source"), *target = yaml_get_text(v, "target");
	Pb__Mount *m = CONVERT_NEW(Pb__Mount, PB__MOUNT__INIT);
	const char *fault;

	msg_add(&out->mounts, &out->n_mounts, m);
	m->type = (Pb__MountType)convert_choice(c, v, "type", types, path);
	msg_set_str(&m->source, source ? source : "");
	msg_set_str(&m->target, target ? target : "");
	m->read_only = convert_bool(v, "read_only");
	convert_options(c, m, v, path);
	fault = v->damaged ? NULL : spec_mount_fault(m);
	if (fault) {
		convert_fault(c, v, path, NULL, "%s", fault);
		return;
	}
	if (m->type == PB__MOUNT_TYPE__MOUNT_VOLUME) {
		use_volume(c, m, v, path);
	} else if (m->type == PB__MOUNT_TYPE__MOUNT_BIND && source) {
		sw_autofree char *full = load_path(c->l, source);

		msg_set_str(&m->source, full);
	}
}

/* "/run:size=64m,mode=1777": size and mode, what else stands there is a fault. */
static void convert_tmpfs(struct convert *c, Pb__ContainerSpec *out, const struct yaml_node *item,
			  const struct compose_path *path)
{
	sw_autofree char *text = sw_strdup(item->text);
	char *options = strchr(text, ':'), **list;
	Pb__Mount *m = CONVERT_NEW(Pb__Mount, PB__MOUNT__INIT);

	if (options)
		*options++ = 0;
	m->type = PB__MOUNT_TYPE__MOUNT_TMPFS;
	msg_set_str(&m->target, text);
	msg_add(&out->mounts, &out->n_mounts, m);
	list = options && *options ? sw_strv_split(options, ',') : NULL;
	for (size_t i = 0; list && list[i]; i++) {
		const char *size = sw_after(list[i], "size="), *mode = sw_after(list[i], "mode=");
		int64_t bytes = 0;
		char *end = NULL;
		bool good = size && unit_bytes(size, 1024, &bytes);

		if (good)
			m->tmpfs_size = (uint64_t)bytes;
		if (mode) {
			m->tmpfs_mode = (uint32_t)strtoul(mode, &end, 8);
			good = *mode && *end == 0 && m->tmpfs_mode <= 07777;
		}
		m->read_only |= sw_streq(list[i], "ro");
		if (!good && !sw_streq(list[i], "ro") && !sw_streq(list[i], "rw"))
			convert_fault(c, item, path, NULL,
				      "\"%.60s\" is none of size=64m, mode=1777, ro, rw", list[i]);
	}
	sw_strv_free(list);
}

void convert_mounts(struct convert *c, Pb__ContainerSpec *out, const struct yaml_node *s,
		    const struct compose_path *path)
{
	const struct yaml_node *list = yaml_get(s, "volumes"), *tmpfs = yaml_get(s, "tmpfs");
	struct compose_path at = {path, "volumes", 0}, tp = {path, "tmpfs", 0};

	for (size_t i = 0; list && i < list->n; i++) {
		struct compose_path item = {&at, NULL, i};

		convert_mount(c, out, list->items[i], &item);
	}
	for (size_t i = 0; tmpfs && i < tmpfs->n; i++) {
		struct compose_path item = {&tp, NULL, i};

		convert_tmpfs(c, out, tmpfs->items[i], &item);
	}
}
