"""How the files of each format are called."""

from __future__ import annotations

SAFETENSORS = (".safetensors",)
GGUF = (".gguf",)
PYTORCH = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pth.tar")
NUMPY = (".npz", ".npy")
ONNX = (".onnx",)
ALL = (*SAFETENSORS, *GGUF, *PYTORCH, *NUMPY, *ONNX)
INDICES = (".safetensors.index.json", ".bin.index.json")
