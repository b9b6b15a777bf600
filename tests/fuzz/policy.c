/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy.c -- a policy as H receives it, and what it then answers.
 *
 * Input: the text up to its first zero, then questions. The text comes from the front end and is
 * trusted, the questions hold what a hostile program passed: paths and addresses.
 *
 * Promised: a text is read, or refused with the number of a line; an answer is an errno that the
 * text has, or 0; the same question gets the same answer; a rule for a name holds for that name.
 */
#include "apart.h"
#include "fuzz.h"

#include <unistd.h>

static struct input g_text;

/* What run_policy_read reads from, in pieces. */
static ssize_t next_piece(void *to, size_t size)
{
    size_t piece = g_text.left < size ? g_text.left : size;
    piece = piece < 100u ? piece : 100u;
    input_copy(&g_text, to, piece);
    return (ssize_t)piece;
}

/* The log: one line each, without anything that a terminal would take for more. */
static ssize_t one_line(const char *line, size_t size)
{
    PROMISE(size > 1u && line[size - 1u] == '\n');
    for (size_t i = 0; i + 1u < size; i++)
        PROMISE((uint8_t)line[i] >= 0x20 && line[i] != 0x7f);
    return (ssize_t)size;
}

#include "run_policy.h"
/* Four megabytes a run are all that AddressSanitizer would be busy with. */
#undef RUN_POLICY_SIZE_MAX
#define RUN_POLICY_SIZE_MAX 4096u

#define read(fd, to, size) ((void)(fd), next_piece(to, size))
#define write(fd, line, size) one_line(line, size)
#include "../../native/run_policy.c"
#undef read
#undef write

#include "syscall_table.h"

pid_t g_run_program = 4711;

const struct row *run_row(uint32_t id)
{
    return id < ROW_COUNT ? &g_rows[id] : NULL;
}

static void forget(void)
{
    for (int use = 0; use < RUN_PATH_USES; use++) {
        for (size_t i = 0; i < g_path_count[use]; i++)
            free(g_paths[use][i].prefix);
        free(g_paths[use]);
        g_paths[use] = NULL;
        g_path_count[use] = 0;
        g_path_default[use] = 0;
    }
    for (int use = 0; use < RUN_ADDRESS_USES; use++) {
        free(g_addresses[use]);
        g_addresses[use] = NULL;
        g_address_count[use] = 0;
        g_address_default[use] = 0;
    }
    memset(g_calls, 0, sizeof g_calls);
    g_has_paths = false;
}

/* A name that ends where its memory does. */
static void ask_path(struct input *input, enum run_path_use use)
{
    static const char *const g_starts[] = {"/", "/proc/4711", "/proc/self/", "/srv/www/", ""};
    const char *start = g_starts[input_u8(input) % 5u];
    size_t rest = input_u8(input), size = strlen(start);
    char *name = calloc(size + rest + 1u, 1);
    PROMISE(name != NULL);
    memcpy(name, start, size);
    input_copy(input, name + size, rest);
    int refuse = run_policy_path(ROW_openat, use, name);
    PROMISE(refuse >= 0 && refuse <= 4095);
    PROMISE(run_policy_path(ROW_openat, use, name) == refuse);
    free(name);
}

static void ask_address(struct input *input, enum run_address_use use)
{
    uint8_t *address = malloc(128);
    socklen_t size = input_u8(input) % 129u;
    PROMISE(address != NULL);
    /* As run_socket.c has it: the rest is zero. */
    memset(address, 0, 128);
    input_copy(input, address, size);
    uint8_t family = input_u8(input);
    if (size >= 2u && family < 64u) {
        sa_family_t value = family < 20u ? AF_INET : AF_INET6;
        memcpy(address, &value, sizeof value);
    }
    int refuse =
        run_policy_address(ROW_connect, use, (const struct sockaddr *)(const void *)address, size);
    PROMISE(refuse >= 0 && refuse <= 4095);
    free(address);
}

/* Each prefix is answered by its own rule, unless the same prefix has more than one. */
static void rules_hold(enum run_path_use use)
{
    for (size_t i = 0; i < g_path_count[use]; i++) {
        const struct path_rule *rule = &g_paths[use][i];
        bool only = rule->size == strlen(rule->prefix) && strncmp(rule->prefix, "/proc/", 6) != 0;
        for (size_t other = 0; other < i && only; other++)
            only = strcmp(g_paths[use][other].prefix, rule->prefix) != 0 &&
                   g_paths[use][other].size != rule->size;
        for (size_t other = i + 1u; other < g_path_count[use] && only; other++)
            only = g_paths[use][other].size != rule->size;
        PROMISE(!only || run_policy_path(ROW_openat, use, rule->prefix) == rule->refuse);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char error[128];
    const uint8_t *end = size != 0 ? memchr(data, 0, size) : NULL;
    struct input input = {end != NULL ? end + 1 : data + size, 0};
    input.left = (size_t)(data + size - input.at);
    g_text = (struct input){data, end != NULL ? (size_t)(end - data) : size};
    forget();
    run_policy_log_to(-1, false);
    memset(error, 'e', sizeof error);
    if (run_policy_read(0, error, sizeof error) != 0) {
        PROMISE(memchr(error, 0, sizeof error) != NULL);
        PROMISE(strstr(error, "policy") != NULL);
        return 0;
    }
    for (uint32_t row = 0; row < ROW_COUNT; row++)
        PROMISE(run_policy_call(row) >= 0 && run_policy_call(row) <= 4095);
    rules_hold(RUN_PATH_READ);
    rules_hold(RUN_PATH_WRITE);
    run_policy_log_to(1, (input_u8(&input) & 1u) != 0);
    for (int i = 0; i < 8 && input.left != 0; i++) {
        uint8_t what = input_u8(&input);
        if ((what & 1u) != 0)
            ask_path(&input, (what & 2u) != 0 ? RUN_PATH_WRITE : RUN_PATH_READ);
        else
            ask_address(&input, (what >> 1) % RUN_ADDRESS_USES);
    }
    return 0;
}
