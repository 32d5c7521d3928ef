#include "cli/build.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/build_progress.h"
#include "proto/msg.h"
#include "runtime/build/front/dockerfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

enum { ENTRIES_AT_ONCE = 1000, CHUNK = 256 << 10, TICK_MS = 100 };

struct need {
	uint32_t context, index;
};

/* The call: START, ENTRIES, (waits for what is needed), FILES, (the build). */
struct talk {
	struct client *client;
	struct build_request *b;
	struct build_progress *progress;
	enum { START, ENTRIES, WAITING, FILES, OVER } phase;
	size_t context, entry; /* ENTRIES: where we are */
	struct need *needs;
	size_t n_needs, cap_needs, at; /* FILES: where we are */
	int fd;
	uint64_t sent; /* of the file */
	Pb__BuildRequest request;
	Pb__BuildEntries entries;
	Pb__BuildEntry one[ENTRIES_AT_ONCE], *list[ENTRIES_AT_ONCE];
	Pb__BuildFile file;
	uint8_t data[CHUNK];
	Pb__ImageSummary *image;
	struct sw_error err;
};

struct build_request build_request_new(void)
{
	struct build_request b = {.output = -1, .start = sw_new(Pb__BuildStart)};

	pb__build_start__init(b.start);
	return b;
}

void build_request_fini(struct build_request *b)
{
	for (size_t k = 0; b->start != NULL && k < b->start->n_contexts; k++)
		build_files_fini(&b->files[k]);
	for (size_t k = 0; b->start != NULL && k < b->start->n_secrets; k++)
		explicit_bzero(b->start->secrets[k]->data.data, b->start->secrets[k]->data.len);
	free(b->files);
	msg_free(b->start != NULL ? &b->start->base : NULL);
	if (b->output >= 0)
		close(b->output);
	*b = (struct build_request){.output = -1};
}

static Pb__BuildContext *add_context(struct build_request *b, const char *name)
{
	size_t n = b->start->n_contexts;
	Pb__BuildContext *c = sw_new(Pb__BuildContext);

	pb__build_context__init(c);
	msg_set_str(&c->name, name);
	b->start->contexts = sw_realloc(b->start->contexts, sizeof c * (n + 1));
	b->start->contexts[n] = c;
	b->files = sw_realloc(b->files, sizeof *b->files * (n + 1));
	b->files[n] = (struct build_files){0};
	b->start->n_contexts++;
	return c;
}

int build_add_files(struct build_request *b, const char *name, const char *root,
		    const struct bld_ignore *ignore, struct sw_error *err)
{
	add_context(b, name);
	return build_files_read(root, ignore, &b->files[b->start->n_contexts - 1], err);
}

void build_add_image(struct build_request *b, const char *name, const char *image)
{
	msg_set_str(&add_context(b, name)->image, image);
}

void build_add_text(char ***list, size_t *n, const char *text)
{
	*list = sw_realloc(*list, sizeof **list * (*n + 1));
	(*list)[(*n)++] = sw_strdup(text);
}

static int read_dockerfile(struct build_request *b, const char *path, struct sw_error *err)
{
	char *text;
	size_t n;
	int rc = sw_read_file(sw_streq(path, "-") ? "/dev/stdin" : path, BLD_FILE_MAX, &text, &n,
			      err);

	if (rc < 0)
		return rc;
	if (n == 0) {
		free(text);
		return sw_fail(err, SW_EINVAL, "%s: file with no instructions", path);
	}
	b->start->text = (ProtobufCBinaryData){n, (uint8_t *)text};
	return 0;
}

int build_read(struct build_request *b, const char *context, const char *file, struct sw_error *err)
{
	sw_autofree char *standard = sw_asprintf("%s/Dockerfile", context);
	const char *path = file != NULL ? file : standard;
	struct bld_ignore *ignore = NULL;
	int rc;

	if (sw_streq(context, "-") && file == NULL) {
		/* A Dockerfile alone, without any files. */
		msg_set_str(&b->start->file, "Dockerfile");
		add_context(b, "");
		return read_dockerfile(b, "-", err);
	}
	if (strstr(context, "://") != NULL || sw_after(context, "git@") != NULL)
		return sw_fail(err, SW_EUNSUPP,
			       "context %s: a folder is wanted; clone the repository first",
			       context);
	msg_set_str(&b->start->file, file != NULL ? file : "Dockerfile");
	rc = read_dockerfile(b, path, err);
	if (rc == 0)
		rc = build_ignore_read(context, path, &ignore, err);
	if (rc == 0)
		rc = build_add_files(b, "", context, ignore, err);
	bld_ignore_free(ignore);
	return rc;
}

/* ---- sending ---- */

static int part(struct talk *t, Pb__BuildRequest__PartCase kind, ProtobufCMessage **ret)
{
	t->request.part_case = kind;
	*ret = &t->request.base;
	return 1;
}

/* The next entries of the list; the last message says that it is. */
static int next_entries(struct talk *t, ProtobufCMessage **ret)
{
	Pb__BuildEntries *e = &t->entries;
	const struct build_files *f = &t->b->files[t->context];

	e->context = (uint32_t)t->context;
	e->n_entries = 0;
	for (; t->entry < f->n && e->n_entries < ENTRIES_AT_ONCE; t->entry++) {
		const struct build_file *x = &f->v[t->entry];
		Pb__BuildEntry *to = &t->one[e->n_entries];

		pb__build_entry__init(to);
		to->path = x->path;
		to->mode = x->mode;
		to->size = x->size;
		if (x->target != NULL)
			to->target = x->target;
		if (S_ISREG(x->mode))
			to->digest = (ProtobufCBinaryData){sizeof x->digest, (uint8_t *)x->digest};
		t->list[e->n_entries++] = to;
	}
	e->entries = t->list;
	if (t->entry == f->n) {
		t->entry = 0;
		t->context++;
	}
	e->last = t->context == t->b->start->n_contexts;
	if (e->last)
		t->phase = WAITING;
	t->request.entries = e;
	return part(t, PB__BUILD_REQUEST__PART_ENTRIES, ret);
}

static int next_file(struct talk *t, ProtobufCMessage **ret, struct sw_error *err)
{
	const struct need *n = &t->needs[t->at];
	const struct build_files *f = &t->b->files[n->context];
	ssize_t got;

	if (t->fd < 0) {
		t->fd = openat(f->root, f->v[n->index].path,
			       O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (t->fd < 0)
			return sw_fail_sys(err, errno, "open %s", f->v[n->index].path);
		t->sent = 0;
	}
	do
		got = read(t->fd, t->data, sizeof t->data);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return sw_fail_sys(err, errno, "read %s", f->v[n->index].path);
	t->file.context = n->context;
	t->file.index = n->index;
	t->file.data = (ProtobufCBinaryData){(size_t)got, t->data};
	t->sent += (uint64_t)got;
	t->file.end = got == 0 || t->sent == f->v[n->index].size;
	if (t->file.end) {
		close(take_fd(&t->fd));
		t->at++;
	}
	t->request.file = &t->file;
	return part(t, PB__BUILD_REQUEST__PART_FILE, ret);
}

static int next_message(ProtobufCMessage **ret, void *arg, struct sw_error *err)
{
	struct talk *t = arg;

	switch (t->phase) {
	case START:
		t->phase = ENTRIES;
		t->request.start = t->b->start;
		return part(t, PB__BUILD_REQUEST__PART_START, ret);
	case ENTRIES:
		return next_entries(t, ret);
	case WAITING:
		return 2;
	case FILES:
		if (t->at < t->n_needs)
			return next_file(t, ret, err);
		t->phase = OVER;
		return 0;
	default:
		return 0;
	}
}

/* ---- listening ---- */

static void take_need(struct talk *t, const Pb__BuildNeed *n)
{
	for (size_t k = 0; k < n->n_index; k++) {
		if (n->context >= t->b->start->n_contexts ||
		    n->index[k] >= t->b->files[n->context].n)
			continue;
		sw_grow(t->needs, t->cap_needs, t->n_needs + 1);
		t->needs[t->n_needs++] = (struct need){n->context, n->index[k]};
	}
	if (n->last)
		t->phase = FILES;
}

static void on_event(const ProtobufCMessage *m, void *arg)
{
	const Pb__BuildEvent *e = (const Pb__BuildEvent *)m;
	struct talk *t = arg;

	if (e->need != NULL)
		take_need(t, e->need);
	for (size_t k = 0; k < e->n_steps; k++)
		build_progress_step(t->progress, e->steps[k]);
	if (e->output.len > 0 && t->b->output >= 0) {
		int rc = sw_write_all(t->b->output, e->output.data, e->output.len);

		if (rc < 0 && t->err.code == 0) {
			sw_fail_sys(&t->err, -rc, "write the output");
			client_stop(t->client);
		}
	}
	if (e->image != NULL && t->image == NULL)
		t->image = (Pb__ImageSummary *)msg_clone(&e->image->base);
}

static void on_tick(void *arg)
{
	build_progress_tick(((struct talk *)arg)->progress);
}

static void on_interrupt(void *arg)
{
	struct talk *t = arg;

	sw_fail(&t->err, SW_ECANCELED, "cancelled: the build was stopped");
	client_stop(t->client);
}

static void tell_skipped(const struct build_files *f)
{
	if (f->skipped > 0)
		fprintf(stderr,
			"%zu sockets, pipes or devices are left out of the context, such as %s\n",
			f->skipped, f->skipped_first);
}

int build_run(struct cli *cli, struct build_request *b, Pb__ImageSummary **ret,
	      struct sw_error *err)
{
	static const struct client_stream_ops ops = {.on_message = on_event,
						     .on_tick = on_tick,
						     .tick_ms = TICK_MS,
						     .on_interrupt = on_interrupt,
						     .next = next_message};
	struct talk *t = sw_new(struct talk);
	int rc = cli_client(cli, &t->client, err);

	for (size_t k = 0; k < b->start->n_contexts; k++)
		tell_skipped(&b->files[k]);
	t->b = b;
	t->fd = -1;
	pb__build_request__init(&t->request);
	pb__build_entries__init(&t->entries);
	pb__build_file__init(&t->file);
	if (rc == 0) {
		t->progress = build_progress_new(b->live, b->quiet);
		rc = client_stream(t->client, b->elsewhere ? METHOD_NodeBuild : METHOD_ImageBuild,
				   NULL, &ops, t, err);
		build_progress_end(t->progress);
	}
	if (t->err.code != 0) {
		*err = t->err;
		rc = err->code;
	}
	if (rc == 0 && t->image == NULL)
		rc = sw_fail(err, SW_EINTERNAL, "the builder told of no image");
	if (rc == 0 && ret != NULL)
		*ret = take_ptr(&t->image);
	msg_free(t->image != NULL ? &t->image->base : NULL);
	if (t->fd >= 0)
		close(t->fd);
	free(t->needs);
	free(t);
	return rc;
}
