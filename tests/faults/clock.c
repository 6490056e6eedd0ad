/* The clock of one process, ahead of the machine's by as many nanoseconds as the file CLOCK_FILE holds, now.
 *
 * Only the time of day is moved, as when an administrator or NTP steps it; clocks that never go back are left alone.
 * Waits until a time of day are moved along when they begin. Times before 2001 are such of a clock that never goes back.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static int64_t at_rest;
static volatile int64_t *ahead = &at_rest;
static int (*machine_clock)(clockid_t, struct timespec *);
static int (*machine_wait)(cnd_t *restrict, mtx_t *restrict, const struct timespec *restrict);

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CLOCK_FILE");
    int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return;
    void *found = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (found != MAP_FAILED)
        ahead = found;
}

static struct timespec moved(struct timespec from, int64_t by) {
    int64_t all = from.tv_sec * SECOND + from.tv_nsec + by;
    return (struct timespec){.tv_sec = all / SECOND, .tv_nsec = all % SECOND};
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (machine_clock == NULL)
        machine_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int answer = machine_clock(clock, now);
    if (answer == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        *now = moved(*now, *ahead);
    return answer;
}

int timespec_get(struct timespec *now, int base) {
    return clock_gettime(CLOCK_REALTIME, now) == 0 ? base : 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec found;
    int answer = clock_gettime(CLOCK_REALTIME, &found);
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return answer;
}

time_t time(time_t *now) {
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    if (now != NULL)
        *now = found.tv_sec;
    return found.tv_sec;
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
    if (until->tv_sec < SECOND)
        return pthread_cond_clockwait(condition, mutex, CLOCK_MONOTONIC, until);
    struct timespec machine_until = moved(*until, -*ahead);
    return pthread_cond_clockwait(condition, mutex, CLOCK_REALTIME, &machine_until);
}

int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex, const struct timespec *restrict until) {
    if (machine_wait == NULL)
        machine_wait = (int (*)(cnd_t *, mtx_t *, const struct timespec *))dlsym(RTLD_NEXT, "cnd_timedwait");
    struct timespec machine_until = moved(*until, -*ahead);
    return machine_wait(condition, mutex, &machine_until);
}
