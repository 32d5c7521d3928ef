#include "base/relay.h"

#include "base/mem.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* More waits only when the owner goes on writing after relay_write said false. */
enum { OUT_MAX = 64 << 20 };

static void arm(struct relay *r);

static size_t waiting(const struct relay *r)
{
	return r->out.len - r->out_at;
}

/* Offers what there is; reading stops until it is taken. */
static void offer(struct relay *r)
{
	r->held = r->n > 0 && !r->ops->on_data(r, r->chunk, r->n);
	if (!r->held)
		r->n = 0;
}

static void take_in(struct relay *r)
{
	ssize_t n = read(r->fd, r->chunk, sizeof r->chunk);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n > 0) {
		r->n = (size_t)n;
		offer(r);
		return;
	}
	r->eof = true;
	/* A terminal whose other side is closed says EIO: that is its end. */
	r->ops->on_eof(r, n < 0 && errno != EIO ? errno : 0);
}

static void end_writing(struct relay *r)
{
	if (shutdown(r->fd, SHUT_WR) != 0 && errno == ENOTSOCK)
		relay_close(r);
}

static void put_out(struct relay *r)
{
	while (waiting(r) > 0) {
		ssize_t n = write(r->fd, sw_buf_str(&r->out) + r->out_at, waiting(r));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		r->out_at = n < 0 ? r->out.len : r->out_at + (size_t)n;
	}
	sw_buf_reset(&r->out);
	r->out_at = 0;
	if (r->half_close)
		end_writing(r);
	if (!r->closing && r->ops->on_drained != NULL)
		r->ops->on_drained(r);
}

static void on_poll(uv_poll_t *h, int status, int events)
{
	struct relay *r = container_of(h, struct relay, poll);

	if (status < 0)
		events = UV_READABLE | UV_WRITABLE;
	if ((events & UV_WRITABLE) != 0 && waiting(r) > 0)
		put_out(r);
	if (r->closing)
		return;
	if ((events & UV_READABLE) != 0 && r->reading && !r->eof && !r->held)
		take_in(r);
	arm(r);
}

static void arm(struct relay *r)
{
	int events = (r->reading && !r->eof && !r->held ? UV_READABLE : 0) |
		     (waiting(r) > 0 ? UV_WRITABLE : 0);

	if (r->closing)
		return;
	if (events != 0)
		uv_poll_start(&r->poll, events, on_poll);
	else
		uv_poll_stop(&r->poll);
}

int relay_open(struct relay *r, uv_loop_t *loop, int fd, bool read, const struct relay_ops *ops,
	       struct sw_error *err)
{
	int rc;

	*r = (struct relay){.fd = -1, .ops = ops, .reading = read, .out = SW_BUF_INIT(OUT_MAX)};
	rc = uv_poll_init(loop, &r->poll, fd);
	if (rc != 0)
		return sw_fail(err, SW_EUNSUPP, "file %d can't be waited for: %s", fd,
			       uv_strerror(rc));
	r->fd = fd;
	arm(r);
	return 0;
}

bool relay_is_open(const struct relay *r)
{
	return r->fd >= 0 && !r->closing;
}

bool relay_is_over(const struct relay *r)
{
	return r->fd < 0 || r->closing || r->eof || !r->reading;
}

bool relay_is_drained(const struct relay *r)
{
	return waiting(r) == 0;
}

void relay_resume(struct relay *r)
{
	if (!relay_is_open(r) || !r->held)
		return;
	offer(r);
	arm(r);
}

bool relay_write(struct relay *r, const void *p, size_t n)
{
	size_t done = 0;

	if (!relay_is_open(r) || r->half_close)
		return true;
	while (waiting(r) == 0 && done < n) {
		ssize_t k = write(r->fd, (const char *)p + done, n - done);

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0 && errno != EAGAIN)
			return true;
		if (k < 0)
			break;
		done += (size_t)k;
	}
	if (done == n || !sw_buf_add(&r->out, (const char *)p + done, n - done))
		return true;
	arm(r);
	return false;
}

void relay_finish(struct relay *r)
{
	if (!relay_is_open(r) || r->half_close)
		return;
	r->half_close = true;
	if (waiting(r) == 0)
		end_writing(r);
}

static void on_close(uv_handle_t *h)
{
	struct relay *r = container_of((uv_poll_t *)h, struct relay, poll);

	sw_close_p(&r->fd);
	sw_buf_fini(&r->out);
	if (r->ops->on_closed != NULL)
		r->ops->on_closed(r);
}

void relay_close(struct relay *r)
{
	if (!relay_is_open(r))
		return;
	r->closing = true;
	uv_close((uv_handle_t *)&r->poll, on_close);
}
