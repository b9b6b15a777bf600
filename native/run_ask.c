/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_ask.c -- questions to the hook, and waiting for its answers.
 *
 * Host side (H); companions. The hook sees copies: scalars that were taken out of the message, the
 * real name of the object that is open already, the address that the kernel will get. So what it
 * allows is what is done, whatever the program writes meanwhile.
 *
 * One question at a time: there is one interpreter to answer.
 */
#define _GNU_SOURCE
#include "run_ask.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int g_fd = -1;
static uint32_t g_limit_ms;
static int g_refuse = EPERM;

/* Of questions and answers, under the lock. */
static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t g_number;
static bool g_late; /* the last question has no answer yet, and nobody waits for it any more */

/* The call that this thread runs, when the hook is to be asked about it. */
static __thread struct run_call *g_call;
static __thread bool g_allowed; /* what cannot be asked twice: an address */

void run_ask_init(int fd, uint32_t limit_ms)
{
    g_fd = fd;
    g_limit_ms = limit_ms;
}

void run_ask_refuse_with(int refuse)
{
    g_refuse = refuse;
}

static uint64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

/* Until an answer to `number` is there; NULL, or why there is none. */
static const char *await(uint32_t number, uint64_t until, int *refuse)
{
    for (;;) {
        struct run_answer answer;
        uint64_t now = now_ms();
        struct pollfd ready = {g_fd, POLLIN, 0};
        int found = poll(&ready, 1, now < until ? (int)(until - now) : 0);
        if (found < 0 && errno == EINTR)
            continue;
        if (found == 0)
            return "no answer in time";
        ssize_t size = recv(g_fd, &answer, sizeof answer, MSG_DONTWAIT);
        if (size < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (size != (ssize_t)sizeof answer)
            return "the hook's process has ended";
        if (answer.number != number)
            continue; /* to a question that was given up */
        *refuse = answer.refuse >= 0 && answer.refuse <= 4095 ? answer.refuse : g_refuse;
        return NULL;
    }
}

/* NULL, or why there is no answer. */
static const char *ask_locked(struct run_question *question, size_t size, uint64_t until,
                              int *refuse)
{
    /* A hook that hangs makes one call wait, and not each. */
    if (g_late && await(g_number, 0, refuse) != NULL)
        return "the hook still has not answered the question before";
    g_late = false;
    question->number = ++g_number;
    if (send(g_fd, question, size, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)size)
        return "the hook's process has ended";
    const char *why = await(question->number, until, refuse);
    g_late = why != NULL;
    return why;
}

static int ask(enum run_ask_about about, uint32_t use, const char *text)
{
    struct run_question question;
    struct timespec limit;
    const struct run_call *call = g_call;
    const uint64_t until = now_ms() + g_limit_ms;
    const char *why = "no answer in time";
    size_t length = strlen(text);
    int refuse = g_refuse;
    memset(&question, 0, offsetof(struct run_question, text));
    question.about = about;
    question.use = use;
    question.count = call->row->parameter_count;
    for (uint32_t i = 0; i < question.count; i++) {
        uint8_t kind = call->row->parameters[i].kind;
        if (kind <= ROW_DIRFD)
            question.arguments[i] = (int64_t)call->a[i];
        else if (kind != ROW_STRING && call->a[i] != 0)
            question.arguments[i] = (int64_t)call->sizes[i];
    }
    (void)strncpy(question.name, call->row->name, sizeof question.name - 1u);
    if (length > sizeof question.text)
        length = sizeof question.text;
    memcpy(question.text, text, length);
    limit = (struct timespec){(time_t)(until / 1000u), (long)(until % 1000u) * 1000000};
    if (pthread_mutex_clocklock(&g_lock, CLOCK_MONOTONIC, &limit) == 0) {
        why = ask_locked(&question, offsetof(struct run_question, text) + length, until, &refuse);
        (void)pthread_mutex_unlock(&g_lock);
    }
    if (why != NULL)
        return run_policy_hook_refused(call->id, g_refuse, why);
    return refuse != 0 ? run_policy_hook_refused(call->id, refuse, text) : 0;
}

int run_ask_path(uint32_t row, enum run_path_use use, const char *path)
{
    return g_call != NULL && g_call->id == row ? ask(RUN_ASK_PATH, use, path) : 0;
}

int run_ask_address(uint32_t row, enum run_address_use use, const char *address)
{
    if (g_call == NULL || g_call->id != row || g_allowed)
        return 0;
    int refuse = ask(RUN_ASK_ADDRESS, use, address);
    g_allowed = refuse == 0;
    return refuse;
}

/* The parameter with an address to judge; -1: this call has none. */
static int address_of(const struct run_call *call)
{
    switch ((enum row_id)call->id) {
    case ROW_connect:
    case ROW_bind:
        return 1;
    case ROW_sendto:
    case ROW_sendmsg:
        return call->a[4] != 0 && call->sizes[4] != 0 ? 4 : -1;
    default:
        return -1;
    }
}

long run_ask_perform(struct run_call *call, long (*perform)(struct run_call *))
{
    uint8_t address[sizeof(struct sockaddr_storage)];
    const int at = address_of(call);
    const uint64_t u_address = at >= 0 ? call->a[at] : 0;
    if (u_address != 0) {
        if (call->sizes[at] > sizeof address)
            return -EINVAL;
        memset(address, 0, sizeof address);
        hc_copy_in(address, (const void *)(uintptr_t)u_address, call->sizes[at]);
        call->a[at] = (uint64_t)(uintptr_t)address;
    }
    g_call = call;
    g_allowed = false;
    int refuse = at >= 0 || run_path_judges(call) ? 0 : ask(RUN_ASK_CALL, 0, "");
    long result = refuse != 0 ? -refuse : perform(call);
    g_call = NULL;
    if (u_address != 0)
        call->a[at] = u_address;
    return result;
}
