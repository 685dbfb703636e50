"""The studio: which picture number i is, and everything about it. A sequence of `Sample`.

Picture i depends on the configuration and i alone, so it may be made anywhere, in any order.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from jaxtyping import Float, UInt8

from idhand.assets import open_hand
from idhand.data import decode_labels, decode_sample, encode_sample
from idhand.data.dataset import ReadOneByOne
from idhand.data.manifest import package_versions
from idhand.detection.roi import Roi
from idhand.hand import PosedHand
from idhand.records import FOREARM_PART, OTHER_PART, Sample
from idhand.synth.camera.backdrop import draw_backdrop
from idhand.synth.camera.scenes import (
    Placement,
    Stand,
    cut_square,
    draw_cut,
    draw_wrist_bend,
    place_hand,
    stand,
    visible_keypoints,
)
from idhand.synth.camera.sensor import Sensor, develop, draw_sensor, encode_jpeg
from idhand.synth.camera.shading import (
    Picture,
    Surface,
    hand_share,
    over,
    shade,
    skin_surface,
    solid_surface,
)
from idhand.synth.config import StudioConfig
from idhand.synth.fingerprint import fingerprint
from idhand.synth.light.environments import (
    Environment,
    Light,
    camera_rotation,
    draw_light,
    environments,
    flat_light,
)
from idhand.synth.people.body import (
    FOREARM_RINGS_M,
    SkinMesh,
    unit,
)
from idhand.synth.people.subjects import Split, subject
from idhand.synth.people.wardrobe import Person, Wardrobe
from idhand.synth.places.backgrounds import Backgrounds, plain_background
from idhand.synth.poses.views import draw_view, view_sequence
from idhand.synth.things.company import MIRROR, second_hand, stray_object
from idhand.synth.things.holding import Flesh, flesh, held_object
from idhand.synth.things.sleeves import Sleeve, draw_sleeve, sleeve_solid
from idhand.synth.things.worn import wristwear

FPS = 30.0
"""Of sequences."""
TAKE, NOISE = 0, 1
"""What random numbers are for: the choices of a picture or sequence, the noise of one picture."""
BACKDROP_SHARE = 0.35
"""Of the pictures, with the hand's shadow on what is behind it."""
WRISTWEAR_RING = 3
WRISTWEAR_M = FOREARM_RINGS_M[WRISTWEAR_RING - 1]
"""Where a watch sits: the ring of the lofted forearm, and its distance from the model's stub."""
HELD_SHARE = 0.75
"""Of the pictures with an object, with one that is held; the others' just lie in the way."""
SHADE_RADIUS_M = 0.13
"""Round the hand's middle: within it things shade each other."""


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """A finished picture with what is known of it."""

    sample: Sample
    """Its `rgb` is the picture before JPEG."""
    jpeg: bytes
    depth_m: Float[np.ndarray, "height width"]
    """z in the camera frame of the nearest surface; infinite where nothing is."""


@dataclass(frozen=True, kw_only=True)
class Take:
    """What stays the same during a sequence; a single picture is a sequence of one."""

    stands: tuple[Stand, ...]
    """Of the hand, frame by frame."""
    square: Roi
    """What is cut out of the full photo, in all frames."""
    bend_rad: tuple[float, float]
    environment: Environment
    sleeve: Sleeve | None
    is_holding: bool
    has_stray: bool
    """Something that is not held lies in the way."""
    has_second_hand: bool
    has_backdrop: bool
    """A wall or table close behind takes the hand's shadow."""
    is_right: bool
    seed: int
    """Of light, background, things and camera."""


class Studio(ReadOneByOne, Sequence[Sample]):
    """All pictures of one configuration: a `DataSet`. Making one takes some 20 ms; none is kept.

    People are painted when they are first asked for (80 ms) and the last two are kept: go through
    the pictures in order, or in blocks of one person, not all at random.

    Args:
        config: What to photograph.
        backgrounds: A folder of the user's own pictures to stand behind the hands as well.

    Raises:
        ValueError: If the folder has no picture.
        FileNotFoundError: If there is no such folder.
    """

    def __init__(self, config: StudioConfig, backgrounds: Path | None = None):
        self.config = config
        self.folder = backgrounds
        self.backgrounds = Backgrounds(backgrounds)
        self.model = open_hand()
        self.wardrobe = Wardrobe(self.model)
        self._person = lru_cache(maxsize=2)(self._draw_person)
        self._take = lru_cache(maxsize=2)(self._draw_take)

    def __reduce__(self) -> tuple[type["Studio"], tuple[StudioConfig, Path | None]]:
        """For other processes: made anew there."""
        return Studio, (self.config, self.folder)

    def __len__(self) -> int:
        return self.config.num_images

    def _read(self, row: int) -> Sample:
        """As it would be read from disk: after JPEG."""
        return decode_sample(self.entry(row))

    def _read_label(self, row: int) -> Sample:
        """The picture is made all the same, for it shows what is visible."""
        return decode_labels(self.entry(row))

    def sequences(self) -> list[range]:
        """Pictures of each sequence; single pictures alone."""
        frames = self.config.frames
        return [range(start, start + frames) for start in range(0, len(self), frames)]

    def fingerprint(self) -> str:
        """Hash of the description and of the packages that the pictures are computed with."""
        text = json.dumps([self.description(), package_versions()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def key(self, index: int) -> str:
        """A name for the picture's files."""
        return f"{self.config.split}-{index:07d}"

    def entry(self, index: int) -> Mapping[str, bytes]:
        """The picture's files: suffix → bytes."""
        made = self.render(index)
        depth_m = made.depth_m if self.config.depth else None
        return encode_sample(made.sample, made.jpeg, depth_m=depth_m)

    def description(self) -> dict[str, Any]:
        """What fixes the bytes."""
        return {
            "set": "studio",
            "config": asdict(self.config),
            "model": self.model.name,
            "code": fingerprint(),
            "backgrounds": self.backgrounds.description(),
        }

    def render(self, index: int) -> Rendered:
        """Make picture number `index`.

        Raises:
            IndexError: If there is no such picture.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"there are {len(self)} pictures, numbered from 0; asked for {index}")
        number, frame = divmod(index, self.config.frames)
        take, person = self._take(number), self._person(self._subject_index(number))
        size = self.config.size_px
        place = place_hand(person.hand, take.stands[frame], take.square, size)
        # One stream for each purpose: how many numbers a thing takes depends on the frame.
        seeds = np.random.SeedSequence(take.seed).spawn(4)
        rng, of_things, of_place, of_camera = (np.random.default_rng(s) for s in seeds)
        light, R_world_cam = self._light(take, place, rng)
        surfaces = self._surfaces(take, person, place, of_things)
        verts = place.posed.verts.numpy()
        picture = shade(
            surfaces, person.skin, light, place.K, size, size, rng,
            centre_cam=place.posed.keypoints.numpy().mean(0), radius_m=SHADE_RADIUS_M,
            backdrop=draw_backdrop(rng, verts) if take.has_backdrop else None,
        )  # fmt: skip
        linear = self._before_background(take, place, picture, light, R_world_cam, of_place)
        sensor = draw_sensor(of_camera) if self.config.sensor == "camera" else Sensor.none()
        noise = self._rng(index, NOISE)
        rgb = develop(linear, sensor, noise, hand_share(picture))
        sample = self._sample(index, person, take, place, picture, rgb)
        depth_m = picture.depth_m
        if not take.is_right:
            sample, depth_m = sample.mirrored(), np.ascontiguousarray(depth_m[:, ::-1])
        jpeg = encode_jpeg(sample.rgb, sensor.quality)
        return Rendered(sample=sample, jpeg=jpeg, depth_m=depth_m)

    def _rng(self, number: int, purpose: int) -> np.random.Generator:
        """Random numbers of one picture or sequence, independent of all others."""
        split = get_args(Split).index(self.config.split)
        key = (split, number, purpose)
        return np.random.default_rng(np.random.SeedSequence(self.config.seed, spawn_key=key))

    def _subject_index(self, number: int) -> int:
        """People come one after the other, with equally many pictures."""
        return number * self.config.num_subjects * self.config.frames // self.config.num_images

    def _draw_person(self, index: int) -> Person:
        config = self.config
        someone = subject(config.split, index, config.seed, config.population)
        return self.wardrobe.ready(someone, config.skin)

    def _draw_take(self, number: int) -> Take:
        """Everything that one or more frames have in common."""
        config, rng = self.config, self._rng(number, TAKE)
        person = self._person(self._subject_index(number))
        chance = rng.random()
        is_holding = bool(chance < HELD_SHARE * config.object_share)
        has_object = bool(chance < config.object_share)
        has_second_hand = not has_object and bool(
            chance < config.object_share + config.second_hand_share
        )
        kinds = ("grasp",) if is_holding else None
        if config.frames > 1:
            angles = self.wardrobe.poses.sequence(rng, person.capsules, config.frames, FPS)
            views = view_sequence(rng, config.frames, FPS)
        else:
            angles = self.wardrobe.poses.draw(rng, person.capsules, kinds).angles[None]
            views = (draw_view(rng),)
        if config.pose == "open":
            angles = np.zeros_like(angles)
        stands = tuple(
            stand(self.model, person.hand, pose, view)
            for pose, view in zip(angles, views, strict=True)
        )
        cut = draw_cut(rng, is_level=config.framing == "level")
        return Take(
            stands=stands,
            square=cut_square([before.square for before in stands], cut),
            bend_rad=draw_wrist_bend(rng),
            environment=environments()[rng.integers(len(environments()))],
            sleeve=draw_sleeve(rng) if rng.random() < config.sleeve_share else None,
            is_holding=is_holding,
            has_stray=has_object and not is_holding,
            has_second_hand=has_second_hand,
            has_backdrop=bool(rng.random() < BACKDROP_SHARE),
            is_right=not rng.random() < config.left_share,
            seed=int(rng.integers(1 << 62)),
        )

    def _light(
        self, take: Take, place: Placement, rng: np.random.Generator
    ) -> tuple[Light, Float[np.ndarray, "3 3"]]:
        """The light in the camera frame, and how the camera stands in the environment."""
        R_world_cam = camera_rotation(rng, place.up_cam)
        if self.config.light == "flat":
            return flat_light(), R_world_cam
        return draw_light(rng, take.environment, R_world_cam), R_world_cam

    def _surfaces(
        self, take: Take, person: Person, place: Placement, rng: np.random.Generator
    ) -> list[Surface]:
        """The hand and everything about it."""
        mesh = self._mesh(person, place.posed, place.rotations, take.bend_rad)
        surfaces = [skin_surface(self.wardrobe.topology, mesh, person.mean_tone)]
        for joint, solid in person.rings:
            R = place.R_joints[joint]
            shift = place.posed.joints[joint].numpy() - R @ person.rest_joints[joint]
            surfaces.append(solid_surface(solid.moved(R, shift), OTHER_PART))
        surfaces += self._arm(take, person, place, mesh, rng)
        hand = flesh(
            place.posed.keypoints.numpy(), place.posed.verts.numpy(), person.bone_radii_m,
            is_right=True,
        )  # fmt: skip
        thing = None
        if take.is_holding:
            thing = held_object(rng, hand, up_cam=place.up_cam)
        elif take.has_stray:
            thing = stray_object(rng, hand)
        if thing is not None:
            surfaces.append(solid_surface(thing, OTHER_PART))
        if take.has_second_hand:
            surfaces += self._second_hand(take, person, hand, rng)
        return surfaces

    def _mesh(
        self,
        person: Person,
        posed: PosedHand,
        rotations: Float[np.ndarray, "16 3 3"],
        bend_rad: tuple[float, float],
        *,
        is_right: bool = True,
    ) -> SkinMesh:
        return self.wardrobe.topology.mesh(
            posed, rotations[0], person.rest_verts, person.rest_joints,
            bend_rad=bend_rad, is_right=is_right,
        )  # fmt: skip

    def _arm(
        self,
        take: Take,
        person: Person,
        place: Placement,
        mesh: SkinMesh,
        rng: np.random.Generator,
    ) -> list[Surface]:
        """Sleeve, watch and bracelet; a sleeve hides what is under it."""
        out = []
        if take.sleeve is not None:
            out.append(solid_surface(sleeve_solid(take.sleeve, mesh.rings_cam), FOREARM_PART))
        kind = person.subject.wristwear
        is_bare = take.sleeve is None or take.sleeve.start_m > WRISTWEAR_M + 0.03
        if kind != "none" and is_bare:
            loop = mesh.rings_cam[WRISTWEAR_RING]
            along = unit(mesh.rings_cam[WRISTWEAR_RING - 1].mean(0) - loop.mean(0))
            dorsal = -place.rotations[0] @ self.wardrobe.frame.palmar
            tone = person.subject.wristwear_tone
            out.append(solid_surface(wristwear(kind, loop, along, dorsal, tone, rng), OTHER_PART))
        return out

    def _second_hand(
        self, take: Take, person: Person, hand: Flesh, rng: np.random.Generator
    ) -> list[Surface]:
        """Another hand near this one, with the same person's shape and skin."""
        space = self.model.pose_space
        angles = torch.from_numpy(self.wardrobe.poses.draw(rng, person.capsules).angles)
        fingers = space.rotations(angles).numpy()
        other = second_hand(rng, person.hand, fingers, person.bone_radii_m, hand)
        if other is None:
            return []
        wrist = other.wrist_cam if other.is_right else other.wrist_cam * MIRROR.diagonal()
        posed = person.hand.posed(torch.from_numpy(other.rotations), torch.from_numpy(wrist))
        mesh = self._mesh(
            person, posed, other.rotations, draw_wrist_bend(rng), is_right=other.is_right
        )
        skin = skin_surface(self.wardrobe.topology, mesh, person.mean_tone)
        out = [replace(skin, part=np.full_like(skin.part, OTHER_PART))]
        if take.sleeve is not None:
            out.append(solid_surface(sleeve_solid(take.sleeve, mesh.rings_cam), OTHER_PART))
        return out

    def _before_background(
        self,
        take: Take,
        place: Placement,
        picture: Picture,
        light: Light,
        R_world_cam: Float[np.ndarray, "3 3"],
        rng: np.random.Generator,
    ) -> Float[np.ndarray, "height width 3"]:
        """The finished light on the sensor."""
        size = self.config.size_px
        if self.config.background == "plain":
            behind = plain_background(light, size, size)
        else:
            behind = self.backgrounds.draw(
                rng, take.environment, light, R_world_cam, place.K, size, size
            )
        return over(picture, behind)

    def _sample(
        self,
        index: int,
        person: Person,
        take: Take,
        place: Placement,
        picture: Picture,
        rgb: UInt8[np.ndarray, "height width 3"],
    ) -> Sample:
        keypoints = place.posed.keypoints.numpy()
        pixels = (keypoints @ place.K.T)[:, :2] / keypoints[:, 2:]
        number, frame = divmod(index, self.config.frames)
        is_sequence = self.config.frames > 1
        return Sample(
            rgb=rgb,
            K=place.K,
            dist=np.zeros(5),
            is_right=True,
            bbox_px=np.concatenate([pixels.min(0), pixels.max(0)]),
            subject=person.subject.name,
            model=self.model.name,
            betas=person.subject.betas,
            rotations=place.rotations,
            wrist_cam=place.wrist_cam,
            keypoints_px=pixels,
            keypoints_cam=keypoints,
            valid=np.ones(21, bool),
            visible=visible_keypoints(keypoints, place.K, picture.parts, picture.depth_m),
            parts=picture.parts,
            dataset="studio",
            id=self.key(index),
            sequence=f"{self.config.split}-sequence-{number:06d}" if is_sequence else None,
            time_s=frame / FPS if is_sequence else None,
        )
