// links: consensus
/* Members with libraft, SQLite and a loop; the transport is a queue in this process. */
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "manager/consensus/cons.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

enum { MAX_MEMBERS = 4, WAIT_MS = 20000 };

/* What a state machine remembers: how many entries, and a digest of them in order. */
struct machine {
	uint64_t count, digest;
};

struct member {
	struct cons *c;
	struct machine m;
	char dir[200];
	bool cut; /* no frame comes in or goes out */
	bool fatal;
	unsigned restored;
};

static uv_loop_t loop;
static struct member members[MAX_MEMBERS + 1]; /* by raft id */
static char base_dir[100];

static uint64_t mix(uint64_t digest, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		digest = (digest ^ p[i]) * 0x100000001b3u;
	return digest * 31 + n;
}

static void m_apply(void *arg, uint64_t index, const uint8_t *data, size_t n)
{
	struct member *m = arg;

	assert_true(index > 0);
	m->m.count++;
	m->m.digest = mix(m->m.digest, data, n);
}

struct snap {
	struct machine m;
	size_t at;
};

/* Big enough to travel in several chunks. */
enum { SNAP_SIZE = 1300000 };

static void *m_snapshot_begin(void *arg)
{
	struct snap *s = sw_new(struct snap);

	s->m = ((struct member *)arg)->m;
	return s;
}

static size_t m_snapshot_next(void *snapshot, uint8_t *buf, size_t cap)
{
	struct snap *s = snapshot;
	size_t n = 0;

	for (; n < cap && s->at < SNAP_SIZE; n++, s->at++)
		buf[n] = s->at < sizeof s->m ? ((uint8_t *)&s->m)[s->at] : (uint8_t)s->at;
	return n;
}

static void m_snapshot_end(void *snapshot)
{
	free(snapshot);
}

static int m_restore(void *arg, uint64_t index, const uint8_t *data, size_t n, struct sw_error *err)
{
	struct member *m = arg;

	(void)index;
	if (n != SNAP_SIZE || data[n - 1] != (uint8_t)(n - 1))
		return sw_fail(err, SW_ECORRUPT, "not our snapshot");
	memcpy(&m->m, data, sizeof m->m);
	m->restored++;
	return 0;
}

static void m_fatal(void *arg, const struct sw_error *why)
{
	struct member *m = arg;

	(void)why;
	m->fatal = true;
}

static bool m_send(void *arg, uint64_t to, const char *address, const uint8_t *p, size_t n)
{
	struct member *m = arg;
	char self[32];

	(void)address;
	if (to > MAX_MEMBERS || members[to].c == NULL || members[to].cut || m->cut)
		return false;
	snprintf(self, sizeof self, "m%d:1", (int)(m - members));
	cons_receive(members[to].c, (uint64_t)(m - members), self, p, n);
	return true;
}

static int start(int id, struct sw_error *err)
{
	struct member *m = &members[id];
	char address[32];
	struct cons_options o = {.dir = m->dir, .raft_id = (uint64_t)id, .seed = (uint64_t)id};

	snprintf(address, sizeof address, "m%d:1", id);
	o.address = address;
	o.fsm = (struct cons_fsm){.apply = m_apply,
				  .snapshot_begin = m_snapshot_begin,
				  .snapshot_next = m_snapshot_next,
				  .snapshot_end = m_snapshot_end,
				  .restore = m_restore,
				  .on_fatal = m_fatal,
				  .arg = m};
	o.transport = (struct cons_transport){.send = m_send, .arg = m};
	m->m = (struct machine){0};
	m->cut = m->fatal = false;
	m->restored = 0;
	return cons_open(&loop, &o, &m->c, err);
}

static void start_ok(int id)
{
	struct sw_error err = {0};

	if (start(id, &err) != 0)
		fail_msg("%s", err.msg);
}

static void on_closed(void *arg)
{
	*(bool *)arg = true;
}

static void stop(int id)
{
	bool closed = false;
	struct cons *c = members[id].c;

	members[id].c = NULL;
	cons_close(c, on_closed, &closed);
	while (!closed)
		uv_run(&loop, UV_RUN_ONCE);
	for (int i = 1; i <= MAX_MEMBERS; i++)
		if (members[i].c != NULL)
			cons_peer_lost(members[i].c, (uint64_t)id);
}

static void on_wake(uv_timer_t *t)
{
	(void)t;
}

/* Runs the loop until cond holds or time is out. */
static bool run_until(bool (*cond)(void *), void *arg)
{
	uint64_t end = sw_mono_ms() + WAIT_MS;
	uv_timer_t wake;

	uv_timer_init(&loop, &wake);
	uv_timer_start(&wake, on_wake, 5, 5);
	while (!cond(arg) && sw_mono_ms() < end)
		uv_run(&loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&wake, NULL);
	uv_run(&loop, UV_RUN_NOWAIT);
	return cond(arg);
}

static int leader(void)
{
	for (int i = 1; i <= MAX_MEMBERS; i++)
		if (members[i].c != NULL && !members[i].cut && cons_is_leader(members[i].c))
			return i;
	return 0;
}

static bool has_leader(void *arg)
{
	(void)arg;
	return leader() != 0;
}

struct wait {
	int answered, bad, wanted, status;
};

static void on_done(void *arg, int status, uint64_t index)
{
	struct wait *w = arg;

	w->answered++;
	w->status = status;
	w->bad += status != 0;
	if (status == 0)
		assert_true(index > 0);
}

static bool all_answered(void *arg)
{
	struct wait *w = arg;

	return w->answered == w->wanted;
}

static void propose(int id, int n, size_t size)
{
	struct wait w = {.wanted = n};
	uint8_t *p = sw_alloc(size + 1);
	int sent = 0;

	while (sent < n) {
		int before = sent;

		for (; sent < n && sent < before + 500; sent++) {
			memset(p, sent, size);
			cons_propose(members[id].c, p, size, on_done, &w);
		}
		w.wanted = sent;
		assert_true(run_until(all_answered, &w));
	}
	assert_int_equal(w.bad, 0);
	free(p);
}

static bool same_state(void *arg)
{
	struct machine *want = arg;

	for (int i = 1; i <= MAX_MEMBERS; i++)
		if (members[i].c != NULL && !members[i].cut &&
		    memcmp(&members[i].m, want, sizeof *want) != 0)
			return false;
	return true;
}

static void add(int at, int id)
{
	struct wait w = {.wanted = 1};
	char address[32];

	snprintf(address, sizeof address, "m%d:1", id);
	start_ok(id);
	cons_add(members[at].c, (uint64_t)id, address, on_done, &w);
	assert_true(run_until(all_answered, &w));
	assert_int_equal(w.status, 0);
}

static int setup(void **state)
{
	(void)state;
	strcpy(base_dir, "/tmp/sw-cons-XXXXXX");
	assert_non_null(mkdtemp(base_dir));
	memset(members, 0, sizeof members);
	for (int i = 1; i <= MAX_MEMBERS; i++)
		snprintf(members[i].dir, sizeof members[i].dir, "%s/%d", base_dir, i);
	return uv_loop_init(&loop);
}

static int teardown(void **state)
{
	(void)state;
	for (int i = 1; i <= MAX_MEMBERS; i++)
		if (members[i].c != NULL)
			stop(i);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	return sw_remove_tree(base_dir, NULL);
}

static void first_member(void)
{
	struct sw_error err = {0};

	assert_int_equal(cons_bootstrap(members[1].dir, 1, "m1:1", &err), 0);
	start_ok(1);
	assert_true(run_until(has_leader, NULL));
}

static void a_second_bootstrap_is_refused(void **state)
{
	struct sw_error err = {0};

	(void)state;
	assert_int_equal(cons_bootstrap(members[1].dir, 1, "m1:1", &err), 0);
	assert_int_equal(cons_bootstrap(members[1].dir, 1, "m1:1", &err), SW_EEXIST);
	assert_non_null(strstr(err.msg, "in use"));
	/* One that only waits to join has a folder in use too. */
	start_ok(2);
	stop(2);
	assert_int_equal(cons_bootstrap(members[2].dir, 2, "m2:1", &err), SW_EEXIST);
}

/* The process dies without a word; a new one has every acknowledged entry. */
static void killed_and_reopened(void **state)
{
	int fds[2], status;
	struct machine m = {0};
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		uv_loop_fork(&loop);
		first_member();
		propose(1, 1000, 100);
		for (size_t size = 0; size <= 64; size++)
			propose(1, 1, size);
		propose(1, 3, 100 * 1024);
		if (write(fds[1], &members[1].m, sizeof m) != sizeof m)
			_exit(1);
		raise(SIGKILL);
	}
	assert_int_equal(read(fds[0], &m, sizeof m), sizeof m);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(m.count, 1000 + 65 + 3);
	start_ok(1);
	assert_true(run_until(has_leader, NULL));
	assert_memory_equal(&members[1].m, &m, sizeof m);
	propose(1, 10, 10);
}

static void refused(int code, const char *word)
{
	struct sw_error err = {0};

	assert_int_equal(start(1, &err), code);
	members[1].c = NULL;
	uv_run(&loop, UV_RUN_DEFAULT);
	if (strstr(err.msg, word) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", err.msg, word);
}

static void flip(const char *name, off_t at, uint8_t bits)
{
	char path[300];
	uint8_t b;
	int fd;

	snprintf(path, sizeof path, "%s/%s", members[1].dir, name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &b, 1, at), 1);
	b ^= bits;
	assert_int_equal(pwrite(fd, &b, 1, at), 1);
	close(fd);
}

static void a_flipped_byte_is_refused(void **state)
{
	struct stat st;
	char path[300];
	int refusals = 0, tries = 0;

	(void)state;
	first_member();
	propose(1, 200, 500);
	stop(1);
	snprintf(path, sizeof path, "%s/raft.db", members[1].dir);
	assert_int_equal(stat(path, &st), 0);
	/* Damage may hit a free page and harm nothing; then all entries must be there. */
	for (off_t at = 300; at < st.st_size; at += st.st_size / 20, tries++) {
		struct sw_error err = {0};

		flip("raft.db", at, 0x40);
		if (start(1, &err) != 0) {
			members[1].c = NULL;
			assert_true(err.msg[0] != 0);
			refusals++;
		} else {
			assert_true(run_until(has_leader, NULL));
			assert_int_equal(members[1].m.count, 200);
			stop(1);
		}
		uv_run(&loop, UV_RUN_DEFAULT);
		flip("raft.db", at, 0x40);
	}
	assert_true(refusals > tries / 2);
}

static void a_lost_wal_is_refused(void **state)
{
	char path[300];
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		uv_loop_fork(&loop);
		first_member();
		propose(1, 100, 100);
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	snprintf(path, sizeof path, "%s/raft.db-wal", members[1].dir);
	assert_int_equal(unlink(path), 0);
	refused(SW_ECORRUPT, "missing");
}

static void another_key_is_refused(void **state)
{
	(void)state;
	first_member();
	propose(1, 5, 100);
	stop(1);
	flip("key", 3, 1);
	refused(SW_ECORRUPT, "key");
}

static void a_lost_database_is_refused(void **state)
{
	char path[300];
	struct sw_error err = {0};

	(void)state;
	first_member();
	stop(1);
	snprintf(path, sizeof path, "%s/raft.db", members[1].dir);
	assert_int_equal(unlink(path), 0);
	refused(SW_ECORRUPT, "missing");
	assert_int_equal(cons_bootstrap(members[1].dir, 1, "m1:1", &err), SW_ECORRUPT);
}

static void three_members(void **state)
{
	int was;
	uint64_t t0;
	struct wait w = {.wanted = 1};

	(void)state;
	first_member();
	propose(1, 20, 100);
	add(1, 2);
	add(1, 3);
	propose(1, 500, 100);
	assert_true(run_until(same_state, &members[1].m));
	cons_barrier(members[1].c, on_done, &w);
	assert_true(run_until(all_answered, &w));
	assert_int_equal(w.status, 0);

	/* The leader goes: the others hear of its connection and do not wait for a timer. */
	was = leader();
	t0 = sw_mono_ms();
	stop(was);
	assert_true(run_until(has_leader, NULL));
	print_message("new leader after %d ms\n", (int)(sw_mono_ms() - t0));
	propose(leader(), 50, 100);

	start_ok(was);
	assert_true(run_until(same_state, &members[leader()].m));

	w = (struct wait){.wanted = 1};
	was = leader();
	cons_remove(members[was].c, (uint64_t)(was % 3 + 1), on_done, &w);
	assert_true(run_until(all_answered, &w));
	assert_int_equal(w.status, 0);
	propose(was, 10, 10);
	{
		struct cons_member out[8];

		assert_int_equal(cons_members(members[was].c, out, 8), 2);
	}
}

static bool is_fatal(void *arg)
{
	return ((struct member *)arg)->fatal;
}

static void a_removed_member_learns_it(void **state)
{
	struct wait w = {.wanted = 1};

	(void)state;
	first_member();
	add(1, 2);
	add(1, 3);
	members[3].cut = true;
	cons_remove(members[1].c, 3, on_done, &w);
	assert_true(run_until(all_answered, &w));
	assert_int_equal(w.status, 0);
	members[3].cut = false;
	assert_true(run_until(is_fatal, &members[3]));
}

static void away_and_back_by_snapshot(void **state)
{
	(void)state;
	first_member();
	add(1, 2);
	add(1, 3);
	members[3].cut = true;
	propose(1, 20000, 20);
	members[3].cut = false;
	assert_true(run_until(same_state, &members[1].m));
	assert_true(members[3].restored > 0);
	/* And from its disk. */
	stop(3);
	start_ok(3);
	assert_int_equal(members[3].restored, 1);
	assert_true(run_until(same_state, &members[1].m));
	propose(leader(), 10, 10);
	assert_true(run_until(same_state, &members[leader()].m));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_second_bootstrap_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(killed_and_reopened, setup, teardown),
		cmocka_unit_test_setup_teardown(a_flipped_byte_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_lost_wal_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(another_key_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_lost_database_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(three_members, setup, teardown),
		cmocka_unit_test_setup_teardown(a_removed_member_learns_it, setup, teardown),
		cmocka_unit_test_setup_teardown(away_and_back_by_snapshot, setup, teardown),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
