from pathlib import Path

import pytest

from tests.mutations.__main__ import MUTATIONS
from tests.mutations.mutation import Mutation

_ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda item: item.name)
def test_what_a_mutation_takes_out_is_there_once_and_so_is_its_test(mutation: Mutation) -> None:
    product = (_ROOT / "hooks/heat_config_zaqar" / mutation.file).read_text()
    assert product.count(mutation.fix) == 1
    path, _, name = mutation.node.partition("::")
    assert f"def {name.partition('[')[0]}(" in (_ROOT / path).read_text()
