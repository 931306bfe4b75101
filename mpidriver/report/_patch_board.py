"""The patches of a tract by stage: what is done, what has failed, what waits."""

from collections.abc import Mapping

from mpidriver.report._figure import INK, picture, say

__all__ = ["STAGES_OF_PATCHES", "draw_patch_board"]

#: Stages of patches that are shown, in the order in which they run.
STAGES_OF_PATCHES = ("warp", "coadd", "detect", "measure", "forced", "light_curves", "fakes", "cube", "rm_synthesis")
#: Colour of each state; of a stage's quanta in a patch the first of these that any is in is shown.
_COLOURS = {
    "failed": "#D55E00",
    "blocked": "#E69F00",
    "running": "#56B4E9",
    "ready": "#DDDDDD",
    "done": "#009E73",
}
#: Patches along a side up to which they are labelled.
_LABELLED = 12


def draw_patch_board(path, states: Mapping[str, Mapping[tuple[int, int], Mapping[str, int]]], *, title=""):
    """Draw the patches of a tract, a panel a stage, each in the colour of its worst state with the share that is done.

    Parameters
    ----------
    path : str or Path
        The PNG file to write.
    states : mapping of stage to mapping of patch (x, y) to mapping of state to int
        How many quanta of a stage are in which state.
    title : str
    """
    stages = [stage for stage in STAGES_OF_PATCHES if states.get(stage)]
    across = max(min(len(stages), 4), 1)
    down = max(-(-len(stages) // across), 1)
    with picture(path, title, width_in=3.1 * across + 0.3, height_in=3.2 * down + 0.9) as figure:
        panels = figure.subplots(down, across, squeeze=False)
        for axes in panels.flat[max(len(stages), 1) :]:
            axes.set_axis_off()
        if not stages:
            say(panels[0, 0])
            return
        patches = {patch for stage in stages for patch in states[stage]}
        for axes, stage in zip(panels.flat, stages, strict=False):
            _board(axes, stage, states[stage], patches)
        _legend(figure)


def _board(axes, stage, of_patches, patches):
    total, done = (sum(n for patch in of_patches.values() for n in _counts(patch, only)) for only in (None, "done"))
    axes.set_title(f"{stage.replace('_', ' ')}: {done:,} of {total:,}")
    low = [min(patch[axis] for patch in patches) for axis in (0, 1)]
    high = [max(patch[axis] for patch in patches) for axis in (0, 1)]
    labelled = max(high[0] - low[0], high[1] - low[1]) < _LABELLED
    for patch, counts in of_patches.items():
        colour = next((colour for state, colour in _COLOURS.items() if counts.get(state)), "#FFFFFF")
        axes.add_patch(_square(patch, colour))
        if labelled:
            text = f"{sum(_counts(counts, 'done'))}/{sum(counts.values())}"
            axes.text(*patch, text, ha="center", va="center", fontsize=7.0, color=INK)
    axes.set_xlim(low[0] - 0.6, high[0] + 0.6)
    axes.set_ylim(low[1] - 0.6, high[1] + 0.6)
    axes.set_aspect("equal")
    axes.set_xlabel("patch x")
    axes.set_ylabel("patch y")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.yaxis.get_major_locator().set_params(integer=True)


def _counts(counts, only):
    return [n for state, n in counts.items() if only in (None, state)]


def _square(patch, colour):
    from matplotlib.patches import Rectangle

    return Rectangle((patch[0] - 0.47, patch[1] - 0.47), 0.94, 0.94, facecolor=colour, edgecolor="none", alpha=0.85)


def _legend(figure):
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=colour, label=state, alpha=0.85) for state, colour in _COLOURS.items()]
    figure.legend(handles=handles, loc="outside lower left", ncols=len(handles))
