#include "operator.h"

#include "../common/isa.h"
#include "../common/memory.h"
#include "../common/parallel.h"
#include "../common/words.h"
#include "kernel.h"
#include "matrices.h"

namespace edgeopt {
namespace {

/* Rows whose bits stay near while those of the other matrix pass by. */
constexpr int64_t rows_a_task = 48;

/* The bits of all matrices b in panels, in memory of the calling thread, and how many words a matrix has. */
struct Panels {
    int64_t panels, words, matrix;
    int32_t* bits;

    Panels(const Matrices& b, float from, const BinaryProductKernels& kernels)
        : panels((b.columns() + BinaryProduct::panel - 1) / BinaryProduct::panel),
          words(edgeopt::words(b.rows())),
          matrix(panels * words * BinaryProduct::panel) {
        static thread_local std::vector<float> memory;
        bits = as_words(aligned(memory, b.count() * matrix));
        parallel_for(b.count() * panels, [&](int64_t task) {
            const int64_t first = task % panels * BinaryProduct::panel;
            const int64_t columns = std::min(BinaryProduct::panel, b.columns() - first);
            const float* x = b.at(task / panels) + first * b.column_stride();
            int32_t* to = bits + task * words * BinaryProduct::panel;
            if (b.column_stride() == 1)
                kernels.pack_panel(x, b.row_stride(), from, b.rows(), columns, to);
            else
                kernels.pack_rows(x, b.column_stride(), from, columns, b.rows(), to, 1, BinaryProduct::panel);
        });
    }
};

ov::PartialShape ordered(const ov::PartialShape& shape, const std::vector<int64_t>& order) {
    OPENVINO_ASSERT(shape.size() == order.size() && order.size() >= 2, "edgeopt.BinaryMatmul: an order of ",
                    order.size(), " axes for ", shape);
    ov::PartialShape found;
    for (int64_t axis : order)
        found.push_back(shape[axis]);
    return found;
}

}  // namespace

ov::PartialShape BinaryMatmul::product_shape(const ov::PartialShape& a, const ov::PartialShape& b) const {
    const ov::PartialShape left = ordered(a, m_a_order), right = ordered(b, m_b_order);
    ov::PartialShape whole(std::vector<ov::Dimension>(left.begin(), left.end() - 2));
    OPENVINO_ASSERT(
        left[left.size() - 1].compatible(right[right.size() - 2]) &&
            ov::PartialShape::broadcast_merge_into(whole, std::vector<ov::Dimension>(right.begin(), right.end() - 2),
                                                   ov::op::AutoBroadcastType::NUMPY),
        "edgeopt.BinaryMatmul: ", left, " by ", right);
    whole.push_back(left[left.size() - 2]);
    whole.push_back(right[right.size() - 1]);
    ov::PartialShape out = whole;
    for (size_t axis = 0; axis < whole.size(); axis++)
        out[m_out_order[axis]] = whole[axis];
    return out;
}

void BinaryMatmul::validate_and_infer_types() {
    const auto &a = get_input_partial_shape(0), &b = get_input_partial_shape(1);
    const bool is_ranked = a.rank().is_static() && b.rank().is_static();
    set_output_type(0, ov::element::f32, is_ranked ? product_shape(a, b) : ov::PartialShape::dynamic());
}

bool BinaryMatmul::visit_attributes(ov::AttributeVisitor& visitor) {
    visitor.on_attribute("a_order", m_a_order);
    visitor.on_attribute("b_order", m_b_order);
    visitor.on_attribute("out_order", m_out_order);
    visitor.on_attribute("a_shift", m_a_shift);
    visitor.on_attribute("b_shift", m_b_shift);
    visitor.on_attribute("scale", m_scale);
    visitor.on_attribute("bits", m_bits);
    return true;
}

bool BinaryMatmul::evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const {
    outputs[0].set_shape(product_shape(inputs[0].get_shape(), inputs[1].get_shape()).to_shape());
    const Matrices a(inputs[0], m_a_order), b(inputs[1], m_b_order), out(outputs[0], m_out_order);
    const BinaryProductKernels& kernels = EDGEOPT_KERNELS(b1_matmul);
    const Panels packed(b, -m_b_shift, kernels); /* x + shift >= 0 where x >= -shift */
    const int64_t parts = (a.rows() + rows_a_task - 1) / rows_a_task;
    parallel_for(out.count() * parts, [&](int64_t task) {
        const int64_t index = task / parts, first = task % parts * rows_a_task;
        const int64_t rows = std::min(rows_a_task, a.rows() - first);
        static thread_local std::vector<float> memory;
        int32_t* bits = as_words(aligned(memory, rows_a_task * packed.words));
        kernels.pack_rows(a.at(a.broadcast(index, out)) + first * a.row_stride(), a.row_stride(), -m_a_shift, rows,
                          a.columns(), bits, packed.words, 1);
        const int32_t* panels = packed.bits + b.broadcast(index, out) * packed.matrix;
        kernels.run({a.columns(), packed.words, b.columns(), panels, m_scale, m_bits != 0}, bits, rows,
                    out.at(index) + first * out.row_stride(), out.row_stride());
    });
    return true;
}

}  // namespace edgeopt
