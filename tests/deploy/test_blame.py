from edgeopt.deploy.regressions import regressions
from edgeopt.records.layers import Layer


def test_layers_are_blamed_by_what_they_cost_more() -> None:
    plain = [
        Layer("conv,relu", "Convolution", "fp32", 0.5),
        Layer("linear", "FullyConnected", "fp32", 0.5),
        Layer("fast", "FullyConnected", "fp32", 0.5),
    ]
    layers = [
        Layer("conv", "Convolution", "int8", 0.25),
        Layer("linear", "FullyConnected", "int8", 0.875),
        Layer("relu", "Eltwise", "fp32", 0.5),
        Layer("quantize", "Reorder", "uint8", 0.125),
        Layer("fast", "FullyConnected", "int8", 0.25),
        Layer("idle", "Reorder", "uint8", None),
    ]
    found = [([layer.name for layer in one.layers], one.before, one.after) for one in regressions(layers, plain)]
    assert found == [(["linear"], 0.5, 0.875), (["relu", "conv"], 0.5, 0.75), (["quantize"], 0.0, 0.125)]


def test_a_layer_that_took_in_others_is_compared_with_all_of_them() -> None:
    plain = [Layer("a", "Convolution", "fp32", 1.0), Layer("b", "Eltwise", "fp32", 1.0)]
    assert regressions([Layer("a,b", "Convolution", "int8", 1.5)], plain) == []
    (one,) = regressions([Layer("a,b", "Convolution", "int8", 2.5)], plain)
    assert (one.before, one.after) == (2.0, 2.5)
