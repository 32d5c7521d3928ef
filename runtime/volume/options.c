#include "runtime/volume/options.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

enum { DATA_MAX = 4000 };

static const struct word {
	const char *word;
	unsigned long set, clear;
} words[] = {
	{"defaults", 0, 0},
	{"ro", MS_RDONLY, 0},
	{"rw", 0, MS_RDONLY},
	{"bind", MS_BIND, 0},
	{"rbind", MS_BIND | MS_REC, 0},
	{"nosuid", MS_NOSUID, 0},
	{"suid", 0, MS_NOSUID},
	{"nodev", MS_NODEV, 0},
	{"dev", 0, MS_NODEV},
	{"noexec", MS_NOEXEC, 0},
	{"exec", 0, MS_NOEXEC},
	{"sync", MS_SYNCHRONOUS, 0},
	{"async", 0, MS_SYNCHRONOUS},
	{"noatime", MS_NOATIME, 0},
	{"nodiratime", MS_NODIRATIME, 0},
	{"relatime", MS_RELATIME, 0},
	{"strictatime", MS_STRICTATIME, 0},
};

/* What is no word of ours is the file system's to judge. */
struct plan {
	const char *type, *device;
	unsigned long flags;
	struct sw_buf data;
};

static const char *get(char *const *options, const char *key)
{
	const char *v = NULL;
	size_t n = strlen(key);

	for (; options != NULL && *options != NULL; options++)
		if (strncmp(*options, key, n) == 0 && (*options)[n] == '=')
			v = *options + n + 1;
	return v != NULL ? v : "";
}

static bool take_word(struct plan *p, const char *s)
{
	for (size_t i = 0; i < SW_COUNT(words); i++) {
		if (!sw_streq(words[i].word, s))
			continue;
		p->flags = (p->flags | words[i].set) & ~words[i].clear;
		return true;
	}
	return false;
}

int vol_options_check(char *const *options, struct sw_error *err)
{
	const char *type = get(options, "type"), *device = get(options, "device");
	sw_autofree char *o = sw_asprintf(",%s,", get(options, "o"));
	bool bind = strstr(o, ",bind,") != NULL || strstr(o, ",rbind,") != NULL;

	for (char *const *v = options; v != NULL && *v != NULL; v++) {
		if (strchr(*v, '\n') != NULL)
			return sw_fail(err, SW_EINVAL, "a volume's option has a line break");
		if (sw_after(*v, "type=") == NULL && sw_after(*v, "o=") == NULL &&
		    sw_after(*v, "device=") == NULL)
			return sw_fail(
				err, SW_EINVAL,
				"driver option \"%.60s\": the local driver knows type, o and "
				"device",
				*v);
	}
	if (options == NULL || *options == NULL)
		return 0;
	if (*device == 0 && !sw_streq(type, "tmpfs"))
		return sw_fail(err, SW_EINVAL, "the driver options name no device");
	if (*type == 0 && !bind)
		return sw_fail(err, SW_EINVAL, "the driver options name no type, as nfs or tmpfs");
	return 0;
}

/* The kernel resolves no names. */
static int resolve(const char *host, size_t n, struct sw_buf *out, struct sw_error *err)
{
	sw_autofree char *name = sw_strndup(host, n);
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *found = NULL;
	char text[INET6_ADDRSTRLEN] = "";
	int rc = getaddrinfo(name, NULL, &hints, &found);

	if (rc != 0)
		return sw_fail(err, SW_EUNAVAIL, "server %s: %s", name, gai_strerror(rc));
	(void)getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof text, NULL, 0,
			  NI_NUMERICHOST);
	freeaddrinfo(found);
	sw_buf_adds(out, text);
	return 0;
}

static int plan_data(struct plan *p, const char *o, struct sw_error *err)
{
	bool cifs = sw_streq(p->type, "cifs") || sw_streq(p->type, "smb3"), has_server = false;
	bool nfs = sw_streq(p->type, "nfs") || sw_streq(p->type, "nfs4");
	char **list = sw_strv_split(o, ',');
	int rc = 0;

	for (size_t i = 0; rc == 0 && list != NULL && list[i] != NULL; i++) {
		const char *server = sw_after(list[i], "addr=");

		if (*list[i] == 0 || take_word(p, list[i]))
			continue;
		sw_buf_adds(&p->data, p->data.len > 0 ? "," : "");
		has_server |= server != NULL || sw_after(list[i], "ip=") != NULL;
		if (server != NULL && (nfs || cifs)) {
			sw_buf_adds(&p->data, "addr=");
			rc = resolve(server, strlen(server), &p->data, err);
		} else {
			sw_buf_adds(&p->data, list[i]);
		}
	}
	sw_strv_free(list);
	if (rc == 0 && cifs && !has_server && sw_after(p->device, "//") != NULL) {
		sw_buf_adds(&p->data, p->data.len > 0 ? ",ip=" : "ip=");
		rc = resolve(p->device + 2, strcspn(p->device + 2, "/"), &p->data, err);
	}
	if (rc == 0 && p->data.overflow)
		rc = sw_fail(err, SW_ETOOBIG, "the mount options are over %d bytes", DATA_MAX);
	return rc;
}

static int do_mount(const struct plan *p, const char *path, const char *data, struct sw_error *err)
{
	bool bind = (p->flags & MS_BIND) != 0;
	struct stat st;

	if (bind && stat(p->device, &st) < 0)
		return sw_fail(err, SW_EINVAL, "device %s does not exist on this node", p->device);
	if (bind && !S_ISDIR(st.st_mode))
		return sw_fail(err, SW_EINVAL, "device %s is not a folder", p->device);
	if (mount(p->device, path, bind ? NULL : p->type, p->flags, bind ? NULL : data) < 0)
		/* Without the options: a password may be among them. */
		return sw_fail_sys(err, errno, "mount %s as type %s", p->device,
				   bind ? "bind" : p->type);
	/* A bind takes its flags in a second step only. */
	if (bind && (p->flags & ~(unsigned long)(MS_BIND | MS_REC)) != 0 &&
	    mount(NULL, path, NULL, (p->flags & ~(unsigned long)MS_REC) | MS_REMOUNT, NULL) < 0) {
		int e = errno;

		umount2(path, MNT_DETACH);
		return sw_fail_sys(err, e, "set the options of the bind of %s", p->device);
	}
	return 0;
}

int vol_options_mount(char *const *options, const char *path, struct sw_error *err)
{
	struct plan p = {.type = get(options, "type"),
			 .device = get(options, "device"),
			 .data = SW_BUF_INIT(DATA_MAX)};
	int rc = vol_options_check(options, err);

	if (*p.device == 0)
		p.device = "tmpfs";
	if (rc == 0)
		rc = plan_data(&p, get(options, "o"), err);
	if (rc == 0)
		rc = do_mount(&p, path, sw_buf_str(&p.data), err);
	sw_buf_fini(&p.data);
	return rc;
}
