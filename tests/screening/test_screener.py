from types import SimpleNamespace

import numpy as np
import pytest

from opalign.screening import ScreenConfig, screener
from opalign.screening.chunk import UniqueIds, numbered_chunks
from opalign.screening.quantities import Abilities
from opalign.screening.screener import Screener, load_predictor
from opalign.screening.sources import open_source


def chunk_of(path):
    (chunk,) = numbered_chunks(open_source(path).batches(), 100, UniqueIds())
    return chunk


def columns_of(table, *names):
    return [table.column(name).to_pylist() for name in names]


def test_a_batch_that_is_full_changes_nothing(
    tiny_predictor, write_rows, crystal_rows, monkeypatch
):
    config = ScreenConfig(input="x", quantities=("static_dielectric", "onset_eV"))
    chunk = chunk_of(write_rows(crystal_rows))
    together = Screener(config, tiny_predictor).screen(chunk)
    sizes = []
    run = tiny_predictor.run
    monkeypatch.setattr(
        tiny_predictor, "run", lambda graphs: sizes.append(len(graphs)) or run(graphs)
    )
    monkeypatch.setattr(screener, "CPU_BATCH", 3)
    apart = Screener(config, tiny_predictor).screen(chunk)
    assert sizes == [3] * 8
    for name in ("static_dielectric", "onset_eV"):
        # Nine decimals of ε are kept; an onset divides by a slope.
        np.testing.assert_allclose(apart.column(name), together.column(name), rtol=1e-6)
    sizes.clear()
    monkeypatch.setattr(screener, "CPU_BUDGET", 1)
    Screener(config, tiny_predictor).screen(chunk)
    assert sizes == [1] * 24


def test_a_graph_that_fits_no_memory_fails_alone(
    tiny_predictor, write_rows, crystal_rows, monkeypatch
):
    monkeypatch.setattr(screener, "MOST_ATOMS", 4)
    result = Screener(ScreenConfig(input="x"), tiny_predictor).screen(
        chunk_of(write_rows(crystal_rows))
    )
    for sites, status, reason in zip(*columns_of(result, "num_sites", "status", "reason"),
                                     strict=True):  # fmt: skip
        assert status == ("failed" if sites > 4 else "ok")
        assert sites <= 4 or "6 atoms are too many" in reason


def test_numbers_that_are_not_finite_fail_alone(
    tiny_predictor, write_rows, crystal_rows, monkeypatch
):
    run = tiny_predictor.run

    def broken(graphs):
        output = dict(run(graphs))
        output["epsilon_real"] = output["epsilon_real"].clone()
        output["epsilon_real"][0] = float("nan")
        return output

    monkeypatch.setattr(tiny_predictor, "run", broken)
    monkeypatch.setattr(screener, "CPU_BATCH", 12)
    result = Screener(ScreenConfig(input="x", spectra=True), tiny_predictor).screen(
        chunk_of(write_rows(crystal_rows))
    )
    status, reason, onset, spectra = columns_of(
        result, "status", "reason", "static_dielectric", "rpa_re_mean"
    )
    assert status.count("failed") == 2
    for row in range(24):
        if status[row] == "failed":
            assert "not finite" in reason[row]
            assert onset[row] is spectra[row] is None
        else:
            assert onset[row] > 1.0
            assert len(spectra[row]) == 101


def test_expected_errors_of_a_calibrated_model(
    tiny_predictor, write_rows, crystal_rows, monkeypatch
):
    class Calibrated:
        def expected_errors(self, output, atomic_numbers, level):
            assert level == "rpa"
            assert len(output["features"]) == len(atomic_numbers)
            return np.array([0.01 * max(numbers) for numbers in atomic_numbers])

    monkeypatch.setattr(tiny_predictor, "uncertainty", Calibrated())
    monkeypatch.setattr(
        screener,
        "abilities_of",
        lambda predictor: Abilities(predictor.config.grid, uncertainty=True),
    )
    config = ScreenConfig(input="x", quantities=("expected_error",), where="expected_error < 0.3")
    chunk = chunk_of(write_rows(crystal_rows))
    result = Screener(config, tiny_predictor).screen(chunk)
    for errors, status, numbers in zip(
        *columns_of(result, "expected_error", "status"), chunk.column("numbers").to_pylist(),
        strict=True,
    ):  # fmt: skip
        assert errors == pytest.approx(0.01 * max(numbers))
        assert status == ("ok" if max(numbers) < 30 else "filtered")


def test_a_model_of_something_else_is_refused_at_once(tiny_predictor, monkeypatch):
    from opalign.errors import ConfigurationError
    from opalign.model.config import ScalarHeadConfig

    config = tiny_predictor.config.model_copy(update={"head": ScalarHeadConfig()})
    monkeypatch.setattr(type(tiny_predictor), "config", config)
    with pytest.raises(ConfigurationError, match="no spectra"):
        Screener(ScreenConfig(input="x"), tiny_predictor)


@pytest.mark.parametrize(("device", "times"), [("cuda:0", 1), ("cpu", 0)])
def test_on_a_gpu_the_network_is_compiled(device, times, monkeypatch):
    compiled = []
    predictor = SimpleNamespace(device=device, compile=lambda: compiled.append(1))
    monkeypatch.setattr(
        "opalign.screening.screener.Predictor", SimpleNamespace(load=lambda *_: predictor)
    )
    assert load_predictor(SimpleNamespace(model="x", precision="single"), device) is predictor
    assert len(compiled) == times
