/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sgx_hot.h -- what the host program of an SGX enclave says about its hot calls.
 *
 * Included by the generated NAME_u.h, so C11 and C++17, freestanding. The host is untrusted:
 * nothing here is believed inside the enclave.
 */
#ifndef HOTCALLS_SGX_HOT_H
#define HOTCALLS_SGX_HOT_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A zero means the default. */
struct hc_sgx_options {
    uint32_t enclave_responders; /* 1; each takes a TCS while it is inside. UINT32_MAX: none */
    uint32_t host_responders;    /* 1; threads that run hot ocalls. UINT32_MAX: none */
    uint32_t enclave_slots;      /* 8; threads inside that make hot ocalls at the same time */
    uint32_t host_slots;         /* 8; threads outside that make hot ecalls at the same time */
    uint64_t take_ns;            /* 20 us; then a call that nobody took becomes an ordinary one */
    uint64_t idle_ns;            /* 2 ms; a responder without work then leaves, or sleeps */
};

struct hc_sgx_statistics {
    uint64_t hot_ecalls;
    uint64_t ordinary_ecalls; /* of hot functions: nobody awake, or nobody took it */
    uint64_t hot_ocalls;
    uint64_t ordinary_ocalls;
    uint64_t entries; /* long ecalls of responders */
};

#ifdef __cplusplus
}
#endif

#endif /* HOTCALLS_SGX_HOT_H */
