/* SPDX-License-Identifier: Apache-2.0 */
/*
 * token_host.c -- the untrusted side of the stress tests, and what decides whether they passed.
 *
 *     token_… SECONDS THREADS [name=value …]
 *
 * Requester threads make calls of every kind, give some up, and end with calls still out; others
 * take their places. Then every token is accounted for.
 */
#include "token_host.h"

#define CHECK_OWN_MAIN
#include "check.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

enum { NONE, ANSWERED, MAYBE, POSTED };

static uint8_t g_state[TOKEN_REQUESTERS][TOKENS_EACH];
static uint32_t g_next[TOKEN_REQUESTERS]; /* of the last one, atomic: by any thread */
static uint8_t g_ran_ocalls[OCALLS_MAX];
static uint64_t g_deadline;
static uint64_t g_seed;
static uint32_t g_timeouts, g_exits;
static uint64_t g_cycles_per_us;

struct requester {
    pthread_t thread;
    uint32_t index;
    uint32_t life;
    bool running;
};

/* Ends the program: a wrong call says where, with the seed printed before. */
static void must(bool fine, const char *what, enum hc_status status)
{
    if (fine)
        return;
    (void)fprintf(stderr, "%s: status %d (%s)\n", what, (int)status, hc_status_text(status));
    _exit(1);
}

static struct hc_port *port_of(void)
{
    enum hc_status status;
    struct hc_port *port = token_port(&status);
    must(port != NULL, "no port", status);
    return port;
}

static bool new_token(uint32_t requester, struct token_ms *ms, uint64_t extra)
{
    uint32_t index = __atomic_fetch_add(&g_next[requester], 1u, __ATOMIC_RELAXED);
    ms->token = token_make(requester, index);
    ms->answer = 0;
    ms->extra = extra;
    if (index < TOKENS_EACH)
        return true;
    (void)__atomic_sub_fetch(&g_next[requester], 1u, __ATOMIC_RELAXED);
    return false;
}

static void mark(uint64_t token, uint8_t state)
{
    __atomic_store_n(&g_state[token >> 32][(uint32_t)token], state, __ATOMIC_RELAXED);
}

static void check_answer(const struct token_ms *ms, uint64_t token)
{
    must(ms->answer == token_answer(token), "wrong answer", HC_OK);
    mark(token, ANSWERED);
}

static void plain(uint32_t me, uint32_t id, uint64_t extra)
{
    struct token_ms ms;
    if (!new_token(me, &ms, extra))
        return;
    uint64_t token = ms.token;
    enum hc_status status = token_call(port_of(), id, &ms);
    must(status == HC_OK, "plain call", status);
    check_answer(&ms, token);
}

static void copying(uint32_t me, uint64_t size)
{
    static __thread uint8_t bytes[48u * 1024u];
    struct token_ms ms;
    struct hc_call call;
    if (!new_token(me, &ms, size))
        return;
    uint64_t token = ms.token;
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(token + i);
    enum hc_status status =
        hc_call_begin(port_of(), &call, E_COPY, sizeof ms, hc_message_add(0, size));
    must(status == HC_OK, "begin copy", status);
    size_t position = hc_call_inout(&call, bytes, size);
    status = hc_call_run(&call, &ms, sizeof ms);
    must(status == HC_OK, "copy", status);
    must(hc_call_copy_out(&call, position, bytes, size) == HC_OK, "copy out", HC_OK);
    hc_call_end(&call);
    for (size_t i = 0; i < size; i++)
        must(bytes[i] == (uint8_t)(token + i + 1u), "copied bytes", HC_OK);
    check_answer(&ms, token);
}

/* A call that may be given up before or while it runs. */
static void hurried(uint32_t me, uint64_t *random)
{
    struct token_ms ms;
    if (!new_token(me, &ms, check_random(random) % 100u))
        return;
    uint64_t token = ms.token;
    struct hc_port *port = port_of();
    port->timeout = (1u + check_random(random) % 60u) * g_cycles_per_us;
    enum hc_status status = token_call(port, E_SLOW, &ms);
    port->timeout = 0;
    must(status == HC_OK || status == HC_ERR_TIMEOUT, "hurried call", status);
    if (status == HC_OK) {
        check_answer(&ms, token);
    } else {
        mark(token, MAYBE);
        (void)__atomic_add_fetch(&g_timeouts, 1u, __ATOMIC_RELAXED);
    }
}

/* Some calls out at once, collected in another order; the last ones perhaps never. */
static void pipelined(uint32_t me, uint64_t *random, bool batch, bool leave)
{
    struct hc_call calls[HC_CELLS_DEFAULT];
    struct token_ms ms[HC_CELLS_DEFAULT];
    uint64_t token[HC_CELLS_DEFAULT];
    uint32_t count = 0;
    uint32_t wanted = 1u + (uint32_t)(check_random(random) % HC_CELLS_DEFAULT);
    struct hc_port *port = port_of();
    if (batch)
        hc_batch_begin(port);
    for (; count < wanted; count++) {
        uint32_t id = check_random(random) % 16u == 0 ? E_NEST : E_TOKEN;
        if (!new_token(me, &ms[count], id == E_NEST ? 1u + count % 3u : 0))
            break;
        token[count] = ms[count].token;
        enum hc_status status = token_submit(port, &calls[count], id, &ms[count]);
        must(status == HC_OK || status == HC_ERR_AGAIN, "submit", status);
        if (status == HC_ERR_AGAIN) {
            mark(token[count], MAYBE);
            break;
        }
        mark(token[count], POSTED);
    }
    if (batch)
        hc_batch_end(port);
    uint32_t collected = leave && count != 0 ? count / 2u : count;
    uint32_t start = (uint32_t)check_random(random);
    for (uint32_t i = 0; i < collected; i++) {
        uint32_t at = (start + i) % collected;
        if (check_random(random) % 4u == 0)
            (void)hc_call_poll(&calls[at]);
        enum hc_status status = token_collect(&calls[at], &ms[at]);
        must(status == HC_OK, "collect", status);
        check_answer(&ms[at], token[at]);
    }
}

static void oneway(uint32_t me, uint64_t *random, bool leave)
{
    struct token_ms ms;
    uint64_t errors;
    enum hc_status first, status;
    struct hc_port *port = port_of();
    bool batch = check_random(random) % 2u == 0;
    if (batch)
        hc_batch_begin(port);
    for (uint64_t i = 0, count = check_random(random) % 80u; i < count; i++) {
        if (!new_token(me, &ms, 0))
            break;
        mark(ms.token, POSTED);
        status = token_oneway(port, E_TOKEN, &ms);
        must(status == HC_OK, "one-way", status);
    }
    if (batch && !leave)
        hc_batch_end(port);
    if (leave)
        return;
    status = hc_flush(port, &errors, &first);
    must(status == HC_OK && errors == 0, "flush", status);
}

static void *requester_body(void *argument)
{
    struct requester *self = argument;
    uint64_t random = g_seed * 31u + self->index * 7u + self->life * 1009u + 1u;
    uint64_t calls = 1u + check_random(&random) % 400u;
    for (uint64_t i = 0; i < calls && hc_tsc() < g_deadline; i++) {
        port_of()->mode = (uint32_t)(check_random(&random) % 3u);
        uint64_t choice = check_random(&random) % 64u;
        if (choice < 30)
            plain(self->index, E_TOKEN, 0);
        else if (choice < 36)
            copying(self->index, check_random(&random) % (48u * 1024u));
        else if (choice < 42)
            plain(self->index, E_NEST, check_random(&random) % DEPTH_MAX);
        else if (choice < 45)
            plain(self->index, E_ONEWAY, check_random(&random) % 8u);
        else if (choice < 48)
            plain(self->index, E_PIPE, check_random(&random) % 8u);
        else if (choice < 52)
            hurried(self->index, &random);
        else if (choice < 60)
            pipelined(self->index, &random, choice % 2u == 0, false);
        else if (choice < 63)
            oneway(self->index, &random, false);
        else if (check_random(&random) % 8u == 0)
            (void)usleep((useconds_t)(check_random(&random) % 2000u));
    }
    /* The thread ends with calls still out, one time in two. */
    if (self->life % 4u == 1u)
        pipelined(self->index, &random, true, true);
    if (self->life % 4u == 3u)
        oneway(self->index, &random, true);
    (void)__atomic_add_fetch(&g_exits, 1u, __ATOMIC_RELAXED);
    __atomic_store_n(&self->running, false, __ATOMIC_RELEASE);
    return NULL;
}

/* ---- the ocalls ------------------------------------------------------------------------------ */

static enum hc_status o_run(struct hc_frame *frame, struct token_ms *ms)
{
    enum hc_status status = hc_frame_open(frame, ms, sizeof *ms);
    if (status != HC_OK)
        return status;
    must(ms->token < OCALLS_MAX, "token of an ocall", HC_OK);
    (void)__atomic_add_fetch(&g_ran_ocalls[ms->token], 1u, __ATOMIC_RELAXED);
    ms->answer = token_answer(ms->token);
    return HC_OK;
}

static enum hc_status o_token(struct hc_frame *frame)
{
    struct token_ms ms;
    enum hc_status status = o_run(frame, &ms);
    return status != HC_OK ? status : hc_frame_close(frame, &ms, sizeof ms);
}

static enum hc_status o_nest(struct hc_frame *frame)
{
    struct token_ms ms;
    enum hc_status status = o_run(frame, &ms);
    if (status != HC_OK)
        return status;
    if (ms.extra != 0)
        plain(TOKEN_NESTED, E_NEST, ms.extra - 1u);
    return hc_frame_close(frame, &ms, sizeof ms);
}

static const struct hc_function g_ecalls[E_COUNT] = {
    {"token", NULL, 0, NULL}, {"slow", NULL, 0, NULL},   {"nest", NULL, 0, NULL},
    {"copy", NULL, 0, NULL},  {"oneway", NULL, 0, NULL}, {"pipe", NULL, 0, NULL},
    {"audit", NULL, 0, NULL}, {"made", NULL, 0, NULL},   {"threads", NULL, 0, NULL}};
static const struct hc_function g_ocalls[O_COUNT] = {{"token", o_token, 0, NULL},
                                                     {"nest", o_nest, 0, NULL}};
static const struct hc_interface g_interface = {.abi = HC_ABI,
                                                .layout = HC_LAYOUT,
                                                .ecall_count = E_COUNT,
                                                .ocall_count = O_COUNT,
                                                .digest = {7},
                                                .name = "token",
                                                .ecalls = g_ecalls,
                                                .ocalls = g_ocalls};

/* ---- accounting ------------------------------------------------------------------------------ */

static struct token_ms ask(uint32_t id, uint64_t extra)
{
    struct token_ms ms = {0, 0, extra};
    enum hc_status status = token_call(port_of(), id, &ms);
    must(status == HC_OK, "asking", status);
    return ms;
}

/* One look; false while some posted call has not run yet and there is time. */
static bool audit(bool last)
{
    static uint8_t ran[AUDIT_BYTES];
    for (uint32_t r = 0; r < TOKEN_REQUESTERS; r++) {
        uint32_t end = __atomic_load_n(&g_next[r], __ATOMIC_RELAXED);
        for (uint32_t i = 0; i < end; i++) {
            if (i % AUDIT_BYTES == 0) {
                struct token_ms ms = {token_make(r, i), 0, 0};
                struct hc_call call;
                enum hc_status status =
                    hc_call_begin(port_of(), &call, E_AUDIT, sizeof ms, AUDIT_BYTES);
                must(status == HC_OK, "begin audit", status);
                size_t position = hc_call_out(&call, AUDIT_BYTES);
                status = hc_call_run(&call, &ms, sizeof ms);
                must(status == HC_OK, "audit", status);
                (void)hc_call_copy_out(&call, position, ran, AUDIT_BYTES);
                hc_call_end(&call);
            }
            /* Atomic: calls back of calls that were left behind may go on even now. */
            uint8_t state = __atomic_load_n(&g_state[r][i], __ATOMIC_RELAXED);
            uint8_t count = ran[i % AUDIT_BYTES];
            if (!last && (state == NONE || (state == POSTED && count == 0)))
                return false;
            if (state == MAYBE ? count > 1 : count != 1) {
                (void)fprintf(stderr, "token %u.%u, state %u, ran %u times\n", r, i, state, count);
                _exit(1);
            }
        }
    }
    uint32_t made = (uint32_t)ask(E_MADE, 0).answer;
    for (uint32_t i = 0; i < made; i++) {
        uint8_t count = __atomic_load_n(&g_ran_ocalls[i], __ATOMIC_RELAXED);
        if (count == 0 && !last)
            return false;
        if (count != 1) {
            (void)fprintf(stderr, "ocall %u ran %u times\n", i, count);
            _exit(1);
        }
    }
    return true;
}

static void print_statistics(void)
{
    const struct hc_geometry *g;
    uint8_t *base = (uint8_t *)(uintptr_t)token_region(&g);
    struct hc_counters sum;
    uint64_t calls = 0;
    memset(&sum, 0, sizeof sum);
    for (uint32_t i = 0; i < g->slot_count; i++) {
        const struct hc_slot_control *c = hc_u_slot(base, g, i);
        const struct hc_counters *all[] = {&c->owner_counters, &c->peer_counters,
                                           &c->nested_counters};
        for (int k = 0; k < 3; k++) {
            const uint64_t *from = &all[k]->hot;
            uint64_t *to = &sum.hot;
            for (size_t f = 0; f < sizeof sum / sizeof *to; f++)
                to[f] += hc_untrusted_u64(&from[f]);
        }
    }
    for (uint32_t r = 0; r < TOKEN_REQUESTERS; r++)
        calls += __atomic_load_n(&g_next[r], __ATOMIC_RELAXED);
    (void)printf("calls=%" PRIu64 " ocalls=%" PRIu64 " hot=%" PRIu64 " switched=%" PRIu64
                 " withdrawn=%" PRIu64 " slept=%" PRIu64 " rang=%" PRIu64 " oneway=%" PRIu64
                 " timeouts=%u exits=%u\n",
                 calls, ask(E_MADE, 0).answer, sum.hot, sum.switched, sum.withdrawn, sum.slept,
                 sum.rang, sum.oneway, g_timeouts, g_exits);
}

static const char *word(int argc, char **argv, const char *name)
{
    size_t size = strlen(name);
    for (int i = 3; i < argc; i++)
        if (strncmp(argv[i], name, size) == 0 && argv[i][size] == '=')
            return argv[i] + size + 1u;
    return NULL;
}

static uint32_t number(int argc, char **argv, const char *name)
{
    const char *text = word(argc, argv, name);
    return text != NULL ? (uint32_t)strtoul(text, NULL, 10) : 0;
}

static void start(struct requester *requester)
{
    requester->running = true;
    must(pthread_create(&requester->thread, NULL, requester_body, requester) == 0, "thread", HC_OK);
}

int main(int argc, char **argv)
{
    static struct requester requesters[TOKEN_REQUESTERS - 1u];
    must(argc >= 3, "usage: token SECONDS THREADS [name=value ...]", HC_ERR_ARGUMENT);
    double seconds = strtod(argv[1], NULL);
    uint32_t threads = (uint32_t)strtoul(argv[2], NULL, 10);
    must(threads >= 1 && threads < TOKEN_REQUESTERS, "threads", HC_ERR_ARGUMENT);
    const struct token_options options = {
        .responders = number(argc, argv, "responders"),
        .ocall_responders = number(argc, argv, "ocall_responders"),
        .idle_us = number(argc, argv, "idle_us"),
        .spin_us = number(argc, argv, "spin_us"),
        .take_us = number(argc, argv, "take_us"),
        .processors = number(argc, argv, "processors"),
        .mode = (enum hc_mode)number(argc, argv, "mode"),
        .image = word(argc, argv, "image"),
        .loader = word(argc, argv, "loader"),
        .interface = &g_interface,
    };
    g_seed = check_seed((uint64_t)time(NULL));
    uint64_t from = hc_tsc();
    (void)usleep(10000);
    g_cycles_per_us = (hc_tsc() - from) / 10000u;
    token_start(&options);
    (void)ask(E_THREADS, number(argc, argv, "enclave_threads"));

    g_deadline = hc_tsc() + (uint64_t)(seconds * 1e6) * g_cycles_per_us;
    for (uint32_t i = 0; i < threads; i++) {
        requesters[i].index = i;
        start(&requesters[i]);
    }
    while (hc_tsc() < g_deadline) {
        (void)usleep(500);
        for (uint32_t i = 0; i < threads; i++) {
            if (__atomic_load_n(&requesters[i].running, __ATOMIC_ACQUIRE))
                continue;
            (void)pthread_join(requesters[i].thread, NULL);
            requesters[i].life++;
            start(&requesters[i]);
        }
    }
    for (uint32_t i = 0; i < threads; i++)
        (void)pthread_join(requesters[i].thread, NULL);
    (void)ask(E_THREADS, 0);
    /* What ended threads left behind runs on its own; ten seconds are ample. */
    uint64_t end = hc_tsc() + 10000000u * g_cycles_per_us;
    while (!audit(hc_tsc() > end))
        (void)usleep(1000);
    must(ask(E_MADE, 0).extra == 0, "an ocall went wrong inside", HC_OK);
    print_statistics();
    token_stop();
    return 0;
}
