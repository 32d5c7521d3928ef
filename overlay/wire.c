#include "overlay/wire.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RAW_KEY = 32, PATIENCE_MS = 10000, MOMENT_MS = 5, SAID_MAX = 512, WIRE_NET = 0xc6130000 };

uint32_t wire_address(uint32_t number)
{
	return (uint32_t)WIRE_NET | number;
}

bool wire_is_key(const char *s)
{
	size_t n = strlen(s);

	for (size_t i = 0; i + 1 < n; i++)
		if (!isalnum((unsigned char)s[i]) && s[i] != '+' && s[i] != '/')
			return false;
	return n == WIRE_KEY && s[n - 1] == '=';
}

/* ---- the key ---- */

static bool encode(const uint8_t raw[RAW_KEY], char out[WIRE_KEY + 1])
{
	return EVP_EncodeBlock((unsigned char *)out, raw, RAW_KEY) == WIRE_KEY;
}

static bool fill(EVP_PKEY *k, struct wire_key *ret)
{
	uint8_t priv[RAW_KEY], pub[RAW_KEY];
	size_t np = sizeof priv, nq = sizeof pub;
	bool ok = k != NULL && EVP_PKEY_get_raw_private_key(k, priv, &np) == 1 &&
		  EVP_PKEY_get_raw_public_key(k, pub, &nq) == 1 && np == RAW_KEY && nq == RAW_KEY &&
		  encode(priv, ret->private) && encode(pub, ret->public);

	explicit_bzero(priv, sizeof priv);
	return ok;
}

static char *key_path(const char *run_dir)
{
	return sw_asprintf("%s/wire.key", run_dir);
}

/** The stored private key, or NULL when there is none that can be used. */
static EVP_PKEY *stored(const char *path)
{
	sw_autofree char *text = NULL;
	uint8_t raw[RAW_KEY + 2];
	size_t n = 0;

	if (sw_read_file(path, WIRE_KEY, &text, &n, NULL) < 0 || n != WIRE_KEY ||
	    EVP_DecodeBlock(raw, (const unsigned char *)text, WIRE_KEY) < RAW_KEY)
		return NULL;
	return EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, raw, RAW_KEY);
}

int wire_load_key(const char *run_dir, struct wire_key *ret, struct sw_error *err)
{
	sw_autofree char *path = key_path(run_dir);
	EVP_PKEY *k = stored(path);
	bool made = k == NULL, ok;

	if (made)
		k = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
	ok = fill(k, ret);
	EVP_PKEY_free(k);
	if (!ok)
		return sw_fail(err, SW_EINTERNAL, "no WireGuard key could be made");
	return made ? sw_write_file_fast(path, ret->private, WIRE_KEY, 0600, err) : 0;
}

void wire_forget_key(const char *run_dir)
{
	sw_autofree char *path = key_path(run_dir);

	unlink(path);
}

void wire_text(const struct wire_key *k, const struct wire_peer *peers, size_t n,
	       struct sw_buf *out)
{
	sw_buf_addf(out, "[Interface]\nPrivateKey = %s\nListenPort = %d\n", k->private, WIRE_PORT);
	for (size_t i = 0; i < n; i++) {
		uint32_t a = wire_address(peers[i].number), u = peers[i].underlay;

		sw_buf_addf(out,
			    "[Peer]\nPublicKey = %s\nAllowedIPs = %u.%u.%u.%u/32\n"
			    "Endpoint = %u.%u.%u.%u:%u\n",
			    peers[i].key, a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255, u >> 24,
			    u >> 16 & 255, u >> 8 & 255, u & 255, peers[i].port);
	}
}

/* ---- programs ---- */

extern char **environ;

/** Adds what is there to read, waiting a moment for it; `said` has room for SAID_MAX. */
static void listen_to(int fd, char *said, size_t *n, int wait_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	ssize_t r;

	while (*n + 1 < SAID_MAX && poll(&p, 1, wait_ms) > 0 &&
	       (r = read(fd, said + *n, SAID_MAX - 1 - *n)) > 0) {
		*n += (size_t)r;
		wait_ms = 0;
	}
	said[*n] = 0;
}

/** Waits for its end, no longer than it may take; then it is killed. What it left running may keep
 *  its error output open: that is not waited for. */
static int end_of(pid_t pid, int fd, const char *name, struct sw_error *err)
{
	uint64_t until = sw_mono_ms() + PATIENCE_MS;
	char said[SAID_MAX] = "";
	size_t n = 0;
	int status = 0;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (sw_mono_ms() > until) {
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			return sw_fail(err, SW_ETIMEOUT, "%s does not end", name);
		}
		listen_to(fd, said, &n, MOMENT_MS);
	}
	listen_to(fd, said, &n, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return sw_fail(err, SW_EIO, "%s failed: %.200s", name,
		       said[0] != 0 ? said : "no reason given");
}

/** Runs a program with `input` at its standard input. */
static int run(char *const *argv, const char *input, struct sw_error *err)
{
	posix_spawn_file_actions_t fa;
	sw_autoclose int in_r = -1, in_w = -1, out_r = -1, out_w = -1;
	int in[2], out[2], e;
	pid_t pid;

	if (pipe2(in, O_CLOEXEC) < 0)
		return sw_fail_sys(err, errno, "make a pipe");
	in_r = in[0];
	in_w = in[1];
	if (pipe2(out, O_CLOEXEC) < 0)
		return sw_fail_sys(err, errno, "make a pipe");
	out_r = out[0];
	out_w = out[1];
	/* The configuration of a few hundred nodes is more than a pipe holds by default. */
	fcntl(in_w, F_SETPIPE_SZ, 1 << 20);
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_adddup2(&fa, in_r, 0);
	posix_spawn_file_actions_addopen(&fa, 1, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_adddup2(&fa, out_w, 2);
	e = posix_spawnp(&pid, argv[0], &fa, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&fa);
	if (e != 0)
		return sw_fail_sys(err, e, "start %s", argv[0]);
	sw_close_p(&in_r);
	sw_close_p(&out_w);
	if (input[0] != 0 && write(in_w, input, strlen(input)) != (ssize_t)strlen(input))
		e = errno;
	sw_close_p(&in_w);
	return end_of(pid, out_r, argv[0], err);
}

int wire_start_process(const char *name, struct sw_error *err)
{
	char *argv[] = {"wireguard-go", (char *)name, NULL};

	/* It goes to the background when the interface is there. */
	return run(argv, "", err);
}

int wire_configure(const char *name, const char *text, struct sw_error *err)
{
	char *argv[] = {"wg", "syncconf", (char *)name, "/dev/stdin", NULL};

	return run(argv, text, err);
}

static bool is_program(const char *name)
{
	const char *path = getenv("PATH");
	char **dirs = sw_strv_split(path != NULL ? path : "/usr/sbin:/usr/bin:/sbin:/bin", ':');
	bool found = false;

	for (char **d = dirs; *d != NULL && !found; d++) {
		sw_autofree char *file = sw_asprintf("%s/%s", *d, name);

		found = access(file, X_OK) == 0;
	}
	sw_strv_free(dirs);
	return found;
}

int wire_check(struct sw_error *err)
{
	if (!is_program("wg"))
		return sw_fail(err, SW_EUNSUPP,
			       "the program wg is not installed (package wireguard-tools)");
	if (!sw_path_exists("/sys/module/wireguard") && !is_program("wireguard-go"))
		return sw_fail(
			err, SW_EUNSUPP,
			"neither the kernel's WireGuard nor wireguard-go (a package) is there");
	return 0;
}
