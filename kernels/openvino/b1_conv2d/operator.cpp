/* The words under the taps of some pixels are gathered as rows, which the binary linear multiplies. */
#include "operator.h"

#include <algorithm>

#include "../b1_linear/kernels.h"
#include "../common/memory.h"
#include "../common/parallel.h"

namespace edgeopt {
namespace {

constexpr int64_t pixels_a_task = 48;

/* Sizes of one call; of each pair the first is along rows. */
struct Window {
    int64_t channels, words, outputs, taps;
    int64_t in[2], out[2], kernel[2], stride[2], padding[2], dilation[2];

    int64_t in_pixels() const { return in[0] * in[1]; }
    int64_t out_pixels() const { return out[0] * out[1]; }

    /* The input pixel under a tap of an output pixel, or -1 outside the image. */
    int64_t pixel(int64_t at, int64_t tap) const {
        const int64_t y = at / out[1] * stride[0] - padding[0] + tap / kernel[1] * dilation[0];
        const int64_t x = at % out[1] * stride[1] - padding[1] + tap % kernel[1] * dilation[1];
        return y < 0 || y >= in[0] || x < 0 || x >= in[1] ? -1 : y * in[1] + x;
    }
};

/* What a tap of clear bits adds to each output: [taps, outputs]. */
std::vector<float> of_clear_taps(const Window& w, const int32_t* weight) {
    std::vector<float> sums(w.taps * w.outputs);
    for (int64_t tap = 0; tap < w.taps; tap++)
        for (int64_t n = 0; n < w.outputs; n++) {
            int64_t set = 0;
            for (int64_t word = tap * w.words; word < (tap + 1) * w.words; word++)
                set += __builtin_popcount(
                    weight[(n / panel_width * w.taps * w.words + word) * panel_width + n % panel_width]);
            sums[tap * w.outputs + n] = static_cast<float>(w.channels - 2 * set);
        }
    return sums;
}

}  // namespace

void BinaryConv2d::validate_and_infer_types() {
    ov::PartialShape shape = get_input_partial_shape(0);
    OPENVINO_ASSERT(shape.rank().is_static() && shape.size() == 4, "edgeopt.BinaryConv2d: x is ", shape);
    shape[1] = m_outputs;
    for (int i = 0; i < 2; i++)
        shape[2 + i] = shape[2 + i].is_dynamic() ? ov::Dimension::dynamic()
                                                 : ov::Dimension((shape[2 + i].get_length() + 2 * m_padding[i] -
                                                                  m_dilations[i] * (m_kernel[i] - 1) - 1) /
                                                                     m_strides[i] +
                                                                 1);
    set_output_type(0, ov::element::f32, shape);
}

std::shared_ptr<ov::Node> BinaryConv2d::clone_with_new_inputs(const ov::OutputVector& inputs) const {
    auto copy = std::make_shared<BinaryConv2d>(*this);
    copy->set_arguments(inputs);
    copy->validate_and_infer_types();
    return copy;
}

bool BinaryConv2d::visit_attributes(ov::AttributeVisitor& visitor) {
    visitor.on_attribute("outputs", m_outputs);
    visitor.on_attribute("kernel", m_kernel);
    visitor.on_attribute("strides", m_strides);
    visitor.on_attribute("padding", m_padding);
    visitor.on_attribute("dilations", m_dilations);
    return true;
}

bool BinaryConv2d::evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const {
    const ov::Shape shape = inputs[0].get_shape();
    const int64_t batch = shape[0], channels = shape[1];
    Window w{channels, (channels + 31) / 32, m_outputs, m_kernel[0] * m_kernel[1], {}, {}, {}, {}, {}, {}};
    for (int i = 0; i < 2; i++) {
        w.in[i] = shape[2 + i];
        w.kernel[i] = m_kernel[i];
        w.stride[i] = m_strides[i];
        w.padding[i] = m_padding[i];
        w.dilation[i] = m_dilations[i];
        w.out[i] = (w.in[i] + 2 * w.padding[i] - w.dilation[i] * (w.kernel[i] - 1) - 1) / w.stride[i] + 1;
    }
    outputs[0].set_shape({shape[0], size_t(m_outputs), size_t(w.out[0]), size_t(w.out[1])});
    const auto operand = [&](int index) { return static_cast<const float*>(inputs[index].data()); };
    const int32_t* weight = static_cast<const int32_t*>(inputs[2].data());
    const float *x = operand(0), *scale = operand(3), *bias = operand(4);
    float* out = static_cast<float*>(outputs[0].data());

    const BinaryLinearKernels& kernels = b1_linear_kernels();
    /* Signs as [batch, words, pixels]. */
    std::vector<int32_t> bits(batch * w.words * w.in_pixels());
    parallel_for(batch * w.words, [&](int64_t task) {
        const int64_t first = task % w.words * 32, count = std::min<int64_t>(32, channels - first);
        kernels.pack_planes(x + (task / w.words * channels + first) * w.in_pixels(), operand(1) + first,
                                        count, w.in_pixels(), bits.data() + task * w.in_pixels());
    });
    const std::vector<float> clear = of_clear_taps(w, weight);
    const std::vector<float> ones(m_outputs, 1.0f), zeros(m_outputs, 0.0f);
    const BinaryLinear layer{w.taps * channels, w.taps * w.words, m_outputs, weight, ones.data(), zeros.data(),
                             Activation::none, nullptr, nullptr, nullptr};
    const int64_t parts = (w.out_pixels() + pixels_a_task - 1) / pixels_a_task;
    parallel_for(batch * parts, [&](int64_t task) {
        const int64_t image = task / parts, first = task % parts * pixels_a_task;
        const int64_t here = std::min(pixels_a_task, w.out_pixels() - first);
        static thread_local std::vector<float> row_memory, sum_memory;
        int32_t* rows = reinterpret_cast<int32_t*>(aligned(row_memory, pixels_a_task * layer.words));
        float* sums = aligned(sum_memory, pixels_a_task * m_outputs);
        const int32_t* from = bits.data() + image * w.words * w.in_pixels();
        for (int64_t i = 0; i < here; i++)
            for (int64_t tap = 0; tap < w.taps; tap++) {
                const int64_t pixel = w.pixel(first + i, tap);
                for (int64_t word = 0; word < w.words; word++)
                    rows[i * layer.words + tap * w.words + word] = pixel < 0 ? 0 : from[word * w.in_pixels() + pixel];
            }
        kernels.run(layer, rows, here, sums, nullptr);
        for (int64_t i = 0; i < here; i++)
            for (int64_t tap = 0; tap < w.taps; tap++)
                if (w.pixel(first + i, tap) < 0)
                    for (int64_t n = 0; n < m_outputs; n++)
                        sums[i * m_outputs + n] -= clear[tap * m_outputs + n];
        for (int64_t n = 0; n < m_outputs; n++)
            for (int64_t i = 0; i < here; i++)
                out[(image * m_outputs + n) * w.out_pixels() + first + i] = sums[i * m_outputs + n] * scale[n] + bias[n];
    });
    return true;
}

}  // namespace edgeopt
