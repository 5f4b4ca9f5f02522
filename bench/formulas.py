"""What a log-structured store must write, by arithmetic; the measured figures are held against it.

U is the fraction of the device that holds live data, u the live fraction of the segments that are
cleaned. A segment that was full when it was sealed and is cleaned when the log has come round once has
lost blocks at random since, which gives U = (u - 1) / ln u (first in, first out; greedy is no better under
uniform overwrites). Cleaning it frees 1 - u of it and copies u: a write costs 1 / (1 - u) in all.

Writes that fall on classes of data with different rates, each in segments of its own: class i takes the
share p_i of the writes, holds the share f_i of the live data and is given the share s_i of the device.
Inside a class writes are uniform, so U_i = f_i U / s_i and the above gives u_i; a write costs
sum p_i / (1 - u_i). The s_i (sum 1, each above f_i U) are free: the best choice is the formula.
"""
import math

BLOCK = 4096


def victim_share(used):
    """u of U: the root of U = (u - 1) / ln u, by bisection; it rises with U."""
    low, high = 1e-12, 1 - 1e-12
    for _ in range(200):
        mid = (low + high) / 2
        if (mid - 1) / math.log(mid) < used:
            low = mid
        else:
            high = mid
    return (low + high) / 2


def cleaning(used):
    """Uniform overwrites."""
    return 1 / (1 - victim_share(used)) if used < 1 else math.inf


def cleaning_hot_cold(used, writes, data):
    """`writes` of the writes go to `data` of the data; the space is split as well as can be."""
    hot, cold = data * used, (1 - data) * used

    def cost(space):
        return writes * cleaning(hot / space) + (1 - writes) * cleaning(cold / (1 - space))

    low, high = hot + 1e-9, 1 - cold - 1e-9
    ratio = (math.sqrt(5) - 1) / 2  # golden section: cost has one valley
    for _ in range(100):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        if cost(a) < cost(b):
            high = b
        else:
            low = a
    return cost((low + high) / 2)


def used_for(cost, clean=cleaning):
    """The U at which `clean` costs so much: what a measured cost says of the space that was really usable."""
    low, high = 1e-6, 1 - 1e-6
    for _ in range(60):
        mid = (low + high) / 2
        if clean(mid) < cost:
            low = mid
        else:
            high = mid
    return (low + high) / 2


def log(n):
    """n single-block writes in one batch: its header of 64 B and 56 B a record, in whole blocks."""
    return 1 + math.ceil((64 + 56 * n) / BLOCK) / n


def map_pages(chunks, interval_bytes):
    """Pages of `chunks` chunks made dirty by `interval_bytes` of log, written once per interval."""
    return chunks * (1 - math.exp(-interval_bytes / (BLOCK * chunks))) * BLOCK / interval_bytes
