"""Measure a hand in millimetres and compare it with other adults.

    python examples/measure.py [--hand-length-mm MM] [PHOTO ...]

The photos must show one person; without any, bundled pictures are used. A ruler's reading of the
hand's length (crease at the wrist to the tip of the middle finger) makes all measures absolute.
"""

import argparse
from importlib.resources import files

import idhand
from idhand.assets import hand, population_spreads


def main() -> None:
    """Calibrate and print every length with its 95 % interval and percentiles."""
    parser = argparse.ArgumentParser(description="Measure a hand.")
    parser.add_argument("photos", nargs="*")
    parser.add_argument("--hand-length-mm", type=float)
    args = parser.parse_args()
    demo = files("idhand.assets") / "data" / "demo"
    names = args.photos or [str(demo / f"photo_{i:02d}.jpg") for i in (0, 1, 4, 8, 9, 12)]
    photos = [idhand.read_image(name) for name in names]
    me = idhand.calibrate(
        idhand.load(),
        [rgb for rgb, _ in photos],
        K=[K for _, K in photos],
        hand_length_mm=args.hand_length_mm,
    )
    adults = population_spreads(hand(me.model))
    for name, m in me.measurements.items():
        groups = adults[name].groups.items()
        shares = " and ".join(f"{100 * d.cdf(m.value_mm):.0f} % of {who}" for who, d in groups)
        print(
            f"{name:20s} {m.value_mm:6.1f} mm ({m.low_mm:.1f} to {m.high_mm:.1f}), "
            f"more than {shares}"
        )
    idhand.view(me).save("hand.png")


if __name__ == "__main__":
    main()
