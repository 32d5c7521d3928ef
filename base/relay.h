/**
 * An open file on the loop, whose bytes go somewhere that can be full and that gets bytes which it
 * may not take at once: pipes, terminals, sockets. Bounded both ways.
 *
 * Embedded in its owner, whose memory must last until on_closed.
 */
#pragma once

#include "base/buf.h"

#include <uv.h>

enum { RELAY_CHUNK = 32 * 1024 };

struct relay;

struct relay_ops {
	/** Bytes from the file. False: not taken; they are offered again after relay_resume. */
	bool (*on_data)(struct relay *r, const void *p, size_t n);
	/** Nothing more will come; `sys`: why, 0 = its end. Once. */
	void (*on_eof)(struct relay *r, int sys);
	/** All that was written is gone. */
	void (*on_drained)(struct relay *r);
	/** The last word. */
	void (*on_closed)(struct relay *r);
};

struct relay {
	uv_poll_t poll;
	int fd; /* owned; -1 = not open, or closed */
	const struct relay_ops *ops;
	bool reading, eof, held, closing, half_close;
	size_t n; /* bytes of `chunk` that were not taken */
	struct sw_buf out;
	size_t out_at;
	char chunk[RELAY_CHUNK];
};

/** Takes the fd over, which must be pollable; what is to be written must not block. SW_EUNSUPP: it
 *  can't be polled (a plain file), and stays the caller's. */
int relay_open(struct relay *r, uv_loop_t *loop, int fd, bool read, const struct relay_ops *ops,
	       struct sw_error *err) SW_MUST_CHECK;
bool relay_is_open(const struct relay *r);
/** Whether its end was seen, or it was never opened to read. */
bool relay_is_over(const struct relay *r);
/** Whether all that was given to be written is gone. */
bool relay_is_drained(const struct relay *r);
/** Reading goes on after on_data said no. */
void relay_resume(struct relay *r);
/** False: bytes wait now; give no more until on_drained. What can't be written (its other end is
 *  gone) is dropped. */
bool relay_write(struct relay *r, const void *p, size_t n);
/** No more to write: sockets are shut down on that side, others closed, when all is written. */
void relay_finish(struct relay *r);
/** on_closed follows; what was not written is lost. Harmless when it is closed. */
void relay_close(struct relay *r);
