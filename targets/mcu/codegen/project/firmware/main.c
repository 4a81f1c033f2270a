/* Runs the network on every sample of inputs.bin, one after another; writes outputs.bin and report.bin.
 *
 * report.bin, 64-bit words: status, ticks of the first inference, stack bytes, 1 if the arena's guards are intact, bytes
 * of the arena up to the last one written, then the ticks of each layer when built with NETWORK_PROFILE. */
#include <string.h>

#include "counter.h"
#include "network.h"
#include "semihosting.h"

enum { GUARD_WORDS = 16, STATUS = 0, TICKS, STACK, GUARDS, ARENA, LAYERS };
#define GUARD_WORD 0xC0FFEE11U

static uint32_t memory[2 * GUARD_WORDS + (NETWORK_ARENA_BYTES + 3) / 4];
static uint64_t report[LAYERS + NETWORK_LAYERS];

static const uint32_t input_bytes[] = NETWORK_INPUT_BYTES, input_offsets[] = NETWORK_INPUT_OFFSETS;
static const uint32_t output_bytes[] = NETWORK_OUTPUT_BYTES, output_offsets[] = NETWORK_OUTPUT_OFFSETS;

#ifdef NETWORK_PROFILE
static uint64_t layer_start;
void network_layer_done(int layer) {
    report[LAYERS + layer] = counter_ticks() - layer_start;
    layer_start = counter_ticks();
}
#endif

static int guards_intact(void) {
    const uint32_t *end = memory + sizeof memory / sizeof *memory;
    for (int i = 0; i < GUARD_WORDS; i++)
        if (memory[i] != GUARD_WORD || end[-1 - i] != GUARD_WORD)
            return 0;
    return 1;
}

#ifdef NETWORK_STREAMED_ROW_BYTES
/* A streamed input lies outside the arena, as if it were still in the camera. */
static int8_t streamed[NETWORK_STREAMED_ROW_BYTES * NETWORK_STREAMED_ROWS];

static int read_rows(void *context, int8_t *to, uint32_t first, uint32_t count) {
    memcpy(to, (const int8_t *)context + first * NETWORK_STREAMED_ROW_BYTES, count * NETWORK_STREAMED_ROW_BYTES);
    return 0;
}
#endif

/* The arena is painted like its guards: up to the last word that is not a paint. */
static uint32_t arena_used(void) {
    uint32_t words = (NETWORK_ARENA_BYTES + 3) / 4;
    while (words > 0 && memory[GUARD_WORDS + words - 1] == GUARD_WORD)
        words--;
    return words * 4;
}

int main(void) {
    int8_t *const arena = (int8_t *)(memory + GUARD_WORDS);
    network_inputs in;
    network_outputs out;
    for (int i = 0; i < NETWORK_INPUTS; i++)
        in.data[i] = arena + input_offsets[i];
#ifdef NETWORK_STREAMED_ROW_BYTES
    in.data[0] = streamed;
    in.read = read_rows;
    in.context = streamed;
#endif
    for (int i = 0; i < NETWORK_OUTPUTS; i++)
        out.data[i] = arena + output_offsets[i];
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
        memory[i] = GUARD_WORD;

    const int inputs = semihosting_open("inputs.bin", FILE_READ), outputs = semihosting_open("outputs.bin", FILE_WRITE);
    for (int sample = 0;; sample++) {
        for (int i = 0; i < NETWORK_INPUTS; i++)
            if (semihosting_read(inputs, (int8_t *)(uintptr_t)in.data[i], input_bytes[i]) != input_bytes[i])
                goto end;
        const uint64_t start = counter_ticks();
#ifdef NETWORK_PROFILE
        layer_start = start;
#endif
        report[STATUS] = (uint64_t)network_run(&in, &out, arena);
        if (sample == 0)
            report[TICKS] = counter_ticks() - start;
        for (int i = 0; i < NETWORK_OUTPUTS; i++)
            semihosting_write(outputs, out.data[i], output_bytes[i]);
    }
end:
    report[STACK] = stack_used();
    report[ARENA] = arena_used();
    report[GUARDS] = (uint64_t)guards_intact();
    semihosting_write(semihosting_open("report.bin", FILE_WRITE), report, sizeof report);
    return 0;
}
