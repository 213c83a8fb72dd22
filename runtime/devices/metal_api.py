"""What the metal-objc device uses of Metal: messages, structures, numbers of Apple's headers.

Metal.framework: MTLDevice.h, MTLResource.h, MTLLibrary.h, MTLComputeCommandEncoder.h and others.
"""

from __future__ import annotations

import ctypes

from tlc.runtime.devices.objc import FLAG, ID, TEXT, WORD, Messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

METAL = "/System/Library/Frameworks/Metal.framework/Metal"
SYSTEM = "/usr/lib/libSystem.B.dylib"
# Without this framework, a program without windows is given no device.
GRAPHICS = "/System/Library/Frameworks/CoreGraphics.framework/CoreGraphics"

SHARED = 0  # MTLResourceStorageModeShared: memory of the host and the GPU
APPLE7 = 1007  # MTLGPUFamilyApple7, the first with products of simdgroup matrices: M1
METAL_2_3 = 2 << 16 | 3  # MTLLanguageVersion2_3
FAILED = 5  # MTLCommandBufferStatusError


class Size(ctypes.Structure):
    """MTLSize"""

    _fields_ = (("width", WORD), ("height", WORD), ("depth", WORD))


class Range(ctypes.Structure):
    """NSRange"""

    _fields_ = (("location", WORD), ("length", WORD))


MESSAGES: dict[str, tuple[Any, ...]] = {
    "release": ("release", None),
    "retain": ("retain", ID),
    "new": ("new", ID),
    "string": ("stringWithUTF8String:", ID, TEXT),
    "utf8": ("UTF8String", TEXT),
    "described": ("localizedDescription", ID),
    "supports_family": ("supportsFamily:", FLAG, WORD),
    "working_set": ("recommendedMaxWorkingSetSize", ctypes.c_uint64),
    "longest_buffer": ("maxBufferLength", WORD),
    "new_queue": ("newCommandQueue", ID),
    "new_buffer": ("newBufferWithLength:options:", ID, WORD, WORD),
    "new_mapped": (
        *("newBufferWithBytesNoCopy:length:options:deallocator:", ID),
        *(ctypes.c_void_p, WORD, WORD, ctypes.c_void_p),
    ),
    "contents": ("contents", ctypes.c_void_p),
    "set_fast_math": ("setFastMathEnabled:", None, FLAG),
    "set_version": ("setLanguageVersion:", None, WORD),
    "new_library": ("newLibraryWithSource:options:error:", ID, ID, ID, ctypes.c_void_p),
    "new_compiled": ("newLibraryWithData:error:", ID, ID, ctypes.c_void_p),
    "new_function": ("newFunctionWithName:", ID, ID),
    "new_pipeline": ("newComputePipelineStateWithFunction:error:", ID, ID, ctypes.c_void_p),
    "width": ("threadExecutionWidth", WORD),
    "most_threads": ("maxTotalThreadsPerThreadgroup", WORD),
    "command_buffer": ("commandBuffer", ID),
    "encoder": ("computeCommandEncoder", ID),
    "set_pipeline": ("setComputePipelineState:", None, ID),
    "set_buffers": ("setBuffers:offsets:withRange:", None, ID, ctypes.c_void_p, Range),
    "set_bytes": ("setBytes:length:atIndex:", None, TEXT, WORD, WORD),
    "dispatch": ("dispatchThreadgroups:threadsPerThreadgroup:", None, Size, Size),
    "end": ("endEncoding", None),
    "commit": ("commit", None),
    "wait": ("waitUntilCompleted", None),
    "status": ("status", WORD),
    "error": ("error", ID),
}


class Owned:
    """An object that is ours: released with the last reference to it."""

    __slots__ = ("_send", "handle")

    def __init__(self, send: Messages, handle: int) -> None:
        self._send, self.handle = send, handle

    def __del__(self) -> None:
        self._send.release(self.handle)
