/* Columns as Go's tabwriter lays them out: at least 10 wide with 3 blanks between, the last free.
 */
#include "cli/table.h"

#include "base/mem.h"
#include "base/str.h"
#include "base/template.h"

#include <ctype.h>

enum { MAX_TEXT = 64 << 20, MAX_COLUMNS = 32, MIN_WIDTH = 10, PADDING = 3 };

/* Bytes that begin a character: close enough to columns for what we print. */
static size_t width_of(const char *s, size_t n)
{
	size_t w = 0;

	for (size_t i = 0; i < n; i++)
		w += ((unsigned char)s[i] & 0xc0) != 0x80;
	return w;
}

/* Go's writer ends a block of equal columns at a line without them; lists have none such. */
static void lay_out(const char *text, struct sw_buf *out)
{
	size_t widths[MAX_COLUMNS] = {0};

	for (const char *p = text; *p != 0;) {
		size_t line = strcspn(p, "\n"), column = 0;
		const char *end = p + line;

		for (; p < end; column++) {
			size_t n = strcspn(p, "\t\n");

			if (p[n] == '\t' && column < MAX_COLUMNS) {
				size_t w = width_of(p, n) + PADDING;

				w = w < MIN_WIDTH ? MIN_WIDTH : w;
				widths[column] = w > widths[column] ? w : widths[column];
			}
			p += n + (p[n] == '\t');
		}
		p = end + (*end == '\n');
	}
	for (const char *p = text; *p != 0; p++) {
		for (size_t column = 0;; column++) {
			size_t n = strcspn(p, "\t\n");

			sw_buf_add(out, p, n);
			if (p[n] == '\t' && column < MAX_COLUMNS)
				for (size_t w = width_of(p, n); w < widths[column]; w++)
					sw_buf_addc(out, ' ');
			p += n;
			if (*p != '\t')
				break;
			p++;
		}
		sw_buf_addc(out, '\n');
		if (*p == 0)
			break;
	}
}

static char *header_of(const char *field, size_t n, const char *const *headers)
{
	struct sw_buf b = SW_BUF_INIT(256);

	for (const char *const *h = headers; h != NULL && *h != NULL; h += 2)
		if (strlen(*h) == n && strncmp(*h, field, n) == 0)
			return sw_strdup(h[1]);
	for (size_t i = 0; i < n; i++) {
		if (i > 0 && isupper((unsigned char)field[i]) &&
		    islower((unsigned char)field[i - 1]))
			sw_buf_addc(&b, ' ');
		sw_buf_addc(&b, (char)toupper((unsigned char)field[i]));
	}
	return sw_buf_take(&b);
}

/* The row of headers: an object that has, under every field the format names, its header. */
static json_t *header_row(const char *format, const char *const *headers)
{
	json_t *row = json_object();

	for (const char *p = strstr(format, "{{"); p != NULL; p = strstr(p + 1, "{{")) {
		const char *end = strstr(p, "}}");
		const char *dot = strchr(p, '.');
		size_t n = 0;

		if (dot == NULL || end == NULL || dot > end)
			continue;
		while (isalnum((unsigned char)dot[1 + n]))
			n++;
		sw_autofree char *name = sw_strndup(dot + 1, n);
		sw_autofree char *header = header_of(name, n, headers);
		json_object_set_new(row, name, json_string(header));
	}
	return row;
}

static int render_line(const char *format, const json_t *row, struct sw_buf *b,
		       struct sw_error *err)
{
	int rc = template_render(format, row, b, err);

	return rc != 0                ? rc
	       : sw_buf_addc(b, '\n') ? 0
				      : sw_fail(err, SW_ETOOBIG, "too much to print");
}

/* "\t" and "\n" may be written as two characters in a shell. */
static char *unescape(const char *s)
{
	char *r = sw_strdup(s), *w = r;

	for (const char *p = s; *p != 0; p++) {
		if (p[0] == '\\' && (p[1] == 't' || p[1] == 'n'))
			*w++ = *++p == 't' ? '\t' : '\n';
		else
			*w++ = *p;
	}
	*w = 0;
	return r;
}

int table_print(const json_t *rows, const char *format, const char *columns,
		const char *const *headers, struct sw_buf *out, struct sw_error *err)
{
	struct sw_buf text = SW_BUF_INIT(MAX_TEXT);
	sw_autofree char *f = NULL;
	const char *table;
	json_t *row;
	size_t i;
	int rc = 0;

	if (sw_is_empty(format) || sw_streq(format, "table"))
		format = columns;
	if (sw_streq(format, "json"))
		format = "{{json .}}";
	f = unescape(format);
	table = sw_after(f, "table ");
	if (table != NULL) {
		json_t *h = header_row(table, headers);

		rc = render_line(table, h, &text, err);
		json_decref(h);
	}
	json_array_foreach(rows, i, row)
	{
		if (rc == 0)
			rc = render_line(table != NULL ? table : f, row, &text, err);
	}
	if (rc == 0 && table != NULL)
		lay_out(sw_buf_str(&text), out);
	else if (rc == 0)
		sw_buf_add(out, sw_buf_str(&text), text.len);
	sw_buf_fini(&text);
	return rc;
}
