/**
 * What a wait shows: a line a service, cut to the terminal that it is drawn on. Pure: wait.c draws.
 *
 *	SERVICE    TASKS STATE
 *	shop_db    1/1   converged
 *	shop_web   2/6   updating: health check failed: exit status 1
 *	… and 12 more, 10 of them settled
 */
#pragma once

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

struct board_row { /* strings are borrowed; any bytes, of which only printable ones are shown */
	const char *name;
	uint64_t running, wanted;
	const char *state;
	const char *why; /* "" = nothing to say */
	bool settled;    /* left out first when there is no room for all */
};

/** Without a terminal: all rows, whole, without a head. */
void board_plain(struct sw_buf *b, const struct board_row *rows, size_t n);
/**
 * At most `height` lines of at most `width` columns, each ended by a line feed. A terminal of fewer
 * than 2 lines or 10 columns is taken for one that has them.
 */
void board_table(struct sw_buf *b, const struct board_row *rows, size_t n, unsigned width,
		 unsigned height);
/** The lines that such a text takes on a terminal that is `width` wide by now. */
unsigned board_lines(const char *text, unsigned width);
