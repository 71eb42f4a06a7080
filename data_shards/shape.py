"""Shape: what all clips of a set that is being written have in common."""

from data_shards.clip import FIELDS, Clip
from data_shards.manifest import CLIP_BYTES
from data_shards.mistake import UserError
from data_shards.names import KEY, allows


class Shape:
    """What all clips of a set have in common."""

    def __init__(self) -> None:
        self.frames: tuple[int, int, int, int] = (0, 0, 0, 0)
        self.fields: tuple[str, ...] = ()
        self.objects = 0

    def check(self, clip: Clip) -> None:
        """UserError where the clip is not as those before, or none that a set can hold."""
        if not allows(KEY, clip.key):
            raise UserError(f"clip key {clip.key!r} must be 1 to 60 letters, digits, '-' and '_'")
        fields = tuple(field for field in FIELDS if getattr(clip, field) is not None)
        if not self.fields:
            t, h, w, c = clip.frames.shape
            self.frames, self.fields = (t, h, w, c), fields
            if clip.frames.nbytes > CLIP_BYTES:
                raise UserError(
                    f"clip {clip.key}: frames take {clip.frames.nbytes} bytes, at most {CLIP_BYTES} are stored"
                )
        if clip.frames.shape != self.frames or fields != self.fields:
            raise UserError(
                f"clip {clip.key}: frames {clip.frames.shape} with {', '.join(fields)} differ from the clips before: "
                f"{self.frames} with {', '.join(self.fields)}"
            )
        for name in fields:
            if (axis := FIELDS[name].axis("n")) is not None:
                self.objects = max(self.objects, getattr(clip, name).shape[axis])
