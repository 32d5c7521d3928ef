/* Time zones for schedules: tzdata's files, read once each. */
#include "manager/internal.h"

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

#define ZONES_DIR "/usr/share/zoneinfo"

const struct sw_zone *zones_get(void *arg, const char *name)
{
	struct manager *m = arg;
	struct sw_zone *z = sw_strmap_get(&m->zones, name);
	struct sw_error err = {0};
	char *p = NULL;
	size_t n;

	if (z != NULL || !sw_zone_is_name(name))
		return z;
	sw_autofree char *path = sw_asprintf("%s/%s", ZONES_DIR, name);
	if (sw_read_file(path, SW_ZONE_MAX_FILE, &p, &n, &err) != 0 ||
	    sw_zone_parse(p, n, &z, &err) != 0) {
		sw_warn("time zone not read", SW_STR("zone", name), SW_ERR(&err));
		free(p);
		return NULL;
	}
	free(p);
	sw_strmap_set(&m->zones, name, z);
	return z;
}

static void free_zone(void *z)
{
	sw_zone_free(z);
}

void zones_close(struct manager *m)
{
	sw_strmap_fini(&m->zones, free_zone);
}
