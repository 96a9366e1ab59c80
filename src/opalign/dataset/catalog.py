"""Public sets of optical spectra: where each lies, what it may be used for, and what is not known.

Only what the authors' pages, articles and repositories say is written here. What they do not say is
``None`` and shown as "unknown"; the licence, size and checksums that a server states are recorded
when a set is first fetched (:mod:`opalign.dataset.lock`).
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import Literal

from opalign.errors import DatasetError

Reader = Literal["optimate", "optimetal", "alignn", "oxi_diel_db"]

UNKNOWN = "unknown"


@dataclass(frozen=True)
class FigshareArticle:
    """An article of figshare, by its number; its files are asked for when it is fetched."""

    article: int

    @property
    def url(self) -> str:
        """The page that the DOI leads to."""
        return f"https://doi.org/10.6084/m9.figshare.{self.article}"


@dataclass(frozen=True)
class GithubCommit:
    """The tree of a GitHub repository at one commit."""

    repository: str
    commit: str

    @property
    def url(self) -> str:
        """The page of the tree."""
        return f"https://github.com/{self.repository}/tree/{self.commit}"


@dataclass(frozen=True)
class CatalogueEntry:
    """One public set.

    Attributes
    ----------
    contents
        What it holds, in one or two sentences.
    citation, licence, size, num_materials
        None where it was not found stated; ``size`` is in bytes. Figshare states citation, licence
        and size of an article when the set is fetched.
    reader, folder
        How the unpacked files become a table, and where among them the data lie.
    width
        Half width at half maximum (eV) of the Lorentzian to take, where a set holds several.
    excluded
        Material ids that the authors themselves leave out, and why.
    unknown
        What a user might want to know and could not be found.
    """

    name: str
    title: str
    contents: str
    sources: tuple[FigshareArticle | GithubCommit, ...]
    reader: Reader
    citation: str | None = None
    licence: str | None = None
    size: int | None = None
    num_materials: int | None = None
    folder: str = "."
    levels: tuple[str, ...] = ()
    width: float | None = None
    excluded: dict[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


_YAMBO_ERROR = {"agm005546161": "left out by the authors: a rare error of Yambo"}
_ILMENAU = "M. Grunert, M. Großmann, E. Runge"
_DEEP = (
    f"{_ILMENAU}, figshare (2024), doi:10.6084/m9.figshare.27440652; "
    f"{_ILMENAU}, Phys. Rev. Mater. 8, L122201 (2024)"
)
_SCALING = "M. Großmann, M. Grunert, E. Runge, arXiv:2602.05702 (2026)"

_ENTRIES = (
    CatalogueEntry(
        name="optimate",
        title="Dielectric function of semiconductors and insulators under the IPA (OPTIMATE)",
        contents="Independent-particle spectra of main-group compounds (Alexandria structures, "
        "Quantum ESPRESSO and Yambo), 0–20 eV, 2,001 points, at 0.3 eV and at 0.1 eV broadening",
        sources=(FigshareArticle(27440652),),
        citation=_DEEP,
        reader="optimate",
        levels=("ipa",),
        width=0.3,
        excluded=_YAMBO_ERROR,
        unknown=("names of the files: taken from figshare when the set is fetched",),
    ),
    CatalogueEntry(
        name="optimate3b",
        title="Data for evaluating OptiMate3B",
        contents="Independent-particle spectra on which OptiMate3B is evaluated. The file its "
        "users document is a pickled table (data.pckl), which Opalign refuses; other files of the "
        "article are fetched, and their JSON is read. optimate3b-rpa holds IPA spectra as JSON",
        sources=(FigshareArticle(30257551),),
        reader="optimate",
        levels=("ipa",),
        excluded=_YAMBO_ERROR,
        unknown=("whether the article holds spectra in any format but pickle",),
    ),
    CatalogueEntry(
        name="optimate3b-rpa",
        title="Dielectric functions of semiconductors and insulators under the IPA and the RPA",
        contents="Spectra of main-group compounds without and with local fields from the same k "
        "points, one JSON a material, 0–20 eV, 2,001 points",
        sources=(FigshareArticle(30257689),),
        reader="optimate",
        num_materials=10_533,
        levels=("ipa", "rpa"),
        excluded=_YAMBO_ERROR,
        unknown=("names of the files: taken from figshare when the set is fetched",),
    ),
    CatalogueEntry(
        name="optimetal",
        title="OptiMetal: dielectric functions of intermetallics, prepared for learning",
        contents="Interband dielectric functions, averaged over the axes, and Drude frequencies; "
        "HDF5 files of training, validation and test sets, 0–20 eV, 2,001 points. The prepared "
        "graphs (.pt) are pickles and left packed",
        sources=(FigshareArticle(31112554),),
        citation=_SCALING,
        reader="optimetal",
        num_materials=201_361,
        levels=("ipa_interband",),
        unknown=("broadening of the interband part",),
    ),
    CatalogueEntry(
        name="optimetal-full",
        title="OptiMetal: the complete first-principles set",
        contents="One JSON a material: interband dielectric function along the axes, Drude "
        "frequencies, structure, distance from the hull. 201,361 files in two articles",
        sources=(FigshareArticle(31111798), FigshareArticle(31112491)),
        citation=_SCALING,
        reader="optimetal",
        num_materials=201_361,
        levels=("ipa_interband",),
        unknown=("broadening of the interband part",),
    ),
    CatalogueEntry(
        name="alignn-absorption",
        title="Absorption spectra of oxides and chalcogenides of the ALIGNN study",
        contents="log₁₀ α from 0 to 15 eV, 1,501 points, floored at 2, in ALIGNN's layout; beside "
        "it, packed one by one, the calculations (data/first_principles_calculation)",
        sources=(
            GithubCommit(
                "takahashi-akira-36m/opt_absorption_alignn",
                "4fcf79581cc0416e64b8969f27a0bcf92da14c1a",
            ),
        ),
        citation="A. Takamatsu, A. Takahashi et al., arXiv:2510.17123 (2025)",
        reader="alignn",
        num_materials=2_681,
        folder="data/alignn_training_data",
        levels=("ipa_corrected",),
        unknown=(
            "licence: the repository has no licence file and its README names none; ask the "
            "authors before passing the data on",
            "broadening of the spectra",
            "layout of the JSON in data/first_principles_calculation, which is not read",
        ),
    ),
    CatalogueEntry(
        name="oxide-dielectric",
        title="Static dielectric tensors of oxides",
        contents="PBEsol(+U)-relaxed structures, gaps, electronic and ionic dielectric tensors, "
        "one JSON a material; scalars, no spectra",
        sources=(
            GithubCommit(
                "takahashi-akira-36m/oxi_diel_db",
                "d5fab66496b6e4a2f4996a8a59fa8235b741edaf",
            ),
        ),
        citation="A. Takahashi et al., Phys. Rev. Mater. 4, 103801 (2020), "
        "doi:10.1103/PhysRevMaterials.4.103801",
        reader="oxi_diel_db",
        licence="CC BY 4.0",
        num_materials=1_278,
        folder="data",
    ),
)

CATALOGUE: dict[str, CatalogueEntry] = {entry.name: entry for entry in _ENTRIES}


def find_entry(name: str) -> CatalogueEntry:
    """Return the entry of this name; DatasetError, with the nearest name, if there is none."""
    try:
        return CATALOGUE[name]
    except KeyError:
        near = difflib.get_close_matches(name, CATALOGUE, n=1)
        raise DatasetError(
            f"there is no set {name!r} in the catalogue",
            expected=", ".join(CATALOGUE),
            cure=f"did you mean {near[0]!r}?" if near else "`opalign dataset catalog` lists them",
        ) from None
