/* Operators of the extension as OpenVINO calls them: attributes, types, then evaluate() on tensors that end where they
 * end. Every instruction set of the processor has to give what the scalar kernels give. */
#pragma once

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <string>

#include "../fuzz.h"
#include "openvino/core/attribute_visitor.hpp"
#include "openvino/op/op.hpp"
#include "openvino/op/parameter.hpp"

class Attributes : public ov::AttributeVisitor {
public:
    explicit Attributes(std::map<std::string, ov::Any> values) : m_values(std::move(values)) {}

    void on_adapter(const std::string& name, ov::ValueAccessor<void>& adapter) override {
        const auto found = m_values.find(name);
        if (found != m_values.end())
            adapter.set_as_any(found->second);
    }

private:
    std::map<std::string, ov::Any> m_values;
};

/* Inputs and, between commas, the role of each. */
struct Operands {
    ov::TensorVector tensors;
    std::string roles;

    void add(const std::string& role, ov::Tensor tensor) {
        roles += (roles.empty() ? "" : ",") + role;
        tensors.push_back(std::move(tensor));
    }
};

inline ov::Tensor tensor(const Floats& values, const ov::Shape& shape) {
    ov::Tensor made(ov::element::f32, shape);
    std::copy(values.begin(), values.end(), made.data<float>());
    return made;
}

inline ov::Tensor drawn(Random& random, const ov::Shape& shape) {
    return tensor(random.floats(ov::shape_size(shape)), shape);
}

inline ov::Tensor words_of(const Words& values, const ov::Shape& shape) {
    ov::Tensor made(ov::element::i32, shape);
    std::copy(values.begin(), values.end(), made.data<int32_t>());
    return made;
}

template <class Operator>
ov::Tensor evaluated(const ov::TensorVector& inputs, Attributes& attributes, const char* isa) {
    setenv("EDGEOPT_ISA", isa, 1);
    ov::OutputVector parameters;
    for (const ov::Tensor& input : inputs)
        parameters.push_back(
            std::make_shared<ov::op::v0::Parameter>(input.get_element_type(), input.get_shape())->output(0));
    const auto made = std::make_shared<Operator>();
    made->set_arguments(parameters);
    made->visit_attributes(attributes);
    made->validate_and_infer_types();
    ov::TensorVector outputs{ov::Tensor(made->get_output_element_type(0), ov::Shape{0})};
    check(made->evaluate(outputs, inputs), "it does not compute");
    check(outputs[0].get_shape() == made->get_output_partial_shape(0).to_shape(), "another shape than was inferred");
    return outputs[0];
}

/* Floats within `tolerance` of the largest, words alike. */
inline void check_alike(const ov::Tensor& want, const ov::Tensor& got, float tolerance, const char* what) {
    check(want.get_shape() == got.get_shape(), what);
    if (want.get_element_type() == ov::element::i32)
        return check(std::memcmp(want.data(), got.data(), want.get_byte_size()) == 0, what);
    const float *a = want.data<float>(), *b = got.data<float>();
    float largest = 0.0f;
    for (size_t i = 0; i < want.get_size(); i++)
        largest = std::max(largest, std::abs(a[i]));
    for (size_t i = 0; i < want.get_size(); i++)
        check(std::abs(a[i] - b[i]) <= tolerance * largest, what);
}

template <class Operator>
void check_operator(const ov::TensorVector& inputs, Attributes attributes, float tolerance, const char* what) {
    const ov::Tensor want = evaluated<Operator>(inputs, attributes, "scalar");
    for (const char* isa : {"avx2", ""})
        check_alike(want, evaluated<Operator>(inputs, attributes, isa), tolerance, what);
}

void fuzz_binary_conv2d(Random& random);
void fuzz_binary_linear(Random& random);
void fuzz_binary_matmul(Random& random);
void fuzz_hybrid_attention(Random& random);
void fuzz_linear_attention(Random& random);
