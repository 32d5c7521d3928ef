#include "runtime/container/profile.h"

#include "base/mem.h"
#include "base/str.h"

#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>

/* In the order of their numbers (linux/capability.h). */
static const struct {
	const char *name;
	bool docker; /* in Docker's default set */
} caps[] = {
	{"CHOWN", true},
	{"DAC_OVERRIDE", true},
	{"DAC_READ_SEARCH", false},
	{"FOWNER", true},
	{"FSETID", true},
	{"KILL", true},
	{"SETGID", true},
	{"SETUID", true},
	{"SETPCAP", true},
	{"LINUX_IMMUTABLE", false},
	{"NET_BIND_SERVICE", true},
	{"NET_BROADCAST", false},
	{"NET_ADMIN", false},
	{"NET_RAW", true},
	{"IPC_LOCK", false},
	{"IPC_OWNER", false},
	{"SYS_MODULE", false},
	{"SYS_RAWIO", false},
	{"SYS_CHROOT", true},
	{"SYS_PTRACE", false},
	{"SYS_PACCT", false},
	{"SYS_ADMIN", false},
	{"SYS_BOOT", false},
	{"SYS_NICE", false},
	{"SYS_RESOURCE", false},
	{"SYS_TIME", false},
	{"SYS_TTY_CONFIG", false},
	{"MKNOD", true},
	{"LEASE", false},
	{"AUDIT_WRITE", true},
	{"AUDIT_CONTROL", false},
	{"SETFCAP", true},
	{"MAC_OVERRIDE", false},
	{"MAC_ADMIN", false},
	{"SYSLOG", false},
	{"WAKE_ALARM", false},
	{"BLOCK_SUSPEND", false},
	{"AUDIT_READ", false},
	{"PERFMON", false},
	{"BPF", false},
	{"CHECKPOINT_RESTORE", false},
};

static int apply(char *const *names, size_t n, bool to, bool *on, struct sw_error *err)
{
	for (size_t i = 0; i < n; i++) {
		const char *name = strncasecmp(names[i], "CAP_", 4) == 0 ? names[i] + 4 : names[i];
		bool all = strcasecmp(name, "ALL") == 0, known = all;

		for (size_t c = 0; c < SW_COUNT(caps); c++) {
			if (!all && strcasecmp(name, caps[c].name) != 0)
				continue;
			on[c] = to;
			known = true;
		}
		if (!known)
			return sw_fail(err, SW_EINVAL, "unknown capability \"%s\"", names[i]);
	}
	return 0;
}

static bool has_all(char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcasecmp(names[i], "ALL") == 0)
			return true;
	return false;
}

/* Asked for by its own name, though this host's root has not got it itself. */
static int check_had(char *const *add, size_t n_add, uint64_t host, struct sw_error *err)
{
	for (size_t i = 0; i < n_add; i++) {
		bool on[SW_COUNT(caps)] = {false};
		int rc = apply(&add[i], 1, true, on, err);

		if (rc < 0)
			return rc;
		for (size_t c = 0; !has_all(&add[i], 1) && c < SW_COUNT(caps); c++)
			if (on[c] && (host >> c & 1) == 0)
				return sw_fail(err, SW_EUNSUPP,
					       "capability %s: this host has not got it to give",
					       add[i]);
	}
	return 0;
}

uint64_t rt_caps_of_host(void)
{
	uint64_t host = 0;

	for (size_t c = 0; c < SW_COUNT(caps); c++)
		if (prctl(PR_CAPBSET_READ, c, 0, 0, 0) == 1)
			host |= (uint64_t)1 << c;
	return host;
}

int rt_caps(char *const *add, size_t n_add, char *const *drop, size_t n_drop, bool privileged,
	    uint64_t host, json_t **ret, struct sw_error *err)
{
	bool on[SW_COUNT(caps)];
	json_t *list;
	int rc = check_had(add, n_add, host, err);

	if (rc < 0)
		return rc;
	for (size_t c = 0; c < SW_COUNT(caps); c++)
		on[c] = caps[c].docker || privileged;
	/* "drop ALL, add X" means X, and "add ALL, drop X" all but X. */
	if (has_all(drop, n_drop)) {
		rc = apply(drop, n_drop, false, on, err);
		if (rc == 0)
			rc = apply(add, n_add, true, on, err);
	} else {
		rc = apply(add, n_add, true, on, err);
		if (rc == 0)
			rc = apply(drop, n_drop, false, on, err);
	}
	if (rc < 0)
		return rc;
	list = json_array();
	for (size_t c = 0; c < SW_COUNT(caps); c++) {
		char name[40];

		if (!on[c] || (host >> c & 1) == 0)
			continue;
		snprintf(name, sizeof name, "CAP_%s", caps[c].name);
		json_array_append_new(list, json_string(name));
	}
	*ret = list;
	return 0;
}

int rt_signal_number(const char *name)
{
	uint64_t v;

	if (sw_parse_u64(name, 64, &v))
		return (int)v;
	if (strncasecmp(name, "SIG", 3) == 0)
		name += 3;
	for (int s = 1; s < 32; s++)
		if (sigabbrev_np(s) != NULL && strcasecmp(sigabbrev_np(s), name) == 0)
			return s;
	if (strncasecmp(name, "RTMIN", 5) == 0 && (name[5] == 0 || name[5] == '+') &&
	    sw_parse_u64(name[5] != 0 ? name + 6 : "0", 30, &v))
		return 34 + (int)v;
	if (strncasecmp(name, "RTMAX", 5) == 0 && (name[5] == 0 || name[5] == '-') &&
	    sw_parse_u64(name[5] != 0 ? name + 6 : "0", 30, &v))
		return 64 - (int)v;
	return 0;
}
