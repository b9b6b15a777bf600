/* SPDX-License-Identifier: Apache-2.0 */
/* scribble.h -- what scribble_enclave.c and scribble_host.c agree on. */
#ifndef HOTCALLS_TESTS_SCRIBBLE_H
#define HOTCALLS_TESTS_SCRIBBLE_H

#include <hotcalls/hotcalls.h>

enum { S_PING, S_COPY, S_OCALL, S_SCRIBBLE, S_COUNT };
enum { P_PING, P_COPY, P_COUNT };

/* What is scribbled over. */
enum { OVER_WORDS, OVER_CELLS, OVER_BOARDS, OVER_CONTROLS, OVER_WINDOWS, OVER_ALL, OVERS };

struct scribble_ms {
    uint64_t a, b, c;
};

#define COPY_SIZE 3000u

static inline enum hc_status scribble_call(struct hc_port *port, uint32_t id,
                                           struct scribble_ms *ms)
{
    struct hc_call call;
    enum hc_status status = hc_call_begin(port, &call, id, sizeof *ms, 0);
    if (status == HC_OK)
        status = hc_call_run(&call, ms, sizeof *ms);
    if (status == HC_OK)
        hc_call_end(&call);
    return status;
}

/* A call with COPY_SIZE bytes in and out. */
static inline enum hc_status scribble_copy(struct hc_port *port, uint32_t id, uint8_t *bytes)
{
    struct hc_call call;
    struct scribble_ms ms = {COPY_SIZE, 0, 0};
    enum hc_status status = hc_call_begin(port, &call, id, sizeof ms, hc_message_add(0, COPY_SIZE));
    if (status != HC_OK)
        return status;
    size_t position = hc_call_inout(&call, bytes, COPY_SIZE);
    status = hc_call_run(&call, &ms, sizeof ms);
    if (status != HC_OK)
        return status;
    status = hc_call_copy_out(&call, position, bytes, COPY_SIZE);
    hc_call_end(&call);
    return status;
}

/* Answers ms.a + 1; a copy is sent back as it came. Both sides have both. */
static inline enum hc_status scribble_ping_bridge(struct hc_frame *frame)
{
    struct scribble_ms ms;
    enum hc_status status = hc_frame_open(frame, &ms, sizeof ms);
    ms.b = ms.a + 1u;
    return status != HC_OK ? status : hc_frame_close(frame, &ms, sizeof ms);
}

static inline enum hc_status scribble_copy_bridge(struct hc_frame *frame)
{
    struct scribble_ms ms;
    void *bytes = NULL;
    size_t position = 0;
    enum hc_status status = hc_frame_open(frame, &ms, sizeof ms);
    if (status == HC_OK)
        status = hc_frame_inout(frame, ms.a, &bytes, &position);
    if (status != HC_OK)
        return status;
    hc_frame_reply(frame, position, bytes, ms.a);
    return hc_frame_close(frame, &ms, sizeof ms);
}

#endif /* HOTCALLS_TESTS_SCRIBBLE_H */
