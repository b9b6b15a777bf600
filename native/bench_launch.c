/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_launch.c -- the benchmark enclave: launching it, pinning its threads, probing the bare
 * mailbox against its responder.
 *
 * For bench_call.c, bench_load.c and bench_cost.c; host side; trusts the enclave, which is ours.
 */
#include <dirent.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "bench_calls.h"

struct bench_calls g_bench_calls;

int bench_pin_to_both(const struct bench *b)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((unsigned)b->cpu_requester, &set);
    if (b->cpu_responder >= 0)
        CPU_SET((unsigned)b->cpu_responder, &set);
    return sched_setaffinity(0, sizeof set, &set);
}

/* Is this thread of another process on a core, or about to be? */
static bool runs(pid_t process, int thread)
{
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/task/%d/stat", (int)process, thread);
    FILE *file = fopen(path, "re");
    bool read = file && fgets(line, sizeof line, file);
    if (file)
        fclose(file);
    /* The state follows the name, which is in brackets and may itself hold anything. */
    const char *end = read ? strrchr(line, ')') : NULL;
    return end && end[1] == ' ' && end[2] == 'R';
}

static unsigned pin_running(pid_t process, int cpu)
{
    char path[64];
    unsigned pinned = 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)process);
    DIR *folder = opendir(path);
    if (!folder)
        return 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        int thread = atoi(entry->d_name);
        if (thread > 0 && runs(process, thread) && bench_pin(thread, cpu) == 0)
            pinned++;
    }
    closedir(folder);
    return pinned;
}

/*
 * Responders are the threads that run when nothing is called and they have been woken. The others
 * are left alone: companions go to the core of the thread that they serve by themselves.
 */
void bench_pin_enclave(hc_enclave *enclave, int cpu)
{
    for (unsigned tries = 0; tries < 20u; tries++) {
        hc_wake_responders(enclave);
        uint64_t until = hc_tsc() + 1000u * hc_cycles_per_us();
        while (bench_awake(enclave) == 0 && hc_tsc() < until)
            hc_pause();
        if (pin_running(hc_pid(enclave), cpu) != 0)
            return;
    }
}

/* Installed beside this program; $HOTCALLS_LOADER goes before it. */
static const char *loader(void)
{
    static char s_path[PATH_MAX];
    if (getenv("HOTCALLS_LOADER"))
        return NULL;
    ssize_t size = readlink("/proc/self/exe", s_path, sizeof s_path - 1u);
    char *slash = size > 0 ? strrchr(s_path, '/') : NULL;
    if (!slash)
        return NULL;
    snprintf(slash + 1, sizeof s_path - (size_t)(slash + 1 - s_path), "hotcalls-enclave");
    return s_path;
}

int bench_launch(struct bench *b, unsigned responders, enum bench_launch_kind kind,
                 hc_enclave **enclave)
{
    struct hc_launch_options options;
    struct hc_error error;
    if (!b->enclave)
        return bench_skip(b, "the benchmark enclave was not given");
    hc_launch_defaults(&options);
    options.path = b->enclave;
    options.loader = loader();
    options.interface = &bench_interface;
    options.responders = responders;
    /* Room for 1 MiB each way and what is around it. */
    if (kind == BENCH_LAUNCH_LARGE)
        options.window_size = 2u * BENCH_PAYLOAD_MAX;
    /*
     * Both CPUs during the launch, so that the enclave finds more than one to spin on; this
     * thread goes back to its own afterwards.
     */
    if (kind == BENCH_LAUNCH_ONE_CPU ? bench_pin(0, b->cpu_requester) : bench_pin_to_both(b))
        return bench_skip(b, "the CPUs may not be used");
    enum hc_status status = hc_launch(&options, enclave, &error);
    if (bench_pin(0, b->cpu_requester) != 0 || status != HC_OK)
        return bench_skip(b, "launch: %s", status == HC_OK ? "cannot be pinned" : error.text);
    return 0;
}

void bench_fault(struct bench *b, hc_enclave *enclave, enum hc_status status)
{
    struct hc_error error;
    if (b->fault[0])
        return;
    enum hc_status why = hc_why(enclave, &error);
    snprintf(b->fault, sizeof b->fault, "%s%s%.150s", hc_status_text(status),
             why == HC_OK ? "" : "; the enclave: ", why == HC_OK ? "" : error.text);
}

/* Memory in the channel, aligned to a pair of lines: the runtime promises one. Never freed. */
static void *shared_alloc(hc_enclave *enclave, size_t size)
{
    uint8_t *memory = hc_shared_alloc(enclave, size + HC_CELL_STRIDE);
    if (!memory)
        return NULL;
    return memory + (HC_CELL_STRIDE - (uintptr_t)memory % HC_CELL_STRIDE) % HC_CELL_STRIDE;
}

/* The enclave of the rows that time single calls; launched by the first of them. */
int bench_enclave_open(struct bench *b)
{
    struct bench_calls *calls = &g_bench_calls;
    if (calls->enclave)
        return 0;
    if (calls->tried)
        return bench_skip(b, "%s", calls->reason);
    calls->tried = true;
    hc_enclave *enclave;
    if (bench_launch(b, 1, BENCH_LAUNCH_LARGE, &enclave) != 0) {
        snprintf(calls->reason, sizeof calls->reason, "%s", b->reason);
        return -1;
    }
    if (b->cpu_responder >= 0)
        bench_pin_enclave(enclave, b->cpu_responder);
    calls->bare = shared_alloc(enclave, sizeof *calls->bare);
    calls->shared = shared_alloc(enclave, BENCH_PAYLOAD_MAX);
    calls->flags = shared_alloc(enclave, HC_CELL_STRIDE);
    if (!calls->bare || !calls->shared || !calls->flags) {
        hc_close(enclave);
        snprintf(calls->reason, sizeof calls->reason, "the channel has no room for shared memory");
        return bench_skip(b, "%s", calls->reason);
    }
    calls->enclave = enclave;
    return 0;
}

void bench_enclave_close(struct bench *b)
{
    (void)b;
    if (g_bench_calls.enclave)
        hc_close(g_bench_calls.enclave);
    g_bench_calls.enclave = NULL;
}

pid_t bench_enclave_pid(struct bench *b)
{
    (void)b;
    return g_bench_calls.enclave ? hc_pid(g_bench_calls.enclave) : 0;
}

/* A round trip beyond a millisecond: the other end shares this core and waits for its turn. */
#define MISPLACED_US 1000u

/*
 * Calls until some in a row were answered by a spinning responder. After a switch call the
 * companion may still be about to sleep, on this very core: what is submitted now it would run
 * itself, and its end of the mailbox would compete with ours.
 */
static void settle(struct bench *b, hc_enclave *enclave)
{
    /* Between the dearest hot call, 0.5 us, and the cheapest switch call, 4 us here. */
    uint64_t token = bench_random(b), result, limit = 3u * hc_cycles_per_us() / 2u;
    hc_wake_responders(enclave);
    for (unsigned tries = 0, fast = 0; tries < 1000u && fast < 8u; tries++) {
        uint64_t begin = hc_tsc();
        if (bench_echo(enclave, &result, token) != HC_OK)
            return;
        fast = hc_tsc() - begin < limit ? fast + 1u : 0u;
    }
}

/*
 * The responder itself is the other end: the probe takes the very cores, caches and moment that
 * the calls around it take. For ocalls too: a round trip between two cores costs the same
 * whichever of them begins it.
 */
double bench_enclave_probe(struct bench *b, const struct bench_row *row,
                           const struct bench_row *bare)
{
    struct bench_calls *calls = &g_bench_calls;
    uint64_t ways = bench_mailbox_ways(bare);
    (void)row;
    if (bench_enclave_open(b) != 0 || hc_thread_mode(calls->enclave, HC_MODE_HOT) != HC_OK)
        return 0;
    for (unsigned tries = 0; tries < 4u; tries++) {
        struct bench_serve_pending pending;
        uint32_t first[2];
        double median = 0;
        settle(b, calls->enclave);
        memset(&calls->bare->line, 0, sizeof calls->bare->line);
        if (bench_serve_submit(calls->enclave, &pending, (uint8_t *)calls->bare,
                               sizeof *calls->bare, ways) != HC_OK)
            return 0;
        /* The first trip waits for the call to be taken; the second tells. */
        bench_bare_take(b, calls->bare, 0, first, 2);
        bool placed = first[1] < MISPLACED_US * hc_cycles_per_us();
        if (placed)
            median = bench_bare_probe(b, calls->bare, ways);
        bench_bare_stop(calls->bare);
        if (bench_serve_collect(&pending) != HC_OK)
            return 0;
        if (placed)
            return median;
    }
    return 0;
}
