/** Image names: the grammar of distribution/reference, and Docker's normal form of it. Pure. */
#pragma once

#include "base/buf.h"
#include "base/error.h"

/** Owned strings. A zeroed one is empty. `tag` and `digest` are NULL when they were not written. */
struct img_ref {
	char *domain; /* "docker.io", "host:5000"; "" only from img_ref_parse_raw */
	char *path;   /* "library/redis" */
	char *tag;
	char *digest; /* "sha256:…" */
};

void img_ref_fini(struct img_ref *r);

/** As people write it: "redis" means docker.io/library/redis. No tag is added. */
int img_ref_parse(const char *s, struct img_ref *ret, struct sw_error *err) SW_MUST_CHECK;

/** Without defaults: what stands before the first slash is the domain if it can be one. */
int img_ref_parse_raw(const char *s, struct img_ref *ret, struct sw_error *err) SW_MUST_CHECK;

/** What is pulled: "latest" where neither tag nor digest is given, no tag where both are. */
int img_ref_parse_pull(const char *s, struct img_ref *ret, struct sw_error *err) SW_MUST_CHECK;

/** "domain/path[:tag][@digest]"; the caller frees. */
char *img_ref_full(const struct img_ref *r);
/** The short form that people see: without docker.io and library/. */
char *img_ref_familiar(const struct img_ref *r);

/** "algorithm:hex"; for sha256, 64 lower-case digits. */
bool img_digest_valid(const char *s);
/** Ours: sha256 only. */
bool img_digest_is_sha256(const char *s);
