"""Ways to compute a trained network: plain PyTorch, PyTorch made fast, ONNX Runtime, OpenVINO."""
