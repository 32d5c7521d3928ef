/**
 * The contexts of a build on their way in: lists of entries, then the contents that the pool lacks.
 * What blocks (a million entries are looked up, files are written) is done by jobs beside the loop;
 * while enough waits for them the stream is paused.
 *
 *	ENTRIES → (job: what is missing) → needs are told → FILES (jobs: written) → ready
 */
#pragma once

#include "agent/internal.h"
#include "proto/local.pb-c.h"
#include "runtime/build/context.h"

struct receive;

/** `ready` is called once, with NULL when every content is there. The stream is the caller's. */
struct receive *receive_new(struct agent *a, struct rpc_stream *s, size_t n_contexts,
			    void (*ready)(void *arg, const struct sw_error *err), void *arg);
/** Calls nobody any more; frees itself when its job has ended. */
void receive_free(struct receive *r);

int receive_entries(struct receive *r, const Pb__BuildEntries *e,
		    struct sw_error *err) SW_MUST_CHECK;
int receive_file(struct receive *r, const Pb__BuildFile *f, struct sw_error *err) SW_MUST_CHECK;
/** The client sends no more: what is still being written may be all. */
void receive_over(struct receive *r);
/** The stream has room again. */
void receive_writable(struct receive *r);
/** After ready: the contexts become the caller's. */
void receive_take(struct receive *r, struct bld_context **ret);
