#include "cli/board.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

enum { NAME_MAX_COLUMNS = 40, PLAIN_NAME = 24, MIN_WIDTH = 10, MIN_HEIGHT = 2 };

/* ---- characters ---- */

/* The bytes of the character at `p`, 1 for what is none. Each is taken for one column: names and
 * reasons are nearly all ASCII, and a line that is cut early is no harm. */
static size_t char_at(const char *p)
{
	unsigned char c = (unsigned char)*p;
	size_t n = c < 0x80 ? 1 : c >> 5 == 6 ? 2 : c >> 4 == 14 ? 3 : c >> 3 == 30 ? 4 : 1;

	for (size_t i = 1; i < n; i++)
		if (((unsigned char)p[i] & 0xc0) != 0x80)
			return 1;
	return n;
}

static bool is_printable(const char *p, size_t n)
{
	unsigned char c = (unsigned char)p[0];

	if (n == 1)
		return c >= 0x20 && c < 0x7f;
	return n > 2 || c != 0xc2 ||
	       (unsigned char)p[1] >= 0xa0; /* U+0080 to U+009F steer terminals */
}

/* A line that is filled up to a width; 0 = any. */
struct line {
	struct sw_buf *b;
	unsigned at, width;
};

static void put(struct line *l, const char *s)
{
	for (size_t n; *s != 0 && (l->width == 0 || l->at < l->width); s += n, l->at++) {
		n = char_at(s);
		if (is_printable(s, n))
			sw_buf_add(l->b, s, n);
		else
			sw_buf_add(l->b, "?", 1);
	}
}

static void pad(struct line *l, unsigned column)
{
	while (l->at < column && (l->width == 0 || l->at < l->width)) {
		sw_buf_add(l->b, " ", 1);
		l->at++;
	}
}

static unsigned columns(const char *s)
{
	unsigned n = 0;

	for (; *s != 0; s += char_at(s))
		n++;
	return n;
}

/* ---- rows ---- */

static void row(struct sw_buf *b, const struct board_row *r, unsigned name_columns, unsigned width)
{
	struct line l = {.b = b, .width = width};
	char tasks[48];

	snprintf(tasks, sizeof tasks, " %3llu/%-3llu ", (unsigned long long)r->running,
		 (unsigned long long)r->wanted);
	put(&l, r->name);
	pad(&l, name_columns);
	put(&l, tasks);
	put(&l, r->state);
	if (r->why[0] != 0) {
		put(&l, ": ");
		put(&l, r->why);
	}
	sw_buf_add(b, "\n", 1);
}

void board_plain(struct sw_buf *b, const struct board_row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++)
		row(b, &rows[i], PLAIN_NAME, 0);
}

static unsigned name_columns(const struct board_row *rows, size_t n)
{
	unsigned most = (unsigned)strlen("SERVICE");

	for (size_t i = 0; i < n; i++) {
		unsigned c = columns(rows[i].name);

		most = c > most ? c : most;
	}
	return most < NAME_MAX_COLUMNS ? most : NAME_MAX_COLUMNS;
}

/* Settled rows are hidden first, then the last of the others. */
static size_t choose(const struct board_row *rows, size_t n, size_t room, bool *shown)
{
	size_t count = 0;

	for (int settled = 0; settled <= 1; settled++)
		for (size_t i = 0; i < n && count < room; i++)
			if (rows[i].settled == (settled == 1)) {
				shown[i] = true;
				count++;
			}
	return count;
}

static void rest(struct sw_buf *b, const struct board_row *rows, size_t n, const bool *shown,
		 unsigned width)
{
	struct line l = {.b = b, .width = width};
	size_t hidden = 0, settled = 0;
	char text[96];

	for (size_t i = 0; i < n; i++) {
		hidden += !shown[i];
		settled += !shown[i] && rows[i].settled;
	}
	if (settled == hidden)
		snprintf(text, sizeof text, "… and %zu more, settled", hidden);
	else
		snprintf(text, sizeof text, "… and %zu more, %zu of them settled", hidden, settled);
	put(&l, text);
	sw_buf_add(b, "\n", 1);
}

void board_table(struct sw_buf *b, const struct board_row *rows, size_t n, unsigned width,
		 unsigned height)
{
	unsigned names = name_columns(rows, n);
	sw_autofree bool *shown = sw_new_n(bool, n + 1);
	struct line head = {.b = b};
	size_t room;

	width = width < MIN_WIDTH ? MIN_WIDTH : width;
	height = height < MIN_HEIGHT ? MIN_HEIGHT : height;
	head.width = width;
	put(&head, "SERVICE");
	pad(&head, names);
	put(&head, "   TASKS STATE");
	sw_buf_add(b, "\n", 1);
	room = height - 1;
	if (n > room)
		room--; /* for the last line */
	choose(rows, n, room, shown);
	for (size_t i = 0; i < n; i++)
		if (shown[i])
			row(b, &rows[i], names, width);
	if (n > room)
		rest(b, rows, n, shown, width);
}

unsigned board_lines(const char *text, unsigned width)
{
	unsigned lines = 0, at = 0;

	width = width < 1 ? 1 : width;
	for (; *text != 0; text += char_at(text)) {
		if (*text != '\n') {
			at++;
			continue;
		}
		lines += at == 0 ? 1 : (at + width - 1) / width;
		at = 0;
	}
	return lines;
}
