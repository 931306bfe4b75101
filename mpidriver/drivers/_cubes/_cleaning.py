"""What a rank does with a region of Faraday spectra in RM-CLEAN: read, clean, write."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpidriver.drivers._cubes._regions import Region
from mpidriver.drivers._cubes._synthesis import write_map, write_parts
from mpidriver.store import CubeFile, CubeSource, RegionWriter, read_map

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Cleaning"]


@dataclass(frozen=True)
class Cleaning:
    """RM-CLEAN of cubes of Faraday spectra, as it is sent to the ranks."""

    real: CubeSource
    imaginary: CubeSource
    rmsf_real: CubeSource
    rmsf_imaginary: CubeSource
    """Transfer functions: of the sky's shape, or one for all."""
    fwhm_path: str
    """Map of their FWHM."""
    phi_radm2: "np.ndarray"
    cutoff: float
    """In the unit of the spectra, or in standard deviations if `in_sigma`."""
    window_cutoff: float | None
    in_sigma: bool
    noise: float | str | None
    """Standard deviation of the spectra's parts, a map of it, or none: then each spectrum's own."""
    gain: float
    max_iterations: int
    threads: int = 1

    @property
    def has_common_rmsf(self) -> bool:
        """Whether all spectra have the same transfer function."""
        return self.rmsf_real.shape[1:] == (1, 1)

    @property
    def bytes_a_pixel(self) -> int:
        """Memory that a pixel takes at most while its region is cleaned."""
        spectrum = 8 * len(self.phi_radm2)
        transfer = 0 if self.has_common_rmsf else 2 * self.rmsf_real.bytes_a_pixel + 8 * self.rmsf_real.shape[0]
        return 2 * self.real.bytes_a_pixel + 5 * spectrum + transfer + 64

    def fill(self, files: Mapping[str, CubeFile], region: Region) -> tuple[int, int]:
        """Clean a region and write it; return the sum of its iterations and its spectra that did not converge."""
        import numpy as np

        from mpidriver.tasks.faraday import rm_clean

        fdf = _complex(self.real, self.imaginary, region.rows, region.cols)
        everywhere = (slice(0, 1), slice(0, 1))
        transfer = _complex(
            self.rmsf_real,
            self.rmsf_imaginary,
            *(everywhere if self.has_common_rmsf else (region.rows, region.cols)),
        )
        fwhm = read_map(self.fwhm_path, region.rows, region.cols)
        result = rm_clean(
            fdf,
            transfer[:, 0, 0] if self.has_common_rmsf else transfer,
            self.phi_radm2,
            fwhm,
            cutoff=self.cutoff,
            window_cutoff=self.window_cutoff,
            noise=self._noise(fdf, fwhm, region) if self.in_sigma else None,
            gain=self.gain,
            max_iterations=self.max_iterations,
            threads=self.threads,
        )
        with RegionWriter(files, region.rows, region.cols) as out:
            write_parts(out, files, "FDF_clean_{}", result.cleaned)
            write_parts(out, files, "FDF_CC_{}", result.components)
            write_map(out, files, "CLEAN_nIter", result.iterations)
        blank = ~np.isfinite(fdf[0])
        return int(result.iterations.sum()), int((~result.converged & ~blank).sum())

    def _noise(self, fdf: "np.ndarray", fwhm: "np.ndarray", region: Region) -> "float | np.ndarray":
        from mpidriver.tasks.faraday import spectrum_noise

        if isinstance(self.noise, str):
            return read_map(self.noise, region.rows, region.cols)
        if self.noise is not None:
            return self.noise
        return spectrum_noise(fdf, self.phi_radm2, fwhm)


def _complex(real: CubeSource, imaginary: CubeSource, rows: slice, cols: slice) -> "np.ndarray":
    """Return a region of two cubes as complex numbers, in float64 if the cubes are."""
    import numpy as np

    from mpidriver.tasks.planes import native_cube

    part = real.read(rows, cols)
    kind = np.float64 if part.dtype.itemsize == 8 else np.float32
    joined = np.empty(part.shape, np.result_type(kind, np.complex64))
    joined.real = native_cube(part, kind)
    joined.imag = native_cube(imaginary.read(rows, cols), kind)
    return joined
