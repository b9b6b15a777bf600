/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ordering.cpp -- lane.h on a processor that reorders: its own code, run by Relacy, which lets a
 * load return any value that the C++ memory model allows and finds races on what an order should
 * have published. (Not modelled by it: a load that is done after a later store.)
 *
 * The builtins of the compiler are replaced by functions here, so that each use of one in lane.h is
 * a site of its own, known by its function, and its order can be taken away. A scenario that then
 * still passes did not need it. What sleeps (responder_sleep and endpoint_companion_main, native/endpoint_*.c, hc_nudge and
 * hc_ring_* of port.h and call.h, hc_wait_slow of call.h) is written out below in their order, as
 * those functions need an operating system.
 *
 *   ordering list                                    scenarios, and sites that have an order
 *   ordering run SCENARIO N [FUNCTION OPERATION]     N interleavings, that order taken away;
 *                                                    0 when all passed, 1 when one failed
 */
/* How many values back a stale load may go: Relacy's three are fewer than a word passes through. */
#define atomic_history_size history_size_of_relacy
/* In this order: the first has what the second is made of. */
#include <relacy/pch.hpp>

#include <relacy/defs.hpp>
#undef atomic_history_size
namespace rl
{
size_t const atomic_history_size = 8;
}
#include <relacy/relacy.hpp>
#undef assert
#undef new
#undef delete
#undef malloc
#undef calloc
#undef realloc
#undef free
#undef errno

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>

/* ---- the memory of the model ------------------------------------------------------------------ */

namespace
{

constexpr unsigned ATOMICS = 24;

/* What lane.h takes for memory, by address; made anew for each interleaving. */
struct memory {
    rl::atomic<uint64_t> cells[ATOMICS];
    rl::mutex kernel;
    rl::condition_variable sleepers;
};

memory *g_memory;
const volatile void *g_addresses[ATOMICS];
unsigned g_used;

/* A use of a builtin with an order. Plain arrays: Relacy has the allocator while a scenario runs. */
struct site {
    const char *function;
    const char *operation;
    const char *order;
};

site g_sites[64];
unsigned g_site_count;
/* The one whose order is taken away. */
const char *g_weak_function = "", *g_weak_operation = "";

unsigned index_of(const volatile void *address)
{
    for (unsigned i = 0; i < g_used; i++)
        if (g_addresses[i] == address)
            return i;
    std::fprintf(stderr, "ordering: an atomic that no scenario has set up\n");
    std::abort();
}

rl::atomic<uint64_t> &at(const volatile void *address)
{
    return g_memory->cells[index_of(address)];
}

/* Sets up the atomic at `address`. */
void track(const volatile void *address, uint64_t value)
{
    g_addresses[g_used] = address;
    g_memory->cells[g_used++].store(value, rl::mo_relaxed, $);
}

/* The order that was asked for, or none when this site is the one that is weakened. */
rl::memory_order order(int asked, const char *function, const char *operation)
{
    static const char *const names[] = {"relaxed", "consume", "acquire",
                                        "release", "acq_rel", "seq_cst"};
    static const rl::memory_order orders[] = {rl::mo_relaxed, rl::mo_acquire, rl::mo_acquire,
                                              rl::mo_release, rl::mo_acq_rel, rl::mo_seq_cst};
    if (asked == __ATOMIC_RELAXED)
        return rl::mo_relaxed;
    unsigned i = 0;
    while (i < g_site_count && (std::strcmp(g_sites[i].function, function) != 0 ||
                                std::strcmp(g_sites[i].operation, operation) != 0))
        i++;
    if (i == g_site_count && i < sizeof g_sites / sizeof *g_sites)
        g_sites[g_site_count++] = {function, operation, names[asked]};
    bool weak = std::strcmp(function, g_weak_function) == 0 &&
                std::strcmp(operation, g_weak_operation) == 0;
    return weak ? rl::mo_relaxed : orders[asked];
}

template <typename T> T load(const T *p, rl::memory_order mo)
{
    return static_cast<T>(at(p).load(mo, $));
}

template <typename T, typename V> void store(T *p, V value, rl::memory_order mo)
{
    at(p).store(static_cast<uint64_t>(value), mo, $);
}

template <typename T, typename V>
bool exchange_if(T *p, T *expected, V value, rl::memory_order mo, bool ordered_failure)
{
    uint64_t seen = *expected;
    rl::memory_order failed = ordered_failure ? mo : rl::mo_relaxed;
    /*
     * An exchange that is sequentially consistent even when it fails (hc_claim) is in the one order
     * of all such operations, behind those that it knows of. Relacy has that order between fences
     * only.
     */
    if (ordered_failure && mo == rl::mo_seq_cst)
        rl::atomic_thread_fence(mo, $);
    bool done = at(p).compare_exchange_strong(seen, static_cast<uint64_t>(value), mo, $, failed, $);
    *expected = static_cast<T>(seen);
    return done;
}

template <typename T, typename V> T exchange(T *p, V value, rl::memory_order mo)
{
    return static_cast<T>(at(p).exchange(static_cast<uint64_t>(value), mo, $));
}

template <typename T, typename V> T add(T *p, V value, rl::memory_order mo)
{
    return static_cast<T>(at(p).fetch_add(static_cast<uint64_t>(value), mo, $) +
                          static_cast<uint64_t>(value));
}

void fence(rl::memory_order mo)
{
    if (mo != rl::mo_relaxed)
        rl::atomic_thread_fence(mo, $);
}

} // namespace

/* From here on the builtins are the functions above. arch.h, with its instructions, comes first. */
#include "hotcalls/channel.h"

#define ORDER(mo, what) order(mo, __func__, what)
#define __atomic_load_n(p, mo) load(p, ORDER(mo, "load"))
#define __atomic_store_n(p, v, mo) store(p, v, ORDER(mo, "store"))
#define __atomic_exchange_n(p, v, mo) exchange(p, v, ORDER(mo, "exchange"))
#define __atomic_compare_exchange_n(p, e, v, weak, mo, failed) \
    exchange_if(p, e, v, ORDER(mo, "compare-exchange"), (failed) != __ATOMIC_RELAXED)
#define __atomic_add_fetch(p, v, mo) add(p, v, ORDER(mo, "add"))
#define __atomic_thread_fence(mo) fence(ORDER(mo, "fence"))
/* As on a processor where an exchange does not order later loads. */
#define hc_fence_after_exchange() fence(ORDER(__ATOMIC_SEQ_CST, "fence"))

#include "hotcalls/lane.h"

/* ---- the operating system ---------------------------------------------------------------------- */

namespace
{

template <typename T> void futex_wait(const T *p, T still)
{
    g_memory->kernel.lock($);
    if (load(p, rl::mo_relaxed) == still)
        g_memory->sleepers.wait(g_memory->kernel, $);
    g_memory->kernel.unlock($);
}

void futex_wake()
{
    g_memory->kernel.lock($);
    g_memory->sleepers.notify_all($);
    g_memory->kernel.unlock($);
}

/* ---- the channel of a scenario ----------------------------------------------------------------- */

constexpr int CELLS = 2;

struct hc_cell g_forward[CELLS], g_reverse[CELLS];
struct hc_lane_in g_in, g_back;
uint32_t g_awake, g_doorbell, g_bell;

void set_up_lane(struct hc_lane_in *lane, struct hc_cell *cells)
{
    *lane = {};
    lane->u_cells = cells;
    lane->mask = CELLS - 1;
    for (int i = 0; i < CELLS; i++)
        track(&cells[i].word, 0);
    track(&lane->next, 1);
    track(&lane->origin, 1);
    track(&lane->claim, 0);
}

void set_up(memory *made, bool reverse)
{
    g_memory = made;
    g_used = 0;
    set_up_lane(&g_in, g_forward);
    if (reverse)
        set_up_lane(&g_back, g_reverse);
    track(&g_awake, 1);
    track(&g_doorbell, 0);
    track(&g_bell, 0);
}

/* hc_wait_slow: sleeps on the word until the call is answered. */
template <typename LookBack> void await_asleep(struct hc_cell *cell, uint64_t n, LookBack look_back)
{
    for (;;) {
        uint64_t word = __atomic_load_n(&cell->word, __ATOMIC_ACQUIRE);
        if (word == hc_word(n, HC_WORD_DONE))
            return;
        if ((word & HC_WORD_SLEEP) == 0) {
            if (!hc_fall_asleep(cell, word))
                continue;
            word |= HC_WORD_SLEEP;
        }
        if (!look_back())
            futex_wait(&cell->word, word);
    }
}

bool nothing_back()
{
    return false;
}

void await_spinning(struct hc_cell *cell, uint64_t n)
{
    while (__atomic_load_n(&cell->word, __ATOMIC_ACQUIRE) != hc_word(n, HC_WORD_DONE))
        rl::yield(1, $);
}

/* Takes the next call under the claim and runs `body`; says whether there was one. */
template <typename Body> bool serve_one(struct hc_lane_in *lane, bool companion, Body body)
{
    if (!hc_peek(lane, companion) || !hc_claim(lane))
        return false;
    struct hc_taking taking;
    bool took = hc_take(lane, companion, &taking) == HC_TOOK;
    if (took) {
        body(taking.n);
        if (taking.bound)
            hc_finish_bound(taking.u_cell, taking.n);
        else if (hc_finish(taking.u_cell, taking.n) == HC_FINISHED_WAKE)
            futex_wake();
    }
    hc_unclaim(lane);
    return took;
}

/* ---- scenarios ---------------------------------------------------------------------------------- */

/* A call and the next in the same cell: what is written before an order is seen behind it. */
struct published : rl::test_suite<published, 2> {
    memory made;
    rl::var<int> message;
    void before()
    {
        set_up(&made, false);
        message($) = 0;
    }
    void thread(unsigned who)
    {
        if (who == 0) {
            for (uint64_t n = 1; n <= 2; n++) {
                message($) = static_cast<int>(10 * n);
                hc_post_quick(&g_forward[0], n);
                await_spinning(&g_forward[0], n);
                RL_ASSERT(message($) == static_cast<int>(10 * n + 1));
            }
            return;
        }
        for (int left = 2; left != 0;)
            if (serve_one(&g_in, false, [this](uint64_t) { message($) = message($) + 1; }))
                left--;
            else
                rl::yield(1, $);
    }
};

/* The same with the poster's fence, and an answer without an exchange (sgx_channel.h). */
struct published_quick : rl::test_suite<published_quick, 2> {
    memory made;
    rl::var<int> message;
    void before()
    {
        set_up(&made, false);
        message($) = 0;
    }
    void thread(unsigned who)
    {
        if (who == 0) {
            message($) = 10;
            hc_post(&g_forward[0], 1, 0);
            await_spinning(&g_forward[0], 1);
            RL_ASSERT(message($) == 11);
            return;
        }
        struct hc_taking taking;
        while (hc_take(&g_in, false, &taking) != HC_TOOK)
            rl::yield(1, $);
        message($) = message($) + 1;
        hc_finish_quick(taking.u_cell, taking.n);
    }
};

/* A poster falls asleep while its call is answered: it is woken. */
struct asleep : rl::test_suite<asleep, 2> {
    memory made;
    rl::var<int> message;
    void before()
    {
        set_up(&made, false);
        message($) = 0;
    }
    void thread(unsigned who)
    {
        if (who == 0) {
            message($) = 10;
            hc_post(&g_forward[0], 1, 0);
            await_asleep(&g_forward[0], 1, nothing_back);
            RL_ASSERT(message($) == 11);
            return;
        }
        while (!serve_one(&g_in, false, [this](uint64_t) { message($) = message($) + 1; }))
            rl::yield(1, $);
    }
};

/* A call is withdrawn while it is picked up: one of the two, and its cell is the winner's. */
struct withdrawn : rl::test_suite<withdrawn, 2> {
    memory made;
    rl::var<int> message;
    rl::atomic<int> gone;
    void before()
    {
        set_up(&made, false);
        message($) = 0;
        gone.store(0, rl::mo_relaxed, $);
    }
    void thread(unsigned who)
    {
        if (who == 0) {
            message($) = 10;
            hc_post_quick(&g_forward[0], 1);
            if (hc_withdraw(&g_forward[0], 1, 0)) {
                message($) = 20;
                hc_post_quick(&g_forward[0], 1);
            }
            await_spinning(&g_forward[0], 1);
            RL_ASSERT(message($) == 11 || message($) == 21);
            return;
        }
        while (!serve_one(&g_in, false, [this](uint64_t) { message($) = message($) + 1; }))
            rl::yield(1, $);
    }
};

/* A running call calls back to the thread that waits for it, which is about to sleep. */
struct called_back : rl::test_suite<called_back, 2> {
    memory made;
    rl::var<int> message;
    rl::var<int> reply;
    void before()
    {
        set_up(&made, true);
        message($) = 0;
        reply($) = 0;
    }
    void thread(unsigned who)
    {
        if (who == 0) {
            message($) = 10;
            hc_post(&g_forward[0], 1, 0);
            await_asleep(&g_forward[0], 1, [this] {
                return serve_one(&g_back, true, [this](uint64_t) { reply($) = reply($) + 1; });
            });
            RL_ASSERT(message($) == 12);
            return;
        }
        auto body = [this](uint64_t n) {
            reply($) = 1;
            hc_post(&g_reverse[0], 1, 0);
            if (hc_rouse(&g_forward[0], n))
                futex_wake();
            await_asleep(&g_reverse[0], 1, nothing_back);
            message($) = message($) + reply($);
        };
        while (!serve_one(&g_in, false, body))
            rl::yield(1, $);
    }
};

/* hc_call_oneway, hc_nudge, hc_ring_responder */
void call_oneway(uint64_t n)
{
    hc_post(&g_forward[0], n, 0);
    if (__atomic_load_n(&g_awake, __ATOMIC_RELAXED) == 0) {
        __atomic_store_n(&g_doorbell, 1u, __ATOMIC_RELEASE);
        futex_wake();
    }
}

/* The same in native/endpoint_responder.c. */
void responder_sleep()
{
    uint32_t rung = __atomic_load_n(&g_doorbell, __ATOMIC_ACQUIRE);
    (void)__atomic_add_fetch(&g_awake, -1, __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!hc_peek(&g_in, false))
        futex_wait(&g_doorbell, rung);
    (void)__atomic_add_fetch(&g_awake, 1, __ATOMIC_SEQ_CST);
}

/* A one-way call is posted while the responder goes to sleep: it is run. */
struct nudged : rl::test_suite<nudged, 2> {
    memory made;
    rl::var<int> message;
    void before()
    {
        set_up(&made, false);
        message($) = 0;
    }
    void thread(unsigned who)
    {
        if (who == 0) {
            message($) = 10;
            call_oneway(1);
            return;
        }
        while (!serve_one(&g_in, false, [this](uint64_t) { RL_ASSERT(message($) == 10); }))
            responder_sleep();
    }
};

/* Two threads of one side share a lane: its calls happen one after the other, each once. */
struct shared_lane : rl::test_suite<shared_lane, 3> {
    memory made;
    rl::var<int> effects;
    rl::atomic<int> done;
    void before()
    {
        set_up(&made, false);
        effects($) = 0;
        done.store(0, rl::mo_relaxed, $);
    }
    void after()
    {
        RL_ASSERT(effects($) == 2);
    }
    void thread(unsigned who)
    {
        if (who == 0) {
            hc_post_bound(&g_forward[0], 1);
            hc_post(&g_forward[1], 2, 0);
            return;
        }
        auto body = [this](uint64_t n) {
            effects($) = effects($) + 1;
            RL_ASSERT(effects($) == static_cast<int>(n));
            done.fetch_add(1, rl::mo_relaxed, $);
        };
        while (done.load(rl::mo_relaxed, $) != 2)
            if (!serve_one(&g_in, false, body))
                rl::yield(1, $);
    }
};

/* The members of a group: whoever takes the first, which is posted last, finds the second. */
struct grouped : rl::test_suite<grouped, 2> {
    memory made;
    rl::var<int> first;
    rl::var<int> second;
    void before()
    {
        set_up(&made, false);
        first($) = 0;
        second($) = 0;
    }
    void thread(unsigned who)
    {
        if (who == 0) {
            first($) = 1;
            second($) = 2;
            hc_post(&g_forward[1], 2, 0);
            hc_post_bound(&g_forward[0], 1);
            await_spinning(&g_forward[0], 1);
            RL_ASSERT(first($) == 11);
            await_spinning(&g_forward[1], 2);
            RL_ASSERT(second($) == 12);
            return;
        }
        struct hc_taking taking;
        while (hc_take(&g_in, false, &taking) != HC_TOOK)
            rl::yield(1, $);
        RL_ASSERT(taking.n == 1 && taking.bound);
        first($) = first($) + 10;
        hc_finish_bound(taking.u_cell, taking.n);
        RL_ASSERT(hc_take(&g_in, false, &taking) == HC_TOOK);
        RL_ASSERT(taking.n == 2 && !taking.bound);
        second($) = second($) + 10;
        RL_ASSERT(hc_finish(taking.u_cell, taking.n) == HC_FINISHED);
    }
};

/* The poster's half of a call that nobody took in time: handed over, its companion rung. */
void call_by_companion(rl::var<int> &message)
{
    message($) = 10;
    hc_post_quick(&g_forward[0], 1);
    if (hc_hand_over(&g_forward[0], 1)) {
        /* hc_ring_companion */
        __atomic_store_n(&g_bell, 1u, __ATOMIC_RELEASE);
        futex_wake();
    }
    await_asleep(&g_forward[0], 1, nothing_back);
    RL_ASSERT(message($) == 11);
    /* So that the companion ends. */
    store(&g_bell, 2u, rl::mo_release);
    futex_wake();
}

/* endpoint_companion_main */
template <typename Body> void be_companion(Body body)
{
    for (;;) {
        uint32_t seen = __atomic_load_n(&g_bell, __ATOMIC_ACQUIRE);
        if (seen == 2)
            return;
        while (serve_one(&g_in, true, body))
            ;
        futex_wait(&g_bell, seen);
    }
}

/* A companion that is rung sees the call that it was rung for. */
struct rung : rl::test_suite<rung, 2> {
    memory made;
    rl::var<int> message;
    void before()
    {
        set_up(&made, false);
        message($) = 0;
    }
    void thread(unsigned who)
    {
        if (who == 0)
            call_by_companion(message);
        else
            be_companion([this](uint64_t) { message($) = message($) + 1; });
    }
};

/* It is rung while another thread of its side holds the claim: one of the two takes the call. */
struct rung_while_claimed : rl::test_suite<rung_while_claimed, 3> {
    memory made;
    rl::var<int> message;
    void before()
    {
        set_up(&made, false);
        message($) = 0;
    }
    void thread(unsigned who)
    {
        auto body = [this](uint64_t) { message($) = message($) + 1; };
        if (who == 0) {
            call_by_companion(message);
        } else if (who == 1) {
            be_companion(body);
        } else if (hc_claim(&g_in)) {
            /* A responder: hot calls only, and switch calls too after it has let go. */
            struct hc_taking taking;
            if (hc_take(&g_in, false, &taking) == HC_TOOK) {
                body(taking.n);
                if (hc_finish(taking.u_cell, taking.n) == HC_FINISHED_WAKE)
                    futex_wake();
            }
            hc_unclaim(&g_in);
            while (serve_one(&g_in, true, body))
                ;
        }
    }
};

/* ---- the command --------------------------------------------------------------------------------- */

/* Swallows what Relacy prints, without memory of its own: see `site`. */
struct nowhere : std::streambuf {
    int overflow(int c) override
    {
        return c == EOF ? 0 : c;
    }
};

template <typename Scenario> bool passes(rl::iteration_t iterations)
{
    rl::test_params params;
    nowhere sink;
    std::ostream quiet(&sink);
    params.iteration_count = iterations;
    params.search_type = rl::random_scheduler_type;
    params.output_stream = &quiet;
    params.progress_stream = &quiet;
    bool passed = rl::simulate<Scenario>(params);
    if (!passed)
        std::cout << rl::test_result_str(params.test_result) << " in interleaving "
                  << params.stop_iteration << "\n";
    return passed;
}

struct scenario {
    const char *name;
    bool (*passes)(rl::iteration_t);
};

const scenario SCENARIOS[] = {
    {"published", passes<published>},
    {"published_quick", passes<published_quick>},
    {"asleep", passes<asleep>},
    {"withdrawn", passes<withdrawn>},
    {"called_back", passes<called_back>},
    {"nudged", passes<nudged>},
    {"shared_lane", passes<shared_lane>},
    {"grouped", passes<grouped>},
    {"rung", passes<rung>},
    {"rung_while_claimed", passes<rung_while_claimed>},
};

} // namespace

int main(int argc, char **argv)
{
    std::string command = argc > 1 ? argv[1] : "";
    if (command == "list") {
        for (const scenario &each : SCENARIOS) {
            std::cout << "scenario " << each.name << "\n";
            if (!each.passes(50))
                return 1;
        }
        for (unsigned i = 0; i < g_site_count; i++)
            std::cout << "site " << g_sites[i].function << " " << g_sites[i].operation << " "
                      << g_sites[i].order << "\n";
        return 0;
    }
    if (command == "run" && (argc == 4 || argc == 6)) {
        rl::iteration_t interleavings = std::strtoul(argv[3], nullptr, 10);
        if (argc == 6) {
            g_weak_function = argv[4];
            g_weak_operation = argv[5];
        }
        for (const scenario &each : SCENARIOS)
            if (std::strcmp(each.name, argv[2]) == 0)
                return each.passes(interleavings) ? 0 : 1;
    }
    std::cerr
        << "usage: ordering list | ordering run SCENARIO INTERLEAVINGS [FUNCTION OPERATION]\n";
    return 2;
}
