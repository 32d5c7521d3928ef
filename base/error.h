/** Errors: one row a code, with its text, its gRPC status and whether a retry can help. */
#pragma once

#include <stdbool.h>

/* code, number, text, gRPC status, retry can help */
#define SW_ERR_MAP(X)                                              \
	X(SW_EINTERNAL, -1, "internal error", 13, false)           \
	X(SW_EINVAL, -2, "invalid argument", 3, false)             \
	X(SW_ENOTFOUND, -3, "not found", 5, false)                 \
	X(SW_EEXIST, -4, "already exists", 6, false)               \
	X(SW_ECONFLICT, -5, "version out of date", 10, true)       \
	X(SW_EPRECOND, -6, "not possible in this state", 9, false) \
	X(SW_ENOTLEADER, -7, "not the leader", 14, true)           \
	X(SW_EUNAVAIL, -8, "unavailable", 14, true)                \
	X(SW_ETIMEOUT, -9, "deadline exceeded", 4, true)           \
	X(SW_ECANCELED, -10, "cancelled", 1, false)                \
	X(SW_EDENIED, -11, "permission denied", 7, false)          \
	X(SW_EAUTH, -12, "not authenticated", 16, false)           \
	X(SW_ETOOBIG, -13, "too large", 8, false)                  \
	X(SW_EFULL, -14, "no room", 8, true)                       \
	X(SW_ECORRUPT, -15, "data is damaged", 15, false)          \
	X(SW_EUNSUPP, -16, "not supported", 12, false)             \
	X(SW_EIO, -17, "input/output error", 14, true)             \
	X(SW_EUNKNOWN, -18, "outcome unknown", 2, true)            \
	X(SW_EREVOKED, -19, "removed from the cluster", 16, false)

enum sw_code {
	SW_OK = 0,
#define X(name, num, text, grpc, retry) name = num,
	SW_ERR_MAP(X)
#undef X
};

/** Lives on the caller's stack. Untouched on success; `msg` is for people, `code` for programs. */
struct sw_error {
	int code; /* enum sw_code, 0 = none */
	int sys;  /* errno where one was the cause */
	char msg[488];
};

#define SW_MUST_CHECK __attribute__((warn_unused_result))

/** Sets `err` (which may be NULL) and returns `code`. */
int sw_fail(struct sw_error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/** As sw_fail, with a code chosen from `sys` (an errno) and its text appended. */
int sw_fail_sys(struct sw_error *err, int sys, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/** Puts "…: " before the message, returns the code that `err` holds. */
int sw_wrap(struct sw_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

const char *sw_code_text(int code);
const char *sw_code_name(int code);
int sw_code_grpc(int code);
int sw_code_from_grpc(int status);
bool sw_code_retry(int code);
