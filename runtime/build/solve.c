#include "base/clock.h"
#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/str.h"
#include "runtime/build/front/check.h"
#include "runtime/build/front/glob.h"
#include "runtime/build/front/shellword.h"
#include "runtime/build/solve_internal.h"
#include "runtime/container/rootfs.h"
#include "runtime/image/manifest.h"
#include "runtime/image/pack.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

enum { KEY_MAX = 64 << 20, STAGES_MAX = 200, SECRET_SHOWN_MIN = 3 };

/* ---- events ---- */

static void emit(struct build *b, enum bld_event_kind kind, unsigned vertex, const char *name,
		 const char *text, uint64_t ms)
{
	const struct bld_event e = {kind, vertex, name, text, ms};

	b->host->event(b->host->ctx, &e);
}

void step_line(struct step *s, const char *line)
{
	sw_autofree char *text = sw_strdup(line);

	for (size_t k = 0; k < s->b->o->n_secrets; k++) {
		const struct bld_secret *x = &s->b->o->secrets[k];
		size_t n = x->n;
		char *at;

		while (n > 0 && ((const char *)x->data)[n - 1] == '\n')
			n--;
		if (n < SECRET_SHOWN_MIN)
			continue;
		while ((at = memmem(text, strlen(text), x->data, n)) != NULL)
			memset(at, '*', n);
	}
	emit(s->b, BLD_EV_LINE, s->vertex, NULL, text, 0);
}

void step_warn(struct step *s, const char *rule, const char *fmt, ...)
{
	char text[500];
	va_list ap;

	if (bld_check_skips(&s->b->file, rule))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	pthread_mutex_lock(&s->b->lock);
	bld_warn(&s->b->warnings, s->i->node->pos, rule, "%s", text);
	pthread_mutex_unlock(&s->b->lock);
}

bool step_cancelled(const struct step *s)
{
	return atomic_load(s->b->host->cancel) || s->b->failed;
}

/* ---- keys ---- */

void step_key(struct step *s, const char *what, const char *value)
{
	sw_buf_add(&s->key, what, strlen(what) + 1);
	sw_buf_add(&s->key, value, strlen(value) + 1);
}

void step_key_list(struct step *s, const char *what, char *const *list)
{
	for (; list != NULL && *list != NULL; list++)
		step_key(s, what, *list);
	step_key(s, what, "");
}

int step_word(struct step *s, const char *text, char **ret)
{
	struct bld_shell shell = {.escape = s->escape, .get = bld_state_get, .ctx = s->image};

	return bld_shell_word(&shell, text, ret, s->err);
}

static void hold(struct build *b, const char *diff_id)
{
	pthread_mutex_lock(&b->lock);
	b->held = sw_strv_add(b->held, diff_id);
	pthread_mutex_unlock(&b->lock);
}

static void take_slot(struct build *b)
{
	pthread_mutex_lock(&b->lock);
	while (b->slots == 0)
		pthread_cond_wait(&b->changed, &b->lock);
	b->slots--;
	pthread_mutex_unlock(&b->lock);
}

static void give_slot(struct build *b)
{
	pthread_mutex_lock(&b->lock);
	b->slots++;
	pthread_cond_broadcast(&b->changed);
	pthread_mutex_unlock(&b->lock);
}

/* Packs what was written and makes it a layer; *ret_diff_id stays NULL when that is nothing. */
static int keep_layer(struct step *s, char *upper, char **ret_diff_id)
{
	sw_autofree char *split = sw_asprintf("%s.split", upper);
	struct img_pack_result r;
	int rc = img_pack(upper, s->b->o->epoch, split, NULL, NULL, &r, s->err);

	if (rc < 0 || r.entries == 0) {
		img_store_drop_tmp(upper);
		return rc;
	}
	img_store_hold_layer(s->b->host->store, r.diff_id);
	hold(s->b, r.diff_id);
	rc = img_store_add_layer(s->b->host->store, r.diff_id, upper, r.size, s->err);
	if (rc == 0)
		*ret_diff_id = sw_strdup(r.diff_id);
	return rc;
}

static int do_layer(struct step *s, bool alone,
		    int (*work)(struct step *s, struct bld_root *root, void *arg), void *arg,
		    char **ret_diff_id)
{
	sw_autofree char *upper = NULL;
	struct bld_root root;
	int rc = bld_root_open(s->b->host->store, s->b->mounts, alone ? NULL : s->image->layers,
			       true, &root, s->err);

	if (rc < 0)
		return rc;
	rc = work(s, &root, arg);
	if (rc == 0 && step_cancelled(s))
		rc = sw_fail(s->err, SW_ECANCELED, "cancelled");
	bld_root_close(&root, rc == 0 ? &upper : NULL);
	return rc == 0 ? keep_layer(s, upper, ret_diff_id) : rc;
}

static void begin_vertex(struct step *s, enum bld_event_kind kind)
{
	pthread_mutex_lock(&s->b->lock);
	s->vertex = ++s->b->vertex;
	pthread_mutex_unlock(&s->b->lock);
	emit(s->b, kind, s->vertex, s->name, NULL, 0);
}

int step_layer(struct step *s, bool alone, const char *created_by,
	       int (*work)(struct step *s, struct bld_root *root, void *arg), void *arg)
{
	struct img_store *store = s->b->host->store;
	sw_autofree char *diff_id = NULL;
	char key[SW_SHA256_HEX];
	struct sw_error ignored;
	uint64_t began = sw_mono_ms();
	int rc;

	if (!alone)
		step_key_list(s, "layers", s->image->layers);
	if (s->key.overflow)
		return sw_fail(s->err, SW_ETOOBIG, "the instruction is too large");
	sw_sha256_hex(s->key.data, s->key.len, key);
	if (!s->b->o->no_cache && img_store_step_find(store, key, &diff_id, &ignored) == 0) {
		begin_vertex(s, BLD_EV_CACHED);
		if (diff_id != NULL)
			hold(s->b, diff_id); /* by step_find */
		bld_state_add_step(s->image, created_by, s->b->created, diff_id);
		return 0;
	}
	take_slot(s->b);
	begin_vertex(s, BLD_EV_START);
	rc = step_cancelled(s) ? sw_fail(s->err, SW_ECANCELED, "cancelled")
			       : do_layer(s, alone, work, arg, &diff_id);
	give_slot(s->b);
	if (rc == 0)
		rc = img_store_step_add(store, key, diff_id, s->err);
	if (rc < 0) {
		emit(s->b, BLD_EV_FAILED, s->vertex, NULL, s->err->msg, sw_mono_ms() - began);
		return rc;
	}
	emit(s->b, BLD_EV_DONE, s->vertex, NULL, NULL, sw_mono_ms() - began);
	bld_state_add_step(s->image, created_by, s->b->created, diff_id);
	return 0;
}

/* ---- arguments ---- */

struct scope { /* what a FROM, or a default of an ARG before it, sees */
	char **vars;
};

static const char *scope_get(void *ctx, const char *name)
{
	return bld_env_get(((struct scope *)ctx)->vars, name);
}

static char **platform_args(const struct build *b)
{
	static const char *const sides[] = {"BUILD", "TARGET"};
	struct img_platform p = img_platform_host();
	char **v = NULL;

	for (size_t i = 0; i < SW_COUNT(sides); i++) {
		const struct {
			const char *name;
			char *value;
		} rows[] = {
			{"PLATFORM",
			 sw_asprintf("%s/%s%s%s", p.os, p.arch,
				     *p.variant != 0 && !sw_streq(p.arch, "arm64") ? "/" : "",
				     !sw_streq(p.arch, "arm64") ? p.variant : "")},
			{"OS", sw_strdup(p.os)},
			{"ARCH", sw_strdup(p.arch)},
			{"VARIANT", sw_strdup(p.variant)},
		};

		for (size_t k = 0; k < SW_COUNT(rows); k++) {
			sw_autofree char *name = sw_asprintf("%s%s", sides[i], rows[k].name);

			bld_env_set(&v, name, rows[k].value);
			free(rows[k].value);
		}
	}
	bld_env_set(&v, "TARGETSTAGE", *b->o->target != 0 ? b->o->target : "default");
	return v;
}

/* ARGs before the first FROM, on top of what is predefined. */
static int read_meta(struct build *b, struct sw_error *err)
{
	int rc = 0;

	b->meta = platform_args(b);
	for (size_t k = 0; rc == 0 && k < b->program.n_meta; k++) {
		const struct bld_node *n = b->program.meta[k].node;

		for (char **a = n->args; rc == 0 && *a != NULL; a++) {
			struct scope scope = {b->meta};
			struct bld_shell shell = {
				.escape = b->file.escape, .get = scope_get, .ctx = &scope};
			sw_autofree char *name = sw_strndup(*a, strcspn(*a, "=")), *value = NULL;
			const char *given = bld_env_get(b->o->args, name);

			b->err_pos = n->pos;
			if (given != NULL)
				value = sw_strdup(given);
			else if (strchr(*a, '=') != NULL)
				rc = bld_shell_word(&shell, strchr(*a, '=') + 1, &value, err);
			if (rc == 0 && value != NULL)
				bld_env_set(&b->meta, name, value);
		}
	}
	return rc;
}

static int from_word(struct build *b, const char *text, char **ret, struct sw_error *err)
{
	struct scope scope = {b->meta};
	struct bld_shell shell = {.escape = b->file.escape, .get = scope_get, .ctx = &scope};

	return bld_shell_word(&shell, text, ret, err);
}

/* A stage's ARG: --build-arg, its default, or the value from before the first FROM. */
static int step_arg(struct step *s)
{
	for (char **a = s->i->node->args; *a != NULL; a++) {
		sw_autofree char *name = NULL, *value = NULL, *whole = NULL;
		const char *given;
		int rc = step_word(s, *a, &whole);

		if (rc < 0)
			return rc;
		name = sw_strndup(whole, strcspn(whole, "="));
		given = bld_env_get(s->b->o->args, name);
		if (given != NULL)
			value = sw_strdup(given);
		else if (strchr(whole, '=') != NULL)
			value = sw_strdup(strchr(whole, '=') + 1);
		else
			value = sw_strdup(bld_env_get(s->b->meta, name));
		if (value != NULL)
			bld_env_set(&s->image->args, name, value);
	}
	bld_state_add_step(s->image, s->i->node->original, s->b->created, NULL);
	return 0;
}

/* ---- stages ---- */

static void *stage_thread(void *ctx);

/* Starts the stage when nobody has, and waits for it. */
static int need_stage(struct build *b, size_t index, struct sw_error *err)
{
	struct stage *st = &b->stages[index];
	int rc = 0;

	pthread_mutex_lock(&b->lock);
	if (st->state == STAGE_IDLE) {
		st->state = STAGE_RUNS;
		if (pthread_create(&st->thread, NULL, stage_thread, st) == 0)
			st->started = true;
		else
			st->state = STAGE_FAILED;
	}
	while (st->state == STAGE_RUNS)
		pthread_cond_wait(&b->changed, &b->lock);
	if (st->state == STAGE_FAILED)
		rc = sw_fail(err, SW_ECANCELED, "a stage that this one needs has failed");
	pthread_mutex_unlock(&b->lock);
	return rc;
}

/* Lets it run meanwhile. */
static void begin_stage(struct build *b, size_t index)
{
	struct stage *st = &b->stages[index];

	pthread_mutex_lock(&b->lock);
	if (st->state == STAGE_IDLE && pthread_create(&st->thread, NULL, stage_thread, st) == 0) {
		st->state = STAGE_RUNS;
		st->started = true;
	}
	pthread_mutex_unlock(&b->lock);
}

static const struct bld_named *named_of(const struct build *b, const char *name)
{
	for (size_t k = 0; k < b->o->n_named; k++)
		if (strcasecmp(b->o->named[k].name, name) == 0)
			return &b->o->named[k];
	return NULL;
}

static int load_image(struct step *s, const char *name, struct bld_state *ret)
{
	struct build *b = s->b;
	struct img_image *image = NULL;
	sw_autofree char *config = NULL, *manifest = NULL;
	size_t n, manifest_n;
	uint64_t began = sw_mono_ms();
	int rc;

	s->name = sw_asprintf("FROM %s", name);
	begin_vertex(s, BLD_EV_START);
	rc = b->host->image(b->host->ctx, name, b->o->pull, &image, s->err);
	if (rc == 0) {
		img_store_pin(b->host->store, image->id);
		pthread_mutex_lock(&b->lock);
		b->pinned = sw_strv_add(b->pinned, image->id);
		pthread_mutex_unlock(&b->lock);
		rc = img_store_documents(b->host->store, image->id, &config, &n, &manifest,
					 &manifest_n, s->err);
	}
	if (rc == 0)
		rc = bld_state_init(ret, config, n, NULL, s->err);
	emit(b, rc == 0 ? BLD_EV_DONE : BLD_EV_FAILED, s->vertex, NULL,
	     rc == 0 ? NULL : s->err->msg, sw_mono_ms() - began);
	img_image_free(image);
	free(take_ptr(&s->name));
	return rc;
}

static bool platform_is_ours(const char *platform)
{
	struct img_platform p = img_platform_host();
	char **v = sw_strv_split(platform, '/');
	bool ours = *platform == 0 ||
		    (sw_strv_len(v) >= 2 && sw_streq(v[0], p.os) && sw_streq(v[1], p.arch));

	sw_strv_free(v);
	return ours;
}

/* The base of a stage: another stage, nothing, or an image. */
static int load_base(struct stage *st, struct bld_state *ret, struct sw_error *err)
{
	struct build *b = st->b;
	const struct bld_stage *ps = &b->program.stages[st->index];
	struct step s = {.b = b, .stage = st, .err = err};
	sw_autofree char *base = NULL, *platform = NULL;
	const struct bld_named *named;
	int from, rc = from_word(b, ps->base, &base, err);

	if (rc == 0)
		rc = from_word(b, ps->platform != NULL ? ps->platform : b->o->platform, &platform,
			       err);
	if (rc == 0 && *base == 0)
		rc = sw_fail(err, SW_EINVAL, "base name (%s) should not be blank", ps->base);
	if (rc == 0 && !platform_is_ours(platform))
		rc = sw_fail(
			err, SW_EUNSUPP,
			"platform %s: this node builds for its own machine only; use --on with "
			"a node of that kind",
			platform);
	if (rc < 0)
		return rc;
	named = named_of(b, base);
	from = bld_stage_find(&b->program, base, st->index);
	if (named != NULL && named->context != NULL)
		return sw_fail(err, SW_EUNSUPP,
			       "build context %s is a folder: a stage can begin with an image only",
			       base);
	if (named != NULL)
		return load_image(&s, named->image, ret);
	if (from >= 0 && b->program.stages[from].name != NULL) {
		rc = need_stage(b, (size_t)from, err);
		if (rc == 0)
			bld_state_clone(ret, &b->stages[from].image);
		return rc;
	}
	if (sw_streq(base, "scratch"))
		return bld_state_init(ret, NULL, 0, img_platform_host().arch, err);
	return load_image(&s, base, ret);
}

static int do_step(struct step *s)
{
	int rc = 0;

	if (step_cancelled(s))
		return sw_fail(s->err, SW_ECANCELED, "cancelled");
	switch (s->i->kind) {
	case BLD_ARG:
		return step_arg(s);
	case BLD_ADD:
	case BLD_COPY:
		return step_copy(s);
	case BLD_RUN:
		return step_run(s);
	case BLD_WORKDIR:
		return step_workdir(s);
	default:
		if (!bld_state_apply(s->image, s->i, s->escape, s->b->created, &rc, s->err))
			rc = sw_fail(s->err, SW_EINTERNAL, "no way to do this instruction");
		return rc;
	}
}

/* Variables that were used and are not set, said once each. */
static void tell_unset(struct step *s)
{
	for (char **u = s->image->unset; u != NULL && *u != NULL; u++) {
		sw_autofree char *a = sw_asprintf("${%s:", *u), *d = sw_asprintf("${%s-", *u);
		sw_autofree char *p = sw_asprintf("${%s+", *u);

		if (strstr(s->i->node->original, a) == NULL &&
		    strstr(s->i->node->original, d) == NULL &&
		    strstr(s->i->node->original, p) == NULL)
			step_warn(s, "UndefinedVar", "Usage of undefined variable '$%s'", *u);
	}
	sw_strv_free(take_ptr(&s->image->unset));
}

static void note_failure(struct build *b, const struct bld_node *n, const struct sw_error *err)
{
	pthread_mutex_lock(&b->lock);
	if (!b->failed) {
		b->failed = true;
		b->err = *err;
		b->err_pos = n->pos;
	}
	pthread_mutex_unlock(&b->lock);
}

static int run_instr(struct stage *st, struct bld_state *image, const struct bld_instr *i,
		     char escape, size_t nth, size_t of, struct sw_error *err)
{
	struct step s = {.b = st->b,
			 .stage = st,
			 .image = image,
			 .i = i,
			 .escape = escape,
			 .key = SW_BUF_INIT(KEY_MAX),
			 .err = err};
	const struct bld_stage *ps = &st->b->program.stages[st->index];
	sw_autofree char *number = sw_asprintf("stage-%zu", st->index);
	int rc;

	s.name = sw_asprintf("[%s %zu/%zu] %.200s", ps->name != NULL ? ps->name : number, nth, of,
			     i->node->original);
	rc = do_step(&s);
	tell_unset(&s);
	sw_buf_fini(&s.key);
	free(s.name);
	return rc;
}

/* ONBUILD of the base: read as a file of their own, done before the stage's own steps. */
static int run_triggers(struct stage *st, struct bld_state *image, struct sw_error *err)
{
	char **triggers = bld_state_take_triggers(image);
	int rc = 0;

	for (char **t = triggers; rc == 0 && t != NULL && *t != NULL; t++) {
		struct bld_file f;
		struct bld_instr i;

		rc = bld_file_parse(*t, strlen(*t), &f, NULL, err);
		if (rc < 0)
			break;
		for (size_t k = 0; rc == 0 && k < f.n; k++) {
			f.nodes[k].pos = st->b->program.stages[st->index].node->pos;
			rc = bld_instr_make(&f.nodes[k], &i, err);
			if (rc == 0 && i.kind == BLD_FROM)
				rc = sw_fail(err, SW_EINVAL,
					     "FROM isn't allowed as an ONBUILD trigger");
			if (rc == 0)
				rc = run_instr(st, image, &i, f.escape, k + 1, f.n, err);
		}
		bld_file_fini(&f);
		if (rc < 0)
			sw_wrap(err, "ONBUILD of the base image");
	}
	sw_strv_free(triggers);
	return rc;
}

static int run_stage(struct stage *st, struct bld_state *image)
{
	struct build *b = st->b;
	const struct bld_stage *ps = &b->program.stages[st->index];
	const struct bld_node *at = ps->node;
	struct sw_error err = {0};
	int rc = load_base(st, image, &err);

	if (rc == 0)
		rc = run_triggers(st, image, &err);
	for (size_t k = 0; rc == 0 && k < ps->n; k++) {
		at = ps->v[k].node;
		rc = run_instr(st, image, &ps->v[k], b->file.escape, k + 1, ps->n, &err);
	}
	if (rc < 0)
		note_failure(b, at, &err);
	return rc;
}

static void *stage_thread(void *ctx)
{
	struct stage *st = ctx;
	struct bld_state image = {0};
	int rc = run_stage(st, &image);

	pthread_mutex_lock(&st->b->lock);
	st->state = rc == 0 ? STAGE_DONE : STAGE_FAILED;
	if (rc == 0)
		st->image = image;
	else
		bld_state_fini(&image);
	pthread_cond_broadcast(&st->b->changed);
	pthread_mutex_unlock(&st->b->lock);
	return NULL;
}

/* Stages that the target reads from, by what stands in the file, begin at once beside it. */
static void begin_needed(struct build *b, size_t index, bool *seen)
{
	const struct bld_stage *ps = &b->program.stages[index];
	int from = bld_stage_find(&b->program, ps->base, index);

	if (seen[index])
		return;
	seen[index] = true;
	if (from >= 0 && b->program.stages[from].name != NULL)
		begin_needed(b, (size_t)from, seen);
	for (size_t k = 0; k < ps->n; k++) {
		const char *flag = ps->v[k].flag[BLD_F_FROM];
		const char *mount;

		from = flag != NULL ? bld_stage_find(&b->program, flag, index) : -1;
		if (from >= 0 && named_of(b, flag) == NULL)
			begin_needed(b, (size_t)from, seen);
		for (size_t m = 0; (mount = bld_instr_list(&ps->v[k], BLD_F_MOUNT, m)) != NULL;
		     m++) {
			const char *at = strstr(mount, "from=");
			sw_autofree char *name =
				at != NULL ? sw_strndup(at + 5, strcspn(at + 5, ",")) : NULL;

			from = name != NULL ? bld_stage_find(&b->program, name, index) : -1;
			if (from >= 0)
				begin_needed(b, (size_t)from, seen);
		}
	}
	begin_stage(b, index);
}

/* ---- sources ---- */

static char **copy_list(char *const *v)
{
	char **out = NULL;

	for (; v != NULL && *v != NULL; v++)
		out = sw_strv_add(out, *v);
	return out;
}

int source_find(struct step *s, const char *name, struct source *ret)
{
	struct build *b = s->b;
	const struct bld_named *named = *name != 0 ? named_of(b, name) : NULL;
	struct step load = {.b = b, .stage = s->stage, .err = s->err};
	struct bld_state image = {0};
	int from, rc;

	*ret = (struct source){0};
	if (*name == 0 || (named != NULL && named->context != NULL)) {
		ret->context = *name == 0 ? b->o->context : named->context;
		return 0;
	}
	from = named == NULL ? bld_stage_find(&b->program, name, s->stage->index) : -1;
	if (from >= 0) {
		rc = need_stage(b, (size_t)from, s->err);
		if (rc == 0)
			ret->layers = copy_list(b->stages[from].image.layers);
		return rc;
	}
	if (sw_streq(name, "scratch"))
		return 0;
	rc = load_image(&load, named != NULL ? named->image : name, &image);
	ret->layers = take_ptr(&image.layers);
	bld_state_fini(&image);
	return rc;
}

void source_fini(struct source *src)
{
	sw_strv_free(src->layers);
	*src = (struct source){0};
}

int source_open(struct step *s, const struct source *src, struct bld_root *ret)
{
	const char *tree = NULL;
	int rc;

	if (src->context == NULL)
		return bld_root_open(s->b->host->store, s->b->mounts, src->layers, false, ret,
				     s->err);
	rc = bld_context_tree(src->context, s->b->host->store, &tree, s->err);
	return rc == 0 ? bld_root_of_dir(tree, ret, s->err) : rc;
}

static int digest_in_root(struct step *s, const struct bld_root *root, const char *pattern,
			  const struct bld_ignore *exclude, char hex[65])
{
	char **found = bld_copy_match(root, pattern);
	struct sw_buf all = SW_BUF_INIT(KEY_MAX);
	int rc = found != NULL ? 0 : sw_fail(s->err, SW_ENOTFOUND, "\"%s\": not found", pattern);

	for (char **f = found; rc == 0 && f != NULL && *f != NULL; f++) {
		char one[65];

		rc = bld_copy_digest(root, *f, exclude, one, s->err);
		sw_buf_addf(&all, "%s %s\n", one, *f);
	}
	if (rc == 0)
		sw_sha256_hex(sw_buf_str(&all), all.len, hex);
	sw_buf_fini(&all);
	sw_strv_free(found);
	return rc;
}

/* Of layers, the answer is remembered under their names: reading a tree is for the first time only.
 */
int source_digest(struct step *s, const struct source *src, const char *pattern,
		  const struct bld_ignore *exclude, char hex[65])
{
	struct bld_root root;
	int rc = src->context != NULL
			 ? bld_context_digest(src->context, pattern, exclude, hex, s->err)
			 : SW_EUNSUPP;

	if (rc != SW_EUNSUPP)
		return rc;
	rc = source_open(s, src, &root);
	if (rc == 0) {
		rc = digest_in_root(s, &root, pattern, exclude, hex);
		bld_root_close(&root, NULL);
	}
	return rc;
}

/* ---- the whole ---- */

static int manifest_of(struct build *b, const struct bld_state *image, const char *config,
		       char **ret, struct sw_error *err)
{
	char hex[SW_SHA256_HEX];
	sw_autofree char *id = sw_asprintf("sha256:%s", sw_sha256_hex(config, strlen(config), hex));
	json_t *layers = json_array(), *m;
	int rc = 0;

	for (char **l = image->layers; rc == 0 && l != NULL && *l != NULL; l++) {
		uint64_t size = 0;

		rc = img_store_layer(b->host->store, *l, NULL, &size, err);
		json_array_append_new(layers, json_pack("{s:s, s:s, s:I}", "mediaType",
							"application/vnd.oci.image.layer.v1.tar",
							"digest", *l, "size", (json_int_t)size));
	}
	m = json_pack("{s:i, s:s, s:{s:s, s:s, s:I}, s:o}", "schemaVersion", 2, "mediaType",
		      IMG_MT_OCI_MANIFEST, "config", "mediaType", IMG_MT_OCI_CONFIG, "digest", id,
		      "size", (json_int_t)strlen(config), "layers", layers);
	*ret = json_dumps(m, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(m);
	return rc;
}

static int write_image(struct build *b, struct stage *st, char **ret_id, struct sw_error *err)
{
	struct bld_state *image = &st->image;
	sw_autofree char *config = NULL, *manifest = NULL;
	int rc;

	for (char *const *l = b->o->labels; l != NULL && *l != NULL; l++) {
		json_t *labels = json_object_get(bld_state_config(image), "Labels");
		sw_autofree char *key = sw_strndup(*l, strcspn(*l, "="));
		const char *eq = strchr(*l, '=');

		if (labels == NULL) {
			labels = json_object();
			json_object_set_new(bld_state_config(image), "Labels", labels);
		}
		json_object_set_new(labels, key, json_string(eq != NULL ? eq + 1 : ""));
	}
	json_object_set_new(image->doc, "created", json_string(b->created));
	config = bld_state_dump(image);
	if (config == NULL)
		return sw_fail(err, SW_EINVAL,
			       "the image's configuration holds text that is not "
			       "UTF-8");
	rc = manifest_of(b, image, config, &manifest, err);
	if (rc == 0)
		rc = img_store_add_image(b->host->store, config, strlen(config), manifest,
					 strlen(manifest), b->o->tags, ret_id, err);
	if (rc == 0)
		rc = img_store_mark_local(b->host->store, *ret_id, err);
	return rc;
}

static int find_target(const struct build *b, size_t *ret, struct sw_error *err)
{
	int found;

	*ret = b->program.n - 1;
	if (*b->o->target == 0)
		return 0;
	found = bld_stage_find(&b->program, b->o->target, b->program.n);
	if (found < 0)
		return sw_fail(err, SW_ENOTFOUND, "target stage \"%s\" could not be found",
			       b->o->target);
	*ret = (size_t)found;
	return 0;
}

static void join_stages(struct build *b)
{
	for (size_t k = 0; k < b->program.n; k++) {
		if (b->stages[k].started)
			pthread_join(b->stages[k].thread, NULL);
	}
}

static int solve(struct build *b, char **ret_id, struct sw_error *err)
{
	sw_autofree bool *seen = sw_new_n(bool, b->program.n);
	size_t target;
	int rc = find_target(b, &target, err);

	if (rc == 0)
		rc = read_meta(b, err);
	if (rc < 0)
		return rc;
	begin_needed(b, target, seen);
	rc = need_stage(b, target, err);
	join_stages(b);
	if (rc < 0 && b->failed)
		*err = b->err;
	if (rc == 0 && bld_check_is_strict(&b->file) && b->warnings.n > 0)
		rc = sw_fail(err, SW_EINVAL,
			     "%zu warnings, and the file asks for none (check="
			     "error=true)",
			     b->warnings.n);
	return rc == 0 ? write_image(b, &b->stages[target], ret_id, err) : rc;
}

static int open_dirs(struct build *b, struct sw_error *err)
{
	sw_autofree char *secrets = sw_asprintf("%s/secrets", b->host->run_dir);
	uint64_t r;
	int rc;

	sw_rand_secret(&r, sizeof r);
	b->mounts = sw_asprintf("%s/mounts", b->host->run_dir);
	b->secrets_dir = sw_asprintf("%s/%016llx", secrets, (unsigned long long)r);
	rc = sw_mkdir_p(b->mounts, 0700, err);
	if (rc == 0)
		rc = rt_files_dir(secrets, err);
	if (rc == 0)
		rc = sw_mkdir_p(b->secrets_dir, 0700, err);
	return rc;
}

static void close_build(struct build *b)
{
	struct sw_error ignored;

	for (size_t k = 0; b->stages != NULL && k < b->program.n; k++)
		bld_state_fini(&b->stages[k].image);
	for (char **h = b->held; h != NULL && *h != NULL; h++)
		img_store_release_layer(b->host->store, *h);
	for (char **p = b->pinned; p != NULL && *p != NULL; p++)
		img_store_unpin(b->host->store, *p);
	if (b->secrets_dir != NULL)
		(void)!sw_remove_tree(b->secrets_dir, &ignored);
	free(b->secrets_dir);
	free(b->mounts);
	free(b->stages);
	sw_strv_free(b->held);
	sw_strv_free(b->pinned);
	sw_strv_free(b->meta);
	bld_warnings_fini(&b->warnings);
	bld_program_fini(&b->program);
	bld_file_fini(&b->file);
	pthread_mutex_destroy(&b->lock);
	pthread_cond_destroy(&b->changed);
}

static void tell_warnings(struct build *b)
{
	for (size_t k = 0; k < b->warnings.n; k++) {
		const struct bld_warning *w = &b->warnings.v[k];
		sw_autofree char *text = sw_asprintf("%s: %s", w->rule, w->text);
		sw_autofree char *shown =
			bld_show(b->o->file_name, b->o->text, b->o->n, w->pos, text);

		emit(b, BLD_EV_WARNING, 0, NULL, shown, 0);
	}
}

/* The error with its line and caret, where it is about a line. */
static void show_error(struct build *b, struct sw_error *err)
{
	sw_autofree char *shown = NULL;

	if (b->err_pos.line == 0 || err->code == SW_ECANCELED)
		return;
	shown = bld_show(b->o->file_name, b->o->text, b->o->n, b->err_pos, err->msg);
	emit(b, BLD_EV_WARNING, 0, NULL, shown, 0);
	sw_wrap(err, "%s:%d", b->o->file_name, b->err_pos.line);
}

int bld_build(const struct bld_host *host, const struct bld_options *o, char **ret_id,
	      struct sw_error *err)
{
	struct build b = {.host = host, .o = o, .slots = host->slots != 0 ? host->slots : 2};
	int rc;

	pthread_mutex_init(&b.lock, NULL);
	pthread_cond_init(&b.changed, NULL);
	sw_time_rfc3339(o->epoch * 1000, b.created);
	rc = open_dirs(&b, err);
	if (rc == 0)
		rc = bld_file_parse(o->text, o->n, &b.file, &b.err_pos, err);
	if (rc == 0)
		rc = bld_program_make(&b.file, &b.program, &b.err_pos, err);
	if (rc == 0 && b.program.n > STAGES_MAX)
		rc = sw_fail(err, SW_ETOOBIG, "more than %d stages", STAGES_MAX);
	if (rc == 0) {
		bld_check(&b.file, &b.program, &b.warnings);
		b.stages = sw_new_n(struct stage, b.program.n);
		for (size_t k = 0; k < b.program.n; k++)
			b.stages[k] = (struct stage){.b = &b, .index = k};
		rc = solve(&b, ret_id, err);
		tell_warnings(&b);
	}
	if (rc < 0)
		show_error(&b, err);
	close_build(&b);
	return rc;
}
