/* SPDX-License-Identifier: MIT */
/*
 * refs_in_flight.h - what the two processes of refs_in_flight.c share: the orders,
 * where the victim is, and what became of its object's memory.
 */
#ifndef REFS_IN_FLIGHT_H
#define REFS_IN_FLIGHT_H

#include <stdatomic.h>
#include <stdbool.h>

#include "stress.h"

#if !defined(__x86_64__) || SANITIZED
#define CAN_STOP 0
#else
#define CAN_STOP 1
#endif

enum op { PIN, PUT_REF, PUT, PUT_USED, EACH, OPS };

enum order { PREPARE = 'p', INTERFERE = 'i', FINISH = 'f', QUIT = 'q' };

/* What parent and child share. */
struct shared {
	_Atomic int tid;
	_Atomic int returned; /* the victim's call */
	_Atomic int recut;    /* the second pool is where the victim's object was */
	_Atomic int same_generation;
	enum op op;
	bool reissues;  /* the slot is handed out again instead, by the same pool */
	bool in_flight; /* the actor came while the victim was inside, or might be */
};

extern struct shared *shared;
extern int actor_orders[2], actor_answers[2], victim_orders[2], victim_answers[2];

/* The child's life: an actor that does as it is told, and its victim. */
_Noreturn void run_child(void);

#endif
