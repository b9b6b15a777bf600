/* SPDX-License-Identifier: Apache-2.0 */
/* Where stacks are, as runtimes ask for it: the first thread's is found in /proc/self/maps. */
#include "say.h"

#include <pthread.h>

static void *look(void *name)
{
    pthread_attr_t attributes;
    void *low = NULL;
    size_t size = 0;
    char here;
    int error = pthread_getattr_np(pthread_self(), &attributes);
    if (error == 0)
        pthread_attr_getstack(&attributes, &low, &size);
    printf("%s %d inside %d\n", (const char *)name, error,
           (char *)&here > (char *)low && (char *)&here < (char *)low + size);
    return NULL;
}

int main(void)
{
    pthread_t thread;
    (void)look("main");
    pthread_create(&thread, NULL, look, "thread");
    SAY(pthread_join(thread, NULL));
    return 0;
}
