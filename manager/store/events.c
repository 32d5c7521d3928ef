#include "manager/store/events.h"

#include "base/mem.h"
#include "base/str.h"
#include "proto/msg.h"
#include "proto/task_state.h"

#include <inttypes.h>
#include <stdio.h>

enum { SLACK = 200, MESSAGE_MAX = 300, RAND_BITS = 20 };

struct note {
	const char *action;  /* NULL: nothing to tell */
	const char *message; /* may point into the objects */
	char text[160];      /* or be made here */
};

/* ---- what to tell of a row that was there and is ---- */

static void of_node(const struct store_head *old, const struct store_head *new, struct note *n)
{
	static const char *const states[] = {"unknown", "ready", "down", "disconnected"};
	static const char *const availabilities[] = {"active", "pause", "drain"};
	const Pb__Node *a = (const Pb__Node *)old, *b = (const Pb__Node *)new;

	if (a->state != b->state) {
		n->action = states[b->state % SW_COUNT(states)];
		n->message = b->message;
	} else if (a->spec->availability != b->spec->availability) {
		n->action = availabilities[b->spec->availability % SW_COUNT(availabilities)];
	} else if (a->spec->role != b->spec->role) {
		n->action = b->spec->role == PB__NODE_ROLE__MANAGER ? "promote" : "demote";
	} else if (!msg_equal(&a->spec->base, &b->spec->base)) {
		n->action = "update";
	}
}

static void of_stack(const struct store_head *old, const struct store_head *new, struct note *n)
{
	const Pb__Stack *a = (const Pb__Stack *)old, *b = (const Pb__Stack *)new;

	if (a->generation == b->generation)
		return;
	n->action = "update";
	snprintf(n->text, sizeof n->text, "generation %" PRIu64, b->generation);
}

static void of_service(const struct store_head *old, const struct store_head *new, struct note *n)
{
	const Pb__Service *a = (const Pb__Service *)old, *b = (const Pb__Service *)new;
	Pb__UpdateState was = a->update != NULL ? a->update->state : PB__UPDATE_STATE__UPDATE_NONE;
	Pb__UpdateState is = b->update != NULL ? b->update->state : PB__UPDATE_STATE__UPDATE_NONE;
	const ProtobufCEnumValue *word;

	if (!msg_equal(&a->spec->base, &b->spec->base)) {
		n->action = "update";
		if (a->spec->replicas != b->spec->replicas)
			snprintf(n->text, sizeof n->text, "replicas %" PRIu64 " -> %" PRIu64,
				 a->spec->replicas, b->spec->replicas);
	} else if (was != is && is != PB__UPDATE_STATE__UPDATE_NONE) {
		word = protobuf_c_enum_descriptor_get_value(&pb__update_state__descriptor, (int)is);
		n->action = "update";
		snprintf(n->text, sizeof n->text, "%s%s%s", word != NULL ? word->name : "?",
			 b->update->message[0] != 0 ? ": " : "", b->update->message);
	}
}

static void of_task(const struct store_head *old, const struct store_head *new, struct note *n)
{
	const Pb__Task *a = (const Pb__Task *)old, *b = (const Pb__Task *)new;

	if (a->state != b->state && task_state_of(b->state)->failed)
		n->action = b->state == PB__TASK_STATE__TASK_REJECTED ? "reject" : "fail";
	else if (a->health != b->health && b->health == PB__TASK_HEALTH__HEALTH_UNHEALTHY)
		n->action = "unhealthy";
	n->message = b->message;
}

/* Kinds that are told; `changed` NULL: only that one was made or removed. */
static const struct {
	Pb__Kind kind;
	bool made; /* told when it is made and removed, too */
	void (*changed)(const struct store_head *old, const struct store_head *new, struct note *n);
} told[] = {
	{PB__KIND__KIND_NODE, true, of_node},       {PB__KIND__KIND_STACK, true, of_stack},
	{PB__KIND__KIND_SERVICE, true, of_service}, {PB__KIND__KIND_TASK, false, of_task},
	{PB__KIND__KIND_NETWORK, true, NULL},       {PB__KIND__KIND_SECRET, true, NULL},
	{PB__KIND__KIND_CONFIG, true, NULL},        {PB__KIND__KIND_VOLUME, true, NULL},
	{PB__KIND__KIND_REGISTRY, true, NULL},
};

/* ---- rows ---- */

static void add(struct store_tx *tx, struct sw_rand *rand, const char *kind, uint64_t object,
		const char *name, const struct note *n)
{
	Pb__Event *e = sw_new(Pb__Event);
	sw_autofree char *message = NULL;

	pb__event__init(e);
	do
		e->id = (uint64_t)store_tx_now(tx) << RAND_BITS |
			sw_rand_below(rand, 1U << RAND_BITS);
	while (store_tx_get(tx, PB__KIND__KIND_EVENT, e->id) != NULL);
	e->object_id = object;
	msg_set_str(&e->kind, kind);
	msg_set_str(&e->action, n->action);
	msg_set_str(&e->name, name);
	message = sw_strndup(n->message != NULL ? n->message : n->text, MESSAGE_MAX);
	msg_set_str(&e->message, message);
	store_tx_create(tx, PB__KIND__KIND_EVENT, e);
}

static char *name_of(const struct store_tx *tx, Pb__Kind kind, const struct store_head *o)
{
	const Pb__Task *t = (const Pb__Task *)o;
	const Pb__Service *s;

	if (kind != PB__KIND__KIND_TASK)
		return sw_strdup(store_name_of(kind, o));
	s = store_tx_get(tx, PB__KIND__KIND_SERVICE, t->service_id);
	return sw_asprintf("%s.%u", s != NULL ? s->spec->name : "?", t->slot);
}

static void look_at(struct store_tx *tx, size_t row, const struct store_head *old,
		    const struct store_head *new, struct note *n)
{
	if (old == NULL && told[row].made)
		n->action = "create";
	else if (new == NULL && told[row].made)
		n->action = "remove";
	else if (old != NULL && new != NULL && told[row].changed != NULL)
		told[row].changed(old, new, n);
	(void)tx;
}

void events_note(struct store_tx *tx, struct sw_rand *rand)
{
	const struct store *st = store_tx_store(tx);
	unsigned noted = 0, more = 0;

	for (size_t i = 0; i < SW_COUNT(told); i++) {
		const struct store_head *new;
		struct store_iter it = {0};
		uint64_t id;

		while (store_tx_next(tx, told[i].kind, &it, &id, &new)) {
			const struct store_head *old = store_get(st, told[i].kind, id);
			struct note n = {0};
			sw_autofree char *name = NULL;

			look_at(tx, i, old, new, &n);
			if (n.action == NULL)
				continue;
			if (noted++ >= EVENTS_PER_TX) {
				more++;
				continue;
			}
			name = name_of(tx, told[i].kind, new != NULL ? new : old);
			add(tx, rand, store_kinds[told[i].kind].name, id, name, &n);
		}
	}
	if (more > 0) {
		struct note n = {.action = "more"};

		snprintf(n.text, sizeof n.text, "and %u more at the same time", more);
		add(tx, rand, "event", 0, "", &n);
	}
}

void events_trim(struct store_tx *tx)
{
	const struct store *st = store_tx_store(tx);
	size_t n = store_count(st, PB__KIND__KIND_EVENT);
	struct store_iter it = {0};
	const struct store_head *o;

	if (n <= EVENTS_KEPT + SLACK)
		return;
	for (size_t i = 0; i < 2 * SLACK && n - i > EVENTS_KEPT &&
			   (o = store_next(st, PB__KIND__KIND_EVENT, &it)) != NULL;
	     i++)
		store_tx_remove(tx, PB__KIND__KIND_EVENT, o->id);
}
