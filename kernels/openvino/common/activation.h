/* Functions that follow a layer, of one value or of a vector of them. */
#pragma once

#include <string>

#include "product.h"

namespace edgeopt {

enum class Activation { none, relu, gelu };

/* "none", "relu" or "gelu"; throws std::out_of_range for any other. */
Activation activation_of(const std::string& name);

float activated(Activation activation, float y);

template <class V>
typename V::Vector activated(Activation activation, typename V::Vector y) {
    if (activation == Activation::relu)
        return V::max(y, V::set(0.0f));
    return activation == Activation::gelu ? Rows<V>::gelu(y) : y;
}

}  // namespace edgeopt
