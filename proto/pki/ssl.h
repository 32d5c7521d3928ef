/** The one place where OpenSSL's error queue becomes a struct sw_error. For proto/pki and
 * proto/rpc. */
#pragma once

#include "base/error.h"

/** Sets `err` from `fmt` and the oldest entry of the queue, and empties the queue. */
int pki_fail_ssl(struct sw_error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
