/* SPDX-License-Identifier: Apache-2.0 */
/* Tries what the table says is refused; never to be run outside of an enclave. */
#include "say.h"

static void attempt(const char *name, long number)
{
    errno = 0;
    long result = syscall(number, 0, 0, 0, 0, 0, 0);
    printf("%s %s\n", name, result == -1 ? strerrorname_np(errno) : "happened");
}

int main(void)
{
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
#define SHIM_NATIVE(call, why)
#define SHIM_GATED(call, why)
#define SHIM_EMULATED(call, why)
#define SHIM_REFUSED(call, error, why) attempt(#call, SYS_##call);
#include "syscall_local.h"
    return 0;
}
