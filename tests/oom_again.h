/* SPDX-License-Identifier: MIT */
/*
 * oom_again.h - put in front of a suite (-include) so that its calls which may want
 * memory are made again, once, where the refusal came in the midst of the call and
 * was what it said (ENOMEM): only one is refused, so the second call must do, and
 * the suite goes on as it was written. See oom_check.c.
 */
#ifndef TESTS_OOM_AGAIN_H
#define TESTS_OOM_AGAIN_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 /* as common.h, which comes after */
#endif
#include <tide.h>

int again_init(void);
tide_pool *again_pool_create(const struct tide_pool_config *config);
void *again_get(tide_pool *pool);
void *again_get_on(tide_pool *pool, unsigned node);
void *again_get_ref(tide_pool *pool, tide_ref *ref);
int again_get_bulk(tide_pool *pool, void **objs, size_t n);
int again_pool_reserve(tide_pool *pool, size_t n);
int again_stats_format(char *dst, size_t dst_bytes, uint32_t format);
int again_stats_print(int fd, uint32_t format);
int again_check(void);

#ifndef OOM_AGAIN_IS_DEFINED_HERE
#define tide_init         again_init
#define tide_pool_create  again_pool_create
#define tide_get          again_get
#define tide_get_on       again_get_on
#define tide_get_ref      again_get_ref
#define tide_get_bulk     again_get_bulk
#define tide_pool_reserve again_pool_reserve
#define tide_stats_format again_stats_format
#define tide_stats_print  again_stats_print
#define tide_check        again_check
#endif

#endif
