/**
 * The JSON documents of an image: index, manifest, configuration; OCI and Docker schema 2.
 *
 * Everything comes from outside: types, sizes and counts are checked before anything is kept. Pure.
 */
#pragma once

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum {
	IMG_DOC_MAX = 4 << 20, /* bytes of one document */
	IMG_LAYERS_MAX = 500,  /* overlayfs takes as many lower folders */
	IMG_INDEX_MAX = 1000,
	IMG_LIST_MAX = 4096, /* entries of any list in a configuration */
};

#define IMG_MT_OCI_INDEX     "application/vnd.oci.image.index.v1+json"
#define IMG_MT_OCI_MANIFEST  "application/vnd.oci.image.manifest.v1+json"
#define IMG_MT_OCI_CONFIG    "application/vnd.oci.image.config.v1+json"
#define IMG_MT_DOCKER_LIST   "application/vnd.docker.distribution.manifest.list.v2+json"
#define IMG_MT_DOCKER_V2     "application/vnd.docker.distribution.manifest.v2+json"
#define IMG_MT_DOCKER_CONFIG "application/vnd.docker.container.image.v1+json"

struct img_platform {
	char *os, *arch, *variant; /* NULL = not said */
};

struct img_desc {
	char *media_type;
	char *digest;
	int64_t size;
	struct img_platform platform;
	char *ref_name; /* annotation org.opencontainers.image.ref.name, or containerd's image name
			 */
};

struct img_index {
	struct img_desc *manifests;
	size_t n;
};

struct img_manifest {
	char *media_type; /* NULL = not said */
	struct img_desc config;
	struct img_desc *layers;
	size_t n;
};

/** String lists are NULL-terminated and may be NULL. */
struct img_config {
	struct img_platform platform;
	char *created;
	char **diff_ids; /* "sha256:…", lowest layer first */
	char **env;
	char **entrypoint;
	char **cmd;
	char **volumes; /* paths */
	char **ports;   /* "80/tcp" */
	char **labels;  /* "key=value" */
	char **shell;   /* of commands given as text; NULL = /bin/sh -c */
	char **health;  /* as Healthcheck.Test; NULL = none */
	uint64_t health_interval_ms, health_timeout_ms, health_start_ms, health_start_interval_ms;
	uint32_t health_retries;
	char *user, *workdir, *stop_signal; /* NULL = not said */
};

void img_platform_fini(struct img_platform *p);
void img_desc_fini(struct img_desc *d);
void img_index_fini(struct img_index *i);
void img_manifest_fini(struct img_manifest *m);
void img_config_fini(struct img_config *c);

int img_desc_parse(const void *p, size_t n, struct img_desc *ret,
		   struct sw_error *err) SW_MUST_CHECK;
int img_index_parse(const void *p, size_t n, struct img_index *ret,
		    struct sw_error *err) SW_MUST_CHECK;
int img_manifest_parse(const void *p, size_t n, struct img_manifest *ret,
		       struct sw_error *err) SW_MUST_CHECK;
int img_config_parse(const void *p, size_t n, struct img_config *ret,
		     struct sw_error *err) SW_MUST_CHECK;
/** The file oci-layout. */
int img_layout_parse(const void *p, size_t n, struct sw_error *err) SW_MUST_CHECK;

/** True when the document is an index or a manifest list, by its media type or its fields. */
bool img_is_index(const char *media_type, const void *p, size_t n);

/** The entry for this platform ("linux", "amd64", variant or NULL), or NULL. */
const struct img_desc *img_index_choose(const struct img_index *i, const struct img_platform *want);

/** This machine's. Static strings. */
struct img_platform img_platform_host(void);

/** SW_EUNSUPP for what is no layer (encrypted, artifacts). How it is packed is seen from its bytes.
 */
int img_layer_check(const char *media_type, struct sw_error *err) SW_MUST_CHECK;
