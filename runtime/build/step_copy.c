/* ADD, COPY and WORKDIR. */
#include "base/digest.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/build/front/glob.h"
#include "runtime/build/front/shellword.h"
#include "runtime/build/solve_internal.h"
#include "runtime/container/user.h"
#include "runtime/image/reference.h"
#include "runtime/image/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

enum { URL_MAX = 1 << 30, MAGIC = 512 };

struct copy {
	struct source src;
	char **sources; /* expanded; NULL = none */
	char *dest;     /* absolute, with the slash at its end that was written */
	char *owner;    /* "user:group", NULL = as it is */
	struct bld_mode mode;
	char *mode_text; /* NULL = as it is */
	bool parents, unpack;
	struct bld_ignore *exclude;
	char **urls;     /* among the sources, with content */
	char **contents; /* of heredocs: name, text, … */
	struct url {
		char *name, *data;
		size_t n;
	} * fetched;
	size_t n_fetched;
};

static void copy_fini(struct copy *c)
{
	source_fini(&c->src);
	sw_strv_free(c->sources);
	sw_strv_free(c->contents);
	sw_strv_free(c->urls);
	free(c->dest);
	free(c->owner);
	free(c->mode_text);
	bld_ignore_free(c->exclude);
	for (size_t k = 0; k < c->n_fetched; k++) {
		free(c->fetched[k].name);
		free(c->fetched[k].data);
	}
	free(c->fetched);
}

static bool is_url(const char *s)
{
	return sw_after(s, "http://") != NULL || sw_after(s, "https://") != NULL;
}

static bool is_git(const char *s)
{
	return sw_after(s, "git@") != NULL || sw_after(s, "git://") != NULL ||
	       (is_url(s) && (sw_ends_with(s, ".git") || strstr(s, ".git#") != NULL));
}

/* ---- reading the instruction ---- */

static int take_heredoc(struct step *s, struct copy *c, const struct bld_heredoc *h)
{
	struct bld_shell shell = {
		.escape = s->escape, .no_quotes = true, .get = bld_state_get, .ctx = s->image};
	sw_autofree char *text = NULL;
	int rc = 0;

	if (h->expand)
		rc = bld_shell_word(&shell, h->text, &text, s->err);
	if (rc == 0) {
		c->contents = sw_strv_add(c->contents, h->name);
		c->contents = sw_strv_add(c->contents, text != NULL ? text : h->text);
	}
	return rc;
}

static int take_source(struct step *s, struct copy *c, size_t arg)
{
	int heredoc = bld_heredoc_index(s->i->node, arg);
	sw_autofree char *word = NULL;
	int rc;

	if (heredoc >= 0)
		return take_heredoc(s, c, &s->i->node->heredocs[heredoc]);
	rc = step_word(s, s->i->node->args[arg], &word);
	if (rc < 0)
		return rc;
	if (is_git(word))
		return sw_fail(
			s->err, SW_EUNSUPP,
			"ADD of a git repository is not supported: clone it in a RUN step, or "
			"give it as a build context");
	if (is_url(word) && s->i->kind == BLD_ADD)
		c->urls = sw_strv_add(c->urls, word);
	else if (is_url(word))
		return sw_fail(s->err, SW_EINVAL, "source can't be a URL for COPY");
	else
		c->sources = sw_strv_add(c->sources, word);
	return 0;
}

static int take_dest(struct step *s, struct copy *c, const char *arg)
{
	sw_autofree char *word = NULL, *path = NULL;
	bool folder;
	int rc = step_word(s, arg, &word);

	if (rc < 0)
		return rc;
	folder = *word == 0 || sw_ends_with(word, "/") || sw_streq(word, ".") ||
		 sw_ends_with(word, "/.");
	path = bld_path_join(bld_state_workdir(s->image), word);
	c->dest = folder && !sw_streq(path, "/") ? sw_asprintf("%s/", path) : sw_strdup(path);
	if (sw_strv_len(c->sources) + sw_strv_len(c->contents) / 2 + sw_strv_len(c->urls) > 1 &&
	    !sw_ends_with(c->dest, "/"))
		return sw_fail(
			s->err, SW_EINVAL,
			"When using %s with more than one source file, the destination must be "
			"a directory and end with a /",
			bld_kind_name(s->i->kind));
	return 0;
}

static int take_mode(struct step *s, struct copy *c)
{
	const char *flag = s->i->flag[BLD_F_CHMOD];
	int rc = flag != NULL ? step_word(s, flag, &c->mode_text) : 0;

	return rc == 0 && flag != NULL ? bld_mode_parse(c->mode_text, &c->mode, s->err) : rc;
}

static int take_excludes(struct step *s, struct copy *c)
{
	char **patterns = NULL;
	const char *v;
	int rc = 0;

	for (size_t k = 0; rc == 0 && (v = bld_instr_list(s->i, BLD_F_EXCLUDE, k)) != NULL; k++) {
		sw_autofree char *word = NULL;

		rc = step_word(s, v, &word);
		if (rc == 0)
			patterns = sw_strv_add(patterns, word);
	}
	step_key_list(s, "exclude", patterns);
	if (rc == 0 && patterns != NULL)
		rc = bld_ignore_new(patterns, &c->exclude, s->err);
	sw_strv_free(patterns);
	return rc;
}

static int read_instruction(struct step *s, struct copy *c)
{
	const char *from = s->i->flag[BLD_F_FROM], *chown = s->i->flag[BLD_F_CHOWN];
	char **args = s->i->node->args;
	size_t n = sw_strv_len(args);
	sw_autofree char *name = NULL;
	int rc = 0;

	for (size_t k = 0; rc == 0 && k + 1 < n; k++)
		rc = take_source(s, c, k);
	if (rc == 0)
		rc = take_dest(s, c, args[n - 1]);
	if (rc == 0)
		rc = take_mode(s, c);
	if (rc == 0)
		rc = take_excludes(s, c);
	if (rc == 0 && chown != NULL)
		rc = step_word(s, chown, &c->owner);
	if (rc == 0)
		rc = step_word(s, from != NULL ? from : "", &name);
	if (rc == 0 && from != NULL && *name == 0)
		rc = sw_fail(s->err, SW_EINVAL, "COPY --from names nothing");
	c->parents = bld_instr_is(s->i, BLD_F_PARENTS);
	c->unpack = s->i->kind == BLD_ADD &&
		    (s->i->flag[BLD_F_UNPACK] == NULL || bld_instr_is(s->i, BLD_F_UNPACK));
	if (rc == 0)
		rc = source_find(s, name, &c->src);
	return rc;
}

/* ---- URLs ---- */

static char *url_name(const char *url)
{
	sw_autofree char *path = sw_strndup(url, strcspn(url, "?#"));
	const char *slash = strrchr(path, '/');
	bool bare = slash == NULL || slash[1] == 0 || slash - path < 8;

	return bare ? NULL : sw_strdup(slash + 1);
}

static int check_sum(struct step *s, const struct url *u, const char *url)
{
	const char *want = s->i->flag[BLD_F_CHECKSUM];
	char hex[SW_SHA256_HEX];
	sw_autofree char *word = NULL;
	int rc;

	if (want == NULL)
		return 0;
	rc = step_word(s, want, &word);
	if (rc < 0)
		return rc;
	if (!img_digest_is_sha256(word))
		return sw_fail(s->err, SW_EINVAL, "--checksum=%.100s: wanted sha256:…", word);
	if (!sw_streq(sw_sha256_hex(u->data, u->n, hex), word + strlen("sha256:")))
		return sw_fail(s->err, SW_ECORRUPT, "%s is sha256:%s, not %s", url, hex, word);
	return 0;
}

/* The content is part of the key, so it is fetched before. */
static int fetch_urls(struct step *s, struct copy *c)
{
	int rc = 0;

	for (char **u = c->urls; rc == 0 && u != NULL && *u != NULL; u++) {
		char hex[SW_SHA256_HEX];
		struct url x = {.name = url_name(*u)};

		if (x.name == NULL && sw_ends_with(c->dest, "/"))
			return sw_fail(s->err, SW_EINVAL, "%s names no file: say one as dest", *u);
		rc = bld_fetch(*u, URL_MAX, s->b->host->cancel, &x.data, &x.n, s->err);
		if (rc == 0)
			rc = check_sum(s, &x, *u);
		if (rc == 0) {
			sw_sha256_hex(x.data, x.n, hex);
			step_key(s, "url", hex);
		}
		c->fetched = sw_realloc(c->fetched, sizeof x * (c->n_fetched + 1));
		c->fetched[c->n_fetched++] = x;
	}
	return rc;
}

/* ---- the work ---- */

int step_owner(struct step *s, const struct bld_root *root, const char *owner, uid_t *uid,
	       gid_t *gid)
{
	sw_autofree char *passwd = bld_root_text(root, "/etc/passwd");
	sw_autofree char *group = bld_root_text(root, "/etc/group");
	struct rt_user u = {0};
	int rc = rt_user_resolve(owner, NULL, passwd, group, &u, s->err);

	if (rc < 0)
		return sw_wrap(s->err, "--chown=%s", owner);
	*uid = u.uid;
	/* A number alone means the same number as group, as Docker has it. */
	*gid = strchr(owner, ':') == NULL && strspn(owner, "0123456789") == strlen(owner) ? u.uid
											  : u.gid;
	rt_user_fini(&u);
	return 0;
}

static bool is_archive(const unsigned char *p, size_t n)
{
	return (n > 262 && memcmp(p + 257, "ustar", 5) == 0) ||
	       (n > 2 && memcmp(p, "\x1f\x8b", 2) == 0) || (n > 3 && memcmp(p, "BZh", 3) == 0) ||
	       (n > 6 && memcmp(p, "\xfd\x37zXZ\0", 6) == 0) ||
	       (n > 4 && memcmp(p, "\x28\xb5\x2f\xfd", 4) == 0);
}

/* 1 = it was one and lies unpacked below dest, 0 = it is none. */
static int unpack(struct step *s, const struct bld_copy *k, const char *source, const char *dest)
{
	sw_autoclose int fd = bld_root_at(k->from, source, O_RDONLY | O_NONBLOCK), to = -1;
	unsigned char magic[MAGIC];
	struct img_unpack_result r;
	struct stat st;
	char self[48], path[4096];
	ssize_t n;
	int rc;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	n = pread(fd, magic, sizeof magic, 0);
	if (n <= 0 || !is_archive(magic, (size_t)n))
		return 0;
	rc = bld_root_mkdir(k->to, dest, 0, 0, &to, s->err);
	if (rc < 0)
		return rc;
	/* The unpacking child has no descriptors of ours: it needs the folder's path. */
	snprintf(self, sizeof self, "/proc/self/fd/%d", to);
	n = readlink(self, path, sizeof path - 1);
	if (n < 0)
		return sw_fail_sys(s->err, errno, "path of %s", dest);
	path[n] = 0;
	rc = img_unpack_fd(fd, path, IMG_UNPACK_ARCHIVE, NULL, &r, s->err);
	/* Packed, but no archive: it is copied as it is. */
	if (rc == SW_ECORRUPT && strstr(s->err->msg, "not a readable tar") != NULL)
		return 0;
	return rc < 0 ? sw_wrap(s->err, "%s", source) : 1;
}

/* --parents: what follows "/./" of the source, or all of it, is kept below dest. */
static char *with_parents(const char *pattern, const char *found, const char *dest)
{
	const char *pivot = strstr(pattern, "/./");
	size_t skip = 0;
	sw_autofree char *before = NULL;

	if (pivot != NULL) {
		sw_autofree char *head = sw_strndup(pattern, (size_t)(pivot - pattern));

		before = bld_path_clean(*head == '/' ? head + 1 : head);
		skip = strncmp(found, before, strlen(before)) == 0 ? strlen(before) : 0;
	}
	return sw_asprintf("%s/%s", dest, found + skip);
}

static int copy_found(struct step *s, struct copy *c, const struct bld_copy *k, const char *pattern,
		      const char *found)
{
	sw_autofree char *dest =
		c->parents ? with_parents(pattern, found, c->dest) : sw_strdup(c->dest);
	int rc = c->unpack && c->src.context != NULL ? unpack(s, k, found, dest) : 0;

	return rc == 0 ? bld_copy_path(k, found, dest, s->err) : rc < 0 ? rc : 0;
}

static int copy_sources(struct step *s, struct copy *c, const struct bld_copy *k)
{
	int rc = 0;

	for (char **p = c->sources; rc == 0 && p != NULL && *p != NULL; p++) {
		char **found = bld_copy_match(k->from, *p);

		if (found == NULL)
			rc = sw_fail(s->err, SW_ENOTFOUND, "\"%s\": not found", *p);
		if (sw_strv_len(found) > 1 && !sw_ends_with(c->dest, "/"))
			rc = sw_fail(s->err, SW_EINVAL,
				     "\"%s\" names %zu files: the destination must end with a /",
				     *p, sw_strv_len(found));
		for (char **f = found; rc == 0 && *f != NULL; f++)
			rc = copy_found(s, c, k, *p, *f);
		sw_strv_free(found);
	}
	return rc;
}

static int put_bytes(struct step *s, struct copy *c, const struct bld_copy *k, const char *name,
		     const void *p, size_t n, mode_t mode)
{
	struct stat st;
	bool inside = sw_ends_with(c->dest, "/") ||
		      (bld_root_stat(k->to, c->dest, &st) && S_ISDIR(st.st_mode));
	sw_autofree char *dest = inside ? sw_asprintf("%s/%s", c->dest, name) : sw_strdup(c->dest);

	return bld_copy_bytes(k, p, n, mode, dest, s->err);
}

static int copy_work(struct step *s, struct bld_root *root, void *arg)
{
	struct copy *c = arg;
	struct bld_root from = {.fd = -1};
	struct bld_copy k = {.from = &from,
			     .to = root,
			     .set_owner = c->owner != NULL,
			     .mode = c->mode,
			     .mtime = s->b->o->epoch,
			     .exclude = c->exclude,
			     .cancel = s->b->host->cancel};
	int rc = 0;

	if (c->owner != NULL)
		rc = step_owner(s, root, c->owner, &k.uid, &k.gid);
	if (rc == 0 && c->sources != NULL)
		rc = source_open(s, &c->src, &from);
	if (rc == 0)
		rc = copy_sources(s, c, &k);
	for (char **h = c->contents; rc == 0 && h != NULL && *h != NULL; h += 2)
		rc = put_bytes(s, c, &k, h[0], h[1], strlen(h[1]), 0644);
	for (size_t n = 0; rc == 0 && n < c->n_fetched; n++)
		rc = put_bytes(s, c, &k, c->fetched[n].name != NULL ? c->fetched[n].name : "",
			       c->fetched[n].data, c->fetched[n].n, 0600);
	if (from.path != NULL)
		bld_root_close(&from, NULL);
	return rc;
}

static int key_of(struct step *s, struct copy *c)
{
	char how[16];
	int rc = 0;

	step_key(s, "kind", bld_kind_name(s->i->kind));
	step_key(s, "dest", c->dest);
	step_key(s, "owner", c->owner != NULL ? c->owner : "");
	step_key(s, "mode", c->mode_text != NULL ? c->mode_text : "");
	snprintf(how, sizeof how, "%d %d", c->parents, c->unpack);
	step_key(s, "how", how);
	step_key_list(s, "heredocs", c->contents);
	for (char **p = c->sources; rc == 0 && p != NULL && *p != NULL; p++) {
		char hex[65];

		rc = source_digest(s, &c->src, *p, c->exclude, hex);
		step_key(s, "source", *p);
		step_key(s, "content", hex);
	}
	return rc;
}

int step_copy(struct step *s)
{
	struct copy c = {0};
	char epoch[24];
	int rc = read_instruction(s, &c);

	snprintf(epoch, sizeof epoch, "%lld", (long long)s->b->o->epoch);
	step_key(s, "epoch", epoch);
	if (rc == 0)
		rc = fetch_urls(s, &c);
	if (rc == 0)
		rc = key_of(s, &c);
	if (rc == 0)
		rc = step_layer(s, bld_instr_is(s->i, BLD_F_LINK) && c.owner == NULL,
				s->i->node->original, copy_work, &c);
	copy_fini(&c);
	return rc;
}

/* ---- WORKDIR ---- */

static int workdir_work(struct step *s, struct bld_root *root, void *arg)
{
	const char *user = bld_state_text(s->image, "User");
	uid_t uid = 0;
	gid_t gid = 0;
	int fd = -1, rc = 0;

	/* Docker: the folder is the user's whose steps follow. */
	if (*user != 0)
		rc = step_owner(s, root, user, &uid, &gid);
	if (rc == 0)
		rc = bld_root_mkdir(root, arg, uid, gid, &fd, s->err);
	if (fd >= 0)
		close(fd);
	return rc;
}

int step_workdir(struct step *s)
{
	sw_autofree char *word = NULL, *path = NULL;
	char epoch[24];
	int rc = step_word(s, s->i->node->args[0], &word);

	if (rc < 0)
		return rc;
	if (*word == 0)
		return sw_fail(s->err, SW_EINVAL, "WORKDIR: its value is empty");
	path = bld_path_join(bld_state_workdir(s->image), word);
	snprintf(epoch, sizeof epoch, "%lld", (long long)s->b->o->epoch);
	step_key(s, "kind", "WORKDIR");
	step_key(s, "path", path);
	step_key(s, "user", bld_state_text(s->image, "User"));
	step_key(s, "epoch", epoch);
	json_object_set_new(bld_state_config(s->image), "WorkingDir", json_string(path));
	return step_layer(s, false, s->i->node->original, workdir_work, path);
}
