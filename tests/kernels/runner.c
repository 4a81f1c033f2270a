/* Runs kernels on cases read from cases.bin and writes what they did to memory, and their ticks, to results.bin.
 * Which kernels there are stands in under_test.inc: rows of kernels.inc that this build has the ISA for. */
#include <string.h>

#include "counter.h"
#include "edgeopt_kernels.h"
#include "semihosting.h"

typedef struct {
    uint32_t kernel, x_at, b_at, c_at, y_at, scratch_at, arena_bytes, packed_bytes, table_bytes, n, rows, with_add;
    eo_window window;
    eo_add add;
    eo_linear linear;
    eo_norm norm;
    eo_attention attention;
    eo_copy copy;
} run_case;

static uint32_t arena[1 << 14], packed[1 << 15], table[256];

typedef void generic_fn(void);
#define AT(offset) ((void *)((uint8_t *)arena + (offset)))

static void call_s8_conv2d(generic_fn *f, const run_case *c) {
    ((eo_s8_conv2d_fn *)f)(&c->window, AT(c->x_at), packed, c->with_add ? &c->add : NULL, AT(c->y_at),
                           AT(c->scratch_at));
}
static void call_s8_depthwise_conv2d(generic_fn *f, const run_case *c) {
    ((eo_s8_depthwise_conv2d_fn *)f)(&c->window, AT(c->x_at), packed, AT(c->y_at), AT(c->scratch_at));
}
static void call_s8_linear(generic_fn *f, const run_case *c) {
    ((eo_s8_linear_fn *)f)(&c->linear, AT(c->x_at), packed, AT(c->y_at));
}
static void call_w4_conv2d(generic_fn *f, const run_case *c) {
    ((eo_w4_conv2d_fn *)f)(&c->window, AT(c->x_at), packed, table, c->with_add ? &c->add : NULL, AT(c->y_at),
                           AT(c->scratch_at));
}
static void call_w4_linear(generic_fn *f, const run_case *c) {
    ((eo_w4_linear_fn *)f)(&c->linear, AT(c->x_at), packed, table, AT(c->y_at));
}
static void call_s8_add(generic_fn *f, const run_case *c) {
    ((eo_s8_add_fn *)f)(&c->add, AT(c->x_at), AT(c->b_at), AT(c->y_at), c->n);
}
static void call_s8_avg_pool2d(generic_fn *f, const run_case *c) {
    ((eo_s8_avg_pool2d_fn *)f)(&c->window, AT(c->x_at), (const eo_requant *)(const void *)packed, AT(c->y_at));
}
static void call_s8_max_pool2d(generic_fn *f, const run_case *c) {
    ((eo_s8_max_pool2d_fn *)f)(&c->window, AT(c->x_at), AT(c->y_at));
}
static void call_s8_softmax(generic_fn *f, const run_case *c) {
    ((eo_s8_softmax_fn *)f)(AT(c->x_at), (const uint16_t *)(const void *)packed, AT(c->y_at), c->rows, c->n);
}
static void call_s8_table(generic_fn *f, const run_case *c) {
    ((eo_s8_table_fn *)f)(AT(c->x_at), (const int8_t *)(const void *)packed, AT(c->y_at), c->n);
}
static void call_s8_matmul(generic_fn *f, const run_case *c) {
    ((eo_s8_matmul_fn *)f)(&c->attention.scores, AT(c->x_at), AT(c->b_at), AT(c->y_at), AT(c->scratch_at));
}
static void call_s8_attention(generic_fn *f, const run_case *c) {
    ((eo_s8_attention_fn *)f)(&c->attention, AT(c->x_at), AT(c->b_at), AT(c->c_at),
                              (const uint16_t *)(const void *)packed, AT(c->y_at), AT(c->scratch_at));
}
static void call_s8_norm(generic_fn *f, const run_case *c) {
    ((eo_s8_norm_fn *)f)(&c->norm, AT(c->x_at), (const int32_t *)packed, AT(c->y_at), c->rows);
}
static void call_s8_copy(generic_fn *f, const run_case *c) { ((eo_s8_copy_fn *)f)(&c->copy, AT(c->x_at), AT(c->y_at)); }
static void call_b1_conv2d(generic_fn *f, const run_case *c) {
    ((eo_b1_conv2d_fn *)f)(&c->window, AT(c->x_at), packed, (int)c->n, AT(c->y_at), AT(c->scratch_at));
}
static void call_b1_sign(generic_fn *f, const run_case *c) {
    ((eo_b1_sign_fn *)f)(AT(c->x_at), packed, AT(c->y_at), c->rows, c->n);
}
static void call_b1_max_pool2d(generic_fn *f, const run_case *c) {
    ((eo_b1_max_pool2d_fn *)f)(&c->window, AT(c->x_at), AT(c->y_at));
}

/* Called as those are whose scales are any. */
#define call_s8pow2_conv2d call_s8_conv2d
#define call_s8pow2_depthwise_conv2d call_s8_depthwise_conv2d
#define call_s8pow2_linear call_s8_linear

#define EO_KERNEL(dtype, op, isa) {call_##dtype##_##op, (generic_fn *)eo_##dtype##_##op##__##isa},
static const struct {
    void (*call)(generic_fn *, const run_case *);
    generic_fn *kernel;
} kernels[] = {
#include "under_test.inc"
};

int main(void) {
    const int cases = semihosting_open("cases.bin", FILE_READ), results = semihosting_open("results.bin", FILE_WRITE);
    run_case c;
    while (semihosting_read(cases, &c, sizeof c) == sizeof c) {
        if (c.arena_bytes > sizeof arena || c.packed_bytes > sizeof packed || c.table_bytes > sizeof table)
            return 2;
        semihosting_read(cases, packed, c.packed_bytes);
        semihosting_read(cases, table, c.table_bytes);
        semihosting_read(cases, arena, c.arena_bytes);
        const uint64_t start = counter_ticks();
        kernels[c.kernel].call(kernels[c.kernel].kernel, &c);
        const uint64_t ticks = counter_ticks() - start;
        semihosting_write(results, &ticks, sizeof ticks);
        semihosting_write(results, arena, c.arena_bytes);
    }
    return 0;
}
