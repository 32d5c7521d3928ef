#include "runtime/image/unpack.h"

#include "base/mem.h"
#include "base/str.h"
#include "runtime/image/inflate.h"
#include "runtime/image/split.h"
#include "runtime/image/unpack_child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>

enum { STALL_SECONDS = 120, SOCKET_BUFFER = 1 << 20 };

struct img_unpack {
	pid_t child;
	int sock;
	struct img_unpack_limits limits;
	struct img_inflate *inflate;
	struct img_split *split; /* of a layer */
	struct sw_sha256 *packed_hash, *plain_hash;
	uint64_t packed, plain;
};

bool img_layer_path(const char *name, char *out)
{
	size_t n = 0;

	for (const char *p = name; *p != 0;) {
		size_t len = strcspn(p, "/");

		if (len > 255 || (len == 2 && p[0] == '.' && p[1] == '.'))
			return false;
		if (len > 0 && !(len == 1 && *p == '.')) {
			if (n + len + 2 > 4096)
				return false;
			if (n > 0)
				out[n++] = '/';
			memcpy(out + n, p, len);
			n += len;
		}
		p += len;
		while (*p == '/')
			p++;
	}
	out[n] = 0;
	return true;
}

/* What the child said, or how it ended. */
static int child_error(struct img_unpack *u, struct sw_error *err)
{
	char msg[400];
	size_t n = 0;

	while (n < sizeof msg - 1) {
		ssize_t got = recv(u->sock, msg + n, sizeof msg - 1 - n, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		n += (size_t)got;
	}
	msg[n] = 0;
	if (*msg == IMG_CHILD_DONE)
		return 0;
	if (n > 0)
		return sw_fail(err, *msg == IMG_CHILD_FULL ? SW_EFULL : SW_ECORRUPT, "unpack: %s",
			       msg + 1);
	return sw_fail(err, SW_EIO,
		       "unpack: the unpacking process died or made no progress in %d s",
		       STALL_SECONDS);
}

static int to_child(void *ctx, const void *p, size_t n, struct sw_error *err)
{
	struct img_unpack *u = ctx;
	const char *c = p;

	sw_sha256_add(u->plain_hash, p, n);
	if (u->split != NULL)
		img_split_add(u->split, p, n);
	u->plain += n;
	if (u->plain > u->limits.bytes)
		return sw_fail(err, SW_ETOOBIG, "unpack: more than %llu bytes when decompressed",
			       (unsigned long long)u->limits.bytes);
	while (n > 0) {
		ssize_t put = send(u->sock, c, n, MSG_NOSIGNAL);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0) {
			int rc = child_error(u, err);

			return rc < 0 ? rc : sw_fail(err, SW_EIO, "unpack: ended too early");
		}
		c += put;
		n -= (size_t)put;
	}
	return 0;
}

static void child_prepare(int sock)
{
	sigset_t none;
	int null = open("/dev/null", O_RDWR);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int s = 1; s < 32; s++)
		signal(s, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	sock = fcntl(sock, F_DUPFD, 4); /* clear of the numbers used below */
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	dup2(sock, 3);
	close_range(4, ~0u, 0);
}

int img_unpack_start(const char *dir, enum img_unpack_mode mode,
		     const struct img_unpack_limits *limits, struct img_unpack **ret,
		     struct sw_error *err)
{
	struct img_unpack *u;
	struct timeval stall = {.tv_sec = STALL_SECONDS};
	struct img_split *split = NULL;
	int fds[2], size = SOCKET_BUFFER;
	pid_t pid;

	if (mode == IMG_UNPACK_LAYER) {
		sw_autofree char *path = sw_asprintf("%s.split", dir);
		int rc;

		unlink(path); /* of an attempt before */
		rc = img_split_new(path, &split, err);

		if (rc < 0)
			return rc;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
		img_split_abort(split);
		return sw_fail_sys(err, errno, "socketpair for the unpacker");
	}
	setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	setsockopt(fds[0], SOL_SOCKET, SO_SNDTIMEO, &stall, sizeof stall);
	setsockopt(fds[0], SOL_SOCKET, SO_RCVTIMEO, &stall, sizeof stall);

	u = sw_new(struct img_unpack);
	u->limits.bytes = limits != NULL && limits->bytes != 0 ? limits->bytes : 64ull << 30;
	u->limits.entries = limits != NULL && limits->entries != 0 ? limits->entries : 4u << 20;
	/* Safe after fork in a threaded program: the child uses malloc, which glibc prepares for
	 * this, and libarchive, which no other thread of ours ever enters. */
	pid = fork();
	if (pid == 0) {
		child_prepare(fds[1]);
		_exit(img_unpack_child(3, dir, mode, &u->limits));
	}
	close(fds[1]);
	if (pid < 0) {
		int sys = errno;

		close(fds[0]);
		img_split_abort(split);
		free(u);
		return sw_fail_sys(err, sys, "fork the unpacker");
	}
	u->child = pid;
	u->sock = fds[0];
	u->split = split;
	u->packed_hash = sw_sha256_new();
	u->plain_hash = sw_sha256_new();
	u->inflate = img_inflate_new(to_child, u);
	*ret = u;
	return 0;
}

int img_unpack_add(struct img_unpack *u, const void *p, size_t n, struct sw_error *err)
{
	sw_sha256_add(u->packed_hash, p, n);
	u->packed += n;
	return img_inflate_add(u->inflate, p, n, err);
}

static void finish(struct img_unpack *u, bool abort, struct img_unpack_result *r)
{
	uint8_t packed[SW_SHA256_SIZE], plain[SW_SHA256_SIZE];
	char hex[SW_SHA256_HEX];

	sw_sha256_end(u->packed_hash, packed);
	sw_sha256_end(u->plain_hash, plain);
	if (r != NULL) {
		snprintf(r->digest, sizeof r->digest, "sha256:%s",
			 sw_hex(packed, SW_SHA256_SIZE, hex));
		snprintf(r->diff_id, sizeof r->diff_id, "sha256:%s",
			 sw_hex(plain, SW_SHA256_SIZE, hex));
		r->packed = u->packed;
		r->size = u->plain;
	}
	img_inflate_free(u->inflate);
	img_split_abort(u->split);
	if (abort)
		kill(u->child, SIGKILL);
	close(u->sock);
	while (waitpid(u->child, NULL, 0) < 0 && errno == EINTR)
		;
	free(u);
}

int img_unpack_end(struct img_unpack *u, struct img_unpack_result *ret, struct sw_error *err)
{
	struct img_unpack_result r;
	int rc = img_inflate_end(u->inflate, err);

	/* Some writers (umoci) leave the last block unpadded; tar readers take that, libarchive
	 * not. */
	if (rc == 0 && u->plain % 512 != 0) {
		static const char zeros[512];

		(void)!send(u->sock, zeros, 512 - u->plain % 512, MSG_NOSIGNAL);
	}
	if (rc == 0) {
		shutdown(u->sock, SHUT_WR);
		rc = child_error(u, err);
	}
	if (rc == 0 && u->split != NULL)
		rc = img_split_end(take_ptr(&u->split), err);
	finish(u, rc < 0, &r);
	if (rc == 0)
		*ret = r;
	return rc;
}

void img_unpack_abort(struct img_unpack *u)
{
	if (u != NULL)
		finish(u, true, NULL);
}

int img_unpack_fd(int fd, const char *dir, enum img_unpack_mode mode,
		  const struct img_unpack_limits *limits, struct img_unpack_result *ret,
		  struct sw_error *err)
{
	enum { BLOCK = 128 << 10 };
	sw_autofree char *block = sw_alloc(BLOCK);
	struct img_unpack *u;
	int rc = img_unpack_start(dir, mode, limits, &u, err);

	while (rc == 0) {
		ssize_t got = read(fd, block, BLOCK);

		if (got < 0 && errno == EINTR)
			continue;
		if (got == 0)
			return img_unpack_end(u, ret, err);
		if (got < 0)
			rc = sw_fail_sys(err, errno, "read the archive");
		else
			rc = img_unpack_add(u, block, (size_t)got, err);
		if (rc < 0)
			img_unpack_abort(u);
	}
	return rc;
}
