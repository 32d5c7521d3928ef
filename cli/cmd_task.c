/* `service ps`, `stack ps`, `node ps`: tasks with their history, newest first in each slot. */
#include "cli/cmd.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/human.h"
#include "proto/task_state.h"

#include <ctype.h>

static char *task_name(const Pb__Task *t, const Pb__Service *s)
{
	const char *name = s != NULL ? s->spec->name : "?";

	return t->slot != 0 ? sw_asprintf("%s.%u", name, t->slot)
			    : sw_asprintf("%s.%s", name, sw_id(t->node_id).s);
}

struct line {
	const Pb__Task *t;
	char *name;
};

static int by_name_then_age(const void *a, const void *b)
{
	const struct line *x = a, *y = b;
	int d = human_compare(x->name, y->name);

	if (d != 0)
		return d;
	return (x->t->created_ms < y->t->created_ms) - (x->t->created_ms > y->t->created_ms);
}

static char *capital(const char *s)
{
	char *c = sw_strdup(s);

	c[0] = (char)toupper((unsigned char)c[0]);
	return c;
}

/* Images without what resolving added, as the user wrote them. */
static const char *image_of(const struct cli *cli, const Pb__Revision *r)
{
	const Pb__ContainerSpec *c = r != NULL && r->task != NULL ? r->task->container : NULL;

	if (c == NULL)
		return "";
	return cli_flag(cli, "no-trunc") || c->image_asked[0] == 0 ? c->image : c->image_asked;
}

static char *error_of(const struct cli *cli, const Pb__Task *t)
{
	bool show = t->message[0] != 0 && (t->down || t->health != PB__TASK_HEALTH__HEALTH_NONE ||
					   (t->state != PB__TASK_STATE__TASK_RUNNING &&
					    t->state != PB__TASK_STATE__TASK_SHUTDOWN));
	bool cut = strlen(t->message) > 30 && !cli_flag(cli, "no-trunc");

	if (!show)
		return sw_strdup("");
	return sw_asprintf("\"%.*s%s\"", cut ? 29 : 480, t->message, cut ? "…" : "");
}

static const char *health_of(const Pb__Task *t)
{
	static const char *const names[] = {"", "starting", "healthy", "unhealthy"};

	return task_is_dead(t) ? "" : names[(unsigned)t->health % SW_COUNT(names)];
}

/* "Running 3 minutes ago (healthy)" */
static char *state_text(const Pb__Task *t)
{
	sw_autofree char *state = capital(t->down ? "restarting" : task_state_of(t->state)->name);
	const char *health = health_of(t);
	int64_t since = t->state_ms != 0 ? t->state_ms : t->created_ms;
	char ago[48];

	return sw_asprintf("%s %s%s%s%s", state, human_ago(since, sw_wall_ms(), ago),
			   health[0] != 0 ? " (" : "", health, health[0] != 0 ? ")" : "");
}

static json_t *row_of(const struct cli *cli, const struct line *l, bool history,
		      const Pb__Service *s, const Pb__Revision *r, const Pb__Node *n)
{
	char id[16];
	sw_autofree char *name = sw_asprintf("%s%s", history ? " \\_ " : "", l->name);
	sw_autofree char *desired = capital(task_state_of(l->t->desired)->name);
	sw_autofree char *current = state_text(l->t);
	sw_autofree char *error = error_of(cli, l->t);
	struct sw_id_text node_id = sw_id(l->t->node_id);
	const char *node = n != NULL && n->description != NULL && !cli_flag(cli, "no-resolve")
				   ? n->description->hostname
			   : l->t->node_id != 0 ? node_id.s
						: "";

	(void)s;
	return json_pack("{ssssssssssssssssss}", "ID", cmd_id(cli, l->t->id, id), "Name", name,
			 "Image", image_of(cli, r), "Node", node, "DesiredState", desired,
			 "CurrentState", current, "Error", error, "Ports", "", "Health",
			 health_of(l->t));
}

int cmd_print_tasks(struct cli *cli, const struct objects *tasks, struct sw_error *err)
{
	struct objects services = {0}, revisions = {0}, nodes = {0};
	struct line *lines = sw_new_n(struct line, tasks->n + 1);
	json_t *rows = json_array();
	size_t n = 0;
	int rc;

	if ((rc = cmd_list(cli, PB__KIND__KIND_SERVICE, &services, err)) == 0 &&
	    (rc = cmd_list(cli, PB__KIND__KIND_REVISION, &revisions, err)) == 0)
		rc = cmd_list(cli, PB__KIND__KIND_NODE, &nodes, err);
	for (size_t i = 0; rc == 0 && i < tasks->n; i++) {
		const Pb__Task *t = (const Pb__Task *)tasks->v[i];

		lines[n++] = (struct line){t, task_name(t, cmd_find(&services, t->service_id))};
	}
	qsort(lines, n, sizeof *lines, by_name_then_age);
	for (size_t i = 0; i < n; i++) {
		const Pb__Task *t = lines[i].t;
		bool history = i > 0 && sw_streq(lines[i].name, lines[i - 1].name);

		json_array_append_new(rows, row_of(cli, &lines[i], history,
						   cmd_find(&services, t->service_id),
						   cmd_find(&revisions, t->revision_id),
						   cmd_find(&nodes, t->node_id)));
	}
	if (rc == 0)
		rc = cmd_print_rows(cli, rows,
				    "table {{.ID}}\t{{.Name}}\t{{.Image}}\t{{.Node}}\t"
				    "{{.DesiredState}}\t{{.CurrentState}}\t{{.Error}}\t{{.Ports}}",
				    NULL, err);
	for (size_t i = 0; i < n; i++)
		free(lines[i].name);
	free(lines);
	json_decref(rows);
	objects_fini(&services);
	objects_fini(&revisions);
	objects_fini(&nodes);
	return rc;
}
