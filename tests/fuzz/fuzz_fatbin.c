/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a fat binary: the container's lengths and both decompressors' input. */
#include <stdint.h>
#include <stdlib.h>

#include "cuda/softgpu/fatbin.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct error error;
	char *text = NULL;
	size_t text_bytes;

	if (fatbin_text(data, bytes, 75, &text, &text_bytes, &error) == 0 && text[text_bytes])
		abort();
	free(text);
	return 0;
}
