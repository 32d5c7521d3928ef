/**
 * Network namespaces kept alive by a mount. Helper thread only: for moments the thread is in
 * another namespace, and it must come back.
 */
#pragma once

#include "base/error.h"

/** The thread's own; -1 when it cannot be opened. */
int ns_self(void);
/** SW_ENOTFOUND when nothing is mounted there. */
int ns_open(const char *path, int *ret_fd, struct sw_error *err) SW_MUST_CHECK;
/** Makes one, with IPv6 or without, and mounts it at path. */
int ns_make(const char *path, int home, bool six, int *ret_fd, struct sw_error *err) SW_MUST_CHECK;
/** Unmounts and unlinks; a missing one is no error. */
int ns_remove(const char *path, struct sw_error *err) SW_MUST_CHECK;

int ns_enter(int fd, struct sw_error *err) SW_MUST_CHECK;
/** A file of /proc/sys/net in the thread's namespace. What the kernel does not have needs no setting, and
 *  what needs it fails by itself, with a better reason. */
void ns_set(const char *path, const char *value);
/** In the thread's namespace, once it has rules that balance: a TCP connection that has ended is
 *  forgotten after a second, not two minutes. A client that takes its port again so soon would be sent
 *  to the task that it had then, which may be about to stop, or gone. */
void ns_forget_ended(void);
/** Cannot fail: work in a wrong namespace would be worse than no process. */
void ns_return(int home);
