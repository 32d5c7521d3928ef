// links: sched
/* A placement constraint: what parses can be asked. */
#include "base/mem.h"
#include "base/str.h"
#include "manager/sched/constraint.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	sw_autofree char *text = sw_strndup((const char *)p, n);
	struct constraint c = {0};
	struct sw_error err;

	if (constraint_parse(text, &c, &err) == 0) {
		(void)!constraint_check_key(&c, &err);
		(void)constraint_match(&c, NULL);
		(void)constraint_match(&c, "10.0.0.1");
		constraint_fini(&c);
	}
	return 0;
}
