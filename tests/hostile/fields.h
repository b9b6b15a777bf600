/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fields.h -- every field of the channel, by structure: what the peer rewrites.
 *
 * test_hostile_peer.py holds the list against what the compiler says the structures are, so that a
 * new field that nobody attacks is an error.
 *
 *   FIELD(structure, member, what)
 *   WORD    a cell's word: 64 bits, every state of numbers near the one that stands there
 *   VALUE   decides what is done; a call may end in a typed error
 *   DATA    the arguments and results; the answer may be another one
 *   HINT    changes no answer: hints, statistics, what is read once at the start
 *   PART    a structure, whose own fields are listed
 *
 * Arrays are rewritten word by word if they are DATA, otherwise at their ends and in the middle.
 */
#ifndef HOTCALLS_TESTS_FIELDS_H
#define HOTCALLS_TESTS_FIELDS_H

#define CELL_FIELDS(FIELD)        \
    FIELD(hc_cell, word, WORD)    \
    FIELD(hc_cell, id, VALUE)     \
    FIELD(hc_cell, status, VALUE) \
    FIELD(hc_cell, payload, DATA) \
    FIELD(hc_cell, offset, VALUE) \
    FIELD(hc_cell, size, VALUE)

#define CONTROL_FIELDS(FIELD)                    \
    FIELD(hc_slot_control, owner_bell, HINT)     \
    FIELD(hc_slot_control, owner_cpu, HINT)      \
    FIELD(hc_slot_control, peer_bell, HINT)      \
    FIELD(hc_slot_control, peer_cpu, HINT)       \
    FIELD(hc_slot_control, owner_counters, PART) \
    FIELD(hc_slot_control, peer_counters, PART)  \
    FIELD(hc_slot_control, nested_counters, PART)

#define COUNTER_FIELDS(FIELD)             \
    FIELD(hc_counters, hot, HINT)         \
    FIELD(hc_counters, switched, HINT)    \
    FIELD(hc_counters, fallen_back, HINT) \
    FIELD(hc_counters, withdrawn, HINT)   \
    FIELD(hc_counters, oneway, HINT)      \
    FIELD(hc_counters, slept, HINT)       \
    FIELD(hc_counters, rang, HINT)        \
    FIELD(hc_counters, bytes_out, HINT)   \
    FIELD(hc_counters, bytes_in, HINT)    \
    FIELD(hc_counters, errors, HINT)      \
    FIELD(hc_counters, reserved, HINT)

#define BOARD_FIELDS(FIELD)                \
    FIELD(hc_side_board, awake, HINT)      \
    FIELD(hc_side_board, state, VALUE)     \
    FIELD(hc_side_board, responders, HINT) \
    FIELD(hc_side_board, threads, HINT)    \
    FIELD(hc_side_board, sleeps, HINT)     \
    FIELD(hc_side_board, wakes, HINT)      \
    FIELD(hc_side_board, stolen, HINT)     \
    FIELD(hc_side_board, served, HINT)     \
    FIELD(hc_side_board, switched, HINT)   \
    FIELD(hc_side_board, doorbell, HINT)   \
    FIELD(hc_side_board, attention, HINT)  \
    FIELD(hc_side_board, active, HINT)     \
    FIELD(hc_side_board, report, PART)

#define REPORT_FIELDS(FIELD)        \
    FIELD(hc_report, status, HINT)  \
    FIELD(hc_report, error, HINT)   \
    FIELD(hc_report, call, HINT)    \
    FIELD(hc_report, written, HINT) \
    FIELD(hc_report, text, HINT)

#define GEOMETRY_FIELDS(FIELD)              \
    FIELD(hc_geometry, magic, HINT)         \
    FIELD(hc_geometry, abi, HINT)           \
    FIELD(hc_geometry, header_size, HINT)   \
    FIELD(hc_geometry, total_size, HINT)    \
    FIELD(hc_geometry, slot_count, HINT)    \
    FIELD(hc_geometry, host_slots, HINT)    \
    FIELD(hc_geometry, cell_count, HINT)    \
    FIELD(hc_geometry, reserved, HINT)      \
    FIELD(hc_geometry, window_size, HINT)   \
    FIELD(hc_geometry, slots_at, HINT)      \
    FIELD(hc_geometry, slot_stride, HINT)   \
    FIELD(hc_geometry, windows_at, HINT)    \
    FIELD(hc_geometry, histograms_at, HINT) \
    FIELD(hc_geometry, shared_at, HINT)     \
    FIELD(hc_geometry, shared_size, HINT)   \
    FIELD(hc_geometry, digest, HINT)

#define HISTOGRAM_FIELDS(FIELD)           \
    FIELD(hc_histogram, count, HINT)      \
    FIELD(hc_histogram, max_cycles, HINT) \
    FIELD(hc_histogram, buckets, HINT)

/* What `hotcalls run` has beside the channel. */
#define RUN_FIELDS(FIELD)                   \
    FIELD(run_shared, magic, HINT)          \
    FIELD(run_shared, cycles_per_us, HINT)  \
    FIELD(run_shared, mode, HINT)           \
    FIELD(run_shared, processors, HINT)     \
    FIELD(run_shared, limit_soft, HINT)     \
    FIELD(run_shared, limit_hard, HINT)     \
    FIELD(run_shared, host_pid, HINT)       \
    FIELD(run_shared, chatty, HINT)         \
    FIELD(run_shared, beat, HINT)           \
    FIELD(run_shared, interrupt_bell, HINT) \
    FIELD(run_shared, interrupt, VALUE)

/* Structures made of those above. */
#define HEADER_FIELDS(FIELD)         \
    FIELD(hc_header, geometry, PART) \
    FIELD(hc_header, board, PART)

#endif /* HOTCALLS_TESTS_FIELDS_H */
