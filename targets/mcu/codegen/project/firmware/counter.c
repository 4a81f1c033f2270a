#include "counter.h"

#define SYST_CSR (*(volatile uint32_t *)0xE000E010)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018)
#define RELOAD 0xFFFFFFU

static volatile uint32_t overflows;

void counter_start(void) {
    overflows = 0;
    SYST_RVR = RELOAD;
    SYST_CVR = 0;
    SYST_CSR = 7; /* processor clock, exception on zero, on */
}

void counter_overflow(void) { overflows++; }

uint64_t counter_ticks(void) {
    uint32_t before, value;
    do {
        before = overflows;
        value = SYST_CVR;
    } while (before != overflows);
    return (uint64_t)before * (RELOAD + 1ULL) + (RELOAD - value);
}

uint32_t stack_used(void) {
    extern uint32_t __stack_top, __stack_limit;
    const uint32_t *p = &__stack_limit;
    while (p < &__stack_top && *p == STACK_PAINT)
        p++;
    return (uint32_t)((uintptr_t)&__stack_top - (uintptr_t)p);
}
