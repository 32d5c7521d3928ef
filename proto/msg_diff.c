#include "proto/msg_diff.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/msg.h"
#include "proto/types.pb-c.h"

#include <inttypes.h>
#include <stdio.h>

enum { MAX_TEXT = 200, MAX_PATH = 256, MAX_ELEMENT = 4096 };

struct diff {
	size_t max, said;
	void (*each)(void *arg, const char *line);
	void *arg;
};

static void say(struct diff *d, const char *path, const char *mark, const char *a, const char *b)
{
	if (d->said++ >= d->max)
		return;
	sw_autofree char *line =
		b != NULL ? sw_asprintf("%s: %.*s -> %.*s", path, MAX_TEXT, a, MAX_TEXT, b)
			  : sw_asprintf("%s: %s%.*s", path, mark, MAX_TEXT, a);
	d->each(d->arg, line);
}

static const void *at(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	return (const char *)m + f->offset;
}

static uint32_t count_of(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	return (uint32_t) * (const size_t *)((const char *)m + f->quantifier_offset);
}

/* A member of a oneof that is not set reads as nothing. */
static bool is_set(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	if ((f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) == 0)
		return true;
	return *(const uint32_t *)((const char *)m + f->quantifier_offset) == f->id;
}

static void text_of_message(const ProtobufCMessage *m, struct sw_buf *b);

/* UPDATE_RUNNING and the like, in lower case. */
static void text_of_enum(const ProtobufCEnumDescriptor *d, int value, struct sw_buf *b)
{
	const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(d, value);

	for (const char *p = v != NULL ? v->name : "?"; *p != 0; p++)
		sw_buf_addc(b, *p == '_' ? '-' : *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p);
}

static void text_of(const ProtobufCFieldDescriptor *f, const void *p, struct sw_buf *b)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_STRING:
		sw_buf_addf(b, "%s", *(char *const *)p);
		return;
	case PROTOBUF_C_TYPE_BYTES:
		sw_buf_addf(b, "(%zu bytes)", ((const ProtobufCBinaryData *)p)->len);
		return;
	case PROTOBUF_C_TYPE_BOOL:
		sw_buf_adds(b, *(const protobuf_c_boolean *)p ? "true" : "false");
		return;
	case PROTOBUF_C_TYPE_ENUM:
		text_of_enum(f->descriptor, *(const int *)p, b);
		return;
	case PROTOBUF_C_TYPE_DOUBLE:
		sw_buf_addf(b, "%g", *(const double *)p);
		return;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
		sw_buf_addf(b, "%" PRId64, *(const int64_t *)p);
		return;
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		sw_buf_addf(b, "%" PRIu64, *(const uint64_t *)p);
		return;
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
		sw_buf_addf(b, "%" PRId32, *(const int32_t *)p);
		return;
	case PROTOBUF_C_TYPE_MESSAGE:
		text_of_message(*(ProtobufCMessage *const *)p, b);
		return;
	default:
		sw_buf_addf(b, "%" PRIu32, *(const uint32_t *)p);
	}
}

static bool is_empty(const ProtobufCFieldDescriptor *f, const void *p)
{
	static const ProtobufCBinaryData none;

	switch (f->type) {
	case PROTOBUF_C_TYPE_STRING:
		return sw_is_empty(*(char *const *)p);
	case PROTOBUF_C_TYPE_MESSAGE:
		return *(ProtobufCMessage *const *)p == NULL;
	case PROTOBUF_C_TYPE_BYTES:
		return ((const ProtobufCBinaryData *)p)->len == none.len;
	case PROTOBUF_C_TYPE_BOOL:
		return !*(const protobuf_c_boolean *)p;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return *(const uint64_t *)p == 0;
	default:
		return *(const uint32_t *)p == 0;
	}
}

static size_t width_of(const ProtobufCFieldDescriptor *f)
{
	return f->type == PROTOBUF_C_TYPE_STRING || f->type == PROTOBUF_C_TYPE_MESSAGE
		       ? sizeof(void *)
	       : f->type == PROTOBUF_C_TYPE_BYTES ? sizeof(ProtobufCBinaryData)
	       : f->type == PROTOBUF_C_TYPE_FIXED64 || f->type == PROTOBUF_C_TYPE_UINT64 ? 8
											 : 4;
}

/* "{source: a, target: b}", or "a=b" of a pair. Ids say nothing to people. */
static void text_of_message(const ProtobufCMessage *m, struct sw_buf *b)
{
	const char *sep = "{";

	if (m == NULL)
		return;
	if (m->descriptor == &pb__key_value__descriptor) {
		sw_buf_addf(b, "%s=%s", ((const Pb__KeyValue *)m)->key,
			    ((const Pb__KeyValue *)m)->value);
		return;
	}
	for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];

		if (f->label == PROTOBUF_C_LABEL_REPEATED || f->type == PROTOBUF_C_TYPE_FIXED64 ||
		    !is_set(m, f) || is_empty(f, at(m, f)))
			continue;
		sw_buf_addf(b, "%s%s: ", sep, f->name);
		text_of(f, at(m, f), b);
		sep = ", ";
	}
	sw_buf_adds(b, sep[0] == '{' ? "{}" : "}");
}

static char *element(const ProtobufCFieldDescriptor *f, const void *v, size_t i)
{
	struct sw_buf b = SW_BUF_INIT(MAX_ELEMENT);

	text_of(f, (const char *)v + i * width_of(f), &b);
	return sw_buf_take(&b);
}

static char **elements(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, uint32_t n)
{
	char **v = sw_new_n(char *, n + 1);

	for (uint32_t i = 0; i < n; i++)
		v[i] = element(f, *(void *const *)at(m, f), i);
	return v;
}

/* Those of one list that the other has not: each match is used up. */
static size_t say_missing(struct diff *d, const char *path, const char *mark, char *const *in,
			  uint32_t n, char *const *other, uint32_t n_other)
{
	sw_autofree bool *used = sw_new_n(bool, n_other + 1);
	size_t said = 0;

	for (uint32_t i = 0; i < n; i++) {
		bool found = false;

		for (uint32_t k = 0; !found && k < n_other; k++)
			if (!used[k] && sw_streq(in[i], other[k]))
				found = used[k] = true;
		if (!found)
			say(d, path, mark, in[i], NULL);
		said += !found;
	}
	return said;
}

static void free_all(char **v, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		free(v[i]);
	free(v);
}

static bool same_elements(const ProtobufCMessage *a, const ProtobufCMessage *b,
			  const ProtobufCFieldDescriptor *f, uint32_t n)
{
	ProtobufCMessage *const *x = *(ProtobufCMessage * *const *)at(a, f);
	ProtobufCMessage *const *y = *(ProtobufCMessage * *const *)at(b, f);

	for (uint32_t i = 0; f->type == PROTOBUF_C_TYPE_MESSAGE && i < n; i++)
		if (!msg_equal(x[i], y[i]))
			return false;
	return true;
}

static void diff_list(struct diff *d, const char *path, const ProtobufCMessage *a,
		      const ProtobufCMessage *b, const ProtobufCFieldDescriptor *f)
{
	uint32_t n = count_of(a, f), m = count_of(b, f);
	char **x = elements(a, f, n), **y = elements(b, f, m);
	size_t said = say_missing(d, path, "- ", x, n, y, m);

	said += say_missing(d, path, "+ ", y, m, x, n);
	if (said == 0 && n == m && !same_elements(a, b, f, n))
		say(d, path, "", "another version of the same", NULL);
	free_all(x, n);
	free_all(y, m);
}

static void diff_messages(struct diff *d, const char *path, const ProtobufCMessageDescriptor *desc,
			  const ProtobufCMessage *a, const ProtobufCMessage *b);

static void diff_field(struct diff *d, const char *path, const ProtobufCMessage *a,
		       const ProtobufCMessage *b, const ProtobufCFieldDescriptor *f)
{
	struct sw_buf x = SW_BUF_INIT(MAX_ELEMENT), y = SW_BUF_INIT(MAX_ELEMENT);

	if (is_set(a, f))
		text_of(f, at(a, f), &x);
	if (is_set(b, f))
		text_of(f, at(b, f), &y);
	if (!sw_streq(sw_buf_str(&x), sw_buf_str(&y)))
		say(d, path, "", x.len > 0 ? sw_buf_str(&x) : "(none)",
		    y.len > 0 ? sw_buf_str(&y) : "(none)");
	else if (f->type == PROTOBUF_C_TYPE_BYTES &&
		 memcmp(((const ProtobufCBinaryData *)at(a, f))->data,
			((const ProtobufCBinaryData *)at(b, f))->data,
			((const ProtobufCBinaryData *)at(a, f))->len) != 0)
		say(d, path, "", "new content", NULL);
	sw_buf_fini(&x);
	sw_buf_fini(&y);
}

static void diff_messages(struct diff *d, const char *path, const ProtobufCMessageDescriptor *desc,
			  const ProtobufCMessage *a, const ProtobufCMessage *b)
{
	sw_autofree ProtobufCMessage *none = sw_alloc(desc->sizeof_message);

	desc->message_init(none);
	a = a != NULL ? a : none;
	b = b != NULL ? b : none;
	for (unsigned i = 0; i < desc->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &desc->fields[i];
		char sub[MAX_PATH];

		snprintf(sub, sizeof sub, "%s%s%s", path, path[0] != 0 ? "." : "", f->name);
		if (f->label == PROTOBUF_C_LABEL_REPEATED)
			diff_list(d, sub, a, b, f);
		else if (f->type == PROTOBUF_C_TYPE_MESSAGE)
			diff_messages(d, sub, f->descriptor, *(ProtobufCMessage *const *)at(a, f),
				      *(ProtobufCMessage *const *)at(b, f));
		else if (f->type != PROTOBUF_C_TYPE_FIXED64)
			diff_field(d, sub, a, b, f);
	}
}

void msg_diff(const ProtobufCMessageDescriptor *desc, const ProtobufCMessage *a,
	      const ProtobufCMessage *b, size_t max, void (*each)(void *arg, const char *line),
	      void *arg)
{
	struct diff d = {.max = max, .each = each, .arg = arg};

	diff_messages(&d, "", desc, a, b);
	if (d.said > max) {
		sw_autofree char *more = sw_asprintf("… and %zu more", d.said - max);

		each(arg, more);
	}
}
