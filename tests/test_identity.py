import json
from pathlib import Path

import numpy as np
import pytest

from idhand.assets import open_hand
from idhand.identity import Identity, PhotoUse, measure

from .conftest import toy_hand


def identity(seed: int = 0) -> Identity:
    rng = np.random.default_rng(seed)
    model = open_hand()
    betas = rng.normal(size=16)
    factor = 0.3 * rng.normal(size=(16, 16))
    covariance = factor @ factor.T + 0.01 * np.eye(16)
    return Identity(
        model=model.name,
        betas=betas,
        covariance=covariance,
        measurements=measure(model, betas, covariance),
        photos=(PhotoUse(weight=1.0), PhotoUse(weight=0.0, reason="no hand found")),
        K_known="some",
        sides=("left", "right"),
        hand_length_mm=187.5,
        hand_length_sigma_mm=2.0,
    )


def test_profile_survives_the_disk(tmp_path: Path) -> None:
    before = identity()
    before.save(tmp_path / "me.hand.json")
    after = Identity.load(tmp_path / "me.hand.json")
    np.testing.assert_allclose(after.betas, before.betas, rtol=1e-7)
    np.testing.assert_allclose(after.covariance, before.covariance, rtol=1e-6)
    assert after.photos == before.photos
    assert (after.model, after.sides, after.K_known) == (before.model, before.sides, before.K_known)
    assert after.hand_length_mm == before.hand_length_mm
    for name, m in before.measurements.items():
        assert after.measurements[name].value_mm == pytest.approx(m.value_mm, abs=0.006)
    assert [p.name for p in tmp_path.iterdir()] == ["me.hand.json"]


def test_same_profile_same_bytes_and_a_string_path_will_do(tmp_path: Path) -> None:
    identity().save(str(tmp_path / "a.json"))
    identity().save(str(tmp_path / "b.json"))
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_profile_holds_no_picture_and_is_small(tmp_path: Path) -> None:
    identity().save(tmp_path / "me.json")
    assert (tmp_path / "me.json").stat().st_size < 20_000


def test_interval_is_the_propagated_covariance() -> None:
    model = open_hand()
    betas, covariance = np.zeros(16), np.zeros((16, 16))
    covariance[0, 0] = 0.25
    m = measure(model, betas, covariance)["hand_length"]
    assert m.value_mm == pytest.approx(187.18, abs=0.05)
    assert (m.high_mm - m.low_mm) / 2 == pytest.approx(1.96 * 0.5 * 10.1, rel=0.02)


def test_a_profile_of_another_model_is_refused() -> None:
    with pytest.raises(ValueError, match=r"made with hand model 'idhand-open-1' .* 'toy'"):
        identity().check_model(toy_hand())


def changed(tmp_path: Path, **changes: object) -> Path:
    path = tmp_path / "me.json"
    identity().save(path)
    document = json.loads(path.read_text())
    document.update(changes)
    path.write_text(json.dumps(document))
    return path


def test_future_version_says_update(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"version 99.*update idhand"):
        Identity.load(changed(tmp_path, version=99))


@pytest.mark.parametrize(
    "changes",
    [
        {"betas": "wide"},
        {"betas": [1.0, 2.0]},
        {"betas": [None] * 16},
        {"covariance": (-np.eye(16)).tolist()},
        {"measurements_mm": {"hand_length": 3}},
        {"photos": [{}]},
        {"K_known": "perhaps"},
        {"sides": ["both"]},
        {"hand_length_mm": "long"},
    ],
)
def test_damaged_fields_are_a_sentence(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"damaged .*calibrate again"):
        Identity.load(changed(tmp_path, **changes))


def test_broken_json_other_json_and_no_file(tmp_path: Path) -> None:
    path = tmp_path / "me.json"
    identity().save(path)
    path.write_text(path.read_text()[:200])
    with pytest.raises(ValueError, match="damaged, calibrate again"):
        Identity.load(path)
    path.write_text("[1, 2]")
    with pytest.raises(ValueError, match="no idhand profile"):
        Identity.load(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="damaged"):
        Identity.load(path)
    with pytest.raises(FileNotFoundError, match="no profile at"):
        Identity.load(tmp_path / "you.json")


def test_a_failed_write_leaves_the_old_profile_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "me.json"
    identity(0).save(path)
    before = path.read_bytes()

    def full_disk(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(json, "dump", full_disk)
    with pytest.raises(OSError, match="no space"):
        identity(1).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["me.json"]
