// links: front
/* A Dockerfile from anyone: it is understood or refused, and what is understood can be checked. */
#include "base/mem.h"
#include "runtime/build/front/check.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct bld_file f = {0};
	struct bld_program program = {0};
	struct bld_warnings w = {0};
	struct bld_pos pos = {0};
	struct sw_error err;
	int rc = bld_file_parse((const char *)p, n, &f, &pos, &err);

	if (rc == 0)
		rc = bld_program_make(&f, &program, &pos, &err);
	if (rc == 0)
		bld_check(&f, &program, &w);
	if (rc < 0)
		free(bld_show("Dockerfile", (const char *)p, n, pos, err.msg));
	bld_warnings_fini(&w);
	bld_program_fini(&program);
	bld_file_fini(&f);
	return 0;
}
