/** The tasks of this node on its disk: one file each, for the time without a manager. */
#pragma once

#include "base/error.h"
#include "proto/local.pb-c.h"

int records_open(const char *dir, struct sw_error *err) SW_MUST_CHECK;
/** Writes nothing when it is what was saved last: *last is the digest of that, 0 = nothing was. */
int records_save(const char *dir, const Pb__TaskRecord *r, uint64_t *last,
		 struct sw_error *err) SW_MUST_CHECK;
void records_remove(const char *dir, uint64_t task);
/** Calls back for each whole one; what is damaged is removed and counted in *ret_bad. */
int records_load(const char *dir, void (*cb)(void *arg, Pb__TaskRecord *takes), void *arg,
		 unsigned *ret_bad, struct sw_error *err) SW_MUST_CHECK;
