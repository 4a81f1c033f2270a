/* How a binary convolution reads its image: planes of words with the padding around them. */
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace edgeopt {

/* Sizes of one call; of each pair the first is along rows.
 *
 * A plane is cut by the rests that rows and columns leave when divided by the strides: [rests of rows, rests of
 * columns, rows, columns], so that a tap meets neighbors at neighboring output pixels. */
struct Window {
    int64_t in[2], kernel[2], stride[2], padding[2], dilation[2];

    int64_t out(int i) const { return (in[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) / stride[i] + 1; }
    /* Rows or columns of one part. */
    int64_t part(int i) const { return (in[i] + 2 * padding[i] + stride[i] - 1) / stride[i]; }
    int64_t plane() const { return stride[0] * stride[1] * part(0) * part(1); }
    int64_t pixels() const { return in[0] * in[1]; }

    /* The place of a row and column of the padded image. */
    int64_t place(int64_t row, int64_t column) const {
        return ((row % stride[0] * stride[1] + column % stride[1]) * part(0) + row / stride[0]) * part(1) +
               column / stride[1];
    }

    std::vector<int64_t> offsets() const {
        std::vector<int64_t> taps;
        for (int64_t y = 0; y < kernel[0]; y++)
            for (int64_t x = 0; x < kernel[1]; x++)
                taps.push_back(place(y * dilation[0], x * dilation[1]));
        return taps;
    }

    /* Lay out an image's words, or where `words` is null what is inside it. */
    void lay(const int32_t* words, int32_t* plane_) const {
        std::fill_n(plane_, plane(), 0);
        for (int64_t y = 0; y < in[0]; y++)
            for (int64_t rest = 0; rest < std::min(stride[1], in[1]); rest++) {
                int32_t* to = plane_ + place(y + padding[0], rest + padding[1]);
                for (int64_t x = rest; x < in[1]; x += stride[1])
                    *to++ = words == nullptr ? -1 : words[y * in[1] + x];
            }
    }
};

}  // namespace edgeopt
