#include "manager/sched/constraint.h"

#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/msg.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <strings.h>

void constraint_fini(struct constraint *c)
{
	free(c->key);
	sw_strv_free(c->values);
	*c = (struct constraint){0};
}

static bool is_key(const char *s, size_t n)
{
	if (n == 0 || !(isalnum((unsigned char)s[0]) || s[0] == '_'))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)s[i]) && strchr("-_.", s[i]) == NULL && s[i] != '/')
			return false;
	return true;
}

static bool is_value(const char *s)
{
	if (*s == 0)
		return false;
	for (; *s != 0; s++)
		if ((unsigned char)*s < 32)
			return false;
	return true;
}

/* [s, e) without the space around it. */
static char *trimmed(const char *s, const char *e)
{
	while (s < e && isspace((unsigned char)*s))
		s++;
	while (e > s && isspace((unsigned char)e[-1]))
		e--;
	return sw_strndup(s, (size_t)(e - s));
}

static int parse_list(const char *s, char ***ret)
{
	const char *open = strchr(s, '('), *close = strrchr(s, ')');
	char **v = NULL;

	if (open == NULL || close == NULL || close[1] != 0)
		return SW_EINVAL;
	for (const char *p = open + 1;; p++) {
		const char *e = p + strcspn(p, ",)");
		sw_autofree char *item = trimmed(p, e);

		if (!is_value(item)) {
			sw_strv_free(v);
			return SW_EINVAL;
		}
		v = sw_strv_add(v, item);
		p = e;
		if (p == close)
			break;
	}
	*ret = v;
	return 0;
}

static const struct {
	const char *word;
	enum constraint_op op;
} infix[] = {
	{"==", CONSTRAINT_EQ},
	{"!=", CONSTRAINT_NE},
	{" notin ", CONSTRAINT_NOT_IN},
	{" in ", CONSTRAINT_IN},
};

static bool parse_infix(const char *s, struct constraint *c)
{
	for (size_t i = 0; i < SW_COUNT(infix); i++) {
		const char *at = strstr(s, infix[i].word);

		if (at == NULL)
			continue;
		c->op = infix[i].op;
		c->key = trimmed(s, at);
		at += strlen(infix[i].word);
		if (c->op == CONSTRAINT_IN || c->op == CONSTRAINT_NOT_IN)
			return parse_list(at, &c->values) == 0;
		sw_autofree char *value = trimmed(at, at + strlen(at));
		c->values = sw_strv_add(NULL, value);
		return is_value(value);
	}
	return false;
}

int constraint_parse(const char *s, struct constraint *ret, struct sw_error *err)
{
	struct constraint c = {0};
	const char *key;
	bool ok;

	if ((key = sw_after(s, "has ")) != NULL || (key = sw_after(s, "!has ")) != NULL) {
		c.op = *s == '!' ? CONSTRAINT_HAS_NOT : CONSTRAINT_HAS;
		c.key = trimmed(key, key + strlen(key));
		ok = true;
	} else {
		ok = parse_infix(s, &c);
	}
	if (!ok || !is_key(c.key, strlen(c.key))) {
		constraint_fini(&c);
		return sw_fail(
			err, SW_EINVAL,
			"constraint \"%s\": wanted KEY == VALUE, KEY != VALUE, KEY in (A, B), "
			"KEY notin (A, B), has KEY or !has KEY",
			s);
	}
	*ret = c;
	return 0;
}

enum key_kind {
	KEY_ID,
	KEY_HOSTNAME,
	KEY_IP,
	KEY_ROLE,
	KEY_OS,
	KEY_ARCH,
	KEY_NODE_LABEL,
	KEY_ENGINE_LABEL
};

static const struct {
	const char *name;
	enum key_kind kind;
	bool prefix;
} keys[] = {
	{"node.id", KEY_ID, false},
	{"node.hostname", KEY_HOSTNAME, false},
	{"node.ip", KEY_IP, false},
	{"node.role", KEY_ROLE, false},
	{"node.platform.os", KEY_OS, false},
	{"node.platform.arch", KEY_ARCH, false},
	{"node.labels.", KEY_NODE_LABEL, true},
	{"engine.labels.", KEY_ENGINE_LABEL, true},
};

static int find_key(const char *key, const char **ret_rest)
{
	for (size_t i = 0; i < SW_COUNT(keys); i++) {
		size_t n = strlen(keys[i].name);

		if (keys[i].prefix ? strncasecmp(key, keys[i].name, n) == 0 && key[n] != 0
				   : strcasecmp(key, keys[i].name) == 0) {
			*ret_rest = key + n;
			return (int)keys[i].kind;
		}
	}
	return -1;
}

int constraint_check_key(const struct constraint *c, struct sw_error *err)
{
	const char *rest;

	if (find_key(c->key, &rest) >= 0)
		return 0;
	return sw_fail(
		err, SW_EINVAL,
		"constraint key \"%s\" is unknown: there are node.id, node.hostname, node.ip, "
		"node.role, node.platform.os, node.platform.arch, node.labels.NAME and "
		"engine.labels.NAME",
		c->key);
}

/* "AMD64" and "x86_64" mean the same machine. */
static const char *arch_name(const char *a)
{
	if (strcasecmp(a, "x86_64") == 0)
		return "amd64";
	return strcasecmp(a, "aarch64") == 0 ? "arm64" : a;
}

const char *constraint_node_value(const char *key, const Pb__Node *n, char buf[64])
{
	const Pb__NodeDescription *d = n->description;
	struct sw_id_text id = sw_id(n->id);
	const char *rest;

	switch (find_key(key, &rest)) {
	case KEY_ID:
		memcpy(buf, id.s, sizeof id.s);
		return buf;
	case KEY_HOSTNAME:
		return d != NULL ? d->hostname : "";
	case KEY_IP:
		return d != NULL ? d->address : "";
	case KEY_ROLE:
		return n->role == PB__NODE_ROLE__MANAGER ? "manager" : "worker";
	case KEY_OS:
		return d != NULL && d->platform != NULL ? d->platform->os : "";
	case KEY_ARCH:
		return d != NULL && d->platform != NULL ? d->platform->arch : "";
	case KEY_NODE_LABEL:
		return n->spec != NULL ? msg_kv_get(n->spec->labels, n->spec->n_labels, rest)
				       : NULL;
	case KEY_ENGINE_LABEL:
		return d != NULL ? msg_kv_get(d->engine_labels, d->n_engine_labels, rest) : NULL;
	default:
		return NULL;
	}
}

static bool any_equal(const struct constraint *c, const char *have)
{
	for (char **v = c->values; *v != NULL; v++)
		if (strcasecmp(*v, have) == 0)
			return true;
	return false;
}

bool constraint_match(const struct constraint *c, const char *have)
{
	switch (c->op) {
	case CONSTRAINT_HAS:
		return have != NULL;
	case CONSTRAINT_HAS_NOT:
		return have == NULL;
	case CONSTRAINT_EQ:
	case CONSTRAINT_IN:
		return any_equal(c, have != NULL ? have : "");
	default:
		return !any_equal(c, have != NULL ? have : "");
	}
}

/* `want` is an address or address/prefix. Bad ones equal nothing. */
static bool ip_in(const char *want, const char *have)
{
	char net[64];
	const char *slash = strchr(want, '/');
	size_t n = slash != NULL ? (size_t)(slash - want) : strlen(want);
	int family = strchr(want, ':') != NULL ? AF_INET6 : AF_INET;
	uint64_t bits = family == AF_INET6 ? 128 : 32;
	uint8_t a[16] = {0}, b[16] = {0};

	if (n >= sizeof net)
		return false;
	memcpy(net, want, n);
	net[n] = 0;
	if (slash != NULL && !sw_parse_u64(slash + 1, bits, &bits))
		return false;
	if (inet_pton(family, net, a) != 1 || inet_pton(family, have, b) != 1)
		return false;
	for (uint64_t i = 0; i < bits; i++)
		if (((a[i / 8] ^ b[i / 8]) >> (7 - i % 8) & 1) != 0)
			return false;
	return true;
}

static bool ip_ok(const struct constraint *c, const char *have)
{
	bool in = false;

	for (char **v = c->values; *v != NULL; v++)
		in |= ip_in(*v, have);
	return c->op == CONSTRAINT_EQ || c->op == CONSTRAINT_IN ? in : !in;
}

static bool arch_ok(const struct constraint *c, const char *have)
{
	bool in = false;

	for (char **v = c->values; *v != NULL; v++)
		in |= strcasecmp(arch_name(*v), arch_name(have)) == 0;
	return c->op == CONSTRAINT_EQ || c->op == CONSTRAINT_IN ? in : !in;
}

bool constraint_node_ok(const struct constraint *c, const Pb__Node *n)
{
	char buf[64];
	const char *rest;
	int kind = find_key(c->key, &rest);
	const char *have;

	if (kind < 0)
		return false;
	have = constraint_node_value(c->key, n, buf);
	if (c->op == CONSTRAINT_HAS || c->op == CONSTRAINT_HAS_NOT)
		return constraint_match(c, have);
	if (kind == KEY_IP)
		return ip_ok(c, have);
	if (kind == KEY_ARCH)
		return arch_ok(c, have);
	return constraint_match(c, have);
}
