/** A build from this side: what is asked for, the files, the talk with the builder. */
#pragma once

#include "cli/build_context.h"
#include "cli/cmd.h"
#include "proto/local.pb-c.h"

struct build_request {
	Pb__BuildStart *start;     /* owned; contexts[0] is the main one */
	struct build_files *files; /* one for each of start's contexts; those of images are empty */
	bool live, quiet;
	bool elsewhere; /* through a manager, on start's node or any */
	int output;     /* where output goes, -1 = none is wanted */
};

/** An empty one; free it with build_request_fini. */
struct build_request build_request_new(void);
void build_request_fini(struct build_request *b);
/** Adds a context's files; `name` "" is the main one. */
int build_add_files(struct build_request *b, const char *name, const char *root,
		    const struct bld_ignore *ignore, struct sw_error *err) SW_MUST_CHECK;
void build_add_image(struct build_request *b, const char *name, const char *image);
/** Adds to one of start's lists of texts. */
void build_add_text(char ***list, size_t *n, const char *text);
/** Reads the Dockerfile, its ignore file and the context's files. `file` NULL: CONTEXT/Dockerfile.
 */
int build_read(struct build_request *b, const char *context, const char *file,
	       struct sw_error *err) SW_MUST_CHECK;
/** Sends it all and follows the build. *ret (may be NULL): the image; msg_free. */
int build_run(struct cli *cli, struct build_request *b, Pb__ImageSummary **ret,
	      struct sw_error *err) SW_MUST_CHECK;
