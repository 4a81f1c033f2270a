/* Reset and exceptions of the emulated boards: no vendor code, the symbols come from firmware.ld. */
#include <stdint.h>

#include "counter.h"
#include "semihosting.h"

extern uint32_t __stack_top, __stack_limit, __data_load, __data_start, __data_end, __bss_start, __bss_end;
int main(void);

#define CPACR (*(volatile uint32_t *)0xE000ED88)
#define CCR (*(volatile uint32_t *)0xE000ED14)

static void paint_stack(void) {
    volatile uint32_t *top = (volatile uint32_t *)__builtin_frame_address(0) - 16;
    for (volatile uint32_t *p = &__stack_limit; p < top; p++)
        *p = STACK_PAINT;
}

__attribute__((noreturn)) void reset_handler(void) {
#if !defined(__ARM_ARCH_6M__)
    CPACR |= 0xFU << 20; /* FPU and MVE */
    CCR |= 1U << 18;     /* low-overhead-branch cache, ignored where there is none */
    __asm volatile("dsb\n isb");
#endif
    for (uint32_t *from = &__data_load, *to = &__data_start; to < &__data_end;)
        *to++ = *from++;
    for (uint32_t *p = &__bss_start; p < &__bss_end;)
        *p++ = 0;
    paint_stack();
    counter_start();
    semihosting_exit(main());
}

__attribute__((noreturn)) static void fault_handler(void) {
    semihosting_print("fault\n");
    semihosting_exit(99);
}

__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {
    [0] = (void (*)(void))&__stack_top,
    [1] = reset_handler,
    [2] = fault_handler,
    [3] = fault_handler,
    [4] = fault_handler,
    [5] = fault_handler,
    [6] = fault_handler,
    [7] = fault_handler,
    [11] = fault_handler,
    [12] = fault_handler,
    [14] = fault_handler,
    [15] = counter_overflow,
};
