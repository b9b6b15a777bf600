/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim_boot.c -- the shim's constructor: from here on the program is in its enclave.
 *
 * Enclave side. Linked -z initfirst, so that no other constructor runs before. Until the filter
 * is in place the process may do what run_spawn.c's first filter left: what the dynamic loader
 * needs. The host is trusted until then, and not after.
 */
#include "shim.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

void shim_die(const char *text)
{
    shim_say(text);
    for (;;)
        (void)SHIM_GATE(SYS_exit_group, 125);
}

/* Only ever by an ocall: there is no descriptor on this side. */
void shim_say(const char *text)
{
    static uint32_t g_saying;
    size_t size = shim_string_size(text, 1024);
    if (g_u_shared == NULL || size == 0 || size == SIZE_MAX ||
        hc_untrusted_u32(&g_u_shared->chatty) == 0)
        return;
    /* Not again from within itself, as when the channel is what is broken. */
    if (__atomic_exchange_n(&g_saying, 1u, __ATOMIC_RELAXED) != 0)
        return;
    (void)SHIM_ROW(ROW_write, false, 2, SHIM_PTR(text), size - 1u);
    __atomic_store_n(&g_saying, 0u, __ATOMIC_RELAXED);
}

void shim_say_once(uint32_t *said, const char *text, const char *name)
{
    char line[512];
    size_t used = 0;
    if (__atomic_exchange_n(said, 1u, __ATOMIC_RELAXED) != 0)
        return;
    for (; *text != '\0' && used < sizeof line - 2u; text++) {
        if (*text != '%' || name == NULL) {
            line[used++] = *text;
            continue;
        }
        for (; *name != '\0' && used < sizeof line - 2u; name++)
            line[used++] = *name;
    }
    line[used] = '\0';
    shim_say(line);
}

/* No C library may be needed here: what it prints would need the descriptors that go away. */
static _Noreturn void refuse(long code)
{
    for (;;)
        (void)SHIM_GATE(SYS_exit_group, code);
}

static long number_of(const char *text)
{
    long value = 0;
    for (; *text >= '0' && *text <= '9' && value < 1000000; text++)
        value = value * 10 + (*text - '0');
    return *text == '\0' ? value : -1;
}

static const char *value_of(const char *entry, const char *name)
{
    while (*name != '\0' && *entry == *name) {
        entry++;
        name++;
    }
    return *name == '\0' && *entry == '=' ? entry + 1 : NULL;
}

/*
 * Takes our variable out of the environment and our library out of LD_PRELOAD (it is the first
 * word there; what the user preloads besides stays). Returns the variable's value.
 */
static const char *clean_environment(char **environment)
{
    const char *found = NULL;
    char **kept = environment;
    for (char **entry = environment; *entry != NULL; entry++) {
        const char *value = value_of(*entry, RUN_ENVIRONMENT);
        char *preload = (char *)(uintptr_t)value_of(*entry, "LD_PRELOAD");
        if (value != NULL) {
            found = value;
            continue;
        }
        if (preload != NULL) {
            char *rest = preload;
            while (*rest != '\0' && *rest != ':')
                rest++;
            if (*rest == '\0')
                continue;
            /* In place, so that nothing has to be allocated. */
            do
                *preload++ = *++rest;
            while (*rest != '\0');
        }
        *kept++ = *entry;
    }
    *kept = NULL;
    return found;
}

extern const char shim_gate_after[] SHIM_HIDDEN;

__attribute__((constructor)) static void shim_start(int argc, char **argv, char **environment)
{
    struct stat status;
    uint64_t none[2] = {0, 0};
    (void)argc;
    (void)argv;
    const char *text = clean_environment(environment);
    if (text == NULL)
        return; /* loaded by hand, without a host: an ordinary library that does nothing */
    long fd = number_of(text);
    if (fd < 0 || SHIM_GATE(SYS_fstat, fd, &status) != 0)
        refuse(125);
    uint64_t size = (uint64_t)status.st_size;
    long region =
        SHIM_GATE(SYS_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (region < 0 && region > -4096)
        refuse(125);
    if (!shim_channel_init((uint8_t *)(uintptr_t)region, size))
        refuse(125);
    if (SHIM_GATE(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        SHIM_GATE(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 ||
        SHIM_GATE(SYS_prlimit64, 0, RLIMIT_CORE, none, NULL) != 0 ||
        SHIM_GATE(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 ||
        SHIM_GATE(SYS_getppid, 0) != (long)(int)hc_untrusted_u32((uint32_t *)&g_u_shared->host_pid))
        refuse(125);
    /* Every descriptor: from here on they are the host's. */
    if (SHIM_GATE(SYS_close_range, 0, ~0u, 0) != 0)
        refuse(125);
    /* But for one, which becomes 0 and can only be read, by the shim: what is mapped here. The
     * host may not look (shim_maps). */
    if (SHIM_GATE(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0) != 0 ||
        !shim_mapped_copy(0))
        refuse(125);
    shim_signal_init();
    if (shim_filter_install(SHIM_PTR(shim_gate_after)) != 0)
        refuse(125);
    uint32_t *u_state = &g_shim_end.u_board->state;
    /* SYNC: release pairs with the host's look at the end of the program, state. */
    __atomic_store_n(u_state, (uint32_t)HC_STATE_READY, __ATOMIC_RELEASE);
}
