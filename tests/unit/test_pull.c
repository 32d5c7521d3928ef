// links: image
/* A layer that comes from nodes: cut off, wrong, or both. The nodes are functions that do as a script
 * says, and count what they give. */
#include "base/buf.h"
#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/image/pack.h"
#include "runtime/image/pull.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define NAME "localhost:1/team/app:1" /* nothing listens there */
enum { NOISE = 4 << 20, LAYER_MAX = NOISE + (1 << 20), NODES = 3 };

static struct {
	char top[64];
	struct sw_buf layer;
	struct img_pack_result packed;
	char *config;
	struct img_store *store;
	/* the nodes */
	struct node {
		unsigned whole;   /* so many calls go well before */
		unsigned cuts;    /* it breaks off so often */
		int64_t after;    /* so many bytes */
		int64_t wrong_at; /* this byte is another one; 0 = none */
		bool stands;      /* instead of breaking off it sends nothing more */
		bool stops;       /* or says that it is stopping */
		unsigned calls;
		int64_t sent;
	} node[NODES];
	size_t n;
	atomic_bool standing;
	struct sw_buf blamed;
} w;

static int to_buf(void *ctx, const void *p, size_t n, struct sw_error *err)
{
	return sw_buf_add(ctx, p, n) ? 0 : sw_fail(err, SW_ETOOBIG, "too large");
}

static void make_layer(void)
{
	sw_autofree char *dir = sw_asprintf("%s/files", w.top);
	sw_autofree char *path = sw_asprintf("%s/noise", dir), *noise = sw_alloc(NOISE);
	struct sw_error err;
	uint32_t x = 1;

	for (size_t i = 0; i < NOISE; i++)
		noise[i] = (char)((x = x * 1664525u + 1013904223u) >> 24);
	assert_int_equal(mkdir(dir, 0755), 0);
	assert_int_equal(sw_write_file_fast(path, noise, NOISE, 0644, &err), 0);
	w.layer = (struct sw_buf)SW_BUF_INIT(LAYER_MAX);
	assert_int_equal(img_pack(dir, 0, NULL, to_buf, &w.layer, &w.packed, &err), 0);
	w.config = sw_asprintf("{\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{\"type\":"
			       "\"layers\",\"diff_ids\":[\"%s\"]}}",
			       w.packed.diff_id);
}

static int setup(void **state)
{
	sw_autofree char *dir = NULL;
	struct sw_error err;

	(void)state;
	if (geteuid() != 0) {
		printf("skipped: layers need root\n");
		exit(77);
	}
	memset(&w, 0, sizeof w);
	snprintf(w.top, sizeof w.top, "/tmp/test_pull.XXXXXX");
	if (mkdtemp(w.top) == NULL)
		return -1;
	make_layer();
	w.blamed = (struct sw_buf)SW_BUF_INIT(1000);
	dir = sw_asprintf("%s/store", w.top);
	return img_store_open(dir, &w.store, &err);
}

static int teardown(void **state)
{
	struct sw_error err;

	(void)state;
	img_store_close(w.store);
	sw_buf_fini(&w.layer);
	sw_buf_fini(&w.blamed);
	free(w.config);
	return sw_remove_tree(w.top, &err);
}

/* ---- the nodes ---- */

static int find(void *ctx, const char *name, const atomic_bool *cancel, struct img_found *ret,
		struct sw_error *err)
{
	char hex[SW_SHA256_HEX];

	(void)ctx, (void)name, (void)cancel, (void)err;
	*ret = (struct img_found){.local = true};
	ret->id = sw_asprintf("sha256:%s", sw_sha256_hex(w.config, strlen(w.config), hex));
	for (size_t i = 0; i < w.n; i++) {
		char peer[] = {(char)('a' + i), 0};

		ret->peers = sw_strv_add(ret->peers, peer);
	}
	return 0;
}

static int documents(void *ctx, const char *peer, const char *id, const atomic_bool *cancel,
		     char **ret_config, size_t *ret_config_n, char **ret_manifest,
		     size_t *ret_manifest_n, struct sw_error *err)
{
	(void)ctx, (void)peer, (void)id, (void)cancel, (void)err;
	*ret_config = sw_strdup(w.config);
	*ret_config_n = strlen(w.config);
	*ret_manifest = NULL;
	*ret_manifest_n = 0;
	return 0;
}

/* Sends up to `to`. */
static int send_some(struct node *n, int64_t from, int64_t to, img_sink sink, void *ctx,
		     struct sw_error *err)
{
	enum { PIECE = 100000 };
	int rc = 0;

	for (int64_t at = from, k; rc == 0 && at < to; at += k) {
		sw_autofree char *piece = sw_alloc(PIECE);

		k = to - at < PIECE ? to - at : PIECE;
		memcpy(piece, w.layer.data + at, (size_t)k);
		if (n->wrong_at >= at && n->wrong_at < at + k && n->wrong_at != 0)
			piece[n->wrong_at - at] ^= 1;
		rc = sink(ctx, piece, (size_t)k, err);
		n->sent += k;
	}
	return rc;
}

static int layer(void *ctx, const char *peer, const char *diff_id, int64_t from,
		 const atomic_bool *cancel, img_sink sink, void *sink_ctx, struct sw_error *err)
{
	struct node *n = &w.node[*peer - 'a'];
	int64_t size = (int64_t)w.layer.len;
	bool cut = n->calls >= n->whole && n->calls < n->whole + n->cuts;
	int rc = send_some(n, from, cut && from + n->after < size ? from + n->after : size, sink,
			   sink_ctx, err);

	(void)ctx, (void)diff_id;
	n->calls++;
	if (rc < 0 || !cut)
		return rc;
	atomic_store(&w.standing, n->stands);
	while (n->stands && !atomic_load(cancel))
		(void)poll(NULL, 0, 1);
	return n->stands || n->stops ? sw_fail(err, SW_ECANCELED, "cancelled")
				     : sw_fail(err, SW_EUNAVAIL, "the connection was lost");
}

static void wrong(void *ctx, const char *peer, const char *diff_id, const struct sw_error *err)
{
	(void)ctx;
	assert_string_equal(diff_id, w.packed.diff_id);
	assert_int_not_equal(err->code, 0);
	sw_buf_adds(&w.blamed, peer != NULL ? peer : "?");
}

/* ---- the pull ---- */

struct pulling {
	uv_loop_t loop;
	struct img_puller *p;
	struct sw_error err;
	uv_timer_t look; /* closes the puller when a node stands */
	bool closing;
};

static void on_closed(void *ctx)
{
	(void)ctx;
}

static void begin_close(struct pulling *x)
{
	if (x->closing)
		return;
	x->closing = true;
	uv_close((uv_handle_t *)&x->look, NULL);
	img_puller_close(x->p, on_closed, x);
}

static void on_look(uv_timer_t *t)
{
	if (atomic_load(&w.standing))
		begin_close(t->data);
}

static void on_pulled(struct img_pull *p, const char *id, const struct sw_error *err, void *ctx)
{
	struct pulling *x = ctx;

	(void)p, (void)id;
	if (err != NULL)
		x->err = *err;
	begin_close(x);
}

/* As an agent's life does: one that is asked to end when a node stands. */
static struct sw_error pull(void)
{
	const struct img_peers peers = {find, documents, layer, wrong, NULL};
	const struct img_puller_options o = {.peers = &peers};
	struct pulling x = {0};
	struct sw_error err;

	atomic_store(&w.standing, false);
	assert_int_equal(uv_loop_init(&x.loop), 0);
	x.p = img_puller_new(&x.loop, w.store, &o);
	uv_timer_init(&x.loop, &x.look);
	x.look.data = &x;
	uv_timer_start(&x.look, on_look, 1, 1);
	assert_int_equal(img_pull(x.p, NAME, NULL, on_pulled, &x, &err), 0);
	uv_run(&x.loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&x.loop), 0);
	return x.err;
}

static int64_t sent(void)
{
	int64_t all = 0;

	for (size_t i = 0; i < NODES; i++)
		all += w.node[i].sent;
	return all;
}

static bool has_parts(void)
{
	sw_autofree char *part = sw_asprintf("%s/part/%s", img_store_dir(w.store),
					     strchr(w.packed.diff_id, ':') + 1);

	return sw_path_exists(part);
}

static void is_here(const char *blamed)
{
	struct sw_error err;

	assert_true(img_store_has_layer(w.store, w.packed.diff_id));
	assert_string_equal(sw_buf_str(&w.blamed), blamed);
	assert_false(has_parts());
	sw_buf_reset(&w.layer);
	assert_int_equal(img_store_export_layer(w.store, w.packed.diff_id, to_buf, &w.layer, &err),
			 0);
}

static void another_node_goes_on(void **state)
{
	(void)state;
	w.n = 3;
	w.node[0] = (struct node){.cuts = 9, .after = 1000000};
	w.node[1] = (struct node){.cuts = 9, .after = 2000000, .stops = true};
	assert_string_equal(pull().msg, "");
	assert_int_equal(sent(), w.packed.size);
	assert_int_equal(w.node[1].sent, 2000000);
	is_here("");
}

static void the_same_goes_on_when_it_is_back(void **state)
{
	(void)state;
	w.n = 1;
	w.node[0] = (struct node){.cuts = 3, .after = 1000000};
	assert_string_equal(pull().msg, "");
	assert_int_equal(sent(), w.packed.size);
	assert_int_equal(w.node[0].calls, 4);
	is_here("");
}

static void a_next_life_goes_on(void **state)
{
	(void)state;
	w.n = 1;
	w.node[0] = (struct node){.cuts = 1, .after = 3000000, .stands = true};
	assert_int_equal(pull().code, SW_ECANCELED);
	assert_true(has_parts());
	assert_string_equal(pull().msg, "");
	assert_int_equal(sent(), w.packed.size);
	is_here("");
}

static void a_node_that_is_gone_is_given_up(void **state)
{
	(void)state;
	w.n = 1;
	w.node[0] = (struct node){.cuts = 1000, .after = 0};
	assert_non_null(strstr(pull().msg, "the connection was lost"));
	assert_in_range(w.node[0].calls, 2, 9);
	assert_int_equal(sent(), 0);
}

static void a_wrong_layer_is_left_for_another_node(void **state)
{
	(void)state;
	w.n = 2;
	w.node[0] = (struct node){.wrong_at = 2000000};
	assert_string_equal(pull().msg, "");
	assert_int_equal(w.node[0].calls, 1);
	is_here("a");
}

static void a_wrong_part_too(void **state)
{
	(void)state;
	w.n = 2;
	w.node[0] = (struct node){.cuts = 9, .after = 3000000, .wrong_at = 2000000};
	assert_string_equal(pull().msg, "");
	assert_int_equal(w.node[0].calls, 1);
	assert_int_equal(w.node[1].calls, 2);
	assert_int_equal(w.node[1].sent, 2 * (int64_t)w.packed.size - 3000000);
	is_here("a");
}

static void a_wrong_part_is_not_forgotten(void **state)
{
	(void)state;
	w.n = 2;
	w.node[0] = (struct node){.cuts = 1, .after = 3000000, .wrong_at = 2000000};
	w.node[1] = (struct node){.whole = 1, .cuts = 1, .after = 2500000};
	assert_string_equal(pull().msg, "");
	assert_int_equal(w.node[1].calls, 2); /* goes on from a; all anew, and is cut off */
	assert_int_equal(w.node[0].calls, 2); /* ends it */
	is_here("a");
}

static void what_was_kept_before_may_be_wrong(void **state)
{
	(void)state;
	w.n = 1;
	w.node[0] = (struct node){.cuts = 1, .after = 3000000, .wrong_at = 2000000, .stands = true};
	assert_int_equal(pull().code, SW_ECANCELED);
	w.node[0].wrong_at = 0;
	assert_string_equal(pull().msg, "");
	is_here("?");
}

static void when_none_is_right_that_is_said(void **state)
{
	struct sw_error err;

	(void)state;
	w.n = 2;
	w.node[0] = (struct node){.cuts = 1, .after = 1000000, .wrong_at = 2000000};
	w.node[1] = (struct node){.wrong_at = 3000000};
	err = pull();
	assert_int_equal(err.code, SW_ECORRUPT);
	assert_non_null(strstr(err.msg, w.packed.diff_id));
	assert_false(img_store_has_layer(w.store, w.packed.diff_id));
	assert_false(has_parts());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(another_node_goes_on),
		T(the_same_goes_on_when_it_is_back),
		T(a_next_life_goes_on),
		T(a_node_that_is_gone_is_given_up),
		T(a_wrong_layer_is_left_for_another_node),
		T(a_wrong_part_too),
		T(a_wrong_part_is_not_forgotten),
		T(what_was_kept_before_may_be_wrong),
		T(when_none_is_right_that_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
