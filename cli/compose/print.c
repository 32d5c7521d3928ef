/* The merged file as text: through jansson for JSON, and the same tree as YAML. */
#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/compose/load.h"

#include <ctype.h>
#include <jansson.h>
#include <strings.h>

enum { OUTPUT_MAX = 64 << 20 };

static json_t *to_json(const struct yaml_node *n)
{
	json_t *j;

	if (n->kind == YAML_SCALAR) {
		if (yaml_is_null(n))
			return json_null();
		if (n->number) {
			j = json_loads(n->text, JSON_DECODE_ANY, NULL);
			if (j)
				return j;
		}
		return json_string(n->text);
	}
	j = n->kind == YAML_SEQ ? json_array() : json_object();
	for (size_t i = 0; i < n->n; i++)
		if (n->kind == YAML_SEQ)
			json_array_append_new(j, to_json(n->items[i]));
		else
			json_object_set_new(j, n->pairs[i].key->text, to_json(n->pairs[i].value));
	return j;
}

char *print_json(const struct yaml_node *root)
{
	json_t *j = to_json(root);
	char *text = json_dumps(j, JSON_INDENT(2) | JSON_SORT_KEYS), *copy;

	json_decref(j);
	copy = sw_asprintf("%s\n", text ? text : "");
	free(text);
	return copy;
}

/* Plain where no reader could take it for anything but this text. */
static bool is_plain(const char *s)
{
	static const char *const words[] = {"true", "false", "null", "yes", "no",
					    "on",   "off",   "y",    "n",   "~"};

	if (!isalpha((unsigned char)*s) && *s != '/')
		return false;
	for (size_t i = 0; i < SW_COUNT(words); i++)
		if (strcasecmp(s, words[i]) == 0)
			return false;
	return s[strspn(s,
			"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./@")] ==
	       0;
}

static void put_scalar(struct sw_buf *b, const struct yaml_node *n, const char *text)
{
	json_t *j;
	char *quoted;

	if (n && yaml_is_null(n)) {
		sw_buf_adds(b, "null");
		return;
	}
	if ((n && n->number) || is_plain(text)) {
		sw_buf_adds(b, text);
		return;
	}
	/* A JSON string is a YAML one in double quotes. */
	j = json_string(text);
	quoted = j ? json_dumps(j, JSON_ENCODE_ANY) : NULL;
	sw_buf_adds(b, quoted ? quoted : "\"\"");
	free(quoted);
	json_decref(j);
}

static int by_key(const void *pa, const void *pb)
{
	const struct yaml_pair *a = pa, *b = pb;

	return strcmp(a->key->text, b->key->text);
}

static void put_node(struct sw_buf *b, const struct yaml_node *n, int indent, bool in_item);

static void put_pairs(struct sw_buf *b, const struct yaml_node *n, int indent, bool in_item)
{
	sw_autofree struct yaml_pair *sorted = sw_memdup(n->pairs, n->n * sizeof *n->pairs);

	qsort(sorted, n->n, sizeof *sorted, by_key);
	for (size_t i = 0; i < n->n; i++) {
		if (i > 0 || !in_item)
			sw_buf_addf(b, "%*s", indent, "");
		put_scalar(b, NULL, sorted[i].key->text);
		sw_buf_addc(b, ':');
		put_node(b, sorted[i].value, indent + 2, false);
	}
}

/* Behind "key:" or "-"; ends the line. */
static void put_node(struct sw_buf *b, const struct yaml_node *n, int indent, bool in_item)
{
	if (n->kind == YAML_SCALAR) {
		sw_buf_addc(b, ' ');
		put_scalar(b, n, n->text);
		sw_buf_addc(b, '\n');
	} else if (n->n == 0) {
		sw_buf_adds(b, n->kind == YAML_SEQ ? " []\n" : " {}\n");
	} else if (n->kind == YAML_MAP) {
		sw_buf_addc(b, in_item ? ' ' : '\n');
		put_pairs(b, n, indent, in_item);
	} else {
		sw_buf_addc(b, '\n');
		for (size_t i = 0; i < n->n; i++) {
			sw_buf_addf(b, "%*s-", indent, "");
			put_node(b, n->items[i], indent + 2, true);
		}
	}
}

char *print_yaml(const struct yaml_node *root)
{
	struct sw_buf b = SW_BUF_INIT(OUTPUT_MAX);

	if (root->n > 0)
		put_pairs(&b, root, 0, false);
	return b.len ? sw_buf_take(&b) : sw_strdup("{}\n");
}
