#include "operator.h"

#include <algorithm>
#include <map>
#include <sstream>

#include "../common/memory.h"
#include "../common/parallel.h"
#include "kernels.h"

namespace edgeopt {
namespace {

/* Rows whose bits stay near while the weights pass by. */
constexpr int64_t rows_a_task = 48;

const std::map<std::string, Activation> activations{
    {"none", Activation::none}, {"relu", Activation::relu}, {"gelu", Activation::gelu}};

bool names(const std::string& list, const std::string& wanted) {
    return ("," + list + ",").find("," + wanted + ",") != std::string::npos;
}

int64_t words(int64_t bits) {
    return (bits + 31) / 32;
}

}  // namespace

void BinaryLinearOperator::validate_and_infer_types() {
    OPENVINO_ASSERT(activations.count(m_activation), "edgeopt.BinaryLinear: no activation ", m_activation);
    ov::PartialShape shape = get_input_partial_shape(0);
    const bool bits = names(m_roles, "next_shift");
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
    std::map<std::string, const void*> found;
    std::istringstream roles(m_roles);
    std::string role;
    for (const auto& tensor : inputs)
        if (std::getline(roles, role, ','))
            found[role] = tensor.data();
    const auto floats = [&](const char* name) {
        const auto at = found.find(name);
        return at == found.end() ? nullptr : static_cast<const float*>(at->second);
    };
    ov::Shape shape = inputs[0].get_shape();
    const int64_t in_words = words(m_inputs), out_words = words(m_outputs);
    const int64_t rows = ov::shape_size(ov::Shape(shape.begin(), shape.end() - 1));
    shape.back() = floats("next_shift") != nullptr ? out_words : m_outputs;
    outputs[0].set_shape(shape);
    BinaryLinear layer{m_inputs, in_words, m_outputs, static_cast<const int32_t*>(found.at("weight")), floats("scale"),
                       floats("bias"), activations.at(m_activation), nullptr, floats("next_shift")};
    const BinaryLinearKernels& kernels = b1_linear_kernels();
    parallel_for((rows + rows_a_task - 1) / rows_a_task, [&, layer](int64_t task) {
        const int64_t first = task * rows_a_task, here = std::min(rows_a_task, rows - first);
        static thread_local std::vector<float> memory;
        const int32_t* bits;
        if (floats("x") != nullptr) {
            int32_t* packed = reinterpret_cast<int32_t*>(aligned(memory, rows_a_task * in_words));
            kernels.pack(floats("x") + first * m_inputs, floats("shift"), here, m_inputs, in_words, packed);
            bits = packed;
        } else {
            bits = static_cast<const int32_t*>(found.at("x_bits")) + first * in_words;
        }
        BinaryLinear part = layer;
        if (floats("residual") != nullptr)
            part.residual = floats("residual") + first * m_outputs;
        if (layer.next_shift != nullptr)
            kernels.run(part, bits, here, nullptr, static_cast<int32_t*>(outputs[0].data()) + first * out_words);
        else
            kernels.run(part, bits, here, static_cast<float*>(outputs[0].data()) + first * m_outputs, nullptr);
    });
    return true;
}

}  // namespace edgeopt
