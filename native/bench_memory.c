/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_memory.c -- reading and writing 2 KiB, and single loads and stores, warm and after a
 * flush, in ordinary memory, in a sealed memfd as the channel is one, and in memfd_secret memory.
 *
 * For bench_block.c; host side; trusts the kernel. On a confidential guest all three are
 * encrypted memory, and the report says so.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

#define REGION_SIZE (256u << 10)
#define BLOCK_SIZE 2048u

enum kind { KIND_ORDINARY, KIND_CHANNEL, KIND_SECRET, KIND_COUNT };
enum act { ACT_READ, ACT_WRITE, ACT_LOAD, ACT_STORE };

#define VARIANT(KIND, ACT) ((uint64_t)(KIND) << 8 | (ACT))

static uint8_t *g_region[KIND_COUNT];

static int map_region(struct bench *b, enum kind kind)
{
    int fd = -1;
    void *region;
    if (kind == KIND_ORDINARY) {
        region = mmap(NULL, REGION_SIZE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    } else {
        if (kind == KIND_CHANNEL)
            fd = memfd_create("hotcalls-bench", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        else
            fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
        if (fd < 0)
            return bench_skip(b, "%s: %s", kind == KIND_SECRET ? "memfd_secret" : "memfd_create",
                              strerror(errno));
        if (ftruncate(fd, REGION_SIZE) != 0) {
            close(fd);
            return bench_skip(b, "ftruncate: %s", strerror(errno));
        }
        region = mmap(NULL, REGION_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
    }
    if (region == MAP_FAILED)
        return bench_skip(b, "mmap: %s (memfd_secret needs RLIMIT_MEMLOCK)", strerror(errno));
    memset(region, 1, REGION_SIZE);
    g_region[kind] = region;
    return 0;
}

static int prepare(struct bench *b, const struct bench_row *row)
{
    enum kind kind = (enum kind)(row->variant >> 8);
    return g_region[kind] ? 0 : map_region(b, kind);
}

static uint64_t read_block(const uint8_t *block)
{
    const uint64_t *words = (const uint64_t *)(const void *)block;
    uint64_t sum = 0;
    for (unsigned i = 0; i < BLOCK_SIZE / sizeof *words; i++)
        sum += words[i];
    return sum;
}

static void write_block(uint8_t *block, uint64_t value)
{
    uint64_t *words = (uint64_t *)(void *)block;
    for (unsigned i = 0; i < BLOCK_SIZE / sizeof *words; i++)
        words[i] = value;
    /* The loop above must be stores, not a call of memset() that the library may stream. */
    __asm__ volatile("" : : "r"(words) : "memory");
}

/* Blocks in random order, so that no prefetcher has seen the next one coming. */
static void run_blocks(struct bench *b, enum act act, bool cold, uint8_t *region, uint32_t *samples,
                       size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t value = bench_random(b);
        uint8_t *block = region + value % (REGION_SIZE / BLOCK_SIZE) * BLOCK_SIZE;
        uint64_t begin, end, sum;
        write_block(block, value);
        if (cold)
            bench_flush(block, BLOCK_SIZE);
        bench_fence();
        if (act == ACT_READ) {
            begin = bench_start();
            sum = read_block(block);
            __asm__ volatile("" : "+r"(sum));
            end = bench_stop();
        } else {
            value = ~value;
            begin = bench_start();
            write_block(block, value);
            bench_fence(); /* until the stores have left the store buffer */
            end = bench_stop();
            sum = read_block(block);
        }
        samples[i] = bench_saturate(end - begin);
        bench_check(b, sum, value * (BLOCK_SIZE / sizeof value));
    }
}

static void run_single(struct bench *b, enum act act, bool cold, uint8_t *region, uint32_t *samples,
                       size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t value = bench_random(b);
        uint64_t *word =
            (uint64_t *)(void *)(region + value % (REGION_SIZE / HC_CACHE_LINE) * HC_CACHE_LINE);
        uint64_t begin, end, seen;
        *(volatile uint64_t *)word = value;
        if (cold)
            bench_flush_line(word);
        bench_fence();
        if (act == ACT_LOAD) {
            begin = bench_start();
            seen = *(volatile uint64_t *)word;
            end = bench_stop();
        } else {
            value = ~value;
            begin = bench_start();
            *(volatile uint64_t *)word = value;
            bench_fence(); /* until the store has left the store buffer */
            end = bench_stop();
            seen = *(volatile uint64_t *)word;
        }
        samples[i] = bench_saturate(end - begin);
        bench_check(b, seen, value);
    }
}

static void run(struct bench *b, const struct bench_row *row, uint32_t *samples, size_t count)
{
    uint8_t *region = g_region[row->variant >> 8];
    enum act act = (enum act)(row->variant & 0xffu);
    bool cold = row->flags & BENCH_COLD;
    if (act == ACT_READ || act == ACT_WRITE)
        run_blocks(b, act, cold, region, samples, count);
    else
        run_single(b, act, cold, region, samples, count);
}

#define FLUSHED_BLOCK "the 2 KiB buffer, line by line with " BENCH_FLUSH_NAME
#define FLUSHED_LINE "the one line, with " BENCH_FLUSH_NAME

#define MEMORY(NAME, TITLE, COLD, FLAGS, SIZE, KIND, ACT) \
    {                                                     \
        .name = NAME,                                     \
        .group = "memory",                                \
        .title = TITLE,                                   \
        .cold = COLD,                                     \
        .flags = FLAGS,                                   \
        .batch = 1,                                       \
        .size = SIZE,                                     \
        .variant = VARIANT(KIND, ACT),                    \
        .prepare = prepare,                               \
        .run = run,                                       \
    }
#define WARM_AND_COLD(NAME, TITLE, FLUSHED, SIZE, KIND, ACT) \
    MEMORY(NAME, TITLE, NULL, 0, SIZE, KIND, ACT),           \
        MEMORY(NAME "_cold", TITLE ", cold", FLUSHED, BENCH_COLD, SIZE, KIND, ACT)
#define ALL_ACTS(NAME, TITLE, KIND)                                                             \
    WARM_AND_COLD("read_2k_" NAME, "read 2 KiB, " TITLE, FLUSHED_BLOCK, BLOCK_SIZE, KIND,       \
                  ACT_READ),                                                                    \
        WARM_AND_COLD("write_2k_" NAME, "write 2 KiB, " TITLE, FLUSHED_BLOCK, BLOCK_SIZE, KIND, \
                      ACT_WRITE),                                                               \
        WARM_AND_COLD("load_" NAME, "one load, " TITLE, FLUSHED_LINE, 0, KIND, ACT_LOAD),       \
        WARM_AND_COLD("store_" NAME, "one store, " TITLE, FLUSHED_LINE, 0, KIND, ACT_STORE)

static const struct bench_row g_rows[] = {
    ALL_ACTS("ordinary", "ordinary memory", KIND_ORDINARY),
    ALL_ACTS("channel", "channel (memfd)", KIND_CHANNEL),
    ALL_ACTS("secret", "memfd_secret", KIND_SECRET),
};

const struct bench_table g_bench_rows_memory = {g_rows, sizeof g_rows / sizeof g_rows[0]};
