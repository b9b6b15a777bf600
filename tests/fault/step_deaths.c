/* SPDX-License-Identifier: Apache-2.0 */
/*
 * step_deaths.c -- a side is killed between any two accesses to the channel.
 *
 *     step_deaths WAY FIRST STRIDE     for n = FIRST, FIRST + STRIDE, … until it lives three times in a row
 *
 * WAY is "host": the host dies at its n-th step, from its launch to its close; "outside": somebody
 * kills the enclave there, from the first call on; "inside": the enclave dies at its own n-th step
 * (hostile/step_death.c is in host and loader). Each time a child is the host and makes every kind
 * of call. If it survives, each call has had the right answer or HC_ERR_PEER_LOST, and once it is
 * lost it stays lost; no descriptor, thread or channel is left. Whoever dies leaves no process.
 */
#define FAULT_HOST
#define CHECK_OWN_MAIN
#include "fault.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

/* More steps than there are; threads differ in how many they take; what bounds a hang. */
#define STEPS_MAX 5000u
#define LIVES 3u
#define BOUND_MS 60000u
#define PIPELINED 3u

enum way { BY_HOST, FROM_OUTSIDE, FROM_INSIDE };
static enum way g_way;

void step_arm(uint64_t n);
void step_die(void);

static volatile uint32_t *g_died; /* shared with the child: a step was the n-th */

void step_die(void)
{
    *g_died = 1;
    (void)kill(g_way == FROM_OUTSIDE ? hc_pid(g_fault_enclave) : getpid(), SIGKILL);
}

/* Right, or lost for good. */
static void expect(enum hc_status status, enum hc_status right)
{
    static bool lost;
    if (status == HC_ERR_PEER_LOST && g_way != BY_HOST)
        lost = true;
    else if (lost || status != right) {
        (void)fprintf(stderr, "%s: %s\n", lost ? "after it was lost" : "a call",
                      hc_status_text(status));
        exit(1);
    }
}

static void calls(hc_enclave *enclave, enum hc_mode mode)
{
    struct hc_port *port = hc_host_port(enclave);
    if (port == NULL) {
        expect(hc_host_port_error(enclave), HC_OK);
        return;
    }
    uint64_t answer = 0;
    CHECK_EQ(hc_thread_mode(enclave, mode), HC_OK);
    enum hc_status status = fault_call(port, F_PING, 41, 0, &answer);
    expect(status, HC_OK);
    CHECK(status != HC_OK || answer == 42);
    expect(fault_call(port, F_OCALL, G_PING, 0, NULL), HC_OK);
    struct hc_call batch[PIPELINED];
    struct fault_ms ms[PIPELINED];
    for (uint32_t i = 0; i < PIPELINED; i++) {
        ms[i] = (struct fault_ms){i, 0};
        status = hc_call_begin(port, &batch[i], F_PING, sizeof ms[i], 0);
        expect(status, HC_OK);
        if (status != HC_OK)
            return;
        expect(hc_call_submit(&batch[i], &ms[i], sizeof ms[i]), HC_OK);
    }
    for (uint32_t i = 0; i < PIPELINED; i++) {
        status = hc_call_wait(&batch[i], &ms[i], sizeof ms[i]);
        expect(status, HC_OK);
        CHECK(status != HC_OK || ms[i].b == i + 1u);
        if (status == HC_OK)
            hc_call_end(&batch[i]);
    }
}

/* Of a call that takes longer than its caller waits. */
static void give_up(hc_enclave *enclave)
{
    enum hc_status status = HC_OK;
    CHECK_EQ(hc_thread_timeout(enclave, 2000000), HC_OK);
    /* A loaded machine may give this thread no core before the answer is there. */
    for (uint64_t us = 20000; us < 5000000u && status == HC_OK; us *= 4u)
        status = fault_host_call(enclave, F_SPIN_US, us, 0);
    expect(status, HC_ERR_TIMEOUT);
    CHECK_EQ(hc_thread_timeout(enclave, 0), HC_OK);
}

static void *in_a_thread(void *enclave)
{
    calls(enclave, HC_MODE_HOT);
    return NULL;
}

static void calls_of_a_thread(hc_enclave *enclave)
{
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, in_a_thread, enclave), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* The child. */
static int host(uint64_t n)
{
    /* What libc and the runtime keep is there from the first one on. */
    hc_close(fault_launch());
    uint32_t fds = fault_entries("/proc/self/fd"), tasks = fault_entries("/proc/self/task");
    uint32_t channels = fault_lines("/proc/self/maps", "/memfd:");
    if (g_way == BY_HOST)
        step_arm(n);
    hc_enclave *enclave = fault_launch();
    if (g_way == FROM_OUTSIDE)
        step_arm(n);
    if (g_way == FROM_INSIDE)
        expect(fault_host_call(enclave, F_ARM, n, 0), HC_OK);
    calls(enclave, HC_MODE_HOT);
    calls(enclave, HC_MODE_SWITCH);
    calls_of_a_thread(enclave);
    give_up(enclave);
    /* Who polls falls asleep meanwhile, and is woken. */
    fault_sleep_ms(30);
    calls(enclave, HC_MODE_HOT);
    if (g_way == FROM_INSIDE && fault_host_call(enclave, F_ARM, 0, 0) != HC_OK)
        *g_died = 1;
    if (g_way != BY_HOST && *g_died != 0)
        for (uint64_t from = fault_now_ms();
             fault_host_call(enclave, F_PING, 1, 0) != HC_ERR_PEER_LOST;)
            CHECK(fault_now_ms() - from < BOUND_MS);
    hc_close(enclave);
    step_arm(0);
    for (uint64_t from = fault_now_ms(); fault_entries("/proc/self/task") != tasks;)
        CHECK(fault_now_ms() - from < BOUND_MS);
    CHECK_EQ(fault_entries("/proc/self/fd"), fds);
    /* Of other mappings libc has more or fewer, after so many threads. */
    CHECK_EQ(fault_lines("/proc/self/maps", "/memfd:"), channels);
    return 0;
}

/* Waits for every process that there is below this one; false when one stays. */
static bool all_ended(pid_t child, int *status)
{
    for (uint64_t from = fault_now_ms(); fault_now_ms() - from < BOUND_MS;) {
        int how;
        pid_t pid = waitpid(-1, &how, WNOHANG | __WALL);
        if (pid == child)
            *status = how;
        if (pid < 0 && errno == ECHILD)
            return true;
        if (pid == 0)
            fault_sleep_ms(1);
    }
    return false;
}

/* What is left holds what we write to open. */
static void end_the_rest(void)
{
    int pid;
    FILE *file = fopen("/proc/thread-self/children", "re");
    CHECK(file != NULL);
    while (fscanf(file, "%d", &pid) == 1)
        (void)kill((pid_t)pid, SIGKILL);
    (void)fclose(file);
}

/* False once there are fewer steps. */
static bool die_at(uint64_t n)
{
    int status = 0;
    *g_died = 0;
    (void)fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        exit(host(n));
    bool ended = all_ended(child, &status);
    bool right = g_way == BY_HOST && *g_died != 0
                     ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL
                     : WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!ended || !right) {
        (void)fprintf(stderr, "step %llu: %s; the host ended with %x\n", (unsigned long long)n,
                      ended ? "all ended" : "a process is left", (unsigned)status);
        end_the_rest();
        exit(1);
    }
    return *g_died != 0;
}

int main(int argc, char **argv)
{
    static const char *const ways[] = {
        [BY_HOST] = "host", [FROM_OUTSIDE] = "outside", [FROM_INSIDE] = "inside"};
    CHECK(argc == 4);
    while (strcmp(ways[g_way], argv[1]) != 0)
        CHECK(++g_way <= FROM_INSIDE);
    uint64_t n = strtoull(argv[2], NULL, 10), stride = strtoull(argv[3], NULL, 10), kills = 0;
    g_died = mmap(NULL, sizeof *g_died, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(g_died != MAP_FAILED);
    CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    for (uint32_t lives = 0; lives < LIVES; n += stride) {
        CHECK(n < STEPS_MAX);
        bool died = die_at(n);
        kills += died;
        lives = died ? 0 : lives + 1u;
    }
    (void)printf("kills=%llu last=%llu\n", (unsigned long long)kills, (unsigned long long)n);
    return 0;
}
