/* base/list.h - an intrusive, circular, doubly linked list.
 *
 * The head is a struct cw_list of its own; a node is embedded in what it links and found again with
 * cw_container_of. A node that is in no list points at itself. Not thread safe.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/bits.h"

struct cw_list {
    struct cw_list *next, *prev;
};

static inline void
cw_list_init(struct cw_list *l)
{
    l->next = l->prev = l;
}

static inline bool
cw_list_empty(const struct cw_list *l)
{
    return l->next == l;
}

static inline void
cw_list_insert_before(struct cw_list *at, struct cw_list *node)
{
    node->prev = at->prev;
    node->next = at;
    at->prev->next = node;
    at->prev = node;
}

static inline void
cw_list_push_back(struct cw_list *head, struct cw_list *node)
{
    cw_list_insert_before(head, node);
}

static inline void
cw_list_push_front(struct cw_list *head, struct cw_list *node)
{
    cw_list_insert_before(head->next, node);
}

/* Leaves node in no list; a second call does nothing. */
static inline void
cw_list_remove(struct cw_list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    cw_list_init(node);
}

static inline struct cw_list *
cw_list_pop_front(struct cw_list *head)
{
    struct cw_list *node = head->next;

    if (node == head)
        return NULL;
    cw_list_remove(node);
    return node;
}

/* Moves all of from to the end of to. */
static inline void
cw_list_splice_back(struct cw_list *to, struct cw_list *from)
{
    if (cw_list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    cw_list_init(from);
}

#define cw_list_entry(node, type, member) cw_container_of(node, type, member)
#define cw_list_first(head, type, member) \
    (cw_list_empty(head) ? NULL : cw_list_entry((head)->next, type, member))

/* it is a struct cw_list *; the body must not remove it from the list. */
#define CW_LIST_EACH(it, head) for (struct cw_list *it = (head)->next; it != (head); it = it->next)

/* The same, but the body may remove it (and nothing else). */
#define CW_LIST_EACH_SAFE(it, head) \
    for (struct cw_list *it = (head)->next, *it##_next = it->next; it != (head); \
         it = it##_next, it##_next = it->next)
