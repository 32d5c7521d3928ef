#include "proto/msg.h"

#include "base/assert.h"
#include "base/mem.h"
#include "proto/types.pb-c.h"

#include <string.h>

size_t msg_pack(const ProtobufCMessage *m, uint8_t **ret)
{
	size_t n = protobuf_c_message_get_packed_size(m);

	*ret = sw_alloc(n);
	return protobuf_c_message_pack(m, *ret);
}

void *msg_unpack(const ProtobufCMessageDescriptor *d, const void *p, size_t n)
{
	return protobuf_c_message_unpack(d, NULL, n, p);
}

void msg_free(ProtobufCMessage *m)
{
	if (m != NULL)
		protobuf_c_message_free_unpacked(m, NULL);
}

static size_t width_of(ProtobufCType t)
{
	switch (t) {
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return 8;
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	default:
		return 4;
	}
}

static const void *field_at(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	return (const char *)m + f->offset;
}

/* A member of a oneof that is not the one that is set. */
static bool is_absent(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	uint32_t which;

	if ((f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) == 0)
		return false;
	memcpy(&which, (const char *)m + f->quantifier_offset, sizeof which);
	return which != f->id;
}

static size_t count_of(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	size_t n;

	memcpy(&n, (const char *)m + f->quantifier_offset, sizeof n);
	return n;
}

static bool is_shared_empty(const char *s, const void *default_value)
{
	return s == NULL || s == protobuf_c_empty_string || s == default_value;
}

/* Copies one element of `f`'s type from `src` to `dst`. */
static void copy_one(const ProtobufCFieldDescriptor *f, void *dst, const void *src)
{
	const ProtobufCBinaryData *bin;
	char *const *str;
	ProtobufCMessage *const *sub;
	void *out;

	switch (f->type) {
	case PROTOBUF_C_TYPE_STRING:
		str = src;
		if (!is_shared_empty(*str, f->default_value)) {
			out = sw_strdup(*str);
			memcpy(dst, &out, sizeof out);
		} else if (f->label == PROTOBUF_C_LABEL_REPEATED) {
			out = sw_strdup("");
			memcpy(dst, &out, sizeof out);
		} else {
			memcpy(dst, src, sizeof out);
		}
		return;
	case PROTOBUF_C_TYPE_BYTES:
		bin = src;
		*(ProtobufCBinaryData *)dst = (ProtobufCBinaryData){
			.len = bin->len,
			.data = bin->len > 0 ? sw_memdup(bin->data, bin->len) : NULL,
		};
		return;
	case PROTOBUF_C_TYPE_MESSAGE:
		sub = src;
		out = *sub != NULL ? msg_clone(*sub) : NULL;
		memcpy(dst, &out, sizeof out);
		return;
	default:
		memcpy(dst, src, width_of(f->type));
	}
}

void *msg_clone(const ProtobufCMessage *m)
{
	const ProtobufCMessageDescriptor *d = m->descriptor;
	ProtobufCMessage *c = sw_alloc(d->sizeof_message);

	/* Scalars, quantifiers and oneof cases in one go; then everything that is a pointer. */
	memcpy(c, m, d->sizeof_message);
	c->n_unknown_fields = 0;
	c->unknown_fields = NULL;
	for (unsigned i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		char *dst = (char *)c + f->offset;
		const char *src = field_at(m, f);
		size_t n, w = width_of(f->type);
		const char *from;
		char *to = NULL;

		if (f->label != PROTOBUF_C_LABEL_REPEATED) {
			if (!is_absent(m, f))
				copy_one(f, dst, src);
			continue;
		}
		n = count_of(m, f);
		memcpy(&from, src, sizeof from);
		if (n > 0) {
			to = sw_alloc(n * w);
			for (size_t k = 0; k < n; k++)
				copy_one(f, to + k * w, from + k * w);
		}
		memcpy(dst, &to, sizeof to);
	}
	return c;
}

bool msg_equal(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
	sw_autofree uint8_t *pa = NULL;
	sw_autofree uint8_t *pb = NULL;
	size_t na, nb;

	if (a == NULL || b == NULL)
		return a == b;
	na = msg_pack(a, &pa);
	nb = msg_pack(b, &pb);
	return a->descriptor == b->descriptor && na == nb && memcmp(pa, pb, na) == 0;
}

static size_t heap_of_one(const ProtobufCFieldDescriptor *f, const void *src)
{
	char *const *str = src;
	ProtobufCMessage *const *sub = src;
	const ProtobufCBinaryData *bin = src;

	switch (f->type) {
	case PROTOBUF_C_TYPE_STRING:
		return is_shared_empty(*str, f->default_value) ? 0 : strlen(*str) + 17;
	case PROTOBUF_C_TYPE_BYTES:
		return bin->len > 0 ? bin->len + 16 : 0;
	case PROTOBUF_C_TYPE_MESSAGE:
		return *sub != NULL ? msg_heap_size(*sub) : 0;
	default:
		return 0;
	}
}

size_t msg_heap_size(const ProtobufCMessage *m)
{
	const ProtobufCMessageDescriptor *d = m->descriptor;
	size_t total = d->sizeof_message + 16;

	for (unsigned i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		const char *from;
		size_t n;

		if (f->label != PROTOBUF_C_LABEL_REPEATED) {
			if (!is_absent(m, f))
				total += heap_of_one(f, field_at(m, f));
			continue;
		}
		n = count_of(m, f);
		memcpy(&from, field_at(m, f), sizeof from);
		if (n > 0)
			total += n * width_of(f->type) + 16;
		for (size_t k = 0; k < n; k++)
			total += heap_of_one(f, from + k * width_of(f->type));
	}
	return total;
}

void msg_set_str(char **field, const char *s)
{
	char *copy = s == NULL || *s == 0 ? NULL : sw_strdup(s);

	if (*field != protobuf_c_empty_string)
		free(*field);
	*field = copy != NULL ? copy : (char *)protobuf_c_empty_string;
}

void msg_add_str(char ***vec, size_t *n, const char *s)
{
	*vec = sw_realloc(*vec, (*n + 1) * sizeof **vec);
	(*vec)[(*n)++] = sw_strdup(s);
}

void msg_add(void *vec, size_t *n, void *m)
{
	void ***v = vec;

	*v = sw_realloc(*v, (*n + 1) * sizeof **v);
	(*v)[(*n)++] = m;
}

const char *msg_kv_get(Pb__KeyValue *const *kv, size_t n, const char *key)
{
	for (size_t i = n; i-- > 0;)
		if (strcmp(kv[i]->key, key) == 0)
			return kv[i]->value;
	return NULL;
}

void msg_kv_set(Pb__KeyValue ***kv, size_t *n, const char *key, const char *value)
{
	Pb__KeyValue *e;

	for (size_t i = *n; i-- > 0;) {
		if (strcmp((*kv)[i]->key, key) == 0) {
			msg_set_str(&(*kv)[i]->value, value);
			return;
		}
	}
	e = sw_new(Pb__KeyValue);
	pb__key_value__init(e);
	msg_set_str(&e->key, key);
	msg_set_str(&e->value, value);
	msg_add(kv, n, e);
}
