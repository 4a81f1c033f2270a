#include "activation.h"

#include <cmath>
#include <map>

namespace edgeopt {

Activation activation_of(const std::string& name) {
    static const std::map<std::string, Activation> names{{"none", Activation::none},
                                                         {"relu", Activation::relu},
                                                         {"gelu", Activation::gelu}};
    return names.at(name);
}

float activated(Activation activation, float y) {
    if (activation == Activation::relu)
        return y > 0.0f ? y : 0.0f;
    if (activation == Activation::gelu)
        return 0.5f * y * (1.0f + std::erf(y * 0.70710678f));
    return y;
}

}  // namespace edgeopt
