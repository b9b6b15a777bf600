/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_policy.c -- reads the policy and answers what it says. The text is described in
 * run_policy.h.
 *
 * Host side. Read before the program starts; constant afterwards, so that no thread locks.
 */
#define _GNU_SOURCE
#include "run_ask.h"
#include "run_total.h"

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

static uint32_t g_calls[ROW_COUNT]; /* RUN_RULE_ */
static int g_path_default[RUN_PATH_USES];
static struct path_rule *g_paths[RUN_PATH_USES];
static size_t g_path_count[RUN_PATH_USES];
static int g_address_default[RUN_ADDRESS_USES];
static struct run_address_rule *g_addresses[RUN_ADDRESS_USES];
static size_t g_address_count[RUN_ADDRESS_USES];
static bool g_has_paths;
static bool g_has_addresses;
static int g_log = -1;
static bool g_learn;
static bool g_asks; /* of any row the hook */

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
            g_calls[i] = (uint32_t)action | (g_calls[i] & ~RUN_RULE_ERRNO);
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

static size_t length_of(const char *prefix)
{
    size_t size = strlen(prefix);
    while (size > 1u && prefix[size - 1u] == '/')
        size--;
    return size;
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
    rule->size = length_of(rest);
    rule->refuse = action;
    return rule->prefix != NULL;
}

static bool cidr_in(char *word, struct run_address_rule *rule)
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

static bool ports_in(char *word, struct run_address_rule *rule)
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

/* `inet …`, `inet6 …` or `other …`. */
static bool matching(const char *kind, char **rest, struct run_address_rule *rule)
{
    long family;
    if (kind == NULL)
        return false;
    if (strcmp(kind, "other") == 0) {
        if (!number_in(next_word(rest), 0, 65535, &family))
            return false;
        rule->family = (int)family;
        return true;
    }
    rule->family = strcmp(kind, "inet") == 0 ? AF_INET : AF_INET6;
    return (rule->family == AF_INET || strcmp(kind, "inet6") == 0) &&
           cidr_in(next_word(rest), rule) && ports_in(next_word(rest), rule);
}

static bool address_line(char *rest)
{
    struct run_address_rule rule;
    int use = index_of(next_word(&rest), g_address_words, RUN_ADDRESS_USES);
    if (use < 0 || rest == NULL)
        return false;
    g_has_addresses = true;
    if (strncmp(rest, "default ", 8) == 0) {
        rest += 8;
        return action_in(&rest, &g_address_default[use]) && rest == NULL;
    }
    memset(&rule, 0, sizeof rule);
    if (!action_in(&rest, &rule.refuse))
        return false;
    if (!matching(next_word(&rest), &rest, &rule))
        return false;
    if (rest != NULL)
        return false;
    struct run_address_rule *rules =
        realloc(g_addresses[use], (g_address_count[use] + 1u) * sizeof *rules);
    if (rules == NULL)
        return false;
    g_addresses[use] = rules;
    rules[g_address_count[use]++] = rule;
    return true;
}

static bool total_line(char *rest)
{
    long most, refuse;
    int kind = index_of(next_word(&rest), g_run_total_words, RUN_TOTAL_KINDS);
    return kind >= 0 && number_in(next_word(&rest), 0, LONG_MAX - 1, &most) &&
           number_in(next_word(&rest), 1, 4095, &refuse) && rest == NULL &&
           run_total_begin((enum run_total_kind)kind, (uint64_t)most, (int)refuse);
}

static bool only_line(char *rest)
{
    struct run_address_rule rule;
    const char *kind = next_word(&rest);
    if (kind == NULL || rest == NULL)
        return false;
    if (strcmp(kind, "path") == 0) {
        unescape(rest);
        return *rest == '/' && run_total_only_path(rest);
    }
    memset(&rule, 0, sizeof rule);
    return strcmp(kind, "other") != 0 && matching(kind, &rest, &rule) && rest == NULL &&
           run_total_only_address(&rule);
}

static bool ask_line(char *rest)
{
    long refuse;
    const char *name = next_word(&rest);
    if (name == NULL || !number_in(next_word(&rest), 1, 4095, &refuse) || rest != NULL)
        return false;
    run_ask_refuse_with((int)refuse);
    for (uint32_t i = 0; i < ROW_COUNT; i++)
        if (strcmp(run_row(i)->name, name) == 0) {
            g_calls[i] |= RUN_RULE_ASK;
            return true;
        }
    return false;
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
    if (strcmp(word, "total") == 0)
        return total_line(rest);
    if (strcmp(word, "only") == 0)
        return only_line(rest);
    if (strcmp(word, "ask") == 0)
        return ask_line(rest);
    *ended = strcmp(word, "end") == 0 && rest == NULL;
    return *ended;
}

int run_policy_read(int fd, char *error, size_t error_size)
{
    char *text = malloc(RUN_POLICY_SIZE_MAX + 1u);
    size_t size = 0;
    ssize_t got = 1;
    if (text == NULL) {
        (void)snprintf(error, error_size, "no memory for the policy");
        return 125;
    }
    while (got > 0 && size < RUN_POLICY_SIZE_MAX) {
        got = read(fd, text + size, RUN_POLICY_SIZE_MAX - size);
        size += got > 0 ? (size_t)got : 0;
    }
    if (got != 0) {
        (void)snprintf(error, error_size, "the policy cannot be read: %s",
                       got < 0 ? strerror(errno) : "too large");
        free(text);
        return 3;
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
        errno = 0;
        bool fine = number == 1 ? strcmp(line, "hotcalls-policy 1") == 0 : read_line(line, &ended);
        if (!fine) {
            bool starved = errno == ENOMEM;
            (void)snprintf(error, error_size,
                           starved ? "no memory for line %u of the policy"
                                   : "line %u of the policy is not understood",
                           number);
            free(text);
            return starved ? 125 : 3;
        }
    }
    free(text);
    if (!ended) {
        (void)snprintf(error, error_size, "the policy does not end with `end`: it was cut off");
        return 3;
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
    static bool g_said;
    if (g_log >= 0 && is_new(line)) {
        errno = ENOSPC;
        if (write(g_log, line, strlen(line)) != (ssize_t)strlen(line) &&
            !__atomic_exchange_n(&g_said, true, __ATOMIC_RELAXED)) /* one of them says it */
            (void)dprintf(STDERR_FILENO,
                          "hotcalls run: what is refused is not logged any more: %s\n",
                          strerror(errno));
    }
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

int run_policy_total_reached(uint32_t row, const char *kind, uint64_t most, const char *prefix,
                             int refuse)
{
    char what[32];
    char detail[PATH_MAX + 64u];
    int size = snprintf(detail, sizeof detail, "%llu%s", (unsigned long long)most,
                        prefix != NULL ? " " : "");
    if (prefix != NULL)
        escape(prefix, detail + size, sizeof detail - (size_t)size);
    (void)snprintf(what, sizeof what, "total %s ", kind);
    return decided(refuse, what, row, detail);
}

int run_policy_path_elsewhere(uint32_t row, const char *path)
{
    char escaped[PATH_MAX + 64u];
    escape(path, escaped, sizeof escaped);
    return decided(EACCES, "path elsewhere ", row, escaped);
}

int run_policy_hook_refused(uint32_t row, int refuse, const char *detail)
{
    char escaped[PATH_MAX + 64u];
    escape(detail, escaped, sizeof escaped);
    return decided(refuse, "hook ", row, escaped);
}

void run_policy_say_raced(uint32_t row)
{
    char line[64];
    (void)snprintf(line, sizeof line, "raced total %s\n", run_row(row)->name);
    say(line);
}

void run_policy_say_total(const char *kind, uint64_t bytes)
{
    char line[64];
    (void)snprintf(line, sizeof line, "used total %s %llu\n", kind, (unsigned long long)bytes);
    say(line);
}

/* ---- asking ------------------------------------------------------------------------------------- */

int run_policy_call(uint32_t row)
{
    return decided((int)(g_calls[row] & RUN_RULE_ERRNO), "call ", row, "");
}

uint32_t run_policy_rule(uint32_t row)
{
    return g_calls[row];
}

void run_policy_ready(void)
{
    if (g_learn)
        run_total_learn();
    for (uint32_t i = 0; i < ROW_COUNT; i++) {
        if (g_learn)
            g_calls[i] |= RUN_RULE_LEARN;
        if (run_total_any() && run_total_moves(i))
            g_calls[i] |= RUN_RULE_TOTAL;
        g_asks = g_asks || (g_calls[i] & RUN_RULE_ASK) != 0;
    }
}

bool run_policy_judges_names(void)
{
    return g_has_paths || g_asks;
}

bool run_policy_has_paths(void)
{
    return run_policy_judges_names() || g_learn;
}

static bool covers(const char *prefix, size_t size, const char *path)
{
    if (size == 1u)
        return true;
    return strncmp(prefix, path, size) == 0 && (path[size] == '\0' || path[size] == '/');
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

bool run_policy_covers(const char *prefix, const char *path)
{
    char own[PATH_MAX];
    return covers(prefix, length_of(prefix), by_self(path, own));
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
        if (rule->size > longest && covers(rule->prefix, rule->size, path)) {
            longest = rule->size;
            refuse = rule->refuse;
        }
    }
    if (refuse == 0 && !g_learn && !g_asks)
        return 0;
    escape(path, escaped, sizeof escaped);
    (void)snprintf(what, sizeof what, "path %s ", g_path_words[use]);
    refuse = decided(refuse, what, row, escaped);
    return refuse != 0 ? refuse : run_ask_path(row, use, path);
}

/* A socket's address, taken apart. `bytes` is NULL where it is neither IPv4 nor IPv6. */
struct parts {
    int family;
    uint16_t port;
    const uint8_t *bytes;
};

/*
 * To connect to no family is to be connected no longer. Elsewhere IPv4 takes AF_UNSPEC for its own:
 * what is sent goes there, and a port is bound.
 */
static struct parts parts_of(const struct sockaddr *address, socklen_t size, bool connects)
{
    struct parts parts = {AF_UNSPEC, 0, NULL};
    parts.family = size >= sizeof(sa_family_t) ? address->sa_family : AF_UNSPEC;
    if (parts.family == AF_UNSPEC && !connects && size >= sizeof(struct sockaddr_in))
        parts.family = AF_INET;
    if (parts.family == AF_INET && size >= sizeof(struct sockaddr_in)) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;
        parts.bytes = (const uint8_t *)&in->sin_addr;
        parts.port = ntohs(in->sin_port);
    } else if (parts.family == AF_INET6 && size >= 24) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)address;
        parts.bytes = (const uint8_t *)&in6->sin6_addr;
        parts.port = ntohs(in6->sin6_port);
        /* ::ffff:1.2.3.4 is 1.2.3.4: rules for the one hold for the other. */
        if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
            parts.family = AF_INET;
            parts.bytes += 12;
        }
    }
    return parts;
}

static bool fits(const struct run_address_rule *rule, const struct parts *parts)
{
    if (rule->family != parts->family)
        return false;
    if (parts->bytes == NULL)
        return true;
    if (parts->port < rule->first || parts->port > rule->last)
        return false;
    uint32_t whole = rule->bits / 8u;
    uint8_t rest = (uint8_t)(0xff00u >> (rule->bits % 8u));
    return memcmp(rule->address, parts->bytes, whole) == 0 &&
           (rule->bits % 8u == 0 || ((rule->address[whole] ^ parts->bytes[whole]) & rest) == 0);
}

bool run_policy_address_fits(const struct run_address_rule *rule, const struct sockaddr *address,
                             socklen_t size)
{
    const struct parts parts = parts_of(address, size, false);
    return fits(rule, &parts);
}

bool run_policy_has_addresses(void)
{
    return g_has_addresses || g_learn || g_asks;
}

void run_policy_settle(struct sockaddr *address, socklen_t size)
{
    const uint32_t own = htonl(INADDR_LOOPBACK);
    const struct parts parts = parts_of(address, size, false);
    struct in6_addr *in6 = &((struct sockaddr_in6 *)(void *)address)->sin6_addr;
    if (parts.family == AF_INET6 && parts.bytes != NULL && IN6_IS_ADDR_UNSPECIFIED(in6))
        *in6 = in6addr_loopback;
    if (parts.family != AF_INET || parts.bytes == NULL)
        return;
    uint8_t *bytes = (uint8_t *)address + (parts.bytes - (const uint8_t *)address);
    if (memcmp(bytes, &(uint32_t){INADDR_ANY}, sizeof own) == 0)
        memcpy(bytes, &own, sizeof own);
}

int run_policy_address(uint32_t row, enum run_address_use use, const struct sockaddr *address,
                       socklen_t size)
{
    char detail[INET6_ADDRSTRLEN + 32u];
    char text[INET6_ADDRSTRLEN] = "";
    char what[24];
    const struct parts parts = parts_of(address, size, use == RUN_CONNECT);
    int refuse = g_address_default[use];
    for (size_t i = 0; i < g_address_count[use]; i++)
        if (fits(&g_addresses[use][i], &parts)) {
            refuse = g_addresses[use][i].refuse;
            break;
        }
    /* To be connected no longer: of no family that a list could name, and with nobody at the end. */
    if (use == RUN_CONNECT && parts.family == AF_UNSPEC && size >= sizeof(sa_family_t))
        refuse = 0;
    if (refuse == 0 && !g_learn && !g_asks)
        return 0;
    (void)snprintf(what, sizeof what, "address %s ", g_address_words[use]);
    if (parts.bytes != NULL)
        (void)snprintf(detail, sizeof detail, "%s %s %u",
                       parts.family == AF_INET ? "inet" : "inet6",
                       inet_ntop(parts.family, parts.bytes, text, sizeof text), parts.port);
    else
        (void)snprintf(detail, sizeof detail, "other %d", parts.family);
    refuse = decided(refuse, what, row, detail);
    return refuse != 0 ? refuse : run_ask_address(row, use, detail);
}
