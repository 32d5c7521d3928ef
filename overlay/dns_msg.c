#include "overlay/dns_msg.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { LABEL_MAX = 63, WIRE_NAME_MAX = 255, QR = 0x80, TC = 0x02, RD = 0x01, AA = 0x04, RA = 0x80 };

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static bool is_name_byte(uint8_t c)
{
	return isalnum(c) || c == '-' || c == '_';
}

/** A question's name: nothing stands before it that a pointer could mean, so pointers are errors.
 *  Labels with dots or control bytes inside are nobody's host names. Returns the offset behind. */
static size_t read_name(const uint8_t *p, size_t n, size_t at, char out[DNS_NAME])
{
	size_t len = 0, start = at;

	for (;;) {
		uint8_t l;

		if (at >= n)
			return 0;
		l = p[at++];
		if (l == 0)
			break;
		if (l > LABEL_MAX || l > n - at || at + l - start > WIRE_NAME_MAX - 1)
			return 0;
		if (len > 0)
			out[len++] = '.';
		for (uint8_t i = 0; i < l; i++) {
			if (!is_name_byte(p[at + i]))
				return 0;
			out[len++] = (char)tolower(p[at + i]);
		}
		at += l;
	}
	out[len] = 0;
	return at;
}

/** Walks over a name that may end in a pointer; never follows it. */
static size_t skip_name(const uint8_t *p, size_t n, size_t at)
{
	while (at < n) {
		uint8_t l = p[at++];

		if (l == 0)
			return at;
		if ((l & 0xc0) == 0xc0)
			return at < n ? at + 1 : 0;
		if (l > LABEL_MAX || l > n - at)
			return 0;
		at += l;
	}
	return 0;
}

static bool read_extra(const uint8_t *p, size_t n, size_t at, unsigned count, struct dns_query *q)
{
	for (unsigned i = 0; i < count; i++) {
		uint16_t len;

		at = skip_name(p, n, at);
		if (at == 0 || n - at < 10)
			return false;
		len = get16(p + at + 8);
		if (get16(p + at) == DNS_OPT) {
			if (q->edns)
				return false;
			q->edns = true;
			if (get16(p + at + 2) > q->udp_size)
				q->udp_size = get16(p + at + 2);
		}
		at += 10;
		if (len > n - at)
			return false;
		at += len;
	}
	return true;
}

bool dns_read_query(const uint8_t *p, size_t n, struct dns_query *ret)
{
	struct dns_query q = {.udp_size = DNS_UDP};
	size_t at;

	if (n < DNS_HEADER || n > DNS_MAX || (p[2] & QR) != 0)
		return false;
	q.id = get16(p);
	q.opcode = p[2] >> 3 & 15;
	q.rd = (p[2] & RD) != 0;
	if (get16(p + 4) != 1 || get16(p + 6) != 0)
		return false;
	at = read_name(p, n, DNS_HEADER, q.name);
	if (at == 0 || n - at < 4)
		return false;
	q.type = get16(p + at);
	q.class = get16(p + at + 2);
	q.question_end = at + 4;
	if (!read_extra(p, n, q.question_end, (unsigned)get16(p + 8) + get16(p + 10), &q))
		return false;
	*ret = q;
	return true;
}

bool dns_is_answer(const uint8_t *query, size_t query_len, size_t question_end,
		   const uint8_t *answer, size_t n)
{
	if (question_end > query_len || n < DNS_HEADER || (answer[2] & QR) == 0 ||
	    memcmp(query, answer, 2) != 0)
		return false;
	if (get16(answer + 4) == 0) /* some refuse without the question */
		return (answer[3] & 15) != 0;
	if (get16(answer + 4) != 1 || n < question_end)
		return false;
	for (size_t i = DNS_HEADER; i < question_end; i++)
		if (tolower(query[i]) != tolower(answer[i]))
			return false;
	return true;
}

static size_t put_record(uint8_t *out, size_t at, uint16_t type, uint32_t ttl, size_t len)
{
	put16(out + at, 0xc000 | DNS_HEADER); /* the question's name */
	put16(out + at + 2, type);
	put16(out + at + 4, DNS_IN);
	put16(out + at + 6, ttl >> 16);
	put16(out + at + 8, ttl);
	put16(out + at + 10, (uint32_t)len);
	return at + 12;
}

/** 0 when it is no name that fits. */
static size_t encode_name(const char *name, uint8_t out[WIRE_NAME_MAX])
{
	size_t at = 0;

	while (*name != 0) {
		size_t l = strcspn(name, ".");

		if (l == 0 || l > LABEL_MAX || at + l + 2 > WIRE_NAME_MAX)
			return 0;
		out[at++] = (uint8_t)l;
		memcpy(out + at, name, l);
		at += l;
		name += l;
		name += *name == '.';
	}
	out[at++] = 0;
	return at;
}

size_t dns_write_answer(const uint8_t *p, const struct dns_query *q, const struct dns_answer *a,
			uint8_t *out, size_t max)
{
	size_t at = q->question_end, room = max - (q->edns ? 11 : 0), n = 0, name_len;
	uint8_t name[WIRE_NAME_MAX];
	bool cut = false;

	memcpy(out, p, at);
	for (size_t i = 0; i < a->n_addresses && !cut; i++) {
		if (at + 16 > room) {
			cut = true;
			break;
		}
		at = put_record(out, at, DNS_A, a->ttl, 4);
		put16(out + at, a->addresses[i] >> 16);
		put16(out + at + 2, a->addresses[i]);
		at += 4;
		n++;
	}
	name_len = a->ptr != NULL ? encode_name(a->ptr, name) : 0;
	if (name_len > 0 && at + 12 + name_len <= room) {
		at = put_record(out, at, DNS_PTR, a->ttl, name_len);
		memcpy(out + at, name, name_len);
		at += name_len;
		n++;
	}
	out[2] = (uint8_t)(QR | q->opcode << 3 | AA | (cut ? TC : 0) | (q->rd ? RD : 0));
	out[3] = (uint8_t)(RA | a->rcode);
	put16(out + 6, (uint32_t)n);
	put16(out + 8, 0);
	put16(out + 10, q->edns);
	if (q->edns) {
		static const uint8_t opt[11] = {0, 0, DNS_OPT, 0x10, 0};

		memcpy(out + at, opt, sizeof opt);
		at += sizeof opt;
	}
	return at;
}

size_t dns_write_error(const uint8_t *p, uint8_t rcode, uint8_t out[DNS_HEADER])
{
	memset(out, 0, DNS_HEADER);
	memcpy(out, p, 2);
	out[2] = (uint8_t)(QR | (p[2] & (0x78 | RD)));
	out[3] = (uint8_t)(RA | rcode);
	return DNS_HEADER;
}
