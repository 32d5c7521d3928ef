/** The database of a member's folder: opening, checking, loading, and what one batch does. */
#pragma once

#include "manager/consensus/core.h"

enum disk_job_kind { DISK_WRITE, DISK_SNAPSHOT, DISK_INSTALL };

struct disk_job {
	enum disk_job_kind kind;
	struct disk_job *next;
	uint64_t seq;
	uint64_t from;            /* WRITE: cut from here; SNAPSHOT: keep from here */
	struct cons_entry **rows; /* references */
	size_t n_rows;
	struct cons_meta meta;
	const uint8_t *p; /* INSTALL, borrowed */
	size_t n;
};

struct disk_db;

int disk_db_open(const char *dir, uint64_t raft_id, struct disk_db **ret,
		 struct sw_error *err) SW_MUST_CHECK;
void disk_db_close(struct disk_db *db);
const char *disk_db_dir(const struct disk_db *db);
int disk_db_load(struct disk_db *db, struct cons_disk_state *ret, uint8_t **ret_snapshot,
		 size_t *ret_n, struct sw_error *err) SW_MUST_CHECK;
/** The whole list in one transaction, or nothing. */
int disk_db_batch(struct disk_db *db, struct disk_job *first, struct sw_error *err) SW_MUST_CHECK;
int disk_db_set_term(struct disk_db *db, uint64_t term, uint64_t vote,
		     struct sw_error *err) SW_MUST_CHECK;
