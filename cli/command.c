/* Finding the command, reading its options, help, completion. */
#include "cli/command.h"

#include "base/mem.h"
#include "base/str.h"
#include "cli/context.h"

#include <stdarg.h>
#include <stdio.h>

enum { MAX_WORDS = 3, MAX_HELP = 1 << 20 };

const struct cli_option cli_global_options[] = {
	{"run-dir", 0, "DIR", "Folder of the daemons' sockets (SWARM_RUN_DIR, /run/swarm)"},
	{"context", 0, "NAME", "Talk to the managers of this context (SWARM_CONTEXT)"},
	{"help", 'h', NULL, "Print this help"},
	{0},
};

/* How many words of `c` the arguments begin with; 0 when they differ. */
static int match_words(const struct command *c, int argc, char **argv)
{
	const char *w = c->words;
	int n = 0;

	while (*w != 0) {
		size_t len = strcspn(w, " ");

		if (n >= argc || strlen(argv[n]) != len || strncmp(w, argv[n], len) != 0)
			return 0;
		n++;
		w += len + (w[len] == ' ');
	}
	return n;
}

const struct command *cli_find_command(int argc, char **argv, int *ret_words)
{
	const struct command *best = NULL;

	*ret_words = 0;
	for (const struct command *c = cli_commands; c->words != NULL; c++) {
		int n = match_words(c, argc, argv);

		if (n > *ret_words) {
			best = c;
			*ret_words = n;
		}
	}
	return best;
}

static const struct cli_option *option_in(const struct cli_option *o, const char *name, size_t n,
					  char letter)
{
	for (; o != NULL && o->name != NULL; o++)
		if (letter != 0 ? o->letter == letter
				: strlen(o->name) == n && strncmp(o->name, name, n) == 0)
			return o;
	return NULL;
}

static const struct cli_option *find_option(const struct command *c, const char *name, size_t n,
					    char letter)
{
	const struct cli_option *o = c != NULL ? option_in(c->options, name, n, letter) : NULL;

	return o != NULL ? o : option_in(cli_global_options, name, n, letter);
}

static void add_value(struct cli *cli, const char *name, const char *value)
{
	sw_grow(cli->values, cli->cap_values, cli->n_values + 1);
	cli->values[cli->n_values++] = (struct cli_value){name, value};
}

static bool is_bool(const char *s)
{
	return sw_streq(s, "true") || sw_streq(s, "false");
}

/* --name, --name=value, --name value */
static int long_option(struct cli *cli, const struct command *c, int argc, char **argv, int *i,
		       struct sw_error *err)
{
	const char *name = argv[*i] + 2;
	size_t n = strcspn(name, "=");
	const struct cli_option *o = find_option(c, name, n, 0);
	const char *value = name[n] == '=' ? name + n + 1 : NULL;

	if (o == NULL)
		return sw_fail(err, SW_EINVAL, "unknown option: --%.*s", (int)n, name);
	if (o->arg == NULL) {
		if (value != NULL && !is_bool(value))
			return sw_fail(err, SW_EINVAL, "--%s takes true or false, not \"%s\"",
				       o->name, value);
		add_value(cli, o->name, value != NULL ? value : "true");
		return 0;
	}
	if (value == NULL && *i + 1 < argc)
		value = argv[++*i];
	if (value == NULL)
		return sw_fail(err, SW_EINVAL, "--%s needs a value: %s", o->name, o->arg);
	add_value(cli, o->name, value);
	return 0;
}

/* -q, -qf, -n5, -n 5, -d=false */
static int short_options(struct cli *cli, const struct command *c, int argc, char **argv, int *i,
			 struct sw_error *err)
{
	for (const char *p = argv[*i] + 1; *p != 0; p++) {
		const struct cli_option *o = find_option(c, NULL, 0, *p);

		if (o == NULL)
			return sw_fail(err, SW_EINVAL, "unknown option: -%c", *p);
		if (o->arg == NULL && p[1] == '=' && is_bool(p + 2)) {
			add_value(cli, o->name, p + 2);
			return 0;
		}
		if (o->arg == NULL) {
			add_value(cli, o->name, "true");
			continue;
		}
		if (p[1] != 0)
			add_value(cli, o->name, p + 1 + (p[1] == '='));
		else if (*i + 1 < argc)
			add_value(cli, o->name, argv[++*i]);
		else
			return sw_fail(err, SW_EINVAL, "-%c needs a value: %s", *p, o->arg);
		return 0;
	}
	return 0;
}

int cli_parse(struct cli *cli, const struct command *c, int argc, char **argv, struct sw_error *err)
{
	bool only_args = false;

	cli->command = c;
	for (int i = 0; i < argc; i++) {
		const char *a = argv[i];
		int rc = 0;

		if (!only_args && sw_streq(a, "--"))
			only_args = true;
		else if (!only_args && a[0] == '-' && a[1] == '-')
			rc = long_option(cli, c, argc, argv, &i, err);
		else if (!only_args && a[0] == '-' && a[1] != 0)
			rc = short_options(cli, c, argc, argv, &i, err);
		else {
			cli->args = sw_strv_add(cli->args, a);
			cli->n_args++;
			only_args = only_args || (c != NULL && c->stop);
		}
		if (rc != 0)
			return rc;
	}
	if (c == NULL || cli_flag(cli, "help"))
		return 0;
	if (cli->n_args < c->least || cli->n_args > c->most)
		return sw_fail(err, SW_EINVAL, "%s: wrong number of arguments (%zu)", c->words,
			       cli->n_args);
	return 0;
}

const char *cli_nth(const struct cli *cli, const char *name, size_t i)
{
	for (size_t k = 0; k < cli->n_values; k++)
		if (sw_streq(cli->values[k].name, name) && i-- == 0)
			return cli->values[k].value;
	return NULL;
}

const char *cli_get(const struct cli *cli, const char *name)
{
	const char *v = NULL;

	for (size_t k = 0; k < cli->n_values; k++)
		if (sw_streq(cli->values[k].name, name))
			v = cli->values[k].value;
	return v;
}

bool cli_flag(const struct cli *cli, const char *name)
{
	const char *v = cli_get(cli, name);

	return v != NULL && !sw_streq(v, "false");
}

int cli_client(struct cli *cli, struct client **ret, struct sw_error *err)
{
	const char *dir = cli_get(cli, "run-dir"), *context = cli_get(cli, "context");
	int rc;

	dir = !sw_is_empty(dir) ? dir : getenv("SWARM_RUN_DIR");
	context = context != NULL ? context : getenv("SWARM_CONTEXT");
	if (context == NULL && cli->current == NULL)
		cli->current = context_current();
	cli->where.run_dir = !sw_is_empty(dir) ? dir : "/run/swarm";
	cli->where.context = context != NULL ? context : cli->current;
	rc = cli->client != NULL ? 0 : client_new(&cli->where, &cli->client, err);
	if (rc == 0)
		*ret = cli->client;
	return rc;
}

bool cli_is_remote(struct cli *cli)
{
	struct client *ignored;
	struct sw_error err;

	return cli_client(cli, &ignored, &err) == 0 && !sw_is_empty(cli->where.context);
}

void cli_fini(struct cli *cli)
{
	client_free(cli->client);
	free(cli->values);
	sw_strv_free(cli->args);
	free(cli->current);
	*cli = (struct cli){0};
}

/* ---- help ---- */

static void help_options(const struct cli_option *o, struct sw_buf *out)
{
	for (; o != NULL && o->name != NULL; o++) {
		sw_autofree char *left = sw_asprintf("--%s%s%s", o->name, o->arg != NULL ? " " : "",
						     o->arg != NULL ? o->arg : "");

		sw_buf_addf(out, "  %c%c%s %-32s %s\n", o->letter != 0 ? '-' : ' ',
			    o->letter != 0 ? o->letter : ' ', o->letter != 0 ? "," : " ", left,
			    o->help);
	}
}

void cli_warn(const char *fmt, ...)
{
	va_list ap;

	fputs("warning: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

void cli_help(const struct command *c, struct sw_buf *out)
{
	if (c != NULL) {
		sw_buf_addf(out, "Usage: swarmctl %s %s\n\n%s\n\nOptions:\n", c->words, c->usage,
			    c->summary);
		help_options(c->options, out);
		help_options(cli_global_options, out);
		return;
	}
	sw_buf_adds(out, "Usage: swarmctl [OPTIONS] COMMAND\n\nCommands:\n");
	for (c = cli_commands; c->words != NULL; c++)
		sw_buf_addf(out, "  %-20s %s\n", c->words, c->summary);
	sw_buf_adds(out, "\nOptions:\n");
	help_options(cli_global_options, out);
	sw_buf_adds(out, "\nExit status: 0 done (stack deploy: converged), 1 failed, 2 bad command "
			 "line,\n3 timed out, 4 no manager or agent answers, 130 interrupted.\n");
}

/* The commands that begin with what was given: "swarmctl node". */
static bool help_group(const char *word, struct sw_buf *out)
{
	bool any = false;

	for (const struct command *c = cli_commands; c->words != NULL; c++) {
		const char *rest = sw_after(c->words, word);

		if (rest == NULL || *rest != ' ')
			continue;
		if (!any)
			sw_buf_addf(out, "Usage: swarmctl %s COMMAND\n\nCommands:\n", word);
		any = true;
		sw_buf_addf(out, "  %-20s %s\n", rest + 1, c->summary);
	}
	return any;
}

/* ---- completion ---- */

const char *cli_completion(const char *shell)
{
	if (sw_streq(shell, "bash"))
		return "_swarmctl() {\n"
		       "\tlocal IFS=$'\\n'\n"
		       "\tCOMPREPLY=($(swarmctl __complete \"${COMP_WORDS[@]:1:COMP_CWORD}\"))\n"
		       "}\n"
		       "complete -o default -F _swarmctl swarmctl\n";
	if (sw_streq(shell, "zsh"))
		return "#compdef swarmctl\n"
		       "_swarmctl() {\n"
		       "\tlocal -a c\n"
		       "\tc=(${(f)\"$(swarmctl __complete \"${(@)words[2,CURRENT]}\")\"})\n"
		       "\tcompadd -a c || _files\n"
		       "}\n"
		       "compdef _swarmctl swarmctl\n";
	if (sw_streq(shell, "fish"))
		return "complete -c swarmctl -f -a '(swarmctl __complete (commandline -opc)[2..] "
		       "(commandline -ct))'\n";
	return NULL;
}

static void complete_options(const struct cli_option *o, const char *prefix, struct sw_buf *out)
{
	for (; o != NULL && o->name != NULL; o++)
		if (strncmp(o->name, prefix, strlen(prefix)) == 0)
			sw_buf_addf(out, "--%s\n", o->name);
}

/* The word of `c` that follows the first argc - 1 arguments and begins as the last does. */
static bool next_word(const struct command *c, int argc, char **argv, char word[64])
{
	const char *w = c->words;

	for (int i = 0; i < argc; i++) {
		size_t len = strcspn(w, " ");
		bool last = i == argc - 1;

		if (len == 0 || len >= 64 || strncmp(w, argv[i], strlen(argv[i])) != 0 ||
		    (!last && strlen(argv[i]) != len))
			return false;
		memcpy(word, w, len);
		word[len] = 0;
		w += len + (w[len] == ' ');
	}
	return true;
}

void cli_complete(int argc, char **argv, struct sw_buf *out)
{
	char word[64], before[64] = "";
	const char *last = argc > 0 ? argv[argc - 1] : "";
	const struct command *c;
	int words;

	if (argc == 0)
		return;
	c = cli_find_command(argc, argv, &words);
	if (last[0] == '-' && c != NULL) {
		const char *prefix = last + strspn(last, "-");

		complete_options(c->options, prefix, out);
		complete_options(cli_global_options, prefix, out);
		return;
	}
	for (c = cli_commands; c->words != NULL; c++) {
		if (!next_word(c, argc, argv, word) || sw_streq(word, before))
			continue;
		sw_buf_addf(out, "%s\n", word);
		strcpy(before, word);
	}
}

/* ---- the program ---- */

static void print(struct sw_buf *b, FILE *f)
{
	fwrite(sw_buf_str(b), 1, b->len, f);
	sw_buf_fini(b);
}

static int exit_status_of(int rc)
{
	switch (rc) {
	case 0:
		return 0;
	case SW_ETIMEOUT:
		return EXIT_TIMEOUT;
	case SW_EUNAVAIL:
		return EXIT_UNREACHABLE;
	default:
		return EXIT_FAILED;
	}
}

static int usage_error(const struct sw_error *err, const struct command *c)
{
	fprintf(stderr, "swarmctl: %s\nSee 'swarmctl %s%s--help'.\n", err->msg,
		c != NULL ? c->words : "", c != NULL ? " " : "");
	return EXIT_USAGE;
}

/* Options in front of the command are kept for it. */
static int count_leading(int argc, char **argv)
{
	int i = 0;

	while (i < argc && argv[i][0] == '-' && !sw_streq(argv[i], "--")) {
		const struct cli_option *o =
			argv[i][1] == '-'
				? find_option(NULL, argv[i] + 2, strcspn(argv[i] + 2, "="), 0)
				: NULL;

		i += o != NULL && o->arg != NULL && strchr(argv[i], '=') == NULL ? 2 : 1;
	}
	return i < argc ? i : argc;
}

static int no_command(int argc, char **argv)
{
	struct sw_buf b = SW_BUF_INIT(MAX_HELP);
	struct sw_error err;

	if (argc == 0 || argv[0][0] == '-' || sw_streq(argv[0], "help")) {
		cli_help(NULL, &b);
		print(&b, stdout);
		return 0;
	}
	if (help_group(argv[0], &b)) {
		bool asked = argc > 1 && (sw_streq(argv[1], "--help") || sw_streq(argv[1], "-h"));

		print(&b, argc == 1 || asked ? stdout : stderr);
		if (argc == 1 || asked)
			return 0;
		sw_fail(&err, SW_EINVAL, "no such command: %s %s", argv[0], argv[1]);
	} else {
		sw_fail(&err, SW_EINVAL, "no such command: %s", argv[0]);
	}
	return usage_error(&err, NULL);
}

int cli_main(int argc, char **argv)
{
	struct sw_buf b = SW_BUF_INIT(MAX_HELP);
	struct sw_error err = {0};
	struct cli cli = {0};
	int lead, words, rc;
	const struct command *c;

	argc--;
	argv++;
	if (argc > 0 && sw_streq(argv[0], "__complete")) {
		cli_complete(argc - 1, argv + 1, &b);
		print(&b, stdout);
		return 0;
	}
	lead = count_leading(argc, argv);
	if (cli_parse(&cli, NULL, lead, argv, &err) != 0) {
		cli_fini(&cli);
		return usage_error(&err, NULL);
	}
	c = cli_find_command(argc - lead, argv + lead, &words);
	if (c == NULL) {
		cli_fini(&cli);
		return no_command(argc - lead, argv + lead);
	}
	if (cli_parse(&cli, c, argc - lead - words, argv + lead + words, &err) != 0) {
		cli_fini(&cli);
		return usage_error(&err, c);
	}
	if (cli_flag(&cli, "help")) {
		cli_help(c, &b);
		print(&b, stdout);
		cli_fini(&cli);
		return 0;
	}
	rc = c->run(&cli, &err);
	fflush(stdout);
	if (rc != 0)
		fprintf(stderr, "swarmctl: %s: %s\n", c->words, err.msg);
	rc = cli.exit_status != 0 ? cli.exit_status : exit_status_of(rc);
	cli_fini(&cli);
	return rc;
}
