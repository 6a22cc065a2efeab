"""Writers of motions in other programs' formats, for tests: made from the formats' descriptions alone."""

import json
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

Z_UP = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0.0]])
"""From a y-up world to a z-up one."""


def write_bvh(path, names, parents, rest, rotvecs, places, fps=25.0, unit=0.01, orders=("ZXY", "YXZ", "XYZ", "ZYX")):
    """Every joint in turn has another order of channels. `rest`, `places`: metres; `unit`: metres a unit."""
    children = {j: [c for c, p in enumerate(parents) if p == j] for j in range(-1, len(parents))}
    order = []

    def joint(j, depth):
        order.append(j)
        pad, kind = "\t" * depth, "ROOT" if parents[j] < 0 else "JOINT"
        offset = rest[j] - (rest[parents[j]] if parents[j] >= 0 else rest[j])
        channels = [f"{a}rotation" for a in orders[j % len(orders)]]
        if parents[j] < 0:
            channels = ["Xposition", "Yposition", "Zposition", *channels]
        lines = [f"{pad}{kind} {names[j]}", f"{pad}{{", f"{pad}\tOFFSET " + " ".join(f"{v / unit:.6f}" for v in offset)]
        lines.append(f"{pad}\tCHANNELS {len(channels)} " + " ".join(channels))
        for child in children[j]:
            lines += joint(child, depth + 1)
        if not children[j]:
            lines += [f"{pad}\tEnd Site", f"{pad}\t{{", f"{pad}\t\tOFFSET 0 1 0", f"{pad}\t}}"]
        return [*lines, f"{pad}}}"]

    lines = ["HIERARCHY", *joint(children[-1][0], 0), "MOTION", f"Frames: {len(rotvecs)}", f"Frame Time: {1 / fps:.8f}"]
    for turns, place in zip(rotvecs, places, strict=True):
        row = []
        for j in order:
            row += list(place / unit) if parents[j] < 0 else []
            row += list(Rotation.from_rotvec(turns[j]).as_euler(orders[j % len(orders)], degrees=True))
        lines.append(" ".join(f"{v:.6f}" for v in row))
    Path(path).write_text("\n".join(lines) + "\n")
    return path


def write_amass(path, rest, rotvecs, places, fps=25.0, z_up=True, width=156, rate="mocap_framerate"):
    """`poses`, `trans`, `betas`, `gender`: the body turns about its root joint, which is at J_0 + trans."""
    turn = Z_UP if z_up else np.eye(3)
    poses = np.zeros((len(rotvecs), width))
    poses[:, :66] = rotvecs[:, :22].reshape(len(rotvecs), 66)
    poses[:, :3] = [Rotation.from_matrix(turn @ Rotation.from_rotvec(r[0]).as_matrix()).as_rotvec() for r in rotvecs]
    trans = places @ turn.T - rest[0]
    np.savez(path, poses=poses, trans=trans, betas=np.zeros(16), gender=np.array("neutral"), **{rate: np.array(fps)})
    return path


def person(rest, turns, place, width=72, in_pose=False, who=0):
    """EasyMocap's record: V = R(Rh) X(poses) + Th; `in_pose`: the root's rotation in poses[:3] instead, Rh zero."""
    poses = np.zeros(width)
    poses[:66] = turns[:22].reshape(-1)
    if width == 72:
        poses[66:] = turns[22:].reshape(-1)
    root = Rotation.from_rotvec(turns[0])
    Rh, Th = turns[0], place - root.apply(rest[0])
    if in_pose:
        Rh, Th = np.zeros(3), place - rest[0]
    else:
        poses[:3] = 0
    record = {"id": who, "Rh": [Rh.tolist()], "Th": [Th.tolist()], "poses": [poses.tolist()], "shapes": [[0.0] * 10]}
    return record


def write_easymocap(folder, rest, rotvecs, places, wrapped=False, **options):
    """`smpl/000000.json`, one a frame; `wrapped`: as the newer writer does."""
    smpl = Path(folder) / "smpl"
    smpl.mkdir(parents=True)
    for i, (turns, place) in enumerate(zip(rotvecs, places, strict=True)):
        people = [person(rest, turns, place, **options)]
        (smpl / f"{i:06d}.json").write_text(json.dumps({"annots": people} if wrapped else people))
    return folder


def write_smplh(path, rest, rotvecs, places, fps=25.0):
    """One file of all frames, 156 numbers a pose."""
    frames = [[person(rest, t, p, width=156) | {"smpl_type": "smplh"}] for t, p in zip(rotvecs, places, strict=True)]
    Path(path).write_text(json.dumps({"type": "frames", "fps": fps, "frames": frames}))
    return path
