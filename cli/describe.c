#include "cli/describe.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/task_state.h"
#include "proto/types.pb-c.h"

#include <ctype.h>

enum { MAX_DEPTH = 12 };

/* service_id → ServiceID, created_ms → CreatedAt, n_cpus → NCpus */
static char *name_of(const char *field)
{
	struct sw_buf b = {.max = 128};
	bool up = true;

	for (const char *p = field; *p != 0; p++) {
		if (sw_streq(p, "_ms") &&
		    (sw_ends_with(field, "created_ms") || sw_ends_with(field, "updated_ms") ||
		     sw_ends_with(field, "state_ms"))) {
			sw_buf_adds(&b, "At");
			break;
		}
		if (up && sw_streq(p, "id")) {
			sw_buf_adds(&b, "ID");
			break;
		}
		if (*p == '_') {
			up = true;
			continue;
		}
		sw_buf_addc(&b, up ? (char)toupper((unsigned char)*p) : *p);
		up = false;
	}
	return sw_buf_take(&b);
}

static json_t *object(const ProtobufCMessage *m, int depth);

static json_t *enum_value(const ProtobufCEnumDescriptor *d, int v)
{
	static const char *const prefixes[] = {"TASK_", "NODE_", "HEALTH_", "PLACEMENT_"};
	const ProtobufCEnumValue *e = protobuf_c_enum_descriptor_get_value(d, v);
	struct sw_buf b = {.max = 64};
	const char *s = e != NULL ? e->name : "UNKNOWN";
	json_t *j;

	/* TASK_RUNNING → running: the type's own prefix says nothing here. */
	for (size_t i = 0; i < SW_COUNT(prefixes); i++) {
		const char *rest = sw_after(s, prefixes[i]);

		if (rest != NULL) {
			s = rest;
			break;
		}
	}
	for (; *s != 0; s++)
		sw_buf_addc(&b, (char)tolower((unsigned char)*s));
	j = json_string(sw_buf_str(&b));
	sw_buf_fini(&b);
	return j;
}

static json_t *time_value(int64_t ms)
{
	char text[32];

	return json_string(sw_time_rfc3339(ms, text));
}

/* One value; NULL for one that says nothing. */
static json_t *value(const ProtobufCFieldDescriptor *f, const void *p, int depth)
{
	const ProtobufCBinaryData *bin = p;
	uint64_t u;

	switch (f->type) {
	case PROTOBUF_C_TYPE_STRING:
		return (*(char *const *)p)[0] != 0 ? json_string(*(char *const *)p) : NULL;
	case PROTOBUF_C_TYPE_BYTES: {
		if (bin->len == 0)
			return NULL;
		sw_autofree char *text = sw_base64(bin->data, bin->len);
		return json_string(text);
	}
	case PROTOBUF_C_TYPE_MESSAGE:
		return *(ProtobufCMessage *const *)p != NULL
			       ? object(*(ProtobufCMessage *const *)p, depth + 1)
			       : NULL;
	case PROTOBUF_C_TYPE_FIXED64:
		u = *(const uint64_t *)p;
		return u != 0 ? json_string(sw_id(u).s) : NULL;
	case PROTOBUF_C_TYPE_INT64:
		u = (uint64_t) * (const int64_t *)p;
		if (u != 0 && sw_ends_with(f->name, "_ms"))
			return time_value((int64_t)u);
		return u != 0 ? json_integer((json_int_t)u) : NULL;
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_SINT64:
		u = *(const uint64_t *)p;
		return u != 0 ? json_integer((json_int_t)u) : NULL;
	case PROTOBUF_C_TYPE_DOUBLE:
		return *(const double *)p != 0 ? json_real(*(const double *)p) : NULL;
	case PROTOBUF_C_TYPE_BOOL:
		return *(const protobuf_c_boolean *)p ? json_true() : NULL;
	case PROTOBUF_C_TYPE_ENUM:
		return enum_value(f->descriptor, *(const int *)p);
	case PROTOBUF_C_TYPE_FIXED32: {
		uint32_t a = *(const uint32_t *)p;
		sw_autofree char *text =
			sw_asprintf("%u.%u.%u.%u", a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255);
		return a != 0 ? json_string(text) : NULL;
	}
	default:
		return *(const int32_t *)p != 0 ? json_integer(*(const int32_t *)p) : NULL;
	}
}

/* Of a field that tells 0 from nothing: a delay of 0s is none, nothing is the default. */
static json_t *zero(const ProtobufCFieldDescriptor *f)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_BOOL:
		return json_false();
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_UINT32:
		return json_integer(0);
	default:
		return NULL;
	}
}

static size_t width(const ProtobufCFieldDescriptor *f)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_FIXED32:
	case PROTOBUF_C_TYPE_ENUM:
	case PROTOBUF_C_TYPE_BOOL:
		return 4;
	default:
		return 8;
	}
}

/* Labels and their like are objects, other lists are lists. */
static json_t *list(const ProtobufCFieldDescriptor *f, const char *p, size_t n, int depth)
{
	bool map =
		f->type == PROTOBUF_C_TYPE_MESSAGE && f->descriptor == &pb__key_value__descriptor;
	json_t *j = map ? json_object() : json_array();

	for (size_t i = 0; i < n; i++, p += width(f)) {
		if (map) {
			const Pb__KeyValue *kv = *(Pb__KeyValue *const *)p;

			json_object_set_new(j, kv->key, json_string(kv->value));
			continue;
		}
		json_t *v = value(f, p, depth);
		json_array_append_new(j, v != NULL ? v : json_string(""));
	}
	return j;
}

static json_t *object(const ProtobufCMessage *m, int depth)
{
	const ProtobufCMessageDescriptor *d = m->descriptor;
	json_t *o = json_object();

	if (depth > MAX_DEPTH)
		return o;
	for (unsigned i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		const char *p = (const char *)m + f->offset;
		sw_autofree char *name = name_of(f->name);
		json_t *v = NULL;

		if (f->label == PROTOBUF_C_LABEL_REPEATED) {
			size_t n = *(const size_t *)((const char *)m + f->quantifier_offset);

			if (n > 0)
				v = list(f, *(char *const *)p, n, depth);
		} else if ((f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) == 0) {
			v = value(f, p, depth);
		} else if (*(const uint32_t *)((const char *)m + f->quantifier_offset) == f->id) {
			v = value(f, p, depth);
			v = v != NULL ? v : zero(f);
		}
		if (sw_streq(f->name, "version") && depth == 0 && v != NULL)
			v = json_pack("{so}", "Index", v);
		if (v != NULL)
			json_object_set_new(o, name, v);
	}
	return o;
}

json_t *describe_object(const ProtobufCMessage *m)
{
	return object(m, 0);
}
