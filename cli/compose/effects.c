/* Good values of good keys that do not what they do elsewhere: each is told with its place, here
 * and at once, rather than by a task on some node, or never. Keys without any effect are in the
 * schema. */
#include "base/mem.h"
#include "base/str.h"
#include "cli/compose/convert.h"
#include "cli/compose/spec.h"

#include <stdio.h>

enum { WORDS_MAX = 5, MTU_MIN = 576, MTU_MAX = 65535 };

/* Texts: what is honoured, and what is said of anything else. */
static const struct {
	const char *key;
	const char *words[WORDS_MAX]; /* NULL-terminated */
	enum diag_severity otherwise;
	const char *note;
} texts[] = {
	{"isolation", {"default", ""}, DIAG_WARNING, "has no effect: it is for Windows"},
	{"pid", {"host", "private", ""}, DIAG_ERROR, "wanted host, or nothing for its own"},
	{"ipc",
	 {"host", "private", "shareable", ""},
	 DIAG_ERROR,
	 "wanted host, or nothing for its own: containers share it with no other"},
	{"cgroup", {"host", "private", ""}, DIAG_ERROR, "wanted host or private"},
	{"cgroupns_mode", {"host", "private", ""}, DIAG_ERROR, "wanted host or private"},
	{"userns_mode", {"host", ""}, DIAG_ERROR, "wanted host, or nothing"},
};

static const char *const log_drivers[] = {"", "json-file", "local", "none"};
static const char *const log_options[] = {"max-size", "max-file"};
static const char *const network_options[] = {"com.docker.network.driver.mtu", "encrypted"};
static const char *const network_drivers[] = {"", "overlay", "bridge"};
static const char *const security_options[] = {
	"no-new-privileges",       "no-new-privileges:true",  "no-new-privileges=true",
	"no-new-privileges:false", "no-new-privileges=false", "seccomp:unconfined",
	"seccomp=unconfined",      "apparmor:unconfined",     "apparmor=unconfined",
	"label:disable",           "label=disable",           "systempaths:unconfined",
	"systempaths=unconfined",
};

static bool is_one_of(const char *const *words, size_t n, const char *s)
{
	for (size_t i = 0; i < n && words[i] != NULL; i++)
		if (sw_streq(words[i], s))
			return true;
	return false;
}

#define IS_ONE_OF(words, s) is_one_of(words, SW_COUNT(words), s)

static void check_texts(struct convert *c, const struct yaml_node *s,
			const struct compose_path *path)
{
	for (size_t i = 0; i < SW_COUNT(texts); i++) {
		const char *value = yaml_get_text(s, texts[i].key);
		struct compose_path at = {path, texts[i].key, 0};

		if (value && !IS_ONE_OF(texts[i].words, value))
			diag_at(c->l->diag, texts[i].otherwise, yaml_get(s, texts[i].key), &at,
				"\"%.60s\": %s", value, texts[i].note);
	}
}

static void check_security(struct convert *c, const struct yaml_node *s,
			   const struct compose_path *path)
{
	const struct yaml_node *list = yaml_get(s, "security_opt");
	struct compose_path at = {path, "security_opt", 0};

	for (size_t i = 0; list && i < list->n; i++) {
		struct compose_path item = {&at, NULL, i};

		if (!IS_ONE_OF(security_options, list->items[i]->text))
			diag_at(c->l->diag, DIAG_WARNING, list->items[i], &item,
				"has no effect: containers have the default seccomp profile, and "
				"no AppArmor or SELinux of their own; known are no-new-privileges "
				"and seccomp, apparmor, label, systempaths =unconfined");
	}
}

/* Options that are not in `known`. */
static void check_options(struct convert *c, const struct yaml_node *map, const char *key,
			  const char *const *known, size_t n, const char *note,
			  const struct compose_path *path)
{
	const struct yaml_node *options = yaml_get(map, key);
	struct compose_path at = {path, key, 0};

	for (size_t i = 0; options && options->kind == YAML_MAP && i < options->n; i++) {
		const struct yaml_node *name = options->pairs[i].key;
		struct compose_path item = {&at, name->text, 0};

		if (!is_one_of(known, n, name->text))
			diag_at(c->l->diag, DIAG_WARNING, name, &item, "has no effect: %s", note);
	}
}

bool spec_log_driver(const char *s)
{
	return IS_ONE_OF(log_drivers, s);
}

bool spec_log_option(const char *s)
{
	return IS_ONE_OF(log_options, s);
}

static void check_logging(struct convert *c, const struct yaml_node *s,
			  const struct compose_path *path)
{
	const struct yaml_node *log = yaml_get(s, "logging");
	const char *driver = yaml_get_text(log, "driver");
	struct compose_path at = {path, "logging", 0}, dp = {&at, "driver", 0};

	if (driver && !spec_log_driver(driver))
		diag_at(c->l->diag, DIAG_WARNING, yaml_get(log, "driver"), &dp,
			"\"%.60s\" has no effect: lines are kept on the node, for \"swarmctl "
			"service logs\"",
			driver);
	else
		check_options(c, log, "options", log_options, SW_COUNT(log_options),
			      "known are max-size and max-file", &at);
}

void convert_service_effects(struct convert *c, const struct yaml_node *s,
			     const struct compose_path *path)
{
	check_texts(c, s, path);
	check_security(c, s, path);
	check_logging(c, s, path);
}

static void check_mtu(struct convert *c, const struct yaml_node *o, const struct compose_path *path)
{
	const struct yaml_node *options = yaml_get(o, "driver_opts");
	const char *mtu = yaml_get_text(options, network_options[0]);
	struct compose_path at = {path, "driver_opts", 0};
	int64_t v;

	if (mtu && !sw_parse_i64(mtu, MTU_MIN, MTU_MAX, &v))
		convert_fault(c, yaml_get(options, network_options[0]), &at, network_options[0],
			      "must be from %d to %d, this is \"%.60s\"", MTU_MIN, MTU_MAX, mtu);
}

void convert_network_effects(struct convert *c, const struct yaml_node *o,
			     const struct compose_path *path)
{
	const char *driver = yaml_get_text(o, "driver");

	if (driver && !IS_ONE_OF(network_drivers, driver))
		convert_fault(
			c, yaml_get(o, "driver"), path, "driver",
			"\"%.60s\" is not known: wanted overlay, or bridge for one in each node "
			"(a service on the host's own network has network_mode: host)",
			driver);
	check_options(c, o, "driver_opts", network_options, SW_COUNT(network_options),
		      "known are com.docker.network.driver.mtu and encrypted", path);
	check_mtu(c, o, path);
}
