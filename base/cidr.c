#include "base/cidr.h"

#include "base/str.h"

#include <arpa/inet.h>
#include <string.h>

enum { PREFIX_MIN = 8, PREFIX_MAX = 30 };

int cidr_parse(const char *s, uint32_t *ret_addr, unsigned *ret_prefix, struct sw_error *err)
{
	const char *slash = strchr(s, '/');
	uint64_t prefix = 0;
	struct in_addr in;
	char net[INET_ADDRSTRLEN];
	uint32_t a;

	if (slash == NULL || (size_t)(slash - s) >= sizeof net ||
	    !sw_parse_u64(slash + 1, PREFIX_MAX, &prefix) || prefix < PREFIX_MIN)
		return sw_fail(err, SW_EINVAL,
			       "subnet \"%.80s\": wanted ADDRESS/PREFIX with a prefix of %d to %d",
			       s, PREFIX_MIN, PREFIX_MAX);
	memcpy(net, s, (size_t)(slash - s));
	net[slash - s] = 0;
	if (inet_pton(AF_INET, net, &in) != 1)
		return sw_fail(err, SW_EINVAL, "subnet \"%s\": \"%s\" is not an IPv4 address", s,
			       net);
	a = ntohl(in.s_addr);
	if ((a & ~cidr_mask((unsigned)prefix)) != 0)
		return sw_fail(err, SW_EINVAL, "subnet \"%s\" has host bits set", s);
	*ret_addr = a;
	*ret_prefix = (unsigned)prefix;
	return 0;
}

bool cidr_overlaps(uint32_t a, unsigned a_prefix, uint32_t b, unsigned b_prefix)
{
	uint32_t m = cidr_mask(a_prefix < b_prefix ? a_prefix : b_prefix);

	return (a & m) == (b & m);
}

int cidr_check_pools(char *const *pools, size_t n, unsigned subnet_size, struct sw_error *err)
{
	if (subnet_size < PREFIX_MIN || subnet_size > PREFIX_MAX)
		return sw_fail(err, SW_EINVAL, "subnet size %u: wanted a prefix length of %d to %d",
			       subnet_size, PREFIX_MIN, PREFIX_MAX);
	for (size_t i = 0; i < n; i++) {
		uint32_t a, b;
		unsigned a_prefix, b_prefix;
		int rc = cidr_parse(pools[i], &a, &a_prefix, err);

		if (rc != 0)
			return sw_wrap(err, "address pool");
		if (a_prefix > subnet_size)
			return sw_fail(err, SW_EINVAL,
				       "address pool %s: a network's subnet is a /%u, which is "
				       "larger; make the pool larger or the subnets smaller "
				       "(swarmctl init --subnet-size)",
				       pools[i], subnet_size);
		for (size_t k = 0; k < i; k++)
			if (cidr_parse(pools[k], &b, &b_prefix, NULL) == 0 &&
			    cidr_overlaps(a, a_prefix, b, b_prefix))
				return sw_fail(err, SW_EINVAL,
					       "address pool %s overlaps address pool %s", pools[i],
					       pools[k]);
	}
	return 0;
}
