/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host_victim.c -- a host that gets to a step of a call, says so, and stays there to be killed.
 *
 *     host_victim STEP        prints the enclave's pid once it is there
 *     host_victim launching   prints 0, and launches over and over
 */
#define FAULT_HOST
#define CHECK_OWN_MAIN
#include "fault.h"

static void *call_for_ever(void *enclave)
{
    for (;;)
        (void)fault_host_call(enclave, F_PING, 1, 0);
    return NULL;
}

static void *forever_inside(void *enclave)
{
    (void)fault_host_call(enclave, F_FOREVER, 0, 0);
    return NULL;
}

static void *in_an_ocall(void *enclave)
{
    (void)fault_host_call(enclave, F_OCALL, G_BLOCK, 0);
    return NULL;
}

static void pipeline(hc_enclave *enclave)
{
    static struct hc_call calls[20];
    struct fault_ms ms = {1000000, 0};
    struct hc_port *port = hc_host_port(enclave);
    CHECK(port != NULL);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(hc_call_begin(port, &calls[i], F_SPIN_US, sizeof ms, 0), HC_OK);
        CHECK_EQ(hc_call_submit(&calls[i], &ms, sizeof ms), HC_OK);
    }
}

int main(int argc, char **argv)
{
    pthread_t thread;
    CHECK(argc == 2);
    const char *step = argv[1];
    if (strcmp(step, "launching") == 0) {
        (void)printf("0\n");
        (void)fflush(stdout);
        for (;;)
            hc_close(fault_launch());
    }
    hc_enclave *enclave = fault_launch();
    void *(*body)(void *) = NULL;
    if (strcmp(step, "hot") == 0 || strcmp(step, "switched") == 0)
        body = call_for_ever;
    else if (strcmp(step, "inside") == 0)
        body = forever_inside;
    else if (strcmp(step, "ocall") == 0)
        body = in_an_ocall;
    else if (strcmp(step, "pipelined") == 0)
        pipeline(enclave);
    else
        CHECK(strcmp(step, "idle") == 0);
    if (strcmp(step, "switched") == 0)
        for (uint32_t id = 0; id < F_COUNT; id++)
            CHECK_EQ(hc_set_mode(enclave, id, HC_MODE_SWITCH), HC_OK);
    if (body != NULL)
        CHECK_EQ(pthread_create(&thread, NULL, body, enclave), 0);
    if (body == in_an_ocall)
        while (__atomic_load_n(&g_in_ocall, __ATOMIC_SEQ_CST) == 0)
            fault_sleep_ms(1);
    else
        fault_sleep_ms(20);
    (void)printf("%d\n", (int)hc_pid(enclave));
    (void)fflush(stdout);
    for (;;)
        fault_sleep_ms(1000);
}
