#include "agent/identity.h"

#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/pki/pki.h"

#include <sys/stat.h>
#include <unistd.h>

enum { MAX_PEM = 64 * 1024 };

void identity_fini(struct identity *id)
{
	free(id->cert);
	if (id->key != NULL)
		pki_free_key(id->key);
	free(id->ca);
	sw_strv_free(id->managers);
	free(id->advertise);
	free(id->listen);
	*id = (struct identity){0};
}

static int read_subject(struct identity *id, struct sw_error *err)
{
	struct pki_subject s = {0};
	int rc = pki_subject_of(id->cert, &s, err);

	if (rc != 0)
		return rc;
	if (!sw_id_parse(s.cn, &id->node_id) || !sw_id_parse(s.o, &id->cluster_id))
		return sw_fail(err, SW_ECORRUPT, "the certificate names no node of a cluster");
	id->role = sw_streq(s.ou, PKI_OU_MANAGER) ? PB__NODE_ROLE__MANAGER : PB__NODE_ROLE__WORKER;
	id->not_before_ms = s.not_before_ms;
	id->not_after_ms = s.not_after_ms;
	return 0;
}

static char *read_in(const char *dir, const char *name)
{
	sw_autofree char *path = sw_asprintf("%s/%s", dir, name);
	char *text = NULL;

	return sw_read_file(path, MAX_PEM, &text, NULL, NULL) == 0 ? text : NULL;
}

static char *read_line_in(const char *dir, const char *name)
{
	char *s = read_in(dir, name);

	if (s != NULL)
		s[strcspn(s, "\n")] = 0;
	return s;
}

int identity_load(const char *dir, struct identity *ret, struct sw_error *err)
{
	struct identity id = {.cert = read_in(dir, "cert.pem"),
			      .key = read_in(dir, "key.pem"),
			      .ca = read_in(dir, "ca.pem")};
	sw_autofree char *managers = read_in(dir, "managers");
	int rc;

	if (id.cert == NULL || id.key == NULL || id.ca == NULL) {
		identity_fini(&id);
		return sw_fail(err, SW_ENOTFOUND, "this node is not in a cluster");
	}
	rc = pki_check(id.cert, id.key, id.ca, err);
	if (rc == 0)
		rc = read_subject(&id, err);
	if (rc != 0) {
		identity_fini(&id);
		sw_wrap(err, "identity in %s", dir);
		return rc;
	}
	if (managers != NULL) {
		char **lines = sw_strv_split(managers, '\n');

		for (size_t i = 0; lines[i] != NULL; i++)
			if (lines[i][0] != 0)
				id.managers = sw_strv_add(id.managers, lines[i]);
		sw_strv_free(lines);
	}
	id.advertise = read_line_in(dir, "advertise");
	id.listen = read_line_in(dir, "listen");
	*ret = id;
	return 0;
}

static int write_in(const char *dir, const char *name, const char *text, mode_t mode, gid_t group,
		    struct sw_error *err)
{
	sw_autofree char *path = sw_asprintf("%s/%s", dir, name);
	int rc = sw_write_file(path, text, strlen(text), mode, err);

	if (rc == 0 && chown(path, 0, group) < 0 && geteuid() == 0)
		return sw_fail(err, SW_EIO, "%s can't be given to group %u", path, group);
	return rc;
}

/* The certificate goes last: a kill in between leaves the old pair, or a key without a certificate,
 * which reads as "not in a cluster". A renewal keeps its key until the new pair is whole. */
int identity_set(struct identity *id, const char *dir, gid_t group, char *takes_cert,
		 char *takes_key, char *takes_ca, struct sw_error *err)
{
	int rc = sw_mkdir_p(dir, 0750, err);

	free(id->cert);
	free(id->ca);
	if (id->key != NULL)
		pki_free_key(id->key);
	id->cert = takes_cert;
	id->key = takes_key;
	id->ca = takes_ca;
	if (rc == 0 && geteuid() == 0 && chown(dir, 0, group) < 0)
		return sw_fail(err, SW_EIO, "%s can't be given to group %u", dir, group);
	if (rc != 0 || (rc = write_in(dir, "ca.pem", id->ca, 0644, group, err)) != 0 ||
	    (rc = write_in(dir, "key.pem", id->key, 0640, group, err)) != 0 ||
	    (rc = write_in(dir, "cert.pem", id->cert, 0644, group, err)) != 0)
		return rc;
	return read_subject(id, err);
}

int identity_save_addresses(const struct identity *id, const char *dir, struct sw_error *err)
{
	sw_autofree char *text = sw_strdup("");
	int rc;

	for (size_t i = 0; id->managers != NULL && id->managers[i] != NULL; i++) {
		char *more = sw_asprintf("%s%s\n", text, id->managers[i]);

		free(text);
		text = more;
	}
	rc = write_in(dir, "managers", text, 0644, 0, err);
	if (rc == 0 && id->advertise != NULL)
		rc = write_in(dir, "advertise", id->advertise, 0644, 0, err);
	if (rc == 0 && id->listen != NULL)
		rc = write_in(dir, "listen", id->listen, 0644, 0, err);
	return rc;
}

void identity_set_managers(struct identity *id, char *const *managers, size_t n)
{
	sw_strv_free(id->managers);
	id->managers = NULL;
	for (size_t i = 0; i < n; i++)
		id->managers = sw_strv_add(id->managers, managers[i]);
}

int identity_remove(struct identity *id, const char *dir, struct sw_error *err)
{
	identity_fini(id);
	return sw_remove_tree(dir, err);
}

int64_t identity_renew_at(const struct identity *id, uint64_t rand)
{
	int64_t life = id->not_after_ms - id->not_before_ms;

	return id->not_before_ms + life / 2 + (int64_t)(rand % (uint64_t)(life * 3 / 10 + 1));
}
