// links: overlay
/*
 * DNS as a container may send it, and as an upstream server may answer: what is read is in bounds,
 * what is answered fits the room that there is and repeats the question.
 */
#include "base/assert.h"
#include "base/mem.h"
#include "overlay/dns_zone.h"
#include "proto/msg.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static struct view *the_view(void)
{
	static struct view *v;
	Pb__NetworkView m = PB__NETWORK_VIEW__INIT;
	Pb__Network net = PB__NETWORK__INIT;
	Pb__ServiceView s = PB__SERVICE_VIEW__INIT, *services = &s;
	Pb__Endpoint e[40], *endpoints[40];

	if (v != NULL)
		return v;
	s.service_id = 5;
	s.name = "web";
	s.vip = 0x0a000005;
	for (size_t i = 0; i < SW_COUNT(e); i++) {
		pb__endpoint__init(&e[i]);
		e[i].task_id = i + 1;
		e[i].service_id = i < 20 ? 5 : 6;
		e[i].service = i < 20 ? "web" : "db";
		e[i].address = 0x0a000100 + (uint32_t)i;
		e[i].ready = true;
		endpoints[i] = &e[i];
	}
	m.network_id = 7;
	m.snapshot = true;
	m.network = &net;
	m.services = &services;
	m.n_services = 1;
	m.endpoints = endpoints;
	m.n_endpoints = SW_COUNT(e);
	v = view_new(7);
	SW_ASSERT(view_merge(v, &m));
	return v;
}

static void answer(const uint8_t *p, size_t n, const struct dns_query *q)
{
	const struct view *v = the_view();
	struct dns_answer a = {.ttl = ZONE_TTL};
	uint8_t out[4096];
	struct zone_result z;
	struct sw_rand r;
	size_t max = q->udp_size < sizeof out ? q->udp_size : sizeof out, len;

	sw_rand_init(&r, 1);
	SW_ASSERT(q->question_end <= n && strlen(q->name) < DNS_NAME);
	if (zone_answer(&v, 1, q, &r, &z) != ZONE_ANSWER)
		return;
	a.addresses = z.addresses;
	a.n_addresses = z.n;
	a.ptr = z.ptr[0] != 0 ? z.ptr : NULL;
	len = dns_write_answer(p, q, &a, out, max);
	SW_ASSERT(len <= max && len >= q->question_end);
	SW_ASSERT(memcmp(out, p, 2) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	uint8_t error[DNS_HEADER];
	struct dns_query q;

	if (dns_read_query(p, n, &q))
		answer(p, n, &q);
	else if (n >= DNS_HEADER)
		SW_ASSERT(dns_write_error(p, DNS_FORMERR, error) == DNS_HEADER);
	/* The first half as what was asked, the second as what came back. */
	if (n >= 2 * DNS_HEADER && dns_read_query(p, n / 2, &q))
		(void)dns_is_answer(p, n / 2, q.question_end, p + n / 2, n - n / 2);
	return 0;
}
