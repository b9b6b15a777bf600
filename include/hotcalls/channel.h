/* SPDX-License-Identifier: Apache-2.0 */
/*
 * channel.h -- the shared memory between the two sides, and the word that a call lives in.
 * Read this file first.
 *
 * A channel is one region that both sides map. It holds slots; a slot belongs to one requester
 * thread, on either side, so requesters never contend. A slot has three lanes of cells, a cell
 * being one call in flight, and a data window per lane for what does not fit in a cell:
 *
 *     FORWARD   the owner of the slot calls the other side
 *     REVERSE   the other side calls back while it runs one of those calls
 *     NESTED    the owner calls in again while it runs one of those calls back, and so on,
 *               alternating between REVERSE and NESTED. Separate from FORWARD, so that a nested
 *               call neither waits behind nor starts the calls that its thread has in the pipe.
 *
 * Calls of a lane are numbered n = 1, 2, 3, …; each side counts n privately. A plain call uses the
 * first cell; calls that are out at the same time use the cells behind it, in order (hc_cell_of).
 *
 *                post                take                 finish
 *      FREE(n) ────────▶ POSTED(n) ────────▶ TAKEN(n) ────────────▶ DONE(n) ──▶ the cell is free
 *         ▲                 │  requester      responder   responder             for a later n
 *         └─────────────────┘
 *              withdraw
 *
 *      FREE, DONE   the requester may write the cell and its window
 *      POSTED       nobody writes anything but the word: take and withdraw are compare-and-swap
 *                   from the same POSTED(n), so exactly one of them wins
 *      TAKEN        the responder may write the cell and its window
 *
 * Two bits ride on POSTED and TAKEN. SWITCH: only a companion is to take it, the requester has
 * handed over its core. SLEEP: the requester sleeps on this word; whoever changes the state to
 * DONE, or calls back, has to wake it. Both travel in the word itself, so that no second flag
 * needs a fence against it.
 *
 * A batch posts its calls in groups. All but the last of a group carry BOUND: the requester gave
 * up the right to withdraw them or to sleep on them, it does that on the last one. So they go
 * from POSTED to DONE by plain stores, without the two locked operations of other calls.
 *
 * Any other value is poison. The honest side compares the whole word with what its own counter
 * says, so it never runs, nor returns, the same n twice, whatever the peer writes.
 *
 * Freestanding C11 (C++17 compiles it too); no libc, no allocation, no system calls. All offsets
 * are from the start of the region; no pointer is ever stored in it.
 */
#ifndef HOTCALLS_CHANNEL_H
#define HOTCALLS_CHANNEL_H

#include "arch.h"
#include "status.h"
#include "untrusted.h"

#ifdef __cplusplus
extern "C" {
#define HC_STATIC_ASSERT static_assert
#else
#define HC_STATIC_ASSERT _Static_assert
#endif

#define HC_MAGIC UINT64_C(0x31534c4c4143544f) /* "OTCALLS1" */
/* Changes with anything in this file that both sides must agree on. */
#define HC_ABI 1u

#define HC_INLINE_SIZE 40u
#define HC_DIGEST_SIZE 32u
#define HC_SLOTS_MAX 256u
#define HC_SLOT_WORDS (HC_SLOTS_MAX / 64u)
#define HC_CELLS_DEFAULT 32u
#define HC_CELLS_MIN 4u
#define HC_CELLS_MAX 64u
#define HC_GROUP 8u
#define HC_WINDOW_DEFAULT (UINT64_C(64) * 1024u)
/* A size of the message is 32 bits in the cell. */
#define HC_WINDOW_MAX (UINT64_C(1) << 30)
/* Function ids that have a histogram; calls of higher ids are counted in the last one. */
#define HC_HISTOGRAMS 128u

/* ---- the word ------------------------------------------------------------------------------ */

#define HC_WORD_FREE UINT64_C(0)
#define HC_WORD_POSTED UINT64_C(1)
#define HC_WORD_TAKEN UINT64_C(2)
#define HC_WORD_DONE UINT64_C(3)
#define HC_WORD_SWITCH UINT64_C(4)
#define HC_WORD_SLEEP UINT64_C(8)
#define HC_WORD_BOUND UINT64_C(16)
#define HC_WORD_SHIFT 5

HC_ALWAYS_INLINE uint64_t hc_word(uint64_t n, uint64_t state)
{
    return (n << HC_WORD_SHIFT) | state;
}

/* ---- a cell -------------------------------------------------------------------------------- */

/*
 * One cache line carries a small call both ways. Only the word is ever read by both sides at
 * the same time; who may write the rest is given by the word's state (above).
 */
struct hc_cell {
    uint64_t word;
    uint32_t id;     /* requester: function id, and HC_CELL_… bits. responder: unused */
    uint32_t status; /* responder: enum hc_status. requester: calls that follow in the group */
    uint8_t payload[HC_INLINE_SIZE]; /* the message's fixed part, when it fits */
    uint32_t offset;                 /* requester: where the message lies in the lane's window */
    uint32_t size;                   /* requester: bytes of the window that the message occupies */
    uint8_t apart[HC_CELL_STRIDE - HC_CACHE_LINE];
};

/*
 * Nobody waits for this call while it runs (pipelined, one-way): what it calls back cannot be
 * nested in the caller's wait and takes a slot of its own.
 */
#define HC_CELL_DETACHED UINT32_C(0x80000000)
/*
 * Whoever sleeps on this call (SLEEP in its word) does so on the requester's descriptor and not on
 * the word: several threads, an event loop, or nobody in particular. hc_os.notify wakes them.
 */
#define HC_CELL_NOTIFY UINT32_C(0x40000000)
#define HC_CELL_BITS (HC_CELL_DETACHED | HC_CELL_NOTIFY)

HC_STATIC_ASSERT(sizeof(struct hc_cell) == HC_CELL_STRIDE, "a cell every two lines");
HC_STATIC_ASSERT(offsetof(struct hc_cell, apart) == HC_CACHE_LINE, "the hot part is one line");

/* ---- a slot -------------------------------------------------------------------------------- */

enum hc_lane_kind { HC_LANE_FORWARD, HC_LANE_REVERSE, HC_LANE_NESTED, HC_LANES };

/* Counted by whoever posts the calls, published for readers; never read back by either side. */
struct hc_counters {
    uint64_t hot;         /* posted for a spinning responder; fallen_back of them were not taken */
    uint64_t switched;    /* by a switch call because the mode, or sleeping responders, said so */
    uint64_t fallen_back; /* posted hot, withdrawn, made by a switch call */
    uint64_t withdrawn;   /* taken back unclaimed, whatever followed */
    uint64_t oneway;
    uint64_t slept;     /* waits that outlasted the spin bound */
    uint64_t rang;      /* bursts that woke a responder */
    uint64_t bytes_out; /* window bytes posted */
    uint64_t bytes_in;  /* window bytes read back */
    uint64_t errors;    /* calls that did not return HC_OK */
    uint64_t reserved[6];
};

/*
 * What is not in a cell. Each 128 bytes has one writer.
 */
struct hc_slot_control {
    /* Written by the owner's side. */
    uint32_t owner_bell; /* futex: rung for the companion on the other side */
    uint32_t owner_cpu;  /* hint: where the caller runs, so that its companion follows */
    uint8_t owner_apart[HC_CELL_STRIDE - 8u];
    /* Written by the other side. */
    uint32_t peer_bell; /* futex: rung for the companion on the owner's side */
    uint32_t peer_cpu;
    uint8_t peer_apart[HC_CELL_STRIDE - 8u];
    struct hc_counters owner_counters;
    struct hc_counters peer_counters;
    /* Written by the owner's side again: calls made on the NESTED lane. */
    struct hc_counters nested_counters;
};

HC_STATIC_ASSERT(sizeof(struct hc_counters) == HC_CELL_STRIDE, "counters fill two lines");
HC_STATIC_ASSERT(sizeof(struct hc_slot_control) == 5u * HC_CELL_STRIDE, "one writer per two lines");

/* ---- histograms ---------------------------------------------------------------------------- */

/*
 * Latency of one call in HC_SAMPLE_EVERY, in cycles, by function: four buckets per octave from
 * 2^5 on. Reading the counter twice costs 50 cycles here, a third of a hot call between
 * siblings, so not every call is timed.
 */
#define HC_BUCKETS 124u
#define HC_BUCKET_FIRST_SHIFT 5
#define HC_SAMPLE_EVERY 64u

struct hc_histogram {
    uint64_t count;
    uint64_t max_cycles;
    uint32_t buckets[HC_BUCKETS];
};

HC_STATIC_ASSERT(sizeof(struct hc_histogram) == 512, "histograms stay on lines of their own");

HC_ALWAYS_INLINE uint32_t hc_bucket_of(uint64_t cycles)
{
    if (cycles < (UINT64_C(1) << HC_BUCKET_FIRST_SHIFT))
        return 0;
    uint32_t octave = 63u - (uint32_t)__builtin_clzll(cycles);
    uint32_t quarter = (uint32_t)(cycles >> (octave - 2u)) & 3u;
    uint32_t bucket = (octave - HC_BUCKET_FIRST_SHIFT) * 4u + quarter;
    return bucket < HC_BUCKETS ? bucket : HC_BUCKETS - 1u;
}

/* ---- the region ---------------------------------------------------------------------------- */

enum hc_side { HC_HOST, HC_ENCLAVE, HC_SIDES };

HC_ALWAYS_INLINE enum hc_side hc_other(enum hc_side side)
{
    return side == HC_HOST ? HC_ENCLAVE : HC_HOST;
}

enum hc_state {
    HC_STATE_STARTING,
    HC_STATE_READY,
    HC_STATE_CLOSING,
    HC_STATE_FAILED,   /* could not start: the report says why */
    HC_STATE_POISONED, /* found a broken invariant: the report says which */
};

/* Why a side gave up. Text for people; the other side copies it in and cleans it. */
struct hc_report {
    uint32_t status;  /* enum hc_status */
    uint32_t error;   /* errno, or the signal that ended the enclave */
    uint32_t call;    /* function id it happened in, or UINT32_MAX */
    uint32_t written; /* set last: 1 when the rest is complete */
    char text[496];
};

/* What one side tells the other. Written by that side only. */
struct hc_side_board {
    uint32_t awake; /* responders that spin now; a hint, proved right by withdrawal */
    uint32_t state; /* enum hc_state; futex */
    uint32_t responders;
    uint32_t threads;  /* companions started; for people */
    uint64_t sleeps;   /* times that a responder went to sleep idle */
    uint64_t wakes;    /* times that one was woken */
    uint64_t stolen;   /* calls taken from another responder's lanes */
    uint64_t served;   /* calls run by responders */
    uint64_t switched; /* calls run by companions */
    uint8_t apart[HC_CELL_STRIDE - 56u];
    /* Rung by the other side, for this one. */
    uint32_t doorbell;  /* futex: a sleeping responder is wanted */
    uint32_t attention; /* futex: a slot wants its companion */
    uint8_t rung_apart[HC_CELL_STRIDE - 8u];
    /* Slots whose owner is a thread of this side and in use. */
    uint64_t active[HC_SLOT_WORDS];
    uint8_t active_apart[HC_CELL_STRIDE - 8u * HC_SLOT_WORDS];
    struct hc_report report;
};

HC_STATIC_ASSERT(offsetof(struct hc_side_board, doorbell) == HC_CELL_STRIDE, "own lines");
HC_STATIC_ASSERT(offsetof(struct hc_side_board, active) == 2u * HC_CELL_STRIDE, "own lines");
HC_STATIC_ASSERT(sizeof(struct hc_side_board) == 7u * HC_CELL_STRIDE, "own lines");

/*
 * The geometry: written once by the host before the other side exists, read once by each side,
 * checked by hc_geometry_check() and kept in private memory ever after.
 */
struct hc_geometry {
    uint64_t magic;
    uint32_t abi;
    uint32_t header_size; /* sizeof(struct hc_header) */
    uint64_t total_size;
    uint32_t slot_count; /* of both sides */
    uint32_t host_slots; /* slots [0, host_slots) belong to host threads, the rest inside */
    uint32_t cell_count; /* per lane; a power of two */
    uint32_t reserved;
    uint64_t window_size; /* per lane; a multiple of 4096 */
    uint64_t slots_at;    /* slot_stride apart: control, then three lanes */
    uint64_t slot_stride;
    uint64_t windows_at;    /* three per slot */
    uint64_t histograms_at; /* HC_SIDES * HC_HISTOGRAMS, by the calling side */
    uint64_t shared_at;     /* memory for user_check pointers */
    uint64_t shared_size;
    uint8_t digest[HC_DIGEST_SIZE]; /* of the interface that the host expects */
};

struct hc_header {
    struct hc_geometry geometry;
    uint8_t apart[256u - sizeof(struct hc_geometry)];
    struct hc_side_board board[HC_SIDES];
};

HC_STATIC_ASSERT(sizeof(struct hc_geometry) <= 256, "the geometry has room");
HC_STATIC_ASSERT(offsetof(struct hc_header, board) == 256, "boards start on their own lines");

#define HC_PAGE UINT64_C(4096)

HC_ALWAYS_INLINE uint64_t hc_page_up(uint64_t size)
{
    return (size + HC_PAGE - 1u) & ~(HC_PAGE - 1u);
}

/* Fills in everything that follows from the counts and sizes already set in `g`. */
static inline enum hc_status hc_geometry_plan(struct hc_geometry *g)
{
    if (g->slot_count == 0 || g->slot_count > HC_SLOTS_MAX || g->host_slots > g->slot_count)
        return HC_ERR_ARGUMENT;
    if (g->cell_count < HC_CELLS_MIN || g->cell_count > HC_CELLS_MAX ||
        (g->cell_count & (g->cell_count - 1u)) != 0)
        return HC_ERR_ARGUMENT;
    if (g->window_size < HC_PAGE || g->window_size > HC_WINDOW_MAX ||
        g->window_size % HC_PAGE != 0 || g->shared_size % HC_PAGE != 0 ||
        g->shared_size > (UINT64_C(1) << 40))
        return HC_ERR_ARGUMENT;
    g->magic = HC_MAGIC;
    g->abi = HC_ABI;
    g->header_size = (uint32_t)sizeof(struct hc_header);
    g->reserved = 0;
    g->slots_at = hc_page_up(sizeof(struct hc_header));
    g->slot_stride = hc_page_up(sizeof(struct hc_slot_control) +
                                (uint64_t)HC_LANES * g->cell_count * sizeof(struct hc_cell));
    g->windows_at = g->slots_at + g->slot_stride * g->slot_count;
    g->histograms_at = g->windows_at + (uint64_t)HC_LANES * g->slot_count * g->window_size;
    g->shared_at = g->histograms_at +
                   hc_page_up((uint64_t)HC_SIDES * HC_HISTOGRAMS * sizeof(struct hc_histogram));
    g->total_size = g->shared_at + g->shared_size;
    return HC_OK;
}

/*
 * Checks a private copy of the geometry against the size that was really mapped: everything is
 * planned again from the counts and must come out the same, so there is nothing to range-check.
 */
static inline enum hc_status hc_geometry_check(const struct hc_geometry *g, uint64_t mapped_size)
{
    struct hc_geometry again = *g;
    if (g->magic != HC_MAGIC || g->abi != HC_ABI ||
        g->header_size != (uint32_t)sizeof(struct hc_header))
        return HC_ERR_ABI;
    if (hc_geometry_plan(&again) != HC_OK)
        return HC_ERR_MESSAGE;
    if (again.total_size != g->total_size || again.slots_at != g->slots_at ||
        again.slot_stride != g->slot_stride || again.windows_at != g->windows_at ||
        again.histograms_at != g->histograms_at || again.shared_at != g->shared_at ||
        mapped_size < g->total_size)
        return HC_ERR_MESSAGE;
    return HC_OK;
}

/* ---- addresses, from a checked geometry and an index that is in range ----------------------- */

HC_ALWAYS_INLINE struct hc_slot_control *hc_u_slot(uint8_t *u_base, const struct hc_geometry *g,
                                                   uint32_t slot)
{
    return (struct hc_slot_control *)(void *)(u_base + g->slots_at + g->slot_stride * slot);
}

HC_ALWAYS_INLINE struct hc_cell *hc_u_lane(uint8_t *u_base, const struct hc_geometry *g,
                                           uint32_t slot, uint32_t lane)
{
    uint8_t *u_slot = (uint8_t *)hc_u_slot(u_base, g, slot);
    return (struct hc_cell *)(void *)(u_slot + sizeof(struct hc_slot_control) +
                                      (uint64_t)lane * g->cell_count * sizeof(struct hc_cell));
}

HC_ALWAYS_INLINE uint8_t *hc_u_window(uint8_t *u_base, const struct hc_geometry *g, uint32_t slot,
                                      uint32_t lane)
{
    return u_base + g->windows_at + ((uint64_t)slot * HC_LANES + lane) * g->window_size;
}

HC_ALWAYS_INLINE struct hc_histogram *hc_u_histogram(uint8_t *u_base, const struct hc_geometry *g,
                                                     enum hc_side caller, uint32_t id)
{
    uint32_t row = id < HC_HISTOGRAMS ? id : HC_HISTOGRAMS - 1u;
    uint64_t index = (uint64_t)caller * HC_HISTOGRAMS + row;
    return (struct hc_histogram *)(void *)(u_base + g->histograms_at +
                                           index * sizeof(struct hc_histogram));
}

#ifdef __cplusplus
}
#endif

#endif /* HOTCALLS_CHANNEL_H */
