/** Objects as JSON, from their descriptors: what `inspect` shows. */
#pragma once

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>

/** Fields that are not set are left out; names are Docker's style ("CreatedAt", "Spec"). */
json_t *describe_object(const ProtobufCMessage *m);
