/* The operator edgeopt.BinaryMatmul of OpenVINO: edgeopt::binary_matmul with the transposes beside it. */
#pragma once

#include <vector>

#include "../common/operator.h"

namespace edgeopt {

/* Inputs are a [.., n, k] and b [.., k, m], whose leading axes broadcast, the result is [.., n, m]; axis i of each is
 * axis order[i] of its tensor. The last axis of a tensor is k of a, k or m of b, and m of the result. */
class BinaryMatmul : public Operator<BinaryMatmul> {
public:
    OPENVINO_OP("BinaryMatmul", "edgeopt");

    BinaryMatmul() = default;

    void validate_and_infer_types() override;
    bool visit_attributes(ov::AttributeVisitor& visitor) override;
    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override;

private:
    ov::PartialShape product_shape(const ov::PartialShape& a, const ov::PartialShape& b) const;

    std::vector<int64_t> m_a_order, m_b_order, m_out_order;
    float m_a_shift = 0.0f, m_b_shift = 0.0f, m_scale = 1.0f;
    int64_t m_bits = 0; /* a is ones and zeros, no signs */
};

}  // namespace edgeopt
