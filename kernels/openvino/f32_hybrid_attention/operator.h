/* The operator edgeopt.HybridAttention of OpenVINO: what edgeopt::hybrid_attention is there, whole. */
#pragma once

#include <string>

#include "../common/operator.h"

namespace edgeopt {

/* Inputs are query, key and value [batch, heads, tokens, channels], gate [heads, 1, 1], and what else `roles` names, in
 * its order: query_weight, query_bias, key_weight, key_bias, as edgeopt.ops.hybrid_attention describes them.
 * `tokens_first` names which of query, key, value and out are [batch, tokens, heads, channels]. */
class HybridAttention : public Operator<HybridAttention> {
public:
    OPENVINO_OP("HybridAttention", "edgeopt");

    HybridAttention() = default;

    void validate_and_infer_types() override;
    bool visit_attributes(ov::AttributeVisitor& visitor) override;
    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override;

private:
    std::string m_feature_map = "relu";
    std::string m_roles = "query,key,value,gate";
    std::string m_tokens_first;
    int64_t m_window = 1;
    int64_t m_causal = 0;
    float m_scale = 1.0f;
};

}  // namespace edgeopt
