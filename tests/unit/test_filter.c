// links: container
/* The compiled seccomp profile does what the profile says, tried on a child of this test. */
#include "base/mem.h"
#include "base/str.h"
#include "runtime/container/filter.h"
#include "runtime/container/profile.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static json_t *profile_with(const char *cap)
{
	json_t *caps = cap != NULL ? json_pack("[s]", cap) : json_array();
	json_t *profile = rt_seccomp(caps);

	json_decref(caps);
	return profile;
}

/* Runs in the child: 0 when all is as it should be, else which one is not. */
static int try(const char *program, bool may_chroot)
{
	size_t n = 0;
	struct sock_filter *code = sw_unbase64(program, &n);
	struct sock_fprog prog = {.len = (unsigned short)(n / sizeof *code), .filter = code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) != 0)
		return 1;
	if (getppid() <= 0)
		return 2;
	if (syscall(SYS_add_key, NULL, NULL, NULL, 0, 0) != -1 || errno != EPERM)
		return 3;
	if (syscall(SYS_clone3, NULL, 0) != -1 || errno != ENOSYS)
		return 4;
	if (socket(AF_VSOCK, SOCK_STREAM, 0) != -1 || errno != EPERM)
		return 5;
	if (socket(AF_UNIX, SOCK_STREAM, 0) < 0)
		return 6;
	if (chroot("/nowhere/at/all") != -1 || (errno == EPERM) == may_chroot)
		return 7;
	return 0;
}

static void check(struct rt_filters *f, const char *cap)
{
	json_t *profile = profile_with(cap);
	sw_autofree char *program = rt_filters_get(f, profile);
	int status = -1;
	pid_t pid;

	json_decref(profile);
	assert_non_null(program);
	pid = fork();
	if (pid == 0)
		_exit(try(program, cap != NULL));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_program_does_what_its_profile_says(void **state)
{
	struct rt_filters *f = rt_filters_new();

	(void)state;
	check(f, NULL);
	check(f, "CAP_SYS_CHROOT");
	check(f, NULL); /* the kept one */
	rt_filters_free(f);
}

static void what_is_not_understood_is_left_to_the_runtime(void **state)
{
	struct rt_filters *f = rt_filters_new();
	json_t *odd[] = {
		json_pack("{s:s}", "defaultAction", "SCMP_ACT_TRACE"),
		json_pack("{s:s, s:[s]}", "defaultAction", "SCMP_ACT_ERRNO", "architectures",
			  "SCMP_ARCH_ABACUS"),
		json_pack("{s:s, s:[{s:[s], s:s}]}", "defaultAction", "SCMP_ACT_ERRNO", "syscalls",
			  "names", "mount", "action", "SCMP_ACT_NOTIFY"),
		json_object(),
	};

	(void)state;
	for (size_t i = 0; i < SW_COUNT(odd); i++) {
		assert_null(rt_filters_get(f, odd[i]));
		json_decref(odd[i]);
	}
	rt_filters_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_program_does_what_its_profile_says),
		cmocka_unit_test(what_is_not_understood_is_left_to_the_runtime),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
