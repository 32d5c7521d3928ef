/** An image as `docker image inspect` shows it. */
#pragma once

#include "runtime/image/store.h"

/** A JSON object, indented; the caller frees. */
char *img_image_json(const struct img_image *i);
/** The image's history, newest first, as `docker history` has it: a JSON list; the caller frees. */
int img_history_json(struct img_store *s, const char *name, char **ret,
		     struct sw_error *err) SW_MUST_CHECK;
