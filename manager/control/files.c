/*
 * Secrets and configs: objects of one make that differ in type and in how large they may be.
 * Content never changes in an object. New content under a name is a new object; the old one becomes
 * NAME~ID, by which what runs still knows it, and goes when nothing uses it
 * (manager/orch/stacks.c).
 */
#include "manager/control/internal.h"

#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/expand.h"
#include "proto/msg.h"

_Static_assert(sizeof(Pb__Secret) == sizeof(Pb__Config) &&
		       offsetof(Pb__Secret, spec) == offsetof(Pb__Config, spec) &&
		       offsetof(Pb__Secret, stack_id) == offsetof(Pb__Config, stack_id) &&
		       sizeof(Pb__SecretSpec) == sizeof(Pb__ConfigSpec) &&
		       offsetof(Pb__SecretSpec, data) == offsetof(Pb__ConfigSpec, data) &&
		       offsetof(Pb__SecretSpec, template_driver) ==
			       offsetof(Pb__ConfigSpec, template_driver),
	       "secrets and configs are alike");

/* Docker's, in bytes: less than 500 and 1,000 KiB. */
static size_t max_size(Pb__Kind kind)
{
	return kind == PB__KIND__KIND_SECRET ? 512000 : 1024000;
}

int ctl_check_file(Pb__Kind kind, const ProtobufCMessage *spec, struct sw_error *err)
{
	const Pb__SecretSpec *s = (const Pb__SecretSpec *)spec;
	const char *what = store_kinds[kind].name;
	int rc = ctl_check_name(what, s->name, err);

	if (rc != 0)
		return rc;
	if (s->data.len == 0)
		return sw_fail(err, SW_EINVAL, "%s %s is empty", what, s->name);
	if (s->data.len >= max_size(kind))
		return sw_fail(err, SW_EINVAL, "%s %s has %zu bytes; less than %zu are allowed",
			       what, s->name, s->data.len, max_size(kind));
	if (s->template_driver[0] != 0 && !sw_streq(s->template_driver, "golang"))
		return sw_fail(
			err, SW_EINVAL,
			"%s %s: there is no template driver \"%s\"; golang is the one there is",
			what, s->name, s->template_driver);
	if (s->template_driver[0] != 0 && (rc = expand_check_content(&s->data, err)) != 0)
		return sw_wrap(err, "%s %s", what, s->name);
	return 0;
}

static uint64_t create(struct control *c, struct store_tx *tx, Pb__Kind kind,
		       const ProtobufCMessage *spec, uint64_t stack_id)
{
	Pb__Secret *s = sw_new(Pb__Secret);

	if (kind == PB__KIND__KIND_SECRET)
		pb__secret__init(s);
	else
		pb__config__init((Pb__Config *)s);
	s->id = ctl_new_id(c);
	s->spec = msg_clone(spec);
	s->stack_id = stack_id;
	store_tx_create(tx, kind, s);
	return s->id;
}

void ctl_retire_file(struct store_tx *tx, Pb__Kind kind, uint64_t id)
{
	Pb__Secret *s = store_tx_edit(tx, kind, id);
	sw_autofree char *name = sw_asprintf("%s~%s", s->spec->name, sw_id(id).s);

	msg_set_str(&s->spec->name, name);
}

static bool same_content(const Pb__SecretSpec *a, const Pb__SecretSpec *b)
{
	return a->data.len == b->data.len && memcmp(a->data.data, b->data.data, a->data.len) == 0 &&
	       sw_streq(a->template_driver, b->template_driver);
}

/* Only the labels are new: they are nobody's but the reader's. */
static void put_labels(struct store_tx *tx, Pb__Kind kind, uint64_t id,
		       const ProtobufCMessage *spec)
{
	Pb__Secret *s = store_tx_edit(tx, kind, id);

	msg_free(&s->spec->base);
	s->spec = msg_clone(spec);
}

enum ctl_file_change ctl_put_file(struct control *c, struct store_tx *tx, Pb__Kind kind,
				  const ProtobufCMessage *spec, uint64_t stack_id, uint64_t *ret_id)
{
	const Pb__SecretSpec *s = (const Pb__SecretSpec *)spec;
	const Pb__Secret *old;
	uint64_t id;

	if (ctl_find_named(tx, kind, s->name, &id) != 0) {
		*ret_id = create(c, tx, kind, spec, stack_id);
		return CTL_FILE_CREATED;
	}
	*ret_id = id;
	old = store_tx_get(tx, kind, id);
	if (msg_equal(&old->spec->base, spec))
		return CTL_FILE_SAME;
	if (same_content(old->spec, s)) {
		put_labels(tx, kind, id, spec);
		return CTL_FILE_LABELED;
	}
	stack_id = old->stack_id;
	ctl_retire_file(tx, kind, id);
	*ret_id = create(c, tx, kind, spec, stack_id);
	return CTL_FILE_REPLACED;
}

/* ---- methods ---- */

static int build_create(struct control *c, struct store_tx *tx, Pb__Kind kind,
			const ProtobufCMessage *spec, ProtobufCMessage *reply, struct sw_error *err)
{
	int rc;

	if (spec == NULL)
		return sw_fail(err, SW_EINVAL, "the request has no spec");
	if ((rc = ctl_check_file(kind, spec, err)) != 0 ||
	    (rc = ctl_refuse_taken(tx, kind, ((const Pb__SecretSpec *)spec)->name, err)) != 0)
		return rc;
	((Pb__IdReply *)reply)->id = create(c, tx, kind, spec, 0);
	return 0;
}

/* Without data the content stays; labels are those given. */
static int build_update(struct control *c, struct store_tx *tx, Pb__Kind kind, const char *ref,
			const ProtobufCMessage *spec, ProtobufCMessage *reply, struct sw_error *err)
{
	const struct store_head *o;
	const Pb__Secret *old;
	Pb__SecretSpec *next;
	uint64_t id;
	int rc;

	if (spec == NULL)
		return sw_fail(err, SW_EINVAL, "the request has no spec");
	if ((rc = store_find_ref(c->env.store, kind, ref, &o, err)) != 0)
		return rc;
	old = (const Pb__Secret *)o;
	if (strchr(old->spec->name, '~') != NULL)
		return sw_fail(err, SW_EPRECOND, "%s %s is an old version: name the current one",
			       store_kinds[kind].name, old->spec->name);
	next = msg_clone(spec);
	msg_set_str(&next->name, old->spec->name);
	if (next->data.len == 0 && old->spec->data.len > 0) {
		next->data.data = sw_memdup(old->spec->data.data, old->spec->data.len);
		next->data.len = old->spec->data.len;
	}
	rc = ctl_check_file(kind, &next->base, err);
	if (rc == 0) {
		if (ctl_put_file(c, tx, kind, &next->base, old->stack_id, &id) == CTL_FILE_REPLACED)
			ctl_roll_users(c, tx, kind, id);
		((Pb__IdReply *)reply)->id = id;
	}
	explicit_bzero(next->data.data, next->data.len);
	msg_free(&next->base);
	return rc;
}

CTL_BUILD(secret_create)
{
	const Pb__SecretCreateRequest *r = (const Pb__SecretCreateRequest *)m;

	return build_create(c, tx, PB__KIND__KIND_SECRET, r->spec != NULL ? &r->spec->base : NULL,
			    reply, err);
}

CTL_BUILD(config_create)
{
	const Pb__ConfigCreateRequest *r = (const Pb__ConfigCreateRequest *)m;

	return build_create(c, tx, PB__KIND__KIND_CONFIG, r->spec != NULL ? &r->spec->base : NULL,
			    reply, err);
}

CTL_BUILD(secret_update)
{
	const Pb__SecretUpdateRequest *r = (const Pb__SecretUpdateRequest *)m;

	return build_update(c, tx, PB__KIND__KIND_SECRET, r->ref,
			    r->spec != NULL ? &r->spec->base : NULL, reply, err);
}

CTL_BUILD(config_update)
{
	const Pb__ConfigUpdateRequest *r = (const Pb__ConfigUpdateRequest *)m;

	return build_update(c, tx, PB__KIND__KIND_CONFIG, r->ref,
			    r->spec != NULL ? &r->spec->base : NULL, reply, err);
}

CTL_BUILD(secret_remove)
{
	return ctl_remove_unused(c, tx, PB__KIND__KIND_SECRET, ((const Pb__Ref *)m)->ref, reply,
				 err);
}

CTL_BUILD(config_remove)
{
	return ctl_remove_unused(c, tx, PB__KIND__KIND_CONFIG, ((const Pb__Ref *)m)->ref, reply,
				 err);
}
