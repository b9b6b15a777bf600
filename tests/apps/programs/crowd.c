/* SPDX-License-Identifier: Apache-2.0 */
/* More threads at once than an enclave has slots for: how many calls fail, then and afterwards. */
#include "say.h"

#include <fcntl.h>
#include <pthread.h>

#define THREADS 300

static pthread_barrier_t g_barrier;
static int g_null, g_refused;

static void *make_call(void *argument)
{
    if (write(g_null, "x", 1) != 1 && errno == EAGAIN)
        __atomic_add_fetch(&g_refused, 1, __ATOMIC_RELAXED);
    if (argument != NULL)
        pthread_barrier_wait(&g_barrier);
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    g_null = open("/dev/null", O_WRONLY);
    pthread_barrier_init(&g_barrier, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, make_call, &g_barrier);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    printf("%d ", g_refused);
    g_refused = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_create(&threads[0], NULL, make_call, NULL);
        pthread_join(threads[0], NULL);
    }
    printf("%d\n", g_refused);
    return 0;
}
