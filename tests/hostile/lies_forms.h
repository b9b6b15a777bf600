/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lies_forms.h -- the answers of lies.c that have a form: what an honest one is, and how a program
 * that believes its kernel goes through it. A part of that file.
 */
#ifndef HOTCALLS_TESTS_LIES_FORMS_H
#define HOTCALLS_TESTS_LIES_FORMS_H

/* ---- answers with a form, field by field ---------------------------------------------------- */

static uint8_t g_honest[512];
static size_t g_honest_size;
static size_t g_field;
static uint32_t g_field_size;
static uint64_t g_value;

/* The honest answer, with one field of it rewritten. */
static void forge(uint8_t *u_message, size_t size)
{
    size_t now = g_honest_size < size ? g_honest_size : size;
    memcpy(u_message, g_honest, now);
    if (g_field + g_field_size <= size)
        memcpy(u_message + g_field, &g_value, g_field_size);
}

struct form {
    const char *name;
    void (*make)(void);  /* g_honest and g_result of a host that tells the truth */
    long (*call)(void);  /* makes the call and checks what the program then has */
    bool (*right)(void); /* after an honest answer: is it what was answered? */
};

static struct buffer g_buffer, g_second;

static void entries_make(void)
{
    static const char *names[] = {".", "..", "file"};
    size_t at = 0;
    for (size_t i = 0; i < 3; i++) {
        struct dirent64 entry;
        memset(&entry, 0, sizeof entry);
        entry.d_ino = i + 1u;
        entry.d_off = (int64_t)i + 1;
        entry.d_reclen = 24;
        entry.d_type = DT_REG;
        memcpy(entry.d_name, names[i], strlen(names[i]) + 1u);
        memcpy(g_honest + at, &entry, 24);
        at += 24;
    }
    g_result = (int64_t)(g_honest_size = at);
}

static long entries_call(void)
{
    uint64_t a[6] = {3, SHIM_PTR(g_buffer.bytes), 256, 0, 0, 0};
    long result = shim_call(SYS_getdents64, a);
    /* As readdir does it. */
    for (long at = 0; at < result;) {
        const struct dirent64 *entry = (const void *)(g_buffer.bytes + at);
        CHECK(entry->d_reclen >= 20 && at + entry->d_reclen <= result);
        CHECK(memchr(entry->d_name, 0, (size_t)entry->d_reclen - 19u) != NULL);
        at += entry->d_reclen;
    }
    check_margins(&g_buffer, 256);
    return result;
}

static bool entries_right(void)
{
    return memcmp(g_buffer.bytes, g_honest, 72) == 0;
}

static void folder_make(void)
{
    memcpy(g_honest, "/some/folder", 13);
    g_result = (int64_t)(g_honest_size = 13);
}

static long folder_call(void)
{
    uint64_t a[6] = {SHIM_PTR(g_buffer.bytes), 256, 0, 0, 0, 0};
    long result = shim_call(SYS_getcwd, a);
    if (result >= 0)
        CHECK(result > 0 && memchr(g_buffer.bytes, 0, (size_t)result) != NULL);
    check_margins(&g_buffer, 256);
    return result;
}

static bool folder_right(void)
{
    return strcmp((char *)g_buffer.bytes, "/some/folder") == 0;
}

static void list_make(void)
{
    memcpy(g_honest, "user.a\0user.b", 14);
    g_result = (int64_t)(g_honest_size = 14);
}

static long list_call(void)
{
    uint64_t a[6] = {3, SHIM_PTR(g_buffer.bytes), 256, 0, 0, 0};
    long result = shim_call(SYS_flistxattr, a);
    for (long at = 0; at < result;) {
        const uint8_t *end = memchr(g_buffer.bytes + at, 0, (size_t)(result - at));
        CHECK(end != NULL);
        at = end + 1 - g_buffer.bytes;
    }
    check_margins(&g_buffer, 256);
    return result;
}

static bool list_right(void)
{
    return memcmp(g_buffer.bytes, g_honest, 14) == 0;
}

static void pair_make(void)
{
    int pair[2] = {7, 8};
    memcpy(g_honest, pair, sizeof pair);
    g_honest_size = sizeof pair;
    g_result = 0;
}

static long pair_result(long result)
{
    int pair[2];
    memcpy(pair, g_buffer.bytes, sizeof pair);
    if (result == 0)
        CHECK(pair[0] >= 0 && pair[0] < 65536 && pair[1] >= 0 && pair[1] < 65536 &&
              pair[0] != pair[1]);
    else
        CHECK(is_errno(result));
    check_margins(&g_buffer, result == 0 ? 8 : 0);
    return result;
}

static long pipe_call(void)
{
    uint64_t a[6] = {SHIM_PTR(g_buffer.bytes), 0, 0, 0, 0, 0};
    return pair_result(shim_call(SYS_pipe2, a));
}

static long socketpair_call(void)
{
    uint64_t a[6] = {AF_UNIX, SOCK_STREAM, 0, SHIM_PTR(g_buffer.bytes), 0, 0};
    return pair_result(shim_call(SYS_socketpair, a));
}

static bool pair_right(void)
{
    return memcmp(g_buffer.bytes, g_honest, 8) == 0;
}

#define POLLED 5
static void polled_make(void)
{
    struct pollfd set[POLLED];
    for (int i = 0; i < POLLED; i++)
        set[i] = (struct pollfd){i + 10, POLLIN, i == 2 ? POLLIN : 0};
    memcpy(g_honest, set, sizeof set);
    g_honest_size = sizeof set;
    g_result = 1;
}

static long polled_call(void)
{
    struct pollfd set[POLLED];
    for (int i = 0; i < POLLED; i++)
        set[i] = (struct pollfd){i + 10, POLLIN, 0};
    memcpy(g_buffer.bytes, set, sizeof set);
    uint64_t a[6] = {SHIM_PTR(g_buffer.bytes), POLLED, (uint64_t)-1, 0, 0, 0};
    long result = shim_call(SYS_poll, a);
    CHECK(result <= POLLED);
    memcpy(set, g_buffer.bytes, sizeof set);
    for (int i = 0; i < POLLED; i++)
        CHECK(set[i].fd == i + 10 && set[i].events == POLLIN);
    check_margins(&g_buffer, sizeof set);
    return result;
}

static bool polled_right(void)
{
    return memcmp(g_buffer.bytes, g_honest, g_honest_size) == 0;
}

static void set_make(void)
{
    const uint64_t sets[] = {1u << 5, 0, 1u << 7, 0};
    memcpy(g_honest, sets, sizeof sets);
    g_honest_size = sizeof sets;
    g_result = 2;
}

static long set_call(void)
{
    const uint64_t asked[] = {1u << 5 | 1u << 6, 1u << 7};
    uint64_t told_of[2];
    memcpy(g_buffer.bytes, &asked[0], 8);
    memcpy(g_second.bytes, &asked[1], 8);
    uint64_t a[6] = {64, SHIM_PTR(g_buffer.bytes), SHIM_PTR(g_second.bytes), 0, 0, 0};
    long result = shim_call(SYS_select, a);
    memcpy(&told_of[0], g_buffer.bytes, 8);
    memcpy(&told_of[1], g_second.bytes, 8);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(told_of[i] & ~asked[i], 0);
    CHECK(result <= 3 * 64);
    check_margins(&g_buffer, 8);
    check_margins(&g_second, 8);
    return result;
}

static bool set_right(void)
{
    return memcmp(g_buffer.bytes, g_honest, 8) == 0 &&
           memcmp(g_second.bytes, g_honest + 16, 8) == 0;
}

static void sent_make(void)
{
    const uint64_t offset = 1000 + 50;
    memcpy(g_honest, &offset, sizeof offset);
    g_honest_size = sizeof offset;
    g_result = 50;
}

static long sent_call(void)
{
    uint64_t offset = 1000;
    memcpy(g_buffer.bytes, &offset, 8);
    uint64_t a[6] = {3, 4, SHIM_PTR(g_buffer.bytes), 100, 0, 0};
    long result = shim_call(SYS_sendfile, a);
    memcpy(&offset, g_buffer.bytes, 8);
    CHECK(result <= 100);
    CHECK_EQ(offset, 1000u + (result > 0 ? (uint64_t)result : 0));
    check_margins(&g_buffer, 8);
    return result;
}

static bool sent_right(void)
{
    return memcmp(g_buffer.bytes, g_honest, 8) == 0;
}

/* recvmsg: data, then the address, control data, and sizes; each on 16 bytes. */
#define DATA_SIZE 32u
#define CONTROL_SIZE 64u
static void message_make(void)
{
    uint8_t control[CONTROL_SIZE] = {0};
    struct cmsghdr *head = (struct cmsghdr *)(void *)control;
    int fds[2] = {11, 12};
    uint32_t results[4] = {16, 0, CMSG_SPACE(sizeof fds), 0};
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof fds);
    memcpy(CMSG_DATA(head), fds, sizeof fds);
    memset(g_honest, 'd', DATA_SIZE);
    memset(g_honest + DATA_SIZE, 'n', 16);
    memcpy(g_honest + DATA_SIZE + 16, control, CONTROL_SIZE);
    memcpy(g_honest + DATA_SIZE + 16 + CONTROL_SIZE, results, sizeof results);
    g_honest_size = DATA_SIZE + 16 + CONTROL_SIZE + sizeof results;
    g_result = DATA_SIZE;
}

static long message_call(void)
{
    struct iovec data = {g_buffer.bytes, DATA_SIZE};
    struct msghdr message = {.msg_name = g_second.bytes,
                             .msg_namelen = 16,
                             .msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = g_second.bytes + 64,
                             .msg_controllen = CONTROL_SIZE};
    long result = shim_recvmsg(3, &message, 0);
    if (result >= 0) {
        CHECK(result <= DATA_SIZE);
        CHECK(message.msg_namelen <= 128 && message.msg_controllen <= CONTROL_SIZE);
        CHECK(message.msg_name == g_second.bytes && message.msg_iov == &data &&
              message.msg_iovlen == 1 && message.msg_control == g_second.bytes + 64);
        for (struct cmsghdr *head = CMSG_FIRSTHDR(&message); head != NULL;
             head = CMSG_NXTHDR(&message, head)) {
            const uint8_t *end = (uint8_t *)message.msg_control + message.msg_controllen;
            CHECK(head->cmsg_len >= sizeof *head && (uint8_t *)head + head->cmsg_len <= end);
            for (size_t at = CMSG_LEN(0);
                 head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS &&
                 at + 4u <= head->cmsg_len;
                 at += 4u) {
                int fd;
                memcpy(&fd, (uint8_t *)head + at, sizeof fd);
                CHECK(fd >= 0 && fd < 65536);
            }
        }
    }
    check_margins(&g_buffer, DATA_SIZE);
    check_margins(&g_second, 64 + CONTROL_SIZE);
    return result;
}

static bool message_right(void)
{
    return memcmp(g_buffer.bytes, g_honest, DATA_SIZE) == 0 && g_second.bytes[0] == 'n';
}

/* recvfrom with an address, accept and getsockname: an address, cut to the program's room. */
static void name_make(void)
{
    memset(g_honest, 'n', 128);
    uint32_t size = 16;
    memcpy(g_honest + 128, &size, sizeof size);
    g_honest_size = 132;
    g_result = 0;
}

static long name_result(long result, uint32_t length)
{
    if (result >= 0)
        CHECK(length <= 128);
    check_margins(&g_buffer, 10);
    return result;
}

static long accept_call(void)
{
    uint32_t length = 10;
    g_result = g_result == 0 ? 9 : g_result;
    long result = shim_accept(3, g_buffer.bytes, &length, 0);
    CHECK(result < 65536);
    return name_result(result, length);
}

static long name_call(void)
{
    uint32_t length = 10;
    long result = shim_name_of(ROW_getsockname, 3, g_buffer.bytes, &length);
    CHECK(result <= 0);
    return name_result(result, length);
}

static bool name_right(void)
{
    return memcmp(g_buffer.bytes, g_honest, 10) == 0;
}

static void option_make(void)
{
    memset(g_honest, 0, sizeof g_honest);
    g_honest[0] = 1;
    uint32_t size = 4;
    memcpy(g_honest + 16, &size, sizeof size);
    g_honest_size = 20;
    g_result = 0;
}

static long option_call(void)
{
    uint32_t length = 8;
    uint64_t a[6] = {3, SOL_SOCKET, SO_ERROR, SHIM_PTR(g_buffer.bytes), SHIM_PTR(&length), 0};
    long result = shim_call(SYS_getsockopt, a);
    CHECK(result <= 0 && length <= 8);
    check_margins(&g_buffer, 8);
    return result;
}

static bool option_right(void)
{
    return g_buffer.bytes[0] == 1;
}

/* Events: tokens of the shim, for which the program has its own data. Two are registered. */
static uint64_t g_tokens[2];
static const uint64_t g_data[2] = {UINT64_C(0x1111111111111111), UINT64_C(0x2222222222222222)};

static void keep_token(uint8_t *u_message, size_t size)
{
    /* epfd, op, fd, events, token: the sixth word of a fixed part that lies in the window. */
    (void)size;
    memcpy(&g_tokens[g_tokens[0] != 0], u_message - hc_message_add(0, 48) + 40, 8);
}

static void events_make(void)
{
    if (g_tokens[1] == 0) {
        g_result = 0;
        g_answer = keep_token;
        for (int i = 0; i < 2; i++) {
            struct epoll_event event = {EPOLLIN, {.u64 = g_data[i]}};
            CHECK_EQ(shim_epoll_ctl(20, EPOLL_CTL_ADD, 30 + i, &event), 0);
        }
        g_answer = forge;
    }
    for (int i = 0; i < 2; i++) {
        struct epoll_event event = {EPOLLIN, {.u64 = g_tokens[i]}};
        memcpy(g_honest + (size_t)i * sizeof event, &event, sizeof event);
    }
    g_honest_size = 2u * sizeof(struct epoll_event);
    g_result = 2;
}

static long events_call(void)
{
    struct epoll_event event;
    long result = shim_epoll_wait(20, g_buffer.bytes, 4, 0, NULL);
    CHECK(result <= 4);
    for (long i = 0; i < result; i++) {
        memcpy(&event, g_buffer.bytes + (size_t)i * sizeof event, sizeof event);
        CHECK(event.data.u64 == g_data[0] || event.data.u64 == g_data[1]);
    }
    check_margins(&g_buffer, 4u * sizeof event);
    return result;
}

static bool events_right(void)
{
    return memcmp(g_buffer.bytes + 4, &g_data[0], 8) == 0 &&
           memcmp(g_buffer.bytes + 16, &g_data[1], 8) == 0;
}

static const struct form g_forms[] = {
    {"getdents64", entries_make, entries_call, entries_right},
    {"getcwd", folder_make, folder_call, folder_right},
    {"flistxattr", list_make, list_call, list_right},
    {"pipe2", pair_make, pipe_call, pair_right},
    {"socketpair", pair_make, socketpair_call, pair_right},
    {"poll", polled_make, polled_call, polled_right},
    {"select", set_make, set_call, set_right},
    {"sendfile", sent_make, sent_call, sent_right},
    {"recvmsg", message_make, message_call, message_right},
    {"accept", name_make, accept_call, name_right},
    {"getsockname", name_make, name_call, name_right},
    {"getsockopt", option_make, option_call, option_right},
    {"epoll_wait", events_make, events_call, events_right},
};

#endif /* HOTCALLS_TESTS_LIES_FORMS_H */
