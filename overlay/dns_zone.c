#include "overlay/dns_zone.h"

#include "base/str.h"

#include <stdio.h>

static void add_address(struct zone_result *z, uint32_t address)
{
	if (address == 0)
		return;
	for (size_t i = 0; i < z->n; i++)
		if (z->addresses[i] == address)
			return;
	if (z->n < ZONE_ADDRESSES)
		z->addresses[z->n++] = address;
}

static void collect(void *arg, const Pb__Endpoint *e)
{
	if (view_takes_connections(e))
		add_address(arg, e->address);
}

static void collect_vip(void *arg, const Pb__ServiceView *s)
{
	add_address(arg, s->vip);
}

static void shuffle(struct zone_result *z, struct sw_rand *r)
{
	for (size_t i = z->n; i > 1; i--) {
		size_t k = (size_t)sw_rand_below(r, i);
		uint32_t t = z->addresses[i - 1];

		z->addresses[i - 1] = z->addresses[k];
		z->addresses[k] = t;
	}
}

/** "4.3.2.1.in-addr.arpa" → 1.2.3.4 */
static bool reverse_address(const char *name, uint32_t *ret)
{
	unsigned a, b, c, d;
	int end = 0;

	if (sscanf(name, "%3u.%3u.%3u.%3u.in-addr.arpa%n", &d, &c, &b, &a, &end) != 4 || end == 0 ||
	    name[end] != 0 || a > 255 || b > 255 || c > 255 || d > 255)
		return false;
	*ret = a << 24 | b << 16 | c << 8 | d;
	return true;
}

enum zone_verdict zone_answer(const struct view *const *views, size_t n, const struct dns_query *q,
			      struct sw_rand *r, struct zone_result *ret)
{
	const Pb__Endpoint *e;
	size_t known = 0;
	uint32_t address;

	ret->n = 0;
	ret->ptr[0] = 0;
	if (q->class != DNS_IN)
		return ZONE_FORWARD;
	if (q->type == DNS_PTR) {
		if (!reverse_address(q->name, &address))
			return ZONE_FORWARD;
		for (size_t i = 0; i < n; i++) {
			const Pb__ServiceView *s = view_service_at(views[i], address);

			e = view_at(views[i], address);
			if (e == NULL && s == NULL)
				continue;
			if (e != NULL)
				view_task_name(e, ret->ptr, sizeof ret->ptr);
			else
				snprintf(ret->ptr, sizeof ret->ptr, "%s", s->name);
			return ZONE_ANSWER;
		}
		return ZONE_FORWARD;
	}
	for (size_t i = 0; i < n; i++) {
		known += view_find_service(views[i], q->name, collect_vip, ret);
		known += view_find(views[i], q->name, collect, ret);
	}
	if (known == 0)
		return ZONE_FORWARD;
	if (q->type != DNS_A)
		ret->n = 0;
	shuffle(ret, r);
	return ZONE_ANSWER;
}
