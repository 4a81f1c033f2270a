/* Four outputs at a time; weights stay int8 in flash.
 *
 * Packed: for each 4 outputs (the last block is filled with zeros)
 *   int32 bias[4]; for each 4 inputs: int8[4] of outputs 0..3; int32 multiplier[4].
 * in_features is filled with zero weights up to a multiple of 4. */
#include "../common/four_outputs_dsp.h"

/* clang-format off */
#define OUTPUT(word, acc)                   \
    "sxtb16 r8, " word "                \n"\
    "smlad " acc ", r7, r8, " acc "     \n"\
    "sxtb16 " word ", " word ", ror #8  \n"\
    "smlad " acc ", r6, " word ", " acc " \n"
#define QUAD                                \
    "ldr r6, [r0], #4                   \n"\
    "ldm r1!, {r10-r12, lr}             \n"\
    "sxtb16 r7, r6                      \n"\
    "sxtb16 r6, r6, ror #8              \n"\
    OUTPUT("r10", "r2") OUTPUT("r11", "r3") OUTPUT("r12", "r4") OUTPUT("lr", "r5")
#define QUAD_BYTES "80" /* of code */
EO_FOUR_OUTPUTS(all_outputs, "", QUAD, QUAD_BYTES, "2")
/* clang-format on */

void eo_s8_linear__dsp(const eo_linear *p, const int8_t *x, const void *packed, int8_t *y) {
    all_outputs(x, packed, y, x + (p->in_features + 3) / 4 * 4, p->out_zero, p->out_features, NULL);
    eo_clamp_span(y, p->out_features, p->act_min, p->act_max);
}
