import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from idhand.assets import open_hand
from idhand.identity import Identity, Measurement, PhotoUse, measure

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


def test_what_a_profile_holds(tmp_path: Path) -> None:
    """Numbers to what is known of them, for the owner's eyes only."""
    me = identity()
    me.save(tmp_path / "me.json")
    assert (tmp_path / "me.json").stat().st_mode & 0o777 == 0o600
    document = json.loads((tmp_path / "me.json").read_text())
    assert document["measurements_mm"] == {
        name: {
            "value": round(m.value_mm, 2),
            "low": round(m.low_mm, 2),
            "high": round(m.high_mm, 2),
        }
        for name, m in me.measurements.items()
    }
    assert document["betas"] == [float(f"{x:.8g}") for x in me.betas]
    assert document["photos"][1] == {"weight": 0.0, "reason": "no hand found"}
    photos = (PhotoUse(weight=0.123456), PhotoUse(weight=1.0))
    replace(me, photos=photos, hand_length_mm=None).save(tmp_path / "other.json")
    other = Identity.load(tmp_path / "other.json")
    assert other.photos == (PhotoUse(weight=0.1235, reason=""), PhotoUse(weight=1.0, reason=""))
    assert (other.hand_length_mm, other.hand_length_sigma_mm) == (None, 2.0)


@pytest.mark.parametrize("K_known", ["all", "some", "none"])
def test_profiles_of_today_will_be_read(tmp_path: Path, K_known: str) -> None:
    """A file of version 1, written by hand."""
    path = tmp_path / "me.json"
    path.write_text(
        """{"format": "idhand-profile", "version": 1, "model": "m", "betas": [0.5, -1],
        "covariance": [[0.2, 0.1], [0.1, 0.3]], "measurements_mm": {"hand_length": {"value": 190.25,
        "low": 180, "high": 200.5}}, "photos": [{"weight": 0.5, "reason": "blurred"}],
        "K_known": "KNOWN", "sides": ["right"], "hand_length_mm": 190,
        "hand_length_sigma_mm": 2}""".replace("KNOWN", K_known)
    )
    me = Identity.load(path)
    assert (me.model, me.version, me.K_known, me.sides) == ("m", 1, K_known, ("right",))
    assert me.betas.tolist() == [0.5, -1.0]
    assert me.covariance.tolist() == [[0.2, 0.1], [0.1, 0.3]]
    length = Measurement(value_mm=190.25, low_mm=180.0, high_mm=200.5)
    assert me.measurements == {"hand_length": length}
    assert me.photos == (PhotoUse(weight=0.5, reason="blurred"),)
    assert (me.hand_length_mm, me.hand_length_sigma_mm) == (190.0, 2.0)


def test_what_is_no_number_is_not_written(tmp_path: Path) -> None:
    me = identity()
    with pytest.raises(ValueError, match="JSON compliant"):
        replace(me, betas=np.full(16, np.nan)).save(tmp_path / "me.json")
    assert list(tmp_path.iterdir()) == []


def test_interval_is_the_propagated_covariance() -> None:
    model = open_hand()
    betas, covariance = np.zeros(16), np.zeros((16, 16))
    covariance[0, 0] = 0.25
    m = measure(model, betas, covariance)["hand_length"]
    assert m.value_mm == pytest.approx(187.18, abs=0.05)
    assert (m.high_mm - m.low_mm) / 2 == pytest.approx(1.96 * 0.5 * 10.1, rel=0.02)
    assert (m.high_mm + m.low_mm) / 2 == pytest.approx(m.value_mm)
    known = measure(model, betas, 0 * covariance)["hand_length"]
    assert known.low_mm == known.value_mm == known.high_mm == m.value_mm


def test_a_profile_of_another_model_is_refused() -> None:
    identity().check_model(open_hand())
    named_alike = replace(toy_hand(), name=open_hand().name)  # four betas
    wide_toy = replace(open_hand(), name="toy")
    for model in (toy_hand(), named_alike, wide_toy):
        with pytest.raises(
            ValueError, match=rf"made with hand model 'idhand-open-1' \(16 .* '{model.name}'"
        ):
            identity().check_model(model)


def changed(tmp_path: Path, **changes: object) -> Path:
    path = tmp_path / "me.json"
    identity().save(path)
    document = json.loads(path.read_text())
    document.update(changes)
    path.write_text(json.dumps(document))
    return path


def test_the_impossible_beta_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a beta is -41 standard deviations from the mean"):
        Identity.load(changed(tmp_path, betas=[31.0, -41.0] + [0.0] * 14))


def test_future_version_says_update(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"version 99.*update idhand"):
        Identity.load(changed(tmp_path, version=99))


@pytest.mark.parametrize(
    "changes",
    [
        {"betas": "wide"},
        {"betas": [1.0, 2.0]},
        {"betas": [None] * 16},
        {"betas": [0.0] * 15 + [-1e6]},
        {"betas": [31.0] + [0.0] * 15},
        {"covariance": (-np.eye(16)).tolist()},
        {"measurements_mm": {"hand_length": 3}},
        {"photos": [{}]},
        {"K_known": "perhaps"},
        {"sides": ["both"]},
        {"hand_length_mm": "long"},
        {"hand_length_mm": float("inf")},
        {"hand_length_sigma_mm": float("nan")},
        {"covariance": np.eye(15).tolist()},
        {"covariance": np.eye(16)[0].tolist()},
        {"covariance": (np.eye(16) - 1e-4 - np.eye(16)[0] * np.eye(16)).tolist()},
        {"hand_length_mm": float("nan")},
        {"betas": [float("nan")] * 16},
        {"covariance": [[float("inf")] * 16] * 16},
        {"measurements_mm": {"hand_length": {"value": 1, "low": float("nan"), "high": 2}}},
        {"photos": [{"weight": float("-inf"), "reason": ""}]},
    ],
)
def test_damaged_fields_are_a_sentence(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"damaged .*calibrate again"):
        Identity.load(changed(tmp_path, **changes))


def test_the_profile_of_a_small_child_is_read(tmp_path: Path) -> None:
    """Five standard deviations from the mean of children, 14 from that of adults."""
    prior = open_hand().of_population("child").prior
    betas = (prior.mean.abs() + 5 * prior.covariance.diagonal().sqrt()).numpy()
    assert betas.max() > 12
    back = Identity.load(changed(tmp_path, betas=(-betas).tolist()))
    np.testing.assert_allclose(back.betas, -betas)


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
