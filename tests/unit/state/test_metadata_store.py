from pathlib import Path

from heat_config_zaqar.state.metadata_store import MetadataStore
from tests.unit.conftest import Make


def test_nothing_received_is_none(tmp_path: Path) -> None:
    assert MetadataStore(tmp_path / "m.json").read().snapshot is None


def test_what_is_saved_is_loaded_with_its_time(tmp_path: Path, message: Make) -> None:
    store = MetadataStore(tmp_path / "m.json")
    assert store.read().current_at is None
    store.save(message(), 7)
    assert store.read().snapshot == message()
    assert store.read().current_at == 7


def test_a_corrupt_file_is_set_aside_and_counts_as_none(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text("{")
    assert MetadataStore(path).read().snapshot is None
    assert [item.name for item in tmp_path.iterdir()] == ["m.json.corrupt"]
