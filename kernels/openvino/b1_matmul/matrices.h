/* A tensor as matrices: axes in an order of their own, the last two those of a matrix, the others counting them. */
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "openvino/runtime/tensor.hpp"

namespace edgeopt {

struct Matrices {
    float* data;
    std::vector<int64_t> sizes, strides;

    /* Axis i is axis order[i] of the tensor. */
    Matrices(const ov::Tensor& tensor, const std::vector<int64_t>& order)
        : data(const_cast<float*>(static_cast<const float*>(tensor.data()))) {
        const ov::Shape& shape = tensor.get_shape();
        for (int64_t axis : order) {
            sizes.push_back(shape[axis]);
            strides.push_back(ov::shape_size(ov::Shape(shape.begin() + axis + 1, shape.end())));
        }
    }

    int64_t leading() const { return sizes.size() - 2; }
    int64_t rows() const { return sizes[leading()]; }
    int64_t columns() const { return sizes.back(); }
    int64_t row_stride() const { return strides[leading()]; }
    int64_t column_stride() const { return strides.back(); }

    int64_t count() const {
        int64_t product = 1;
        for (int64_t axis = 0; axis < leading(); axis++)
            product *= sizes[axis];
        return product;
    }

    float* at(int64_t index) const {
        float* found = data;
        for (int64_t axis = leading() - 1; axis >= 0; index /= sizes[axis--])
            found += index % sizes[axis] * strides[axis];
        return found;
    }

    /* Which matrix is number `index` of those that these are broadcast to. */
    int64_t broadcast(int64_t index, const Matrices& to) const {
        int64_t found = 0, step = 1;
        for (int64_t axis = leading() - 1, theirs = to.leading() - 1; axis >= 0; axis--, theirs--) {
            if (sizes[axis] != 1)
                found += index % to.sizes[theirs] * step;
            step *= sizes[axis];
            index /= to.sizes[theirs];
        }
        return found;
    }
};

}  // namespace edgeopt
