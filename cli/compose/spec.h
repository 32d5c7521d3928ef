/** One-line notations of objects, shared by stack files (short forms) and by flags of swarmctl. */
#pragma once

#include "base/error.h"
#include "proto/types.pb-c.h"

/** "[[ip:]published:]target[/protocol]" with ranges; appends to a repeated field. */
int spec_ports(const char *s, Pb__PortConfig ***v, size_t *n, struct sw_error *err) SW_MUST_CHECK;
/** --publish: as above, or target=80,published=8080,protocol=tcp,mode=host. */
int spec_publish(const char *s, Pb__PortConfig ***v, size_t *n, struct sw_error *err) SW_MUST_CHECK;

/** "[source:]target[:options]". Sources that begin with '.', '/' or '~' are binds, left relative.
 */
int spec_volume(const char *s, Pb__Mount **ret, struct sw_error *err) SW_MUST_CHECK;
/** --mount: type=volume,source=…,target=… */
int spec_mount(const char *s, Pb__Mount **ret, struct sw_error *err) SW_MUST_CHECK;
/** What is wrong with a mount, or NULL: options of another type, a missing source or target. */
const char *spec_mount_fault(const Pb__Mount *m);

/** --secret and --config: "name" or source=…,target=…,uid=…,gid=…,mode=0444. */
int spec_file_ref(const char *s, Pb__FileRef **ret, struct sw_error *err) SW_MUST_CHECK;
/** --network: "name" or name=…,alias=…,driver-opt=k=v,ip=…,ip6=… */
int spec_network(const char *s, Pb__NetworkUse **ret, struct sw_error *err) SW_MUST_CHECK;
/** --ulimit: name=soft[:hard]; -1 = unlimited. */
int spec_ulimit(const char *s, Pb__Ulimit **ret, struct sw_error *err) SW_MUST_CHECK;
/** --device: "source[:target[:permissions]]". */
int spec_device(const char *s, Pb__Device **ret, struct sw_error *err) SW_MUST_CHECK;

/**
 * A reference to an image as Docker prints it, "docker.io/library/" left out and ":latest" put in
 * where neither tag nor digest is. The caller frees *ret.
 */
int spec_image(const char *s, char **ret, struct sw_error *err) SW_MUST_CHECK;

bool spec_protocol(const char *s, Pb__Protocol *ret);
bool spec_publish_mode(const char *s, Pb__PublishMode *ret);
/** Whether a log driver, or an option of it, has an effect here. */
bool spec_log_driver(const char *s);
bool spec_log_option(const char *s);
