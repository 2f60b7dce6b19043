"""Where ONNX Runtime computes: `--device` of prediction.

Only `cpu` was run by us; the others are what ONNX Runtime's documentation says, and untested here.
Source: https://onnxruntime.ai/docs/execution-providers/.
"""

from __future__ import annotations

from lungsight.errors import ConfigError

PROVIDERS: dict[str, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
}
"""Device, as a user names it -> ONNX Runtime's execution provider."""
PACKAGES: dict[str, str] = {
    "cuda": "onnxruntime-gpu",
    "tensorrt": "onnxruntime-gpu",
    "rocm": "onnxruntime-rocm",
    "openvino": "onnxruntime-openvino",
    "directml": "onnxruntime-directml",
}
"""The package that brings the provider. It takes the place of `onnxruntime`; only one of them may be installed."""


def execution_providers(device: str = "cpu") -> list[str]:
    """What a session is made with: the device's provider, then the CPU for what it cannot do.

    Args:
        device: a key of `PROVIDERS`, or 'auto': the first that is installed of CUDA and the CPU.

    Raises:
        ConfigError: there is no such device, or the installed ONNX Runtime has no provider for it.

    Example:
        >>> from lungsight.inference.providers import execution_providers
        >>> execution_providers("cpu")
        ['CPUExecutionProvider']
    """
    import onnxruntime

    installed = onnxruntime.get_available_providers()
    if device == "auto":
        device = "cuda" if PROVIDERS["cuda"] in installed else "cpu"
    if device not in PROVIDERS:
        raise ConfigError(
            "there is no such device",
            code="device",
            where="--device",
            hint=f"Use auto, {', '.join(PROVIDERS)}",
        )
    if PROVIDERS[device] not in installed:
        package = PACKAGES.get(device)
        raise ConfigError(
            f"the installed ONNX Runtime cannot use {device}",
            code="device",
            where="--device",
            hint=f"Put {package} in the place of onnxruntime: pip uninstall onnxruntime; pip install {package}"
            if package
            else "It comes with ONNX Runtime's builds for that system alone",
        )
    return list(dict.fromkeys([PROVIDERS[device], PROVIDERS["cpu"]]))
