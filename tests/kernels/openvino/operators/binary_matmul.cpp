/* Products of matrices of signs, their axes in several orders, one of them broadcast. */
#include "b1_matmul/operator.h"

#include "operators.h"

namespace {

using Order = std::vector<int64_t>;

/* The shape of a tensor whose axis order[i] is axis i of the matrices. */
ov::Shape placed(const ov::Shape& logical, const Order& order) {
    ov::Shape shape(logical.size());
    for (size_t axis = 0; axis < order.size(); axis++)
        shape[order[axis]] = logical[axis];
    return shape;
}

}  // namespace

void fuzz_binary_matmul(Random& random) {
    const size_t batch = random.between(1, 2), heads = random.between(1, 3), rows = random.any({1, 5, 47, 48, 50});
    const size_t k = random.any({1, 31, 32, 33, 100, 993}), columns = random.any({1, 7, 16, 17, 33});
    const Order plain{0, 1, 2, 3}, heads_last{0, 2, 1, 3}, turned{0, 1, 3, 2};
    const Order a_order = random.chance() ? plain : heads_last, out_order = random.chance() ? plain : heads_last;
    const Order b_order = random.chance() ? plain : random.chance() ? turned : heads_last;
    const ov::Shape b{random.chance() ? batch : 1, heads, k, columns};
    const ov::TensorVector inputs{drawn(random, placed({batch, heads, rows, k}, a_order)),
                                  drawn(random, placed(b, b_order))};
    Attributes attributes({{"a_order", a_order},
                           {"b_order", b_order},
                           {"out_order", out_order},
                           {"a_shift", double(random.value())},
                           {"b_shift", double(random.value())},
                           {"scale", 0.37},
                           {"bits", random.between(0, 1)}});
    check_operator<edgeopt::BinaryMatmul>(inputs, attributes, 0.0f, "BinaryMatmul");
}
