// links: compose
/* A stack file: whatever it holds, loading ends, says why it refuses, and what it takes is whole.
 */
#include "base/assert.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/compose/compose.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

struct input {
	const uint8_t *p;
	size_t n;
};

static int read_input(void *arg, const char *path, size_t max, char **ret, size_t *ret_n,
		      struct sw_error *err)
{
	const struct input *in = arg;

	if (!sw_streq(path, "a.yml") && !sw_streq(path, "b.yml"))
		return sw_fail(err, SW_ENOTFOUND, "open %s: no such file", path);
	*ret_n = in->n < max ? in->n : max;
	*ret = sw_strndup((const char *)in->p, *ret_n);
	return 0;
}

static const char *no_env(void *arg, const char *name)
{
	(void)arg;
	return sw_streq(name, "SET") ? "value" : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const char *const files[] = {"a.yml", "b.yml"};
	struct input in = {p, n};
	struct compose_options o = {.files = files,
				    .n_files = 1 + (n & 1),
				    .name = "f",
				    .working_dir = "/w",
				    .getenv = no_env,
				    .read = read_input,
				    .arg = &in,
				    .config = COMPOSE_YAML};
	struct compose_result r;

	if (memchr(p, 0, n))
		return 0;
	if (compose_load(&o, &r) == 0)
		SW_ASSERT(r.spec != NULL && r.config != NULL && r.n_errors == 0);
	else
		SW_ASSERT(r.spec == NULL && r.n_errors > 0 && *r.diagnostics);
	compose_result_fini(&r);
	return 0;
}
