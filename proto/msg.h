/** Generic work on protobuf-c messages, from their descriptors. Written once, never per type. */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Packs; the caller frees *ret. */
size_t msg_pack(const ProtobufCMessage *m, uint8_t **ret);
/** NULL when the bytes are not such a message. Bounded depth: the schema has no recursion. */
void *msg_unpack(const ProtobufCMessageDescriptor *d, const void *p, size_t n);
/** A deep copy, field by field. */
void *msg_clone(const ProtobufCMessage *m);
bool msg_equal(const ProtobufCMessage *a, const ProtobufCMessage *b);
/** NULL is allowed. */
void msg_free(ProtobufCMessage *m);
/** Bytes that the message holds on the heap, itself included. */
size_t msg_heap_size(const ProtobufCMessage *m);

#define msg_clone_of(type, m) ((type *)msg_clone(&(m)->base))

/** Replaces a string field (frees the old one unless it is protobuf-c's shared empty string). */
void msg_set_str(char **field, const char *s);
/** Appends to a repeated field. */
void msg_add_str(char ***vec, size_t *n, const char *s);
void msg_add(void *vec, size_t *n, void *m); /* vec: address of the pointer array */

/** Look-up in repeated KeyValue (the last one wins); NULL when it is not there. */
struct Pb__KeyValue;
const char *msg_kv_get(struct Pb__KeyValue *const *kv, size_t n, const char *key);
/** Sets or adds. */
void msg_kv_set(struct Pb__KeyValue ***kv, size_t *n, const char *key, const char *value);
