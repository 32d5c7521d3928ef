/**
 * Frames between members (docs/protocols/raft.md). Decoding trusts nothing: every length is checked
 * before memory is spent, and what libraft would assert about (types, order of terms, the form of a
 * configuration) is checked here, because its Debian build has no assertions.
 */
#pragma once

#include "base/buf.h"
#include "manager/consensus/core.h"

enum {
	CONS_FRAME_SOFT = 1024 * 1024, /* rows are added to a frame up to here */
	CONS_FRAME_MAX = 2 * CONS_FRAME_SOFT,
	CONS_CONF_MAX = 64 * 1024,
	CONS_MEMBERS_MAX = 64,
	CONS_ADDRESS_MAX = 127,
};
#define CONS_SNAPSHOT_MAX ((uint64_t)1 << 30)

enum cons_frame_type {
	CONS_F_APPEND = 1,
	CONS_F_APPEND_RESULT,
	CONS_F_VOTE,
	CONS_F_VOTE_RESULT,
	CONS_F_SNAPSHOT,
	CONS_F_TIMEOUT_NOW,
	CONS_F_SNAPSHOT_ACK,
	CONS_F_GONE, /* "you are not a member any more", by a leader */
};

/** A row in a frame; points into it. */
struct cons_span {
	uint64_t term;
	const uint8_t *p;
	uint32_t n;
	uint8_t type;
};

struct cons_frame {
	enum cons_frame_type type;
	uint64_t term;
	union {
		struct {
			uint64_t prev, prev_term, commit;
			struct cons_span *rows; /* freed by cons_frame_fini */
			uint32_t n;
		} append;
		struct {
			uint64_t rejected, last;
			uint16_t features;
		} append_result;
		struct {
			uint64_t candidate, last, last_term;
			bool disrupt, pre;
		} vote;
		struct {
			bool granted, pre;
			uint16_t features;
		} vote_result;
		struct {
			uint64_t index, last_term, conf_index, total, at;
			const uint8_t *conf, *p;
			uint32_t conf_n, n;
		} snapshot;
		struct {
			uint64_t last, last_term;
		} timeout_now;
		struct {
			uint64_t index, have;
		} ack;
		struct {
			uint64_t conf_index;
		} gone;
	};
};

/** Replaces the content of `out`. */
void cons_frame_encode(const struct cons_frame *f, struct sw_buf *out);
/** Spans point into p. On failure nothing is to be freed. */
int cons_frame_decode(const uint8_t *p, size_t n, struct cons_frame *ret,
		      struct sw_error *err) SW_MUST_CHECK;
void cons_frame_fini(struct cons_frame *f);

/** Whether this is a configuration that libraft may be given to decode. */
bool cons_conf_valid(const uint8_t *p, size_t n);
