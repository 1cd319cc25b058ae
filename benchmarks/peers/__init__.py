"""What people write today in the place of one command: programs of their own, run by `benchmarks.own_photos`.

Each is a program that takes TRAIN TEST WEIGHTS SIZE SEED: two folders of class folders, timm's weights of
tf_efficientnet_lite0, and pixels; its last line is the share of the test images that are right, and which ones.
"""
