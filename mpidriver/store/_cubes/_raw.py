"""Cubes whose values lie in a file as they are, FITS and contiguous HDF5: regions are read by `pread` alone.

Whatever the order of the axes, a region is made of pieces that are contiguous in the file. Where columns lie closer
together than channels, a piece is some columns of one row and channel, and rows that follow each other without a gap
are one piece. Where channels lie closest (spectra), a piece is the spectra of some columns of one row.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mpidriver.errors import DataError
from mpidriver.store._cubes._axes import CubeAxes, find_axes, sky_header
from mpidriver.store._cubes._channels import header_frequencies, spectral_cards
from mpidriver.store._cubes._source import ALL, Array, CubeSource
from mpidriver.store._fits._scan import scan

__all__ = ["RawCube", "open_fits", "raw_cube"]


@dataclass(frozen=True)
class RawCube(CubeSource):
    """A cube of which the place of every value in the file is known."""

    start: int
    """Offset in bytes of the group of values that belong to the first pixel."""
    strides: tuple[int, int, int]
    """Values between neighbours along channels, rows and columns."""
    lead: int
    """Values of faster axes, as of another Stokes parameter, before the wanted ones of each pixel."""
    scale: float = 1.0
    """Factor and offset of the physical values."""
    zero: float = 0.0
    blank: int | None = None
    """Integer that means no value."""

    def read(self, rows: slice, cols: slice, chans: slice = ALL) -> Array:
        """Return a region, (chan, row, col), as it is stored unless it has to be scaled."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            read = self._read_spectra if self.spectral_last else self._read_planes
            region = read(descriptor, rows, cols, range(self.shape[0])[chans])
        finally:
            os.close(descriptor)
        return self._physical(region)

    def _read_planes(self, descriptor: int, rows: slice, cols: slice, chans: range) -> Array:
        chan, row, col = self.strides
        region = np.empty((len(chans), rows.stop - rows.start, cols.stop - cols.start, col), self.stored)
        first = rows.start * row + cols.start * col
        for number in chans:  # the disk works on all pieces at once instead of waiting for each to be asked for
            begin = self.start + (first + number * chan) * region.itemsize
            span = ((region.shape[1] - 1) * row + region.shape[2] * col) * region.itemsize
            os.posix_fadvise(descriptor, begin, span, os.POSIX_FADV_WILLNEED)
        for number, plane in zip(chans, region, strict=True):
            self._fill_rows(descriptor, plane, first + number * chan)
        return region[..., self.lead]

    def _read_spectra(self, descriptor: int, rows: slice, cols: slice, chans: range) -> Array:
        chan, row, col = self.strides
        region = np.empty((rows.stop - rows.start, cols.stop - cols.start, col), self.stored)
        self._fill_rows(descriptor, region, rows.start * row + cols.start * col)
        wanted = region[..., self.lead : self.lead + (self.shape[0] - 1) * chan + 1 : chan]
        return wanted.transpose(2, 0, 1)[chans.start : chans.stop : chans.step]

    def _fill_rows(self, descriptor: int, block: Array, first: int) -> None:
        """Read a block (row, col, value) whose first value is number `first`."""
        row, col = self.strides[1:]
        if block.shape[1] == self.shape[2] and row == block.shape[1] * col:
            self._fill(descriptor, block, first)
            return
        for offset, line in enumerate(block):
            self._fill(descriptor, line, first + offset * row)

    def _fill(self, descriptor: int, piece: Array, first: int) -> None:
        offset = self.start + first * piece.itemsize
        filled = os.preadv(descriptor, [piece.data], offset)
        while filled < piece.nbytes:
            got = os.preadv(descriptor, [piece.data.cast("B")[filled:]], offset + filled)
            if not got:
                raise DataError(f"{self.path}: truncated, it ends before byte {offset + piece.nbytes:,}")
            filled += got

    def _physical(self, region: Array) -> Array:
        """Apply scale, offset and blank value; floats that need none stay as they are."""
        if region.dtype.kind == "f" and self.scale == 1.0 and self.zero == 0.0:
            return region
        values = np.multiply(region, self.scale, dtype=np.float64) + self.zero
        if self.blank is not None:
            values[region == self.blank] = np.nan
        return values.astype(np.float32 if region.dtype.itemsize <= 4 else np.float64)


def open_fits(path: Path, stokes: str | None) -> RawCube:
    """Open the first image of at least three axes in a FITS file."""
    hdus = scan(path)
    images = [hdu for hdu in hdus if len(hdu.shape) >= 3 and hdu.is_image]
    if not images:
        packed = any(hdu.header.get("ZIMAGE") for hdu in hdus)
        advice = "its image is compressed: funpack it first" if packed else f"found {[hdu.shape for hdu in hdus]}"
        raise DataError(f"{path}: expected an image of three axes or more, {advice}")
    hdu = images[0]
    axes = find_axes(hdu.shape, hdu.header, str(path), stokes)
    header = hdu.header
    return raw_cube(
        path,
        axes,
        header,
        stored=hdu.stored_type.str,
        offset=hdu.start,
        scale=float(header.get("BSCALE", 1.0)),
        zero=float(header.get("BZERO", 0.0)),
        blank=int(header["BLANK"]) if "BLANK" in header and int(header["BITPIX"]) > 0 else None,
    )


def raw_cube(path: Path, axes: CubeAxes, header: Any, *, stored: str, offset: int, **scaling: Any) -> RawCube:
    """Return a cube whose array begins at byte `offset` of a file, in C order."""
    strides = [1]
    for length in reversed(axes.shape[1:]):
        strides.insert(0, strides[0] * length)
    base = sum(index * stride for index, stride in zip(axes.at, strides, strict=True))
    chan, row, col = (strides[axis] for axis in (axes.chan, axes.row, axes.col))
    item = np.dtype(stored).itemsize
    lead = base % col
    return RawCube(
        path=str(path.resolve()),
        shape=axes.cube_shape,
        header_text=sky_header(header, axes).tostring(),
        freq_hz=header_frequencies(header, axes),
        spectral_header=spectral_cards(header, axes),
        granularity=(1, 1),
        bytes_a_pixel=item * (col if chan < col else axes.cube_shape[0] * col),
        spectral_last=chan < col,
        stored=stored,
        start=offset + (base - lead) * item,
        strides=(chan, row, col),
        lead=lead,
        **scaling,
    )
