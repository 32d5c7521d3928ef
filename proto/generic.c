#include "proto/generic.h"

#include "base/mem.h"
#include "base/str.h"
#include "proto/msg.h"

#include <ctype.h>

static Pb__GenericResource *new_generic(const char *kind, uint64_t amount, const char *value)
{
	Pb__GenericResource *g = sw_new(Pb__GenericResource);

	pb__generic_resource__init(g);
	msg_set_str(&g->kind, kind);
	msg_set_str(&g->value, value);
	g->amount = amount;
	return g;
}

static bool is_word(const char *s)
{
	for (const char *p = s; *p != 0; p++)
		if (!isalnum((unsigned char)*p) && strchr("_.:-", *p) == NULL)
			return false;
	return *s != 0;
}

/* A sign or a digit begins a number; anything else is a name. A kind is counted or named. */
int generic_add(Pb__Resources *r, const char *text, struct sw_error *err)
{
	size_t k = strcspn(text, "=");
	const char *value = text[k] == '=' ? text + k + 1 : "";
	sw_autofree char *kind = sw_strndup(text, k);
	bool number = isdigit((unsigned char)value[0]) || value[0] == '-' || value[0] == '+';
	uint64_t amount = 0;

	if (!is_word(kind) || !is_word(value) ||
	    (number && (!sw_parse_u64(value, INT64_MAX, &amount) || amount == 0)))
		return sw_fail(err, SW_EINVAL,
			       "generic resource \"%.80s\": wanted KIND=NUMBER or KIND=NAME", text);
	if (r->n_generic >= GENERIC_MAX)
		return sw_fail(err, SW_EINVAL, "more than %d generic resources", GENERIC_MAX);
	for (size_t i = 0; i < r->n_generic; i++) {
		const Pb__GenericResource *g = r->generic[i];

		if (sw_streq(g->kind, kind) &&
		    (number || g->value[0] == 0 || sw_streq(g->value, value)))
			return sw_fail(
				err, SW_EINVAL,
				"generic resource \"%.80s\": the kind is given a number once, or "
				"names that differ",
				text);
	}
	msg_add(&r->generic, &r->n_generic, new_generic(kind, amount, number ? "" : value));
	return 0;
}

uint64_t generic_count(Pb__GenericResource *const *v, size_t n, const char *kind)
{
	uint64_t total = 0;

	for (size_t i = 0; i < n; i++)
		if (sw_streq(v[i]->kind, kind))
			total += v[i]->value[0] != 0 ? 1 : v[i]->amount;
	return total;
}

static bool has_name(Pb__GenericResource *const *v, size_t n, const Pb__GenericResource *g)
{
	for (size_t i = 0; i < n; i++)
		if (sw_streq(v[i]->kind, g->kind) && sw_streq(v[i]->value, g->value))
			return true;
	return false;
}

void generic_claim(const Pb__Resources *has, const Pb__Resources *want,
		   Pb__GenericResource *const *taken, size_t n_taken, Pb__GenericResource ***ret,
		   size_t *ret_n)
{
	for (size_t i = 0; has != NULL && want != NULL && i < want->n_generic; i++) {
		const Pb__GenericResource *w = want->generic[i];
		uint64_t left = w->amount;

		for (size_t k = 0; k < has->n_generic && left > 0; k++) {
			const Pb__GenericResource *g = has->generic[k];

			if (!sw_streq(g->kind, w->kind))
				continue;
			if (g->value[0] == 0) {
				msg_add(ret, ret_n, new_generic(w->kind, left, ""));
				break;
			}
			if (has_name(taken, n_taken, g) || has_name(*ret, *ret_n, g))
				continue;
			msg_add(ret, ret_n, new_generic(w->kind, 0, g->value));
			left--;
		}
	}
}
