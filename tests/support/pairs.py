"""The words of the pairs that tests train on."""

PROMPT = "USER: <image>\nWhat is in the picture? ASSISTANT:"
ANSWERS = ["A pink flower.", "A Chinese temple with a red roof.", "Green leaves.", "A row of trees and no people."]
