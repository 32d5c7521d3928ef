#include "cli/compose/diag.h"

#include "base/mem.h"
#include "base/str.h"
#include "cli/compose/yaml.h"

#include <stdarg.h>
#include <stdio.h>

struct source {
	char *name;
	char *text;
	size_t len;
};

struct message {
	enum diag_severity severity;
	uint16_t file;
	uint32_t line, col;
	size_t order; /* of arrival: keeps equal positions stable */
	char *path;
	char *text;
	char *note;
	uint16_t note_file;
	uint32_t note_line, note_col;
};

struct diag {
	struct source *sources;
	size_t n_sources, cap_sources;
	struct message *messages;
	size_t n, cap;
	size_t n_errors, n_warnings;
	bool last_kept;
};

struct diag *diag_new(void)
{
	return sw_new(struct diag);
}

void diag_free(struct diag *d)
{
	if (d == NULL)
		return;
	for (size_t i = 0; i < d->n_sources; i++) {
		free(d->sources[i].name);
		free(d->sources[i].text);
	}
	for (size_t i = 0; i < d->n; i++) {
		free(d->messages[i].path);
		free(d->messages[i].text);
		free(d->messages[i].note);
	}
	free(d->sources);
	free(d->messages);
	free(d);
}

uint16_t diag_add_source(struct diag *d, const char *name, const char *text, size_t n)
{
	struct source *s;

	sw_grow(d->sources, d->cap_sources, d->n_sources + 1);
	s = &d->sources[d->n_sources];
	s->name = sw_strdup(name);
	s->text = sw_alloc(n + 1);
	memcpy(s->text, text, n);
	s->len = n;
	return (uint16_t)d->n_sources++;
}

const char *diag_source_name(const struct diag *d, uint16_t file)
{
	return file < d->n_sources ? d->sources[file].name : "";
}

static void path_add(struct sw_buf *b, const struct compose_path *p)
{
	if (p == NULL)
		return;
	path_add(b, p->up);
	if (p->key == NULL)
		sw_buf_addf(b, "[%zu]", p->index);
	else
		sw_buf_addf(b, "%s%s", b->len > 0 ? "." : "", p->key);
}

char *compose_path_text(const struct compose_path *p)
{
	struct sw_buf b = SW_BUF_INIT(4096);

	path_add(&b, p);
	return sw_buf_take(&b);
}

static void add(struct diag *d, enum diag_severity sev, uint16_t file, uint32_t line, uint32_t col,
		const struct compose_path *path, const char *fmt, va_list ap)
{
	size_t *count = sev == DIAG_ERROR ? &d->n_errors : &d->n_warnings;
	struct sw_buf b = SW_BUF_INIT(8192);
	char text[2048];
	struct message *m;

	++*count;
	d->last_kept = *count <= (sev == DIAG_ERROR ? DIAG_ERRORS_MAX : DIAG_WARNINGS_MAX);
	if (!d->last_kept)
		return;
	vsnprintf(text, sizeof text, fmt, ap);
	sw_buf_adds(&b, text);
	sw_grow(d->messages, d->cap, d->n + 1);
	m = &d->messages[d->n];
	*m = (struct message){
		.severity = sev,
		.file = file,
		.line = line,
		.col = col,
		.order = d->n,
		.path = compose_path_text(path),
		.text = sw_buf_take(&b),
	};
	d->n++;
}

void diag_at(struct diag *d, enum diag_severity sev, const struct yaml_node *n,
	     const struct compose_path *path, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(d, sev, n->file, n->line, n->col, path, fmt, ap);
	va_end(ap);
}

void diag_pos(struct diag *d, enum diag_severity sev, uint16_t file, uint32_t line, uint32_t col,
	      const struct compose_path *path, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(d, sev, file, line, col, path, fmt, ap);
	va_end(ap);
}

void diag_note(struct diag *d, const struct yaml_node *n, const char *text)
{
	struct message *m;

	if (d->n == 0 || !d->last_kept)
		return;
	m = &d->messages[d->n - 1];
	free(m->note);
	m->note = sw_strdup(text);
	m->note_file = n->file;
	m->note_line = n->line;
	m->note_col = n->col;
}

size_t diag_errors(const struct diag *d)
{
	return d->n_errors;
}

size_t diag_warnings(const struct diag *d)
{
	return d->n_warnings;
}

static int by_place(const void *pa, const void *pb)
{
	const struct message *a = pa, *b = pb;

	if (a->file != b->file)
		return a->file < b->file ? -1 : 1;
	if (a->line != b->line)
		return a->line < b->line ? -1 : 1;
	if (a->col != b->col)
		return a->col < b->col ? -1 : 1;
	return a->order < b->order ? -1 : a->order > b->order;
}

/* The line counted from 1, without its end; cut at 200 bytes, since a JSON file may be one line. */
static const char *line_of(const struct source *s, uint32_t line, size_t *ret_n)
{
	const char *p = s->text, *end = s->text + s->len, *nl;

	for (uint32_t i = 1; i < line; i++) {
		nl = memchr(p, '\n', (size_t)(end - p));
		if (nl == NULL)
			return NULL;
		p = nl + 1;
	}
	nl = memchr(p, '\n', (size_t)(end - p));
	*ret_n = (size_t)((nl ? nl : end) - p);
	while (*ret_n > 0 && p[*ret_n - 1] == '\r')
		--*ret_n;
	return p;
}

/* The source line, what cannot be printed as '?', and a caret below column `col` (characters). */
static void excerpt(struct sw_buf *b, const struct source *s, uint32_t line, uint32_t col)
{
	struct sw_buf caret = SW_BUF_INIT(1024);
	const char *p;
	size_t n = 0;
	uint32_t at = 1;

	p = line_of(s, line, &n);
	if (p == NULL || n > 200)
		return;
	sw_buf_addf(b, "%5u | ", line);
	for (size_t i = 0; i < n; i++) {
		bool inside = ((unsigned char)p[i] & 0xc0) == 0x80;
		bool control = ((unsigned char)p[i] < 32 && p[i] != '\t') || p[i] == 127;

		sw_buf_addc(b, control ? '?' : p[i]);
		if (!inside && at++ < col)
			sw_buf_addc(&caret, p[i] == '\t' ? '\t' : ' ');
	}
	sw_buf_addf(b, "\n      | %s^\n", sw_buf_str(&caret));
	sw_buf_fini(&caret);
}

static void place(struct sw_buf *b, const struct diag *d, uint16_t file, uint32_t line,
		  uint32_t col)
{
	if (line == 0)
		sw_buf_addf(b, "%s: ", diag_source_name(d, file));
	else
		sw_buf_addf(b, "%s:%u:%u: ", diag_source_name(d, file), line, col);
}

static void render_one(struct sw_buf *b, const struct diag *d, const struct message *m)
{
	place(b, d, m->file, m->line, m->col);
	if (m->severity == DIAG_WARNING)
		sw_buf_adds(b, "warning: ");
	if (*m->path)
		sw_buf_addf(b, "%s: ", m->path);
	sw_buf_addf(b, "%s\n", m->text);
	if (m->line > 0 && m->file < d->n_sources)
		excerpt(b, &d->sources[m->file], m->line, m->col);
	if (m->note) {
		place(b, d, m->note_file, m->note_line, m->note_col);
		sw_buf_addf(b, "note: %s\n", m->note);
		excerpt(b, &d->sources[m->note_file], m->note_line, m->note_col);
	}
}

char *diag_render(struct diag *d)
{
	struct sw_buf b = SW_BUF_INIT(4 << 20);

	if (d->n > 1)
		qsort(d->messages, d->n, sizeof *d->messages, by_place);
	for (size_t i = 0; i < d->n; i++)
		render_one(&b, d, &d->messages[i]);
	if (d->n_errors > DIAG_ERRORS_MAX)
		sw_buf_addf(&b, "and %zu more errors\n", d->n_errors - DIAG_ERRORS_MAX);
	if (d->n_warnings > DIAG_WARNINGS_MAX)
		sw_buf_addf(&b, "and %zu more warnings\n", d->n_warnings - DIAG_WARNINGS_MAX);
	return sw_buf_take(&b);
}
