"""What the training scripts share, whatever they train.

command      settings from a command line, and the sentence for one that cannot be used
architecture sizes of a model that starts from nothing
wordpiece    a tokenizer for it
optimizer    AdamW, its learning rate over a training, and the precision of a step
ranks        the processes of a data-parallel training
stop         the first Ctrl-C waits for the end of the step
checkpoint   what an interrupted training needs to go on
colours      of every plot
"""
