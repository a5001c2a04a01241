"""No module imports, not even within a function, what imports it in turn."""

from graphlib import TopologicalSorter

import grimp


def test_imports_have_no_circle() -> None:
    graph = grimp.build_graph("lunet_cli")
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(imports) > 200
    TopologicalSorter(imports).prepare()  # Raises CycleError with the modules of a circle.
