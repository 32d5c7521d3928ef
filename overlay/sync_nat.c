/* The host's part of an order: its rules, and the datagrams that they would send elsewhere now. */
#include "base/mem.h"
#include "base/str.h"
#include "overlay/nat_flows.h"
#include "overlay/sync_internal.h"

#include <nftables/libnftables.h>

enum { NAT_TEXT_MAX = 8 << 20 };

static void forget(struct worker *w)
{
	free(w->base);
	free(w->ports);
	free(w->shown);
	w->base = w->ports = w->shown = NULL;
}

/** Made when it is first needed: one of the two doers never does. */
static int want_nft(struct worker *w, struct sw_error *err)
{
	if (w->nft == NULL)
		w->nft = nft_ctx_new(NFT_CTX_DEFAULT);
	return w->nft != NULL ? 0 : sw_fail(err, SW_EIO, "libnftables does not start");
}

/** The host's tables are what was loaded last: nobody else has changed them. */
static bool is_as_shown(struct worker *w, const struct sync *s)
{
	sw_autofree char *now = NULL;

	return w->shown != NULL && nat_list(w->nft, s->prefix, s->host.six, &now, NULL) == 0 &&
	       sw_streq(now, w->shown);
}

static int remove_table(struct worker *w, const struct sync *s, enum addr_family f,
			struct sw_error *err)
{
	struct sw_buf text = SW_BUF_INIT(NAT_TEXT_MAX);
	int r;

	nat_none_text(s->prefix, f, &text);
	r = nat_run(w->nft, sw_buf_str(&text), NULL, err);
	sw_buf_fini(&text);
	return r;
}

static bool has_datagrams(const struct sync *s)
{
	bool has = false;

	for (size_t i = 0; i < s->n_ports; i++)
		has = has || s->ports[i].protocol == PB__PROTOCOL__UDP;
	for (size_t i = 0; i < s->n_entries; i++)
		has = has || s->entries[i].protocol == PB__PROTOCOL__UDP;
	return has;
}

/** After the rules have changed. */
static int end_host_flows(struct worker *w, const struct sync *s, struct sw_error *err)
{
	struct nat_ways ways = {.host = &s->host,
				.ports = s->ports,
				.entries = s->entries,
				.n = s->n_ports,
				.n_entries = s->n_entries};
	bool has = has_datagrams(s);
	int r = has || !w->no_datagrams ? nat_end_flows(&ways, err) : 0;

	w->no_datagrams = r == 0 && !has;
	return r;
}

static int load_nat(struct worker *w, const struct sync *s, const struct sw_buf *base,
		    const struct sw_buf *ports, struct sw_error *err)
{
	bool whole = w->base == NULL || !sw_streq(w->base, sw_buf_str(base));
	sw_autofree char *text = NULL;
	int r;

	if (!whole && sw_streq(w->ports, sw_buf_str(ports)) && is_as_shown(w, s))
		return 0;
	whole = whole || !is_as_shown(w, s);
	if (whole && !s->host.six)
		remove_table(w, s, ADDR_SIX, NULL); /* of a time when there was IPv6 */
	text = sw_asprintf("%s%s", whole ? sw_buf_str(base) : "", sw_buf_str(ports));
	forget(w);
	r = nat_run(w->nft, text, NULL, err);
	if (r == 0)
		r = nat_list(w->nft, s->prefix, s->host.six, &w->shown, err);
	if (r == 0)
		r = end_host_flows(w, s, err);
	if (r == 0) {
		w->base = sw_strdup(sw_buf_str(base));
		w->ports = sw_strdup(sw_buf_str(ports));
	}
	return r;
}

int do_nat(struct worker *w, struct sync *s, struct sw_error *err)
{
	struct sw_buf base = SW_BUF_INIT(NAT_TEXT_MAX), ports = SW_BUF_INIT(NAT_TEXT_MAX);
	int r = want_nft(w, err);
	size_t n = 0;

	for (size_t i = 0; i < s->n_ports; i++)
		if (!box_failed(s, s->ports[i].task_id))
			s->ports[n++] = s->ports[i];
	s->n_ports = n;
	nat_base_text(s->prefix, &s->host, &base);
	nat_ports_text(s->prefix, &s->host, s->ports, s->n_ports, s->entries, s->n_entries, &ports);
	if (r == 0)
		r = load_nat(w, s, &base, &ports, err);
	sw_buf_fini(&base);
	sw_buf_fini(&ports);
	return r;
}

int do_nat_away(struct worker *w, const struct sync *s, struct sw_error *err)
{
	int r = want_nft(w, err);

	if (r == 0) {
		remove_table(w, s, ADDR_SIX, NULL); /* a kernel without IPv6 may refuse */
		r = remove_table(w, s, ADDR_FOUR, err);
	}
	return r;
}

void nat_fini(struct worker *w)
{
	forget(w);
	if (w->nft != NULL)
		nft_ctx_free(w->nft);
}
