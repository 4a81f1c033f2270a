/* The operator snake.Snake of OpenVINO: y = x + sin(a x)^2 / a, with a frequency a for each channel. */
#include <cmath>

#include "common/operator.h"
#include "common/parallel.h"
#include "openvino/core/extension.hpp"
#include "openvino/core/op_extension.hpp"
#include "openvino/frontend/onnx/extension/op.hpp"

/* Inputs are x [.., channels] and frequency [channels], float32. */
class Snake : public edgeopt::Operator<Snake> {
public:
    OPENVINO_OP("Snake", "snake");

    void validate_and_infer_types() override { set_output_type(0, ov::element::f32, get_input_partial_shape(0)); }

    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
        const float *x = inputs[0].data<const float>(), *frequency = inputs[1].data<const float>();
        const int64_t channels = static_cast<int64_t>(inputs[1].get_size());
        const int64_t rows = channels ? static_cast<int64_t>(inputs[0].get_size()) / channels : 0;
        outputs[0].set_shape(inputs[0].get_shape());
        float* y = outputs[0].data<float>();
        edgeopt::parallel_for(rows, [&](int64_t row) {
            for (int64_t c = 0, i = row * channels; c < channels; c++, i++) {
                const float wave = std::sin(frequency[c] * x[i]);
                y[i] = x[i] + wave * wave / frequency[c];
            }
        });
        return true;
    }
};

OPENVINO_CREATE_EXTENSIONS(std::vector<ov::Extension::Ptr>({
    std::make_shared<ov::OpExtension<Snake>>(),
    std::make_shared<ov::frontend::onnx::OpExtension<Snake>>("Snake", "snake"),
}));
