"""The parts of ``scripts/convert_tf.py``, which reads TensorFlow checkpoints without TensorFlow.

checksum  CRC-32C, fast enough for a whole checkpoint
protobuf  the few wire types that an entry is made of
table     the ``.index`` file: a sorted table of names
bundle    names to tensors: what the index says, checked against the ``.data`` files
names     which variable is which tensor of a RoFormer
settings  bert_config.json to RoFormerConfig
convert   all of it: from a bundle to a model
"""


class BadCheckpoint(ValueError):
    """What cannot be converted; the message is one sentence for the person at the terminal."""
