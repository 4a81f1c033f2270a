/* The host's files and exit status, reached through the debugger's trap (Arm semihosting, version 2). */
#ifndef SEMIHOSTING_H
#define SEMIHOSTING_H

#include <stddef.h>
#include <stdint.h>

enum { FILE_READ = 1, FILE_WRITE = 5 };

int semihosting_open(const char *name, int mode); /* -1: could not */
size_t semihosting_read(int file, void *data, size_t bytes);
void semihosting_write(int file, const void *data, size_t bytes);
void semihosting_print(const char *text);
__attribute__((noreturn)) void semihosting_exit(int status);

#endif
