/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_call.c -- one call of the enclave at a time: ecalls and ocalls, hot and by switch, empty
 * and with a payload, nested, fallen back, and into sleeping responders.
 *
 * For bench_block.c; host side; trusts the enclave, which is ours. Calls go through the generated
 * proxies and bridges, with every check that a program's own calls have.
 */
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "bench_calls.h"

#define VARIANT(MODE, KIND) ((uint64_t)(MODE) << 8 | (KIND))
#define MODE_OF(ROW) ((enum hc_mode)((ROW)->variant >> 8))
#define KIND_OF(ROW) ((enum bench_kind)((ROW)->variant & 0xffu))

static _Alignas(4096) uint8_t g_buffer[BENCH_PAYLOAD_MAX];

/* ---- ocalls: what the enclave calls --------------------------------------------------------- */

uint64_t bench_host_echo(uint64_t token)
{
    return token + 1u;
}

uint32_t bench_host_in(const uint8_t *buffer, size_t size)
{
    return size ? buffer[size - 1u] : 0u;
}

void bench_host_out(uint8_t *buffer, size_t size, uint8_t mark)
{
    memset(buffer, mark, size);
}

void bench_host_out_nrz(uint8_t *buffer, size_t size, uint8_t mark)
{
    memset(buffer, mark, size);
}

void bench_host_inout(uint8_t *buffer, size_t size)
{
    if (size)
        buffer[size - 1u]++;
}

uint64_t bench_host_shared(uint8_t *buffer, size_t size)
{
    return bench_sum(buffer, size);
}

uint32_t bench_host_nest(uint32_t depth)
{
    uint32_t reached = 0;
    if (depth && bench_nest(g_bench_calls.enclave, &reached, depth - 1u) != HC_OK)
        return 0;
    return reached + 1u;
}

/* ---- ecalls --------------------------------------------------------------------------------- */

static int prepare(struct bench *b, const struct bench_row *row)
{
    if (bench_enclave_open(b) != 0)
        return -1;
    if (hc_thread_mode(g_bench_calls.enclave, MODE_OF(row)) != HC_OK)
        return bench_skip(b, "the mode cannot be set");
    return 0;
}

/* One ecall; false when it failed or its result was wrong. */
static bool call_in(struct bench *b, enum bench_kind kind, size_t size, uint64_t token,
                    uint32_t *sample)
{
    hc_enclave *enclave = g_bench_calls.enclave;
    uint64_t result = 0, expected = token + 1u, begin = 0, end = 0;
    uint32_t small = 0;
    enum hc_status status = HC_ERR_ARGUMENT;
    switch (kind) {
    case BENCH_ECHO:
        begin = bench_start();
        status = bench_echo(enclave, &result, token);
        end = bench_stop();
        break;
    case BENCH_IN:
        g_buffer[size - 1u] = (uint8_t)token;
        begin = bench_start();
        status = bench_in(enclave, &small, g_buffer, size);
        end = bench_stop();
        result = small;
        expected = (uint8_t)token;
        break;
    case BENCH_OUT:
        begin = bench_start();
        status = bench_out(enclave, g_buffer, size, (uint8_t)token);
        end = bench_stop();
        result = g_buffer[size - 1u];
        expected = (uint8_t)token;
        break;
    case BENCH_OUT_NRZ:
        begin = bench_start();
        status = bench_out_nrz(enclave, g_buffer, size, (uint8_t)token);
        end = bench_stop();
        result = g_buffer[size - 1u];
        expected = (uint8_t)token;
        break;
    case BENCH_INOUT:
        g_buffer[size - 1u] = (uint8_t)token;
        begin = bench_start();
        status = bench_inout(enclave, g_buffer, size);
        end = bench_stop();
        result = g_buffer[size - 1u];
        expected = (uint8_t)(token + 1u);
        break;
    case BENCH_SHARED:
        memset(g_bench_calls.shared, (uint8_t)token, size);
        expected = bench_sum(g_bench_calls.shared, size);
        begin = bench_start();
        status = bench_shared(enclave, &result, g_bench_calls.shared, size);
        end = bench_stop();
        break;
    case BENCH_NEST:
        begin = bench_start();
        status = bench_nest(enclave, &small, (uint32_t)size);
        end = bench_stop();
        result = small;
        expected = size + 1u;
        break;
    }
    *sample = bench_saturate(end - begin);
    if (HC_UNLIKELY(status != HC_OK))
        bench_fault(b, enclave, status);
    return status == HC_OK && result == expected;
}

static void run_ecall(struct bench *b, const struct bench_row *row, uint32_t *samples, size_t count)
{
    for (size_t i = 0; i < count; i++)
        bench_check(b, call_in(b, KIND_OF(row), row->size, bench_random(b), &samples[i]), true);
}

static void run_ocall(struct bench *b, const struct bench_row *row, uint32_t *samples, size_t count)
{
    uint64_t wrong = 0;
    enum hc_status status =
        bench_ocalls(g_bench_calls.enclave, &wrong, KIND_OF(row), MODE_OF(row), row->size,
                     bench_random(b), g_bench_calls.shared, samples, count);
    b->checked += count;
    b->wrong += status == HC_OK ? wrong : count;
    if (status != HC_OK || wrong)
        bench_fault(b, g_bench_calls.enclave, status);
}

/* ---- cold ----------------------------------------------------------------------------------- */

/* The linker's: where this program's code begins and ends. */
extern const char __executable_start, __etext;

static const char g_flushed[] =
    "this program's code, the caller's stack (8 KiB), its cells and its window (4 KiB) in the "
    "channel, and the buffer, line by line with " BENCH_FLUSH_NAME
    "; the enclave's code and stack stay as they are";

static void flush_all(const struct bench_row *row)
{
    const uint8_t *u_base;
    const struct hc_geometry *geometry = hc_region(g_bench_calls.enclave, &u_base);
    const char *frame = __builtin_frame_address(0);
    bench_flush(u_base + geometry->slots_at, geometry->slot_stride);
    bench_flush(u_base + geometry->windows_at, 4096);
    bench_flush(g_buffer, row->size);
    bench_flush(frame - 4096, 8192);
    bench_flush(&__executable_start, (size_t)(&__etext - &__executable_start));
    bench_fence();
}

static void run_cold(struct bench *b, const struct bench_row *row, uint32_t *samples, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t token = bench_random(b);
        if (MODE_OF(row) == HC_MODE_SWITCH)
            bench_displace(b);
        flush_all(row);
        bench_check(b, call_in(b, KIND_OF(row), row->size, token, &samples[i]), true);
    }
}

/* ---- many in flight ------------------------------------------------------------------------- */

#define FLIGHT 32u

enum flight { FLIGHT_PIPELINED, FLIGHT_BATCH, FLIGHT_ONEWAY };

static void run_flight(struct bench *b, const struct bench_row *row, uint32_t *samples,
                       size_t count)
{
    hc_enclave *enclave = g_bench_calls.enclave;
    struct hc_port *port = hc_host_port(enclave);
    static struct bench_echo_pending s_pending[FLIGHT];
    uint64_t results[FLIGHT];
    for (size_t i = 0; i < count; i++) {
        uint64_t token = bench_random(b), bad = 0;
        uint64_t begin = bench_start();
        if (row->size == FLIGHT_BATCH)
            hc_batch_begin(port);
        for (unsigned j = 0; j < FLIGHT; j++)
            bad += bench_echo_submit(enclave, &s_pending[j], &results[j], token + j) != HC_OK;
        if (row->size == FLIGHT_BATCH)
            hc_batch_end(port);
        for (unsigned j = 0; j < FLIGHT; j++)
            bad += bench_echo_collect(&s_pending[j]) != HC_OK;
        uint64_t end = bench_stop();
        samples[i] = bench_saturate(end - begin);
        for (unsigned j = 0; j < FLIGHT; j++)
            bad += results[j] != token + j + 1u;
        bench_check(b, bad, 0);
    }
}

static void run_oneway(struct bench *b, const struct bench_row *row, uint32_t *samples,
                       size_t count)
{
    hc_enclave *enclave = g_bench_calls.enclave;
    struct hc_port *port = hc_host_port(enclave);
    (void)row;
    for (size_t i = 0; i < count; i++) {
        uint64_t bad = 0, errors = 0;
        enum hc_status first;
        uint64_t begin = bench_start();
        for (unsigned j = 0; j < FLIGHT; j++)
            bad += bench_nothing_oneway(enclave) != HC_OK;
        bad += hc_flush(port, &errors, &first) != HC_OK;
        uint64_t end = bench_stop();
        samples[i] = bench_saturate(end - begin);
        bench_check(b, bad + errors, 0);
    }
}

#define FLUSHED_HOT g_flushed
#define CALL(NAME, GROUP, TITLE, FLAGS, SIZE, MODE, KIND, RUN) \
    {.name = NAME,                                             \
     .group = GROUP,                                           \
     .title = TITLE,                                           \
     .flags = BENCH_ENCLAVE | (FLAGS),                         \
     .batch = 1,                                               \
     .size = SIZE,                                             \
     .variant = VARIANT(MODE, KIND),                           \
     .prepare = prepare,                                       \
     .run = RUN}
#define COLD(NAME, TITLE, FLAGS, MODE, FLUSHED)     \
    {.name = NAME,                                  \
     .group = "call",                               \
     .title = TITLE,                                \
     .cold = FLUSHED,                               \
     .flags = BENCH_ENCLAVE | BENCH_COLD | (FLAGS), \
     .batch = 1,                                    \
     .variant = VARIANT(MODE, BENCH_ECHO),          \
     .prepare = prepare,                            \
     .run = run_cold}
#define HOT (BENCH_CROSS | BENCH_SPINS)
#define PAYLOAD(NAME, TITLE, REFERENCE, KIND)                                           \
    {.name = "ecall_hot_2k_" NAME,                                                      \
     .group = "payload",                                                                \
     .title = "hot ecall, 2 KiB " TITLE,                                                \
     .reference = REFERENCE,                                                            \
     .flags = BENCH_ENCLAVE | HOT,                                                      \
     .batch = 1,                                                                        \
     .size = 2048,                                                                      \
     .variant = VARIANT(HC_MODE_HOT, KIND),                                             \
     .prepare = prepare,                                                                \
     .run = run_ecall},                                                                 \
        {.name = "ocall_hot_2k_" NAME,                                                  \
         .group = "payload",                                                            \
         .title = "hot ocall, 2 KiB " TITLE,                                            \
         .reference = REFERENCE,                                                        \
         .flags = BENCH_ENCLAVE | HOT,                                                  \
         .batch = 1,                                                                    \
         .size = 2048,                                                                  \
         .variant = VARIANT(HC_MODE_HOT, KIND),                                         \
         .prepare = prepare,                                                            \
         .run = run_ocall},                                                             \
        CALL("ecall_switch_2k_" NAME, "payload", "switch ecall, 2 KiB " TITLE, 0, 2048, \
             HC_MODE_SWITCH, KIND, run_ecall),                                          \
        CALL("ocall_switch_2k_" NAME, "payload", "switch ocall, 2 KiB " TITLE, 0, 2048, \
             HC_MODE_SWITCH, KIND, run_ocall)
#define SWEEP(NAME, TITLE, SIZE)                                                               \
    CALL("ecall_hot_sweep_" NAME, "payload", "hot ecall, " TITLE " in,out", HOT, SIZE,         \
         HC_MODE_HOT, BENCH_INOUT, run_ecall),                                                 \
        CALL("ecall_switch_sweep_" NAME, "payload", "switch ecall, " TITLE " in,out", 0, SIZE, \
             HC_MODE_SWITCH, BENCH_INOUT, run_ecall)
#define NESTED(DEPTH)                                                                        \
    CALL("ecall_hot_nest_" #DEPTH, "call", "hot ecall, nested " #DEPTH " deep", HOT, DEPTH,  \
         HC_MODE_HOT, BENCH_NEST, run_ecall),                                                \
        CALL("ecall_switch_nest_" #DEPTH, "call", "switch ecall, nested " #DEPTH " deep", 0, \
             DEPTH, HC_MODE_SWITCH, BENCH_NEST, run_ecall)
#define IN_FLIGHT(NAME, TITLE, FLIGHT_KIND, RUN)                   \
    {.name = NAME,                                                 \
     .group = "call",                                              \
     .title = TITLE,                                               \
     .flags = BENCH_ENCLAVE | HOT,                                 \
     .batch = FLIGHT,                                              \
     .size = FLIGHT_KIND,                                          \
     .variant = VARIANT(HC_MODE_HOT, BENCH_ECHO),                  \
     .note = "32 calls in a sample, until the last answer is in.", \
     .prepare = prepare,                                           \
     .run = RUN}

static const struct bench_row g_rows[] = {
    CALL("ecall_hot", "call", "hot ecall, empty", HOT, 0, HC_MODE_HOT, BENCH_ECHO, run_ecall),
    CALL("ocall_hot", "call", "hot ocall, empty", HOT, 0, HC_MODE_HOT, BENCH_ECHO, run_ocall),
    CALL("ecall_switch", "call", "switch ecall, empty", 0, 0, HC_MODE_SWITCH, BENCH_ECHO,
         run_ecall),
    CALL("ocall_switch", "call", "switch ocall, empty", 0, 0, HC_MODE_SWITCH, BENCH_ECHO,
         run_ocall),
    COLD("ecall_hot_cold", "hot ecall, empty, cold", HOT, HC_MODE_HOT, g_flushed),
    COLD("ecall_switch_cold", "switch ecall, empty, cold", 0, HC_MODE_SWITCH,
         "as for the hot ecall, and the first two cache levels of the core (kernel code and data "
         "too), displaced by writing four times the second level"),
    IN_FLIGHT("ecall_pipelined", "hot ecall, 32 submitted one by one, then collected",
              FLIGHT_PIPELINED, run_flight),
    IN_FLIGHT("ecall_batch", "hot ecall, 32 handed over as a batch", FLIGHT_BATCH, run_flight),
    IN_FLIGHT("ecall_oneway", "hot ecall, 32 one-way calls and a flush", FLIGHT_ONEWAY, run_oneway),
    NESTED(1),
    NESTED(4),
    NESTED(8),
    PAYLOAD("in", "in", "mailbox_2k_in", BENCH_IN),
    PAYLOAD("out", "out", "mailbox_2k_out", BENCH_OUT),
    PAYLOAD("out_nrz", "out, not zeroed (nrz)", "mailbox_2k_out", BENCH_OUT_NRZ),
    PAYLOAD("inout", "in,out", "mailbox_2k", BENCH_INOUT),
    PAYLOAD("shared", "in shared memory", NULL, BENCH_SHARED),
    SWEEP("64", "64 B", 64),
    SWEEP("256", "256 B", 256),
    SWEEP("1k", "1 KiB", 1024),
    SWEEP("4k", "4 KiB", 4096),
    SWEEP("16k", "16 KiB", 16384),
    SWEEP("64k", "64 KiB", 65536),
    SWEEP("256k", "256 KiB", 262144),
    SWEEP("1m", "1 MiB", 1048576),
    CALL("ecall_hot_out_64k", "payload", "hot ecall, 64 KiB out", HOT, 65536, HC_MODE_HOT,
         BENCH_OUT, run_ecall),
    CALL("ecall_hot_out_nrz_64k", "payload", "hot ecall, 64 KiB out, not zeroed (nrz)", HOT, 65536,
         HC_MODE_HOT, BENCH_OUT_NRZ, run_ecall),
};

const struct bench_table g_bench_rows_call = {g_rows, sizeof g_rows / sizeof g_rows[0]};
