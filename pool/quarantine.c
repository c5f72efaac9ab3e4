/* SPDX-License-Identifier: MIT */
/*
 * A ring of entries behind a lock.
 */
#include "config.h"

#include "pool/quarantine.h"

#include <pthread.h>

#include "numa/record.h"

struct tidep_quarantine {
	pthread_mutex_t lock;
	/* The lock's: */
	uint32_t n;
	uint32_t oldest;
	uint32_t capacity; /* fixed */
	struct tidep_entry at[];
};

struct tidep_quarantine *
tidep_pool_quarantine_create(uint32_t n)
{
	struct tidep_quarantine *quarantine =
		tidep_numa_record_alloc(sizeof(*quarantine) + n * sizeof(quarantine->at[0]));

	if (quarantine != NULL) {
		pthread_mutex_init(&quarantine->lock, NULL);
		quarantine->capacity = n;
	}
	return quarantine;
}

void
tidep_pool_quarantine_destroy(struct tidep_quarantine *quarantine)
{
	if (quarantine == NULL)
		return;
	pthread_mutex_destroy(&quarantine->lock);
	tidep_numa_record_free(quarantine);
}

static struct tidep_entry
take_oldest_locked(struct tidep_quarantine *quarantine)
{
	struct tidep_entry entry = quarantine->at[quarantine->oldest];

	quarantine->oldest = (quarantine->oldest + 1) % quarantine->capacity;
	quarantine->n--;
	return entry;
}

bool
tidep_pool_quarantine_swap(struct tidep_quarantine *quarantine, struct tidep_entry *entry)
{
	struct tidep_entry in = *entry;
	bool is_full;

	pthread_mutex_lock(&quarantine->lock);
	is_full = quarantine->n == quarantine->capacity;
	if (is_full)
		*entry = take_oldest_locked(quarantine);
	quarantine->at[(quarantine->oldest + quarantine->n) % quarantine->capacity] = in;
	quarantine->n++;
	pthread_mutex_unlock(&quarantine->lock);
	return is_full;
}

bool
tidep_pool_quarantine_take(struct tidep_quarantine *quarantine, struct tidep_entry *entry)
{
	bool found;

	pthread_mutex_lock(&quarantine->lock);
	found = quarantine->n > 0;
	if (found)
		*entry = take_oldest_locked(quarantine);
	pthread_mutex_unlock(&quarantine->lock);
	return found;
}

void
tidep_pool_quarantine_each(struct tidep_quarantine *quarantine,
			   void (*fn)(const struct tidep_entry *entry, void *arg), void *arg)
{
	pthread_mutex_lock(&quarantine->lock);
	for (uint32_t i = 0; i < quarantine->n; i++)
		fn(&quarantine->at[(quarantine->oldest + i) % quarantine->capacity], arg);
	pthread_mutex_unlock(&quarantine->lock);
}
