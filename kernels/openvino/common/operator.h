/* What OpenVINO asks of every operator of ours: to be copied with other inputs, and to say that it computes. */
#pragma once

#include <memory>

#include "openvino/op/op.hpp"

namespace edgeopt {

template <class Self>
class Operator : public ov::op::Op {
public:
    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override {
        auto copy = std::make_shared<Self>(static_cast<const Self&>(*this));
        copy->set_arguments(inputs);
        copy->validate_and_infer_types();
        return copy;
    }
    bool has_evaluate() const override { return true; }
};

}  // namespace edgeopt
