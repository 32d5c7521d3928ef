/** Reads what swarm-shim wrote, across rotation. Format: docs/formats/container-log.md. */
#pragma once

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum log_stream { LOG_STDOUT, LOG_STDERR };

struct log_record {
	int64_t time_ns; /* since 1970 */
	enum log_stream stream;
	bool partial;     /* no newline follows: the next record of the stream goes on */
	const char *text; /* n bytes, valid until the next call; any bytes but newline */
	size_t n;
};

struct log_options {
	int64_t since_ns; /* 0 = from the beginning */
	int64_t tail;     /* last lines only; -1 = all */
};

struct log_reader;

/** `path` as rt_log_path gives it. A log that is not there yet is empty. */
int log_reader_open(const char *path, const struct log_options *o, struct log_reader **ret,
		    struct sw_error *err) SW_MUST_CHECK;
void log_reader_close(struct log_reader *r);
/**
 * 1 = a record, 0 = nothing more now. To follow, watch the log's folder (uv_fs_event) and call
 * again: reading goes on where it stopped, through rotations.
 */
int log_reader_next(struct log_reader *r, struct log_record *ret, struct sw_error *err);

/** One line of the file, without its newline. False when it is none of ours. Pure. */
bool log_parse(const char *line, size_t n, struct log_record *ret);
