#include "runtime/build/front/mode.h"

#include <stdlib.h>
#include <string.h>

enum { ALL = 07777 };

static mode_t who_of(char c)
{
	return c == 'u' ? 04700 : c == 'g' ? 02070 : c == 'o' ? 01007 : c == 'a' ? ALL : 0;
}

/* The letters after an op; false when one is none. */
static bool take_bits(const char **s, struct bld_mode_op *o)
{
	if (**s == 'u' || **s == 'g' || **s == 'o') {
		o->copy = *(*s)++;
		return true;
	}
	for (; **s != 0 && strchr(",=+-", **s) == NULL; (*s)++) {
		switch (**s) {
		case 'r':
			o->bits |= 0444;
			break;
		case 'w':
			o->bits |= 0222;
			break;
		case 'x':
			o->bits |= 0111;
			break;
		case 's':
			o->bits |= 06000;
			break;
		case 't':
			o->bits |= 01000;
			break;
		case 'X':
			o->search = true;
			break;
		default:
			return false;
		}
	}
	return true;
}

/* "go=rX", "u+w-x": letters, then ops that are all theirs. */
static bool take_clause(const char **s, struct bld_mode *m)
{
	mode_t who = 0;

	for (mode_t w; (w = who_of(**s)) != 0; (*s)++)
		who |= w;
	if (**s == 0 || strchr("=+-", **s) == NULL)
		return false;
	while (**s != 0 && strchr("=+-", **s) != NULL) {
		struct bld_mode_op *o = &m->op[m->n];

		if (m->n == BLD_MODE_OPS_MAX)
			return false;
		m->n++;
		*o = (struct bld_mode_op){.op = *(*s)++, .who = who != 0 ? who : ALL};
		if (!take_bits(s, o))
			return false;
	}
	return true;
}

static bool parse(const char *s, struct bld_mode *m)
{
	char *end;
	long v = strtol(s, &end, 8);

	if (*s >= '0' && *s <= '9') {
		m->op[m->n++] = (struct bld_mode_op){'=', ALL, (mode_t)v, false, 0};
		return *end == 0 && v >= 0 && v <= ALL;
	}
	do
		if (!take_clause(&s, m))
			return false;
	while (*s == ',' && s++ != NULL);
	return *s == 0;
}

int bld_mode_parse(const char *text, struct bld_mode *ret, struct sw_error *err)
{
	*ret = (struct bld_mode){0};
	if (parse(text, ret))
		return 0;
	*ret = (struct bld_mode){0};
	return sw_fail(err, SW_EINVAL,
		       "invalid chmod parameter: '%.40s'. it should be octal string and between 0 "
		       "and 07777, or like u=rwX,go=rX",
		       text);
}

static mode_t copied(mode_t mode, char from)
{
	mode_t three = (from == 'u' ? mode >> 6 : from == 'g' ? mode >> 3 : mode) & 7;

	return three << 6 | three << 3 | three;
}

mode_t bld_mode_apply(const struct bld_mode *m, mode_t mode, bool folder)
{
	mode &= ALL;
	for (size_t i = 0; i < m->n; i++) {
		const struct bld_mode_op *o = &m->op[i];
		mode_t bits = o->copy != 0 ? copied(mode, o->copy) : o->bits;

		if (o->search && (folder || (mode & 0111) != 0))
			bits |= 0111;
		bits &= o->who;
		if (o->op == '=')
			mode = (mode & ~o->who) | bits;
		else if (o->op == '+')
			mode |= bits;
		else
			mode &= ~bits;
	}
	return mode;
}
