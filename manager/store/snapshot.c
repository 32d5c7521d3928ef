/*
 * The whole state as bytes, and back. docs/formats/snapshot.md: a sequence of frames, each a 4-byte
 * little-endian length and a packed message; first Pb__SnapshotHeader, then a Pb__Row per object.
 */
#include "manager/store/internal.h"

#include "base/mem.h"
#include "base/str.h"
#include "proto/msg.h"

#include <endian.h>
#include <string.h>

enum { FORMAT = 1 };

struct store_snapshot {
	struct store_obj **objects; /* referenced */
	size_t n, at;
	Pb__SnapshotHeader header;
	uint8_t *pending; /* a frame that did not fit whole into the caller's buffer */
	size_t pending_n, pending_at;
	bool header_done;
};

struct store_snapshot *store_snapshot_begin(struct store *s)
{
	struct store_snapshot *snap = sw_new(struct store_snapshot);
	size_t total = 0;

	for (int k = 0; k < STORE_KIND_NR; k++)
		total += omap_count(&s->tables[k].by_id);
	snap->objects = sw_new_n(struct store_obj *, total);
	for (int k = 0; k < STORE_KIND_NR; k++) {
		struct omap_iter it = omap_begin(&s->tables[k].by_id);

		for (struct store_obj *o; (o = omap_next(&it)) != NULL;) {
			o->refs++;
			snap->objects[snap->n++] = o;
		}
	}
	pb__snapshot_header__init(&snap->header);
	snap->header.format = FORMAT;
	snap->header.index = s->index;
	snap->header.digest = s->digest;
	snap->header.rows = total;
	return snap;
}

static void frame(struct store_snapshot *snap, const ProtobufCMessage *m)
{
	size_t n = protobuf_c_message_get_packed_size(m);
	uint32_t len = htole32((uint32_t)n);

	free(snap->pending);
	snap->pending = sw_alloc(n + 4);
	memcpy(snap->pending, &len, 4);
	protobuf_c_message_pack(m, snap->pending + 4);
	snap->pending_n = n + 4;
	snap->pending_at = 0;
}

static bool next_frame(struct store_snapshot *snap)
{
	Pb__Row row = PB__ROW__INIT;
	const struct store_obj *o;

	if (!snap->header_done) {
		snap->header_done = true;
		frame(snap, &snap->header.base);
		return true;
	}
	if (snap->at == snap->n)
		return false;
	o = snap->objects[snap->at++];
	row.kind = o->kind;
	row.id = o->head->id;
	row.expect = o->head->version;
	row.object.len = msg_pack(&o->head->base, &row.object.data);
	frame(snap, &row.base);
	free(row.object.data);
	return true;
}

size_t store_snapshot_next(struct store_snapshot *snap, uint8_t *buf, size_t cap)
{
	size_t n = 0;

	while (n < cap) {
		size_t left = snap->pending_n - snap->pending_at;
		size_t take = left < cap - n ? left : cap - n;

		if (left == 0) {
			if (!next_frame(snap))
				break;
			continue;
		}
		memcpy(buf + n, snap->pending + snap->pending_at, take);
		snap->pending_at += take;
		n += take;
	}
	return n;
}

void store_snapshot_end(struct store_snapshot *snap)
{
	for (size_t i = 0; i < snap->n; i++)
		store_obj_unref(snap->objects[i]);
	free(snap->objects);
	free(snap->pending);
	free(snap);
}

static bool take_frame(const uint8_t **p, const uint8_t *end, const uint8_t **ret, size_t *ret_n)
{
	uint32_t len;

	if (end - *p < 4)
		return false;
	memcpy(&len, *p, 4);
	len = le32toh(len);
	if ((size_t)(end - *p) - 4 < len)
		return false;
	*ret = *p + 4;
	*ret_n = len;
	*p += 4 + (size_t)len;
	return true;
}

static int restore_row(struct store *s, const uint8_t *p, size_t n)
{
	Pb__Row *r = msg_unpack(&pb__row__descriptor, p, n);
	struct store_head *head = NULL;

	if (r != NULL && r->kind > 0 && r->kind < STORE_KIND_NR)
		head = msg_unpack(store_kinds[r->kind].descriptor, r->object.data, r->object.len);
	if (head != NULL) {
		head->id = r->id;
		head->version = r->expect;
		store_put(s, store_obj_new(r->kind, head));
	}
	msg_free(r != NULL ? &r->base : NULL);
	return head != NULL ? 0 : SW_ECORRUPT;
}

int store_restore(struct store *s, const void *p, size_t n, struct sw_error *err)
{
	const uint8_t *at = p, *end = at + n, *f;
	Pb__SnapshotHeader *h = NULL;
	uint64_t rows = 0, want_rows, want_digest;
	size_t len;

	if (take_frame(&at, end, &f, &len))
		h = msg_unpack(&pb__snapshot_header__descriptor, f, len);
	if (h == NULL || h->format != FORMAT) {
		msg_free(h != NULL ? &h->base : NULL);
		return sw_fail(err, SW_ECORRUPT, "not a snapshot of format %d", FORMAT);
	}
	store_reset(s, h->index);
	want_rows = h->rows;
	want_digest = h->digest;
	msg_free(&h->base);
	while (at < end && take_frame(&at, end, &f, &len) && restore_row(s, f, len) == 0)
		rows++;
	if (at != end || rows != want_rows || s->digest != want_digest) {
		store_reset(s, 0);
		return sw_fail(err, SW_ECORRUPT, "the snapshot is damaged after row %llu of %llu",
			       (unsigned long long)rows, (unsigned long long)want_rows);
	}
	store_tell_reset(s);
	return 0;
}
