/* env_file: NAME=value lines as Docker reads them, the value to the end of the line, unquoted. */
#include "base/mem.h"
#include "base/str.h"
#include "base/strmap.h"
#include "cli/compose/load.h"

#include <ctype.h>

enum { ENV_FILE_MAX = 1 << 20, ENV_LINES_MAX = 10000 };

struct env_file {
	struct load *l;
	struct yaml_node *into; /* mapping of the environment */
	const struct yaml_node *at;
	const struct compose_path *path;
	const char *name;
};

static bool has_space(const char *s)
{
	for (; *s; s++)
		if (isspace((unsigned char)*s))
			return true;
	return false;
}

/* False after a fault. */
static bool add_line(struct env_file *f, size_t number, char *line)
{
	char *eq;
	const char *value;

	while (isspace((unsigned char)*line))
		line++;
	if (*line == 0 || *line == '#')
		return true;
	eq = strchr(line, '=');
	if (eq)
		*eq = 0;
	if (*line == 0 || has_space(line)) {
		diag_at(f->l->diag, DIAG_ERROR, f->at, f->path,
			"%s, line %zu: \"%.60s\" is no name of a variable", f->name, number, line);
		return false;
	}
	value = eq ? eq + 1 : f->l->env.getenv(f->l->env.arg, line);
	if (value)
		yaml_set(f->l->pool, f->into, line, yaml_new_text(f->l->pool, value, f->at));
	return true;
}

static void add_file(struct env_file *f, char *text)
{
	char *line = text, *next;
	size_t number = 1;

	if (strncmp(line, "\xef\xbb\xbf", 3) == 0)
		line += 3;
	for (; line; line = next, number++) {
		size_t n;

		next = strchr(line, '\n');
		if (next)
			*next++ = 0;
		n = strlen(line);
		if (n > 0 && line[n - 1] == '\r')
			line[n - 1] = 0;
		if (number > ENV_LINES_MAX) {
			diag_at(f->l->diag, DIAG_ERROR, f->at, f->path, "%s has more than %d lines",
				f->name, ENV_LINES_MAX);
			return;
		}
		if (!add_line(f, number, line))
			return;
	}
}

static void read_one(struct load *l, struct yaml_node *item, struct yaml_node *into,
		     const struct compose_path *path)
{
	const char *name = yaml_get_text(item, "path"), *required = yaml_get_text(item, "required");
	struct env_file f = {l, into, item, path, name};
	sw_autofree char *full = NULL, *text = NULL;
	struct sw_error err = {0};
	size_t n = 0;
	int rc;

	if (name == NULL)
		return;
	full = load_path(l, name);
	rc = load_read(l, full, ENV_FILE_MAX, &text, &n, &err);
	if (rc == SW_ENOTFOUND && required && sw_streq(required, "false"))
		return;
	if (rc)
		diag_at(l->diag, DIAG_ERROR, item, path, "%s", err.msg);
	else
		add_file(&f, text);
}

void env_resolve(struct load *l, struct yaml_node *service, const struct compose_path *path)
{
	struct yaml_node *files = yaml_get(service, "env_file"), *into;
	const struct yaml_node *own = yaml_get(service, "environment");
	struct compose_path at = {path, "env_file", 0};

	if ((files == NULL || files->reset) && (own == NULL || own->reset))
		return;
	into = yaml_new(l->pool, YAML_MAP, own ? own : files);
	into->override = own && own->override;
	for (size_t i = 0; files && files->kind == YAML_SEQ && i < files->n; i++) {
		struct compose_path item = {&at, NULL, i};

		read_one(l, files->items[i], into, &item);
	}
	for (size_t i = 0; own && own->kind == YAML_MAP && i < own->n; i++) {
		struct yaml_pair *pair = &own->pairs[i];
		/* As Docker: an empty value asks the shell too. */
		const char *value = *pair->value->text == 0 || yaml_is_null(pair->value)
					    ? l->env.getenv(l->env.arg, pair->key->text)
					    : NULL;

		yaml_set(l->pool, into, pair->key->text,
			 value ? yaml_new_text(l->pool, value, pair->value) : pair->value);
	}
	yaml_set(l->pool, service, "environment", into);
}
