"""Shape: what all clips of a set that is being written have in common."""

from data_shards.clip import FIELDS, Clip, num_objects
from data_shards.manifest import CLIP_BYTES, LONGEST
from data_shards.mistake import UserError
from data_shards.names import KEY, allows


def require_storable(source: object) -> None:
    """UserError where the clips of a source would be larger than what is read again: told before one is made."""
    found = {name: getattr(source, name, 1) for name in ("frames", "size", "width", "height")}
    numbers = {name: value for name, value in found.items() if isinstance(value, int)}
    for name, value in numbers.items():
        if value > LONGEST:
            raise UserError(f"{name} {value} must be at most {LONGEST}")
    t, side, w, h = (numbers.get(name, 1) for name in found)
    if (size := t * side**2 * w * h) > CLIP_BYTES:  # of one channel
        told = ", ".join(f"{name} {value}" for name, value in numbers.items() if value > 1)
        raise UserError(
            f"{told}: a clip takes {size} bytes, at most {CLIP_BYTES} are stored; make it smaller"
        )


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
        if clip.frames.shape != self.frames or fields != self.fields:
            raise UserError(
                f"clip {clip.key}: frames {clip.frames.shape} with {', '.join(fields)} differ from the clips before: "
                f"{self.frames} with {', '.join(self.fields)}"
            )
        for name in fields:
            if (size := getattr(clip, name).nbytes) > CLIP_BYTES:
                raise UserError(
                    f"clip {clip.key}: {name} take {size} bytes, at most {CLIP_BYTES} are stored; make frames smaller "
                    "or fewer"
                )
        self.objects = max(self.objects, num_objects(clip))
