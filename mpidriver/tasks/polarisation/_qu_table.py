"""QU fits of catalogued sources as tables: all that was fitted, and what the RM table says of the preferred model."""

import numpy as np

from mpidriver.tasks.faraday import QU_MODELS, fit_qu

__all__ = ["QU_COLUMNS", "QU_DTYPE", "QU_UNITS", "fill_qu_columns", "fit_component", "qu_table"]

CRITERIA = ("chi_sq", "degrees_of_freedom", "aic", "bic", "log_evidence")
UNITS = {"angle0_deg": "deg", "rm_radm2": "rad/m2", "depth_radm2": "rad/m2"}
PARAMETERS = tuple(dict.fromkeys(name for names in QU_MODELS.values() for name in names))


def _unit(name):
    return UNITS.get(name.removesuffix("_2"), "")


#: Columns of the preferred model in the RM table: unit and description.
QU_COLUMNS = {
    "qu_model": ("", "Model of Q and U that the data prefer, of those fitted"),
    **{
        f"qu_{name}{end}": (_unit(name), f"{'Error of its' if end else 'Its'} {name.replace('_', ' ')}")
        for name in PARAMETERS
        for end in ("", "_err")
    },
    **{f"qu_{name}": ("", f"Its {name.replace('_', ' ')}") for name in CRITERIA},
    "qu_margin": ("", "By how much the criterion prefers it to the next"),
}
_ALL = {
    f"{model}_{name}": _unit(name.removesuffix("_err"))
    for model, names in QU_MODELS.items()
    for name in (*(f"{parameter}{end}" for parameter in names for end in ("", "_err")), *CRITERIA)
}
#: Columns of a cell's table of fits, a row a source: those above, then of each model, NaN where it was not fitted.
QU_UNITS = {"cat_id": "", **{name: unit for name, (unit, _) in QU_COLUMNS.items()}, **_ALL}
QU_DTYPE = np.dtype([(name, {"cat_id": "U64", "qu_model": "U8"}.get(name, "f8")) for name in QU_UNITS])


def fit_component(options, spectrum, stokes_i_model):
    """Fit models to the fractional spectra of one source.

    Parameters
    ----------
    options : QUFittingOptions
    spectrum : structured scalar
        Columns ``freq``, ``stokesQ``, ``stokesQ_error`` … of a table of spectra.
    stokes_i_model : float (chan,)
        By which Q and U are divided; 1 where they are not.

    Returns
    -------
    dict of str to QuFit
    """
    columns = ("stokesQ", "stokesU", "stokesQ_error", "stokesU_error")
    fractions = [spectrum[name].astype(np.float64) / stokes_i_model for name in columns]
    freq_hz = spectrum["freq"].astype(np.float64)
    return fit_qu(freq_hz, *fractions, models=options.models, phi_max_radm2=options.phi_max_radm2)


def qu_table(names, fits, *, criterion):
    """Return a table of fits.

    Parameters
    ----------
    names : sequence of str
        Identifiers of the sources.
    fits : sequence of dict of str to QuFit
        From `fit_component`, of each source; an empty one leaves its row blank.
    criterion : str
        ``aic``, ``bic`` or ``evidence``.

    Returns
    -------
    structured ndarray (source,)
        Columns `QU_DTYPE`, units `QU_UNITS`.
    """
    table = np.zeros(len(names), QU_DTYPE)
    for name in QU_DTYPE.names[2:]:
        table[name] = np.nan
    table["cat_id"] = names
    for row, models in zip(table, fits, strict=True):
        for model, fit in models.items():
            for name, value in _values(fit).items():
                row[f"{model}_{name}"] = value
        if models:
            _prefer(row, models, criterion)
    return table


def _values(fit):
    """Return parameters, errors and criteria of a fit by the names of columns."""
    errors = {f"{name}_err": error for name, error in fit.errors.items()}
    return fit.parameters | errors | {name: getattr(fit, name) for name in CRITERIA}


def _prefer(row, models, criterion):
    """Write the model that is best by a criterion, which is the smaller the better but for the evidence."""
    name = "log_evidence" if criterion == "evidence" else criterion
    costs = {model: getattr(fit, name) * (-1.0 if name == "log_evidence" else 1.0) for model, fit in models.items()}
    best, *others = sorted(costs, key=costs.get)
    row["qu_model"] = best
    for name, value in _values(models[best]).items():
        row[f"qu_{name}"] = value
    if others:
        row["qu_margin"] = costs[others[0]] - costs[best]


def fill_qu_columns(rows, fitted):
    """Write the preferred models into rows of the RM table, in place.

    Parameters
    ----------
    rows : structured ndarray (source,)
        With ``cat_id`` and `QU_COLUMNS`.
    fitted : structured ndarray (fit,)
        From `qu_table`.
    """
    places = {name: number for number, name in enumerate(fitted["cat_id"].tolist())}
    at = np.array([places.get(name, -1) for name in rows["cat_id"].tolist()], np.intp)
    for name in QU_COLUMNS:
        rows[name][at >= 0] = fitted[name][at[at >= 0]]
