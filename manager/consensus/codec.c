#include "manager/consensus/codec.h"

#include "base/mem.h"

#include <string.h>

enum { FRAME_VERSION = 1, ROW_HEADER = 13 };

/* Indexes and terms above this can only be damage or malice; sums with them can't overflow. */
#define INDEX_MAX ((uint64_t)1 << 62)

static void put(struct sw_buf *b, uint64_t v, size_t bytes)
{
	uint8_t t[8];

	for (size_t i = 0; i < bytes; i++)
		t[i] = (uint8_t)(v >> (8 * i));
	sw_buf_add(b, t, bytes);
}

static void put_append(const struct cons_frame *f, struct sw_buf *b)
{
	put(b, f->append.prev, 8);
	put(b, f->append.prev_term, 8);
	put(b, f->append.commit, 8);
	put(b, f->append.n, 4);
	for (uint32_t i = 0; i < f->append.n; i++) {
		put(b, f->append.rows[i].term, 8);
		put(b, f->append.rows[i].type, 1);
		put(b, f->append.rows[i].n, 4);
	}
	for (uint32_t i = 0; i < f->append.n; i++)
		sw_buf_add(b, f->append.rows[i].p, f->append.rows[i].n);
}

static void put_snapshot(const struct cons_frame *f, struct sw_buf *b)
{
	put(b, f->snapshot.index, 8);
	put(b, f->snapshot.last_term, 8);
	put(b, f->snapshot.conf_index, 8);
	put(b, f->snapshot.total, 8);
	put(b, f->snapshot.at, 8);
	put(b, f->snapshot.conf_n, 4);
	put(b, f->snapshot.n, 4);
	sw_buf_add(b, f->snapshot.conf, f->snapshot.conf_n);
	sw_buf_add(b, f->snapshot.p, f->snapshot.n);
}

void cons_frame_encode(const struct cons_frame *f, struct sw_buf *b)
{
	sw_buf_reset(b);
	put(b, FRAME_VERSION, 1);
	put(b, f->type, 1);
	put(b, f->term, 8);
	switch (f->type) {
	case CONS_F_APPEND:
		put_append(f, b);
		break;
	case CONS_F_APPEND_RESULT:
		put(b, f->append_result.rejected, 8);
		put(b, f->append_result.last, 8);
		put(b, f->append_result.features, 2);
		break;
	case CONS_F_VOTE:
		put(b, f->vote.candidate, 8);
		put(b, f->vote.last, 8);
		put(b, f->vote.last_term, 8);
		put(b, (f->vote.disrupt ? 1u : 0u) | (f->vote.pre ? 2u : 0u), 1);
		break;
	case CONS_F_VOTE_RESULT:
		put(b, (f->vote_result.granted ? 1u : 0u) | (f->vote_result.pre ? 2u : 0u), 1);
		put(b, f->vote_result.features, 2);
		break;
	case CONS_F_SNAPSHOT:
		put_snapshot(f, b);
		break;
	case CONS_F_TIMEOUT_NOW:
		put(b, f->timeout_now.last, 8);
		put(b, f->timeout_now.last_term, 8);
		break;
	case CONS_F_SNAPSHOT_ACK:
		put(b, f->ack.index, 8);
		put(b, f->ack.have, 8);
		break;
	case CONS_F_GONE:
		put(b, f->gone.conf_index, 8);
		break;
	}
}

struct reader {
	const uint8_t *p;
	size_t left;
	bool bad;
};

static uint64_t get(struct reader *r, size_t bytes)
{
	uint64_t v = 0;

	if (r->left < bytes) {
		r->bad = true;
		return 0;
	}
	for (size_t i = 0; i < bytes; i++)
		v |= (uint64_t)r->p[i] << (8 * i);
	r->p += bytes;
	r->left -= bytes;
	return v;
}

static uint64_t get_index(struct reader *r)
{
	uint64_t v = get(r, 8);

	if (v > INDEX_MAX)
		r->bad = true;
	return v;
}

static const uint8_t *get_bytes(struct reader *r, size_t n)
{
	const uint8_t *p = r->p;

	if (r->left < n) {
		r->bad = true;
		return NULL;
	}
	r->p += n;
	r->left -= n;
	return p;
}

/* libraft's encoding: format 1, count (8 bytes), then id (8), address with its NUL, role (1); zeros
 * up to a multiple of 8. */
bool cons_conf_valid(const uint8_t *p, size_t n)
{
	struct reader r = {.p = p, .left = n};
	uint64_t ids[CONS_MEMBERS_MAX];
	uint64_t count;

	if (n > CONS_CONF_MAX || get(&r, 1) != 1)
		return false;
	count = get(&r, 8);
	if (r.bad || count > CONS_MEMBERS_MAX)
		return false;
	for (uint64_t i = 0; i < count; i++) {
		const uint8_t *nul;

		ids[i] = get(&r, 8);
		if (r.bad || ids[i] == 0)
			return false;
		for (uint64_t j = 0; j < i; j++)
			if (ids[j] == ids[i])
				return false;
		nul = memchr(r.p, 0, r.left);
		if (nul == NULL || nul == r.p || nul - r.p > CONS_ADDRESS_MAX)
			return false;
		get_bytes(&r, (size_t)(nul - r.p) + 1);
		if (get(&r, 1) > 2 || r.bad)
			return false;
	}
	return r.left < 8;
}

static bool row_ok(const struct cons_span *s, uint64_t least_term, uint64_t most_term)
{
	if (s->type < CONS_COMMAND || s->type > CONS_CHANGE)
		return false;
	if (s->n > CONS_MAX_ENTRY || s->term < least_term || s->term > most_term || s->term == 0)
		return false;
	return s->type != CONS_CHANGE || cons_conf_valid(s->p, s->n);
}

static void get_append(struct reader *r, struct cons_frame *f)
{
	uint64_t term;

	f->append.prev = get_index(r);
	f->append.prev_term = get_index(r);
	f->append.commit = get_index(r);
	f->append.n = (uint32_t)get(r, 4);
	if (f->append.n > r->left / ROW_HEADER ||
	    (f->append.prev == 0) != (f->append.prev_term == 0))
		r->bad = true;
	if (r->bad || f->append.n == 0)
		return;
	f->append.rows = sw_new_n(struct cons_span, f->append.n);
	for (uint32_t i = 0; i < f->append.n; i++) {
		f->append.rows[i].term = get(r, 8);
		f->append.rows[i].type = (uint8_t)get(r, 1);
		f->append.rows[i].n = (uint32_t)get(r, 4);
	}
	term = f->append.prev_term;
	for (uint32_t i = 0; i < f->append.n && !r->bad; i++) {
		struct cons_span *s = &f->append.rows[i];

		s->p = get_bytes(r, s->n);
		if (s->p == NULL || !row_ok(s, term, f->term))
			r->bad = true;
		term = s->term;
	}
}

static void get_snapshot(struct reader *r, struct cons_frame *f)
{
	f->snapshot.index = get_index(r);
	f->snapshot.last_term = get_index(r);
	f->snapshot.conf_index = get_index(r);
	f->snapshot.total = get(r, 8);
	f->snapshot.at = get(r, 8);
	f->snapshot.conf_n = (uint32_t)get(r, 4);
	f->snapshot.n = (uint32_t)get(r, 4);
	f->snapshot.conf = get_bytes(r, f->snapshot.conf_n);
	f->snapshot.p = get_bytes(r, f->snapshot.n);
	if (r->bad || f->snapshot.index == 0 || f->snapshot.last_term == 0 ||
	    f->snapshot.last_term > f->term || f->snapshot.conf_index == 0 ||
	    f->snapshot.conf_index > f->snapshot.index || f->snapshot.total > CONS_SNAPSHOT_MAX ||
	    f->snapshot.at > f->snapshot.total ||
	    f->snapshot.n > f->snapshot.total - f->snapshot.at ||
	    !cons_conf_valid(f->snapshot.conf, f->snapshot.conf_n))
		r->bad = true;
}

static void get_body(struct reader *r, struct cons_frame *f)
{
	uint64_t flags;

	switch (f->type) {
	case CONS_F_APPEND:
		get_append(r, f);
		return;
	case CONS_F_APPEND_RESULT:
		f->append_result.rejected = get_index(r);
		f->append_result.last = get_index(r);
		f->append_result.features = (uint16_t)get(r, 2);
		return;
	case CONS_F_VOTE:
		f->vote.candidate = get(r, 8);
		f->vote.last = get_index(r);
		f->vote.last_term = get_index(r);
		flags = get(r, 1);
		f->vote.disrupt = (flags & 1) != 0;
		f->vote.pre = (flags & 2) != 0;
		return;
	case CONS_F_VOTE_RESULT:
		flags = get(r, 1);
		f->vote_result.granted = (flags & 1) != 0;
		f->vote_result.pre = (flags & 2) != 0;
		f->vote_result.features = (uint16_t)get(r, 2);
		return;
	case CONS_F_SNAPSHOT:
		get_snapshot(r, f);
		return;
	case CONS_F_TIMEOUT_NOW:
		f->timeout_now.last = get_index(r);
		f->timeout_now.last_term = get_index(r);
		return;
	case CONS_F_SNAPSHOT_ACK:
		f->ack.index = get_index(r);
		f->ack.have = get(r, 8);
		return;
	case CONS_F_GONE:
		f->gone.conf_index = get_index(r);
		return;
	}
	r->bad = true;
}

int cons_frame_decode(const uint8_t *p, size_t n, struct cons_frame *ret, struct sw_error *err)
{
	struct reader r = {.p = p, .left = n};
	struct cons_frame f = {0};
	uint64_t version = get(&r, 1);

	f.type = (enum cons_frame_type)get(&r, 1);
	f.term = get_index(&r);
	if (!r.bad && version != FRAME_VERSION)
		return sw_fail(err, SW_EUNSUPP,
			       "a Raft frame of version %u, this manager speaks version %d: run "
			       "the same release on all managers",
			       (unsigned)version, FRAME_VERSION);
	if (!r.bad && f.term > 0)
		get_body(&r, &f);
	else
		r.bad = true;
	if (r.bad || r.left != 0) {
		cons_frame_fini(&f);
		return sw_fail(err, SW_EINVAL, "a malformed Raft frame of type %d, %zu bytes",
			       (int)f.type, n);
	}
	*ret = f;
	return 0;
}

void cons_frame_fini(struct cons_frame *f)
{
	if (f->type == CONS_F_APPEND) {
		free(f->append.rows);
		f->append.rows = NULL;
	}
}
