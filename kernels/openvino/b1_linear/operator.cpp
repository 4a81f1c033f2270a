#include "operator.h"

#include <algorithm>

#include "../common/isa.h"
#include "../common/memory.h"
#include "../common/parallel.h"
#include "kernel.h"

namespace edgeopt {
namespace {

/* Rows whose bits stay near while the weights pass by. */
constexpr int64_t rows_a_task = 48;

}  // namespace

void BinaryLinearOperator::validate_and_infer_types() {
    find_roles();
    ov::PartialShape shape = get_input_partial_shape(0);
    if (shape.rank().is_static())
        shape[shape.size() - 1] = out_channels();
    set_output_type(0, out_type(), shape);
}

bool BinaryLinearOperator::evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const {
    ov::Shape shape = inputs[0].get_shape();
    const int64_t in_words = words(m_inputs), out_words = words(m_outputs);
    const int64_t rows = ov::shape_size(ov::Shape(shape.begin(), shape.end() - 1));
    shape.back() = out_channels();
    outputs[0].set_shape(shape);
    const BinaryLinear layer{m_inputs,
                             in_words,
                             m_outputs,
                             static_cast<const int32_t*>(inputs[m_weight].data()),
                             floats(inputs, m_scale),
                             floats(inputs, m_bias),
                             m_follows,
                             floats(inputs, m_residual),
                             floats(inputs, m_high),
                             floats(inputs, m_low)};
    const float *x = floats(inputs, m_x), *shift = floats(inputs, m_shift);
    const int32_t* x_bits = m_x < 0 ? static_cast<const int32_t*>(inputs[m_x_bits].data()) : nullptr;
    float* out = gives_bits() ? nullptr : static_cast<float*>(outputs[0].data());
    int32_t* out_bits = gives_bits() ? static_cast<int32_t*>(outputs[0].data()) : nullptr;
    const BinaryLinearKernels& kernels = EDGEOPT_KERNELS(b1_linear);
    parallel_for((rows + rows_a_task - 1) / rows_a_task, [&](int64_t task) {
        const int64_t first = task * rows_a_task, here = std::min(rows_a_task, rows - first);
        static thread_local std::vector<float> memory;
        const int32_t* bits = nullptr;
        if (x == nullptr) {
            bits = x_bits + first * in_words;
        } else {
            int32_t* packed = as_words(aligned(memory, rows_a_task * in_words));
            kernels.pack(x + first * m_inputs, shift, here, m_inputs, in_words, packed);
            bits = packed;
        }
        BinaryLinear part = layer;
        if (layer.residual != nullptr)
            part.residual += first * m_outputs;
        if (out != nullptr)
            kernels.run(part, bits, here, out + first * m_outputs, nullptr);
        else
            kernels.run(part, bits, here, nullptr, out_bits + first * out_words);
    });
    return true;
}

}  // namespace edgeopt
