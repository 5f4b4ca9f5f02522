/* reactor/inbox.h - a bounded queue into one thread, from many, with an eventfd to wake it.
 *
 * Every thread that others talk to has one: a reactor its own (cw_reactor_post), the control loop
 * one whose eventfd it watches. Posting never blocks and never allocates: a full inbox is
 * back-pressure. Items of one poster arrive in order.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct cw_inbox;

/* Embedded in the message; the poster must not touch it until fn ran. */
struct cw_inbox_item {
    void (*fn)(struct cw_inbox_item *); /* on the receiving thread */
};

/* n_items is a power of two, at least 2. NULL: out of memory or file descriptors. */
struct cw_inbox *cw_inbox_new(uint32_t n_items);

/* Items still inside are forgotten without a call. NULL is fine. */
void cw_inbox_free(struct cw_inbox *b);

/* Any thread. False: full, nothing happened. */
bool cw_inbox_post(struct cw_inbox *b, struct cw_inbox_item *item);

/* Readable (level-triggered) when there may be items; the receiver watches it. */
int cw_inbox_fd(const struct cw_inbox *b);

/* Receiver: takes the wake-up, then runs what is there, at most n_max items (0: the inbox's size,
 * so that posters cannot hold the receiver for ever). Returns how many ran; the descriptor is
 * readable again if some are left. */
uint32_t cw_inbox_run(struct cw_inbox *b, uint32_t n_max);

/* For a receiver that looks into its inbox on every turn: between awake and sleep posters need not
 * make a system call. sleep comes before blocking; false means that there are items and the
 * receiver must not block (it is awake still). run_awake runs what is there; hush empties the
 * descriptor once it was readable. Only the reactor uses these. */
void cw_inbox_awake(struct cw_inbox *b);
bool cw_inbox_sleep(struct cw_inbox *b);
uint32_t cw_inbox_run_awake(struct cw_inbox *b);
void cw_inbox_hush(struct cw_inbox *b);
