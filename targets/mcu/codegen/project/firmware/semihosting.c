#include "semihosting.h"

#include <string.h>

enum { SYS_OPEN = 0x01, SYS_WRITE0 = 0x04, SYS_WRITE = 0x05, SYS_READ = 0x06, SYS_EXIT_EXTENDED = 0x20 };

static uint32_t trap(uint32_t operation, const void *arguments) {
    register uint32_t r0 __asm("r0") = operation;
    register const void *r1 __asm("r1") = arguments;
    __asm volatile("bkpt #0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

int semihosting_open(const char *name, int mode) {
    const uint32_t arguments[3] = {(uint32_t)(uintptr_t)name, (uint32_t)mode, (uint32_t)strlen(name)};
    return (int)trap(SYS_OPEN, arguments);
}

size_t semihosting_read(int file, void *data, size_t bytes) {
    const uint32_t arguments[3] = {(uint32_t)file, (uint32_t)(uintptr_t)data, (uint32_t)bytes};
    return bytes - trap(SYS_READ, arguments);
}

void semihosting_write(int file, const void *data, size_t bytes) {
    const uint32_t arguments[3] = {(uint32_t)file, (uint32_t)(uintptr_t)data, (uint32_t)bytes};
    trap(SYS_WRITE, arguments);
}

void semihosting_print(const char *text) { trap(SYS_WRITE0, text); }

void semihosting_exit(int status) {
    const uint32_t arguments[2] = {0x20026 /* application exit */, (uint32_t)status};
    trap(SYS_EXIT_EXTENDED, arguments);
    for (;;)
        ;
}
