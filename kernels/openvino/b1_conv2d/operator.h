/* The operator edgeopt.BinaryConv2d of OpenVINO: edgeopt::binary_conv2d. */
#pragma once

#include <vector>

#include "openvino/op/op.hpp"

namespace edgeopt {

/* Inputs are x [batch, channels, height, width], shift [channels], weight int32 [panels, taps * words, 16], and scale
 * and bias [outputs]; the result is [batch, outputs, height, width]. Taps outside the image add nothing. */
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
    int64_t m_outputs = 0;
    std::vector<int64_t> m_kernel, m_strides, m_padding, m_dilations; /* rows, columns */
};

}  // namespace edgeopt
