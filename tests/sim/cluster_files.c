/*
 * Secrets and configs. A version's content is a number that no other version has, so that what a
 * container is started with can be told from what it should be started with. Changes go through
 * what the operator's API is made of (manager/control/files.c).
 *
 * Checked: a version's content never changes; every revision finds what it names, so that nothing
 * goes that is used; with new content exactly the users have a new revision; no container starts
 * with another version than its revision's. At the end: no version is left that nothing uses.
 */
#include "base/mem.h"
#include "base/str.h"
#include "proto/msg.h"
#include "tests/sim/cluster.h"

#include <stdio.h>
#include <string.h>

struct rewrite { /* new content on its way */
	struct manager *m;
	struct file *f;
	uint64_t id;
};

/* ---- operators ---- */

static Pb__SecretSpec *new_content(struct world *w, const struct file *f)
{
	Pb__SecretSpec *s = sw_new(Pb__SecretSpec);
	char text[24];

	if (f->kind == PB__KIND__KIND_SECRET)
		pb__secret_spec__init(s);
	else
		pb__config_spec__init((Pb__ConfigSpec *)s);
	msg_set_str(&s->name, f->name);
	snprintf(text, sizeof text, "%llu", (unsigned long long)++w->contents);
	s->data.data = (uint8_t *)sw_strdup(text);
	s->data.len = strlen(text);
	return s;
}

static enum ctl_file_change put(struct manager *m, struct store_tx *tx, struct file *f,
				uint64_t *ret_id)
{
	struct control c = control_of(m);
	Pb__SecretSpec *spec = new_content(m->w, f);
	enum ctl_file_change change = ctl_put_file(&c, tx, f->kind, &spec->base, 0, ret_id);

	msg_free(&spec->base);
	return change;
}

void files_create(struct manager *m, struct store_tx *tx)
{
	for (int i = 0; i < FILES; i++) {
		struct file *f = &m->w->f[i];

		f->kind = i % 2 == 0 ? PB__KIND__KIND_SECRET : PB__KIND__KIND_CONFIG;
		snprintf(f->name, sizeof f->name, "file%d", i);
		(void)put(m, tx, f, &f->id);
	}
}

static void add_ref(Pb__FileRef ***refs, size_t *n, const char *name)
{
	Pb__FileRef *r = sw_new(Pb__FileRef);

	pb__file_ref__init(r);
	msg_set_str(&r->name, name);
	msg_add(refs, n, r);
}

void files_use(struct world *w, Pb__ContainerSpec *c)
{
	for (int i = 0; i < FILES; i++) {
		if (!sim_chance(&w->sim, 40))
			continue;
		if (w->f[i].kind == PB__KIND__KIND_SECRET)
			add_ref(&c->secrets, &c->n_secrets, w->f[i].name);
		else
			add_ref(&c->configs, &c->n_configs, w->f[i].name);
	}
}

/* Which version of the file it names; 0 = it does not use it. */
static uint64_t version_in(const Pb__TaskSpec *t, const struct file *f)
{
	const Pb__ContainerSpec *c = t->container;
	Pb__FileRef **refs = f->kind == PB__KIND__KIND_SECRET ? c->secrets : c->configs;
	size_t n = f->kind == PB__KIND__KIND_SECRET ? c->n_secrets : c->n_configs;

	for (size_t i = 0; i < n; i++)
		if (sw_streq(refs[i]->name, f->name))
			return refs[i]->object_id;
	return 0;
}

/* What a change does to others is told by its transaction; `id` is the new version. */
static void check_rolled(struct manager *m, const struct store_tx *tx, const struct file *f,
			 uint64_t id)
{
	struct store_iter it = {0};

	for (const struct store_head *o;
	     (o = store_next(m->store, PB__KIND__KIND_SERVICE, &it)) != NULL;) {
		const Pb__Service *old = (const Pb__Service *)o,
				  *new = store_tx_get(tx, PB__KIND__KIND_SERVICE, o->id);
		bool uses = version_in(old->spec->task, f) != 0 && !old->removing;

		if (uses != (new->revision_id != old->revision_id))
			world_fail(m->w,
				   uses ? "a user of a changed file does not roll"
					: "a service rolls for a file that it does not use",
				   o->id, id);
	}
}

/* Right after the change took effect, whatever else was under way when it was asked for. */
static void check_users(struct manager *m, const struct file *f, uint64_t id)
{
	struct store_iter it = {0};

	for (const struct store_head *o;
	     (o = store_next(m->store, PB__KIND__KIND_SERVICE, &it)) != NULL;) {
		const Pb__Service *s = (const Pb__Service *)o;
		const Pb__Revision *r = store_revision(m->store, s->revision_id);
		uint64_t has = r != NULL ? version_in(r->task, f) : 0;

		if (has != 0 && has != id && !s->removing)
			world_fail(m->w, "a service was left behind with a file's old version",
				   s->id, has);
	}
}

static void on_rewritten(void *arg, int rc)
{
	struct rewrite *r = arg;

	if (rc == 0) {
		r->f->id = r->id;
		r->f->unsure = false;
		check_users(r->m, r->f, r->id);
	}
	r->f->unsure |= rc == SW_EUNKNOWN;
	free(r);
}

void files_change(struct manager *m, struct file *f)
{
	struct store_tx *tx = store_tx_new(m->store, wall(m->w));
	struct rewrite *r = sw_new(struct rewrite);
	struct control c = control_of(m);

	*r = (struct rewrite){.m = m, .f = f};
	if (put(m, tx, f, &r->id) != CTL_FILE_REPLACED)
		world_fail(m->w, "new content made no new version", r->id, 0);
	ctl_roll_users(&c, tx, f->kind, r->id);
	check_rolled(m, tx, f, r->id);
	if (!client_propose(m, tx, on_rewritten, r))
		free(r);
	store_tx_free(tx);
}

/* ---- managers ---- */

static uint64_t content_of(const ProtobufCBinaryData *b)
{
	char text[24] = "";

	memcpy(text, b->data, b->len < sizeof text ? b->len : sizeof text - 1);
	return strtoull(text, NULL, 10);
}

static void note_version(struct world *w, const Pb__Secret *s)
{
	uintptr_t was = (uintptr_t)omap_get(&w->versions, one(s->id)),
		  is = (uintptr_t)content_of(&s->spec->data);

	if (was != 0 && was != is)
		world_fail(w, "a version's content changed", s->id, is);
	omap_set(&w->versions, one(s->id), (void *)is);
}

static void check_refs(struct manager *m, const Pb__Revision *r)
{
	const Pb__ContainerSpec *c = r->task->container;

	for (size_t i = 0; i < c->n_secrets; i++)
		if (store_secret(m->store, c->secrets[i]->object_id) == NULL)
			world_fail(m->w, "a revision's secret is gone", r->id,
				   c->secrets[i]->object_id);
	for (size_t i = 0; i < c->n_configs; i++)
		if (store_config(m->store, c->configs[i]->object_id) == NULL)
			world_fail(m->w, "a revision's config is gone", r->id,
				   c->configs[i]->object_id);
}

static void check_all_refs(struct manager *m)
{
	struct store_iter it = {0};

	for (const struct store_head *o;
	     (o = store_next(m->store, PB__KIND__KIND_REVISION, &it)) != NULL;)
		check_refs(m, (const Pb__Revision *)o);
}

void files_check_change(struct manager *m, const struct store_change *c)
{
	bool file = c->kind == PB__KIND__KIND_SECRET || c->kind == PB__KIND__KIND_CONFIG;

	if (file && c->new != NULL)
		note_version(m->w, (const Pb__Secret *)c->new);
	if (file && c->new == NULL)
		check_all_refs(m);
	if (c->kind == PB__KIND__KIND_REVISION && c->new != NULL)
		check_refs(m, (const Pb__Revision *)c->new);
}

bool files_is_used(const struct manager *m, const struct file *f, uint64_t service)
{
	const Pb__Service *s = store_service(m->store, service);

	return s != NULL && version_in(s->spec->task, f) != 0;
}

static bool is_named(const struct store *st, const struct file *f, uint64_t id)
{
	struct store_iter it = {0};

	for (const struct store_head *o;
	     (o = store_next(st, PB__KIND__KIND_REVISION, &it)) != NULL;)
		if (version_in(((const Pb__Revision *)o)->task, f) == id)
			return true;
	return false;
}

static void check_kept(struct manager *m, Pb__Kind kind)
{
	struct store_iter it = {0};

	for (const struct store_head *o; (o = store_next(m->store, kind, &it)) != NULL;) {
		bool used = strchr(store_name_of(kind, o), '~') == NULL;

		for (int i = 0; i < FILES; i++)
			used |= m->w->f[i].kind == kind && is_named(m->store, &m->w->f[i], o->id);
		if (!used && !stacks_name(m->store, o->id))
			world_fail(m->w, "an old version is kept that nothing uses", o->id, kind);
	}
}

void files_check_end(struct manager *m)
{
	check_all_refs(m);
	check_kept(m, PB__KIND__KIND_SECRET);
	check_kept(m, PB__KIND__KIND_CONFIG);
	for (int i = 0; i < FILES; i++) {
		const struct file *f = &m->w->f[i];
		const struct store_head *o = store_find_name(m->store, f->kind, f->name);

		if (o == NULL || (!f->unsure && o->id != f->id))
			world_fail(m->w, "acknowledged content is lost", f->id, (uint64_t)i);
	}
}

/* ---- agents ---- */

static void keep(struct omap *m, uint64_t id, const ProtobufCMessage *object)
{
	ProtobufCMessage *old = omap_set(m, one(id), msg_clone(object));

	if (old != NULL)
		msg_free(old);
}

void files_take(struct agent *a, const Pb__Assignments *m)
{
	for (size_t i = 0; i < m->n_revisions; i++)
		keep(&a->revisions, m->revisions[i]->id, &m->revisions[i]->base);
	for (size_t i = 0; i < m->n_secrets; i++)
		keep(&a->files, m->secrets[i]->id, &m->secrets[i]->base);
	for (size_t i = 0; i < m->n_configs; i++)
		keep(&a->files, m->configs[i]->id, &m->configs[i]->base);
}

static void drop_unused(struct omap *m, const struct omap *used)
{
	struct omap kept = {0};
	struct omap_iter it = omap_begin(m);

	for (ProtobufCMessage *p; (p = omap_next(&it)) != NULL;) {
		if (omap_get(used, it.key) != NULL)
			omap_set(&kept, it.key, p);
		else
			msg_free(p);
	}
	omap_fini(m);
	*m = kept;
}

/* Like agent/worker.c: what no task of ours uses any more the managers would send again. */
void files_prune(struct agent *a)
{
	struct omap revisions = {0}, files = {0};
	struct omap_iter it = omap_begin(&a->tasks);

	for (const struct container *c; (c = omap_next(&it)) != NULL;) {
		const Pb__Revision *r = omap_get(&a->revisions, one(c->revision));

		omap_set(&revisions, one(c->revision), a);
		for (size_t i = 0; r != NULL && i < r->task->container->n_secrets; i++)
			omap_set(&files, one(r->task->container->secrets[i]->object_id), a);
		for (size_t i = 0; r != NULL && i < r->task->container->n_configs; i++)
			omap_set(&files, one(r->task->container->configs[i]->object_id), a);
	}
	drop_unused(&a->revisions, &revisions);
	drop_unused(&a->files, &files);
	omap_fini(&revisions);
	omap_fini(&files);
}

void files_forget(struct agent *a)
{
	const struct omap none = {0};

	drop_unused(&a->revisions, &none);
	drop_unused(&a->files, &none);
}

static void check_held(const struct agent *a, const struct container *c, uint64_t id)
{
	const Pb__Secret *s = omap_get(&a->files, one(id));

	if (s == NULL)
		world_fail(a->w, "a task starts without a file of its revision", c->id, id);
	else if (content_of(&s->spec->data) != (uintptr_t)omap_get(&a->w->versions, one(id)))
		world_fail(a->w, "a task starts with another version than its revision's", c->id,
			   id);
}

void files_check_start(const struct agent *a, const struct container *c)
{
	const Pb__Revision *r = omap_get(&a->revisions, one(c->revision));

	if (r == NULL) {
		world_fail(a->w, "a task starts without its revision", c->id, c->revision);
		return;
	}
	for (size_t i = 0; i < r->task->container->n_secrets; i++)
		check_held(a, c, r->task->container->secrets[i]->object_id);
	for (size_t i = 0; i < r->task->container->n_configs; i++)
		check_held(a, c, r->task->container->configs[i]->object_id);
}
