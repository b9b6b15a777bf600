/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lane.h -- the transitions of a cell's word, and the window allocator of a lane.
 *
 * Every function here is one arrow of the diagram in channel.h, and the only code that touches a
 * word. HC_TRANSITION names the arrow, from which state to which, and who takes it. The
 * hostile-peer tests run this code, not a copy of it.
 *
 * Freestanding; used on both sides. The poster's half (struct hc_lane_out) and the acceptor's
 * half (struct hc_lane_in) live in the private memory of their sides.
 */
#ifndef HOTCALLS_LANE_H
#define HOTCALLS_LANE_H

#include "channel.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the window: a ring of chunks, given back in any order ---------------------------------- */

struct hc_chunk {
    uint32_t start;
    uint32_t end;
    bool released;
};

/*
 * Private to the poster of the lane. Chunks stand in the order of their calls. A plain call with
 * nothing outstanding always gets offset 0, which stays hot in both caches.
 */
struct hc_window {
    uint32_t size;
    uint32_t first; /* oldest live chunk */
    uint32_t count;
    struct hc_chunk chunks[HC_CELLS_MAX];
};

HC_NODISCARD HC_ALWAYS_INLINE enum hc_status hc_window_take(struct hc_window *window, size_t size,
                                                            uint32_t *offset)
{
    uint32_t start = 0;
    if (size > window->size)
        return HC_ERR_TOO_LARGE;
    if (window->count != 0) {
        const struct hc_chunk *oldest = &window->chunks[window->first % HC_CELLS_MAX];
        const struct hc_chunk *newest =
            &window->chunks[(window->first + window->count - 1u) % HC_CELLS_MAX];
        if (window->count == HC_CELLS_MAX)
            return HC_ERR_AGAIN;
        start = newest->end;
        if (newest->end > oldest->start || (newest->end == oldest->start && newest->start == 0)) {
            /* Live chunks lie in [oldest, newest): room behind them, or from 0 up to oldest. */
            if (size > window->size - start) {
                if (size >= oldest->start)
                    return HC_ERR_AGAIN;
                start = 0;
            }
        } else if (size >= oldest->start - start) {
            /* Wrapped: strictly less, so that full and empty stay different. */
            return HC_ERR_AGAIN;
        }
    }
    struct hc_chunk *chunk = &window->chunks[(window->first + window->count) % HC_CELLS_MAX];
    chunk->start = start;
    chunk->end = start + (uint32_t)size;
    chunk->released = false;
    window->count++;
    *offset = start;
    return HC_OK;
}

/* Gives back the chunk that starts at `offset`, and whatever became free at either end with it. */
HC_ALWAYS_INLINE void hc_window_give_back(struct hc_window *window, uint32_t offset)
{
    for (uint32_t i = window->count; i-- > 0;) {
        struct hc_chunk *chunk = &window->chunks[(window->first + i) % HC_CELLS_MAX];
        if (chunk->start == offset && !chunk->released) {
            chunk->released = true;
            break;
        }
    }
    while (window->count != 0 &&
           window->chunks[(window->first + window->count - 1u) % HC_CELLS_MAX].released)
        window->count--;
    while (window->count != 0 && window->chunks[window->first % HC_CELLS_MAX].released) {
        window->first = (window->first + 1u) % HC_CELLS_MAX;
        window->count--;
    }
}

/* ---- the poster's half ---------------------------------------------------------------------- */

struct hc_lane_out {
    struct hc_cell *u_cells;
    uint8_t *u_window;
    uint64_t mask;      /* cell_count - 1 */
    uint64_t tail;      /* the next n to post */
    uint64_t oldest;    /* the oldest n that was not given back; == tail when nothing is out */
    uint64_t origin;    /* the n that lies in the first cell; see hc_cell_of */
    uint64_t returned;  /* bit (n & mask): given back before an older one */
    uint64_t oneway;    /* bit (n & mask): nobody will collect it but the lane itself */
    uint64_t abandoned; /* bit (n & mask): given up; quarantined until the other side is done */
    uint64_t oneway_errors;
    enum hc_status oneway_first_error;
    uint32_t offsets[HC_CELLS_MAX]; /* where the message of a cell lies, by (n & mask) */
    uint32_t sizes[HC_CELLS_MAX];
    uint8_t behind[HC_CELLS_MAX]; /* calls that follow in the group; not 0: the call is BOUND */
    struct hc_window window;
};

/* ---- the acceptor's half -------------------------------------------------------------------- */

struct hc_lane_in {
    struct hc_cell *u_cells;
    uint8_t *u_window;
    uint64_t mask;
    uint32_t window_size;
    bool nested; /* REVERSE and NESTED: what is posted here is part of another call */
    /*
     * The next n to take. Written by the thread that holds `claim`; read by threads that poll,
     * which only compare the word with it: a stale value can at most make them look again.
     */
    uint64_t next;
    uint64_t origin; /* as `next`: the n that lay in the first cell */
    /*
     * 0, or 1 while a thread drains the lane. This, not the word, keeps two threads of one side
     * from running the same n when the peer rewrites the word: it is private.
     */
    uint32_t claim;
    /* TSC when a poller first saw the call `seen_n` waiting; for stealing. Relaxed, a hint. */
    uint64_t seen_n;
    uint64_t seen_tsc;
};

/*
 * Where call n lies. Calls that are out at the same time follow each other from the first cell
 * on; with nothing out the next call goes to the first cell again. So plain calls all use one
 * line, which stays in both caches: going round the lane instead costs a half more between
 * siblings (234 cycles instead of 156, measured with a bare mailbox).
 *
 * The acceptor does not see when the poster's lane runs empty. It looks for n in both places
 * where it can be, the first cell and the one behind n - 1; n is posted in one of them only.
 */
HC_ALWAYS_INLINE struct hc_cell *hc_cell_of(struct hc_cell *u_cells, uint64_t mask, uint64_t origin,
                                            uint64_t n)
{
    return &u_cells[(n - origin) & mask];
}

HC_ALWAYS_INLINE struct hc_cell *hc_out_cell(const struct hc_lane_out *lane, uint64_t n)
{
    return hc_cell_of(lane->u_cells, lane->mask, lane->origin, n);
}

/* The cell behind that of n - 1. Relaxed: pollers without the claim may see it late, and look
 * again. */
HC_ALWAYS_INLINE struct hc_cell *hc_in_cell(const struct hc_lane_in *lane, uint64_t n)
{
    return hc_cell_of(lane->u_cells, lane->mask, __atomic_load_n(&lane->origin, __ATOMIC_RELAXED),
                      n);
}

HC_ALWAYS_INLINE bool hc_lane_full(const struct hc_lane_out *lane)
{
    return lane->tail - lane->oldest > lane->mask;
}

/*
 * HC_TRANSITION FREE|DONE -> POSTED requester post
 *
 * SYNC: release pairs with the acquire loads of hc_peek and hc_take, word; publishes the cell and
 * the window. The fence is for what the poster reads next: whether a responder is awake
 * (board.awake, against the responder's fence before its last look at the lanes) and whether the
 * poster of the call in progress sleeps (SLEEP in its word, against the compare-and-swap in
 * hc_fall_asleep). Both need store -> load order.
 *
 * A store and a fence, not an exchange: the store leaves the store buffer together with those to
 * the same line before it. An exchange waits for those first, and between them and itself can
 * lose the line to the peer that polls it.
 */
HC_ALWAYS_INLINE void hc_post(struct hc_cell *u_cell, uint64_t n, uint64_t bits)
{
    __atomic_store_n(&u_cell->word, hc_word(n, HC_WORD_POSTED) | bits, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/*
 * The same for a plain call whose poster goes on to wait, with a bound, for its answer: it reads
 * nothing next that a later store could have to be ordered against. If it saw a responder awake
 * that has gone to sleep since, nobody takes the call and it is withdrawn (bounds.take).
 *
 * SYNC: release pairs with the acquire loads of hc_peek and hc_take, word.
 */
HC_ALWAYS_INLINE void hc_post_quick(struct hc_cell *u_cell, uint64_t n)
{
    __atomic_store_n(&u_cell->word, hc_word(n, HC_WORD_POSTED), __ATOMIC_RELEASE);
}

/*
 * HC_TRANSITION FREE|DONE -> POSTED+BOUND requester post-bound
 *
 * SYNC: release pairs with hc_take, word; publishes the cell. Posted after the calls that follow
 * it in its group, so whoever sees it sees those.
 */
HC_ALWAYS_INLINE void hc_post_bound(struct hc_cell *u_cell, uint64_t n)
{
    __atomic_store_n(&u_cell->word, hc_word(n, HC_WORD_POSTED) | HC_WORD_BOUND, __ATOMIC_RELEASE);
}

/*
 * HC_TRANSITION POSTED -> FREE requester withdraw
 *
 * SYNC: against hc_take, word: both swap from the same POSTED(n), one of them wins. Acquire on
 * success is not needed (nobody wrote the cell); release because the cell will be written again.
 */
HC_NODISCARD HC_ALWAYS_INLINE bool hc_withdraw(struct hc_cell *u_cell, uint64_t n, uint64_t bits)
{
    uint64_t expected = hc_word(n, HC_WORD_POSTED) | bits;
    return __atomic_compare_exchange_n(&u_cell->word, &expected, hc_word(n, HC_WORD_FREE), false,
                                       __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/*
 * HC_TRANSITION POSTED -> POSTED+SWITCH requester hand-over
 *
 * Withdraw and post again for the companion in one step: between two steps a responder could
 * see FREE and forget about the lane.
 * SYNC: as hc_withdraw and hc_post, word; publishes nothing new. Sequentially consistent, as it
 * is followed by ringing the companion's bell.
 */
HC_NODISCARD HC_ALWAYS_INLINE bool hc_hand_over(struct hc_cell *u_cell, uint64_t n)
{
    uint64_t expected = hc_word(n, HC_WORD_POSTED);
    return __atomic_compare_exchange_n(&u_cell->word, &expected,
                                       hc_word(n, HC_WORD_POSTED) | HC_WORD_SWITCH, false,
                                       __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

/*
 * HC_TRANSITION POSTED|TAKEN -> +SLEEP requester sleep
 *
 * SYNC: pairs with the exchange in hc_finish, word: either finish sees SLEEP and wakes, or this
 * fails because the word is DONE already. Against a call back (hc_post on the reverse lane, then
 * a load of this word in hc_rouse): this is a full barrier before the sleeper's last look at its
 * reverse lane, so one of the two sees the other.
 */
HC_NODISCARD HC_ALWAYS_INLINE bool hc_fall_asleep(struct hc_cell *u_cell, uint64_t seen)
{
    bool fell = __atomic_compare_exchange_n(&u_cell->word, &seen, seen | HC_WORD_SLEEP, false,
                                            __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
    hc_fence_after_exchange();
    return fell;
}

/*
 * HC_TRANSITION TAKEN+SLEEP -> TAKEN responder rouse
 *
 * Called after hc_post on the lane back to the sleeper; true when it has to be woken.
 * SYNC: the load is ordered behind that post by the post's exchange; against hc_fall_asleep.
 */
HC_NODISCARD HC_ALWAYS_INLINE bool hc_rouse(struct hc_cell *u_cell, uint64_t n)
{
    uint64_t asleep = hc_word(n, HC_WORD_TAKEN) | HC_WORD_SLEEP;
    if (HC_LIKELY(__atomic_load_n(&u_cell->word, __ATOMIC_RELAXED) != asleep))
        return false;
    return __atomic_compare_exchange_n(&u_cell->word, &asleep, hc_word(n, HC_WORD_TAKEN), false,
                                       __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

/* The poster's own view: what the word says about call n. */
enum hc_progress {
    HC_PROGRESS_POSTED,
    HC_PROGRESS_TAKEN,
    HC_PROGRESS_DONE,
    HC_PROGRESS_POISON,
};

HC_ALWAYS_INLINE enum hc_progress hc_progress_of(uint64_t word, uint64_t n)
{
    uint64_t plain = word & ~(HC_WORD_SWITCH | HC_WORD_SLEEP | HC_WORD_BOUND);
    if (word == hc_word(n, HC_WORD_DONE))
        return HC_PROGRESS_DONE;
    if (plain == hc_word(n, HC_WORD_TAKEN) && (word & (HC_WORD_SWITCH | HC_WORD_BOUND)) == 0)
        return HC_PROGRESS_TAKEN;
    if (plain == hc_word(n, HC_WORD_POSTED))
        return HC_PROGRESS_POSTED;
    return HC_PROGRESS_POISON;
}

/*
 * Is the next call of the lane waiting for a responder? Companions look for SWITCH too.
 *
 * SYNC: acquire pairs with hc_post, word. `next` is read relaxed: only the claimant's value
 * decides (hc_take), a poller's guess costs a look.
 */
HC_ALWAYS_INLINE bool hc_peek(const struct hc_lane_in *lane, bool companion)
{
    uint64_t n = __atomic_load_n(&lane->next, __ATOMIC_RELAXED);
    uint64_t ignored = HC_WORD_SLEEP | HC_WORD_BOUND | (companion ? HC_WORD_SWITCH : 0);
    uint64_t word = __atomic_load_n(&lane->u_cells[0].word, __ATOMIC_ACQUIRE);
    if ((word & ~ignored) == hc_word(n, HC_WORD_POSTED))
        return true;
    word = __atomic_load_n(&hc_in_cell(lane, n)->word, __ATOMIC_ACQUIRE);
    return (word & ~ignored) == hc_word(n, HC_WORD_POSTED);
}

/*
 * May a cell where n could be posted hold `word` instead? Only n itself, posted or withdrawn; a
 * later call, when the lane goes round through the first cell (a group is posted last call first,
 * and these loads are not ordered); or the past of this lane: never used, answered, withdrawn, or
 * still being run (the outer calls of a chain, by the very thread that looks).
 */
HC_ALWAYS_INLINE bool hc_idle_word_plausible(uint64_t mask, uint64_t n, uint64_t word)
{
    uint64_t of = word >> HC_WORD_SHIFT;
    uint64_t state = word & 3u;
    if (of >= n)
        return of - n <= mask && (state == HC_WORD_POSTED || word == hc_word(of, HC_WORD_FREE));
    return state == HC_WORD_TAKEN
               ? (word & (HC_WORD_SWITCH | HC_WORD_BOUND)) == 0
               : word == hc_word(of, HC_WORD_DONE) || word == hc_word(of, HC_WORD_FREE);
}

/* Both cells where the next call can be hold what they may. */
HC_ALWAYS_INLINE bool hc_lane_plausible(const struct hc_lane_in *lane)
{
    uint64_t n = __atomic_load_n(&lane->next, __ATOMIC_RELAXED);
    uint64_t first = __atomic_load_n(&lane->u_cells[0].word, __ATOMIC_RELAXED);
    uint64_t behind = __atomic_load_n(&hc_in_cell(lane, n)->word, __ATOMIC_RELAXED);
    return hc_idle_word_plausible(lane->mask, n, first) &&
           hc_idle_word_plausible(lane->mask, n, behind);
}

/*
 * Private arbitration between the threads of one side.
 * SYNC: acquire pairs with hc_unclaim, claim; publishes `next` and the callee's effects, so
 * that calls of one lane happen one after the other whoever runs them.
 * Sequentially consistent when it fails, too: a companion that saw the call which it was rung for
 * and finds the lane claimed leaves it to the look of hc_unclaim, which must not be older.
 */
HC_NODISCARD HC_ALWAYS_INLINE bool hc_claim(struct hc_lane_in *lane)
{
    uint32_t nobody = 0;
    return __atomic_compare_exchange_n(&lane->claim, &nobody, 1u, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
}

/*
 * SYNC: pairs with hc_claim. Sequentially consistent, as the caller must look at the lane once
 * more afterwards (hc_peek): a companion that was rung meanwhile, found the claim held and went
 * back to sleep relies on that look. Store -> load, hence the exchange.
 */
HC_ALWAYS_INLINE void hc_unclaim(struct hc_lane_in *lane)
{
    (void)__atomic_exchange_n(&lane->claim, 0u, __ATOMIC_SEQ_CST);
    hc_fence_after_exchange();
}

enum hc_taken { HC_TOOK, HC_NOTHING, HC_BROKEN };

/* A call that was taken. */
struct hc_taking {
    uint64_t n;
    struct hc_cell *u_cell;
    bool switched; /* the requester handed over its core */
    bool bound;    /* not withdrawable, so still POSTED */
};

/*
 * HC_TRANSITION POSTED -> TAKEN responder take
 *
 * The caller holds the claim. SLEEP is kept, SWITCH is dropped.
 * SYNC: acquire pairs with hc_post, word: the cell and window are read after this only.
 */
HC_NODISCARD HC_ALWAYS_INLINE enum hc_taken hc_take(struct hc_lane_in *lane, bool companion,
                                                    struct hc_taking *taking)
{
    uint64_t n = __atomic_load_n(&lane->next, __ATOMIC_RELAXED);
    struct hc_cell *u_cell = &lane->u_cells[0];
    uint64_t ignored = HC_WORD_SLEEP | HC_WORD_BOUND | (companion ? HC_WORD_SWITCH : 0);
    uint64_t word = __atomic_load_n(&u_cell->word, __ATOMIC_RELAXED);
    if ((word & ~ignored) != hc_word(n, HC_WORD_POSTED)) {
        u_cell = hc_in_cell(lane, n);
        word = __atomic_load_n(&u_cell->word, __ATOMIC_RELAXED);
    }
    /* The poster may set SLEEP or SWITCH, or withdraw, between load and swap: three changes. */
    for (int attempt = 0; attempt < 4; attempt++) {
        if ((word & ~ignored) != hc_word(n, HC_WORD_POSTED))
            return hc_lane_plausible(lane) ? HC_NOTHING : HC_BROKEN;
        bool bound = (word & HC_WORD_BOUND) != 0;
        /* SYNC: a BOUND call is not swapped; the fence makes the relaxed load above an acquire. */
        if (bound)
            __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (bound || __atomic_compare_exchange_n(&u_cell->word, &word,
                                                 hc_word(n, HC_WORD_TAKEN) | (word & HC_WORD_SLEEP),
                                                 false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
            /* Counted before it runs: whatever happens, n is never taken again. */
            if (u_cell == &lane->u_cells[0])
                __atomic_store_n(&lane->origin, n, __ATOMIC_RELAXED);
            __atomic_store_n(&lane->next, n + 1u, __ATOMIC_RELAXED);
            taking->n = n;
            taking->u_cell = u_cell;
            taking->switched = (word & HC_WORD_SWITCH) != 0;
            taking->bound = bound;
            return HC_TOOK;
        }
    }
    return HC_NOTHING;
}

enum hc_finished { HC_FINISHED, HC_FINISHED_WAKE, HC_FINISHED_BROKEN };

/*
 * HC_TRANSITION TAKEN -> DONE responder finish
 *
 * SYNC: release pairs with the acquire load of the poster's wait, word; publishes status,
 * payload and window. The exchange tells whether the poster sleeps (against hc_fall_asleep).
 */
HC_NODISCARD HC_ALWAYS_INLINE enum hc_finished hc_finish(struct hc_cell *u_cell, uint64_t n)
{
    uint64_t old = __atomic_exchange_n(&u_cell->word, hc_word(n, HC_WORD_DONE), __ATOMIC_SEQ_CST);
    if (HC_LIKELY(old == hc_word(n, HC_WORD_TAKEN)))
        return HC_FINISHED;
    if (old == (hc_word(n, HC_WORD_TAKEN) | HC_WORD_SLEEP))
        return HC_FINISHED_WAKE;
    return HC_FINISHED_BROKEN;
}

/*
 * The same for a poster that never sleeps on the word (sgx_channel.h), so there is nothing to learn
 * from it: a store leaves together with those to the same line before it, as hc_post says.
 *
 * SYNC: release pairs with the acquire load of the poster's wait, word; publishes the answer.
 */
HC_ALWAYS_INLINE void hc_finish_quick(struct hc_cell *u_cell, uint64_t n)
{
    __atomic_store_n(&u_cell->word, hc_word(n, HC_WORD_DONE), __ATOMIC_RELEASE);
}

/*
 * HC_TRANSITION POSTED+BOUND -> DONE responder finish-bound
 *
 * SYNC: as hc_finish; a plain store, since nobody sleeps on a BOUND call.
 */
HC_ALWAYS_INLINE void hc_finish_bound(struct hc_cell *u_cell, uint64_t n)
{
    __atomic_store_n(&u_cell->word, hc_word(n, HC_WORD_DONE), __ATOMIC_RELEASE);
}

/*
 * Gives back a cell whose answer was collected, with its window. A plain call with nothing else
 * outstanding, the usual one, is the newest and the oldest at once.
 */
HC_ALWAYS_INLINE void hc_lane_give_back(struct hc_lane_out *lane, uint64_t n)
{
    if (lane->sizes[n & lane->mask] != 0)
        hc_window_give_back(&lane->window, lane->offsets[n & lane->mask]);
    if (HC_LIKELY(lane->oldest == n && lane->tail == n + 1u)) {
        lane->oldest = n + 1u;
        return;
    }
    lane->returned |= UINT64_C(1) << (n & lane->mask);
    while (lane->oldest != lane->tail &&
           ((lane->returned >> (lane->oldest & lane->mask)) & 1u) != 0) {
        lane->returned &= ~(UINT64_C(1) << (lane->oldest & lane->mask));
        lane->oldest++;
    }
}

/* Takes back the newest call, which was withdrawn or never posted. */
HC_ALWAYS_INLINE void hc_lane_take_back(struct hc_lane_out *lane, uint64_t n)
{
    if (lane->sizes[n & lane->mask] != 0)
        hc_window_give_back(&lane->window, lane->offsets[n & lane->mask]);
    lane->tail = n;
}

/* The futex word of a cell: the half that holds the state. */
HC_ALWAYS_INLINE uint32_t *hc_futex_of(struct hc_cell *u_cell)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return (uint32_t *)(void *)&u_cell->word;
#else
    return (uint32_t *)(void *)&u_cell->word + 1;
#endif
}

#ifdef __cplusplus
}
#endif

#endif /* HOTCALLS_LANE_H */
