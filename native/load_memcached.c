/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_memcached.c -- requests in memcached's text protocol, and the replies they must get.
 *
 * Client side. A key's value never changes: it is a window, at the key's own offset, of one block
 * of random bytes. So the reply to a request is known before it comes and is compared whole,
 * without keeping a copy of each value in the caches.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

/* Odd, so that neighbouring keys differ in every byte; the block stays small enough for L2. */
#define KEY_STRIDE 61u
#define OFFSETS 1024u
#define HEAD_MAX 64u

static const char g_stored[] = "STORED\r\n";
static const char g_end[] = "\r\nEND\r\n";

int load_values_init(struct load *load)
{
    size_t size = OFFSETS * KEY_STRIDE + load->options.value_size;
    load->body = malloc(size);
    if (!load->body)
        return load_fail("out of memory for values of %zu bytes", load->options.value_size);
    for (size_t i = 0; i < size; i++)
        load->body[i] = (char)(load_random(load) >> 32);
    return 0;
}

static const char *value_of(const struct load *load, uint32_t key)
{
    return load->body + (size_t)(key % OFFSETS) * KEY_STRIDE;
}

struct load_request load_next_request(struct load *load)
{
    const struct load_options *options = &load->options;
    uint64_t drawn = load_random(load);
    return (struct load_request){
        .key = (uint32_t)((drawn >> 32) % options->keys),
        .get = (drawn & 0xffffffffu) % (options->gets + options->sets) < options->gets,
    };
}

size_t load_request_size(const struct load *load, const struct load_request *request)
{
    return HEAD_MAX + (request->get ? 0 : load->options.value_size + 2);
}

size_t load_write_request(const struct load *load, const struct load_request *request, char *out)
{
    size_t size = load->options.value_size;
    if (request->get)
        return (size_t)snprintf(out, HEAD_MAX, "get load%u\r\n", request->key);
    size_t head = (size_t)snprintf(out, HEAD_MAX, "set load%u 0 0 %zu\r\n", request->key, size);
    memcpy(out + head, value_of(load, request->key), size);
    memcpy(out + head + size, "\r\n", 2);
    return head + size + 2;
}

size_t load_reply_max(const struct load *load)
{
    return HEAD_MAX + load->options.value_size + sizeof g_end;
}

size_t load_reply_size(const struct load *load, const struct load_request *request)
{
    size_t value = load->options.value_size;
    if (!request->get)
        return sizeof g_stored - 1;
    int head = snprintf(NULL, 0, "VALUE load%u 0 %zu\r\n", request->key, value);
    return (size_t)head + value + sizeof g_end - 1;
}

/* Whether the first bytes of `in`, as far as they have come, are those of `expected`. */
static bool begins(const char *in, size_t size, const char *expected, size_t length)
{
    return memcmp(in, expected, size < length ? size : length) == 0;
}

ssize_t load_check_reply(const struct load *load, const struct load_request *request,
                         const char *in, size_t size)
{
    if (!request->get) {
        size_t length = sizeof g_stored - 1;
        if (!begins(in, size, g_stored, length))
            return -1;
        return size < length ? 0 : (ssize_t)length;
    }
    char head[HEAD_MAX];
    size_t value = load->options.value_size, end = sizeof g_end - 1;
    size_t length =
        (size_t)snprintf(head, sizeof head, "VALUE load%u 0 %zu\r\n", request->key, value);
    if (!begins(in, size, head, length))
        return -1;
    if (size < length + value + end)
        return 0;
    if (memcmp(in + length, value_of(load, request->key), value) != 0 ||
        memcmp(in + length + value, g_end, end) != 0)
        return -1;
    return (ssize_t)(length + value + end);
}
