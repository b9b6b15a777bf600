/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_ask.h -- asks a function of the user, in Python, about calls that the policy names.
 *
 * Host side of `hotcalls run` (H); companions alone, as the leader never waits. The other end of
 * the socket is the launcher (src/hotcalls/apps/policy_hook.py), which stays for it; both are
 * trusted, and yet no wait is without an end: who does not answer has refused.
 *
 * A question is one message, what it is about after what it is:
 */
#ifndef HOTCALLS_RUN_ASK_H
#define HOTCALLS_RUN_ASK_H

#include "run.h"

enum run_ask_about { RUN_ASK_CALL, RUN_ASK_PATH, RUN_ASK_ADDRESS };

struct run_question {
    uint32_t number;
    uint32_t about; /* enum run_ask_about */
    uint32_t use;   /* enum run_path_use or enum run_address_use */
    uint32_t count; /* of arguments */
    /* Scalars and descriptors as they are, of buffers the size, of strings 0. */
    int64_t arguments[ROW_PARAMETERS_MAX];
    char name[24];
    char text[PATH_MAX]; /* a path, or an address as in run_policy.h; sent as far as it goes */
};

struct run_answer {
    uint32_t number;
    int32_t refuse; /* an errno, or 0 */
};

_Static_assert(offsetof(struct run_question, text) == 112, "policy_hook.py reads this");
_Static_assert(sizeof(struct run_answer) == 8, "policy_hook.py writes this");

/* `fd` -1: there is nobody to ask. */
void run_ask_init(int fd, uint32_t limit_ms);
/* With what is refused when there is no answer. */
void run_ask_refuse_with(int refuse);

/* Runs a call of which the hook is asked: here when it is about neither a path nor an address. */
long run_ask_perform(struct run_call *call, long (*perform)(struct run_call *));
/* From where the policy decides, with names that are final. 0, or the errno. */
int run_ask_path(uint32_t row, enum run_path_use use, const char *path);
int run_ask_address(uint32_t row, enum run_address_use use, const char *address);

#endif /* HOTCALLS_RUN_ASK_H */
