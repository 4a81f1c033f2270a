/* What the operators of binary layers share: inputs by role, what follows the layer, and a result that may be bits. */
#pragma once

#include <string>

#include "activation.h"
#include "operator.h"
#include "roles.h"
#include "words.h"

namespace edgeopt {

/* Inputs are named by `roles`: x, or x_bits int32 whose channels are words, from a layer before; shift [inputs] beside
 * x; weight int32; scale and bias [outputs]; residual, of the result's shape, added after `activation` (none, relu or
 * gelu); high [outputs], with which the result is the bits of the layer that follows, int32 whose channels are words,
 * and beside it low [outputs]. */
template <class Self>
class BinaryLayer : public Operator<Self> {
public:
    bool visit_attributes(ov::AttributeVisitor& visitor) override {
        visitor.on_attribute("roles", m_roles);
        visitor.on_attribute("activation", m_activation);
        visitor.on_attribute("inputs", m_inputs);
        visitor.on_attribute("outputs", m_outputs);
        return true;
    }

protected:
    /* To be called as types are inferred, before anything below is read. */
    void find_roles() {
        m_follows = activation_of(m_activation);
        const std::pair<int&, const char*> places[] = {
            {m_x, "x"},       {m_x_bits, "x_bits"},     {m_shift, "shift"}, {m_weight, "weight"}, {m_scale, "scale"},
            {m_bias, "bias"}, {m_residual, "residual"}, {m_high, "high"},   {m_low, "low"}};
        for (const auto& [index, role] : places)
            index = place(m_roles, role);
    }

    bool gives_bits() const { return m_high >= 0; }
    ov::element::Type out_type() const { return gives_bits() ? ov::element::i32 : ov::element::f32; }
    /* Channels of the result: words where it is bits. */
    int64_t out_channels() const { return gives_bits() ? words(m_outputs) : m_outputs; }

    std::string m_roles = "x,shift,weight,scale,bias";
    std::string m_activation = "none";
    int64_t m_inputs = 0, m_outputs = 0;
    /* What follows, and which input has which role, -1 where none. */
    Activation m_follows = Activation::none;
    int m_x = -1, m_x_bits = -1, m_shift = -1, m_weight = -1, m_scale = -1, m_bias = -1, m_residual = -1, m_high = -1,
        m_low = -1;
};

/* The floats of the input at a place, null where it is -1. */
inline const float* floats(const ov::TensorVector& inputs, int place) {
    return place < 0 ? nullptr : static_cast<const float*>(inputs[place].data());
}

}  // namespace edgeopt
