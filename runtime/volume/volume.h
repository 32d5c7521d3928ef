/** Named local volumes: folders DIR/NAME/_data. Blocking, from any thread; nothing removes one but
 * us. */
#pragma once

#include "base/error.h"

#include <stddef.h>

struct vol_store;

int vol_open(const char *dir, struct vol_store **ret, struct sw_error *err) SW_MUST_CHECK;
void vol_close(struct vol_store *s);

/** [a-zA-Z0-9][a-zA-Z0-9_.-]{0,254} */
bool vol_name_ok(const char *name);

/**
 * Creates it at its first use, and holds it for `user`. *ret_path is the data folder. `options`
 * (options.h) are kept with a volume that is made; later users give the same or none. What they ask
 * for is mounted while anyone uses it, so that this may take as long as a server does. Also after a
 * failure the user releases.
 */
int vol_use(struct vol_store *s, const char *name, char *const *options, const char *user,
	    char **ret_path, struct sw_error *err) SW_MUST_CHECK;
/** As vol_use for a container that an earlier run made: nothing is created or mounted. */
void vol_hold(struct vol_store *s, const char *name, const char *user);
/** Ends all uses by `user`. Never waits. */
void vol_release(struct vol_store *s, const char *user);

/** True while nothing was ever put in. */
bool vol_is_empty(const char *path);
/** Copies what is in folder `from` (owners, modes, times, links) into an empty volume. */
int vol_fill(const char *path, const char *from, struct sw_error *err) SW_MUST_CHECK;

/** Names, sorted, NULL-terminated; *ret may be NULL for none. */
int vol_list(struct vol_store *s, char ***ret, struct sw_error *err) SW_MUST_CHECK;
/** Who uses it; NULL-terminated, or NULL for nobody. */
char **vol_users(struct vol_store *s, const char *name);
/** SW_EPRECOND while in use. */
int vol_remove(struct vol_store *s, const char *name, struct sw_error *err) SW_MUST_CHECK;
