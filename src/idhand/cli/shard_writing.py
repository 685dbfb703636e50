"""Sources → shards, with a progress bar and a summary; shared by the verbs that write data sets."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idhand.cli.common import count, progress
from idhand.data import Source, write_shards


@dataclass(kw_only=True)
class _Teller:
    """Hears how many pictures are finished, shows it, and keeps the rate."""

    bar: Any
    began_s: float = 0.0
    made: int = 0
    seconds: float = 0.0

    def __call__(self, found: int, made: int) -> None:
        if not self.began_s:
            self._begin(found)
        self.bar.update(found + made - self.bar.n)
        self.made, self.seconds = made, time.perf_counter() - self.began_s

    def _begin(self, found: int) -> None:
        """Leave what was there before, and the time until now, out of the bar's rate."""
        self.began_s = time.perf_counter()
        self.bar.initial = self.bar.n = self.bar.last_print_n = found
        self.bar.start_t = time.time()


def write_set(source: Source, out: Path, workers: int, *, frames: int = 1, made: str) -> None:
    """Write the shards, with a progress bar, and say what was done.

    Args:
        source: The samples.
        out: Folder of the shards.
        workers: Processes.
        frames: As in `write_shards`.
        made: What was done to make a picture, e.g. `rendered`.
    """
    with progress((), len(source), "pictures") as bar:
        bar.unit = " pictures"
        teller = _Teller(bar=bar)
        manifest = write_shards(source, out, workers=workers, frames=frames, progress=teller)
    size_mb = sum(shard.bytes for shard in manifest.shards) / 1e6
    told = f"{manifest.num_done:,} pictures in {count(manifest.shards, 'shard')}, {size_mb:,.1f} MB"
    rate = "all were there already"
    if teller.made:
        rate = f"{teller.made:,} {made} now, {teller.made / teller.seconds:.1f} a second"
    print(f"{told} ({rate}). Written to {out}")
