/* The operator edgeopt.HybridAttention of OpenVINO: what edgeopt::hybrid_attention is there, whole. */
#pragma once

#include <string>

#include "openvino/op/op.hpp"

namespace edgeopt {

/* Inputs are query, key and value [batch, heads, tokens, channels], gate [heads, 1, 1], and what else `roles` names, in
 * its order: query_weight, query_bias, key_weight, key_bias, as edgeopt.ops.hybrid_attention describes them.
 * `tokens_first` names which of query, key, value and out are [batch, tokens, heads, channels]. */
class HybridAttention : public ov::op::Op {
public:
    OPENVINO_OP("HybridAttention", "edgeopt");

    HybridAttention() = default;

    void validate_and_infer_types() override;
    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override;
    bool visit_attributes(ov::AttributeVisitor& visitor) override;
    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override;
    bool has_evaluate() const override { return true; }

private:
    std::string m_feature_map = "relu";
    std::string m_roles = "query,key,value,gate";
    std::string m_tokens_first;
    int64_t m_window = 1;
    int64_t m_causal = 0;
    float m_scale = 1.0f;
};

}  // namespace edgeopt
