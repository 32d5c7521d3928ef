/** What differs between two messages of one type, as lines for people: "a.b.c: 1 -> 2". */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

/**
 * Calls `each` for every difference, in the order of the fields; at most `max` times, then once
 * more with "… and N more". Elements of lists are found again by content: "a.b: + x", "a.b: - y".
 * Pairs (KeyValue) are found by key. Bytes are never shown, only how many there are; fixed64 fields
 * are ids, and are passed over unless nothing else differs in an element. Either message may be
 * NULL.
 */
void msg_diff(const ProtobufCMessageDescriptor *d, const ProtobufCMessage *a,
	      const ProtobufCMessage *b, size_t max, void (*each)(void *arg, const char *line),
	      void *arg);
