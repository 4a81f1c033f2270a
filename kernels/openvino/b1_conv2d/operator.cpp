#include "operator.h"

#include "../common/isa.h"
#include "../common/memory.h"
#include "../common/parallel.h"
#include "kernel.h"
#include "planes.h"

namespace edgeopt {
namespace {

/* Outputs of a task: the bits of one word. */
constexpr int64_t outputs_a_task = 32;
/* About as many pixels has a task. */
constexpr int64_t pixels_a_task = 512;
/* The widest tile of pixels. */
constexpr int64_t tile = 64;

}  // namespace

void BinaryConv2d::validate_and_infer_types() {
    find_roles();
    ov::PartialShape shape = get_input_partial_shape(0);
    OPENVINO_ASSERT(shape.rank().is_static() && shape.size() == 4, "edgeopt.BinaryConv2d: x is ", shape);
    shape[1] = out_channels();
    for (int i = 0; i < 2; i++)
        shape[2 + i] = shape[2 + i].is_dynamic() ? ov::Dimension::dynamic()
                                                 : ov::Dimension((shape[2 + i].get_length() + 2 * m_padding[i] -
                                                                  m_dilations[i] * (m_kernel[i] - 1) - 1) /
                                                                     m_strides[i] +
                                                                 1);
    set_output_type(0, out_type(), shape);
}

bool BinaryConv2d::visit_attributes(ov::AttributeVisitor& visitor) {
    BinaryLayer::visit_attributes(visitor);
    visitor.on_attribute("kernel", m_kernel);
    visitor.on_attribute("strides", m_strides);
    visitor.on_attribute("padding", m_padding);
    visitor.on_attribute("dilations", m_dilations);
    return true;
}

bool BinaryConv2d::evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const {
    const ov::Shape shape = inputs[0].get_shape();
    const int64_t batch = shape[0], in_words = words(m_inputs), out_words = words(m_outputs);
    Window w;
    for (int i = 0; i < 2; i++) {
        w.in[i] = shape[2 + i];
        w.kernel[i] = m_kernel[i];
        w.stride[i] = m_strides[i];
        w.padding[i] = m_padding[i];
        w.dilation[i] = m_dilations[i];
    }
    const int64_t height = w.out(0), width = w.out(1), out_pixels = height * width, plane = w.plane();
    outputs[0].set_shape({shape[0], size_t(out_channels()), size_t(height), size_t(width)});
    const BinaryConvolutionKernels& kernels = EDGEOPT_KERNELS(b1_conv2d);

    const float* x = floats(inputs, m_x);
    const int32_t* x_bits = x == nullptr ? static_cast<const int32_t*>(inputs[m_x_bits].data()) : nullptr;
    std::vector<float> from(x == nullptr ? 0 : m_inputs); /* x + shift >= 0 from here on */
    for (size_t channel = 0; channel < from.size(); channel++)
        from[channel] = -floats(inputs, m_shift)[channel];
    static thread_local std::vector<float> plane_memory;
    const int64_t image_planes = (in_words + 1) * plane;
    int32_t* planes = as_words(aligned(plane_memory, batch * image_planes + tile));
    parallel_for(batch * (in_words + 1), [&](int64_t task) {
        const int64_t image = task / (in_words + 1), word = task % (in_words + 1);
        if (word == in_words)
            return w.lay(nullptr, planes + task * plane);
        const int64_t first = word * 32, at = image * in_words + word;
        static thread_local std::vector<float> memory;
        const int32_t* bits = nullptr;
        if (x == nullptr) {
            bits = x_bits + at * w.pixels();
        } else {
            int32_t* packed = as_words(aligned(memory, w.pixels()));
            kernels.pack(x + (image * m_inputs + first) * w.pixels(), from.data() + first, nullptr,
                         std::min<int64_t>(32, m_inputs - first), w.pixels(), packed);
            bits = packed;
        }
        w.lay(bits, planes + task * plane);
    });

    const std::vector<int64_t> offsets = w.offsets();
    const int32_t* weight = static_cast<const int32_t*>(inputs[m_weight].data());
    const BinaryConvolution layer{m_inputs,       in_words, int64_t(offsets.size()), plane,
                                  offsets.data(), weight,   floats(inputs, m_scale), floats(inputs, m_bias)};
    void* out = outputs[0].data();
    const float *residual = floats(inputs, m_residual), *high = floats(inputs, m_high), *low = floats(inputs, m_low);
    const int64_t distance = w.part(1), rows_a_task = std::max<int64_t>(1, pixels_a_task / distance);
    const int64_t stride = (rows_a_task * distance + tile) / tile * tile;
    const int64_t parts = (height + rows_a_task - 1) / rows_a_task;
    parallel_for(batch * out_words * parts, [&](int64_t task) {
        const int64_t image = task / parts / out_words, word = task / parts % out_words;
        const int64_t first = word * outputs_a_task, count = std::min(outputs_a_task, m_outputs - first);
        const int64_t row = task % parts * rows_a_task;
        const PixelRows rows{std::min(rows_a_task, height - row), width, distance};
        static thread_local std::vector<float> sum_memory, value_memory;
        float* y = aligned(sum_memory, outputs_a_task * stride);
        kernels.run(layer, planes + image * image_planes + row * distance, first, count,
                    (rows.rows - 1) * distance + width, y, stride);
        const int64_t pixels = rows.rows * width;
        float* values = high == nullptr ? nullptr : aligned(value_memory, outputs_a_task * pixels);
        for (int64_t n = 0; n < count; n++) {
            const int64_t at = (image * m_outputs + first + n) * out_pixels + row * width;
            float* to = high == nullptr ? static_cast<float*>(out) + at : values + n * pixels;
            kernels.follow(m_follows, rows, y + n * stride, residual == nullptr ? nullptr : residual + at, to);
        }
        if (high != nullptr)
            kernels.pack(values, high + first, low == nullptr ? nullptr : low + first, count, pixels,
                         static_cast<int32_t*>(out) + (image * out_words + word) * out_pixels + row * width);
    });
    return true;
}

}  // namespace edgeopt
