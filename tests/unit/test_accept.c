// links: container
/* What the kernel lists of sockets. */
#include "runtime/container/accept.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define HEAD                                                                                  \
	"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  " \
	"timeout inode\n"
#define ROW(state, queues)                                    \
	"   0: 0B00007F:A1B2 00000000:0000 " state " " queues \
	" 00:00000000 00000000     0        0 4242 1 0000000000000000 100 0 0 10 0\n"

static unsigned waiting(const char *text)
{
	FILE *f = fmemopen((char *)text, strlen(text), "r");
	unsigned n = rt_accept_waiting_in(f);

	fclose(f);
	return n;
}

static void accept_queues_are_summed(void **state)
{
	(void)state;
	assert_int_equal(waiting(HEAD ROW("0A", "00000000:00000000")), 0);
	assert_int_equal(
		waiting(HEAD ROW("0A", "00000000:0000000B") ROW("0A", "00000000:00000002")), 13);
}

static void bytes_of_open_connections_are_none(void **state)
{
	(void)state;
	assert_int_equal(
		waiting(HEAD ROW("0A", "00000000:00000001") ROW("01", "00000000:00000700")), 1);
	assert_int_equal(waiting(HEAD ROW("01", "00000000:00000700")), 0);
}

static void odd_text_is_nothing(void **state)
{
	(void)state;
	assert_int_equal(waiting("\n"), 0);
	assert_int_equal(waiting(HEAD "garbage\n"), 0);
	assert_int_equal(waiting(HEAD "   0: 0B00007F:A1B2 00000000:0000 0A\n"), 0);
}

static uint64_t given(const char *text)
{
	FILE *f = fmemopen((char *)text, strlen(text), "r");
	uint64_t n = rt_accepted_in(f);

	fclose(f);
	return n;
}

static void what_was_given_is_counted(void **state)
{
	(void)state;
	assert_int_equal(given("Ip: Forwarding DefaultTTL\nIp: 1 64\n"
			       "Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens\n"
			       "Tcp: 1 200 120000 -1 7 4711 0 0 1\nUdp: InDatagrams\nUdp: 3\n"),
			 4711);
	assert_int_equal(given("Tcp: 1 200 120000 -1 7\n"), 0);
	assert_int_equal(given("\n"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accept_queues_are_summed),
		cmocka_unit_test(bytes_of_open_connections_are_none),
		cmocka_unit_test(odd_text_is_nothing),
		cmocka_unit_test(what_was_given_is_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
