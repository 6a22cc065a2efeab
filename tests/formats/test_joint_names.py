"""The names that programs give the joints of a person."""

import pytest

from na_ray.formats.joint_names import bare, parts_of, spine_of

SKELETONS = {
    "smpl": "pelvis spine1 spine2 spine3 neck head left_collar left_shoulder left_elbow left_wrist left_hand "
    "left_hip left_knee left_ankle left_foot",
    "cmu": "Hips LowerBack Spine Spine1 Neck Head LeftShoulder LeftArm LeftForeArm LeftHand - "
    "LeftUpLeg LeftLeg LeftFoot LeftToeBase",
    "mixamo": "mixamorig:Hips mixamorig:Spine mixamorig:Spine1 mixamorig:Spine2 mixamorig:Neck mixamorig:Head "
    "mixamorig:LeftShoulder mixamorig:LeftArm mixamorig:LeftForeArm mixamorig:LeftHand - "
    "mixamorig:LeftUpLeg mixamorig:LeftLeg mixamorig:LeftFoot mixamorig:LeftToeBase",
    "biped": "Bip01_Pelvis Bip01_Spine Bip01_Spine1 Bip01_Spine2 Bip01_Neck Bip01_Head Bip01_L_Clavicle "
    "Bip01_L_UpperArm Bip01_L_Forearm Bip01_L_Hand - Bip01_L_Thigh Bip01_L_Calf Bip01_L_Foot Bip01_L_Toe0",
    "unreal": "pelvis spine_01 spine_02 spine_03 neck_01 head clavicle_l upperarm_l lowerarm_l hand_l - "
    "thigh_l calf_l foot_l ball_l",
    "blender": "hips spine chest upper_chest neck head shoulder.L upper_arm.L forearm.L hand.L - "
    "thigh.L shin.L foot.L toe.L",
    "chest": "Hips Chest Chest2 Chest3 Neck Head LeftCollar LeftShoulder LeftElbow LeftWrist - "
    "LeftHip LeftKnee LeftAnkle LeftToe",
    "asf": "root lowerback upperback thorax lowerneck head lclavicle lhumerus lradius lwrist lhand "
    "lfemur ltibia lfoot ltoes",
}
MEANT = SKELETONS["smpl"].split()


@pytest.mark.parametrize("kind", SKELETONS)
def test_every_part_is_found_by_its_name(kind: str) -> None:
    words = SKELETONS[kind].split()
    names = [word for word in words if word != "-"]
    found = parts_of(names)
    expected = {part: word for part, word in zip(MEANT, words, strict=True) if word != "-" and "spine" not in part}
    assert {part: names[j] for part, j in found.items()} == expected
    parents = [-1, 0, 1, 2, 3, 4, *[3] * (len(names) - 6)]
    assert spine_of(names, parents, 0, 4) == [1, 2, 3]


def test_both_sides_and_the_order_of_the_file_do_not_matter() -> None:
    names = [
        "RightLeg",
        "LeftLeg",
        "RightUpLeg",
        "Hips",
        "LeftUpLeg",
        "RightHand",
        "RightForeArm",
        "RightArm",
        "RightShoulder",
    ]
    found = {part: names[j] for part, j in parts_of(names).items()}
    assert found["right_knee"] == "RightLeg" and found["right_hip"] == "RightUpLeg"
    assert found["right_collar"] == "RightShoulder" and found["right_shoulder"] == "RightArm"
    assert found["right_wrist"] == "RightHand" and "right_hand" not in found


def test_a_leg_or_a_shoulder_alone_is_the_upper_joint() -> None:
    assert parts_of(["Hips", "LeftLeg", "RightShoulder"]) == {"pelvis": 0, "left_hip": 1, "right_shoulder": 2}


def test_a_name_without_its_ornaments() -> None:
    assert bare("mixamorig7:LeftUpLeg") == ("left", "upleg") and bare("DEF-upper_arm.R") == ("right", "upperarm")
    assert bare("Bip01 L Thigh") == ("left", "thigh") and bare("rig|lHand") == ("left", "hand")
    assert bare("Ribs") == ("", "ribs") and bare("LHipJoint") == ("left", "hipjoint")
