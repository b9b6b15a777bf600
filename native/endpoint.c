/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint.c -- setting up one side of a channel, starting and stopping its threads.
 *
 * Either side. See endpoint.h.
 */
#define _GNU_SOURCE
#include "endpoint.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

/*
 * The bounds, in microseconds. Measured on a 2-core guest at 2.6 GHz:
 *   take   an awake responder takes a call within 1 us, unless it was descheduled or is busy
 *   avoid  a tenth of a time slice: a responder that was descheduled is soon tried again
 *   spin   a futex sleep and wake across cores costs 55 us there: spinning as long at most
 *          doubles what the wait costs
 *   idle   four times that, so that a caller every 200 us keeps its responder
 *   steal  several times what the home responder takes to come round
 */
#define TAKE_US 10u
#define AVOID_US 50u
#define SPIN_US 50u
#define YIELD_US 3u
#define YIELD_CROWDED_US 1u
#define IDLE_US 200u
#define STEAL_US 4u
#define BURST_GAP_US 100u
#define BURST_CALLS 4u
/* A waiter looks every 20 ms whether its peer lives: five looks within the promised 100 ms. */
#define SLICE_NS 20000000u

/* Bridges keep copies in the arena; user code inside gets what a small thread needs. */
#define STACK_SIZE ((size_t)512 * 1024)

/*
 * The head start that a responder gets before its caller begins to look: no call is answered
 * sooner, and a sibling that looks takes the core's resources from the one that works. Between
 * siblings 260 cycles per call became 182 here. In PAUSEs, which take 40 to 140 cycles each.
 */
#define HEAD_START_CYCLES 130u

static uint32_t head_start(void)
{
    enum { TRIES = 64 };
    uint64_t start = hc_tsc_ordered();
    for (int i = 0; i < TRIES; i++)
        hc_pause();
    uint64_t each = (hc_tsc_ordered() - start) / TRIES;
    return each == 0 ? 2u : (uint32_t)((HEAD_START_CYCLES + each / 2u) / each);
}

static void set_bounds(struct endpoint *endpoint, const struct endpoint_options *options)
{
    struct hc_bounds *bounds = &endpoint->end.bounds;
    uint64_t us = endpoint->cycles_per_us;
    endpoint->processors = options->processors != 0 ? options->processors : endpoint_processors();
    bounds->take = (options->take_us != 0 ? options->take_us : TAKE_US) * us;
    bounds->avoid = AVOID_US * us;
    bounds->spin = (options->spin_us != 0 ? options->spin_us : SPIN_US) * us;
    bounds->idle = (options->idle_us != 0 ? options->idle_us : IDLE_US) * us;
    bounds->yield = YIELD_US * us;
    bounds->yield_crowded = YIELD_CROWDED_US * us;
    bounds->steal = STEAL_US * us;
    bounds->burst_gap = BURST_GAP_US * us;
    bounds->burst = BURST_CALLS;
    bounds->head_start = head_start();
    bounds->nap = (uint32_t)us;
    bounds->cycles_per_us = us;
    bounds->slice_ns = SLICE_NS;
    bounds->wait_kind = hc_wait_kind_of_cpu();
    bounds->spinning = endpoint->processors > 1;
}

/* What this side serves and calls, and the mode of each function that it calls. */
enum hc_status endpoint_set_interface(struct endpoint *endpoint,
                                      const struct hc_interface *interface, enum hc_mode mode)
{
    struct hc_end *end = &endpoint->end;
    bool host = end->side == HC_HOST;
    end->incoming = host ? interface->ocalls : interface->ecalls;
    end->outgoing = host ? interface->ecalls : interface->ocalls;
    end->incoming_count = host ? interface->ocall_count : interface->ecall_count;
    end->outgoing_count = host ? interface->ecall_count : interface->ocall_count;
    free(end->modes);
    end->modes = calloc(end->outgoing_count + 1u, 1);
    if (end->modes == NULL)
        return HC_ERR_MEMORY;
    for (uint32_t id = 0; id < end->outgoing_count; id++) {
        enum hc_mode chosen = mode == HC_MODE_DEFAULT ? HC_MODE_HOT : mode;
        if (mode == HC_MODE_EDL)
            chosen = (end->outgoing[id].flags & HC_FN_HOT) != 0 ? HC_MODE_HOT : HC_MODE_SWITCH;
        end->modes[id] = (uint8_t)chosen;
    }
    return HC_OK;
}

enum hc_status endpoint_init(struct endpoint *endpoint, uint8_t *u_base,
                             const struct hc_geometry *geometry,
                             const struct endpoint_options *options)
{
    struct hc_end *end = &endpoint->end;
    struct hc_header *u_header = (struct hc_header *)(void *)u_base;

    memset(endpoint, 0, sizeof *endpoint);
    if (options->responders > ENDPOINT_RESPONDERS_MAX)
        return HC_ERR_ARGUMENT;
    endpoint->references = 1;
    endpoint->cycles_per_us = endpoint_cycles_per_us();
    endpoint->responder_count = options->responders;
    endpoint->stack_size = options->stack_size != 0 ? options->stack_size : STACK_SIZE;
    end->u_base = u_base;
    end->geometry = *geometry;
    end->side = options->side;
    end->u_board = &u_header->board[options->side];
    end->u_peer_board = &u_header->board[hc_other(options->side)];
    end->os.context = options->context;
    end->os.sleep = endpoint_sleep;
    end->os.wake = endpoint_wake;
    end->os.yield = endpoint_yield;
    end->os.leave_core = endpoint_leave_core;
    end->os.peer_lost = options->peer_lost;
    end->os.interrupted = options->interrupted;
    endpoint->notify_fd = options->notify_fd;
    end->os.notify = options->notify_fd > 0 ? endpoint_notify : NULL;
    end->os.tell_core = endpoint_tell_core;
    set_bounds(endpoint, options);
    if (endpoint_set_interface(endpoint, options->interface, options->mode) != HC_OK)
        return HC_ERR_MEMORY;

    end->slots = calloc(geometry->slot_count, sizeof *end->slots);
    endpoint->companions = calloc(geometry->slot_count, sizeof *endpoint->companions);
    /*
     * Copies of arguments live here: the messages in flight on a lane fit its window, so one
     * window, and room for rounding each buffer up, is all that nested calls can need at once.
     */
    endpoint->arena_size = (size_t)geometry->window_size + 64u * 1024u;
    void *arenas = mmap(NULL, endpoint->arena_size * geometry->slot_count, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    endpoint->arenas = arenas == MAP_FAILED ? NULL : arenas;
    if (end->slots == NULL || endpoint->companions == NULL || endpoint->arenas == NULL) {
        endpoint_free(endpoint);
        return HC_ERR_MEMORY;
    }
    for (uint32_t i = 0; i < geometry->slot_count; i++) {
        struct hc_slot *slot = &end->slots[i];
        hc_slot_init(slot, end, i);
        struct hc_port *server = slot->mine ? &slot->reverse : &slot->port;
        server->arena.base = endpoint->arenas + endpoint->arena_size * i;
        server->arena.size = endpoint->arena_size;
    }
    return HC_OK;
}

int endpoint_thread(const struct endpoint *endpoint, pthread_t *thread, void *(*body)(void *),
                    void *argument)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    int error = pthread_attr_init(&attributes);
    if (error != 0)
        return error;
    (void)pthread_attr_setstacksize(&attributes, endpoint->stack_size);
    (void)sigfillset(&all);
    /* A fault of the thread itself must reach the handler that reports it. */
    (void)sigdelset(&all, SIGSEGV);
    (void)sigdelset(&all, SIGBUS);
    (void)sigdelset(&all, SIGILL);
    (void)sigdelset(&all, SIGFPE);
    (void)sigdelset(&all, SIGABRT);
    /* Signals of the program are for the program's threads. */
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(thread, &attributes, body, argument);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attributes);
    return error;
}

enum hc_status endpoint_start(struct endpoint *endpoint)
{
    int error = endpoint_thread(endpoint, &endpoint->steward, endpoint_steward_main, endpoint);
    endpoint->steward_running = error == 0;
    for (uint32_t i = 0; i < endpoint->responder_count && error == 0; i++) {
        struct endpoint_responder *responder = &endpoint->responders[i];
        responder->endpoint = endpoint;
        responder->index = i;
        error = endpoint_thread(endpoint, &responder->thread, endpoint_responder_main, responder);
        if (error == 0)
            endpoint->responders_running++;
    }
    if (error != 0) {
        endpoint_stop(endpoint);
        errno = error;
        return HC_ERR_OS;
    }
    hc_untrusted_store_u32(&endpoint->end.u_board->responders, endpoint->responders_running);
    return HC_OK;
}

/*
 * Ends a thread of ours that may sleep on `u_word`, a word that the peer may hold at any value:
 * rings by changing the word and waking, until the thread is gone. Not waited for by itself, when
 * a callback that it runs closes the enclave. False: still there after `rounds` of 10 ms.
 */
static bool ring_and_join(pthread_t thread, uint32_t *u_word, uint32_t rounds)
{
    struct timespec until;
    int error;
    do {
        if (rounds-- == 0)
            return false;
        (void)__atomic_add_fetch(u_word, 1u, __ATOMIC_RELEASE);
        endpoint_wake(NULL, u_word, UINT32_MAX >> 1);
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 10000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        error = pthread_timedjoin_np(thread, NULL, &until);
    } while (error == ETIMEDOUT || error == EINTR);
    return true;
}

static bool stop(struct endpoint *endpoint, uint32_t rounds)
{
    struct hc_end *end = &endpoint->end;
    /* SYNC: release pairs with the acquire loads in the thread bodies, stopping. */
    __atomic_store_n(&endpoint->stopping, 1u, __ATOMIC_RELEASE);
    for (; endpoint->responders_running != 0; endpoint->responders_running--)
        if (!ring_and_join(endpoint->responders[endpoint->responders_running - 1u].thread,
                           &end->u_board->doorbell, rounds))
            return false;
    if (endpoint->steward_running) {
        if (!ring_and_join(endpoint->steward, &end->u_board->attention, rounds))
            return false;
        endpoint->steward_running = false;
    }
    for (uint32_t i = 0; i < end->geometry.slot_count; i++) {
        struct hc_slot *slot = &end->slots[i];
        if (__atomic_load_n(&slot->companion, __ATOMIC_ACQUIRE) == 0)
            continue;
        struct hc_slot_control *u_control = hc_u_slot(end->u_base, &end->geometry, i);
        uint32_t *u_bell = slot->mine ? &u_control->peer_bell : &u_control->owner_bell;
        if (!ring_and_join(endpoint->companions[i].thread, u_bell, rounds))
            return false;
        slot->companion = 0;
    }
    return true;
}

void endpoint_stop(struct endpoint *endpoint)
{
    while (!stop(endpoint, UINT32_MAX))
        ;
}

bool endpoint_try_stop(struct endpoint *endpoint)
{
    return stop(endpoint, 1);
}

void endpoint_free(struct endpoint *endpoint)
{
    struct hc_end *end = &endpoint->end;
    if (endpoint->arenas != NULL)
        (void)munmap(endpoint->arenas, endpoint->arena_size * end->geometry.slot_count);
    free(end->slots);
    free(end->modes);
    free(endpoint->companions);
    endpoint->arenas = NULL;
    end->slots = NULL;
    end->modes = NULL;
    endpoint->companions = NULL;
}
