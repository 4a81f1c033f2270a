/* The operator edgeopt.BinaryConv2d of OpenVINO: edgeopt::binary_conv2d with what follows it. */
#pragma once

#include <vector>

#include "../common/binary_layer.h"

namespace edgeopt {

/* Inputs are those of a binary layer: x [batch, inputs, height, width], x_bits [batch, words, height, width], weight
 * [outputs, rows, columns, words], residual and the result [batch, outputs, ..]. Taps outside the image add nothing. */
class BinaryConv2d : public BinaryLayer<BinaryConv2d> {
public:
    OPENVINO_OP("BinaryConv2d", "edgeopt");

    BinaryConv2d() = default;

    void validate_and_infer_types() override;
    bool visit_attributes(ov::AttributeVisitor& visitor) override;
    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override;

private:
    std::vector<int64_t> m_kernel, m_strides, m_padding, m_dilations; /* rows, columns */
};

}  // namespace edgeopt
