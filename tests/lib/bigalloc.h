/* tests/lib/bigalloc.h - aligned memory from 64 KiB on, fast under ASan: bigalloc.c. */
#pragma once

#include <stdint.h>

/* Pieces handed out now. */
uint32_t bigalloc_count(void);

/* ASan's; called by its runtime. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
