import errno
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from pydantic import BaseModel
from typer.testing import CliRunner

import opalign
from opalign.cli import main as module
from opalign.cli.common import clean_errors, configuration_error
from opalign.cli.main import COMMANDS, app
from opalign.errors import ConfigurationError, DatasetError

runner = CliRunner()


def test_version():
    result = runner.invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.output == f"opalign {opalign.__version__}\n"


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_every_command(flag):
    result = runner.invoke(app, [flag])
    assert result.exit_code == 0
    for name in COMMANDS:
        assert name in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name):
    result = runner.invoke(app, [name, "--help"])
    assert result.exit_code == 0
    assert f"opalign {name}" in result.output.replace("root", "opalign")


def test_a_slip_in_a_command_is_told_the_right_one():
    result = runner.invoke(app, ["predcit"])
    assert result.exit_code == 2
    assert "Did you mean 'predict'" in result.output


def test_a_command_alone_is_imported():
    code = (
        "import sys; from opalign.cli.main import main; sys.argv = ['opalign', 'dataset', '--help']"
        "\ntry:\n    main()\nfinally:\n    print('opalign.cli.predict' in sys.modules, "
        "'opalign.cli.dataset' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False True"


HEAVY = ("torch", "pandas", "pymatgen", "scipy", "matplotlib", "pyarrow", "ase", "numba", "sklearn")


@pytest.mark.parametrize("arguments", [["--help"], ["predict", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments):
    """Half a second is gone by two or three of these; what each command does is said without."""
    code = (
        f"import sys; from opalign.cli.main import main; sys.argv = ['opalign', *{arguments!r}]"
        f"\ntry:\n    main()\nfinally:\n    print(*({HEAVY!r} & sys.modules.keys()))"
    ).replace(repr(HEAVY), repr(set(HEAVY)))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""


class Settings(BaseModel):
    rate: float
    layers: int = 4


def fails_with(error):
    def command() -> None:
        """Fail."""
        raise error

    return command


@pytest.fixture
def invoke_failing(monkeypatch):
    """Run a command of `opalign` that raises an error."""

    def invoke(error):
        application = typer.Typer(cls=module.LazyGroup, pretty_exceptions_enable=False)
        application.callback()(module.start)
        monkeypatch.setitem(COMMANDS, "fail", ("opalign.cli.main", "fail"))
        monkeypatch.setattr(module, "fail", fails_with(error), raising=False)
        return runner.invoke(application, ["fail"])

    return invoke


def test_what_a_user_can_mend_is_a_message(invoke_failing):
    result = invoke_failing(DatasetError("row 3 lacks [b]", where="a.parquet", cure="mend it"))
    assert result.exit_code == 2
    assert result.stderr == "Error: a.parquet: row 3 lacks [b]\n  try: mend it\n"
    assert result.stdout == ""


def test_a_defect_keeps_its_traceback(invoke_failing):
    assert isinstance(invoke_failing(ValueError("a defect")).exception, ValueError)


def test_interruption_ends_with_its_own_status(invoke_failing):
    result = invoke_failing(KeyboardInterrupt())
    assert result.exit_code == 130
    assert "kept" in result.stderr


def test_a_wrong_configuration_names_its_keys(invoke_failing):
    with pytest.raises(ValueError, match="2 validation errors") as caught:
        Settings(rate="fast", layers=[])
    result = invoke_failing(caught.value)
    assert result.exit_code == 2
    assert "rate: " in result.stderr
    assert "(found 'fast')" in result.stderr
    assert "layers: " in result.stderr
    assert "errors.pydantic.dev" not in result.stderr


def test_configuration_error_is_one_of_opaligns():
    with pytest.raises(ValueError, match="rate") as caught:
        Settings()
    assert isinstance(configuration_error(caught.value), ConfigurationError)
    with pytest.raises(typer.Exit), clean_errors():
        raise caught.value


def test_what_the_system_refuses_is_a_message(invoke_failing):
    result = invoke_failing(OSError(errno.ENAMETOOLONG, "File name too long", "a" * 300))
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: aaa")
    assert "File name too long" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--resume", "--out", "x" * 300],
        ["predict", "a.cif", "--model", "x" * 300],
        ["dataset", "info", "x" * 300],
        ["evaluate", "x" * 300, "y", "--out", "z"],
    ],
)
def test_a_path_that_cannot_be(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2
    assert "Error: " in result.stderr


def test_a_warning_comes_without_its_source():
    code = (
        "import sys, warnings; from opalign.cli import main; sys.argv = ['opalign', '--version']"
        "\ntry:\n    main.main()\nfinally:\n    warnings.warn('the [cell] is odd', stacklevel=1)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "Warning: the [cell] is odd\n"


def test_the_package_is_the_command_too():
    result = subprocess.run(
        [sys.executable, "-m", "opalign", "--version"], capture_output=True, text=True, check=True
    )
    assert result.stdout == f"opalign {opalign.__version__}\n"


def test_a_reader_that_has_seen_enough_is_no_error():
    table = Path(__file__).parents[2] / "datasets" / "prototypes" / "prototypes.parquet"
    command = [sys.executable, "-m", "opalign", "dataset", "info", table]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1
