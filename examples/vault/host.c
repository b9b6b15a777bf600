/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host.c -- the vault from C: sign a message, check tags.
 *
 * Runs outside of the enclave and is not trusted by it once hc_launch() has returned.
 */
#include "vault_u.h"

#include <stdio.h>
#include <string.h>

#define TAG_SIZE 32u

/* The ocall: runs in the thread that made the ecall. */
void audit(const char *event)
{
    printf("the vault reports: %s\n", event);
}

static int fail(const char *what, enum hc_status status)
{
    fprintf(stderr, "host: %s: %s\n", what, hc_status_text(status));
    return 1;
}

static int use(hc_enclave *vault, const char *message)
{
    const uint8_t *bytes = (const uint8_t *)message;
    uint8_t tag[TAG_SIZE];
    int right = 0;
    enum hc_status status = sign(vault, bytes, strlen(message), tag);
    if (status != HC_OK)
        return fail("sign", status);
    printf("'%s' is signed: ", message);
    for (size_t i = 0; i < TAG_SIZE; i++)
        printf("%02x", tag[i]);
    printf("\n");

    status = verify(vault, &right, bytes, strlen(message), tag);
    if (status != HC_OK)
        return fail("verify", status);
    printf("the tag is right: %s\n", right != 0 ? "yes" : "no");

    tag[0] ^= 1u;
    status = verify(vault, &right, bytes, strlen(message), tag);
    if (status != HC_OK)
        return fail("verify", status);
    printf("with a bit flipped: %s\n", right != 0 ? "yes" : "no");
    return 0;
}

int main(int argc, char **argv)
{
    struct hc_launch_options options;
    struct hc_error error;
    hc_enclave *vault;

    hc_launch_defaults(&options);
    options.path = argc > 2 ? argv[2] : "vault.enclave.so";
    options.interface = &vault_interface;
    if (hc_launch(&options, &vault, &error) != HC_OK) {
        fprintf(stderr, "host: %s\n", error.text);
        return 1;
    }
    int result = use(vault, argc > 1 ? argv[1] : "pay 100 to Alice");
    hc_close(vault);
    return result;
}
