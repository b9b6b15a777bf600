/* SPDX-License-Identifier: Apache-2.0 */
/*
 * victim.c - a library whose file the tests overwrite and truncate while it is loaded. Built twice,
 * with two values of VALUE, so that every kind of content (code, constant, data) tells which file
 * it comes from.
 */
int victim_code(void);
extern const int victim_constant;
extern long victim_counters[262144];

int victim_code(void)
{
    return VALUE;
}

const int victim_constant = VALUE;

/* Two megabytes, so that copying them takes long enough for threads to meet it.
 * The entry that tells lies on a page that nothing writes to while the library is loaded, unlike
 * the first one, which shares its page with relocations. */
long victim_counters[262144] = {[0] = 1, [2048] = VALUE};
