"""TensorRT, three targets: ``jetson`` (a bundle that the device builds), ``rtx`` (engines built here, for GeForce RTX),
``tensorrt`` (where TensorRT and a GPU are present).

All three take the same strongly typed ONNX: ``family.py`` says which passes prepare a program, ``graph.py`` makes the
model, ``half.py`` and ``weights.py`` its number formats, ``features.toml`` what may be emitted for whom.
"""
