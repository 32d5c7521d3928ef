#include "runtime/container/filter.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/strmap.h"

#include <ctype.h>
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

/* Profiles differ by capabilities only: a host has a handful. More than that are not kept. */
enum { PROFILES_MAX = 32, PROGRAM_MAX = 1 << 20, ARCH_MAX = 32 };

struct rt_filters {
	uv_mutex_t lock;
	struct sw_strmap programs; /* profile as text -> base64, owned */
};

struct rt_filters *rt_filters_new(void)
{
	struct rt_filters *f = sw_new(struct rt_filters);

	SW_ASSERT(uv_mutex_init(&f->lock) == 0);
	return f;
}

void rt_filters_free(struct rt_filters *f)
{
	if (f == NULL)
		return;
	sw_strmap_fini(&f->programs, free);
	uv_mutex_destroy(&f->lock);
	free(f);
}

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s != NULL ? s : "";
}

static bool action_of(const char *name, const json_t *number, uint32_t *ret)
{
	bool is_errno = sw_streq(name, "SCMP_ACT_ERRNO");

	if (!is_errno && !sw_streq(name, "SCMP_ACT_ALLOW"))
		return false;
	*ret = !is_errno        ? SCMP_ACT_ALLOW
	       : number != NULL ? SCMP_ACT_ERRNO((uint32_t)json_integer_value(number))
				: SCMP_ACT_ERRNO(EPERM);
	return true;
}

static bool compare_of(const char *name, enum scmp_compare *ret)
{
	static const struct {
		const char *name;
		enum scmp_compare op;
	} rows[] = {
		{"SCMP_CMP_NE", SCMP_CMP_NE},
		{"SCMP_CMP_LT", SCMP_CMP_LT},
		{"SCMP_CMP_LE", SCMP_CMP_LE},
		{"SCMP_CMP_EQ", SCMP_CMP_EQ},
		{"SCMP_CMP_GE", SCMP_CMP_GE},
		{"SCMP_CMP_GT", SCMP_CMP_GT},
		{"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ},
	};

	for (size_t i = 0; i < SW_COUNT(rows); i++)
		if (sw_streq(rows[i].name, name)) {
			*ret = rows[i].op;
			return true;
		}
	return false;
}

/* "SCMP_ARCH_X86_64"; the library says "x86_64". */
static bool add_arch(scmp_filter_ctx ctx, const char *name)
{
	const char *rest = name != NULL ? sw_after(name, "SCMP_ARCH_") : NULL;
	char low[ARCH_MAX] = "";
	uint32_t token;
	int rc;

	for (size_t i = 0; rest != NULL && rest[i] != 0 && i + 1 < sizeof low; i++)
		low[i] = (char)tolower((unsigned char)rest[i]);
	token = seccomp_arch_resolve_name(low);
	rc = token != 0 ? seccomp_arch_add(ctx, token) : -EINVAL;
	return rc == 0 || rc == -EEXIST;
}

/* Our profiles look at one argument a rule. */
static bool add_rule(scmp_filter_ctx ctx, const json_t *rule)
{
	const json_t *names = json_object_get(rule, "names"), *args = json_object_get(rule, "args");
	struct scmp_arg_cmp cmp = {0};
	unsigned n = (unsigned)json_array_size(args);
	uint32_t action;

	if (!action_of(text_of(rule, "action"), json_object_get(rule, "errnoRet"), &action) ||
	    n > 1)
		return false;
	if (n == 1) {
		const json_t *a = json_array_get(args, 0);

		if (!compare_of(text_of(a, "op"), &cmp.op))
			return false;
		cmp.arg = (unsigned)json_integer_value(json_object_get(a, "index"));
		cmp.datum_a = (scmp_datum_t)json_integer_value(json_object_get(a, "value"));
		cmp.datum_b = (scmp_datum_t)json_integer_value(json_object_get(a, "valueTwo"));
	}
	for (size_t i = 0; i < json_array_size(names); i++) {
		int call =
			seccomp_syscall_resolve_name(json_string_value(json_array_get(names, i)));

		/* A name that this libseccomp does not know is not let through by the profile's
		 * default, as with the runtime. */
		if (call != __NR_SCMP_ERROR &&
		    seccomp_rule_add_array(ctx, action, call, n, &cmp) < 0)
			return false;
	}
	return true;
}

static bool fill(scmp_filter_ctx ctx, const json_t *profile)
{
	const json_t *archs = json_object_get(profile, "architectures");
	const json_t *rules = json_object_get(profile, "syscalls");

	for (size_t i = 0; i < json_array_size(archs); i++)
		if (!add_arch(ctx, json_string_value(json_array_get(archs, i))))
			return false;
	for (size_t i = 0; i < json_array_size(rules); i++)
		if (!add_rule(ctx, json_array_get(rules, i)))
			return false;
	return true;
}

/* libseccomp writes to a file only. */
static char *program_of(scmp_filter_ctx ctx)
{
	sw_autoclose int fd = memfd_create("seccomp", MFD_CLOEXEC);
	sw_autofree char *bytes = NULL;
	struct stat st;

	if (fd < 0 || seccomp_export_bpf(ctx, fd) < 0 || fstat(fd, &st) < 0 || st.st_size <= 0 ||
	    st.st_size > PROGRAM_MAX)
		return NULL;
	bytes = sw_new_n(char, (size_t)st.st_size);
	if (pread(fd, bytes, (size_t)st.st_size, 0) != st.st_size)
		return NULL;
	return sw_base64(bytes, (size_t)st.st_size);
}

static char *compile(const json_t *profile)
{
	char *program = NULL;
	uint32_t action;
	scmp_filter_ctx ctx;

	if (!action_of(text_of(profile, "defaultAction"),
		       json_object_get(profile, "defaultErrnoRet"), &action))
		return NULL;
	ctx = seccomp_init(action);
	if (ctx == NULL)
		return NULL;
	if (fill(ctx, profile))
		program = program_of(ctx);
	seccomp_release(ctx);
	return program;
}

char *rt_filters_get(struct rt_filters *f, const json_t *profile)
{
	sw_autofree char *key = json_dumps(profile, JSON_COMPACT | JSON_SORT_KEYS);
	char *program;

	if (key == NULL)
		return NULL;
	uv_mutex_lock(&f->lock);
	program = sw_strdup(sw_strmap_get(&f->programs, key));
	if (program == NULL) {
		program = compile(profile);
		if (program != NULL && f->programs.n < PROFILES_MAX)
			sw_strmap_set(&f->programs, key, sw_strdup(program));
	}
	uv_mutex_unlock(&f->lock);
	return program;
}
