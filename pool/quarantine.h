/* SPDX-License-Identifier: MIT */
/*
 * TIDEDEBUG=quarantine=N: an object that was put is handed out again only after
 * N more puts of its pool, so that a stale pointer finds it idle, and a second
 * put of it is caught. For testing: one lock a pool. Any thread may call.
 */
#ifndef TIDEP_POOL_QUARANTINE_H
#define TIDEP_POOL_QUARANTINE_H

#include <stdbool.h>
#include <stdint.h>

#include "pool/magazine.h"

struct tidep_quarantine;

/* For n objects at once; NULL: no memory. */
struct tidep_quarantine *tidep_pool_quarantine_create(uint32_t n);
void tidep_pool_quarantine_destroy(struct tidep_quarantine *quarantine); /* NULL: nothing */

/* Puts *entry in. true: it was full, and *entry is the oldest one, now out. */
bool tidep_pool_quarantine_swap(struct tidep_quarantine *quarantine, struct tidep_entry *entry);

/* Takes the oldest one out; false: it is empty. */
bool tidep_pool_quarantine_take(struct tidep_quarantine *quarantine, struct tidep_entry *entry);

/*
 * Puts the one that was just taken back as the oldest. There is always room for it, as
 * only one thread at a time takes and puts back: the registry lock's holder.
 */
void tidep_pool_quarantine_put_back(struct tidep_quarantine *quarantine,
				    const struct tidep_entry *entry);

void tidep_pool_quarantine_each(struct tidep_quarantine *quarantine,
				void (*fn)(const struct tidep_entry *entry, void *arg), void *arg);

#endif
