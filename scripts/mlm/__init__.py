"""The parts of ``scripts/train_mlm.py``, a reduced form of the paper's experiment 4.2.

settings   the command line
text       the text, its tokens, the batches and their masks
positions  four ways to tell a model where its tokens stand; everything else stays equal
run        one model and its optimizer: the learning rate, a step, a validation
training   the runs in lockstep, stopping and going on, the progress bar
checkpoint what an interrupted training needs to go on
report     CSV, plot, table
gaps       the saved model fills gaps in sentences that it has never seen
"""


class BadSetting(ValueError):
    """A setting that cannot be used; the message is one sentence for the person at the terminal."""
