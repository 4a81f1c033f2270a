/* What the operators of attention share: tensors by role, and the sizes that the kernels want to know. */
#pragma once

#include <map>
#include <string>
#include <vector>

#include "kernel.h"
#include "openvino/op/op.hpp"

namespace edgeopt {

/* A tensor of four dimensions, its heads before its tokens or after them. */
struct Heads {
    float* data = nullptr;
    int64_t batch, heads, tokens, channels;
    bool tokens_first;

    Heads(const ov::Tensor& tensor, bool tokens_first)
        : data(const_cast<float*>(static_cast<const float*>(tensor.data()))), tokens_first(tokens_first) {
        const ov::Shape& shape = tensor.get_shape();
        batch = shape[0];
        heads = shape[tokens_first ? 2 : 1];
        tokens = shape[tokens_first ? 1 : 2];
        channels = shape[3];
    }

    int64_t stride() const { return tokens_first ? heads * channels : channels; }

    /* Head `index` of all in the batch, from a token on. */
    float* at(int64_t index, int64_t token) const {
        const int64_t before = tokens_first ? index / heads * tokens * heads + index % heads : index * tokens;
        return data + before * channels + token * stride();
    }
};

/* One call of an operator whose inputs are query, key, value and what else `roles` names, in its order;
 * `tokens_first` names which of query, key, value and out are [batch, tokens, heads, channels]. */
struct Call {
    Heads query, key, value, out;
    std::map<std::string, const ov::Tensor*> others;
    Head head;
    const LinearAttentionKernels& kernels;

    /* Gives the output its shape. */
    Call(ov::TensorVector& outputs, const ov::TensorVector& inputs, const std::string& roles,
         const std::string& tokens_first, const std::string& feature_map, float epsilon);

    int64_t heads() const { return query.batch * query.heads; }
    int64_t state() const { return (head.features * (head.values + 1) + 15) / 16 * 16; }
    int64_t scratch() const {
        return tokens_at_once * (3 * head.features + head.mapped + head.values + tokens_at_once);
    }

    const float* other(const std::string& role, int64_t offset = 0) const;
    Side side(const Heads& tokens, const std::string& role, int64_t index, int64_t first) const;
    /* The first rows of a head, which may not exist. */
    Coming coming(const Heads& rows, int64_t index) const;
};

/* Memory of the calling thread; what it held before is gone. */
float* attention_scratch(int64_t size);

/* Raises where the feature map is not known, or query and value have other than four dimensions. */
ov::PartialShape attention_shape(const ov::PartialShape& query, const ov::PartialShape& value,
                                 const std::string& tokens_first, const std::string& feature_map);

}  // namespace edgeopt
