/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs the trusted code of the vault example under valgrind, with its key marked as undefined: every
 * branch and every address that depends on the key, or on what was computed of it, is then an error
 * of memcheck's. Compiled with the file to try as VAULT.
 */
#include VAULT

#include <stdlib.h>
#include <valgrind/memcheck.h>

#define MESSAGE_SIZE 200u

void *hc_secret_alloc(size_t size)
{
    return malloc(size);
}

/* What the host hears. */
enum hc_status audit(const char *event)
{
    (void)event;
    return HC_OK;
}

int main(void)
{
    uint8_t message[MESSAGE_SIZE];
    uint8_t tag[TAG_SIZE];
    if (RUNNING_ON_VALGRIND == 0 || hc_enclave_start() != 0)
        return 2;
    memset(message, 7, sizeof message);
    for (size_t size = 0; size <= sizeof message; size += 25) {
        VALGRIND_MAKE_MEM_UNDEFINED(g_key, KEY_SIZE);
        sign(message, size, tag);
        /* The tag is for everybody to see; the expected one, of the same bytes, is not. */
        VALGRIND_MAKE_MEM_DEFINED(tag, sizeof tag);
        for (size_t wrong = 0; wrong <= TAG_SIZE; wrong += 8) {
            uint8_t tried[TAG_SIZE];
            memcpy(tried, tag, sizeof tried);
            if (wrong < TAG_SIZE)
                tried[wrong] ^= 1u;
            int same = verify(message, size, tried);
            /* Whether they are the same is what the caller is told. */
            VALGRIND_MAKE_MEM_DEFINED(&same, sizeof same);
            if (same != (wrong == TAG_SIZE))
                return 3;
        }
    }
    VALGRIND_MAKE_MEM_DEFINED(g_key, KEY_SIZE);
    free(g_key);
    return 0;
}
