/* The operator edgeopt.LinearAttention of OpenVINO: what edgeopt::linear_attention is there, whole. */
#pragma once

#include <string>
#include <vector>

#include "../common/operator.h"

namespace edgeopt {

/* Inputs are query, key and value [batch, heads, tokens, channels] and what else `roles` names, in its order: one of
 * query_weight, query_bias, key_weight, key_bias, depthwise, depthwise_bias each, as edgeopt.ops.linear_attention
 * describes them. `tokens_first` names which of query, key, value and out are [batch, tokens, heads, channels]. */
class LinearAttention : public Operator<LinearAttention> {
public:
    OPENVINO_OP("LinearAttention", "edgeopt");

    LinearAttention() = default;

    void validate_and_infer_types() override;
    bool visit_attributes(ov::AttributeVisitor& visitor) override;
    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override;

private:
    std::string m_feature_map = "relu";
    std::string m_roles = "query,key,value";
    std::string m_tokens_first;
    std::vector<int64_t> m_grid;
    int64_t m_causal = 0;
    float m_epsilon = 0.0f;
};

}  // namespace edgeopt
