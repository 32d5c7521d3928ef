// links: proto base
/* A --format text on a row, and a config's content: they end, within their bounds; what a look
 * finds good is not refused for its form later. */
#include "base/mem.h"
#include "base/str.h"
#include "base/template.h"
#include "proto/expand.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static const ProtobufCBinaryData *none(void *arg, const Pb__FileRef *ref, bool secret)
{
	(void)arg;
	(void)ref;
	(void)secret;
	return NULL;
}

static void content(const uint8_t *p, size_t n)
{
	static const Pb__ContainerSpec container = {
		.base = PROTOBUF_C_MESSAGE_INIT(&pb__container_spec__descriptor),
	};
	const struct expand_values values = {
		.service_name = "web", .hostname = "n1", .os = "linux", .arch = "x86_64"};
	const struct expand_files files = {&container, none, NULL};
	const ProtobufCBinaryData in = {n, (uint8_t *)p};
	json_t *data = expand_data(&values);
	struct sw_error err;
	char *made;
	size_t made_n;

	(void)!expand_check_content(&in, &err);
	if (expand_content(&in, &files, data, &made, &made_n, &err) == 0)
		free(made);
	json_decref(data);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	sw_autofree char *text = sw_strndup((const char *)p, n);
	json_t *row = json_pack("{sss{sss[sis]}sb}", "Name", "web", "Labels", "a", "b", "List", "x",
				3, "z", "Self", 1);
	struct sw_buf out = SW_BUF_INIT(1 << 16);
	struct sw_error err;

	(void)!template_render(text, row, &out, &err);
	sw_buf_fini(&out);
	json_decref(row);
	content(p, n);
	return 0;
}
