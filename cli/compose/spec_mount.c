#include "base/mem.h"
#include "base/str.h"
#include "base/units.h"
#include "cli/compose/spec.h"
#include "cli/compose/spec_fields.h"
#include "proto/msg.h"

#include <ctype.h>

static bool is_propagation(const char *s)
{
	static const char *const all[] = {"rprivate", "private", "rshared",
					  "shared",   "rslave",  "slave"};

	for (size_t i = 0; i < SW_COUNT(all); i++)
		if (sw_streq(s, all[i]))
			return true;
	return false;
}

const char *spec_mount_fault(const Pb__Mount *m)
{
	bool bind_options = *m->propagation || m->create_host_path;
	bool volume_options = m->no_copy || *m->subpath || *m->driver || m->n_driver_opts;
	bool tmpfs_options = m->tmpfs_size || m->tmpfs_mode;

	if (*m->target == 0)
		return "a mount needs a target";
	if (m->type == PB__MOUNT_TYPE__MOUNT_BIND && *m->source == 0)
		return "a bind needs a source";
	if (m->type == PB__MOUNT_TYPE__MOUNT_TMPFS && *m->source)
		return "a tmpfs has no source";
	if (bind_options && m->type != PB__MOUNT_TYPE__MOUNT_BIND)
		return "bind options do not go with this type of mount";
	if (volume_options && m->type != PB__MOUNT_TYPE__MOUNT_VOLUME)
		return "volume options do not go with this type of mount";
	if (tmpfs_options && m->type != PB__MOUNT_TYPE__MOUNT_TMPFS)
		return "tmpfs options do not go with this type of mount";
	if (*m->propagation && !is_propagation(m->propagation))
		return "propagation must be [r]private, [r]shared or [r]slave";
	if (m->tmpfs_mode > 07777)
		return "the mode of a tmpfs is 07777 at most";
	return NULL;
}

/* ---- source:target:options ---------------------------------------------------------------------
 */

enum { PARTS_MAX = 3 };

static bool is_drive_colon(const char *start, const char *at)
{
	return at == start + 1 && isalpha((unsigned char)*start);
}

/* Cuts `text` at colons that are not those of a Windows drive; the number of parts, 0 = empty one.
 */
static size_t cut_parts(char *text, char *parts[PARTS_MAX + 1])
{
	size_t n = 0;
	char *start = text;

	for (char *p = text;; p++) {
		bool end = *p == 0;

		if (!end && (*p != ':' || is_drive_colon(start, p)))
			continue;
		if (p == start && !(end && n > 0))
			return 0;
		if (n > PARTS_MAX)
			return n;
		*p = 0;
		if (n < PARTS_MAX + 1)
			parts[n++] = start;
		start = p + 1;
		if (end)
			return n;
	}
}

static bool is_bind_source(const char *s)
{
	if (strchr("./~", *s))
		return true;
	return isalpha((unsigned char)s[0]) && s[1] == ':' && (s[2] == '\\' || s[2] == '/');
}

static void volume_options(Pb__Mount *m, const char *options)
{
	char **list = sw_strv_split(options, ',');

	for (size_t i = 0; list[i]; i++) {
		if (sw_streq(list[i], "ro"))
			m->read_only = true;
		else if (sw_streq(list[i], "rw"))
			m->read_only = false;
		else if (sw_streq(list[i], "nocopy"))
			m->no_copy = true;
		else if (is_propagation(list[i]))
			msg_set_str(&m->propagation, list[i]);
	}
	sw_strv_free(list);
}

int spec_volume(const char *s, Pb__Mount **ret, struct sw_error *err)
{
	Pb__Mount empty = PB__MOUNT__INIT, *m;
	sw_autofree char *text = sw_strdup(s);
	char *parts[PARTS_MAX + 1];
	size_t n;

	if (*s == 0)
		return sw_fail(err, SW_EINVAL, "the volume is empty");
	n = cut_parts(text, parts);
	if (n == 0)
		return sw_fail(err, SW_EINVAL, "empty section between colons in volume \"%s\"", s);
	if (n > PARTS_MAX)
		return sw_fail(err, SW_EINVAL, "too many colons in volume \"%s\"", s);
	m = (Pb__Mount *)msg_clone(&empty.base);
	m->type = PB__MOUNT_TYPE__MOUNT_VOLUME;
	msg_set_str(&m->target, n == 1 ? parts[0] : parts[1]);
	if (n > 1) {
		msg_set_str(&m->source, parts[0]);
		if (is_bind_source(parts[0]))
			m->type = PB__MOUNT_TYPE__MOUNT_BIND;
	}
	if (n > 2)
		volume_options(m, parts[2]);
	*ret = m;
	return 0;
}

/* ---- --mount -----------------------------------------------------------------------------------
 */

struct mount_flag {
	Pb__Mount *m;
	bool volume_keys, bind_keys, tmpfs_keys; /* for what type options were given */
};

static int flag_bool(const char *key, const char *value, protobuf_c_boolean *ret,
		     struct sw_error *err)
{
	if (value == NULL || sw_streq(value, "true") || sw_streq(value, "1"))
		*ret = true;
	else if (sw_streq(value, "false") || sw_streq(value, "0"))
		*ret = false;
	else
		return sw_fail(err, SW_EINVAL,
			       "invalid value for '%s': \"%s\" is none of true, 1, false, 0", key,
			       value);
	return 0;
}

static void flag_pair(Pb__KeyValue ***kv, size_t *n, const char *value)
{
	sw_autofree char *key = sw_strdup(value);
	char *eq = strchr(key, '=');

	if (eq)
		*eq = 0;
	if (*key)
		msg_kv_set(kv, n, key, eq ? eq + 1 : "");
}

static int mount_type(Pb__Mount *m, const char *value, struct sw_error *err)
{
	static const char *const names[] = {"bind", "volume", "tmpfs"};

	for (size_t i = 0; i < SW_COUNT(names); i++)
		if (sw_streq(value, names[i])) {
			m->type = (Pb__MountType)i;
			return 0;
		}
	return sw_fail(err, SW_EINVAL, "mount type \"%s\" is none of bind, volume, tmpfs", value);
}

static int bind_flag(struct mount_flag *f, const char *key, const char *value, struct sw_error *err)
{
	f->bind_keys = true;
	if (sw_streq(key, "bind-create-src"))
		return flag_bool(key, value, &f->m->create_host_path, err);
	if (value && sw_streq(key, "bind-propagation")) {
		msg_set_str(&f->m->propagation, value);
		return 0;
	}
	return sw_fail(err, SW_EINVAL, "unknown option '%s' of a bind", key);
}

static int volume_flag(struct mount_flag *f, const char *key, const char *value,
		       struct sw_error *err)
{
	f->volume_keys = true;
	if (sw_streq(key, "volume-nocopy"))
		return flag_bool(key, value, &f->m->no_copy, err);
	if (value == NULL)
		return sw_fail(err, SW_EINVAL, "option '%s' needs a value", key);
	if (sw_streq(key, "volume-driver"))
		msg_set_str(&f->m->driver, value);
	else if (sw_streq(key, "volume-subpath"))
		msg_set_str(&f->m->subpath, value);
	else if (sw_streq(key, "volume-label"))
		flag_pair(&f->m->labels, &f->m->n_labels, value);
	else if (sw_streq(key, "volume-opt"))
		flag_pair(&f->m->driver_opts, &f->m->n_driver_opts, value);
	else
		return sw_fail(err, SW_EINVAL, "unknown option '%s' of a volume", key);
	return 0;
}

static int tmpfs_flag(struct mount_flag *f, const char *key, const char *value,
		      struct sw_error *err)
{
	int64_t bytes;
	char *end;

	f->tmpfs_keys = true;
	if (value && sw_streq(key, "tmpfs-size") && unit_bytes(value, 1024, &bytes)) {
		f->m->tmpfs_size = (uint64_t)bytes;
		return 0;
	}
	if (value && sw_streq(key, "tmpfs-mode")) {
		unsigned long mode = strtoul(value, &end, 8);

		if (*end == 0 && end != value && mode <= 07777) {
			f->m->tmpfs_mode = (uint32_t)mode;
			return 0;
		}
	}
	return sw_fail(err, SW_EINVAL, "invalid option '%s=%s' of a tmpfs", key,
		       value ? value : "");
}

static int mount_field(void *arg, const char *key, const char *value, struct sw_error *err)
{
	struct mount_flag *f = arg;

	if (value && *value == 0)
		return sw_fail(err, SW_EINVAL, "invalid value for '%s': value is empty", key);
	if (sw_streq(key, "readonly") || sw_streq(key, "ro"))
		return flag_bool(key, value, &f->m->read_only, err);
	if (sw_after(key, "bind-"))
		return bind_flag(f, key, value, err);
	if (sw_after(key, "volume-"))
		return volume_flag(f, key, value, err);
	if (sw_after(key, "tmpfs-"))
		return tmpfs_flag(f, key, value, err);
	if (value && sw_streq(key, "type"))
		return mount_type(f->m, value, err);
	if (value && (sw_streq(key, "source") || sw_streq(key, "src")))
		msg_set_str(&f->m->source, value);
	else if (value &&
		 (sw_streq(key, "target") || sw_streq(key, "dst") || sw_streq(key, "destination")))
		msg_set_str(&f->m->target, value);
	else if (!(value && sw_streq(key, "consistency")))
		return sw_fail(err, SW_EINVAL, "unknown option '%s'", key);
	return 0;
}

int spec_mount(const char *s, Pb__Mount **ret, struct sw_error *err)
{
	Pb__Mount empty = PB__MOUNT__INIT;
	struct mount_flag f = {.m = (Pb__Mount *)msg_clone(&empty.base)};
	const char *fault;
	int rc;

	f.m->type = PB__MOUNT_TYPE__MOUNT_VOLUME;
	rc = spec_fields(s, mount_field, &f, err);
	if (rc == 0 && f.volume_keys && f.m->type != PB__MOUNT_TYPE__MOUNT_VOLUME)
		rc = sw_fail(err, SW_EINVAL, "cannot mix 'volume-*' options with this mount type");
	if (rc == 0 && f.bind_keys && f.m->type != PB__MOUNT_TYPE__MOUNT_BIND)
		rc = sw_fail(err, SW_EINVAL, "cannot mix 'bind-*' options with this mount type");
	if (rc == 0 && f.tmpfs_keys && f.m->type != PB__MOUNT_TYPE__MOUNT_TMPFS)
		rc = sw_fail(err, SW_EINVAL, "cannot mix 'tmpfs-*' options with this mount type");
	fault = rc == 0 ? spec_mount_fault(f.m) : NULL;
	if (fault)
		rc = sw_fail(err, SW_EINVAL, "%s", fault);
	if (rc) {
		msg_free(&f.m->base);
		return rc;
	}
	*ret = f.m;
	return 0;
}
