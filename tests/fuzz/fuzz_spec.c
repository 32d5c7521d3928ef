// links: compose image
/* The one-line notations: the first byte chooses which. */
#include "base/assert.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/units.h"
#include "cli/compose/interpolate.h"
#include "cli/compose/spec.h"
#include "proto/msg.h"
#include "runtime/image/reference.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void ports(const char *s, struct sw_error *err)
{
	Pb__PortConfig **v = NULL;
	size_t count = 0;

	(void)!spec_publish(s, &v, &count, err);
	for (size_t i = 0; i < count; i++)
		msg_free(&v[i]->base);
	free(v);
}

#define ONE(type, call)                     \
	do {                                \
		type *v = NULL;             \
                                            \
		if (call(s, &v, &err) == 0) \
			msg_free(&v->base); \
	} while (0)

static const char *no_env(void *arg, const char *name)
{
	(void)arg;
	return *name == 'A' ? "" : *name == 'B' ? "b" : NULL;
}

static void texts(const char *s, struct sw_error *err)
{
	struct interpolate_env env = {no_env, NULL};
	struct img_ref ref;
	char *out, **words = unit_words(s), number[64], duration[40];
	int64_t v, again;

	sw_strv_free(words);
	if (interpolate(s, &env, &out, err) == 0)
		free(out);
	if (unit_duration(s, &v) && v >= 0) {
		unit_duration_text(v, duration);
		/* Doubles inside: what is printed reads back to within their precision. */
		SW_ASSERT(unit_duration(duration, &again));
	}
	(void)unit_bytes(s, 1024, &v);
	(void)unit_nano_cpus(s, &v);
	(void)unit_number_text(s, number);
	if (img_ref_parse(s, &ref, err) == 0) {
		sw_autofree char *full = img_ref_full(&ref);
		struct img_ref again_ref;

		SW_ASSERT(img_ref_parse(full, &again_ref, err) == 0);
		img_ref_fini(&again_ref);
		img_ref_fini(&ref);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	sw_autofree char *s = n > 1 ? sw_strndup((const char *)p + 1, n - 1) : NULL;
	struct sw_error err;

	if (s == NULL)
		return 0;
	switch (p[0] % 8) {
	case 0:
		ports(s, &err);
		break;
	case 1:
		ONE(Pb__Mount, spec_volume);
		break;
	case 2:
		ONE(Pb__Mount, spec_mount);
		break;
	case 3:
		ONE(Pb__FileRef, spec_file_ref);
		break;
	case 4:
		ONE(Pb__NetworkUse, spec_network);
		break;
	case 5:
		ONE(Pb__Ulimit, spec_ulimit);
		break;
	case 6:
		ONE(Pb__Device, spec_device);
		break;
	default:
		texts(s, &err);
		break;
	}
	return 0;
}
