/** The parts of swarm-shim. It links nothing but musl: none of base/ is used here. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* ---- logfile.c: lines with time and stream, rotated. Format: docs/formats/container-log.md ----
 */

enum { LINE_MAX_BYTES = 16384 };

struct stream {
	int fd; /* read end of the container's pipe, -1 after its end */
	const char *name;
	size_t n;
	char line[LINE_MAX_BYTES]; /* what has come since the last newline */
};

struct logfile {
	const char *path; /* NULL = keep nothing */
	int fd;
	long long size, max_size;
	int max_files;
};

void log_open(struct logfile *l);
/** Appends what came; whole lines are written, the rest waits. */
void log_add(struct logfile *l, struct stream *s, const char *p, size_t n);
/** Writes the line that no newline has ended. */
void log_flush(struct logfile *l, struct stream *s);

/* ---- console.c: a terminal, made by the runtime and handed over on a socket in the container's folder
 * (https://github.com/opencontainers/runc/blob/main/docs/terminals.md) ---- */

#define CONSOLE_NAME "console.sock"
/** Where the runtime is to connect to; -1 and errno. */
int console_listen(const char *dir);
/** The terminal's other end, when there is a connection; -1 without one. */
int console_take(int listener);

/* ---- init.c: process 1 inside a container that asked for one ---- */

/** Runs argv, forwards signals, reaps orphans, ends as argv does. */
int init_main(char **argv);
