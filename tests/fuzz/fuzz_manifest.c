// links: image
/* The JSON documents of an image, from a registry that may say anything. */
#include "base/mem.h"
#include "runtime/image/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct img_platform host = img_platform_host();
	struct img_index index;
	struct img_manifest manifest;
	struct img_config config;
	struct img_desc desc;
	struct sw_error err;

	(void)img_is_index(NULL, p, n);
	if (img_index_parse(p, n, &index, &err) == 0) {
		(void)img_index_choose(&index, &host);
		img_index_fini(&index);
	}
	if (img_manifest_parse(p, n, &manifest, &err) == 0)
		img_manifest_fini(&manifest);
	if (img_config_parse(p, n, &config, &err) == 0)
		img_config_fini(&config);
	if (img_desc_parse(p, n, &desc, &err) == 0)
		img_desc_fini(&desc);
	return 0;
}
