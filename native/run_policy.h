/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_policy.h -- what the program in the enclave may do, as the host process asks it.
 *
 * Host side of `hotcalls run` (H). Written by the Python front end, read once from a descriptor
 * before the program starts; trusted. Read by every thread of H afterwards, never changed.
 *
 * The text. One rule a line, words parted by one blank, `#` begins a comment line, and the last
 * word of a path rule is the rest of the line (a path may hold blanks; a newline in it is written
 * \n, a backslash \\). The first line is the version, the last line is `end`: a policy that was
 * cut off is not a policy.
 *
 *     hotcalls-policy 1
 *     call default ACTION                every system call that has no line of its own
 *     call NAME ACTION                   NAME as in `hotcalls syscalls`
 *     path read default ACTION           paths that no prefix covers
 *     path read ACTION /PREFIX           the longest prefix of whole components wins
 *     path write default ACTION
 *     path write ACTION /PREFIX          creating, removing, renaming, changing count as writing
 *     address KIND default ACTION        KIND: connect, bind or send (sendto, sendmsg with a name)
 *     address KIND ACTION inet A.B.C.D/BITS FIRST-LAST      the first line that fits wins
 *     address KIND ACTION inet6 A::B/BITS FIRST-LAST
 *     address KIND ACTION other FAMILY                      AF_ number in decimal: netlink is 16
 *     total KIND BYTES ERRNO             KIND: ip-in, ip-out, io-read or io-write (run_total.h)
 *     only path /PREFIX                  the total above is of such files alone
 *     only inet A.B.C.D/BITS FIRST-LAST  of such peers alone; several such lines are one total
 *     only inet6 A::B/BITS FIRST-LAST
 *     ask NAME ERRNO                     the hook is asked as well (run_ask.h); ERRNO if it is silent
 *     end
 *
 * ACTION is `allow` or `refuse ERRNO` with the number in decimal (`refuse 13`). Without a default
 * line the default is `allow`. A unix socket with a path is judged by the path rules: connect and
 * send as writing, bind as writing; an abstract one as `other 1`. `path` rules are asked with the
 * name of the object that was really opened (symbolic links followed, `..` gone), never with the
 * string that the program passed; the program's own directory in /proc is called /proc/self.
 *
 * Lines that go to the log descriptor (each one write, each once per distinct use):
 *
 *     refused call NAME errno=N
 *     refused path read|write NAME errno=N /PATH
 *     refused address KIND NAME errno=N inet 1.2.3.4 80 | inet6 ::1 80 | other FAMILY
 *     refused total KIND NAME errno=N BYTES [/PREFIX]
 *     raced total NAME                   each total is of everything from now on (run_total.c)
 *     refused hook NAME errno=N [WHAT WAS ASKED | WHY THERE WAS NO ANSWER]
 *     unsupported call NUMBER NAME errno=38
 *
 * With learning on, the same with `used` in front and without an errno, for what was allowed:
 *
 *     used call NAME
 *     used path read|write NAME /PATH
 *     used address KIND NAME inet 1.2.3.4 80
 *     used total KIND BYTES              when the program has ended
 *
 * Characters below 0x20, 0x7f and backslash are escaped in paths as \xHH. A table of distinct uses
 * holds RUN_POLICY_SEEN entries; when it is full, uses are logged although they may have been seen.
 *
 * Tracing: one line per call to the trace descriptor, as strace prints it, made by H:
 *
 *     [TID] SECONDS.MICROS NAME(ARGUMENTS) = RESULT [ERRNO-NAME] <SECONDS>
 */
#ifndef HOTCALLS_RUN_POLICY_H
#define HOTCALLS_RUN_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define RUN_POLICY_VERSION 1
#define RUN_POLICY_SIZE_MAX (4u * 1024u * 1024u)
#define RUN_POLICY_SEEN 4096u

/* IPv4 or IPv6 addresses with ports, or another family. */
struct run_address_rule {
    int family;
    uint8_t bits;
    uint8_t address[16];
    uint16_t first, last;
    int refuse;
};

bool run_policy_address_fits(const struct run_address_rule *rule, const struct sockaddr *address,
                             socklen_t size);
/* Are there rules of addresses, or is somebody learning or asked? */
bool run_policy_has_addresses(void);
/*
 * Before it is judged, where it is to be reached: no address at all, 0.0.0.0 or ::, is this machine,
 * and becomes 127.0.0.1 or ::1, so that rules about these hold and nothing else is reached.
 */
void run_policy_settle(struct sockaddr *address, socklen_t size);
/* Is `path`, as the kernel names it, `prefix` or below it? */
bool run_policy_covers(const char *prefix, const char *path);

enum run_path_use { RUN_PATH_READ, RUN_PATH_WRITE, RUN_PATH_USES };
enum run_address_use { RUN_CONNECT, RUN_BIND, RUN_SEND, RUN_ADDRESS_USES };

/*
 * Reads the text from `fd` until its end. Returns 0, or the status to exit with (3: the policy is
 * wrong, 125: there is no memory for it) and writes what is wrong, with the number of the line, to
 * `error`.
 */
int run_policy_read(int fd, char *error, size_t error_size);

/* Where `refused`, `used` and `unsupported` lines go; -1: nowhere. */
void run_policy_log_to(int fd, bool learn);

/* What holds for a row: 0, for nothing to be looked at, or some of these. */
#define RUN_RULE_ERRNO 0xffffu    /* it is refused */
#define RUN_RULE_LEARN (1u << 16) /* each use is logged */
#define RUN_RULE_TOTAL (1u << 17) /* its bytes are counted: run_total_perform */
#define RUN_RULE_ASK (1u << 18)   /* the hook is asked: run_ask.h */
uint32_t run_policy_rule(uint32_t row);
/* The policy has been read, and the log is known: from now on rules stay. */
void run_policy_ready(void);

/* Each returns 0, or the errno that the program gets. `row` is an index into the table of calls. */
int run_policy_call(uint32_t row);
int run_policy_path(uint32_t row, enum run_path_use use, const char *path);
int run_policy_address(uint32_t row, enum run_address_use use, const struct sockaddr *address,
                       socklen_t size);

/* Logs that a total is used up, that the hook refused; return `refuse`. */
int run_policy_total_reached(uint32_t row, const char *kind, uint64_t most, const char *prefix,
                             int refuse);
/* Of a file with this name in another mount namespace, about which no rule speaks: EACCES. */
int run_policy_path_elsewhere(uint32_t row, const char *path);
int run_policy_hook_refused(uint32_t row, int refuse, const char *detail);
/* A descriptor was another one in the middle of a call: totals hold for everything now. */
void run_policy_say_raced(uint32_t row);
void run_policy_say_total(const char *kind, uint64_t bytes);

/* A call that the table does not have, once in the log by number and name. */
void run_policy_unsupported(long number);

/* Are there rules of paths, or is somebody learning them? Without, names need no second look. */
bool run_policy_has_paths(void);
/* Can a name be refused? Who only learns refuses none. */
bool run_policy_judges_names(void);

#endif /* HOTCALLS_RUN_POLICY_H */
