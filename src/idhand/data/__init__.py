"""Data sets on disk: samples to files and back, in shards that survive a kill at any moment."""

from idhand.data.manifest import Manifest as Manifest
from idhand.data.manifest import Shard as Shard
from idhand.data.samples import decode_depth as decode_depth
from idhand.data.samples import decode_labels as decode_labels
from idhand.data.samples import decode_sample as decode_sample
from idhand.data.samples import encode_sample as encode_sample
from idhand.data.shards import Shards as Shards
from idhand.data.writing import Source as Source
from idhand.data.writing import write_shards as write_shards
