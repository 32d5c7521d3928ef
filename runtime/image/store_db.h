/** The rows of the image store. Not locked: the store's functions are the only callers. */
#pragma once

#include "runtime/image/store.h"

struct img_db;

int img_db_open(const char *path, struct img_db **ret, struct sw_error *err) SW_MUST_CHECK;
void img_db_close(struct img_db *db);
/**
 * Drops folders in `layers` that no row names. When the host has been down since the last time (`boot`
 * is another), first what it may have lost with its memory: layers, and steps with them, that were
 * added since the last image.
 */
int img_db_sweep(struct img_db *db, const char *layers, const char *boot,
		 struct sw_error *err) SW_MUST_CHECK;
/** The newest layer's number, for img_db_add_image: what was there before a sync. */
int64_t img_db_last_layer(struct img_db *db);

int img_db_name(struct img_db *db, const char *full, char **ret_id, struct sw_error *err);
int img_db_id_prefix(struct img_db *db, const char *hex, char **ret_id, struct sw_error *err);
int img_db_ids(struct img_db *db, char ***ret, struct sw_error *err);
int img_db_image(struct img_db *db, const char *dir, const char *id, struct img_image **ret,
		 struct sw_error *err);
int img_db_set_name(struct img_db *db, const char *full, const char *id, struct sw_error *err);
int img_db_drop_name(struct img_db *db, const char *full, struct sw_error *err);
int img_db_other_names(struct img_db *db, const char *id, const char *full, size_t *ret,
		       struct sw_error *err);
int img_db_drop_image(struct img_db *db, const char *id, struct sw_error *err);
/** Short names and diff ids of layers that neither an image nor a step has. */
int img_db_unused_layers(struct img_db *db, char ***ret_layers, char ***ret_diff_ids,
			 struct sw_error *err);
bool img_db_has_layer(struct img_db *db, const char *diff_id);
/** Renames `tmp` to dir/l/SHORT, its split file to dir/s/SHORT, and commits the row. */
int img_db_add_layer(struct img_db *db, const char *dir, const char *diff_id, const char *tmp,
		     uint64_t size, struct sw_error *err);
int img_db_layer(struct img_db *db, const char *diff_id, char **ret_name, uint64_t *ret_size,
		 struct sw_error *err);
int img_db_drop_layer(struct img_db *db, const char *short_name, struct sw_error *err);
int img_db_add_image(struct img_db *db, const char *id, const char *digest, const void *config,
		     size_t config_n, const void *manifest, size_t manifest_n,
		     char *const *diff_ids, char *const *names, int64_t synced,
		     struct sw_error *err);
int img_db_documents(struct img_db *db, const char *id, char **ret_config, size_t *ret_config_n,
		     char **ret_manifest, size_t *ret_manifest_n, struct sw_error *err);
int img_db_step_find(struct img_db *db, const char *key, char **ret_diff_id, struct sw_error *err);
int img_db_step_add(struct img_db *db, const char *key, const char *diff_id, struct sw_error *err);
int img_db_step_prune(struct img_db *db, int64_t before_ms, uint64_t keep_bytes, size_t *ret_n,
		      struct sw_error *err);
int img_db_mark_local(struct img_db *db, const char *id, struct sw_error *err);
int img_db_by_digest(struct img_db *db, const char *digest, char **ret_id, struct sw_error *err);
