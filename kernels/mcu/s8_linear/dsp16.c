/* Four outputs at a time over int8 inputs that are widened once for the four.
 *
 * Packed: as s8_conv2d/dsp16, in_features filled with zero weights up to a multiple of 8. */
#include "../common/four_outputs_dsp.h"

/* clang-format off */
#define QUAD(widen)                     \
    "sxtb16 r8, " widen "           \n" \
    "ldm r1!, {r10-r12, lr}         \n" \
    "smlad r2, r8, r10, r2          \n" \
    "smlad r3, r8, r11, r3          \n" \
    "smlad r4, r8, r12, r4          \n" \
    "smlad r5, r8, lr, r5           \n"
#define EIGHT                           \
    "ldrd r6, r7, [r0], #8          \n" \
    QUAD("r6") QUAD("r6, ror #8") QUAD("r7") QUAD("r7, ror #8")
#define EIGHT_BYTES "100" /* of code */
EO_FOUR_OUTPUTS(all_outputs, "", EIGHT, EIGHT_BYTES, "3")
/* clang-format on */

void eo_s8_linear__dsp16(const eo_linear *p, const int8_t *x, const void *packed, int8_t *y) {
    all_outputs(x, packed, y, x + (p->in_features + 7) / 8 * 8, p->out_zero, p->out_features, NULL);
    eo_clamp_span(y, p->out_features, p->act_min, p->act_max);
}
