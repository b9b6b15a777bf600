/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_policy.c -- reads the policy and answers what it says. The text is described in
 * run_policy.h.
 *
 * Host side. Read before the program starts; constant afterwards, so that no thread locks.
 */
#define _GNU_SOURCE
#include "run.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct path_rule {
    char *prefix;
    size_t size;
    int refuse;
};

struct address_rule {
    int family;
    uint8_t bits;
    uint8_t address[16];
    uint16_t first, last;
    int refuse;
};

static int g_calls[ROW_COUNT];
static int g_path_default[RUN_PATH_USES];
static struct path_rule *g_paths[RUN_PATH_USES];
static size_t g_path_count[RUN_PATH_USES];
static int g_address_default[RUN_ADDRESS_USES];
static struct address_rule *g_addresses[RUN_ADDRESS_USES];
static size_t g_address_count[RUN_ADDRESS_USES];
static bool g_has_paths;
static int g_log = -1;
static bool g_learn;

static const char *const g_path_words[RUN_PATH_USES] = {"read", "write"};
static const char *const g_address_words[RUN_ADDRESS_USES] = {"connect", "bind", "send"};

/* ---- reading ------------------------------------------------------------------------------------ */

/* Cuts the next word off. NULL: there is none. */
static char *next_word(char **rest)
{
    char *word = *rest;
    if (word == NULL || *word == '\0')
        return NULL;
    char *blank = strchr(word, ' ');
    *rest = blank != NULL ? blank + 1 : NULL;
    if (blank != NULL)
        *blank = '\0';
    return word;
}

static bool number_in(const char *word, long least, long most, long *value)
{
    char *end;
    if (word == NULL || *word < '0' || *word > '9')
        return false;
    *value = strtol(word, &end, 10);
    return *end == '\0' && *value >= least && *value <= most;
}

/* `allow` is 0, `refuse N` is N. */
static bool action_in(char **rest, int *action)
{
    long number;
    const char *word = next_word(rest);
    if (word == NULL)
        return false;
    *action = 0;
    if (strcmp(word, "allow") == 0)
        return true;
    if (strcmp(word, "refuse") != 0 || !number_in(next_word(rest), 1, 4095, &number))
        return false;
    *action = (int)number;
    return true;
}

static int index_of(const char *word, const char *const *words, int count)
{
    for (int i = 0; word != NULL && i < count; i++)
        if (strcmp(word, words[i]) == 0)
            return i;
    return -1;
}

static bool call_line(char *rest)
{
    int action;
    const char *name = next_word(&rest);
    if (name == NULL || !action_in(&rest, &action) || rest != NULL)
        return false;
    bool all = strcmp(name, "default") == 0;
    bool known = all;
    for (uint32_t i = 0; i < ROW_COUNT; i++)
        if (all || strcmp(run_row(i)->name, name) == 0) {
            g_calls[i] = action;
            known = true;
        }
    /* Calls that never come here (clock_gettime) may be named; there is nothing to refuse. */
    return known || action == 0;
}

static void unescape(char *text)
{
    char *to = text;
    for (; *text != '\0'; text++) {
        if (*text == '\\' && text[1] != '\0')
            *to++ = *++text == 'n' ? '\n' : *text;
        else
            *to++ = *text;
    }
    *to = '\0';
}

static bool path_line(char *rest)
{
    int use = index_of(next_word(&rest), g_path_words, RUN_PATH_USES);
    int action;
    if (use < 0 || rest == NULL)
        return false;
    g_has_paths = true;
    if (strncmp(rest, "default ", 8) == 0) {
        rest += 8;
        return action_in(&rest, &g_path_default[use]) && rest == NULL;
    }
    if (!action_in(&rest, &action) || rest == NULL || *rest != '/')
        return false;
    unescape(rest);
    struct path_rule *rules = realloc(g_paths[use], (g_path_count[use] + 1u) * sizeof *rules);
    if (rules == NULL)
        return false;
    g_paths[use] = rules;
    struct path_rule *rule = &rules[g_path_count[use]++];
    rule->prefix = strdup(rest);
    rule->size = strlen(rest);
    while (rule->size > 1u && rest[rule->size - 1u] == '/')
        rule->size--;
    rule->refuse = action;
    return rule->prefix != NULL;
}

static bool cidr_in(char *word, struct address_rule *rule)
{
    long bits;
    char *slash = word != NULL ? strchr(word, '/') : NULL;
    if (slash == NULL)
        return false;
    *slash = '\0';
    if (inet_pton(rule->family, word, rule->address) != 1 ||
        !number_in(slash + 1, 0, rule->family == AF_INET ? 32 : 128, &bits))
        return false;
    rule->bits = (uint8_t)bits;
    return true;
}

static bool ports_in(char *word, struct address_rule *rule)
{
    long first, last;
    char *dash = word != NULL ? strchr(word, '-') : NULL;
    if (dash == NULL)
        return false;
    *dash = '\0';
    if (!number_in(word, 0, 65535, &first) || !number_in(dash + 1, first, 65535, &last))
        return false;
    rule->first = (uint16_t)first;
    rule->last = (uint16_t)last;
    return true;
}

static bool address_line(char *rest)
{
    struct address_rule rule;
    long family;
    int use = index_of(next_word(&rest), g_address_words, RUN_ADDRESS_USES);
    if (use < 0 || rest == NULL)
        return false;
    if (strncmp(rest, "default ", 8) == 0) {
        rest += 8;
        return action_in(&rest, &g_address_default[use]) && rest == NULL;
    }
    memset(&rule, 0, sizeof rule);
    if (!action_in(&rest, &rule.refuse))
        return false;
    const char *kind = next_word(&rest);
    if (kind == NULL)
        return false;
    if (strcmp(kind, "other") == 0) {
        if (!number_in(next_word(&rest), 0, 65535, &family))
            return false;
        rule.family = (int)family;
    } else {
        rule.family = strcmp(kind, "inet") == 0 ? AF_INET : AF_INET6;
        if ((rule.family == AF_INET6 && strcmp(kind, "inet6") != 0) ||
            !cidr_in(next_word(&rest), &rule) || !ports_in(next_word(&rest), &rule))
            return false;
    }
    if (rest != NULL)
        return false;
    struct address_rule *rules =
        realloc(g_addresses[use], (g_address_count[use] + 1u) * sizeof *rules);
    if (rules == NULL)
        return false;
    g_addresses[use] = rules;
    rules[g_address_count[use]++] = rule;
    return true;
}

static bool read_line(char *line, bool *ended)
{
    char *rest = line;
    const char *word = next_word(&rest);
    if (word == NULL || *word == '#')
        return true;
    if (strcmp(word, "call") == 0)
        return call_line(rest);
    if (strcmp(word, "path") == 0)
        return path_line(rest);
    if (strcmp(word, "address") == 0)
        return address_line(rest);
    *ended = strcmp(word, "end") == 0 && rest == NULL;
    return *ended;
}

int run_policy_read(int fd, char *error, size_t error_size)
{
    char *text = malloc(RUN_POLICY_SIZE_MAX + 1u);
    size_t size = 0;
    ssize_t got = 1;
    while (text != NULL && got > 0 && size < RUN_POLICY_SIZE_MAX) {
        got = read(fd, text + size, RUN_POLICY_SIZE_MAX - size);
        size += got > 0 ? (size_t)got : 0;
    }
    if (text == NULL || got != 0) {
        (void)snprintf(error, error_size, "the policy cannot be read: %s",
                       got < 0 ? strerror(errno) : "too large");
        free(text);
        return -1;
    }
    text[size] = '\0';
    bool ended = false;
    char *at = text;
    for (unsigned number = 1; *at != '\0' && !ended; number++) {
        char *line = at;
        char *newline = strchr(at, '\n');
        at = newline != NULL ? newline + 1 : at + strlen(at);
        if (newline != NULL)
            *newline = '\0';
        bool fine = number == 1 ? strcmp(line, "hotcalls-policy 1") == 0 : read_line(line, &ended);
        if (!fine) {
            (void)snprintf(error, error_size, "line %u of the policy is not understood", number);
            free(text);
            return -1;
        }
    }
    free(text);
    if (!ended) {
        (void)snprintf(error, error_size, "the policy does not end with `end`: it was cut off");
        return -1;
    }
    return 0;
}

/* ---- the log ------------------------------------------------------------------------------------ */

void run_policy_log_to(int fd, bool learn)
{
    g_log = fd;
    g_learn = learn;
}

/* 64 bits of FNV-1a: enough to tell some thousand uses apart; a clash hides one line. */
static uint64_t hash(const char *text)
{
    uint64_t value = UINT64_C(0xcbf29ce484222325);
    for (; *text != '\0'; text++)
        value = (value ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
    return value | 1u;
}

static bool is_new(const char *line)
{
    static uint64_t g_seen[RUN_POLICY_SEEN];
    uint64_t value = hash(line);
    for (uint32_t i = 0; i < 64u; i++) {
        uint64_t *entry = &g_seen[(value + i) % RUN_POLICY_SEEN];
        uint64_t before = 0;
        if (__atomic_load_n(entry, __ATOMIC_RELAXED) == value)
            return false;
        if (__atomic_compare_exchange_n(entry, &before, value, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED))
            return true;
        if (before == value)
            return false;
    }
    return true;
}

static void say(const char *line)
{
    int saved = errno;
    if (g_log >= 0 && is_new(line))
        (void)!write(g_log, line, strlen(line));
    errno = saved;
}

static void escape(const char *from, char *to, size_t room)
{
    size_t used = 0;
    for (; *from != '\0' && used + 5u < room; from++) {
        uint8_t c = (uint8_t)*from;
        if (c < 0x20 || c == 0x7f || c == '\\')
            used += (size_t)snprintf(to + used, room - used, "\\x%02x", c);
        else
            to[used++] = (char)c;
    }
    to[used] = '\0';
}

/* Reports what was decided, and gives the decision back. */
static int decided(int refuse, const char *what, uint32_t row, const char *detail)
{
    char line[PATH_MAX + 256u];
    const char *name = run_row(row)->name;
    if (g_log < 0 || (refuse == 0 && !g_learn))
        return refuse;
    if (refuse != 0)
        (void)snprintf(line, sizeof line, "refused %s%s errno=%d%s%s\n", what, name, refuse,
                       *detail != '\0' ? " " : "", detail);
    else
        (void)snprintf(line, sizeof line, "used %s%s%s%s\n", what, name, *detail != '\0' ? " " : "",
                       detail);
    say(line);
    return refuse;
}

void run_policy_unsupported(long number)
{
    char line[64];
    (void)snprintf(line, sizeof line, "unsupported call %ld errno=%d\n", number, ENOSYS);
    say(line);
}

/* ---- asking ------------------------------------------------------------------------------------- */

int run_policy_call(uint32_t row)
{
    int refuse = g_calls[row];
    /* Learning asks for each use; otherwise what is allowed costs one load. */
    if (HC_LIKELY(refuse == 0 && !g_learn))
        return 0;
    return decided(refuse, "call ", row, "");
}

bool run_policy_has_paths(void)
{
    return g_has_paths || g_learn;
}

static bool covers(const struct path_rule *rule, const char *path)
{
    if (rule->size == 1u)
        return true;
    return strncmp(rule->prefix, path, rule->size) == 0 &&
           (path[rule->size] == '\0' || path[rule->size] == '/');
}

/* The program's own directory in /proc has another number each time; rules say self. */
static const char *by_self(const char *path, char own[PATH_MAX])
{
    char prefix[32];
    int size = snprintf(prefix, sizeof prefix, "/proc/%d", g_run_program);
    if (strncmp(path, prefix, (size_t)size) != 0 || (path[size] != '\0' && path[size] != '/'))
        return path;
    (void)snprintf(own, PATH_MAX, "/proc/self%s", path + size);
    return own;
}

int run_policy_path(uint32_t row, enum run_path_use use, const char *path)
{
    char own[PATH_MAX];
    char escaped[PATH_MAX + 64u];
    char what[16];
    size_t longest = 0;
    int refuse = g_path_default[use];
    path = by_self(path, own);
    for (size_t i = 0; i < g_path_count[use]; i++) {
        const struct path_rule *rule = &g_paths[use][i];
        if (rule->size > longest && covers(rule, path)) {
            longest = rule->size;
            refuse = rule->refuse;
        }
    }
    if (refuse == 0 && !g_learn)
        return 0;
    escape(path, escaped, sizeof escaped);
    (void)snprintf(what, sizeof what, "path %s ", g_path_words[use]);
    return decided(refuse, what, row, escaped);
}

static bool fits(const struct address_rule *rule, int family, const uint8_t *address, uint16_t port)
{
    if (rule->family != family)
        return false;
    if (address == NULL)
        return true;
    if (port < rule->first || port > rule->last)
        return false;
    uint32_t whole = rule->bits / 8u;
    uint8_t rest = (uint8_t)(0xff00u >> (rule->bits % 8u));
    return memcmp(rule->address, address, whole) == 0 &&
           (rule->bits % 8u == 0 || ((rule->address[whole] ^ address[whole]) & rest) == 0);
}

int run_policy_address(uint32_t row, enum run_address_use use, const struct sockaddr *address,
                       socklen_t size)
{
    char detail[PATH_MAX];
    char text[INET6_ADDRSTRLEN] = "";
    const uint8_t *bytes = NULL;
    uint16_t port = 0;
    int family = size >= sizeof(sa_family_t) ? address->sa_family : AF_UNSPEC;
    if (family == AF_INET && size >= sizeof(struct sockaddr_in)) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;
        bytes = (const uint8_t *)&in->sin_addr;
        port = ntohs(in->sin_port);
    } else if (family == AF_INET6 && size >= 24) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)address;
        bytes = (const uint8_t *)&in6->sin6_addr;
        port = ntohs(in6->sin6_port);
        /* ::ffff:1.2.3.4 is 1.2.3.4: rules for the one hold for the other. */
        if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
            family = AF_INET;
            bytes += 12;
        }
    }
    int refuse = g_address_default[use];
    for (size_t i = 0; i < g_address_count[use]; i++)
        if (fits(&g_addresses[use][i], family, bytes, port)) {
            refuse = g_addresses[use][i].refuse;
            break;
        }
    if (refuse == 0 && !g_learn)
        return 0;
    char what[24];
    (void)snprintf(what, sizeof what, "address %s ", g_address_words[use]);
    if (bytes != NULL)
        (void)snprintf(detail, sizeof detail, "%s %s %u", family == AF_INET ? "inet" : "inet6",
                       inet_ntop(family, bytes, text, sizeof text), port);
    else
        (void)snprintf(detail, sizeof detail, "other %d", family);
    return decided(refuse, what, row, detail);
}
