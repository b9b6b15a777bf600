/* SPDX-License-Identifier: Apache-2.0 */
/*
 * soak_host.c -- the untrusted side of the soak: requesters, kills and restarts, and the accounts.
 *
 *     soak_host SECONDS REQUESTERS IMAGE LOADER [lose|double]
 *
 * Enclave after enclave is launched, called by all requesters in every way, and ended: killed, by
 * its own hand, closed under calls, or left alone until everybody is done. Of every call its
 * requester knows that it was answered, or the error that it got instead; the ledger says how often
 * it ran. The two are compared each time that a requester has used up its tokens, and at the end of
 * every enclave. A line of JSON about each of them goes to standard output.
 */
#define CHECK_OWN_MAIN
#include "soak.h"

#include "check.h"

#include <hotcalls_host.h>

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define BATCH HC_CELLS_DEFAULT
#define BYTES_MAX (48u * 1024u)
#define COMPLAINTS_MAX 20u

/* What a requester knows of a token. ANSWERED + depth: how many levels have to have run. */
enum { UNUSED, FAILED, ANSWERED };

struct counts {
    uint64_t sent, answered, errors, timeouts, nested, bytes, lost, doubled, wrong;
};

struct requester {
    pthread_t thread;
    uint32_t index;
    uint64_t random;
    uint32_t next;
    bool over; /* the enclave is gone, or the time is */
    struct counts counts;
    uint8_t state[SOAK_TOKENS];
    uint8_t bytes[BYTES_MAX];
};

static struct requester g_requesters[SOAK_REQUESTERS];
static uint32_t g_requester_count, g_cheat, g_stop;
/* Where it lies in the channel, and a view of it that outlives the channel. */
static struct soak_ledger *g_u_shared, *g_u_ledger;
/* Calls back, counted where they are run: on this side. */
static struct soak_ledger g_back;
static hc_enclave *g_enclave;
static pthread_barrier_t g_begin, g_end;
static bool g_finished;
static uint64_t g_seed;

static uint64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

static enum hc_status r_back(struct hc_frame *frame)
{
    struct soak_ms ms;
    enum hc_status status = hc_frame_open(frame, &ms, sizeof ms);
    if (status != HC_OK)
        return status;
    if (ms.requester >= SOAK_REQUESTERS || ms.level >= SOAK_LEVELS || ms.index >= SOAK_TOKENS)
        return HC_ERR_ARGUMENT;
    (void)__atomic_fetch_add(&g_back.ran[ms.requester][ms.level][ms.index], 1u, __ATOMIC_RELAXED);
    uint64_t answer = soak_answer(&ms);
    struct soak_ms inner = ms;
    struct hc_port *port = hc_host_port(g_enclave);
    if (port == NULL)
        return hc_host_port_error(g_enclave);
    inner.level++;
    inner.cheat = SOAK_HONEST;
    struct soak_ms expected = inner;
    status = soak_call(port, S_NEST, &inner);
    if (status != HC_OK)
        return status;
    if (inner.ledger != soak_answer(&expected))
        return HC_ERR_MESSAGE;
    ms.ledger = answer;
    return hc_frame_close(frame, &ms, sizeof ms);
}

static const struct hc_function g_ecalls[S_COUNT] = {{"one", NULL, 0, NULL},
                                                     {"copy", NULL, 0, NULL},
                                                     {"nest", NULL, 0, NULL},
                                                     {"die", NULL, 0, NULL}};
static const struct hc_function g_ocalls[R_COUNT] = {{"back", r_back, 0, NULL}};
static const struct hc_interface g_interface = {.abi = HC_ABI,
                                                .layout = HC_LAYOUT,
                                                .ecall_count = S_COUNT,
                                                .ocall_count = R_COUNT,
                                                .digest = {8},
                                                .name = "soak",
                                                .ecalls = g_ecalls,
                                                .ocalls = g_ocalls};

/* Says what went wrong, but not for ever. */
__attribute__((format(printf, 1, 2))) static void complain(const char *format, ...)
{
    static uint32_t g_said;
    va_list arguments;
    if (__atomic_fetch_add(&g_said, 1u, __ATOMIC_RELAXED) >= COMPLAINTS_MAX)
        return;
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
}

/* ---- one call -------------------------------------------------------------------------------- */

static bool new_token(struct requester *self, struct hc_port *port, struct soak_ms *ms)
{
    if (self->next == SOAK_TOKENS)
        return false;
    memset(ms, 0, sizeof *ms);
    ms->requester = self->index;
    ms->index = self->next++;
    if (hc_call_shared(port, g_u_shared, sizeof *g_u_shared, &ms->ledger) != HC_OK)
        abort();
    if (g_cheat != SOAK_HONEST && self->index == 0 && ms->index == 100)
        ms->cheat = g_cheat;
    self->counts.sent++;
    return true;
}

static void failed(struct requester *self, uint32_t index, enum hc_status status)
{
    self->state[index] = FAILED;
    self->counts.errors++;
    if (status == HC_ERR_TIMEOUT)
        self->counts.timeouts++;
    else if (status == HC_ERR_PEER_LOST || status == HC_ERR_CLOSED)
        self->over = true;
    else {
        complain("token %u.%u: %s\n", self->index, index, hc_status_text(status));
        self->counts.wrong++;
        self->over = true;
    }
}

/* What became of a call that was made with `sent` and came back with `got`. */
static void settle(struct requester *self, const struct soak_ms *sent, const struct soak_ms *got,
                   enum hc_status status)
{
    if (status != HC_OK) {
        failed(self, sent->index, status);
        return;
    }
    self->counts.answered++;
    self->counts.nested += 2u * sent->depth;
    self->state[sent->index] = (uint8_t)(ANSWERED + sent->depth);
    if (got->ledger != soak_answer(sent) || got->index != sent->index) {
        complain("token %u.%u: the answer to another one\n", self->index, sent->index);
        self->counts.wrong++;
    }
}

static void plain(struct requester *self, struct hc_port *port, uint32_t depth, uint64_t timeout)
{
    struct soak_ms sent, got;
    if (!new_token(self, port, &sent))
        return;
    sent.depth = depth;
    got = sent;
    port->timeout = timeout;
    enum hc_status status = soak_call(port, depth != 0 ? S_NEST : S_ONE, &got);
    port->timeout = 0;
    settle(self, &sent, &got, status);
}

static void copying(struct requester *self, struct hc_port *port, uint32_t size)
{
    struct soak_ms sent, got;
    struct hc_call call;
    if (!new_token(self, port, &sent))
        return;
    sent.size = size;
    got = sent;
    for (uint32_t i = 0; i < size; i++)
        self->bytes[i] = (uint8_t)(sent.index + i);
    enum hc_status status = hc_call_begin(port, &call, S_COPY, sizeof got, hc_message_add(0, size));
    size_t position = 0;
    if (status == HC_OK) {
        position = hc_call_inout(&call, self->bytes, size);
        status = hc_call_run(&call, &got, sizeof got);
    }
    if (status == HC_OK) {
        if (hc_call_copy_out(&call, position, self->bytes, size) != HC_OK)
            self->counts.wrong++;
        hc_call_end(&call);
        self->counts.bytes += 2u * size;
        for (uint32_t i = 0; i < size; i++)
            if (self->bytes[i] != (uint8_t)(sent.index + i + 1u)) {
                complain("token %u.%u: byte %u\n", self->index, sent.index, i);
                self->counts.wrong++;
                break;
            }
    }
    settle(self, &sent, &got, status);
}

/* Many calls out at once, collected from some place on. */
static void many(struct requester *self, struct hc_port *port, bool batch, uint32_t wanted)
{
    struct hc_call calls[BATCH];
    struct soak_ms sent[BATCH], got[BATCH];
    uint32_t count = 0;
    enum hc_status status = HC_OK;
    if (batch)
        hc_batch_begin(port);
    for (; count < wanted && new_token(self, port, &sent[count]); count++) {
        got[count] = sent[count];
        status = hc_call_begin(port, &calls[count], S_ONE, sizeof got[count], 0);
        if (status == HC_OK)
            status = hc_call_submit(&calls[count], &got[count], sizeof got[count]);
        if (status != HC_OK)
            break;
    }
    if (batch)
        hc_batch_end(port);
    if (status == HC_ERR_AGAIN) { /* no room, nothing was sent: not a call */
        self->counts.sent--;
        self->next--;
    } else if (status != HC_OK) {
        failed(self, sent[count].index, status);
    }
    uint32_t from = batch ? 0 : (uint32_t)check_random(&self->random);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = (from + i) % count;
        status = hc_call_wait(&calls[at], &got[at], sizeof got[at]);
        if (status == HC_OK)
            hc_call_end(&calls[at]);
        settle(self, &sent[at], &got[at], status);
    }
}

/* Nobody waits for these; the flush says whether all of them ran. */
static void oneway(struct requester *self, struct hc_port *port, uint32_t wanted)
{
    struct soak_ms sent;
    struct hc_call call;
    uint64_t errors = 0;
    enum hc_status first = HC_OK, status = HC_OK;
    uint32_t from = self->next;
    hc_batch_begin(port);
    for (uint32_t i = 0; i < wanted && status == HC_OK && new_token(self, port, &sent); i++) {
        status = hc_call_begin(port, &call, S_ONE, sizeof sent, 0);
        if (status == HC_OK)
            status = hc_call_oneway(&call, &sent, sizeof sent);
    }
    hc_batch_end(port);
    enum hc_status flushed = hc_flush(port, &errors, &first);
    if (status == HC_OK)
        status = flushed != HC_OK ? flushed : errors != 0 ? first : HC_OK;
    for (uint32_t i = from; i < self->next; i++) {
        if (status != HC_OK) {
            failed(self, i, status);
            continue;
        }
        self->state[i] = ANSWERED;
        self->counts.answered++;
    }
}

/* ---- accounts -------------------------------------------------------------------------------- */

/* How often a call ran, against how often it has to have. */
static void compare(struct requester *self, uint32_t index, uint8_t ran, bool certain, bool never)
{
    if (certain && ran == 0) {
        complain("token %u.%u was answered and did not run\n", self->index, index);
        self->counts.lost++;
    }
    if (ran > (never ? 0 : 1)) {
        complain("token %u.%u ran %u times\n", self->index, index, ran);
        self->counts.doubled++;
    }
}

/* All calls of this requester are over. */
static void audit(struct requester *self)
{
    for (uint32_t i = 0; i < SOAK_TOKENS; i++) {
        uint8_t state = self->state[i];
        if (i < self->next && state == UNUSED)
            self->counts.lost++; /* neither an answer nor an error */
        for (uint32_t level = 0; level < SOAK_LEVELS; level++) {
            uint8_t *u_ran = &g_u_ledger->ran[self->index][level][i];
            uint8_t *back = &g_back.ran[self->index][level][i];
            uint32_t depth = state >= ANSWERED ? (uint32_t)(state - ANSWERED) : 0;
            bool answered = state >= ANSWERED;
            compare(self, i, __atomic_load_n(u_ran, __ATOMIC_RELAXED), answered && level <= depth,
                    state == UNUSED || (answered && level > depth));
            compare(self, i, __atomic_load_n(back, __ATOMIC_RELAXED), answered && level < depth,
                    state == UNUSED || (answered && level >= depth));
            __atomic_store_n(u_ran, 0, __ATOMIC_RELAXED);
            __atomic_store_n(back, 0, __ATOMIC_RELAXED);
        }
    }
    memset(self->state, UNUSED, sizeof self->state);
    self->next = 0;
}

/* Calls of a lane go in order: behind this one, nothing runs that was given up. */
static bool settled(struct requester *self)
{
    struct hc_port *port = self->over ? NULL : hc_host_port(g_enclave);
    if (port == NULL)
        return false;
    plain(self, port, 0, 0);
    return !self->over;
}

static void call_until_it_is_over(struct requester *self)
{
    self->over = false;
    while (!self->over && __atomic_load_n(&g_stop, __ATOMIC_RELAXED) == 0) {
        struct hc_port *port = hc_host_port(g_enclave);
        if (port == NULL) {
            enum hc_status status = hc_host_port_error(g_enclave);
            if (status != HC_ERR_PEER_LOST && status != HC_ERR_CLOSED)
                self->counts.wrong++;
            break;
        }
        uint64_t random = check_random(&self->random);
        uint32_t choice = (uint32_t)(random % 100u), more = (uint32_t)(random >> 32);
        if (choice < 60)
            many(self, port, true, BATCH / 2u + more % (BATCH / 2u));
        else if (choice < 72)
            oneway(self, port, 1u + more % 80u);
        else if (choice < 84)
            for (uint32_t i = 0; i < 8 && !self->over; i++)
                plain(self, port, 0, 0);
        else if (choice < 90)
            many(self, port, false, 1u + more % BATCH);
        else if (choice < 94)
            plain(self, port, 1u + more % (SOAK_LEVELS - 1u), 0);
        else if (choice < 97)
            copying(self, port, more % 1024u);
        else if (choice < 98)
            copying(self, port, more % BYTES_MAX);
        else
            plain(self, port, 0, (1u + more % 20u) * hc_cycles_per_us());
        if (self->next > SOAK_TOKENS - 128u && settled(self))
            audit(self);
    }
    if (!self->over)
        (void)settled(self);
}

static void *requester_main(void *argument)
{
    struct requester *self = argument;
    for (;;) {
        (void)pthread_barrier_wait(&g_begin);
        if (g_finished)
            return NULL;
        call_until_it_is_over(self);
        (void)pthread_barrier_wait(&g_end);
    }
}

/* ---- enclave after enclave ------------------------------------------------------------------- */

static uint32_t entries(const char *path)
{
    uint32_t count = 0;
    DIR *folder = opendir(path);
    CHECK(folder != NULL);
    while (readdir(folder) != NULL)
        count++;
    (void)closedir(folder);
    return count - 2u;
}

static uint64_t resident_kb(void)
{
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    CHECK(file != NULL);
    CHECK_EQ(fscanf(file, "%*u %llu", &pages), 1);
    (void)fclose(file);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE) / 1024u;
}

static uint32_t mappings(void)
{
    uint32_t count = 0;
    int c;
    FILE *file = fopen("/proc/self/maps", "re");
    CHECK(file != NULL);
    while ((c = fgetc(file)) != EOF)
        count += c == '\n';
    (void)fclose(file);
    return count;
}

static void end_enclave(uint64_t choice)
{
    static const char *const names[] = {"killed", "died", "closed", "left"};
    (void)printf("{\"how\": \"%s\", ", names[choice]);
    if (choice == 0) {
        (void)kill(hc_pid(g_enclave), SIGKILL);
    } else if (choice == 1) {
        struct hc_port *port = hc_host_port(g_enclave);
        struct soak_ms ms = {0};
        CHECK(port != NULL);
        enum hc_status status = soak_call(port, S_DIE, &ms);
        CHECK_EQ(status, HC_ERR_PEER_LOST);
    } else if (choice == 2) {
        hc_shutdown(g_enclave);
    } else {
        __atomic_store_n(&g_stop, 1u, __ATOMIC_RELAXED);
    }
}

static void one_enclave(const struct hc_launch_options *options, uint64_t until, uint64_t *random)
{
    struct hc_error error;
    if (hc_launch(options, &g_enclave, &error) != HC_OK) {
        (void)fprintf(stderr, "launch: %s\n", error.text);
        exit(2);
    }
    g_u_shared = hc_shared_alloc(g_enclave, sizeof *g_u_shared);
    CHECK(g_u_shared != NULL);
    /* Closing takes the channel away. A shared mapping that grows from nothing is a second one. */
    size_t ahead = (uintptr_t)g_u_shared % HC_PAGE;
    uint8_t *u_first = (uint8_t *)g_u_shared - ahead;
    uint8_t *u_view = mremap(u_first, 0, hc_page_up(ahead + sizeof *g_u_shared), MREMAP_MAYMOVE);
    CHECK(u_view != MAP_FAILED);
    g_u_ledger = (struct soak_ledger *)(void *)(u_view + ahead);
    __atomic_store_n(&g_stop, 0u, __ATOMIC_RELAXED);
    (void)pthread_barrier_wait(&g_begin);
    /* The first is left to finish, so that each run has compared once at least. */
    static bool g_lived;
    uint64_t life_ms = 100u + check_random(random) % 3000u;
    uint64_t now = now_ms();
    life_ms = now + life_ms > until ? (until > now + 100u ? until - now : 100u) : life_ms;
    (void)usleep((useconds_t)(life_ms * 1000u));
    end_enclave(g_lived ? check_random(random) % 4u : 3u);
    g_lived = true;
    (void)pthread_barrier_wait(&g_end);
    struct counts sum;
    memset(&sum, 0, sizeof sum);
    for (uint32_t i = 0; i < g_requester_count; i++)
        audit(&g_requesters[i]);
    hc_close(g_enclave);
    (void)munmap(u_view, hc_page_up(ahead + sizeof *g_u_shared));
    memset(&g_back, 0, sizeof g_back);
    for (uint32_t i = 0; i < g_requester_count; i++) {
        const uint64_t *from = &g_requesters[i].counts.sent;
        for (size_t f = 0; f < sizeof sum / sizeof *from; f++)
            (&sum.sent)[f] += from[f];
    }
    (void)printf("\"ms\": %" PRIu64 ", \"sent\": %" PRIu64 ", \"answered\": %" PRIu64
                 ", \"errors\": %" PRIu64 ", \"timeouts\": %" PRIu64 ", \"nested\": %" PRIu64
                 ", \"bytes\": %" PRIu64 ", \"lost\": %" PRIu64 ", \"doubled\": %" PRIu64
                 ", \"wrong\": %" PRIu64 ", \"rss_kb\": %" PRIu64 ", \"fds\": %u, \"threads\": %u"
                 ", \"mappings\": %u}\n",
                 now_ms(), sum.sent, sum.answered, sum.errors, sum.timeouts, sum.nested, sum.bytes,
                 sum.lost, sum.doubled, sum.wrong, resident_kb(), entries("/proc/self/fd") - 1u,
                 entries("/proc/self/task"), mappings());
    (void)fflush(stdout);
}

int main(int argc, char **argv)
{
    CHECK(argc == 5 || argc == 6);
    g_requester_count = (uint32_t)strtoul(argv[2], NULL, 10);
    CHECK(g_requester_count >= 1 && g_requester_count <= SOAK_REQUESTERS);
    if (argc == 6)
        g_cheat = strcmp(argv[5], "lose") == 0 ? SOAK_LOSE : SOAK_DOUBLE;
    g_seed = check_seed((uint64_t)time(NULL));
    struct hc_launch_options options;
    hc_launch_defaults(&options);
    options.path = argv[3];
    options.loader = argv[4];
    options.interface = &g_interface;
    CHECK_EQ(pthread_barrier_init(&g_begin, NULL, g_requester_count + 1u), 0);
    CHECK_EQ(pthread_barrier_init(&g_end, NULL, g_requester_count + 1u), 0);
    for (uint32_t i = 0; i < g_requester_count; i++) {
        g_requesters[i].index = i;
        g_requesters[i].random = g_seed * 31u + i * 7u + 1u;
        CHECK_EQ(pthread_create(&g_requesters[i].thread, NULL, requester_main, &g_requesters[i]),
                 0);
    }
    uint64_t random = g_seed + 17u;
    uint64_t until = now_ms() + (uint64_t)(strtod(argv[1], NULL) * 1000.0);
    do
        one_enclave(&options, until, &random);
    while (now_ms() < until);
    g_finished = true;
    (void)pthread_barrier_wait(&g_begin);
    for (uint32_t i = 0; i < g_requester_count; i++)
        (void)pthread_join(g_requesters[i].thread, NULL);
    return 0;
}
