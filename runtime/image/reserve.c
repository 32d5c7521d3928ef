#include "runtime/image/reserve.h"

#include "base/mem.h"
#include "base/str.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define RESERVE_BYTES ((off_t)4 << 20)

static char *path_in(const char *dir)
{
	return sw_asprintf("%s/reserve", dir);
}

void img_reserve_give(const char *dir)
{
	sw_autofree char *path = path_in(dir);

	(void)!unlink(path);
}

void img_reserve_take(const char *dir)
{
	sw_autofree char *path = path_in(dir);
	sw_autoclose int fd = -1;
	struct statvfs s;

	if (access(path, F_OK) == 0 || statvfs(dir, &s) != 0 ||
	    (uint64_t)s.f_bavail * s.f_frsize < 4 * (uint64_t)RESERVE_BYTES)
		return;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd >= 0 && posix_fallocate(fd, 0, RESERVE_BYTES) != 0)
		(void)!unlink(path);
}
