/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy.c -- a policy as H receives it, and what it then answers.
 *
 * Input: the text up to its first zero, then questions. The text comes from the front end and is
 * trusted, the questions hold what a hostile program passed: paths, addresses, and bytes to move.
 *
 * Promised: a text is read, or refused with the number of a line; an answer is an errno that the
 * text has, or 0; the same question gets the same answer; a rule for a name holds for that name;
 * no total is passed, and one of everything counts each byte that was moved.
 */
#include "apart.h"
#include "fuzz.h"

#include <sys/stat.h>
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

static int object_stat(int fd, struct stat *status);
static int object_tells(int fd, int name, void *value);
static int object_peer(int fd, struct sockaddr *peer, socklen_t *size);

#define fstat(fd, status) object_stat(fd, status)
#define getsockopt(fd, level, name, value, size) ((void)(size), object_tells(fd, name, value))
#define getpeername(fd, peer, size) object_peer(fd, peer, size)
#include "../../native/run_total.c"
#undef fstat
#undef getsockopt
#undef getpeername

#include "syscall_table.h"

pid_t g_run_program = 4711;

const struct row *run_row(uint32_t id)
{
    return id < ROW_COUNT ? &g_rows[id] : NULL;
}

/* The hook is another process: it allows. */
void run_ask_refuse_with(int refuse)
{
    PROMISE(refuse >= 1 && refuse <= 4095);
}

int run_ask_path(uint32_t row, enum run_path_use use, const char *path)
{
    (void)row;
    (void)use;
    PROMISE((g_asks || g_learn) && path != NULL);
    return 0;
}

int run_ask_address(uint32_t row, enum run_address_use use, const char *address)
{
    (void)row;
    (void)use;
    PROMISE((g_asks || g_learn) && address != NULL);
    return 0;
}

/* ---- what is open, and what is moved ------------------------------------------------------------ */

/* Never open in this process: what else is asked of them fails. */
#define OBJECTS 6
static const struct {
    mode_t mode;
    int domain, type;
    const char *name; /* NULL: it has none */
    const char *peer; /* NULL: nobody knows */
} g_objects[OBJECTS] = {
    {S_IFREG, 0, 0, "/srv/www/a", NULL},
    {S_IFREG, 0, 0, "/srv/www/b (deleted)", NULL},
    {S_IFIFO, 0, 0, NULL, NULL},
    {S_IFSOCK, AF_INET, SOCK_STREAM, NULL, "10.1.2.3"},
    {S_IFSOCK, AF_INET, SOCK_DGRAM, NULL, NULL},
    {S_IFSOCK, AF_UNIX, SOCK_STREAM, NULL, NULL},
};
#define FIRST_OBJECT 1000

static struct input *g_answers; /* of the kernel, while a call runs */
static bool g_races;            /* the program makes its numbers other files meanwhile */
static uint64_t g_moved[RUN_TOTAL_KINDS];

static int object_stat(int fd, struct stat *status)
{
    memset(status, 0, sizeof *status);
    status->st_mode = g_objects[fd - FIRST_OBJECT].mode;
    status->st_ino = (ino_t)fd;
    status->st_nlink = fd != FIRST_OBJECT + 1;
    return 0;
}

static int object_tells(int fd, int name, void *value)
{
    if (name != SO_DOMAIN && name != SO_TYPE)
        return -1;
    memcpy(value,
           name == SO_TYPE ? &g_objects[fd - FIRST_OBJECT].type
                           : &g_objects[fd - FIRST_OBJECT].domain,
           sizeof(int));
    return 0;
}

static int object_peer(int fd, struct sockaddr *peer, socklen_t *size)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(80)};
    const char *text = g_objects[fd - FIRST_OBJECT].peer;
    if (text == NULL)
        return -1;
    PROMISE(*size >= sizeof in && inet_pton(AF_INET, text, &in.sin_addr) == 1);
    memcpy(peer, &in, sizeof in);
    *size = sizeof in;
    return 0;
}

bool run_path_rule_name(int fd, char name[PATH_MAX])
{
    const char *text = g_objects[fd - FIRST_OBJECT].name;
    (void)snprintf(name, PATH_MAX, "%s", text != NULL ? text : "");
    return text != NULL;
}

/* Nobody waits: there is a signal. */
long run_interruptible(long number, const long arguments[6])
{
    (void)number;
    (void)arguments;
    return -EINTR;
}

static enum run_total_kind kind_of(int64_t fd, bool writes)
{
    bool network = g_objects[fd - FIRST_OBJECT].domain == AF_INET;
    if (network)
        return writes ? RUN_TOTAL_IP_OUT : RUN_TOTAL_IP_IN;
    return writes ? RUN_TOTAL_IO_WRITE : RUN_TOTAL_IO_READ;
}

long run_perform(struct run_call *call)
{
    struct moves moves;
    uint8_t how = input_u8(g_answers);
    PROMISE(moves_of(call->id, &moves));
    const uint64_t most = call->a[moves.size] - call->progress;
    PROMISE(call->progress <= call->a[moves.size]);
    if (g_races)
        run_total_change_begin((int64_t)call->a[moves.to >= 0 ? moves.to : moves.from]);
    if (g_races)
        run_total_change_end((int64_t)call->a[moves.to >= 0 ? moves.to : moves.from]);
    if (how < 32u)
        return -EIO;
    if (how < 64u && call->trying)
        return how < 48u ? RUN_WOULD_BLOCK : RUN_MUST_BLOCK;
    uint64_t moved = how < 128u ? most : input_u16(g_answers);
    moved = moved < most ? moved : most;
    if (moves.from >= 0)
        g_moved[kind_of((int64_t)call->a[moves.from], false)] += moved;
    if (moves.to >= 0)
        g_moved[kind_of((int64_t)call->a[moves.to], true)] += moved;
    if (moves.progresses)
        call->progress += moved;
    return moves.progresses && call->progress < call->a[moves.size] && call->trying
               ? RUN_WOULD_BLOCK
               : (long)(moves.progresses ? call->progress : moved);
}

static void ask_to_move(struct input *input)
{
    static const enum row_id g_rows_that_move[] = {
        ROW_read,    ROW_write,   ROW_pread64,  ROW_pwrite64, ROW_recvfrom,        ROW_sendto,
        ROW_sendmsg, ROW_recvmsg, ROW_sendfile, ROW_splice,   ROW_copy_file_range, ROW_tee,
    };
    struct run_call call;
    struct moves moves;
    uint8_t address[16], what = input_u8(input);
    memset(&call, 0, sizeof call);
    call.id = g_rows_that_move[input_u8(input) % 12u];
    call.row = run_row(call.id);
    call.trying = (what & 1u) != 0;
    PROMISE(run_total_moves(call.id) && moves_of(call.id, &moves));
    if (moves.from >= 0)
        call.a[moves.from] = FIRST_OBJECT + input_u8(input) % OBJECTS;
    if (moves.to >= 0)
        call.a[moves.to] = FIRST_OBJECT + input_u8(input) % OBJECTS;
    call.a[moves.size] = (what & 2u) != 0 ? input_u16(input) : input_u8(input);
    if (moves.address >= 0 && (what & 4u) != 0) {
        input_copy(input, address, sizeof address);
        call.sizes[moves.address] = input_u8(input) % (sizeof address + 1u);
        call.a[moves.address] = (uint64_t)(uintptr_t)address;
    }
    g_answers = input;
    g_races = (what & 24u) == 24u;
    (void)run_total_perform(&call);
    for (uint32_t i = 0; i < g_count; i++) {
        const struct total *total = &g_totals[i];
        /* Nothing is taken for a call that is over. */
        PROMISE(total->taken == total->counted);
        /* A program that cheats gains the transfers that it was caught at. */
        PROMISE(g_raced || total->counted <= total->most);
        if (!g_raced && total->prefix == NULL && total->address_count == 0)
            PROMISE(total->counted == g_moved[total->kind]);
        PROMISE(g_raced || total->counted <= g_moved[total->kind]);
    }
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
    g_has_paths = g_has_addresses = g_asks = false;
    for (uint32_t i = 0; i < g_count; i++) {
        free(g_totals[i].prefix);
        free(g_totals[i].addresses);
    }
    memset(g_totals, 0, sizeof g_totals);
    memset(g_of_kind, 0, sizeof g_of_kind);
    memset(g_changes + FIRST_OBJECT, 0, OBJECTS * sizeof *g_changes);
    memset(g_classes + FIRST_OBJECT, 0, OBJECTS * sizeof *g_classes);
    memset(g_moved, 0, sizeof g_moved);
    g_count = 0;
    g_any_address = g_learning = g_raced = false;
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
    run_policy_settle((struct sockaddr *)(void *)address, size);
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
    run_policy_ready();
    for (int i = 0; i < 8 && input.left != 0; i++) {
        uint8_t what = input_u8(&input);
        if ((what & 0xf0u) == 0xa0u)
            ask_to_move(&input);
        else if ((what & 1u) != 0)
            ask_path(&input, (what & 2u) != 0 ? RUN_PATH_WRITE : RUN_PATH_READ);
        else
            ask_address(&input, (what >> 1) % RUN_ADDRESS_USES);
    }
    run_total_say_used();
    return 0;
}
