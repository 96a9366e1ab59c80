"""Public sets from a server on this machine, with small files of the documented layouts."""

import hashlib
import io
import json
import shutil
import tarfile
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from opalign.cli.dataset import app
from opalign.dataset import sources
from opalign.dataset.catalog import GithubCommit, find_entry
from opalign.dataset.fetch import fetch, make_table
from opalign.dataset.lock import LOCK_NAME, Lock
from opalign.dataset.sources import Servers
from opalign.dataset.table import SpectraTable
from opalign.dataset.web import Retries
from opalign.errors import DatasetError, StorageError

QUICK = Retries(attempts=3, first=0.001)
ENERGIES = np.linspace(0.0, 20.0, 2001)
STRUCTURE = {
    "lattice": {"matrix": [[0.0, 2.1, 2.1], [2.1, 0.0, 2.1], [2.1, 2.1, 0.0]]},
    "sites": [
        {"species": [{"element": "Mg", "occu": 1}], "abc": [0.0, 0.0, 0.0]},
        {"species": [{"element": "O", "occu": 1}], "abc": [0.5, 0.5, 0.5]},
    ],
}


def epsilon(strength: float) -> np.ndarray:
    return 1.0 + strength * 36.0 / (36.0 - ENERGIES**2 - 0.6j * ENERGIES)


def ipa_entry(material_id: str, strength: float, width: float = 0.3) -> dict:
    data = {"mat_id": material_id}
    data["ipa_epsI_0"] = epsilon(strength).imag.round(6).tolist()
    data["ipa_epsR_0"] = epsilon(strength).real.round(6).tolist()
    return {"data": data, "parameters": {"ipa_broad": width}, "structure": STRUCTURE}


def rpa_entry(material_id: str) -> dict:
    data = {"mat_id": material_id}
    for level, strength in (("ipa", 2.0), ("rpa", 1.5)):
        data[f"{level}_epsI"] = {"xx": epsilon(strength).imag.round(6).tolist()}
        data[f"{level}_epsR"] = {"xx": epsilon(strength).real.round(6).tolist()}
    return {"data": data, "parameters": {"rpa_broad": 0.1}, "structure": STRUCTURE}


def metal_entry(material_id: str) -> dict:
    data = {"mat_id": material_id, "drude_freq": [5.0] * 3, "e_above_hull": 0.0}
    for part in ("real", "imag"):
        values = np.column_stack([ENERGIES, *[getattr(epsilon(3.0), part)] * 3])
        data[f"eps_inter_{part[:2]}"] = values.round(6).tolist()
    return {"data": data, "structure": STRUCTURE}


def zipped(files: dict[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(files: dict[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


class Figshare:
    """Articles as figshare's API describes them, on a local server."""

    def __init__(self, server) -> None:
        self.server = server

    def add(
        self, article: int, files: dict[str, bytes], licence="CC BY 4.0", version=2, **changes
    ) -> None:
        listed = []
        for number, (name, content) in enumerate(files.items()):
            path = f"/files/{article}/{number}"
            self.server.files[path] = content
            described = {
                "id": number,
                "name": name,
                "size": len(content),
                "is_link_only": False,
                "download_url": self.server.url + path,
                "computed_md5": hashlib.md5(content).hexdigest(),
                "supplied_md5": "",
            }
            listed.append(described | changes)
        about = {
            "id": article,
            "title": f"Title of {article}",
            "version": version,
            "license": {"value": 1, "name": licence, "url": "https://example.org"},
            "citation": "Authors (2024): Title. figshare.",
        }
        self.server.files[f"/v2/articles/{article}"] = json.dumps(about).encode()
        self.list(article, listed)

    def list(self, article: int, listed: list[dict]) -> None:
        path, size = f"/v2/articles/{article}/files", sources.PAGE_SIZE
        for page in range(1, len(listed) // size + 2):
            part = listed[size * (page - 1) : size * page]
            self.server.files[f"{path}?page={page}&page_size={size}"] = json.dumps(part).encode()


@pytest.fixture
def figshare(file_server):
    return Figshare(file_server)


@pytest.fixture
def bring(tmp_path, file_server):
    servers = Servers(figshare=file_server.url + "/v2", github=file_server.url + "/git/")

    def run(name="optimate", **options):
        entry = find_entry(name) if isinstance(name, str) else name
        folder = tmp_path / entry.name
        options = {"servers": servers, "retries": QUICK} | options
        return fetch(entry, folder, **options)

    return run


@pytest.fixture
def optimate(figshare):
    """The article of OPTIMATE: an archive of each broadening, a pickle, and a page to read."""
    content = {
        "database_300.zip": zipped(
            {f"database_300/agm{n}.json": json.dumps(ipa_entry(f"agm{n}", n)) for n in (1, 2)}
        ),
        "database_100.zip": zipped(
            {"database_100/agm1.json": json.dumps(ipa_entry("agm1", 1, 0.1))}
        ),
        "graphs.pckl": b"\x80\x04.",
        "README.md": b"read me",
    }
    figshare.add(27440652, content)
    return content


def test_from_a_server_to_a_table(tmp_path, bring, optimate):
    fetched = bring()
    assert fetched.downloaded == ("database_300.zip", "database_100.zip", "README.md")
    assert [name for name, _ in fetched.left] == ["graphs.pckl"]
    assert not (tmp_path / "optimate" / "graphs.pckl").exists()
    (stated,) = fetched.lock.sources
    assert (stated.licence, stated.version) == ("CC BY 4.0", "2")
    read: list[str] = []
    report = make_table(find_entry("optimate"), fetched, tmp_path / "t.parquet", read.append)
    table = SpectraTable.open(report.path)
    assert table.ids == read == ["agm1", "agm2"]
    assert report.skipped == ()
    assert "0.1 eV broadening were passed over" in report.notes[0]
    np.testing.assert_allclose(
        table.isotropic_imaginary("ipa")[1], epsilon(2.0).imag, rtol=1e-5, atol=1e-6
    )
    assert table.licence == "CC BY 4.0"
    assert table.source == "https://doi.org/10.6084/m9.figshare.27440652"
    assert "L122201" in table.citation


def test_what_is_recorded(tmp_path, bring, optimate, file_server):
    bring()
    lock = Lock.model_validate_json((tmp_path / "optimate" / LOCK_NAME).read_bytes())
    recorded = lock.files["database_300.zip"]
    content = optimate["database_300.zip"]
    assert recorded.sha256 == hashlib.sha256(content).hexdigest()
    assert recorded.md5_of_source == hashlib.md5(content).hexdigest()
    assert recorded.size == len(content)
    assert recorded.url == f"{file_server.url}/files/27440652/0"
    assert recorded.retrieved.endswith("+00:00")


def test_nothing_is_downloaded_twice(bring, optimate, file_server):
    first = bring()
    file_server.asked.clear()
    second = bring()
    assert second.downloaded == ()
    assert second.lock == first.lock
    assert all(path.startswith("/v2/") for path in file_server.paths())


def test_offline_asks_nobody_and_still_checks(tmp_path, bring, optimate, file_server):
    with pytest.raises(DatasetError, match="was not fetched yet"):
        bring(offline=True)
    bring()
    file_server.asked.clear()
    fetched = bring(offline=True)
    assert file_server.asked == []
    assert make_table(find_entry("optimate"), fetched, tmp_path / "t.parquet").rows == 2
    (tmp_path / "optimate" / "README.md").unlink()
    with pytest.raises(DatasetError, match=r"README\.md: is missing"):
        bring(offline=True)


@pytest.mark.parametrize("offline", [False, True])
def test_a_file_that_was_changed_here_is_told(tmp_path, bring, optimate, offline):
    bring()
    with (tmp_path / "optimate" / "database_100.zip").open("r+b") as stream:
        stream.write(b"X")
    with pytest.raises(DatasetError, match=r"database_100\.zip: has changed since"):
        bring(offline=offline)


@pytest.mark.parametrize("content", [b"another", b"another length"])
@pytest.mark.parametrize("here", [True, False])
def test_a_file_that_was_changed_at_the_source_is_told(
    tmp_path, bring, figshare, optimate, file_server, here, content
):
    bring()
    folder = tmp_path / "optimate"
    if not here:
        (folder / "README.md").unlink()
    recorded = (folder / LOCK_NAME).read_bytes()
    changed = optimate | {"README.md": content}
    figshare.add(27440652, changed, licence="CC BY-NC 4.0", version=3)
    file_server.asked.clear()
    with pytest.raises(DatasetError, match=r"README\.md is another now(.|\n)*as first downloaded"):
        bring()
    assert (folder / "README.md").exists() is here
    assert (folder / LOCK_NAME).read_bytes() == recorded
    # Told before anything is downloaded.
    assert all(path.startswith("/v2/") for path in file_server.paths())
    if here:
        fetched = bring(offline=True)
        report = make_table(find_entry("optimate"), fetched, tmp_path / "t.parquet")
        assert SpectraTable.open(report.path).licence == "CC BY 4.0"


def test_a_change_is_told_where_no_checksum_was_stated_before(bring, figshare, optimate):
    figshare.add(27440652, optimate, computed_md5="")
    bring()
    figshare.add(27440652, optimate | {"README.md": b"another"})
    with pytest.raises(DatasetError, match=r"README\.md is another now"):
        bring()


def test_a_file_that_is_not_offered_any_more_is_told(tmp_path, bring, figshare, optimate):
    bring()
    del optimate["database_100.zip"]
    figshare.add(27440652, optimate)
    with pytest.raises(DatasetError, match=r"database_100\.zip is not offered any more"):
        bring()
    accept(tmp_path / "optimate", "database_100.zip")
    assert [path.name for path in bring().files] == ["database_300.zip", "README.md"]


def test_another_licence_of_the_same_files_is_told(tmp_path, bring, figshare, optimate):
    first = bring()
    figshare.add(27440652, optimate, version=3)
    assert bring().lock == first.lock
    figshare.add(27440652, optimate, licence="CC BY-NC 4.0", version=3)
    with pytest.raises(DatasetError, match=r"another licence(.|\n)*CC BY 4\.0, as when") as caught:
        bring()
    assert str(tmp_path / "optimate") in str(caught.value)
    assert Lock.read(tmp_path / "optimate", "optimate") == first.lock
    first.lock.model_copy(update={"sources": ()}).write(tmp_path / "optimate")
    assert bring().lock.sources[0].licence == "CC BY-NC 4.0"
    assert Lock.read(tmp_path / "optimate", "optimate").sources[0].version == "3"
    # Who states nothing, as a mirror may, contradicts nothing.
    figshare.add(27440652, optimate, licence=None)
    assert bring().lock.sources[0].licence == "CC BY-NC 4.0"


def accept(folder, *names):
    """Do what the message says, for files that are others at the source."""
    content = json.loads((folder / LOCK_NAME).read_bytes())
    for name in names:
        (folder / name).unlink()
        del content["files"][name]
    (folder / LOCK_NAME).write_text(json.dumps(content))


@pytest.fixture
def newer(optimate):
    """The files of OPTIMATE's article as they might be in its next version."""
    archive = zipped({"database_300/agm3.json": json.dumps(ipa_entry("agm3", 3))})
    return optimate | {"database_300.zip": archive}


def test_what_an_older_archive_held_is_not_read(tmp_path, bring, figshare, optimate, newer):
    bring()
    figshare.add(27440652, newer, licence="CC BY-NC 4.0", version=3)
    accept(tmp_path / "optimate", "database_300.zip")
    fetched = bring()
    assert fetched.downloaded == ("database_300.zip",)
    report = make_table(find_entry("optimate"), fetched, tmp_path / "t.parquet")
    table = SpectraTable.open(report.path)
    assert (table.ids, table.licence) == (["agm3"], "CC BY-NC 4.0")
    assert Lock.read(tmp_path / "optimate", "optimate").sources[0].version == "3"
    unpacked = (tmp_path / "optimate" / "unpacked").rglob("*.json")
    assert sorted(path.name for path in unpacked) == ["agm1.json", "agm3.json"]
    assert bring(offline=True).data == fetched.data


def test_what_is_unpacked_is_replaced_once_the_new_is_whole(
    tmp_path, bring, figshare, optimate, newer
):
    folder = tmp_path / "optimate"
    place = folder / "unpacked" / "database_300.zip"
    bring()
    figshare.add(27440652, optimate | {"database_300.zip": zipped({"../evil": b"1"})})
    accept(folder, "database_300.zip")
    with pytest.raises(DatasetError, match="leads out"):
        bring()
    with pytest.raises(DatasetError, match="leads out"):
        bring(offline=True)
    assert sorted(path.name for path in place.rglob("*.json")) == ["agm1.json", "agm2.json"]
    # As a run that was killed leaves it.
    left = place.with_name(".database_300.zip.new") / "half.json"
    left.parent.mkdir()
    left.write_text("{")
    figshare.add(27440652, newer)
    accept(folder, "database_300.zip")
    bring()
    assert [path.name for path in place.rglob("*.json")] == ["agm3.json"]
    assert sorted(p.name for p in place.parent.iterdir()) == ["database_100.zip", place.name]


def test_a_file_in_the_place_of_what_is_unpacked(tmp_path, bring, optimate, monkeypatch):
    place = tmp_path / "optimate" / "unpacked" / "database_300.zip"
    place.parent.mkdir(parents=True)
    place.write_text("in the way")
    assert bring().data[0].parent == place
    shutil.rmtree(place)
    monkeypatch.setattr("opalign.dataset.fetch._remove", refuse)
    with pytest.raises(StorageError, match=r"database_300\.zip: could not be replaced: not now"):
        bring(offline=True)


def refuse(path):
    raise OSError(1, "not now")


def test_accepting_a_change_that_is_stopped_goes_on(
    tmp_path, bring, figshare, optimate, newer, file_server
):
    bring()
    figshare.add(27440652, newer, licence="CC BY-NC 4.0", version=3)
    folder = tmp_path / "optimate"
    accept(folder, "database_300.zip")
    # Whole answers to the two questions, then cuts.
    file_server.cuts = [10**9] * 2 + [10, 0, 0]
    with pytest.raises(DatasetError, match="goes on from there"):
        bring()
    lock = Lock.read(folder, "optimate")
    assert lock.sources[0].licence == "CC BY 4.0"
    assert "database_300.zip" not in lock.files
    file_server.cuts = []
    assert bring().lock.sources[0].licence == "CC BY-NC 4.0"


def test_a_wrong_checksum_is_refused(tmp_path, bring, figshare):
    figshare.add(27440652, {"a.json": b"{}"}, computed_md5="0" * 32)
    with pytest.raises(DatasetError, match="MD5"):
        bring()
    assert list((tmp_path / "optimate").iterdir()) == []


def test_a_stopped_fetch_goes_on(tmp_path, bring, figshare, file_server):
    content = bytes(range(256)) * 2000
    figshare.add(27440652, {"first.txt": b"1", "second.bin": content})
    file_server.headers = {}
    # Whole answers to the two questions and for the first file, then cuts.
    file_server.cuts = [10**9] * 3 + [200_000, 0, 0, 0]
    with pytest.raises(DatasetError, match="goes on from there"):
        bring()
    lock = Lock.read(tmp_path / "optimate", "optimate")
    assert set(lock.files) == {"first.txt"}
    file_server.cuts = []
    file_server.asked.clear()
    assert bring().downloaded == ("second.bin",)
    (headers,) = [h for path, h in file_server.asked if path.startswith("/files")]
    assert headers["Range"] == "bytes=196608-"
    assert (tmp_path / "optimate" / "second.bin").read_bytes() == content


def test_a_file_from_elsewhere_counts_if_its_checksum_is_stated(tmp_path, bring, optimate):
    folder = tmp_path / "optimate"
    folder.mkdir()
    (folder / "README.md").write_bytes(b"read me")
    assert "README.md" not in bring().downloaded
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "README.md").write_bytes(b"my own notes")
    with pytest.raises(DatasetError, match="was not downloaded by Opalign"):
        bring()


@pytest.mark.parametrize("number", [9, 10, 11])
def test_many_files_come_page_by_page(bring, figshare, monkeypatch, number):
    monkeypatch.setattr(sources, "PAGE_SIZE", 5)
    figshare.add(27440652, {f"{n}.json": b"{}" for n in range(number)})
    assert len(bring().files) == number


@pytest.mark.parametrize(
    "name", ["../evil.json", "/etc/evil.json", "a/b.json", LOCK_NAME, "..", "a\\b"]
)
def test_names_of_files_that_lead_out_are_refused(tmp_path, bring, figshare, name):
    figshare.add(27440652, {name: b"{}"})
    with pytest.raises(DatasetError, match="name"):
        bring()
    assert [path.name for path in tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"<html>", "no JSON"),
        (b"{}", "no list"),
        (b'[{"name": "a"}]', "documents"),
        (b'[{"name": "a", "size": -1, "download_url": "x"}]', "documents"),
    ],
)
def test_an_answer_other_than_documented(bring, optimate, file_server, answer, words):
    file_server.files["/v2/articles/27440652/files?page=1&page_size=100"] = answer
    with pytest.raises(DatasetError, match=words):
        bring()


def test_an_article_of_pickles_alone(bring, figshare):
    figshare.add(30257551, {"data.pckl": b"\x80\x04."})
    with pytest.raises(DatasetError, match=r"no file that Opalign reads(.|\n)*data\.pckl"):
        bring("optimate3b")


def test_files_that_figshare_only_links_to_are_told(bring, figshare):
    figshare.add(27440652, {"a.json": b"{}"}, is_link_only=True)
    with pytest.raises(DatasetError, match="kept elsewhere"):
        bring()


def test_an_archive_that_is_not_safe_stops_the_set(tmp_path, bring, figshare):
    figshare.add(27440652, {"bad.zip": zipped({"../evil": b"1"})})
    with pytest.raises(DatasetError, match="leads out"):
        bring()
    assert not (tmp_path / "evil").exists()
    assert not (tmp_path / "optimate" / "unpacked" / "bad.zip").exists()


def test_two_articles_in_one_set(tmp_path, bring, figshare):
    for article, name in ((31111798, "part_1"), (31112491, "part_2")):
        files = {f"{name}/agm{article}.json": json.dumps(metal_entry(f"agm{article}"))}
        figshare.add(article, {f"{name}.tar.gz": tarred(files)}, licence="CC0")
    entry = find_entry("optimetal-full")
    report = make_table(entry, bring(entry.name), tmp_path / "t.parquet")
    table = SpectraTable.open(report.path)
    assert table.ids == ["agm31111798", "agm31112491"]
    assert table.scalar("drude_frequency_eV")[0] == pytest.approx(5.0)
    assert (table.licence, table.citation) == ("CC0", entry.citation)
    figshare.add(31112491, {"part_1.tar.gz": b"other"})
    with pytest.raises(DatasetError, match="same name"):
        bring(entry.name)


def test_metals_prepared_for_learning(tmp_path, bring, figshare):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed (extra hdf5)")
    with h5py.File(tmp_path / "train.h5", "w") as file:
        values = {
            "mat_id": "agm1",
            "e_above_hull": 0.0,
            "lattice": STRUCTURE["lattice"]["matrix"],
            "atomic_number": np.array([12, 8], dtype=np.uint16),
            "position": [[0.0, 0.0, 0.0], [2.1, 2.1, 2.1]],
            "drude": 5.0,
            "eps": epsilon(2.0).astype(np.complex64),
        }
        for key, value in values.items():
            file.create_dataset(f"agm1/{key}", data=value)
    content = {"dataset/train.h5": (tmp_path / "train.h5").read_bytes(), "graph/train.pt": b"PK"}
    figshare.add(31112554, {"ml.zip": zipped(content)})
    fetched = bring("optimetal")
    assert [name for name, _ in fetched.left] == ["graph/train.pt"]
    report = make_table(find_entry("optimetal"), fetched, tmp_path / "t.parquet")
    assert SpectraTable.open(report.path).ids == ["agm1"]


def test_rpa_and_what_only_figshare_says(tmp_path, bring, figshare):
    files = {f"database_RPA/agm{n}.json": json.dumps(rpa_entry(f"agm{n}")) for n in range(2)}
    figshare.add(30257689, {"database_RPA.zip": zipped(files)})
    entry = find_entry("optimate3b-rpa")
    report = make_table(entry, bring(entry.name), tmp_path / "t.parquet")
    table = SpectraTable.open(report.path)
    assert list(table.levels) == ["ipa", "rpa"]
    assert len(table) == 2
    assert table.citation == "Authors (2024): Title. figshare."


def poscar(symbol: str) -> str:
    rows = "\n".join(" ".join(map(str, row)) for row in STRUCTURE["lattice"]["matrix"])
    return f"{symbol}O\n1.0\n{rows}\n{symbol} O\n1 1\ndirect\n0 0 0\n0.5 0.5 0.5\n"


def study(listing: str) -> dict[str, str | bytes]:
    root = "opt_absorption_alignn-4fcf79581cc0/data"
    return {
        "pax_global": "",
        f"{root}/alignn_training_data/id_prop.csv": listing,
        f"{root}/alignn_training_data/POSCAR_MgO_mp-1.vasp": poscar("Mg"),
        f"{root}/alignn_training_data/POSCAR_CaO_mp-2.vasp": poscar("Ca"),
        f"{root}/first_principles_calculation/MgO_mp-1.json.tar.gz": b"packed",
        "opt_absorption_alignn-4fcf79581cc0/models/best_model.pt": b"PK",
    }


def github_path(name: str) -> str:
    (source,) = find_entry(name).sources
    assert isinstance(source, GithubCommit)
    return f"/git/{source.repository}/tar.gz/{source.commit}"


def test_the_study_of_alignn(tmp_path, bring, file_server):
    values = ",".join(["2.0"] * 300 + ["5.25"] * 1201)
    listing = "".join(
        f"POSCAR_{name}.vasp,{values}\n" for name in ("MgO_mp-1", "CaO_mp-2", "BaO_mp-3")
    )
    file_server.files[github_path("alignn-absorption")] = tarred(study(listing))
    fetched = bring("alignn-absorption")
    assert [name for name, _ in fetched.left] == [
        "opt_absorption_alignn-4fcf79581cc0/models/best_model.pt"
    ]
    report = make_table(find_entry("alignn-absorption"), fetched, tmp_path / "t.parquet")
    table = SpectraTable.open(report.path)
    assert table.ids == ["POSCAR_MgO_mp-1", "POSCAR_CaO_mp-2"]
    assert report.skipped[0][0] == "POSCAR_BaO_mp-3.vasp"
    assert table.grid.stop == 15.0
    np.testing.assert_allclose(table.log_absorption("ipa_corrected")[0, [0, -1]], [2.0, 5.25])
    assert table.licence == ""


def test_a_stand_in_of_git_lfs_is_recognised(tmp_path, bring, file_server):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    file_server.files[github_path("alignn-absorption")] = tarred(study(pointer))
    fetched = bring("alignn-absorption")
    with pytest.raises(DatasetError, match="Git LFS"):
        make_table(find_entry("alignn-absorption"), fetched, tmp_path / "t.parquet")


def test_oxides_of_github(tmp_path, bring, file_server):
    entry = {
        "mp_id": "mp-1265",
        "structure": STRUCTURE,
        "spacegroup": {"number": 225},
        "band_gap": 4.7,
        "is_direct": True,
        "dielectric": {"epsilon_electronic": np.diag([3.0, 3.0, 3.0]).tolist()},
    }
    files = {"oxi_diel_db-d5fab66/data/mp-1265.json": json.dumps(entry)}
    file_server.files[github_path("oxide-dielectric")] = tarred(files)
    fetched = bring("oxide-dielectric")
    report = make_table(find_entry("oxide-dielectric"), fetched, tmp_path / "t.parquet")
    assert SpectraTable.open(report.path).scalar("dielectric_electronic")[0] == pytest.approx(3.0)
    other = replace(find_entry("oxide-dielectric"), folder="elsewhere")
    with pytest.raises(DatasetError, match="no folder 'elsewhere'"):
        make_table(other, fetched, tmp_path / "u.parquet")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot be read"),
        ('{"name": "optimate", "version": 99}', "update opalign"),
        ('{"name": "optimetal"}', "belongs to the set"),
        ('{"name": "optimate", "files": {"a": {"sha256": "x"}}}', "cannot be read"),
    ],
)
def test_a_lock_file_that_is_not_this_sets(tmp_path, bring, optimate, content, words):
    (tmp_path / "optimate").mkdir()
    (tmp_path / "optimate" / LOCK_NAME).write_text(content)
    with pytest.raises(DatasetError, match=words):
        bring()


def test_a_folder_that_cannot_be_written(tmp_path, bring, optimate):
    (tmp_path / "optimate").write_text("a file in the way")
    with pytest.raises(StorageError, match="optimate"):
        bring()


@pytest.fixture
def command(tmp_path, file_server):
    def run(*arguments):
        servers = ("--figshare", file_server.url + "/v2", "--github", file_server.url + "/git")
        return CliRunner().invoke(app, ["fetch", *map(str, arguments), *servers])

    return run


def test_the_command(tmp_path, command, optimate, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = command("optimate")
    assert result.exit_code == 0, result.output
    assert "licence: CC BY 4.0" in result.stdout
    assert "2 materials" in result.stdout
    assert "Next: opalign dataset info data/optimate/optimate.parquet" in result.stdout
    assert "downloading database_300.zip" in result.stderr
    assert "not taken graphs.pckl: a pickle" in result.stderr
    assert len(SpectraTable.open("data/optimate/optimate.parquet")) == 2
    again = command("optimate", "--offline", "--table", "t.parquet")
    assert again.exit_code == 0, again.output
    assert "downloading" not in again.stderr
    assert len(SpectraTable.open("t.parquet")) == 2


def test_the_command_without_a_table(tmp_path, command, optimate):
    result = command("optimate", "--to", tmp_path / "here", "--download-only")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "here" / LOCK_NAME).is_file()
    assert list(tmp_path.rglob("*.parquet")) == []
    assert f"--to {tmp_path / 'here'} --offline" in result.stdout


def test_the_command_with_a_name_that_is_none(command):
    result = command("optimat")
    assert isinstance(result.exception, DatasetError)
    assert "did you mean 'optimate'" in str(result.exception)


def test_a_set_can_be_imported_again_with_the_other_line(tmp_path, bring, optimate):
    bring()
    source, out = tmp_path / "optimate" / "unpacked", tmp_path / "narrow.parquet"
    arguments = ["import", "optimate", source, out, "--broadening", "lorentzian:0.1"]
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    table = SpectraTable.open(out)
    assert table.ids == ["agm1"]
    assert table.levels["ipa"].broadening.width == 0.1
    arguments[-1] = "gaussian:0.1"
    refused = CliRunner().invoke(app, list(map(str, arguments)))
    assert refused.exit_code == 2
    assert "Lorentzian" in refused.stderr
