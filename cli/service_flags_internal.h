/** What the flags of services do to a spec, one function a flag; for service_*.c only. */
#pragma once

#include "base/mem.h"
#include "cli/service_flags.h"

/** Makes a part of a spec that is not there yet. */
#define ENSURE(field, Type, lower)                  \
	do {                                        \
		if ((field) == NULL) {              \
			(field) = sw_new(Type);     \
			pb__##lower##__init(field); \
		}                                   \
	} while (0)

/** "wanted WHAT, not V"; what is refused. */
int flag_wanted(const char *what, const char *v, struct sw_error *err);
void flag_clear_texts(char **v, size_t *n);

/* service_values.c: single values and switches. */
#define X(name, arg, fn, help) \
	int flag_set_##fn(Pb__ServiceSpec *s, const char *v, struct sw_error *err);
SERVICE_VALUES(X)
#undef X
#define X(name, letter, arg, fn, help) \
	int flag_set_##fn(Pb__ServiceSpec *s, const char *v, struct sw_error *err);
SERVICE_LETTERS(X)
#undef X
#define X(name, letter, fn, help) void flag_switch_##fn(Pb__ServiceSpec *s, bool on);
SERVICE_SWITCHES(X)
#undef X

/* service_lists.c */
bool flag_same_cap(const char *have, const char *given);

/* What there may be several of, added and taken away. SW_ENOTFOUND: there is none. */
#define X(name, arg, fn, help) \
	int flag_add_##fn(Pb__ServiceSpec *s, const char *v, struct sw_error *err);
SERVICE_ADDITIONS(X)
#undef X
#define X(name, letter, update, arg, rm, fn, help)                                  \
	int flag_add_##fn(Pb__ServiceSpec *s, const char *v, struct sw_error *err); \
	int flag_rm_##fn(Pb__ServiceSpec *s, const char *v, struct sw_error *err);
SERVICE_LISTS(X)
#undef X
