// links: consensus
/* A frame from another manager: whatever it holds, decoding ends, and what decodes encodes back. */
#include "base/assert.h"
#include "manager/consensus/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct sw_buf out = SW_BUF_INIT(8 * 1024 * 1024);
	struct cons_frame f, again;

	if (cons_frame_decode(p, n, &f, NULL) != 0)
		return 0;
	cons_frame_encode(&f, &out);
	SW_ASSERT(out.len == n);
	SW_ASSERT(cons_frame_decode((uint8_t *)out.data, out.len, &again, NULL) == 0);
	SW_ASSERT(again.type == f.type && again.term == f.term);
	cons_frame_fini(&again);
	cons_frame_fini(&f);
	sw_buf_fini(&out);
	return 0;
}
