#include "runtime/shim/shim.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

void log_open(struct logfile *l)
{
	struct stat st;

	l->fd = -1;
	if (l->path == NULL)
		return;
	l->fd = open(l->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
	l->size = l->fd >= 0 && fstat(l->fd, &st) == 0 ? st.st_size : 0;
}

/* log -> log.1 -> log.2 …; the oldest goes. A reader follows by the file's inode. */
static void rotate(struct logfile *l)
{
	char from[4200], to[4200];

	close(l->fd);
	for (int i = l->max_files - 1; i > 0; i--) {
		snprintf(to, sizeof to, "%s.%d", l->path, i);
		if (i == 1)
			snprintf(from, sizeof from, "%s", l->path);
		else
			snprintf(from, sizeof from, "%s.%d", l->path, i - 1);
		rename(from, to);
	}
	if (l->max_files <= 1)
		unlink(l->path);
	log_open(l);
}

/* A full disk loses lines; it never stops the container. */
static void put_line(struct logfile *l, struct stream *s, char tag)
{
	char buf[LINE_MAX_BYTES + 64];
	struct timespec now;
	struct tm tm;
	size_t n;

	if (l->fd < 0)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	n = (size_t)snprintf(buf, sizeof buf, "%04d-%02d-%02dT%02d:%02d:%02d.%09ldZ %s %c ",
			     tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
			     tm.tm_sec, now.tv_nsec, s->name, tag);
	memcpy(buf + n, s->line, s->n);
	n += s->n;
	buf[n++] = '\n';
	if (l->max_size > 0 && l->size > 0 && l->size + (long long)n > l->max_size)
		rotate(l);
	if (l->fd >= 0 && write(l->fd, buf, n) == (ssize_t)n)
		l->size += (long long)n;
	s->n = 0;
}

void log_add(struct logfile *l, struct stream *s, const char *p, size_t n)
{
	while (n > 0) {
		size_t room = LINE_MAX_BYTES - s->n;
		const char *end = memchr(p, '\n', n);
		size_t take = end != NULL ? (size_t)(end - p) : n;

		if (take > room) {
			take = room;
			end = NULL;
		}
		memcpy(s->line + s->n, p, take);
		s->n += take;
		p += take;
		n -= take;
		if (end != NULL) {
			p++;
			n--;
			put_line(l, s, 'F');
		} else if (s->n == LINE_MAX_BYTES) {
			put_line(l, s, 'P');
		}
	}
}

void log_flush(struct logfile *l, struct stream *s)
{
	if (s->n > 0)
		put_line(l, s, 'P');
}
