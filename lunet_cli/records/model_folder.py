"""Models that are found by their names: those of the package, and a user's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lunet_cli.config.names import closest
from lunet_cli.errors import CheckpointError, LunetError, OutputError
from lunet_cli.records.files import require_file, sha256_of
from lunet_cli.records.model_page import NAME_RULE, ModelPage, is_name

SHIPPED = Path(__file__).parents[1] / "models"
WEIGHTS_SUFFIX, PAGE_SUFFIX = ".pt", ".json"


@dataclass(frozen=True)
class NamedModel:
    """A model with a name.

    Args:
        page: What is said of it.
        folder: Where its two files lie.
    """

    page: ModelPage
    folder: Path

    @property
    def weights(self) -> Path:
        """The checkpoint."""
        return self.folder / f"{self.page.name}{WEIGHTS_SUFFIX}"

    @property
    def is_shipped(self) -> bool:
        """Whether it came with the package."""
        return self.folder == SHIPPED

    def checked_weights(self) -> Path:
        """The checkpoint, whose bytes are those that the page speaks of.

        Raises:
            CheckpointError: It is missing, cannot be read, or is another one.
        """
        require_file(self.weights, what="file of weights", error=CheckpointError, hint=self._mend)
        try:
            found = sha256_of(self.weights)
        except OSError as error:
            raise CheckpointError(f"{self.weights}: cannot be read ({error.strerror})") from None
        if found != self.page.sha256:
            raise CheckpointError(
                f"{self.weights}: is not the file that the page of {self.page.name} speaks of "
                f"(its SHA-256 begins with {found[:12]}, not {self.page.sha256[:12]})",
                hint=self._mend,
            )
        return self.weights

    @property
    def _mend(self) -> str:
        if self.is_shipped:
            return "Install lunet again."
        name = self.page.name
        return f"`remove_model({name})`, then `add_model(RUN, name={name})`"


@dataclass(frozen=True)
class ModelList:
    """All models, and what is wrong with files that should be some.

    Args:
        models: Those of the package first, each group by name.
        problems: A line for each page that cannot be used.
        own_folder: Where a user's own lie, or would.
    """

    models: tuple[NamedModel, ...]
    problems: tuple[str, ...]
    own_folder: Path


def own_folder() -> Path:
    """The folder of a user's own models, where the platform keeps data of programs."""
    import platformdirs

    return platformdirs.user_data_path("lunet", appauthor=False) / "models"


def list_models() -> ModelList:
    """All models that have a name; nothing heavy is loaded, and no weights are read.

    Example:
        >>> [found.page.name for found in lunet.list_models().models if found.is_shipped][0]
        'hippocampus-mri-1f'
    """
    models: list[NamedModel] = []
    problems: list[str] = []
    folder = own_folder()
    for place in (SHIPPED, folder):
        for path in _pages(place, problems):
            try:
                found = _read(path)
                if place == folder and _is_of_package(found.page.name):
                    raise OutputError(f"{path}: {found.page.name} is a model of lunet")
                models.append(found)
            except LunetError as error:
                problems.append(error.message)
    models.sort(key=lambda found: (not found.is_shipped, found.page.num_parameters))
    return ModelList(tuple(models), tuple(problems), folder)


def find_model(name: str) -> NamedModel | None:
    """The model of a name; None where there is none.

    Raises:
        LunetError: Its page is damaged.
    """
    if not is_name(name):
        return None
    for path in _pages(SHIPPED, []):
        found = _read(path)
        if name in (found.page.name, found.page.also_called):
            return found
    path = own_folder() / f"{name}{PAGE_SUFFIX}"
    # Where the folder of a user may not be entered, it holds nothing for us.
    try:
        is_there = path.is_file()
    except OSError:
        return None
    return _read(path) if is_there else None


def require_model(name: str) -> NamedModel:
    """The model of a name.

    Raises:
        CheckpointError: There is none.
        LunetError: Its page is damaged.
    """
    found = find_model(name)
    if found is None:
        raise CheckpointError(
            f"{name}: there is no such model. {nearest_names(name)}",
            hint="`list_models()` shows all names.",
        )
    return found


def require_path_or_model(source: Path) -> None:
    """Raise if a word is neither a path nor the name of a model.

    Raises:
        CheckpointError: With the name that was perhaps meant.
        LunetError: The page of the model is damaged.
    """
    if not source.exists():
        require_model(str(source))


def nearest_names(name: str) -> str:
    """Ask whether one of the names most like this one was meant."""
    return closest(name, known_names())


def known_names() -> list[str]:
    """All names of models, short ones for several sizes included."""
    names = []
    for found in list_models().models:
        if found.page.also_called is not None:
            names.append(found.page.also_called)
        names.append(found.page.name)
    return names


def require_free(name: str) -> None:
    """Raise if a new model cannot have a name.

    Raises:
        OutputError: It is not a name, or is taken.
    """
    if not is_name(name):
        raise OutputError(f"{name!r}: is not a name for a model", hint=f"A name has {NAME_RULE}.")
    if _is_of_package(name):
        raise OutputError(f"{name}: is a model of lunet", hint="Choose another name.")
    taken = own_folder() / f"{name}{PAGE_SUFFIX}"
    if taken.exists():
        raise OutputError(
            f"{name}: is there already ({taken})",
            hint=f"Choose another name, or `remove_model({name})` first.",
        )


def remove_model(name: str) -> tuple[Path, ...]:
    """Remove one of the user's own models; a damaged one, too.

    Returns:
        What was removed.

    Raises:
        OutputError: It is one of the package, or cannot be removed.
        CheckpointError: There is none.
    """
    if _is_of_package(name):
        raise OutputError(f"{name}: came with lunet, and stays")
    removed = []
    # The page first: without it, there is no model of this name.
    for suffix in (PAGE_SUFFIX, WEIGHTS_SUFFIX):
        path = own_folder() / f"{name}{suffix}"
        try:
            if is_name(name) and path.is_file():
                path.unlink()
                removed.append(path)
        except OSError as error:
            raise OutputError(f"{path}: cannot be removed ({error.strerror})") from None
    if not removed:
        require_model(name)
    return tuple(removed)


def _is_of_package(name: str) -> bool:
    for path in _pages(SHIPPED, []):
        page = _read(path).page
        if name in (page.name, page.also_called):
            return True
    return False


def _pages(folder: Path, problems: list[str]) -> Iterator[Path]:
    """The pages in a folder, in the order of their names."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        problems.append(f"{folder}: cannot be read ({error.strerror})")
        return
    for name in names:
        # A name with a point before it is a file that is being written.
        if name.endswith(PAGE_SUFFIX) and not name.startswith("."):
            yield folder / name


def _read(path: Path) -> NamedModel:
    """The model of a page.

    Raises:
        LunetError: It is damaged, or of another model or of one of the package.
    """
    page = ModelPage.read(path)
    if page.name != path.stem:
        raise CheckpointError(f"{path}: is the page of {page.name}", hint="Give it its own name.")
    return NamedModel(page, path.parent)
