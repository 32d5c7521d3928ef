#include "agent/records.h"

#include "base/digest.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"
#include "proto/msg.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { MAX_RECORD = 4 << 20 };

int records_open(const char *dir, struct sw_error *err)
{
	return sw_mkdir_p(dir, 0700, err);
}

/* Without fsync: after a reboot no container of the record is there either. */
int records_save(const char *dir, const Pb__TaskRecord *r, uint64_t *last, struct sw_error *err)
{
	sw_autofree char *path = sw_asprintf("%s/%s", dir, sw_id(r->assignment->task->id).s);
	sw_autofree uint8_t *p = NULL;
	size_t n = msg_pack(&r->base, &p);
	uint8_t digest[SW_SHA256_SIZE];
	uint64_t now;
	int rc;

	sw_sha256_of(p, n, digest);
	memcpy(&now, digest, sizeof now);
	if (now == *last)
		return 0;
	rc = sw_write_file_fast(path, p, n, 0600, err);
	*last = rc == 0 ? now : 0;
	return rc;
}

void records_remove(const char *dir, uint64_t task)
{
	sw_autofree char *path = sw_asprintf("%s/%s", dir, sw_id(task).s);

	unlink(path);
}

static Pb__TaskRecord *load_one(const char *path, uint64_t id)
{
	sw_autofree char *data = NULL;
	Pb__TaskRecord *r;
	size_t n;

	if (sw_read_file(path, MAX_RECORD, &data, &n, NULL) != 0)
		return NULL;
	r = msg_unpack(&pb__task_record__descriptor, data, n);
	if (r != NULL && r->assignment != NULL && r->assignment->task != NULL &&
	    r->assignment->task->id == id && r->revision != NULL && r->revision->task != NULL &&
	    r->revision->task->container != NULL)
		return r;
	msg_free(r != NULL ? &r->base : NULL);
	return NULL;
}

int records_load(const char *dir, void (*cb)(void *arg, Pb__TaskRecord *takes), void *arg,
		 unsigned *ret_bad, struct sw_error *err)
{
	DIR *d = opendir(dir);

	*ret_bad = 0;
	if (d == NULL)
		return sw_fail_sys(err, errno, "open %s", dir);
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		sw_autofree char *path = sw_asprintf("%s/%s", dir, e->d_name);
		Pb__TaskRecord *r;
		uint64_t id;

		if (e->d_name[0] == '.')
			continue;
		r = sw_id_parse(e->d_name, &id) ? load_one(path, id) : NULL;
		if (r != NULL) {
			cb(arg, r);
		} else {
			unlink(path);
			++*ret_bad;
		}
	}
	closedir(d);
	return 0;
}
