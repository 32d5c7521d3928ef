/** Flags of `service create` and `service update` that do not go together, or with the service. */
#pragma once

#include "cli/command.h"

int service_flags_check(const struct cli *cli, const Pb__ServiceSpec *spec,
			struct sw_error *err) SW_MUST_CHECK;
