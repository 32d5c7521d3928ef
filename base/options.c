#include "base/options.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

#include <ctype.h>
#include <stdio.h>

static const struct sw_option *find(const struct sw_option *table, const char *name, size_t n)
{
	for (const struct sw_option *o = table; o->name != NULL; o++)
		if (strlen(o->name) == n && strncmp(o->name, name, n) == 0)
			return o;
	return NULL;
}

static void print_help(const char *program, const struct sw_option *table)
{
	printf("Usage: %s [OPTIONS]\n\nOptions:\n", program);
	for (const struct sw_option *o = table; o->name != NULL; o++)
		printf("  --%-20s %s%s%s%s\n", o->name, o->help,
		       o->default_text != NULL ? " (" : "",
		       o->default_text != NULL ? o->default_text : "",
		       o->default_text != NULL ? ")" : "");
	printf("  --%-20s %s\n", "config", "File of \"name = value\" lines");
}

/* `keep`: a string that is set already stays. */
static void set(const struct sw_option *o, const char *value, bool keep)
{
	switch (o->kind) {
	case SW_OPTION_FLAG:
		*(bool *)o->value = !sw_streq(value, "false");
		return;
	case SW_OPTION_LIST:
		*(char ***)o->value = sw_strv_add(*(char ***)o->value, value);
		return;
	default:
		if (keep && *(char **)o->value != NULL)
			return;
		free(*(char **)o->value);
		*(char **)o->value = sw_strdup(value);
	}
}

static char *trim(char *s)
{
	size_t n;

	while (isspace((unsigned char)*s))
		s++;
	n = strlen(s);
	while (n > 0 && isspace((unsigned char)s[n - 1]))
		s[--n] = 0;
	return s;
}

static int read_config(const struct sw_option *table, const char *path, struct sw_error *err)
{
	sw_autofree char *text = NULL;
	char *save = NULL;
	int rc = sw_read_file(path, 1 << 20, &text, NULL, err), line = 0;

	if (rc != 0)
		return rc;
	for (char *l = strtok_r(text, "\n", &save); l != NULL; l = strtok_r(NULL, "\n", &save)) {
		char *eq, *name = trim(l);
		const struct sw_option *o;

		line++;
		if (*name == 0 || *name == '#')
			continue;
		eq = strchr(name, '=');
		if (eq != NULL)
			*eq = 0;
		name = trim(name);
		o = find(table, name, strlen(name));
		if (o == NULL)
			return sw_fail(err, SW_EINVAL, "%s: line %d: there is no option %s", path,
				       line, name);
		set(o, eq != NULL ? trim(eq + 1) : "true", true);
	}
	return 0;
}

int sw_options_parse(const char *program, const struct sw_option *table, int argc, char **argv,
		     struct sw_error *err)
{
	const char *config = NULL;

	for (int i = 1; i < argc; i++) {
		const char *name = sw_after(argv[i], "--"), *value;
		const struct sw_option *o;
		size_t n;

		if (name == NULL)
			return sw_fail(err, SW_EINVAL, "unexpected argument \"%s\": see --help",
				       argv[i]);
		if (sw_streq(name, "help")) {
			print_help(program, table);
			exit(0);
		}
		if (sw_streq(name, "version")) {
			printf("%s %s\n", program, SW_VERSION);
			exit(0);
		}
		n = strcspn(name, "=");
		value = name[n] == '=' ? name + n + 1 : NULL;
		o = find(table, name, n);
		if (o == NULL && !(n == 6 && strncmp(name, "config", 6) == 0))
			return sw_fail(err, SW_EINVAL, "there is no option --%.*s: see --help",
				       (int)n, name);
		if (value == NULL && (o == NULL || o->kind != SW_OPTION_FLAG)) {
			if (++i == argc)
				return sw_fail(err, SW_EINVAL, "option --%s needs a value", name);
			value = argv[i];
		}
		if (o != NULL)
			set(o, value != NULL ? value : "true", false);
		else
			config = value;
	}
	if (config != NULL) {
		int rc = read_config(table, config, err);

		if (rc != 0)
			return rc;
	}
	for (const struct sw_option *o = table; o->name != NULL; o++)
		if (o->kind == SW_OPTION_STRING && *(char **)o->value == NULL)
			*(char **)o->value = sw_strdup(o->default_text);
	return 0;
}
