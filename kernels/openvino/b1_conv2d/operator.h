/* The operator edgeopt.BinaryConv2d of OpenVINO: edgeopt::binary_conv2d with what follows it. */
#pragma once

#include <string>
#include <vector>

#include "kernel.h"
#include "openvino/op/op.hpp"

namespace edgeopt {

/* Inputs are named by `roles`: x [batch, inputs, height, width], or x_bits int32 [batch, words, height, width] from a
 * layer before; shift [inputs] beside x; weight int32 [outputs, rows, columns, words]; scale and bias [outputs];
 * residual [batch, outputs, ..], added after `activation` (none, relu or gelu); high [outputs], with which the result is
 * the bits of the layer that follows, int32 [batch, words, ..], and beside it low [outputs]. Taps outside the image add
 * nothing. */
class BinaryConv2d : public ov::op::Op {
public:
    OPENVINO_OP("BinaryConv2d", "edgeopt");

    BinaryConv2d() = default;

    void validate_and_infer_types() override;
    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override;
    bool visit_attributes(ov::AttributeVisitor& visitor) override;
    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override;
    bool has_evaluate() const override { return true; }

private:
    std::string m_roles = "x,shift,weight,scale,bias";
    std::string m_activation = "none";
    int64_t m_inputs = 0, m_outputs = 0;
    std::vector<int64_t> m_kernel, m_strides, m_padding, m_dilations; /* rows, columns */
    /* Found as types are inferred: what follows, and which input has which role, -1 where none. */
    Activation m_follows = Activation::none;
    int m_x, m_x_bits, m_shift, m_weight, m_scale, m_bias, m_residual, m_high, m_low;
};

}  // namespace edgeopt
