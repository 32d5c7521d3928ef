#include "base/mem.h"
#include "base/str.h"
#include "cli/compose/spec.h"
#include "cli/compose/spec_fields.h"
#include "proto/msg.h"

#include <arpa/inet.h>
#include <strings.h>

struct range {
	uint32_t lo, hi;
};

bool spec_protocol(const char *s, Pb__Protocol *ret)
{
	static const char *const names[] = {"tcp", "udp", "sctp"};

	for (size_t i = 0; i < SW_COUNT(names); i++)
		if (strcasecmp(s, names[i]) == 0) {
			*ret = (Pb__Protocol)i;
			return true;
		}
	return false;
}

bool spec_publish_mode(const char *s, Pb__PublishMode *ret)
{
	bool host = sw_streq(s, "host");

	if (!host && !sw_streq(s, "ingress"))
		return false;
	*ret = host ? PB__PUBLISH_MODE__PUBLISH_HOST : PB__PUBLISH_MODE__PUBLISH_INGRESS;
	return true;
}

static bool parse_range(const char *s, struct range *ret)
{
	sw_autofree char *lo = sw_strdup(s);
	char *dash = strchr(lo, '-');
	uint64_t a, b;

	if (dash)
		*dash = 0;
	if (!sw_parse_u64(lo, 65535, &a))
		return false;
	b = a;
	if (dash && (!sw_parse_u64(dash + 1, 65535, &b) || b < a))
		return false;
	*ret = (struct range){(uint32_t)a, (uint32_t)b};
	return true;
}

static bool is_address(char *s)
{
	unsigned char out[16];
	size_t n = strlen(s);

	if (s[0] == '[' && n > 2 && s[n - 1] == ']') {
		memmove(s, s + 1, n - 2);
		s[n - 2] = 0;
	}
	return inet_pton(AF_INET, s, out) == 1 || inet_pton(AF_INET6, s, out) == 1;
}

static void add_port(Pb__PortConfig ***v, size_t *n, const Pb__PortConfig *like, uint32_t target,
		     uint32_t published)
{
	Pb__PortConfig *p = (Pb__PortConfig *)msg_clone(&like->base);

	p->target = target;
	p->published = published;
	msg_add(v, n, p);
}

/* Ranges of one length pair up; a longer published range on one target gives it several. */
static int add_range(const char *s, const Pb__PortConfig *like, const struct range *target,
		     const struct range *published, Pb__PortConfig ***v, size_t *n,
		     struct sw_error *err)
{
	uint32_t nt = target->hi - target->lo + 1;

	if (published == NULL) {
		for (uint32_t i = 0; i < nt; i++)
			add_port(v, n, like, target->lo + i, 0);
		return 0;
	}
	if (nt != 1 && nt != published->hi - published->lo + 1)
		return sw_fail(err, SW_EINVAL, "ranges of different length in port \"%s\"", s);
	for (uint32_t i = 0; i <= published->hi - published->lo; i++)
		add_port(v, n, like, nt == 1 ? target->lo : target->lo + i, published->lo + i);
	return 0;
}

int spec_ports(const char *s, Pb__PortConfig ***v, size_t *n, struct sw_error *err)
{
	Pb__PortConfig like = PB__PORT_CONFIG__INIT;
	sw_autofree char *text = sw_strdup(s);
	struct range target, published;
	char *slash = strchr(text, '/'), *colon, *host = NULL, *ip = NULL;

	if (slash) {
		*slash = 0;
		if (!spec_protocol(slash + 1, &like.protocol))
			return sw_fail(err, SW_EINVAL,
				       "protocol of port \"%s\" must be tcp, udp or sctp", s);
	}
	colon = strrchr(text, ':');
	if (colon) {
		*colon = 0;
		host = text;
		ip = strrchr(text, ':');
		if (ip) {
			*ip = 0;
			host = ip + 1;
			ip = text;
		}
	}
	if (!parse_range(colon ? colon + 1 : text, &target) || target.lo == 0)
		return sw_fail(err, SW_EINVAL,
			       "port \"%s\" is not [[ip:]published:]target[/protocol] with numbers "
			       "from 1 to 65535 or ranges lo-hi",
			       s);
	if (ip && !is_address(ip))
		return sw_fail(err, SW_EINVAL, "\"%s\" in port \"%s\" is no IP address", ip, s);
	if (host && *host && !parse_range(host, &published))
		return sw_fail(err, SW_EINVAL,
			       "published part of port \"%s\" is no number or range", s);
	if (ip)
		like.host_ip = ip;
	return add_range(s, &like, &target, host && *host ? &published : NULL, v, n, err);
}

/* ---- --publish ---------------------------------------------------------------------------------
 */

static int publish_field(void *arg, const char *key, const char *value, struct sw_error *err)
{
	Pb__PortConfig *p = arg;
	uint64_t port;

	if (sw_streq(key, "protocol")) {
		if (spec_protocol(value, &p->protocol))
			return 0;
		return sw_fail(err, SW_EINVAL, "protocol \"%s\" is none of tcp, udp, sctp", value);
	}
	if (sw_streq(key, "mode")) {
		if (spec_publish_mode(value, &p->mode))
			return 0;
		return sw_fail(err, SW_EINVAL, "publish mode \"%s\" is neither ingress nor host",
			       value);
	}
	if (sw_streq(key, "host_ip")) {
		msg_set_str(&p->host_ip, value);
		return 0;
	}
	if (sw_streq(key, "interface")) {
		msg_set_str(&p->interface, value);
		return 0;
	}
	if (!sw_streq(key, "target") && !sw_streq(key, "published"))
		return sw_fail(err, SW_EINVAL, "unknown field \"%s\"", key);
	if (!sw_parse_u64(value, 65535, &port))
		return sw_fail(err, SW_EINVAL, "%s port \"%s\" is no number up to 65535", key,
			       value);
	if (sw_streq(key, "target"))
		p->target = (uint32_t)port;
	else
		p->published = (uint32_t)port;
	return 0;
}

int spec_publish(const char *s, Pb__PortConfig ***v, size_t *n, struct sw_error *err)
{
	Pb__PortConfig p = PB__PORT_CONFIG__INIT;
	int rc;

	if (strchr(s, '=') == NULL)
		return spec_ports(s, v, n, err);
	rc = spec_fields(s, publish_field, &p, err);
	if (rc == 0 && p.target == 0)
		rc = sw_fail(err, SW_EINVAL, "missing mandatory field \"target\" in \"%s\"", s);
	if (rc == 0)
		add_port(v, n, &p, p.target, p.published);
	msg_set_str(&p.host_ip, "");
	msg_set_str(&p.interface, "");
	return rc;
}
