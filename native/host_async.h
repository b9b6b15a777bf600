/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host_async.h -- calls that belong to the enclave and not to the thread that made them.
 *
 * Untrusted side; used by the Python extension, not installed. The ports are slots that no thread
 * holds, one per responder of the enclave, so that as many such calls run at a time as the enclave
 * has threads to run them. Any thread may post, look and collect: everything here takes the lock
 * of the enclave's ports, and never for longer than it takes to write or read a few cells. No
 * function calls back or blocks.
 *
 * A call that finds every lane full waits in a queue of this side, so posting never fails for
 * want of room. Order: calls are dealt in the order in which they were made, each to the port with
 * the fewest outstanding; one port runs its calls in order.
 *
 * Whoever wants to sleep until something is done arms the oldest call of each lane and polls
 * the first of hc_async_descriptors(). While somebody spins instead, nothing is armed and an answer costs the
 * other side nothing.
 */
#ifndef HOTCALLS_HOST_ASYNC_H
#define HOTCALLS_HOST_ASYNC_H

#include "hotcalls_host.h"

#define HC_ASYNC_PORTS_MAX 16u

enum hc_async_state {
    HC_ASYNC_NEW,
    HC_ASYNC_QUEUED, /* of this side; not posted yet */
    HC_ASYNC_OUT,    /* posted */
    HC_ASYNC_TAKEN,  /* hc_async_take gave it out, to be read and ended */
    HC_ASYNC_OVER,   /* ended, or taken back */
};

/* One call. Private memory of the caller, which stays where it is until the call is OVER. */
struct hc_async_call {
    struct hc_call call;
    struct hc_async_call *next; /* of the queue */
    void *cookie;               /* the caller's */
    const void *ms;             /* the message: stays until the call is OVER */
    const void *buffers;
    size_t ms_size;
    size_t buffers_size;
    size_t reserve; /* bytes of the window behind the fixed part: at least buffers_size */
    uint32_t id;
    uint32_t port;
    uint32_t state;  /* enum hc_async_state; under the lock */
    uint32_t status; /* enum hc_status, of a call that was taken: HC_OK, or why it has no answer */
};

struct hc_async;

/* Takes `ports` slots, or as many as are left, at least one. NULL: *status says why. */
struct hc_async *hc_async_new(hc_enclave *enclave, uint32_t ports, enum hc_status *status);
/* Gives the slots back. No thread may use it any more, and no call may be OUT or QUEUED. */
void hc_async_delete(struct hc_async *async);

/*
 * Copies, the caller's to close, of the descriptor that becomes readable when an armed call is done
 * and of the one that does when the process has ended.
 */
HC_NODISCARD enum hc_status hc_async_descriptors(hc_enclave *enclave, int descriptors[2]);
/* Makes the first readable, for who polls it here. */
void hc_async_wake(hc_enclave *enclave);

/*
 * Posts calls, or queues them behind others. Of several, those of one port are posted as one.
 * Fails, and then posts none of them, when the enclave cannot be called or one is too large.
 */
HC_NODISCARD enum hc_status hc_async_post(struct hc_async *async,
                                          struct hc_async_call *const *calls, size_t count);
/*
 * Gives out a call that has an answer, or, once the enclave is lost, any call: `status` says which.
 * NULL: there is none now. What is given out is read (hc_call_answer, without ending it) and then
 * ended by hc_async_end.
 */
struct hc_async_call *hc_async_take(struct hc_async *async);
/* The same for one call only: true when it was given out to this caller. */
bool hc_async_take_this(struct hc_async *async, struct hc_async_call *call);
/*
 * Copies the answer's fixed part in. HC_OK: `ms` is the answer, a private copy, and what is behind
 * it in the window may be copied by hc_async_copy. The call is ended by hc_async_end all the same.
 */
HC_NODISCARD enum hc_status hc_async_read(const struct hc_async_call *call, void *ms);
/* Copies bytes from behind the fixed part. HC_ERR_CLOSED: the window has gone meanwhile. */
HC_NODISCARD enum hc_status hc_async_copy(const struct hc_async_call *call, void *to, size_t size);
void hc_async_end(struct hc_async *async, struct hc_async_call *call);
/*
 * Spins for at most `cycles` until this call is done, or somebody else took it. Does not take the
 * lock. True: one of the two.
 */
bool hc_async_spin(struct hc_async *async, const struct hc_async_call *call, uint64_t cycles);
/*
 * Takes a call back that nobody has begun; true when it is OVER and will never run. Only what is
 * queued, or was posted last on its port, can be.
 */
bool hc_async_withdraw(struct hc_async *async, struct hc_async_call *call);
/* Looks whether the other side still lives; what is outstanding is given out once it does not. */
void hc_async_look(struct hc_async *async);
/*
 * Before sleeping: the descriptor will be written when the oldest call of a lane is done. False:
 * something is done already, take it first. `*left` is how many calls are outstanding.
 */
bool hc_async_arm(struct hc_async *async, uint32_t *left);
/* Rings whoever should run what was posted: for calls that nobody has begun in a long time. */
void hc_async_nudge(struct hc_async *async);

#endif /* HOTCALLS_HOST_ASYNC_H */
