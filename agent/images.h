/* agent/images.c, build.c: what the agent's socket says of images, and their part of the agent. */
#pragma once

#include "agent/internal.h"
#include "runtime/image/store.h"

/** Points into the image. */
void images_fill_summary(Pb__ImageSummary *out, const struct img_image *i);

void images_on_tag(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);
void images_on_save(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);
void images_on_push(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);
void images_on_history(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);
void images_on_prune(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);

void build_on_build(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);
/** Before anything else uses the image store's folder: what a killed agent's builds left. */
void build_sweep(struct agent *a);
