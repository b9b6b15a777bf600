/* SPDX-License-Identifier: Apache-2.0 */
/*
 * port.h -- the private state of one side, and the ports through which its threads call.
 *
 * Freestanding. Nothing here is in shared memory; u_ pointers lead there. What needs an operating
 * system (sleeping, waking, knowing whether the peer lives) is behind struct hc_os, so that the
 * same code runs in a process enclave, in an SGX enclave, and under a model checker.
 *
 * A port is where calls leave (`out`) and where the calls that come back are served (`in`):
 *
 *     port        who uses it                                    out       in
 *     OWNER       the thread that owns the slot                  FORWARD   REVERSE
 *     REVERSE     whoever runs a call of the REVERSE lane        NESTED    REVERSE
 *     EXECUTOR    whoever runs a call of the FORWARD lane        REVERSE   NESTED
 *
 * REVERSE and EXECUTOR belong to whoever holds the claim of the REVERSE and the FORWARD lane, so
 * none of them is ever used by two threads at once.
 */
#ifndef HOTCALLS_PORT_H
#define HOTCALLS_PORT_H

#include "interface.h"
#include "lane.h"

#ifdef __cplusplus
extern "C" {
#endif

struct hc_end;
struct hc_slot;
struct hc_port;

/* How a call is made. DEFAULT: as the enclave, then the function, was set up. */
enum hc_mode {
    HC_MODE_DEFAULT,
    HC_MODE_HOT,
    HC_MODE_SWITCH,
    HC_MODE_EDL, /* for a whole enclave: hot where the EDL says transition_using_threads */
};

/* What a responder is doing for a caller that waits. */
enum hc_presence {
    HC_PRESENT,
    HC_AWAITS,   /* waits for an event, too: others may have the core meanwhile */
    HC_DESERTED, /* has lost its core: the companion takes over what it can */
};

/* What the operating system does for a side. Every function may be called by any thread. */
struct hc_os {
    void *context;
    /* Sleeps while *u_word == expected, at most `ns`; may return early for any reason. */
    void (*sleep)(void *context, const uint32_t *u_word, uint32_t expected, uint64_t ns);
    void (*wake)(void *context, uint32_t *u_word, uint32_t count);
    void (*yield)(void *context);
    /* Tells the other side that a call with HC_CELL_NOTIFY is done. NULL: a futex wake instead. */
    void (*notify)(struct hc_end *end);
    /* Has the process on the other side ended? A system call; asked once per slice at most. */
    bool (*peer_lost)(void *context);
    /* Should a wait be given up (a pending KeyboardInterrupt)? Asked after a sleep. May be NULL. */
    bool (*interrupted)(void *context);
    /* A switch call is about to be made: write down on which core (u_cpu). May be NULL. */
    void (*tell_core)(void *context, struct hc_port *port);
    /* The calling companion wants to spin: go to another core than its caller's, if there is one
     * (true). May be NULL. */
    bool (*leave_core)(void *context);
    /* A caller waits for its call to be taken, or to be answered: where is the responder? Asked
     * while the caller spins. May be NULL. */
    enum hc_presence (*presence)(void *context, bool taken);
};

/* All in cycles of the counter of arch.h unless the name says otherwise. */
struct hc_bounds {
    uint64_t take;          /* a hot call that nobody took: withdraw and switch */
    uint64_t avoid;         /* …and make no hot call for so long */
    uint64_t spin;          /* waiting for an answer: then sleep */
    uint64_t yield;         /* waiting: from here on let others have the core now and then */
    uint64_t yield_crowded; /* the same while there are more threads that spin than processors */
    uint64_t idle;          /* a responder without work: then sleep */
    uint64_t steal;         /* a call that its responder did not take: others may */
    uint64_t burst_gap;     /* calls that find the responders asleep and follow within this… */
    uint32_t burst;         /* …this many times wake one */
    uint32_t head_start;    /* PAUSEs before a caller looks for its answer the first time */
    uint32_t nap;           /* cycles of one UMWAIT / MWAITX */
    uint64_t cycles_per_us;
    uint64_t slice_ns; /* a sleeping waiter looks whether the peer lives */
    enum hc_wait_kind wait_kind;
    bool spinning; /* false on one processor: every call is a switch call */
    bool crowded;  /* more spinning threads than processors: yield early */
};

/* Which port the thread calls through now; one per thread of the process. */
struct hc_thread {
    struct hc_port *current;
};

/* Private memory for the copies of arguments; used as a stack, so nested calls nest. */
struct hc_arena {
    uint8_t *base;
    size_t size;
    size_t used;
};

/* A call of the other side that is being run. */
struct hc_running {
    struct hc_cell *u_cell; /* NULL: none */
    uint64_t n;
    bool detached; /* nobody waits for it while it runs */
    bool switched; /* its caller handed us the core that it was on */
};

struct hc_port {
    struct hc_end *end;
    struct hc_slot *slot;
    struct hc_lane_out *out;
    struct hc_lane_in *in;
    struct hc_port *serving;  /* the port that calls served here run on */
    struct hc_thread *thread; /* of whoever uses the port now */
    bool claims_in;           /* OWNER: `in` has to be claimed first */
    bool is_nested;           /* REVERSE and EXECUTOR: part of somebody's wait */
    /*
     * Set and cleared by the thread (hc_port_enter), read by a signal handler on top of it, which
     * then calls through another slot. Atomic, relaxed: responders of this side look too, and
     * leave the calls back to the thread that waits for them.
     */
    bool busy;
    bool stuck;       /* a call was given up; quarantined until the peer is done */
    uint32_t *u_bell; /* rings the companion that serves `out` */
    uint32_t *u_cpu;
    uint32_t depth;
    struct hc_running running;
    bool served_switched;  /* the last call served here had handed over its core */
    const uint64_t *allow; /* ecalls that the ocall in progress allows; NULL: none */
    uint64_t batch_from;   /* in a batch: the first n that is not posted yet; else 0 */
    uint32_t mode;         /* enum hc_mode: HC_MODE_DEFAULT, or for every call through it */
    uint64_t timeout;      /* cycles; 0: none */
    uint64_t calls;
    uint32_t polls;
    uint64_t avoid_until; /* no hot calls before: nobody took the last one; 0: no such time */
    uint64_t burst_tsc;   /* when the companion was last called, or had answered */
    uint32_t burst_count;
    struct hc_arena arena;
    struct hc_counters counters;
    struct hc_counters *u_counters;
};

struct hc_slot {
    struct hc_end *end;
    uint32_t index;
    bool mine;          /* its owner is a thread of this side */
    uint32_t in_use;    /* atomic; owner's side: a thread has it */
    uint32_t companion; /* atomic; other side: its companion was started */
    /* Atomic: OWNER and REVERSE may ring at the same time, from two threads. */
    uint32_t bell; /* private value of what its ports ring */
    bool companion_asked;
    struct hc_lane_out out[HC_LANES];
    struct hc_lane_in in[HC_LANES];
    struct hc_port port;       /* OWNER on the owner's side, EXECUTOR on the other */
    struct hc_port reverse;    /* REVERSE, on the owner's side */
    struct hc_thread executor; /* for ports whose user is found by the claim */
};

/*
 * A port is busy while its books are written or its lane waited for: a signal handler that comes
 * in between finds that and calls through another slot. The fences keep the compiler from moving
 * what the flag covers to where it does not.
 */
HC_ALWAYS_INLINE bool hc_port_enter(struct hc_port *port)
{
    bool before = port->busy;
    __atomic_store_n(&port->busy, true, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    return before;
}

HC_ALWAYS_INLINE void hc_port_leave(struct hc_port *port, bool before)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(&port->busy, before, __ATOMIC_RELAXED);
}

/*
 * Is what came back over the slot's REVERSE lane for a thread that waits for it, however late that
 * gets a core? Only there goes on what a function raises that it runs, and is known which functions
 * that may call.
 *
 * Relaxed: an honest peer calls back from inside a call, which was posted after its thread had
 * become busy; hc_peek acquires that.
 */
HC_NODISCARD HC_ALWAYS_INLINE bool hc_is_waited_for(const struct hc_slot *slot)
{
    return hc_peek(&slot->in[HC_LANE_REVERSE], true) &&
           __atomic_load_n(&slot->port.busy, __ATOMIC_RELAXED);
}

/* One side of a channel. */
struct hc_end {
    uint8_t *u_base;
    struct hc_geometry geometry;
    enum hc_side side;
    const struct hc_function *incoming;
    const struct hc_function *outgoing;
    uint8_t *modes; /* enum hc_mode of each outgoing function */
    uint32_t incoming_count;
    uint32_t outgoing_count;
    struct hc_side_board *u_board;      /* ours */
    struct hc_side_board *u_peer_board; /* theirs, and the bells that we ring */
    struct hc_slot *slots;              /* slot_count of them */
    struct hc_os os;
    struct hc_bounds bounds;
    uint32_t broken; /* atomic: enum hc_status once calls cannot be made */
    const char *broken_what;
    uint32_t doorbell; /* private values of what we ring; atomic */
    uint32_t attention;
};

/*
 * Ends the use of the channel. The first reason stays. Calls in progress see it when they wake,
 * at most one slice later.
 * SYNC: release pairs with hc_broken, broken; publishes broken_what.
 */
static inline void hc_break(struct hc_end *end, enum hc_status status, const char *what)
{
    uint32_t fine = 0;
    const char *nothing = NULL;
    /* Relaxed: published by the swap below; only the first of two reasons is ever published. */
    (void)__atomic_compare_exchange_n(&end->broken_what, &nothing, what, false, __ATOMIC_RELAXED,
                                      __ATOMIC_RELAXED);
    (void)__atomic_compare_exchange_n(&end->broken, &fine, (uint32_t)status, false,
                                      __ATOMIC_RELEASE, __ATOMIC_RELAXED);
    /*
     * A caller on the other side must not wait for somebody who has given up. Release for form:
     * nothing but the state itself is read (hc_wait_slow).
     */
    if (status == HC_ERR_POISONED)
        hc_untrusted_publish_u32(&end->u_board->state, (uint32_t)HC_STATE_POISONED);
}

/* SYNC: acquire pairs with hc_break, broken. */
HC_ALWAYS_INLINE enum hc_status hc_broken(const struct hc_end *end)
{
    return (enum hc_status)__atomic_load_n(&end->broken, __ATOMIC_ACQUIRE);
}

/* ---- ringing -------------------------------------------------------------------------------- */

/*
 * Wakes the companion that serves this port's `out` lane, and asks for one the first time.
 * SYNC: release pairs with the companion's acquire load before it looks at the lane, bell;
 * publishes the post. A companion that read the old value finds the futex changed.
 */
static inline void hc_ring_companion(struct hc_port *port, bool again)
{
    struct hc_end *end = port->end;
    struct hc_slot *slot = port->slot;
    /* Relaxed: only that every ring differs from the one before it matters. */
    uint32_t rings = __atomic_add_fetch(&slot->bell, 1u, __ATOMIC_RELAXED);
    hc_untrusted_publish_u32(port->u_bell, rings);
    end->os.wake(end->os.context, port->u_bell, 1);
    /* Relaxed: asked twice does no harm. */
    if (HC_UNLIKELY(again || !__atomic_load_n(&slot->companion_asked, __ATOMIC_RELAXED))) {
        __atomic_store_n(&slot->companion_asked, true, __ATOMIC_RELAXED);
        uint32_t value = __atomic_add_fetch(&end->attention, 1u, __ATOMIC_RELAXED);
        /* SYNC: release pairs with the steward's acquire load, attention; publishes `active`. */
        hc_untrusted_publish_u32(&end->u_peer_board->attention, value);
        end->os.wake(end->os.context, &end->u_peer_board->attention, 1);
    }
}

/* Wakes one sleeping responder. SYNC: as hc_ring_companion, doorbell. */
static inline void hc_ring_responder(struct hc_port *port)
{
    struct hc_end *end = port->end;
    uint32_t value = __atomic_add_fetch(&end->doorbell, 1u, __ATOMIC_RELAXED);
    hc_untrusted_publish_u32(&end->u_peer_board->doorbell, value);
    end->os.wake(end->os.context, &end->u_peer_board->doorbell, 1);
    port->counters.rang++;
    hc_untrusted_store_u64(&port->u_counters->rang, port->counters.rang);
}

/* ---- setting up ------------------------------------------------------------------------------ */

static inline void hc_lane_out_init(struct hc_lane_out *lane, uint8_t *u_base,
                                    const struct hc_geometry *g, uint32_t slot, uint32_t kind)
{
    __builtin_memset(lane, 0, sizeof *lane);
    lane->u_cells = hc_u_lane(u_base, g, slot, kind);
    lane->u_window = hc_u_window(u_base, g, slot, kind);
    lane->mask = g->cell_count - 1u;
    lane->tail = lane->oldest = lane->origin = 1;
    lane->window.size = (uint32_t)g->window_size;
}

static inline void hc_lane_in_init(struct hc_lane_in *lane, uint8_t *u_base,
                                   const struct hc_geometry *g, uint32_t slot, uint32_t kind)
{
    __builtin_memset(lane, 0, sizeof *lane);
    lane->u_cells = hc_u_lane(u_base, g, slot, kind);
    lane->u_window = hc_u_window(u_base, g, slot, kind);
    lane->mask = g->cell_count - 1u;
    lane->window_size = (uint32_t)g->window_size;
    lane->nested = kind != HC_LANE_FORWARD;
    lane->next = lane->origin = 1;
}

static inline void hc_port_init(struct hc_port *port, struct hc_slot *slot, uint32_t out,
                                uint32_t in)
{
    struct hc_slot_control *u_control =
        hc_u_slot(slot->end->u_base, &slot->end->geometry, slot->index);
    __builtin_memset(port, 0, sizeof *port);
    port->end = slot->end;
    port->slot = slot;
    port->out = &slot->out[out];
    port->in = &slot->in[in];
    port->thread = &slot->executor;
    port->u_bell = slot->mine ? &u_control->owner_bell : &u_control->peer_bell;
    port->u_cpu = slot->mine ? &u_control->owner_cpu : &u_control->peer_cpu;
    port->u_counters = slot->mine ? &u_control->owner_counters : &u_control->peer_counters;
}

/* Sets up the private half of a slot; the shared half is zero when the region is new. */
static inline void hc_slot_init(struct hc_slot *slot, struct hc_end *end, uint32_t index)
{
    const struct hc_geometry *g = &end->geometry;
    __builtin_memset(slot, 0, sizeof *slot);
    slot->end = end;
    slot->index = index;
    slot->mine = (index < g->host_slots) == (end->side == HC_HOST);
    if (slot->mine) {
        hc_lane_out_init(&slot->out[HC_LANE_FORWARD], end->u_base, g, index, HC_LANE_FORWARD);
        hc_lane_out_init(&slot->out[HC_LANE_NESTED], end->u_base, g, index, HC_LANE_NESTED);
        hc_lane_in_init(&slot->in[HC_LANE_REVERSE], end->u_base, g, index, HC_LANE_REVERSE);
        hc_port_init(&slot->port, slot, HC_LANE_FORWARD, HC_LANE_REVERSE);
        hc_port_init(&slot->reverse, slot, HC_LANE_NESTED, HC_LANE_REVERSE);
        slot->reverse.u_counters = &hc_u_slot(end->u_base, g, index)->nested_counters;
        slot->port.serving = &slot->reverse;
        slot->port.claims_in = true;
        slot->reverse.serving = &slot->reverse;
        slot->reverse.is_nested = true;
    } else {
        hc_lane_in_init(&slot->in[HC_LANE_FORWARD], end->u_base, g, index, HC_LANE_FORWARD);
        hc_lane_in_init(&slot->in[HC_LANE_NESTED], end->u_base, g, index, HC_LANE_NESTED);
        hc_lane_out_init(&slot->out[HC_LANE_REVERSE], end->u_base, g, index, HC_LANE_REVERSE);
        hc_port_init(&slot->port, slot, HC_LANE_REVERSE, HC_LANE_NESTED);
        slot->port.serving = &slot->port;
        slot->port.is_nested = true;
    }
}

#ifdef __cplusplus
}
#endif

#endif /* HOTCALLS_PORT_H */
