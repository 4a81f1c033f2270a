/* Four values at a time in 32-bit lanes. */
#include <arm_mve.h>

#include "edgeopt_kernels.h"

void eo_s8_add__mve(const eo_add *p, const int8_t *a, const int8_t *b, int8_t *y, size_t n) {
    const int32x4_t low = vdupq_n_s32(p->act_min), high = vdupq_n_s32(p->act_max);
    const int32x4_t offset = vdupq_n_s32(p->offset);
    const int32_t mul_a = p->mul_a, mul_b = p->mul_b, shift = -p->shift;
    for (int32_t left = (int32_t)n; left > 0; left -= 4, a += 4, b += 4, y += 4) {
        const mve_pred16_t lanes = vctp32q((uint32_t)left);
        int32x4_t sum = vmlaq_n_s32(offset, vldrbq_z_s32(a, lanes), mul_a);
        sum = vmlaq_n_s32(sum, vldrbq_z_s32(b, lanes), mul_b);
        sum = vminq_s32(vmaxq_s32(vshlq_r_s32(sum, shift), low), high);
        vstrbq_p_s32(y, sum, lanes);
    }
}
