/* SysTick as a 64-bit count of processor clocks. Under QEMU -icount one instruction takes a fixed time, so that the
 * count is one of instructions. */
#ifndef COUNTER_H
#define COUNTER_H

#include <stdint.h>

#define STACK_PAINT 0xA5A5A5A5U

void counter_start(void);
void counter_overflow(void); /* the SysTick exception */
uint64_t counter_ticks(void);
uint32_t stack_used(void); /* bytes below the top of the stack that lost their paint */

#endif
