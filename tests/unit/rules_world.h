/* Rules in the real kernel: a network namespace of the test's own. Needs root. */
#pragma once

#include "base/buf.h"
#include "base/mem.h"
#include "overlay/nat.h"
#include "overlay/ns.h"

#include <nftables/libnftables.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { RULES_LINES = 1024, RULES_MAX = 1 << 20 };

struct rules_world {
	int home;
	struct nft_ctx *nft;
};

__attribute__((format(printf, 1, 2))) static inline void run(const char *format, ...)
{
	char command[512];
	va_list ap;

	va_start(ap, format);
	vsnprintf(command, sizeof command, format, ap);
	va_end(ap);
	if (system(command) != 0)
		fail_msg("%s", command);
}

static inline void rules_enter(struct rules_world *w)
{
	w->home = ns_self();
	assert_true(w->home >= 0);
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	w->nft = nft_ctx_new(NFT_CTX_DEFAULT);
	run("ip link set lo up");
}

static inline void rules_leave(struct rules_world *w)
{
	nft_ctx_free(w->nft);
	ns_return(w->home);
	close(w->home);
}

static inline void rules_load(struct rules_world *w, struct sw_buf *text)
{
	struct sw_error err;

	if (nat_run(w->nft, sw_buf_str(text), NULL, &err) != 0)
		fail_msg("%s\n%s", err.msg, sw_buf_str(text));
	sw_buf_reset(text);
}

static inline int rules_by_line(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/** As nftables prints them, a line each, in the order of the alphabet. The caller frees. */
static inline char *rules_listed(struct rules_world *w)
{
	struct sw_buf out = SW_BUF_INIT(RULES_MAX);
	sw_autofree char *all = NULL;
	char *lines[RULES_LINES], *rest;
	struct sw_error err;
	size_t n = 0;

	assert_int_equal(nat_run(w->nft, "list ruleset\n", &all, &err), 0);
	rest = all;
	for (char *l; (l = strsep(&rest, "\n")) != NULL;) {
		assert_true(n < RULES_LINES);
		lines[n++] = l;
	}
	qsort(lines, n, sizeof *lines, rules_by_line);
	for (size_t i = 0; i < n; i++)
		sw_buf_addf(&out, "%s\n", lines[i]);
	return sw_buf_take(&out);
}
