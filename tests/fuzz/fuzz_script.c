/* fuzz_script.c - a job script with its #SBATCH and #SLUIS lines */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/ensure.h"
#include "proto/config/directives.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void script(const char *text, size_t len)
{
	struct config_errors errs = CONFIG_ERRORS_INIT;
	struct directives d;
	struct job_options o;

	job_options_init(&o, 0);
	if (directives_read("fuzz", text, len, &d, &errs) == 0) {
		int refused = directives_resolve(&o, &d, NULL, true, NULL, 0, &errs);

		(void)refused; /* errs tell why */
		directives_done(&d);
	}
	job_options_done(&o);
	config_errors_done(&errs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len <= 65536)
		script((const char *)data, len);
	return 0;
}
