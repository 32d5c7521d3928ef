// links: overlay
/* The resolver's sockets: they end in any order, and the server last. */
#include "base/mem.h"
#include "overlay/dns_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include <cmocka.h>

static bool closed;

static void on_closed(struct sw_closer *c)
{
	(void)c;
	closed = true;
}

static size_t no_views(void *arg, uint64_t task, const struct view **ret, size_t max)
{
	(void)arg;
	(void)task;
	(void)ret;
	(void)max;
	return 0;
}

/* As the agent ends: sockets and server are closed in one turn; handles close on the next. */
static void the_server_outlives_its_boxes(void **state)
{
	char *upstreams[] = {(char *)"192.0.2.1", NULL};
	struct sw_closer closer = {0};
	struct dns_box *boxes[3];
	struct dns_server *d;
	uv_loop_t loop;

	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	d = dns_server_new(&loop, &closer, upstreams, no_views, NULL);
	for (size_t i = 0; i < SW_COUNT(boxes); i++) {
		int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

		assert_true(fd >= 0);
		boxes[i] = dns_box_open(d, i + 1, fd, NULL, true);
	}
	for (size_t i = 0; i < SW_COUNT(boxes); i++)
		dns_box_close(boxes[i]);
	dns_server_close(d);
	sw_closer_close(&closer, on_closed);
	assert_false(closed);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_true(closed);
	assert_int_equal(closer.pending, 0);
	assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_server_outlives_its_boxes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
