"""README's film: the two films of a run, side by side, as an animated WebP."""

import argparse
import json
from pathlib import Path

import av
from PIL import Image, ImageDraw, ImageFont

_PICTURE = Path("docs/pictures/before_after.webp")
_FIRST, _FRAMES = 60, 80  # four seconds of a whole gallop
_SIDE, _CAPTION, _GAP = 256, 28, 6
_MILLISECONDS = 50


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a finished run with films")
    run = parser.parse_args().run
    summary = json.loads((run / "summary.json").read_text())
    sides = {
        f"before: {round(summary['eval_return_before_mean']):,}": _frames(
            run / "films/before.webm"
        ),
        f"after {summary['labels']} comparisons: {round(summary['eval_return_mean']):,}": _frames(
            run / "films/after.webm"
        ),
    }
    first, *others = [_beside(sides, index) for index in range(_FRAMES)]
    first.save(
        _PICTURE,
        save_all=True,
        append_images=others,
        duration=_MILLISECONDS,
        loop=0,
        quality=40,
        method=6,
    )
    print(_PICTURE, f"{_PICTURE.stat().st_size / 1e6:.2f} MB")


def _frames(path):
    with av.open(str(path)) as film:
        frames = [frame.to_image() for frame in film.decode(video=0)]
    return frames[_FIRST : _FIRST + _FRAMES]


def _beside(sides, index):
    """One picture of the film: both sides at one moment, each with its caption."""
    picture = Image.new("RGB", (len(sides) * (_SIDE + _GAP) - _GAP, _SIDE + _CAPTION), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=15)
    for place, (caption, frames) in enumerate(sides.items()):
        left = place * (_SIDE + _GAP)
        picture.paste(frames[index], (left, _CAPTION))
        draw.text((left + 4, 5), caption, fill="black", font=font)
    return picture


if __name__ == "__main__":
    main()
