/** An image as `docker image inspect` shows it. */
#pragma once

#include "runtime/image/store.h"

/** A JSON object, indented; the caller frees. */
char *img_image_json(const struct img_image *i);
