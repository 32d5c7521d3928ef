/* image build, save, push, tag, history, prune. */
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/build.h"
#include "cli/human.h"
#include "cli/registry_auth.h"
#include "cli/table.h"
#include "proto/msg.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

extern char **environ;

enum { SECRET_MAX = 500 << 10 };

/* ---- options of a build ---- */

/* "NAME=value", or NAME with the value that the environment has. */
static void take_args(struct cli *cli, Pb__BuildStart *s)
{
	const char *v;

	for (size_t k = 0; (v = cli_nth(cli, "build-arg", k)) != NULL; k++) {
		const char *value = strchr(v, '=') == NULL ? getenv(v) : NULL;
		sw_autofree char *pair = value != NULL ? sw_asprintf("%s=%s", v, value) : NULL;

		if (pair != NULL || strchr(v, '=') != NULL)
			build_add_text(&s->args, &s->n_args, pair != NULL ? pair : v);
	}
	for (size_t k = 0; (v = cli_nth(cli, "tag", k)) != NULL; k++)
		build_add_text(&s->tags, &s->n_tags, v);
	for (size_t k = 0; (v = cli_nth(cli, "label", k)) != NULL; k++)
		build_add_text(&s->labels, &s->n_labels, v);
}

static char *field_of(char *const *fields, const char *key)
{
	for (; *fields != NULL; fields++) {
		const char *v = sw_after(*fields, key);

		if (v != NULL && *v == '=')
			return (char *)v + 1;
	}
	return NULL;
}

static int read_secret(char *const *fields, Pb__BuildSecret *s, struct sw_error *err)
{
	const char *id = field_of(fields, "id"), *src = field_of(fields, "src");
	const char *env = field_of(fields, "env"), *value;
	char *text;
	size_t n;
	int rc;

	if (src == NULL)
		src = field_of(fields, "source");
	if (sw_is_empty(id))
		return sw_fail(err, SW_EINVAL, "--secret: wanted id=NAME[,src=FILE|,env=NAME]");
	msg_set_str(&s->id, id);
	if (src == NULL) {
		value = getenv(env != NULL ? env : id);
		if (value == NULL)
			return sw_fail(err, SW_ENOTFOUND, "--secret %s: the variable %s is not set",
				       id, env != NULL ? env : id);
		s->data = (ProtobufCBinaryData){strlen(value), (uint8_t *)sw_strdup(value)};
		return 0;
	}
	rc = sw_read_file(src, SECRET_MAX, &text, &n, err);
	if (rc < 0)
		return sw_wrap(err, "--secret %s", id);
	s->data = (ProtobufCBinaryData){n, (uint8_t *)text};
	return 0;
}

static int take_secrets(struct cli *cli, Pb__BuildStart *s, struct sw_error *err)
{
	const char *v;
	int rc = 0;

	for (size_t k = 0; rc == 0 && (v = cli_nth(cli, "secret", k)) != NULL; k++) {
		Pb__BuildSecret *x = sw_new(Pb__BuildSecret);
		char **fields = sw_strv_split(v, ',');

		pb__build_secret__init(x);
		s->secrets = sw_realloc(s->secrets, sizeof x * (s->n_secrets + 1));
		s->secrets[s->n_secrets++] = x;
		rc = read_secret(fields, x, err);
		sw_strv_free(fields);
	}
	return rc;
}

static int take_contexts(struct cli *cli, struct build_request *b, struct sw_error *err)
{
	const char *v;
	int rc = 0;

	for (size_t k = 0; rc == 0 && (v = cli_nth(cli, "build-context", k)) != NULL; k++) {
		sw_autofree char *name = sw_strndup(v, strcspn(v, "="));
		const char *where = strchr(v, '=');
		const char *image = where != NULL ? sw_after(where + 1, "docker-image://") : NULL;

		if (where == NULL || *name == 0 || where[1] == 0)
			rc = sw_fail(err, SW_EINVAL,
				     "--build-context %s: wanted NAME=FOLDER or "
				     "NAME=docker-image://IMAGE",
				     v);
		else if (image != NULL)
			build_add_image(b, name, image);
		else
			rc = build_add_files(b, name, where + 1, NULL, err);
	}
	return rc;
}

static int take_epoch(Pb__BuildStart *s, struct sw_error *err)
{
	const char *v = getenv("SOURCE_DATE_EPOCH");

	for (size_t k = 0; k < s->n_args; k++) {
		const char *given = sw_after(s->args[k], "SOURCE_DATE_EPOCH=");

		v = given != NULL ? given : v;
	}
	if (!sw_is_empty(v) && !sw_parse_i64(v, 0, INT64_MAX / 1000, &s->epoch))
		return sw_fail(err, SW_EINVAL,
			       "SOURCE_DATE_EPOCH=%s: seconds since 1970 are wanted", v);
	return 0;
}

static int take_limits(struct cli *cli, Pb__BuildStart *s, struct sw_error *err)
{
	static const char units[] = "bkmgt";
	const char *memory = cli_get(cli, "memory"), *cpus = cli_get(cli, "cpus");
	char *end;
	double n;

	if (memory != NULL) {
		unsigned long long v = strtoull(memory, &end, 10);
		const char *unit = *end != 0 ? strchr(units, *end | 0x20) : units;

		if (end == memory || unit == NULL)
			return sw_fail(err, SW_EINVAL, "--memory %s: wanted a size, as 512m",
				       memory);
		s->memory = (uint64_t)v << (10 * (unit - units));
	}
	if (cpus != NULL) {
		n = strtod(cpus, &end);
		if (end == cpus || *end != 0 || !(n > 0 && n < 1e6))
			return sw_fail(err, SW_EINVAL, "--cpus %s: wanted a number, as 1.5", cpus);
		s->nano_cpus = (uint64_t)(n * 1e9);
	}
	return 0;
}

/* ---- output ---- */

struct output {
	const char *type; /* as BuildStart has it */
	char *dest;
	pid_t tar; /* that unpacks a local folder; 0 = none */
};

static int unpack_to(struct output *o, int *ret_fd, struct sw_error *err)
{
	char *argv[] = {(char *)"tar", (char *)"-xpf", (char *)"-", (char *)"-C", o->dest, NULL};
	posix_spawn_file_actions_t fa;
	int fds[2], rc = sw_mkdir_p(o->dest, 0755, err);

	if (rc < 0)
		return rc;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return sw_fail_sys(err, errno, "pipe");
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_adddup2(&fa, fds[0], 0);
	rc = posix_spawnp(&o->tar, "tar", &fa, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&fa);
	close(fds[0]);
	if (rc != 0) {
		close(fds[1]);
		o->tar = 0;
		return sw_fail_sys(err, rc, "run tar");
	}
	*ret_fd = fds[1];
	return 0;
}

/* "type=local,dest=DIR", "DIR", "-". */
static int open_output(const char *text, struct output *o, int *ret_fd, struct sw_error *err)
{
	char **fields = sw_strv_split(text, ',');
	const char *type = field_of(fields, "type"), *dest = field_of(fields, "dest");
	bool local;
	int rc = 0;

	if (type == NULL && strchr(text, '=') == NULL) {
		type = sw_streq(text, "-") ? "tar" : "local";
		dest = text;
	}
	local = type != NULL && sw_streq(type, "local");
	o->dest = sw_strdup(dest != NULL ? dest : local ? "." : "-");
	if (type == NULL || sw_streq(type, "image"))
		o->type = "";
	else if (local || sw_streq(type, "tar"))
		o->type = "tar";
	else if (sw_streq(type, "oci") || sw_streq(type, "docker"))
		o->type = sw_streq(type, "oci") ? "oci" : "docker";
	else
		rc = sw_fail(err, SW_EINVAL,
			     "--output type=%s: wanted image, local, tar, oci or docker", type);
	if (rc == 0 && local) {
		rc = unpack_to(o, ret_fd, err);
	} else if (rc == 0 && *o->type != 0) {
		bool standard = sw_streq(o->dest, "-");

		*ret_fd = standard ? dup(STDOUT_FILENO)
				   : open(o->dest, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		if (*ret_fd < 0)
			rc = sw_fail_sys(err, errno, "open %s", o->dest);
		else if (standard && isatty(*ret_fd))
			rc = sw_fail(err, SW_EINVAL,
				     "an archive is not written to a terminal: use "
				     "dest=FILE");
	}
	sw_strv_free(fields);
	return rc;
}

static int close_output(struct output *o, struct build_request *b, int rc, struct sw_error *err)
{
	int status = 0;

	if (b->output >= 0)
		close(take_fd(&b->output));
	if (o->tar != 0) {
		while (waitpid(o->tar, &status, 0) < 0 && errno == EINTR)
			;
		if (rc == 0 && status != 0)
			rc = sw_fail(err, SW_EIO, "tar could not unpack into %s", o->dest);
	}
	free(o->dest);
	return rc;
}

/* ---- build ---- */

static bool wants_live(const struct cli *cli)
{
	const char *p = cli_get(cli, "progress");

	return p == NULL || sw_streq(p, "auto") ? isatty(STDERR_FILENO) : sw_streq(p, "tty");
}

static int fill_start(struct cli *cli, struct build_request *b, struct sw_error *err)
{
	Pb__BuildStart *s = b->start;
	const char *p = cli_get(cli, "progress");
	int rc;

	if (p != NULL && !sw_streq(p, "auto") && !sw_streq(p, "tty") && !sw_streq(p, "plain") &&
	    !sw_streq(p, "quiet"))
		return sw_fail(err, SW_EINVAL, "--progress %s: wanted auto, tty, plain or quiet",
			       p);
	take_args(cli, s);
	msg_set_str(&s->target, cli_get(cli, "target") != NULL ? cli_get(cli, "target") : "");
	msg_set_str(&s->network, cli_get(cli, "network") != NULL ? cli_get(cli, "network") : "");
	msg_set_str(&s->platform, cli_get(cli, "platform") != NULL ? cli_get(cli, "platform") : "");
	s->no_cache = cli_flag(cli, "no-cache");
	s->pull = cli_flag(cli, "pull");
	b->quiet = cli_flag(cli, "quiet") || (p != NULL && sw_streq(p, "quiet"));
	b->live = wants_live(cli);
	rc = take_epoch(s, err);
	if (rc == 0)
		rc = take_limits(cli, s, err);
	return rc == 0 ? take_secrets(cli, s, err) : rc;
}

static void print_line(const ProtobufCMessage *m, void *arg)
{
	const Pb__ImageProgress *p = (const Pb__ImageProgress *)m;

	if (p->line[0] != 0 && !*(const bool *)arg)
		printf("%s\n", p->line);
}

static int push(struct cli *cli, const char *name, bool quiet, struct sw_error *err)
{
	static const struct client_stream_ops ops = {.on_message = print_line};
	Pb__ImagePushRequest q = PB__IMAGE_PUSH_REQUEST__INIT;
	sw_autofree char *auth = registry_auth(name);
	struct client *c;
	int rc = cli_client(cli, &c, err);

	q.reference = (char *)name;
	if (auth != NULL)
		q.auth = auth;
	return rc != 0 ? rc : client_stream(c, METHOD_ImagePush, &q.base, &ops, &quiet, err);
}

static int after_build(struct cli *cli, const struct build_request *b, const Pb__ImageSummary *i,
		       struct sw_error *err)
{
	const char *iidfile = cli_get(cli, "iidfile"), *tag;
	int rc = 0;

	if (iidfile != NULL)
		rc = sw_write_file(iidfile, i->id, strlen(i->id), 0644, err);
	if (rc == 0 && cli_flag(cli, "push") && cli_nth(cli, "tag", 0) == NULL)
		rc = sw_fail(err, SW_EINVAL, "--push needs a --tag to push to");
	for (size_t k = 0;
	     rc == 0 && cli_flag(cli, "push") && (tag = cli_nth(cli, "tag", k)) != NULL; k++)
		rc = push(cli, tag, b->quiet, err);
	if (rc == 0 && b->quiet)
		printf("%s\n", i->id);
	else if (rc == 0)
		fprintf(stderr, "image %s\n", i->id);
	for (size_t k = 0; rc == 0 && !b->quiet && k < i->n_names; k++)
		fprintf(stderr, "named %s\n", i->names[k]);
	return rc;
}

CMD(image_build)
{
	struct build_request b = build_request_new();
	struct output out = {.type = ""};
	Pb__ImageSummary *image = NULL;
	const char *output = cli_get(cli, "output");
	int rc;

	b.elsewhere = cli_get(cli, "on") != NULL || cli_is_remote(cli);
	msg_set_str(&b.start->node, cli_get(cli, "on") != NULL ? cli_get(cli, "on") : "");
	rc = fill_start(cli, &b, err);
	if (rc == 0 && output != NULL)
		rc = open_output(output, &out, &b.output, err);
	if (rc == 0)
		rc = build_read(&b, cli->args[0], cli_get(cli, "file"), err);
	if (rc == 0)
		rc = take_contexts(cli, &b, err);
	msg_set_str(&b.start->output, out.type);
	if (rc == 0)
		rc = build_run(cli, &b, &image, err);
	rc = close_output(&out, &b, rc, err);
	if (rc == 0)
		rc = after_build(cli, &b, image, err);
	msg_free(image != NULL ? &image->base : NULL);
	build_request_fini(&b);
	return rc;
}

/* ---- the other verbs ---- */

CMD(image_push)
{
	return push(cli, cli->args[0], cli_flag(cli, "quiet"), err);
}

CMD(image_tag)
{
	Pb__ImageTagRequest q = PB__IMAGE_TAG_REQUEST__INIT;
	Pb__ImageTagReply *r = NULL;
	struct client *c;
	int rc = cli_client(cli, &c, err);

	q.source = cli->args[0];
	q.target = cli->args[1];
	if (rc == 0)
		rc = client_call(c, METHOD_ImageTag, &q.base, &r, err);
	msg_free(r != NULL ? &r->base : NULL);
	return rc;
}

struct saving {
	int fd;
	struct client *c;
	struct sw_error err;
};

static void write_data(const ProtobufCMessage *m, void *arg)
{
	const Pb__ImageData *d = (const Pb__ImageData *)m;
	struct saving *s = arg;
	int rc = sw_write_all(s->fd, d->data.data, d->data.len);

	if (rc < 0) {
		sw_fail_sys(&s->err, -rc, "write the archive");
		client_stop(s->c);
	}
}

CMD(image_save)
{
	static const struct client_stream_ops ops = {.on_message = write_data};
	Pb__ImageSaveRequest q = PB__IMAGE_SAVE_REQUEST__INIT;
	const char *path = cli_get(cli, "output"), *format = cli_get(cli, "format");
	struct saving s = {.fd = -1};
	int rc = cli_client(cli, &s.c, err);

	if (rc != 0)
		return rc;
	if (format != NULL && !sw_streq(format, "docker") && !sw_streq(format, "oci"))
		return sw_fail(err, SW_EINVAL, "--format %s: wanted docker or oci", format);
	if (path == NULL && isatty(STDOUT_FILENO))
		return sw_fail(err, SW_EINVAL,
			       "an archive is not written to a terminal: use --output FILE");
	s.fd = path != NULL ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)
			    : dup(STDOUT_FILENO);
	if (s.fd < 0)
		return sw_fail_sys(err, errno, "open %s", path != NULL ? path : "stdout");
	q.refs = cli->args;
	q.n_refs = cli->n_args;
	q.format = (char *)(format != NULL ? format : "docker");
	rc = client_stream(s.c, METHOD_ImageSave, &q.base, &ops, &s, err);
	if (s.err.code != 0) {
		*err = s.err;
		rc = err->code;
	}
	close(s.fd);
	if (rc != 0 && path != NULL)
		unlink(path);
	return rc;
}

CMD(image_history)
{
	static const char *const headers[] = {"ID", "IMAGE", "CreatedBy", "CREATED BY", NULL};
	Pb__ImageRef q = PB__IMAGE_REF__INIT;
	Pb__ImageInspectReply *r = NULL;
	json_t *rows = NULL, *row;
	struct client *c;
	size_t k;
	int rc = cli_client(cli, &c, err);

	q.ref = cli->args[0];
	if (rc == 0)
		rc = client_call(c, METHOD_ImageHistory, &q.base, &r, err);
	if (rc == 0)
		rows = json_loads(r->json, 0, NULL);
	json_array_foreach(rows, k, row)
	{
		const char *id = json_string_value(json_object_get(row, "ID"));
		char size[32];

		if (id == NULL)
			json_object_set_new(row, "ID", json_string("<missing>"));
		else if (!cli_flag(cli, "no-trunc"))
			json_object_set_new(row, "ID", json_stringn(id + strlen("sha256:"), 12));
		human_size((uint64_t)json_integer_value(json_object_get(row, "Size")), size);
		json_object_set_new(row, "Size", json_string(size));
	}
	if (rc == 0)
		rc = cmd_print_rows(cli, rows,
				    "table {{.ID}}\t{{.Created}}\t{{.CreatedBy}}\t{{.Size}}\t"
				    "{{.Comment}}",
				    headers, err);
	json_decref(rows);
	msg_free(r != NULL ? &r->base : NULL);
	return rc;
}

CMD(image_prune)
{
	Pb__ImagePruneRequest q = PB__IMAGE_PRUNE_REQUEST__INIT;
	Pb__ImagePruneReply *r = NULL;
	struct client *c;
	char size[32];
	int rc = cli_client(cli, &c, err);

	q.all = cli_flag(cli, "all");
	q.build = cli_flag(cli, "build-cache");
	if (rc == 0)
		rc = client_call(c, METHOD_ImagePrune, &q.base, &r, err);
	if (rc == 0 && q.build)
		printf("Forgot %u build steps, removed %u cache folder%s\n", r->steps, r->caches,
		       r->caches == 1 ? "" : "s");
	if (rc == 0)
		printf("Removed %u images\nTotal reclaimed space: %s\n", r->images,
		       human_size(r->bytes, size));
	msg_free(r != NULL ? &r->base : NULL);
	return rc;
}
