#include "cli/env_flags.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { ENV_FILE_MAX = 1 << 20 };

int env_flag(const char *v, char **ret, struct sw_error *err)
{
	const char *here = strchr(v, '=') == NULL ? getenv(v) : NULL;

	if (*v == 0 || *v == '=')
		return sw_fail(err, SW_EINVAL, "wanted NAME=VALUE, not \"%s\"", v);
	*ret = here != NULL ? sw_asprintf("%s=%s", v, here) : sw_strdup(v);
	return 0;
}

/* A bare name that has no value here is left out. */
static int take_line(const char *line, env_flag_fn each, void *arg, struct sw_error *err)
{
	size_t n = strcspn(line, "=");

	for (size_t i = 0; i < n; i++)
		if (isspace((unsigned char)line[i]))
			n = 0;
	if (n == 0)
		return sw_fail(err, SW_EINVAL, "\"%.60s\" is no NAME=VALUE", line);
	return line[n] == 0 && getenv(line) == NULL ? 0 : each(arg, line, err);
}

int env_flag_file(const char *path, env_flag_fn each, void *arg, struct sw_error *err)
{
	sw_autofree char *text = NULL;
	char *line, *next;
	int rc = sw_read_file(path, ENV_FILE_MAX, &text, NULL, err);

	if (rc != 0)
		return rc;
	line = strncmp(text, "\xef\xbb\xbf", 3) == 0 ? text + 3 : text;
	for (size_t number = 1; rc == 0 && line != NULL; line = next, number++) {
		next = strchr(line, '\n');
		if (next != NULL)
			*next++ = 0;
		line[strcspn(line, "\r")] = 0;
		while (isspace((unsigned char)*line))
			line++;
		if (*line != 0 && *line != '#')
			rc = take_line(line, each, arg, err);
		if (rc != 0)
			sw_wrap(err, "%s, line %zu", path, number);
	}
	return rc;
}
