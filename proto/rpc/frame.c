/* gRPC's message framing: one byte of flags, four of length (big-endian), the message. */
#include "proto/rpc/internal.h"

#include <string.h>

static uint8_t *put_head(struct sw_buf *out, size_t n)
{
	uint8_t *p = n <= UINT32_MAX ? sw_buf_room(out, RPC_FRAME_HEAD + n) : NULL;

	if (p == NULL)
		return NULL;
	p[0] = 0;
	p[1] = (uint8_t)(n >> 24);
	p[2] = (uint8_t)(n >> 16);
	p[3] = (uint8_t)(n >> 8);
	p[4] = (uint8_t)n;
	out->len += RPC_FRAME_HEAD + n;
	return p + RPC_FRAME_HEAD;
}

bool frame_pack(struct sw_buf *out, const ProtobufCMessage *m)
{
	uint8_t *p = put_head(out, protobuf_c_message_get_packed_size(m));

	if (p == NULL)
		return false;
	protobuf_c_message_pack(m, p);
	return true;
}

bool frame_wrap(struct sw_buf *out, const void *p, size_t n)
{
	uint8_t *to = put_head(out, n);

	if (to == NULL)
		return false;
	if (n > 0)
		memcpy(to, p, n);
	return true;
}

int frame_next(const struct sw_buf *in, size_t *at, size_t max, const void **ret_p, size_t *ret_n,
	       struct sw_error *err)
{
	size_t have = in->len - *at, n;
	const uint8_t *p;

	if (have < RPC_FRAME_HEAD)
		return 0;
	p = (const uint8_t *)in->data + *at;
	if (p[0] != 0)
		return sw_fail(err, SW_EUNSUPP, "compressed messages are not supported");
	n = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
	if (n > max)
		return sw_fail(err, SW_ETOOBIG, "a message of %zu bytes; at most %zu are taken", n,
			       max);
	if (have - RPC_FRAME_HEAD < n)
		return 0;
	*ret_p = p + RPC_FRAME_HEAD;
	*ret_n = n;
	*at += RPC_FRAME_HEAD + n;
	return 1;
}
