/* Four outputs at a time: a byte of codes brings the pair of weights that one SMLAD takes.
 *
 * Packed: for each 4 outputs (the last block is filled with zeros)
 *   int32 bias[4]; for each 4 inputs k0..k3: a byte of (k0,k2) of outputs 0..3, then of (k1,k3); int32 multiplier[4].
 * in_features is filled with codes of zero up to a multiple of 4. */
#include "../common/four_outputs_dsp.h"

/* clang-format off */
#define OUTPUT(pair, acc)               \
    "ldrb r8, [r1], #1              \n" \
    "ldr r8, [lr, r8, lsl #2]       \n" \
    "smlad " acc ", " pair ", r8, " acc " \n"
#define PAIR(pair) OUTPUT(pair, "r2") OUTPUT(pair, "r3") OUTPUT(pair, "r4") OUTPUT(pair, "r5")
#define QUAD                            \
    "ldr r6, [r0], #4               \n" \
    "sxtb16 r7, r6                  \n" \
    "sxtb16 r6, r6, ror #8          \n" \
    PAIR("r7") PAIR("r6")
#define QUAD_BYTES "108" /* of code */
EO_FOUR_OUTPUTS(all_outputs, "ldr lr, [sp, #64] \n", QUAD, QUAD_BYTES, "2")
/* clang-format on */

void eo_w4_linear__dsp(const eo_linear *p, const int8_t *x, const void *packed, const void *table, int8_t *y) {
    all_outputs(x, packed, y, x + (p->in_features + 3) / 4 * 4, p->out_zero, p->out_features, table);
    eo_clamp_span(y, p->out_features, p->act_min, p->act_max);
}
