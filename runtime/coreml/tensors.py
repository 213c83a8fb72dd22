"""The tensors of a Core ML model: constants in files of weights, plain or compressed, by name.

An ML program names a constant by the operation that gives it: `const`, or one of the operations
`constexpr_...` that say how a compressed one is computed. Those become tensors of the model file
here, so that the program itself holds nothing but references to them.
"""

from __future__ import annotations

from tlc.runtime.coreml import recipes
from tlc.runtime.coreml.blob import Blob, locate
from tlc.runtime.coreml.records import Literal, Operation, Ref, Stored, TensorType
from tlc.runtime.mapped_file import map_file
from tlc.runtime.model_file import Part, TensorEntry, element_count

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable
    from typing import Any

_ROOT = "@model_path/"
_NO_TYPE = TensorType("", ())  # a constant has that of its value


class _Description(Part):
    """The file that describes a model, and may hold weights in its midst."""

    __slots__ = ("_weights",)

    def __init__(self, path: str, mapping: mmap.mmap, weights: list[tuple[int, int]]) -> None:
        super().__init__(path, mapping, 0)
        self._weights = sorted(weights)

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of all but the weights, and of the file's size."""
        if not self._fingerprint:
            import hashlib

            digest, data, at = hashlib.sha256(), memoryview(self.mapping), 0
            for offset, nbytes in self._weights:
                digest.update(data[at:offset])
                at = max(at, offset + nbytes)
            digest.update(data[at:])
            digest.update(len(data).to_bytes(8, "little"))
            self._fingerprint = digest.hexdigest()
        return self._fingerprint


class Tensors:
    """The files of a model that hold weights, and the table of its tensors under construction."""

    __slots__ = ("_files", "_names", "_root", "entries", "maps")

    def __init__(self, path: str, spec: mmap.mmap, root: Callable[[str], str]) -> None:
        """File 0 is the model itself; `root` gives the place of another by the name in it."""
        self._files, self.maps, self._names, self._root = [path], [spec], {"": 0}, root
        self.entries: dict[str, TensorEntry] = {}

    def parts(self) -> list[Part]:
        """The files, as those of an open model. The first is known by all but its weights."""
        own = [e for e in self.entries.values() if e.part == 0 and e.recipe is None]
        first = _Description(self._files[0], self.maps[0], [(e.offset, e.nbytes) for e in own])
        others = zip(self._files[1:], self.maps[1:], strict=True)
        return [first, *(Part(path, mapping, 0) for path, mapping in others)]

    def stored(self, file: str, at: int, dtype: str, shape: tuple[int, ...]) -> Blob:
        """The blob at an offset of a file of weights. Raises ValueError, and RunError E0601."""
        name = file.removeprefix(_ROOT)
        if name not in self._names:
            if not file.startswith(_ROOT):
                raise ValueError(f"its weights are in {file[:80]!r}, which is no part of it")
            path = self._root(name)
            self.maps.append(map_file(path, "E0601"))
            self._files.append(path)
            self._names[name] = len(self.maps) - 1
        index = self._names[name]
        return locate(self.maps[index], index, at, dtype, shape, element_count(shape))

    def recipe(self, kind: str, parts: dict[str, Any], type: TensorType) -> recipes.Recipe:
        """A compressed tensor. Raises ValueError when the parts do not make it."""
        return recipes.Recipe(self, kind, parts, type)

    def data(self, blob: Blob) -> memoryview:
        """The stored bytes."""
        return memoryview(self.maps[blob.file])[blob.offset : blob.offset + blob.nbytes]

    def add(self, name: str, blob: Blob) -> Stored:
        """A tensor that lies in a file as it is."""
        entry = TensorEntry(name, blob.shape, blob.dtype, blob.offset, blob.nbytes, blob.file)
        self.entries[name] = entry
        return Stored(name, blob.dtype, blob.shape)

    def folded(self, operations: list[Operation], outputs: list[str]) -> list[Operation]:
        """The operations with their constants as literals and references to stored tensors.

        What only a compressed weight reads is a part of it, and no constant of the program.
        """
        constants: dict[str, Any] = {}
        unknown: set[str] = set()  # compressed weights of kinds that are not known
        rest: list[Operation] = []
        for op in operations:
            name, type = op.outputs[-1] if op.outputs else ("", None)
            compressed = op.kind.startswith("constexpr_") and type is not None
            held = {v.name for parts in op.inputs.values() for v in parts if isinstance(v, Ref)}
            if op.kind == "const" and len(op.inputs.get("val", ())) == 1:
                (constants[name],) = op.inputs["val"]
            elif compressed and op.kind in recipes.KINDS and unknown.isdisjoint(held):
                parts = {
                    k: self._constant(v[0], constants) for k, v in op.inputs.items() if len(v) == 1
                }
                assert type is not None
                constants[name] = self.recipe(op.kind, parts, type)
                if op.kind in recipes.MASKS:
                    constants[op.outputs[0][0]] = parts[recipes.MASKS[op.kind]]
            else:
                unknown.update(n for n, _ in op.outputs if compressed)
                rest.append(op)
        read = {v.name for op in rest for held in op.inputs.values() for v in held
                if isinstance(v, Ref)}  # fmt: skip
        used = constants.keys() & {*read, *outputs}
        out = [
            Operation("const", name, {"val": (self.named(name, value),)}, [(name, _NO_TYPE)])
            for name, value in constants.items()
            if name in used
        ]
        return out + [self._without_blobs(op) for op in rest]

    def _without_blobs(self, op: Operation) -> Operation:
        """Stored numbers that stand among the arguments, under names of their own."""
        name = op.outputs[0][0] if op.outputs else op.kind
        inputs = {
            key: tuple(self.named(f"{name}.{key}", v) if isinstance(v, Blob) else v for v in held)
            for key, held in op.inputs.items()
        }
        return Operation(op.kind, op.name, inputs, op.outputs)

    def _constant(self, value: Any, parts: dict[str, Any]) -> Any:
        if isinstance(value, Ref):
            if value.name not in parts:
                raise ValueError(f"a compressed weight rests on `{value.name[:80]}`, no constant")
            return parts[value.name]
        return value

    def named(self, name: str, value: Any) -> Any:
        """A constant under its name: floats stay in their file, whole numbers are read."""
        if isinstance(value, recipes.Recipe):
            entry = TensorEntry(name, value.shape, value.encoding, 0, value.nbytes, recipe=value)
            self.entries[name] = entry
            return Stored(name, value.dtype, value.shape)
        if isinstance(value, Blob):
            if value.dtype in ("f16", "f32", "bf16"):
                return self.add(name, value)
            return Literal(value.dtype, value.shape, self.data(value))
        return value
