#include "cli/compose/load.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/compose/check.h"
#include "cli/compose/expand.h"
#include "proto/msg.h"

#include <ctype.h>
#include <errno.h>

static const char *process_env(void *arg, const char *name)
{
	(void)arg;
	return getenv(name);
}

static int read_stdin(size_t max, char **ret, size_t *ret_n, struct sw_error *err)
{
	struct sw_buf b = SW_BUF_INIT(max);
	char chunk[4096];
	ssize_t n;

	while ((n = read(STDIN_FILENO, chunk, sizeof chunk)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || !sw_buf_add(&b, chunk, (size_t)n)) {
			sw_buf_fini(&b);
			return n < 0 ? sw_fail_sys(err, errno, "read standard input")
				     : sw_fail(err, SW_ETOOBIG,
					       "standard input has more than %zu bytes", max);
		}
	}
	*ret_n = b.len;
	*ret = sw_buf_take(&b);
	return 0;
}

int load_read(const struct load *l, const char *path, size_t max, char **ret, size_t *ret_n,
	      struct sw_error *err)
{
	if (l->o->read)
		return l->o->read(l->o->arg, path, max, ret, ret_n, err);
	if (sw_streq(path, "-"))
		return read_stdin(max, ret, ret_n, err);
	return sw_read_file(path, max, ret, ret_n, err);
}

/* "a/./b//../c" to "a/c", as Go's path.Join does; in place, for absolute paths. */
static void clean_path(char *path)
{
	char *out = path;

	for (char *p = path; *p;) {
		size_t n;

		while (*p == '/')
			p++;
		n = strcspn(p, "/");
		if (n == 2 && p[0] == '.' && p[1] == '.') {
			while (out > path && *--out != '/')
				;
		} else if (n > 0 && !(n == 1 && p[0] == '.')) {
			*out++ = '/';
			memmove(out, p, n);
			out += n;
		}
		p += n;
	}
	if (out == path)
		*out++ = '/';
	*out = 0;
}

char *load_path(const struct load *l, const char *path)
{
	const char *home = path[0] == '~' && (path[1] == 0 || path[1] == '/')
				   ? l->env.getenv(l->env.arg, "HOME")
				   : NULL;
	bool windows = isalpha((unsigned char)path[0]) && path[1] == ':' &&
		       (path[2] == '\\' || path[2] == '/');
	char *full;

	if (path[0] == '/' || windows)
		return sw_strdup(path);
	if (home)
		full = sw_asprintf("%s/%s", home, path + 1);
	else
		full = sw_asprintf("%s/%s", l->dir, path);
	clean_path(full);
	return full;
}

/* ---- One file ----------------------------------------------------------------------------------
 */

/* The minor of "3" to "3.13"; the newest when there is none. */
static bool read_version(struct load *l, const struct yaml_node *root, unsigned *ret)
{
	const struct yaml_node *v = yaml_get(root, "version");
	struct compose_path path = {NULL, "version", 0};
	const char *minor;
	uint64_t n;

	*ret = SCHEMA_LATEST;
	if (v == NULL || (v->kind == YAML_SCALAR && v->quoted && *v->text == 0))
		return true;
	minor = v->kind == YAML_SCALAR ? sw_after(v->text, "3") : NULL;
	if (minor && !v->quoted) {
		diag_at(l->diag, DIAG_ERROR, v, &path, "must be a text: write \"%.20s\" in quotes",
			v->text);
		return false;
	}
	if (minor && *minor == 0)
		return true;
	if (minor && *minor == '.' && sw_parse_u64(minor + 1, SCHEMA_LATEST, &n)) {
		*ret = (unsigned)n;
		return true;
	}
	diag_at(l->diag, DIAG_ERROR, v, &path,
		"unsupported Compose file version: %.40s; \"3\" to \"3.%d\" are known, or none",
		v->kind == YAML_SCALAR ? v->text : yaml_kind_name(v), SCHEMA_LATEST);
	return false;
}

static void fix_external(struct load *l, struct yaml_node *o, const char *kind, const char *key)
{
	static const char *const not_with[] = {"driver", "driver_opts", "labels"};
	struct compose_path top = {NULL, kind, 0}, path = {&top, key, 0};
	struct yaml_node *external = yaml_get(o, "external"), *name = NULL;

	if (external == NULL || external->kind != YAML_SCALAR)
		return;
	for (size_t i = 0; i < external->n; i++)
		if (sw_streq(external->pairs[i].key->text, "name"))
			name = external->pairs[i].value;
		else
			diag_at(l->diag, DIAG_ERROR, external->pairs[i].key, &path,
				"external holds nothing but a name");
	external->n = 0;
	if (name && yaml_get(o, "name")) {
		diag_at(l->diag, DIAG_ERROR, name, &path,
			"external.name and name conflict; only use name");
	} else if (name) {
		diag_at(l->diag, DIAG_WARNING, name, &path,
			"external.name is deprecated in favor of name");
		name->quoted = true;
		yaml_set(l->pool, o, "name", name);
	}
	for (size_t i = 0; i < SW_COUNT(not_with); i++)
		if (sw_streq(kind, "volumes") && sw_streq(external->text, "true") &&
		    yaml_get(o, not_with[i]))
			diag_at(l->diag, DIAG_ERROR, yaml_get(o, not_with[i]), &path,
				"external and %s conflict", not_with[i]);
}

static void finish_objects(struct load *l, struct yaml_node *root)
{
	static const char *const kinds[] = {"networks", "volumes", "secrets", "configs"};
	struct yaml_node *services = yaml_get(root, "services");
	struct compose_path top = {NULL, "services", 0};

	for (size_t k = 0; k < SW_COUNT(kinds); k++) {
		struct yaml_node *map = yaml_get(root, kinds[k]);

		for (size_t i = 0; map && map->kind == YAML_MAP && i < map->n; i++)
			fix_external(l, map->pairs[i].value, kinds[k], map->pairs[i].key->text);
	}
	for (size_t i = 0; services && services->kind == YAML_MAP && i < services->n; i++) {
		struct compose_path path = {&top, services->pairs[i].key->text, 0};

		env_resolve(l, services->pairs[i].value, &path);
	}
}

/* NULL when the file gives no tree at all. */
static struct yaml_node *load_file(struct load *l, const char *name)
{
	sw_autofree char *text = NULL;
	struct sw_error err = {0};
	struct check check = {.pool = l->pool, .diag = l->diag};
	struct yaml_node *root;
	size_t n = 0, before;
	uint16_t file;
	bool stdin_file = sw_streq(name, "-");

	if (load_read(l, name, YAML_BYTES_MAX, &text, &n, &err)) {
		file = diag_add_source(l->diag, name, "", 0);
		diag_pos(l->diag, DIAG_ERROR, file, 0, 0, NULL, "%s", err.msg);
		return NULL;
	}
	file = diag_add_source(l->diag, stdin_file ? "stdin" : name, text, n);
	before = diag_errors(l->diag);
	root = yaml_parse(l->pool, l->diag, file, text, n);
	if (root == NULL && diag_errors(l->diag) == before)
		diag_pos(l->diag, DIAG_ERROR, file, 0, 0, NULL, "the file is empty");
	if (root && root->kind != YAML_MAP) {
		diag_at(l->diag, DIAG_ERROR, root, NULL,
			"top-level object must be a mapping, this is %s", yaml_kind_name(root));
		root = NULL;
	}
	if (root)
		root = expand_tree(l->pool, l->diag, l->o->no_interpolation ? NULL : &l->env, root);
	if (root == NULL || !read_version(l, root, &check.minor))
		return NULL;
	check_file(&check, root);
	finish_objects(l, root);
	return root;
}

/* ---- All of them -------------------------------------------------------------------------------
 */

static void check_same_version(struct load *l, const struct yaml_node *a, const struct yaml_node *b)
{
	const char *va = yaml_get_text(a, "version"), *vb = yaml_get_text(b, "version");
	struct compose_path path = {NULL, "version", 0};

	if (va && vb && !sw_streq(va, vb))
		diag_at(l->diag, DIAG_ERROR, yaml_get(b, "version"), &path,
			"version mismatched between two files: %s and %s", va, vb);
}

static struct yaml_node *load_all(struct load *l)
{
	struct yaml_node *merged = NULL;
	bool broken = false;

	for (size_t i = 0; i < l->o->n_files; i++) {
		struct yaml_node *root = load_file(l, l->o->files[i]);

		broken |= root == NULL;
		if (root && merged)
			check_same_version(l, merged, root);
		if (root)
			merged = merged ? merge_files(l->pool, merged, root) : root;
	}
	if (merged)
		merge_end(merged);
	return broken ? NULL : merged;
}

static char *folder_of(const struct compose_options *o)
{
	const char *first = o->n_files ? o->files[0] : "-", *slash = strrchr(first, '/');
	sw_autofree char *cwd = getcwd(NULL, 0);
	char *dir;

	if (o->working_dir)
		return sw_strdup(o->working_dir);
	if (slash == NULL)
		return sw_strdup(cwd ? cwd : "/");
	if (*first == '/')
		dir = sw_strndup(first, slash == first ? 1 : (size_t)(slash - first));
	else
		dir = sw_asprintf("%s/%.*s", cwd ? cwd : "", (int)(slash - first), first);
	clean_path(dir);
	return dir;
}

static void produce(struct load *l, const struct yaml_node *root, struct compose_result *ret)
{
	const char *name = l->o->name ? l->o->name : yaml_get_text(root, "name");

	if (name)
		load_builds(l, name, root, ret);
	if (!l->o->config_only && name) {
		ret->spec = convert_stack(l, name, root);
		load_places(l, name, root, ret);
	} else if (!l->o->config_only) {
		diag_at(l->diag, DIAG_ERROR, root, NULL,
			"the stack has no name: give one, or write name: in the file");
	}
	if (diag_errors(l->diag) > 0)
		return;
	if (l->o->config == COMPOSE_YAML)
		ret->config = print_yaml(config_tree(l, root));
	else if (l->o->config == COMPOSE_JSON)
		ret->config = print_json(config_tree(l, root));
}

int compose_load(const struct compose_options *o, struct compose_result *ret)
{
	struct load l = {.o = o, .pool = yaml_pool_new(), .diag = diag_new()};
	struct yaml_node *root;

	*ret = (struct compose_result){0};
	l.dir = folder_of(o);
	l.env.getenv = o->getenv ? o->getenv : process_env;
	l.env.arg = o->arg;
	root = load_all(&l);
	if (root)
		produce(&l, root, ret);
	ret->n_errors = diag_errors(l.diag);
	ret->n_warnings = diag_warnings(l.diag);
	ret->diagnostics = diag_render(l.diag);
	if (ret->n_errors > 0 && ret->spec) {
		msg_free(&ret->spec->base);
		ret->spec = NULL;
	}
	diag_free(l.diag);
	yaml_pool_free(l.pool);
	free(l.dir);
	return ret->n_errors || root == NULL ? SW_EINVAL : 0;
}

void compose_result_fini(struct compose_result *r)
{
	for (size_t i = 0; i < r->n_builds; i++)
		compose_build_fini(&r->builds[i]);
	free(r->builds);
	for (size_t i = 0; i < r->n_places; i++) {
		free(r->places[i].what);
		free(r->places[i].where);
	}
	free(r->places);
	if (r->spec)
		msg_free(&r->spec->base);
	free(r->config);
	free(r->diagnostics);
	*r = (struct compose_result){0};
}
