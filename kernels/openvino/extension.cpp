/* What core.add_extension() finds in the library: every operator, and how the ONNX front end makes it. */
#include "b1_conv2d/operator.h"
#include "b1_linear/operator.h"
#include "b1_matmul/operator.h"
#include "f32_hybrid_attention/operator.h"
#include "f32_linear_attention/operator.h"
#include "openvino/core/extension.hpp"
#include "openvino/core/op_extension.hpp"
#include "openvino/frontend/onnx/extension/op.hpp"

template <class Operator>
std::shared_ptr<ov::Extension> from_onnx() {
    const auto& type = Operator::get_type_info_static();
    return std::make_shared<ov::frontend::onnx::OpExtension<Operator>>(type.name, type.version_id);
}

OPENVINO_CREATE_EXTENSIONS(std::vector<ov::Extension::Ptr>({
    std::make_shared<ov::OpExtension<edgeopt::LinearAttention>>(),
    std::make_shared<ov::OpExtension<edgeopt::HybridAttention>>(),
    std::make_shared<ov::OpExtension<edgeopt::BinaryLinearOperator>>(),
    std::make_shared<ov::OpExtension<edgeopt::BinaryConv2d>>(),
    std::make_shared<ov::OpExtension<edgeopt::BinaryMatmul>>(),
    from_onnx<edgeopt::LinearAttention>(),
    from_onnx<edgeopt::HybridAttention>(),
    from_onnx<edgeopt::BinaryLinearOperator>(),
    from_onnx<edgeopt::BinaryConv2d>(),
    from_onnx<edgeopt::BinaryMatmul>(),
}));
