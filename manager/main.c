/* swarm-managerd: options and signals round one manager. */
#include "manager/manager.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/options.h"
#include "base/pulse.h"
#include "base/str.h"

#include <signal.h>
#include <sys/prctl.h>

struct program {
	uv_loop_t loop;
	struct manager *manager;
	uv_signal_t term, hup, interrupt;
	struct sw_pulse pulse;
	bool stopping;
	int status;
};

static void on_closed(void *arg)
{
	(void)arg;
}

static void close_signals(struct program *p)
{
	uv_close((uv_handle_t *)&p->term, NULL);
	uv_close((uv_handle_t *)&p->hup, NULL);
	uv_close((uv_handle_t *)&p->interrupt, NULL);
}

static void stop(struct program *p)
{
	if (p->stopping)
		return;
	p->stopping = true;
	close_signals(p);
	sw_pulse_stop(&p->pulse);
	manager_close(p->manager, on_closed, p);
}

static void on_term(uv_signal_t *s, int signum)
{
	(void)signum;
	stop(s->data);
}

static void on_hup(uv_signal_t *s, int signum)
{
	struct program *p = s->data;
	struct sw_error err;

	(void)signum;
	if (manager_reload(p->manager, &err) != 0)
		sw_err("identity not reloaded", SW_ERR(&err));
	else
		sw_info("identity reloaded");
}

/* Nothing can be saved by an orderly end: what counts is on disk. */
static void on_fatal(void *arg, const struct sw_error *why)
{
	(void)arg;
	sw_err("manager stops", SW_ERR(why));
	exit(1);
}

static void watch(struct program *p, uv_signal_t *s, int signum, uv_signal_cb cb)
{
	uv_signal_init(&p->loop, s);
	s->data = p;
	uv_signal_start(s, cb, signum);
}

int main(int argc, char **argv)
{
	static struct program p;
	struct manager_options o = {.on_fatal = on_fatal, .arg = &p};
	char *state = NULL, *identity = NULL, *sock = NULL, *listen = NULL, *advertise = NULL;
	char **join = NULL;
	bool debug = false;
	const struct sw_option options[] = {
		{"state-dir", SW_OPTION_STRING, &state, "/var/lib/swarm/manager", "State"},
		{"identity-dir", SW_OPTION_STRING, &identity, "/var/lib/swarm/identity",
		 "cert.pem, key.pem and ca.pem of this node"},
		{"socket", SW_OPTION_STRING, &sock, "/run/swarm/manager.sock",
		 "Socket for local operators"},
		{"listen", SW_OPTION_STRING, &listen, "0.0.0.0:2377", "Address to listen on"},
		{"advertise", SW_OPTION_STRING, &advertise, NULL, "Address that others reach"},
		{"join", SW_OPTION_LIST, &join, NULL, "Manager to ask for membership (several)"},
		{"debug", SW_OPTION_FLAG, &debug, NULL, "Log more"},
		{0},
	};
	struct sw_error err = {0};

	/* Run by a descriptor, it would show that one's number. */
	prctl(PR_SET_NAME, "swarm-managerd");
	if (sw_options_parse("swarm-managerd", options, argc, argv, &err) != 0) {
		sw_err("bad options", SW_ERR(&err));
		return 2;
	}
	sw_log_init("manager", debug ? SW_LOG_DEBUG : SW_LOG_INFO);
	signal(SIGPIPE, SIG_IGN);
	o.state_dir = state;
	o.identity_dir = identity;
	o.socket = sock;
	o.listen = listen;
	o.advertise = advertise != NULL ? advertise : listen;
	o.join = join;
	uv_loop_init(&p.loop);
	if (manager_new(&p.loop, &o, &p.manager, &err) != 0) {
		sw_err("manager can't start", SW_ERR(&err));
		return 1;
	}
	watch(&p, &p.term, SIGTERM, on_term);
	watch(&p, &p.interrupt, SIGINT, on_term);
	watch(&p, &p.hup, SIGHUP, on_hup);
	sw_info("manager started", SW_STR("listen", o.listen), SW_STR("advertise", o.advertise),
		SW_STR("version", SW_VERSION));
	sw_pulse_start(&p.pulse, &p.loop);
	uv_run(&p.loop, UV_RUN_DEFAULT);
	uv_loop_close(&p.loop);
	free(state);
	free(identity);
	free(sock);
	free(listen);
	free(advertise);
	sw_strv_free(join);
	return p.status;
}
