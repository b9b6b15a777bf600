/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host_shared.c -- hands out the channel's shared memory, for user_check parameters.
 *
 * Untrusted side. First fit over a list that lives in private memory, so nothing that the enclave
 * writes into the shared memory can lead the allocator astray.
 */
#include "host_internal.h"

#include <stdlib.h>

#define ALIGNMENT 64u

struct piece {
    struct piece *next;
    size_t start;
    size_t size;
    bool used;
};

struct host_shared {
    pthread_mutex_t lock;
    uint8_t *base;
    struct piece *first;
};

struct host_shared *host_shared_new(uint8_t *base, size_t size)
{
    struct host_shared *shared = calloc(1, sizeof *shared);
    if (shared == NULL)
        return NULL;
    shared->first = calloc(1, sizeof *shared->first);
    if (shared->first == NULL) {
        free(shared);
        return NULL;
    }
    (void)pthread_mutex_init(&shared->lock, NULL);
    shared->base = base;
    shared->first->size = size;
    return shared;
}

void host_shared_delete(struct host_shared *shared)
{
    if (shared == NULL)
        return;
    for (struct piece *piece = shared->first; piece != NULL;) {
        struct piece *next = piece->next;
        free(piece);
        piece = next;
    }
    (void)pthread_mutex_destroy(&shared->lock);
    free(shared);
}

void *host_shared_alloc(struct host_shared *shared, size_t size)
{
    void *found = NULL;
    if (size == 0 || size > SIZE_MAX - ALIGNMENT)
        return NULL;
    size = (size + ALIGNMENT - 1u) & ~(size_t)(ALIGNMENT - 1u);
    (void)pthread_mutex_lock(&shared->lock);
    for (struct piece *piece = shared->first; piece != NULL; piece = piece->next) {
        if (piece->used || piece->size < size)
            continue;
        if (piece->size > size) {
            struct piece *rest = calloc(1, sizeof *rest);
            if (rest == NULL)
                break;
            rest->next = piece->next;
            rest->start = piece->start + size;
            rest->size = piece->size - size;
            piece->next = rest;
            piece->size = size;
        }
        piece->used = true;
        found = shared->base + piece->start;
        break;
    }
    (void)pthread_mutex_unlock(&shared->lock);
    return found;
}

void host_shared_free(struct host_shared *shared, void *pointer)
{
    struct piece *before = NULL;
    if (pointer == NULL)
        return;
    (void)pthread_mutex_lock(&shared->lock);
    for (struct piece *piece = shared->first; piece != NULL; before = piece, piece = piece->next) {
        if (!piece->used || shared->base + piece->start != (uint8_t *)pointer)
            continue;
        struct piece *next = piece->next;
        piece->used = false;
        if (next != NULL && !next->used) {
            piece->size += next->size;
            piece->next = next->next;
            free(next);
        }
        if (before != NULL && !before->used) {
            before->size += piece->size;
            before->next = piece->next;
            free(piece);
        }
        break;
    }
    (void)pthread_mutex_unlock(&shared->lock);
}
