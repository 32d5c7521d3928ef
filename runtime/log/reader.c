#include "runtime/log/reader.h"

#include "base/mem.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

enum { STAMP = 30, LINE_MAX_LEN = 16384 + 64, FILES_MAX = 1000 };

struct log_reader {
	char *path;
	struct log_options o;
	int64_t skip; /* lines that `tail` leaves out */
	int fd;       /* -1 = the next file is to be opened */
	ino_t inode;
	size_t at, n; /* unread part of buf */
	char buf[LINE_MAX_LEN * 2];
};

bool log_parse(const char *line, size_t n, struct log_record *ret)
{
	char stamp[STAMP + 1];
	struct tm tm = {0};
	unsigned ns;

	/* "2026-11-23T23:05:05.123456789Z stdout F " and the text */
	if (n < STAMP + 10 || line[STAMP] != ' ' || line[STAMP + 7] != ' ' ||
	    line[STAMP + 9] != ' ')
		return false;
	memcpy(stamp, line, STAMP);
	stamp[STAMP] = 0;
	if (sscanf(stamp, "%4d-%2d-%2dT%2d:%2d:%2d.%9uZ", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
		   &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &ns) != 7)
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	if (memcmp(line + STAMP + 1, "stdout", 6) == 0)
		ret->stream = LOG_STDOUT;
	else if (memcmp(line + STAMP + 1, "stderr", 6) == 0)
		ret->stream = LOG_STDERR;
	else
		return false;
	ret->time_ns = (int64_t)timegm(&tm) * 1000000000 + ns;
	ret->partial = line[STAMP + 8] == 'P';
	ret->text = line + STAMP + 10;
	ret->n = n - STAMP - 10;
	return true;
}

static char *file_name(const char *path, int i)
{
	return i == 0 ? sw_strdup(path) : sw_asprintf("%s.%d", path, i);
}

/* The number of the file with this inode, or -1; with inode 0, of the oldest file. */
static int file_index(const char *path, ino_t inode)
{
	int last = -1;

	for (int i = 0; i < FILES_MAX; i++) {
		sw_autofree char *name = file_name(path, i);
		struct stat st;

		/* In the moment of a rotation the newest name may be missing. */
		if (stat(name, &st) < 0) {
			if (i > 0)
				break;
			continue;
		}
		last = i;
		if (inode != 0 && st.st_ino == inode)
			return i;
	}
	return inode != 0 ? -1 : last;
}

static bool open_file(struct log_reader *r, int i)
{
	sw_autofree char *name = file_name(r->path, i);
	struct stat st;

	r->fd = i < 0 ? -1 : open(name, O_RDONLY | O_CLOEXEC);
	if (r->fd < 0 || fstat(r->fd, &st) < 0)
		return false;
	r->inode = st.st_ino;
	r->at = r->n = 0;
	return true;
}

/* At the end of a file: true when there is a newer one, which is open then. */
static bool next_file(struct log_reader *r)
{
	int i;

	if (r->fd < 0)
		return open_file(r, file_index(r->path, 0));
	i = file_index(r->path, r->inode);
	if (i == 0)
		return false;
	close(take_fd(&r->fd));
	/* Rotated away while we read it: the oldest that is left comes next. */
	return open_file(r, i > 0 ? i - 1 : file_index(r->path, 0));
}

/* 1 = a line at *ret, 0 = none now. */
static int next_line(struct log_reader *r, const char **ret, size_t *ret_n, struct sw_error *err)
{
	for (;;) {
		char *end = r->n > 0 ? memchr(r->buf + r->at, '\n', r->n) : NULL;
		ssize_t got;

		if (end != NULL || r->n >= LINE_MAX_LEN) {
			size_t len = end != NULL ? (size_t)(end - (r->buf + r->at)) : r->n;

			*ret = r->buf + r->at;
			*ret_n = len;
			r->at += len + (end != NULL);
			r->n -= len + (end != NULL);
			return 1;
		}
		memmove(r->buf, r->buf + r->at, r->n);
		r->at = 0;
		got = r->fd >= 0 ? read(r->fd, r->buf + r->n, sizeof r->buf - r->n) : 0;
		if (got < 0 && errno != EINTR)
			return sw_fail_sys(err, errno, "read the log %s", r->path);
		if (got > 0)
			r->n += (size_t)got;
		else if (got == 0 && !next_file(r))
			return 0;
	}
}

int log_reader_next(struct log_reader *r, struct log_record *ret, struct sw_error *err)
{
	const char *line;
	size_t n;
	int rc;

	while ((rc = next_line(r, &line, &n, err)) > 0) {
		if (r->skip > 0) {
			r->skip--;
			continue;
		}
		if (log_parse(line, n, ret) && ret->time_ns >= r->o.since_ns)
			return 1;
	}
	return rc;
}

static struct log_reader *reader_new(const char *path, const struct log_options *o)
{
	struct log_reader *r = sw_new(struct log_reader);

	r->path = sw_strdup(path);
	r->o = *o;
	r->fd = -1;
	return r;
}

int log_reader_open(const char *path, const struct log_options *o, struct log_reader **ret,
		    struct sw_error *err)
{
	struct log_reader *r = reader_new(path, o);
	int64_t lines = 0;

	if (o->tail >= 0) {
		const char *line;
		size_t n;
		int rc;

		while ((rc = next_line(r, &line, &n, err)) > 0)
			lines++;
		log_reader_close(r);
		if (rc < 0)
			return rc;
		r = reader_new(path, o);
		r->skip = lines > o->tail ? lines - o->tail : 0;
	}
	*ret = r;
	return 0;
}

void log_reader_close(struct log_reader *r)
{
	if (r == NULL)
		return;
	sw_close_p(&r->fd);
	free(r->path);
	free(r);
}
