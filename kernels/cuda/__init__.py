"""CUDA kernels, each in a ``.cuh`` that knows no TensorRT, and the plug-ins that wrap them.

``<op>.cuh`` holds the kernel and its ``extern "C"`` launcher: what a plug-in, a PTX file and a test on any GPU share.
``plugins/`` holds the ``IPluginV3`` wrappers in C++, and the ahead-of-time plug-ins in Python. ``inventory.py`` names
them all.
"""
