"""What a rank does with a region of cubes in RM synthesis: read, transform, write."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from mpidriver.drivers._cubes._regions import Region
from mpidriver.store import CubeFile, CubeSource, RegionWriter

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Synthesis", "write_map", "write_parts"]

PLANES_AT_ONCE = 8
"""Planes that are split into parts before they are written: few enough to stay in the cache."""


@dataclass(frozen=True)
class Synthesis:
    """RM synthesis of cubes, as it is sent to the ranks."""

    q: CubeSource
    u: CubeSource
    i: CubeSource | None
    """Cube by which Q and U are divided, none if they are not."""
    freq_hz: "np.ndarray"
    weights: "np.ndarray"
    """Weights of the channels; 0 for those that are blank everywhere."""
    phi_radm2: "np.ndarray"
    lambda0_sq_m2: float
    rmsf_a_pixel: bool = False
    """Whether each pixel has a transfer function of its own."""
    double: bool = False
    threads: int = 1
    variance: CubeSource | None = None
    """Cube of variances whose inverses are weights of the voxels, none for the channels' weights alone."""

    @cached_property
    def rmsf_phi_radm2(self) -> "np.ndarray":
        """Faraday depths of the transfer functions."""
        import numpy as np

        from mpidriver.tasks.faraday import double_phi_grid

        return double_phi_grid(self.phi_radm2) if len(self.phi_radm2) > 1 else np.zeros(1)

    @property
    def bytes_a_pixel(self) -> int:
        """Memory that a pixel takes at most while its region is computed."""
        real = 8 if self.double else 4
        channels = len(self.freq_hz)
        sources = [source for source in (self.q, self.u, self.i, self.variance) if source is not None]
        reading = max(source.bytes_a_pixel for source in sources) + real * channels * len(sources)
        spectra = 2 * real * len(self.phi_radm2)
        if self.rmsf_a_pixel:
            spectra = max(spectra, 2 * real * len(self.rmsf_phi_radm2) + 3 * real * channels)
        return reading + spectra + 64

    def fill(self, files: Mapping[str, CubeFile], region: Region) -> tuple[int, int]:
        """Transform a region and write it; return its blank pixels and those that lack some channels."""
        from mpidriver.tasks.faraday import find_peaks, rm_synthesis

        q, u, weights, scale = self._read(region)
        complete, blank = self._flags(q, u)
        fdf = rm_synthesis(
            q,
            u,
            self.freq_hz,
            self.phi_radm2,
            weights=weights,
            lambda0_sq_m2=self.lambda0_sq_m2,
            threads=self.threads,
            dtype=self._complex,
        )
        if scale is not None:
            fdf *= scale
        mine = {name: file for name, file in files.items() if self.rmsf_a_pixel or not _is_transfer(name)}
        with RegionWriter(mine, region.rows, region.cols) as out:
            write_parts(out, files, "FDF_{}_dirty", fdf)
            peaks = find_peaks(fdf, self.phi_radm2)
            write_map(out, files, "FDF_maxPI", peaks.amplitude)
            write_map(out, files, "FDF_peakRM", peaks.phi_radm2)
            del fdf
            if self.rmsf_a_pixel:
                write_parts(out, files, "RMSF_{}", self._transfer(q, u, weights))
            write_map(out, files, "RMSF_FWHM", self._fwhm(q, u))
        return int(blank.sum()), int((~complete & ~blank).sum())

    def finish(self, files: Mapping[str, CubeFile]) -> None:
        """Write the transfer function that is common to all pixels."""
        from mpidriver.tasks.faraday import rmtf

        if self.rmsf_a_pixel:
            return
        transfer = rmtf(
            self.freq_hz,
            self.rmsf_phi_radm2,
            weights=self.weights,
            lambda0_sq_m2=self.lambda0_sq_m2,
            dtype=self._complex,
        )
        mine = {name: file for name, file in files.items() if _is_transfer(name)}
        with RegionWriter(mine, slice(0, 1), slice(0, 1)) as out:
            write_parts(out, mine, "RMSF_{}", transfer.reshape(-1, 1, 1))

    @property
    def _real(self) -> "np.dtype":
        import numpy as np

        return np.dtype(np.float64 if self.double else np.float32)

    @property
    def _complex(self) -> "np.dtype":
        import numpy as np

        return np.dtype(np.complex128 if self.double else np.complex64)

    def _read(self, region: Region) -> "tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]":
        """Return Q and U, the weights, and by what the spectra are multiplied in the end."""
        from mpidriver.tasks.faraday import fractional, inverse_variance
        from mpidriver.tasks.planes import native_cube

        q, u = (native_cube(source.read(region.rows, region.cols), self._real) for source in (self.q, self.u))
        weights, scale = self.weights, None
        if self.i is not None:
            i = native_cube(self.i.read(region.rows, region.cols), self._real)
            q, u, scale = fractional(q, u, i, self.freq_hz, self.lambda0_sq_m2)
        if self.variance is not None:
            weights = inverse_variance(native_cube(self.variance.read(region.rows, region.cols), self._real))
        return q, u, weights, scale

    def _flags(self, q: "np.ndarray", u: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
        """Return which pixels have all channels that count, and which have none."""
        from mpidriver.tasks.planes import count_channels

        used = self.weights > 0
        counts = count_channels(q, u) if used.all() else count_channels(q[used], u[used])
        return counts == used.sum(), counts == 0

    def _transfer(self, q: "np.ndarray", u: "np.ndarray", weights: "np.ndarray") -> "np.ndarray":
        """Return the transfer function of each pixel."""
        import numpy as np

        from mpidriver.tasks.faraday import rmtf

        return rmtf(
            self.freq_hz,
            self.rmsf_phi_radm2,
            weights=weights,
            flags=~(np.isfinite(q) & np.isfinite(u)),
            lambda0_sq_m2=self.lambda0_sq_m2,
            threads=self.threads,
            dtype=self._complex,
        )

    def _fwhm(self, q: "np.ndarray", u: "np.ndarray") -> "np.ndarray":
        """Return the resolution in Faraday depth: of the channels that count, or of each pixel's own."""
        import numpy as np

        from mpidriver.tasks.faraday import lambda_sq, rmtf_fwhm

        used = np.flatnonzero(self.weights > 0)
        if not self.rmsf_a_pixel:
            return np.full(q.shape[1:], rmtf_fwhm(self.freq_hz[used]))
        lambda_sq_m2 = lambda_sq(self.freq_hz)
        low, high = np.full(q.shape[1:], np.inf), np.full(q.shape[1:], -np.inf)
        for chan in used:
            good = np.isfinite(q[chan]) & np.isfinite(u[chan])
            np.minimum(low, lambda_sq_m2[chan], out=low, where=good)
            np.maximum(high, lambda_sq_m2[chan], out=high, where=good)
        span = np.where(high > low, high - low, np.nan)
        return 3.8 / span


def _is_transfer(name: str) -> bool:
    return name.startswith("RMSF_") and name != "RMSF_FWHM"


def write_parts(out: RegionWriter, files: Mapping[str, CubeFile], pattern: str, spectra: "np.ndarray") -> None:
    """Write complex spectra (plane, row, col) as cubes of the real part, the imaginary part and the modulus."""
    from mpidriver.tasks.planes import split_parts

    names = [pattern.format(part) for part in ("real", "im", "tot")]
    for first in range(0, len(spectra), PLANES_AT_ONCE):
        parts = split_parts(spectra[first : first + PLANES_AT_ONCE], files[names[0]].stored)
        for name, planes in zip(names, parts, strict=True):
            for number, plane in enumerate(planes, start=first):
                out.write(name, number, plane)


def write_map(out: RegionWriter, files: Mapping[str, CubeFile], name: str, values: "np.ndarray") -> None:
    """Write the region of a map (row, col)."""
    import numpy as np

    out.write(name, 0, np.ascontiguousarray(values, dtype=files[name].stored))
