"""Films of one's own, as somebody might have them, made in a moment."""

import io

import av
import numpy as np


def make_film(place, *, n=15, codec="libx264", pixels="yuv420p", form=None, hue=0, size=(96, 128)):
    """A square that moves to the right, n pictures long at 30 a second."""
    with av.open(place if hasattr(place, "write") else str(place), "w", format=form) as output:
        stream = output.add_stream(codec, rate=30)
        stream.height, stream.width = size
        stream.pix_fmt = pixels
        for i in range(n):
            picture = np.zeros((*size, 3), np.uint8)
            picture[..., hue % 3] = 60 + 20 * (hue % 8)
            picture[30:60, (4 * i) % 90 : (4 * i) % 90 + 30] = 255
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                output.mux(packet)
        for packet in stream.encode():
            output.mux(packet)


class _Pipe(io.RawIOBase):
    """What cannot go back, as when a browser records: the film does not say how long it is."""

    def __init__(self):
        self.content = bytearray()

    def writable(self):
        return True

    def write(self, part):
        self.content += bytes(part)
        return len(part)


def recorded_film(**about):
    """A webm as browsers record it."""
    pipe = _Pipe()
    make_film(pipe, codec="libvpx", form="webm", **about)
    return bytes(pipe.content)
