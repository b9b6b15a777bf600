/* SPDX-License-Identifier: Apache-2.0 */
/* lifetime_test.c -- launching, closing, forking, jumping: what a host program does to an enclave. */
#define FAULT_HOST
#include "fault.h"

#include <errno.h>
#include <setjmp.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>

struct usage {
    uint32_t descriptors, mappings, threads;
};

static struct usage usage(void)
{
    struct usage now = {fault_entries("/proc/self/fd"), fault_lines("/proc/self/maps", ""),
                        fault_entries("/proc/self/task")};
    return now;
}

/* Threads need a moment to be gone after their last act. */
static void check_nothing_leaked(struct usage before)
{
    struct usage now = usage();
    for (int i = 0; i < 200 && now.threads != before.threads; i++) {
        fault_sleep_ms(5);
        now = usage();
    }
    CHECK_EQ(now.descriptors, before.descriptors);
    CHECK_EQ(now.threads, before.threads);
    CHECK(now.mappings <= before.mappings);
}

TEST(test_launch_and_close_many_times_leaks_nothing)
{
    struct usage before = {0, 0, 0};
    for (int i = 0; i < 80; i++) {
        hc_enclave *enclave = fault_launch();
        fault_ping(enclave);
        CHECK_EQ(hc_thread_mode(enclave, HC_MODE_SWITCH), HC_OK);
        fault_ping(enclave);
        if (i % 3 == 0)
            hc_shutdown(enclave);
        hc_close(enclave);
        if (i == 20)
            before = usage();
    }
    check_nothing_leaked(before);
}

TEST(test_many_enclaves_at_once_are_independent)
{
    hc_enclave *enclaves[6];
    for (int i = 0; i < 6; i++)
        enclaves[i] = fault_launch();
    for (int i = 0; i < 6; i++)
        fault_ping(enclaves[i]);
    for (int i = 0; i < 6; i += 2)
        hc_close(enclaves[i]);
    for (int i = 1; i < 6; i += 2) {
        fault_ping(enclaves[i]);
        hc_close(enclaves[i]);
    }
}

static void *launch_in_a_thread(void *unused)
{
    (void)unused;
    return fault_launch();
}

TEST(test_enclave_survives_the_thread_that_launched_it)
{
    pthread_t thread;
    void *enclave;
    CHECK_EQ(pthread_create(&thread, NULL, launch_in_a_thread, NULL), 0);
    CHECK_EQ(pthread_join(thread, &enclave), 0);
    fault_sleep_ms(50);
    fault_ping(enclave);
    hc_close(enclave);
}

static volatile sig_atomic_t g_children;

static void on_child(int number)
{
    (void)number;
    g_children++;
}

TEST(test_wait_and_sigchld_of_the_host_are_not_disturbed)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_child;
    CHECK_EQ(sigaction(SIGCHLD, &action, NULL), 0);
    hc_enclave *enclave = fault_launch();
    fault_ping(enclave);
    CHECK_EQ(waitpid(-1, NULL, WNOHANG | __WALL), -1);
    CHECK_EQ(errno, ECHILD);
    CHECK_EQ(fault_host_call(enclave, F_DIE, BY_KILL, ALONE), HC_ERR_PEER_LOST);
    hc_close(enclave);
    CHECK_EQ(waitpid(-1, NULL, WNOHANG | __WALL), -1);
    CHECK_EQ(errno, ECHILD);
    CHECK_EQ(g_children, 0);
}

TEST(test_host_that_adopts_orphans_is_left_no_zombie)
{
    CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    struct hc_launch_options options;
    struct hc_error error;
    hc_enclave *enclave = fault_launch();
    hc_close(enclave);
    CHECK_EQ(waitpid(-1, NULL, WNOHANG | __WALL), -1);
    /* And when there is nothing to execute. */
    fault_options(&options);
    options.loader = "/dev/null";
    CHECK(hc_launch(&options, &enclave, &error) != HC_OK);
    CHECK(error.text[0] != '\0');
    CHECK_EQ(waitpid(-1, NULL, WNOHANG | __WALL), -1);
    CHECK_EQ(errno, ECHILD);
}

static void *fork_and_end_thread(void *argument)
{
    hc_enclave *enclave = argument;
    fault_ping(enclave);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        pthread_exit(NULL);
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    fault_ping(enclave);
    return NULL;
}

TEST(test_forked_child_is_told_and_harms_nothing)
{
    hc_enclave *enclave = fault_launch();
    fault_ping(enclave);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        bool fine = hc_host_port(enclave) == NULL && hc_host_port_error(enclave) == HC_ERR_FORKED &&
                    hc_thread_mode(enclave, HC_MODE_HOT) == HC_ERR_FORKED;
        hc_close(enclave);
        _exit(fine ? 0 : 1);
    }
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
    fault_ping(enclave);
    hc_close(enclave);
}

TEST(test_thread_that_forked_may_end_in_the_child)
{
    pthread_t thread;
    hc_enclave *enclave = fault_launch();
    CHECK_EQ(pthread_create(&thread, NULL, fork_and_end_thread, enclave), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    hc_close(enclave);
}

TEST(test_child_of_a_fork_launches_an_enclave_of_its_own)
{
    hc_enclave *enclave = fault_launch();
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        hc_enclave *own = fault_launch();
        fault_ping(own);
        hc_close(own);
        _exit(0);
    }
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    fault_ping(enclave);
    hc_close(enclave);
}

struct shut {
    pthread_t thread;
    hc_enclave *enclave;
    uint32_t id;
    enum hc_status status, next;
};

static void *call_until_shut(void *argument)
{
    struct shut *self = argument;
    do
        self->status = fault_host_call(self->enclave, self->id, 1000000, 0);
    while (self->status == HC_OK);
    self->next = fault_host_call(self->enclave, F_PING, 1, 0);
    return NULL;
}

TEST(test_shutdown_ends_calls_in_progress_with_closed)
{
    for (int round = 0; round < 5; round++) {
        struct usage before = usage();
        struct shut shut[4];
        hc_enclave *enclave = fault_launch();
        for (int i = 0; i < 4; i++) {
            shut[i] = (struct shut){.enclave = enclave, .id = i % 2 == 0 ? F_PING : F_FOREVER};
            CHECK_EQ(pthread_create(&shut[i].thread, NULL, call_until_shut, &shut[i]), 0);
        }
        fault_sleep_ms(round % 2 == 0 ? 5 : 60);
        uint64_t from = fault_now_ms();
        hc_shutdown(enclave);
        for (int i = 0; i < 4; i++) {
            CHECK_EQ(pthread_join(shut[i].thread, NULL), 0);
            CHECK_EQ(shut[i].status, HC_ERR_CLOSED);
            CHECK_EQ(shut[i].next, HC_ERR_CLOSED);
        }
        CHECK(fault_now_ms() - from < 1000u);
        CHECK_EQ(fault_host_call(enclave, F_PING, 1, 0), HC_ERR_CLOSED);
        CHECK_EQ(hc_why(enclave, NULL), HC_ERR_CLOSED);
        hc_close(enclave);
        if (round > 0)
            check_nothing_leaked(before);
    }
}

TEST(test_call_that_never_returns_times_out_and_the_thread_goes_on)
{
    hc_enclave *enclave = fault_launch();
    CHECK_EQ(hc_thread_timeout(enclave, 30000000), HC_OK);
    for (int i = 0; i < 3; i++) {
        uint64_t from = fault_now_ms();
        CHECK_EQ(fault_host_call(enclave, F_FOREVER, 0, 0), HC_ERR_TIMEOUT);
        CHECK(fault_now_ms() - from < 500u);
        /* The responder is gone for good; a companion serves the next slot. */
        fault_ping(enclave);
        CHECK_EQ(hc_thread_timeout(enclave, 30000000), HC_OK);
    }
    hc_close(enclave);
}

TEST(test_timeout_of_a_thread_holds_when_its_calls_go_by_another_port)
{
    hc_enclave *enclave = fault_launch();
    CHECK_EQ(hc_thread_timeout(enclave, 20000000), HC_OK);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(fault_host_call(enclave, F_FOREVER, 0, 0), HC_ERR_TIMEOUT);
    hc_close(enclave);
}

TEST(test_timeout_that_is_taken_back_is_so_for_each_port)
{
    hc_enclave *enclave = fault_launch();
    CHECK_EQ(hc_thread_timeout(enclave, 2000000), HC_OK);
    CHECK_EQ(fault_host_call(enclave, F_SPIN_US, 100000, 0), HC_ERR_TIMEOUT);
    CHECK_EQ(hc_thread_timeout(enclave, 0), HC_OK);
    /* By then the first port has recovered, at latest in the last one. */
    for (int i = 0; i < 4; i++)
        CHECK_EQ(fault_host_call(enclave, F_SPIN_US, 100000, 0), HC_OK);
    hc_close(enclave);
}

static void *give_up_twice(void *enclave)
{
    CHECK_EQ(fault_host_call(enclave, F_PATIENCE, 2, 0), HC_OK);
    return NULL;
}

TEST(test_timeout_of_an_ecall_holds_for_its_ocall_after_one_that_was_given_up)
{
    hc_enclave *enclave = fault_launch();
    struct hc_port *port = hc_host_port(enclave);
    pthread_t thread;
    CHECK(port != NULL);
    CHECK_EQ(pthread_create(&thread, NULL, give_up_twice, enclave), 0);
    uint64_t given_up = 0;
    for (uint64_t from = fault_now_ms(); given_up != 2u; fault_sleep_ms(5)) {
        CHECK(fault_now_ms() - from < 30000u);
        CHECK_EQ(fault_call(port, F_PATIENCE, 0, 0, &given_up), HC_OK);
    }
    __atomic_store_n(&g_release_ocalls, 1u, __ATOMIC_SEQ_CST);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    hc_close(enclave);
}

TEST(test_too_many_threads_get_no_slot)
{
    struct hc_launch_options options;
    struct hc_error error;
    hc_enclave *enclave;
    fault_options(&options);
    options.slots = 2;
    CHECK_EQ(hc_launch(&options, &enclave, &error), HC_OK);
    struct shut shut[2];
    for (int i = 0; i < 2; i++) {
        shut[i] = (struct shut){.enclave = enclave, .id = F_FOREVER};
        CHECK_EQ(pthread_create(&shut[i].thread, NULL, call_until_shut, &shut[i]), 0);
    }
    fault_sleep_ms(50);
    CHECK_EQ(fault_host_call(enclave, F_PING, 1, 0), HC_ERR_NO_SLOT);
    hc_shutdown(enclave);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_join(shut[i].thread, NULL), 0);
    hc_close(enclave);
}

/* A host's call inside an ocall that the enclave has given up is refused, and does not hang. */
TEST(test_call_in_from_an_ocall_that_was_given_up_is_refused)
{
    hc_enclave *enclave = fault_launch();
    g_call_in = HC_OK;
    uint64_t from = fault_now_ms();
    CHECK_EQ(fault_host_call(enclave, F_ORPHAN, 0, 0), HC_OK);
    while (__atomic_load_n(&g_call_in, __ATOMIC_SEQ_CST) == HC_OK) {
        CHECK(fault_now_ms() - from < 2000u);
        fault_sleep_ms(1);
    }
    CHECK_EQ(g_call_in, HC_ERR_NOT_ALLOWED);
    fault_ping(enclave);
    hc_close(enclave);
}

static hc_enclave *g_for_handler;
static volatile uint64_t g_handled;
static enum hc_status g_handler_status;

static void call_in_handler(int number)
{
    int saved = errno;
    (void)number;
    enum hc_status status = fault_host_call(g_for_handler, F_PING, 1, 0);
    if (status != HC_OK)
        g_handler_status = status;
    g_handled++;
    errno = saved;
}

static void every_us(long us)
{
    struct sigaction action;
    struct itimerval interval = {{0, us}, {0, us}};
    memset(&action, 0, sizeof action);
    action.sa_handler = us == 0 ? SIG_IGN : call_in_handler;
    CHECK_EQ(sigaction(SIGALRM, &action, NULL), 0);
    CHECK_EQ(setitimer(ITIMER_REAL, &interval, NULL), 0);
}

TEST(test_signal_handler_calls_in_the_middle_of_any_call)
{
    g_for_handler = fault_launch();
    struct hc_call calls[10];
    struct fault_ms ms = {1, 0};
    uint64_t errors;
    enum hc_status first;
    fault_ping(g_for_handler);
    every_us(150);
    for (uint64_t end = fault_now_ms() + 1500u; fault_now_ms() < end;) {
        struct hc_port *port = hc_host_port(g_for_handler);
        CHECK(port != NULL);
        for (int i = 0; i < 20; i++)
            fault_ping(g_for_handler);
        CHECK_EQ(fault_host_call(g_for_handler, F_SPIN_US, 300, 0), HC_OK);
        hc_batch_begin(port);
        for (int i = 0; i < 10; i++) {
            CHECK_EQ(hc_call_begin(port, &calls[i], F_PING, sizeof ms, 0), HC_OK);
            CHECK_EQ(hc_call_submit(&calls[i], &ms, sizeof ms), HC_OK);
        }
        hc_batch_end(port);
        for (int i = 0; i < 10; i++) {
            CHECK_EQ(hc_call_wait(&calls[i], &ms, sizeof ms), HC_OK);
            CHECK_EQ(ms.b, ms.a + 1u);
            hc_call_end(&calls[i]);
        }
        for (int i = 0; i < 50; i++) {
            CHECK_EQ(hc_call_begin(port, &calls[0], F_PING, sizeof ms, 0), HC_OK);
            CHECK_EQ(hc_call_oneway(&calls[0], &ms, sizeof ms), HC_OK);
        }
        CHECK_EQ(hc_flush(port, &errors, &first), HC_OK);
        CHECK_EQ(errors, 0);
    }
    every_us(0);
    CHECK(g_handled > 100);
    CHECK_EQ(g_handler_status, HC_OK);
    hc_close(g_for_handler);
}

static sigjmp_buf g_out;
static uint32_t g_waiting_for_jump;

static void jump_out(int number)
{
    (void)number;
    siglongjmp(g_out, 1);
}

static void *jump_out_of_a_wait(void *argument)
{
    hc_enclave *enclave = argument;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = jump_out;
    CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
    struct hc_port *left = hc_host_port(enclave);
    CHECK(left != NULL);
    if (sigsetjmp(g_out, 1) == 0) {
        pthread_t self = pthread_self();
        CHECK_EQ(pthread_kill(self, 0), 0);
        __atomic_store_n(&g_waiting_for_jump, 1u, __ATOMIC_SEQ_CST);
        (void)fault_call(left, F_SPIN_US, 200000, 0, NULL);
        CHECK(false);
    }
    /* Its slot is quarantined; the thread calls through another. */
    struct hc_port *port = hc_host_port(enclave);
    CHECK(port != NULL && port != left);
    CHECK_EQ(fault_call(port, F_PING, 1, 0, NULL), HC_OK);
    return NULL;
}

TEST(test_longjmp_out_of_a_wait_quarantines_the_slot)
{
    hc_enclave *enclave = fault_launch();
    for (int round = 0; round < 3; round++) {
        pthread_t thread;
        g_waiting_for_jump = 0;
        CHECK_EQ(pthread_create(&thread, NULL, jump_out_of_a_wait, enclave), 0);
        while (__atomic_load_n(&g_waiting_for_jump, __ATOMIC_SEQ_CST) == 0)
            fault_sleep_ms(1);
        fault_sleep_ms(10);
        CHECK_EQ(pthread_kill(thread, SIGUSR1), 0);
        CHECK_EQ(pthread_join(thread, NULL), 0);
        /* Once the callee is done the slot is there again for whoever comes. */
        fault_sleep_ms(round == 0 ? 300 : 0);
        fault_ping(enclave);
    }
    hc_close(enclave);
}
