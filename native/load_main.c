/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_main.c -- options of the load generator.
 *
 * Client side; run by `hotcalls evaluate`, and by hand. Prints JSON lines, and errors on standard
 * error; exits 0 only when every reply was right.
 */
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load.h"

static const char g_usage[] =
    "usage: hotcalls-load --connect=HOST:PORT | --unix=PATH [OPTION]...\n"
    "Loads a memcached and checks every reply. Prints one JSON object a line.\n"
    "  --connections=N  default 1                --pipeline=N    requests under way on each, 1\n"
    "  --gets=N --sets=N  mix, default 1:1       --value-size=N  bytes, 2048\n"
    "  --keys=N         default 1000             --seed=N        default 1\n"
    "  --seconds=T      counted, default 1       --warmup=T      before that, 0.2\n"
    "  --rate=R         open loop of R requests a second in all; without, a closed loop\n"
    "  --cpu=N          run there\n"
    "  --burst=ROUNDS --stop=PID[,PID]...  instead: hold these processes, send, and let them\n"
    "                   answer while the client sleeps (TCP alone)\n";

int load_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("hotcalls-load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return -1;
}

uint64_t load_now_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* splitmix64: an order of requests, not a secret. */
uint64_t load_random(struct load *load)
{
    uint64_t z = load->random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

enum {
    OPT_CONNECT = 1000,
    OPT_UNIX,
    OPT_CONNECTIONS,
    OPT_PIPELINE,
    OPT_GETS,
    OPT_SETS,
    OPT_VALUE_SIZE,
    OPT_KEYS,
    OPT_SEED,
    OPT_SECONDS,
    OPT_WARMUP,
    OPT_RATE,
    OPT_CPU,
    OPT_BURST,
    OPT_STOP,
    OPT_HELP,
};

static const struct option g_options[] = {
    {"connect", required_argument, NULL, OPT_CONNECT},
    {"unix", required_argument, NULL, OPT_UNIX},
    {"connections", required_argument, NULL, OPT_CONNECTIONS},
    {"pipeline", required_argument, NULL, OPT_PIPELINE},
    {"gets", required_argument, NULL, OPT_GETS},
    {"sets", required_argument, NULL, OPT_SETS},
    {"value-size", required_argument, NULL, OPT_VALUE_SIZE},
    {"keys", required_argument, NULL, OPT_KEYS},
    {"seed", required_argument, NULL, OPT_SEED},
    {"seconds", required_argument, NULL, OPT_SECONDS},
    {"warmup", required_argument, NULL, OPT_WARMUP},
    {"rate", required_argument, NULL, OPT_RATE},
    {"cpu", required_argument, NULL, OPT_CPU},
    {"burst", required_argument, NULL, OPT_BURST},
    {"stop", required_argument, NULL, OPT_STOP},
    {"help", no_argument, NULL, OPT_HELP},
    {0},
};

static const char *name_of(int option)
{
    for (const struct option *o = g_options; o->name; o++)
        if (o->val == option)
            return o->name;
    return "?";
}

/* A whole number from `least` to `most`, or the process ends with what is allowed. */
static uint64_t number(int option, const char *text, uint64_t least, uint64_t most)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || end == text || *end || text[0] == '-' || value < least || value > most) {
        load_fail("--%s=%s: must be a whole number from %llu to %llu", name_of(option), text,
                  (unsigned long long)least, (unsigned long long)most);
        exit(2);
    }
    return value;
}

static double decimal(int option, const char *text, double most)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= 0 && value <= most)) {
        load_fail("--%s=%s: must be a number from 0 to %g", name_of(option), text, most);
        exit(2);
    }
    return value;
}

static void split_address(struct load_options *options, char *text)
{
    char *colon = strrchr(text, ':');
    if (!colon || colon == text || !colon[1]) {
        load_fail("--connect=%s: must be HOST:PORT, both numeric", text);
        exit(2);
    }
    *colon = '\0';
    size_t length = (size_t)(colon - text);
    if (text[0] == '[' && text[length - 1] == ']') {
        text[length - 1] = '\0';
        text++;
    }
    options->host = text;
    options->port = colon + 1;
}

static void add_pids(struct load_options *options, char *text)
{
    for (char *rest, *word = strtok_r(text, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
        if (options->stop_count == LOAD_PIDS_MAX) {
            load_fail("--stop: at most %u processes", LOAD_PIDS_MAX);
            exit(2);
        }
        /* Never 0, 1 or a group: a slip would stop the whole session. */
        options->stop[options->stop_count++] = (pid_t)number(OPT_STOP, word, 2, 4194304);
    }
}

static void take(struct load_options *o, int option, char *text)
{
    switch (option) {
    case OPT_CONNECT:
        split_address(o, text);
        break;
    case OPT_UNIX:
        o->unix_path = text;
        break;
    case OPT_CONNECTIONS:
        o->connections = (unsigned)number(option, text, 1, LOAD_CONNECTIONS_MAX);
        break;
    case OPT_PIPELINE:
        o->pipeline = (unsigned)number(option, text, 1, LOAD_PIPELINE_MAX);
        break;
    case OPT_GETS:
        o->gets = (unsigned)number(option, text, 0, 1000);
        break;
    case OPT_SETS:
        o->sets = (unsigned)number(option, text, 0, 1000);
        break;
    case OPT_VALUE_SIZE:
        o->value_size = (size_t)number(option, text, 1, LOAD_VALUE_MAX);
        break;
    case OPT_KEYS:
        o->keys = (unsigned)number(option, text, 1, LOAD_KEYS_MAX);
        break;
    case OPT_SEED:
        o->seed = number(option, text, 0, UINT64_MAX);
        break;
    case OPT_SECONDS:
        o->seconds = decimal(option, text, 3600);
        break;
    case OPT_WARMUP:
        o->warmup = decimal(option, text, 3600);
        break;
    case OPT_RATE:
        o->rate = decimal(option, text, 1e7);
        break;
    case OPT_CPU:
        o->cpu = (int)number(option, text, 0, CPU_SETSIZE - 1);
        break;
    case OPT_BURST:
        o->rounds = (unsigned)number(option, text, 1, 100000);
        break;
    case OPT_STOP:
        add_pids(o, text);
        break;
    case OPT_HELP:
        fputs(g_usage, stdout);
        exit(0);
    default:
        fputs(g_usage, stderr);
        exit(2);
    }
}

static void parse(struct load_options *o, int argc, char **argv)
{
    for (int option; (option = getopt_long(argc, argv, "", g_options, NULL)) != -1;)
        take(o, option, optarg);
    const char *wrong = NULL;
    if (optind < argc)
        wrong = "it takes options alone";
    else if (!o->host == !o->unix_path)
        wrong = "one of --connect and --unix is needed";
    else if (o->gets + o->sets == 0)
        wrong = "--gets and --sets are both 0";
    else if (!o->rounds != !o->stop_count)
        wrong = "--burst and --stop belong together";
    else if (o->rounds && o->unix_path)
        wrong = "--burst needs --connect: the kernel stamps no unix sockets";
    if (wrong) {
        load_fail("%s", wrong);
        fputs(g_usage, stderr);
        exit(2);
    }
}

static int pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((unsigned)cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        return load_fail("--cpu=%d: %s", cpu, strerror(errno));
    return 0;
}

int main(int argc, char **argv)
{
    static struct load s_load = {
        .options = {.connections = 1,
                    .pipeline = 1,
                    .gets = 1,
                    .sets = 1,
                    .keys = 1000,
                    .value_size = 2048,
                    .seconds = 1,
                    .warmup = 0.2,
                    .seed = 1,
                    .cpu = -1},
        .epoll = -1,
    };
    struct load *load = &s_load;
    parse(&load->options, argc, argv);
    signal(SIGPIPE, SIG_IGN);
    load->random = load->options.seed;
    int status = load->options.cpu >= 0 ? pin(load->options.cpu) : 0;
    if (status == 0)
        status = load_values_init(load);
    if (status == 0)
        status = load_connect(load);
    if (status == 0)
        status = load_fill(load);
    if (status == 0)
        status = load->options.rounds ? load_burst(load) : load_run(load);
    load_disconnect(load);
    return status == 0 ? 0 : 1;
}
