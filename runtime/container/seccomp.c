/*
 * Docker's default seccomp profile as tables: what is not listed fails with EPERM, clone3 with
 * ENOSYS (so that libc falls back to clone, whose flags can be looked at). The runtime compiles it.
 */
#include "runtime/container/profile.h"

#include "base/mem.h"
#include "base/str.h"

#include <errno.h>
#include <sys/utsname.h>

static const char *const always[] = {
	"accept",
	"accept4",
	"access",
	"adjtimex",
	"alarm",
	"arch_prctl",
	"bind",
	"brk",
	"cachestat",
	"capget",
	"capset",
	"chdir",
	"chmod",
	"chown",
	"chown32",
	"clock_adjtime",
	"clock_adjtime64",
	"clock_getres",
	"clock_getres_time64",
	"clock_gettime",
	"clock_gettime64",
	"clock_nanosleep",
	"clock_nanosleep_time64",
	"close",
	"close_range",
	"connect",
	"copy_file_range",
	"creat",
	"dup",
	"dup2",
	"dup3",
	"epoll_create",
	"epoll_create1",
	"epoll_ctl",
	"epoll_ctl_old",
	"epoll_pwait",
	"epoll_pwait2",
	"epoll_wait",
	"epoll_wait_old",
	"eventfd",
	"eventfd2",
	"execve",
	"execveat",
	"exit",
	"exit_group",
	"faccessat",
	"faccessat2",
	"fadvise64",
	"fadvise64_64",
	"fallocate",
	"fanotify_mark",
	"fchdir",
	"fchmod",
	"fchmodat",
	"fchmodat2",
	"fchown",
	"fchown32",
	"fchownat",
	"fcntl",
	"fcntl64",
	"fdatasync",
	"fgetxattr",
	"flistxattr",
	"flock",
	"fork",
	"fremovexattr",
	"fsetxattr",
	"fstat",
	"fstat64",
	"fstatat64",
	"fstatfs",
	"fstatfs64",
	"fsync",
	"ftruncate",
	"ftruncate64",
	"futex",
	"futex_requeue",
	"futex_time64",
	"futex_wait",
	"futex_waitv",
	"futex_wake",
	"futimesat",
	"getcpu",
	"getcwd",
	"getdents",
	"getdents64",
	"getegid",
	"getegid32",
	"geteuid",
	"geteuid32",
	"getgid",
	"getgid32",
	"getgroups",
	"getgroups32",
	"getitimer",
	"getpeername",
	"getpgid",
	"getpgrp",
	"getpid",
	"getppid",
	"getpriority",
	"getrandom",
	"getresgid",
	"getresgid32",
	"getresuid",
	"getresuid32",
	"getrlimit",
	"get_robust_list",
	"getrusage",
	"getsid",
	"getsockname",
	"getsockopt",
	"get_thread_area",
	"gettid",
	"gettimeofday",
	"getuid",
	"getuid32",
	"getxattr",
	"inotify_add_watch",
	"inotify_init",
	"inotify_init1",
	"inotify_rm_watch",
	"io_cancel",
	"ioctl",
	"io_destroy",
	"io_getevents",
	"io_pgetevents",
	"io_pgetevents_time64",
	"ioprio_get",
	"ioprio_set",
	"io_setup",
	"io_submit",
	"ipc",
	"kill",
	"landlock_add_rule",
	"landlock_create_ruleset",
	"landlock_restrict_self",
	"lchown",
	"lchown32",
	"lgetxattr",
	"link",
	"linkat",
	"listen",
	"listxattr",
	"llistxattr",
	"_llseek",
	"lremovexattr",
	"lseek",
	"lsetxattr",
	"lstat",
	"lstat64",
	"madvise",
	"map_shadow_stack",
	"membarrier",
	"memfd_create",
	"memfd_secret",
	"mincore",
	"mkdir",
	"mkdirat",
	"mknod",
	"mknodat",
	"mlock",
	"mlock2",
	"mlockall",
	"mmap",
	"mmap2",
	"modify_ldt",
	"mprotect",
	"mq_getsetattr",
	"mq_notify",
	"mq_open",
	"mq_timedreceive",
	"mq_timedreceive_time64",
	"mq_timedsend",
	"mq_timedsend_time64",
	"mq_unlink",
	"mremap",
	"msgctl",
	"msgget",
	"msgrcv",
	"msgsnd",
	"msync",
	"munlock",
	"munlockall",
	"munmap",
	"name_to_handle_at",
	"nanosleep",
	"newfstatat",
	"_newselect",
	"open",
	"openat",
	"openat2",
	"pause",
	"pidfd_open",
	"pidfd_send_signal",
	"pipe",
	"pipe2",
	"pkey_alloc",
	"pkey_free",
	"pkey_mprotect",
	"poll",
	"ppoll",
	"ppoll_time64",
	"prctl",
	"pread64",
	"preadv",
	"preadv2",
	"prlimit64",
	"process_mrelease",
	"process_vm_readv",
	"process_vm_writev",
	"pselect6",
	"pselect6_time64",
	"ptrace",
	"pwrite64",
	"pwritev",
	"pwritev2",
	"read",
	"readahead",
	"readlink",
	"readlinkat",
	"readv",
	"recv",
	"recvfrom",
	"recvmmsg",
	"recvmmsg_time64",
	"recvmsg",
	"remap_file_pages",
	"removexattr",
	"rename",
	"renameat",
	"renameat2",
	"restart_syscall",
	"rmdir",
	"rseq",
	"rt_sigaction",
	"rt_sigpending",
	"rt_sigprocmask",
	"rt_sigqueueinfo",
	"rt_sigreturn",
	"rt_sigsuspend",
	"rt_sigtimedwait",
	"rt_sigtimedwait_time64",
	"rt_tgsigqueueinfo",
	"sched_getaffinity",
	"sched_getattr",
	"sched_getparam",
	"sched_get_priority_max",
	"sched_get_priority_min",
	"sched_getscheduler",
	"sched_rr_get_interval",
	"sched_rr_get_interval_time64",
	"sched_setaffinity",
	"sched_setattr",
	"sched_setparam",
	"sched_setscheduler",
	"sched_yield",
	"seccomp",
	"select",
	"semctl",
	"semget",
	"semop",
	"semtimedop",
	"semtimedop_time64",
	"send",
	"sendfile",
	"sendfile64",
	"sendmmsg",
	"sendmsg",
	"sendto",
	"setfsgid",
	"setfsgid32",
	"setfsuid",
	"setfsuid32",
	"setgid",
	"setgid32",
	"setgroups",
	"setgroups32",
	"setitimer",
	"setpgid",
	"setpriority",
	"setregid",
	"setregid32",
	"setresgid",
	"setresgid32",
	"setresuid",
	"setresuid32",
	"setreuid",
	"setreuid32",
	"setrlimit",
	"set_robust_list",
	"setsid",
	"setsockopt",
	"set_thread_area",
	"set_tid_address",
	"setuid",
	"setuid32",
	"setxattr",
	"shmat",
	"shmctl",
	"shmdt",
	"shmget",
	"shutdown",
	"sigaltstack",
	"signalfd",
	"signalfd4",
	"sigprocmask",
	"sigreturn",
	"socketcall",
	"socketpair",
	"splice",
	"stat",
	"stat64",
	"statfs",
	"statfs64",
	"statx",
	"symlink",
	"symlinkat",
	"sync",
	"sync_file_range",
	"syncfs",
	"sysinfo",
	"tee",
	"tgkill",
	"time",
	"timer_create",
	"timer_delete",
	"timer_getoverrun",
	"timer_gettime",
	"timer_gettime64",
	"timer_settime",
	"timer_settime64",
	"timerfd_create",
	"timerfd_gettime",
	"timerfd_gettime64",
	"timerfd_settime",
	"timerfd_settime64",
	"times",
	"tkill",
	"truncate",
	"truncate64",
	"ugetrlimit",
	"umask",
	"uname",
	"unlink",
	"unlinkat",
	"utime",
	"utimensat",
	"utimensat_time64",
	"utimes",
	"vfork",
	"vmsplice",
	"wait4",
	"waitid",
	"waitpid",
	"write",
	"writev",
};

/* With the capability, these too. */
static const struct {
	const char *cap;
	const char *calls[30];
} with_cap[] = {
	{"CAP_DAC_READ_SEARCH", {"open_by_handle_at"}},
	{"CAP_SYS_ADMIN",
	 {"bpf",           "clone",         "clone3",      "fanotify_init",   "fsconfig",
	  "fsmount",       "fsopen",        "fspick",      "lookup_dcookie",  "mount",
	  "mount_setattr", "move_mount",    "open_tree",   "perf_event_open", "quotactl",
	  "quotactl_fd",   "setdomainname", "sethostname", "setns",           "syslog",
	  "umount",        "umount2",       "unshare"}},
	{"CAP_SYS_BOOT", {"reboot"}},
	{"CAP_SYS_CHROOT", {"chroot"}},
	{"CAP_SYS_MODULE", {"delete_module", "init_module", "finit_module"}},
	{"CAP_SYS_PACCT", {"acct"}},
	{"CAP_SYS_PTRACE", {"kcmp", "pidfd_getfd", "process_madvise"}},
	{"CAP_SYS_RAWIO", {"iopl", "ioperm"}},
	{"CAP_SYS_TIME", {"settimeofday", "stime", "clock_settime", "clock_settime64"}},
	{"CAP_SYS_TTY_CONFIG", {"vhangup"}},
	{"CAP_SYS_NICE", {"get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"}},
	{"CAP_SYSLOG", {"syslog"}},
	{"CAP_BPF", {"bpf"}},
	{"CAP_PERFMON", {"perf_event_open"}},
};

/* Allowed execution domains (personality(2)). */
static const json_int_t personalities[] = {0x0, 0x0008, 0x20000, 0x20008, 0xffffffff};

enum {
	NEW_NAMESPACES = 0x7e020000, /* CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET} */
	VSOCK = 40,
	ALG = 38,
};

static bool has(const json_t *caps, const char *name)
{
	for (size_t i = 0; i < json_array_size(caps); i++)
		if (sw_streq(json_string_value(json_array_get(caps, i)), name))
			return true;
	return false;
}

static json_t *rule(json_t *names, const char *action, json_t *args)
{
	json_t *r = json_pack("{s:o, s:s}", "names", names, "action", action);

	if (args != NULL)
		json_object_set_new(r, "args", args);
	return r;
}

static json_t *one(const char *name)
{
	return json_pack("[s]", name);
}

static json_t *arg(json_int_t value, json_int_t two, const char *op)
{
	return json_pack("[{s:i, s:I, s:I, s:s}]", "index", 0, "value", value, "valueTwo", two,
			 "op", op);
}

static void filtered_calls(const json_t *caps, json_t *rules)
{
	for (size_t i = 0; i < SW_COUNT(personalities); i++)
		json_array_append_new(rules, rule(one("personality"), "SCMP_ACT_ALLOW",
						  arg(personalities[i], 0, "SCMP_CMP_EQ")));
	/* Address families that reach the host's or the hypervisor's kernel: everything but these.
	 */
	json_array_append_new(rules,
			      rule(one("socket"), "SCMP_ACT_ALLOW", arg(ALG, 0, "SCMP_CMP_LT")));
	json_array_append_new(
		rules, rule(one("socket"), "SCMP_ACT_ALLOW", arg(ALG + 1, 0, "SCMP_CMP_EQ")));
	json_array_append_new(rules,
			      rule(one("socket"), "SCMP_ACT_ALLOW", arg(VSOCK, 0, "SCMP_CMP_GT")));
	if (has(caps, "CAP_SYS_ADMIN"))
		return;
	json_array_append_new(rules, rule(one("clone"), "SCMP_ACT_ALLOW",
					  arg(NEW_NAMESPACES, 0, "SCMP_CMP_MASKED_EQ")));
	json_t *clone3 = rule(one("clone3"), "SCMP_ACT_ERRNO", NULL);

	json_object_set_new(clone3, "errnoRet", json_integer(ENOSYS));
	json_array_append_new(rules, clone3);
}

static json_t *architectures(void)
{
	struct utsname u = {0};

	uname(&u);
	if (sw_streq(u.machine, "x86_64"))
		return json_pack("[sss]", "SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32");
	if (sw_streq(u.machine, "aarch64"))
		return json_pack("[ss]", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM");
	return NULL; /* the runtime takes the native one */
}

json_t *rt_seccomp(const json_t *caps)
{
	json_t *rules = json_array(), *names = json_array();
	json_t *profile = json_pack("{s:s, s:i}", "defaultAction", "SCMP_ACT_ERRNO",
				    "defaultErrnoRet", EPERM);
	json_t *archs = architectures();

	for (size_t i = 0; i < SW_COUNT(always); i++)
		json_array_append_new(names, json_string(always[i]));
	for (size_t i = 0; i < SW_COUNT(with_cap); i++)
		for (const char *const *c = with_cap[i].calls;
		     has(caps, with_cap[i].cap) && *c != NULL; c++)
			json_array_append_new(names, json_string(*c));
	json_array_append_new(rules, rule(names, "SCMP_ACT_ALLOW", NULL));
	filtered_calls(caps, rules);
	json_object_set_new(profile, "syscalls", rules);
	if (archs != NULL)
		json_object_set_new(profile, "architectures", archs);
	return profile;
}
