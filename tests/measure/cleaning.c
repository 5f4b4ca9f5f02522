/* measure/cleaning - what overwriting a nearly full store costs, in virtual time.
 *
 *   cleaning [GIB [PASSES]]     for U of 0.6, 0.7, 0.8, uniform and 80/20: fill, two passes of
 *                               overwrites unmeasured, PASSES measured; beside the formulas
 *   cleaning GIB PASSES PERCENT HOT   one of them; HOT percent of the data take the other
 *                               percent of the writes, 0: uniform
 *
 * The disk moves 1 GB/s. No file is written: only words and counters of blocks are kept.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/overwrite.h"

static void
line(uint32_t live_percent, uint32_t skew, double gib, double passes)
{
    struct overwrite *o = calloc(1, sizeof(*o));
    struct overwrite_report r;

    overwrite_init(o, (struct overwrite_opts){
                          .seed = 1,
                          .bytes = (uint64_t)(gib * 1024) * CW_MIB,
                          .live_percent = live_percent,
                          .hot_percent = skew,
                          .hot_writes_percent = 100 - skew,
                          .depth = 32,
                          .bytes_per_s = 1000000000,
                      });
    overwrite_fill(o);
    overwrite_begin(o);
    overwrite_run(o, 2 * (uint64_t)o->n);
    overwrite_begin(o);
    overwrite_run(o, (uint64_t)(passes * o->n));
    r = overwrite_report(o);
    printf(
        "%-7s %.2f %.3f %5.1f  %5.3f %5.2f %5.2f %6.2f   %5.2f %5.2f %6.2f %+5.0f%%  %8.0f %5.2f "
        "%4.2f..%4.2f %6.1f %5.0f  %.3f %.3f\n",
        skew == 0 ? "uniform" : "skewed", r.u_all, r.u_data, r.per_batch, r.wa_log, r.wa_clean,
        r.wa_map, r.wa, r.wa_log * r.f_clean - r.wa_log, r.f_map, r.f, (r.wa / r.f - 1) * 100,
        r.blocks_per_s, r.window_spread, r.window_min, r.window_max, r.gap_ms, r.checkpoints,
        r.data_share, r.meta_share);
    fflush(stdout);
    overwrite_verify(o, 101);
    overwrite_fini(o);
    free(o);
}

int
main(int argc, char **argv)
{
    double gib = argc > 1 ? atof(argv[1]) : 4, passes = argc > 2 ? atof(argv[2]) : 2;

    printf("                          measured                   formula\n"
           "load     all  data     n    log clean   map     WA   clean   map     WA         "
           "blocks/s  windows of 20 ms  gap ms  ckpts  data  meta\n");
    if (argc > 4) {
        line((uint32_t)atoi(argv[3]), (uint32_t)atoi(argv[4]), gib, passes);
        return 0;
    }
    for (uint32_t u = 60; u <= 80; u += 10) {
        line(u, 0, gib, passes);
        line(u, 20, gib, passes);
    }
    return 0;
}
