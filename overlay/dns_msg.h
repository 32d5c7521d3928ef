/** DNS messages (RFC 1035, EDNS size of RFC 6891): a strict reader of queries, a writer of answers.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DNS_NAME = 256, DNS_MAX = 65535, DNS_UDP = 512, DNS_HEADER = 12 };
enum { DNS_A = 1, DNS_PTR = 12, DNS_AAAA = 28, DNS_OPT = 41, DNS_IN = 1 };
enum {
	DNS_OK = 0,
	DNS_FORMERR = 1,
	DNS_SERVFAIL = 2,
	DNS_NXDOMAIN = 3,
	DNS_NOTIMP = 4,
	DNS_REFUSED = 5
};

struct dns_query {
	uint16_t id, type, class;
	bool rd, edns;
	uint8_t opcode;
	uint16_t udp_size;   /* what the asker takes, at least 512 */
	char name[DNS_NAME]; /* lower case, without the last dot; bytes that are no letter, digit,
				'-', '_' or '.' make it an error */
	size_t question_end; /* offset behind the question */
};

/** False: not a query that can be answered; with 12 bytes or more, FORMERR can be sent. */
bool dns_read_query(const uint8_t *p, size_t n, struct dns_query *ret);
/** An answer of an upstream to this query (id, question the same byte for byte but for case). */
bool dns_is_answer(const uint8_t *query, size_t query_len, size_t question_end,
		   const uint8_t *answer, size_t n);

struct dns_answer {
	uint8_t rcode;
	bool truncated; /* result */
	uint32_t ttl;
	const uint32_t *addresses; /* A, host byte order */
	size_t n_addresses;
	const char *ptr; /* PTR, or NULL */
};

/** Writes at most max bytes (512..65535); `p` is the query as it came. Returns the length. */
size_t dns_write_answer(const uint8_t *p, const struct dns_query *q, const struct dns_answer *a,
			uint8_t *out, size_t max);
/** A header that says only the code; for what dns_read_query refused. 12 bytes. */
size_t dns_write_error(const uint8_t *p, uint8_t rcode, uint8_t out[DNS_HEADER]);
