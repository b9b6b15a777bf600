/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim_signal.c -- the program's signals, and the two that the shim itself needs.
 *
 * Enclave side. The kernel knows one handler, ours; the program's are in a table here. Signals
 * arrive in this process, wherever they come from, and its handlers run in it.
 *
 * While a thread is inside the shim its state must not be used a second time. So a signal that
 * arrives then is put off: its handler notes it, closes the mask of the interrupted context, and
 * asks the host to end the call that is out with EINTR. When the shim is done (shim_leave) the
 * thread sends the signal to itself again with all that came with it, and opens the mask: the
 * kernel delivers it at once, on the right stack and with the right mask, as if it had arrived in
 * that moment. A thread therefore never needs more than one slot, nor one more than one cell.
 *
 * SIGSYS is taken out of every mask: a trapped call while it is blocked would end the process.
 * SIGSEGV and SIGBUS always have our handler, for bad addresses that are to become EFAULT.
 */
#include "shim.h"

#include <linux/futex.h>
#include <ucontext.h>

/* si_code of a trapped call; the C library has no name for it before 2.37. */
#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1
#endif

#define BIT(number) (UINT64_C(1) << ((number) - 1))
/* What a thread does to itself cannot wait: it would happen again at once. */
#define SYNCHRONOUS (BIT(SIGSEGV) | BIT(SIGBUS) | BIT(SIGFPE) | BIT(SIGILL) | BIT(SIGTRAP))
#define OPEN_ALWAYS BIT(SIGSYS)
#define SA_RESTORER_FLAG UINT64_C(0x04000000)
/* SA_RESETHAND is done here, when the handler really runs. SA_NODEFER is the kernel's. */
#define FLAGS_FOR_KERNEL \
    ((uint64_t)(uint32_t)(SA_ONSTACK | SA_NODEFER | SA_NOCLDSTOP | SA_NOCLDWAIT))

static struct shim_action g_actions[SHIM_SIGNALS + 1];
static uint32_t g_actions_lock;

/* The way back from a handler, which the C library would bring along for its own. */
__asm__(".text\n"
        ".globl shim_restorer\n.hidden shim_restorer\n.type shim_restorer, @function\n"
        "    nop\n" /* unwinders look one byte before the address they return to */
        "shim_restorer:\n"
        "    mov $15, %eax\n"
        "    syscall\n"
        ".size shim_restorer, . - shim_restorer\n");
extern const char shim_restorer[] SHIM_HIDDEN;

static uint64_t *mask_of(void *context)
{
    return (uint64_t *)(void *)&((ucontext_t *)context)->uc_sigmask;
}

static void set_mask(uint64_t mask)
{
    (void)SHIM_GATE(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, 8);
}

static uint64_t get_mask(void)
{
    uint64_t mask = 0;
    (void)SHIM_GATE(SYS_rt_sigprocmask, SIG_SETMASK, NULL, &mask, 8);
    return mask;
}

static void lock(void)
{
    while (__atomic_exchange_n(&g_actions_lock, 1u, __ATOMIC_ACQUIRE) != 0)
        (void)SHIM_GATE(SYS_sched_yield, 0);
}

static void unlock(void)
{
    __atomic_store_n(&g_actions_lock, 0u, __ATOMIC_RELEASE);
}

void shim_raise(int number)
{
    (void)SHIM_GATE(SYS_tgkill, SHIM_GATE(SYS_getpid, 0), SHIM_GATE(SYS_gettid, 0), number);
}

/* ---- being inside ----------------------------------------------------------------------------- */

void shim_enter(struct shim_thread *thread)
{
    thread->inside++;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

bool shim_leave(struct shim_thread *thread)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (--thread->inside != 0 || HC_LIKELY(!thread->deferred))
        return false;
    /* The mask is closed since the signal came, so nothing changes under us here. */
    siginfo_t info = thread->info;
    uint64_t mask = thread->mask_before;
    bool restart = thread->restart;
    thread->deferred = false;
    (void)SHIM_GATE(SYS_rt_tgsigqueueinfo, SHIM_GATE(SYS_getpid, 0), SHIM_GATE(SYS_gettid, 0),
                    info.si_signo, &info);
    set_mask(mask);
    /* The handler's own calls may have been interrupted in turn. */
    thread->restart = restart;
    return true;
}

/* ---- the handlers ------------------------------------------------------------------------------ */

static void put_off(struct shim_thread *thread, int number, const siginfo_t *info, void *context)
{
    thread->info = *info;
    thread->mask_before = *mask_of(context);
    /* A cancelled thread has to come out of its call, to find that it was. */
    thread->restart = number != SHIM_CANCEL && (g_actions[number].flags & SA_RESTART) != 0;
    *mask_of(context) = ~(SYNCHRONOUS | OPEN_ALWAYS);
    thread->deferred = true;
    shim_interrupt(thread);
}

/* Asks the host to end the call that is out, if there is one. */
void shim_interrupt(struct shim_thread *thread)
{
    uint32_t calling = __atomic_load_n(&thread->calling, __ATOMIC_RELAXED);
    if (calling == 0)
        return;
    /* SYNC: release pairs with the acquire load of the host's watcher, interrupt_bell. */
    __atomic_store_n(&g_u_shared->interrupt[thread->slot], calling, __ATOMIC_RELEASE);
    (void)__atomic_add_fetch(&g_u_shared->interrupt_bell, 1u, __ATOMIC_RELEASE);
    (void)SHIM_GATE(SYS_futex, &g_u_shared->interrupt_bell, FUTEX_WAKE, 1);
}

/* As the kernel would have done it without us. */
static void by_default(int number)
{
    struct shim_action action = {0, SA_RESTORER_FLAG, SHIM_PTR(shim_restorer), 0};
    (void)SHIM_GATE(SYS_rt_sigaction, number, &action, NULL, 8);
    shim_raise(number);
    uint64_t open = get_mask() & ~BIT(number);
    set_mask(open);
}

static void run_handler(int number, siginfo_t *info, void *context)
{
    lock();
    struct shim_action action = g_actions[number];
    if ((action.flags & (uint64_t)(uint32_t)SA_RESETHAND) != 0 && action.handler > 1u) {
        struct shim_action none = {0, SA_RESTORER_FLAG, SHIM_PTR(shim_restorer), 0};
        g_actions[number] = none;
        if (number != SIGSEGV && number != SIGBUS && number != SIGSYS)
            (void)SHIM_GATE(SYS_rt_sigaction, number, &none, NULL, 8);
    }
    unlock();
    if (action.handler == 0) { /* SIG_DFL */
        by_default(number);
    } else if (action.handler == 1u) { /* SIG_IGN: a fault cannot be ignored */
        if (info->si_code > 0)
            by_default(number);
    } else if ((action.flags & SA_SIGINFO) != 0) {
        ((void (*)(int, siginfo_t *, void *))(uintptr_t)action.handler)(number, info, context);
    } else {
        ((void (*)(int))(uintptr_t)action.handler)(number);
    }
}

static void on_signal(int number, siginfo_t *info, void *context)
{
    struct shim_thread *thread = shim_thread();
    if (thread->inside != 0 && !thread->deferred) {
        put_off(thread, number, info, context);
        return;
    }
    run_handler(number, info, context);
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    ucontext_t *ucontext = context;
    uint64_t go_on = shim_copy_fixup((uint64_t)ucontext->uc_mcontext.gregs[REG_RIP]);
    struct shim_thread *thread = shim_thread();
    if (go_on != 0 && info->si_code > 0) {
        ucontext->uc_mcontext.gregs[REG_RIP] = (greg_t)go_on;
        return;
    }
    /* Sent by somebody, not a fault: it can wait. */
    if (info->si_code <= 0 && thread->inside != 0 && !thread->deferred) {
        put_off(thread, number, info, context);
        return;
    }
    /* What SIGSEGV should have blocked on its own account. */
    lock();
    uint64_t closed = g_actions[number].mask;
    if ((g_actions[number].flags & (uint64_t)(uint32_t)SA_NODEFER) == 0)
        closed |= BIT(number);
    unlock();
    set_mask((get_mask() | closed) & ~OPEN_ALWAYS);
    run_handler(number, info, context);
}

void shim_on_sigsys(int number, siginfo_t *info, void *context)
{
    ucontext_t *ucontext = context;
    greg_t *registers = ucontext->uc_mcontext.gregs;
    if (info->si_code != SYS_SECCOMP) {
        on_signal(number, info, context);
        return;
    }
    const uint64_t a[6] = {
        (uint64_t)registers[REG_RDI], (uint64_t)registers[REG_RSI], (uint64_t)registers[REG_RDX],
        (uint64_t)registers[REG_R10], (uint64_t)registers[REG_R8],  (uint64_t)registers[REG_R9],
    };
    long result = shim_call(info->si_syscall, a);
    registers[REG_RAX] = result;
    /* A mask that the call, or a handler that ran at its end, has set holds on. */
    *mask_of(context) = get_mask();
}

/* ---- what the program asks for ------------------------------------------------------------------ */

/* Tells the kernel about an action of the table. The lock is held. */
static long install(int number)
{
    const struct shim_action *wanted = &g_actions[number];
    struct shim_action action = {wanted->handler, SA_RESTORER_FLAG, SHIM_PTR(shim_restorer), 0};
    action.flags |= wanted->flags & FLAGS_FOR_KERNEL;
    if (number == SIGSYS) {
        action.handler = SHIM_PTR(shim_on_sigsys);
        action.flags = SA_RESTORER_FLAG | SA_SIGINFO | SA_NODEFER;
    } else if (number == SIGSEGV || number == SIGBUS) {
        action.handler = SHIM_PTR(on_fault);
        action.flags = SA_RESTORER_FLAG | SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    } else if (wanted->handler > 1u) {
        action.handler = SHIM_PTR(on_signal);
        action.flags |= SA_SIGINFO;
        action.mask = wanted->mask & ~OPEN_ALWAYS;
    }
    return SHIM_GATE(SYS_rt_sigaction, number, &action, NULL, 8);
}

void shim_signal_init(void)
{
    /* What was ignored before exec stays ignored; nothing else can have been set yet. */
    for (int number = 1; number <= SHIM_SIGNALS; number++)
        (void)SHIM_GATE(SYS_rt_sigaction, number, NULL, &g_actions[number], 8);
    (void)install(SIGSYS);
    (void)install(SIGSEGV);
    (void)install(SIGBUS);
    set_mask(get_mask() & ~OPEN_ALWAYS);
}

long shim_sigaction(int number, const struct shim_action *action, struct shim_action *old,
                    size_t size)
{
    struct shim_action wanted, before;
    if (size != 8 || number < 1 || number > SHIM_SIGNALS)
        return -EINVAL;
    if (action != NULL && (number == SIGKILL || number == SIGSTOP))
        return -EINVAL;
    if (action != NULL && !shim_copy(&wanted, action, sizeof wanted))
        return -EFAULT;
    struct shim_thread *thread = shim_thread();
    long result = 0;
    shim_enter(thread);
    lock();
    before = g_actions[number];
    if (action != NULL) {
        g_actions[number] = wanted;
        result = install(number);
        if (result != 0)
            g_actions[number] = before;
    }
    unlock();
    (void)shim_leave(thread);
    if (result == 0 && old != NULL && !shim_copy(old, &before, sizeof before))
        return -EFAULT;
    return result;
}

long shim_sigprocmask(int how, const uint64_t *set, uint64_t *old, size_t size)
{
    struct shim_thread *thread = shim_thread();
    uint64_t wanted = 0;
    uint64_t before = get_mask();
    bool sigsys = thread->sigsys_blocked;
    if (size != 8)
        return -EINVAL;
    if (set != NULL) {
        if (!shim_copy(&wanted, set, sizeof wanted))
            return -EFAULT;
        bool named = (wanted & OPEN_ALWAYS) != 0;
        uint64_t mask = wanted;
        if (how == SIG_BLOCK) {
            mask = before | wanted;
            named = named || sigsys;
        } else if (how == SIG_UNBLOCK) {
            mask = before & ~wanted;
            named = sigsys && !named;
        } else if (how != SIG_SETMASK) {
            return -EINVAL;
        }
        thread->sigsys_blocked = named;
        set_mask(mask & ~OPEN_ALWAYS);
    }
    /* What the program put there it finds there. */
    uint64_t told = before | (sigsys ? OPEN_ALWAYS : 0);
    if (old != NULL && !shim_copy(old, &told, sizeof told))
        return -EFAULT;
    return 0;
}

long shim_sigsuspend(const uint64_t *set, size_t size)
{
    uint64_t mask = get_mask();
    if (size != 8)
        return -EINVAL;
    if (set != NULL && !shim_copy(&mask, set, sizeof mask))
        return -EFAULT;
    mask &= ~OPEN_ALWAYS;
    return SHIM_GATE(SYS_rt_sigsuspend, &mask, 8);
}

long shim_sigtimedwait(const uint64_t *a)
{
    uint64_t set;
    if (a[3] != 8)
        return -EINVAL;
    if (!shim_copy(&set, (const void *)(uintptr_t)a[0], sizeof set))
        return -EFAULT;
    set &= ~OPEN_ALWAYS;
    return SHIM_GATE(SYS_rt_sigtimedwait, &set, a[1], a[2], 8);
}

/* ---- ppoll, epoll_pwait, pselect ------------------------------------------------------------------ */

long shim_mask_for_call(const uint64_t *set, struct shim_masked *masked)
{
    uint64_t mask;
    masked->changed = false;
    if (set == NULL)
        return 0;
    if (!shim_copy(&mask, set, sizeof mask))
        return -EFAULT;
    masked->before = get_mask();
    masked->changed = true;
    /* Inside, or a signal that comes here would be over before the call that it is to end. */
    shim_enter(shim_thread());
    set_mask(mask & ~OPEN_ALWAYS);
    return 0;
}

long shim_mask_back(const struct shim_masked *masked, long result)
{
    struct shim_thread *thread = shim_thread();
    if (!masked->changed)
        return result;
    /*
     * What came is delivered under the mask of the call if that ended with it. If there was something
     * to tell it waits on, as if the mask had never changed: a program may look at what its handlers
     * have noted after EINTR alone.
     */
    if (thread->deferred && result != -EINTR)
        thread->mask_before = masked->before;
    (void)shim_leave(thread);
    set_mask(masked->before);
    return result;
}

bool shim_signal_waits(void)
{
    return shim_thread()->deferred;
}
