#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "overlay/net_internal.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum {
	IPV6_MTU_LEAST = 1280, /* RFC 8200: a link has no less */
	UNDERLAY_LEAST = 576,  /* RFC 791 */
	UNDERLAY_MOST = 9000,
};

static int find_interface(uint32_t address, char name[IF_NAMESIZE], struct sw_error *err)
{
	struct ifaddrs *all;

	name[0] = 0;
	if (getifaddrs(&all) < 0)
		return sw_fail_sys(err, errno, "list the interfaces");
	for (struct ifaddrs *a = all; a != NULL; a = a->ifa_next)
		if (a->ifa_addr != NULL && a->ifa_addr->sa_family == AF_INET &&
		    ((struct sockaddr_in *)a->ifa_addr)->sin_addr.s_addr == htonl(address))
			snprintf(name, IF_NAMESIZE, "%s", a->ifa_name);
	freeifaddrs(all);
	if (name[0] != 0)
		return 0;
	return sw_fail(err, SW_ENOTFOUND,
		       "no interface has the underlay address %u.%u.%u.%u; give one of this "
		       "host's addresses",
		       address >> 24, address >> 16 & 255, address >> 8 & 255, address & 255);
}

int find_underlay_mtu(uint32_t address, char name[IF_NAMESIZE], uint32_t *ret, struct sw_error *err)
{
	sw_autoclose int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq req = {0};
	bool known = name[0] != 0;
	int r;

	if (fd < 0)
		return sw_fail_sys(err, errno, "a socket to ask for the underlay's MTU");
	if (!known && (r = find_interface(address, name, err)) != 0)
		return r;
	memcpy(req.ifr_name, name, IF_NAMESIZE);
	if (ioctl(fd, SIOCGIFMTU, &req) < 0) {
		name[0] = 0;
		return known ? find_underlay_mtu(address, name, ret, err)
			     : sw_fail_sys(err, errno, "ask for the MTU of %s", req.ifr_name);
	}
	/* Loopback has 64 KB, more than a VXLAN device takes; less than the least of IPv4's hosts is
	 * no way for what is wrapped in it. */
	*ret = req.ifr_mtu > UNDERLAY_MOST    ? UNDERLAY_MOST
	       : req.ifr_mtu < UNDERLAY_LEAST ? UNDERLAY_LEAST
					      : (uint32_t)req.ifr_mtu;
	return 0;
}

bool find_ipv6(uint32_t mtu)
{
	sw_autofree char *disabled = NULL;

	return mtu >= IPV6_MTU_LEAST &&
	       sw_read_file("/proc/sys/net/ipv6/conf/all/disable_ipv6", 8, &disabled, NULL, NULL) ==
		       0 &&
	       disabled[0] == '0';
}

int find_subnet(const char *text, struct plan_host *h, struct sw_error *err)
{
	const char *slash = strchr(text, '/');
	sw_autofree char *address = slash != NULL ? sw_strndup(text, (size_t)(slash - text)) : NULL;
	struct in_addr in;
	int64_t prefix;

	if (address == NULL || inet_pton(AF_INET, address, &in) != 1 ||
	    !sw_parse_i64(slash + 1, 8, 29, &prefix))
		return sw_fail(err, SW_EINVAL,
			       "egress subnet \"%s\" is not an IPv4 range like 172.18.0.0/16 "
			       "(/8 to /29)",
			       text);
	h->prefix = (uint8_t)prefix;
	h->address = (ntohl(in.s_addr) & (UINT32_MAX << (32 - prefix))) + 1;
	return 0;
}

static void find_one(struct net *n, const char *name)
{
	const char *rest = sw_after(name, "n-");
	char id_text[SW_ID_SIZE] = "";
	uint64_t id, offset;
	struct box *b;

	if (rest != NULL && sw_id_parse(rest, &id)) {
		network_add(n, id)->found = true;
		return;
	}
	rest = sw_after(name, "s-");
	if (rest == NULL || strlen(rest) < SW_ID_LEN + 2 || rest[SW_ID_LEN] != '-')
		return;
	memcpy(id_text, rest, SW_ID_LEN);
	id_text[SW_ID_LEN] = 0;
	if (!sw_id_parse(id_text, &id) || !sw_parse_u64(rest + SW_ID_SIZE, UINT16_MAX, &offset) ||
	    box_get(n, id) != NULL)
		return;
	b = sw_new(struct box);
	b->task_id = id;
	b->state = BOX_FOUND;
	b->offset = (uint32_t)offset;
	b->path = box_path(n, id, b->offset);
	omap_set(&n->boxes, (struct omap_key){id, 0}, b);
	if (offset != 0)
		omap_set(&n->offsets, (struct omap_key){offset, 0}, n);
}

int find_earlier(struct net *n, struct sw_error *err)
{
	sw_autofree char *path = sw_asprintf("%s/netns", n->run_dir);
	int r = sw_mkdir_p(path, 0755, err);
	struct dirent *e;
	DIR *dir;

	if (r < 0)
		return r;
	dir = opendir(path);
	if (dir == NULL)
		return sw_fail_sys(err, errno, "read %s", path);
	while ((e = readdir(dir)) != NULL)
		find_one(n, e->d_name);
	closedir(dir);
	return 0;
}
