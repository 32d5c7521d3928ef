#include "runtime/copy/copy.h"

#include "base/str.h"

#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROOT_FD = 3 };

int copy_child(int argc, char **argv)
{
	struct sw_error err;
	int rc = 0;

	if (argc != 3)
		rc = sw_fail(&err, SW_EINVAL, "copy: wanted out, follow or in, and a path");
	/* Names are bytes: in the C locale libarchive would change those beyond ASCII. */
	(void)setlocale(LC_CTYPE, "C.UTF-8");
	umask(0);
	if (rc == 0 && (fchdir(ROOT_FD) != 0 || chroot(".") != 0 || chdir("/") != 0))
		rc = sw_fail_sys(&err, errno, "enter the container's root");
	if (rc == 0)
		rc = sw_streq(argv[1], "in")
			     ? copy_in(0, argv[2], true, &err)
			     : copy_out(argv[2], sw_streq(argv[1], "follow"), 1, &err);
	if (rc != 0)
		dprintf(2, "%s", err.msg);
	return rc == 0 ? 0 : 1;
}
