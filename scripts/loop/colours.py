"""The colours of Okabe and Ito, which stay apart for colour-blind eyes."""

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#555555"
