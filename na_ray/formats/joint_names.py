"""What programs call the joints of a person: SMPL, CMU, Mixamo, Biped, Blender and Unreal mean the same by other words.

A joint's *part* is SMPL's name for it (`left_hip`, ...), but for the spine, whose joints differ in number and are taken
in order. A word may mean two parts: `LeftFoot` is the ankle unless the skeleton has a left ankle beside it.
"""

import re
from collections.abc import Sequence

_PREFIXES = re.compile(r"^(?:.*[:|]|mixamorig\d*[_ ]?|bip\d+[_ ]|def[-_.]|org[-_.]|cc_base_|b_|bone_)", re.IGNORECASE)

_CENTRAL = {
    "pelvis": ("pelvis", "hips", "hip", "root", "m_avg_pelvis"),
    "neck": ("neck", "neck1", "neck01", "lowerneck"),
    "head": ("head",),
}
"""Words of the joints in the middle, the most telling first."""

_SPINE = re.compile(
    r"(?:spine|chest|thorax|abdomen|torso|lowerback|upperback|upperchest|waist|back)(?:upper|lower|\d)*"
)

_LIMBS = {
    "hip": (("upleg", "upperleg", "thigh", "hip", "femur"), ("leg",)),
    "knee": (("knee", "shin", "calf", "lowerleg", "lowleg", "tibia"), ("leg",)),
    "ankle": (("ankle",), ("foot",)),
    "foot": (("toebase", "toe", "toes", "toe0", "ball"), ("foot",)),
    "collar": (("collar", "clavicle", "shoulderblade"), ("shoulder",)),
    "shoulder": (("upperarm", "uparm", "arm", "humerus"), ("shoulder",)),
    "elbow": (("elbow", "forearm", "lowerarm", "lowarm", "radius"), ()),
    "wrist": (("wrist",), ("hand",)),
    "hand": (("handend", "middle1", "handmiddle1", "middleproximal"), ("hand",)),
}
"""For each part of a side: words that mean it and nothing else, and words that mean it where nothing else has them."""

_YIELDS = {
    ("leg", "knee"): ("hip",),
    ("leg", "hip"): (),
    ("foot", "ankle"): (),
    ("foot", "foot"): ("ankle",),
    ("shoulder", "collar"): ("shoulder",),
    ("shoulder", "shoulder"): (),
    ("hand", "wrist"): (),
    ("hand", "hand"): ("wrist",),
}
"""A word with two meanings has this one if the skeleton has these parts by other words; the first that fits counts."""


def bare(name: str) -> tuple[str, str]:
    """(side, word) of a joint's name, in small letters: `mixamorig:LeftUpLeg` is (`left`, `upleg`)."""
    name = _PREFIXES.sub("", name.strip())
    words = [w.lower() for w in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)]
    side = ""
    for word, meant in (("left", "left"), ("right", "right"), ("l", "left"), ("r", "right")):
        if not side and word in words:
            words.remove(word)
            side = meant
    joined = "".join(words)
    if not side and joined[:1] in ("l", "r") and _is_limb(joined[1:]):  # lfemur, rThigh
        side, joined = ("left" if joined[0] == "l" else "right"), joined[1:]
    return side, joined


def _is_limb(word: str) -> bool:
    return any(word in sure or word in unsure for sure, unsure in _LIMBS.values())


def parts_of(names: Sequence[str]) -> dict[str, int]:
    """Part to joint, of the joints but the spine's whose names say it."""
    words = [bare(name) for name in names]
    found: dict[str, int] = {}
    for part, spellings in _CENTRAL.items():
        for spelling in spellings:
            if part not in found and ("", spelling) in words:
                found[part] = words.index(("", spelling))
    for side in ("left", "right"):
        found |= _limbs_of_side({word: j for j, (s, word) in reversed(list(enumerate(words))) if s == side}, side)
    return found


def _limbs_of_side(words: dict[str, int], side: str) -> dict[str, int]:
    """The parts of one side, of its words' joints."""
    found: dict[str, int] = {}
    for part, (sure, _) in _LIMBS.items():
        word = next((w for w in sure if w in words), None)
        if word is not None:
            found[part] = words[word]
    for (word, part), needed in _YIELDS.items():
        taken = word in words and words[word] in found.values()
        if word in words and not taken and part not in found and all(p in found for p in needed):
            found[part] = words[word]
    return {f"{side}_{part}": joint for part, joint in found.items()}


def spine_of(names: Sequence[str], parents: Sequence[int], pelvis: int, top: int) -> list[int]:
    """The spine's joints from below: those on the way from the pelvis up to the joint `top`, by their names."""
    found, joint = [], parents[top]
    while joint >= 0 and joint != pelvis:
        side, word = bare(names[joint])
        if not side and _SPINE.fullmatch(word):
            found.append(joint)
        joint = parents[joint]
    return found[::-1]
