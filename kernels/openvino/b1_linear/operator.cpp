#include "operator.h"

#include <algorithm>

#include "../common/memory.h"
#include "../common/parallel.h"
#include "../common/roles.h"
#include "kernels.h"

namespace edgeopt {
namespace {

/* Rows whose bits stay near while the weights pass by. */
constexpr int64_t rows_a_task = 48;

int64_t words(int64_t bits) {
    return (bits + 31) / 32;
}

}  // namespace

void BinaryLinearOperator::validate_and_infer_types() {
    m_follows = activation_of(m_activation);
    const std::pair<int&, const char*> places[] = {
        {m_x, "x"},       {m_x_bits, "x_bits"},     {m_shift, "shift"}, {m_weight, "weight"}, {m_scale, "scale"},
        {m_bias, "bias"}, {m_residual, "residual"}, {m_high, "high"},   {m_low, "low"}};
    for (const auto& [index, role] : places)
        index = place(m_roles, role);
    ov::PartialShape shape = get_input_partial_shape(0);
    const bool bits = m_high >= 0;
    if (shape.rank().is_static())
        shape[shape.size() - 1] = bits ? words(m_outputs) : m_outputs;
    set_output_type(0, bits ? ov::element::i32 : ov::element::f32, shape);
}

std::shared_ptr<ov::Node> BinaryLinearOperator::clone_with_new_inputs(const ov::OutputVector& inputs) const {
    auto copy = std::make_shared<BinaryLinearOperator>(*this);
    copy->set_arguments(inputs);
    copy->validate_and_infer_types();
    return copy;
}

bool BinaryLinearOperator::visit_attributes(ov::AttributeVisitor& visitor) {
    visitor.on_attribute("roles", m_roles);
    visitor.on_attribute("activation", m_activation);
    visitor.on_attribute("inputs", m_inputs);
    visitor.on_attribute("outputs", m_outputs);
    return true;
}

bool BinaryLinearOperator::evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const {
    const auto floats = [&](int place) {
        return place < 0 ? nullptr : static_cast<const float*>(inputs[place].data());
    };
    ov::Shape shape = inputs[0].get_shape();
    const int64_t in_words = words(m_inputs), out_words = words(m_outputs);
    const int64_t rows = ov::shape_size(ov::Shape(shape.begin(), shape.end() - 1));
    shape.back() = m_high < 0 ? m_outputs : out_words;
    outputs[0].set_shape(shape);
    const BinaryLinear layer{m_inputs, in_words, m_outputs, static_cast<const int32_t*>(inputs[m_weight].data()),
                             floats(m_scale), floats(m_bias), m_follows, floats(m_residual), floats(m_high), floats(m_low)};
    const float *x = floats(m_x), *shift = floats(m_shift);
    const int32_t* x_bits = m_x < 0 ? static_cast<const int32_t*>(inputs[m_x_bits].data()) : nullptr;
    float* out = m_high < 0 ? static_cast<float*>(outputs[0].data()) : nullptr;
    int32_t* out_bits = m_high < 0 ? nullptr : static_cast<int32_t*>(outputs[0].data());
    const BinaryLinearKernels& kernels = b1_linear_kernels();
    parallel_for((rows + rows_a_task - 1) / rows_a_task, [&](int64_t task) {
        const int64_t first = task * rows_a_task, here = std::min(rows_a_task, rows - first);
        static thread_local std::vector<float> memory;
        const int32_t* bits = x_bits + first * in_words;
        if (x != nullptr) {
            int32_t* packed = reinterpret_cast<int32_t*>(aligned(memory, rows_a_task * in_words));
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
