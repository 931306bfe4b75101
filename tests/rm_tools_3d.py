"""Write rm_tools_3d.json beside this file: small cubes and what RM-Tools 1.5 makes of them, file to file.

    pip install --no-deps --target PEERS rm-tools==1.5.0 finufft deprecation tqdm
    PYTHONPATH=PEERS python tests/rm_tools_3d.py

Each case holds the cubes rounded to six digits and, with seven digits, every product of `rmsynth3d`, of `rmclean3d`
down to `CUTOFF`, and every map of `peakfitcube` of both (`dirty_`, `clean_`), under RM-Tools' own names. NaN is null.
"""

import json
import tempfile
import warnings
from pathlib import Path

import numpy as np
from stokes_cubes import FREQ_HZ, write_fits_cube

PATH = Path(__file__).with_name("rm_tools_3d.json")
SKY = (2, 3)
SIGMA = 0.1
CUTOFF = 0.15
CASES = ("uniform", "noise", "flags", "Stokes I")
COMPLEX = {"FDF_dirty": "FDF_{}_dirty", "RMSF": "RMSF_{}", "FDF_clean": "FDF_clean_{}", "FDF_CC": "FDF_CC_{}"}
MAPS = ("RMSF_FWHM", "FDF_maxPI", "FDF_peakRM", "CLEAN_nIter")
PEAKS = (
    *("dFDFcorMAD", "phiPeakPIfit_rm2", "dPhiPeakPIfit_rm2", "ampPeakPIfit", "ampPeakPIfitEff", "dAmpPeakPIfit"),
    *("snrPIfit", "indxPeakPIfit", "peakFDFimagFit", "peakFDFrealFit", "polAngleFit_deg", "dPolAngleFit_deg"),
    *("polAngle0Fit_deg", "dPolAngle0Fit_deg", "lam0Sq_m2", "freq0_Hz", "fwhmRMSF", "dFDFth", "min_freq", "max_freq"),
    *("N_channels", "median_channel_width", "fracPol", "Ifreq0"),
)
PHI_MAX, SAMPLES = 300.0, 5.0


def make_case(rng, name):
    """Return Q, U and perhaps I (chan, row, col), and the noise (chan,), rounded as they are stored."""
    lambda_sq = (299792458.0 / FREQ_HZ[:, None, None]) ** 2
    p = np.zeros((FREQ_HZ.size, *SKY), complex)
    for low, high in ((0.8, 1.5), (0.2, 0.5)):
        angle, depth = rng.uniform(0, np.pi, SKY), rng.uniform(-200, 200, SKY)
        p += rng.uniform(low, high, SKY) * np.exp(2j * (angle + depth * lambda_sq))
    noise = SIGMA * (rng.uniform(0.7, 1.8, FREQ_HZ.size) if name == "noise" else np.ones(FREQ_HZ.size))
    stokes_i = rng.uniform(4.0, 8.0, SKY) * (FREQ_HZ[:, None, None] / 940e6) ** rng.uniform(-1.2, 0.0, SKY)
    cubes = {
        "Q": p.real + noise[:, None, None] * rng.normal(size=p.shape),
        "U": p.imag + noise[:, None, None] * rng.normal(size=p.shape),
    }
    if name == "Stokes I":
        cubes["I"] = stokes_i
    if name == "flags":
        cubes["Q"][3] = cubes["U"][3] = np.nan  # a channel
        cubes["Q"][10:14, 1, 1] = cubes["U"][10:14, 1, 1] = np.nan
        cubes["Q"][:, 0, 2] = cubes["U"][:, 0, 2] = np.nan  # a pixel
    return {key: _rounded(cube, 6) for key, cube in cubes.items()}, _rounded(noise, 6)


def write_cubes(folder, cubes, noise):
    """Write a case as the files that both programs read."""
    for name, cube in cubes.items():
        write_fits_cube(folder / f"{name}.fits", cube.astype(np.float32), name, ("RA---SIN", "DEC--SIN", "FREQ"))
    np.savetxt(folder / "freq.txt", FREQ_HZ)
    np.savetxt(folder / "noise.txt", noise)


def run(folder, name, cubes):
    """Return RM-Tools' products of the files in a folder, complex or float (depth, row, col) and maps (row, col)."""
    from astropy.io.fits.verify import VerifyWarning
    from RMtools_3D import do_RMclean_3D, do_RMsynth_3D

    quiet = {"verbose": False, "log": lambda *_: None}
    header, q = do_RMsynth_3D.readFitsCube(str(folder / "Q.fits"), False)
    u, i = (
        do_RMsynth_3D.readFitsCube(str(folder / f"{stokes}.fits"), False)[1] if stokes in cubes else None
        for stokes in "UI"
    )
    results = do_RMsynth_3D.run_rmsynth(
        q, u, np.loadtxt(folder / "freq.txt"), dataI=i, rmsArr=np.loadtxt(folder / "noise.txt"),
        phiMax_radm2=PHI_MAX, nSamples=SAMPLES, weightType=_weighting(name), **quiet,
    )  # fmt: skip
    warnings.filterwarnings("ignore", category=VerifyWarning)  # comments of its cards are too long
    do_RMsynth_3D.writefits(results, header, outDir=str(folder), **quiet)
    clean = do_RMclean_3D.run_rmclean(
        str(folder / "FDF_tot_dirty.fits"), str(folder / "RMSF_tot.fits"), CUTOFF, **quiet
    )
    do_RMclean_3D.writefits(*clean, outDir=str(folder), write_separate_FDF=True, **quiet)
    return read_products(folder) | _peak_maps(folder, name, i)


def read_products(folder):
    """Return what either program has written, by RM-Tools' names."""
    return read_cubes(folder, COMPLEX) | {name: _values(folder, name).reshape(SKY) for name in MAPS}


def read_cubes(folder, names):
    """Return complex products (depth, row, col)."""
    files = {name: COMPLEX[name] for name in names}
    return {
        name: _values(folder, file.format("real")) + 1j * _values(folder, file.format("im"))
        for name, file in files.items()
    }


def _values(folder, name):
    from astropy.io import fits

    return fits.getdata(folder / f"{name}.fits").astype(float).reshape(-1, *SKY)


def _peak_maps(folder, name, stokes_i):
    """Return the maps of peakfitcube, called as it calls itself."""
    from RMtools_3D.RMpeakfit_3D import pixelwise_peak_fitting, read_files

    noise, maps = np.loadtxt(folder / "noise.txt"), {}
    for kind, file in (("dirty", "FDF_tot_dirty.fits"), ("clean", "FDF_clean_tot.fits")):
        fdf, phi, fwhm, lambda_sq, lambda0, _ = read_files(str(folder / file), str(folder / "freq.txt"))
        found = pixelwise_peak_fitting(
            fdf, phi, fwhm, lambda_sq, lambda0, PEAKS, noiseArr=noise, stokesIcube=stokes_i, weightType=_weighting(name)
        )
        maps |= {f"{kind}_{key}": values for key, values in found.items()}
    return maps


def _weighting(name):
    return "variance" if name == "noise" else "uniform"


def pack(values):
    """Return an array as lists of numbers of seven digits; complex ones as their real and their imaginary parts."""
    if np.iscomplexobj(values):
        return {"real": pack(values.real), "imag": pack(values.imag)}
    rounded = [None if np.isnan(value) else float(value) for value in _rounded(values, 7).ravel()]
    return {"shape": list(values.shape), "values": rounded}


def unpack(stored):
    """Return the array that `pack` was given."""
    if "real" in stored:
        return unpack(stored["real"]) + 1j * unpack(stored["imag"])
    return np.array(stored["values"], float).reshape(stored["shape"])


def _rounded(values, digits):
    return np.vectorize(lambda value: float(f"{value:.{digits}g}"))(values)


def main():
    """Write the file."""
    rng = np.random.default_rng(2027)
    cases = []
    for name in CASES:
        cubes, noise = make_case(rng, name)
        with tempfile.TemporaryDirectory() as folder:
            write_cubes(Path(folder), cubes, noise)
            products = run(Path(folder), name, cubes)
        case = {"name": name, "noise": noise.tolist(), "cubes": {key: pack(cube) for key, cube in cubes.items()}}
        cases.append(case | {"products": {key: pack(values) for key, values in products.items()}})
    PATH.write_text(json.dumps(cases, separators=(",", ":")).replace('{"name"', '\n{"name"') + "\n")


if __name__ == "__main__":
    main()
