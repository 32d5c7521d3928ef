// links: image
/* What a push does when the registry refuses for a while. The registry is a thread that answers as
 * a script says: so many times 429 with a Retry-After, or with none, then what is right. */
#include "base/buf.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/str.h"
#include "runtime/image/patience.h"
#include "runtime/image/registry.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define DIGEST "sha256:00000000000000000000000000000000000000000000000000000000000000aa"
enum { SIZE = 100000, REQUEST_MAX = 64 << 10 };

/* ---- the registry ---- */

enum { HEAD_BLOB, POST_MOUNT, POST_UPLOAD, GET_UPLOAD, PATCH_UPLOAD, PUT_UPLOAD, KINDS };

static const struct {
	const char *method, *part; /* of the path */
	const char *right;         /* its answer, without the length */
} kinds[KINDS] = {
	[HEAD_BLOB] = {"HEAD", "/blobs/", "404 Not Found\r\n"},
	[POST_MOUNT] = {"POST", "mount=", "201 Created\r\n"},
	[POST_UPLOAD] = {"POST", "/uploads/", "202 Accepted\r\nLocation: /v2/r/up\r\n"},
	[GET_UPLOAD] = {"GET", "/up", "204 No Content\r\nRange: 0-0\r\n"},
	[PATCH_UPLOAD] = {"PATCH", "/up", "202 Accepted\r\nLocation: /v2/r/up\r\n"},
	[PUT_UPLOAD] = {"PUT", "/up", "201 Created\r\n"},
};

static struct {
	int fd;
	atomic_int conn; /* that is served; a test that fails leaves it open */
	char host[32];
	pthread_t thread;
	/* the script */
	int kind;            /* that is refused */
	unsigned times;      /* so often */
	const char *refusal; /* in this way */
	const char *after;   /* then it says this; NULL = what is right */
	bool stored;         /* HEAD says that the blob is there */
	/* what came */
	unsigned seen[KINDS];
	size_t bytes; /* of pieces that were taken */
} reg;

/* Reads one request, its body too; false at the end, or when it is none (TLS). */
static bool read_request(int fd, struct sw_buf *head, size_t *body)
{
	const char *end = NULL, *length;
	uint64_t n = 0;
	char c[4096];
	size_t have;

	sw_buf_reset(head);
	while (end == NULL) {
		ssize_t got = recv(fd, c, sizeof c, 0);

		if (got <= 0 || !sw_buf_add(head, c, (size_t)got) || head->data[0] == 22)
			return false;
		end = strstr(sw_buf_str(head), "\r\n\r\n");
	}
	length = strcasestr(sw_buf_str(head), "content-length: ");
	if (length != NULL && length < end) {
		sw_autofree char *text = sw_strndup(length + 16, strcspn(length + 16, "\r"));

		if (!sw_parse_u64(text, SIZE, &n))
			return false;
	}
	have = head->len - (size_t)(end + 4 - sw_buf_str(head));
	while (have < n) {
		ssize_t got = recv(fd, c, sizeof c, 0);

		if (got <= 0)
			return false;
		have += (size_t)got;
	}
	*body = n;
	return true;
}

static int kind_of(const char *request)
{
	sw_autofree char *line = sw_strndup(request, strcspn(request, "\r"));

	for (int k = 0; k < KINDS; k++)
		if (sw_after(line, kinds[k].method) != NULL && strstr(line, kinds[k].part) != NULL)
			return k;
	return -1;
}

static void serve(int fd)
{
	struct sw_buf head = SW_BUF_INIT(REQUEST_MAX);
	size_t body;

	while (read_request(fd, &head, &body)) {
		int k = kind_of(sw_buf_str(&head));
		bool refused = k >= 0 && k == reg.kind && reg.seen[k] < reg.times;
		const char *say = k < 0                                ? "400 Bad Request\r\n"
				  : refused                            ? reg.refusal
				  : k == HEAD_BLOB && reg.stored       ? "200 OK\r\n"
				  : k == reg.kind && reg.after != NULL ? reg.after
								       : kinds[k].right;
		sw_autofree char *text = sw_asprintf("HTTP/1.1 %sContent-Length: 0\r\n\r\n", say);

		if (k >= 0)
			reg.seen[k]++;
		if (k == PATCH_UPLOAD && !refused)
			reg.bytes += body;
		if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
			break;
	}
	sw_buf_fini(&head);
}

static void *registry_thread(void *arg)
{
	int fd;

	(void)arg;
	while ((fd = accept(reg.fd, NULL, NULL)) >= 0) {
		atomic_store(&reg.conn, fd);
		serve(fd);
		atomic_store(&reg.conn, -1);
		close(fd);
	}
	return NULL;
}

static int setup(void **state)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof a;

	(void)state;
	memset(&reg, 0, sizeof reg);
	atomic_store(&reg.conn, -1);
	reg.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(reg.fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(reg.fd, 8) < 0 ||
	    getsockname(reg.fd, (struct sockaddr *)&a, &n) < 0)
		return -1;
	snprintf(reg.host, sizeof reg.host, "127.0.0.1:%u", ntohs(a.sin_port));
	return pthread_create(&reg.thread, NULL, registry_thread, NULL);
}

static int teardown(void **state)
{
	(void)state;
	shutdown(reg.fd, SHUT_RDWR);
	shutdown(atomic_load(&reg.conn), SHUT_RDWR);
	pthread_join(reg.thread, NULL);
	close(reg.fd);
	return 0;
}

/* ---- pushing to it ---- */

static struct img_registry *client(void)
{
	struct img_ref ref = {.domain = reg.host, .path = (char *)"r"};
	const struct img_registries none = {0};
	struct img_registry *r = img_registry_new(&ref, &none, NULL, NULL);

	img_registry_for_push(r, "other");
	return r;
}

static int push(struct sw_error *err)
{
	struct img_registry *r = client();
	int fd = memfd_create("blob", MFD_CLOEXEC), rc;

	assert_int_equal(ftruncate(fd, SIZE), 0);
	rc = img_registry_send_blob(r, DIGEST, fd, SIZE, err);
	close(fd);
	img_registry_free(r);
	return rc;
}

static void refuse(int kind, unsigned times, const char *how)
{
	reg.kind = kind;
	reg.times = times;
	reg.refusal = how;
}

#define BUSY "429 Too Many Requests\r\n"

static void a_mount_waits(void **state)
{
	struct img_registry *r;

	(void)state;
	refuse(POST_MOUNT, 1, BUSY "Retry-After: 1\r\n");
	r = client();
	assert_true(img_registry_mount(r, DIGEST));
	assert_int_equal(reg.seen[POST_MOUNT], 2);
	img_registry_free(r);
}

static void a_mount_that_is_not_wanted_is_asked_once(void **state)
{
	struct img_registry *r;

	(void)state;
	refuse(POST_MOUNT, UINT32_MAX, "405 Method Not Allowed\r\n");
	r = client();
	assert_false(img_registry_mount(r, DIGEST));
	assert_int_equal(reg.seen[POST_MOUNT], 1);
	img_registry_free(r);
}

static void a_piece_waits_and_asks_how_far_it_is(void **state)
{
	struct sw_error err = {0};

	(void)state;
	refuse(PATCH_UPLOAD, 1, BUSY "Retry-After: 1\r\n");
	assert_int_equal(push(&err), 0);
	assert_int_equal(reg.seen[PATCH_UPLOAD], 2);
	assert_int_equal(reg.seen[GET_UPLOAD], 1);
	assert_int_equal(reg.bytes, SIZE);
}

static void the_end_waits(void **state)
{
	struct sw_error err = {0};

	(void)state;
	refuse(PUT_UPLOAD, 1, BUSY "Retry-After: 1\r\n");
	assert_int_equal(push(&err), 0);
	assert_int_equal(reg.seen[PUT_UPLOAD], 2);
}

static void the_end_is_tried_again_without_being_told_when(void **state)
{
	struct sw_error err = {0};

	(void)state;
	refuse(PUT_UPLOAD, 2, "503 Service Unavailable\r\n");
	assert_int_equal(push(&err), 0);
	assert_int_equal(reg.seen[PUT_UPLOAD], 3);
}

static void an_end_whose_answer_was_lost_is_one(void **state)
{
	struct sw_error err = {0};

	(void)state;
	refuse(PUT_UPLOAD, 1, "502 Bad Gateway\r\n");
	reg.after = "404 Not Found\r\n"; /* no such upload any more */
	assert_int_equal(push(&err), SW_ENOTFOUND);
	reg.seen[PUT_UPLOAD] = 0;
	reg.stored = true;
	assert_int_equal(push(&err), 0);
}

static void an_end_that_fails_for_good_is_told(void **state)
{
	struct sw_error err = {0};

	(void)state;
	refuse(PUT_UPLOAD, UINT32_MAX, "400 Bad Request\r\n");
	reg.stored = true; /* that it was there before says nothing about this upload */
	assert_int_equal(push(&err), SW_EIO);
	assert_int_equal(reg.seen[PUT_UPLOAD], 1);
}

static void an_hour_is_not_waited_but_told(void **state)
{
	static const int all[] = {POST_UPLOAD, PATCH_UPLOAD, PUT_UPLOAD};
	struct sw_error err;

	(void)state;
	for (size_t i = 0; i < SW_COUNT(all); i++) {
		memset(reg.seen, 0, sizeof reg.seen);
		refuse(all[i], UINT32_MAX, BUSY "Retry-After: 3600\r\n");
		err = (struct sw_error){0};
		assert_int_equal(push(&err), SW_EUNAVAIL);
		assert_non_null(strstr(err.msg, "answered 429"));
		assert_non_null(strstr(err.msg, "3600 s"));
		assert_int_equal(reg.seen[all[i]], 1);
	}
}

static void a_date_is_understood(void **state)
{
	struct sw_error err = {0};

	(void)state;
	refuse(PATCH_UPLOAD, UINT32_MAX, BUSY "Retry-After: Fri, 31 Dec 2060 23:59:59 GMT\r\n");
	assert_int_equal(push(&err), SW_EUNAVAIL);
	assert_non_null(strstr(err.msg, "asks to come back"));
	assert_int_equal(reg.seen[PATCH_UPLOAD], 1);
}

/* ---- the decision ---- */

static void what_is_asked_for_is_waited(void **state)
{
	struct sw_rand rand;
	struct img_patience p;
	uint64_t now = 5000;

	(void)state;
	sw_rand_init(&rand, 1);
	img_patience_begin(&p, now);
	for (int k = 0; k < 3; k++) { /* does not count as a try */
		assert_int_equal(img_patience_wait(&p, now, 30, &rand), 30000);
		now += 30000;
	}
	assert_int_equal(img_patience_wait(&p, now, 31, &rand), -1);
	assert_true(p.asked_too_long);
	assert_int_equal(img_patience_wait(&p, now, 30, &rand), 30000);
	now += IMG_PATIENCE_MS;
	assert_int_equal(img_patience_wait(&p, now, 1, &rand), -1);
	img_patience_begin(&p, now); /* a piece was taken */
	assert_int_equal(img_patience_wait(&p, now, 120, &rand), 120000);
}

static void without_it_tries_are_few(void **state)
{
	struct sw_rand rand;
	struct img_patience p;
	int64_t last = 0;

	(void)state;
	sw_rand_init(&rand, 1);
	img_patience_begin(&p, 0);
	for (int k = 1; k < IMG_PATIENCE_TRIES; k++) {
		int64_t ms = img_patience_wait(&p, 0, 0, &rand);

		assert_true(ms > last);
		last = ms;
	}
	assert_int_equal(img_patience_wait(&p, 0, 0, &rand), -1);
	assert_false(p.asked_too_long);
	img_patience_begin(&p, 0);
	assert_int_equal(img_patience_wait(&p, IMG_PATIENCE_MS, 0, &rand), -1);
}

static void what_can_help(void **state)
{
	(void)state;
	assert_true(img_patience_helps(429, SW_EUNAVAIL));
	assert_true(img_patience_helps(503, SW_EUNAVAIL));
	assert_true(img_patience_helps(0, SW_EUNAVAIL));
	assert_false(img_patience_helps(0, SW_ECANCELED));
	assert_false(img_patience_helps(405, SW_EIO));
	assert_false(img_patience_helps(404, SW_ENOTFOUND));
}

#define WITH_REGISTRY(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_REGISTRY(a_mount_waits),
		WITH_REGISTRY(a_mount_that_is_not_wanted_is_asked_once),
		WITH_REGISTRY(a_piece_waits_and_asks_how_far_it_is),
		WITH_REGISTRY(the_end_waits),
		WITH_REGISTRY(the_end_is_tried_again_without_being_told_when),
		WITH_REGISTRY(an_end_whose_answer_was_lost_is_one),
		WITH_REGISTRY(an_end_that_fails_for_good_is_told),
		WITH_REGISTRY(an_hour_is_not_waited_but_told),
		WITH_REGISTRY(a_date_is_understood),
		cmocka_unit_test(what_is_asked_for_is_waited),
		cmocka_unit_test(without_it_tries_are_few),
		cmocka_unit_test(what_can_help),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
