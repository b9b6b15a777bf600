/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vault.c -- the trusted code of the vault example.
 *
 * Runs inside the enclave. The key is made here, lives in memory that not even root's
 * /proc/PID/mem reads (where the kernel has memfd_secret), and never leaves. The tag is
 * HMAC-SHA-256 (RFC 2104, FIPS 180-4); a real vault would link a library for it.
 */
#include "vault_t.h"

#include <hotcalls_enclave.h>

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "sha256.h"

#define KEY_SIZE 32u
#define TAG_SIZE 32u

static uint8_t *g_key;
static uint64_t g_signed;

static void draw_key(void)
{
    size_t have = 0;
    while (have < KEY_SIZE) {
        ssize_t got = getrandom(g_key + have, KEY_SIZE - have, 0);
        if (got > 0)
            have += (size_t)got;
    }
}

/* Runs once inside, before lock-down is complete. */
int hc_enclave_start(void)
{
    g_key = hc_secret_alloc(KEY_SIZE);
    if (g_key == NULL)
        return ENOMEM;
    draw_key();
    return 0;
}

void new_key(void)
{
    draw_key();
}

void sign(const uint8_t *message, size_t size, uint8_t *tag)
{
    hmac_sha256(g_key, KEY_SIZE, message, size, tag);
    (void)__atomic_add_fetch(&g_signed, 1u, __ATOMIC_RELAXED);
    /* Whether the host hears of it is the host's business. */
    (void)!audit("sign");
}

int verify(const uint8_t *message, size_t size, const uint8_t *tag)
{
    uint8_t expected[TAG_SIZE];
    uint8_t difference = 0;
    hmac_sha256(g_key, KEY_SIZE, message, size, expected);
    /* Every byte, always: when it stops must not tell where the first difference is. */
    for (size_t i = 0; i < TAG_SIZE; i++)
        difference |= (uint8_t)(expected[i] ^ tag[i]);
    return difference == 0;
}

uint64_t signed_count(void)
{
    return __atomic_load_n(&g_signed, __ATOMIC_RELAXED);
}
