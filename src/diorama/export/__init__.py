"""Models as files: safetensors with their config, ONNX for use without torch, and the runtimes that read them."""
