/* image ls, pull, load, import, inspect, rm: images of this host, through its agent. */
#include "cli/cmd.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/human.h"
#include "cli/table.h"
#include "proto/local.pb-c.h"
#include "proto/msg.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

enum { CHUNK = 128 * 1024, SHORT_DIGEST = 12 };

static const char *bare_digest(const char *id)
{
	const char *hex = sw_after(id, "sha256:");

	return hex != NULL ? hex : id;
}

static json_t *row_of(const struct cli *cli, const Pb__ImageSummary *s, const char *name)
{
	char size[32], ago[48];
	bool whole = cli_flag(cli, "no-trunc");
	const char *colon = strrchr(name, ':'), *slash = strrchr(name, '/');
	bool tagged = colon != NULL && (slash == NULL || colon > slash);
	sw_autofree char *id =
		sw_asprintf("%.*s", whole ? 71 : SHORT_DIGEST, whole ? s->id : bare_digest(s->id));
	sw_autofree char *repo = tagged ? sw_strndup(name, (size_t)(colon - name))
					: sw_strdup(name[0] != 0 ? name : "<none>");

	return json_pack("{ssssssssssss}", "Repository", repo, "Tag", tagged ? colon + 1 : "<none>",
			 "ID", id, "Digest", s->digest, "CreatedSince",
			 s->created_ms > 0 ? human_ago(s->created_ms, sw_wall_ms(), ago) : "N/A",
			 "Size", human_size(s->size, size));
}

CMD(image_ls)
{
	static const char *const headers[] = {"ID", "IMAGE ID", "CreatedSince", "CREATED", NULL};
	Pb__ImageListRequest q = PB__IMAGE_LIST_REQUEST__INIT;
	Pb__ImageListReply *r = NULL;
	json_t *rows = json_array();
	struct client *c;
	int rc = cli_client(cli, &c, err);

	if (rc == 0)
		rc = client_call(c, METHOD_ImageList, &q.base, &r, err);
	for (size_t i = 0; rc == 0 && i < r->n_images; i++) {
		const Pb__ImageSummary *s = r->images[i];

		if (s->n_names == 0)
			json_array_append_new(rows, row_of(cli, s, ""));
		for (size_t k = 0; k < s->n_names; k++)
			json_array_append_new(rows, row_of(cli, s, s->names[k]));
	}
	if (rc == 0)
		rc = cmd_print_rows(cli, rows,
				    "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t"
				    "{{.Size}}",
				    headers, err);
	json_decref(rows);
	msg_free(r != NULL ? &r->base : NULL);
	return rc;
}

/* ---- load ---- */

struct load {
	int fd;
	bool quiet;
	Pb__ImageLoadRequest chunk;
	uint8_t data[CHUNK];
};

static int next_chunk(ProtobufCMessage **ret, void *arg, struct sw_error *err)
{
	struct load *l = arg;
	ssize_t n;

	do
		n = read(l->fd, l->data, sizeof l->data);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return sw_fail_sys(err, errno, "reading the archive");
	if (n == 0)
		return 0;
	l->chunk.data = (ProtobufCBinaryData){(size_t)n, l->data};
	*ret = &l->chunk.base;
	return 1;
}

static void print_progress(const ProtobufCMessage *m, void *arg)
{
	const Pb__ImageProgress *p = (const Pb__ImageProgress *)m;
	const struct load *l = arg;

	if (l->quiet)
		return;
	if (p->line[0] != 0)
		printf("%s\n", p->line);
	for (size_t i = 0; p->image != NULL && i < p->image->n_names; i++)
		printf("Loaded image: %s\n", p->image->names[i]);
}

static int send_file(struct cli *cli, const char *path, const char *import_as, struct sw_error *err)
{
	static const struct client_stream_ops ops = {.on_message = print_progress,
						     .next = next_chunk};
	bool standard = sw_is_empty(path) || sw_streq(path, "-");
	struct client *c;
	struct load *l;
	int rc = cli_client(cli, &c, err);
	sw_autoclose int fd = -1;

	if (rc != 0)
		return rc;
	fd = standard ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return sw_fail_sys(err, errno, "%s", standard ? "stdin" : path);
	if (isatty(fd))
		return sw_fail(err, SW_EINVAL,
			       "an archive is wanted on stdin or with --input FILE");
	l = sw_new(struct load);
	pb__image_load_request__init(&l->chunk);
	l->chunk.import_as = (char *)import_as;
	l->fd = fd;
	l->quiet = cli_flag(cli, "quiet");
	rc = client_stream(c, METHOD_ImageLoad, NULL, &ops, l, err);
	free(l);
	return rc;
}

CMD(image_load)
{
	return send_file(cli, cli_get(cli, "input"), "", err);
}

CMD(image_import)
{
	return send_file(cli, cli->args[0], cli->args[1], err);
}

/* ---- pull, inspect, rm ---- */

static void print_pulled(const ProtobufCMessage *m, void *arg)
{
	const Pb__ImageProgress *p = (const Pb__ImageProgress *)m;
	const struct cli *cli = arg;

	if (p->line[0] != 0 && !cli_flag(cli, "quiet"))
		printf("%s\n", p->line);
	if (p->image == NULL)
		return;
	if (!cli_flag(cli, "quiet"))
		printf("Digest: %s\n", p->image->digest);
	for (size_t i = 0; i < p->image->n_names; i++)
		printf("%s\n", p->image->names[i]);
}

CMD(image_pull)
{
	static const struct client_stream_ops ops = {.on_message = print_pulled};
	Pb__ImagePullRequest q = PB__IMAGE_PULL_REQUEST__INIT;
	struct client *c;
	int rc = cli_client(cli, &c, err);

	q.reference = cli->args[0];
	return rc != 0 ? rc : client_stream(c, METHOD_ImagePull, &q.base, &ops, cli, err);
}

CMD(image_inspect)
{
	const char *format = cli_get(cli, "format");
	struct sw_buf out = SW_BUF_INIT(16 << 20);
	json_t *all = json_array();
	struct client *c;
	int rc = cli_client(cli, &c, err);

	for (size_t i = 0; rc == 0 && i < cli->n_args; i++) {
		Pb__ImageRef q = PB__IMAGE_REF__INIT;
		Pb__ImageInspectReply *r = NULL;

		q.ref = cli->args[i];
		rc = client_call(c, METHOD_ImageInspect, &q.base, &r, err);
		if (rc == 0)
			json_array_append_new(all, json_loads(r->json, 0, NULL));
		msg_free(r != NULL ? &r->base : NULL);
	}
	if (rc == 0 && format != NULL && !sw_streq(format, "json")) {
		rc = table_print(all, format, "", NULL, &out, err);
		if (rc == 0)
			fputs(sw_buf_str(&out), stdout);
	} else if (rc == 0) {
		json_dumpf(all, stdout, JSON_INDENT(4));
		putchar('\n');
	}
	sw_buf_fini(&out);
	json_decref(all);
	return rc;
}

CMD(image_rm)
{
	struct client *c;
	int rc = cli_client(cli, &c, err);

	for (size_t i = 0; rc == 0 && i < cli->n_args; i++) {
		Pb__ImageRef q = PB__IMAGE_REF__INIT;
		Pb__ImageRemoveReply *r = NULL;

		q.ref = cli->args[i];
		rc = client_call(c, METHOD_ImageRemove, &q.base, &r, err);
		for (size_t k = 0; rc == 0 && k < r->n_untagged; k++)
			printf("Untagged: %s\n", r->untagged[k]);
		for (size_t k = 0; rc == 0 && k < r->n_deleted; k++)
			printf("Deleted: %s\n", r->deleted[k]);
		msg_free(r != NULL ? &r->base : NULL);
	}
	return rc;
}
