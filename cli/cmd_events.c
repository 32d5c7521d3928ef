/* events: what happened, from the cluster's durable log, and what happens. */
#include "cli/cmd.h"

#include "base/clock.h"
#include "base/date.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/template.h"
#include "base/units.h"
#include "cli/filter.h"
#include "proto/msg.h"

#include <stdio.h>

enum { LINE_MAX_BYTES = 1 << 16, FILTERS_MAX = 32 };

struct events {
	struct cli *cli;
	struct client *client;
	int64_t since_ms, until_ms; /* until: INT64_MAX = for ever */
	const char *filters[FILTERS_MAX];
	size_t n_filters;
	struct sw_error err;
};

/* "10m" ago, "now", or a date as RFC 3339 has it, in UTC. */
static int parse_time(const char *option, const char *s, int64_t *ret, struct sw_error *err)
{
	struct sw_date d = {0};
	int64_t ns;
	int end = 0;

	if (sw_streq(s, "now")) {
		*ret = sw_wall_ms();
		return 0;
	}
	if (unit_duration(s, &ns) && ns >= 0) {
		*ret = sw_wall_ms() - ns / 1000000;
		return 0;
	}
	if (sscanf(s, "%4lld-%2d-%2dT%2d:%2d:%2dZ%n", (long long *)&d.year, &d.month, &d.day,
		   &d.hour, &d.minute, &d.second, &end) == 6 &&
	    s[end] == 0 && end > 0 && d.month >= 1 && d.month <= 12 && d.day >= 1 && d.day <= 31) {
		*ret = ((sw_days_from_date(d.year, d.month, d.day) * 24 + d.hour) * 3600 +
			d.minute * 60 + d.second) *
		       1000;
		return 0;
	}
	return sw_fail(
		err, SW_EINVAL,
		"%s: wanted a duration (10m), a time (2026-01-31T12:00:00Z) or now, not \"%s\"",
		option, s);
}

static json_t *row_of(const struct events *ev, const Pb__Event *e)
{
	char time[32], id[16];

	return json_pack("{sssssssssssssI}", "Time", sw_time_rfc3339(e->created_ms, time), "Type",
			 e->kind, "Action", e->action, "ID", cmd_id(ev->cli, e->object_id, id),
			 "Name", e->name, "Message", e->message, "TimeMs",
			 (json_int_t)e->created_ms);
}

static int print_row(const struct events *ev, json_t *row, const Pb__Event *e, struct sw_error *err)
{
	const char *format = cli_get(ev->cli, "format");
	struct sw_buf b = SW_BUF_INIT(LINE_MAX_BYTES);
	int rc = 0;

	if (format == NULL) {
		printf("%s %s %s %s%s%s%s%s\n", json_string_value(json_object_get(row, "Time")),
		       e->kind, e->action, json_string_value(json_object_get(row, "ID")),
		       e->name[0] != 0 ? " " : "", e->name, e->message[0] != 0 ? ": " : "",
		       e->message);
	} else if (sw_streq(format, "json")) {
		json_dumpf(row, stdout, JSON_COMPACT);
		putchar('\n');
	} else if ((rc = template_render(format, row, &b, err)) == 0) {
		printf("%s\n", sw_buf_str(&b));
	}
	fflush(stdout);
	sw_buf_fini(&b);
	return rc;
}

static void on_event(const ProtobufCMessage *m, void *arg)
{
	struct events *ev = arg;
	const Pb__WatchEvent *w = (const Pb__WatchEvent *)m;
	Pb__Event *e;
	json_t *row;

	if (w->action == PB__WATCH_EVENT__ACTION__SYNC && ev->until_ms <= sw_wall_ms()) {
		client_stop(ev->client);
		return;
	}
	if (w->action != PB__WATCH_EVENT__ACTION__PUT || w->kind != PB__KIND__KIND_EVENT)
		return;
	e = (Pb__Event *)msg_unpack(&pb__event__descriptor, w->object.data, w->object.len);
	if (e == NULL)
		return;
	row = row_of(ev, e);
	if (e->created_ms >= ev->since_ms && e->created_ms <= ev->until_ms &&
	    filter_match(row, ev->filters, ev->n_filters) && print_row(ev, row, e, &ev->err) != 0)
		client_stop(ev->client);
	json_decref(row);
	msg_free(&e->base);
}

static void on_tick(void *arg)
{
	struct events *ev = arg;

	if (sw_wall_ms() > ev->until_ms)
		client_stop(ev->client);
}

static void on_interrupt(void *arg)
{
	client_stop(((struct events *)arg)->client);
}

CMD(events)
{
	const struct client_stream_ops ops = {.on_message = on_event,
					      .on_tick = on_tick,
					      .tick_ms = 500,
					      .on_interrupt = on_interrupt};
	Pb__Kind kind = PB__KIND__KIND_EVENT;
	Pb__WatchRequest q = PB__WATCH_REQUEST__INIT;
	struct events ev = {.cli = cli, .until_ms = INT64_MAX};
	const char *since = cli_get(cli, "since"), *until = cli_get(cli, "until");
	int rc = 0;

	for (const char *f;
	     ev.n_filters < FILTERS_MAX && (f = cli_nth(cli, "filter", ev.n_filters)) != NULL;)
		ev.filters[ev.n_filters++] = f;
	if (since != NULL)
		rc = parse_time("--since", since, &ev.since_ms, err);
	if (rc == 0 && until != NULL)
		rc = parse_time("--until", until, &ev.until_ms, err);
	q.kinds = &kind;
	q.n_kinds = 1;
	q.snapshot = since != NULL || until != NULL;
	if (rc == 0)
		rc = cli_client(cli, &ev.client, err);
	if (rc == 0)
		rc = client_stream(ev.client, METHOD_Watch, &q.base, &ops, &ev, err);
	if (rc == 0 && ev.err.code != 0) {
		*err = ev.err;
		rc = err->code;
	}
	return rc;
}
