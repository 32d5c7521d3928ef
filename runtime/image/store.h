/**
 * The images of this node: layers unpacked under short names, documents and names in SQLite.
 *
 * Every function may be called from any thread; all block on the disk. A crash leaves either the
 * whole image or nothing: folders are renamed into place before their row is committed, and what no
 * row names is swept at open. Layers of an image that was not finished stay for a day, for the next
 * pull or build. Format: docs/formats/image-store.md.
 */
#pragma once

#include "base/error.h"
#include "runtime/image/inflate.h"
#include "runtime/image/manifest.h"

#include <stddef.h>
#include <stdint.h>

struct img_store;

struct img_image {
	char *id;      /* digest of the configuration */
	char *digest;  /* of the manifest, "" when loaded without one */
	char **names;  /* full references, with a tag or a digest; NULL = none */
	char **layers; /* folders, lowest first; NULL = none */
	uint64_t size; /* bytes of the layers, decompressed */
	bool local;    /* built or loaded here, or on a node that gave it to us */
	int64_t added_ms;
	struct img_config config;
};

void img_image_free(struct img_image *i);

int img_store_open(const char *dir, struct img_store **ret, struct sw_error *err) SW_MUST_CHECK;
void img_store_close(struct img_store *s);
const char *img_store_dir(const struct img_store *s);

/** By reference (as people write it) or by id ("sha256:…", or its first digits, at least 6). */
int img_store_get(struct img_store *s, const char *name, struct img_image **ret,
		  struct sw_error *err) SW_MUST_CHECK;
/** All, newest first; the caller frees each and the array. */
int img_store_list(struct img_store *s, struct img_image ***ret, size_t *ret_n,
		   struct sw_error *err) SW_MUST_CHECK;

/** Gives the image another name; a name that another image has moves. */
int img_store_tag(struct img_store *s, const char *id, const char *name,
		  struct sw_error *err) SW_MUST_CHECK;
/**
 * Takes the name away, and the image when that was its last; by id: all names and the image.
 * SW_EPRECOND while a container uses it.
 */
int img_store_remove(struct img_store *s, const char *name, struct sw_error *err) SW_MUST_CHECK;
/** Removes images that nothing uses and (unless `all`) that have no name. Returns how many. With `all`
 *  what was cut off goes too, else only if it is old (img_store_tidy). */
int img_store_prune(struct img_store *s, bool all, size_t *ret_n, uint64_t *ret_bytes,
		    struct sw_error *err) SW_MUST_CHECK;

enum { IMG_UNFINISHED_KEEP_MS = 24 * 3600 * 1000 };

/** Removes what pulls and builds that were cut off have left, if it is older. */
int img_store_tidy(struct img_store *s, int64_t before_ms, struct sw_error *err) SW_MUST_CHECK;

/** In memory only: who uses an image says so again after a restart. */
void img_store_pin(struct img_store *s, const char *id);
void img_store_unpin(struct img_store *s, const char *id);

/** It came from no registry. */
int img_store_mark_local(struct img_store *s, const char *id, struct sw_error *err) SW_MUST_CHECK;
/** Grows with each change of images or names; any thread. */
uint64_t img_store_changes(const struct img_store *s);

/* ---- For those who bring images in ---- */

/** An empty folder on the store's file system, for img_store_add_layer or img_store_drop_tmp. */
int img_store_tmp(struct img_store *s, char **ret_dir, struct sw_error *err) SW_MUST_CHECK;
/** Removes it, and the split file beside it. */
void img_store_drop_tmp(const char *dir);

/** Keeps a layer (there or not yet) from being removed with the image that it belonged to. */
void img_store_hold_layer(struct img_store *s, const char *diff_id);
void img_store_release_layer(struct img_store *s, const char *diff_id);
bool img_store_has_layer(struct img_store *s, const char *diff_id);
/** Takes the folder and its split file (DIR.split) over, also when it fails or when the layer is
 *  there already. */
int img_store_add_layer(struct img_store *s, const char *diff_id, const char *tmp, uint64_t size,
			struct sw_error *err) SW_MUST_CHECK;

/** Folder of a layer's files, in the form for an overlay mount, and the size of its archive (both
 * may be NULL). Hold the layer first. The caller frees. */
int img_store_layer(struct img_store *s, const char *diff_id, char **ret_dir, uint64_t *ret_size,
		    struct sw_error *err) SW_MUST_CHECK;
/** The layer as the uncompressed archive that its diff id names; the digest is checked, so what the
 *  sink got is right when this returns 0. */
int img_store_export_layer(struct img_store *s, const char *diff_id, img_sink sink, void *ctx,
			   struct sw_error *err) SW_MUST_CHECK;

/** Registers an image whose layers are all there, durable on return. `manifest` may be NULL. */
int img_store_add_image(struct img_store *s, const void *config, size_t config_n,
			const void *manifest, size_t manifest_n, char *const *names, char **ret_id,
			struct sw_error *err) SW_MUST_CHECK;

/** The image's documents; the caller frees. *ret_manifest is NULL when it has none. */
int img_store_documents(struct img_store *s, const char *id, char **ret_config,
			size_t *ret_config_n, char **ret_manifest, size_t *ret_manifest_n,
			struct sw_error *err) SW_MUST_CHECK;

/* ---- Steps of builds: what a step with this key gave. They keep their layers. ---- */

/** SW_ENOTFOUND when the step is not known. *ret_diff_id: the caller frees; NULL = no layer. The
 *  layer is held: img_store_release_layer when done. */
int img_store_step_find(struct img_store *s, const char *key, char **ret_diff_id,
			struct sw_error *err) SW_MUST_CHECK;
/** `diff_id` NULL: the step changed no file. */
int img_store_step_add(struct img_store *s, const char *key, const char *diff_id,
		       struct sw_error *err) SW_MUST_CHECK;
/** Forgets steps not used since `before_ms`, then the longest unused until their layers are at most
 *  `keep_bytes`. */
int img_store_step_prune(struct img_store *s, int64_t before_ms, uint64_t keep_bytes, size_t *ret_n,
			 struct sw_error *err) SW_MUST_CHECK;
