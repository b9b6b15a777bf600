/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_loop.c -- a load for some seconds: closed loop, or open loop with intended send times.
 *
 * Client side. Closed: each connection always has `pipeline` requests under way. Open: requests
 * are due at times drawn beforehand, whatever the server does; one that finds its connection full
 * waits, and its latency counts from when it was due, so that a stall is charged to every request
 * it held up and not only to the one that met it.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "load.h"

#define NS 1000000000u
/* A server that answers nothing for so long is called dead. */
#define SILENCE_NS (10ull * NS)
#define EVENTS 64

struct clock_state {
    uint64_t start_ns, cpu_ns;
    long involuntary;
};

static struct clock_state clocks(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (struct clock_state){
        .start_ns = load_now_ns(CLOCK_MONOTONIC),
        .cpu_ns = load_now_ns(CLOCK_PROCESS_CPUTIME_ID),
        .involuntary = usage.ru_nivcsw,
    };
}

static double edge_of(size_t bucket)
{
    size_t octave = bucket / LOAD_BUCKETS_PER_OCTAVE, part = bucket % LOAD_BUCKETS_PER_OCTAVE;
    return ldexp(1.0 + (double)part / LOAD_BUCKETS_PER_OCTAVE, (int)octave);
}

static void print_result(const struct load *load, const struct clock_state *begin,
                         const struct clock_state *end, uint64_t overdue)
{
    const struct load_tally *tally = &load->tally;
    printf("{\"type\":\"load\",\"replies\":%" PRIu64 ",\"gets\":%" PRIu64 ",\"sets\":%" PRIu64
           ",\"wall_ns\":%" PRIu64 ",\"cpu_ns\":%" PRIu64 ",\"involuntary\":%ld"
           ",\"answered\":%" PRIu64 ",\"overdue\":%" PRIu64 ",\"max_ns\":%" PRIu64
           ",\"histogram\":[",
           tally->replies, tally->gets, tally->sets, end->start_ns - begin->start_ns,
           end->cpu_ns - begin->cpu_ns, end->involuntary - begin->involuntary, load->answered,
           overdue, tally->max_ns);
    const char *comma = "";
    for (size_t i = 0; i < LOAD_BUCKETS; i++) {
        if (!tally->histogram[i])
            continue;
        printf("%s[%.1f,%" PRIu64 "]", comma, edge_of(i), tally->histogram[i]);
        comma = ",";
    }
    printf("]}\n");
    fflush(stdout);
}

/* The pause before the next request of a Poisson stream, in nanoseconds. */
static uint64_t pause_ns(struct load *load)
{
    double uniform = ((double)(load_random(load) >> 11) + 0.5) / 9007199254740992.0;
    return (uint64_t)(-log(uniform) * NS / load->options.rate);
}

static int refill(struct load *load, struct load_connection *connection)
{
    while (connection->sent + connection->waiting < load->options.pipeline) {
        struct load_request request = load_next_request(load);
        request.intended_ns = load_now_ns(CLOCK_MONOTONIC);
        if (load_enqueue(connection, request) != 0)
            return -1;
    }
    return load_pump(load, connection);
}

struct schedule {
    int timer;
    uint64_t due_ns, armed_ns;
    unsigned next_connection;
};

/* Gives every request that is due to its connection, and sets the timer for the next. */
static int dispatch(struct load *load, struct schedule *schedule, uint64_t until)
{
    uint64_t now = load_now_ns(CLOCK_MONOTONIC);
    while (schedule->due_ns <= now && schedule->due_ns < until) {
        struct load_connection *connection = &load->connections[schedule->next_connection];
        struct load_request request = load_next_request(load);
        request.intended_ns = schedule->due_ns;
        schedule->next_connection = (schedule->next_connection + 1) % load->options.connections;
        schedule->due_ns += pause_ns(load);
        if (load_enqueue(connection, request) != 0 || load_pump(load, connection) != 0)
            return -1;
    }
    if (schedule->armed_ns == schedule->due_ns)
        return 0;
    struct itimerspec when = {
        .it_value =
            {
                .tv_sec = (time_t)(schedule->due_ns / NS),
                .tv_nsec = (long)(schedule->due_ns % NS),
            },
    };
    schedule->armed_ns = schedule->due_ns;
    if (timerfd_settime(schedule->timer, TFD_TIMER_ABSTIME, &when, NULL) != 0)
        return load_fail("timerfd_settime: %s", strerror(errno));
    return 0;
}

static int serve_events(struct load *load, bool open, uint64_t *heard_ns)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(load->epoll, events, EVENTS, 100);
    if (count < 0 && errno != EINTR)
        return load_fail("epoll_wait: %s", strerror(errno));
    for (int i = 0; i < count; i++) {
        struct load_connection *connection = events[i].data.ptr;
        if (!connection)
            continue; /* the timer: dispatch() sets it anew */
        int replies = load_receive(load, connection);
        if (replies < 0)
            return -1;
        if (replies)
            *heard_ns = load_now_ns(CLOCK_MONOTONIC);
        if ((open ? load_pump(load, connection) : refill(load, connection)) != 0)
            return -1;
    }
    return 0;
}

static int begin(struct load *load, struct schedule *schedule)
{
    if (load->options.rate <= 0) {
        for (unsigned i = 0; i < load->options.connections; i++)
            if (refill(load, &load->connections[i]) != 0)
                return -1;
        return 0;
    }
    schedule->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};
    if (schedule->timer < 0 || epoll_ctl(load->epoll, EPOLL_CTL_ADD, schedule->timer, &event) != 0)
        return load_fail("timer: %s", strerror(errno));
    schedule->due_ns = load_now_ns(CLOCK_MONOTONIC) + pause_ns(load);
    return 0;
}

int load_run(struct load *load)
{
    struct schedule schedule = {.timer = -1};
    bool open = load->options.rate > 0;
    if (begin(load, &schedule) != 0)
        return -1;
    uint64_t started = load_now_ns(CLOCK_MONOTONIC), heard = started;
    uint64_t count_from = started + (uint64_t)(load->options.warmup * NS);
    uint64_t until = count_from + (uint64_t)(load->options.seconds * NS);
    struct clock_state first = clocks();
    int status = 0;
    for (uint64_t now = started; status == 0 && now < until;) {
        if (open)
            status = dispatch(load, &schedule, until);
        if (status == 0)
            status = serve_events(load, open, &heard);
        now = load_now_ns(CLOCK_MONOTONIC);
        if (!load->counting && now >= count_from) {
            load->counting = true;
            first = clocks();
        }
        bool idle = open && load->options.rate * 10 < 1;
        if (status == 0 && !idle && now > heard + SILENCE_NS)
            status = load_fail("no reply for %u seconds", (unsigned)(SILENCE_NS / NS));
    }
    struct clock_state last = clocks();
    /* Due but not answered: an open loop that the server cannot keep up with. */
    uint64_t overdue = 0;
    for (unsigned i = 0; i < load->options.connections; i++)
        overdue += load->connections[i].sent + load->connections[i].waiting;
    if (schedule.timer >= 0)
        close(schedule.timer);
    if (status == 0)
        print_result(load, &first, &last, open ? overdue : 0);
    return status;
}
