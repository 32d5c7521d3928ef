#include "cli/build_progress.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"

#include <stdio.h>
#include <sys/ioctl.h>

enum { TAIL = 4, DRAW_MS = 100, WIDTH_MIN = 20 };

enum state { RUNS, CACHED, DONE, FAILED };

struct vertex {
	unsigned number;
	enum state state;
	char *name;
	char *tail[TAIL]; /* of its output, the oldest first */
	uint64_t began_ms, took_ms;
};

struct build_progress {
	bool live, quiet;
	struct vertex *v;
	size_t n, cap;
	int drawn; /* lines on the terminal */
	uint64_t began_ms, drawn_ms;
	struct sw_buf warnings; /* shown at the end when live */
};

struct build_progress *build_progress_new(bool live, bool quiet)
{
	struct build_progress *p = sw_new(struct build_progress);

	p->live = live && !quiet;
	p->quiet = quiet;
	p->began_ms = sw_mono_ms();
	p->warnings = (struct sw_buf)SW_BUF_INIT(1 << 20);
	return p;
}

static struct vertex *vertex_of(struct build_progress *p, const Pb__BuildStep *s)
{
	for (size_t k = p->n; k-- > 0;)
		if (p->v[k].number == s->vertex)
			return &p->v[k];
	sw_grow(p->v, p->cap, p->n + 1);
	p->v[p->n] = (struct vertex){
		.number = s->vertex, .name = sw_strdup(s->name), .began_ms = sw_mono_ms()};
	return &p->v[p->n++];
}

/* ---- lines ---- */

static void plain(const struct build_progress *p, const Pb__BuildStep *s)
{
	if (s->kind == PB__BUILD_STEP_KIND__BUILD_STEP_WARNING) {
		fprintf(stderr, "%s", s->text);
		return;
	}
	if (p->quiet)
		return;
	switch (s->kind) {
	case PB__BUILD_STEP_KIND__BUILD_STEP_START:
		fprintf(stderr, "#%u %s\n", s->vertex, s->name);
		return;
	case PB__BUILD_STEP_KIND__BUILD_STEP_CACHED:
		fprintf(stderr, "#%u %s\n#%u CACHED\n", s->vertex, s->name, s->vertex);
		return;
	case PB__BUILD_STEP_KIND__BUILD_STEP_LINE:
		fprintf(stderr, "#%u %s\n", s->vertex, s->text);
		return;
	case PB__BUILD_STEP_KIND__BUILD_STEP_DONE:
		fprintf(stderr, "#%u DONE %.1fs\n", s->vertex, (double)s->ms / 1000);
		return;
	default:
		fprintf(stderr, "#%u ERROR: %s\n", s->vertex, s->text);
		return;
	}
}

/* ---- the tree ---- */

static void size_of_terminal(int *rows, int *columns)
{
	struct winsize w = {0};

	*rows = 24;
	*columns = 80;
	if (ioctl(2, TIOCGWINSZ, &w) == 0 && w.ws_col > WIDTH_MIN) {
		*rows = w.ws_row;
		*columns = w.ws_col;
	}
}

static void add_line(struct sw_buf *b, int *lines, int columns, const char *left, const char *right)
{
	int room = columns - (int)strlen(right) - 2;

	sw_buf_addf(b, "\x1b[2K%-*.*s %s\n", room, room, left, right);
	(*lines)++;
}

static void draw_vertex(struct sw_buf *b, int *lines, int columns, const struct vertex *v)
{
	static const char *const marks[] = {"=>", "=> CACHED", "=>", "=> ERROR"};
	uint64_t ms = v->state == RUNS ? sw_mono_ms() - v->began_ms : v->took_ms;
	sw_autofree char *left = sw_asprintf(" %s %s", marks[v->state], v->name);
	char right[32];

	snprintf(right, sizeof right, "%.1fs", (double)ms / 1000);
	add_line(b, lines, columns, left, right);
	for (int k = 0; k < TAIL && (v->state == RUNS || v->state == FAILED); k++) {
		sw_autofree char *text =
			v->tail[k] != NULL ? sw_asprintf(" => => # %s", v->tail[k]) : NULL;

		if (text != NULL)
			add_line(b, lines, columns, text, "");
	}
}

static void draw(struct build_progress *p)
{
	struct sw_buf b = SW_BUF_INIT(1 << 20);
	int rows, columns, lines = 0;
	size_t over = 0, first = 0;
	sw_autofree char *head = NULL;

	size_of_terminal(&rows, &columns);
	for (size_t k = 0; k < p->n; k++)
		over += p->v[k].state != RUNS;
	head = sw_asprintf("[+] Building %.1fs (%zu/%zu)",
			   (double)(sw_mono_ms() - p->began_ms) / 1000, over, p->n);
	if (p->drawn > 0)
		sw_buf_addf(&b, "\x1b[%dA", p->drawn);
	add_line(&b, &lines, columns, head, "");
	/* What does not fit is what has been there longest. */
	if (p->n > (size_t)rows / 2)
		first = p->n - (size_t)rows / 2;
	for (size_t k = first; k < p->n && lines < rows - 2; k++)
		draw_vertex(&b, &lines, columns, &p->v[k]);
	sw_buf_adds(&b, "\x1b[J");
	fputs(sw_buf_str(&b), stderr);
	sw_buf_fini(&b);
	p->drawn = lines;
	p->drawn_ms = sw_mono_ms();
}

static void add_tail(struct vertex *v, const char *line)
{
	free(v->tail[0]);
	memmove(v->tail, v->tail + 1, sizeof *v->tail * (TAIL - 1));
	v->tail[TAIL - 1] = sw_strdup(line);
}

void build_progress_step(struct build_progress *p, const Pb__BuildStep *s)
{
	struct vertex *v;

	if (!p->live) {
		plain(p, s);
		return;
	}
	if (s->kind == PB__BUILD_STEP_KIND__BUILD_STEP_WARNING) {
		sw_buf_adds(&p->warnings, s->text);
		return;
	}
	v = vertex_of(p, s);
	switch (s->kind) {
	case PB__BUILD_STEP_KIND__BUILD_STEP_LINE:
		add_tail(v, s->text);
		break;
	case PB__BUILD_STEP_KIND__BUILD_STEP_CACHED:
		v->state = CACHED;
		break;
	case PB__BUILD_STEP_KIND__BUILD_STEP_DONE:
		v->state = DONE;
		v->took_ms = s->ms;
		break;
	case PB__BUILD_STEP_KIND__BUILD_STEP_FAILED:
		v->state = FAILED;
		v->took_ms = s->ms;
		break;
	default:
		break;
	}
}

void build_progress_tick(struct build_progress *p)
{
	if (p->live && sw_mono_ms() - p->drawn_ms >= DRAW_MS)
		draw(p);
}

void build_progress_end(struct build_progress *p)
{
	if (p == NULL)
		return;
	if (p->live) {
		draw(p);
		fputs(sw_buf_str(&p->warnings), stderr);
	}
	for (size_t k = 0; k < p->n; k++) {
		free(p->v[k].name);
		for (int t = 0; t < TAIL; t++)
			free(p->v[k].tail[t]);
	}
	free(p->v);
	sw_buf_fini(&p->warnings);
	free(p);
}
