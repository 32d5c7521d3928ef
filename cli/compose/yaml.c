#include "cli/compose/yaml.h"

#include "base/mem.h"
#include "base/str.h"

#include <yaml.h>

enum { CHUNK = 64 << 10, ANCHORS_MAX = 10000 };

struct chunk {
	struct chunk *next;
	size_t used, size;
	_Alignas(16) char data[];
};

struct yaml_pool {
	struct chunk *head;
};

struct yaml_pool *yaml_pool_new(void)
{
	return sw_new(struct yaml_pool);
}

void yaml_pool_free(struct yaml_pool *p)
{
	if (p == NULL)
		return;
	for (struct chunk *c = p->head, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	free(p);
}

void *yaml_pool_alloc(struct yaml_pool *p, size_t n)
{
	struct chunk *c = p->head;
	void *at;

	n = (n + 15) & ~(size_t)15;
	if (c == NULL || c->size - c->used < n) {
		size_t size = n > CHUNK ? n : CHUNK;

		c = sw_alloc(sizeof *c + size);
		c->size = size;
		c->next = p->head;
		p->head = c;
	}
	at = c->data + c->used;
	c->used += n;
	return at;
}

char *yaml_pool_str(struct yaml_pool *p, const char *s, size_t n)
{
	char *copy = yaml_pool_alloc(p, n + 1);

	memcpy(copy, s, n);
	return copy;
}

struct yaml_node *yaml_new(struct yaml_pool *p, enum yaml_kind kind, const struct yaml_node *at)
{
	struct yaml_node *n = yaml_pool_alloc(p, sizeof *n);

	n->kind = kind;
	n->text = "";
	if (at) {
		n->file = at->file;
		n->line = at->line;
		n->col = at->col;
		n->end_line = at->end_line;
		n->end_col = at->end_col;
	}
	return n;
}

struct yaml_node *yaml_new_text(struct yaml_pool *p, const char *text, const struct yaml_node *at)
{
	struct yaml_node *n = yaml_new(p, YAML_SCALAR, at);

	n->len = strlen(text);
	n->text = yaml_pool_str(p, text, n->len);
	n->quoted = true;
	return n;
}

/* Grows a pool array; the old copy stays in the pool until the end, at most as much again. */
static void *grown(struct yaml_pool *p, void *old, size_t n, size_t *cap, size_t size)
{
	void *fresh;

	if (n < *cap)
		return old;
	*cap = *cap ? *cap * 2 : 4;
	fresh = yaml_pool_alloc(p, *cap * size);
	if (n > 0)
		memcpy(fresh, old, n * size);
	return fresh;
}

void yaml_push(struct yaml_pool *p, struct yaml_node *seq, struct yaml_node *item)
{
	seq->items = grown(p, seq->items, seq->n, &seq->cap, sizeof(struct yaml_node *));
	seq->items[seq->n++] = item;
}

void yaml_put(struct yaml_pool *p, struct yaml_node *map, struct yaml_node *key,
	      struct yaml_node *value)
{
	map->pairs = grown(p, map->pairs, map->n, &map->cap, sizeof(struct yaml_pair));
	map->pairs[map->n++] = (struct yaml_pair){key, value};
}

struct yaml_pair *yaml_get_pair(const struct yaml_node *map, const char *key)
{
	if (map == NULL || map->kind != YAML_MAP)
		return NULL;
	for (size_t i = 0; i < map->n; i++)
		if (sw_streq(map->pairs[i].key->text, key))
			return &map->pairs[i];
	return NULL;
}

struct yaml_node *yaml_get(const struct yaml_node *map, const char *key)
{
	struct yaml_pair *pair = yaml_get_pair(map, key);

	return pair ? pair->value : NULL;
}

const char *yaml_get_text(const struct yaml_node *map, const char *key)
{
	struct yaml_node *n = yaml_get(map, key);

	return n && n->kind == YAML_SCALAR && !yaml_is_null(n) ? n->text : NULL;
}

void yaml_set(struct yaml_pool *p, struct yaml_node *map, const char *key, struct yaml_node *value)
{
	struct yaml_pair *pair = yaml_get_pair(map, key);

	if (pair)
		pair->value = value;
	else
		yaml_put(p, map, yaml_new_text(p, key, value), value);
}

void yaml_remove(struct yaml_node *map, const char *key)
{
	struct yaml_pair *pair = yaml_get_pair(map, key);

	if (pair == NULL)
		return;
	memmove(pair, pair + 1, (size_t)(map->pairs + map->n - (pair + 1)) * sizeof *pair);
	map->n--;
}

bool yaml_is_null(const struct yaml_node *n)
{
	static const char *const words[] = {"", "~", "null", "Null", "NULL"};

	if (n->kind != YAML_SCALAR || n->quoted)
		return false;
	for (size_t i = 0; i < SW_COUNT(words); i++)
		if (sw_streq(n->text, words[i]))
			return true;
	return false;
}

const char *yaml_kind_name(const struct yaml_node *n)
{
	if (n->kind == YAML_MAP)
		return "a mapping";
	if (n->kind == YAML_SEQ)
		return "a list";
	return yaml_is_null(n) ? "nothing" : "a single value";
}

/* ---- Composing ---------------------------------------------------------------------------------
 */

struct anchor {
	char *name;
	struct yaml_node *node;
};

struct composer {
	yaml_parser_t parser;
	struct yaml_pool *pool;
	struct diag *diag;
	uint16_t file;
	struct yaml_node *stack[YAML_DEPTH_MAX];
	struct yaml_node *key[YAML_DEPTH_MAX]; /* of a mapping: waits for its value */
	size_t depth;
	size_t nodes;
	struct anchor *anchors;
	size_t n_anchors, cap_anchors;
	struct yaml_node *root;
	bool failed;
};

static void fail_at(struct composer *c, const yaml_mark_t *m, const char *text)
{
	diag_pos(c->diag, DIAG_ERROR, c->file, (uint32_t)m->line + 1, (uint32_t)m->column + 1, NULL,
		 "%s", text);
	c->failed = true;
}

static struct yaml_node *node_at(struct composer *c, enum yaml_kind kind, const yaml_event_t *e)
{
	struct yaml_node *n;

	if (++c->nodes > YAML_NODES_MAX) {
		fail_at(c, &e->start_mark, "the file has more than 100000 values; split it");
		return NULL;
	}
	n = yaml_new(c->pool, kind, NULL);
	n->file = c->file;
	n->line = (uint32_t)e->start_mark.line + 1;
	n->col = (uint32_t)e->start_mark.column + 1;
	n->end_line = (uint32_t)e->end_mark.line + 1;
	n->end_col = (uint32_t)e->end_mark.column + 1;
	return n;
}

static void keep_anchor(struct composer *c, const yaml_char_t *name, struct yaml_node *n)
{
	if (name == NULL || c->n_anchors >= ANCHORS_MAX)
		return;
	sw_grow(c->anchors, c->cap_anchors, c->n_anchors + 1);
	c->anchors[c->n_anchors++] = (struct anchor){sw_strdup((const char *)name), n};
}

/* The latest definition counts. */
static struct yaml_node *find_anchor(struct composer *c, const yaml_event_t *e)
{
	const char *name = (const char *)e->data.alias.anchor;
	char text[160];

	for (size_t i = c->n_anchors; i-- > 0;) {
		struct yaml_node *n = c->anchors[i].node;

		if (!sw_streq(c->anchors[i].name, name))
			continue;
		if (!n->open)
			return n;
		snprintf(text, sizeof text, "alias *%.60s is inside of what it stands for", name);
		fail_at(c, &e->start_mark, text);
		return NULL;
	}
	snprintf(text, sizeof text, "no anchor &%.60s above", name);
	fail_at(c, &e->start_mark, text);
	return NULL;
}

static void attach(struct composer *c, struct yaml_node *n, const yaml_event_t *e)
{
	struct yaml_node *top, **key;

	if (c->depth == 0) {
		c->root = n;
		return;
	}
	top = c->stack[c->depth - 1];
	if (top->kind == YAML_SEQ) {
		yaml_push(c->pool, top, n);
		return;
	}
	key = &c->key[c->depth - 1];
	if (*key) {
		yaml_put(c->pool, top, *key, n);
		*key = NULL;
	} else if (n->kind != YAML_SCALAR) {
		fail_at(c, &e->start_mark, "the key of a mapping must be a single value");
	} else if (top->n >= YAML_MAP_MAX) {
		fail_at(c, &e->start_mark, "a mapping may have 10000 keys at most");
	} else {
		*key = n;
	}
}

static void open_node(struct composer *c, struct yaml_node *n, const yaml_event_t *e)
{
	if (c->depth >= YAML_DEPTH_MAX) {
		fail_at(c, &e->start_mark, "nested more than 64 deep");
		return;
	}
	n->open = true;
	c->key[c->depth] = NULL;
	c->stack[c->depth++] = n;
}

static int by_key(const void *pa, const void *pb)
{
	const struct yaml_pair *const *a = pa, *const *b = pb;
	int r = strcmp((*a)->key->text, (*b)->key->text);

	return r ? r : (*a < *b ? -1 : *a > *b);
}

/* Sorted, so that a long mapping costs n log n. `<<` may be repeated no more than any other key. */
static void check_duplicates(struct composer *c, const struct yaml_node *map)
{
	sw_autofree const struct yaml_pair **sorted = NULL;

	if (map->n < 2)
		return;
	sorted = sw_new_n(const struct yaml_pair *, map->n);
	for (size_t i = 0; i < map->n; i++)
		sorted[i] = &map->pairs[i];
	qsort(sorted, map->n, sizeof *sorted, by_key);
	for (size_t i = 1; i < map->n; i++) {
		const struct yaml_node *first = sorted[i - 1]->key, *second = sorted[i]->key;

		if (!sw_streq(first->text, second->text))
			continue;
		diag_at(c->diag, DIAG_ERROR, second, NULL, "key \"%.80s\" is here a second time",
			second->text);
		diag_note(c->diag, first, "the first is here");
	}
}

static void close_node(struct composer *c, const yaml_event_t *e)
{
	struct yaml_node *n = c->stack[--c->depth];

	n->open = false;
	n->end_line = (uint32_t)e->end_mark.line + 1;
	n->end_col = (uint32_t)e->end_mark.column + 1;
	if (n->kind == YAML_MAP)
		check_duplicates(c, n);
}

static void read_tag(struct yaml_node *n, const yaml_char_t *tag)
{
	const char *t = (const char *)tag;

	n->reset = t && sw_streq(t, "!reset");
	n->override = t && sw_streq(t, "!override");
}

static void on_scalar(struct composer *c, const yaml_event_t *e)
{
	struct yaml_node *n = node_at(c, YAML_SCALAR, e);
	const char *text = (const char *)e->data.scalar.value;

	if (n == NULL)
		return;
	if (memchr(text, 0, e->data.scalar.length)) {
		fail_at(c, &e->start_mark, "a value may not hold a zero byte");
		return;
	}
	n->len = e->data.scalar.length;
	n->text = yaml_pool_str(c->pool, text, n->len);
	n->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
	read_tag(n, e->data.scalar.tag);
	keep_anchor(c, e->data.scalar.anchor, n);
	attach(c, n, e);
}

static void on_collection(struct composer *c, const yaml_event_t *e, enum yaml_kind kind)
{
	bool seq = kind == YAML_SEQ;
	struct yaml_node *n = node_at(c, kind, e);

	if (n == NULL)
		return;
	read_tag(n, seq ? e->data.sequence_start.tag : e->data.mapping_start.tag);
	keep_anchor(c, seq ? e->data.sequence_start.anchor : e->data.mapping_start.anchor, n);
	attach(c, n, e);
	if (!c->failed)
		open_node(c, n, e);
}

/* True when the document has ended. */
static bool on_event(struct composer *c, const yaml_event_t *e)
{
	struct yaml_node *n;

	switch (e->type) {
	case YAML_SCALAR_EVENT:
		on_scalar(c, e);
		return false;
	case YAML_SEQUENCE_START_EVENT:
		on_collection(c, e, YAML_SEQ);
		return false;
	case YAML_MAPPING_START_EVENT:
		on_collection(c, e, YAML_MAP);
		return false;
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		close_node(c, e);
		return false;
	case YAML_ALIAS_EVENT:
		n = find_anchor(c, e);
		if (n)
			attach(c, n, e);
		return false;
	case YAML_DOCUMENT_END_EVENT:
	case YAML_STREAM_END_EVENT:
		return true;
	default:
		return false;
	}
}

static void fail_parser(struct composer *c)
{
	const yaml_parser_t *p = &c->parser;
	const yaml_mark_t *m = &p->problem_mark;

	if (p->error == YAML_READER_ERROR)
		diag_pos(c->diag, DIAG_ERROR, c->file, 0, 0, NULL, "not UTF-8 text at byte %zu: %s",
			 p->problem_offset, p->problem ? p->problem : "bad character");
	else
		diag_pos(c->diag, DIAG_ERROR, c->file, (uint32_t)m->line + 1,
			 (uint32_t)m->column + 1, NULL, "not YAML: %s%s%s",
			 p->problem ? p->problem : "broken", p->context ? " " : "",
			 p->context ? p->context : "");
	c->failed = true;
}

static void warn_of_more(struct composer *c)
{
	yaml_event_t e;

	if (!yaml_parser_parse(&c->parser, &e))
		return;
	if (e.type == YAML_DOCUMENT_START_EVENT)
		diag_pos(c->diag, DIAG_WARNING, c->file, (uint32_t)e.start_mark.line + 1, 1, NULL,
			 "a second document begins here; only the first is read");
	yaml_event_delete(&e);
}

struct yaml_node *yaml_parse(struct yaml_pool *p, struct diag *d, uint16_t file, const char *text,
			     size_t n)
{
	struct composer *c = sw_new(struct composer);
	struct yaml_node *root;
	bool done = false;

	if (n > YAML_BYTES_MAX) {
		diag_pos(d, DIAG_ERROR, file, 0, 0, NULL, "larger than 4 MB");
		free(c);
		return NULL;
	}
	c->pool = p;
	c->diag = d;
	c->file = file;
	if (!yaml_parser_initialize(&c->parser)) {
		free(c);
		return NULL;
	}
	yaml_parser_set_input_string(&c->parser, (const unsigned char *)text, n);
	while (!done && !c->failed) {
		yaml_event_t e;

		if (!yaml_parser_parse(&c->parser, &e)) {
			fail_parser(c);
			break;
		}
		done = on_event(c, &e);
		yaml_event_delete(&e);
	}
	if (!c->failed && c->root)
		warn_of_more(c);
	yaml_parser_delete(&c->parser);
	root = c->failed ? NULL : c->root;
	for (size_t i = 0; i < c->n_anchors; i++)
		free(c->anchors[i].name);
	free(c->anchors);
	free(c);
	return root;
}
