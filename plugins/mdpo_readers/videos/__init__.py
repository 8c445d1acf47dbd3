"""Videos as frames: from a file, a folder of frames, a list of frames, or bytes.

sampling             which frames are taken
frames               the frames of one video, with their times
folder               the frames of a folder, in the order of their numbers
timeline             when a file shows each of its frames
decoding             the chosen frames of a file as pictures
cells                the videos of a cell as frames
marks                frames and pictures where the marks of a prompt stand
"""
