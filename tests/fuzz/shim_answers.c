/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim_answers.c -- the shim below an unmodified program makes the program's system calls, and a
 * hostile H answers them.
 *
 * Enclave side of `hotcalls run`. Input: calls by number with arguments that end where their
 * memory does, and what H writes into the window, the fixed part and the word before it is done.
 *
 * Promised: the program's memory is touched where it asked for it and nowhere else; a result is an
 * errno, or no more than was asked for; directories can be walked, sets hold nothing that was not
 * asked for, and descriptors are numbers that descriptors have.
 */
#include "fuzz.h"
#include "shim.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <sanitizer/asan_interface.h>
#include <setjmp.h>
#include <sys/mman.h>

#include "syscall_table.h"

void shim_state_reset(void); /* shim_state.c */

static struct input g_input;
static uint8_t *g_u_base;
static jmp_buf g_end_of_program;
static struct hc_slot g_slot;
static struct shim_thread g_thread;
static uint32_t g_gates;

/* ---- what H does while the program waits ------------------------------------------------------------ */

static void answer(void)
{
    struct hc_lane_out *lane = &g_slot.out[HC_LANE_FORWARD];
    struct hc_cell *u_cell = hc_out_cell(lane, lane->tail - 1u);
    uint8_t how = input_u8(&g_input);
    uint8_t *u_message = lane->u_window + lane->offsets[(lane->tail - 1u) & lane->mask];
    uint32_t size = lane->sizes[(lane->tail - 1u) & lane->mask];
    for (uint8_t count = how % 4u; count != 0 && size != 0; count--) {
        uint32_t at = input_u16(&g_input) % size;
        uint8_t most = input_u8(&g_input);
        input_copy(&g_input, u_message + at, most < size - at ? most : size - at);
    }
    int64_t result = (how & 4u) != 0   ? (int64_t)input_u64(&g_input)
                     : (how & 8u) != 0 ? -(int64_t)input_u8(&g_input)
                                       : input_u16(&g_input);
    uint32_t id = u_cell->id & ~HC_CELL_BITS;
    bool outside = id < ROW_COUNT && run_ms_size(g_rows[id].scalar_count) > HC_INLINE_SIZE;
    memcpy(outside ? u_message : u_cell->payload, &result, sizeof result);
    u_cell->status = (how & 16u) != 0 ? input_u8(&g_input) % 20u : 0;
    uint64_t n = u_cell->word >> HC_WORD_SHIFT;
    u_cell->word = (how & 32u) != 0 && input_u8(&g_input) == 7u ? input_u64(&g_input)
                                                                : hc_word(n, HC_WORD_DONE);
}

/* The shim's own system calls. */
long shim_gate(long number, long a, long b, long c, long d, long e, long f)
{
    (void)a;
    (void)c;
    (void)d;
    (void)e;
    (void)f;
    if (number == SYS_futex) {
        struct hc_lane_out *lane = &g_slot.out[HC_LANE_FORWARD];
        PROMISE(g_gates++ < 1000u);
        if (lane->oldest != lane->tail && (b == FUTEX_WAIT || (g_gates & 1u) != 0))
            answer();
        return 0;
    }
    if (number == SYS_mmap)
        return (long)(uintptr_t)mmap(NULL, (size_t)b, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return number == SYS_getcpu ? -ENOSYS : 0;
}

_Noreturn void shim_die(const char *text)
{
    (void)text;
    longjmp(g_end_of_program, 1);
}

struct shim_thread *shim_thread(void)
{
    return &g_thread;
}

struct hc_port *shim_port(struct shim_thread *thread)
{
    return thread->port;
}

void shim_enter(struct shim_thread *thread)
{
    thread->inside++;
}

bool shim_leave(struct shim_thread *thread)
{
    thread->inside--;
    return false;
}

void shim_interrupt(struct shim_thread *thread)
{
    (void)thread;
}

void shim_raise(int number)
{
    (void)number;
}

long shim_mask_for_call(const uint64_t *set, struct shim_masked *masked)
{
    (void)set;
    masked->changed = false;
    return 0;
}

long shim_mask_back(const struct shim_masked *masked, long result)
{
    (void)masked;
    return result;
}

bool shim_signal_waits(void)
{
    return false;
}

void shim_say_once(uint32_t *said, const char *text, const char *name)
{
    (void)said;
    (void)text;
    (void)name;
}

uint64_t g_shim_signals;

long shim_signalfd_read(int fd, void *buffer, size_t size)
{
    (void)fd;
    (void)buffer;
    (void)size;
    return -EAGAIN;
}

void shim_signals_collect(void)
{
}

void shim_signals_shared(const struct shim_fd *state)
{
    (void)state;
}

void shim_signals_closed(int fd)
{
    (void)fd;
}

void shim_group_in_front(int *group, bool asked)
{
    (void)group;
    (void)asked;
}

long shim_maps(const char *path, int flags)
{
    (void)path;
    (void)flags;
    return -EACCES;
}

/* As the instructions of shim_call.c do it, but seen by AddressSanitizer. */
bool fuzz_copy(void *to, const void *from, size_t size)
{
    if (to == NULL || from == NULL)
        return size == 0;
    memcpy(to, from, size);
    return true;
}

size_t fuzz_string_size(const char *text, size_t most)
{
    size_t size = strnlen(text, most);
    return size == most ? 0 : size + 1u;
}

bool fuzz_is_there(const void *buffer, size_t size)
{
    (void)touch(buffer, 1);
    (void)touch((const uint8_t *)buffer + size - 1u, 1);
    return true;
}

/* ---- the program ----------------------------------------------------------------------------------- */

#define KEPT 16u
static void *g_kept[KEPT]; /* to be given back after a call that did not return */
static uint32_t g_kept_count;

/* Memory that ends where the argument does. */
static uint8_t *memory(size_t size)
{
    uint8_t *bytes = malloc(size);
    PROMISE(bytes != NULL && g_kept_count < KEPT);
    memset(bytes, 0, size);
    g_kept[g_kept_count++] = bytes;
    return bytes;
}

/* A result that programs use as a length is one of what they gave. */
#define at_most(call, size)                                                            \
    do {                                                                               \
        long answered_ = (call);                                                       \
        PROMISE(answered_ >= -4095 && (answered_ < 0 || (size_t)answered_ <= (size))); \
    } while (0)

/* As readdir does it. */
static void walk(const uint8_t *entries, long size)
{
    for (long at = 0; at < size;) {
        const struct dirent64 *entry = (const struct dirent64 *)(const void *)(entries + at);
        PROMISE(entry->d_reclen != 0 && strlen(entry->d_name) < entry->d_reclen);
        at += entry->d_reclen;
    }
}

static void transfers(uint8_t what)
{
    size_t size = input_u16(&g_input) % 600u, parts = what >> 6;
    int fd = input_u8(&g_input) % 16;
    struct iovec *vector = (struct iovec *)(void *)memory((parts + 1u) * sizeof *vector);
    size_t total = 0;
    for (size_t i = 0; i < parts; i++) {
        vector[i].iov_len = input_u8(&g_input) % 80u;
        vector[i].iov_base = memory(vector[i].iov_len);
        total += vector[i].iov_len;
    }
    switch ((what >> 3) % 8u) {
    case 0:
        at_most(shim_read(ROW_read, fd, memory(size), size, -1, 0), size);
        break;
    case 1:
        at_most(shim_write(ROW_write, fd, memory(size), size, -1, 0), size);
        break;
    case 2:
        at_most(shim_readv(ROW_read, fd, vector, parts, -1, 0), total);
        break;
    case 3:
        at_most(shim_writev(ROW_pwritev2, fd, vector, parts, 7, 0), total);
        break;
    case 4: {
        uint8_t *entries = memory(size);
        uint64_t row[] = {(uint64_t)fd, SHIM_PTR(entries), size};
        long result = shim_row(ROW_getdents64, row, true);
        at_most(result, size);
        walk(entries, result);
        break;
    }
    case 5: {
        uint64_t row[] = {SHIM_PTR("/tmp/x"), SHIM_PTR("user.x"),
                          size != 0 ? SHIM_PTR(memory(size)) : 0, size};
        at_most(shim_row(ROW_getxattr, row, true), size != 0 ? size : 65536u);
        break;
    }
    case 6: {
        uint64_t row[] = {(uint64_t)AT_FDCWD, SHIM_PTR("/proc/self/exe"), SHIM_PTR(memory(size)),
                          size};
        at_most(shim_row(ROW_readlinkat, row, true), size);
        break;
    }
    default: {
        uint64_t row[] = {(uint64_t)fd, (uint64_t)fd, SHIM_PTR(memory(8)), size};
        at_most(shim_row(ROW_sendfile, row, true), size);
        break;
    }
    }
}

static void control_is_sound(struct msghdr *header)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part != NULL;
         part = CMSG_NXTHDR(header, part))
        for (size_t at = CMSG_LEN(0);
             part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_RIGHTS &&
             at + sizeof(int) <= part->cmsg_len;
             at += sizeof(int)) {
            int fd;
            memcpy(&fd, (uint8_t *)part + at, sizeof fd);
            PROMISE(fd >= 0 && (uint32_t)fd < RUN_DESCRIPTORS_MAX);
        }
}

static void receives(uint8_t what)
{
    size_t size = input_u8(&g_input);
    uint64_t fd = input_u8(&g_input) % 16u;
    int flags = (what & 64u) != 0 ? MSG_TRUNC : (what & 128u) != 0 ? MSG_PEEK : 0;
    size_t most = flags == MSG_TRUNC ? INT32_MAX : size;
    uint32_t *room = (uint32_t *)(void *)memory(sizeof *room);
    struct msghdr *header = (struct msghdr *)(void *)memory(2u * sizeof(struct mmsghdr));
    struct iovec *vector = (struct iovec *)(void *)memory(sizeof *vector);
    *room = input_u8(&g_input);
    *vector = (struct iovec){memory(size), size};
    header->msg_iov = vector;
    header->msg_iovlen = 1;
    header->msg_namelen = *room;
    header->msg_name = *room != 0 ? memory(*room) : NULL;
    header->msg_controllen = input_u8(&g_input);
    header->msg_control = header->msg_controllen != 0 ? memory(header->msg_controllen) : NULL;
    switch ((what >> 3) % 8u) {
    case 0: {
        uint64_t a[] = {fd,
                        SHIM_PTR(vector->iov_base),
                        size,
                        (uint64_t)flags,
                        *room != 0 ? SHIM_PTR(header->msg_name) : 0,
                        SHIM_PTR(room)};
        at_most(shim_recvfrom(a), most);
        break;
    }
    case 1: {
        size_t control = header->msg_controllen, name = header->msg_namelen;
        long result = shim_recvmsg((int)fd, header, flags);
        at_most(result, most);
        PROMISE(header->msg_controllen <= control);
        if (result >= 0)
            control_is_sound(header);
        PROMISE(header->msg_namelen <= (name > 128u ? name : 128u));
        break;
    }
    case 2: {
        uint64_t a[] = {fd, SHIM_PTR(header), 1, (uint64_t)flags, 0};
        at_most(shim_recvmmsg(a), 1);
        break;
    }
    case 3:
        (void)shim_accept((int)fd, header->msg_name, *room != 0 ? room : NULL, 0);
        break;
    case 4:
        if (*room != 0)
            (void)shim_name_of(ROW_getpeername, (int)fd, header->msg_name, room);
        break;
    case 5: {
        uint32_t before = *room;
        uint64_t a[] = {fd, 1, 2, SHIM_PTR(header->msg_name), SHIM_PTR(room)};
        (void)shim_getsockopt(a);
        PROMISE(*room <= before);
        break;
    }
    case 6:
        at_most(shim_sendmsg((int)fd, header, flags), size);
        break;
    default: {
        uint64_t a[] = {
            fd,   SHIM_PTR(vector->iov_base), size, (uint64_t)flags, SHIM_PTR(header->msg_name),
            *room};
        at_most(shim_sendto(a), size);
        break;
    }
    }
}

static void waits(uint8_t what)
{
    uint32_t count = input_u8(&g_input) % 20u;
    int fd = input_u8(&g_input) % 16, other = input_u8(&g_input) % 16;
    switch ((what >> 3) % 6u) {
    case 0: {
        struct pollfd *polled = (struct pollfd *)(void *)memory(count * sizeof *polled);
        for (uint32_t i = 0; i < count; i++)
            polled[i] = (struct pollfd){(int)i, POLLIN, 0};
        at_most(shim_poll(polled, count, NULL, NULL), count);
        for (uint32_t i = 0; i < count; i++)
            PROMISE(polled[i].fd == (int)i && polled[i].events == POLLIN);
        break;
    }
    case 1: {
        uint64_t *sets[] = {(uint64_t *)(void *)memory(8), (uint64_t *)(void *)memory(8)};
        uint64_t a[] = {count, SHIM_PTR(sets[0]), SHIM_PTR(sets[1]), 0};
        *sets[0] = (uint64_t)fd * 0x10101u, *sets[1] = (uint64_t)other;
        at_most(shim_select(a, NULL, NULL), 2u * 64u);
        PROMISE((*sets[0] & ~((uint64_t)fd * 0x10101u)) == 0);
        PROMISE((*sets[1] & ~(uint64_t)other) == 0);
        break;
    }
    case 2:
    case 3: {
        struct epoll_event *event = (struct epoll_event *)(void *)memory(sizeof *event);
        event->events = what;
        event->data.u64 = 0x1234;
        (void)shim_epoll_ctl(fd, 1 + what % 3, other, event);
        break;
    }
    case 4: {
        struct epoll_event *events =
            (struct epoll_event *)(void *)memory((count + 1u) * sizeof *events);
        long result = shim_epoll_wait(fd, events, (int)count + 1, 0, NULL);
        at_most(result, count + 1u);
        /* Nothing but what the program has put there. */
        for (long i = 0; i < result; i++)
            PROMISE(events[i].data.u64 == 0x1234);
        break;
    }
    default:
        (void)shim_close(fd);
        break;
    }
}

/* Two descriptors that a call has made are two, and in range. */
static void are_a_pair(const int *fds)
{
    PROMISE((uint32_t)fds[0] < RUN_DESCRIPTORS_MAX && (uint32_t)fds[1] < RUN_DESCRIPTORS_MAX);
    PROMISE(fds[0] != fds[1]);
}

/* A name is a text within its result. */
static void is_text(const uint8_t *text, long size)
{
    PROMISE(size <= 0 || text[size - 1] == 0);
}

/* The calls that make descriptors, or tell of one. */
static void descriptors(uint8_t what)
{
    int fd = input_u8(&g_input) % 16, other = input_u8(&g_input) % 16;
    size_t size = input_u8(&g_input);
    int *pair = (int *)(void *)memory(2u * sizeof *pair);
    switch ((what >> 3) % 16u) {
    case 0:
        at_most(shim_dup(fd), RUN_DESCRIPTORS_MAX - 1u);
        break;
    case 1: {
        long result = shim_dup3(fd, other, 0);
        PROMISE(result < 0 || result == other);
        break;
    }
    case 2: {
        long result = shim_fcntl(fd, F_DUPFD, (uint64_t)other);
        at_most(result, RUN_DESCRIPTORS_MAX - 1u);
        PROMISE(result < 0 || result >= other);
        break;
    }
    case 3:
        at_most(shim_fcntl(fd, F_GETLK, SHIM_PTR(memory(sizeof(struct flock)))), INT32_MAX);
        break;
    case 4:
        at_most(shim_fcntl(fd, F_GETFL, 0), INT32_MAX);
        break;
    case 5:
        at_most(shim_fcntl(fd, F_SETFL, O_NONBLOCK), INT32_MAX);
        break;
    case 6:
        at_most(shim_ioctl(fd, FIONBIO, SHIM_PTR(pair)), INT32_MAX);
        break;
    case 7:
        at_most(shim_ioctl(fd, (size & 1u) != 0 ? TIOCGPGRP : TIOCSPGRP, SHIM_PTR(pair)),
                INT32_MAX);
        break;
    case 8:
        at_most(shim_ioctl(fd, TIOCGWINSZ, SHIM_PTR(memory(sizeof(struct winsize)))), INT32_MAX);
        break;
    case 9: {
        uint64_t row[] = {SHIM_PTR(pair), 0};
        if (shim_row(ROW_pipe2, row, true) == 0)
            are_a_pair(pair);
        break;
    }
    case 10: {
        uint64_t row[] = {1, 1, 0, SHIM_PTR(pair)};
        if (shim_row(ROW_socketpair, row, true) == 0)
            are_a_pair(pair);
        break;
    }
    case 11: {
        uint8_t *path = memory(size);
        uint64_t row[] = {SHIM_PTR(path), size};
        long result = shim_row(ROW_getcwd, row, true);
        at_most(result, size);
        is_text(path, result);
        break;
    }
    case 12: {
        uint8_t *names = memory(size);
        uint64_t row[] = {(uint64_t)fd, SHIM_PTR(names), size};
        long result = shim_row(ROW_flistxattr, row, true);
        at_most(result, size != 0 ? size : 65536u);
        is_text(names, size != 0 ? result : 0);
        break;
    }
    case 13: {
        uint64_t row[] = {(uint64_t)fd, size, SEEK_SET};
        long result = shim_row(ROW_lseek, row, true);
        PROMISE(result <= 0 || result == (long)size);
        break;
    }
    case 14: {
        uint64_t *place = (uint64_t *)(void *)memory(sizeof *place);
        uint64_t row[] = {(uint64_t)fd, SHIM_PTR(place), (uint64_t)other, 0, size, 0};
        at_most(shim_row(ROW_splice, row, true), size);
        break;
    }
    default:
        at_most(shim_open(AT_FDCWD, "/tmp/x", (size & 1u) != 0 ? O_NONBLOCK : 0, 0),
                RUN_DESCRIPTORS_MAX - 1u);
        (void)shim_close_range((uint32_t)fd, (uint32_t)other, 0);
        break;
    }
}

static void set_up(void)
{
    struct hc_geometry g = {.slot_count = 1, .cell_count = 4, .window_size = RUN_WINDOW};
    g.shared_size = sizeof(struct run_shared);
    PROMISE(hc_geometry_plan(&g) == HC_OK);
    g_u_base = aligned_alloc(HC_PAGE, (size_t)g.total_size);
    PROMISE(g_u_base != NULL);
    memset(g_u_base, 0, (size_t)g.total_size);
    memcpy(g_u_base, &g, sizeof g);
    struct run_shared *shared = (struct run_shared *)(void *)(g_u_base + g.shared_at);
    *shared = (struct run_shared){.magic = RUN_MAGIC,
                                  .cycles_per_us = 1000,
                                  .mode = HC_MODE_SWITCH,
                                  .processors = 1,
                                  .limit_soft = 1024,
                                  .limit_hard = 1024};
    PROMISE(shim_channel_init(g_u_base, g.total_size));
    g_shim_end.bounds = (struct hc_bounds){.cycles_per_us = 1000, .slice_ns = 1000};
    /* Calls are made over the first lane; nobody has any business in the others' windows. */
    __asan_poison_memory_region(g_u_base + g.windows_at + RUN_WINDOW, 2u * (size_t)RUN_WINDOW);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (g_u_base == NULL)
        set_up();
    memset(hc_u_slot(g_u_base, &g_shim_end.geometry, 0), 0, g_shim_end.geometry.slot_stride);
    memset(g_u_base + g_shim_end.geometry.windows_at, 0, 4096);
    memset(&g_thread, 0, sizeof g_thread);
    g_shim_end.broken = 0;
    g_shim_end.broken_what = NULL;
    hc_slot_init(&g_slot, &g_shim_end, 0);
    g_slot.port.thread = &g_slot.executor;
    g_thread.port = &g_slot.port;
    shim_state_reset();
    g_input = (struct input){data, size};
    g_gates = 0;
    g_kept_count = 0;
    for (int i = 0; i < 6 && g_input.left != 0 && setjmp(g_end_of_program) == 0; i++) {
        uint8_t what = input_u8(&g_input);
        switch (what % 8u) {
        case 0:
        case 1:
        case 2:
            transfers(what);
            break;
        case 3:
        case 4:
        case 5:
            receives(what);
            break;
        case 6:
            descriptors(what);
            break;
        default:
            waits(what);
            break;
        }
        for (uint32_t kept = 0; kept < g_kept_count; kept++)
            free(g_kept[kept]);
        g_kept_count = 0;
    }
    for (uint32_t kept = 0; kept < g_kept_count; kept++)
        free(g_kept[kept]);
    return 0;
}
