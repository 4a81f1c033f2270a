/* The operator edgeopt.BinaryLinear of OpenVINO: edgeopt::binary_linear with what follows it. */
#pragma once

#include "../common/binary_layer.h"

namespace edgeopt {

/* Inputs are those of a binary layer: x [.., inputs], x_bits [.., words], weight [panels, words, 16], residual
 * and the result [.., outputs]. */
class BinaryLinearOperator : public BinaryLayer<BinaryLinearOperator> {
public:
    OPENVINO_OP("BinaryLinear", "edgeopt");

    BinaryLinearOperator() = default;

    void validate_and_infer_types() override;
    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override;
};

}  // namespace edgeopt
