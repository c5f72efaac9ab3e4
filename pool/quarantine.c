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
	uint32_t capacity; /* fixed; there is room for one more, to be put back */
	struct tidep_entry at[];
};

struct tidep_quarantine *
tidep_pool_quarantine_create(uint32_t n)
{
	struct tidep_quarantine *quarantine = tidep_numa_record_alloc(
		sizeof(*quarantine) + (n + (size_t)1) * sizeof(quarantine->at[0]));

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

/* Where the nth one from the oldest is. */
static struct tidep_entry *
at(struct tidep_quarantine *quarantine, uint32_t n)
{
	return &quarantine->at[(quarantine->oldest + n) % (quarantine->capacity + 1)];
}

static struct tidep_entry
take_oldest_locked(struct tidep_quarantine *quarantine)
{
	struct tidep_entry entry = *at(quarantine, 0);

	quarantine->oldest = (quarantine->oldest + 1) % (quarantine->capacity + 1);
	quarantine->n--;
	return entry;
}

bool
tidep_pool_quarantine_swap(struct tidep_quarantine *quarantine, struct tidep_entry *entry)
{
	struct tidep_entry in = *entry;
	bool is_full;

	pthread_mutex_lock(&quarantine->lock);
	is_full = quarantine->n >= quarantine->capacity;
	if (is_full)
		*entry = take_oldest_locked(quarantine);
	*at(quarantine, quarantine->n) = in;
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
tidep_pool_quarantine_put_back(struct tidep_quarantine *quarantine, const struct tidep_entry *entry)
{
	pthread_mutex_lock(&quarantine->lock);
	quarantine->oldest =
		(quarantine->oldest + quarantine->capacity) % (quarantine->capacity + 1);
	quarantine->n++;
	*at(quarantine, 0) = *entry;
	pthread_mutex_unlock(&quarantine->lock);
}

void
tidep_pool_quarantine_each(struct tidep_quarantine *quarantine,
			   void (*fn)(const struct tidep_entry *entry, void *arg), void *arg)
{
	pthread_mutex_lock(&quarantine->lock);
	for (uint32_t i = 0; i < quarantine->n; i++)
		fn(at(quarantine, i), arg);
	pthread_mutex_unlock(&quarantine->lock);
}
