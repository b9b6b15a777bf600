/* SPDX-License-Identifier: Apache-2.0 */
/*
 * enclave_report.c -- telling the host why the enclave could not start, or died.
 *
 * Enclave side. A report holds no more than the host may know: a status, a number, the id of the
 * call, and for failures of the start a sentence. Nothing of the enclave's memory.
 */
#define _GNU_SOURCE
#include "enclave_runtime.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct hc_header *g_u_header;

void enclave_report_to(struct hc_header *u_header)
{
    g_u_header = u_header;
}

static void write_report(enum hc_status status, int error, uint32_t call, const char *text)
{
    struct hc_report *u_report = &g_u_header->board[HC_ENCLAVE].report;
    size_t size = strnlen(text, sizeof u_report->text - 1u);
    hc_untrusted_store_u32(&u_report->status, (uint32_t)status);
    hc_untrusted_store_u32(&u_report->error, (uint32_t)error);
    hc_untrusted_store_u32(&u_report->call, call);
    hc_copy_out(u_report->text, text, size);
    hc_copy_out(u_report->text + size, "", 1);
    /* SYNC: release pairs with host_read_report, written; publishes the report. */
    __atomic_store_n(&u_report->written, 1u, __ATOMIC_RELEASE);
}

void enclave_state(enum hc_state state)
{
    uint32_t *u_state = &g_u_header->board[HC_ENCLAVE].state;
    /* SYNC: release pairs with host_await_ready in host_launch.c, state; publishes the report. */
    __atomic_store_n(u_state, (uint32_t)state, __ATOMIC_RELEASE);
    endpoint_wake(NULL, u_state, 1);
}

void enclave_fail(enum hc_status status, int error, const char *format, ...)
{
    char text[sizeof g_u_header->board[0].report.text];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    write_report(status, error, UINT32_MAX, text);
    enclave_state(HC_STATE_FAILED);
    _exit(1);
}

/*
 * Runs in the thread that faulted; only async-signal-safe steps. Afterwards the instruction runs
 * again with the default action, so the process dies of its own signal.
 */
static void on_fault(int number)
{
    static const char prefix[] = "while it ran ecall ";
    char text[sizeof prefix + 10];
    uint32_t call = UINT32_MAX;
    struct hc_port *port = endpoint_this_thread()->current;
    memcpy(text, prefix, sizeof prefix);
    if (port != NULL && port->running.u_cell != NULL) {
        char digits[10];
        size_t count = 0;
        size_t at = sizeof prefix - 1u;
        call = hc_untrusted_u32(&port->running.u_cell->id) & ~HC_CELL_BITS;
        uint32_t rest = call;
        do
            digits[count++] = (char)('0' + rest % 10u);
        while ((rest /= 10u) != 0);
        while (count != 0)
            text[at++] = digits[--count];
        text[at] = '\0';
    } else {
        memcpy(text, "outside any call", sizeof "outside any call");
    }
    write_report(HC_ERR_PEER_LOST, number, call, text);
}

void enclave_report_faults(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_fault;
    action.sa_flags = (int)(SA_RESETHAND | SA_NODEFER);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        (void)sigaction(signals[i], &action, NULL);
}
