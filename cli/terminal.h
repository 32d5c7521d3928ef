/** The terminal that swarmctl runs in, and the files it was given. */
#pragma once

#include "base/error.h"

#include <stdbool.h>

/** Every key goes through unread from here on; undone at exit and by terminal_restore. */
int terminal_raw(int fd, struct sw_error *err) SW_MUST_CHECK;
void terminal_restore(void);
/** False: it is no terminal. */
bool terminal_size(int fd, unsigned *ret_rows, unsigned *ret_columns);
/** A file that can be waited for with the same content: fd's duplicate or, of a plain file, a pipe
 *  that a thread fills. */
int terminal_input(int fd, int *ret_fd, struct sw_error *err) SW_MUST_CHECK;
