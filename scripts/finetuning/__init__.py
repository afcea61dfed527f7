"""The parts of ``scripts/finetune.py``.

settings   the command line
table      a CSV file: its header, and which column is what
squad      a JSON file in the layout of SQuAD
examples   pairs of texts with a label, questions with an answer; training, dev and test
metrics    Spearman, accuracy, F1, exact match
task       what a training must know of its task
sentences  regression and classification of one or two texts
answers    answers to questions, found in a passage
start      the model and tokenizer to start from
training   the steps, the evaluations, the best model, stopping and going on
report     CSV, plot, table
"""
