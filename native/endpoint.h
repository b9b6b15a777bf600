/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint.h -- a side of a channel in an ordinary process: its threads and its ports.
 *
 * The same code on both sides; host_*.c and enclave_*.c stand on it. It trusts its own process
 * and the kernel, and nothing in the channel.
 *
 *   responders   spin on the lanes of the other side's slots, and sleep when idle
 *   companions   one per slot, asleep until a switch call rings them; on the caller's core
 *   the steward  sleeps until a slot asks for its companion, then starts it
 */
#ifndef HOTCALLS_ENDPOINT_H
#define HOTCALLS_ENDPOINT_H

#include <hotcalls/hotcalls.h>

#include <pthread.h>

#define ENDPOINT_RESPONDERS_MAX 16u
/* Slots that one thread may hold at a time: its own, and those that signal handlers and calls
 * from inside detached calls took while it was busy. */
#define ENDPOINT_PORTS_PER_THREAD 16u
/*
 * So often is looked after what nobody rings for: a slot without a companion, and a call back that
 * was left to the thread that waits for it.
 */
#define ENDPOINT_LOOK_NS 1000000u

struct endpoint;

struct endpoint_responder {
    struct endpoint *endpoint;
    uint32_t index;
    pthread_t thread;
};

struct endpoint_companion {
    struct endpoint *endpoint;
    struct hc_slot *slot;
    pthread_t thread;
    uint64_t left;     /* the call back that was left to its thread,… */
    uint64_t left_for; /* …for so many cycles, 0: not yet… */
    uint64_t looked;   /* …up to here */
    bool torn_out;     /* atomic: that thread will never come; until the slot is given back */
};

struct endpoint {
    struct hc_end end;
    uint32_t references; /* atomic: one of the owner, one per slot that a thread holds */
    bool closed;         /* under the lock of endpoint_port.c: the region is not ours any more */
    /* The region goes (its addresses may stay until the last reference does). May be NULL. */
    void (*on_close)(struct endpoint *endpoint);
    /* The last reference has gone: calls endpoint_free and frees what holds the endpoint. */
    void (*on_free)(struct endpoint *endpoint);
    uint64_t cycles_per_us;
    uint32_t responder_count;
    uint32_t responders_running;
    uint32_t awake; /* atomic: bit i while responder i spins */
    struct endpoint_responder responders[ENDPOINT_RESPONDERS_MAX];
    struct endpoint_companion *companions; /* slot_count */
    pthread_t steward;
    bool steward_running;
    uint32_t stopping; /* atomic */
    uint32_t processors;
    int notify_fd;
    uint8_t *arenas;
    size_t arena_size;
    size_t stack_size;
};

/* What a side is made of besides the region itself. Times are in microseconds; 0: the default. */
struct endpoint_options {
    enum hc_side side;
    const struct hc_interface *interface;
    uint32_t responders;
    enum hc_mode mode;
    uint32_t idle_us;
    uint32_t spin_us;
    uint32_t take_us;
    /* Processors that the *pair* of sides may use; 1 turns spinning off. 0: find out. */
    uint32_t processors;
    /* An eventfd that announces answered calls to the other side (hc_os.notify); 0: none. */
    int notify_fd;
    size_t stack_size; /* of the threads that run calls; 0: what C code needs */
    bool (*peer_lost)(void *context);
    bool (*interrupted)(void *context);
    void *context;
};

/* The function a side serves or calls, by direction. */
uint32_t endpoint_processors(void);
uint64_t endpoint_cycles_per_us(void);

/*
 * `u_base` is the mapped region, `geometry` its checked private copy. Allocates private state;
 * starts nothing. HC_ERR_MEMORY or HC_ERR_OS (errno is set) when that fails.
 */
HC_NODISCARD enum hc_status endpoint_init(struct endpoint *endpoint, uint8_t *u_base,
                                          const struct hc_geometry *geometry,
                                          const struct endpoint_options *options);
/* Another interface than it was set up with. Before endpoint_start. HC_ERR_MEMORY or HC_OK. */
HC_NODISCARD enum hc_status endpoint_set_interface(struct endpoint *endpoint,
                                                   const struct hc_interface *interface,
                                                   enum hc_mode mode);
/* Starts the steward and the responders. */
HC_NODISCARD enum hc_status endpoint_start(struct endpoint *endpoint);
/* Stops and joins every thread. A thread that runs a call is waited for. */
void endpoint_stop(struct endpoint *endpoint);
/* The same without waiting for calls: false, and to be asked again, while a thread runs one. */
HC_NODISCARD bool endpoint_try_stop(struct endpoint *endpoint);
/*
 * Ends the use of the channel: calls in progress fail with HC_ERR_CLOSED, threads are stopped,
 * on_close is called. Other threads may still hold slots; what they touch stays until they end
 * or call again, and until the owner drops its reference.
 */
void endpoint_close(struct endpoint *endpoint);
void endpoint_unreference(struct endpoint *endpoint);
void endpoint_free(struct endpoint *endpoint);

/*
 * The port through which the calling thread calls now: the one of the call that it is running,
 * or that of a slot of its own, which it gets at its first call. NULL: `*status` says why.
 * Async-signal-safe, except for a thread's first call.
 */
struct hc_port *endpoint_port(struct endpoint *endpoint, enum hc_status *status);

/*
 * How the calling thread calls from here on, by `port`, which endpoint_port has just returned, and
 * by every other that it returns. In a call of the other side: how that call calls back.
 */
void endpoint_set_calls(struct endpoint *endpoint, struct hc_port *port, enum hc_mode mode,
                        uint64_t timeout);
/* Gives back the slots that the calling thread holds. Done by itself when a thread ends. */
void endpoint_release_thread(void);

/*
 * A port that belongs to no thread: whoever holds it sees to it that one thread at a time uses
 * it. What is called through it has to be submitted, never waited for in place. NULL as above.
 * It keeps a reference, like any slot that is held; endpoint_give_port drops it.
 */
struct hc_port *endpoint_take_port(struct endpoint *endpoint, enum hc_status *status);
void endpoint_give_port(struct endpoint *endpoint, struct hc_port *port);

/* endpoint_os.c */
void endpoint_sleep(void *context, const uint32_t *u_word, uint32_t expected, uint64_t ns);
void endpoint_wake(void *context, uint32_t *u_word, uint32_t count);
void endpoint_yield(void *context);
void endpoint_notify(struct hc_end *end);
/*
 * `rest` is called by any thread of this process that is about to sleep or to yield in a wait or
 * between calls: a language runtime lets go of its lock there. Set before threads are started.
 */
void endpoint_on_rest(void (*rest)(void));
/* `leave` is called by any thread of the runtime that ran calls, as the last of its acts. */
void endpoint_on_leave(void (*leave)(void));
void endpoint_leave(void);
/* endpoint_companion.c */
bool endpoint_leave_core(void *context);
void endpoint_tell_core(void *context, struct hc_port *port);

/* endpoint_responder.c, endpoint_companion.c: thread bodies */
void *endpoint_responder_main(void *argument);
void *endpoint_companion_main(void *argument);
void *endpoint_steward_main(void *argument);
/* Starts a thread of the runtime: all signals blocked. 0 or an errno. */
int endpoint_thread(const struct endpoint *endpoint, pthread_t *thread, void *(*body)(void *),
                    void *argument);
/* The calling thread's hc_thread. */
struct hc_thread *endpoint_this_thread(void);

#endif /* HOTCALLS_ENDPOINT_H */
