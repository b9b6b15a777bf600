/* SPDX-License-Identifier: Apache-2.0 */
/* guard_test.c -- what a caller may not do: private ecalls, forbidden re-entry, bad messages. */
#include "echo.h"

TEST(test_private_ecall_is_refused_from_outside)
{
    struct hc_port *port = echo_start();
    uint64_t token = 1;
    CHECK_EQ(pair_call(port, E_PRIVATE, &token, sizeof token), HC_ERR_NOT_ALLOWED);
    CHECK_EQ(g_ran_count, 0);
    pair_stop();
}

TEST(test_private_ecall_is_allowed_during_the_ocall_that_names_it)
{
    struct hc_port *port = echo_start();
    uint64_t id = O_CALLS_PRIVATE;
    CHECK_EQ(pair_call(port, E_OCALL, &id, sizeof id), HC_OK);
    CHECK_EQ(g_inner_status, HC_OK);
    CHECK_EQ(g_ran_count, 1);
    CHECK_EQ(g_ran[0], 70 + E_PRIVATE);
    pair_stop();
}

TEST(test_public_ecall_is_refused_during_an_ocall_that_does_not_name_it)
{
    struct hc_port *port = echo_start();
    uint64_t id = O_CALLS_NOTE;
    CHECK_EQ(pair_call(port, E_OCALL, &id, sizeof id), HC_OK);
    CHECK_EQ(g_inner_status, HC_ERR_NOT_ALLOWED);
    CHECK_EQ(g_ran_count, 0);
    pair_stop();
}

/* Posts a call of E_PRIVATE on the NESTED lane of slot 0, as nobody honest would. */
static void forge_nested(void)
{
    struct hc_cell *u_cell = pair_cell(0, HC_LANE_NESTED, 0);
    const struct hc_lane_in *lane = &g_pair.end[HC_ENCLAVE].slots[0].in[HC_LANE_NESTED];
    uint64_t token = 66;
    u_cell->id = E_PRIVATE;
    u_cell->size = u_cell->offset = 0;
    memcpy(u_cell->payload, &token, sizeof token);
    u_cell->word = hc_word(lane->next, HC_WORD_POSTED);
}

static uint32_t g_forged_status;

/* After an ocall that allows E_PRIVATE the enclave waits for a submitted ocall, which allows none. */
static void wait_for_submitted_ocall(void)
{
    struct hc_call call;
    uint64_t token = 8;
    g_in_the_middle = NULL;
    struct hc_port *port = pair_current(HC_ENCLAVE);
    CHECK_EQ(pair_call(port, O_CALLS_PRIVATE, NULL, 0), HC_OK);
    CHECK_EQ(g_inner_status, HC_OK);
    CHECK_EQ(pair_submit(port, &call, O_NOTE, &token, sizeof token), HC_OK);
    forge_nested();
    CHECK_EQ(pair_collect(&call, &token, sizeof token), HC_OK);
    g_forged_status = pair_cell(0, HC_LANE_NESTED, 0)->status;
}

TEST(test_what_an_earlier_ocall_allowed_is_refused_during_a_submitted_one)
{
    struct hc_port *port = echo_start();
    g_in_the_middle = wait_for_submitted_ocall;
    CHECK_EQ(note(port, 1), HC_OK);
    CHECK_EQ(g_forged_status, HC_ERR_NOT_ALLOWED);
    for (uint32_t i = 0; i < g_ran_count; i++)
        CHECK(g_ran[i] != 66);
    pair_stop();
}

/* The host's responder runs what a thread of the enclave's own posts, and that serves what comes. */
static void host_responds(enum hc_side waiting)
{
    if (waiting == HC_ENCLAVE) {
        (void)pair_drain(HC_HOST, PAIR_HOST_SLOTS, true);
    } else {
        /* Others inside were there first. */
        CHECK_EQ(pair_drain(HC_ENCLAVE, PAIR_HOST_SLOTS, true), 0);
        CHECK(hc_serve(pair_port(HC_ENCLAVE, 0)));
    }
}

TEST(test_call_back_is_run_by_the_thread_that_waits_and_allowed_what_its_ocall_allows)
{
    (void)echo_start();
    g_pair.other = host_responds;
    struct hc_port *port = pair_port(HC_ENCLAVE, 0);
    CHECK_EQ(pair_call(port, O_CALLS_PRIVATE, NULL, 0), HC_OK);
    CHECK_EQ(g_inner_status, HC_OK);
    CHECK_EQ(g_ran_count, 1);
    CHECK_EQ(pair_call(port, O_CALLS_NOTE, NULL, 0), HC_OK);
    CHECK_EQ(g_inner_status, HC_ERR_NOT_ALLOWED);
    pair_stop();
}

/* Posts a call of E_PRIVATE to the enclave on the REVERSE lane of the first slot of its own. */
static struct hc_cell *forge_back(void)
{
    struct hc_cell *u_cell = pair_cell(PAIR_HOST_SLOTS, HC_LANE_REVERSE, 0);
    u_cell->id = E_PRIVATE;
    u_cell->word = hc_word(g_pair.end[HC_ENCLAVE].slots[PAIR_HOST_SLOTS].in[HC_LANE_REVERSE].next,
                           HC_WORD_POSTED);
    return u_cell;
}

/* Whoever is not that thread may still run it when the ocall has returned. */
TEST(test_call_back_run_by_another_thread_is_refused_although_an_ocall_that_allows_it_begins)
{
    (void)echo_start();
    struct hc_port *port = pair_port(HC_ENCLAVE, 0);
    struct hc_cell *u_cell = forge_back();
    port->allow = g_allow_private;
    CHECK_EQ(pair_drain(HC_ENCLAVE, PAIR_HOST_SLOTS, true), 1);
    CHECK_EQ(u_cell->status, HC_ERR_NOT_ALLOWED);
    CHECK_EQ(g_ran_count, 0);
    pair_stop();
}

TEST(test_call_back_to_a_thread_torn_out_of_its_ocall_is_refused)
{
    (void)echo_start();
    struct hc_port *port = pair_port(HC_ENCLAVE, 0);
    struct hc_cell *u_cell = forge_back();
    uint64_t served = 0;
    port->allow = g_allow_private;
    (void)hc_port_enter(port);
    CHECK(hc_drain_back(&g_pair.thread[HC_ENCLAVE], port->slot, true, true, &served));
    CHECK_EQ(served, 1);
    CHECK_EQ(u_cell->status, HC_ERR_NOT_ALLOWED);
    CHECK_EQ(g_ran_count, 0);
    pair_stop();
}

/* While another thread runs a call back that nobody waits for, the slot's thread begins to wait. */
static void begin_to_wait(void)
{
    uint64_t token = 2;
    g_in_the_middle = NULL;
    (void)hc_port_enter(pair_port(HC_HOST, 0));
    CHECK_EQ(pair_oneway(&g_pair.end[HC_ENCLAVE].slots[0].port, O_NOTE, &token, sizeof token),
             HC_OK);
}

TEST(test_call_back_for_a_thread_that_has_begun_to_wait_is_not_taken_along_with_one_before_it)
{
    struct hc_port *port = echo_start();
    uint64_t token = 1;
    g_in_the_middle = begin_to_wait;
    CHECK_EQ(pair_oneway(&g_pair.end[HC_ENCLAVE].slots[0].port, O_NOTE, &token, sizeof token),
             HC_OK);
    CHECK_EQ(pair_drain(HC_HOST, 0, true), 1);
    CHECK_EQ(g_ran_count, 1);
    CHECK(hc_serve(port));
    CHECK_EQ(g_ran_count, 2);
    pair_stop();
}

TEST(test_call_back_after_its_ocall_returned_is_refused)
{
    (void)echo_start();
    g_pair.other = host_responds;
    struct hc_port *port = pair_port(HC_ENCLAVE, 0);
    CHECK_EQ(pair_call(port, O_CALLS_PRIVATE, NULL, 0), HC_OK);
    struct hc_cell *u_cell = pair_cell(PAIR_HOST_SLOTS, HC_LANE_REVERSE, 0);
    uint64_t next = g_pair.end[HC_ENCLAVE].slots[PAIR_HOST_SLOTS].in[HC_LANE_REVERSE].next;
    u_cell->id = E_PRIVATE;
    u_cell->word = hc_word(next, HC_WORD_POSTED);
    CHECK_EQ(pair_drain(HC_ENCLAVE, PAIR_HOST_SLOTS, true), 1);
    CHECK_EQ(u_cell->status, HC_ERR_NOT_ALLOWED);
    CHECK_EQ(g_ran_count, 1);
    pair_stop();
}

static bool g_detached;

static void note_detached(void)
{
    g_detached = g_pair.thread[HC_ENCLAVE].current->running.detached;
}

TEST(test_submitted_call_is_marked_detached_and_a_plain_one_is_not)
{
    struct hc_port *port = echo_start();
    struct hc_call call;
    g_in_the_middle = note_detached;
    CHECK_EQ(submit_note(port, &call, 1), HC_OK);
    collect_note(&call, 1);
    CHECK(g_detached);
    CHECK_EQ(note(port, 2), HC_OK);
    CHECK(!g_detached);
    pair_stop();
}

TEST(test_oneway_ocall_of_an_ecall_runs_before_its_caller_goes_on)
{
    struct hc_port *port = echo_start();
    g_pair.end[HC_HOST].u_board->awake = 0;
    g_pair.end[HC_HOST].bounds.spin = 1;
    port->mode = HC_MODE_SWITCH;
    CHECK_EQ(pair_call(port, E_ONEWAY_OCALL, NULL, 0), HC_OK);
    /* Or somebody was woken who runs it. */
    if (g_pair.end[HC_HOST].u_board->doorbell == 0) {
        CHECK_EQ(g_ran_count, 1);
        CHECK_EQ(g_ran[0], 77);
    }
    pair_stop();
}

/* An ocall that the enclave gave up runs on, and calls in again: nobody inside waits for that. */
TEST(test_call_in_from_an_abandoned_ocall_is_refused_by_the_companion)
{
    struct hc_port *port = echo_start();
    struct hc_slot *host = &g_pair.end[HC_HOST].slots[0];
    struct hc_call orphan;
    uint64_t token = 1;
    CHECK_EQ(note(port, 1), HC_OK);
    CHECK_EQ(hc_call_begin(&host->reverse, &orphan, E_PRIVATE, sizeof token, 0), HC_OK);
    CHECK_EQ(hc_call_submit(&orphan, &token, sizeof token), HC_OK);
    struct hc_slot *inside = &g_pair.end[HC_ENCLAVE].slots[0];
    uint64_t served = 0;
    hc_drain_orphans(&g_pair.thread[HC_ENCLAVE], inside, &served);
    CHECK_EQ(served, 1);
    CHECK_EQ(pair_collect(&orphan, &token, sizeof token), HC_ERR_NOT_ALLOWED);
    pair_stop();
}

TEST(test_caller_learns_that_the_other_side_gave_the_channel_up)
{
    struct hc_port *port = echo_start();
    uint64_t token = 1;
    hc_break(&g_pair.end[HC_ENCLAVE], HC_ERR_POISONED, "found by a test");
    g_pair.other = NULL;
    CHECK_EQ(pair_call(port, E_NOTE, &token, sizeof token), HC_ERR_POISONED);
    pair_stop();
}

TEST(test_both_ports_of_a_slot_ring_its_bell_with_new_values)
{
    struct hc_port *port = echo_start();
    struct hc_slot_control *u_control = hc_u_slot(g_pair.u_base, &g_pair.geometry, 0);
    struct hc_port *ports[] = {port, &g_pair.end[HC_HOST].slots[0].reverse};
    uint32_t before = u_control->owner_bell;
    for (int i = 0; i < 10; i++) {
        hc_ring_companion(ports[i % 3 == 0], false);
        CHECK(u_control->owner_bell != before);
        before = u_control->owner_bell;
    }
    pair_stop();
}

/* What a forged cell says about its message, and what becomes of the call. */
static uint32_t forged_message(uint32_t id, uint32_t offset, uint32_t size, const void *ms,
                               size_t ms_size)
{
    struct hc_cell *u_cell = pair_cell(0, HC_LANE_FORWARD, 0);
    const struct hc_lane_in *lane = &g_pair.end[HC_ENCLAVE].slots[0].in[HC_LANE_FORWARD];
    u_cell->id = id;
    u_cell->offset = offset;
    u_cell->size = size;
    if (ms_size <= HC_INLINE_SIZE)
        memcpy(u_cell->payload, ms, ms_size);
    u_cell->word = hc_word(lane->next, HC_WORD_POSTED);
    CHECK_EQ(pair_drain(HC_ENCLAVE, 0, false), 1);
    CHECK_EQ(u_cell->word & 3u, HC_WORD_DONE);
    return u_cell->status;
}

TEST(test_message_outside_the_window_is_refused)
{
    (void)echo_start();
    struct copy ms = {16, 0};
    static const struct {
        uint32_t offset, size;
    } bad[] = {{0, HC_PAGE + 1}, {HC_PAGE, 1},    {HC_PAGE - 15, 16},
               {UINT32_MAX, 1},  {1, UINT32_MAX}, {UINT32_MAX, UINT32_MAX}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK_EQ(forged_message(E_COPY, bad[i].offset, bad[i].size, &ms, sizeof ms),
                 HC_ERR_MESSAGE);
    CHECK_EQ(forged_message(E_COPY, HC_PAGE - 16, 16, &ms, sizeof ms), HC_OK);
    CHECK_EQ(forged_message(E_COPY, 0, HC_PAGE, &ms, sizeof ms), HC_OK);
    pair_stop();
}

TEST(test_buffers_larger_than_the_message_are_refused)
{
    (void)echo_start();
    static const struct copy bad[] = {{17, 0},
                                      {0, 33},
                                      {16, 17},
                                      {UINT64_MAX, 0},
                                      {0, UINT64_MAX},
                                      {UINT64_MAX - 7, 16},
                                      {1, UINT64_C(1) << 63}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK_EQ(forged_message(E_COPY, 64, i == 1 ? 32 : 16, &bad[i], sizeof bad[i]),
                 HC_ERR_MESSAGE);
    CHECK_EQ(forged_message(E_LARGE, 0, sizeof(struct large) - 1u, NULL, 100), HC_ERR_MESSAGE);
    CHECK_EQ(forged_message(E_LARGE, 0, 0, NULL, 100), HC_ERR_MESSAGE);
    CHECK_EQ(forged_message(E_LARGE, 0, sizeof(struct large), NULL, 100), HC_OK);
    pair_stop();
}

TEST(test_arena_is_empty_again_after_every_call)
{
    (void)echo_start();
    struct copy ms = {1024, 1024};
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(forged_message(E_COPY, 0, 2048, &ms, sizeof ms), HC_OK);
    CHECK_EQ(g_pair.end[HC_ENCLAVE].slots[0].port.arena.used, 0);
    pair_stop();
}

static struct hc_frame frame_over(uint8_t *bytes, uint32_t size)
{
    struct hc_frame frame;
    memset(&frame, 0, sizeof frame);
    frame.port = &g_pair.end[HC_ENCLAVE].slots[0].port;
    frame.u_message = bytes;
    frame.size = size;
    return frame;
}

TEST(test_string_ends_with_its_first_zero_or_is_refused)
{
    (void)echo_start();
    void *copy;
    uint8_t fine[] = "abc", inner[] = "a\0c", open[] = {'a', 'b', 'c'}, wide[8] = {1, 0, 0, 0};
    struct hc_frame frame = frame_over(fine, sizeof fine);
    CHECK_EQ(hc_frame_string(&frame, 4, 1, &copy), HC_OK);
    CHECK(memcmp(copy, "abc", 4) == 0);
    frame = frame_over(inner, sizeof inner);
    CHECK_EQ(hc_frame_string(&frame, 4, 1, &copy), HC_ERR_MESSAGE);
    frame = frame_over(open, sizeof open);
    CHECK_EQ(hc_frame_string(&frame, 3, 1, &copy), HC_ERR_MESSAGE);
    frame = frame_over(open, sizeof open);
    CHECK_EQ(hc_frame_string(&frame, 0, 1, &copy), HC_ERR_MESSAGE);
    frame = frame_over(wide, sizeof wide);
    CHECK_EQ(hc_frame_string(&frame, 8, 4, &copy), HC_OK);
    frame = frame_over(wide, sizeof wide);
    CHECK_EQ(hc_frame_string(&frame, 7, 4, &copy), HC_ERR_MESSAGE);
    pair_stop();
}

TEST(test_out_buffer_is_zeroed_unless_it_will_be_overwritten)
{
    (void)echo_start();
    uint8_t window[64];
    void *buffer;
    size_t position;
    struct hc_frame frame = frame_over(window, sizeof window);
    memset(frame.port->arena.base, 0xa5, 256);
    CHECK_EQ(hc_frame_out(&frame, 48, 0, &buffer, &position), HC_OK);
    for (int i = 0; i < 48; i++)
        CHECK_EQ(((uint8_t *)buffer)[i], 0);
    CHECK_EQ(hc_frame_out(&frame, 16, HC_NRZ, &buffer, &position), HC_OK);
    CHECK_EQ(((uint8_t *)buffer)[0], 0xa5);
    CHECK_EQ(position, 48);
    pair_stop();
}

TEST(test_shared_offset_becomes_a_pointer_only_inside_shared_memory)
{
    (void)echo_start();
    const struct hc_geometry *g = &g_pair.geometry;
    struct hc_frame frame = frame_over(g_pair.u_base, 0);
    void *pointer;
    CHECK_EQ(hc_frame_shared(&frame, 0, SIZE_MAX, &pointer), HC_OK);
    CHECK(pointer == NULL);
    CHECK_EQ(hc_frame_shared(&frame, g->shared_at, g->shared_size, &pointer), HC_OK);
    CHECK(pointer == g_pair.u_base + g->shared_at);
    CHECK_EQ(hc_frame_shared(&frame, g->shared_at - 1u, 1, &pointer), HC_ERR_MESSAGE);
    CHECK_EQ(hc_frame_shared(&frame, 1, 1, &pointer), HC_ERR_MESSAGE);
    CHECK_EQ(hc_frame_shared(&frame, g->shared_at + 1u, g->shared_size, &pointer), HC_ERR_MESSAGE);
    CHECK_EQ(hc_frame_shared(&frame, UINT64_MAX, 2, &pointer), HC_ERR_MESSAGE);
    pair_stop();
}
