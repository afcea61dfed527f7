"""The parts of ``scripts/train_mlm.py``, a reduced form of the paper's experiment 4.2.

settings   the command line
characters tokens that are bytes or characters
pieces     tokens that are word pieces
text       the text, what is held out, the batches and their masks
positions  four ways to tell a model where its tokens stand; everything else stays equal
run        one model and its optimizer: the learning rate, a step, a validation
training   the runs in lockstep, stopping and going on, the progress bar
report     CSV, plot, table
gaps       the saved model fills gaps in sentences that it has never seen
"""
