/**
 * A file or a folder as a tar stream, and a tar stream as files: `cp` between a container and
 * another host. Both block and use the process's working folder, so they are for programs and
 * threads that have no other use for it. The agent runs them in a child whose root is the
 * container's: there no name and no link leads out; on the operator's side no link is followed
 * below the target.
 */
#pragma once

#include "base/error.h"

#include <stdint.h>

/**
 * Writes `path` to `fd`. All names begin with the path's last component, or with "." when it ends
 * in
 * "/." (a folder's content alone). With `follow` a link at the end of the path is followed.
 */
int copy_out(const char *path, bool follow, int fd, struct sw_error *err) SW_MUST_CHECK;

/**
 * Reads from `fd` what copy_out wrote. As cp does: into `dest` when that is a folder, else under
 * that name; a content alone goes into `dest`, which is made when it is not there. `owners`: files
 * get the owners that the stream names; else they are the caller's.
 */
int copy_in(int fd, const char *dest, bool owners, struct sw_error *err) SW_MUST_CHECK;

/**
 * swarm-agentd's other life: "copy out PATH", "copy in PATH" and "copy follow PATH" with the root
 * folder as file 3, the stream as standard input or output and what went wrong on standard error.
 */
int copy_child(int argc, char **argv);
