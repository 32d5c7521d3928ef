#include "cli/build_stack.h"

#include "base/mem.h"
#include "base/str.h"
#include "cli/build.h"
#include "proto/image_host.h"
#include "proto/msg.h"

#include <stdio.h>
#include <unistd.h>

static void fill(struct build_request *b, const struct compose_build *c)
{
	Pb__BuildStart *s = b->start;

	for (char **a = c->args; a != NULL && *a != NULL; a++)
		build_add_text(&s->args, &s->n_args, *a);
	for (char **l = c->labels; l != NULL && *l != NULL; l++)
		build_add_text(&s->labels, &s->n_labels, *l);
	build_add_text(&s->tags, &s->n_tags, c->image);
	msg_set_str(&s->target, c->target);
	msg_set_str(&s->network, c->network);
	s->no_cache = c->no_cache;
	s->pull = c->pull;
}

static int read_files(struct build_request *b, const struct compose_build *c, struct sw_error *err)
{
	sw_autofree char *path = NULL;

	if (*c->inline_text != 0) {
		b->start->text = (ProtobufCBinaryData){strlen(c->inline_text),
						       (uint8_t *)sw_strdup(c->inline_text)};
		msg_set_str(&b->start->file, "dockerfile_inline");
		return build_add_files(b, "", c->context, NULL, err);
	}
	if (*c->dockerfile != 0)
		path = *c->dockerfile == '/' ? sw_strdup(c->dockerfile)
					     : sw_asprintf("%s/%s", c->context, c->dockerfile);
	return build_read(b, c->context, path, err);
}

static int build_one(struct cli *cli, const struct compose_build *c, Pb__ImageSummary **ret,
		     struct sw_error *err)
{
	struct build_request b = build_request_new();
	int rc;

	fill(&b, c);
	b.quiet = cli_flag(cli, "quiet");
	b.live = isatty(STDERR_FILENO);
	b.elsewhere = cli_is_remote(cli);
	rc = read_files(&b, c, err);
	if (rc == 0)
		rc = build_run(cli, &b, ret, err);
	build_request_fini(&b);
	return rc < 0 ? sw_wrap(err, "build of %s", c->service) : 0;
}

/* "name:tag" and the digest of what was built. */
static void pin(Pb__StackSpec *spec, const struct compose_build *c, const Pb__ImageSummary *image)
{
	for (size_t i = 0; i < spec->n_services; i++) {
		Pb__ContainerSpec *k = spec->services[i]->task->container;

		if (!sw_streq(spec->services[i]->name, c->service) || *image->digest == 0)
			continue;
		sw_autofree char *name = sw_strndup(k->image, strcspn(k->image, "@"));
		sw_autofree char *pinned = sw_asprintf("%s@%s", name, image->digest);

		msg_set_str(&k->image, pinned);
	}
}

int build_stack(struct cli *cli, struct compose_result *r, struct sw_error *err)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < r->n_builds; i++) {
		Pb__ImageSummary *image = NULL;

		rc = build_one(cli, &r->builds[i], &image, err);
		if (rc == 0)
			pin(r->spec, &r->builds[i], image);
		if (rc == 0 && !cli_flag(cli, "quiet"))
			printf("Built %s: %.19s\n", r->builds[i].image, image->id);
		msg_free(image != NULL ? &image->base : NULL);
	}
	return rc;
}

/* As the spec names it; NULL = there is no such service. */
static const char *image_in(const Pb__StackSpec *spec, const char *service)
{
	for (size_t i = 0; i < spec->n_services; i++)
		if (sw_streq(spec->services[i]->name, service))
			return spec->services[i]->task->container->image;
	return NULL;
}

/* "docker.io/library/app:1" of "app:1", as nodes name their images. */
static char *in_full(const char *image)
{
	sw_autofree char *host = image_host(image);

	if (!sw_streq(host, "docker.io") || sw_after(image, "docker.io/") != NULL)
		return sw_strdup(image);
	return sw_asprintf("docker.io/%s%s", strchr(image, '/') != NULL ? "" : "library/", image);
}

static bool some_node_has(const struct objects *images, const char *image)
{
	sw_autofree char *name = in_full(image);

	for (size_t i = 0; i < images->n; i++) {
		const Pb__Image *m = (const Pb__Image *)images->v[i];
		const char *at = strchr(name, '@');

		if (at != NULL && sw_streq(m->digest, at + 1))
			return true;
		for (size_t k = 0; k < m->n_names; k++)
			if (sw_streq(m->names[k], name))
				return true;
	}
	return false;
}

int build_stack_warn(struct cli *cli, const struct compose_result *r, struct sw_error *err)
{
	struct objects images = {0};
	int rc = r->n_builds > 0 ? cmd_list(cli, PB__KIND__KIND_IMAGE, &images, err) : 0;

	for (size_t i = 0; rc == 0 && i < r->n_builds; i++) {
		const struct compose_build *b = &r->builds[i];
		const char *name = image_in(r->spec, b->service);

		if (name != NULL && !some_node_has(&images, name))
			cli_warn("service %s: no node has the image %s; a registry must "
				 "have it, or build it with `stack deploy --build`",
				 b->service, b->image);
	}
	objects_fini(&images);
	return rc;
}
