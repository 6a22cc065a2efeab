import numpy as np

from na_ray.synthetic.actor import SyntheticActor
from na_ray.synthetic.drape import LAG_SECONDS, drape, wrinkles
from na_ray.synthetic.motion import Moment, frame_times, routine, walk
from na_ray.synthetic.skeleton import NAMES, REST, index
from na_ray.synthetic.wardrobe import PIECES, build_wardrobe


def _rest() -> Moment:
    return Moment(np.zeros((24, 3)), np.eye(3), np.zeros(3))


def _piece(name: str) -> np.ndarray:
    return build_wardrobe().piece == PIECES.index(name)


def test_walk_turns_and_swings_arms_against_legs():
    at = walk(0.0, 0.0, 1.0)
    moments = [at(t) for t in np.arange(0.0, 3.2, 0.1)]
    headings = np.unwrap([np.arctan2(m.rotation[0, 2], m.rotation[2, 2]) for m in moments])
    assert abs(headings[-1] - headings[0]) > np.pi
    arm = [m.rotvecs[index("left_shoulder"), 0] for m in moments]
    leg = [m.rotvecs[index("left_hip"), 0] for m in moments]
    assert np.corrcoef(arm, leg)[0, 1] < -0.8


def test_motions_have_no_jumps():
    for at in (walk(1.0, 20.0, -1.0), routine(10.0, 1.0)):
        joints = np.array([at(t).joints for t in np.arange(0.0, 10.0, 0.04)])
        assert np.linalg.norm(np.diff(joints, axis=0), axis=-1).max() < 0.04 * 5.0


def test_mirrored_routine_swaps_the_sides():
    plain, mirrored = routine(0.0, 1.0)(0.7), routine(0.0, -1.0)(0.7)
    swap = [NAMES.index(n.replace("left", "x").replace("right", "left").replace("x", "right")) for n in NAMES]
    np.testing.assert_allclose(mirrored.rotvecs[swap], plain.rotvecs * (1, -1, -1), atol=1e-12)


def test_frame_times_cover_a_short_clip_and_keep_the_rate_of_a_long_one():
    assert np.allclose(frame_times(4, 4.8), [0.0, 1.2, 2.4, 3.6])
    assert np.allclose(np.diff(frame_times(100, 4.8)), 0.1)


def test_soles_touch_the_ground_and_the_splits_differ():
    actor = SyntheticActor(3)
    for split in ("training", "testing"):
        for frame in actor.clip(split, 3):
            assert abs(actor._posed(frame.moment)[:, 1].min()) < 1e-9
    walking, dancing = actor.clip("training", 3)[1], actor.clip("testing", 3)[1]
    assert np.abs(walking.moment.rotvecs - dancing.moment.rotvecs).max() > 0.5


def test_wrinkles_come_with_bending_and_only_near_the_joint():
    wardrobe, bent = build_wardrobe(), np.zeros((24, 3))
    assert np.abs(wrinkles(wardrobe, _rest(), 0.0)).max() == 0.0
    bent[index("left_elbow")] = (0.8, 0.0, 0.0)
    depth = np.abs(wrinkles(wardrobe, Moment(bent, np.eye(3), np.zeros(3)), 0.0))
    assert 0.002 < depth.max() < 0.02
    far = np.linalg.norm(wardrobe.vertices - REST[index("left_elbow")], axis=1) > 0.25
    assert depth[far].max() == 0.0


def test_loose_parts_trail_behind_the_motion():
    wardrobe = build_wardrobe()
    still = drape(wardrobe, _rest(), _rest(), 0.0)
    before = Moment(np.zeros((24, 3)), np.eye(3), np.array((0.0, 0.0, -1.0 * LAG_SECONDS)))
    moving = drape(wardrobe, _rest(), before, 0.0)
    for name in ("skirt", "coat_tail", "ponytail"):
        shift = (moving - still)[_piece(name)]
        assert shift[:, 2].min() < -0.008, f"{name} lags behind a walk along +z"
        assert shift[:, 2].max() < 0.008
    assert np.array_equal(moving[_piece("jacket")], still[_piece("jacket")])


def test_skirt_stays_outside_a_lifted_thigh():
    wardrobe, lifted = build_wardrobe(), np.zeros((24, 3))
    lifted[index("left_hip")] = (-0.9, 0.0, 0.0)
    moment = Moment(lifted, np.eye(3), np.zeros(3))
    draped = drape(wardrobe, moment, moment, 0.0)[_piece("skirt")]
    transform = moment.transforms[index("left_hip")]
    local = (draped - transform[:3, 3]) @ transform[:3, :3]
    start, end = np.array((0.082, -0.085, -0.006)), np.array((0.088, -0.470, 0.008))
    along = np.clip((local - start) @ (end - start) / ((end - start) @ (end - start)), 0, 1)
    distance = np.linalg.norm(local - start - along[:, None] * (end - start), axis=1) - (0.076 - 0.030 * along)
    assert distance.min() > -0.004
