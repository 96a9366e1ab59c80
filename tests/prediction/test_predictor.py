import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

import opalign
from opalign.crystal.graph import build_graph, collate
from opalign.errors import CheckpointError, ConfigurationError
from opalign.model.checkpoint import load_checkpoint
from opalign.model.fused import gated_messages, gated_update
from opalign.prediction import Predictor
from opalign.prediction import predictor as module

from .conftest import rock_salt

# Of ε: double precision in, nine decimals kept.
ROUNDING = 2e-9


def epsilons(predictions, level="rpa"):
    return np.array([one.spectra[level].epsilon for one in predictions])


def test_a_prediction_is_what_the_network_says(predictor, checkpoint_folder, crystals):
    checkpoint = load_checkpoint(checkpoint_folder)
    batch = collate([build_graph(one, checkpoint.config.graph) for one in crystals])
    with torch.no_grad():
        output = checkpoint.model(batch)
    predictions = list(predictor.predict(crystals))
    for place, level in enumerate(checkpoint.config.levels):
        expected = output["epsilon_real"][:, place] + 1j * output["epsilon_imaginary"][:, place]
        # The network's own precision is single here.
        np.testing.assert_allclose(epsilons(predictions, level), expected.numpy(), atol=1e-5)
    gaps = [one.band_gap for one in predictions]
    np.testing.assert_allclose(gaps, output["band_gap"].numpy(), atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_a_batch_changes_nothing(predictor, crystals, batch_size):
    together = list(predictor.predict(crystals, batch_size=16))
    apart = list(predictor.predict(crystals, batch_size=batch_size))
    assert [one.id for one in apart] == [one.id for one in together]
    np.testing.assert_allclose(epsilons(apart), epsilons(together), atol=ROUNDING, rtol=0)
    for a, b in zip(apart, together, strict=True):
        assert [n.id for n in a.nearest] == [n.id for n in b.nearest]


def test_large_cells_share_smaller_batches(predictor, crystals, monkeypatch):
    together = epsilons(predictor.predict(crystals))
    sizes = []

    def counting(graphs, **options):
        sizes.append(len(graphs))
        return collate(graphs, **options)

    monkeypatch.setattr(module, "BATCH_BUDGET", 1)
    monkeypatch.setattr(module, "collate", counting)
    np.testing.assert_allclose(epsilons(predictor.predict(crystals)), together, atol=ROUNDING)
    assert sizes == [1] * len(crystals)


def test_a_supercell_has_the_spectrum_of_its_cell(predictor, training_structures):
    cell = training_structures["mp-1"]
    one, many = predictor.predict([cell, cell * (2, 2, 1)])
    # Physics, not rounding: the sums run over other neighbours.
    np.testing.assert_allclose(one.spectrum.epsilon, many.spectrum.epsilon, atol=1e-8)


def test_a_training_material_is_its_own_neighbor(predictor, training_structures):
    for name, found in zip(
        training_structures, predictor.predict(training_structures.values()), strict=True
    ):
        assert found.nearest[0].id == name
        # The reference is kept in single precision.
        assert found.nearest[0].relative_distance < 1e-4
        assert found.nearest[1].distance > found.nearest[0].distance
        assert found.warnings == ()


def test_an_element_never_seen_is_a_warning(predictor, training_structures):
    structure = training_structures["mp-1"].copy()
    structure.replace_species({"Mg": "Ba"})
    (prediction,) = predictor.predict(structure)
    assert prediction.warnings[0].endswith("elements: Ba")


def test_an_element_beyond_the_table_is_skipped(predictor, training_structures):
    structure = training_structures["mp-1"].copy()
    structure.replace_species({"Mg": "Lr"})
    failures = []
    found = list(
        predictor.predict([structure, training_structures["mp-1"]], on_failure=failures.append)
    )
    assert [one.formula for one in found] == ["MgO"]
    assert "cannot describe Lr" in failures[0].reason


def test_a_graph_that_fits_no_memory_is_skipped(predictor, training_structures, monkeypatch):
    monkeypatch.setattr(module, "LARGEST_GRAPH", 3000)
    cell = training_structures["mp-1"]
    failures = []
    found = list(predictor.predict([cell * (3, 3, 3), cell], on_failure=failures.append))
    assert len(found) == 1
    assert "54 atoms" in failures[0].reason


def test_numbers_that_are_not_finite_are_skipped(checkpoint_folder, training_structures):
    predictor = Predictor.load(checkpoint_folder, device="cpu")
    with torch.no_grad():
        for parameter in predictor._model.head.tail_network.parameters():
            parameter.fill_(float("nan"))
    failures = []
    found = list(predictor.predict(training_structures["mp-1"], on_failure=failures.append))
    assert found == []
    assert "not finite" in failures[0].reason


def test_a_skipped_structure_is_never_silent(predictor, tmp_path):
    with pytest.warns(UserWarning, match="skipped .*absent.cif: does not exist"):
        assert list(predictor.predict(tmp_path / "absent.cif")) == []


def test_levels(predictor, training_structures):
    structure = training_structures["mp-1"]
    (both,) = predictor.predict(structure)
    assert set(both.spectra) == {"rpa", "ipa"}
    assert both.spectrum.level == "rpa"
    (one,) = predictor.predict(structure, levels=["ipa"])
    assert one.spectrum.level == "ipa"
    np.testing.assert_array_equal(one.spectrum.epsilon, both.spectra["ipa"].epsilon)


def test_a_level_that_is_not_there(predictor):
    with pytest.raises(ConfigurationError, match="does not predict level 'bse'") as caught:
        predictor.predict([], levels=["bse"])
    assert caught.value.expected == "rpa, ipa"


def test_a_device_that_is_not_there(checkpoint_folder):
    with pytest.raises(ConfigurationError, match="no device 'tpu'"):
        Predictor.load(checkpoint_folder, device="tpu")


def test_single_precision_changes_the_last_digits_only(predictor, checkpoint_folder, crystals):
    single = Predictor.load(checkpoint_folder, device="cpu", precision="single")
    assert (predictor.precision, single.precision) == ("double", "single")
    assert {one.dtype for one in single.network.parameters()} == {torch.float32}
    exact, rounded = (epsilons(one.predict(crystals)) for one in (predictor, single))
    # Some hundred sums in a row, each rounded at 6e-8, of the largest value of a spectrum.
    largest = np.abs(exact).max(axis=1, keepdims=True)
    assert 0.0 < (np.abs(rounded - exact) / largest).max() < 1e-4
    # What follows by divisions is no worse.
    for one, other in zip(predictor.predict(crystals), single.predict(crystals), strict=True):
        assert other.sodium_index == pytest.approx(one.sodium_index, rel=1e-4)
        assert other.static_dielectric == pytest.approx(one.static_dielectric, rel=1e-4)
        assert other.band_gap == pytest.approx(one.band_gap, abs=1e-4)
        assert [n.id for n in other.nearest] == [n.id for n in one.nearest]


def test_half_precision_changes_a_hundredth(predictor, checkpoint_folder, crystals):
    half = Predictor.load(checkpoint_folder, device="cpu", precision="half")
    exact, rounded = (epsilons(one.predict(crystals)) for one in (predictor, half))
    # Products rounded at 4e-3, in a few layers.
    largest = np.abs(exact).max(axis=1, keepdims=True)
    assert 1e-5 < (np.abs(rounded - exact) / largest).max() < 3e-2


def test_compiled_it_gives_the_same(predictor, checkpoint_folder, crystals, monkeypatch):
    compiled = Predictor.load(checkpoint_folder, device="cpu")
    used = []
    monkeypatch.setattr(
        "opalign.model.layers.compiled_messages",
        lambda: lambda *arguments: used.append(1) or gated_messages(*arguments),
    )
    monkeypatch.setattr("opalign.model.layers.compiled_update", lambda: gated_update)
    compiled.compile()
    first, second = (epsilons(one.predict(crystals)) for one in (predictor, compiled))
    np.testing.assert_allclose(second, first, rtol=1e-9, atol=1e-9)
    assert used


def test_a_precision_that_is_not_there(checkpoint_folder):
    with pytest.raises(ConfigurationError, match="no precision 'quarter'") as caught:
        Predictor.load(checkpoint_folder, device="cpu", precision="quarter")
    assert caught.value.expected == "double or single or half"


def test_a_batch_of_none(predictor):
    with pytest.raises(ConfigurationError, match="at least 1"):
        predictor.predict([], batch_size=0)


def test_spectra_say_whose_they_are(predictor, checkpoint_folder, training_structures):
    (prediction,) = predictor.predict(training_structures["mp-2"])
    spectrum = prediction.spectrum
    identifier = load_checkpoint(checkpoint_folder).identifier
    assert spectrum.material_id == "CaO"
    assert spectrum.provenance == f"predicted by tiny {identifier}"
    assert spectrum.broadening == predictor.config.broadening


def test_an_onset_belongs_to_the_spectrum(predictor, training_structures):
    (prediction,) = predictor.predict(training_structures["mp-1"])
    assert prediction.onset_energy == prediction.spectrum.onset_energy()
    assert prediction.sodium_index == prediction.spectrum.at_wavelength(589.0)[0]
    assert prediction.static_dielectric == prediction.spectrum.epsilon_real[0]
    energies = prediction.spectrum.energies
    inside = (energies > 1.6) & (energies < 3.3)
    assert prediction.visible_absorption == pytest.approx(
        prediction.spectrum.absorption_coefficient[inside].max(), rel=0.2
    )


def test_public_functions(checkpoint_folder, training_structures):
    model = opalign.load_model(checkpoint_folder, device="cpu")
    structure = training_structures["mp-1"]
    (prediction,) = opalign.predict(structure, model)
    (again,) = opalign.predict([structure], checkpoint_folder, levels=["rpa"])
    np.testing.assert_allclose(prediction.spectrum.epsilon, again.spectrum.epsilon)


def test_a_changed_byte_is_noticed(make_checkpoint, tmp_path):
    folder = make_checkpoint(tmp_path / "changed")
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-3] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        Predictor.load(folder)


def test_one_prediction_waits_for_nothing_it_does_not_use(checkpoint_folder, tmp_path):
    """Neither the training loop, nor compiled loops, nor figures; it has four seconds in all."""
    import subprocess
    import sys

    path = tmp_path / "a.cif"
    rock_salt("Mg", "O", 4.2).to(filename=str(path))
    code = (
        "import sys, opalign; "
        f"model = opalign.load_model({str(checkpoint_folder)!r}, device='cpu'); "
        f"(found,) = model.predict({str(path)!r}); found.sodium_index; "
        "print({'lightning', 'tensorboard', 'numba', 'matplotlib', 'sklearn', 'torch._dynamo'} "
        "& sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_slab_alone_in_its_cell(predictor):
    slab = Structure(Lattice.tetragonal(4.2, 20.0), ["Mg", "O"], [[0, 0, 0.5], [0.5, 0.5, 0.5]])
    (prediction,) = predictor.predict(slab)
    assert np.isfinite(prediction.spectrum.epsilon).all()
