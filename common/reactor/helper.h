/* reactor/helper.h - inside the room: a thread of its own for one call that blocks.
 *
 * The reactor does not end before each of them has posted and was told to be done.
 */
#pragma once

#include "common/reactor/inbox.h"
#include "common/reactor/reactor.h"

/* fn(arg) in a new thread, which ends with cw_helper_post. 0 or a negative errno: there is none. */
int cw_helper_start(struct cw_reactor *r, void *(*fn)(void *), void *arg);

/* From the thread, once, at its end: the item comes out in the reactor. */
void cw_helper_post(struct cw_reactor *r, struct cw_inbox_item *item);

/* In the reactor, when the item has come. */
void cw_helper_done(struct cw_reactor *r);
