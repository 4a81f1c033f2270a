/* The emulated board's services on a development machine: files by stdio, ticks of a nanosecond. */
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "counter.h"
#include "semihosting.h"

static FILE *files[8];

int semihosting_open(const char *name, int mode) {
    for (int i = 0; i < 8; i++)
        if (!files[i])
            return (files[i] = fopen(name, mode == FILE_READ ? "rb" : "wb")) ? i : -1;
    return -1;
}

size_t semihosting_read(int file, void *data, size_t bytes) { return fread(data, 1, bytes, files[file]); }

void semihosting_write(int file, const void *data, size_t bytes) {
    if (fwrite(data, 1, bytes, files[file]) != bytes)
        semihosting_exit(98);
}

void semihosting_print(const char *text) { (void)fputs(text, stderr); }

void semihosting_exit(int status) { exit(status); }

uint64_t counter_ticks(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

uint32_t stack_used(void) { return 0; }
