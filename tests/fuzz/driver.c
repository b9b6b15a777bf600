/* SPDX-License-Identifier: Apache-2.0 */
/*
 * driver.c -- runs a target once over each file that is named, or that lies in a folder that is
 * named. In place of libFuzzer, where that is missing or lines are counted.
 */
#include "fuzz.h"

#include <dirent.h>

/* kernel.h, which some targets include before everything else, has one that finds nothing. */
#undef opendir

static int run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return 1;
    uint8_t *all = malloc(1u << 20);
    size_t size = all != NULL ? fread(all, 1, 1u << 20, file) : 0;
    (void)fclose(file);
    /* As large as the input is, so that AddressSanitizer sees what reads past it. */
    uint8_t *exact = malloc(size);
    if (all == NULL || exact == NULL)
        return 1;
    memcpy(exact, all, size);
    free(all);
    (void)LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    return 0;
}

int main(int argc, char **argv)
{
    long count = 0;
    for (int i = 1; i < argc; i++) {
        DIR *folder = opendir(argv[i]);
        if (folder == NULL) {
            if (run_file(argv[i]) != 0) {
                perror(argv[i]);
                return 2;
            }
            count++;
            continue;
        }
        for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
            char path[4096];
            if (entry->d_name[0] == '.')
                continue;
            (void)snprintf(path, sizeof path, "%s/%s", argv[i], entry->d_name);
            if (run_file(path) != 0) {
                perror(path);
                return 2;
            }
            count++;
        }
        (void)closedir(folder);
    }
    printf("stat::number_of_executed_units: %ld\n", count);
    return 0;
}
