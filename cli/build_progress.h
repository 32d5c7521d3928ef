/** What a build says, on a terminal as a live tree, elsewhere as lines. */
#pragma once

#include "proto/local.pb-c.h"

#include <stdbool.h>

struct build_progress;

/** `live`: redraw; `quiet`: only warnings and failures. Writes to standard error. */
struct build_progress *build_progress_new(bool live, bool quiet);
void build_progress_step(struct build_progress *p, const Pb__BuildStep *s);
/** Now and then, so that the times go on. */
void build_progress_tick(struct build_progress *p);
/** Draws the last state and frees p (may be NULL). */
void build_progress_end(struct build_progress *p);
