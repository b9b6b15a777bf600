/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scribble_run.c -- rewrites the channel of a `hotcalls run` that is running.
 *
 *     scribble_run CHANNEL host|program COUNT SEED
 *
 * CHANNEL is a file of the shared memory, as root finds it in /proc/PID/map_files. Fields of
 * fields.h are rewritten at random, COUNT times, with pauses: of those that the host process
 * writes, or of those that the program writes. Words, which end a channel soon, only by odd seeds.
 * Prints how many.
 */
#define CHECK_OWN_MAIN
#include <hotcalls/hotcalls.h>

#include "../c/check.h"

#include "fields.h"
#include "run_shared.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* The first slots are those that a server with few threads uses. */
#define SLOTS_ATTACKED 6u
#define WINDOW_ATTACKED 4096u
#define PLACES_MAX 100000u
#define BURST 8u
#define PAUSE_NS 200000

enum what { WORD, VALUE, DATA, HINT, PART };

struct place {
    size_t at;
    uint32_t width;
    enum what what;
};

static struct place g_places[PLACES_MAX];
static uint32_t g_place_count;

static void add(size_t at, size_t size, enum what what)
{
    uint32_t width = size % 8u == 0 ? 8u : 4u;
    if (what == PART)
        return;
    for (size_t i = 0; i < size / width; i++) {
        CHECK(g_place_count < PLACES_MAX);
        g_places[g_place_count++] = (struct place){at + i * width, width, what};
    }
}

/* Several of a kind, so that a small one is met as often as a large one. */
static void often(size_t at, size_t size, enum what what, uint32_t times)
{
    for (uint32_t i = 0; i < times; i++)
        add(at, size, what);
}

#define AT(structure, member) (at + offsetof(struct structure, member))
#define SIZE(structure, member) sizeof(((struct structure *)NULL)->member)
#define ADD(structure, member, what) often(AT(structure, member), SIZE(structure, member), what, 1);
#define ADD_CELL(structure, member, what) \
    if (what != WORD || words)            \
        often(AT(structure, member), SIZE(structure, member), what, 20);

static void list(const struct hc_geometry *g, uint8_t *u_base, bool host, bool words)
{
    size_t at;
    uint32_t slots = g->slot_count < SLOTS_ATTACKED ? g->slot_count : SLOTS_ATTACKED;
    for (uint32_t slot = 0; slot < slots; slot++) {
        for (uint32_t cell = 0; cell < g->cell_count; cell++) {
            at = (size_t)((uint8_t *)&hc_u_lane(u_base, g, slot, HC_LANE_FORWARD)[cell] - u_base);
            CELL_FIELDS(ADD_CELL)
        }
        add((size_t)(hc_u_window(u_base, g, slot, HC_LANE_FORWARD) - u_base), WINDOW_ATTACKED,
            DATA);
        at = (size_t)((uint8_t *)hc_u_slot(u_base, g, slot) - u_base);
        CONTROL_FIELDS(ADD)
    }
    /* Of the boards the one of the side that is hostile. */
    size_t board = offsetof(struct hc_header, board) +
                   (host ? HC_HOST : HC_ENCLAVE) * sizeof(struct hc_side_board);
    at = board;
    BOARD_FIELDS(ADD)
    at = board + offsetof(struct hc_side_board, report);
    REPORT_FIELDS(ADD)
    at = offsetof(struct hc_header, geometry);
    GEOMETRY_FIELDS(ADD)
    at = (size_t)g->shared_at;
    RUN_FIELDS(ADD)
}

static uint64_t value_of(uint64_t *seed, uint64_t now)
{
    uint64_t random = check_random(seed);
    switch (random % 8u) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX;
    case 2:
        return now + 1u;
    case 3:
        return now - 1u;
    case 4:
        return now ^ (UINT64_C(1) << (random >> 8) % 64u);
    case 5:
        return RUN_WINDOW - 8u + (random >> 8) % 16u;
    case 6:
        return (random >> 8) % 64u;
    default:
        return check_random(seed);
    }
}

int main(int argc, char **argv)
{
    CHECK(argc == 5);
    bool host = strcmp(argv[2], "host") == 0;
    uint64_t count = strtoull(argv[3], NULL, 10), seed = strtoull(argv[4], NULL, 10);
    bool words = seed % 2u != 0;
    struct stat status;
    int fd = open(argv[1], O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0 && fstat(fd, &status) == 0);
    uint8_t *u_base = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(u_base != MAP_FAILED);
    const struct hc_geometry geometry = ((const struct hc_header *)(const void *)u_base)->geometry;
    CHECK(geometry.total_size == (uint64_t)status.st_size);
    list(&geometry, u_base, host, words);
    seed = seed * 2u + 1u;
    for (uint64_t i = 0; i < count; i++) {
        const struct place *place = &g_places[check_random(&seed) % g_place_count];
        uint64_t now = 0;
        memcpy(&now, u_base + place->at, place->width);
        uint64_t value = value_of(&seed, now);
        memcpy(u_base + place->at, &value, place->width);
        if (i % BURST == 0)
            (void)nanosleep(&(struct timespec){0, PAUSE_NS}, NULL);
    }
    (void)printf("rewrites=%" PRIu64 "\n", count);
    return 0;
}
