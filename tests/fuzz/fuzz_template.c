// links: cli
/* A --format text on a row: it ends, within its bound. */
#include "base/mem.h"
#include "base/str.h"
#include "cli/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	sw_autofree char *text = sw_strndup((const char *)p, n);
	json_t *row = json_pack("{sss{sss[sis]}sb}", "Name", "web", "Labels", "a", "b", "List", "x",
				3, "z", "Self", 1);
	struct sw_buf out = SW_BUF_INIT(1 << 16);
	struct sw_error err;

	(void)!template_render(text, row, &out, &err);
	sw_buf_fini(&out);
	json_decref(row);
	return 0;
}
